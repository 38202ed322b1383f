"""The hierarchical network: its parts against closed forms, its training, its weights, its reading.

Small networks with random weights show how things work; how well the shipped one works is told by
the tests of its accuracy.
"""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from lungitude.networks import (
    anatomies,
    blocks,
    hierarchical,
    inference,
    losses,
    passes,
    synthesis,
    tidying,
    training,
    trust,
    weights,
)

SMALL = {"features": [4, 8, 8, 8], "decoder": [4, 4, 4]}
QUICK = {
    "steps": 2,
    "refine_steps": 2,
    "refine_shares": {"chest": 0.5, "detail": 0.5},
    "batch": {"chest": 1, "heart": 1, "detail": 1},
    "warm_up": 2,
    "precision": "float32",
    "threads": 1,
    "workers": 0,
    "check_every": 2,
    "check_batches": 1,
    "held_out": 0.5,
    "centreline_every": 2,
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Anatomies of two patients."""
    path = tmp_path_factory.mktemp("anatomies")
    for name in ("T-1", "T-2"):
        anatomies.write(path, 3, name)
    return path


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(1)
    net = hierarchical.build(SMALL)
    for part in net.modules():  # norms that have seen something
        if isinstance(part, torch.nn.BatchNorm3d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return net.eval()


# --- Parts -------------------------------------------------------------------------------------


def test_cubes_of_voxels_become_channels_and_come_back():
    x = torch.arange(2 * 3 * 4 * 6 * 8, dtype=torch.float32).reshape(2, 3, 4, 6, 8)
    folded = blocks.fold_voxels(x)
    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(blocks.unfold_voxels(folded), x)


def test_edges_of_a_ramp_and_of_a_parabola():
    z, y, x = torch.meshgrid(*(torch.arange(9.0),) * 3, indexing="ij")
    ramp, bowl = (3.0 * z + 4.0 * x)[None, None], (z * z + y * y)[None, None]
    inner = (0, slice(None), *(slice(2, -2),) * 3)
    gradient, laplacian = blocks.edges(ramp)[inner]
    torch.testing.assert_close(gradient, torch.full_like(gradient, 5.0))
    torch.testing.assert_close(laplacian, torch.zeros_like(laplacian), atol=1e-4, rtol=0)
    assert torch.allclose(blocks.edges(bowl)[inner][1], torch.tensor(4.0), atol=1e-4)


def test_blur_keeps_the_sum_and_has_the_asked_variance():
    x = torch.zeros(1, 1, 31, 31, 31)
    x[0, 0, 15, 15, 15] = 1.0
    out = blocks.smooth(x, (1.5, 0.0, 2.0))[0, 0]
    at = torch.arange(31.0) - 15.0
    assert out.sum() == pytest.approx(1.0, abs=1e-5)
    assert (out.sum((1, 2)) * at**2).sum() == pytest.approx(1.5**2, rel=0.15)
    assert (out.sum((0, 2)) * at**2).sum() == pytest.approx(0.0, abs=1e-6)


def test_tubeness_sees_a_bright_tube_not_a_plate_nor_a_dark_tube():
    _, y, x = torch.meshgrid(*(torch.arange(21.0) - 10.0,) * 3, indexing="ij")
    tube = torch.exp(-(x**2 + y**2) / 4.0)[None, None]
    plate = torch.exp(-(x**2) / 4.0)[None, None]
    inside = (0, slice(None), 10, 10, 10)
    bright, flat, dark = (blocks.tubeness(v)[inside] for v in (tube, plate, -tube))
    assert (bright > 0.1).all()
    assert (flat < 0.1 * bright).all()
    assert (dark < 0.01 * bright).all()


# --- The network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hierarchical.PASSES)
def test_every_pass_gives_logits_of_its_branches_on_the_grid(small, name):
    found = small(torch.full((2, 1, 32, 16, 32), -700.0), name, values=True)
    assert set(found) == set(hierarchical.PASSES[name]["branches"])
    for branch, groups in found.items():
        assert groups.pop("values").shape == (2, len(hierarchical.VALUES[branch]))
        for group, classes in hierarchical.GROUPS[branch].items():
            assert groups[group].shape == (2, len(classes), 32, 16, 32)


@pytest.mark.parametrize("name", hierarchical.PASSES)
def test_folded_norms_change_nothing(small, name):
    x = torch.randn(1, 1, 32, 32, 32, generator=torch.manual_seed(2)) * 300 - 600
    with torch.no_grad():
        whole, folded = small(x, name), hierarchical.fold(small, name)(x, name)
    for branch, groups in folded.items():
        for group, values in groups.items():
            torch.testing.assert_close(values, whole[branch][group], atol=2e-5, rtol=1e-4)


def test_passes_share_convolutions_and_keep_their_own_norms(small):
    x = torch.randn(1, 1, 32, 32, 32, generator=torch.manual_seed(2)) * 300 - 600
    with torch.no_grad():
        chest, heart = (small(x, name)["heart"]["chambers"] for name in ("chest", "heart"))
    assert not torch.allclose(chest, heart, atol=1e-3)
    convs = [part for part in small.modules() if isinstance(part, torch.nn.Conv3d)]
    norms = [part for part in small.modules() if isinstance(part, torch.nn.BatchNorm3d)]
    normed = [part for part in small.modules() if isinstance(part, blocks.NormedConv)]
    assert len(convs) > len(normed) > 20
    assert len(norms) == len(hierarchical.PASSES) * len(normed)


def test_resnet50_encoder_is_one_setting_away():
    net = hierarchical.build({"encoder": "resnet50", "branches": ["airway"], "decoder": [4, 4, 4]})
    assert sum(p.numel() for p in net.encoder.parameters()) > 40e6
    with torch.no_grad():
        found = net.eval()(torch.zeros(1, 1, 32, 32, 32), "detail")
    assert found["airway"]["airways"].shape == (1, 3, 32, 32, 32)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"width": 3}, "unknown setting width; known: encoder, "),
        ({"encoder": "vgg"}, "encoder 'vgg' is unknown; known: residual, resnet50"),
        ({"branches": ["liver"]}, "branches are some of lung, airway, vessel, heart"),
        ({"branches": []}, "branches are some of"),
    ],
)
def test_wrong_settings_are_told(config, told):
    with pytest.raises(ValueError, match=told):
        hierarchical.build(config)


# --- Losses: what is unknown takes no part -------------------------------------------------------


def _batch(known=(True, True), value=float("nan")):
    labels = torch.zeros(2, 16, 16, 16, dtype=torch.uint8)
    labels[:, 4:12, 4:12, 4:12] = 1
    return training.Batch(
        torch.zeros(2, 1, 16, 16, 16),
        {"airways": labels.clone(), "edge": labels.clone()},
        {"airway": torch.tensor(known)},
        {"airway": torch.full((2, 2), value)},
    )


def _logits(seed=0):
    rng = torch.manual_seed(seed)
    return {
        "airways": torch.randn(2, 3, 16, 16, 16, generator=rng, requires_grad=True),
        "edge": torch.randn(2, 1, 16, 16, 16, generator=rng, requires_grad=True),
        "values": torch.randn(2, 2, generator=rng, requires_grad=True),
    }


def test_a_sample_without_labels_of_a_branch_gets_no_gradient():
    logits = _logits()
    total, _ = losses.of_branch("airway", logits, _batch((True, False)), "detail", thin=True)
    total.backward()
    for group in ("airways", "edge"):
        assert logits[group].grad[0].abs().sum() > 0
        assert logits[group].grad[1].abs().sum() == 0
    nobody, parts = losses.of_branch("airway", _logits(), _batch((False, False)), "detail")
    assert float(nobody) == 0.0
    assert parts == {}


def test_a_voxel_or_value_that_is_not_known_takes_no_part():
    batch, logits = _batch(), _logits()
    batch.labels["airways"][:, :8] = synthesis.NOT_KNOWN
    total, _ = losses.of_branch("airway", logits, batch, "detail")
    total.backward()
    assert logits["airways"].grad[:, :, :8].abs().sum() == 0
    assert logits["airways"].grad[:, :, 8:].abs().sum() > 0
    assert logits["values"].grad.abs().sum() == 0


def test_right_logits_cost_nearly_nothing_and_wrong_ones_much():
    batch = _batch()
    truth = batch.labels["airways"].long()
    right = torch.nn.functional.one_hot(truth, 3).movedim(-1, 1) * 40.0
    edge = (batch.labels["edge"][:, None].float() - 0.5) * 80.0
    logits = {"airways": right, "edge": edge}
    good, parts = losses.of_branch("airway", logits, batch, "detail", thin=True)
    assert float(good) < 0.01
    assert parts["airways"] < 0.01
    wrong, _ = losses.of_branch("airway", {"airways": -right, "edge": -edge}, batch, "detail")
    assert float(wrong) > 5.0


def test_a_detail_tells_lungs_from_the_rest_and_not_lobes():
    logits = torch.zeros(1, 8, 4, 4, 4)
    truth = torch.tensor([0, 3, 7, 255]).reshape(1, 4, 1, 1).expand(1, 4, 4, 4)
    found, merged = losses.merge_lobes(logits, truth)
    assert found.shape == (1, 3, 4, 4, 4)
    assert float(found[0, 1, 0, 0, 0]) == pytest.approx(np.log(6.0), abs=1e-6)
    assert merged[0, :, 0, 0].tolist() == [0, 1, 2, 255]


def test_vessels_are_learnt_as_such_where_nothing_tells_their_kind():
    logits = torch.randn(1, 3, 2, 2, 5, generator=torch.manual_seed(3))
    truth = torch.tensor([0, 1, 2, synthesis.EITHER, 255]).expand(1, 2, 2, 5)
    (either, vessel), (kinds, kind) = losses.merge_kinds(logits, truth)
    share = torch.softmax(either, dim=1)[:, 1]
    torch.testing.assert_close(share, torch.softmax(logits, dim=1)[:, 1:].sum(1))
    assert vessel[0, 0, 0].tolist() == [0, 1, 1, 1, 255]
    assert torch.equal(kinds, logits[:, 1:])
    assert kind[0, 0, 0].tolist() == [255, 0, 1, 255, 255]


# --- Synthesis and training -----------------------------------------------------------------------


@pytest.mark.parametrize("name", hierarchical.PASSES)
def test_a_draw_is_a_function_of_its_generator(folder, name):
    kind = "detail" if name == "detail" else "whole"
    names = anatomies.names(folder, kind)
    first, again = (synthesis.draw(folder, names, name, np.random.default_rng(4)) for _ in "ab")
    other = synthesis.draw(folder, names, name, np.random.default_rng(5))
    assert first.hu.shape == (1, *synthesis.SIDES[name])
    assert torch.equal(first.hu, again.hu)
    assert all(torch.equal(first.labels[g], again.labels[g]) for g in first.labels)
    assert not torch.equal(first.hu, other.hu)
    assert torch.isfinite(first.hu).all()


def test_labels_of_a_draw_are_where_the_image_says_so(folder):
    names = anatomies.names(folder, "whole")
    lungs, outside = [], []
    for seed in range(6):
        sample = synthesis.draw(folder, names, "chest", np.random.default_rng(seed))
        lung = (sample.labels["regions"] > 0) & (sample.labels["regions"] < anatomies.CENTRAL)
        if lung.sum() > 5000:
            lungs.append(float(sample.hu[0][lung].median()))
            bright = sample.hu[0] > 0
            outside.append(float((lung & bright).sum() / bright.sum()))
    assert len(lungs) >= 4
    assert -970 < np.median(lungs) < -550
    assert np.median(outside) < 0.1


def test_hearts_beat_and_coronaries_ride_on_them(folder):
    name = next(
        name
        for name in anatomies.names(folder, "whole")
        if anatomies.read(folder, name)[1]["heart"]
    )
    hearts = anatomies.read(folder, name)[0]["heart"]
    assert len(hearts) == anatomies.BEATS
    cavity = (hearts % anatomies.HEART_CODES == 1).sum(axis=(1, 2, 3))
    assert cavity.max() > 1.15 * cavity.min()
    assert set(np.unique(hearts // anatomies.HEART_CODES)) <= {0, 1, 2, 3}
    assert (hearts // anatomies.HEART_CODES > 0).any(axis=(1, 2, 3)).all()


def test_kinds_of_vessels_are_told_where_contrast_medium_shows_them(folder):
    names, found = anatomies.names(folder, "detail"), set()
    for seed in range(12):
        labels = synthesis.draw(folder, names, "detail", np.random.default_rng(seed)).labels
        codes = set(labels["vessels"].unique().tolist()) - {0}
        assert codes <= {1, 2} or codes == {synthesis.EITHER}
        found |= codes
    assert found == {1, 2, synthesis.EITHER}


def test_the_rate_rises_and_falls_in_each_leg():
    config = {**training.DEFAULTS, "steps": 100, "refine_steps": 50, "warm_up": 10}
    rates = [training.rate_of(config, step) for step in range(training.steps_of(config))]
    assert max(rates[:100]) == rates[9] == pytest.approx(config["rate"])
    assert max(rates[100:]) == rates[109] == pytest.approx(config["refine_rate"])
    assert rates[99] < 1.1 * config["least_rate"] + 1e-5
    assert rates[149] < 1.1 * config["least_rate"] + 1e-5
    counts = [training.pass_of(config, step) for step in range(150)]
    assert counts[100:].count("chest") < 0.35 * 50
    assert training.leg_of({**config, "refine_steps": 0}, 100).steps == 100


def test_training_that_was_cut_off_ends_as_if_it_had_not_been(folder, tmp_path):
    whole, done = training.train(folder, tmp_path / "whole", SMALL, QUICK)
    assert done
    # The same schedule, stopped by the clock at its first step and taken up until it is done.
    for _ in range(training.steps_of(QUICK)):
        parts, done = training.train(folder, tmp_path / "parts", SMALL, QUICK, until=0.0)
    assert done or json.loads((tmp_path / "parts/log.jsonl").read_text().splitlines()[-1])
    for (key, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=key)
    rows = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 4
    assert all(0.0 <= value <= 1.0 for value in rows[-1]["held_out"].values() if value == value)
    with pytest.raises(ValueError, match="of a network with other settings"):
        training.train(folder, tmp_path / "whole", {**SMALL, "gates": False}, QUICK)


def test_patients_held_out_are_not_trained_on(folder):
    seen, unseen = training.split(folder, {**training.DEFAULTS, **QUICK})
    patients = [
        {anatomies.patient_of(n) for names in part.values() for n in names}
        for part in (seen, unseen)
    ]
    assert all(patients)
    assert not patients[0] & patients[1]


# --- Weights -------------------------------------------------------------------------------------


@pytest.fixture
def saved(small, tmp_path):
    rng = np.random.default_rng(0)
    familiar = trust.Familiar.learn(rng.normal(size=(80, 8)), rng.normal(size=(40, 8)))
    path = tmp_path / "small.safetensors"
    weights.save(path, small, {"steps": 3}, familiar)
    return path


def test_weights_come_back_to_half_precision(small, saved):
    net, facts, familiar = weights.load(saved)
    assert facts == {"steps": 3, "digest": weights.digest(saved)}
    assert net.config == small.config
    assert familiar.distance(np.zeros(8)) < 1.0 < familiar.distance(np.full(8, 9.0))
    for key, value in small.state_dict().items():
        torch.testing.assert_close(
            net.state_dict()[key].float(), value.float(), atol=2e-3, rtol=2e-3, msg=key
        )


def test_weights_of_another_architecture_are_refused(small, saved, monkeypatch):
    monkeypatch.setitem(hierarchical.PASSES["chest"], "voxel_mm", 3.5)
    with pytest.raises(ValueError, match=r"was trained with architecture .* train it anew"):
        weights.load(saved)


def test_what_is_no_safetensors_is_refused_unread(tmp_path):
    path = tmp_path / "evil.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="weights load as safetensors only"):
        weights.load(path)
    with pytest.raises(ValueError, match="no such weights"):
        weights.load(tmp_path / "absent.safetensors")


# --- Reading scans -------------------------------------------------------------------------------


def test_means_on_a_coarser_grid_are_exact():
    rng = np.random.default_rng(0)
    hu = rng.normal(size=(12, 9, 10)).astype(np.float32)
    out = passes.resized(hu, [4, 9, 5]).numpy()
    exact = hu.reshape(4, 3, 9, 5, 2).mean((1, 4))
    np.testing.assert_allclose(out, exact, atol=1e-5)
    odd = passes.resized(np.arange(5, dtype=np.float32)[None, None] * np.ones((2, 2, 1)), [2, 2, 2])
    # Voxels 0, 1 and half of 2; half of 2, 3 and 4.
    np.testing.assert_allclose(odd[0, 0], [(0 + 1 + 0.5 * 2) / 2.5, (0.5 * 2 + 3 + 4) / 2.5])


def test_blocks_with_halos_read_as_one(small, monkeypatch):
    reader = inference.Reader(net=small)
    volume = torch.randn(96, 32, 32, generator=torch.manual_seed(3)) * 200 - 700
    whole, _ = passes.run(reader, "detail", volume, None)
    monkeypatch.setattr(passes, "BLOCK_VOXELS", 80 * 32 * 32)
    parts, _ = passes.run(reader, "detail", volume, None)
    for group, values in whole.items():
        differ = np.abs(values.astype(int) - parts[group].astype(int))
        assert differ.max() <= 12, group  # of 255; the halo is finite
        assert differ.mean() < 0.2, group


def test_maps_lie_on_the_grid_of_the_scan_in_any_orientation(small):
    rng = np.random.default_rng(1)
    image = sitk.GetImageFromArray(rng.integers(-1000, 200, (30, 40, 36)).astype(np.int16))
    image.SetSpacing((3.0, 3.0, 4.0))
    reader = inference.Reader(net=small)
    made, _ = inference.segment(image, reader=reader)
    assert set(made) == set(inference.PARTS)
    turned, _ = inference.segment(sitk.DICOMOrient(image, "RAS"), reader=reader)
    for part, labels in made.items():
        assert labels.GetSize() == image.GetSize()
        back = sitk.GetArrayFromImage(sitk.DICOMOrient(turned[part], "LPS"))
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(labels), back)


def test_what_may_be_either_of_two_classes_is_inside_all_the_same():
    view = _view("airways", [0.3, 0.2, 0.1, 0.0], [0.35, 0.2, 0.8, 0.49])
    labels, share, promised = tidying.decide(view, "airways")
    assert labels.ravel().tolist() == [2, 0, 2, 0]
    np.testing.assert_allclose(share.ravel() / 255, [0.65, 0.4, 0.9, 0.49], atol=0.006)
    by_hand = 2 * (0.65 + 0.9) / (0.65 + 0.4 + 0.9 + 0.49 + 2)
    assert promised == pytest.approx(by_hand, abs=0.004)


def _view(group, *shares):
    """Probabilities of the classes inside along one line of voxels."""
    shares = np.array([np.zeros(len(shares[0])), *shares])[:, None, None]
    values = {group: np.rint(255 * shares).astype(np.uint8)}
    return passes.View(values, [np.arange(n) for n in shares.shape[1:]])


def test_probabilities_between_voxels_are_linear_and_stay_at_the_ends():
    rng = np.random.default_rng(5)
    values = rng.integers(0, 256, (3, 6, 5, 7)).astype(np.uint8)
    lines = [np.linspace(-1.0, n + 0.5, 2 * n + 3) for n in values.shape[1:]]
    view = passes.View({"vessels": values}, lines)
    found = np.concatenate([view.at("vessels", (2, 0), slab) for slab in view.slabs()], axis=1)
    at = np.meshgrid(
        *(line.clip(0, n - 1) for line, n in zip(lines, values.shape[1:], strict=True)),
        indexing="ij",
    )
    for code, one in zip((2, 0), found, strict=True):
        exact = ndimage.map_coordinates(values[code].astype(float) / 255, at, order=1)
        np.testing.assert_allclose(one, exact, atol=1e-5)


def test_cubes_of_voxels_as_bytes_are_taken_apart_as_the_logits_are(small):
    reader = inference.Reader(net=small)
    volume = torch.randn(48, 32, 40, generator=torch.manual_seed(3)) * 200 - 700
    by_cubes, _ = passes.run(reader, "detail", volume, None)
    reader.folded = False
    whole, _ = passes.run(reader, "detail", volume, None)
    for group, values in whole.items():
        np.testing.assert_array_equal(values, by_cubes[group], err_msg=group)


def test_arteries_and_veins_are_told_apart_or_not_at_all():
    labels = np.array([1, 1, 2, 2, 0], np.uint8)
    sure = _view("vessels", [0.9, 0.8, 0.1, 0.1, 0.0], [0.0, 0.1, 0.8, 0.9, 0.0])
    torn = _view("vessels", [0.5, 0.5, 0.4, 0.4, 0.0], [0.4, 0.4, 0.5, 0.5, 0.0])
    labels = labels[None, None]
    assert tidying.kinds_told(sure, labels)
    assert not tidying.kinds_told(torn, labels)
    assert not tidying.kinds_told(sure, np.where(labels > 0, 2, 0))
    assert not tidying.kinds_told(sure, np.zeros_like(labels))


def test_wrong_precision_is_told(small):
    with pytest.raises(
        ValueError, match="precision 'int8' is unknown; known: float32, bfloat16, auto"
    ):
        inference.Reader(net=small, precision="int8")


def test_trust_speaks_in_words():
    maps = inference.Maps({}, {"lungs": 0.95, "heart": 0.6, "vessels": 0.7}, distance=1.4)
    lobes, heart, vessels = trust.rows(maps, {"lobes": 4000.0, "heart": 500.0, "vessels": 0.0})
    unlike = "the scan is unlike those that the network was trained on"
    assert lobes["flag"] == unlike
    assert heart["flag"] == f"the network expects a Dice of 0.60 of its own heart; {unlike}"
    assert vessels["flag"].startswith("no vessels found")
