"""Counts and rates: Poisson and negative binomial regression with an exposure."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats
from scipy.special import digamma, polygamma

from lungitude.statistics.ancova import NotEstimableError
from lungitude.statistics.arm_design import (
    ArmDesign,
    centred,
    fit_strata,
    prepare,
    stack,
    unbounded,
)
from lungitude.statistics.frames import numbers, require_choice, require_confidence
from lungitude.statistics.linear import inference, listed

SMALLEST = 1e-6  # dispersion times the largest mean below which it is none


class CountFit:
    """One fitted model; `family` is the one that was fitted."""

    def __init__(self, rows, response, arm, arms, covariates, exposure, options):
        self.confidence, self.arm, self.messages = options["confidence"], arm, []
        self.y = counts(rows[response], response)
        if not self.y.any():
            raise NotEstimableError(f"{response} is 0 in all {len(self.y)} rows")
        self.exposure = np.ones(len(self.y)) if exposure is None else positive(rows, exposure)
        self.columns = ArmDesign(rows, arm, arms, covariates)
        self.matrix, self.names = self.columns.matrix, self.columns.names
        n, k = self.matrix.shape
        if n <= k:
            raise NotEstimableError(f"{n} patients for {k} model terms")
        if exposure is None and np.ptp(self.y) == 0:
            raise NotEstimableError(f"{response} is {self.y[0]:g} in all {n} rows")
        if self.columns.dropped:
            self.messages.append(f"{', '.join(self.columns.dropped)} is aliased and left out")
        self._finite(response)
        self.offset = np.log(self.exposure)
        self.family, self.alpha = options["family"], 0.0
        self.beta, self.mu = self._given(0.0)
        if self.family == "negative-binomial":
            self._disperse()
        self.vcov, self.theta_se = self._covariance(options["information"])
        self.loglik = self._loglik()

    def _finite(self, response):
        """Refuse data in which a rate goes to 0: the events leave a direction without limit."""
        events = np.bincount(self.columns.codes, self.y)
        empty = [
            f"{self.arm} {name}" for name, e in zip(self.columns.arms, events, strict=True) if not e
        ]
        scaled = centred(self.matrix)
        terms = (
            [] if self.y.all() else unbounded(self.names, -scaled[self.y == 0], scaled[self.y > 0])
        )
        if empty or terms:
            why = f"; {response} has no event in {', '.join(empty)}" if empty else ""
            raise NotEstimableError(f"{', '.join(terms)} has no finite estimate{why}")

    def _given(self, alpha):
        """Coefficients and means by maximum likelihood for a given dispersion."""
        import statsmodels.api as sm

        family = sm.families.Poisson()
        if alpha > 0:
            family = sm.families.NegativeBinomial(alpha=alpha)
        model = sm.GLM(self.y, self.matrix, family, offset=self.offset)
        fit = model.fit(maxiter=200, tol=1e-12, tol_criterion="params")
        if not fit.converged:
            raise NotEstimableError("the likelihood did not converge in 200 steps")
        return fit.params, fit.mu

    def _disperse(self):
        """Root of the profile score of the dispersion; none means a maximum at 0: Poisson."""

        def score(log_alpha):
            theta = np.exp(-log_alpha)
            mu = self._given(1 / theta)[1]
            parts = digamma(self.y + theta) - digamma(theta) - np.log1p(mu / theta)
            return -float((parts + (mu - self.y) / (mu + theta)).sum())

        start = np.log(SMALLEST / self.mu.max())
        # At dispersion 0 the score is half of sum((y - mu)^2 - y).
        if ((self.y - self.mu) ** 2 - self.y).sum() <= 0 or score(start) <= 0:
            self.messages.append("no overdispersion, the dispersion is 0: Poisson")
            self.family = "poisson"
            return
        high = next(a for a in start + np.arange(2, 100, 2.0) if score(a) <= 0)
        log_alpha = optimize.brentq(score, high - 2, high, xtol=1e-13, rtol=1e-14)
        self.alpha = float(np.exp(log_alpha))
        self.beta, self.mu = self._given(self.alpha)

    def _loglik(self):
        if not self.alpha:
            return float(stats.poisson.logpmf(self.y, self.mu).sum())
        theta = 1 / self.alpha
        return float(stats.nbinom.logpmf(self.y, theta, theta / (theta + self.mu)).sum())

    def _covariance(self, information):
        """Covariance of the coefficients, and standard error of theta (Lawless 1987)."""
        y, mu, x = self.y, self.mu, self.matrix
        expected = np.linalg.inv((x.T * (mu / (1 + self.alpha * mu))) @ x)
        if not self.alpha:
            return expected, np.nan  # Poisson with a log link: expected is observed
        theta = 1 / self.alpha
        total = theta + mu
        of_theta = -(
            polygamma(1, y + theta)
            - polygamma(1, theta)
            + 1 / theta
            - 2 / total
            + (y + theta) / total**2
        ).sum()
        if information == "expected":
            return expected, float(1 / np.sqrt(of_theta))
        shared = -((y - mu) * mu / total**2) @ x
        own = (x.T * (mu * theta * (theta + y) / total**2)) @ x
        joint = np.linalg.inv(np.block([[own, shared[:, None]], [shared[None], of_theta]]))
        return joint[:-1, :-1], float(np.sqrt(joint[-1, -1]))

    def linear(self, rows):
        """Linear functions of the coefficients: estimate se statistic p ci_low ci_high."""
        estimate = rows @ self.beta
        se = np.sqrt(np.einsum("ij,jk,ik->i", rows, self.vcov, rows))
        return {
            "estimate": estimate,
            "se": se,
            **inference(estimate, se, np.inf, self.confidence),
        }

    @property
    def coefficients(self):
        """Log rates: term estimate se statistic p ci_low ci_high."""
        return pd.DataFrame({"term": self.names, **self.linear(np.eye(len(self.names)))})

    @property
    def rates(self):
        """Adjusted rate of each arm, with its patients, events, exposure and crude rate."""
        columns = self.columns
        rows = np.array([columns.design.mean_row({self.arm: name}) for name in columns.arms])
        found = self.linear(rows[:, columns.kept])
        n = np.bincount(columns.codes)
        events = np.bincount(columns.codes, self.y)
        time = np.bincount(columns.codes, self.exposure)
        return pd.DataFrame(
            {
                self.arm: columns.arms,
                "rate": np.exp(found["estimate"]),
                "log_se": found["se"],
                "ci_low": np.exp(found["ci_low"]),
                "ci_high": np.exp(found["ci_high"]),
                "n": n,
                "events": events.astype(int),
                "exposure": time,
                "crude_rate": events / time,
            }
        )

    @property
    def dispersion(self):
        """Dispersion alpha of the variance mu + alpha mu^2, and theta, its inverse."""
        theta = 1 / self.alpha if self.alpha else np.inf
        relative = self.theta_se / theta if self.alpha else np.nan
        spread = np.exp(stats.norm.ppf(0.5 + self.confidence / 2) * relative)
        return pd.DataFrame(
            [
                {
                    "family": self.family,
                    "alpha": self.alpha,
                    "se": self.alpha * relative,
                    "ci_low": self.alpha / spread,
                    "ci_high": self.alpha * spread,
                    "theta": theta,
                    "theta_se": self.theta_se,
                    "loglik": self.loglik,
                }
            ]
        )

    @property
    def contrasts(self):
        """Every arm against the reference."""
        columns = self.columns
        found = self.linear(np.eye(len(self.names))[columns.arm_columns])
        per_arm = columns.per_arm(events=self.y.astype(int), exposure=self.exposure)
        return pd.DataFrame(
            {
                "contrast": per_arm.pop("contrast"),
                **found,
                "rate_ratio": np.exp(found["estimate"]),
                "rr_ci_low": np.exp(found["ci_low"]),
                "rr_ci_high": np.exp(found["ci_high"]),
                "n": len(self.y),
                **per_arm,
            }
        )


def counts(column, name):
    """Return a column of whole numbers from 0 as float64; anything else is refused."""
    values = numbers(column, name, "count_model")
    if (values < 0).any():
        raise ValueError(
            f"count_model: column {name!r} holds {int((values < 0).sum())} negative counts"
        )
    if (values % 1 != 0).any():
        count = int((values % 1 != 0).sum())
        raise ValueError(f"count_model: column {name!r} holds {count} fractions, counts are needed")
    return values


def positive(rows, name):
    """Return an exposure as float64; times of 0 and below are refused."""
    values = numbers(rows[name], name, "count_model")
    if (values <= 0).any():
        count = int((values <= 0).sum())
        raise ValueError(f"count_model: exposure {name!r} is 0 or below in {count} rows")
    return values


@dataclass
class Counts:
    """Result of `count_model`: frames, and fits by stratum."""

    contrasts: pd.DataFrame
    rates: pd.DataFrame
    dispersion: pd.DataFrame
    coefficients: pd.DataFrame
    fits: dict


def count_model(
    data,
    response,
    arm,
    covariates=(),
    exposure=None,
    family="negative-binomial",
    reference=None,
    by=None,
    confidence=0.95,
    information="expected",
):
    """Compare counts of events, or rates per time, between arms.

    Parameters
    ----------
    data : DataFrame
        One row a patient; rows with a missing value in a used column are left out.
    response, arm : str
        Count of events (0, 1, 2, ...); column of arms.
    covariates : sequence of str
        Numbers enter as they are, text and categories as factors.
    exposure : str, optional
        Time at risk, above 0; its log is the offset. The unit of the rates is its unit: years
        give rates per patient-year. Without it every patient counts as 1.
    family : {"negative-binomial", "poisson"}
        Variance mu + alpha mu^2 (NB2) or mu.
    reference : str, optional
        Arm that the others are compared with; the first level when not given.
    by : str, optional
        Column of strata: each has a fit and a dispersion of its own. A stratum that can't be
        fitted gives NaN rows and a warning.
    confidence : float
    information : {"expected", "observed"}
        Information behind the standard errors: expected with the dispersion as known, as R's
        glm.nb, or observed, jointly with the dispersion, as SAS.

    Returns
    -------
    Counts
        ``.contrasts``: contrast [by] estimate (log rate ratio) se statistic p ci_low ci_high
        rate_ratio rr_ci_low rr_ci_high n n_arm n_reference events_arm events_reference
        exposure_arm exposure_reference; ``.rates``: arm [by] rate (factors weighted equally,
        covariates at their mean) log_se ci_low ci_high n events exposure crude_rate;
        ``.dispersion``: family [by] alpha se ci_low ci_high theta theta_se loglik;
        ``.coefficients``: term [by] estimate se statistic p ci_low ci_high.

    Raises
    ------
    ValueError
        For unknown columns, negative or fractional counts, an exposure of 0 or below, counts
        that are all 0 or 0 in one arm, one arm only, an arm aliased with covariates.

    Notes
    -----
    Maximum likelihood: coefficients by statsmodels' GLM for a given dispersion, the dispersion by
    the root of its profile score, because the joint optimisers of statsmodels' NegativeBinomial
    stop at 4 to 6 digits. Where the likelihood is largest at a dispersion of 0 the fit is Poisson,
    with a warning. The interval of alpha is on the log scale.

    R: ``MASS::glm.nb`` (theta = 1 / alpha), ``glm(family = poisson)``, ``emmeans``. SAS: PROC
    GENMOD DIST=NEGBIN (dispersion k = alpha), LSMEANS.
    """
    who = "count_model"
    require_confidence(confidence, who)
    require_choice(family, ("negative-binomial", "poisson"), "family", who)
    require_choice(information, ("expected", "observed"), "information", who)
    covariates = list(dict.fromkeys(listed(covariates)))
    needed = [response, *listed(exposure)]
    used, arms = prepare(data, needed, arm, covariates, listed(by), reference, who)
    counts(used[response], response)
    if exposure is not None:
        positive(used, exposure)
    options = {"confidence": confidence, "family": family, "information": information}
    fits = fit_strata(
        used,
        by,
        lambda part: CountFit(part, response, arm, arms, covariates, exposure, options),
        f"count_model of {response}",
    )
    contrasts = {"contrast": [f"{name} - {arms[0]}" for name in arms[1:]]}
    return Counts(
        stack(fits, by, lambda fit: fit.contrasts, contrasts),
        stack(fits, by, lambda fit: fit.rates, {arm: arms}),
        stack(fits, by, lambda fit: fit.dispersion, {"family": [family]}),
        stack(fits, by, lambda fit: fit.coefficients, {"term": []}),
        fits,
    )
