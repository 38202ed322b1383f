"""Evaluation of a network on unseen phantoms: patients, scores, figures, document, jobs."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import ROOT
from lungitude import tables
from lungitude.networks import (
    evaluation,
    evaluation_document,
    evaluation_figure,
    evaluation_summary,
    unseen,
)
from lungitude.phantom import record
from lungitude.statistics.accuracy import accuracy

COARSE = unseen.Domain(
    kernel="soft",
    voxel_mm=3.0,
    slices_mm=(3.0,),
    noise_hu=(20.0, 20.0),
    drift=False,
    gated_mm=(3.5, 3.5, 3.5),
    phases=10,
    gated_noise_hu=25.0,
    contrast=0.7,
    calcium_mm=(1.2, 1.2, 3.0),
    calcium_noise_hu=20.0,
    count_mm=(4.0, 4.0, 4.0),
)


# Patients


def test_patients_are_the_same_however_many_and_differ_from_each_other():
    for domain, n in unseen.CASES.items():
        some = unseen.cases(domain, n)
        assert some[:5] == unseen.cases(domain, 5)
        assert [case.grade for case in some[:5]] == ["I", "II", "III", "IV", "I"]
        table = pd.DataFrame([case.row for case in some])
        assert table["USUBJID"].is_unique
        assert not table.drop(columns=["USUBJID", "AVISIT"]).duplicated().any()
        emphysema = table.groupby([case.grade for case in some])["EMPH_PCT"].mean()
        assert emphysema.is_monotonic_increasing
        for row in table.to_dict("records"):
            drawn = record.draw(row, {"seed": unseen.SEED})
            known = {name for name, *_ in record.QUANTITIES.values()}
            assert set(drawn.quantities) == known - {"wa_pct"}  # which follows from Pi10


def test_patients_are_none_of_the_demo_and_domains_share_none():
    demo = tables.read(ROOT / "config" / "demo" / "phantom.tsv")
    seen = {(row["LUNGVOL_L"], row["EMPH_PCT"]) for row in demo.to_dict("records")}
    names = set()
    for domain, n in unseen.CASES.items():
        for case in unseen.cases(domain, n):
            assert (case.row["LUNGVOL_L"], case.row["EMPH_PCT"]) not in seen
            assert case.name not in names
            seen.add((case.row["LUNGVOL_L"], case.row["EMPH_PCT"]))
            names.add(case.name)


def test_no_part_of_the_external_protocol_is_internal():
    one, other = unseen.DOMAINS["internal"], unseen.DOMAINS["external"]
    for field in dataclasses.fields(unseen.Domain):
        if field.name != "count_mm":
            assert getattr(one, field.name) != getattr(other, field.name), field.name
    external = unseen.cases("external", 16)
    assert {case.protocol.kernel.name for case in external} == {"B70f"}
    assert {case.protocol.slice_mm for case in external} == set(other.slices_mm)
    assert all(case.protocol.air_offset_hu for case in external)
    low, high = one.noise_hu
    assert all(low <= case.protocol.noise_hu <= high for case in unseen.cases("internal", 16))


def test_a_patient_who_is_not_there_is_refused():
    with pytest.raises(ValueError, match="known: internal, external"):
        unseen.case(0, "lunar")
    with pytest.raises(ValueError, match="equal grades"):
        unseen.case(4000, "internal")


def test_blocks_hold_each_patient_once():
    for n in (1, 2, 7, 38):
        numbers = [k for block in range(unseen.blocks(n)) for k in unseen.block(block, n)]
        assert numbers == list(range(n))


# Scores: networks that know the truth, move it, or find nothing


class Told:
    """A reader that is told the true label maps, and may change them."""

    facts = {"digest": "told"}  # noqa: RUF012
    precision = "float32"

    def __init__(self, patient, change=None, values=None):
        self.patient, self.values = patient, values or {}
        self.change = change or (lambda labels: labels)

    def read(self, hu, spacing_mm, parts):
        if "lobes" in parts:
            scan, _ = self.patient.chest
            true = {"lungs": scan.lungs, "lobes": scan.lobes, **scan.labels}
        else:
            true = {"coronary": self.patient.calcium[2]}
        assert hu.shape == true[parts[0]].shape
        return self._maps({part: self.change(true[part]) for part in parts})

    def cycle(self, phases, spacing_mm):
        _, images, true = self.patient.gated
        assert len(phases) == len(images)
        return self._maps({"heart": [self.change(labels) for labels in true]})

    def _maps(self, labels):
        sure = dict.fromkeys(labels, 0.9)
        return SimpleNamespace(labels=labels, confidence=sure, values=self.values, distance=0.5)


@pytest.fixture(scope="module")
def coarse():
    """One patient, coarse scans, drawn once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(unseen.DOMAINS, "internal", COARSE)
        patient = evaluation.Patient(unseen.case(2, "internal"))
        patch.setattr(evaluation, "Patient", lambda case: patient)
        yield patient


@pytest.fixture(scope="module")
def perfect(coarse):
    values = {"mld_hu": -850.0, "lv_ml": 100.0, "lung_ml": 5000.0}
    return evaluation.measure(Told(coarse, values=values), coarse.case)


def of(rows, **names):
    for name, value in names.items():
        rows = rows[rows[name] == value]
    return rows


def test_true_labels_have_perfect_scores(perfect):
    assert perfect.loc[perfect["kind"] == "fault", "note"].tolist() == []
    assert list(perfect.columns) == evaluation.COLUMNS
    scores = of(perfect, kind="overlap")
    groups = set(evaluation_summary.GROUPS)
    assert set(scores["structure"]) == set(evaluation_document.STRUCTURES) - groups
    scored = scores[scores["note"] == "scored"]
    assert len(scored) > 0.9 * len(scores)
    for name, best in (("dice", 1.0), ("iou", 1.0), ("surface_dice", 1.0), ("hd95_mm", 0.0)):
        assert scored.loc[scored["quantity"] == name, "measured"].to_numpy() == pytest.approx(best)
    trees = of(perfect, kind="tree").set_index(["structure", "quantity"])["measured"]
    for name in ("airways", "vessels"):
        assert trees[name, "length_detected_pct"] == pytest.approx(100.0)
        assert trees[name, "leakage_pct"] == 0.0
    assert (of(perfect, kind="generation")["measured"] == 100.0).all()
    topology = of(perfect, kind="topology").set_index(["structure", "quantity"])["measured"]
    assert topology["vessels", "cldice"] == 1.0
    assert topology["airways", "betti0_error"] == 0.0


def test_biomarkers_of_true_labels_are_those_of_the_network_that_found_them(perfect):
    table = of(perfect, kind="biomarker")
    network, labels = (
        table[table["source"] == source].set_index("quantity")[evaluation.NUMBERS]
        for source in ("network", "labels")
    )
    pd.testing.assert_frame_equal(network, labels)
    assert set(evaluation_summary.PUBLISHED) <= set(network.index)
    # Whoever has the true labels is near the truth where coarse voxels let him be.
    for name, limit in (("laa950_pct", 0.3), ("mld_hu", 0.5), ("perc15_hu", 1.0), ("ef_pct", 4.0)):
        truth = network.loc[name, evaluation_summary.reference_of(name, "network")]
        assert network.loc[name, "measured"] == pytest.approx(truth, abs=limit), name
    assert network.loc["volume_ml", "measured"] == pytest.approx(
        network.loc["volume_ml", "t0"], rel=0.01
    )


def test_what_is_estimated_or_expected_stands_beside_its_truth(perfect):
    found = of(perfect, kind="biomarker", source="estimate").set_index("quantity")
    assert set(found.index) == {"mld_hu", "lv_ml"}  # a patch's volume of lung has no truth
    density = of(perfect, kind="biomarker", source="labels").set_index("quantity")
    assert found.loc["mld_hu", "t1"] == density.loc["mld_hu", "t1"]
    trust = of(perfect, kind="trust", quantity="confidence").set_index("structure")
    assert set(trust.index) == {"lungs", "lobes", "airways", "vessels", "heart", "coronary"}
    assert trust.loc["lungs", "t1"] == 1.0
    assert np.isnan(trust.loc["lobes", "t1"])  # the network expects one of the lungs alone
    assert (of(perfect, kind="trust", quantity="distance")["measured"] == 0.5).all()


def test_labels_that_are_moved_lose_overlap(coarse):
    def moved(labels):
        return np.roll(labels, 2, axis=2)

    rows = evaluation.measure(Told(coarse, moved), coarse.case)
    dice = of(rows, kind="overlap", quantity="dice").set_index(["scan", "structure"])["measured"]
    assert 0.8 < dice["chest", "lungs"] < 0.98
    assert dice["chest", "vessels"] < 0.5
    assert dice["end-systole", "LV blood"] < dice["end-diastole", "LV blood"] < 0.95
    trees = of(rows, kind="tree").set_index(["structure", "quantity"])["measured"]
    assert trees["airways", "length_detected_pct"] < 90.0
    table = of(rows, kind="biomarker").set_index(["source", "quantity"])["measured"]
    # The walls that moved into the lungs are dense; hearts have their volume wherever they lie.
    assert table["network", "mld_hu"] > table["labels", "mld_hu"] + 10.0
    assert table["network", "edv_ml"] == pytest.approx(table["labels", "edv_ml"], rel=0.01)


def test_nothing_found_is_a_score_of_0_and_no_biomarker(coarse):
    rows = evaluation.measure(Told(coarse, np.zeros_like), coarse.case)
    assert of(rows, kind="fault").empty
    scores = of(rows, kind="overlap")
    scores = scores[scores["note"] == "missed"]
    assert set(scores.loc[scores["quantity"] == "dice", "measured"]) == {0.0}
    assert np.isinf(scores.loc[scores["quantity"] == "hd95_mm", "measured"]).all()
    table = of(rows, kind="biomarker", source="network").set_index("quantity")["measured"]
    assert table["volume_ml"] == 0.0
    for name in evaluation_summary.PUBLISHED:
        assert np.isnan(table[name]), name
    assert of(rows, kind="biomarker", source="labels")["measured"].notna().any()


def test_a_scan_that_fails_is_a_row_and_the_others_go_on(coarse):
    class Broken(Told):
        def read(self, hu, spacing_mm, parts):
            raise RuntimeError("no memory")

    rows = evaluation.measure(Broken(coarse), coarse.case)
    faults = of(rows, kind="fault")
    assert faults["scan"].tolist() == ["chest", "calcium"]
    assert set(faults["note"]) == {"RuntimeError: no memory"}
    assert set(of(rows, kind="biomarker")["scan"]) == {"gated"}


def test_a_short_measure_has_overlap_and_biomarkers_alone(coarse, perfect):
    rows = evaluation.measure(Told(coarse), coarse.case, coarse, thorough=False)
    assert set(rows["kind"]) == {"overlap", "biomarker"}
    assert set(rows["source"]) == {"network"}
    keys = ["kind", "scan", "structure", "item", "quantity", "source"]
    both = rows.merge(perfect, on=keys)
    assert len(both) == len(rows)
    np.testing.assert_array_equal(both["measured_x"], both["measured_y"])


# Figures


SOME = ("laa950_pct", "ef_pct", "sv_ml")


def made_up(n=24, error=1.0, quantities=SOME, seed=3):
    """Rows of patients of both domains, with an error in parts of the published one."""
    rng = np.random.default_rng(seed)
    rows = []
    for domain in unseen.DOMAINS:
        for k in range(n):
            head = (f"{domain}-{k:02d}", domain, "I II III IV".split()[k % 4], "protocol", "w1")
            for quantity in quantities:
                rmse = evaluation_summary.PUBLISHED[quantity][domain][1]
                truth = 10.0 * rmse * rng.normal() + 100.0 * rmse
                seen = truth + error * rmse * rng.normal()
                for source, value in (("network", seen), ("labels", truth)):
                    names = ("biomarker", "chest", "", "", quantity, source)
                    rows.append((*head, *names, value, truth, truth, truth, ""))
            for structure in ("RUL", "RML", "RLL", "LUL with lingula", "LLL", "airways"):
                names = ("overlap", "chest", structure, "")
                dice = rng.uniform(0.94, 0.99)
                for quantity, value in (("dice", dice), ("iou", dice / (2 - dice))):
                    more = (quantity, "network", value, np.nan, np.nan, np.nan, "scored")
                    rows.append((*head, *names, *more))
    table = pd.DataFrame(rows, columns=evaluation.COLUMNS)
    return table.astype(dict.fromkeys(evaluation.NUMBERS, float))


def lost(rows, case, **names):
    """Rows in which a patient has no value of some kind."""
    rows = rows.copy()
    chosen = rows["case"] == case
    for name, value in names.items():
        chosen &= rows[name] == value
    rows.loc[chosen, "measured"] = np.nan
    return rows


def test_summary_of_numbers_known_by_hand():
    rows = made_up()
    table = evaluation_summary.summary(rows)
    assert list(table.columns) == evaluation_summary.COLUMNS
    row = of(table, kind="biomarker", domain="internal", grade="all", source="network")
    row = row.set_index("quantity").loc["ef_pct"]
    some = of(rows, domain="internal", quantity="ef_pct", source="network")
    direct = accuracy(some["measured"], some["t0"], 0.95, 2000, unseen.SEED).iloc[0]
    for name in ("r", "r_ci_low", "r_ci_high", "rmse", "rmse_ci_low", "rmse_ci_high", "bias"):
        assert row[name] == pytest.approx(direct[name])
    assert (row["n"], row["missing"], row["reference"]) == (24, 0, "t0")
    assert row["loa_high"] - row["loa_low"] == pytest.approx(
        2 * 1.959964 * (some["measured"] - some["t0"]).std()
    )
    assert (row["published"], row["published_rmse"]) == (0.90, 3.0)
    assert row["reached"] == "yes"
    lobes = of(table, kind="overlap", domain="internal", grade="all", structure="lobes")
    lobes = lobes.set_index("quantity")
    each = of(rows, domain="internal", kind="overlap", quantity="dice")
    each = each[each["structure"] != "airways"]
    means = each.groupby("case")["measured"].mean()
    assert lobes.loc["dice", "mean"] == pytest.approx(means.mean())
    assert lobes.loc["dice", "sd"] == pytest.approx(means.std())
    assert lobes.loc["dice", "ci_high"] - lobes.loc["dice", "mean"] == pytest.approx(
        2.0687 * means.std() / np.sqrt(24), rel=1e-4
    )
    assert (lobes["reached"] == "yes").all()
    # None are published of the external domain.
    external = of(table, kind="overlap", domain="external", structure="lobes")
    assert set(external["reached"]) == {""}
    counts = of(table, kind="cases", domain="external").set_index("grade")["n"]
    assert counts.to_dict() == {"all": 24, "I": 6, "II": 6, "III": 6, "IV": 6}
    assert table.loc[table["kind"] == "facts", "note"].tolist() == ["w1"]


def test_missing_stays_missing_and_is_counted():
    rows = lost(made_up(), "internal-03", quantity="sv_ml", source="network")
    rows = lost(rows, "internal-04", structure="RML")
    gone = (
        rows[rows["case"] == "external-05"]
        .iloc[:1]
        .assign(kind="fault", scan="chest", quantity="", source="", note="ValueError: no lungs")
    )
    rows = pd.concat([rows[rows["case"] != "external-05"], gone], ignore_index=True)
    table = of(evaluation_summary.summary(rows), grade="all")
    by = table.set_index(["kind", "domain", "quantity", "source"]).sort_index()
    numbers = by.loc["biomarker", ["n", "missing"]]
    assert numbers.loc[("internal", "sv_ml", "network")].tolist() == [23, 1]
    assert numbers.loc[("internal", "sv_ml", "labels")].tolist() == [24, 0]
    assert numbers.loc[("external", "sv_ml", "labels")].tolist() == [23, 1]
    lobes = of(table, structure="lobes", quantity="dice").set_index("domain")
    assert lobes.loc["internal", ["n", "missing"]].tolist() == [23, 1]
    assert lobes.loc["external", ["n", "missing"]].tolist() == [23, 1]
    (fault,) = of(table, kind="fault").to_dict("records")
    assert (fault["n"], fault["note"]) == (1, "external-05: ValueError: no lungs")


def test_absent_missed_and_infinite_are_told_apart():
    rows = made_up(4)
    some = of(rows, structure="airways", quantity="dice", domain="internal")
    values = {"hd95_mm": [1.0, np.inf, 2.0, np.nan]}
    notes = ["scored", "missed", "scored", "absent"]
    far = some.assign(quantity="hd95_mm", measured=values["hd95_mm"], note=notes)
    table = evaluation_summary.summary(pd.concat([rows, far], ignore_index=True))
    row = of(table, quantity="hd95_mm", grade="all").iloc[0]
    assert row[["n", "absent", "missing", "infinite"]].tolist() == [3, 1, 0, 1]
    assert np.isinf(row["mean"])
    assert row["median"] == 2.0
    assert np.isnan(row["sd"])


def test_shuffled_truths_correlate_with_nothing():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=40)
    found = evaluation_summary.shuffled(truth + 0.1 * rng.normal(size=40), truth)
    assert abs(found["shuffled_r"]) < 0.03
    assert found["shuffled_low"] == pytest.approx(-0.31, abs=0.06)  # 1.96 / sqrt(39)
    assert found["shuffled_high"] == pytest.approx(0.31, abs=0.06)
    assert np.isnan(evaluation_summary.shuffled(np.ones(5), truth[:5])["shuffled_r"])


def test_published_figures_are_those_of_the_publication():
    internal = {name: by["internal"] for name, by in evaluation_summary.PUBLISHED.items()}
    external = {name: by["external"] for name, by in evaluation_summary.PUBLISHED.items()}
    assert internal["laa950_pct"] == (0.93, 2.3)
    assert external["sv_ml"] == (0.86, 6.0)
    # External is a little worse throughout, as printed.
    assert all(external[name][0] == pytest.approx(internal[name][0] - 0.02) for name in internal)
    assert set(evaluation_summary.PUBLISHED) <= set(evaluation_summary.QUANTITIES)


# Document and jobs


@pytest.mark.parametrize(("error", "verdict"), [(0.5, " reached "), (9.0, " **not reached** ")])
def test_document_says_what_is_reached(tmp_path, error, verdict):
    path = tmp_path / "networks.tsv"
    tables.write(evaluation_summary.summary(made_up(error=error)), path)
    table = tables.read(path, text=evaluation_summary.TEXT)
    table[evaluation_summary.TEXT] = table[evaluation_summary.TEXT].fillna("")
    text = evaluation_document.document(table, {"scatter": "a.svg", "bland_altman": "b.svg"})
    (line,) = (
        row
        for row in text.split("### External")[-2].splitlines()
        if row.startswith("| EF (%)") and "0.90" in row
    )
    assert line.count(f"|{verdict}|") == 2
    assert "| internal | 24 |" in text
    assert "![scatter](a.svg)" in text
    assert "weights w1" in text
    assert "nan" not in text
    assert max(len(part) for part in text.splitlines() if not part.startswith("|")) <= 100


def test_figures_show_each_patient_once():
    rows = made_up(6, quantities=tuple(evaluation_summary.PUBLISHED))
    rows = lost(rows, "internal-03", quantity="sv_ml", source="network")
    for kind in evaluation_figure.TITLES:
        figure = evaluation_figure.draw(rows, kind)
        panels = dict(zip(evaluation_summary.PUBLISHED, figure.axes, strict=False))
        dots = {
            name: [len(line.get_xdata()) for line in axes.lines if line.get_marker() in "os"]
            for name, axes in panels.items()
        }
        assert dots["sv_ml"] == [5, 6]
        assert all(found == [6, 6] for name, found in dots.items() if name != "sv_ml")


def test_jobs_evaluate_a_block_and_gather_it(tmp_path, monkeypatch, coarse):
    import evaluate_network
    import gather_evaluation

    def reader(weights, precision):
        assert (weights, precision) == ("own.safetensors", "float32")
        return Told(coarse)

    monkeypatch.setattr("lungitude.networks.inference.Reader", reader)
    for name in ("_trees", "_airways", "_vessels"):  # costly, and tested above
        monkeypatch.setattr(evaluation, name, lambda *more: None)
    block = tmp_path / "1.parquet"
    params = {"weights": "own.safetensors", "precision": "float32", "patients": 3}
    job = SimpleNamespace(
        wildcards=SimpleNamespace(domain="internal", block="1"),
        input=SimpleNamespace(model=str(unseen.MODEL)),
        params=SimpleNamespace(**params),
        output=SimpleNamespace(block=block),
    )
    evaluate_network.main(job)
    rows = tables.read_parquet(block)
    assert set(rows["case"]) == {"UNSEEN-INT-0002"}  # of three, the second block holds one
    assert of(rows, kind="fault").empty

    class Outputs(dict):
        __getattr__ = dict.__getitem__

    names = {f"{kind}_{end}": f"{kind}.{end}" for kind in evaluation_document.FIGURES
             for end in ("svg", "png", "pdf")}  # fmt: skip
    names |= {"table": "networks.tsv", "document": "networks.md", "patients": "patients.parquet"}
    output = Outputs({key: str(tmp_path / "out" / name) for key, name in names.items()})
    gather_evaluation.main(SimpleNamespace(input=[block], output=output))
    for path in output.values():
        assert (tmp_path / "out" / path).stat().st_size > 0
    text = (tmp_path / "out" / "networks.md").read_text(encoding="utf-8")
    assert "| internal | 1 |" in text
    assert "weights told in float32" in " ".join(text.split())
