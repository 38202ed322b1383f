"""Individual values: those that the analyses of groups use, each with an address of its own."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from unit import individual_fixture as own
from unit import reporting_fixture as fixture
from unit.test_analysis import PARAMETERS, Trial, reads

from lungitude import tables
from lungitude.analysis.accuracy import accuracy
from lungitude.analysis.agreement import agreement
from lungitude.analysis.describe import describe
from lungitude.analysis.individual import KEY, gather, individual, pairs, pairs_with_truth, run
from lungitude.reporting.individual import Individual
from lungitude.reporting.results import Absent, Results


@pytest.fixture(scope="module")
def trial():
    def edit(subjects, measurements, events):
        lost = measurements["USUBJID"].isin(["S001", "S002"])
        late = measurements["AVISIT"] == "Week 12"
        first = (measurements["AVISIT"] == "Baseline") & (measurements["USUBJID"] == "S007")
        return subjects, measurements.loc[~(lost & late) & ~first], events

    return Trial(edit=edit)


def listed(trial):
    return individual(trial.adsl, trial.records, PARAMETERS, trial.visits, trial.strata)


def test_patients_are_those_described(trial):
    table = listed(trial)
    described = trial.run(describe, {"population": "ITT"})
    assert not table.duplicated(["ANALYSISID", "USUBJID", "COMPARISON", "READER"]).any()
    for stratum in [{"path": "all"}, *trial.strata[0]["levels"]]:
        if "value" in stratum:
            stratum = {**stratum, "column": "GOLDGR"}
        found = Individual(table, stratum, {})
        rows = described[(described["STRATUM"] == stratum["path"]) & (described["GROUP"] != "")]
        for row in rows[rows["STAT"].isin(["n", "mean"])].itertuples():
            if row.GROUP == "TOTAL":
                continue
            values = found.values(row.PARAMCD, row.AVISIT, row.GROUP, row.LEVEL)
            shown = len(values) if row.STAT == "n" else np.mean([one.value for one in values])
            assert shown == pytest.approx(row.VALUE)


def test_changes_and_ratios(trial):
    table = listed(trial).set_index(["PARAMCD", "USUBJID", "AVISIT"]).sort_index()
    one = table.loc[("FEV1", "S003")]
    assert one.loc["Week 6", "CHG"] == one.loc["Week 6", "AVAL"] - one.loc["Baseline", "AVAL"]
    assert one["RATIO"].isna().all()
    assert np.isnan(one.loc["Baseline", "CHG"])
    score = table.loc[("CACS", "S003")]
    wanted = (score.loc["Week 12", "AVAL"] + 1) / (score.loc["Baseline", "AVAL"] + 1)
    assert score.loc["Week 12", "RATIO"] == pytest.approx(wanted)
    # Without a baseline there is a value and no change.
    assert np.isfinite(table.loc[("FEV1", "S007", "Week 6"), "AVAL"])
    assert np.isnan(table.loc[("FEV1", "S007", "Week 6"), "CHG"])


def test_two_values_of_a_patient_are_refused(trial):
    again = [pd.concat([table, table.tail(1)]) for table in trial.records]
    with pytest.raises(ValueError, match="two of CACS for S079 at Week 12"):
        individual(trial.adsl, again, PARAMETERS, trial.visits, trial.strata)


def test_pairs_are_those_of_the_agreement(trial):
    data = reads(trial)
    table = pairs(trial.adsl, data, PARAMETERS, {}, trial.visits, trial.strata)
    found = agreement(trial.adsl, data, PARAMETERS, {}, trial.strata)
    found = found[found["STAT"] == "bias"]
    assert set(found["COMPARISON"]) == set(table["COMPARISON"])
    for row in found.itertuples():
        mine = table[table["COMPARISON"] == row.COMPARISON]
        level = {"gold1": "I", "gold2": "II"}.get(row.STRATUM)
        mine = mine[mine["GOLDGR"] == level] if level else mine
        assert len(mine) == row.N
        assert mine["DIFF"].mean() == pytest.approx(row.VALUE)
    assert np.allclose(table["MEAN"] * 2, table["AVAL"] + table["REFERENCE"])
    assert set(table["TRT01P"]) == {""}  # agreement does not look at the arm
    assert not table.duplicated(KEY).any()


def test_pairs_with_the_truth_are_those_of_the_accuracy(trial):
    people = list(trial.adsl["USUBJID"][:12])
    litres = np.linspace(2, 7, 12)
    truth = pd.DataFrame({"USUBJID": people, "AVISIT": "Baseline", "FEV_ML": 1000 * litres})
    measured = truth[["USUBJID", "AVISIT"]].assign(PARAMCD="FEV1", AVAL=litres + 0.25)
    measured = measured.assign(SOURCE="scan")
    measured.loc[0, "AVAL"] = np.nan
    measured = pd.concat([measured, measured.assign(AVAL=99.0, SOURCE="imported")])
    section = {"truth": {"FEV1": {"column": "FEV_ML", "factor": 0.001}}}
    table = pairs_with_truth(trial.adsl, measured, truth, section, trial.visits, trial.strata)
    found = accuracy(trial.adsl, measured, truth, PARAMETERS, section)
    assert len(table) == found["N"].iloc[0] == 11
    assert table["DIFF"].to_numpy() == pytest.approx(0.25)
    assert set(table["COMPARISON"]) == set(found["COMPARISON"])


def test_addresses_and_analysis_set():
    table = own.values()
    found = Individual(table, {"path": "all"}, fixture.plan())
    values = found.values("VO2MAX", "Week 6", "EG")
    addresses = [one.found.address for one in values]
    assert addresses[0] == "individual.VO2MAX.week06|EG-I-004|||CHG"
    assert len(set(addresses)) == len(addresses) == 196
    pair = found.pairs("agreement", "LAA950", "network - reader")[0]
    assert pair.difference.address.startswith("individual.agreement.LAA950.baseline|EG-I-000|net")
    assert pair.first.value - pair.second.value == pair.difference.value
    nobody = Individual(table.assign(ITTFL="N"), {"path": "all"}, fixture.plan())
    assert nobody.values("VO2MAX", "Week 6", "EG") == []
    with pytest.raises(ValueError, match="no flag PPROTFL"):
        Individual(table, {"path": "all"}, fixture.plan(), "PP")
    with pytest.raises(Absent, match="accuracy has no pairs"):
        found.comparisons("accuracy")


def test_results_of_other_strata_and_without_individual_values():
    found = Results(fixture.frame(), "all", fixture.plan())
    other = found.at("grade1")
    assert other.stratum == "grade1"
    assert other is found.at("grade1")
    assert found.at("all") is found
    assert other.size("TOTAL").value == 48
    with pytest.raises(Absent, match="single patients"):
        _ = found.individual


def test_run_writes_one_table(trial, tmp_path):
    files = {"adsl": trial.adsl, "adqct": trial.records[0], "adfun": trial.records[1]}
    for name, table in files.items():
        tables.write_parquet(table, tmp_path / f"{name}.parquet")
    tables.write(PARAMETERS, tmp_path / "parameters.tsv")
    tables.write(reads(trial), tmp_path / "reads.tsv")
    given = {name: tmp_path / f"{name}.parquet" for name in files}
    given |= {name: tmp_path / f"{name}.tsv" for name in ("parameters", "reads")}
    job = SimpleNamespace(
        input=SimpleNamespace(**given),
        output=SimpleNamespace(individual=tmp_path / "individual.parquet"),
        params=SimpleNamespace(
            analyses={"agreement": {}}, visits=trial.visits, strata=trial.strata
        ),
    )
    run(job)
    written = tables.read_parquet(tmp_path / "individual.parquet")
    assert set(written["METHOD"]) == {"individual", "agreement"}
    assert len(written[written["METHOD"] == "individual"]) == len(listed(trial))
    first = (tmp_path / "individual.parquet").read_bytes()
    run(job)
    assert (tmp_path / "individual.parquet").read_bytes() == first


def test_nothing_gives_an_empty_table():
    assert list(gather([]).columns)[:3] == ["ANALYSISID", "METHOD", "PARAMCD"]
