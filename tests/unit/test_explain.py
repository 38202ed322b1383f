"""Where a network looks: maps of known answer, what overlap means, weights that are thrown away."""

import io
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from PIL import Image
from torch import nn

from helpers import Files
from lungitude import images, panels_network, tables
from lungitude.networks import evaluation, explain, hierarchical, unseen, weights
from lungitude.networks.trust import Familiar

SMALL = {"features": [4, 8, 8, 8], "decoder": [4, 4, 4]}
SCRIPT = Path(__file__).parents[2] / "scripts" / "explain_network.py"
SHAPE = (20, 22, 24)
FINEST = "decoders.vessel.units.0"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(5)
    net = hierarchical.build(SMALL)
    for part in net.modules():  # norms that have seen something
        if isinstance(part, nn.BatchNorm3d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return net.eval()


@pytest.fixture(scope="module")
def volume():
    rng = np.random.default_rng(3)
    return rng.normal(-600.0, 300.0, (32, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def ball():
    z, y, x = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij")
    return z**2 + y**2 + x**2 < 36.0


class Linear(nn.Module):
    """A branch without any nonlinearity: structure, its complement, and their weighted sum.

    Its image is 1 in the structure and 0 elsewhere; the logit is twice the first channel of its
    only unit less the second one, the value three times the mean of the second.
    """

    multiple = 2

    def __init__(self):
        super().__init__()
        part = nn.Module()
        part.units = nn.ModuleList([nn.Conv3d(1, 2, 1)])
        part.narrow = nn.ModuleList([nn.Conv3d(1, 1, 1)])
        part.gates, part.lend = [], []
        part.head, part.out, part.estimate = nn.Identity(), nn.Conv3d(2, 1, 1), nn.Linear(2, 4)
        self.decoders = nn.ModuleDict({"lung": part})
        self.encoder = nn.Module()
        self.encoder.levels, self.encoder.last = nn.ModuleList(), nn.Identity()
        with torch.no_grad():
            for layer, weight, bias in (
                (part.narrow[0], [[1.0]], [0.0]),
                (part.units[0], [[1.0], [-1.0]], [0.0, 1.0]),
                (part.out, [[2.0, -1.0]], [0.0]),
                (part.estimate, [[0.0, 0.0], [0.0, 3.0], [0.0, 0.0], [0.0, 0.0]], [0.0] * 4),
            ):
                layer.weight.copy_(torch.tensor(weight).reshape(layer.weight.shape))
                layer.bias.copy_(torch.tensor(bias))

    def forward(self, image, name, branches, values=False):
        part = self.decoders["lung"]
        x = part.units[0](part.narrow[0](image))
        found = {"low_attenuation": part.out(x)}
        if values:
            found["values"] = part.estimate(x.mean(dim=(2, 3, 4)))
        return {"lung": found}


# --- Maps ----------------------------------------------------------------------------------------


def test_map_of_a_linear_branch_is_its_structure(ball):
    net = Linear()
    heat = explain.activation(net, ball, "detail", "lung", "low_attenuation", 1)
    assert heat.dtype == np.float32
    # Gradients of 2 and -1 on every voxel summed: 2 A - (1 - A), positive in the structure alone.
    np.testing.assert_allclose(heat, ball, atol=1e-6)
    found = explain.predicted(net, ball, "detail", "lung", "low_attenuation", 1)
    np.testing.assert_array_equal(found, ball)
    exact = explain.overlap(heat, found)
    assert (exact["overlap_pct"], exact["mass_pct"]) == (100.0, 100.0)


def test_map_of_a_quantity_and_of_what_lowers_an_output(ball):
    net = Linear()
    heat = explain.activation(net, ball, "detail", "lung", value="laa950_pct")
    np.testing.assert_allclose(heat, ~ball, atol=1e-6)
    heat = explain.activation(net, ball, "detail", "lung", value="laa950_pct", sign=-1)
    assert not heat.any()
    heat = explain.activation(net, ball, "detail", "lung", "low_attenuation", 1, sign=-1)
    np.testing.assert_allclose(heat, ~ball, atol=1e-6)


def test_nothing_predicted_gives_no_heat(ball):
    heat = explain.activation(Linear(), 0.0 * ball, "detail", "lung", "low_attenuation", 1)
    assert not heat.any()
    assert np.isnan(explain.overlap(heat, ball)["overlap_pct"])


@pytest.mark.parametrize("code", [1, (1, 2)])
def test_map_of_a_class_equals_its_formula(small, volume, code):
    """By autograd, without hooks of a library: mean gradients times features, positive part."""
    kept = {}
    layer = small.get_submodule(FINEST)
    handle = layer.register_forward_hook(lambda _m, _i, out: kept.update(x=out))
    logits = small(torch.from_numpy(volume)[None, None], "detail", ("vessel",))["vessel"]["vessels"]
    handle.remove()
    codes = np.atleast_1d(code).tolist()
    where = torch.isin(logits.argmax(1), torch.tensor(codes))
    assert 0 < where.sum() < where.numel()
    score = (logits[:, codes].amax(1) * where).sum()
    (gradient,) = torch.autograd.grad(score, kept["x"])
    signed = (gradient.mean((2, 3, 4), keepdim=True) * kept["x"]).sum(1, keepdim=True)
    heats = []
    for sign in (1, -1):
        wanted = torch.relu(sign * signed)
        wanted = nn.functional.interpolate(wanted, size=volume.shape, mode="trilinear")[0, 0]
        wanted = (wanted / wanted.max().clamp(min=1e-30)).detach().numpy()
        heat = explain.activation(small, volume, "detail", "vessel", "vessels", code, sign=sign)
        np.testing.assert_allclose(heat, wanted, atol=1e-5)
        heats.append(heat.max())
    assert max(heats) == pytest.approx(1.0)
    # The network is as it was: no gradients, no hooks.
    assert all(part.grad is None and part.requires_grad for part in small.parameters())
    assert not layer._forward_hooks
    assert not layer._backward_hooks


def test_folded_net_gives_the_same_maps(small, volume):
    folded = hierarchical.fold(small, "detail").to(memory_format=torch.channels_last_3d)
    for output in ({"group": "airways", "code": 2}, {"value": "wall_pct"}):
        one, other = (
            explain.activation(net, volume, "detail", "airway", **output) for net in (small, folded)
        )
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_maps_of_other_layers_and_of_any_sides(small, volume):
    known = explain.layers(small, "heart")
    assert known[1] == "decoders.heart.units.0"
    assert "encoder.last" in known
    part = volume[:27, :30, :32]
    for layer in ("decoders.heart.head", "decoders.heart.units.2", "encoder.levels.1"):
        assert layer in known
        heat = explain.activation(small, part, "heart", "heart", value="lv_ml", layer=layer)
        assert heat.shape == part.shape
        assert heat.min() >= 0.0
        assert heat.max() in (0.0, pytest.approx(1.0))


def test_what_is_unknown_is_named(small, volume):
    def refused(match, *args, **kwargs):
        with pytest.raises(ValueError, match=match):
            explain.activation(small, volume, "detail", *args, **kwargs)

    refused("branch 'liver'", "liver", "vessels", 1)
    refused("group 'veins'", "vessel", "veins", 1)
    refused("codes are 1 to 2, not 3", "vessel", "vessels", 3)
    refused("codes are 1 to 2, not None", "vessel", "vessels")
    refused("value 'mld_hu'", "vessel", value="mld_hu")
    refused("give one of both", "vessel")
    refused("layer 'top' is unknown", "vessel", "vessels", 1, layer="top")


# --- What they are worth --------------------------------------------------------------------------


def test_overlap_of_known_heat():
    heat = np.zeros((2, 5, 10))
    heat.flat[:10] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.2, 0.2, 0.2, 0.2, 0.2]
    structure = np.zeros(heat.shape, bool)
    structure.flat[[0, 1, 2, 3]] = True
    found = explain.overlap(heat, structure, 0.95)  # the hottest five of a hundred
    assert found["quantile"] == 0.95
    assert found["overlap_pct"] == pytest.approx(100 * 3.4 / 4.0)
    assert found["mass_pct"] == pytest.approx(100 * 3.4 / 5.0)
    assert found["chance_pct"] == pytest.approx(4.0)
    # Fewer hot voxels than the share asked for: cold ones don't count.
    assert explain.overlap(heat, structure, 0.5)["overlap_pct"] == pytest.approx(68.0)
    within = np.zeros(heat.shape, bool)
    within.flat[2:12] = True
    inside = explain.overlap(heat, structure, 0.0, within)
    assert inside["mass_pct"] == pytest.approx(100 * 1.5 / 3.1)
    assert inside["chance_pct"] == pytest.approx(20.0)
    assert np.isnan(explain.overlap(0 * heat, structure)["overlap_pct"])
    assert np.isnan(explain.overlap(heat, structure, within=np.zeros_like(structure))["chance_pct"])


def test_overlap_refuses_what_has_no_answer():
    heat = np.ones((3, 3, 3))
    with pytest.raises(ValueError, match="differ in shape"):
        explain.overlap(heat, heat[:2] > 0)
    with pytest.raises(ValueError, match="quantile 95"):
        explain.overlap(heat, heat > 0, 95)
    with pytest.raises(ValueError, match="below 0"):
        explain.overlap(-heat, heat > 0)


def test_similarity_of_equal_and_of_unlike_maps(ball):
    heat = ball.astype(np.float32)
    assert explain.similarity(heat, heat) == pytest.approx(1.0)
    noise = np.random.default_rng(0).uniform(size=ball.shape)
    assert explain.similarity(heat, noise) < 0.1
    # A small structure in a large field: over all voxels, two maps that share nothing look alike.
    moved = np.roll(heat, 10, axis=2) * (1 - heat)
    assert explain.similarity(heat, moved, (heat > 0) & (moved == 0)) < 0.2
    assert explain.similarity(heat, moved) > explain.similarity(heat, moved, heat > 0)


def test_random_weights_from_the_outputs_down(small):
    parts = explain.cascade(small)
    names = [name for name, _ in parts]
    assert names[:4] == ["out", "head", "units.0", "units.1"]
    assert names[-5:] == ["encoder.last", *(f"encoder.levels.{k}" for k in (3, 2, 1, 0))]
    # Every layer with weights belongs to one part.
    owned = [p for _, group in parts for m in group for p in m.parameters()]
    assert {id(p) for p in owned} == {id(p) for p in small.parameters()}
    assert len(owned) == len(list(small.parameters()))

    before = dict(small.named_parameters())

    def changed(net):
        return {k for k, p in net.named_parameters() if not torch.equal(p, before[k])}

    state = torch.random.get_rng_state()
    assert not changed(explain.randomised(small, 1, depth=0))
    first = changed(explain.randomised(small, 1, depth=1))
    assert first
    assert all(".out." in key or ".estimate." in key for key in first)
    whole = explain.randomised(small, 1)
    convs = {f"{k}.weight" for k, m in small.named_modules() if isinstance(m, nn.Conv3d)}
    assert convs <= changed(whole)
    again = explain.randomised(small, 1)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=1))
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="depth 99"):
        explain.randomised(small, 1, depth=99)


def test_random_weights_change_the_map(small, volume, ball):
    asked = ("detail", "vessel", "vessels", (1, 2))
    seen = explain.predicted(small, volume, *asked)
    for sign in (1, -1):  # of a network that has learned nothing, one may have no heat
        heat, blind = (
            explain.activation(net, volume, *asked, where=seen, sign=sign)
            for net in (small, explain.randomised(small, 1))
        )
        either = (heat > 0.05) | (blind > 0.05)
        assert either.any()
        assert explain.similarity(heat, blind, either) < 0.8
    # Where the answer is the structure itself, random weights lose it.
    net = Linear()
    for seed in range(3):
        heats = [
            explain.activation(one, ball, "detail", "lung", "low_attenuation", 1, where=ball)
            for one in (net, explain.randomised(net, seed))
        ]
        assert not np.allclose(*heats, atol=0.05)


# --- A scan ---------------------------------------------------------------------------------------


def test_field_is_where_a_structure_is_densest():
    wanted = np.zeros((30, 40, 50), bool)
    wanted[2, 2, 2] = True
    wanted[20:24, 10:14, 30:34] = True
    whole = np.zeros_like(wanted)
    whole[:, 5:35, 10:45] = True
    box = explain.field(wanted, whole, (2.0, 1.0, 1.0), (16.0, 10.0, None))
    assert [part.stop - part.start for part in box] == [8, 10, 35]
    assert box[0].start <= 20 <= 24 <= box[0].stop
    assert box[1].start <= 10 <= 14 <= box[1].stop
    assert box[2] == slice(10, 45)
    # Larger than the scan: all of it.
    assert explain.field(wanted, whole, (1.0,) * 3, (99.0,) * 3)[0] == slice(0, 30)


@pytest.fixture(scope="module")
def scan():
    """A lung with an emphysematous ball, a tube with a wall, a vessel, and a heart beside it."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in (32, 32, 48)), indexing="ij")
    lobes = (x < 30).astype(np.uint8)
    air, tube = np.hypot(y - 7, x - 7), np.hypot(y - 24, x - 8)
    airways = np.where(air < 3, 1, np.where(air < 5, 2, 0)).astype(np.uint8)
    lobes[airways == 1] = 0
    vessels = np.where(tube < 3, 1 + (z > 15), 0).astype(np.uint8)
    middle = np.sqrt((z - 16) ** 2 + (y - 16) ** 2 + (x - 39) ** 2)
    heart = np.where(middle < 5, 1, np.where(middle < 8, 2, 0)).astype(np.uint8)
    hu = np.where(lobes > 0, -905.0, 40.0)
    hu[(z - 16) ** 2 + (y - 16) ** 2 + (x - 20) ** 2 < 49] = -995.0
    hu[airways == 1], hu[airways == 2], hu[vessels > 0], hu[heart == 1] = -1000, -50, 40, 300
    hu += np.random.default_rng(1).normal(0, 10, hu.shape)
    maps = {"lobes": lobes, "airways": airways, "vessels": vessels, "heart": heart}
    return hu.astype(np.int16), maps


def test_a_scan_gives_a_row_per_output_and_quantile(small, scan, monkeypatch):
    hu, maps = scan
    monkeypatch.setattr(explain, "RANDOM", 2)
    found = explain.explain(small, hu, (1.0,) * 3, maps, quantiles=(0.9, 0.95))
    assert [one.output.name for one in found] == [o.name for o in explain.OUTPUTS]
    table = explain.table(found)
    assert list(table) == explain.COLUMNS
    assert len(table) == 4 * 2 * 2
    assert set(table["KIND"]) == {"class", "value"}
    assert set(table["QUANTILE"]) == {0.9, 0.95}
    known = table[[c for c in table if c.endswith("_pct")]].dropna()
    assert known.to_numpy().min() >= 0.0
    assert known.to_numpy().max() <= 100.0
    # What lies in the structure lies near it.
    assert (table["chance_near_pct"] > table["chance_pct"]).all()
    assert (table.dropna()["overlap_near_pct"] >= table.dropna()["overlap_pct"]).all()
    lung, wall, vessel, heart = found
    assert lung.structure.sum() == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.1)
    assert wall.structure.mean() == pytest.approx((maps["airways"] == 2).mean(), rel=0.01)
    assert vessel.hu[vessel.structure].mean() == pytest.approx(40.0, abs=3.0)
    assert heart.voxel_mm == 2.0
    assert heart.hu.shape == (16, 16, 24)
    assert (table["ssim_randomised_most"] >= table["ssim_randomised"]).all()
    # Without its label map an output is left out.
    assert explain.explain(small, hu, (1.0,) * 3, {}) == []
    assert explain.table([]).empty


def test_panel_shows_the_heat_and_says_what_it_is_worth(tmp_path):
    """Heat in the left half only, the structure a bar in the right one."""
    hu = np.full((4, 40, 60), -800.0)
    heat, structure = np.zeros(hu.shape, np.float32), np.zeros(hu.shape, bool)
    heat[:, 10:30, 10:20] = 1.0
    structure[2, 10:30, 40:50] = True
    row = {
        "OUTPUT": "vessels", "KIND": "class", "STRUCTURE": "vessels", "PASS": "detail",
        "LAYER": FINEST, "overlap_pct": 12.0, "chance_pct": 3.0, "overlap_near_pct": 34.0,
        "chance_near_pct": 5.0, "mass_pct": 10.0, "ssim_randomised": 0.21,
        "ssim_randomised_most": 0.3,
    }  # fmt: skip
    table = pd.DataFrame([{**row, "QUANTILE": q} for q in (0.9, 0.95)])
    rows = [panels_network.Row("vessels", hu, structure, {"vessels": heat}, 1.0, table)] * 2
    text = panels_network.panel(rows, path=tmp_path / "a.png", title="P", lines=["a line"])
    assert "of the hottest 5 %" in text
    assert text.count("12 % lies on the structure, which fills 3 % of the field") == 2
    assert text.count("0.21") == 2
    data = (tmp_path / "a.png").read_bytes()
    assert len(data) < 300_000
    panels_network.panel(rows, path=tmp_path / "b.png", title="P", lines=["a line"])
    assert data == (tmp_path / "b.png").read_bytes()
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    yellow = (picture[..., 0] > 180) & (picture[..., 1] > 180) & (picture[..., 2] < 120)
    outline = (np.abs(picture - (86, 180, 233)).max(axis=-1) < 30)[: int(0.85 * len(picture))]
    third = picture.shape[1] // 3
    body = yellow[: int(0.85 * len(picture))]  # the key is below
    assert body[:, third : 2 * third].sum() > 2000
    assert not body[:, :third].any()
    assert not body[:, 2 * third :].any()
    assert outline[:, 2 * third :].sum() > 50
    assert not outline[:, : 2 * third].any()
    with pytest.raises(ValueError, match="nothing to draw"):
        panels_network.panel([], path=tmp_path / "c.png", title="P")


def job_of(folder, net, inputs, **params):
    weights.save(folder / "net.safetensors", net, {}, Familiar(np.zeros(2), np.eye(2), 1.0))
    outputs = {"picture": "a.png", "caption": "a.txt", "table": "a.tsv"}
    identity = {"USUBJID": "001", "SERIES": "insp"}
    weighed = {"weights": folder / "net.safetensors", "seed": 3, "identity": identity}
    return SimpleNamespace(
        rule="explain_network",
        log=[str(folder / "a.log")],
        input=Files(**inputs),
        output=Files(**{key: folder / name for key, name in outputs.items()}),
        params=Files(**weighed, **params),
    )


def test_script_writes_panel_caption_and_table(small, scan, tmp_path, monkeypatch):
    hu, maps = scan
    monkeypatch.setattr(explain, "RANDOM", 1)
    for name, values in {"scan": hu, **maps}.items():
        images.write(sitk.GetImageFromArray(values), tmp_path / f"{name}.nii.gz")
    inputs = {"image": "scan", "lobes": "lobes", "heart": "heart"}
    inputs = {key: tmp_path / f"{name}.nii.gz" for key, name in inputs.items()}
    job = job_of(tmp_path, small, inputs)
    runpy.run_path(str(SCRIPT), init_globals={"snakemake": job}, run_name="__main__")
    table = tables.read(job.output.table)
    assert list(table)[:2] == ["USUBJID", "SERIES"]
    assert set(table["STRUCTURE"]) == {"low attenuation", "heart"}
    assert len(table) == 2 * 2 * len(explain.QUANTILES)
    assert (tmp_path / "a.txt").read_text(encoding="utf-8").startswith("Where the network looks")
    with Image.open(job.output.picture) as picture:
        assert picture.size[0] > 800


def test_script_takes_an_unseen_patient(small, scan, tmp_path, monkeypatch):
    hu, maps = scan
    grid = SimpleNamespace(spacing_mm=(1.0, 1.0, 1.0))

    class Patient:
        def __init__(self, case):
            assert (case.domain, case.number, case.how.phases) == ("internal", 2, 1)

        @property
        def chest(self):
            return SimpleNamespace(lobes=maps["lobes"], labels=maps, grid=grid), hu

        @property
        def gated(self):
            return grid, [hu], [maps["heart"]]

    monkeypatch.setattr(explain, "RANDOM", 1)
    monkeypatch.setattr(evaluation, "Patient", Patient)
    job = job_of(tmp_path, small, {"model": unseen.MODEL}, domain="internal", case=2)
    runpy.run_path(str(SCRIPT), init_globals={"snakemake": job}, run_name="__main__")
    table = tables.read(job.output.table)
    assert set(table["STRUCTURE"]) == {one.name for one in explain.OUTPUTS}
