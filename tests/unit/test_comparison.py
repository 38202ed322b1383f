"""Comparison of networks: what is compared, one training of all, figures, document, jobs."""

import functools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lungitude import tables
from lungitude.networks import (
    anatomies,
    baselines,
    comparison,
    comparison_document,
    comparison_figure,
    comparison_summary,
    evaluation,
    evaluation_summary,
    training,
    unseen,
    weights,
)

# Steps of both passes, in this order, by the seed.
TRAINING = {
    "seed": 3,
    "steps": 2,
    "refine_steps": 0,
    "batch": {"chest": 1, "heart": 1, "detail": 1},
    "shares": {"chest": 0.5, "detail": 0.5},
    "warm_up": 1,
    "precision": "float32",
    "threads": 2,
    "workers": 0,
    "held_out": 0.5,
}
MODELS = {
    "multi_task": {
        "title": "All tasks",
        "network": {"features": [6, 8, 12, 16], "decoder": [4, 8, 8]},
    },
    "single_task": {"title": "One task each", "parts_of": "multi_task"},
    "unet": {
        "title": "U-Net",
        "network": {"architecture": "unet", "features": [4, 4, 4, 4, 4, 4]},
        "rate": 0.001,
    },
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written(folder, **changed):
    content = {"training": TRAINING, "models": MODELS, "cases": {"internal": 1}, **changed}
    path = folder / "comparison.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


# What is compared


def test_the_plan_of_the_project_is_sound():
    plan = comparison.load()
    assert list(plan["models"])[:2] == [comparison_summary.REFERENCE, comparison_summary.PARTS]
    sizes = {
        model: sum(baselines.parameters(baselines.of(row["network"])) for row in parts)
        for model, parts in (
            (name, facts["networks"].values()) for name, facts in plan["models"].items()
        )
    }
    assert max(sizes.values()) < 1.5e6
    assert sizes["single_task"] == pytest.approx(sizes["multi_task"], rel=baselines.TOLERANCE)
    assert set(plan["cases"]) == set(unseen.DOMAINS)


def test_what_is_left_out_is_as_in_every_training(tmp_path):
    plan = comparison.load(written(tmp_path))
    assert plan["training"]["weight_decay"] == training.DEFAULTS["weight_decay"]
    parts = plan["models"]["single_task"]["networks"]
    assert list(parts) == ["lung", "airway", "vessel", "heart"]
    assert parts["lung"]["network"]["branches"] == ["lung"]
    assert {row["rate"] for row in parts.values()} == {training.DEFAULTS["rate"]}
    assert plan["models"]["unet"]["networks"]["all"]["rate"] == 0.001


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"case": {"internal": 1}}, "comparison.yaml: 'case' is unknown; .*cases"),
        ({"training": {"step": 2}}, "comparison.yaml: training: 'step' is unknown; .*steps"),
        ({"models": {}}, "comparison.yaml: names no models"),
        ({"models": {"a": {"title": "A", "nett": {}}}}, "model a: 'nett' is unknown; .*network"),
        ({"models": {"a": {"title": "A"}}}, "model a: give its network, or the model"),
        ({"models": {"a": {"title": "A", "parts_of": "b"}}}, "model a: parts_of: no model 'b'"),
        (
            {"models": {"a": {"title": "A", "network": {"architecture": "yolo"}}}},
            "model a: network.architecture: .*yolo",
        ),
        ({"models": {"a": None}}, "model a: give it a title, and a network"),
        ({"models": {"a": {"network": {}}}}, "model a: give it a title, and a network"),
        ({"models": ["unet"]}, r"models: is \['unet'\]; write keys with values"),
        ({"cases": {"internl": 1}}, "cases: 'internl' is unknown; .*internal"),
        ({"cases": {"internal": 0}}, "cases.internal: is 0; write how many patients"),
    ],
)
def test_a_slip_of_the_pen_is_told(tmp_path, changed, said):
    with pytest.raises(ValueError, match=said):
        comparison.load(written(tmp_path, **changed))


# Training


class Watched(training.Learner):
    """A learner that keeps what it was shown."""

    seen = []  # noqa: RUF012

    def step(self, step, name, batch):
        design, branches = type(self.net).__name__, tuple(self.net.decoders)
        self.seen.append((design, branches, step, name, batch.hu.clone()))
        return super().step(step, name, batch)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Anatomies of two patients."""
    path = tmp_path_factory.mktemp("anatomies")
    for name in ("T-1", "T-2"):
        anatomies.write(path, 3, name)
    return path


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return comparison.load(written(tmp_path_factory.mktemp("plan")))


@pytest.fixture(scope="module")
def trained(bank, plan, tmp_path_factory):
    """Folder of a training that was stopped after one step and went on; what all were shown."""
    out = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Learner", Watched)
        patch.setattr(Watched, "seen", [])
        assert comparison.train(bank, out, plan, until=0.0) is False
        assert not list(out.glob("*.safetensors"))
        first = len(Watched.seen)
        assert comparison.train(bank, out, plan) is True
        return SimpleNamespace(out=out, seen=Watched.seen, first=first)


def test_all_networks_see_the_same_samples(trained):
    by_step = {}
    for design, branches, step, name, hu in trained.seen:
        by_step.setdefault((step, name), []).append((design, branches, hu))
    assert list(by_step) == [(0, "chest"), (1, "detail")]
    for (_, name), shown in by_step.items():
        kinds = sorted((design, branches) for design, branches, _ in shown)  # in any order
        whole = ("lung", "airway", "vessel", "heart")
        wanted = {"chest": ("lung", "heart"), "detail": ("lung", "airway", "vessel")}[name]
        parts = [("Hierarchical", (branch,)) for branch in wanted]
        assert kinds == sorted([("Hierarchical", whole), *parts, ("Comparator", whole)])
        assert all(torch.equal(hu, shown[0][2]) for _, _, hu in shown)


def test_a_stopped_training_ends_as_an_undisturbed_one(bank, plan, trained, tmp_path):
    assert trained.first == 4  # of 8: the second step was none of the first run
    assert comparison.train(bank, tmp_path, plan) is True
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == sorted(
        ["multi_task-all.safetensors", "unet-all.safetensors"]
        + [f"single_task-{part}.safetensors" for part in ("lung", "airway", "vessel", "heart")]
    )
    for name in names:
        one, other = (weights.load(folder / name) for folder in (tmp_path, trained.out))
        assert one[1]["steps"] == other[1]["steps"] == 2
        states = one[0].state_dict(), other[0].state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]), name
    fresh = baselines.of(plan["models"]["unet"]["networks"]["all"]["network"])
    learned, _, _ = weights.load(trained.out / "unet-all.safetensors")
    moved = zip(fresh.parameters(), learned.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in moved)


def test_the_log_tells_each_network_apart(trained):
    rows = pd.read_json(trained.out / "log.jsonl", lines=True)
    assert rows["step"].tolist() == [1] * 6 + [2] * 6
    last = rows[rows["step"] == 2].set_index(["model", "part"])
    assert last.loc[("multi_task", "all"), "detail vessel vessels"] > 0
    assert last.loc[("single_task", "airway"), "detail airway airways"] > 0
    assert np.isnan(last.loc[("single_task", "airway"), "detail vessel vessels"])
    spent = rows.pivot(index=["model", "part"], columns="step", values="cpu_s")  # noqa: PD010
    assert (spent[2] >= spent[1]).all()


def test_a_checkpoint_of_other_networks_is_refused(bank, plan, trained):
    fewer = {**plan, "models": {"unet": plan["models"]["unet"]}}
    with pytest.raises(ValueError, match=r"checkpoint\.pt: of other models or another train"):
        comparison.train(bank, trained.out, fewer)
    faster = {**plan, "training": {**plan["training"], "rate": 0.5}}
    with pytest.raises(ValueError, match=r"checkpoint\.pt: of other models or another train"):
        comparison.train(bank, trained.out, faster)


def test_a_plan_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"none\.yaml: no such file"):
        comparison.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("models: [")
    with pytest.raises(ValueError, match=r"bad\.yaml: not YAML"):
        comparison.load(tmp_path / "bad.yaml")


def test_readers_read_a_scan(plan, trained):
    found = comparison.readers(trained.out, plan)
    assert list(found) == list(MODELS)
    facts = found["single_task"].facts
    parts = plan["models"]["single_task"]["networks"].values()
    size = sum(baselines.parameters(baselines.of(row["network"])) for row in parts)
    assert (facts["title"], facts["steps"], facts["parameters"]) == ("One task each", 2, size)
    assert facts["cpu_s"] > 0
    z, y, x = np.ogrid[-1:1:10j, -1:1:12j, -1:1:14j]
    hu = np.where(z**2 + y**2 + x**2 < 0.6, -850.0, 40.0).astype(np.float32)
    for reader in found.values():
        labels = reader.read(hu, (8.0, 8.0, 8.0), ("lungs", "airways", "coronary")).labels
        assert set(labels) == {"lungs", "airways", "coronary"}
        assert all(part.shape == hu.shape for part in labels.values())


# Summary


FACTS = {
    "multi_task": {"title": "All tasks", "steps": 1000, "parameters": 1_446_884, "cpu_s": 2000.4},
    "single_task": {"title": "One each", "steps": 1000, "parameters": 1_447_505, "cpu_s": 2400.0},
    "vnet": {"title": "V-Net", "steps": 1000, "parameters": 500_000, "cpu_s": 3000.0},
}
# Dice of a model less that of multi_task by task, and its error in SD of the truths.
BEHIND = {
    "multi_task": ({}, 0.1),
    "single_task": ({"lobes": -0.02, "airways": 0.01, "coronary territories": -0.1}, 0.1),
    "vnet": (dict.fromkeys(comparison_summary.TASKS, -0.2), 1.0),
}
PLACES = {
    name: [(scan, structure) for scan in scans for structure in structures]
    for name, (scans, structures) in comparison_summary.STRUCTURES.items()
}


def made_up(n=6, behind=BEHIND, seed=5):
    """Rows of patients of both domains; differences vary by a tenth from patient to patient."""
    rng = np.random.default_rng(seed)
    rows = []
    for domain in unseen.DOMAINS:
        for k in range(n):
            level = rng.uniform(0.6, 0.8)
            truths = dict.fromkeys(evaluation_summary.PUBLISHED)
            truths = {name: 50.0 + 10.0 * rng.normal() for name in truths}
            errors = {name: rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0) for name in truths}
            for model, (less, error) in behind.items():
                head = (f"{domain}-{k:02d}", domain, "I II III IV".split()[k % 4], "p", model)
                for task, places in PLACES.items():
                    dice = level + less.get(task, 0.0) * (1.0 + 0.1 * np.sin(k))
                    for scan, structure in places:
                        for quantity, value in (("dice", dice), ("iou", dice / (2 - dice))):
                            names = ("overlap", scan, structure, "", quantity, "network")
                            rows.append((*head, *names, value, *[np.nan] * 3, "scored", model))
                for name, true in truths.items():
                    names = ("biomarker", "chest", "", "", name, "network")
                    value = true + 10.0 * error * errors[name]
                    rows.append((*head, *names, value, true, true, true, "", model))
    return pd.DataFrame(rows, columns=[*evaluation.COLUMNS, "model"])


def changed(rows, value, **names):
    """Rows with another measured value where all names fit."""
    rows = rows.copy()
    rows.loc[
        np.logical_and.reduce([rows[key] == name for key, name in names.items()]), "measured"
    ] = value
    return rows


def of(table, **names):
    for name, value in names.items():
        table = table[table[name] == value]
    return table


@pytest.fixture(scope="module")
def table():
    return comparison_summary.summary(made_up(), FACTS)


def test_means_of_overlap_are_those_known_by_hand(table):
    rows = made_up()
    one = rows[(rows["structure"] == "airways") & (rows["quantity"] == "dice")]
    for domain in ("internal", "external", "both"):
        some = one if domain == "both" else one[one["domain"] == domain]
        values = some.loc[some["model"] == "vnet", "measured"]
        (row,) = of(
            table, kind="overlap", domain=domain, model="vnet", quantity="airways", score="dice"
        ).to_dict("records")
        n = {"internal": 6, "external": 6, "both": 12}[domain]
        t = {6: 2.570582, 12: 2.200985}[n]
        assert (row["n"], row["missing"]) == (n, 0)
        assert row["estimate"] == pytest.approx(values.mean())
        assert row["ci_high"] - row["estimate"] == pytest.approx(
            t * values.std() / np.sqrt(n), rel=1e-6
        )
    assert set(of(table, kind="overlap")["quantity"]) == set(comparison_summary.TASKS)
    assert of(table, kind="cases").set_index("domain")["n"].to_dict() == {
        "internal": 6, "external": 6, "both": 12,
    }  # fmt: skip


def test_differences_are_those_planted(table):
    row = of(table, kind="difference", domain="both", model="single_task").set_index("quantity")
    planted = BEHIND["single_task"][0]
    vary = 1.0 + 0.1 * np.mean(np.sin(np.arange(6)))
    for task, less in planted.items():
        assert row.loc[task, "estimate"] == pytest.approx(less * vary)
        assert row.loc[task, "ci_low"] < less * vary < row.loc[task, "ci_high"]
        # 12 differences of one sign, each of them twice.
        assert row.loc[task, "p"] < 0.01
    assert row.loc["vessels", "estimate"] == 0.0
    assert row.loc["vessels", "note"] == "all differences are equal"
    assert np.isnan(row.loc["vessels", "p_adj"])
    worse = of(table, kind="difference", domain="internal", model="vnet").set_index("quantity")
    # Six distinct differences of one sign: 2 of 64 arrangements are as extreme.
    assert worse.loc["lobes", "p"] == pytest.approx(0.03125)
    # Absolute errors are ten times those of multi_task, between 0.5 and 1 SD of 10.
    more = of(table, kind="difference", domain="both", model="vnet", family="biomarkers")
    assert ((more["estimate"] > 4.5) & (more["estimate"] < 9.0)).all()
    assert (more["p_adj"] < 0.05).all()


def test_p_is_adjusted_within_family_and_domain(table):
    rows = of(table, kind="difference", domain="internal", family="overlap")
    p = rows["p"].dropna().to_numpy()
    assert len(rows) == 2 * 5
    assert len(p) == 8  # vessels, and ventricles and myocardium, of single_task are equal
    ranked = np.sort(p)
    by_hand = np.minimum.accumulate((ranked * 8 / np.arange(1, 9))[::-1])[::-1]
    assert np.sort(rows["p_adj"].dropna()) == pytest.approx(by_hand)
    assert set(of(table, kind="branch")["family"]) == {""}
    assert of(table, kind="branch")["p_adj"].isna().all()


def test_branches_put_the_tasks_of_a_patient_together(table):
    row = of(table, kind="branch", domain="both").set_index("quantity")["estimate"]
    vary = 1.0 + 0.1 * np.mean(np.sin(np.arange(6)))
    assert row["lung"] == pytest.approx(-0.02 * vary)
    assert row["airway"] == pytest.approx(0.01 * vary)
    assert row["vessel"] == 0.0
    assert row["heart"] == pytest.approx(0.5 * -0.1 * vary)  # two tasks, one of them equal


def test_what_a_network_did_not_find_is_counted():
    rows = changed(made_up(), np.nan, quantity="pi10_mm", model="vnet", case="internal-01")
    rows = changed(rows, np.nan, quantity="pi10_mm", model="multi_task", case="external-02")
    rows = changed(rows, 0.0, structure="airways", model="vnet", case="internal-01")
    gone = (rows["case"] == "external-05") & (rows["model"] == "single_task")
    fault = (
        rows[gone]
        .iloc[:1]
        .assign(
            kind="fault", scan="chest", quantity="", measured=np.nan, note="ValueError: no lungs"
        )
    )
    rows = pd.concat([rows[~gone], fault], ignore_index=True)
    table = comparison_summary.summary(rows, FACTS)

    def counts(**names):
        (row,) = of(table, **names).to_dict("records")
        return row["n"], row["missing"]

    pi10 = {"quantity": "pi10_mm", "domain": "both"}
    assert counts(kind="biomarker", score="r", model="vnet", **pi10) == (11, 1)
    assert counts(kind="difference", model="vnet", **pi10) == (10, 2)
    assert counts(kind="difference", model="single_task", **pi10) == (10, 2)
    airways = {"quantity": "airways", "score": "dice"}
    assert counts(kind="overlap", model="vnet", domain="internal", **airways) == (6, 0)
    assert counts(kind="overlap", model="single_task", domain="external", **airways) == (5, 1)
    assert counts(kind="branch", quantity="lung", domain="external") == (5, 1)
    (row,) = of(table, kind="fault").to_dict("records")
    assert (row["model"], row["n"], row["note"]) == (
        "single_task", 1, "external-05: ValueError: no lungs",
    )  # fmt: skip
    text = comparison_document.document(table)
    assert "| One each | external | chest | 1 | external-05: ValueError: no lungs |" in text
    assert "| V-Net | internal | Pi10 | 1 | no value measured |" in text


def test_few_patients_of_one_domain_give_what_they_can():
    rows = made_up(2)
    table = comparison_summary.summary(rows[rows["domain"] == "external"], FACTS)
    assert set(table["domain"]) == {"", "external"}
    assert of(table, kind="overlap")["estimate"].notna().all()
    assert of(table, kind="difference")["estimate"].isna().all()
    assert (of(table, kind="difference")["n"] == 2).all()
    text = comparison_document.document(table)
    assert "4 could not be compared." in text
    assert "nan" not in text
    for kind in comparison_figure.TITLES:
        assert comparison_figure.draw(table, kind).axes


def test_rows_that_fit_no_plan_are_refused():
    with pytest.raises(ValueError, match="read by vnet, which config/networks"):
        comparison_summary.summary(made_up(1), {k: FACTS[k] for k in ("multi_task", "single_task")})
    with pytest.raises(ValueError, match="no model 'multi_task'"):
        comparison_summary.summary(made_up(1), {"vnet": FACTS["vnet"]})


# Document and figures


AHEAD = {
    "multi_task": dict.fromkeys(comparison_summary.TASKS, -0.05),
    "single_task": dict.fromkeys(comparison_summary.TASKS, 0.05),
    "some": BEHIND["single_task"][0],
    "none": {},
}


@functools.cache
def told(ahead):
    """Document in lines as long as paragraphs; single_task is as far off as `AHEAD` tells."""
    behind = {**BEHIND, "single_task": (AHEAD[ahead], 0.1)}
    text = comparison_document.document(comparison_summary.summary(made_up(6, behind), FACTS))
    return one_line(text)


def one_line(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (
            "multi_task",
            "beats `single_task` on 4 of 4 branches (lung, airway, vessel, heart), on 4 of them "
            "with an interval that leaves out 0, and loses on 0, on 0 with such an interval. "
            "**So sharing pays here, on every branch.**",
        ),
        (
            "single_task",
            "on 0 of 4 branches, on 0 of them with an interval that leaves out 0, and loses on 4 "
            "(lung, airway, vessel, heart), on 4 with such an interval. **So sharing does not pay "
            "here",
        ),
        (
            "some",
            "on 2 of 4 branches (lung, heart), on 2 of them with an interval that leaves out 0, "
            "and loses on 1 (airway), on 1 with such an interval. **So sharing helps some "
            "branches here and harms others.**",
        ),
        (
            "none",
            "on 0 of 4 branches, on 0 of them with an interval that leaves out 0, and loses on 0, "
            "on 0 with such an interval. **So neither is shown to be better here.**",
        ),
    ],
)
def test_the_document_says_whether_sharing_pays(ahead, words):
    assert words in told(ahead)


def test_the_document_says_who_is_better_of_all():
    text = told("multi_task")
    assert "Of 10 differences (both), 10 have an adjusted p below 0.05: 10 in favour of" in text
    assert "`multi_task` is the best in 5 of 5 tasks by Dice" in text
    text = told("single_task")
    assert "10 have an adjusted p below 0.05: 5 in favour of `multi_task`, 5 of another" in text
    assert "`multi_task` is the best in 0 of 5 tasks by Dice" in text
    # Equal differences have no p.
    assert "Of 10 differences (both) (5 could not be tested), 5 have an adjusted p" in told("none")


def test_the_document_tells_its_terms(table):
    text = comparison_document.document(table, {"overlap": "o.svg", "heatmap": "h.svg"})
    assert "| All tasks | `multi_task` | 1000 | 1.45 | 2000 |" in text
    flat = one_line(text)
    assert "(6 internal and 6 external)" in flat
    assert "but for `vnet` (0.35 times as large)" in flat
    assert "one seed" in flat
    assert "more training" in flat
    assert "the least p that Wilcoxon's test can give is 0.0005" in flat  # 2 / 2**12
    assert "![overlap](o.svg)" in text
    assert "**Figure 2.**" in text
    (line,) = (row for row in text.splitlines() if row.startswith("| V-Net | 0.87 |"))
    assert line.split("|")[3].strip() == "6"
    assert "nan" not in text
    long = [part for part in text.splitlines() if len(part) > 100]
    assert all(part.startswith("|") for part in long)


def test_the_table_comes_back_from_its_file_as_it_was(table, tmp_path):
    tables.write(table, tmp_path / "a.tsv")
    again = tables.read(tmp_path / "a.tsv", text=comparison_summary.TEXT)
    again[comparison_summary.TEXT] = again[comparison_summary.TEXT].fillna("")
    assert comparison_document.document(again) == comparison_document.document(table)


def test_figures_show_what_the_table_holds(table):
    drawn = comparison_figure.draw(table, "overlap")
    assert len(drawn.axes) == 2 * len(comparison_summary.TASKS)
    lobes = drawn.axes[0]
    dots = [line for line in lobes.lines if line.get_marker() in "os"]
    assert [len(line.get_xdata()) for line in dots] == [3, 3]
    row = of(table, kind="overlap", domain="internal", quantity="lobes", score="dice")
    assert dots[0].get_xdata() == pytest.approx(row["estimate"])
    assert [tick.get_text() for tick in lobes.get_yticklabels()] == [
        "All tasks",
        "One each",
        "V-Net",
    ]
    drawn = comparison_figure.draw(table, "heatmap")
    r = drawn.axes[0]
    assert r.get_title(loc="left") == "r, internal"
    cells = [part for part in r.texts if part.get_position() == (2.5, 0.5)]
    row = of(
        table, kind="biomarker", domain="internal", model="vnet", quantity="laa950_pct", score="r"
    )
    assert cells[0].get_text() == f"{row['estimate'].iloc[0]:.2f}"
    assert cells[0].get_fontweight() == "normal"
    # The best of a line is bold, so that no colour has to be told.
    line = {part.get_position()[0]: part for part in r.texts if part.get_position()[1] == 0.5}
    best = of(table, kind="biomarker", domain="internal", quantity="laa950_pct", score="r")
    place = int(best["estimate"].to_numpy().argmax())
    assert line[place + 0.5].get_fontweight() == "bold"


# Jobs


class Outputs(dict):
    __getattr__ = dict.__getitem__


def test_jobs_hand_on_to_each_other(bank, trained, tmp_path, monkeypatch):
    import compare_cases
    import gather_comparison
    import train_comparison

    path = written(tmp_path)
    out = {"weights": tmp_path / "weights", "log": tmp_path / "log.jsonl"}
    train_comparison.main(
        SimpleNamespace(
            input=SimpleNamespace(plan=path),
            params=SimpleNamespace(folder=str(bank), checkpoint=str(trained.out)),
            output=SimpleNamespace(**out),
        )
    )
    assert len(list(out["weights"].iterdir())) == 6
    assert len(out["log"].read_text(encoding="utf-8").splitlines()) == 12

    # What networks of two steps read is measured elsewhere; here counts who reads whom.
    def measure(reader, case, patient, thorough):
        assert thorough is False
        rows = of(made_up(1), model="multi_task", domain="internal").drop(columns="model")
        return rows.assign(case=case.name, weights=reader.facts["digest"])

    monkeypatch.setattr(evaluation, "measure", measure)
    monkeypatch.setattr(evaluation, "Patient", lambda case: case)
    case = tmp_path / "internal_1.parquet"
    compare_cases.main(
        SimpleNamespace(
            wildcards=SimpleNamespace(domain="internal", number="1"),
            input=SimpleNamespace(plan=path, model=str(unseen.MODEL), **out),
            output=SimpleNamespace(case=case),
        )
    )
    rows = tables.read_parquet(case)
    assert set(rows["case"]) == {"UNSEEN-INT-0001"}
    assert list(dict.fromkeys(rows["model"])) == list(MODELS)
    assert rows.groupby("model")["weights"].first().nunique() == 3
    names = {"table": "a.tsv", "document": "a.md"}
    for kind in comparison_figure.TITLES:
        names |= {f"{kind}_{end}": f"{kind}.{end}" for end in ("svg", "png", "pdf")}
    output = Outputs({key: str(tmp_path / name) for key, name in names.items()})
    gather_comparison.main(
        SimpleNamespace(
            input=SimpleNamespace(plan=path, cases=[case], weights=out["weights"]), output=output
        )
    )
    assert all((tmp_path / name).stat().st_size > 0 for name in names.values())
    text = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert "| One task each | `single_task` | 2 | 0.11 |" in text
    assert "![heatmap](heatmap.svg)" in text
