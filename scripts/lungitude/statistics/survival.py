"""Time to event: Kaplan-Meier, logrank test, restricted mean survival time."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.arm_design import zero_one
from lungitude.statistics.frames import (
    complete,
    levels,
    numbers,
    require,
    require_choice,
    require_confidence,
    with_reference,
)
from lungitude.statistics.linear import inference, listed

INTERVALS = ("log-log", "log", "plain")
EXACT = 1e-9  # a survival that close to a share counts as equal: products of fractions round


def samples(data, time, event, arm, who, others=()):
    """Check rows, times and events; a time or an event that is missing is an error."""
    require(data, [time, event, *listed(arm), *others], who)
    for name in (time, event):
        gone = data[name].isna()
        if gone.any():
            where = ""
            if arm is not None:
                found = data.loc[gone, arm].value_counts()
                where = " (" + ", ".join(f"{arm} {k}: {v}" for k, v in found.items() if v) + ")"
            raise ValueError(
                f"{who}: {name!r} is missing in {int(gone.sum())} rows{where}; "
                "leave them out on purpose or censor them"
            )
    used = complete(data, [*listed(arm), *others])
    if used.empty:
        raise ValueError(
            f"{who}: no row has all of {', '.join([time, event, *listed(arm), *others])}"
        )
    times = numbers(used[time], time, who)
    if (times <= 0).any():
        late = used.loc[times <= 0]
        where = f" ({arm} {', '.join(map(str, levels(late[arm])))})" if arm is not None else ""
        raise ValueError(f"{who}: {time!r} is 0 or below in {len(late)} rows{where}")
    return used, times, zero_one(used[event], event, who)


def _arms(data, used, arm, who, least=1):
    """Arms with rows; one that lost all its rows is an error."""
    names = levels(used[arm])
    lost = [str(name) for name in levels(data[arm]) if name not in names]
    if lost:
        raise ValueError(f"{who}: {arm} {', '.join(lost)} has no complete row")
    if len(names) < least:
        raise ValueError(f"{who}: {arm!r} has one arm only, {names[0]}")
    return names


class Curve:
    """Kaplan-Meier estimate of one sample: arrays over its distinct times."""

    def __init__(self, time, event):
        self.time, place = np.unique(time, return_inverse=True)
        self.events = np.bincount(place, event).astype(int)
        leaving = np.bincount(place)
        self.censored = leaving - self.events
        self.at_risk = leaving[::-1].cumsum()[::-1]
        self.survival = np.cumprod(1 - self.events / self.at_risk)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Greenwood's sum, the variance of log S; undefined once S is 0.
            self.log_se = np.sqrt(
                np.cumsum(self.events / (self.at_risk * (self.at_risk - self.events)))
            )
        self.log_se[self.survival == 0] = np.nan

    def limits(self, interval, confidence):
        """Pointwise limits of the survival, NaN where S is 0 (log-log: or 1)."""
        z = stats.norm.ppf(0.5 + confidence / 2)
        s = np.where(self.survival > 0, self.survival, np.nan)
        if interval == "plain":
            half = z * self.log_se * s
            return np.maximum(s - half, 0), np.minimum(s + half, 1)
        if interval == "log":
            return s * np.exp(-z * self.log_se), np.minimum(s * np.exp(z * self.log_se), 1)
        s = np.where(s < 1, s, np.nan)
        half = z * self.log_se / np.log(s)
        return s ** np.exp(-half), s ** np.exp(half)

    def quantile(self, survival, share):
        """Time at which a falling curve over `time` crosses; NaN when it never does.

        Midpoint of the interval on which the curve equals 1 - share, as R and SAS.
        """
        known = ~np.isnan(survival)
        time, fall = self.time[known], 1 - survival[known]
        reached = np.flatnonzero(fall >= share - EXACT)
        if not len(reached):
            return np.nan
        first = reached[0]
        if abs(fall[first] - share) > EXACT:
            return float(time[first])
        later = np.flatnonzero(fall > share + EXACT)
        end = time[later[0]] if len(later) else self.time[-1]
        return float((time[first] + end) / 2)


def _curves(data, time, event, arm, who):
    used, times, events = samples(data, time, event, arm, who)
    if arm is None:
        return {None: Curve(times, events)}
    found = {}
    for name in _arms(data, used, arm, who):
        rows = (used[arm] == name).to_numpy()
        found[name] = Curve(times[rows], events[rows])
    return found


def _label(arm, name):
    return {} if arm is None else {arm: name}


def kaplan_meier(data, time, event, arm=None, confidence=0.95, interval="log-log"):
    """Kaplan-Meier estimate of the survival function.

    Parameters
    ----------
    data : DataFrame
        One row a patient.
    time, event : str
        Time to the event or to censoring, above 0; 1 for an event, 0 for censored (ADaM: 1 minus
        CNSR).
    arm : str, optional
        One curve for each level.
    confidence : float
    interval : {"log-log", "log", "plain"}
        Scale of the pointwise intervals (SAS default; R survfit default; untransformed).

    Returns
    -------
    DataFrame
        [arm] time n_risk n_event n_censored survival se ci_low ci_high, one row for each distinct
        time; se is Greenwood's. It and the limits are NaN where the survival is 0, log-log limits
        also where it is still 1.

    Raises
    ------
    ValueError
        For unknown columns, a missing time or event, a time of 0 or below, an event other than 0
        or 1, an arm without a complete row.

    Notes
    -----
    R: ``survival::survfit(conf.type =)``. SAS: PROC LIFETEST (CONFTYPE=). statsmodels'
    SurvfuncRight leaves out the times of censoring and has no intervals of these scales.
    """
    who = "kaplan_meier"
    require_choice(interval, INTERVALS, "interval", who)
    require_confidence(confidence, who)
    tables = []
    for name, curve in _curves(data, time, event, arm, who).items():
        low, high = curve.limits(interval, confidence)
        tables.append(
            pd.DataFrame(
                {
                    **_label(arm, name),
                    "time": curve.time,
                    "n_risk": curve.at_risk,
                    "n_event": curve.events,
                    "n_censored": curve.censored,
                    "survival": curve.survival,
                    "se": curve.survival * curve.log_se,
                    "ci_low": low,
                    "ci_high": high,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def survival_quantile(data, time, event, arm=None, share=0.5, confidence=0.95, interval="log-log"):
    """Time by which a share of the patients have had the event, the median by default.

    Parameters
    ----------
    data, time, event, arm, confidence, interval
        As `kaplan_meier`.
    share : float
        Between 0 and 1.

    Returns
    -------
    DataFrame
        [arm] share n events estimate ci_low ci_high. NaN is not reached: an upper limit of NaN is
        unlimited.

    Notes
    -----
    Interval of Brookmeyer & Crowley (1982): the times whose pointwise interval holds 1 - share. R:
    ``quantile(survfit)``; SAS: PROC LIFETEST, table of quartiles.
    """
    who = "survival_quantile"
    require_choice(interval, INTERVALS, "interval", who)
    require_confidence(confidence, who)
    if not 0 < share < 1:
        raise ValueError(f"{who}: share {share!r} is not between 0 and 1")
    rows = []
    for name, curve in _curves(data, time, event, arm, who).items():
        low, high = curve.limits(interval, confidence)
        rows.append(
            {
                **_label(arm, name),
                "share": share,
                "n": int(curve.at_risk[0]),
                "events": int(curve.events.sum()),
                "estimate": curve.quantile(curve.survival, share),
                "ci_low": curve.quantile(low, share),
                "ci_high": curve.quantile(high, share),
            }
        )
    return pd.DataFrame(rows)


def _times(times, who):
    times = np.atleast_1d(np.asarray(times, dtype=float))
    if times.size == 0 or not np.isfinite(times).all() or (times < 0).any():
        raise ValueError(f"{who}: times must be finite numbers from 0")
    return times


def survival_at(data, time, event, times, arm=None, confidence=0.95, interval="log-log"):
    """Kaplan-Meier survival at given times.

    Parameters
    ----------
    data, time, event, arm, confidence, interval
        As `kaplan_meier`.
    times : float or sequence of float

    Returns
    -------
    DataFrame
        [arm] time n_risk (still at risk at that time) survival se ci_low ci_high. NaN after the
        last time of a curve that has not fallen to 0.

    Notes
    -----
    R: ``summary(survfit, times =)``; SAS: PROC LIFETEST TIMELIST=.
    """
    who = "survival_at"
    require_choice(interval, INTERVALS, "interval", who)
    require_confidence(confidence, who)
    times = _times(times, who)
    tables = []
    for name, curve in _curves(data, time, event, arm, who).items():
        low, high = curve.limits(interval, confidence)
        place = np.searchsorted(curve.time, times, side="right")
        start = {"survival": 1.0, "se": 0.0, "ci_low": np.nan, "ci_high": np.nan}
        if interval != "log-log":
            start["ci_low"] = start["ci_high"] = 1.0
        columns = {
            "survival": curve.survival,
            "se": curve.survival * curve.log_se,
            "ci_low": low,
            "ci_high": high,
        }
        beyond = (times > curve.time[-1]) & (curve.survival[-1] > 0)
        found = {
            key: np.where(beyond, np.nan, np.r_[start[key], values][place])
            for key, values in columns.items()
        }
        at_risk = np.r_[curve.at_risk, 0][np.searchsorted(curve.time, times)]
        tables.append(
            pd.DataFrame({**_label(arm, name), "time": times, "n_risk": at_risk, **found})
        )
    return pd.concat(tables, ignore_index=True)


def at_risk(data, time, event, arm=None, times=None):
    """Count the patients at risk at given times, for the table under a figure.

    Parameters
    ----------
    data, time, event, arm
        As `kaplan_meier`.
    times : sequence of float, optional
        Six steps from 0 to the largest time when not given.

    Returns
    -------
    DataFrame
        [arm] time n_risk (time of event or censoring not before), n_event and n_censored (up to
        and with that time).
    """
    who = "at_risk"
    curves = _curves(data, time, event, arm, who)
    if times is None:
        times = np.linspace(0, max(curve.time[-1] for curve in curves.values()), 6)
    times = _times(times, who)
    tables = []
    for name, curve in curves.items():
        place = np.searchsorted(curve.time, times, side="right")
        tables.append(
            pd.DataFrame(
                {
                    **_label(arm, name),
                    "time": times,
                    "n_risk": np.r_[curve.at_risk, 0][np.searchsorted(curve.time, times)],
                    "n_event": np.r_[0, curve.events.cumsum()][place],
                    "n_censored": np.r_[0, curve.censored.cumsum()][place],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _observed_expected(times, events, codes, arms, strata):
    """Observed and expected events by arm, and the covariance of their difference."""
    observed, expected = np.zeros(arms), np.zeros(arms)
    covariance = np.zeros((arms, arms))
    for stratum in np.unique(strata):
        rows = strata == stratum
        distinct, place = np.unique(times[rows], return_inverse=True)
        leaving = np.zeros((len(distinct), arms))
        np.add.at(leaving, (place, codes[rows]), 1)
        died = np.zeros_like(leaving)
        np.add.at(died, (place, codes[rows]), events[rows])
        risk = leaving[::-1].cumsum(axis=0)[::-1]
        total, d = risk.sum(axis=1), died.sum(axis=1)
        share = risk / total[:, None]
        observed += died.sum(axis=0)
        expected += d @ share
        # Hypergeometric variance; with one patient at risk there is none.
        weight = d * (total - d) / np.maximum(total - 1, 1)
        covariance += np.diag(weight @ share) - (share.T * weight) @ share
    return observed, expected, covariance


def strata_codes(used, strata):
    """Give each row the number of its combination of strata."""
    if not strata:
        return np.zeros(len(used), dtype=int)
    return used.groupby(strata, sort=True, observed=True).ngroup().to_numpy()


def logrank(data, time, event, arm, strata=None):
    """Compare survival between arms by the logrank test.

    Parameters
    ----------
    data, time, event, arm
        As `kaplan_meier`; rows without arm or stratum are left out.
    strata : str or sequence of str, optional
        Stratified test: the differences are summed over the strata.

    Returns
    -------
    DataFrame
        One row: statistic (chi-squared) df p n events.

    Raises
    ------
    ValueError
        As `kaplan_meier`; and for one arm only, no event, no time at which two arms are at risk.

    Notes
    -----
    Mantel (1966) with the hypergeometric variance. An arm that left before the first event has no
    part and no degree of freedom. R: ``survival::survdiff``; SAS: PROC LIFETEST, STRATA / GROUP=.
    Own, because statsmodels' survdiff has no observed and expected events (`observed_expected`)
    and fails for an arm without part.
    """
    who = "logrank"
    observed, expected, covariance, used, _ = _logrank(data, time, event, arm, strata, who)
    part = np.flatnonzero(expected > 0)
    if len(part) < 2 or np.linalg.matrix_rank(covariance[np.ix_(part, part)]) < len(part) - 1:
        raise ValueError(f"{who}: no event of {event!r} while two levels of {arm!r} are at risk")
    part = part[1:]  # the differences sum to 0
    difference = (observed - expected)[part]
    statistic = difference @ np.linalg.solve(covariance[np.ix_(part, part)], difference)
    return pd.DataFrame(
        [
            {
                "statistic": statistic,
                "df": len(part),
                "p": stats.chi2.sf(statistic, len(part)),
                "n": len(used),
                "events": int(observed.sum()),
            }
        ]
    )


def observed_expected(data, time, event, arm, strata=None):
    """Observed events and those expected under equal survival, as the logrank test has them.

    Parameters
    ----------
    data, time, event, arm, strata
        As `logrank`.

    Returns
    -------
    DataFrame
        arm n observed expected.
    """
    found = _logrank(data, time, event, arm, strata, "observed_expected")
    observed, expected, _, used, names = found
    n = used[arm].value_counts()
    return pd.DataFrame(
        {
            arm: names,
            "n": [int(n[name]) for name in names],
            "observed": observed.astype(int),
            "expected": expected,
        }
    )


def _logrank(data, time, event, arm, strata, who):
    strata = listed(strata)
    used, times, events = samples(data, time, event, arm, who, strata)
    names = _arms(data, used, arm, who, least=2)
    if not events.any():
        raise ValueError(f"{who}: {event!r} has no event in any arm of {arm!r}")
    codes = np.asarray(pd.Categorical(used[arm], categories=names).codes)
    parts = _observed_expected(times, events, codes, len(names), strata_codes(used, strata))
    return *parts, used, names


@dataclass
class RestrictedMean:
    """Result of `restricted_mean`: frames `means` and `contrasts` (None without arms)."""

    means: pd.DataFrame
    contrasts: pd.DataFrame | None


def restricted_mean(data, time, event, arm=None, tau=None, reference=None, confidence=0.95):
    """Restricted mean survival time: the area under the Kaplan-Meier curve up to a time.

    Parameters
    ----------
    data, time, event, arm
        As `kaplan_meier`.
    tau : float, optional
        Upper time; the smallest of the arms' largest times when not given.
    reference : str, optional
        Arm that the others are compared with; the first level when not given.
    confidence : float

    Returns
    -------
    RestrictedMean
        ``.means``: [arm] tau n events estimate se ci_low ci_high; ``.contrasts``: contrast tau
        estimate (difference) se statistic p ci_low ci_high ratio ratio_ci_low ratio_ci_high n.

    Raises
    ------
    ValueError
        As `kaplan_meier`; for a tau of 0 or below, or beyond the data of an arm whose curve has
        not fallen to 0.

    Notes
    -----
    Variance: sum over event times of (area from there to tau)^2 d / (r (r - d)) (Klein &
    Moeschberger 2003, section 4.5). R: ``survRM2::rmst2``; SAS: PROC LIFETEST RMST(TAU=), whose
    ``BC`` option adds a small-sample factor that is not used here.
    """
    who = "restricted_mean"
    require_confidence(confidence, who)
    curves = _curves(data, time, event, arm, who)
    if tau is None:
        tau = min(curve.time[-1] for curve in curves.values())
    if not (np.isfinite(tau) and tau > 0):
        raise ValueError(f"{who}: tau {tau!r} is not above 0")
    short = [
        f"{arm} {name} ({curve.time[-1]:g})" if arm else f"{curve.time[-1]:g}"
        for name, curve in curves.items()
        if tau > curve.time[-1] and curve.survival[-1] > 0
    ]
    if short:
        raise ValueError(f"{who}: tau {tau:g} is beyond the largest {time!r} of {', '.join(short)}")
    rows = []
    for name, curve in curves.items():
        inside = curve.time < tau
        ends = np.r_[0.0, curve.time[inside], tau]
        area = np.diff(ends) * np.r_[1.0, curve.survival[inside]]
        d, r = curve.events[inside], curve.at_risk[inside]
        rest = area[::-1].cumsum()[::-1][1:]
        # Where the last patient at risk has the event no area is left.
        variance = (rest**2 * d / np.where(r > d, r * (r - d), 1)).sum()
        rows.append(
            {
                **_label(arm, name),
                "tau": float(tau),
                "n": int(curve.at_risk[0]),
                "events": int(curve.events.sum()),
                "estimate": area.sum(),
                "se": np.sqrt(variance),
            }
        )
    means = pd.DataFrame(rows)
    flat = means.loc[means["se"] == 0]
    if len(flat):
        where = f" in {arm} {', '.join(map(str, flat[arm]))}" if arm else ""
        warnings.warn(f"{who}: no event before tau {tau:g}{where}, the SE is 0", stacklevel=2)
    found = inference(means["estimate"], means["se"], np.inf, confidence)
    means["ci_low"], means["ci_high"] = found["ci_low"], found["ci_high"]
    if arm is None or len(means) < 2:
        return RestrictedMean(means, None)
    order = with_reference(list(curves), reference, arm, who)
    place = means.set_index(arm).loc[order]
    zero, others = place.iloc[0], place.iloc[1:]
    estimate = others["estimate"].to_numpy() - zero["estimate"]
    se = np.hypot(others["se"].to_numpy(), zero["se"])
    log_se = np.hypot(others["se"] / others["estimate"], zero["se"] / zero["estimate"]).to_numpy()
    ratio = np.log(others["estimate"].to_numpy() / zero["estimate"])
    logs = inference(ratio, log_se, np.inf, confidence)
    contrasts = pd.DataFrame(
        {
            "contrast": [f"{name} - {order[0]}" for name in order[1:]],
            "tau": float(tau),
            "estimate": estimate,
            "se": se,
            **inference(estimate, se, np.inf, confidence),
            "ratio": np.exp(ratio),
            "ratio_ci_low": np.exp(logs["ci_low"]),
            "ratio_ci_high": np.exp(logs["ci_high"]),
            "n": int(means["n"].sum()),
        }
    )
    return RestrictedMean(means, contrasts)
