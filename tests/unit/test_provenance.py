"""A digest changes with what a script reaches, and with nothing else."""

import shutil

import pytest

from helpers import ROOT
from lungitude import provenance


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A copy of scripts/ to edit, and a digest that looks there."""
    copy = tmp_path / "scripts"
    shutil.copytree(ROOT / "scripts", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "SCRIPTS", copy)

    def digest(name):
        provenance.digest.cache_clear()
        provenance._imported.cache_clear()
        return provenance.digest(name)

    return copy, digest


def test_a_module_that_is_reached_counts_and_another_does_not(scripts):
    folder, digest = scripts
    before = digest("derive_adam"), digest("measure_prm")
    (folder / "lungitude" / "adam.py").open("a").write("# a change\n")
    assert digest("derive_adam") != before[0]
    assert digest("measure_prm") == before[1]


def test_templates_count_as_code(scripts):
    folder, digest = scripts
    before = digest("report_stratum")
    next((folder / "lungitude/reporting/templates").glob("*.j2")).open("a").write("\n")
    assert digest("report_stratum") != before


def test_reached_follows_packages(scripts):
    folder, _ = scripts
    names = {
        p.relative_to(folder).as_posix() for p in provenance.reached(folder / "measure_prm.py")
    }
    assert "measure_prm.py" in names
    assert "lungitude/job.py" in names
    assert any(name.startswith("lungitude/biomarkers/") for name in names)


def test_fingerprint_sees_an_exchanged_file(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"1234")
    before = provenance.fingerprint(tmp_path)
    (tmp_path / "a.dcm").write_bytes(b"12345")
    assert provenance.fingerprint(tmp_path) != before


def test_digest_of_text_ignores_the_order_of_keys():
    assert provenance.digest_of_text({"a": 1, "b": 2}) == provenance.digest_of_text(
        {"b": 2, "a": 1}
    )
    assert provenance.digest_of_text({"a": 1}) != provenance.digest_of_text({"a": 2})
