import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from lungitude.statistics import mixed_model
from lungitude.statistics.ancova import ancova, noncentrality, rank_ancova
from lungitude.statistics.arms import (
    dunnett,
    max_t_cdf,
    max_t_quantile,
    product_structure,
    stratum_contrasts,
    subgroups,
    tukey,
)


@pytest.fixture
def trial():
    rng = np.random.default_rng(7)
    n = 60
    frame = pd.DataFrame(
        {
            "USUBJID": [f"S{i:02d}" for i in range(n)],
            "ARM": pd.Categorical(np.tile(["A", "B", "C"], n // 3)),
            "SITE": np.repeat(["s1", "s2", "s3"], n // 3),
            "BASE": rng.normal(50, 5, n),
        }
    )
    frame["CHG"] = 0.2 * frame["BASE"] + 2.0 * (frame["ARM"] == "B") + rng.normal(0, 1, n)
    return frame.assign(SEX=rng.choice(["F", "M"], n), CLASS=rng.choice([0, 1, 2], n))


def without(frame, site, arms):
    return frame.loc[~((frame["SITE"] == site) & frame["ARM"].isin(list(arms)))]


# What a table holds


def test_three_arms_are_compared_with_the_reference(trial):
    fit = ancova(trial, "CHG", "ARM", ["BASE"], reference="C")
    assert list(fit.contrasts["contrast"]) == ["A - C", "B - C"]
    assert list(fit.emmeans["ARM"]) == ["C", "A", "B"]


def test_order_of_rows_does_not_matter(trial):
    shuffled = trial.sample(frac=1, random_state=1)
    one, two = (ancova(frame, "CHG", "ARM", ["BASE", "SITE"]) for frame in (trial, shuffled))
    pd.testing.assert_frame_equal(one.contrasts, two.contrasts)


def test_one_covariate_may_be_named_without_a_list(trial):
    one, two = (ancova(trial, "CHG", "ARM", given) for given in ("BASE", ["BASE"]))
    pd.testing.assert_frame_equal(one.contrasts, two.contrasts)


def test_missing_values_are_left_out(trial):
    trial.loc[:4, "BASE"] = np.nan
    trial.loc[5:6, "CHG"] = np.nan
    assert (ancova(trial, "CHG", "ARM", ["BASE"]).contrasts["n"] == 53).all()


def test_no_covariate_is_student_and_one_way(trial):
    two = trial.loc[trial["ARM"] != "C"].assign(ARM=lambda t: t["ARM"].astype(str))
    groups = [two.loc[two["ARM"] == name, "CHG"] for name in "BA"]
    want = stats.ttest_ind(*groups)
    row = ancova(two, "CHG", "ARM").contrasts.iloc[0]
    assert np.isclose(row["statistic"], want.statistic, rtol=1e-12)
    assert np.isclose(row["p"], want.pvalue, rtol=1e-10)
    table = ancova(trial, "CHG", "ARM").tests().set_index("term")
    want = stats.f_oneway(*(trial.loc[trial["ARM"] == name, "CHG"] for name in "ABC"))
    assert np.isclose(table.loc["ARM", "f"], want.statistic, rtol=1e-12)
    assert (table.loc["ARM", "df1"], table.loc["ARM", "df2"]) == (2, 57)


def test_interaction_brings_its_main_effects(trial):
    short = ancova(trial, "CHG", "ARM", ["BASE", ("ARM", "SITE")])
    full = ancova(trial, "CHG", "ARM", ["BASE", "SITE", ("ARM", "SITE")])
    pd.testing.assert_frame_equal(short.contrasts, full.contrasts)
    assert list(short.tests(1)["term"]) == ["ARM", "BASE", "SITE", "ARM:SITE", "Residuals"]


# Tests of terms, effect sizes


def test_type_one_sums_add_up_and_types_agree_without_interaction(trial):
    fit = ancova(trial, "CHG", "ARM", ["BASE", "SITE"])
    total = np.sum((trial["CHG"] - trial["CHG"].mean()) ** 2)
    assert np.isclose(fit.tests(1)["sum_sq"].sum(), total, rtol=1e-12)
    two, three = fit.tests(2).set_index("term"), fit.tests(3).set_index("term")
    assert np.allclose(two.loc[["ARM", "BASE", "SITE"]], three.loc[["ARM", "BASE", "SITE"]])


def test_tests_against_statsmodels(trial):
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    covariates = ["BASE", "SITE", "SEX", ("ARM", "SITE")]
    fit = ancova(trial, "CHG", "ARM", covariates)
    other = smf.ols("CHG ~ C(ARM, Sum) * C(SITE, Sum) + BASE + C(SEX, Sum)", trial).fit()
    names = {"ARM": "C(ARM, Sum)", "ARM:SITE": "C(ARM, Sum):C(SITE, Sum)", "BASE": "BASE"}
    for kind in (2, 3):
        ours = fit.tests(kind).set_index("term").loc[list(names), ["sum_sq", "f", "p"]]
        theirs = sm.stats.anova_lm(other, typ=kind).loc[list(names.values())]
        assert np.allclose(ours, theirs[["sum_sq", "F", "PR(>F)"]], rtol=1e-8)
    robust = ancova(trial, "CHG", "ARM", covariates, robust="HC2").tests().set_index("term")
    theirs = sm.stats.anova_lm(other, typ=3, robust="hc2").loc[list(names.values()), "F"]
    assert np.allclose(robust.loc[list(names), "f"], theirs, rtol=1e-8)
    assert "sum_sq" not in robust


def test_aliased_covariate_costs_no_test(trial):
    trial["TWICE"] = 2 * trial["BASE"]
    with pytest.warns(UserWarning, match="TWICE is aliased"):
        fit = ancova(trial, "CHG", "ARM", ["BASE", "TWICE"])
    plain = ancova(trial, "CHG", "ARM", ["BASE"])
    for kind in (1, 2, 3):
        pd.testing.assert_frame_equal(fit.tests(kind), plain.tests(kind))


def test_empty_cell_costs_the_interaction(trial):
    frame = without(trial, "s2", "B")
    with pytest.raises(ValueError, match="ancova of CHG: not estimable: B - A cannot be estimated"):
        ancova(frame, "CHG", "ARM", ["BASE", ("ARM", "SITE")])
    with pytest.warns(UserWarning, match="ARMB:SITEs2 is aliased"):
        fit = stratum_contrasts(frame, "CHG", "ARM", "SITE", ["BASE"]).fit
    with pytest.warns(UserWarning, match=r"\(Intercept\), ARM, SITE cannot be tested"):
        table = fit.tests(3).set_index("term")
    assert table.loc[["ARM", "SITE"], "f"].isna().all()
    assert table.loc["ARM:SITE", "df1"] == 3
    # the highest term is the same under every type
    second = fit.tests(2).set_index("term")
    assert np.isclose(table.loc["ARM:SITE", "f"], second.loc["ARM:SITE", "f"])


def test_partial_eta_squared_of_one_contrast_is_that_of_the_term(trial):
    two = trial.loc[trial["ARM"] != "C"].assign(ARM=lambda t: t["ARM"].astype(str))
    fit = ancova(two, "CHG", "ARM", ["BASE", "SEX"])
    sizes = fit.effect_sizes().set_index("term")
    assert np.isclose(fit.contrasts["partial_eta_sq"].iloc[0], sizes.loc["ARM", "partial_eta_sq"])
    r = fit.standardised().set_index("term").loc["ARMB", "partial_r"]
    assert np.isclose(r**2, sizes.loc["ARM", "partial_eta_sq"])
    assert (sizes["partial_omega_sq"] <= sizes["partial_eta_sq"]).all()


@pytest.mark.parametrize(("f", "df1", "df2"), [(5.0, 2, 30), (684.0, 1, 335), (1e6, 3, 500)])
def test_noncentrality_inverts_the_distribution(f, df1, df2):
    low, high = noncentrality(f, df1, df2, 0.9)
    for limit, target in ((low, 0.95), (high, 0.05)):
        assert np.isclose(stats.ncf.cdf(f, df1, df2, limit), target, rtol=1e-9)


def test_noncentrality_without_effect():
    assert noncentrality(0.0005, 1, 50) == (0.0, 0.0)
    assert np.isnan(noncentrality(np.nan, 1, 50)).all()


def test_diagnostics_against_statsmodels(trial):
    import statsmodels.formula.api as smf
    from statsmodels.stats.diagnostic import het_breuschpagan

    row = ancova(trial, "CHG", "ARM", ["BASE", "SEX"]).diagnostics().iloc[0]
    other = smf.ols("CHG ~ ARM + BASE + SEX", trial).fit()
    want = het_breuschpagan(other.resid, other.model.exog)[:2]
    assert np.allclose(row[["breusch_pagan", "breusch_pagan_p"]].astype(float), want)
    assert np.isclose(row["loglik"], other.llf)
    assert np.isclose(row["cooks_distance_max"], other.get_influence().cooks_distance[0].max())


def test_vif_of_one_covariate_is_one_over_tolerance(trial):
    table = ancova(trial, "CHG", "ARM", ["BASE"]).vif().set_index("term")
    groups = pd.get_dummies(trial["ARM"], dtype=float).to_numpy()
    fitted = groups @ np.linalg.lstsq(groups, trial["BASE"], rcond=None)[0]
    share = np.var(trial["BASE"] - fitted) / np.var(trial["BASE"])
    assert np.isclose(table.loc["BASE", "gvif"], 1 / share)
    assert np.isclose(table.loc["ARM", "gvif"], 1 / share)  # two terms inflate each other alike


# Marginal means


def test_weights_of_means(trial):
    frame = trial.loc[(trial["SITE"] != "s3") | (trial.index % 2 == 0)]
    fit = ancova(frame, "CHG", "ARM", ["BASE", "SITE", ("ARM", "SITE")])
    cells = fit.fit.emmeans("ARM", by="SITE").pivot_table("estimate", "ARM", "SITE", observed=True)
    share = frame["SITE"].value_counts(normalize=True)
    for weights, want in (
        ("equal", cells.mean(axis=1)),
        ("proportional", (cells * share).sum(axis=1)),
    ):
        got = fit.marginal_means(weights).set_index("ARM")["estimate"]
        assert np.allclose(got, want.loc[got.index])
    # a linear model without product of covariates: the mean prediction is the prediction at means
    one, two = (fit.marginal_means(w)["estimate"] for w in ("proportional", "counterfactual"))
    assert np.allclose(one, two)


def test_means_at_a_value_of_the_data(trial):
    frame = trial.assign(CRP=np.exp(trial["BASE"] / 20), AVAL=np.exp(trial["CHG"] / 5))
    logged = frame.assign(CRP=np.log(frame["CRP"]), AVAL=np.log(frame["AVAL"]))
    one = ancova(frame, "AVAL", "ARM", ["CRP"], transform="log", log_covariates=["CRP"])
    two = ancova(logged, "AVAL", "ARM", ["CRP"])
    got = one.marginal_means(at={"CRP": 12.0})
    want = two.marginal_means(at={"CRP": np.log(12.0)})
    assert np.allclose(got["estimate"], want["estimate"])
    assert np.allclose(got["geometric_mean"], np.exp(want["estimate"]))
    with pytest.raises(ValueError, match="'Q' is no variable"):
        one.marginal_means(at={"Q": 1})


# Transformations


def test_log_scale_is_the_log_of_the_columns(trial):
    frame = trial.assign(CACS=np.exp(trial["CHG"] / 5), CACS0=np.exp(trial["BASE"] / 20))
    logged = frame.assign(CACS=np.log(frame["CACS"]), CACS0=np.log(frame["CACS0"]))
    one = ancova(frame, "CACS", "ARM", ["CACS0", "SEX"], transform="log", log_covariates="CACS0")
    two = ancova(logged, "CACS", "ARM", ["CACS0", "SEX"])
    pd.testing.assert_frame_equal(one.contrasts[list(two.contrasts)], two.contrasts)
    for ratio, log in (
        ("ratio", "estimate"),
        ("ratio_ci_low", "ci_low"),
        ("ratio_ci_high", "ci_high"),
    ):
        assert np.allclose(one.contrasts[ratio], np.exp(two.contrasts[log]))
    assert "log(CACS0)" in set(one.coefficients["term"])
    # the baseline is on the scale of the data where it is not named
    plain = ancova(frame, "CACS", "ARM", ["CACS0", "SEX"], transform="log")
    assert "CACS0" in set(plain.coefficients["term"])


def test_log_ratio_without_covariate_is_of_geometric_means(trial):
    frame = trial.assign(CACS=np.exp(trial["CHG"] / 5))
    fit = ancova(frame, "CACS", "ARM", transform="log")
    means = frame.groupby("ARM", observed=True)["CACS"].apply(stats.gmean)
    assert np.allclose(fit.emmeans["geometric_mean"], means)
    assert np.allclose(fit.contrasts["ratio"], means.iloc[1:] / means.iloc[0])


def test_log1p_is_of_value_plus_one(trial):
    frame = trial.assign(CACS=np.where(trial.index % 4 == 0, 0.0, np.exp(trial["CHG"] / 5)))
    fit = ancova(frame, "CACS", "ARM", transform="log1p")
    plus = ancova(frame.assign(CACS=frame["CACS"] + 1), "CACS", "ARM", transform="log")
    assert np.allclose(fit.contrasts["ratio"], plus.contrasts["ratio"])
    assert np.allclose(fit.emmeans["geometric_mean"], plus.emmeans["geometric_mean"] - 1)


def test_ranks_do_not_see_a_monotone_change_of_scale(trial):
    curved = trial.assign(CHG=np.exp(trial["CHG"]), BASE=trial["BASE"] ** 3)
    one, two = (
        ancova(frame, "CHG", "ARM", ["BASE", "SITE"], transform="rank").contrasts
        for frame in (trial, curved)
    )
    pd.testing.assert_frame_equal(one, two)
    one, two = (rank_ancova(frame, "CHG", "ARM", ["BASE"]) for frame in (trial, curved))
    pd.testing.assert_frame_equal(one, two)


def test_rank_ancova_without_covariate_is_kruskal_wallis(trial):
    """Both are F of the ranks, ((n - k) H) / ((k - 1) (n - 1 - H)) with H corrected for ties."""
    trial["CHG"] = trial["CHG"].round(0)
    h = stats.kruskal(*(trial.loc[trial["ARM"] == name, "CHG"] for name in "ABC")).statistic
    want = (60 - 3) * h / ((3 - 1) * (60 - 1 - h))
    for method in ("quade", "conover-iman"):
        row = rank_ancova(trial, "CHG", "ARM", method=method).iloc[0]
        assert np.isclose(row["f"], want, rtol=1e-10)
        assert (row["df1"], row["df2"], row["n"]) == (2, 57, 60)


def test_rank_ancova_by_its_definition(trial):
    trial["BASE"] = trial["BASE"].round(0)  # ties
    ranked = trial.assign(CHG=stats.rankdata(trial["CHG"]), BASE=stats.rankdata(trial["BASE"]))
    slope, level = np.polyfit(ranked["BASE"], ranked["CHG"], 1)
    rest = ranked["CHG"] - level - slope * ranked["BASE"]
    want = stats.f_oneway(*(rest[trial["ARM"] == name] for name in "ABC"))
    row = rank_ancova(trial, "CHG", "ARM", ["BASE"]).iloc[0]
    assert np.allclose([row["f"], row["p"]], want, rtol=1e-9)
    row = rank_ancova(trial, "CHG", "ARM", ["BASE"], method="conover-iman").iloc[0]
    want = ancova(ranked, "CHG", "ARM", ["BASE"]).tests().set_index("term").loc["ARM"]
    assert np.allclose([row["f"], row["p"], row["df2"]], want[["f", "p", "df2"]], rtol=1e-12)


def test_ranks_are_within_the_stratum(trial):
    table = rank_ancova(trial, "CHG", "ARM", ["BASE"], by="SITE").set_index("SITE")
    part = rank_ancova(trial.loc[trial["SITE"] == "s2"], "CHG", "ARM", ["BASE"]).iloc[0]
    assert table.loc["s2", "f"] == part["f"]
    with pytest.warns(UserWarning, match="SITE s2: not estimated: one arm only"):
        table = rank_ancova(without(trial, "s2", "BC"), "CHG", "ARM", ["BASE"], by="SITE")
    assert list(table["n"]) == [20, 7, 20]
    assert list(table["p"].isna()) == [False, True, False]


# Strata and subgroups


def test_stratum_that_cannot_be_fitted_is_nan_with_a_warning(trial):
    with pytest.warns(UserWarning, match="SITE s2: not estimated: one arm only"):
        fit = ancova(without(trial, "s2", "BC"), "CHG", "ARM", ["BASE"], by="SITE")
    rows = fit.contrasts.set_index("SITE")
    assert rows.loc["s2", "estimate"].isna().all()
    assert (rows.loc["s2", "n"] == 7).all()
    assert rows.loc[["s1", "s3"], "estimate"].notna().all()


@pytest.mark.parametrize(
    ("gone", "text", "known"),
    [
        ("A", "not estimated: no patient in A", [False, False]),
        ("B", "SITE s2: no patient in B", [False, True]),
    ],
)
def test_stratum_without_an_arm(trial, gone, text, known):
    """Contrasts keep their reference: none is made of the arms that are left."""
    frame = without(trial, "s2", gone)
    with pytest.warns(UserWarning, match=text):
        fit = ancova(frame, "CHG", "ARM", ["BASE"], by="SITE")
    rows = fit.contrasts.loc[fit.contrasts["SITE"] == "s2"]
    assert list(rows["contrast"]) == ["B - A", "C - A"]
    assert list(rows["estimate"].notna()) == known
    with pytest.warns(UserWarning, match="ARM[BC]:SITEs2 is aliased"):
        joint = stratum_contrasts(frame, "CHG", "ARM", "SITE", ["BASE"])
    rows = joint.contrasts.loc[joint.contrasts["SITE"] == "s2"]
    assert list(rows["estimate"].notna()) == known
    assert joint.interaction["df1"].iloc[0] == 3


def test_joint_model_without_covariates_is_the_cells(trial):
    """Differences of cell means with the pooled variance; the strata alone share the estimates."""
    joint = stratum_contrasts(trial, "CHG", "ARM", "SITE")
    alone = ancova(trial, "CHG", "ARM", by="SITE")
    assert list(joint.contrasts["SITE"]) == list(alone.contrasts["SITE"])
    assert np.allclose(joint.contrasts["estimate"], alone.contrasts["estimate"])
    variance = sum(fit.fit.rss for fit in alone.fits.values()) / 51
    n1, n0 = joint.contrasts["n_arm"], joint.contrasts["n_reference"]
    assert np.allclose(joint.contrasts["se"], np.sqrt(variance * (1 / n1 + 1 / n0)))
    assert (joint.contrasts["df"] == 51).all()


def test_factor_that_is_a_covariate_is_not_doubled(trial):
    once = stratum_contrasts(trial, "CHG", "ARM", "SITE", ["BASE"])
    for covariates in (["BASE", "SITE"], ["SITE", "BASE", ("ARM", "SITE")]):
        twice = stratum_contrasts(trial, "CHG", "ARM", "SITE", covariates)
        pd.testing.assert_frame_equal(once.contrasts, twice.contrasts)


def test_numbers_are_levels_of_a_subgroup(trial):
    number = stratum_contrasts(trial, "CHG", "ARM", "CLASS", ["BASE", "CLASS"])
    text = trial.assign(CLASS=trial["CLASS"].astype(str))
    want = stratum_contrasts(text, "CHG", "ARM", "CLASS", ["BASE"])
    assert np.allclose(number.contrasts["estimate"], want.contrasts["estimate"])
    assert np.isclose(number.interaction["p"].iloc[0], want.interaction["p"].iloc[0])


def test_interaction_is_the_comparison_of_two_models(trial):
    joint = stratum_contrasts(trial, "CHG", "ARM", "SITE", ["BASE"])
    main = ancova(trial, "CHG", "ARM", ["BASE", "SITE"]).fit.fit
    full = joint.fit.fit
    f = (main.rss - full.rss) / (main.df - full.df) / (full.rss / full.df)
    assert np.isclose(joint.interaction["f"].iloc[0], f)


def test_subgroups(trial):
    trial["ONE"] = "same"
    with pytest.warns(UserWarning, match="'ONE' has one level only"):
        table = subgroups(trial, "CHG", "ARM", ["SITE", "SEX", "ONE"], ["BASE", "SITE"])
    assert list(table["factor"].drop_duplicates()) == ["all", "SITE", "SEX", "ONE"]
    whole = ancova(trial, "CHG", "ARM", ["BASE", "SITE"]).contrasts
    assert np.allclose(table["estimate"].iloc[:2], whole["estimate"])
    sex = stratum_contrasts(trial, "CHG", "ARM", "SEX", ["BASE", "SITE"])
    rows = table.loc[table["factor"] == "SEX"]
    assert np.allclose(rows["estimate"], sex.contrasts["estimate"])
    assert np.allclose(rows["interaction_p"], sex.interaction["p"].iloc[0])
    assert table.loc[table["factor"] == "ONE", "estimate"].isna().all()
    assert (table.groupby("factor")["n_arm"].sum() == 40).all()  # also where none is estimated
    assert list(
        subgroups(trial.assign(CHG=trial["CHG"].abs() + 1), "CHG", "ARM", ["SEX"], transform="log")
    )[-3:] == ["ratio", "ratio_ci_low", "ratio_ci_high"]


# More than two arms


def test_dunnett_of_a_published_analysis():
    """Zinc and diatoms (Medley & Clements 1998), by R's glht(mcp(ZNGROUP = "Dunnett")).

    Group sizes 8 (reference), 8, 9, 9; R prints the adjusted p of a Monte Carlo integration.
    """
    sizes = np.array([8.0, 9, 9])
    loading = np.sqrt(sizes / (sizes + 8))
    correlation = np.outer(loading, loading) + np.diag(1 - loading**2)
    for t, p in ((0.23500 / 0.23303, 0.6195), (0.07972 / 0.22647, 0.9701), (2.295, 0.0725)):
        assert abs(1 - max_t_cdf(t, correlation, 30) - p) < 5e-4


@pytest.mark.parametrize(
    ("m", "df", "limit"), [(2, 5, 3.03), (2, 10, 2.57), (3, 20, 2.54), (4, np.inf, 2.44)]
)
def test_dunnett_tables(m, df, limit):
    """Two-sided 5 % points of Dunnett 1964, Biometrics 20:482, equal groups."""
    correlation = np.full((m, m), 0.5) + 0.5 * np.eye(m)
    assert abs(max_t_quantile(0.95, correlation, df) - limit) < 0.0051


def test_dunnett_in_the_one_way_layout_is_scipy():
    rng = np.random.default_rng(1)
    groups = [rng.normal(m, 1, n) for m, n in ((0, 12), (0.5, 9), (1, 15), (-0.8, 7))]
    frame = pd.DataFrame(
        {"y": np.concatenate(groups), "a": np.repeat(list("abcd"), [len(g) for g in groups])}
    )
    table = dunnett(ancova(frame, "y", "a"))
    want = stats.dunnett(*groups[1:], control=groups[0], random_state=1)
    assert np.allclose(table["statistic"], want.statistic)
    assert np.allclose(table["p_adjusted"], want.pvalue, atol=5e-4)  # the error of scipy
    limits = want.confidence_interval()
    assert np.allclose(table["ci_low"], limits.low, atol=2e-3)
    assert np.allclose(table["ci_high"], limits.high, atol=2e-3)
    # an interval leaves out 0 exactly where the adjusted p is below 0.05
    assert ((table["p_adjusted"] < 0.05) == (table["ci_low"] * table["ci_high"] > 0)).all()
    table = tukey(ancova(frame, "y", "a")).set_index("contrast")
    want = stats.tukey_hsd(*groups)
    for i, j in itertools.combinations(range(4), 2):
        row = table.loc[f"{'abcd'[j]} - {'abcd'[i]}"]
        assert np.isclose(row["p_adjusted"], want.pvalue[i, j], rtol=1e-8)
        limits = want.confidence_interval(0.95)
        assert np.isclose(row["ci_low"], limits.low[j, i], rtol=1e-6)


def test_two_ways_of_integration_agree(monkeypatch):
    """Exact quadrature and lattice, where the correlations have a product structure."""
    for sizes, df in (([3.0, 3, 15], 37), ([50.0, 10, 20, 30, 5], np.inf), ([9.0, 9], 3)):
        loading = np.sqrt(np.array(sizes) / (np.array(sizes) + 20))
        correlation = np.outer(loading, loading) + np.diag(1 - loading**2)
        exact = [max_t_cdf(limit, correlation, df) for limit in (0.5, 2.3, 4.0)]
        with monkeypatch.context() as patch:
            patch.setattr("lungitude.statistics.arms.product_structure", lambda c: None)
            lattice = [max_t_cdf(limit, correlation, df) for limit in (0.5, 2.3, 4.0)]
        assert np.allclose(exact, lattice, rtol=0, atol=5e-6)
        assert np.abs(np.array(exact) - lattice).max() > 0  # they are two ways


def test_bivariate_t_by_another_integral():
    """P(|T1|, |T2| < c) from the density of the bivariate t."""
    r, df, c = -0.3, 7, 1.9

    def density(x, y):
        q = (x * x - 2 * r * x * y + y * y) / (1 - r * r)
        return (1 + q / df) ** (-(df + 2) / 2) / (2 * np.pi * np.sqrt(1 - r * r))

    want = integrate.dblquad(density, -c, c, -c, c, epsabs=1e-11)[0]
    got = max_t_cdf(c, np.array([[1, r], [r, 1]]), df)
    assert np.isclose(got, want, rtol=1e-9)


def test_product_structure():
    loading = np.array([0.3, -0.6, 0.9, 0.2])
    correlation = np.outer(loading, loading) + np.diag(1 - loading**2)
    assert np.allclose(np.abs(product_structure(correlation)), np.abs(loading))
    correlation[0, 1] = correlation[1, 0] = 0.1
    assert product_structure(correlation) is None


def test_dunnett_with_covariates(trial):
    """Between single and Bonferroni; a lattice where the covariance has no product structure."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"ARM": np.tile(list("ABCDE"), 20), "BASE": rng.normal(size=100)})
    frame["BASE"] += frame["ARM"].map(dict(zip("ABCDE", (0, 1.5, -1, 2, 0.5), strict=True)))
    frame["CHG"] = frame["BASE"] + 0.6 * (frame["ARM"] == "D") + rng.normal(size=100)
    fit = ancova(frame, "CHG", "ARM", ["BASE"], robust="HC3", reference="C")
    rows = np.array(
        [
            fit.fit.design.mean_row({"ARM": a}) - fit.fit.design.mean_row({"ARM": "C"})
            for a in "ABDE"
        ]
    )
    covariance = rows @ fit.fit.vcov @ rows.T
    se = np.sqrt(np.diag(covariance))
    assert product_structure(covariance / np.outer(se, se)) is None
    table = dunnett(fit)
    assert list(table["contrast"]) == ["A - C", "B - C", "D - C", "E - C"]
    assert (table["p_adjusted"] > table["p"]).all()
    assert (table["p_adjusted"] <= np.minimum(1, 4 * table["p"])).all()
    draws = rng.multivariate_normal(np.zeros(4), covariance / np.outer(se, se), 400_000)
    draws = draws / np.sqrt(rng.chisquare(fit.fit.fit.df, (400_000, 1)) / fit.fit.fit.df)
    top = np.abs(draws).max(axis=1)
    share = [(top > abs(t)).mean() for t in table["statistic"]]
    assert np.allclose(table["p_adjusted"], share, atol=0.004)
    assert abs((top > table["critical"].iloc[0]).mean() - 0.05) < 0.0015
    pd.testing.assert_frame_equal(table, dunnett(fit))


def test_dunnett_of_two_arms_is_the_single_test(trial):
    two = trial.loc[trial["ARM"] != "C"].assign(ARM=lambda t: t["ARM"].astype(str))
    fit = ancova(two, "CHG", "ARM", ["BASE"])
    for table in (dunnett(fit), tukey(fit)):
        assert np.allclose(table["p_adjusted"], fit.contrasts["p"], rtol=1e-6)
        assert np.allclose(table["ci_low"], fit.contrasts["ci_low"], rtol=1e-6)


def test_families_of_strata_and_of_other_fits(trial):
    table = dunnett(ancova(trial, "CHG", "ARM", ["BASE"], by="SITE"))
    part = dunnett(ancova(trial.loc[trial["SITE"] == "s2"], "CHG", "ARM", ["BASE"]))
    assert np.allclose(table.loc[table["SITE"] == "s2", "p_adjusted"], part["p_adjusted"])
    joint = dunnett(stratum_contrasts(trial, "CHG", "ARM", "SITE").fit, by="SITE")
    assert list(joint["SITE"]) == ["s1", "s1", "s2", "s2", "s3", "s3"]
    logged = dunnett(ancova(trial.assign(CHG=trial["CHG"] ** 2), "CHG", "ARM", transform="log"))
    assert np.allclose(logged["ratio_ci_low"], np.exp(logged["ci_low"]))
    visits = pd.concat([trial.assign(VISIT=v) for v in ("v1", "v2")], ignore_index=True)
    visits["CHG"] += np.random.default_rng(2).normal(size=len(visits))
    mixed = mixed_model(visits, "CHG ~ ARM * VISIT", groups="USUBJID")
    table = dunnett(mixed, "ARM", by="VISIT", reference="C")
    assert np.allclose(
        table["estimate"], mixed.contrasts("ARM", by="VISIT", reference="C")["estimate"]
    )
    assert (table["p_adjusted"] >= table["p"]).all()


# Bad input


@pytest.mark.parametrize(
    ("change", "kwargs", "text"),
    [
        (None, {"covariates": ["AGE"]}, "ancova: no column 'AGE'"),
        (None, {"reference": "Z"}, "reference 'Z' is no level of 'ARM'"),
        (None, {"robust": "HC9"}, "robust 'HC9'"),
        (None, {"transform": "sqrt"}, "transform 'sqrt'"),
        (None, {"covariates": ["CHG"]}, "CHG has two parts"),
        (None, {"by": "BASE"}, "BASE has two parts"),
        (None, {"by": "ARM"}, "ARM has two parts"),
        (None, {"confidence": 95}, "confidence 95"),
        (None, {"log_covariates": ["BASE"]}, "need transform 'log'"),
        (None, {"log_covariates": ["SEX"], "transform": "log"}, "SEX is no numeric covariate"),
        ({"ARM": "A"}, {}, "ancova of CHG: not estimable: one arm only, A"),
        ({"CHG": 1.0}, {}, "ancova of CHG: not estimable: no variation of CHG"),
        ({"CHG": "x"}, {}, "ancova: column 'CHG' holds text"),
        ({"CHG": np.inf}, {}, "ancova: column 'CHG' holds 60 infinite"),
        ({"BASE": -np.inf}, {}, "ancova: column 'BASE' holds 60 infinite"),
        ({"CHG": np.nan}, {}, r"no row has all of CHG, ARM, BASE \(CHG is missing in all\)"),
        ({"CHG": 0.0}, {"transform": "log"}, "'CHG' holds 60 zero and 0 negative .*'log1p'"),
        (
            {"CHG": -2.0},
            {"transform": "log1p"},
            "0 zero and 60 negative values, 60 without a log1p",
        ),
    ],
)
def test_bad_input_of_ancova(trial, change, kwargs, text):
    frame = trial.assign(**(change or {}))
    with pytest.raises(ValueError, match=text):
        ancova(frame, "CHG", "ARM", **{"covariates": ["BASE"], **kwargs})


def test_arm_without_patients_is_an_error(trial):
    with pytest.raises(ValueError, match="arm 'C' of 'ARM' has no patient with all of CHG"):
        ancova(trial.loc[trial["ARM"] != "C"], "CHG", "ARM", ["BASE"])
    trial["ARM"] = trial["ARM"].astype(str)
    trial.loc[trial["ARM"] == "A", "BASE"] = np.nan
    with pytest.raises(ValueError, match="arm 'A' of 'ARM' has no patient with all of CHG"):
        ancova(trial, "CHG", "ARM", ["BASE"], reference="A")


def test_aliased_arm_is_an_error_that_names_both(trial):
    trial["CENTRE"] = trial["ARM"].astype(str) + " hospital"
    text = "ARMB, ARMC is aliased with the covariates CENTRE$"
    with pytest.raises(ValueError, match=text):
        ancova(trial, "CHG", "ARM", ["BASE", "CENTRE", "SEX"])


def test_aliased_nuisance_is_dropped_with_a_warning(trial):
    trial["TWICE"] = 2 * trial["BASE"]
    trial["ONE"] = "same"
    with pytest.warns(UserWarning, match="TWICE, ONE is aliased"):
        fit = ancova(trial, "CHG", "ARM", ["BASE", "TWICE", "ONE"])
    plain = ancova(trial, "CHG", "ARM", ["BASE"])
    pd.testing.assert_frame_equal(fit.contrasts, plain.contrasts)


def test_too_few_patients(trial):
    with pytest.raises(ValueError, match="3 patients for 4 model terms"):
        ancova(trial.head(3), "CHG", "ARM", ["BASE"])
    one = trial.head(1).assign(ARM="A")
    with pytest.raises(ValueError, match="one arm only, A"):
        ancova(one, "CHG", "ARM")


def test_robust_needs_leverage_below_one(trial):
    trial.loc[0, "SITE"] = "alone"
    with pytest.raises(ValueError, match="leverage 1"):
        ancova(trial, "CHG", "ARM", ["SITE"], robust="HC3")


def test_fit_without_error_is_said(trial):
    trial["CHG"] = trial["ARM"].cat.codes.astype(float)
    with pytest.warns(UserWarning, match="fits without error"):
        fit = ancova(trial, "CHG", "ARM")
    with pytest.raises(ValueError, match="dunnett: the model fits without error"):
        dunnett(fit)


def test_columns_given_twice_and_no_frame(trial):
    with pytest.raises(ValueError, match="the data have column 'BASE' twice"):
        ancova(pd.concat([trial, trial[["BASE"]]], axis=1), "CHG", "ARM", ["BASE"])
    with pytest.raises(ValueError, match="ancova: a DataFrame is needed, not dict"):
        ancova(trial.to_dict(), "CHG", "ARM")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda t, a: a.tests(4), "type 4 is not one of 1, 2, 3"),
        (lambda t, a: ancova(t, "CHG", "ARM", robust="HC3").tests(2), "robust 'HC3' has type 3"),
        (lambda t, a: a.marginal_means("outer"), "weights 'outer'"),
        (lambda t, a: a.fit.test("Q"), "Q is no term of the model"),
        (lambda t, a: ancova(t, "CHG", "ARM", by="SITE").fit, "the fits are by SITE"),
        (lambda t, a: rank_ancova(t, "CHG", "ARM", method="x"), "rank_ancova: method 'x'"),
        (
            lambda t, a: stratum_contrasts(t, "CHG", "ARM", "NO"),
            "stratum_contrasts: no column 'NO'",
        ),
        (lambda t, a: stratum_contrasts(t, "CHG", "ARM", "BASE"), "'BASE' has 60 levels in 60"),
        (lambda t, a: stratum_contrasts(t, "CHG", "ARM", "ARM"), "ARM has two parts"),
        (lambda t, a: stratum_contrasts(t, "CHG", "ARM", "SEX", transform="rank"), "'rank'"),
        (lambda t, a: stratum_contrasts(t.assign(S=1), "CHG", "ARM", "S"), "'S' has one level"),
        (lambda t, a: subgroups(t, "CHG", "ARM", ["NO"]), "subgroups: no column 'NO'"),
        (lambda t, a: dunnett(3), "dunnett: a fit is needed, not int"),
        (lambda t, a: dunnett(a, factor="Q"), "'Q' is no factor of the model"),
        (lambda t, a: dunnett(a, reference="Q"), "reference 'Q' is no level of 'ARM'"),
    ],
)
def test_bad_input_of_what_follows(trial, call, text):
    fit = ancova(trial, "CHG", "ARM", ["BASE"])
    with pytest.raises(ValueError, match=text):
        call(trial, fit)


def test_good_input_gives_no_warning(trial):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = ancova(trial, "CHG", "ARM", ["BASE", "SITE"], robust="HC3")
        dunnett(fit)
        subgroups(trial, "CHG", "ARM", ["SITE", "SEX"], ["BASE"])
        rank_ancova(trial, "CHG", "ARM", ["BASE"], by="SITE")
        fit.diagnostics(), fit.vif(), fit.effect_sizes(), fit.tests()
