"""Mixed model for repeated measures: a marginal covariance of visits, no random effects."""

import re
import warnings

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.covariance import STRUCTURES, SpatialExponential, Structure
from lungitude.statistics.design import FormulaDesign
from lungitude.statistics.fixed_effects import Sandwich, adjusted
from lungitude.statistics.frames import (
    levels,
    numbers,
    require_choice,
    require_confidence,
)
from lungitude.statistics.likelihood import (
    Likelihood,
    NoVariationError,
    SingularCovarianceError,
)
from lungitude.statistics.linear import (
    LinearFit,
    independent,
    joint_df,
    kenward_roger_df,
    listed,
)
from lungitude.statistics.vital import (
    columns_of_terms,
    require_levels,
    require_two_levels,
    require_unaliased,
    vital_factors,
)

DF = (
    "satterthwaite",
    "kenward-roger",
    "kenward-roger-linear",
    "between-within",
    "residual",
)
VCOV = ("model", "empirical", "empirical-jackknife", "empirical-bias-reduced")
WHO = "mmrm"
ORDERED = ("toep", "toeph", "ar1", "ar1h", "ad", "adh")  # the order of the visits matters
FEW = 5  # equal values at a visit from which on they are a fault, not chance


class MMRMFit(LinearFit):
    """Result of `mmrm`: `coefficients`, `covariance`, `emmeans`, `contrasts`, `test`, `type3`.

    Attributes
    ----------
    coefficients : DataFrame
        term estimate se df statistic p ci_low ci_high
    covariance : DataFrame or dict of DataFrame
        Of the visits, by group if there are groups.
    covariance_used : str
    attempts : DataFrame
        covariance converged reason: the declared structures that were tried, in order.
    loglik, aic, bic : float
        R mmrm's conventions: covariance parameters only, and the number of patients in BIC.
    converged : bool
    n_subjects, n_observations : int
    dropped : list of str
        Aliased coefficients that were left out.
    vcov : ndarray (k, k)
        Covariance of the coefficients that the standard errors come from.
    """

    def __init__(self, problem, likelihood, theta, state, df, vcov, confidence):
        self.design, self.kept, self.dropped = problem.design, problem.kept, problem.dropped
        self.confidence, self.df_method, self.vcov_method = confidence, df, vcov
        self.converged = True
        self.likelihood, self.theta, self._state = likelihood, theta, state
        self.n_subjects, self.n_observations = likelihood.n_subjects, likelihood.n
        self.covariance_used = likelihood.structures[0].name
        self.loglik = state.loglik
        self.aic = -2 * self.loglik + 2 * len(theta)
        self.bic = -2 * self.loglik + np.log(self.n_subjects) * len(theta)
        self.beta, self.model_vcov = likelihood.coefficients(state)
        # Observed information of the covariance parameters; its inverse is what mmrm calls W.
        self.theta_covariance = np.linalg.inv(-state.hessian)
        self.covariance = problem.covariance_table(likelihood, theta)
        self._back = None
        if vcov != "model":
            self._sandwich = Sandwich(likelihood, theta, state, vcov)
            self.vcov = likelihood.back(self._sandwich.vcov)
        elif df.startswith("kenward-roger"):
            self.vcov = likelihood.back(
                adjusted(likelihood, theta, state, self.theta_covariance, df == "kenward-roger")
            )
        else:
            self.vcov = self.model_vcov
        if not (np.diag(self.vcov) > 0).all():
            raise SingularCovarianceError(
                f"{WHO}: too few patients for {df if vcov == 'model' else vcov}, a variance is not "
                "positive; use 'satterthwaite' or 'kenward-roger-linear'"
            )
        if df == "between-within":
            self._between, self._between_df, self._within_df = problem.between_within()

    def _slopes(self):
        """Give the derivatives of the model covariance of the fixed effects by the parameters."""
        if self._back is None:
            c = self._state.c
            self._back = self.likelihood.back(c @ self._state.slopes @ c)
        return self._back

    def _df(self, rows):
        rows = np.atleast_2d(rows)
        if self.df_method == "residual":
            return np.full(len(rows), float(self.n_observations - len(self.kept)))
        if self.df_method == "between-within":
            used = rows != 0
            choice = np.where(self._between, self._between_df, self._within_df)
            return np.where(used, choice, np.inf).min(axis=1)
        if self.vcov_method != "model":
            return self._sandwich.df(self.likelihood.orthonormal(rows))
        variance = np.einsum("ij,jk,ik->i", rows, self.model_vcov, rows)
        gradient = np.einsum("ij,pjk,ik->ip", rows, self._slopes(), rows)
        spread = np.einsum("ip,pq,iq->i", gradient, self.theta_covariance, gradient)
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2 * variance**2 / spread

    def test(self, rows):
        """F test that all the linear functions ``rows @ coefficients`` are 0.

        Parameters
        ----------
        rows : array_like (r, k)
            Over `coefficients`, or over all columns of the design.

        Returns
        -------
        DataFrame
            One row: F df1 df2 p.

        Raises
        ------
        ValueError
            When the covariance of the functions is not positive definite (Kenward-Roger or a
            sandwich with very few patients).

        Notes
        -----
        Kenward & Roger 1997 (scaled F). Satterthwaite: eigenvectors of the covariance of the
        functions, each with its own df, joined as by Fai & Cornelius 1996; with several rows df2
        depends on the basis of `rows` (differences from the first level are SAS's).
        """
        rows = self.over_kept(rows, WHO)
        kept = independent(rows.T)
        rows = rows[kept]
        size, estimate = len(rows), rows @ self.beta
        variance = rows @ self.vcov @ rows.T
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.sqrt(np.diag(variance))
            correlation = variance / np.outer(deviation, deviation)
        if not np.isfinite(correlation).all() or np.linalg.eigvalsh(correlation)[0] < 1e-13:
            raise ValueError(f"{WHO}: the covariance of the functions is not positive definite")
        f = float(estimate @ np.linalg.solve(variance, estimate)) / size
        if self.df_method.startswith("kenward-roger") and size > 1:
            scale, df = self._kenward_roger(rows)
            f *= scale
        elif self.df_method in ("residual", "between-within") or size == 1:
            df = float(self._df(rows).min())
        else:
            vectors = np.linalg.eigh(variance)[1]
            df = joint_df(self._df(vectors.T @ rows))
        return pd.DataFrame([{"F": f, "df1": size, "df2": df, "p": stats.f.sf(f, size, df)}])

    def _kenward_roger(self, rows):
        size = len(rows)
        phi, slopes = self.model_vcov, self._slopes()
        theta = rows.T @ np.linalg.solve(rows @ phi @ rows.T, rows)
        first = theta @ slopes
        traces = np.einsum("pii->p", first)
        a1 = traces @ self.theta_covariance @ traces
        a2 = np.einsum("pij,qji,pq->", first, first, self.theta_covariance, optimize=True)
        df = kenward_roger_df(size, a1, a2)
        return df * (1 - a2 / size) / (df - 2), df

    def type3(self):
        """Type III tests of the terms: term F df1 df2 p (SAS TYPE3, differences from first)."""
        found = []
        for term in self.design.term_labels:
            rows = self.design.hypothesis(term).reshape(-1, len(self.design.names))
            lost = np.delete(rows, self.kept, axis=1)
            rows = rows[~(lost != 0).any(axis=1)][:, self.kept]
            row = {"F": np.nan, "df1": len(rows), "df2": np.nan, "p": np.nan}
            try:
                row = self.test(rows).iloc[0].to_dict() if len(rows) else row
            except ValueError as error:
                warnings.warn(f"{error}: {':'.join(term)}", stacklevel=2)
            found.append({"term": ":".join(term), **row})
        return pd.DataFrame(found, columns=["term", "F", "df1", "df2", "p"]).astype({"df1": int})


class Problem:
    """The checked data of one model, from which each declared structure is tried.

    Parameters and errors are those of `fit_design`.
    """

    def __init__(self, design, response, subject, visit, group, weights, coordinates, name, strict):
        self.design, self.response = design, np.asarray(response, dtype=float)
        self.coordinates = listed(coordinates)
        rows = design.rows
        self.visit, self.subject, self.group = visit, subject, group
        if visit in design.covariates:
            raise ValueError(
                f"{WHO}: the visit {visit!r} is a number in the formula; make it categorical"
            )
        if self.response.shape != (len(rows),):
            raise ValueError(f"{WHO}: {self.response.size} responses for {len(rows)} rows")
        if not (np.isfinite(self.response).all() and np.isfinite(design.matrix).all()):
            raise ValueError(f"{WHO}: {name} or a covariate is missing or infinite in a row")
        self.codes, names = pd.factorize(rows[subject])
        self.visits = levels(rows[visit])
        self.positions = pd.Categorical(rows[visit], categories=self.visits).codes.astype(int)
        twice = pd.Series(self.codes * len(self.visits) + self.positions).duplicated().to_numpy()
        if twice.any():
            row = rows.loc[twice].iloc[0]
            raise ValueError(
                f"{WHO}: {subject} {row[subject]} has {visit} {row[visit]} more than once "
                f"({int(twice.sum())} such rows); choose one record a visit first"
            )
        self.n_subjects = len(names)
        if self.n_subjects < 2:
            raise ValueError(
                f"{WHO}: {self.n_subjects} patient with data ({', '.join(map(str, names))})"
            )
        if np.ptp(self.response) == 0:
            raise ValueError(f"{WHO}: {name} is {self.response[0]:g} in every row")
        for position, label in enumerate(self.visits):
            here = self.response[self.positions == position]
            if len(here) >= FEW and np.ptp(here) == 0:
                raise ValueError(
                    f"{WHO}: {name} is {here[0]:g} in every row at {visit} {label}; leave these "
                    "rows out (a change has no value at baseline)"
                )
        self.weights = None
        if weights:
            self.weights = numbers(rows[weights], weights, WHO)
            if not (self.weights > 0).all():
                raise ValueError(
                    f"{WHO}: weights {weights!r} has {int((self.weights <= 0).sum())} rows that "
                    "are not positive"
                )
        self.groups, self.group_names = None, [None]
        if group:
            self.group_names = levels(rows[group])
            code = pd.Categorical(rows[group], categories=self.group_names).codes
            self.groups = np.full(self.n_subjects, -1)
            self.groups[self.codes] = code
            mixed = self.groups[self.codes] != code
            if mixed.any():
                raise ValueError(
                    f"{WHO}: {subject} {rows[subject].to_numpy()[np.argmax(mixed)]} has several "
                    f"values of the group {group!r}"
                )
        if len(self.response) <= len(design.names):
            needed = len(independent(design.matrix))
            if len(self.response) <= needed:
                raise ValueError(
                    f"{WHO}: {len(self.response)} observations for {needed} coefficients"
                )
        if strict:
            self._refuse_aliased()
        self.kept = independent(design.matrix)
        self.dropped = [n for i, n in enumerate(design.names) if i not in set(self.kept)]
        self.matrix = design.matrix[:, self.kept]

    def _refuse_aliased(self):
        """Refuse an arm or a visit that cannot be estimated; a nuisance term may be aliased.

        The arm is whatever interacts with the visit; without such a term, a lone factor.
        """
        design, visit = self.design, self.visit
        terms, partners = columns_of_terms(design).values(), arms_of(design, visit)
        for name in partners:
            require_two_levels(design, name, WHO)
            if any({visit, name} <= set(term) for term in terms):
                kept = design.factors[name]
                table = np.zeros((len(kept), len(self.visits)))
                arms = pd.Categorical(design.rows[name], categories=kept).codes
                np.add.at(table, (arms, self.positions), 1)
                for i, j in np.argwhere(table == 0):
                    raise ValueError(
                        f"{WHO}: {name} {kept[i]} has no observation at {visit} {self.visits[j]}"
                    )
        for name in [*partners, *([visit] if visit in design.factors else [])]:
            require_unaliased(design, name, WHO)

    def likelihood(self, covariance, reml):
        """Set up the likelihood with one covariance structure."""
        m = len(self.visits)
        coordinates, positions = None, self.positions
        if covariance == "sp_exp":
            columns = self.coordinates or [self.visit]
            values = np.column_stack(
                [numbers(self.design.rows[name], name, WHO) for name in columns]
            )
            places = pd.DataFrame(values).assign(code=self.codes)
            if places.duplicated().any():
                row = self.design.rows.loc[places.duplicated().to_numpy()].iloc[0]
                raise ValueError(
                    f"{WHO}: {self.subject} {row[self.subject]} has two rows at the same place in "
                    f"{', '.join(map(repr, columns))}; sp_exp needs a distance between them"
                )
            order = np.lexsort((self.positions, self.codes))
            first = np.r_[True, np.diff(self.codes[order]) != 0]
            rank = np.arange(len(order)) - np.flatnonzero(first)[np.cumsum(first) - 1]
            positions = np.empty(len(order), dtype=int)
            positions[order] = rank
            coordinates = np.zeros((self.n_subjects, positions.max() + 1, values.shape[1]))
            coordinates[self.codes, positions] = values
            if self.groups is not None:
                raise ValueError(
                    f"{WHO}: sp_exp has one covariance for all groups; leave out group"
                )
            structures = [SpatialExponential]
        else:
            self._refuse_unobserved(covariance)
            if covariance in ORDERED:
                self._doubt_order()
            structures = [Structure(m, covariance) for _ in self.group_names]
        return Likelihood(
            self.matrix,
            self.response,
            self.codes,
            positions,
            structures,
            groups=self.groups,
            coordinates=coordinates,
            weights=self.weights,
            reml=reml,
        )

    def _doubt_order(self):
        """Warn where visits are in the order of the alphabet and their numbers say another."""
        if isinstance(self.design.rows[self.visit].dtype, pd.CategoricalDtype):
            return
        numbers_in = [re.findall(r"\d+(?:\.\d+)?", str(label)) for label in self.visits]
        if not all(len(found) == 1 for found in numbers_in):
            return
        places = [float(found[0]) for found in numbers_in]
        if places != sorted(places):
            warnings.warn(
                f"{WHO}: the visits are taken in the order {', '.join(map(str, self.visits))}; "
                f"make {self.visit!r} an ordered categorical if that is not their order in time",
                stacklevel=5,
            )

    def _refuse_unobserved(self, covariance):
        """Every pair of visits (every lag, for Toeplitz) needs a patient who has both."""
        if covariance not in ("us", "toep", "toeph"):
            return
        m = len(self.visits)
        for g, name in enumerate(self.group_names):
            rows = slice(None) if self.groups is None else self.groups[self.codes] == g
            seen = np.zeros((self.n_subjects, m))
            seen[self.codes[rows], self.positions[rows]] = 1
            pairs = seen.T @ seen
            where = "" if name is None else f" of {self.group} {name}"
            for i in range(m):
                for j in range(i):
                    lag = np.diag(pairs, i - j).sum()
                    if (pairs[i, j] if covariance == "us" else lag) == 0:
                        raise SingularCovarianceError(
                            f"no patient{where} has both {self.visits[j]} and {self.visits[i]}"
                        )

    def between_within(self):
        """Which coefficients are between patients, and the two df (SAS DDFM=BW, as mmrm)."""
        order = np.argsort(self.codes, kind="stable")
        starts = np.searchsorted(self.codes[order], np.arange(self.n_subjects))
        sorted_rows = self.matrix[order]
        same = np.maximum.reduceat(sorted_rows, starts) == np.minimum.reduceat(sorted_rows, starts)
        constant = same.all(axis=0)
        intercept = np.array([self.design.terms[i] == () for i in self.kept])
        between = constant & ~intercept
        within = ~constant
        between_df = self.n_subjects - between.sum() - intercept.sum()
        within_df = len(self.response) - self.n_subjects - within.sum()
        return between, float(between_df), float(within_df)

    def covariance_table(self, likelihood, theta):
        """Covariance of the visits in the units of the data."""
        tables = {}
        for name, structure, part in zip(
            self.group_names, likelihood.structures, likelihood.split(theta), strict=True
        ):
            labels = self.visits
            if structure.spatial:
                rows, columns = self.design.rows, self.coordinates or [self.visit]
                places = rows.groupby(self.visit, observed=True)[columns].nunique()
                if (places == 1).all(axis=None):
                    points = rows.groupby(self.visit, observed=True)[columns].first()
                    points = points.loc[labels].to_numpy(dtype=float)
                else:  # no place of a visit: the covariance at distance 0 and 1
                    labels, points = ["0", "1"], np.array([[0.0], [1.0]])
                distance = np.linalg.norm(points[:, None] - points[None, :], axis=-1)
                value = SpatialExponential(distance[None]).value(part)[0]
            else:
                value = structure.value(part)
            tables[name] = pd.DataFrame(value * likelihood.scale**2, index=labels, columns=labels)
        return tables if self.group else tables[None]


def arms_of(design, visit):
    """Factors that interact with the visit, the arm among them, or have the name of an arm."""
    terms = columns_of_terms(design).values()
    found = {name for term in terms if visit in term for name in term if name != visit}
    # A lone factor beside the visit is an arm, too.
    others = [name for name in design.factors if name != visit]
    named = [name for name in vital_factors(design, found) if name != visit]
    return named or (others if len(others) == 1 else [])


def require_options(covariance, method, df, vcov, confidence):
    """Raise a ValueError unless the choices of a model are known and go together."""
    if not listed(covariance):
        raise ValueError(f"{WHO}: no covariance is named")
    for name in listed(covariance):
        require_choice(name, tuple(STRUCTURES), "covariance", WHO)
    require_choice(method, ("reml", "ml"), "method", WHO)
    require_choice(df, DF, "df", WHO)
    require_choice(vcov, VCOV, "vcov", WHO)
    require_confidence(confidence, WHO)
    if df.startswith("kenward-roger") and method == "ml":
        raise ValueError(f"{WHO}: df {df!r} needs method 'reml'")
    if df.startswith("kenward-roger") and vcov != "model":
        raise ValueError(f"{WHO}: df {df!r} has its own covariance; vcov must be 'model'")


def fit_design(
    design,
    response,
    subject="USUBJID",
    visit="AVISIT",
    covariance="us",
    group=None,
    weights=None,
    coordinates=None,
    method="reml",
    df="satterthwaite",
    vcov="model",
    confidence=0.95,
    name="the response",
    strict=True,
):
    """Fit a mixed model for repeated measures with a design that is there already.

    Parameters
    ----------
    design : Design
        Its rows have the columns `subject`, `visit`, `group`, `weights` and `coordinates`, none of
        them missing.
    response : ndarray (n,)
    name : str
        Of the response, for messages.
    strict : bool
        An arm without an observation at a visit, or aliased with other terms, is an error;
        otherwise what it cannot estimate is NaN in ``linear(..., strict=False)``.
    subject, visit, covariance, group, weights, coordinates, method, df, vcov, confidence
        See `mmrm`.

    Returns
    -------
    MMRMFit

    Raises
    ------
    ValueError
        See `mmrm`.
    """
    require_options(covariance, method, df, vcov, confidence)
    problem = Problem(design, response, subject, visit, group, weights, coordinates, name, strict)
    attempts, fit = [], None
    for structure in listed(covariance):
        try:
            likelihood = problem.likelihood(structure, method == "reml")
            theta, state, converged = likelihood.maximise()
            reason = "" if converged else "the likelihood has no maximum that the data determine"
        except SingularCovarianceError as error:
            converged, reason = False, str(error)
        except NoVariationError as error:
            raise ValueError(f"{WHO}: {name} has {error}") from error
        except np.linalg.LinAlgError:  # a weight beyond what numbers of 8 bytes hold
            converged, reason = False, "the likelihood has no maximum that the data determine"
        attempts.append({"covariance": structure, "converged": converged, "reason": reason})
        if converged:
            fit = MMRMFit(problem, likelihood, theta, state, df, vcov, confidence)
            break
    if fit is None:
        raise SingularCovarianceError(
            f"{WHO}: no covariance could be fitted to {name} ({_told(attempts)}); "
            "declare a simpler structure, such as toeph, ar1h or cs"
        )
    fit.attempts = pd.DataFrame(attempts)
    return fit


def _told(attempts):
    return "; ".join(f"{a['covariance']}: {a['reason']}" for a in attempts)


def mmrm(
    data,
    formula,
    subject="USUBJID",
    visit="AVISIT",
    covariance="us",
    group=None,
    weights=None,
    coordinates=None,
    method="reml",
    df="satterthwaite",
    vcov="model",
    confidence=0.95,
):
    """Fit a mixed model for repeated measures.

    Parameters
    ----------
    data : DataFrame
        One row a patient and visit. Rows with a missing value in a used column are left out:
        under missingness at random nothing else is needed.
    formula : str
        Fixed effects, such as ``"CHG ~ BASE * AVISIT + TRT01P * AVISIT"``; factors have treatment
        coding, order of the categories, else sorted.
    subject, visit : str
        Columns. The order of the visits is that of the categories, else sorted.
    covariance : str or list of str
        us toep toeph ar1 ar1h ad adh cs csh sp_exp (h: a variance a visit). A list is tried in
        order until one converges; `covariance_used` and `attempts` tell which and why.
    group : str, optional
        Column of groups of patients with a covariance each.
    weights : str, optional
        Column of positive weights; the covariance of two rows is divided by the root of their
        product.
    coordinates : str or list of str, optional
        Columns of the place of a row in time (or space), for sp_exp.
    method : {"reml", "ml"}
    df : {"satterthwaite", "kenward-roger", "kenward-roger-linear", "between-within", "residual"}
        kenward-roger has second derivatives (R mmrm); kenward-roger-linear has not
        (SAS DDFM=KR(LINEAR)).
    vcov : {"model", "empirical", "empirical-jackknife", "empirical-bias-reduced"}
        Covariance of the coefficients: CR0, CR3, CR2.
    confidence : float

    Returns
    -------
    MMRMFit

    Raises
    ------
    ValueError
        What is wrong and where: unknown column, duplicate visit of a patient, empty arm or visit,
        an arm aliased with other terms, constant response, no structure that converges. An aliased
        nuisance term is left out with a warning.

    Notes
    -----
    Newton's method on the exact observed information over patterns of visits; see
    `lungitude.statistics.likelihood`. Held against R's mmrm 0.3.18, emmeans and nlme in
    tests/reference. SAS: PROC MIXED with REPEATED / TYPE= SUBJECT= GROUP=.

    References
    ----------
    Mallinckrodt et al. 2008, Drug Inf J 42:303; Kenward & Roger 1997, Biometrics 53:983; Fai &
    Cornelius 1996, J Stat Comput Simul 54:363; Bell & McCaffrey 2002, Surv Methodol 28:169.
    """
    if weights is not None and not isinstance(weights, str):
        raise ValueError(f"{WHO}: weights is the name of a column, not {type(weights).__name__}")
    extra = [subject, visit, *listed(group), *listed(weights), *listed(coordinates)]
    extra = list(dict.fromkeys(extra))
    design = FormulaDesign(data, formula, extra=extra, who=WHO)
    for name in dict.fromkeys([visit, *listed(group), *arms_of(design, visit)]):
        require_levels(data, design, name, WHO)
    fit = fit_design(
        design,
        design.response,
        subject,
        visit,
        covariance,
        group,
        weights,
        coordinates,
        method,
        df,
        vcov,
        confidence,
        design.response_name,
    )
    if fit.dropped:
        warnings.warn(f"{WHO}: {', '.join(fit.dropped)} is aliased and left out", stacklevel=2)
    if len(fit.attempts) > 1:
        told = _told(fit.attempts.iloc[:-1].to_dict("records"))
        warnings.warn(f"{WHO}: covariance {fit.covariance_used} is used ({told})", stacklevel=2)
    return fit
