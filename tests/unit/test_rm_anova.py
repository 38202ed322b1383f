"""Repeated-measures analysis of variance: identities and bad input."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungitude.statistics.rm_anova import (
    friedman,
    rm_anova,
    rm_anova_means,
    rm_anova_pairs,
    rm_anova_sums,
)


@pytest.fixture
def long():
    """25 subjects in groups of 10, 8 and 7; four visits."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        [(f"S{i:02d}", f"v{k}") for i in range(25) for k in range(4)],
        columns=["USUBJID", "AVISIT"],
    )
    code = frame.index // 4
    frame["ARM"] = np.repeat(["A", "B", "C"], [40, 32, 28])
    frame["SEX"] = np.where(code % 2, "F", "M")
    visit = frame.index % 4
    frame["AVAL"] = rng.normal(0, 2, 25)[code] + visit + rng.normal(0, 1, 100) * (1 + visit)
    frame["AVAL"] += (frame["ARM"] == "B") * visit
    return frame


def test_within_only_has_pingouins_columns_and_our_sums(long):
    """Pingouin computes the within-only table; the type III sums here are the second opinion."""
    table, sums = rm_anova(long), rm_anova_sums(long).iloc[1]
    row = table.iloc[0]
    assert list(table) == (
        "source F df1 df2 p gg_eps p_gg hf_eps p_hf mauchly_w mauchly_p ges".split()
    )
    assert row["source"] == "AVISIT"
    for name in ("F", "df1", "df2", "p"):
        assert np.isclose(row[name], sums[name], rtol=1e-10)


@pytest.mark.parametrize("between", [None, "ARM"])
def test_sphericity_by_its_definition(long, between):
    """Epsilon and W from the eigenvalues of the pooled covariance of contrasts."""
    wide = long.pivot_table("AVAL", "USUBJID", "AVISIT")
    groups = long.drop_duplicates("USUBJID").set_index("USUBJID").loc[wide.index, "ARM"]
    rest = wide - (wide.mean() if between is None else wide.groupby(groups).transform("mean"))
    df = 24 if between is None else 22
    contrast = np.linalg.qr(np.column_stack([np.ones(4), np.eye(4)[:, :3]]))[0][:, 1:]
    values = np.linalg.eigvalsh(contrast.T @ (rest.T @ rest / df).to_numpy() @ contrast)
    gg = values.sum() ** 2 / (3 * (values**2).sum())
    w = values.prod() / values.mean() ** 3
    row = rm_anova(long, between=between).set_index("source").loc["AVISIT"]
    assert np.isclose(row["gg_eps"], gg)
    assert np.isclose(row["mauchly_w"], w)
    hf = ((df + 1) * 3 * gg - 2) / (3 * (df - 3 * gg))
    assert np.isclose(row["hf_eps"], hf)
    assert np.isclose(row["p_gg"], stats.f.sf(row["F"], 3 * gg, 3 * df * gg))
    used = min(hf, 1)
    assert np.isclose(row["p_hf"], stats.f.sf(row["F"], 3 * used, 3 * df * used))
    # Box's expansion as stats::mauchly.test has it: 3 times the levels, 4
    rho = 1 - (2 * 9 + 3 + 2) / (18 * df)
    second = 5 * 2 * 1 * (2 * 27 + 6 * 9 + 3 * 4 + 2) / (288 * (df * 3 * rho) ** 2)
    one, two = stats.chi2.sf(-df * rho * np.log(w), [5, 9])
    assert np.isclose(row["mauchly_p"], one + second * (two - one), rtol=1e-10)


def test_type_iii_compares_unweighted_means(long):
    """F of the within factor: Wald test of the unweighted visit means, by contrast variances."""
    table = rm_anova(long, between="ARM").set_index("source")
    means = rm_anova_means(long, between="ARM").pivot_table("estimate", "ARM", "AVISIT")
    sizes = np.array([10, 8, 7])
    unweighted = means.mean().to_numpy()
    ss = np.sum((unweighted - unweighted.mean()) ** 2) / np.mean(1 / sizes) * 3
    sums = rm_anova_sums(long, between="ARM").set_index("source")
    assert np.isclose(sums.loc["AVISIT", "ss"], ss)
    weighted = sizes @ means.to_numpy() / 25
    assert not np.isclose(ss, 25 * np.sum((weighted - weighted.mean()) ** 2), rtol=1e-3)
    # between subjects: the analysis of variance of the subject means
    by = long.groupby(["ARM", "USUBJID"])["AVAL"].mean()
    want = stats.f_oneway(*(group for _, group in by.groupby("ARM")))
    assert np.isclose(table.loc["ARM", "F"], want.statistic)
    assert np.isclose(table.loc["ARM", "p"], want.pvalue)
    assert table.loc["ARM", ["gg_eps", "hf_eps"]].tolist() == [1, 1]


def test_two_levels_are_the_paired_t_test(long):
    two = long.loc[long["AVISIT"].isin(["v0", "v3"])]
    wide = two.pivot_table("AVAL", "USUBJID", "AVISIT")
    want = stats.ttest_rel(wide["v3"], wide["v0"])
    row = rm_anova(two).iloc[0]
    assert np.isclose(row["F"], want.statistic**2)
    assert np.allclose(row[["p", "p_gg", "p_hf"]].astype(float), want.pvalue)
    assert row[["gg_eps", "hf_eps"]].tolist() == [1, 1]
    assert row[["mauchly_w", "mauchly_p"]].isna().all()
    pair = rm_anova_pairs(two).iloc[0]
    assert pair["contrast"] == "v3 - v0"
    assert np.isclose(pair["p"], want.pvalue)
    mixed = rm_anova(two, between="ARM")
    assert mixed["mauchly_w"].isna().all()
    assert (mixed["gg_eps"] == 1).all()
    change = (wide["v3"] - wide["v0"]).groupby(
        two.drop_duplicates("USUBJID").set_index("USUBJID")["ARM"]
    )
    want = stats.f_oneway(*(group for _, group in change))
    assert np.isclose(mixed["F"][2], want.statistic)


def test_huynh_feldt_above_one_counts_as_one(long):
    noise = np.random.default_rng(0).normal(size=(25, 4))
    wide = np.linalg.qr(np.column_stack([np.ones(25), noise]))[0][:, 1:]  # covariance I / 24
    wide = wide + np.array([0, 0.1, 0.05, 0])
    row = rm_anova(long.assign(AVAL=wide.ravel())).iloc[0]
    assert np.isclose(row["gg_eps"], 1)
    assert np.isclose(row["mauchly_p"], 1)
    assert row["hf_eps"] > 1
    assert np.isclose(row["p_hf"], row["p"])


def test_incomplete_subjects_are_left_out_and_counted(long):
    gaps = long.copy()
    gaps.loc[2, "AVAL"] = np.nan
    gaps = gaps.drop(index=9)
    with pytest.warns(UserWarning, match="2 of 25 subjects without a value at every level"):
        table = rm_anova(gaps, between="ARM")
    assert table.attrs == {"n": 23, "n_dropped": 2}
    whole = long.loc[~long["USUBJID"].isin(["S00", "S02"])]
    pd.testing.assert_frame_equal(table, rm_anova(whole, between="ARM"))


def test_two_between_factors_have_all_their_terms(long):
    table = rm_anova(long, between=["ARM", "SEX"])
    assert table["source"].tolist() == [
        "ARM",
        "SEX",
        "ARM:SEX",
        "AVISIT",
        "ARM:AVISIT",
        "SEX:AVISIT",
        "ARM:SEX:AVISIT",
    ]
    assert table["df1"].tolist() == [2, 1, 2, 3, 6, 3, 6]
    assert set(table["df2"]) == {19, 57}
    assert len(rm_anova_means(long, between=["ARM", "SEX"])) == 24


def test_order_of_rows_and_units_do_not_matter(long):
    other = long.sample(frac=1, random_state=1)
    other["AVAL"] = 1e3 * other["AVAL"] + 1e5
    pd.testing.assert_frame_equal(
        rm_anova(long, between="ARM"), rm_anova(other, between="ARM"), rtol=1e-8
    )
    pd.testing.assert_frame_equal(rm_anova(long), rm_anova(other), rtol=1e-8)


def test_too_few_subjects_for_sphericity(long):
    few = long.loc[long["USUBJID"].isin(["S00", "S01", "S02"])]
    with pytest.warns(UserWarning, match="too few for Mauchly's test of 4 levels"):
        row = rm_anova(few).iloc[0]
    assert row[["mauchly_w", "mauchly_p"]].isna().all()
    assert np.isfinite(row["p"])


@pytest.mark.parametrize("function", [rm_anova, rm_anova_sums, rm_anova_means, friedman])
@pytest.mark.parametrize(
    ("change", "kwargs", "text"),
    [
        ({}, {"value": "CHG"}, "no column 'CHG'"),
        ({}, {"within": "AVAL"}, "must be different columns"),
        ({"AVAL": "x"}, {}, "'AVAL' holds text"),
        ({"AVAL": np.inf}, {}, "infinite"),
        ({"AVAL": 1.0}, {}, "no variation of AVAL"),
        ({"AVAL": np.nan}, {}, "0 subjects have AVAL at all levels of AVISIT"),
        ({"USUBJID": "S01"}, {}, "duplicate rows of USUBJID and AVISIT, such as S01, v0"),
        ({"AVISIT": "v0"}, {}, "'AVISIT' needs two levels, found v0"),
    ],
)
def test_bad_input(function, change, kwargs, text, long):
    with pytest.raises(ValueError, match=f"{function.__name__}: .*{text}"):
        function(long.assign(**change), **kwargs)


def test_bad_between(long):
    with pytest.raises(ValueError, match="'AVISIT2' varies within 25 subjects, such as S00"):
        rm_anova(long.assign(AVISIT2=long["AVISIT"]), between="AVISIT2")
    with pytest.raises(ValueError, match="'ARM' has one level only, A"):
        rm_anova(long.assign(ARM="A"), between="ARM")
    with pytest.raises(ValueError, match="25 subjects for 25 groups"):
        rm_anova(long.assign(ARM=long["USUBJID"]), between="ARM")
    gone = long.loc[~((long["ARM"] == "C") & (long["SEX"] == "F"))]
    with pytest.raises(ValueError, match="a combination of ARM, SEX has no subject"):
        rm_anova(gone, between=["ARM", "SEX"])


def test_one_subject_is_an_error(long):
    with pytest.raises(ValueError, match="1 subjects have AVAL at all levels"):
        rm_anova(long.head(4))


def test_no_change_within_subjects_is_an_error(long):
    flat = long.assign(AVAL=pd.factorize(long["USUBJID"])[0].astype(float))
    with pytest.raises(ValueError, match="no variation between the changes within subjects"):
        rm_anova(flat)
    with pytest.raises(ValueError, match="no variation of AVAL within subjects"):
        friedman(flat)


def test_a_level_without_any_value_is_not_forgotten(long):
    gone = long.assign(AVAL=long["AVAL"].where(long["AVISIT"] != "v2"))
    with pytest.raises(ValueError, match="v1: 25, v2: 0, v3: 25"):
        rm_anova(gone)


def test_friedman_is_the_formula_with_ties(long):
    long["AVAL"] = long["AVAL"].round()
    ranks = long.pivot_table("AVAL", "USUBJID", "AVISIT").rank(axis=1)
    n, k = ranks.shape
    spread = ((ranks - (k + 1) / 2) ** 2).to_numpy().sum()
    want = (k - 1) * np.sum((ranks.sum() - n * (k + 1) / 2) ** 2) / spread
    row = friedman(long).iloc[0]
    assert np.isclose(row["statistic"], want)
    assert np.isclose(row["kendall_w"], want / (n * (k - 1)))
    with pytest.raises(ValueError, match="has two levels"):
        friedman(long.loc[long["AVISIT"] < "v2"])
