"""Mixed model for repeated measures: identities, fall-backs, bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.ancova import ancova
from lungitude.statistics.covariance import STRUCTURES, SpatialExponential, Structure
from lungitude.statistics.likelihood import Likelihood, SingularCovarianceError
from lungitude.statistics.mmrm import mmrm

FORMULA = "CHG ~ BASE * AVISIT + TRT01P * AVISIT"


@pytest.fixture(scope="module")
def trial():
    """40 patients with three visits, complete."""
    rng = np.random.default_rng(7)
    n = 40
    base = rng.normal(60, 8, n)
    errors = rng.multivariate_normal(np.zeros(3), [[9.0, 5, 4], [5, 10, 6], [4, 6, 12]], n)
    frame = pd.DataFrame(
        {
            "USUBJID": np.repeat([f"P{i:02d}" for i in range(n)], 3),
            "TRT01P": np.repeat(["CG", "EG"] * (n // 2), 3),
            "SEX": np.repeat(rng.choice(["F", "M"], n), 3),
            "AVISIT": ["Week 6", "Week 12", "Week 24"] * n,
            "WEEK": [6.0, 12, 24] * n,
            "BASE": np.repeat(base, 3),
        }
    )
    frame["AVISIT"] = pd.Categorical(frame["AVISIT"], ["Week 6", "Week 12", "Week 24"])
    effect = np.where(frame["TRT01P"] == "EG", 2.0, 0.0)
    frame["CHG"] = errors.ravel() + effect - 0.2 * (frame["BASE"] - 60)
    return frame


@pytest.fixture(scope="module")
def holes(trial):
    rng = np.random.default_rng(8)
    return trial.assign(CHG=trial["CHG"].where(rng.random(len(trial)) > 0.25))


# Second derivatives of Kenward & Roger depend on the parametrisation: with R mmrm's the SE of
# complete data differs from the exact one by a share of order 1 / df^2; without them it does not.
@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger-linear"])
def test_complete_data_with_interactions_are_the_ancova_of_each_visit(df, trial):
    fit = mmrm(trial, FORMULA, df=df)
    ours = fit.contrasts("TRT01P", by="AVISIT", reference="CG").set_index("AVISIT")
    for visit, rows in trial.groupby("AVISIT", observed=True):
        row = ancova(rows, "CHG", "TRT01P", ["BASE"], reference="CG").contrasts.iloc[0]
        names = ["estimate", "se", "df", "p", "ci_low", "ci_high"]
        np.testing.assert_allclose(
            ours.loc[visit, names].astype(float), row[names].astype(float), rtol=1e-7
        )


def test_one_visit_is_an_ancova(trial):
    rows = trial.loc[trial["AVISIT"] == "Week 12"]
    fit = mmrm(rows, FORMULA, df="kenward-roger-linear")
    ours = fit.contrasts("TRT01P", by="AVISIT").iloc[0]
    row = ancova(rows, "CHG", "TRT01P", ["BASE"], reference="CG").contrasts.iloc[0]
    for name in ("estimate", "se", "df", "p"):
        assert np.isclose(ours[name], row[name], rtol=1e-9)


def test_likelihood_is_the_plain_formula(holes):
    """The density of the data written out patient by patient, at an arbitrary covariance."""
    fit = mmrm(holes, "CHG ~ BASE + TRT01P", covariance="us", method="ml")
    used = holes.dropna()
    x = np.column_stack([np.ones(len(used)), used["BASE"], used["TRT01P"] == "EG"]).astype(float)
    residual = used["CHG"].to_numpy() - x @ fit.beta
    codes = used["AVISIT"].cat.codes.to_numpy()
    total, information = 0.0, np.zeros((3, 3))
    for patient in used["USUBJID"].unique():
        rows = (used["USUBJID"] == patient).to_numpy()
        v = fit.covariance.to_numpy()[np.ix_(codes[rows], codes[rows])]
        r = residual[rows]
        total -= 0.5 * (
            len(r) * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + r @ np.linalg.solve(v, r)
        )
        information += x[rows].T @ np.linalg.solve(v, x[rows])
    assert np.isclose(fit.loglik, total, rtol=1e-10)
    np.testing.assert_allclose(fit.vcov, np.linalg.inv(information), rtol=1e-7)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("reml", [True, False])
def test_derivatives_are_those_of_the_likelihood(name, reml):
    rng = np.random.default_rng(3)
    n, m = 12, 4
    subjects, positions = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    seen = rng.random(n * m) > 0.2
    x = np.column_stack([np.ones(n * m), rng.normal(size=n * m)])[seen]
    y = rng.normal(size=n * m)[seen]
    codes = pd.factorize(subjects[seen])[0]
    spatial = name == "sp_exp"
    places = rng.random((codes.max() + 1, m, 1)) * 5 if spatial else None
    problem = Likelihood(
        x,
        y,
        codes,
        positions[seen],
        [SpatialExponential] if spatial else [Structure(m, name)],
        coordinates=places,
        weights=rng.uniform(0.5, 2, seen.sum()),
        reml=reml,
    )
    theta = 0.2 * rng.normal(size=problem.offsets[-1])
    state, h = problem.at(theta), 1e-5
    each = np.eye(len(theta))
    slope = [
        (problem.at(theta + h * e, 0).loglik - problem.at(theta - h * e, 0).loglik) for e in each
    ]
    np.testing.assert_allclose(state.gradient, np.array(slope) / (2 * h), atol=1e-7)
    bend = [
        (problem.at(theta + h * e, 1).gradient - problem.at(theta - h * e, 1).gradient)
        for e in each
    ]
    np.testing.assert_allclose(state.hessian, np.array(bend) / (2 * h), atol=1e-7)


def test_products_made_anew_give_the_same(holes, monkeypatch):
    kept = mmrm(holes, FORMULA, df="kenward-roger")
    monkeypatch.setattr("lungitude.statistics.likelihood.CACHED", 0)
    monkeypatch.setattr("lungitude.statistics.likelihood.CHUNK", 100)
    anew = mmrm(holes, FORMULA, df="kenward-roger")
    assert len(anew.likelihood.chunks) > 1
    pd.testing.assert_frame_equal(kept.coefficients, anew.coefficients, rtol=1e-9)


def test_order_of_rows_and_unit_do_not_matter(holes):
    fit = mmrm(holes, FORMULA)
    shuffled = holes.sample(frac=1, random_state=1).assign(CHG=lambda d: 1000 * d["CHG"])
    other = mmrm(shuffled, FORMULA)
    np.testing.assert_allclose(other.coefficients["estimate"], 1000 * fit.coefficients["estimate"])
    np.testing.assert_allclose(other.coefficients["df"], fit.coefficients["df"], rtol=1e-6)


def test_group_with_one_level_is_no_group(holes):
    one = mmrm(holes.assign(ALL="all"), FORMULA, group="ALL")
    np.testing.assert_allclose(one.vcov, mmrm(holes, FORMULA).vcov)
    assert list(one.covariance) == ["all"]


def test_equal_weights_are_none(holes):
    plain = mmrm(holes, FORMULA)
    weighted = mmrm(holes.assign(W=4.0), FORMULA, weights="W")
    np.testing.assert_allclose(weighted.vcov, plain.vcov, rtol=1e-7)
    np.testing.assert_allclose(weighted.covariance, 4 * plain.covariance, rtol=1e-7)


def test_spatial_exponential_of_equal_distances_is_ar1(trial):
    coordinates = trial.assign(T=trial["AVISIT"].cat.codes.astype(float))
    spatial = mmrm(coordinates, FORMULA, covariance="sp_exp", coordinates="T")
    ar1 = mmrm(trial, FORMULA, covariance="ar1")
    assert np.isclose(spatial.loglik, ar1.loglik)
    np.testing.assert_allclose(spatial.covariance, ar1.covariance, rtol=1e-6)


def test_spatial_exponential_with_a_time_of_each_patient(holes):
    rng = np.random.default_rng(2)
    own = holes.assign(DAY=holes["WEEK"] * 7 + rng.integers(-3, 4, len(holes)))
    fit = mmrm(own, FORMULA, covariance="sp_exp", coordinates="DAY")
    assert list(fit.covariance) == ["0", "1"]
    assert fit.converged


def test_weights_of_marginal_means(holes):
    fit = mmrm(holes, FORMULA + " + SEX")
    used = fit.design.rows
    equal = fit.emmeans("TRT01P", by="AVISIT", weights="equal")["estimate"]
    beta = dict(zip(fit.coefficients["term"], fit.coefficients["estimate"], strict=True))
    share = (used["SEX"] == "M").mean()
    proportional = fit.emmeans("TRT01P", by="AVISIT", weights="proportional")["estimate"]
    np.testing.assert_allclose(proportional - equal, beta["SEXM"] * (share - 0.5))
    counterfactual = fit.emmeans("TRT01P", by="AVISIT", weights="counterfactual")["estimate"]
    np.testing.assert_allclose(counterfactual, proportional)  # a model linear in the covariates
    at = fit.emmeans("TRT01P", by="AVISIT", at={"BASE": used["BASE"].mean() + 1})["estimate"]
    assert np.isclose((at - equal).iloc[0], beta["BASE"])


def test_multi_row_test_ignores_redundant_rows(holes):
    fit = mmrm(holes, FORMULA, df="kenward-roger")
    rows = np.eye(len(fit.beta))[-2:]
    more = np.vstack([rows, rows.sum(axis=0)])
    pd.testing.assert_frame_equal(fit.test(rows), fit.test(more))


def test_fall_back_tells_what_was_used_and_why(holes):
    sparse = holes.copy()
    first = sparse["USUBJID"] < "P10"  # these have the first visit only, the others never
    sparse.loc[first != (sparse["AVISIT"] == "Week 6"), "CHG"] = np.nan
    with pytest.warns(UserWarning, match="covariance ar1 is used .us: no patient has both Week 6"):
        fit = mmrm(sparse, "CHG ~ BASE + TRT01P * AVISIT", covariance=["us", "ar1"])
    assert fit.covariance_used == "ar1"
    assert list(fit.attempts["covariance"]) == ["us", "ar1"]
    assert list(fit.attempts["converged"]) == [False, True]
    with pytest.raises(SingularCovarianceError, match="no patient has both Week 6 and Week 12"):
        mmrm(sparse, "CHG ~ BASE + TRT01P * AVISIT")


def test_aliased_nuisance_is_named(holes):
    with pytest.warns(UserWarning, match="AGAINM is aliased and left out"):
        fit = mmrm(holes.assign(AGAIN=holes["SEX"]), FORMULA + " + SEX + AGAIN")
    assert fit.dropped == ["AGAINM"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit.contrasts("TRT01P", by="AVISIT")


def test_a_level_of_a_nuisance_factor_without_values_is_no_fault(holes):
    site = np.where(holes["USUBJID"] < "P03", "a", "b")
    fit = mmrm(
        holes.assign(SITE=site, CHG=holes["CHG"].mask(site == "a")), FORMULA + " + SITE + SEX"
    )
    assert fit.n_subjects == 37
    assert fit.design.factors["SITE"] == ["b"]


def changed(column, value, where=None):
    def change(frame):
        frame = frame.astype({column: object}) if value == "x" else frame.copy()
        rows = slice(None) if where is None else where(frame)
        frame.loc[rows, column] = value
        return frame

    return change


BAD = {
    "constant": (changed("CHG", 1.0), {}, "CHG is 1 in every row"),
    "infinite": (changed("CHG", np.inf, lambda d: d.index[:2]), {}, "'CHG' holds 2 infinite"),
    "text": (changed("CHG", "x"), {}, "'CHG' holds text"),
    "no column": (lambda d: d.drop(columns="BASE"), {}, "no column 'BASE'"),
    "no data": (changed("CHG", np.nan), {}, "no row has all of"),
    "one patient": (lambda d: d[d["USUBJID"] == "P00"], {}, "1 patient with data .P00."),
    "duplicate": (
        lambda d: pd.concat([d, d.iloc[[4]]]),
        {},
        "USUBJID P01 has AVISIT Week 12 more than once",
    ),
    "one arm": (lambda d: d[d["TRT01P"] == "CG"], {}, "'TRT01P' has one level only, 'CG'"),
    "empty arm": (
        changed("CHG", np.nan, lambda d: d["TRT01P"] == "EG"),
        {},
        "no complete row for TRT01P EG",
    ),
    "empty visit": (
        changed("CHG", np.nan, lambda d: d["AVISIT"] == "Week 12"),
        {},
        "no complete row for AVISIT Week 12",
    ),
    "empty cell": (
        changed("CHG", np.nan, lambda d: (d["AVISIT"] == "Week 12") & (d["TRT01P"] == "EG")),
        {},
        "TRT01P EG has no observation at AVISIT Week 12",
    ),
    "aliased arm": (
        lambda d: d.assign(SITE=d["TRT01P"].map({"CG": "a", "EG": "b"})),
        {"formula": FORMULA + " + SITE"},
        "'TRT01P' is aliased with the other terms",
    ),
    "copy of a visit": (
        lambda d: d.assign(CHG=d.groupby("USUBJID")["CHG"].transform("first") + d["WEEK"]),
        {},
        "no covariance could be fitted",
    ),
    "exact": (lambda d: d.assign(CHG=d["BASE"]), {}, "no variation of the response beyond"),
    "numeric visit": (
        lambda d: d,
        {"formula": "CHG ~ TRT01P * WEEK", "visit": "WEEK"},
        "the visit 'WEEK' is a number",
    ),
    "weights": (lambda d: d.assign(W=-1.0), {"weights": "W"}, "120 rows that are not positive"),
    "group": (
        lambda d: d,
        {"group": "AVISIT"},
        "P00 has several values of the group 'AVISIT'",
    ),
    "structure": (lambda d: d, {"covariance": "un"}, "covariance 'un' is not one of 'us'"),
    "same place": (
        lambda d: d.assign(T=1.0),
        {"covariance": "sp_exp", "coordinates": "T"},
        "USUBJID P00 has two rows at the same place in 'T'",
    ),
    "df": (lambda d: d, {"df": "kr"}, "df 'kr' is not one of"),
    "vcov": (
        lambda d: d,
        {"df": "kenward-roger", "vcov": "empirical"},
        "has its own covariance",
    ),
    "no response": (lambda d: d, {"formula": "~ TRT01P"}, "has no response"),
    "too few": (lambda d: d.iloc[:6], {}, "6 observations for 6 coefficients"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_says_what_and_where(name, trial):
    change, options, text = BAD[name]
    options = {"formula": FORMULA, **options}
    with pytest.raises(ValueError, match=text):
        mmrm(change(trial), **options)


def test_bad_test_rows(holes):
    fit = mmrm(holes, FORMULA)
    with pytest.raises(ValueError, match="2 columns for 9 coefficients"):
        fit.test([[1, 0]])
    with pytest.raises(ValueError, match="a row that is 0"):
        fit.test(np.zeros((1, 9)))
