"""Imputation of missing visits at random and by reference to another arm, with its inference."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungitude.statistics.covariance import Structure
from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.frames import require, require_choice, require_confidence
from lungitude.statistics.incomplete import WHO, Trial
from lungitude.statistics.likelihood import Likelihood, SingularCovarianceError, State
from lungitude.statistics.linear import estimable, independent, inference
from lungitude.statistics.replicates import Replicates

STRATEGIES = ("mar", "j2r", "cr", "cir")
METHODS = ("conditional-mean", "bayes")
BLOCK = 4_000_000  # values of completed samples that are held at once


class Ancova:
    """Least squares at a visit, of many completed samples at once.

    Parameters
    ----------
    trial : Trial
    """

    def __init__(self, trial):
        own = (trial.arm,)
        terms = [tuple(x for x in t if x != trial.visit) for t in trial.terms if trial.arm not in t]
        terms = [term for term in dict.fromkeys(terms) if term]
        design = ColumnDesign(trial.patients, [*terms, own], {trial.arm: trial.arms})
        kept = independent(design.matrix)
        lost = [design.names[i] for i, t in enumerate(design.terms) if t == own and i not in kept]
        if lost:
            raise ValueError(f"{WHO}: {', '.join(lost)} is aliased with the covariates")
        if len(kept) >= len(design.matrix):
            raise ValueError(
                f"{WHO}: {len(design.matrix)} patients for {len(design.names)} model terms"
            )
        self.matrix = design.matrix[:, kept]
        self.rows = [kept.index(i) for i, t in enumerate(design.terms) if t == own]
        q, r = np.linalg.qr(self.matrix)
        back = np.linalg.inv(r)
        self.weights = back @ q.T  # coefficients of the values
        self.variance = np.einsum("ij,ij->i", back, back)[self.rows]
        self.leverage = np.einsum("ij,ij->i", q, q)
        self.df = self.matrix.shape[0] - self.matrix.shape[1]

    def coefficients(self, values):
        """Coefficients (r, k) of values (r, n)."""
        return values @ self.weights.T

    def residuals(self, values):
        """Residuals of values (r, n)."""
        return values - self.coefficients(values) @ self.matrix.T

    def without_own(self, values, patients):
        """Effects of the arms (r, contrasts), where the values (r, n) lack one patient each."""
        beta, rows = self.coefficients(values), self.matrix[patients]
        own = values[np.arange(len(patients)), patients] - np.einsum("ij,ij->i", beta, rows)
        pull = self.weights[:, patients].T / (1 - self.leverage[patients])[:, None]
        return (beta - pull * own[:, None])[:, self.rows]


@dataclass
class Parameters:
    """Draws or replicates: fixed effects (r, k), scaled, and covariances (r, arms, m, m)."""

    beta: np.ndarray
    covariance: np.ndarray


@dataclass
class Analysis:
    """Effects as functions of delta, which shifts estimates linearly, variances quadratically.

    Attributes
    ----------
    estimate, between : ndarray (contrasts,)
        At delta 0; `between` is the variance between imputations.
    gain : ndarray (contrasts, arms)
        Slope of the estimate by the delta of an arm.
    constant, linear, square : ndarray (contrasts,), (contrasts, arms), (contrasts, arms, arms)
        Of the jackknife variance, or of the mean variance within imputations.
    draws : int
        0: no multiple imputation, normal inference.
    df : float
        Of the analysis of complete data.
    """

    estimate: np.ndarray
    between: np.ndarray
    gain: np.ndarray
    constant: np.ndarray
    linear: np.ndarray
    square: np.ndarray
    draws: int
    df: float

    def at(self, delta, confidence=0.95):
        """Inference at the deltas of the arms (..., arms): arrays (..., contrasts) by name."""
        delta = np.asarray(delta, dtype=float)
        estimate = self.estimate + delta @ self.gain.T
        variance = self.constant + 2 * delta @ self.linear.T
        variance = variance + np.einsum("...a,cab,...b->...c", delta, self.square, delta)
        if not self.draws:
            df = np.full(variance.shape, np.inf)
        else:
            between = (1 + 1 / self.draws) * self.between
            variance = variance + between
            share = between / variance
            df = (self.df + 1) / (self.df + 3) * self.df * (1 - share)
            with np.errstate(divide="ignore"):
                many = (self.draws - 1) / share**2
            df = np.where(share > 0, 1 / (1 / df + 1 / np.maximum(many, 1e-300)), self.df)
        se = np.sqrt(np.maximum(variance, 0.0))
        return {"estimate": estimate, "se": se, "df": df, **inference(estimate, se, df, confidence)}


class ImputationModel:
    """One imputation model, from which strategies, visits and deltas are analysed.

    The model of repeated measures is fitted once; the leave-one-patient-out fits and the
    posterior draws are made at first use and then shared.

    Parameters
    ----------
    data, value, subject, visit, arm, covariates, reference
        See `impute_reference_based`.
    by_arm : bool
        Each arm has a model of its own, else they share slopes and covariance.
    same_cov : bool, optional
        One covariance for all arms, or one an arm; what `by_arm` implies if not given.
    confidence : float

    Attributes
    ----------
    covariance : DataFrame or dict of DataFrame
        REML estimate, visit by visit; by arm if not `same_cov`.
    imputed : DataFrame
        arm visit n observed intermittent dropout n_imputed, one row an arm and visit.
    arms, visits : list
        In their order; the first arm is the reference.
    dropped : list of str
        Aliased covariates that were left out.
    """

    def __init__(
        self,
        data,
        value="AVAL",
        subject="USUBJID",
        visit="AVISIT",
        arm="TRT01P",
        covariates=("BASE",),
        reference="PBO",
        by_arm=True,
        same_cov=None,
        confidence=0.95,
    ):
        require_confidence(confidence, WHO)
        self.confidence = confidence
        self.same_cov = not by_arm if same_cov is None else same_cov
        self.trial = trial = Trial(data, value, subject, visit, arm, covariates, reference, by_arm)
        self.arms, self.visits, self.imputed = trial.arms, trial.visits, trial.counts()
        self.n, self._m = trial.responses.shape
        self._ancova = Ancova(trial)
        self._rows()
        self._fit()
        self._made = {}

    def _rows(self):
        """Rows of the model (n, m, k) in the own arm and in the reference arm."""
        trial = self.trial
        design, other = trial.design(), trial.design(self.arms[0])
        seen = trial.observed.ravel()
        kept = independent(design.matrix[seen])
        names = (trial.arm, trial.visit)
        lost = [i for i in range(len(design.names)) if i not in set(kept)]
        grave = [
            design.names[i] for i in lost if design.terms[i] and {*design.terms[i]} <= {*names}
        ]
        if grave:
            raise ValueError(f"{WHO}: {', '.join(grave)} is aliased with the covariates")
        if seen.sum() <= len(kept):
            raise ValueError(f"{WHO}: {seen.sum()} observations for {len(kept)} coefficients")
        needed = np.vstack([design.matrix[~seen], other.matrix[~seen]])
        if lost and len(needed):
            known = estimable(needed, design.matrix[seen]).reshape(2, -1).all(axis=0)
            if not known.all():
                who = np.unique(np.argwhere(~trial.observed)[~known, 0])
                told = ", ".join(design.names[i] for i in lost)
                raise ValueError(
                    f"{WHO}: {len(who)} patients ({trial.label(who)}) cannot be imputed: {told} "
                    "cannot be estimated from the observed values"
                )
        self.dropped = [design.names[i] for i in lost]
        if lost:
            warnings.warn(f"{WHO}: {', '.join(self.dropped)} is aliased and left out", stacklevel=5)
        self._own = design.matrix[:, kept].reshape(self.n, self._m, -1)
        self._other = other.matrix[:, kept].reshape(self.n, self._m, -1)

    def _fit(self):
        trial = self.trial
        seen = trial.observed
        self._with = np.flatnonzero(seen.any(axis=1))
        subjects, positions = np.nonzero(seen)
        codes = np.searchsorted(self._with, subjects)
        groups = None if self.same_cov else trial.group[self._with]
        self._pairs(np.zeros(len(self._with), dtype=int) if groups is None else groups)
        self._groups = 1 if self.same_cov else len(self.arms)
        try:
            self._likelihood = Likelihood(
                self._own[seen],
                trial.responses[seen],
                codes,
                positions,
                [Structure(self._m, "us") for _ in range(self._groups)],
                groups=groups,
            )
            self._theta, self._state, found = self._likelihood.maximise()
        except np.linalg.LinAlgError as error:  # a ValueError, too, but no word for a user
            raise SingularCovarianceError(
                f"{WHO}: the data do not determine the covariance of the visits of {trial.value!r}"
            ) from error
        except ValueError as error:
            raise type(error)(f"{WHO}: {trial.value!r} cannot be fitted: {error}") from error
        if not found:
            raise SingularCovarianceError(
                f"{WHO}: the data do not determine the covariance of the visits of {trial.value!r}"
            )
        like = self._likelihood
        self._replicates = Replicates(like)
        k = self._own.shape[2]
        self._base, _ = like.coefficients(State(0.0, np.zeros(k), np.zeros((k, k))))
        self._own_scaled, self._other_scaled = map(like.orthonormal, (self._own, self._other))
        self._point = self._parameters(self._theta[None], self._state.beta[None])
        tables = {
            name: pd.DataFrame(value, index=self.visits, columns=self.visits)
            for name, value in zip(self.arms, self._point.covariance[0], strict=True)
        }
        self.covariance = tables[self.arms[0]] if self.same_cov else tables

    def _pairs(self, groups):
        """Refuse a covariance that no patient, or one patient alone, informs."""
        seen = self.trial.observed[self._with].astype(float)
        alone = {}
        for g in range(groups.max() + 1):
            mine = seen[groups == g]
            both = mine.T @ mine
            where = "" if self.same_cov else f" of {self.arms[g]}"
            for i, j in np.argwhere(np.tril(both < 2)):
                pair = f"{self.visits[j]} and {self.visits[i]}"
                if both[i, j] == 0:
                    raise SingularCovarianceError(f"{WHO}: no patient{where} has both {pair}")
                one = np.flatnonzero((groups == g) & (seen[:, i] > 0) & (seen[:, j] > 0))
                alone.setdefault(self._with[one[0]], f"has the only values{where} of {pair}")
        self._alone = alone

    def _parameters(self, theta, beta):
        like, structure = self._likelihood, self._replicates.structure
        parts = [
            structure.value(theta[:, a:b])
            for a, b in zip(like.offsets[:-1], like.offsets[1:], strict=True)
        ]
        found = np.stack(parts, axis=1) * like.scale**2
        if self.same_cov:
            found = np.broadcast_to(found, (len(theta), len(self.arms), self._m, self._m))
        return Parameters(beta, found)

    def _jackknife(self):
        """Parameters without each patient: n replicates."""
        if "jackknife" not in self._made:
            kept = self._with
            codes = np.arange(len(kept))
            gone = self._replicates.aliased(codes)
            if (self._ancova.leverage > 1 - 1e-9).any() or gone.any():
                bad = np.union1d(np.flatnonzero(self._ancova.leverage > 1 - 1e-9), kept[gone])
                raise ValueError(
                    f"{WHO}: the jackknife cannot do without {self.trial.label(bad)}, alone in "
                    "a level or cell of the model; join levels or leave the covariate out"
                )
            if self._alone:
                patient, reason = next(iter(self._alone.items()))
                raise ValueError(
                    f"{WHO}: the jackknife cannot do without {self.trial.ids[patient]}, who "
                    f"{reason}; use method='bayes' or fewer visits"
                )
            theta, beta, good = self._replicates.fit(self._theta, codes)
            if not good.all():
                bad = kept[np.flatnonzero(~good)]
                raise ValueError(
                    f"{WHO}: the model has no fit without {self.trial.label(bad)} ({len(bad)} of "
                    f"{self.n} patients); use method='bayes', or fewer visits or covariates"
                )
            # Without a patient who has no values the fit is that of all.
            all_theta = np.repeat(self._theta[None], self.n, axis=0)
            all_beta = np.repeat(self._state.beta[None], self.n, axis=0)
            all_theta[kept], all_beta[kept] = theta, beta
            self._made["jackknife"] = self._parameters(all_theta, all_beta)
        return self._made["jackknife"]

    def _posterior(self, draws, seed):
        """Draws of the parameters, and standard normal numbers for the missing values."""
        key = ("posterior", draws, seed)
        if key not in self._made:
            first, second = (
                np.random.Generator(np.random.PCG64(child))
                for child in np.random.SeedSequence(seed).spawn(2)
            )
            root = np.linalg.cholesky(np.linalg.inv(-self._state.hessian))
            theta = self._theta + first.standard_normal((draws, len(root))) @ root.T
            beta, c = self._replicates.fixed(theta)
            root = np.linalg.cholesky(c)
            noise = first.standard_normal(beta.shape)
            beta = beta + (root @ noise[:, :, None])[:, :, 0]
            missing = ~self.trial.observed
            cells = np.full(missing.shape, -1)
            cells[missing] = np.arange(missing.sum())
            noise = second.standard_normal((draws, int(missing.sum())))
            self._made[key] = self._parameters(theta, beta), noise, cells
        return self._made[key]

    def _mean(self, rows, scaled, beta):
        """Means (r, patients, visits) of rows (patients, visits, k)."""
        shape = rows.shape[:2]
        flat = beta @ scaled.reshape(-1, scaled.shape[2]).T
        return flat.reshape(-1, *shape) + rows @ self._base

    def _joint(self, covariance, arm, before, strategy):
        """Covariance (r, m, m) of a patient of an arm whose visits `before` are at random."""
        own, other = covariance[:, arm], covariance[:, 0]
        if before.all() or strategy == "mar":
            return own
        if not before.any() or strategy == "cr":
            return other
        if self.same_cov:
            return own
        # Own before, and after given before as in the reference (Carpenter et al. 2013, 4.3).
        after = ~before
        r11, a11 = other[:, before][:, :, before], own[:, before][:, :, before]
        r21 = other[:, after][:, :, before]
        slope = r21 @ np.linalg.inv(r11)
        found = np.empty_like(own)
        block = np.ix_(range(len(own)), before, before)
        found[block] = a11
        cross = slope @ a11
        found[np.ix_(range(len(own)), after, before)] = cross
        found[np.ix_(range(len(own)), before, after)] = cross.transpose(0, 2, 1)
        found[np.ix_(range(len(own)), after, after)] = other[:, after][:, :, after] - slope @ (
            r11 - a11
        ) @ slope.transpose(0, 2, 1)
        return found

    def impute(self, strategy, visit, parameters=None, noise=None, cells=None):
        """Values (r, missing) at a visit of the patients who lack it, in the order of patients.

        Parameters
        ----------
        strategy : {"mar", "j2r", "cr", "cir"}
        visit : label
        parameters : Parameters, optional
            The REML estimate by default.
        noise, cells : ndarray, optional
            Standard normal numbers and the cell (patient, visit) of each; without, the values are
            conditional means.
        """
        trial, j = self.trial, self.visits.index(visit)
        parameters = parameters or self._point
        beta = parameters.beta
        missing = np.flatnonzero(~trial.observed[:, j])
        found = np.empty((len(beta), len(missing)))
        keys = np.column_stack([trial.group[missing], trial.observed[missing]])
        patterns, which = np.unique(keys, axis=0, return_inverse=True)
        for index, key in enumerate(patterns):
            here = np.flatnonzero(which.ravel() == index)
            patients, arm, seen = missing[here], int(key[0]), key[1:] > 0
            last = int(trial.last[patients[0]])
            before = np.arange(self._m) <= last
            if arm == 0 or strategy == "mar" or last == self._m - 1:
                before[:] = True  # nothing is by reference
            joint = self._joint(parameters.covariance, arm, before, strategy)
            here_seen = np.flatnonzero(seen)
            used = [j, *here_seen]
            mean = self._model(strategy, patients, before, used)
            rows = self._mean(*mean, beta)
            block = joint[:, here_seen][:, :, here_seen]
            value = rows[:, :, 0]
            if len(here_seen):
                weight = np.linalg.solve(block, joint[:, here_seen, j, None])[:, :, 0]
                residual = trial.responses[np.ix_(patients, here_seen)] - rows[:, :, 1:]
                value = value + (residual @ weight[:, :, None])[:, :, 0]
            if noise is not None:
                gone = np.flatnonzero(~seen)
                rest = joint[:, gone][:, :, gone]
                if len(here_seen):
                    across = joint[:, gone][:, :, here_seen]
                    rest = rest - across @ np.linalg.solve(block, across.transpose(0, 2, 1))
                root = np.linalg.cholesky(rest)[:, list(gone).index(j)]
                drawn = noise[:, cells[np.ix_(patients, gone)]]
                value = value + (drawn @ root[:, :, None])[:, :, 0]
            found[:, here] = value
        return found

    def _model(self, strategy, patients, before, used):
        """Rows of the mean at the visits `used`: (patients, used, k), plain and scaled."""
        found = []
        for own, other in ((self._own, self._other), (self._own_scaled, self._other_scaled)):
            if before.all():
                rows = own[patients]
            elif strategy == "cr" or not before.any():
                rows = other[patients]
            else:
                rows, after = own[patients].copy(), ~before
                rows[:, after] = other[patients][:, after]
                if strategy == "cir":
                    last = np.flatnonzero(before)[-1]
                    step = rows[:, last] - other[patients][:, last]
                    rows[:, after] += step[:, None]
            found.append(rows[:, used])
        return found

    def effects(self, strategy="j2r", method="conditional-mean", visit=None, draws=500, seed=1):
        """Effects at a visit as functions of delta: `Analysis`."""
        require_choice(strategy, STRATEGIES, "strategy", WHO)
        require_choice(method, METHODS, "method", WHO)
        visit = self.visits[-1] if visit is None else visit
        require_choice(visit, self.visits, "analysis_visit", WHO)
        for name, number, least in (("n_imputations", draws, 2), ("seed", seed, 0)):
            whole = isinstance(number, int | np.integer) and number >= least
            if method == "bayes" and not whole:
                raise ValueError(f"{WHO}: {name} {number!r} is no whole number of at least {least}")
        key = (strategy, method, visit, *((draws, seed) if method == "bayes" else ()))
        if key not in self._made:
            make = self._resampled if method == "conditional-mean" else self._multiple
            self._made[key] = make(strategy, visit, draws, seed)
        return self._made[key]

    def _completed(self, visit, imputed):
        """Values (r, n) at a visit, and which imputed ones are of which arm (arms, n)."""
        j = self.visits.index(visit)
        values = np.repeat(self.trial.responses[None, :, j], len(imputed), axis=0)
        missing = ~self.trial.observed[:, j]
        values[:, missing] = imputed
        mine = self.trial.group == np.arange(len(self.arms))[:, None]
        return values, (mine & missing).astype(float)

    def _resampled(self, strategy, visit, draws, seed):
        ancova, n = self._ancova, self.n
        values, moved = self._completed(visit, self.impute(strategy, visit))
        estimate = ancova.coefficients(values)[0, ancova.rows]
        gain = ancova.coefficients(moved)[:, ancova.rows].T
        parameters = self._jackknife()
        effects = np.empty((1 + len(moved), n, len(estimate)))
        for part in np.array_split(np.arange(n), -(-n * n // BLOCK)):
            own = Parameters(parameters.beta[part], parameters.covariance[part])
            values, _ = self._completed(visit, self.impute(strategy, visit, own))
            effects[0, part] = ancova.without_own(values, part)
            for a, column in enumerate(moved):
                column = np.broadcast_to(column, values.shape)
                effects[1 + a, part] = ancova.without_own(column, part)
        centred = effects - effects.mean(axis=1, keepdims=True)
        spread = np.einsum("anc,bnc->cab", centred, centred) * (n - 1) / n
        return Analysis(
            estimate,
            np.zeros(len(estimate)),
            gain,
            spread[:, 0, 0],
            spread[:, 0, 1:],
            spread[:, 1:, 1:],
            0,
            float(ancova.df),
        )

    def _multiple(self, strategy, visit, draws, seed):
        ancova = self._ancova
        values, moved = self._completed(
            visit, self.impute(strategy, visit, *self._posterior(draws, seed))
        )
        found = ancova.coefficients(values)[:, ancova.rows]
        gain = ancova.coefficients(moved)[:, ancova.rows].T
        residual, shift = ancova.residuals(values), ancova.residuals(moved)
        # Mean residual variance over the imputations, times that of each contrast.
        scale = ancova.variance / ancova.df
        complete = not moved.any()
        return Analysis(
            found.mean(axis=0),
            np.zeros(len(scale)) if complete else found.var(axis=0, ddof=1),
            gain,
            scale * (residual**2).sum(axis=1).mean(),
            scale[:, None] * (shift @ residual.mean(axis=0)),
            scale[:, None, None] * (shift @ shift.T),
            draws,
            float(ancova.df),
        )

    def delta_of(self, delta, visit):
        """Deltas (arms,) at a visit of what users write: a number, a dict or a frame."""
        found = np.zeros(len(self.arms))
        if delta is None:
            return found
        trial = self.trial
        if isinstance(delta, pd.DataFrame):
            require(delta, [trial.arm, "delta"], f"{WHO} delta")
            rows = delta
            if trial.visit in delta:
                rows = delta.loc[delta[trial.visit] == visit]
            if rows[trial.arm].duplicated().any():
                raise ValueError(f"{WHO}: delta has an arm more than once at {visit}")
            delta = dict(zip(rows[trial.arm], rows["delta"], strict=True))
        elif not isinstance(delta, dict):
            delta = dict.fromkeys(self.arms[1:], delta)
        for name, value in delta.items():
            if name not in self.arms:
                raise ValueError(
                    f"{WHO}: delta names {name!r}, which is no arm "
                    f"(arms: {', '.join(map(str, self.arms))})"
                )
            try:
                found[self.arms.index(name)] = value
            except (TypeError, ValueError):
                raise ValueError(f"{WHO}: delta {value!r} of {name} is no number") from None
        if not np.isfinite(found).all():
            raise ValueError(f"{WHO}: delta is not finite")
        return found

    def analyse(
        self,
        strategy="j2r",
        method="conditional-mean",
        visit=None,
        delta=None,
        n_imputations=500,
        seed=1,
    ):
        """Contrasts with the reference at one visit; see `impute_reference_based`."""
        analysis = self.effects(strategy, method, visit, n_imputations, seed)
        visit = self.visits[-1] if visit is None else visit
        found = analysis.at(self.delta_of(delta, visit), self.confidence)
        here = self.imputed.loc[self.imputed[self.trial.visit] == visit]
        counts = dict(zip(here[self.trial.arm], here["n_imputed"].tolist(), strict=True))
        table = pd.DataFrame(
            {
                "contrast": [f"{name} - {self.arms[0]}" for name in self.arms[1:]],
                **{name: found[name] for name in ("estimate", "se", "df", "p")},
                "ci_low": found["ci_low"],
                "ci_high": found["ci_high"],
                "n": self.n,
                "n_imputed": sum(counts.values()),
                "statistic": found["statistic"],
                "mc_error": np.sqrt(analysis.between / max(analysis.draws, 1)),
            }
        )
        table.attrs = {
            "strategy": strategy,
            "method": method,
            "visit": visit,
            "covariance": "us" if self.same_cov else f"us by {self.trial.arm}",
            "n_imputed": counts,
        }
        return table


def impute_reference_based(
    data,
    value="AVAL",
    subject="USUBJID",
    visit="AVISIT",
    arm="TRT01P",
    covariates=("BASE",),
    reference="PBO",
    strategy="j2r",
    method="conditional-mean",
    delta=None,
    n_imputations=500,
    seed=1,
    analysis_visit=None,
    by_arm=True,
    same_cov=None,
    confidence=0.95,
):
    """Compare arms at a visit after imputation of missing values, at random or by reference.

    Parameters
    ----------
    data : DataFrame
        One row a patient and visit after baseline. A missing visit has no row or no value; a
        patient without any value has at least one row. The baseline is a covariate.
    value, subject, visit, arm : str
        Columns. Visits are in the order of the categories, else of the numbers in their names.
    covariates : list of str or tuple of str
        Complete, one value a patient. ``"BASE"`` has one slope for all visits; ``"BASE*AVISIT"``
        (or ``"BASE:AVISIT"``, or a tuple) a slope a visit. The analysis has the same covariates,
        without interactions with the arm.
    reference : label
        The arm that the others are compared with and imputed from.
    strategy : {"mar", "j2r", "cr", "cir"}
        Missing at random; jump to reference; copy reference; copy increments in reference. By
        reference is what follows the last observed visit of a patient of another arm. What is
        missing before it is at random, but that copy reference takes the whole profile of such a
        patient from the reference.
    method : {"conditional-mean", "bayes"}
        One imputation by conditional means with jackknife standard errors and normal inference,
        or multiple imputation with Rubin's rules.
    delta : float, dict or DataFrame, optional
        Added to the imputed values: of all arms but the reference; by arm; or in a frame with
        the arm, `delta` and maybe the visit.
    n_imputations, seed : int
        Of bayes.
    analysis_visit : label, optional
        The last by default.
    by_arm : bool
        Each arm has an imputation model of its own: slopes of the covariates at each visit and a
        covariance (Carpenter et al. 2013; Stata's mimix). False: one covariance, and slopes as
        written in `covariates` (the default of R's rbmi).
    same_cov : bool, optional
        One covariance for all arms, or one an arm, whatever `by_arm` implies.
    confidence : float

    Returns
    -------
    DataFrame
        One row an arm: contrast estimate se df p ci_low ci_high n n_imputed statistic mc_error.
        n counts the patients of the analysis and n_imputed those whose value at the visit is
        imputed; mc_error is that of a finite number of imputations. ``attrs`` has the number
        imputed by arm.

    Raises
    ------
    ValueError
        What is wrong and where: unknown column or arm, incomplete or varying covariates,
        duplicate visits, an arm without observations at a visit, a patient whom the jackknife
        cannot do without.

    Notes
    -----
    The imputation model is an MMRM fitted by REML: covariates and arm by visit, unstructured
    covariance. With mean mu and covariance S of the own arm, those of the reference mu_r and S_r,
    and t the last observed visit, a patient's values have after t the mean mu_r (j2r), or
    mu_r + mu[t] - mu_r[t] (cir), and the covariance that has S up to t and the regression on it
    of S_r; all visits have mu_r and S_r (cr, and whoever has no value at all). Missing values are
    the conditional mean, or a draw, given the patient's observed values.

    Jackknife: every patient is left out in turn, and model, imputation and analysis are made
    anew (exact REML optima). It is consistent for the variance in repeated samples, which under
    reference-based strategies is smaller than Rubin's information-anchored one (Cro et al. 2019).

    Bayes: covariance parameters (log standard deviations and regressions of a visit on those
    before) are drawn from the normal approximation of their posterior under a flat prior, then
    fixed effects from their exact normal posterior given these. Degrees of freedom are Barnard &
    Rubin's. Where nothing is imputed the analysis is that of the complete data.

    R: rbmi ``method_condmean(type = "jackknife")`` and ``method_approxbayes()``, which resamples
    patients instead. SAS: the five macros of J. Roger; PROC MI with MNAR MODEL. Stata: mimix.

    References
    ----------
    Carpenter, Roger & Kenward 2013, J Biopharm Stat 23:1352; Wolbers et al. 2022, Pharm Stat
    21:1246; Gower-Page, Noci & Wolbers 2022, JOSS 7:4251; Barnard & Rubin 1999, Biometrika 86:948.
    """
    model = ImputationModel(
        data, value, subject, visit, arm, covariates, reference, by_arm, same_cov, confidence
    )
    return model.analyse(strategy, method, analysis_visit, delta, n_imputations, seed)
