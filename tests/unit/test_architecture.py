"""The description of the network: the shipped one is up to date, and it is read off what is built.

The only test of the figure of the network that needs torch.
"""

import json

import pytest
import torch

from helpers import ROOT
from lungitude.networks import architecture, baselines, hierarchical, settings, weights

COMMITTED = ROOT / "docs/networks/architecture.json"


def built(name, **changed):
    network, _ = settings.arguments(settings.load(name))
    with torch.device("meta"):
        return baselines.of({**network, **changed})


def parts(found):
    """Parameters of each part that has no parts."""
    for one in (*found["encoders"], *found["branches"]):
        yield from (level["parameters"] for level in one["levels"])
        yield from (one[name]["parameters"] for name in ("head", "estimate") if name in one)


def test_the_committed_description_is_that_of_the_shipped_network(tmp_path):
    path = tmp_path / "architecture.json"
    architecture.write(path)
    assert path.read_bytes() == COMMITTED.read_bytes(), (
        "write it anew: python -m lungitude.networks.architecture docs/networks/architecture.json"
    )
    found = json.loads(COMMITTED.read_text())
    net, facts, _ = weights.load()
    assert found["weights"]["digest"] == facts["digest"] == weights.digest()
    assert found["weights"]["architecture"] == weights.architecture(net)
    assert found["parameters"] == baselines.parameters(net) == sum(parts(found))


def test_the_settings_of_the_shipped_network_give_the_same():
    found = json.loads(COMMITTED.read_text())
    del found["weights"]
    assert architecture.describe(built("hierarchical")) == found


def test_levels_are_those_of_the_settings():
    found = architecture.describe(built("hierarchical", features=[4, 6, 8], decoder=[4, 6]))
    (encoder,) = found["encoders"]
    assert [(one["grid"], one["channels"]) for one in encoder["levels"]] == [(2, 4), (4, 6), (8, 8)]
    for branch in found["branches"]:
        assert [(one["grid"], one["channels"]) for one in branch["levels"]] == [(2, 4), (4, 6)]
    by_name = {branch["name"]: branch for branch in found["branches"]}
    assert [name for name in by_name if by_name[name]["gates"]] == ["heart"]
    assert by_name["airway"]["filters"] == ["edges"]
    assert by_name["vessel"]["filters"] == ["tubeness"]
    assert by_name["airway"]["fused"] == 1
    plain = architecture.describe(built("hierarchical", gates=False, edges=False, tubeness=False))
    assert not any(branch["gates"] or branch["filters"] for branch in plain["branches"])


def test_classes_and_grid_are_those_of_what_it_gives():
    for branch in architecture.describe(built("hierarchical"))["branches"]:
        groups = hierarchical.GROUPS[branch["name"]]
        assert {one["name"]: tuple(one["classes"]) for one in branch["groups"]} == groups
        assert branch["grid"] == 1


def test_the_published_design_is_described_too():
    found = architecture.describe(built("published"))
    (encoder,) = found["encoders"]
    assert encoder["kind"] == "resnet50"
    assert [one["channels"] for one in encoder["levels"]] == [64, 256, 512, 1024, 2048]
    assert [one["grid"] for one in encoder["levels"]] == [2, 4, 8, 16, 32]
    assert sum(parts(found)) == found["parameters"]


def test_an_encoder_of_its_own_and_some_branches():
    net = built("hierarchical", airway_encoder="residual")
    found = architecture.describe(net)
    assert [(one["name"], one["branches"]) for one in found["encoders"]] == [
        ("shared", ["lung", "vessel", "heart"]), ("airway", ["airway"]),
    ]  # fmt: skip
    assert sum(parts(found)) == found["parameters"]
    few = architecture.describe(built("hierarchical", branches=["heart"]))
    assert [one["name"] for one in few["branches"]] == ["heart"]
    assert [one["branches"] for one in few["passes"]] == [["heart"], ["heart"], []]


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="Comparator is not a hierarchical network"):
        architecture.describe(_unet())


def _unet():
    with torch.device("meta"):
        return baselines.build("unet")
