"""Comparators: sizes, shapes, MONAI's own forward pass, a training step, reading; single tasks."""

import json

import numpy as np
import pytest
import torch

from lungitude.networks import baselines, hierarchical, inference, passes, training
from lungitude.networks.hierarchical import GROUPS, PASSES, VALUES

SIDES = (16, 16, 32)
# Million parameters as built by default: a change of MONAI's parts or of a width shows here.
MILLIONS = {
    "unet": 1.441,
    "attention_unet": 1.469,
    "vnet": 1.476,
    "bronchinet_like": 1.473,
    "hipas_like": 1.270,
}
TINY = {
    "unet": {"features": [4, 4, 4, 4, 4, 4]},
    "attention_unet": {"features": [4, 4, 4, 4]},
    "vnet": {"features": [4, 4, 4, 4, 4]},
    "bronchinet_like": {"features": [4, 4, 4, 4, 4]},
    "hipas_like": {"features": [4, 4, 4, 4], "coarse": [4, 4, 4, 4]},
}
SMALL = {"features": [4, 8, 8, 8], "decoder": [4, 4, 4]}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(name, **more):
    torch.manual_seed(3)
    return baselines.build(name, {**TINY[name], **more})


def scan(batch=1, sides=SIDES, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(-1000, 400, (batch, 1, *sides)).astype(np.float32))


def batch_of(name, count=2):
    """A batch of noise with labels of noise, for all branches of a pass."""
    rng = np.random.default_rng(1)
    labels = {}
    for branch in PASSES[name]["branches"]:
        for group, classes in GROUPS[branch].items():
            shape = (count, *SIDES)
            drawn = rng.integers(0, max(2, len(classes)), shape).astype(np.uint8)
            labels[group] = torch.from_numpy(drawn)
    known = {
        branch: torch.tensor([branch in PASSES[name]["branches"]] * count) for branch in GROUPS
    }
    values = {branch: torch.ones(count, len(VALUES[branch])) for branch in GROUPS}
    return training.Batch(scan(count), labels, known, values)


# --- Designs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", baselines.NAMES)
def test_a_comparator_has_at_most_1_5_million_parameters(name):
    with torch.device("meta"):
        net = baselines.build(name)
    assert baselines.parameters(net) / 1e6 == pytest.approx(MILLIONS[name], abs=6e-4)
    assert baselines.parameters(net) <= 1.5e6
    assert max(SIDES) % net.multiple == 0


@pytest.mark.parametrize("name", baselines.NAMES)
def test_a_comparator_answers_as_the_hierarchical_network_does(name):
    net = tiny(name).eval()
    peer = hierarchical.build(SMALL).eval()
    with torch.no_grad():
        for of_pass in PASSES:
            found, like = (each(scan(), of_pass, values=True) for each in (net, peer))
            assert list(found) == list(like) == list(PASSES[of_pass]["branches"])
            for branch in like:
                shapes = {group: tuple(x.shape) for group, x in like[branch].items()}
                assert {group: tuple(x.shape) for group, x in found[branch].items()} == shapes
                assert all(torch.isfinite(x).all() for x in found[branch].values())
        assert "values" not in net(scan(), "heart")["heart"]
        assert list(net(scan(), "detail", ("vessel",))) == ["vessel"]


@pytest.mark.parametrize("name", ["unet", "attention_unet"])
def test_a_trunk_of_monai_computes_what_monai_does(name):
    net = tiny(name).eval()
    image = hierarchical.windows(scan())
    with torch.no_grad():
        top, deepest, _ = net.trunk(image)
        whole = net.trunk.net(image)
    torch.testing.assert_close(top, whole)
    assert deepest.shape[2:] == tuple(n // net.multiple for n in SIDES)


def test_branches_share_the_trunk_and_nothing_is_left_over():
    net = tiny("unet")
    assert set(net.state_dict()) == {
        key for key in net.state_dict() if key.startswith(("trunk.", "decoders."))
    }
    only = tiny("unet", branches=["vessel"])
    assert baselines.parameters(only.trunk) == baselines.parameters(net.trunk)
    assert list(only(scan(), "detail")) == ["vessel"]


def test_signals_neither_vanish_nor_explode_without_norms():
    torch.manual_seed(0)
    net = baselines.build("bronchinet_like").eval()
    with torch.no_grad():
        top, deepest, _ = net.trunk(hierarchical.windows(scan()))
    assert 0.02 < float(top.std()) < 5.0
    assert 0.02 < float(deepest.std()) < 5.0


def test_the_prior_of_vessels_steers_what_the_fine_stage_says():
    net = tiny("hipas_like").eval()
    with torch.no_grad():
        before = net(scan(), "detail")
        net.trunk.told.bias[1] += 4.0  # the coarse stage is sure of arteries
        after = net(scan(), "detail")
    shift = (after["vessel"]["vessels"] - before["vessel"]["vessels"]).mean(dim=(0, 2, 3, 4))
    assert shift[1] - shift[2] > 2.0
    assert not torch.allclose(after["airway"]["airways"], before["airway"]["airways"])


@pytest.mark.parametrize("name", baselines.NAMES)
def test_a_step_of_training_reaches_every_weight(name):
    config = {**training.DEFAULTS, "precision": "float32", "device": "cpu"}
    learner = training.Learner(tiny(name, dropout=0.1).config, config)
    net = learner.net
    before = {key: value.clone() for key, value in net.named_parameters()}
    for step, of_pass in ((0, "heart"), (2, "detail")):
        parts = learner.step(step, of_pass, batch_of(of_pass))
        assert parts
        assert all(np.isfinite(value) for value in parts.values())
    still = [key for key, value in net.named_parameters() if torch.equal(value, before[key])]
    # A bias before a batch norm has no gradient, but for rounding.
    assert [key for key in still if not key.endswith("bias")] == []


@pytest.mark.parametrize("name", ["unet", "hipas_like"])
def test_low_precision_is_close(name):
    net = tiny(name).eval()
    with torch.no_grad():
        exact = net(scan(), "detail")["vessel"]["vessels"]
        with torch.autocast("cpu", torch.bfloat16):
            found = net(scan(), "detail", values=True)["vessel"]
    assert float((found["vessels"].float() - exact).abs().max()) < 0.2 * float(exact.std()) + 0.1
    assert found["values"].dtype == torch.float32


def test_a_comparator_reads_a_scan():
    reader = inference.Reader(net=tiny("attention_unet").eval())
    hu = scan(sides=(28, 30, 33))[0, 0].numpy()
    found = reader.read(hu, (1.5, 1.0, 1.2))
    assert set(found.labels) == set(inference.PARTS)
    assert all(labels.shape == hu.shape for labels in found.labels.values())
    net = reader.nets["chest"]
    assert passes.features(net, torch.zeros(16, 16, 16)).shape == (4,)


def test_folding_keeps_what_a_pass_says():
    net = tiny("vnet").eval()
    folded = hierarchical.fold(net, "heart")
    assert list(folded.decoders) == ["heart"]
    with torch.no_grad():
        one, two = (each(scan(), "heart")["heart"]["chambers"] for each in (net, folded))
    torch.testing.assert_close(one, two)


def test_settings_tell_the_design_and_come_back_from_json():
    net = tiny("vnet", branches=["airway"])
    settings = json.loads(json.dumps(net.config))
    again = baselines.build(settings.pop("architecture"), settings)
    assert again.config == net.config
    again.load_state_dict(net.state_dict())


def test_a_default_is_not_changed_by_what_is_built():
    baselines.build("vnet", TINY["vnet"]).config["branches"].clear()
    assert baselines.COMMON["branches"] == list(GROUPS)


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("u-net", {}, "design 'u-net' is unknown; known: hierarchical, unet"),
        ("unet", {"decoder": [4]}, "unet: unknown setting decoder; known: branches"),
        ("unet", {"features": [4, 4]}, "features is .*needs 6 whole numbers above 0"),
        ("vnet", {"features": [4, 4, 0, 4, 4]}, "needs 5 whole numbers"),
        ("vnet", {"features": [3, 4, 4, 4, 4]}, "first of features is a multiple of 2"),
        ("hipas_like", {"coarse": 8}, "coarse is 8; it needs 4"),
        ("vnet", {"branches": ["liver"]}, "branches are some of lung, airway"),
        ("vnet", {"branches": []}, "branches are some of"),
    ],
)
def test_what_cannot_be_built_is_named(name, config, said):
    with pytest.raises(ValueError, match=said):
        baselines.build(name, config)


def test_the_hierarchical_network_is_built_by_its_name_too():
    assert isinstance(baselines.build("hierarchical", SMALL), hierarchical.Hierarchical)


# --- Single tasks ------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "part"), [("share", 0.25), ("total", 1.0)])
def test_single_tasks_are_as_large_as_asked(size, part):
    with torch.device("meta"):
        whole = baselines.parameters(hierarchical.build())
        for branch in GROUPS:
            config = baselines.single_task(branch, size=size)
            assert config["branches"] == [branch]
            found = baselines.parameters(hierarchical.build(config))
            assert found == pytest.approx(part * whole, rel=baselines.TOLERANCE)
    assert hierarchical.DEFAULTS["branches"] == list(GROUPS)


def test_single_tasks_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="no branch 'liver'; known: lung"):
        baselines.single_task("liver")
    with pytest.raises(ValueError, match="size 'half' is unknown; known: share, total"):
        baselines.single_task("lung", size="half")
    with pytest.raises(
        ValueError, match=r"no widths give .* for 'lung' with the encoder 'resnet50'"
    ):
        baselines.single_task("lung", {"encoder": "resnet50"})


def test_a_single_task_sees_its_branch_as_often():
    config = {**training.DEFAULTS, "steps": 1000}
    config["shares"] = {"chest": 0.3, "heart": 0.2, "detail": 0.5}
    steps = {
        branch: baselines.single_task_training(branch, config)["steps"]
        for branch in ("lung", "airway", "heart")
    }
    assert steps == {"lung": 800, "airway": 500, "heart": 500}
    assert baselines.single_task_training("vessel", config)["shares"] == {"detail": 0.5}
    with pytest.raises(ValueError, match="no pass of the training reads branch 'airway'"):
        baselines.single_task_training("airway", {**config, "shares": {"heart": 1.0}})


def test_single_tasks_read_together():
    torch.manual_seed(2)
    nets = {b: hierarchical.build({**SMALL, "branches": [b]}).eval() for b in GROUPS}
    whole = baselines.Together(nets)
    with torch.no_grad():
        found = whole(scan(), "detail", values=True)
        alone = nets["vessel"](scan(), "detail", values=True)["vessel"]
    assert list(found) == ["lung", "airway", "vessel"]
    torch.testing.assert_close(found["vessel"], alone)
    folded = hierarchical.fold(whole, "heart")
    assert list(folded.decoders) == ["heart"]
    with torch.no_grad():
        one, two = (each(scan(), "heart")["heart"]["chambers"] for each in (whole, folded))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    read = inference.Reader(net=whole).read(scan(sides=(20, 24, 28))[0, 0].numpy(), (1.5,) * 3)
    assert set(read.labels) == set(inference.PARTS)
    with pytest.raises(ValueError, match="the network for 'lung' lacks that branch"):
        baselines.Together({"lung": nets["heart"]})
