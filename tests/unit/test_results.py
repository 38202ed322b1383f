import numpy as np
import pandas as pd
import pytest

from lungitude import results


def table(p=(0.01, 0.04, np.nan), strata=("all", "all", "all")):
    rows = results.Rows("ancova", "ITT")
    for index, (value, stratum) in enumerate(zip(p, strata, strict=True)):
        note = "" if np.isfinite(value) else "not estimated: 1 patient in EG"
        rows.add(
            {"p": value},
            30,
            param=f"P{index}",
            visit="Week 6",
            place="week06",
            stratum=stratum,
            comparison="EG - CG",
            note=note,
        )
    return rows.frame()


FAMILY = {
    "id": "imaging",
    "method": "holm",
    "analysis": "ancova",
    "parameters": ["P0", "P1", "P2"],
    "visits": ["Week 6"],
}


def test_columns_address_and_types():
    found = table()
    assert list(found) == results.COLUMNS
    assert found["ANALYSISID"][0] == "ancova.P0.week06.all"
    assert (found["VALUE"].dtype, found["N"].dtype) == (np.float64, np.int64)


def test_family_counts_only_what_was_estimated():
    adjusted = results.adjust_families(table(), [FAMILY])
    assert adjusted["VALUE"].tolist()[:2] == [0.02, 0.04]
    assert np.isnan(adjusted["VALUE"][2])
    assert adjusted["NOTE"].tolist() == ["holm, 2 of 3 planned tests"] * 2 + [
        "not estimated: 1 patient in EG"
    ]
    assert set(adjusted["STAT"]) == {"p_adj"}
    assert set(adjusted["FAMILY"]) == {"imaging"}


def test_family_tells_what_was_never_measured():
    wanted = {**FAMILY, "parameters": ["P0", "P1", "P7"], "method": "bh"}
    assert set(results.adjust_families(table(), [wanted])["NOTE"]) == {"bh, 2 of 3 planned tests"}
    wanted["parameters"] = ["P0", "P1"]
    assert set(results.adjust_families(table(), [wanted])["NOTE"]) == {"bh, 2 tests"}


def test_family_without_adjustment_keeps_p():
    adjusted = results.adjust_families(table(), [{**FAMILY, "method": "none"}])
    assert adjusted["VALUE"].tolist()[:2] == [0.01, 0.04]


@pytest.mark.parametrize(
    ("strata", "families", "values"),
    [
        ("all", {"imaging"}, [0.01]),
        ("each", {"imaging", "imaging.gold1"}, [0.01, 0.04]),
        (["all", "gold1"], {"imaging"}, [0.02, 0.04]),
    ],
)
def test_strata_of_a_family(strata, families, values):
    data = table((0.01, 0.04), ("all", "gold1"))
    adjusted = results.adjust_families(data, [{**FAMILY, "strata": strata}])
    assert set(adjusted["FAMILY"]) == families
    assert sorted(adjusted["VALUE"]) == values


GRAPH = {
    "weights": {"P0 Week 6": 0.5, "P1 Week 6": 0.5},
    "transitions": [
        {"from": "P0 Week 6", "to": "P2 Week 6", "share": 1},
        {"from": "P1 Week 6", "to": "P0 Week 6", "share": 1},
    ],
}


def test_procedures_follow_the_plan():
    wanted = {**FAMILY, "parameters": ["P2", "P0", "P1"], "method": "fixed_sequence"}
    data = table((0.01, 0.04, 0.02))
    adjusted = results.adjust_families(data, [wanted]).set_index("PARAMCD")["VALUE"]
    assert adjusted.to_dict() == {"P2": 0.02, "P0": 0.02, "P1": 0.04}
    wanted = {**wanted, **GRAPH, "method": "graphical"}
    adjusted = results.adjust_families(data, [wanted]).set_index("PARAMCD")["VALUE"]
    # P0 at half the level, its level goes to P2; P1 at half the level.
    np.testing.assert_allclose(adjusted.loc[["P0", "P1", "P2"]], [0.02, 0.08, 0.04])


def test_procedures_need_one_test_a_hypothesis():
    data = pd.concat([table(), table().assign(COMPARISON="other")])
    with pytest.raises(ValueError, match="P0 Week 6 has several"):
        results.adjust_families(data, [{**FAMILY, "method": "fixed_sequence"}])


def test_one_test_may_stand_in_two_families():
    families = [FAMILY, {**FAMILY, "id": "other", "method": "bh"}]
    joined = results.gather([table()], families)
    assert len(joined) == 9


def test_gather_sorts_by_analysis_and_keeps_the_order_within():
    one, two = (
        table(),
        table().assign(METHOD="a", ANALYSISID=["a.2", "a.2", "a.1"], LEVEL=["z", "b", "x"]),
    )
    joined = results.gather([one, two, results.empty()])
    assert joined["LEVEL"].tolist()[:3] == ["x", "z", "b"]
    assert joined.equals(results.gather([one, two, results.empty()]))


def test_no_results_is_an_empty_table():
    assert list(results.gather([])) == results.COLUMNS


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ({"parameters": ["P9"]}, "family imaging: there is no p of ancova for P9 at Week 6"),
        ({"method": "fdr"}, "method 'fdr'"),
    ],
)
def test_faults_of_families_are_named(family, text):
    with pytest.raises(ValueError, match=text):
        results.adjust_families(table(), [{**FAMILY, **family}])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: pd.concat([t, t.head(1)]), "two rows for ANALYSISID=ancova.P0.week06.all"),
        (lambda t: t.assign(NOTE=""), "no note on ANALYSISID=ancova.P2.week06.all"),
        (lambda t: t.assign(GROUP=None), "GROUP has a cell that is not text"),
        (lambda t: t.assign(VALUE=np.inf), "is infinite"),
        (lambda t: t.drop(columns="LEVEL"), "no column LEVEL"),
    ],
)
def test_broken_tables_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        results.validate(change(table()))
