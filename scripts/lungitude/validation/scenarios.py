"""Simulated trials with a known truth, in scenarios and blocks.

Change of FEV1 (mL) at three visits given its baseline: normal, with variances that grow and
correlations of 0.45 to 0.7. Patients drop out at random given what was observed: the more likely,
the lower the last value, and much more steeply in the control arm, so that completers are no fair
comparison.
"""

import functools
import zlib
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

SEED = 20260101
LEVEL = 0.05
BASELINE = (1500.0, 450.0)  # mean, SD
CONTROL = np.array([-10.0, -30.0, -60.0])  # mean changes of the control arm
SLOPE = np.array([-0.04, -0.05, -0.06])  # of the change on the baseline
GROWTH = np.array([0.5, 0.8, 1.0])  # share of the effect that is there at each visit
EFFECT = 100.0  # at the last visit, of scenarios that have one
DEVIATION = np.array([120.0, 150.0, 180.0])
CORRELATION = np.array([[1, 0.65, 0.45], [0.65, 1, 0.7], [0.45, 0.7, 1]])
COVARIANCE = np.outer(DEVIATION, DEVIATION) * CORRELATION
STEEPNESS = np.array(
    [1.5, 0.3]
)  # log odds ratio of dropping out for each SD lower; control, active
VISITS = len(CONTROL)
NODES = 40  # of the quadrature in each of three dimensions

ENDPOINTS = 20
PER_ARM = 50  # of a trial with many endpoints
SHIFT = 0.6  # SD, of the endpoints that have an effect


@dataclass(frozen=True)
class Trial:
    """Two arms with `n` patients each; `kind` says what is done with the data."""

    kind: str
    n: int
    dropout: float
    effect: float

    @property
    def name(self):
        """Name in paths and tables."""
        effect = "effect" if self.effect else "null"
        return f"{self.kind}_n{self.n}_dropout{round(100 * self.dropout)}_{effect}"


@dataclass(frozen=True)
class Family:
    """A family of endpoints of one trial, of which the first `effects` have an effect."""

    correlation: float
    effects: int
    kind: str = "families"

    @property
    def name(self):
        """Name in paths and tables."""
        return f"{self.kind}_rho{round(100 * self.correlation)}_effects{self.effects}"


def _listed():
    cells = [(n, effect) for n in (20, 50, 200) for effect in (0.0, EFFECT)]
    found = [Trial("fits", n, dropout, effect) for n, effect in cells for dropout in (0.0, 0.25)]
    # Without drop-out nothing is imputed.
    found += [Trial("imputations", n, 0.25, effect) for n, effect in cells]
    found += [Family(rho, effects) for rho in (0.0, 0.5) for effects in (0, 5)]
    return {scenario.name: scenario for scenario in found}


SCENARIOS = _listed()
# Number of blocks, and of trials in a block.
BLOCKS = {"fits": (5, 1000), "imputations": (4, 500), "families": (5, 1000)}


def generator(scenario, block):
    """Random numbers of one block, whatever ran before it."""
    key = zlib.crc32(scenario.name.encode())
    return np.random.default_rng(np.random.SeedSequence((SEED, key, block)))


def risk(intercept, last, arm):
    """Probability of dropping out given the last value in SD from the mean of the control arm."""
    return expit(intercept - STEEPNESS[arm] * last)


def standardised(baseline, change):
    """Values that decide on dropping out before each visit (n, 3): baseline, then changes."""
    start = (baseline - BASELINE[0]) / BASELINE[1]
    return np.column_stack([start, (change - CONTROL)[:, :-1] / DEVIATION[:-1]])


def means(baseline, arm, effect):
    """Mean changes (n, 3) given the baseline."""
    return CONTROL + np.outer(baseline - BASELINE[0], SLOPE) + effect * np.outer(arm, GROWTH)


def draw(scenario, rng):
    """Draw one trial.

    Returns
    -------
    arm : ndarray of int (2 n,)
        0 control, 1 active.
    baseline : ndarray (2 n,)
    change : ndarray (2 n, 3)
        NaN from the visit before which a patient dropped out.
    """
    arm = np.repeat([0, 1], scenario.n)
    baseline = rng.normal(*BASELINE, len(arm))
    noise = rng.standard_normal((len(arm), VISITS)) @ np.linalg.cholesky(COVARIANCE).T
    change = means(baseline, arm, scenario.effect) + noise
    lots = rng.random((len(arm), VISITS))
    if scenario.dropout:
        intercept, _ = calibrated(scenario.dropout, scenario.effect)
        leaves = lots < risk(intercept, standardised(baseline, change), arm[:, None])
        change[np.maximum.accumulate(leaves, axis=1)] = np.nan
    return arm, baseline, change


@functools.cache
def calibrated(dropout, effect):
    """Intercept of the risk at which a share of all patients has left, and the shares by arm."""
    node, weight = np.polynomial.hermite_e.hermegauss(NODES)
    weight = weight / weight.sum()
    grid = np.stack(np.meshgrid(node, node, node, indexing="ij"), axis=-1).reshape(-1, VISITS)
    mass = np.einsum("i,j,k->ijk", weight, weight, weight).ravel()
    # The last visit decides on nothing: baseline and two changes are integrated over.
    baseline = BASELINE[0] + BASELINE[1] * grid[:, 0]
    noise = np.zeros((len(grid), VISITS))
    noise[:, :2] = grid[:, 1:] @ np.linalg.cholesky(COVARIANCE[:2, :2]).T
    last = [
        standardised(baseline, means(baseline, np.full(len(grid), arm), effect) + noise)
        for arm in (0, 1)
    ]

    def left(intercept):
        stays = [np.prod(1 - risk(intercept, last[arm], arm), axis=1) for arm in (0, 1)]
        return np.array([1 - mass @ one for one in stays])

    intercept = brentq(lambda x: left(x).mean() - dropout, -12, 4, xtol=1e-12)
    return intercept, left(intercept)


def truth(scenario, strategy="mar"):
    """Difference between the arms at the last visit that a strategy estimates.

    Under jump to reference a patient who left the active arm has, from then on, the mean of the
    control arm, with the residual that those visits predict which were observed: of the effect,
    only the share of the active patients who stayed is left.
    """
    if strategy == "mar" or not scenario.dropout:
        return scenario.effect
    _, left = calibrated(scenario.dropout, scenario.effect)
    return scenario.effect * float(1 - left[1])
