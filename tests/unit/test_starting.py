"""`lungitude init`: a folder that is valid at once, and never one over another."""

import shutil

import pytest

from helpers import ROOT, edit_text
from lungitude import cli, starting, trial


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the folders of its trials alone."""
    for source in starting.SOURCES:
        shutil.copytree(ROOT / "config" / source, tmp_path / "config" / source)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", starting.SOURCES)
def test_a_new_folder_is_valid_and_holds_all_that_it_needs(source, project, capsys):
    assert cli.main(["init", "mine", "--from", source]) == 0
    for other in starting.SOURCES:  # nothing of them is used
        shutil.rmtree(project / "config" / other)
    assert cli.main(["check", "mine"]) == 0
    assert "no problem found" in capsys.readouterr().out
    found = trial.load("config/mine/config.yaml")
    assert found.config["trial"] == "mine"
    assert found.config["synthetic"] is True
    assert all(str(path).startswith("config/mine") for path in found.paths.values())
    if "phantom" in found.config:
        assert found.config["phantom"]["root"] == "data/mine"
        assert found.scans["PATH"].str.startswith("data/mine/").all()


def test_comments_are_kept(project):
    starting.begin("mine", "empty")
    text = (project / "config" / "mine" / "config.yaml").read_text()
    assert "# in order of display; others are compared with the reference" in text
    assert "\ntrial: mine # results go to" in text


def test_a_folder_that_exists_is_left_as_it_is(project, capsys):
    starting.begin("mine", "empty")
    edit_text(project / "config" / "mine" / "config.yaml", "A trial of two arms", "Our trial")
    assert cli.main(["init", "mine"]) == 1
    assert "exists already, and is left as it is" in capsys.readouterr().err
    assert "Our trial" in (project / "config" / "mine" / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["My trial", "../mine", "1st", "mine/one", ""])
def test_a_name_that_can_not_be_one_is_told(name, project, capsys):
    assert cli.main(["init", name]) == 1
    assert "can't be the name of a trial" in capsys.readouterr().err
    assert {path.name for path in (project / "config").iterdir()} == set(starting.SOURCES)


def test_outside_of_the_project_it_says_where_to_go(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "mine"]) == 1
    assert "run this in the folder of the project" in capsys.readouterr().err
