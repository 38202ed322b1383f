"""Time to event: Cox' proportional hazards regression."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.ancova import NotEstimableError
from lungitude.statistics.arm_design import ArmDesign, prepare
from lungitude.statistics.frames import require_choice, require_confidence
from lungitude.statistics.linear import inference, listed
from lungitude.statistics.survival import Curve, samples, strata_codes


class Cox:
    """Result of `cox`.

    Attributes
    ----------
    contrasts : DataFrame
        contrast estimate (log hazard ratio) se statistic p ci_low ci_high hazard_ratio hr_ci_low
        hr_ci_high n n_arm n_reference events_arm events_reference.
    coefficients : DataFrame
        term estimate se statistic p ci_low ci_high hazard_ratio hr_ci_low hr_ci_high.
    tests : DataFrame
        of ("model" or "arm") test ("likelihood ratio", "wald", "score") statistic df p; arm: all
        arms, given the covariates.
    loglik, loglik_null : float
        Partial log-likelihoods at the estimates and at 0.
    n, events : int
    """

    def __init__(self, rows, times, events, arm, arms, covariates, strata, ties, confidence):
        self._ties, self.confidence = ties, confidence
        self._times, self._events, self._strata = times, events, strata_codes(rows, strata)
        base = np.equal.outer(self._strata, np.unique(self._strata)).astype(float)
        self._columns = ArmDesign(rows, arm, arms, covariates, base)
        # Centred, which leaves the partial likelihood as it is and keeps its exponentials small.
        self._matrix = self._columns.matrix - self._columns.matrix.mean(axis=0)
        self._names = self._columns.names
        self.n, self.events = len(times), int(events.sum())
        everything = range(len(self._names))
        self._beta, self.loglik = self._maximum(everything)
        self._vcov = np.linalg.inv(self._model(everything)[1](self._beta))
        self.loglik_null = self._model(everything)[2](np.zeros(len(self._names)))

    def _model(self, columns):
        """Score, information and log-likelihood of some columns, by statsmodels' PHReg."""
        from statsmodels.duration.hazard_regression import PHReg

        model = PHReg(
            self._times,
            self._matrix[:, list(columns)],
            status=self._events,
            strata=self._strata,
            ties=self._ties,
        )
        return model.score, lambda beta: -model.hessian(beta), model.loglike

    def _maximum(self, columns):
        """Maximise by Newton's method from 0 with halved steps: coefficients, log-likelihood."""
        score, information, loglike = self._model(columns)
        matrix = self._matrix[:, list(columns)]
        beta = np.zeros(matrix.shape[1])
        value = loglike(beta)
        converged = False
        # A linear predictor that spans 300 is on its way to infinity.
        for _ in range(200):
            if converged or np.ptp(matrix @ beta) > 300:
                break
            step = np.linalg.lstsq(information(beta), score(beta), rcond=None)[0]
            step *= min(1.0, 5 / max(np.abs(matrix @ step).max(), 1e-300))
            for _ in range(40):
                new = loglike(beta + step)
                if new >= value - 1e-12 * abs(value):
                    break
                step = step / 2
            beta, value = beta + step, new
            converged = np.abs(matrix @ step).max() < 1e-9
        # Where the likelihood rises for ever the information dies away: a standard error of 100
        # for the log hazard ratio of one standard deviation says that nothing is estimated.
        scale = matrix.std(axis=0)
        size = np.abs(beta) * scale
        lost = size >= size.max()
        if converged:
            values, vectors = np.linalg.eigh(information(beta) * np.outer(scale, scale))
            with np.errstate(divide="ignore"):
                lost = ~(vectors**2 @ (1 / np.maximum(values, 0)) < 1e4)
        if lost.any():
            names = [self._names[i] for i, gone in zip(columns, lost, strict=True) if gone]
            raise NotEstimableError(
                f"{', '.join(names)} has no finite estimate "
                "(no event on one side, or no variation among those at risk)"
            )
        return beta, value

    def _table(self, indices):
        se = np.sqrt(np.diag(self._vcov))[indices]
        estimate = self._beta[indices]
        found = inference(estimate, se, np.inf, self.confidence)
        return {
            "estimate": estimate,
            "se": se,
            **found,
            "hazard_ratio": np.exp(estimate),
            "hr_ci_low": np.exp(found["ci_low"]),
            "hr_ci_high": np.exp(found["ci_high"]),
        }

    @property
    def coefficients(self):
        """Coefficients of the model."""
        return pd.DataFrame({"term": self._names, **self._table(range(len(self._names)))})

    @property
    def contrasts(self):
        """Every arm against the reference."""
        counts = self._columns.per_arm(events=self._events.astype(int))
        return pd.DataFrame(
            {
                "contrast": counts.pop("contrast"),
                **self._table(self._columns.arm_columns),
                "n": self.n,
                **counts,
            }
        )

    @property
    def tests(self):
        """Tests of the whole model and of the arms."""
        rows = []
        everything = list(range(len(self._names)))
        score, information, _ = self._model(everything)
        for name, tested in (("model", everything), ("arm", self._columns.arm_columns)):
            others = [i for i in everything if i not in tested]
            null, loglik = np.zeros(len(everything)), self.loglik_null
            if others:
                null[others], loglik = self._maximum(others)
            beta = self._beta[tested]
            u = score(null)
            found = {
                "likelihood ratio": 2 * (self.loglik - loglik),
                "wald": beta @ np.linalg.solve(self._vcov[np.ix_(tested, tested)], beta),
                "score": u @ np.linalg.solve(information(null), u),
            }
            rows += [
                {
                    "of": name,
                    "test": test,
                    "statistic": float(value),
                    "df": len(tested),
                    "p": stats.chi2.sf(value, len(tested)),
                }
                for test, value in found.items()
            ]
        return pd.DataFrame(rows)

    def proportional_hazards(self, transform="km"):
        """Test whether coefficients change with time.

        Parameters
        ----------
        transform : {"km", "identity", "log", "rank"}
            Function g of time: 1 minus the Kaplan-Meier estimate just before, time itself, its
            logarithm, its rank.

        Returns
        -------
        DataFrame
            term (a factor is one term; last GLOBAL) statistic df p.

        Notes
        -----
        Score test of an added term x g(t) (Grambsch & Therneau 1994, exact information). R:
        ``survival::cox.zph`` from version 3; earlier versions, and SAS' ZPH option, approximate
        the information by its mean and differ.
        """
        require_choice(transform, ("km", "identity", "log", "rank"), "transform", "cox")
        scale = {
            "km": self._left_km,
            "identity": lambda: self._times,
            "log": lambda: np.log(self._times),
            "rank": lambda: stats.rankdata(self._times),
        }[transform]()
        scale = scale - scale[self._events == 1].mean()
        k = len(self._names)
        u, information = np.zeros(2 * k), np.zeros((2 * k, 2 * k))
        for g, residual, variance in self._event_times(scale):
            u[k:] += g * residual
            information += np.kron([[1, g], [g, g * g]], variance)
        terms = list(dict.fromkeys(self._columns.terms))
        groups = [[i for i, t in enumerate(self._columns.terms) if t == term] for term in terms]
        rows = []
        for term, columns in [*zip(terms, groups, strict=True), ("GLOBAL", range(k))]:
            part = [*range(k), *(k + i for i in columns)]
            value = u[part] @ np.linalg.solve(information[np.ix_(part, part)], u[part])
            df = len(columns)
            rows.append({"term": term, "statistic": value, "df": df, "p": stats.chi2.sf(value, df)})
        return pd.DataFrame(rows)

    def _left_km(self):
        curve = Curve(self._times, self._events)
        return 1 - np.r_[1.0, curve.survival][np.searchsorted(curve.time, self._times)]

    def _event_times(self, scale):
        """Yield g, sum of residuals and variance of the covariates for each time of an event."""
        x = self._matrix
        weight = np.exp(x @ self._beta)
        for stratum in np.unique(self._strata):
            inside = self._strata == stratum
            for moment in np.unique(self._times[inside & (self._events == 1)]):
                risk = inside & (self._times >= moment)
                dying = inside & (self._times == moment) & (self._events == 1)
                d = int(dying.sum())
                # Efron: the j-th of d tied events sees the others with weight 1 - j / d.
                removed = np.arange(d) / d if self._ties == "efron" else np.zeros(d)
                residual, variance = x[dying].sum(axis=0), 0.0
                for share in removed:
                    w = weight * risk - share * weight * dying
                    mean = w @ x / w.sum()
                    residual = residual - mean
                    variance = variance + (x.T * w) @ x / w.sum() - np.outer(mean, mean)
                yield scale[dying][0], residual, variance


def cox(
    data,
    time,
    event,
    arm,
    covariates=(),
    strata=None,
    ties="efron",
    reference=None,
    confidence=0.95,
):
    """Compare arms by Cox' proportional hazards regression.

    Parameters
    ----------
    data : DataFrame
        One row a patient; rows without arm, covariates or strata are left out.
    time, event, arm : str
        As `kaplan_meier`.
    covariates : sequence of str
        Numbers enter as they are, text and categories as factors.
    strata : str or sequence of str, optional
        A baseline hazard for each combination.
    ties : {"efron", "breslow"}
        R's default; SAS' default.
    reference : str, optional
        Arm that the others are compared with; the first level when not given.
    confidence : float

    Returns
    -------
    Cox
        ``.contrasts``, ``.coefficients``, ``.tests``, ``.proportional_hazards()``.

    Raises
    ------
    ValueError
        As `kaplan_meier`; and for one arm only, no event or none in an arm, an arm aliased with
        the covariates or strata, a covariate whose hazard ratio has no finite estimate.

    Notes
    -----
    The partial likelihood is statsmodels' PHReg, maximised here to machine precision. R:
    ``survival::coxph``; SAS: PROC PHREG.
    """
    who = "cox"
    require_confidence(confidence, who)
    require_choice(ties, ("efron", "breslow"), "ties", who)
    covariates, strata = list(dict.fromkeys(listed(covariates))), listed(strata)
    samples(data, time, event, arm, who)
    used, arms = prepare(data, [time, event], arm, covariates, strata, reference, who)
    used, times, events = samples(used, time, event, arm, who)
    empty = [str(name) for name in arms if not events[(used[arm] == name).to_numpy()].any()]
    if empty:
        raise ValueError(
            f"{who}: {event!r} has no event in {arm} {', '.join(empty)}: "
            "the hazard ratio has no finite estimate"
        )
    try:
        fit = Cox(used, times, events, arm, arms, covariates, strata, ties, confidence)
    except NotEstimableError as error:
        raise ValueError(f"{who} of {time}: not estimable: {error}") from error
    if fit._columns.dropped:
        warnings.warn(
            f"{who} of {time}: {', '.join(fit._columns.dropped)} is aliased and left out",
            stacklevel=2,
        )
    return fit
