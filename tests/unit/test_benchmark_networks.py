"""The race of the network: sliding windows, both designs, large scans, Dice."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from unit.phantom_case import ROW

from helpers import ROOT
from lungitude.networks import baselines, passes, weights
from lungitude.networks.hierarchical import BRANCHES, GROUPS, PASSES
from lungitude.phantom import protocols, render

SIDE = 32


@pytest.fixture
def race(monkeypatch):
    """Return the benchmark with small windows."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    path = ROOT / "benchmarks" / "networks.py"
    spec = importlib.util.spec_from_file_location("race_of_networks", path)
    race = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(race)
    monkeypatch.setattr(race, "SIDE", SIDE)
    monkeypatch.setattr(race, "CORES", 1)
    return race


class Balls(torch.nn.Module):
    """A net that is sure of a right lower lobe where HU are below half of air, in each pass."""

    multiple = 8
    decoders = dict.fromkeys(BRANCHES)

    def forward(self, hu, name, branches=None, values=False):
        lung = 0.1 * (-420.0 - hu)
        found = {}
        for branch in PASSES[name]["branches"] if branches is None else branches:
            groups = {
                g: lung.expand(-1, len(c), -1, -1, -1) - 50 for g, c in GROUPS[branch].items()
            }
            if branch == "lung":
                groups["regions"] = groups["regions"].clone()
                groups["regions"][:, 0] = 0
                groups["regions"][:, 3] = lung[:, 0]
            found[branch] = groups
        return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_windows_bring_back_a_ball_at_its_size(race, precision):
    spacing_mm, radius_mm = (2.5, 1.4, 1.4), 34.0
    shape = (48, 80, 86)  # several windows along each axis
    at = np.indices(shape).reshape(3, -1).T * spacing_mm - (62.0, 54.0, 60.0)
    inside = (np.linalg.norm(at, axis=1) < radius_mm).reshape(shape)
    hu = np.where(inside, -860, 20).astype(np.int16)
    reader = race.windows()(net=Balls(), precision=precision)
    chest = passes.Pass(reader, "detail", hu, spacing_mm)
    view = chest.over()
    lung = np.concatenate([view.at("regions", (1,), slab)[0] for slab in view.slabs()]) > 0.5
    assert np.sum(lung) * np.prod(spacing_mm) == pytest.approx(
        4 / 3 * np.pi * radius_mm**3, rel=0.02
    )
    assert 2 * np.sum(lung & inside) / (np.sum(lung) + np.sum(inside)) > 0.97


def test_both_designs_of_the_comparison_are_read(race, tmp_path):
    for name in ("multi_task", "unet"):
        tiny = {"features": [4, 4, 4, 4], "decoder": [4, 4, 4]}
        if name == "unet":
            tiny = {"architecture": "unet", "features": [4] * 6}
        weights.save(tmp_path / f"{name}-all.safetensors", baselines.of(tiny).eval(), {})
        reader = race.reader(name, tmp_path, "float32")
        found = reader.read(np.full((20, 22, 24), -900, np.int16), (3.0, 3.0, 3.0))
        assert found.labels["lobes"].shape == (20, 22, 24)
        assert type(reader).__name__ == ("Windows" if name == "unet" else "Reader")


def test_dice_by_hand(race):
    truth = {"lobes": np.repeat(np.arange(6), 10), "vessels": np.array([1, 2, 0, 0])}
    found = {"lobes": truth["lobes"].copy(), "airways": None, "vessels": np.array([2, 0, 0, 1])}
    found["lobes"][10:15] = 0  # half of the first lobe is missed
    truth["airways"], found["airways"] = np.array([1, 2, 2]), np.array([2, 2, 0])
    lungs, lobes, airways, vessels = race.dice(found, truth)
    assert lungs == pytest.approx(2 * 45 / (45 + 50))
    assert lobes == pytest.approx((2 * 5 / (5 + 10) + 4) / 5)
    assert airways == pytest.approx(2 * 2 / (2 + 3))
    assert vessels == pytest.approx(2 * 1 / (2 + 2))
    assert np.isnan(race.dice({"lobes": truth["lobes"]}, {"lobes": truth["lobes"]})[2:]).all()


def test_slabs_of_a_large_scan_fit(race, monkeypatch):
    record = render.count_lesions(render.prepare(ROW, {"voxel_mm": [5.0] * 3}))
    protocol = protocols.make("soft", 5.0, 0.0, False, None)
    size, slices, voxel_mm = 56, 90, (6.0, 6.0, 4.0)
    monkeypatch.setattr(race, "SLAB", 90)
    whole = race.large_scan(record, protocol, slices, voxel_mm, size)
    monkeypatch.setattr(race, "SLAB", 40)
    slabs = race.large_scan(record, protocol, slices, voxel_mm, size)
    assert slabs[0].shape == (slices, size, size)
    assert slabs[2] == (4.0, 6.0, 6.0)
    np.testing.assert_array_equal(slabs[1]["lobes"], whole[1]["lobes"])
    np.testing.assert_allclose(slabs[0], whole[0], atol=1)
    litres = np.sum(slabs[1]["lobes"] > 0) * np.prod(voxel_mm) / 1e6
    assert litres == pytest.approx(ROW["LUNGVOL_L"], rel=0.05)


def test_tables_and_figure_tell_all_cases(race, monkeypatch, tmp_path):
    from lungitude import canvas

    monkeypatch.setattr(race, "RESULT", tmp_path / "networks.tsv")
    monkeypatch.setattr(race, "FIGURE", tmp_path / "speed.png")
    values = {"scans": 4, "voxels": 10**7, "start_s": 5, "wall_s": 20, "cpu_s": 38, "mvoxel_s": 0.5}
    values |= {"peak_mb": 2500, "dice_lungs": 0.99, "dice_lobes": 0.95, "dice_airways": 0.8}
    values |= {"dice_vessels": float("nan"), "where": "here"}
    rows = {}
    for case in race.CASES:
        method, precision, data = case.split("-")
        names = {"case": case, "method": method, "precision": precision, "data": data}
        rows[case] = {**names, **values}
    race.write_table(rows)
    back = race.read_table()
    assert list(back) == race.CASES
    text = race.document(back)
    assert text.count("| 2.5 GB |") == len(race.CASES)
    assert "512 x 512 x 600" in text
    canvas.styled(race.draw)(back, canvas)
    assert (tmp_path / "speed.png").stat().st_size > 5000
