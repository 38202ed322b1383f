"""The options of the publication's configuration: each does what it says, and off it does nothing.

Anatomies are balls and rods, so that what is right and left, and what a draw shows, is known.
"""

import json
import math
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml

from helpers import ROOT, Files
from lungitude import images, records, tables
from lungitude.networks import (
    anatomies,
    blocks,
    card,
    explain,
    hierarchical,
    inference,
    losses,
    parting,
    preprocessing,
    settings,
    synthesis,
    tidying,
    training,
    trust,
    weights,
)

SMALL = {"features": [4, 8, 8, 8], "decoder": [4, 4, 4]}
OWN = {**SMALL, "airway_encoder": "residual", "blur_voxels": 1.0}
GRADES = ("I", "II", "III", "IV")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_anatomy(folder, name, kind, grade):
    """Write two lungs (the right one at low x), a rod of each tree and a heart of eight parts."""
    shape = (60, 60, 72) if kind == "whole" else (80, 80, 80)
    z, y, x = np.indices(shape)
    middle = np.array(shape) / 2.0
    off = [(axis - m) / m for axis, m in zip((z, y, x), middle, strict=True)]
    body = off[1] ** 2 + off[2] ** 2 < 0.9
    lungs = [off[0] ** 2 + off[1] ** 2 + ((off[2] - s) / 0.45) ** 2 < 0.5 for s in (-0.5, 0.5)]
    regions = np.zeros(shape, np.uint8)
    for lung, codes in zip(lungs, ((1, 2, 3), (4, 6, 5)), strict=True):
        regions[lung] = np.select([off[0][lung] > 0.2, off[0][lung] > -0.2], codes[:2], codes[2])
    trees = np.zeros(shape, np.uint8)
    for k in range(4):  # lumen, wall, artery, vein
        trees[((y - middle[1] - 4 * k + 6) ** 2 + (z - middle[0]) ** 2 < 4) & lungs[k % 2]] = k + 1
    heart = np.zeros((2, *shape), np.uint8)
    near = off[0] ** 2 + off[1] ** 2 + off[2] ** 2 < 0.03
    heart[:, near & (regions == 0)] = 1
    heart[:, near & (regions == 0) & (off[0] > 0)] = 2
    hu = np.where(body, 40, -1000)
    hu = np.where(regions > 0, -860, hu)
    hu = np.where(trees > 1, 20, np.where(trees == 1, -980, hu))
    entry = f"{kind}-{name}-0"
    layers = {"hu": hu.astype(np.int16), "regions": regions, "trees": trees, "heart": heart}
    for layer, values in layers.items():
        np.save(folder / f"{entry}.{layer}.npy", values)
    known = {"phase": "insp", "spacing_mm": 4.0 if kind == "whole" else 1.0, "heart": True}
    known["GOLDGR"] = grade
    (folder / f"{entry}.json").write_text(json.dumps(known))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Anatomies of four patients."""
    folder = tmp_path_factory.mktemp("bank")
    for k, grade in enumerate(GRADES):
        for kind in ("whole", "detail"):
            write_anatomy(folder, f"T-{k}", kind, grade)
    return folder


# --- The network ---------------------------------------------------------------------------------


def test_the_published_network_is_built_as_its_file_says():
    network, _ = settings.arguments(settings.load("published"))
    with torch.device("meta"):
        net = hierarchical.build(network)
        apart = hierarchical.build({**network, "encoder": "residual", "airway_encoder": "resnet50"})
    kinds = [type(part) for part in net.encoder.modules()]
    assert kinds.count(torch.nn.Dropout3d) == 1
    assert net.encoder.dropout.p == 0.1
    assert not len(net.own)
    assert list(apart.own) == ["airway"]
    assert sum(p.numel() for p in apart.own.parameters()) > 40e6
    assert apart.multiple == 32


def test_airways_with_an_encoder_of_their_own_leave_the_shared_one_to_the_rest():
    torch.manual_seed(1)
    net = hierarchical.build(OWN)
    hu = torch.randn(1, 1, 32, 32, 32, generator=torch.manual_seed(2)) * 300 - 600

    def reached(branch, part):
        net.zero_grad()
        net(hu, "detail", (branch,))[branch][
            "airways" if branch == "airway" else "vessels"
        ].sum().backward()
        return any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())

    assert reached("airway", net.own)
    assert not reached("airway", net.encoder)
    assert reached("vessel", net.encoder)
    assert not reached("vessel", net.own)
    net.eval()
    for name, own in (("detail", 1), ("chest", 0)):
        folded = hierarchical.fold(net, name)
        assert len(folded.own) == own
        with torch.no_grad():
            whole, same = net(hu, name), folded(hu, name)
        for branch, groups in same.items():
            for group, values in groups.items():
                torch.testing.assert_close(values, whole[branch][group], atol=2e-5, rtol=1e-4)


def test_maps_of_the_airways_are_made_from_their_own_encoder():
    with torch.device("meta"):
        net = hierarchical.build({**SMALL, "airway_encoder": "resnet50"})
    assert explain.layers(net, "airway")[-1] == "own.airway.net.layer1"
    assert explain.layers(net, "vessel")[-1] == "encoder.levels.0"
    reached = {id(p) for _, parts in explain.cascade(net) for q in parts for p in q.parameters()}
    assert reached == {id(p) for p in net.parameters()}


def test_the_blur_comes_before_the_windows_and_is_that_of_the_preprocessing():
    hu = np.random.default_rng(0).normal(-800.0, 150.0, (14, 16, 18)).astype(np.float32)
    batch = torch.from_numpy(hu)[None, None]
    net = hierarchical.build({**SMALL, "blur_voxels": 1.5, "windows_hu": [[-1000.0, 400.0]]})
    seen = net.image(batch)[0, 0].numpy()
    wanted = (np.clip(preprocessing.blurred(hu, 1.5, (1.0,) * 3), -1000, 400) + 1000) / 1400
    # The network's Gaussian ends at 4 voxels, scipy's at 6.
    assert np.abs(seen - wanted).max() < 0.01
    assert np.abs(seen - (np.clip(hu, -1000, 400) + 1000) / 1400).max() > 0.1
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.image(batch)[0, 0], torch.from_numpy(seen))
    plain = hierarchical.build(SMALL)
    assert torch.equal(plain.image(batch), hierarchical.windows(batch))


def test_later_settings_change_the_digest_only_where_they_do_something():
    torch.manual_seed(1)
    first = hierarchical.build(SMALL)
    torch.manual_seed(1)
    told = hierarchical.build({**SMALL, **hierarchical.LATER})
    assert weights.architecture(told) == weights.architecture(first)
    for (key, one), other in zip(
        first.state_dict().items(), told.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), key
    digests = {
        weights.architecture(hierarchical.build({**SMALL, **later}))
        for later in ({}, {"blur_voxels": 1.0}, {"airway_encoder": "residual"})
    }
    assert len(digests) == 3
    net, *_ = weights.load()  # the shipped ones came before these settings
    assert net.config["airway_encoder"] == "shared"


def test_an_unknown_encoder_of_the_airways_is_named():
    with pytest.raises(ValueError, match="airway_encoder 'vgg' is unknown; known: shared, resid"):
        hierarchical.build({"airway_encoder": "vgg"})


# --- Losses, optimiser, early stopping -----------------------------------------------------------


def test_weights_of_the_losses_take_out_what_they_weigh():
    labels = torch.zeros(1, 16, 16, 16, dtype=torch.uint8)
    labels[:, 4:12, 4:12, 4:12] = 1
    batch = training.Batch(
        None,
        {"airways": labels, "edge": labels},
        {"airway": torch.tensor([True])},
        {"airway": torch.tensor([[72.0, 4.0]])},
    )
    rng = torch.manual_seed(0)
    logits = {
        "airways": torch.randn(1, 3, 16, 16, 16, generator=rng),
        "edge": torch.randn(1, 1, 16, 16, 16, generator=rng),
        "values": torch.tensor([[60.0, 4.0]]),
    }

    def loss(**given):
        chosen = {**dict.fromkeys(losses.WEIGHTS, 0.0), **given}
        total, parts = losses.of_branch("airway", logits, batch, "detail", True, chosen)
        return float(total), parts

    alone, parts = loss()
    assert alone == pytest.approx(parts["airways"], abs=1e-6)
    assert loss(edge=0.7)[0] == pytest.approx(alone + 0.7 * parts["edge"], abs=1e-6)
    # One of two values is 12 points, which is its SD, off.
    assert loss(values=2.0)[0] == pytest.approx(alone + 2.0 * 0.5, abs=1e-6)
    entropy = loss(entropy=1.0)[0] - alone
    assert loss(entropy=0.25)[0] - alone == pytest.approx(0.25 * entropy, abs=1e-6)
    assert entropy > 0.5
    assert loss(cldice=1.0)[0] - alone > 0.1
    whole, _ = losses.of_branch("airway", logits, batch, "detail", True)
    assert float(whole) == pytest.approx(loss(**losses.WEIGHTS)[0], abs=1e-6)


@pytest.mark.parametrize(("name", "moved"), [("adam", 0.1), ("adamw", 0.1 * 0.5)])
def test_adam_adds_its_penalty_to_the_gradient_and_adamw_does_not(name, moved):
    # Without a gradient Adam's first step is the rate, whatever the penalty; AdamW shrinks by it.
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimiser = training.OPTIMISERS[name]([weight], 0.1, weight_decay=0.5)
    weight.grad = torch.zeros(1)
    optimiser.step()
    assert weight.item() == pytest.approx(1.0 - moved, abs=1e-4)


def quick(**more):
    """Options of a training of a few steps, by the publication's file."""
    _, options = settings.arguments(settings.load("published"))
    batch = dict.fromkeys(("chest", "heart", "detail"), 1)
    few = {"steps": 4, "batch": batch, "threads": 1, "workers": 0, "check_batches": 1}
    return {**options, **few, "check_every": 1, **more}


PATIENTS = {"train": ["T-0", "T-1", "T-2"], "validation": ["T-3"], "test": []}


def test_training_stops_early_and_keeps_the_best_weights(bank, tmp_path, monkeypatch):
    scores = iter([0.3, 0.5, 0.4, math.nan, 0.45])
    seen = {}

    def check(net, *_):
        score = next(scores)
        seen[score] = {key: value.clone() for key, value in net.state_dict().items()}
        return {"detail airways": score, "heart chambers": math.nan}

    monkeypatch.setattr(training, "check", check)
    config = quick(steps=9, patience=2, shares={"detail": 1.0})
    net, done = training.train(bank, tmp_path, SMALL, config, patients=PATIENTS)
    assert done
    for key, value in net.state_dict().items():
        assert torch.equal(value, seen[0.5][key]), key
    rows = card.read_log(tmp_path / "log.jsonl")
    assert [row["step"] for row in rows if "held_out" in row] == [1, 2, 3, 4]
    facts = training.facts(config, tmp_path / "log.jsonl", 4, 4)
    assert (facts["steps"], facts["held_out_dice"]["detail airways"]) == (2, 0.5)
    # Once it is over, it stays so, and says the same.
    again, done = training.train(bank, tmp_path, SMALL, config, patients=PATIENTS)
    assert done
    assert next(scores) == 0.45
    for key, value in again.state_dict().items():
        assert torch.equal(value, seen[0.5][key]), key
    for more, what in (({"optimiser": "adamw"}, "another optimiser"), ({}, "other patients")):
        others = PATIENTS if more else {**PATIENTS, "test": ["T-4"]}
        with pytest.raises(ValueError, match=f"of a training with {what}; delete it"):
            training.train(bank, tmp_path, SMALL, {**config, **more}, patients=others)


def test_without_patience_the_last_weights_count():
    best, net = training.Best(0), torch.nn.Linear(1, 1)
    for score in (0.9, 0.1, 0.1):
        best.see({"detail airways": score}, net)
    assert not best.over
    assert best.weights is None
    assert best.of(net) is net


# --- Augmentation --------------------------------------------------------------------------------


def test_published_turns_flips_and_crops_stay_in_their_ranges(bank):
    arrays, known = anatomies.read(bank, "whole-T-0-0")
    arrays = {**arrays, "heart": arrays["heart"][0]}
    mirrors, sizes = [], []
    for seed in range(40):
        chance = synthesis.Chance(np.random.default_rng(seed))
        points, mirrored = synthesis._place_published(chance, arrays, known, "chest", (5, 5, 5))
        at = points.numpy().astype(float)
        matrix = np.stack([at[1, 0, 0], at[0, 1, 0], at[0, 0, 1]], axis=1) - at[0, 0, 0][:, None]
        step = np.linalg.norm(matrix, axis=0)
        assert np.ptp(step) < 1e-3  # alike along all axes, straight and at right angles
        turn = matrix / step
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-3)
        assert (abs(np.diag(turn)) > math.cos(math.radians(14.3))).all()
        assert turn[0, 0] > 0
        assert mirrored == (turn[2, 2] < 0)
        mirrors.append((turn[1, 1] < 0, mirrored))
        sizes.append(step[0] * known["spacing_mm"] / 4.0)
    assert len(set(mirrors)) == 4
    assert 0.8 <= min(sizes) < 0.85
    assert 0.95 < max(sizes) <= 1.0


def test_a_mirrored_patient_keeps_the_right_lung_on_the_right(bank):
    names = anatomies.names(bank, "whole")
    mirrored = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        sample = synthesis.draw(bank, names, "chest", rng, "published")
        regions = sample.labels["regions"].numpy()
        x = np.indices(regions.shape)[2]
        right, left = (np.isin(regions, codes) for codes in ((1, 2, 3), (4, 5, 6)))
        assert min(right.sum(), left.sum()) > 500
        assert x[right].mean() < x[left].mean()
        # The arteries' rod is in the right lung of the anatomy.
        chance = synthesis.Chance(np.random.default_rng(seed))
        arrays, known = synthesis._beat(bank, names, chance.rng)
        mirrored += synthesis._place_published(chance, arrays, known, "chest", (5, 5, 5))[1]
        lungs = right | left
        assert np.median(sample.hu[0].numpy()[lungs]) == pytest.approx(-850.0, abs=80.0)
    assert 2 <= mirrored <= 10


def test_published_hearts_have_contrast_medium_and_hrct_tells_no_kinds_of_vessels(bank):
    heart = synthesis.draw(
        bank, anatomies.names(bank, "whole"), "heart", np.random.default_rng(3), "published"
    )
    blood = heart.hu[0][heart.labels["chambers"] == 1]
    assert heart.known["heart"]
    assert float(blood.median()) > 150.0
    detail = synthesis.draw(
        bank, anatomies.names(bank, "detail"), "detail", np.random.default_rng(3), "published"
    )
    assert set(detail.labels["vessels"].unique().tolist()) == {0, synthesis.EITHER}


# --- Parting -------------------------------------------------------------------------------------


def test_stand_ins_of_grades_are_as_frequent_as_those_of_the_publication():
    places = (np.arange(200) + 0.5) / 200
    low, high = np.log(anatomies.EMPHYSEMA_PCT)
    thin, thick = anatomies.RANGES["PI10"]
    found = [
        anatomies.grade(
            SimpleNamespace(
                emphysema_pct=math.exp(low + a * (high - low)),
                quantities={"pi10_mm": thin + b * (thick - thin)},
            )
        )
        for a in places
        for b in places
    ]
    assert (found[0], found[-1]) == ("I", "IV")
    for grade, patients in anatomies.GRADES.items():
        assert found.count(grade) / len(found) == pytest.approx(patients / 400, abs=0.005)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """What is known of the anatomies of 80 patients."""
    folder = tmp_path_factory.mktemp("many")
    for k in range(80):
        known = {"phase": "insp", "spacing_mm": 2.0, "heart": True, "GOLDGR": GRADES[k % 4]}
        (folder / f"whole-P-{k:02d}-0.json").write_text(json.dumps(known))
    return folder


def test_patients_are_parted_by_grade_and_each_fold_holds_others_out(many):
    told = settings.load("published")["parting"]
    plain = parting.patients(many, told)
    assert {part: len(names) for part, names in plain.items()} == {
        "train": 56,
        "validation": 12,
        "test": 12,
    }
    grades = [int(name[-2:]) % 4 for name in plain["test"]]
    assert [grades.count(k) for k in range(4)] == [3, 3, 3, 3]
    held = []
    for fold in range(1, 6):
        found = parting.patients(many, told, fold)
        assert found["test"] == plain["test"]
        assert not set(found["train"]) & set(found["validation"])
        assert len(found["train"]) + len(found["validation"]) == 68
        held += found["validation"]
    assert sorted(held) == sorted(plain["train"] + plain["validation"])


def test_without_a_column_the_last_patients_are_held_out_as_ever(bank):
    assert parting.patients(bank, parting.DEFAULTS) is None
    config = {**training.DEFAULTS, "held_out": 0.25}
    seen, unseen = training.split(bank, config)
    assert {anatomies.patient_of(name) for name in unseen["detail"]} == {"T-3"}
    assert {anatomies.patient_of(name) for name in seen["heart"]} == {"T-0", "T-1", "T-2"}
    assert [seen, unseen] == training.split(bank, config, PATIENTS)


def test_what_cannot_be_parted_is_named(many, bank):
    told = settings.load("published")["parting"]
    with pytest.raises(ValueError, match="fold 6 is asked for; the settings have folds 1 to 5"):
        parting.patients(many, told, 6)
    with pytest.raises(ValueError, match="fold 1 is asked for; the settings have no folds"):
        parting.patients(many, parting.DEFAULTS, 1)
    with pytest.raises(ValueError, match="has no CENTRE, which 'parting: by' names; make the"):
        parting.patients(many, {**told, "by": "CENTRE"})


# --- Whole trainings and readings ----------------------------------------------------------------


def run(script, place, inputs, outputs, **params):
    """Run a script as Snakemake does."""
    job = SimpleNamespace(
        rule=script,
        wildcards=["x"],
        log=[str(place / "log")],
        input=Files(**inputs),
        output=Files(**outputs),
        params=Files(**params),
    )
    path = str(ROOT / "scripts" / f"{script}.py")
    runpy.run_path(path, init_globals={"snakemake": job}, run_name="__main__")


def test_a_fold_of_the_published_settings_trains_from_script_to_card(bank, tmp_path, monkeypatch):
    told = settings.load("published")
    told["network"] |= {"encoder": "residual", "airway_encoder": "residual", **SMALL}
    told["training"] = quick(patience=3)
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25}
    told["parting"] |= {"shares": shares, "folds": 3}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(told))
    monkeypatch.setattr(training.familiarity, "__defaults__", ((12, 6), None))
    out = {"weights": tmp_path / "w.safetensors", "log": tmp_path / "log.jsonl"}
    run(
        "train_network",
        tmp_path,
        {"settings": path},
        out,
        folder=bank,
        checkpoint=tmp_path / "checkpoint",
        fold=2,
    )
    net, facts, _ = weights.load(out["weights"])
    assert net.config["windows_hu"] == [[-1000.0, 400.0]]
    assert net.config["airway_encoder"] == "residual"
    assert facts["parting"]["fold"] == 2
    counts = {part: len(names) for part, names in facts["parting"]["patients"].items()}
    assert counts == {"train": 2, "validation": 1, "test": 1}
    assert set(facts["test_dice"]) == set(facts["held_out_dice"])
    assert facts["reading"]["vessel_tracking"]
    text = card.card("tiny/fold2", out["weights"])
    assert "1 held out for validation (fold 2 of 3), 1 left for the test" in text
    assert "    probabilities: true\n    vessel_tracking: true\n" in text
    table = tmp_path / "folds.md"
    run("compare_folds", tmp_path, {"weights": [out["weights"]] * 2}, {"table": table})
    line = next(row for row in table.read_text().splitlines() if row.startswith("| detail airways"))
    cells = [float(cell) for cell in line.split("|")[2:-1]]
    assert cells == [facts["held_out_dice"]["detail airways"].__round__(3)] * 3 + [0.0]


@pytest.fixture(scope="module")
def certain():
    """A network that finds what is air in its input: its last layers are set by hand."""
    torch.manual_seed(1)
    net = hierarchical.build(SMALL).eval()
    cubes = blocks.FOLD**3
    for branch, decoder in net.decoders.items():
        with torch.no_grad():
            decoder.out.weight.mul_(30.0 if branch == "vessel" else 0.02)
            bias = torch.zeros(sum(decoder.sizes))
            if branch == "lung":
                bias[1] = 4.0  # right upper lobe
                bias[-1] = -1.0
            if branch == "vessel":  # about as likely as not
                bias[0] = 1.4 - inference.OUTSIDE.get("vessels", 0.0)
            decoder.out.bias.copy_(bias.repeat_interleave(cubes))
    return net


@pytest.fixture(scope="module")
def chest():
    """A chest of water with a lung of 0.4 L in it, and a tube across the lung."""
    z, y, x = (np.indices((40, 44, 48)) - np.array([20, 22, 24]).reshape(3, 1, 1, 1)) * 2.5
    hu = np.where((y / 50) ** 2 + (x / 55) ** 2 < 1.0, 20, -1000)
    hu = np.where((z / 40) ** 2 + (y / 40) ** 2 + (x / 45) ** 2 < 1.0, -860, hu)
    hu = np.where((abs(x) < 40) & (y**2 + z**2 < 10), 30, hu)
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    image.SetSpacing((2.5, 2.5, 2.5))
    return image


def test_probabilities_are_those_that_the_maps_are_decided_by(certain, chest):
    plain, _ = inference.segment(chest, reader=inference.Reader(net=certain))
    reader = inference.Reader(net=certain, probabilities=True)
    made, found = inference.segment(chest, reader=reader)
    for part, labels in plain.items():
        np.testing.assert_array_equal(images.array(labels), images.array(made[part]))
    kept = inference.probabilities(found, chest)
    assert set(kept) == set(inference.SHARES)
    for share in kept.values():
        assert share.GetPixelID() == sitk.sitkUInt8
        assert share.GetSize() == chest.GetSize()
    lungs, vessels = images.array(made["lungs"]) > 0, images.array(made["vessels"]) > 0
    assert lungs.sum() * 2.5**3 / 1000 > 200
    assert images.array(kept["lungs"])[lungs].mean() > 200
    # 127 and 128 stand for either side of one half.
    share = images.array(kept["vessels"]).astype(int)
    assert share[vessels].min() >= 127
    assert share[lungs & ~vessels].max() <= 128
    assert images.array(kept["low_attenuation"])[~lungs].max() == 0
    _, none = inference.segment(chest, reader=inference.Reader(net=certain))
    assert none.shares == {}


def test_tracking_adds_its_links_to_the_vessels_of_a_scan(certain, chest, monkeypatch):
    plain, _ = inference.segment(chest, ("vessels",), inference.Reader(net=certain))

    def track(share, hu, voxel_mm):
        assert share.shape == hu.shape
        assert voxel_mm == 1.0
        links = np.zeros(share.shape, bool)
        links[share.shape[0] // 2, share.shape[1] // 2 + 15, 10:90] = True
        return links

    monkeypatch.setattr(inference.tracking, "track", track)
    reader = inference.Reader(net=certain, vessel_tracking=True)
    linked, _ = inference.segment(chest, ("vessels",), reader)
    before, after = (images.array(made["vessels"]) for made in (plain, linked))
    new = (before == 0) & (after > 0)
    np.testing.assert_array_equal(after[~new], before[~new])
    at = np.argwhere(new)
    assert len(at) > 5
    assert np.ptp(at[:, 0]) <= 1
    assert np.ptp(at[:, 1]) <= 1


@pytest.mark.parametrize("shape", [(20, 30, 40), (4, 6, 8), (7, 30, 5)])
def test_a_line_stays_a_line_on_any_grid(shape):
    mask = np.zeros((10, 12, 16), bool)
    mask[3, 5, 2:14] = True
    found = tidying.each(mask, shape)
    assert found.shape == shape
    at = np.argwhere(found)
    scale = np.array(shape) / mask.shape
    place = (at + 0.5) / scale
    assert (abs(place[:, 0] - 3.5) <= 0.5 + 0.5 / scale[0]).all()
    assert (abs(place[:, 1] - 5.5) <= 0.5 + 0.5 / scale[1]).all()
    columns = np.unique(at[:, 2])
    assert (np.diff(columns) == 1).all()
    assert columns[0] == int(2.5 * scale[2] - 0.5 * max(scale[2] - 1, 0) + 1e-9)


@pytest.fixture
def visit(certain, chest, tmp_path):
    """Run segment_visit on an inspiration and a gated scan; returns its outputs."""
    rng = np.random.default_rng(0)
    familiar = trust.Familiar.learn(rng.normal(size=(80, 8)), rng.normal(size=(40, 8)))
    weights.save(tmp_path / "w.safetensors", certain, {}, familiar)
    images.write(chest, tmp_path / "insp.nii.gz")
    images.write(images.join_cycle([chest, chest]), tmp_path / "gated.nii.gz")
    for series in ("insp", "gated"):
        records.write(tmp_path / f"{series}.json", USUBJID="1", AVISIT="Baseline", SERIES=series)
    single = ("airways", "vessels", "coronary", "heart")
    outputs = {part: tmp_path / f"{part}.nii.gz" for part in single}
    outputs |= {f"{p}_probability": tmp_path / f"{p}_probability.nii.gz" for p in single}
    outputs |= {
        f"{p}_probability": [tmp_path / f"insp_{p}_probability.nii.gz"]
        for p in ("lungs", "low_attenuation")
    }
    outputs |= {"lobes": [tmp_path / "insp_lobes.nii.gz"], "table": tmp_path / "trust.tsv"}
    names = ("insp", "gated")
    inputs = {
        "images": [tmp_path / f"{name}.nii.gz" for name in names],
        "records": [tmp_path / f"{name}.json" for name in names],
    }

    def segmented(**sought):
        run(
            "segment_visit",
            tmp_path,
            inputs,
            outputs,
            identity={"USUBJID": "1", "AVISIT": "Baseline"},
            series=names,
            sought=sought,
            chests=["insp"],
            roles={"inspiration": "insp", "gated": "gated"},
            weights=tmp_path / "w.safetensors",
            precision="float32",
            probabilities=True,
            vessel_tracking=True,
        )
        return outputs

    return segmented


def test_scans_of_a_visit_are_read_with_their_probabilities(visit, chest):
    outputs = visit(insp=["lobes", "airways", "vessels"], gated=["heart"])
    share = sitk.GetArrayFromImage(sitk.ReadImage(outputs["lungs_probability"][0]))
    lobes = sitk.GetArrayFromImage(sitk.ReadImage(outputs["lobes"][0]))
    # Readers get the probabilities themselves.
    assert 0.9 < share.max() <= 1.0
    assert share[lobes > 0].mean() > 0.7
    assert sitk.ReadImage(outputs["heart_probability"]).GetSize() == (*chest.GetSize(), 2)
    assert set(tables.read(outputs["table"])["STRUCTURE"]) == {
        "lobes",
        "airways",
        "vessels",
        "heart",
    }


def test_structures_with_other_label_maps_are_not_sought(visit):
    outputs = visit(insp=["vessels"], gated=[])
    assert tables.read(outputs["table"])["STRUCTURE"].tolist() == ["vessels"]
    for part in ("airways", "heart", "heart_probability"):
        assert outputs[part].stat().st_size == 0
    assert outputs["vessels"].stat().st_size > 0
