"""The values of a synthetic cohort: from normal scores to what a device prints."""

import dataclasses
import hashlib
import math

import numpy as np
from scipy.special import expit, logit

from lungitude.phantom import copula, model

# An arm with fewer patients can't be made to print a mean and SD: it keeps what it drew.
FIT_FROM = 30
# Rounding moves the mean and SD of a characteristic; one that prints with one decimal may be
# this far from its target.
NEAR = 0.04


def stream(seed, name):
    """Random generator keyed by name, so that a new part of the draw changes none of the others."""
    digest = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence([int(seed), *digest.tolist()]))


@dataclasses.dataclass
class Scores:
    """Normal scores behind the values: of the patients, their visits, and their drift."""

    patient: np.ndarray
    visit: np.ndarray
    drift: np.ndarray


def scores(trial, seed, level):
    """Draw the uncorrelated normal scores of a cohort."""
    n, q, v = len(level), len(trial.drawn), len(trial.visits)
    patient = copula.stacked(stream(seed, "patients"), level, q)
    visit = stream(seed, "visits").standard_normal((n, v, q))
    return Scores(patient, visit, stream(seed, "drift").standard_normal((n, q)))


def _pairs(trial, groups):
    """Yield the positions of each pair of quantities, its number and its group."""
    for group in groups:
        for x, y, r in group["pairs"]:
            yield x, y, float(r), group


def _index(trial, name):
    if name not in trial.drawn:
        raise ValueError(f"correlations: {name} is not drawn; name a drawn quantity, or add 'via'")
    return trial.drawn.index(name)


def given(trial, section):
    """Return the correlation matrix of a section that is given as it is, and which entries are."""
    k = len(trial.drawn)
    matrix, fixed = np.eye(k), np.zeros((k, k), dtype=bool)
    for x, y, r, _ in _pairs(trial, trial.content["correlations"][section]):
        i, j = _index(trial, x), _index(trial, y)
        matrix[i, j] = matrix[j, i] = r
        fixed[i, j] = fixed[j, i] = True
    return matrix, fixed


def working(trial, name, values):
    """Return values on the scale on which their model is stated."""
    spec = trial.content["parameters"].get(name) or trial.content["latent"].get(name, {})
    return np.log1p(values) if spec.get("scale") == "log1p" else values


def residual_correlations(trial, level, arm, drawn):
    """Solve for the correlations within levels that give the pooled ones of the model.

    Parameters
    ----------
    trial : Model
    level, arm : ndarray of int, (n,)
        Of a cohort of full size: the yardstick, whatever the scale of the trial that is drawn.
    drawn : Scores
        Of the same cohort.

    Returns
    -------
    ndarray, (quantity, quantity)
    """
    matrix, fixed = given(trial, "within")
    wanted, moved, targets = [], [], []
    for x, y, r, group in _pairs(trial, trial.content["correlations"]["pooled"]):
        if group.get("check"):
            continue
        via_x, via_y, sign = group.get("via", (x, y, 1))
        moved.append((_index(trial, via_x), _index(trial, via_y), float(sign)))
        wanted.append((x, y))
        targets.append(r)

    def measure(found):
        _, exact, _ = realise(trial, level, arm, drawn, found)
        baseline = {name: working(trial, name, value[:, 0]) for name, value in exact.items()}
        return np.array([np.corrcoef(baseline[x], baseline[y])[0, 1] for x, y in wanted])

    return copula.solve(matrix, fixed, moved, np.array(targets), measure)


def realise(trial, level, arm, drawn, correlation):
    """Turn normal scores into characteristics and values.

    Parameters
    ----------
    trial : Model
    level, arm : ndarray of int, (n,)
    drawn : Scores
    correlation : ndarray, (quantity, quantity)
        Of the patients' scores, within levels.

    Returns
    -------
    characteristics : dict of str to ndarray, (n,)
    exact : dict of str to ndarray, (n, visit)
        All quantities with visits, before rounding.
    values : dict of str to ndarray, (n, visit)
        Parameters, rounded.
    """
    patient = drawn.patient @ np.linalg.cholesky(correlation).T
    noise = drawn.visit @ np.linalg.cholesky(copula.nearest(given(trial, "noise")[0])).T
    # Drift grows with time since baseline: nothing there, all of it at the last visit.
    days = np.array([visit["day"] for visit in trial.content["visits"]], dtype=float)
    time = (days - days[0]) / max(days[-1] - days[0], 1.0)

    characteristics, exact = {}, {}
    for q, name in enumerate(trial.drawn):
        spec = trial.spec(name)
        if "category" in spec:
            characteristics[name] = _category(trial, spec, arm, patient[:, q])
            continue
        own = _marginal(
            spec,
            trial.mean[q, level],
            trial.between[q, level],
            trial.bounds[q, level],
            patient[:, q],
        )
        if name not in trial.content["parameters"] and name not in trial.content["latent"]:
            low, high = trial.bounds[q, level].T
            characteristics[name] = _fitted(trial, spec, arm, own, low, high, spec["decimals"])
            continue
        change = trial.change[q, arm, :, level]
        value = (
            own[:, None]
            + change
            + noise[:, :, q] * trial.within[q, level][:, None]
            + drawn.drift[:, q][:, None] * trial.drift[q, level][:, None] * time
        )
        if spec.get("scale") == "log1p":
            value = np.expm1(value)
        exact[name] = np.clip(value, *trial.clip[q])

    for spec in trial.content["characteristics"].values():
        if "baseline_of" in spec:
            name = spec["baseline_of"]
            q = trial.drawn.index(name)
            low, high = trial.bounds[q, level].T
            baseline = np.clip(exact[name][:, 0], low + 0.01, high - 0.01)
            shift = _fitted(trial, spec, arm, baseline, low, high) - exact[name][:, 0]
            exact[name] = exact[name] + shift[:, None]
    for name, formula in trial.formulas.items():
        exact[name] = model.evaluate(formula, exact)

    values = _printed(trial, exact)
    for column, spec in trial.content["characteristics"].items():
        if "baseline_of" in spec:
            characteristics[column] = values[spec["baseline_of"]][:, 0]
        elif "category" not in spec:
            characteristics[column] = np.round(characteristics[column], spec["decimals"])
    return {c: characteristics[c] for c in trial.content["characteristics"]}, exact, values


def _marginal(spec, mean, sd, bounds, score):
    """Turn normal scores into values with a mean and SD, by the quantity's distribution."""
    kind = spec.get("marginal", "normal")
    if kind == "lognormal":
        log_sd = np.sqrt(np.log1p((sd / mean) ** 2))
        return mean * np.exp(log_sd * score - log_sd**2 / 2)
    if kind == "bounded":
        low, high = bounds.T
        slope = (high - low) / ((mean - low) * (high - mean))
        return low + (high - low) * expit(logit((mean - low) / (high - low)) + slope * sd * score)
    return mean + sd * score


def _category(trial, spec, arm, score):
    """Give the first value to the largest scores, as many in each arm as the model says."""
    first, second = spec["category"]
    found = np.full(len(arm), second, dtype=object)
    for a, code in enumerate(trial.arms):
        members = np.flatnonzero(arm == a)
        count = math.floor(spec["count"][code] * len(members) / trial.cells[a].sum() + 0.5)
        found[members[np.argsort(-score[members], kind="stable")[:count]]] = first
    return found


def _fitted(trial, spec, arm, values, low, high, decimals=None):
    """Move and stretch the values of each arm, between their bounds, to its target mean and SD.

    With `decimals` the rounded values have them, to within `NEAR`.
    """
    found = values.copy()
    for target in spec.get("target", []):
        members = arm == trial.arms.index(target["arm"])
        if members.sum() < FIT_FROM:
            continue
        own = values[members], low[members], high[members]
        wanted = np.array([target["mean"], target.get("sd", np.nan)])
        aim = wanted.copy()
        for _ in range(30):
            fitted = fit(*own, aim[0], None if np.isnan(aim[1]) else aim[1])
            if decimals is None:
                break
            fitted = np.round(fitted, decimals)
            gap = wanted - [fitted.mean(), fitted.std(ddof=1)]
            if np.nanmax(np.abs(gap)) < NEAR:
                break
            aim += gap / 2
        found[members] = fitted
    return found


def fit(values, low, high, mean, sd=None):
    """Move (and stretch) values between bounds until they have a mean (and SD).

    Parameters
    ----------
    values, low, high : ndarray, (n,)
        Strictly inside their bounds; order within equal bounds is kept.
    mean : float
    sd : float, optional
        Sample SD; None leaves the spread as it is.

    Returns
    -------
    ndarray, (n,)
    """
    score = logit((values - low) / (high - low))
    score_mean = score.mean()

    def moved(stretch):
        near, far = -30.0, 30.0
        for _ in range(45):
            shift = (near + far) / 2
            found = low + (high - low) * expit(score_mean + stretch * (score - score_mean) + shift)
            near, far = (shift, far) if found.mean() < mean else (near, shift)
        return found

    if sd is None:
        return moved(1.0)
    small, large = 0.05, 10.0
    for _ in range(40):
        stretch = (small + large) / 2
        small, large = (stretch, large) if moved(stretch).std(ddof=1) < sd else (small, stretch)
    return moved(stretch)


def _printed(trial, exact):
    """Round parameters as their device prints them; some are computed from printed ones."""
    specs = trial.content["parameters"]
    values = {
        name: np.round(exact[name], spec["sheet"]["DECIMALS"]) + 0.0 for name, spec in specs.items()
    }
    for name, spec in specs.items():
        if "printed" in spec:
            value = model.evaluate(spec["printed"], values)
            values[name] = np.round(value, spec["sheet"]["DECIMALS"]) + 0.0
    return values
