"""Analysis of covariance of a randomised comparison, overall and by stratum."""

import itertools
import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, stats

from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.frames import (
    complete,
    is_factor,
    levels,
    numbers,
    require,
    require_choice,
    require_confidence,
    with_reference,
)
from lungitude.statistics.linear import ROBUST, LinearFit, independent, least_squares, listed

LOGS = {"log": np.log, "log1p": np.log1p}
TRANSFORMS = (None, *LOGS, "rank")
NUMBERS = ["estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"]


class NotEstimableError(ValueError):
    """The data hold too little for the model that was asked for."""


class AncovaFit(LinearFit):
    """One fitted model.

    Parameters
    ----------
    data : DataFrame
        Complete rows.
    response, arm : str
    covariates : list of str or tuple of str
        A tuple is an interaction, whose main effects are covariates too (or the arm).
    reference : str or None
    robust : {None, "HC0", "HC1", "HC2", "HC3", "HC4"}
    confidence : float
    one_arm : bool
        Fit a single arm, too: its adjusted mean, and no contrast.
    factor_levels : dict of name to list, optional
        Numeric columns that are factors.

    Attributes
    ----------
    fit : LeastSquares
        Its covariance is the least-squares one, also when `vcov` is robust.
    dropped : list of str
        Aliased columns that were left out.
    exact : bool
        The model fits without error.
    counts : dict
        Patients by arm.
    """

    logged = None

    def __init__(
        self,
        data,
        response,
        arm,
        covariates,
        reference,
        robust,
        confidence,
        one_arm=False,
        factor_levels=None,
    ):
        self.response, self.arm, self.confidence, self.robust = response, arm, confidence, robust
        self.arms = with_reference(levels(data[arm]), reference, arm, "ancova")
        counts = data[arm].value_counts()
        self.counts = {name: int(counts[name]) for name in self.arms}
        if len(self.arms) < (1 if one_arm else 2):
            raise NotEstimableError(f"one arm only, {', '.join(map(str, self.arms)) or 'no data'}")
        self.observed = numbers(data[response], response, "ancova")
        if np.ptp(self.observed) == 0:
            raise NotEstimableError(f"no variation of {response}")
        self.design = ColumnDesign(
            data, [arm, *covariates], {**(factor_levels or {}), arm: self.arms}
        )
        # Nuisance terms first: whatever is aliased among them goes; an arm within their span is
        # a fault of the design of the analysis and can't be repaired by leaving something out.
        # An interaction with the arm comes last: an empty cell costs the interaction.
        place = np.array([(arm in term) + (arm in term and len(term) > 1) for term in self._owners])
        order = np.argsort(place, kind="stable")
        found = set(order[independent(self.design.matrix[:, order])])
        if len(data) <= len(found):
            raise NotEstimableError(
                f"{len(data)} patients for {len(self.design.names)} model terms"
            )
        lost = [i for i in np.flatnonzero(place == 1) if i not in found]
        if lost:
            names = ", ".join(self.design.names[i] for i in lost)
            raise NotEstimableError(
                f"{names} is aliased with the covariates {', '.join(self._cause(lost[0], place))}"
            )
        self.kept = sorted(found)
        self.dropped = [n for i, n in enumerate(self.design.names) if i not in found]
        # A covariate that is constant as a factor has no column at all.
        self.dropped += [name for name, kept in self.design.factors.items() if len(kept) < 2]
        self.n = len(data)
        self.fit = least_squares(self.design.matrix[:, self.kept], self.observed)
        y = self.observed
        spread = y - y.mean()
        self.exact = self.fit.rss <= 1e-20 * float(y @ y) + 1e-24 * float(spread @ spread)
        self.beta = self.fit.beta
        try:
            self.vcov = self.fit.robust(robust) if robust else self.fit.covariance
        except ValueError as error:
            raise NotEstimableError(str(error)) from error

    @property
    def _owners(self):
        return [tuple(term) for term in self.design.terms]

    def _cause(self, column, place):
        """Name the covariates of which a column of the arm is a combination."""
        nuisance = np.flatnonzero(place == 0)
        matrix = self.design.matrix[:, nuisance]
        kept = independent(matrix)
        scale = np.linalg.norm(matrix[:, kept], axis=0)
        weight = np.linalg.lstsq(
            matrix[:, kept] / scale, self.design.matrix[:, column], rcond=None
        )[0]
        used = [nuisance[kept[i]] for i in np.flatnonzero(np.abs(weight) > 1e-6)]
        return dict.fromkeys(":".join(self._owners[i]) for i in used if self._owners[i])

    def _df(self, rows):
        return np.full(len(rows), float(self.fit.df))

    def _at(self, at):
        """Values on the scale of the data as values on the scale of the model."""
        transform, names = self.logged or (None, ())
        return {
            **{k: v for k, v in (at or {}).items() if k not in names},
            **{
                f"{transform}({k})": LOGS[transform](v) for k, v in (at or {}).items() if k in names
            },
        }

    def emmeans(self, specs, by=None, weights="equal", at=None):
        """Estimated marginal means, see `LinearFit.emmeans`; `at` is on the scale of the data."""
        return super().emmeans(specs, by, weights, self._at(at))

    def contrasts(self, factor, by=None, reference=None, weights="equal", at=None):
        """Differences of marginal means, see `LinearFit.contrasts`; `at` as in `emmeans`."""
        return super().contrasts(factor, by, reference, weights, self._at(at))

    def arm_means(self, weights="equal", at=None):
        """Marginal means of the arms."""
        return self.emmeans(self.arm, weights=weights, at=at)

    def arm_contrasts(self, weights="equal", at=None):
        """Contrasts of every arm with the reference, with partial eta squared and n."""
        table = self.contrasts(self.arm, reference=self.arms[0], weights=weights, at=at)
        at = self._at(at)
        first = self.design.mean_row({**at, self.arm: self.arms[0]}, weights)
        rows = [
            self.design.mean_row({**at, self.arm: level}, weights) - first
            for level in self.arms[1:]
        ]
        rows = np.array(rows)[:, self.kept]
        # The effect size is of the least-squares fit, also when the covariance is robust.
        variance = np.einsum("ij,jk,ik->i", rows, self.fit.covariance, rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            f = (rows @ self.beta) ** 2 / variance
            table["partial_eta_sq"] = np.where(np.isinf(f), 1.0, f / (f + self.fit.df))
        table["n"] = self.n
        return table

    # Hypotheses of terms. Factors have sum-to-zero coding here, which matters to type III only.

    def _blocks(self):
        """Columns of each term that is not aliased as a whole, and the terms that lost columns."""
        owners, kept = self._owners, set(self.kept)
        found = {term: [] for term in owners}
        for index, term in enumerate(owners):
            found[term].append(index in kept)
        blocks = {}
        for term, columns in found.items():
            if not any(columns):
                continue
            block = np.ones((self.n, 1))
            for name in term:
                value = self.design.variables[name].values(self.design.rows, True)
                if name in self.design.factors:
                    value = value[:, :-1] - value[:, -1:]
                block = (block[:, :, None] * value[:, None, :]).reshape(self.n, -1)
            blocks[term] = block
        return blocks, {term for term, columns in found.items() if not all(columns)}

    @staticmethod
    def _added(blocks, others, term):
        """Orthonormal basis of the terms `others` and `term`, and which columns `term` adds."""
        matrix = np.hstack([*(blocks[other] for other in others), blocks[term]])
        kept = np.array(independent(matrix))
        q, _ = np.linalg.qr(matrix[:, kept])
        return q, kept >= matrix.shape[1] - blocks[term].shape[1]

    def _test(self, blocks, others, term, robust):
        q, own = self._added(blocks, others, term)
        df1 = int(own.sum())
        score = q[:, own].T @ self.observed
        if df1 == 0:
            return {"sum_sq": 0.0, "f": np.nan, "df1": 0}
        sum_sq = float(score @ score)
        if not robust:
            with np.errstate(divide="ignore"):
                return {"sum_sq": sum_sq, "f": sum_sq / df1 / self.fit.sigma**2, "df1": df1}
        # With an orthonormal basis whose last columns are the term's own, its coefficients are 0
        # exactly where these are 0, and a Wald statistic does not depend on the basis.
        covariance = least_squares(q, self.observed).robust(robust)[np.ix_(own, own)]
        return {"f": float(score @ np.linalg.solve(covariance, score)) / df1, "df1": df1}

    def _tests(self, type, robust, only=None):
        require_choice(type, (1, 2, 3), "type", "tests")
        if robust and type != 3:
            raise ValueError(
                f"tests: type {type} is of least squares, robust {robust!r} has type 3"
            )
        blocks, lost = self._blocks()
        terms = list(blocks)
        rows, unknown = [], []
        for position, term in enumerate(terms):
            if (term == () and type != 3) or (only is not None and term != only):
                continue
            above = [other for other in terms if set(term) < set(other)]
            others = {
                1: terms[:position],
                2: [other for other in terms if other != term and other not in above],
                3: [other for other in terms if other != term],
            }[type]
            name = ":".join(term) or "(Intercept)"
            row = self._test(blocks, others, term, robust)
            if (type == 3 and lost & set(above)) or row["df1"] == 0:
                unknown.append(name)
                row = {**row, "sum_sq": np.nan, "f": np.nan}
            rows.append({"term": name, **row, "df2": float(self.fit.df)})
        if unknown:
            warnings.warn(
                f"ancova of {self.response}: {', '.join(unknown)} cannot be tested: aliased terms "
                "or empty cells",
                stacklevel=4,
            )
        return pd.DataFrame(rows, columns=["term", "sum_sq", "f", "df1", "df2"]).assign(
            p=lambda t: stats.f.sf(*t[["f", "df1", "df2"]].to_numpy(dtype=float).T)
        )

    def tests(self, type=3):
        """F tests of the terms; see `Ancova.tests`."""
        table = self._tests(type, self.robust)
        if self.robust:
            return table.drop(columns="sum_sq")
        rest = {"term": "Residuals", "sum_sq": self.fit.rss, "df1": self.fit.df}
        return pd.concat([table, pd.DataFrame([rest])], ignore_index=True)

    def test(self, term):
        """Type III F test of one term, ``("arm", "gold")`` or ``"arm"``: one row."""
        term = tuple(listed(term))
        found = [other for other in dict.fromkeys(self._owners) if set(other) == set(term)]
        if not found:
            raise ValueError(f"test: {':'.join(term)} is no term of the model")
        table = self._tests(3, self.robust, only=found[0])
        if table.empty:  # all its columns are aliased
            table = pd.DataFrame({"term": [":".join(found[0])], "df1": 0, "df2": self.fit.df})
            table = table.reindex(columns=["term", "sum_sq", "f", "df1", "df2", "p"])
        return table.drop(columns="sum_sq") if self.robust else table

    def effect_sizes(self, type=3):
        """Partial eta and omega squared of the terms; see `Ancova.effect_sizes`."""
        table = self._tests(type, None)
        table = table.loc[table["term"] != "(Intercept)"].reset_index(drop=True)
        ss, df1, error = table["sum_sq"], table["df1"], self.fit.sigma**2
        omega = (ss - df1 * error) / (ss + (self.n - df1) * error)
        found = {"term": table["term"]}
        for name, size in (
            ("partial_eta_sq", ss / (ss + self.fit.rss)),
            ("partial_omega_sq", omega.clip(lower=0)),
        ):
            with np.errstate(divide="ignore"):
                f = size / df1 / ((1 - size) / self.fit.df)
            limits = [
                noncentrality(x, d, self.fit.df, self.confidence)
                for x, d in zip(f, df1, strict=True)
            ]
            low, high = np.array(limits).reshape(-1, 2).T
            found |= {
                name: size,
                f"{name}_ci_low": low / (low + self.fit.df),
                f"{name}_ci_high": high / (high + self.fit.df),
            }
        return pd.DataFrame(found)

    def standardised(self):
        """Coefficients in residual SDs and as partial correlations; see `Ancova.standardised`."""
        t = self.beta / np.sqrt(np.diag(self.fit.covariance))
        return pd.DataFrame(
            {
                "term": [self.design.names[i] for i in self.kept],
                "d": self.beta / self.fit.sigma,
                "partial_r": t / np.sqrt(t**2 + self.fit.df),
            }
        )

    def diagnostics(self):
        """Fit and assumptions in one row; see `Ancova.diagnostics`."""
        fit, n, k = self.fit, self.n, len(self.kept)
        residual, leverage = fit.residual, fit.leverage
        total = float(np.sum((self.observed - self.observed.mean()) ** 2))
        df1, share = k - 1, 1 - fit.rss / total
        f = (total - fit.rss) / df1 / fit.sigma**2 if df1 else np.nan
        loglik = -0.5 * n * (np.log(2 * np.pi * fit.rss / n) + 1)
        squared = residual**2
        spread = float(np.sum((squared - squared.mean()) ** 2))
        q, _ = np.linalg.qr(fit.matrix)
        explained = float(np.sum((q.T @ squared) ** 2)) - n * squared.mean() ** 2
        shapiro = stats.shapiro(residual) if n >= 3 else (np.nan, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            cook = squared * leverage / (k * fit.sigma**2 * (1 - leverage) ** 2)
        return pd.DataFrame(
            {
                "n": [n],
                "df_residual": fit.df,
                "sigma": fit.sigma,
                "r_squared": share,
                "adj_r_squared": 1 - (1 - share) * (n - 1) / fit.df,
                "f": f,
                "df1": df1,
                "df2": fit.df,
                "p": stats.f.sf(f, df1, fit.df) if df1 else np.nan,
                "loglik": loglik,
                "aic": -2 * loglik + 2 * (k + 1),
                "bic": -2 * loglik + np.log(n) * (k + 1),
                "shapiro_w": shapiro[0],
                "shapiro_p": shapiro[1],
                "breusch_pagan": n * explained / spread,
                "breusch_pagan_df": df1,
                "breusch_pagan_p": stats.chi2.sf(n * explained / spread, df1) if df1 else np.nan,
                "cooks_distance_max": np.nanmax(cook),
                "leverage_max": leverage.max(),
            }
        )

    def vif(self):
        """Variance inflation of the terms; see `Ancova.vif`."""
        owners = [self._owners[i] for i in self.kept if self._owners[i]]
        inside = [place for place, i in enumerate(self.kept) if self._owners[i]]
        covariance = self.fit.covariance[np.ix_(inside, inside)]
        sd = np.sqrt(np.diag(covariance))
        correlation = covariance / np.outer(sd, sd)
        whole = np.linalg.slogdet(correlation)[1]
        rows = []
        for term in dict.fromkeys(owners):
            own = np.array([owner == term for owner in owners])
            parts = correlation[np.ix_(own, own)], correlation[np.ix_(~own, ~own)]
            gvif = np.exp(sum(np.linalg.slogdet(part)[1] for part in parts) - whole)
            df = int(own.sum())
            rows.append(
                {"term": ":".join(term), "gvif": gvif, "df": df, "gvif_scaled": gvif ** (0.5 / df)}
            )
        return pd.DataFrame(rows)


def noncentrality(f, df1, df2, confidence=0.95):
    """Confidence limits of the noncentrality of an F statistic; 0 where no value fits.

    By inversion of the distribution (Steiger 2004), to full precision.
    """
    if not np.isfinite(f) or df1 < 1:
        return np.nan, np.nan
    limits = []
    for target in (0.5 + confidence / 2, 0.5 - confidence / 2):
        if stats.f.cdf(f, df1, df2) <= target:
            limits.append(0.0)
            continue

        def gap(value, target=target):
            return stats.ncf.cdf(f, df1, df2, value) - target

        high = 2 * f * df1 + 10
        while gap(high) > 0:
            high *= 2
        limits.append(optimize.brentq(gap, 1e-12, high, xtol=1e-12, rtol=1e-14))
    return tuple(limits)


@dataclass
class Ancova:
    """Result of `ancova`.

    Attributes
    ----------
    contrasts, emmeans, coefficients : DataFrame
    fits : dict of stratum to AncovaFit
        Of the strata that could be fitted; the key is None without `by`.
    by : str or None
    transform : str or None
    """

    contrasts: pd.DataFrame
    emmeans: pd.DataFrame
    coefficients: pd.DataFrame
    fits: dict
    by: str | None = None
    transform: str | None = None

    @property
    def fit(self):
        """The only fit, for `emmeans` and `contrasts` of any factor of the model."""
        if self.by is not None:
            raise ValueError(f"ancova: the fits are by {self.by}; use .fits[level]")
        return self.fits[None]

    def _each(self, method, *args, place=1):
        tables = {s: getattr(fit, method)(*args) for s, fit in self.fits.items()}
        return stacked(tables, self.by, place)

    def tests(self, type=3):
        """F tests of the terms.

        Parameters
        ----------
        type : {1, 2, 3}
            1: each term after those before it; 2: after all terms that do not contain it; 3: after
            all others, with sum-to-zero contrasts (a numeric covariate in an interaction is not
            centred: a main effect is then tested where it is 0).

        Returns
        -------
        DataFrame
            term [by] sum_sq f df1 df2 p, last the row "Residuals". A robust fit has the Wald F of
            its covariance, type 3 only, without sum_sq.

        Notes
        -----
        R: stats::anova, car::Anova(type = 2, 3; vcov.). SAS: PROC GLM SS1 SS2 SS3. In a model with
        empty cells, type 3 of a term within the term that lost cells is NaN with a warning (car
        refuses, SAS depends on the order of levels: its type IV).
        """
        return self._each("tests", type)

    def effect_sizes(self, type=3):
        """Partial eta squared and omega squared of the terms, of the least-squares fit.

        Returns
        -------
        DataFrame
            term [by] partial_eta_sq partial_omega_sq, each with _ci_low and _ci_high.

        Notes
        -----
        eta2 = SS / (SS + SSE); omega2 = (SS - df MSE) / (SS + (n - df) MSE), not below 0. Two-sided
        intervals through the noncentral F: limits nc / (nc + df2) (Steiger 2004, Psychol Methods
        9:164); those of omega2 treat it as if it were eta2, as effectsize does. R:
        effectsize::eta_squared, omega_squared (partial = TRUE, alternative = "two.sided"); its
        limits come from a simplex search and are good to about 1e-6.
        """
        return self._each("effect_sizes", type)

    def standardised(self):
        """Coefficients as standardised effects.

        Returns
        -------
        DataFrame
            term [by] d partial_r: the coefficient over the residual SD (a standardised difference
            for an arm), and t / sqrt(t^2 + df).
        """
        return self._each("standardised")

    def diagnostics(self):
        """Quality of the fit and checks of its assumptions, one row a fit.

        Returns
        -------
        DataFrame
            [by] n df_residual sigma r_squared adj_r_squared f df1 df2 p loglik aic bic (R's AIC and
            BIC of lm: the variance counts as a parameter); shapiro_w shapiro_p of the residuals;
            breusch_pagan breusch_pagan_df breusch_pagan_p (Koenker's studentized form,
            lmtest::bptest); cooks_distance_max leverage_max.
        """
        return self._each("diagnostics", place=0)

    def vif(self):
        """Generalised variance inflation factors (Fox & Monette 1992; car::vif).

        Returns
        -------
        DataFrame
            term [by] gvif df gvif_scaled, the last gvif^(1 / (2 df)).
        """
        return self._each("vif")

    def marginal_means(self, weights="equal", at=None):
        """Give the adjusted means of the arms with other weights of the averaged factors.

        Parameters
        ----------
        weights : {"equal", "proportional", "counterfactual"}
            Each level alike; by the frequency of the cells; mean prediction over the patients with
            the arm set (g-computation, with the covariance of the coefficients only).
        at : dict, optional
            Covariates at other values than their mean, on the scale of the data.

        Returns
        -------
        DataFrame
            As `emmeans`.
        """
        tables = {s: fit.arm_means(weights, at) for s, fit in self.fits.items()}
        return back_transformed(stacked(tables, self.by), self.transform, "geometric_mean")

    def marginal_contrasts(self, weights="equal", at=None):
        """Contrasts of the arms under other weights, as `marginal_means`; as `contrasts`."""
        tables = {s: fit.arm_contrasts(weights, at) for s, fit in self.fits.items()}
        return back_transformed(stacked(tables, self.by), self.transform, "ratio")


def stacked(tables, by, place=1):
    """Put the tables of strata below each other, with the stratum as column `place`."""
    if by is not None:
        for stratum, table in tables.items():
            table.insert(place, by, stratum)
    return pd.concat(tables.values(), ignore_index=True)


def back_transformed(table, transform, name):
    """Add a ratio, or a geometric mean, with its interval to a table on a log scale."""
    if transform in LOGS:
        shift = 1 if (transform, name) == ("log1p", "geometric_mean") else 0
        for ours, theirs in ((name, "estimate"), *((f"{name}_{x}", x) for x in CI)):
            table[ours] = np.exp(table[theirs]) - shift
    return table


CI = ("ci_low", "ci_high")


@dataclass
class Checked:
    """Input of an analysis: complete rows on the scale of the model, and its terms."""

    data: pd.DataFrame
    response: str
    arm: str
    arms: list
    terms: list
    robust: str | None
    confidence: float
    transform: str | None = None
    logged: tuple = field(default=())

    def fit(self, rows=None, terms=None, factor_levels=None):
        """Fit the model to some rows; ranks are of these rows."""
        rows = self.data if rows is None else rows
        if self.transform == "rank":
            rows = self._ranked(rows)
        fit = AncovaFit(
            rows,
            self.response,
            self.arm,
            self.terms if terms is None else terms,
            self.arms[0],
            self.robust,
            self.confidence,
            factor_levels=factor_levels,
        )
        fit.logged = (self.transform, self.logged)
        return fit

    def _ranked(self, rows):
        names = [self.response, *(n for n in self.terms if isinstance(n, str))]
        numeric = [name for name in names if not is_factor(rows[name])]
        return rows.assign(**{name: stats.rankdata(rows[name]) for name in numeric})


def checked(
    who,
    data,
    response,
    arm,
    covariates,
    reference,
    by=(),
    robust=None,
    confidence=0.95,
    transform=None,
    log_covariates=(),
):
    """Check the input of an analysis; factors of `by` must be observed in a row, too."""
    require_choice(robust, (None, *ROBUST), "robust", who)
    require_choice(transform, TRANSFORMS, "transform", who)
    require_confidence(confidence, who)
    mains, products = expanded(listed(covariates), arm)
    given = [name for name in listed(covariates) if isinstance(name, str)]
    columns = list(dict.fromkeys([response, arm, *mains, *by]))
    if not isinstance(data, pd.DataFrame):
        raise ValueError(f"{who}: a DataFrame is needed, not {type(data).__name__}")
    require(data, columns, who)
    repeated = {response, arm} & {*given, *by} | {response} & set(mains)
    if repeated or response == arm:
        raise ValueError(f"{who}: {', '.join(sorted(repeated)) or arm} has two parts in the model")
    double = [name for name in columns if list(data.columns).count(name) > 1]
    if double:
        raise ValueError(f"{who}: the data have column {double[0]!r} twice")
    used = complete(data, columns)[columns]
    if used.empty:
        empty = [name for name in columns if data[name].isna().all()]
        cause = f" ({', '.join(empty)} is missing in all)" if empty and len(data) else ""
        raise ValueError(f"{who}: no row has all of {', '.join(columns)}{cause}")
    numbers(used[response], response, who)
    numeric = [name for name in mains if not is_factor(used[name])]
    for name in numeric:
        numbers(used[name], name, who)
    present = levels(used[arm])
    declared = levels(data[arm])
    if isinstance(data[arm].dtype, pd.CategoricalDtype):
        declared = list(data[arm].cat.categories)
    for name in declared:
        if name not in present:
            raise ValueError(
                f"{who}: arm {name!r} of {arm!r} has no patient with all of {', '.join(columns)}; "
                "remove the level where it is not part of the comparison"
            )
    arms = with_reference(present, reference, arm, who)
    logged = listed(log_covariates)
    if logged and transform not in LOGS:
        raise ValueError(f"{who}: log_covariates need transform 'log' or 'log1p'")
    wrong = [name for name in logged if name not in numeric]
    if wrong:
        raise ValueError(f"{who}: log_covariates {', '.join(wrong)} is no numeric covariate")
    terms = [*mains, *products]
    if transform in LOGS:
        used = used.assign(**{response: logarithm(used[response], transform, who)})
        for name in logged:
            new = f"{transform}({name})"
            used[new] = logarithm(used[name], transform, who)
            terms = [renamed(term, name, new) for term in terms]
    return Checked(used, response, arm, arms, terms, robust, confidence, transform, tuple(logged))


def renamed(term, old, new):
    """Put another name into a term."""
    if isinstance(term, str):
        return new if term == old else term
    return tuple(new if name == old else name for name in term)


def expanded(covariates, arm):
    """Split covariates into main effects and interactions with all that lies between."""
    mains, products = [], []
    for item in covariates:
        names = [item] if isinstance(item, str) else list(item)
        mains += [name for name in names if name != arm]
        for size in range(2, len(names) + 1):
            products += itertools.combinations(names, size)
    products = {frozenset(term): term for term in products}
    return list(dict.fromkeys(mains)), sorted(products.values(), key=len)


def logarithm(column, transform, who):
    """Logarithm of a column whose values must have one."""
    values = numbers(column, column.name, who)
    least = 0 if transform == "log" else -1
    if (values <= least).any():
        zero, negative = int((values == 0).sum()), int((values < 0).sum())
        remedy = "; transform='log1p' takes log(value + 1)" if zero and not negative else ""
        raise ValueError(
            f"{who}: column {column.name!r} holds {zero} zero and {negative} negative values, "
            f"{int((values <= least).sum())} without a {transform}{remedy}"
        )
    return LOGS[transform](values)


def ancova(
    data,
    response,
    arm,
    covariates=(),
    reference=None,
    by=None,
    robust=None,
    confidence=0.95,
    transform=None,
    log_covariates=(),
):
    """Compare arms by least squares, adjusted for covariates.

    Parameters
    ----------
    data : DataFrame
        One row a patient; rows with a missing value in a used column are left out.
    response, arm : str
        Numeric response; column of arms.
    covariates : sequence of str or tuple of str
        Numbers enter as they are, text and categories as factors (centre, stratum). A tuple is an
        interaction with its main effects, ``("TRT01P", "GOLDGR")``.
    reference : str, optional
        Arm that the others are compared with; the first level when not given.
    by : str, optional
        Column of strata: each has a fit of its own. A stratum that can't be fitted gives NaN rows
        and a warning.
    robust : {None, "HC0", "HC1", "HC2", "HC3", "HC4"}
        Heteroscedasticity-consistent covariance, with residual df.
    confidence : float
    transform : {None, "log", "log1p", "rank"}
        Of the response. ``log``: natural; the contrasts are log ratios of geometric means.
        ``log1p``: log(value + 1), for scores with zeros; the ratio is of (value + 1). ``rank``: the
        rank transform of Conover & Iman: mid-ranks, over all patients of the fit, of the response
        and of every numeric covariate; estimates are in ranks. See `rank_ancova` for Quade's test.
    log_covariates : sequence of str
        Covariates on the same log scale, as a rule the baseline of the response; no other
        covariate is transformed.

    Returns
    -------
    Ancova
        ``.contrasts``: contrast [by] estimate se df statistic p ci_low ci_high partial_eta_sq n,
        on a log scale also ratio ratio_ci_low ratio_ci_high;
        ``.emmeans``: arm [by] estimate se df ci_low ci_high (factors weighted equally, covariates
        at their mean over the rows used), on a log scale also geometric_mean with its interval
        (of log1p: exp - 1); ``.coefficients``. Methods: `Ancova.tests`, `effect_sizes`,
        `diagnostics`, `vif`, `standardised`, `marginal_means`, `marginal_contrasts`.

    Raises
    ------
    ValueError
        For unknown columns, one arm only, an arm without patients, arms aliased with covariates,
        too few patients, values without a logarithm.

    Notes
    -----
    R: lm, emmeans, sandwich::vcovHC. SAS: PROC GLM with LSMEANS (OM: weights "proportional"). Held
    against R 4.2.2 (stats, car, emmeans, sandwich, lmtest, effectsize) in tests/reference.
    The log of a covariate is taken before its mean: R's ``log(x)`` in a formula has the adjusted
    means at log(mean(x)), here ``marginal_means(at={"x": mean})``; contrasts do not depend on it.

    References
    ----------
    .. [1] Conover & Iman 1982, Biometrics 38:715.
    """
    model = checked(
        "ancova",
        data,
        response,
        arm,
        covariates,
        reference,
        [by] if by else [],
        robust,
        confidence,
        transform,
        log_covariates,
    )
    if by and by in {name for term in model.terms for name in listed(term)}:
        raise ValueError(f"ancova: {by} has two parts in the model")
    used = model.data
    strata = levels(used[by]) if by else [None]
    names = [f"{level} - {model.arms[0]}" for level in model.arms[1:]]
    fits, contrasts, means = {}, {}, {}
    for stratum in strata:
        part = used if by is None else used.loc[used[by] == stratum]
        where = f"ancova of {response}" + ("" if by is None else f" in {by} {stratum}")
        try:
            there = levels(part[arm])
            if len(there) > 1 and model.arms[0] not in there:
                raise NotEstimableError(f"no patient in {model.arms[0]}")
            fit = model.fit(part)
            contrast, mean, n = fit.arm_contrasts(), fit.arm_means(), fit.n
        except ValueError as error:
            if by is None:
                raise ValueError(f"{where}: not estimable: {error}") from error
            warnings.warn(f"{where}: not estimated: {error}", stacklevel=2)
            contrast = pd.DataFrame(columns=["contrast", *NUMBERS, "partial_eta_sq"], dtype=float)
            mean = pd.DataFrame(columns=[arm, "estimate", "se", "df", *CI], dtype=float)
            n = len(part)
        else:
            fits[stratum] = fit
            for message in remarks(fit, model.arms):
                warnings.warn(f"{where}: {message}", stacklevel=2)
        # An arm that a stratum lacks is a NaN row.
        contrast = contrast.set_index("contrast").reindex(names).rename_axis("contrast")
        contrasts[stratum] = contrast.reset_index().assign(n=n)
        means[stratum] = mean.set_index(arm).reindex(model.arms).rename_axis(arm).reset_index()
    if not fits:
        raise ValueError(f"ancova of {response}: not estimable in any level of {by}")
    return Ancova(
        back_transformed(stacked(contrasts, by), transform, "ratio"),
        back_transformed(stacked(means, by), transform, "geometric_mean"),
        stacked({s: f.coefficients for s, f in fits.items()}, by),
        fits,
        by,
        transform,
    )


def remarks(fit, arms):
    """Give what a reader of a fit should know."""
    absent = [str(name) for name in arms if name not in fit.arms]
    if absent:
        yield f"no patient in {', '.join(absent)}"
    if fit.dropped:
        yield f"{', '.join(fit.dropped)} is aliased and left out"
    if fit.exact:
        yield "the model fits without error; SE and p mean nothing"


def rank_ancova(data, response, arm, covariates=(), by=None, method="quade"):
    """Test arms by ranks, adjusted for covariates: no assumption about the distribution.

    Parameters
    ----------
    data, response, arm, covariates, by
        See `ancova`.
    method : {"quade", "conover-iman"}
        Response and numeric covariates become mid-ranks over all patients of a test (of the
        stratum). ``quade``: the ranks of the response are regressed on the covariates without the
        arm, and the residuals are compared by a one-way analysis of variance with k - 1 and n - k
        df. ``conover-iman``: F of the arm in the ANCOVA of the ranks, ``ancova(transform="rank")``,
        whose contrasts estimate differences in ranks.

    Returns
    -------
    DataFrame
        [by] method f df1 df2 p n, one row a stratum; NaN with a warning where it can't be tested.

    Notes
    -----
    Both test equal distributions given the covariates; slopes are taken as common. Factors enter
    the regression as indicators, unranked.

    References
    ----------
    .. [1] Quade 1967, J Am Stat Assoc 62:1187.
    .. [2] Conover & Iman 1982, Biometrics 38:715.
    """
    require_choice(method, ("quade", "conover-iman"), "method", "rank_ancova")
    result = ancova(data, response, arm, covariates, by=by, transform="rank")
    rows = {}
    for stratum, fit in result.fits.items():
        if method == "quade":
            outside = [i for i in fit.kept if arm not in fit.design.terms[i]]
            basis, _ = np.linalg.qr(fit.design.matrix[:, outside])
            rest = fit.observed - basis @ (basis.T @ fit.observed)
            codes = fit.design.rows[arm]
            f, p = stats.f_oneway(*(rest[(codes == name).to_numpy()] for name in fit.arms))
            row = {"f": f, "df1": len(fit.arms) - 1, "df2": float(fit.n - len(fit.arms)), "p": p}
        else:
            row = fit.test(arm)[["f", "df1", "df2", "p"]].iloc[0].to_dict()
        rows[stratum] = {"method": method, **row, "n": fit.n}
    columns = ["method", "f", "df1", "df2", "p", "n"]
    if by is None:
        return pd.DataFrame([rows[None]], columns=columns)
    sizes = result.contrasts.drop_duplicates(by).set_index(by)["n"]
    return pd.DataFrame(
        [{by: s, "method": method, "n": n, **rows.get(s, {})} for s, n in sizes.items()],
        columns=[by, *columns],
    )
