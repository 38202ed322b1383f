"""Binary endpoints: odds ratios, and risk differences and ratios standardised over covariates."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats
from scipy.special import expit

from lungitude.statistics.ancova import NotEstimableError
from lungitude.statistics.arm_design import (
    ArmDesign,
    centred,
    fit_strata,
    prepare,
    stack,
    unbounded,
    zero_one,
)
from lungitude.statistics.frames import require_choice, require_confidence
from lungitude.statistics.linear import inference, listed


class LogisticFit:
    """One fitted model; `penalised` tells whether it is Firth's."""

    def __init__(self, rows, response, arm, arms, covariates, options):
        self.confidence, self.test = options["confidence"], options["test"]
        self.y = zero_one(rows[response], response, "logistic")
        self.arm, self.messages = arm, []
        if np.ptp(self.y) == 0:
            raise NotEstimableError(f"{response} is {self.y[0]:g} in all {len(self.y)} rows")
        self.columns = ArmDesign(rows, arm, arms, covariates)
        self.matrix, self.names = self.columns.matrix, self.columns.names
        n, k = self.matrix.shape
        if n <= k:
            raise NotEstimableError(f"{n} patients for {k} model terms")
        if self.columns.dropped:
            self.messages.append(f"{', '.join(self.columns.dropped)} is aliased and left out")
        self.penalised = options["method"] == "firth"
        if not self.penalised:
            self.beta, self.loglik, done = self._likelihood()
            if not done or np.abs(self.matrix @ self.beta).max() > 10:
                self._separation(response, options["separation"])
        if self.penalised:
            self.beta, self.loglik = _firth(self.matrix, self.y)
        self.test = self.test or ("lr" if self.penalised else "wald")
        p = expit(self.matrix @ self.beta)
        self.vcov = np.linalg.inv((self.matrix.T * (p * (1 - p))) @ self.matrix)
        self._standardise(options["variance"])

    def _likelihood(self, fixed=None, value=0.0):
        """Maximum likelihood, with one coefficient fixed or none: beta, log-likelihood, done."""
        import statsmodels.api as sm

        free = [i for i in range(self.matrix.shape[1]) if i != fixed]
        offset = None if fixed is None else self.matrix[:, fixed] * value
        model = sm.GLM(self.y, self.matrix[:, free], sm.families.Binomial(), offset=offset)
        with warnings.catch_warnings():
            # Separation is found by the caller, exactly; the hints of the fit are not needed.
            warnings.simplefilter("ignore")
            fit = model.fit(maxiter=60, tol=1e-11, tol_criterion="params")
            return fit.params, fit.llf, fit.converged

    def _separation(self, response, choice):
        signed = centred(self.matrix) * (2 * self.y - 1)[:, None]
        terms = unbounded(self.names, signed)
        if not terms:
            return
        same = [
            f"{self.arm} {name}"
            for i, name in enumerate(self.columns.arms)
            if np.ptp(self.y[self.columns.codes == i]) == 0
        ]
        why = f"; {response} is the same in all of {', '.join(same)}" if same else ""
        if choice == "error":
            raise NotEstimableError(
                f"the data are separated, {', '.join(terms)} has no finite estimate{why} "
                "(separation='firth' fits Firth's penalised likelihood)"
            )
        self.penalised = True
        self.messages.append(
            f"the data are separated by {', '.join(terms)}{why}; Firth's penalised likelihood"
        )

    def _standardise(self, variance):
        """Mean risk over all rows with every row in one arm, and its covariance."""
        columns, n = self.columns, len(self.y)
        sizes = np.bincount(columns.codes)
        matrices = [columns.with_arm(i) for i in range(len(columns.arms))]
        p = np.column_stack([expit(matrix @ self.beta) for matrix in matrices])
        self.risk = p.mean(axis=0)
        if variance == "ye":
            if sizes.min() < 2:
                raise NotEstimableError(f"variance 'ye' needs two patients in every {self.arm}")
            self.risk_cov = _ye(self.y, p, columns.codes, sizes / n) / n
            return
        vcov = self.vcov
        if variance == "HC0":
            scores = self.matrix * (self.y - expit(self.matrix @ self.beta))[:, None]
            vcov = vcov @ (scores.T @ scores) @ vcov
        slope = np.vstack(
            [(q * (1 - q)) @ matrix / n for q, matrix in zip(p.T, matrices, strict=True)]
        )
        self.risk_cov = slope @ vcov @ slope.T

    def _profile(self, index):
        """Test and interval of one coefficient by the (penalised) likelihood ratio."""
        limit = stats.chi2.ppf(self.confidence, 1)
        estimate = self.beta[index]
        se = np.sqrt(self.vcov[index, index])

        def drop(value):
            if self.penalised:
                found = _firth(self.matrix, self.y, index, value)[1]
            else:
                found = self._likelihood(index, value)[1]
            return 2 * (self.loglik - found)

        ends = []
        for side in (-1, 1):
            far = 2.0
            try:
                while far < 1000 and drop(estimate + side * far * se) < limit:
                    far *= 1.5
            except NotEstimableError:  # so far out that the likelihood is flat
                far = np.inf
            ends.append(
                side * np.inf
                if far >= 1000
                else optimize.brentq(
                    lambda value: drop(value) - limit, estimate, estimate + side * far * se
                )
            )
        ratio = max(drop(0.0), 0.0)
        return {
            "statistic": np.sign(estimate) * np.sqrt(ratio),
            "p": stats.chi2.sf(ratio, 1),
            "ci_low": ends[0],
            "ci_high": ends[1],
        }

    def linear(self, indices):
        """Estimate se statistic p ci_low ci_high of some coefficients."""
        se = np.sqrt(np.diag(self.vcov))[indices]
        estimate = self.beta[indices]
        if self.test == "wald":
            tested = inference(estimate, se, np.inf, self.confidence)
        else:
            tested = pd.DataFrame([self._profile(i) for i in indices]).to_dict("series")
        return {"estimate": estimate, "se": se, **tested}

    @property
    def coefficients(self):
        """Log odds: term estimate se statistic p ci_low ci_high."""
        return pd.DataFrame({"term": self.names, **self.linear(range(len(self.names)))})

    @property
    def risks(self):
        """Standardised risk of each arm, with the patients and events that it had."""
        se = np.sqrt(np.diag(self.risk_cov))
        found = inference(self.risk, se, np.inf, self.confidence)
        codes = self.columns.codes
        return pd.DataFrame(
            {
                self.arm: self.columns.arms,
                "estimate": self.risk,
                "se": se,
                "ci_low": found["ci_low"],
                "ci_high": found["ci_high"],
                "n": np.bincount(codes),
                "events": np.bincount(codes, self.y).astype(int),
            }
        )

    @property
    def contrasts(self):
        """Every arm against the reference."""
        log_odds = self.linear(self.columns.arm_columns)
        counts = self.columns.per_arm(events=self.y.astype(int))
        variance = np.diag(self.risk_cov)
        shared = self.risk_cov[1:, 0]
        one, zero = self.risk[1:], self.risk[0]
        rd_se = np.sqrt(variance[1:] + variance[0] - 2 * shared)
        rd = inference(one - zero, rd_se, np.inf, self.confidence)
        rr_se = np.sqrt(variance[1:] / one**2 + variance[0] / zero**2 - 2 * shared / (one * zero))
        rr = inference(np.log(one / zero), rr_se, np.inf, self.confidence)
        return pd.DataFrame(
            {
                "contrast": counts.pop("contrast"),
                **log_odds,
                "odds_ratio": np.exp(log_odds["estimate"]),
                "or_ci_low": np.exp(log_odds["ci_low"]),
                "or_ci_high": np.exp(log_odds["ci_high"]),
                "risk_difference": one - zero,
                "rd_se": rd_se,
                "rd_p": rd["p"],
                "rd_ci_low": rd["ci_low"],
                "rd_ci_high": rd["ci_high"],
                "risk_ratio": one / zero,
                "rr_p": rr["p"],
                "rr_ci_low": np.exp(rr["ci_low"]),
                "rr_ci_high": np.exp(rr["ci_high"]),
                "n": len(self.y),
                **counts,
            }
        )


def _firth(matrix, y, fixed=None, value=0.0):
    """Maximise Firth's penalised likelihood l + log|I| / 2, one coefficient fixed or none.

    The penalty has all columns also when one is fixed (Heinze & Schemper 2002, section 2.2).
    """
    k = matrix.shape[1]
    free = np.array([i for i in range(k) if i != fixed])
    beta = np.zeros(k)
    if fixed is not None:
        beta[fixed] = value

    def penalised(beta):
        eta = matrix @ beta
        p = expit(eta)
        root = matrix * np.sqrt(p * (1 - p))[:, None]
        penalty = np.log(np.abs(np.diag(np.linalg.qr(root, mode="r")))).sum()
        return y @ eta - np.logaddexp(0, eta).sum() + penalty, p, root

    loglik, p, root = penalised(beta)
    for _ in range(500):
        q, r = np.linalg.qr(root)
        leverage = np.einsum("ij,ij->i", q, q)
        score = matrix.T @ (y - p + leverage * (0.5 - p))
        step = np.zeros(k)
        step[free] = np.linalg.solve((r.T @ r)[np.ix_(free, free)], score[free])
        # A step of the linear predictor beyond 5 leaves the range where the quadratic holds.
        step *= min(1.0, 5 / max(np.abs(matrix @ step).max(), 1e-300))
        for _ in range(30):
            new = penalised(beta + step)
            if new[0] >= loglik - 1e-10 * abs(loglik):
                break
            step /= 2
        beta = beta + step
        loglik, p, root = new
        if np.abs(matrix @ step).max() < 1e-11:
            return beta, loglik
    raise NotEstimableError("Firth's penalised likelihood did not converge in 500 steps")


def _ye(y, p, codes, share):
    """Covariance (times n) of standardised means by Ye et al. (2023), as RobinCar decomposes it."""
    arms = range(p.shape[1])
    cross = np.array([[_cov(y[codes == i], p[codes == i, j]) for j in arms] for i in arms])
    spread = np.cov(p, rowvar=False)
    found = cross + cross.T - spread
    for i in arms:
        residual = np.var(y[codes == i], ddof=1) - 2 * cross[i, i] + spread[i, i]
        found[i, i] += residual / share[i]
    return found


def _cov(x, y):
    return np.cov(x, y)[0, 1]


@dataclass
class Logistic:
    """Result of `logistic`: frames `contrasts`, `risks` and `coefficients`, fits by stratum."""

    contrasts: pd.DataFrame
    risks: pd.DataFrame
    coefficients: pd.DataFrame
    fits: dict


def logistic(
    data,
    response,
    arm,
    covariates=(),
    reference=None,
    by=None,
    confidence=0.95,
    method="ml",
    separation="error",
    test=None,
    variance="model",
):
    """Compare a binary endpoint between arms by logistic regression.

    Parameters
    ----------
    data : DataFrame
        One row a patient; rows with a missing value in a used column are left out.
    response, arm : str
        Endpoint, 0 or 1; column of arms.
    covariates : sequence of str
        Numbers enter as they are, text and categories as factors.
    reference : str, optional
        Arm that the others are compared with; the first level when not given.
    by : str, optional
        Column of strata: each has a fit of its own. A stratum that can't be fitted gives NaN rows
        and a warning.
    confidence : float
    method : {"ml", "firth"}
        Maximum likelihood, or Firth's penalised likelihood for every fit.
    separation : {"error", "firth"}
        What to do where the data are separated, so that an odds ratio has no finite estimate:
        raise, or fall back to Firth's penalised likelihood with a warning.
    test : {None, "wald", "lr"}
        Tests and intervals of log odds: Wald, or likelihood ratio and profile likelihood
        (statistic is then the signed root). None is wald for maximum likelihood and lr for
        Firth's fits, whose Wald intervals are unfit under separation.
    variance : {"model", "HC0", "ye"}
        Variance of the standardised risks. model: delta method with the inverse information (Ge
        et al. 2011); HC0: delta method with the sandwich. Both take the covariates as fixed. ye:
        Ye et al. (2023), which counts the sampling of covariates and holds when the model is
        wrong (simple randomisation; conservative for stratified blocks).

    Returns
    -------
    Logistic
        ``.contrasts``: contrast [by] estimate (log odds ratio, conditional on the covariates) se
        statistic p ci_low ci_high odds_ratio or_ci_low or_ci_high risk_difference rd_se rd_p
        rd_ci_low rd_ci_high risk_ratio rr_p rr_ci_low rr_ci_high n n_arm n_reference events_arm
        events_reference; ``.risks``: arm [by] estimate se ci_low ci_high n events;
        ``.coefficients``: term [by] estimate se statistic p ci_low ci_high.

    Raises
    ------
    ValueError
        For unknown columns, a response that is not 0 or 1 or is constant, one arm only, an arm
        aliased with covariates, too few patients, separated data (naming the terms).

    Notes
    -----
    Risks are standardised (g-computation, FDA 2023): the mean over all rows of the predicted risk
    with every row in the arm; without covariates they are the observed shares. Intervals of the
    ratio are on the log scale. The standard error of Firth's estimates is from the information
    (Heinze & Schemper 2002; SAS), not of the augmented data as in R's logistf since 1.24.1.

    R: ``glm(family = binomial)``, ``confint``, ``logistf::logistf``,
    ``beeca::get_marginal_effect``, ``RobinCar::robincar_glm``. SAS: PROC LOGISTIC (CLPARM=PL,
    FIRTH), %Margins. statsmodels has no Firth fit and no standardised risks with these variances.
    """
    who = "logistic"
    require_confidence(confidence, who)
    require_choice(method, ("ml", "firth"), "method", who)
    require_choice(separation, ("error", "firth"), "separation", who)
    require_choice(test, (None, "wald", "lr"), "test", who)
    require_choice(variance, ("model", "HC0", "ye"), "variance", who)
    covariates = list(dict.fromkeys(listed(covariates)))
    used, arms = prepare(data, [response], arm, covariates, listed(by), reference, who)
    zero_one(used[response], response, who)
    options = {
        "confidence": confidence,
        "method": method,
        "separation": separation,
        "test": test,
        "variance": variance,
    }
    fits = fit_strata(
        used,
        by,
        lambda part: LogisticFit(part, response, arm, arms, covariates, options),
        f"logistic of {response}",
    )
    contrasts = {"contrast": [f"{name} - {arms[0]}" for name in arms[1:]]}
    return Logistic(
        stack(fits, by, lambda fit: fit.contrasts, contrasts),
        stack(fits, by, lambda fit: fit.risks, {arm: arms}),
        stack(fits, by, lambda fit: fit.coefficients, {"term": []}),
        fits,
    )
