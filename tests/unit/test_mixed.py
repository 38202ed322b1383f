"""Mixed models against dense formulas, classical analyses and statsmodels; bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, stats

from lungitude.statistics.mixed import RandomEffects, RandomTerm, mixed_model
from lungitude.statistics.rm_anova import rm_anova


@pytest.fixture
def trial():
    rng = np.random.default_rng(7)
    n = 60
    frame = pd.DataFrame(
        {
            "USUBJID": [f"S{i:02d}" for i in range(n)],
            "ARM": pd.Categorical(np.tile(["A", "B", "C"], n // 3)),
            "SITE": np.repeat(["s1", "s2", "s3", "s4", "s5"], n // 5),
            "BASE": rng.normal(50, 5, n),
        }
    )
    frame["CHG"] = 0.2 * frame["BASE"] + 2.0 * (frame["ARM"] == "B") + rng.normal(0, 1, n)
    return frame


@pytest.fixture
def visits(trial):
    rng = np.random.default_rng(8)
    parts = [
        trial.assign(
            AVISIT=f"v{k}", WEEK=6.0 * k, AVAL=trial["CHG"] + k + rng.normal(0, 1, len(trial))
        )
        for k in (1, 2, 3)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def slopes(visits):
    """Random intercepts, slopes and sites far from singular; visits missing at random."""
    rng = np.random.default_rng(9)
    code = pd.factorize(visits["USUBJID"])[0]
    more = pd.concat([visits, visits.assign(WEEK=visits["WEEK"] + 18)], ignore_index=True)
    code = np.tile(code, 2)
    site = pd.factorize(more["SITE"])[0]
    more["AVAL"] = (
        0.02 * more["WEEK"]
        + rng.normal(0, 2, 60)[code]
        + rng.normal(0, 0.2, 60)[code] * more["WEEK"]
        + rng.normal(0, 2, 5)[site]
        + rng.normal(0, 1, len(more))
    )
    return more.sample(frac=0.8, random_state=1)


def dense(fit, effects):
    """Log-likelihood, covariance and Kenward-Roger by matrices of all rows.

    `effects` are pairs of the columns Z and the covariance of the effects.
    """
    x, y = fit.design.matrix, fit.design.response
    n, k = x.shape
    directions, v = [np.eye(n)], fit.residual_variance * np.eye(n)
    for z, covariance in effects:
        q = len(covariance)
        count = z.shape[1] // q
        v += z @ np.kron(np.eye(count), covariance) @ z.T
        for i in range(q):
            for j in range(i + 1):
                unit = np.zeros((q, q))
                unit[i, j] = unit[j, i] = 1
                directions.append(z @ np.kron(np.eye(count), unit) @ z.T)
    w = np.linalg.inv(v)
    phi = np.linalg.inv(x.T @ w @ x)
    beta = phi @ x.T @ w @ y
    r = y - x @ beta
    loglik = -0.5 * (
        np.linalg.slogdet(v)[1]
        - np.linalg.slogdet(phi)[1]
        + r @ w @ r
        + (n - k) * np.log(2 * np.pi)
    )
    p = [-x.T @ w @ g @ w @ x for g in directions]
    q = [[x.T @ w @ g @ w @ h @ w @ x for h in directions] for g in directions]
    project = w - w @ x @ phi @ x.T @ w
    score = np.array([np.trace(project @ g) - r @ w @ g @ w @ r for g in directions])
    information = np.array(
        [[np.trace(project @ g @ project @ h) for h in directions] for g in directions]
    )
    spread = 2 * np.linalg.inv(information)
    u = sum(
        spread[i, j] * (q[i][j] - p[i] @ phi @ p[j]) for i in range(len(p)) for j in range(len(p))
    )
    adjusted = phi + 2 * phi @ u @ phi
    df = []
    for row in np.eye(k):
        slope = np.array([row @ phi @ each @ phi @ row for each in p])
        df.append(2 * (row @ phi @ row) ** 2 / (slope @ spread @ slope))
    return beta, phi, loglik, score, adjusted, np.array(df), spread


def columns_of(group, effects):
    codes = pd.factorize(group, sort=True)[0]
    return np.hstack(
        [np.where((codes == c)[:, None], effects, 0.0) for c in range(codes.max() + 1)]
    )


@pytest.mark.parametrize("crossed", [False, True])
def test_two_groupings_are_the_dense_model(slopes, crossed):
    """Slopes within subjects in sites; and the same with subjects who change the site."""
    if crossed:
        slopes["SITE"] = np.random.default_rng(3).permutation(slopes["SITE"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if crossed else "error")
        fit = mixed_model(
            slopes,
            "AVAL ~ ARM * WEEK",
            groups=["SITE", "USUBJID"],
            random="1 + WEEK",
            df="kenward-roger",
        )
    rows = fit.design.rows
    one = np.ones((len(rows), 1))
    pair = np.column_stack([one, rows["WEEK"]])
    effects = [
        (columns_of(rows["SITE"], one), fit.random_covariance["SITE"].to_numpy()),
        (columns_of(rows["USUBJID"], pair), fit.random_covariance["USUBJID"].to_numpy()),
    ]
    beta, phi, loglik, score, adjusted, df, _ = dense(fit, effects)
    assert np.isclose(fit.loglik, loglik, rtol=1e-10)
    assert np.allclose(fit.coefficients["estimate"], beta, rtol=1e-8)
    assert np.allclose(fit.model.vcov, phi, rtol=1e-8)
    assert np.allclose(fit.vcov, adjusted, rtol=1e-8)
    assert np.allclose(fit.coefficients["df"], df, rtol=1e-8)
    if not fit.singular:
        assert np.abs(score).max() < 1e-5  # the optimum
    blup = fit.random_effects("SITE")
    v = sum(z @ np.kron(np.eye(z.shape[1] // len(t)), t) @ z.T for z, t in effects)
    residual = fit.design.response - fit.design.matrix @ beta
    solved = np.linalg.solve(v + fit.residual_variance * np.eye(len(rows)), residual)
    want = fit.random_covariance["SITE"].iloc[0, 0] * effects[0][0].T @ solved
    assert np.allclose(blup["(Intercept)"], want, rtol=1e-6, atol=1e-9)
    want = effects[1][1] @ (effects[1][0].T @ solved).reshape(-1, 2).T
    assert np.allclose(fit.random_effects().iloc[:, 1:], want.T, rtol=1e-6, atol=1e-9)


def test_satterthwaite_is_the_dense_numerical_result(slopes):
    """Observed information of variance and residual variance by differences of the dense REML."""
    fit = mixed_model(slopes, "AVAL ~ ARM * WEEK")
    z = columns_of(fit.design.rows["USUBJID"], np.ones((len(fit.design.rows), 1)))
    x, y = fit.design.matrix, fit.design.response

    def deviance(point):
        w = np.linalg.inv(point[0] * z @ z.T + point[1] * np.eye(len(y)))
        phi = np.linalg.inv(x.T @ w @ x)
        r = y - x @ (phi @ x.T @ w @ y)
        return -np.linalg.slogdet(w)[1] - np.linalg.slogdet(phi)[1] + r @ w @ r, np.diag(phi)

    best = np.array([fit.random_covariance.iloc[0, 0], fit.residual_variance])
    h = 1e-3 * best
    unit = np.diag(h)
    hessian = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            parts = [
                s * t * deviance(best + s * unit[i] + t * unit[j])[0]
                for s in (1, -1)
                for t in (1, -1)
            ]
            hessian[i, j] = sum(parts) / (4 * h[i] * h[j])
    slope = np.array(
        [(deviance(best + u)[1] - deviance(best - u)[1]) / (2 * u.sum()) for u in unit]
    )
    spread = np.einsum("ik,ij,jk->k", slope, 2 * np.linalg.inv(hessian), slope)
    want = 2 * np.diag(fit.vcov) ** 2 / spread
    assert np.allclose(fit.coefficients["df"], want, rtol=1e-4)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_complete_data_give_repeated_measures_anova(visits, df):
    """Random intercept and complete subjects in unequal groups: classical F and df."""
    frame = visits.loc[~visits["USUBJID"].isin(["S00", "S03", "S07"])]
    table = mixed_model(frame, "AVAL ~ ARM * AVISIT", df=df).type3().set_index("term")
    classical = rm_anova(frame, between="ARM").set_index("source")
    for term in ("ARM", "AVISIT", "ARM:AVISIT"):
        row = classical.loc[term]
        assert np.isclose(table.loc[term, "f"], row["F"], rtol=1e-7)
        assert table.loc[term, "df1"] == row["df1"]
        assert np.isclose(table.loc[term, "df2"], row["df2"], rtol=1e-6)
        assert np.isclose(table.loc[term, "p"], row["p"], rtol=1e-6)


@pytest.mark.parametrize(
    ("random", "correlated"), [("1", True), ("1 + WEEK", True), ("1 + WEEK", False)]
)
def test_statsmodels_has_the_same_estimates(slopes, random, correlated):
    """As far as its optimiser goes, 1e-4 to 1e-3; it has no degrees of freedom to compare."""
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

    ours = mixed_model(slopes, "AVAL ~ ARM * WEEK", random=random, correlated=correlated)
    rows = ours.design.rows
    effects = np.column_stack([np.ones(len(rows)), rows["WEEK"]])[:, : 1 + ("WEEK" in random)]
    model = MixedLM(ours.design.response, ours.design.matrix, rows["USUBJID"], exog_re=effects)
    free = None if correlated else MixedLMParams.from_components(np.ones(6), cov_re=np.eye(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = model.fit(reml=True, method=["bfgs", "powell"], free=free)
    assert np.isclose(ours.loglik, theirs.llf, rtol=1e-7)
    assert np.allclose(ours.coefficients["estimate"], theirs.fe_params, rtol=1e-4, atol=1e-5)
    assert np.allclose(ours.coefficients["se"], theirs.bse_fe, rtol=1e-3)
    assert np.allclose(ours.random_covariance, theirs.cov_re, rtol=2e-3, atol=1e-4)
    assert np.isclose(ours.residual_variance, theirs.scale, rtol=1e-3)


def test_kenward_roger_of_a_term_is_the_scaled_dense_f(slopes):
    """Equations of Kenward & Roger 1997, section 3, for a term of two rows."""
    fit = mixed_model(slopes, "AVAL ~ ARM * WEEK", df="kenward-roger")
    rows = fit.design.rows
    z = columns_of(rows["USUBJID"], np.ones((len(rows), 1)))
    beta, phi, _, _, adjusted, _, spread = dense(fit, [(z, fit.random_covariance.to_numpy())])
    x = fit.design.matrix
    w = np.linalg.inv(
        fit.residual_variance * np.eye(len(x)) + fit.random_covariance.iloc[0, 0] * z @ z.T
    )
    p = [-x.T @ w @ g @ w @ x for g in (np.eye(len(x)), z @ z.T)]
    names = list(fit.coefficients["term"])
    l_rows = np.eye(len(names))[[names.index("ARMB:WEEK"), names.index("ARMC:WEEK")]]
    theta = l_rows.T @ np.linalg.inv(l_rows @ phi @ l_rows.T) @ l_rows
    parts = [theta @ phi @ each @ phi for each in p]
    a1 = sum(
        spread[i, j] * np.trace(parts[i]) * np.trace(parts[j]) for i in range(2) for j in range(2)
    )
    a2 = sum(spread[i, j] * np.trace(parts[i] @ parts[j]) for i in range(2) for j in range(2))
    q = 2
    b = (a1 + 6 * a2) / (2 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
    c1, c2, c3 = (v / (3 * q + 2 * (1 - g)) for v in (g, q - g, q + 2 - g))
    mean = 1 / (1 - a2 / q)
    variance = 2 / q * (1 + c1 * b) / ((1 - c2 * b) ** 2 * (1 - c3 * b))
    rho = variance / (2 * mean**2)
    df = 4 + (q + 2) / (q * rho - 1)
    scale = df / (mean * (df - 2))
    found = l_rows @ beta
    f = scale * found @ np.linalg.solve(l_rows @ adjusted @ l_rows.T, found) / q
    for table in (fit.test(l_rows), fit.type3().rename(columns={"f": "F"}).iloc[[2]]):
        row = table.iloc[0]
        assert np.isclose(row["F"], f, rtol=1e-8)
        assert row["df1"] == 2
        assert np.isclose(row["df2"], df, rtol=1e-8)
        assert np.isclose(row["p"], stats.f.sf(f, 2, df), rtol=1e-7)


def test_test_of_one_row_is_the_t_test(slopes):
    for df in ("satterthwaite", "kenward-roger", "residual", "normal"):
        fit = mixed_model(slopes, "AVAL ~ ARM * WEEK", df=df)
        row = fit.coefficients.iloc[3]
        found = fit.test(np.eye(6)[3]).iloc[0]
        assert np.isclose(found["F"], row["statistic"] ** 2)
        assert np.isclose(found["df2"], row["df"])
        assert np.isclose(found["p"], row["p"])
        twice = fit.test(np.eye(6)[[3, 3]]).iloc[0]  # one hypothesis written twice
        assert np.allclose(twice, found)


def test_rescaled_time_and_response_do_not_matter(slopes):
    """Time as a calendar year is far from centred; the fit is the same model."""
    kwargs = {"random": "1 + WEEK", "df": "kenward-roger"}
    one = mixed_model(slopes, "AVAL ~ ARM * WEEK", **kwargs)
    moved = slopes.assign(WEEK=2020 + slopes["WEEK"] / 52, AVAL=1e3 * slopes["AVAL"] + 1e5)
    two = mixed_model(moved, "AVAL ~ ARM * WEEK", **kwargs)
    for term in ("ARMB:WEEK", "ARMC:WEEK", "WEEK"):
        a, b = (fit.coefficients.set_index("term").loc[term] for fit in (one, two))
        assert np.isclose(52e3 * a["estimate"], b["estimate"], rtol=1e-5)
        assert np.isclose(a["df"], b["df"], rtol=1e-5)
        assert np.isclose(a["p"], b["p"], rtol=1e-4)
    assert not two.singular
    assert np.isclose(
        one.random_covariance.loc["WEEK", "WEEK"] * 52e3**2,
        two.random_covariance.loc["WEEK", "WEEK"],
        rtol=1e-5,
    )


def test_order_of_rows_does_not_matter(slopes):
    kwargs = {"formula": "AVAL ~ ARM * WEEK", "groups": ["SITE", "USUBJID"], "random": "1 + WEEK"}
    one, two = (
        mixed_model(frame, **kwargs) for frame in (slopes, slopes.sample(frac=1, random_state=5))
    )
    pd.testing.assert_frame_equal(one.coefficients, two.coefficients, rtol=1e-6)


def test_balanced_data_are_the_classical_analysis(visits):
    """Complete data without covariates: the difference of means, by subject means."""
    fit = mixed_model(visits, "AVAL ~ ARM * AVISIT")
    table = fit.contrasts("ARM", by="AVISIT")
    means = visits.pivot_table("AVAL", "AVISIT", "ARM", observed=True)
    for _, row in table.iterrows():
        level = row["contrast"].split(" - ")[0]
        assert np.isclose(
            row["estimate"], means.loc[row["AVISIT"], level] - means.loc[row["AVISIT"], "A"]
        )
    # the arm effect over all visits has the df of subjects: 60 - 3
    overall = fit.contrasts("ARM")
    assert np.allclose(overall["df"], 57, rtol=1e-6)


@pytest.fixture
def opposed():
    """Residuals of a subject that oppose each other: its variance is estimated as 0."""
    base = np.random.default_rng(3).normal(size=30)
    frame = pd.DataFrame({"USUBJID": np.repeat(range(30), 2), "X": np.tile([0.0, 1.0], 30)})
    frame["SITE"] = np.repeat(range(5), 12)
    frame["Y"] = frame["X"] + np.ravel(np.column_stack([base, -base]))
    return frame


def test_no_variance_between_subjects_is_least_squares(opposed):
    with pytest.warns(UserWarning, match="singular fit, .* of USUBJID"):
        fit = mixed_model(opposed, "Y ~ X")
    assert fit.singular
    assert fit.random_covariance.iloc[0, 0] == 0
    assert np.allclose(fit.coefficients["df"], 58, rtol=1e-6)
    x = opposed["X"].to_numpy()
    plain = stats.linregress(x, opposed["Y"])
    assert np.isclose(fit.coefficients["se"][1], plain.stderr, rtol=1e-9)
    test = fit.random_effects_test()
    assert test.loc[1, ["lrt", "df", "p"]].tolist() == [0, 1, 1]


def test_likelihood_ratio_test_has_the_model_without_effects(slopes):
    """No random effect left: the REML likelihood of least squares."""
    fit = mixed_model(slopes, "AVAL ~ ARM * WEEK")
    row = fit.random_effects_test().iloc[1]
    x, y = fit.design.matrix, fit.design.response
    n, k = x.shape
    rss = np.linalg.lstsq(x, y, rcond=None)[1][0]
    want = -0.5 * (
        (n - k) * (np.log(2 * np.pi) + 1 + np.log(rss / (n - k))) + np.linalg.slogdet(x.T @ x)[1]
    )
    assert np.isclose(row["loglik"], want, rtol=1e-12)
    assert row["term"] == "(1 | USUBJID)"
    assert np.isclose(row["p"], stats.chi2.sf(2 * (fit.loglik - want), 1))


def test_scale_and_shift_of_the_response_do_not_matter(visits):
    one = mixed_model(visits, "AVAL ~ BASE + ARM * AVISIT")
    two = mixed_model(visits.assign(AVAL=1e6 + 1e-4 * visits["AVAL"]), "AVAL ~ BASE + ARM * AVISIT")
    ours, theirs = one.contrasts("ARM", by="AVISIT"), two.contrasts("ARM", by="AVISIT")
    assert np.allclose(ours["p"], theirs["p"], rtol=1e-4)
    assert np.allclose(ours["df"], theirs["df"], rtol=1e-4)


def test_a_start_beside_a_saddle_finds_the_optimum(slopes):
    """A small variance of sites beside a large one of subjects: 0 is a saddle, not an optimum."""
    found = mixed_model(slopes, "AVAL ~ ARM * WEEK", groups=["SITE", "USUBJID"])
    design = found.design
    terms = [RandomTerm.of(design.rows[name], name) for name in ("SITE", "USUBJID")]
    model = RandomEffects(design.matrix, design.response, terms)
    grid = [
        model._deviance(np.array([site, subject, s]))
        for site in np.linspace(0, 3, 13)
        for subject in np.linspace(0, 3, 13)
        for s in model.psi[-1] * np.linspace(0.7, 1.3, 7)
    ]
    assert model._deviance(model.psi) <= min(grid)


def test_aliased_term(visits):
    visits["TWICE"] = 2 * visits["BASE"]
    with pytest.warns(UserWarning, match="TWICE is aliased"):
        fit = mixed_model(visits, "AVAL ~ BASE + TWICE + ARM")
    assert "TWICE" not in set(fit.coefficients["term"])
    assert len(fit.contrasts("ARM")) == 2
    with pytest.warns(UserWarning, match="type3: TWICE is aliased"):
        table = fit.type3().set_index("term")
    assert np.isnan(table.loc["TWICE", "p"])
    assert table.loc["ARM", "df1"] == 2


def test_contrast_in_an_empty_cell_is_an_error(visits):
    frame = visits.loc[~((visits["ARM"] == "B") & (visits["AVISIT"] == "v3"))]
    with pytest.warns(UserWarning, match="ARMB:AVISITv3 is aliased"):
        fit = mixed_model(frame, "AVAL ~ ARM * AVISIT")
    with pytest.raises(ValueError, match="B - A, v3 cannot be estimated"):
        fit.contrasts("ARM", by="AVISIT")


@pytest.mark.parametrize(
    ("change", "formula", "kwargs", "text"),
    [
        ({}, "AVAL ~ AGE", {}, "no column 'AGE'"),
        ({}, "AVAL", {}, "no response|needs one numeric"),
        ({}, "AVAL ~ (BASE", {}, "cannot be read"),
        ({}, "AVAL ~ BASE", {"groups": "ID"}, "no column 'ID'"),
        ({}, "AVAL ~ BASE", {"groups": []}, "groups .* must name"),
        ({}, "AVAL ~ BASE", {"groups": ["SITE", "SITE"]}, "must name different columns"),
        ({}, "AVAL ~ BASE", {"random": "WEEK"}, "random 'WEEK'"),
        ({}, "AVAL ~ BASE", {"random": "1 + AGE"}, "no column 'AGE'"),
        ({}, "AVAL ~ BASE", {"random": "1 + ARM"}, "random slope 'ARM' must be a number"),
        ({"WEEK": 6}, "AVAL ~ BASE", {"random": "1 + WEEK"}, "slope 'WEEK' is constant"),
        ({}, "AVAL ~ BASE", {"df": "kr"}, "df 'kr' is not one of"),
        ({}, "AVAL ~ BASE", {"df": "kenward-roger", "method": "ml"}, "for method 'reml' only"),
        ({}, "AVAL ~ BASE", {"method": "bayes"}, "method 'bayes'"),
        ({}, "AVAL ~ BASE", {"confidence": 95}, "confidence 95"),
        ({}, "ARM ~ BASE", {}, "'ARM' holds text"),
        ({"AVAL": 1.0}, "AVAL ~ BASE", {}, "no variation of the response"),
        ({"AVAL": np.inf}, "AVAL ~ BASE", {}, "infinite"),
        ({"AVAL": np.nan}, "AVAL ~ BASE", {}, "no row has all of"),
        ({"USUBJID": "S01"}, "AVAL ~ BASE", {}, "USUBJID has one group only, S01"),
        ({"S": 1}, "AVAL ~ BASE", {"groups": ["S", "USUBJID"]}, "S has one group only, 1"),
    ],
)
def test_bad_input(visits, change, formula, kwargs, text):
    with pytest.raises(ValueError, match=text):
        mixed_model(visits.assign(**change), formula, **kwargs)


@pytest.mark.filterwarnings("ignore:.*singular fit")
def test_groupings_that_cannot_be_told_apart(visits):
    visits["ID"] = visits["USUBJID"] + "x"
    with pytest.raises(ValueError, match="ID and USUBJID are the same groups"):
        mixed_model(visits, "AVAL ~ BASE", groups=["ID", "USUBJID"])
    visits["NUMBER"] = visits.groupby(["SITE", "AVISIT"]).cumcount()  # starts anew in each site
    with pytest.warns(UserWarning, match="NUMBER is not nested in SITE"):
        mixed_model(visits, "AVAL ~ BASE + ARM", groups=["SITE", "NUMBER"])


def test_too_few_observations_for_the_effects(trial, visits):
    with pytest.raises(ValueError, match="no group of USUBJID has two observations"):
        mixed_model(trial, "CHG ~ ARM")
    two = visits.loc[visits["AVISIT"] != "v2"]
    with pytest.raises(ValueError, match="120 observations for 120 effects"):
        mixed_model(two, "AVAL ~ ARM * WEEK", random="1 + WEEK")
    with pytest.raises(ValueError, match="4 observations for 3 model terms"):
        mixed_model(visits.groupby("AVISIT").head(2).head(4), "AVAL ~ BASE + WEEK")


def test_exact_fits_have_no_variance_to_estimate(visits):
    with pytest.raises(ValueError, match="no residual variation: the effects of USUBJID"):
        mixed_model(visits.assign(AVAL=visits["CHG"]), "AVAL ~ ARM")
    lines = visits["CHG"] + visits["BASE"] * visits["WEEK"]
    with pytest.raises(ValueError, match="no residual variation"):
        mixed_model(visits.assign(AVAL=lines), "AVAL ~ ARM * WEEK", random="1 + WEEK")
    # a residual of a millionth of the variance is no exact fit
    fit = mixed_model(visits.assign(AVAL=1e3 * visits["CHG"] + visits["AVAL"]), "AVAL ~ ARM")
    assert fit.converged
    assert fit.random_covariance.iloc[0, 0] > 1e6 * fit.residual_variance / 4


def test_intercept_only(visits):
    fit = mixed_model(visits, "AVAL ~ 1")
    assert fit.coefficients["term"].tolist() == ["(Intercept)"]
    assert np.isclose(fit.coefficients["df"][0], 59)
    assert np.isclose(fit.coefficients["estimate"][0], visits["AVAL"].mean())
    assert list(fit.type3()) == ["term", "f", "df1", "df2", "p"]


def test_bad_rows_of_a_test(visits):
    fit = mixed_model(visits, "AVAL ~ ARM")
    with pytest.raises(ValueError, match="rows have 2 weights, the model 3"):
        fit.test([1, 0])
    with pytest.raises(ValueError, match="not all 0"):
        fit.test([0, 0, 0])
    with pytest.raises(ValueError, match="'SITE' is no grouping"):
        fit.random_effects("SITE")


@pytest.mark.filterwarnings("ignore:.*singular fit")
def test_random_slope_without_variance(visits):
    """Residuals without a slope in any subject."""
    rng = np.random.default_rng(1)
    codes = pd.factorize(visits["USUBJID"])[0]
    bend = visits["WEEK"].map({6.0: 1.0, 12.0: -2.0, 18.0: 1.0})
    visits["AVAL"] = rng.normal(0, 2, 60)[codes] + rng.normal(0, 1, 60)[codes] * bend
    with pytest.warns(UserWarning, match="singular"):
        fit = mixed_model(visits, "AVAL ~ ARM * WEEK", random="1 + WEEK")
    assert list(fit.random_covariance) == ["(Intercept)", "WEEK"]
    assert fit.converged
    assert fit.singular
    alone = mixed_model(visits, "AVAL ~ ARM * WEEK", random="1 + WEEK", correlated=False)
    assert alone.random_covariance.loc["WEEK", "WEEK"] == 0


def test_numbers_made_factors_by_the_formula(visits):
    text = mixed_model(visits, "AVAL ~ ARM * AVISIT").contrasts("ARM", by="AVISIT")
    coded = mixed_model(visits, "AVAL ~ ARM * C(WEEK)").contrasts("ARM", by="WEEK")
    assert coded["WEEK"].tolist()[::2] == [6.0, 12.0, 18.0]
    assert np.allclose(coded["estimate"], text["estimate"])


def test_type3_of_one_factor_is_its_f_test(visits):
    fit = mixed_model(visits, "AVAL ~ ARM")
    means = visits.groupby(["USUBJID", "ARM"], observed=True)["AVAL"].mean().reset_index()
    want = stats.f_oneway(*(g["AVAL"] for _, g in means.groupby("ARM", observed=True)))
    row = fit.type3().iloc[0]
    assert np.isclose(row["f"], want.statistic)
    assert np.isclose(row["df2"], 57)


def test_variances_table(slopes):
    fit = mixed_model(slopes, "AVAL ~ WEEK", groups=["SITE", "USUBJID"], random="1 + WEEK")
    table = fit.varcorr
    assert table["group"].tolist() == ["SITE"] + 3 * ["USUBJID"] + ["Residual"]
    covariance = fit.random_covariance["USUBJID"]
    r = covariance.iloc[0, 1] / np.sqrt(covariance.iloc[0, 0] * covariance.iloc[1, 1])
    assert np.isclose(table["sdcor"][3], r)
    assert np.isclose(table["sdcor"][4] ** 2, fit.residual_variance)
    assert fit.n_groups == {"SITE": 5, "USUBJID": 60}
    assert linalg.eigvalsh(covariance).min() > 0
