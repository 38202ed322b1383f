"""Repeated-measures analysis of variance against car, afex, emmeans and friedman.test.

Closed forms: 1e-9 relative (measured 1e-12 and better).
"""

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.rm_anova import (
    friedman,
    rm_anova,
    rm_anova_means,
    rm_anova_pairs,
    rm_anova_sums,
)

CASES = [f"{kind}.{name}" for kind in ("within", "mixed") for name in ("fev1", "sgrq", "laa950")]
pytestmark = pytest.mark.filterwarnings("ignore:.*are left out")


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=1e-9)


@pytest.fixture(scope="module")
def given(data, reference):
    """Long data, arguments and R's results of a case."""

    def read(case):
        kind, name = case.split(".")
        columns = {f"{name}_w{week}": f"X{week}" for week in (0, 6, 12)}
        long = data("trial_wide").rename(columns=columns)
        long = long.melt(["id", "arm"], list(columns.values()), var_name="week", value_name="y")
        long["week"] = pd.Categorical(long["week"], list(columns.values()))
        kwargs = {"value": "y", "subject": "id", "within": "week"}
        if kind == "mixed":
            kwargs["between"] = "arm"
        return long, kwargs, reference("rm_anova")[case]

    return read


def test_every_case_is_here(reference):
    assert {*CASES, "friedman.sgrq"} == set(reference("rm_anova"))


@pytest.mark.parametrize("case", CASES)
def test_sums_of_squares(case, given):
    long, kwargs, want = given(case)
    ours, theirs = rm_anova_sums(long, **kwargs), pd.DataFrame(want["univariate"])
    assert ours["source"].tolist() == theirs["term"].tolist()
    names = {"ss": "ss", "df1": "num_df", "ss_error": "error_ss", "df2": "den_df", "F": "f"}
    for column, name in {**names, "p": "p"}.items():
        close(ours[column], theirs[name])


@pytest.mark.parametrize("case", CASES)
def test_tests_and_corrections(case, given):
    long, kwargs, want = given(case)
    ours = rm_anova(long, **kwargs).set_index("source")
    assert ours.attrs == {"n": want["n"], "n_dropped": 400 - want["n"]}
    theirs = pd.DataFrame(want["univariate"]).set_index("term").drop(index="(Intercept)")
    assert list(ours.index) == list(theirs.index)
    for column, name in {"F": "f", "df1": "num_df", "df2": "den_df", "p": "p"}.items():
        close(ours[column], theirs[name])
    mauchly = pd.DataFrame(want["mauchly"]).set_index("term")
    inside = ours.loc[mauchly.index]
    close(inside[["mauchly_w", "mauchly_p"]], mauchly[["w", "p"]])
    assert ours.drop(index=mauchly.index)["mauchly_w"].isna().all()
    corrections = pd.DataFrame(want["corrections"]).set_index("term").loc[inside.index]
    for column in ("gg_eps", "hf_eps"):
        close(inside[column], corrections[column])
    close(inside["p_gg"], corrections["gg_p"])
    close(inside["p_hf"], corrections["hf_p"])


@pytest.mark.parametrize("case", CASES)
def test_effect_sizes(case, given):
    """Afex's table has every term under Greenhouse-Geisser, between terms without correction."""
    long, kwargs, want = given(case)
    ours = rm_anova(long, **kwargs).set_index("source")
    theirs = pd.DataFrame(want["effect_sizes"]).set_index("term")
    assert list(ours.index) == list(theirs.index)
    close(ours["ges"], theirs["ges"])
    close(ours["F"], theirs["f"])
    close(ours["p_gg"], theirs["p_gg"])
    close(ours["df1"] * ours["gg_eps"], theirs["num_df_gg"])
    close(ours["df2"] * ours["gg_eps"], theirs["den_df_gg"])
    signal = ours["F"] * ours["df1"]
    close(signal / (signal + ours["df2"]), theirs["pes"])


@pytest.mark.parametrize("case", CASES)
def test_means_and_pairs(case, given):
    long, kwargs, want = given(case)
    names = {"SE": "se", "lower": "ci_low", "upper": "ci_high", "emmean": "estimate"}
    names["p.value"] = "p"
    for function, part, key in (
        (rm_anova_means, "emmeans", "week"),
        (rm_anova_pairs, "pairs", "contrast"),
    ):
        ours, theirs = function(long, **kwargs), pd.DataFrame(want[part]).rename(columns=names)
        keys = [key, *(["arm"] if "between" in kwargs else [])]
        ours = ours.astype(dict.fromkeys(keys, str))
        assert ours[keys].to_numpy().tolist() == theirs[keys].to_numpy().tolist()
        columns = [*"estimate se df ci_low ci_high".split()]
        columns += ["statistic", "p"] if key == "contrast" else []
        for column in columns:
            close(ours[column], theirs[column])


@pytest.mark.parametrize("name", ["fev1", "sgrq", "laa950"])
def test_pingouin_has_no_type_iii_for_unequal_groups(name, given):
    """Its mixed design takes the level means over all subjects, weighted by the group sizes.

    Type III, the default of car with sum-to-zero contrasts, of afex, SAS and SPSS, compares the
    unweighted means of the groups. So the F of the within factor differs where the arms differ in
    size, and that of the other terms does not.
    """
    import pingouin

    long, kwargs, want = given(f"mixed.{name}")
    long = long.rename(columns=str)
    theirs = pingouin.mixed_anova(
        long, dv="y", within="week", between="arm", subject="id", correction=True, effsize="ng2"
    ).set_index("Source")
    ours = rm_anova(long, **kwargs).set_index("source")
    r = pd.DataFrame(want["univariate"]).set_index("term")["f"]
    for term, label in (("arm", "arm"), ("arm:week", "Interaction")):
        close(theirs.loc[label, "F"], r[term])
    assert abs(theirs.loc["week", "F"] / r["week"] - 1) > 1e-3
    close(ours.loc["week", "F"], r["week"])
    close(theirs.loc["week", "eps"], ours.loc["week", "gg_eps"])
    # with equal groups nothing differs
    complete = long.groupby("id")["y"].transform("count") == 3
    ids = long.loc[complete].drop_duplicates("id").groupby("arm", observed=True).head(100)["id"]
    equal = long.loc[long["id"].isin(ids)]
    theirs = pingouin.mixed_anova(
        equal, dv="y", within="week", between="arm", subject="id", correction=True, effsize="ng2"
    )
    ours = rm_anova(equal, **kwargs)
    close(ours["F"], theirs["F"])
    close(ours["ges"], theirs["ng2"])
    close(ours["mauchly_p"][1:], theirs["p_spher"][1:])


def test_friedman(data, reference):
    want = reference("rm_anova")["friedman.sgrq"]
    columns = ["sgrq_w0", "sgrq_w6", "sgrq_w12"]
    long = data("trial_wide").melt("id", columns, var_name="week", value_name="y")
    row = friedman(long, "y", "id", "week").iloc[0]
    assert (row["n"], row["n_dropped"], row["df"]) == (want["n"], 54, want["df"])
    close([row["statistic"], row["p"]], [want["statistic"], want["p"]])
