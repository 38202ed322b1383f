"""The table of models: lines taken apart and nothing lost, equal models in one row."""

import pytest
from unit import reporting_fixture as fixture
from unit import sensitivity_fixture as extra

from lungitude.reporting import table, table_models
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "models", "number": "14.2.9", "title": "Models as they were fitted"}
MEANS = "LS means: factors weighted equally, covariates at their mean"


def made(stratum="all", frame=None, arms=2, **more):
    found = extra.results(stratum, arms, frame)
    return table_models.build(found, extra.context(stratum, arms), {**DISPLAY, **more})


@pytest.mark.parametrize(
    ("line", "equation", "estimation", "covariance", "inference", "remarks"),
    [
        (
            f"CHG ~ TRT01P + BASE; log scale; least squares, HC3 standard errors, residual df; "
            f"{MEANS}; analysis set ITT; left out as aliased: SEX",
            "CHG ~ TRT01P + BASE; log scale",
            "least squares",
            "",
            "HC3 standard errors, residual df",
            ("left out as aliased: SEX",),
        ),
        (
            f"CHG ~ TRT01P * AVISIT; visits Week 6, Week 12; REML, covariance csh by arm, "
            f"Kenward-Roger df (linear); {MEANS}; analysis set ITT; csh instead of us (singular)",
            "CHG ~ TRT01P * AVISIT; visits Week 6, Week 12",
            "REML",
            "csh by arm",
            "Kenward-Roger df (linear)",
            ("csh instead of us (singular)",),
        ),
        (
            f"log1p scale; {extra.IMPUTATION}; not estimated: no patient in EG",
            "imputation by CHG ~ TRT01P * AVISIT + BASE * AVISIT; "
            "then CHG ~ TRT01P + BASE at each visit; log1p scale",
            "REML, conditional mean",
            "unstructured, slopes and covariance of each arm",
            "jackknife standard errors",
            ("not estimated: no patient in EG",),
        ),
        (
            "responder: FEV1 CHG >= 0.1; logit(responder) ~ TRT01P; 3 patients left out: a "
            "covariate is missing; analysis set ITT",
            "responder: FEV1 CHG >= 0.1; logit(responder) ~ TRT01P",
            "",
            "",
            "",
            ("3 patients left out: a covariate is missing",),
        ),
    ],
)
def test_lines_are_taken_apart(line, equation, estimation, covariance, inference, remarks):
    model = table_models.parse(line)
    assert model.equation == equation
    assert model.estimation == estimation
    assert model.inference == inference
    assert set(remarks) <= set(model.remarks)
    assert model.covariance.startswith(covariance.partition(",")[0])
    # Each piece of the line stands somewhere.
    said = " ".join(str(value) for value in vars(model).values())
    for piece in line.split("; "):
        if not piece.startswith("analysis set"):
            for word in set(piece.replace(",", "").split()) - {"covariance"}:
                assert word in said, word


def sections(rendered):
    return [row.label.text for row in rendered.rows if row.kind == "section"]


def test_equal_models_are_one_row_with_their_parameters():
    rendered = made()
    assert sections(rendered) == [
        "ANCOVA (analysis set ITT)",
        "Mixed model (analysis set ITT)",
        "MMRM (analysis set ITT)",
        "Imputation (analysis set ITT)",
    ]
    rows = [row for row in rendered.rows if row.cells]
    assert len(rows) == 4
    assert rows[0].label.text.count("Week 6") == len(fixture.PARAMETERS)
    # One model over the visits: one n.
    assert rows[2].label.text == "Peak oxygen uptake (n\u00a0=\u00a0760)"
    assert [cell.text for cell in rows[2].cells] == ["REML", "us", "residual df"]


def test_another_model_of_one_parameter_has_a_row_of_its_own():
    frame = extra.frame()
    row = (frame["METHOD"] == "ancova") & (frame["STAT"] == "model") & (frame["STRATUM"] == "all")
    row &= (frame["PARAMCD"] == "FEV1") & (frame["AVISIT"] == "Week 12")
    frame.loc[row, "NOTE"] = "CHG ~ TRT01P; least squares, residual df; left out as aliased: SEX"
    frame.loc[row, "N"] = 77
    rows = made(frame=frame).rows
    place = next(i for i, one in enumerate(rows) if one.label.text == "CHG ~ TRT01P")
    assert rows[place].label.mark == "a"
    assert rows[place + 1].label.text == "FEV1 (Week 12: n\u00a0=\u00a077)"
    before = [one.label.text for one in rows[:place] if one.cells]
    assert "FEV1 (Week 6:" in before[0]
    assert ("a", "Left out as aliased: SEX.") in made(frame=frame).footnotes


def test_numbers_of_the_labels_have_addresses():
    frame = extra.frame()
    frame.loc[frame["STAT"] == "model", "N"] = range(300, 300 + (frame["STAT"] == "model").sum())
    known = extra.known(extra.results(table=frame))
    parts = [part for row in made(frame=frame).rows for part in row.label.parts if part.address]
    assert len(parts) > 12
    for part in parts:
        assert part.text == str(known[part.address.removesuffix("#N")].n)


def test_why_a_model_was_not_estimated_is_a_footnote():
    rendered = made("grade2")
    assert "Not estimated: 1 patient in EG." in dict(rendered.footnotes).values()


def test_one_way_of_weighing_means_is_a_common_note_and_two_are_marked():
    frame = extra.frame()
    model = frame["STAT"] == "model"
    frame.loc[model, "NOTE"] = f"CHG ~ TRT01P; least squares; {MEANS}"
    assert ("", f"{MEANS}.") in made(frame=frame).footnotes
    frame.loc[model & (frame["METHOD"] == "mmrm"), "NOTE"] = "CHG ~ TRT01P; REML; LS means: counted"
    marked = [note for letter, note in made(frame=frame).footnotes if letter]
    assert f"{MEANS}." in marked
    assert "LS means: counted." in marked


def test_display_chooses_parameters_and_visits():
    rendered = made(parameters=["FEV1"], visits=["Week 6"])
    labels = [row.label.text for row in rendered.rows if row.cells]
    assert len(labels) == 2
    assert all(label.startswith("FEV1") and "Week 12" not in label for label in labels)


def test_nobody_nothing_and_the_same_text_twice():
    assert not made("nobody").rows
    frame = extra.frame()
    with pytest.raises(Absent):
        made(frame=frame[frame["STAT"] != "model"])
    assert table.to_html(made(arms=3)) == table.to_html(made(arms=3))
    lines = table.to_tsv(made()).splitlines()
    assert len(lines) == 5
    assert all(line.count("\t") == lines[0].count("\t") for line in lines)


def test_factor_models_of_one_endpoint_are_kept_apart():
    frame = extra.frame()
    builder = fixture.Builder("all", {})
    for level, n in (("SEX", 380), ("SEVERITY", 379)):
        note = f"CHG ~ TRT01P * {level}; least squares, residual df"
        builder.add(
            "subgroups", "model", float("nan"), n, "VO2MAX", "Week 12", LEVEL=level, NOTE=note
        )
    found = Results(
        fixture.pd.concat([frame, fixture.pd.DataFrame(builder.rows)]), "all", extra.plan()
    )
    rendered = table_models.build(found, extra.context(), DISPLAY)
    labels = [row.label.text for row in rendered.rows]
    assert "CHG ~ TRT01P * SEX" in labels
    assert "Peak oxygen uptake (Week 12: n\u00a0=\u00a0379)" in labels
