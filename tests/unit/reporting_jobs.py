"""Run the reporting scripts on the fixture trial with a stand-in job, as a run would."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from unit import reporting_fixture as fixture

from lungitude import tables

SCRIPTS = Path(__file__).parents[2] / "scripts"
SCANS = pd.DataFrame(
    [
        ["P001", "Baseline", "hrct_insp", "ok", "", ""],
        [
            "<script>alert(1)</script>",
            "Week 6",
            "hrct_insp",
            "excluded",
            "ingest",
            "3 slices missing & more",
        ],
        ["P003", "Week 12", "hrct_exp", "excluded", "segmentation", "no lungs found"],
    ],
    columns=["USUBJID", "AVISIT", "SERIES", "status", "stage", "reason"],
)


def params(stratum, **changes):
    """Return the params of a reporting rule."""
    given = fixture.context(stratum, **changes)
    names = ("stratum arms visits parameters plan trial provenance characteristics strata").split()
    values = {name: getattr(given, name) for name in names}
    return SimpleNamespace(**values)


def execute(name, inputs, outputs, given):
    """Run a script's main with a stand-in job."""
    job = SimpleNamespace(
        input=SimpleNamespace(**inputs),
        output=SimpleNamespace(**outputs),
        params=given,
        wildcards=[],
        log=[],
        rule=name,
    )
    runpy.run_path(str(SCRIPTS / f"{name}.py"))["main"](job)


def stratum_report(folder, stratum, table=None, scans=SCANS, more=None, **changes):
    """Render every display and the report of a stratum; return the report's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.parquet"
    tables.write_parquet(fixture.frame() if table is None else table, results)
    scans.to_csv(folder / "scans.tsv", sep="\t", index=False)
    order = ("figure_flow", "table_baseline", "table_primary", "figure_trend")
    plan = {**fixture.plan(("Week 12",)), "displays": [fixture.DISPLAYS[name] for name in order]}
    given = params(stratum, **{"plan": plan, **changes})
    displays = folder / stratum / "displays"
    execute("render_displays", {"results": results}, {"displays": displays}, given)
    inputs = {
        "results": results,
        "scans": folder / "scans.tsv",
        "displays": displays,
        **(more or {}),
    }
    given.versions = {"Lungitude": "0.1.0", "Python": "3.11"}
    given.pages = [
        {"path": "all", "label": "All patients"},
        {"path": "grade1", "label": "Grade I"},
        {"path": "grade2", "label": "Grade II"},
    ]
    given.links = [{"label": "Quality of all scans", "path": f"{folder}/quality.html"}]
    page = folder / stratum / "report.html"
    execute("report_stratum", inputs, {"report": page}, given)
    return page
