"""Simulated trials: truth of their design, blocks, summary; the committed results."""

import json
import runpy
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers import ROOT
from lungitude import tables
from lungitude.statistics.ancova import ancova
from lungitude.statistics.mmrm import mmrm
from lungitude.validation import families, fits, imputations, scenarios, summary
from lungitude.validation.scenarios import BLOCKS, SCENARIOS, Family, Trial

LEAVES = Trial("fits", 20, 0.25, scenarios.EFFECT)
COMMITTED = ROOT / "docs" / "validation" / "statistics.tsv"


def test_array_path_is_the_public_mmrm_and_ancova():
    arm, baseline, change = scenarios.draw(LEAVES, scenarios.generator(LEAVES, 3))
    data = imputations.frame(arm, baseline, change)
    ours = dict(zip(fits.MODELS, fits.mmrm_effects(arm, baseline, change), strict=True))
    for df, found in ours.items():
        fit = mmrm(data, "CHG ~ BASE * AVISIT + TRT01P * AVISIT", df=df)
        row = fit.contrasts("TRT01P", by="AVISIT", reference="control").set_index("AVISIT")
        np.testing.assert_allclose(
            found, row.loc["W24", ["estimate", "se", "df"]].astype(float), rtol=1e-7
        )
    last = data[data["AVISIT"] == "W24"]
    row = ancova(last, "CHG", "TRT01P", ["BASE"], reference="control").contrasts.iloc[0]
    np.testing.assert_allclose(
        fits.completers(arm, baseline, change), row[["estimate", "se", "df"]].astype(float)
    )


def test_p_value_and_interval_agree_with_each_other():
    table = fits.block(Trial("fits", 20, 0.25, 0.0), 0, 20)
    assert len(table) == 20 * len(fits.METHODS)
    assert ((table["p"] > 0.05) == (table["covered"] == 1)).all()  # the truth is 0
    np.testing.assert_allclose(
        table["p"], 2 * stats.t.sf(abs(table["estimate"] / table["se"]), table["df"])
    )


def test_a_fit_that_fails_is_counted_and_not_judged():
    arm, baseline, change = scenarios.draw(LEAVES, scenarios.generator(LEAVES, 0))
    change[:, 2] = change[:, 1]  # correlation 1
    assert np.isnan(fits.mmrm_effects(arm, baseline, change)).all()
    table = pd.DataFrame({"estimate": [np.nan], "se": [np.nan], "df": [np.nan], "truth": [0.0]})
    assert fits.judged(table)[["p", "covered"]].isna().all(axis=None)


def test_drop_out_has_the_shares_it_is_calibrated_to():
    large = Trial("fits", 100_000, 0.25, scenarios.EFFECT)
    arm, _, change = scenarios.draw(large, np.random.default_rng(1))
    gone = np.isnan(change[:, -1])
    _, left = scenarios.calibrated(0.25, scenarios.EFFECT)
    assert left.mean() == pytest.approx(0.25, abs=1e-9)
    for one in (0, 1):
        assert gone[arm == one].mean() == pytest.approx(left[one], abs=4 * 0.0015)
    # Whoever has left stays away.
    assert (np.isnan(change[:, 1]) <= gone).all()


def test_truth_under_jump_to_reference():
    # The definition: from drop-out on, the mean of the control arm, and the residuals observed.
    large = Trial("fits", 200_000, 0.25, scenarios.EFFECT)
    arm, baseline, change = scenarios.draw(large, np.random.default_rng(2))
    own = scenarios.means(baseline, arm, large.effect)
    control = scenarios.means(baseline, 0 * arm, large.effect)
    values = change[:, -1].copy()
    for seen in range(scenarios.VISITS):
        here = np.isnan(change[:, -1]) & ((~np.isnan(change)).sum(axis=1) == seen)
        s = scenarios.COVARIANCE
        weight = np.linalg.solve(s[:seen, :seen], s[:seen, -1])
        values[here] = control[here, -1] + (change - own)[here, :seen] @ weight
    difference = values[arm == 1].mean() - values[arm == 0].mean()
    error = np.hypot(values[arm == 1].std(), values[arm == 0].std()) / np.sqrt(large.n)
    assert abs(difference - scenarios.truth(large, "j2r")) < 4 * error
    assert scenarios.truth(large) == scenarios.EFFECT
    assert scenarios.truth(Trial("fits", 9, 0.0, 7.0), "j2r") == 7.0


def test_families_have_the_correlation_and_effects_they_name(monkeypatch):
    seen = []

    def kept(one, two):
        seen.append((one, two))
        return SimpleNamespace(pvalue=np.full(scenarios.ENDPOINTS, 0.5))

    monkeypatch.setattr(families.stats, "ttest_ind", kept)
    families.block(Family(0.5, 5), 0, 60)
    one, two = (np.concatenate(part) for part in zip(*seen, strict=True))
    correlation = np.corrcoef(two.T)
    assert correlation[np.triu_indices(20, 1)].mean() == pytest.approx(0.5, abs=0.02)
    shift = one.mean(axis=0) - two.mean(axis=0)
    np.testing.assert_allclose(shift, [scenarios.SHIFT] * 5 + [0.0] * 15, atol=0.1)


@pytest.mark.parametrize("module", [fits, families, imputations])
def test_blocks_do_not_depend_on_each_other(module):
    kind = module.__name__.rsplit(".", 1)[1]
    scenario = [s for s in SCENARIOS.values() if s.kind == kind][-1]
    alone = module.block(scenario, 1, 2)
    module.block(scenario, 0, 2)
    pd.testing.assert_frame_equal(module.block(scenario, 1, 2), alone)
    assert list(alone["trial"].unique()) == [2, 3]
    other = module.block(scenario, 0, 2)
    assert not np.array_equal(other.iloc[:, 2:], alone.iloc[:, 2:])


def test_scenarios_have_names_and_random_numbers_of_their_own():
    first = [scenarios.generator(s, b).random() for s in SCENARIOS.values() for b in (0, 1)]
    assert len(set(first)) == 2 * len(SCENARIOS)
    assert all(kind in BLOCKS for kind in {s.kind for s in SCENARIOS.values()})


def test_monte_carlo_errors_are_the_spread_of_repeated_simulations():
    rng = np.random.default_rng(5)
    size, repeats = 200, 500
    found = []
    for _ in range(repeats):
        table = pd.DataFrame(
            {
                "method": "one",
                "estimate": rng.normal(1.0, 2.0, size),
                "se": 2.0 * np.sqrt(rng.chisquare(10, size) / 10),
                "df": 10.0,
                "truth": 0.0,
            }
        )
        found.append(summary.summarise(fits.judged(table)).set_index("measure"))
    values = pd.DataFrame([one["value"] for one in found])
    claimed = pd.DataFrame([one["mc_error"] for one in found]).mean()
    # The error of an SD from `repeats` is 1 / sqrt(2 repeats) = 3 %.
    for name in ("bias", "empirical_se", "model_se", "se_error_pct", "coverage", "rejected"):
        assert claimed[name] == pytest.approx(values[name].std(), rel=0.12), name
    assert values["bias"].mean() == pytest.approx(1.0, abs=0.03)
    assert values["model_se"].mean() == pytest.approx(2.0, abs=0.01)
    assert (values["failed"] == 0).all()


def test_summary_of_a_family():
    table = pd.DataFrame(
        {
            "method": ["bh"] * 4,
            "rejected": [0, 2, 4, 1],
            "false": [0, 1, 0, 1],
            "fdp": [0.0, 0.5, 0.0, 1.0],
        }
    )
    found = summary.summarise(table).set_index("measure")
    assert found["value"].to_dict() == {"fdr": 0.375, "fwer": 0.5, "found": 1.25}
    assert found.loc["fwer", "mc_error"] == pytest.approx(summary.share_error(0.5, 4))


def test_document_marks_what_is_not_nominal():
    name = "fits_n20_dropout25_null"
    rows = [
        (name, "good", "rejected", 0.052, 0.003, 5000),
        (name, "bad", "rejected", 0.080, 0.003, 5000),
    ]
    table = pd.DataFrame(rows, columns=summary.COLUMNS)
    text = summary._grid(table, "rejected", 0.05)
    assert text.splitlines()[-1] == "| 20 | 25 % | 0 | 0.052 (3) | **0.080 (3)** |"


def test_scripts_write_whole_blocks_and_gather_them(tmp_path, monkeypatch):
    import gather_validation
    import simulate_fits

    names = ("fits_n20_dropout0_null", "fits_n20_dropout25_null")
    few = {name: SCENARIOS[name] for name in names}
    for module in (gather_validation, simulate_fits):
        monkeypatch.setattr(module, "SCENARIOS", few)
        monkeypatch.setattr(module, "BLOCKS", {"fits": (2, 5)})
    paths = []
    for name in names:
        for block in (0, 1):
            paths.append(tmp_path / f"{name}_{block}.parquet")
            simulate_fits.main(
                SimpleNamespace(
                    wildcards=SimpleNamespace(scenario=name, block=str(block)),
                    output=SimpleNamespace(block=paths[-1]),
                )
            )
    again = tmp_path / "again.parquet"
    job = SimpleNamespace(
        wildcards=SimpleNamespace(scenario=names[0], block="0"),
        output=SimpleNamespace(block=again),
    )
    simulate_fits.main(job)
    assert again.read_bytes() == paths[0].read_bytes()
    output = SimpleNamespace(table=tmp_path / "t.tsv", document=tmp_path / "t.md")
    gather_validation.main(SimpleNamespace(input=paths, output=output))
    table = tables.read(output.table)
    assert list(table.columns) == summary.COLUMNS
    assert (table.loc[table["measure"] == "bias", "trials"] == 10).all()
    assert "Type I error" in output.document.read_text()


# The committed figures


@pytest.fixture(scope="module")
def committed():
    table = tables.read(COMMITTED)
    return table.set_index(["scenario", "method", "measure"]).sort_index()


def chosen(kind, **wanted):
    return [
        name
        for name, s in SCENARIOS.items()
        if s.kind == kind and all(getattr(s, k) == v for k, v in wanted.items())
    ]


def off(row, nominal):
    """Distance from the nominal value in Monte Carlo errors at that value."""
    return (row["value"] - nominal) / summary.share_error(nominal, row["trials"])


def test_committed_table_is_whole_and_its_document_made_from_it(committed):
    assert set(committed.index.get_level_values("scenario")) == set(SCENARIOS)
    rows = tables.read(COMMITTED)
    document = COMMITTED.with_suffix(".md").read_text(encoding="utf-8")
    assert summary.document(rows[summary.COLUMNS]) == document


def test_mmrm_keeps_its_level_and_coverage(committed):
    for name in chosen("fits"):
        for model in fits.MODELS:
            rows = committed.loc[name, f"mmrm {model}"]
            assert rows.loc["bias", "trials"] >= 4990
            assert abs(rows.loc["bias", "value"]) < 3 * rows.loc["bias", "mc_error"], name
            assert abs(off(rows.loc["coverage"], 0.95)) < 4, (name, model)
            # The second derivatives of Kenward-Roger in mmrm's parametrisation make its SE too
            # small with 20 patients an arm: see the next test.
            if not SCENARIOS[name].effect and not (model == "kenward-roger" and "n20" in name):
                assert abs(off(rows.loc["rejected"], 0.05)) < 3, (name, model)


def test_kenward_roger_rejects_a_little_more_often_than_its_linear_form(committed):
    for name in chosen("fits", effect=0.0):
        excess = committed.loc[(name, "mmrm kenward-roger", "rejected_excess"), "value"]
        n, leaves = SCENARIOS[name].n, SCENARIOS[name].dropout > 0
        assert 0 <= excess < (0.3 if leaves else 0.15) / n, name
    # Complete data: the linear form is exact, and this one's level 0.0556 by its ratio of SE.
    excess = committed.loc[("fits_n20_dropout0_null", "mmrm kenward-roger", "rejected_excess")]
    assert excess["value"] == pytest.approx(0.0056, abs=3 * excess["mc_error"])


def test_imputation_at_random_and_jackknife_keep_their_level(committed):
    for name in chosen("imputations"):
        small = SCENARIOS[name].n == 20
        for label in imputations.MODELS:
            for method in ("mar conditional-mean", "mar bayes", "j2r conditional-mean"):
                rows = committed.loc[name, f"{method}, {label}"]
                assert abs(rows.loc["bias", "value"]) < 3 * rows.loc["bias", "mc_error"]
                assert rows.loc["failed", "value"] < 0.01
                key, nominal = ("coverage", 0.95) if SCENARIOS[name].effect else ("rejected", 0.05)
                distance = off(rows.loc[key], nominal)
                # The jackknife of a small trial is conservative.
                assert abs(distance) < 3.5 or (small and (distance > 0) == (key == "coverage"))


def test_rubin_is_conservative_under_jump_to_reference(committed):
    for name in chosen("imputations"):
        for label in imputations.MODELS:
            rows = committed.loc[name, f"j2r bayes, {label}"]
            assert abs(rows.loc["bias", "value"]) < 3 * rows.loc["bias", "mc_error"]
            assert rows.loc["se_error_pct", "value"] > 10
            key, nominal = ("coverage", 0.95) if SCENARIOS[name].effect else ("rejected", 0.05)
            assert off(rows.loc[key], nominal) * (1 if key == "coverage" else -1) > 3


def test_completers_are_biased_only_where_patients_leave(committed):
    for name in chosen("fits"):
        row = committed.loc[name, "ancova of completers", "bias"]
        assert (abs(row["value"]) > 3 * row["mc_error"]) == (SCENARIOS[name].dropout > 0), name


def test_families_keep_their_error_rates(committed):
    for name in chosen("families"):
        bound = 0.05 * (1 - SCENARIOS[name].effects / scenarios.ENDPOINTS)
        fdr, fwer = committed.loc[name, "bh", "fdr"], committed.loc[name, "holm", "fwer"]
        assert fdr["value"] < bound + 3 * fdr["mc_error"]
        assert fwer["value"] < 0.05 + 3 * fwer["mc_error"]
        if SCENARIOS[name].correlation == 0:  # the bound of Benjamini & Hochberg is reached
            assert fdr["value"] == pytest.approx(bound, abs=3 * fdr["mc_error"])


# The benchmarks


def test_benchmark_fits_the_model_of_the_public_function(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    timed = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "statistics.py")))
    data = timed.large(patients=300, visits=4)
    assert data["chg"].isna().mean() < 0.1  # drop-out grows with the visit
    assert timed.large()["chg"].isna().mean() == pytest.approx(0.135, abs=0.01)
    for df in ("satterthwaite", "kenward-roger"):
        table = timed.whole(data, *timed.LARGE_MODEL, df)()
        found = timed.ready(data, *timed.LARGE_MODEL, df)()[0]
        np.testing.assert_allclose(found.T, table[["estimate", "se", "df"]], rtol=1e-6)


def test_benchmark_case_reports_its_times():
    script = ROOT / "benchmarks" / "statistics.py"
    np.ones(2**28)  # 2 GB of this process are not the benchmark's
    done = subprocess.run(
        [sys.executable, script, "--case", "fev"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert len(found["times"]) >= 3
    assert 0 < min(found["times"]) < 5
    assert 20 < found["peak_mb"] < 2000
