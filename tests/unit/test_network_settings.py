"""Settings of networks: the shipped file is the defaults, slips of the pen are named."""

import pytest

from lungitude.networks import hierarchical, settings, training


def test_the_shipped_file_spells_out_the_defaults():
    found = settings.load("hierarchical")
    assert settings.lacking(found) == []
    network, options = settings.arguments(found)
    assert network == hierarchical.DEFAULTS
    assert options == training.DEFAULTS
    assert found["reading"]["precision"] == "float32"


def test_the_published_file_is_read_and_says_what_is_lacking(monkeypatch):
    found = settings.load("published")
    assert found["network"]["windows_hu"] == [[-1000.0, 400.0]]
    assert found["training"]["rate"] == 1e-4
    assert found["training"]["batch"] == dict.fromkeys(("chest", "heart", "detail"), 3)
    assert found["parting"]["folds"] == 5
    without = settings.lacking(found)
    for section in ("network", "training"):
        # An option that a module has taken up is lacking no more.
        done = {"network": hierarchical.DEFAULTS, "training": training.DEFAULTS}[section]
        for key in settings.PLANNED[section]:
            assert not (key in done and f"{section}.{key}" in without)
    assert "reading.vessel_tracking" in without
    with pytest.raises(ValueError, match=r"not supported by this version: .*vessel_tracking"):
        settings.arguments(found)
    monkeypatch.setitem(training.DEFAULTS, "optimiser", "adamw")
    assert "training.optimiser" not in settings.lacking(settings.load("published"))


def test_what_is_left_out_is_as_in_the_defaults():
    found = settings.check({"training": {"steps": 7}})
    network, options = settings.arguments(found)
    assert options == {**training.DEFAULTS, "steps": 7}
    network["branches"].clear()
    assert hierarchical.DEFAULTS["branches"]


def test_a_comparator_has_keys_of_its_own():
    found = settings.check({"network": {"architecture": "vnet", "features": [4, 4, 4, 4, 4]}})
    network, _ = settings.arguments(found)
    assert network["architecture"] == "vnet"
    assert network["features"] == [4, 4, 4, 4, 4]
    assert "decoder" not in network


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"netwrok": {}}, "section 'netwrok' is unknown; did you mean 'network'"),
        ({"network": {"featurs": [1]}}, "network: 'featurs' is unknown; did you mean 'features'"),
        ({"network": {"architecture": "vnet", "decoder": [4]}}, "network: 'decoder' is unknown"),
        ({"network": {"architecture": "u"}}, "network.architecture: is 'u'; known: hierarchical"),
        ({"network": {"branches": ["liver"]}}, "network.branches, entry 1: is 'liver'; known"),
        ({"network": {"features": 24}}, "network.features: is 24; write a list"),
        ({"network": {"gates": "no"}}, "network.gates: is 'no'; write a value such as True"),
        ({"network": {"windows_hu": [[5, -5]]}}, "network.windows_hu: .*lower and upper end"),
        ({"training": {"rate": "1e-4"}}, "training.rate: is '1e-4', no number; YAML needs a point"),
        ({"training": {"steps": 1.5}}, "training.steps: is 1.5; write a whole number"),
        ({"training": {"rate": -1.0}}, "training.rate: is -1.0, below 0"),
        ({"training": {"rate": True}}, "training.rate: is True; write a value such as"),
        ({"training": {"batch": {"chest": 1}}}, "training.batch: lacks heart, detail"),
        ({"training": {"batch": {"foot": 1}}}, "training.batch: 'foot' is unknown"),
        ({"training": {"optimiser": "sgd"}}, "optimiser: is 'sgd'; known: adamw, adam"),
        ({"training": []}, None),
        ({"training": [1]}, "training: is .*write keys with values"),
        ({"parting": {"by": "G", "shares": {"a": 0.5}}}, "don't sum to 1"),
        ({"parting": {"folds": 5}}, "parting.by: name the column"),
        ("text", "needs the sections"),
    ],
)
def test_slips_of_the_pen_are_named(content, said):
    if said is None:
        settings.check(content)
        return
    with pytest.raises(ValueError, match=said):
        settings.check(content)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ValueError, match="no such file; in config/networks: hierarchical, publ"):
        settings.load("publisched")
    path = tmp_path / "bad.yaml"
    path.write_text("network: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.yaml: not YAML"):
        settings.load(path)
    path.write_text("network: {steps: 1}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.yaml: network: 'steps' is unknown"):
        settings.load(path)
