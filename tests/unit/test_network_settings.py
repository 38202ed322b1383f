"""Settings of networks: the shipped file is the defaults, slips of the pen are named."""

import pytest
import yaml

from lungitude.networks import hierarchical, losses, parting, settings, training


def test_the_shipped_file_spells_out_the_defaults():
    found = settings.load("hierarchical")
    network, options = settings.arguments(found)
    assert network == hierarchical.DEFAULTS
    assert options == training.DEFAULTS
    assert options["weights"] == losses.WEIGHTS
    assert found["parting"] == parting.DEFAULTS
    assert found["reading"] == settings.READING
    content = yaml.safe_load((settings.FOLDER / "hierarchical.yaml").read_text(encoding="utf-8"))
    for section, keys in content.items():  # by the file, not by what completes it
        assert set(keys) == set(found[section])


def test_the_published_file_asks_for_what_the_publication_says():
    found = settings.load("published")
    network, options = settings.arguments(found)
    assert network["windows_hu"] == [[-1000.0, 400.0]]
    assert 1.0 <= network["blur_voxels"] <= 1.5
    assert (options["optimiser"], options["rate"]) == ("adam", 1e-4)
    assert options["batch"] == dict.fromkeys(("chest", "heart", "detail"), 3)
    assert options["augmentation"] == "published"
    assert options["patience"] > 0
    assert found["parting"]["folds"] == 5
    assert found["reading"] == {
        "precision": "float32",
        "probabilities": True,
        "vessel_tracking": True,
    }
    assert set(network) == set(hierarchical.DEFAULTS)
    assert set(options) == set(training.DEFAULTS)


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
        ({"parting": {"by": "G"}}, "parting.shares: name train, validation, test"),
        ({"parting": {"by": "G", "shares": {"train": 1.0}}}, "name train, validation, test"),
        (
            {"parting": {"by": "G", "shares": {"train": 0.5, "validation": 0.5}, "folds": 1}},
            "1 fold holds everybody out",
        ),
        ({"training": {"weights": {"edge": 1.0}}}, "training.weights: lacks entropy, cldice"),
        ({"training": {"augmentation": "none"}}, "augmentation: is 'none'; known: wide, published"),
        ({"network": {"airway_encoder": "vgg"}}, "is 'vgg'; known: shared, residual, resnet50"),
        ({"reading": {"probabilities": 1}}, "reading.probabilities: is 1; write a value such as"),
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
    with pytest.raises(ValueError, match=r"no such file; in config/networks: .*hierarchical, publ"):
        settings.load("publisched")
    path = tmp_path / "bad.yaml"
    path.write_text("network: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.yaml: not YAML"):
        settings.load(path)
    path.write_text("network: {steps: 1}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.yaml: network: 'steps' is unknown"):
        settings.load(path)
