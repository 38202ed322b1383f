"""Designs other than the demo's, run from tables to report."""

import re

import pandas as pd
import yaml

from helpers import edit_yaml, snakemake
from lungitude import tables


def sheet(folder, name):
    return pd.read_csv(folder / f"{name}.tsv", sep="\t", dtype=str, keep_default_na=False)


def save(frame, folder, name):
    frame.to_csv(folder / f"{name}.tsv", sep="\t", index=False, lineterminator="\n")


def keep_patients(folder, subjects):
    for name in ("subjects", "randomisation", "measurements", "events", "reads"):
        frame = sheet(folder, name)
        save(frame[frame["USUBJID"].isin(subjects)], folder, name)


def content_of(folder):
    return yaml.safe_load((folder / "plan.yaml").read_text())


def few_parameters(folder):
    """Two parameters are enough to see a design through, and quick."""

    def plan(content):
        content["families"] = content["families"][:1]
        content["displays"][-1]["parameters"] = ["VO2MAX", "LAV950"]
        content["print_files"] = []

    edit_yaml(folder / "plan.yaml", plan)
    for name in ("parameters", "measurements", "reads"):
        frame = sheet(folder, name)
        save(frame[frame["PARAMCD"].isin(["VO2MAX", "LAV950"])], folder, name)


def run(folder):
    few_parameters(folder)
    snakemake(folder, cores=2)
    root = folder.parents[1] / "results" / "tiny"
    results = tables.read_parquet(root / "analysis" / "results.parquet")
    return results, root / "report"


def test_three_arms(tiny):
    arms = [
        {"code": "HI", "label": "High dose", "ratio": 2},
        {"code": "LO", "label": "Low dose", "ratio": 1},
        {"code": "PBO", "label": "Placebo", "ratio": 1, "reference": True},
    ]
    edit_yaml(tiny / "config.yaml", lambda c: c.update(arms=arms))
    frame = sheet(tiny, "randomisation")
    frame["ARM"] = [("HI", "LO", "HI", "PBO")[i % 4] for i in range(len(frame))]
    save(frame, tiny, "randomisation")
    results, report = run(tiny)
    effects = results[(results["METHOD"] == "ancova") & (results["STAT"] == "estimate")]
    assert set(effects["COMPARISON"]) == {"HI - PBO", "LO - PBO"}
    page = (report / "all" / "report.html").read_text()
    assert "High dose" in page
    assert "Low dose" in page


def test_five_visits_with_imaging_at_two(tiny):
    def visits(content):
        for visit in content["visits"]:
            visit["imaging"] = visit["name"] in ("Baseline", "Week 12")
        content["visits"] += [
            {"name": f"Week {week}", "path": f"week{week}", "number": week, "day": 7 * week + 1}
            for week in (18, 24)
        ]

    edit_yaml(tiny / "config.yaml", visits)
    frame = sheet(tiny, "measurements")
    image = frame["PARAMCD"] == "LAV950"
    later = [
        frame[(frame["AVISIT"] == "Week 12") & ~image].assign(AVISIT=f"Week {week}", ADT="")
        for week in (18, 24)
    ]
    save(pd.concat([frame[~(image & (frame["AVISIT"] == "Week 6"))], *later]), tiny, "measurements")
    results, report = run(tiny)
    effects = results[
        (results["METHOD"] == "ancova")
        & (results["STAT"] == "estimate")
        & (results["STRATUM"] == "all")
        & results["COMPARISON"].ne("")
    ]
    clinical = effects[effects["PARAMCD"] == "VO2MAX"].dropna(subset="VALUE")
    assert list(clinical["AVISIT"].unique()) == ["Week 6", "Week 12", "Week 18", "Week 24"]
    imaging = effects[effects["PARAMCD"] == "LAV950"].dropna(subset="VALUE")
    assert list(imaging["AVISIT"].unique()) == ["Week 12"]
    assert (report / "all" / "report.html").exists()


def test_one_visit_after_baseline(tiny):
    edit_yaml(tiny / "config.yaml", lambda c: c["visits"].pop(1))
    for name in ("measurements", "reads"):
        frame = sheet(tiny, name)
        save(frame[frame["AVISIT"] != "Week 6"], tiny, name)

    def plan(content):
        for family in content["families"]:
            family["visits"] = ["Week 12"]

    edit_yaml(tiny / "plan.yaml", plan)
    results, report = run(tiny)
    ancova = results[(results["METHOD"] == "ancova") & (results["STAT"] == "estimate")]
    assert ancova["VALUE"].notna().any()
    assert "Week 6" not in (report / "all" / "report.html").read_text()


def test_site_as_a_second_stratum(tiny):
    frame = sheet(tiny, "subjects")
    frame["SITE"] = [("North", "South")[i % 2] for i in range(len(frame))]
    save(frame, tiny, "subjects")
    levels = [{"value": v, "path": v.lower(), "label": v} for v in ("North", "South")]
    factor = {"column": "SITE", "label": "Site", "levels": levels}
    edit_yaml(tiny / "config.yaml", lambda c: c["strata"].append(factor))
    edit_yaml(tiny / "plan.yaml", lambda p: p["analyses"]["mixed_model"].update(site="SITE"))
    results, report = run(tiny)
    assert {"north", "south", "gold1"} <= set(results["STRATUM"])
    assert "South" in (report / "south" / "report.html").read_text()
    model = results[(results["METHOD"] == "ancova") & (results["STAT"] == "model")]
    assert model[model["STRATUM"] == "all"]["NOTE"].str.contains("SITE").all()
    model = results[(results["METHOD"] == "mixed_model") & (results["STAT"] == "model")]
    assert model[model["STRATUM"] == "gold3"]["NOTE"].str.contains("(1 | SITE)", regex=False).all()


def test_an_empty_stratum_and_one_with_a_single_patient(tiny):
    frame = sheet(tiny, "subjects")
    third = frame.index[frame["GOLDGR"] == "III"]
    kept = frame.drop([*frame.index[frame["GOLDGR"] == "I"], *third[1:]])
    keep_patients(tiny, set(kept["USUBJID"]))
    results, report = run(tiny)
    empty = (report / "gold1" / "report.html").read_text()
    assert "No patient" in empty or "no patient" in empty
    single = (report / "gold3" / "report.html").read_text()
    assert "not estimated" in single.lower()
    assert "1 patient" in single
    rows = results[(results["STRATUM"] == "gold3") & (results["METHOD"] == "ancova")]
    rows = rows[rows["STAT"] != "model"]
    assert rows["VALUE"].isna().all()
    assert rows["NOTE"].ne("").all()


def test_a_single_arm_has_descriptions_and_changes_within_patients(tiny):
    edit_yaml(tiny / "config.yaml", lambda c: c.update(arms=[{"code": "ALL", "label": "Cohort"}]))
    save(sheet(tiny, "randomisation").assign(ARM="ALL"), tiny, "randomisation")

    def plan(content):
        kept = ("disposition", "baseline", "describe", "agreement")
        content["analyses"] = {name: content["analyses"][name] for name in kept}
        content["analyses"]["within_arm"] = {"population": "ITT"}
        content["primary"]["method"] = "within_arm"
        content["families"] = []
        kinds = (
            "figure_flow",
            "table_baseline",
            "table_visits",
            "table_within_arm",
            "figure_trend",
        )
        content["displays"] = [{"id": kind, "title": kind} for kind in kinds]

    edit_yaml(tiny / "plan.yaml", plan)
    results, report = run(tiny)
    assert set(results["METHOD"]) == {*content_of(tiny)["analyses"]}
    changes = results[(results["METHOD"] == "within_arm") & (results["STAT"] == "estimate")]
    assert set(changes["GROUP"]) == {"ALL"}
    assert changes.loc[changes["STRATUM"] == "all", "VALUE"].notna().all()
    page = (report / "all" / "report.html").read_text()
    assert "Peak oxygen uptake changed from Baseline to Week 12 by" in page
    assert "Mean changes of the patients with 95% CI" in page
    assert "enrolled" in page
    assert "andomised" not in re.sub(r"<script.*?</script>|<[^>]*>", "", page, flags=re.DOTALL)
