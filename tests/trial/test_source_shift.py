"""What the demo's scans give against what its sheet holds for the same visits.

A patient of the demo comes with scans or with imported values; both are drawn from one model. A
parameter that scans give systematically higher or lower than the sheet would set patients with
scans apart, so each is measured here on the scans of the first patients.
"""

import pandas as pd
import pytest

from helpers import ROOT
from lungitude import biomarkers, documents, segmentation, tables
from lungitude.phantom import cardiac, render

PATIENTS = 4
SHIFT_SD = 0.4  # of the patients; the error of the mean of four is a good part of that
# Two scans and a registration stand behind these; test_whole_trial compares them with the truth.
ELSEWHERE = {"PRMNORM", "PRMFSAD", "PRMEMPH"}


@pytest.fixture(scope="module")
def pairs():
    """Each measured value beside the imported one of the same visit, a column each."""
    folder = ROOT / "config" / "demo"
    settings = documents.read(folder / "config.yaml", []).content["phantom"]
    settings = {k: v for k, v in settings.items() if k not in ("root", "records")}
    parameters = tables.read(folder / "parameters.tsv").dropna(subset="MEASURE")
    asked = parameters.set_index("PARAMCD")["MEASURE"].str.split(":").drop(list(ELSEWHERE))
    imported = tables.read(folder / "measurements.tsv")
    imported = imported[imported["PARAMCD"].isin(asked.index)]
    scanned = tables.read(folder / "scans.tsv").query("AVISIT == 'Baseline'")
    visits = scanned.groupby("USUBJID", sort=False)["SERIES"].nunique().loc[lambda n: n == 4]
    truth = tables.read(folder / "phantom.tsv").set_index(["USUBJID", "AVISIT"], drop=False)
    rows = []
    for subject in visits.index[:PATIENTS]:
        found = measured(truth.loc[(subject, "Baseline")].to_dict(), settings)
        own = imported.query("USUBJID == @subject and AVISIT == 'Baseline'")
        own = own.set_index("PARAMCD")["AVAL"]
        for code, (_, table, region, column) in asked.items():
            value = found[table].set_index("region").loc[region, column]
            rows.append((code, value, own[code]))
    spread = imported.groupby("PARAMCD")["AVAL"].std()
    frame = pd.DataFrame(rows, columns=["PARAMCD", "scan", "sheet"])
    return frame.assign(sd=frame["PARAMCD"].map(spread))


def measured(row, settings):
    """Return the tables of one visit, as the rules make them."""
    record = render.prepare(row, settings)
    scan = render.render(record, ("insp",), labels=("airways", "vessels"))["insp"]
    image = scan.grid.image(render.deliver(scan))
    labels = {name: scan.grid.image(values) for name, values in scan.labels.items()}
    lungs = segmentation.lungs(image)
    calcium = cardiac.calcium_scan(record, cardiac.heart_grid(record, record.calcium_voxel_mm))
    region = cardiac.coronary_labels(record, calcium.cycle, calcium.grid)
    grid = cardiac.heart_grid(record, record.gated_voxel_mm)
    phases = [grid.image(cardiac.labels(record, number / 20, grid)) for number in range(20)]
    return {
        "parenchyma": biomarkers.parenchyma(image, lungs),
        "airways": biomarkers.airways(image, labels["airways"]),
        "vessels": biomarkers.vessels(labels["vessels"], lungs, image),
        "calcium": biomarkers.agatston(
            calcium.grid.image(cardiac.deliver(calcium)), calcium.grid.image(region)
        ),
        "ventricle": biomarkers.ventricle(phases),
    }


def test_no_parameter_is_shifted_by_its_source(pairs):
    shift = (pairs["scan"] - pairs["sheet"]) / pairs["sd"]
    mean = shift.groupby(pairs["PARAMCD"]).mean()
    assert len(mean) == 12
    assert mean.abs().max() < SHIFT_SD, mean.round(2).to_dict()


def test_each_patient_has_its_own_value(pairs):
    """No shift by chance alone: scan and sheet also agree patient by patient."""
    for code, part in pairs.groupby("PARAMCD"):
        apart = (part["scan"] - part["sheet"]).abs().max() / part["sd"].iloc[0]
        assert apart < 1.2, (code, part)
