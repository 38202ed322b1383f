"""Sample size and power: closed forms, and by simulation from a plan."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import integrate, optimize, special, stats

from lungitude.statistics.frames import require_choice
from lungitude.statistics.linear import inference

BLOCK = 100  # trials that share one stream of random numbers
FAR = 1e8  # noncentrality beyond which scipy's distributions give NaN, and power is 1
MANY = 1e7  # df beyond which they lose digits, and t is normal to 8 digits
LARGEST = 1e9  # patients per arm beyond which no design is looked for


@dataclass(frozen=True)
class _Design:
    """A test as a function of the patients analysed in each arm and of the effect.

    `exact` and `normal` are power(n1, n2, effect); `least` the fewest n1; `bound` the limit of
    the effect, which is 0 without effect; `delta` is what the caller calls an effect; `also` are
    further numbers at a sample size.
    """

    exact: object
    normal: object
    effect: float | None
    bound: float = np.inf
    arms: int = 2
    least: float = 2.0
    delta: object = float
    extra: dict = field(default_factory=dict)
    also: dict = field(default_factory=dict)


def power(
    kind="t",
    delta=None,
    sd=None,
    alpha=0.05,
    power=None,
    dropout=0.0,
    n=None,
    *,
    ratio=1.0,
    sides=2,
    tests=1,
    strata=None,
    rho=None,
    retention=None,
    correlation=None,
    p1=None,
    method=None,
    pattern=None,
    events=None,
):
    """Sample size, power or detectable effect; of `n`, `power` and `delta` the one left out.

    Parameters
    ----------
    kind : str
        t
            Two arms, t test. `delta` difference of means, `sd` common SD.
        paired
            One group, paired t test. `sd` of the differences; or with `rho`, the correlation of
            the two measurements, `sd` of one measurement.
        ancova
            Two arms, adjusted for baseline; `rho` its correlation with the outcome.
        change
            Two arms, change from baseline without adjustment; `rho` as before.
        mmrm
            Two arms at the last visit of a model for repeated measures. `retention`: share of
            patients still there at each visit, as a list or one list an arm (reference first);
            `correlation` of the visits as a matrix, ``("ar1", rho)`` or ``("cs", rho)``; `sd` at
            the last visit. `dropout` must be 0.
        proportion
            Two arms. `p1` of the reference arm, `delta` what the second has more (or less);
            `method` ``normal`` (default; pooled variance under the hypothesis) or ``arcsine``.
        interaction
            Two arms in k strata: F test that the difference of arms is the same in all of them.
            `strata` gives their relative sizes, `pattern` the differences in units of
            `delta` (default 0, ..., 0, 1: one stratum, the last, departs by `delta`).
        logrank
            Two arms. `delta` is the hazard ratio, `events` the share of patients with an event
            by the end (one number, or one an arm).
        correlation
            One group. `delta` is Pearson's r.
    delta : float
        Effect; its sign does not matter. Solved for, it is positive (a hazard ratio below 1).
    sd : float
    alpha : float
        Significance level of all tests together.
    power : float
        Default 0.8, unless `n` and `delta` are given: then it is solved for.
    dropout : float
        Share of patients who are randomised but not analysed.
    n : int
        Patients randomised to the reference arm (pairs or patients where there is one group).
    ratio : float
        Patients of the second arm for each of the reference arm.
    sides : {2, 1}
    tests : int
        Tests among which `alpha` is divided (Bonferroni).
    strata : mapping of stratum to patients randomised in both arms, optional
        Gives the power, or the detectable effect, of the whole and of each stratum by itself;
        then `n` is left out. For ``interaction`` the relative sizes of the strata.

    Returns
    -------
    DataFrame
        One row (one more for each stratum, with column STRATUM): ``kind n_per_arm
        n_per_arm_normal n_second_arm n_total`` count patients analysed,
        ``n_per_arm_randomised n_per_arm_normal_randomised n_total_randomised`` those divided by
        1 - `dropout`, rounded up in each arm; ``n_fractional`` is the root before rounding;
        ``power`` as asked or solved, ``power_achieved`` and ``power_normal`` (by the normal
        formula) at the whole numbers analysed; then ``delta``, ``sd``, ``alpha``,
        ``alpha_per_test``, ``sides``, ``ratio``, ``dropout`` and the inputs of the kind, as far as
        it has them. n_per_arm is of the reference arm. n_per_arm_normal and n_fractional are
        missing unless n is solved for.

    Raises
    ------
    ValueError
        When not exactly one is left out, an input is not of the kind or out of its range, or no
        sample size or effect reaches the power.

    Notes
    -----
    n_per_arm rests on the exact distribution: noncentral t (two-sided: noncentral F with 1
    numerator df, so both tails count, R ``power.t.test(strict = TRUE)``, SAS PROC POWER
    TWOSAMPLEMEANS). n_per_arm_normal is the formula with normal quantiles,
    ``(z_alpha + z_beta)^2 sd^2 (1 + 1/ratio) / delta^2`` for the t test.

    - ancova: variance times 1 - rho^2 (Borm et al., J Clin Epidemiol 2007; 60: 1234), N - 3 df, as
      SAS PROC GLMPOWER with covariates. That takes the baseline means of the arms to be equal;
      ``power_random_baseline`` is the power averaged over their chance difference (Shieh,
      Psychometrika 2020; 85: 101), which costs about one patient in all.
    - change: variance times 2 (1 - rho).
    - mmrm: Lu, Luo & Chen (Int J Biostat 2008; 4: 9), formula (3), unstructured covariance, no
      baseline term; n_per_arm_normal is R ``longpower::power.mmrm``. n_per_arm takes the
      noncentral t with the df of the effective patients, n1/phi1 + n2/phi2 - 2.
    - proportion: normal is R ``power.prop.test``, arcsine ``pwr::pwr.2p.test``.
    - interaction: noncentral F with k - 1 and N - 2k df; normal is the noncentral chi-square.
    - logrank: Schoenfeld (Biometrika 1981; 68: 316), R ``gsDesign::nEvents``. There is no exact
      form: both numbers are the same. SAS PROC POWER TWOSAMPLESURVIVAL takes survival curves
      instead (Lakatos 1988) and gives other numbers.
    - correlation: n_per_arm is R ``pwr::pwr.r.test`` (Fisher z with its bias and the t test's
      critical value), n_per_arm_normal is Fisher z alone.
    """
    who = f"power, kind {kind!r}"
    options = {
        "rho": rho,
        "retention": retention,
        "correlation": correlation,
        "p1": p1,
        "method": method,
        "pattern": pattern,
        "events": events,
    }
    require_choice(kind, _KINDS, "kind", "power")
    make, allowed, has_sd = _KINDS[kind]
    for name, value in options.items():
        if value is not None and name not in allowed:
            raise ValueError(f"{who}: {name} is not an input of this kind")
    if has_sd and not (_is_number(sd) and sd > 0):
        raise ValueError(f"{who}: sd must be given and positive, not {sd!r}")
    if not has_sd and sd is not None:
        raise ValueError(f"{who}: sd is not an input of this kind")
    for name, value in (("alpha", alpha), ("power", power)):
        if not (value is None and name == "power") and not (_is_number(value) and 0 < value < 1):
            raise ValueError(f"{who}: {name} {value!r} is not between 0 and 1")
    if not (_is_number(dropout) and 0 <= dropout < 1):
        raise ValueError(f"{who}: dropout {dropout!r} is not between 0 and below 1, such as 0.15")
    if not (_is_number(ratio) and ratio > 0):
        raise ValueError(f"{who}: ratio {ratio!r} is not positive")
    require_choice(sides, (1, 2), "sides", who)
    if not (_is_whole(tests) and tests >= 1):
        raise ValueError(f"{who}: tests {tests!r} is not a count")
    if n is not None and not (_is_whole(n) and n >= 1):
        raise ValueError(f"{who}: n {n!r} is not a whole number of patients")
    if delta is not None and not _is_number(delta):
        raise ValueError(f"{who}: delta {delta!r} is not a number")
    sizes = _strata(strata, who) if strata is not None else None
    if sizes is not None and kind != "interaction" and n is not None:
        raise ValueError(f"{who}: n and strata both say how many patients there are; leave n out")
    counted = n is not None or (sizes is not None and kind != "interaction")
    if counted and delta is not None and power is not None:
        raise ValueError(f"{who}: one of n, power and delta must be left out")
    if not counted and delta is None:
        raise ValueError(f"{who}: two of n, power and delta must be given (power is 0.8 else)")
    if power is None and not (counted and delta is not None):
        power = 0.8
    level = alpha / tests
    design = make(who, delta, sd, level, sides, options, sizes)
    if design.effect == 0:
        raise ValueError(f"{who}: delta {delta!r} is no effect")
    if kind == "mmrm" and dropout:
        raise ValueError(f"{who}: dropout is in retention already; leave dropout 0")
    rest = {
        "sd": None if sd is None else float(sd),
        "alpha": alpha,
        "alpha_per_test": level,
        "sides": sides,
        "ratio": ratio if design.arms == 2 else None,
        "dropout": dropout,
        **design.extra,
    }
    rest = {name: value for name, value in rest.items() if value is not None}
    plan = {"who": who, "power": power, "delta": delta, "dropout": dropout, "ratio": ratio}
    if sizes is None or kind == "interaction":
        randomised = None if n is None else (int(n), _second(int(n), ratio, design))
        return _table([{"kind": kind, **_solve(design, randomised, **plan), **rest}])
    rows = {"all": sum(sizes.values()), **sizes}
    found = []
    for stratum, total in rows.items():
        first = int(total / (1 + ratio) + 1e-9) if design.arms == 2 else total
        row = _solve(design, (first, total - first), **plan | {"who": f"{who}, stratum {stratum}"})
        found.append({"STRATUM": stratum, "kind": kind, **row, **rest})
    return _table(found)


def _table(rows):
    counts = ("n_per_arm_normal", "n_second_arm", "n_per_arm_normal_randomised")
    return pd.DataFrame(rows).astype(dict.fromkeys(counts, "Int64"))


def _solve(design, randomised, who, power, delta, dropout, ratio):
    """Row of results: `randomised` patients an arm are given, or are looked for."""
    effect, fraction, normal = design.effect, np.nan, pd.NA
    if randomised is None:
        fraction = _root_n(design.exact, design, effect, power, ratio, who)
        first = int(np.ceil(fraction - 1e-9))
        # The second arm is rounded up, so one patient fewer in the first may do.
        while first > design.least and (
            design.exact(first - 1, _second(first - 1, ratio, design), effect) >= power
        ):
            first -= 1
        second = _second(first, ratio, design)
        normal = int(np.ceil(_root_n(design.normal, design, effect, power, ratio, who) - 1e-9))
    else:
        first, second = (int(np.floor(count * (1 - dropout) + 1e-9)) for count in randomised)
        if first < design.least or (design.arms == 2 and second < 1):
            raise ValueError(f"{who}: {first} and {second} patients analysed are too few")
    if effect is None:
        effect = _root_effect(design, first, second, power, who)
    achieved = float(design.exact(first, second, effect))
    randomise = (  # as given, else enough for those analysed
        randomised if randomised is not None else [_inflated(k, dropout) for k in (first, second)]
    )
    one = design.arms == 1
    return {
        "n_per_arm": first,
        "n_per_arm_normal": normal,
        "n_second_arm": pd.NA if one else second,
        "n_total": first if one else first + second,
        "n_per_arm_randomised": randomise[0],
        "n_per_arm_normal_randomised": normal if normal is pd.NA else _inflated(normal, dropout),
        "n_total_randomised": randomise[0] if one else sum(randomise),
        "n_fractional": fraction,
        "power": achieved if power is None else power,
        "power_achieved": achieved,
        "power_normal": float(design.normal(first, second, effect)),
        "delta": design.delta(effect) if delta is None else float(delta),
        **{name: float(of(first, second, effect)) for name, of in design.also.items()},
    }


def _inflated(count, dropout):
    return int(np.ceil(count / (1 - dropout) - 1e-9))


def _second(first, ratio, design):
    return int(np.ceil(first * ratio - 1e-9)) if design.arms == 2 else 0


def _root_n(function, design, effect, power, ratio, who):
    """Patients in the first arm, not rounded, at which `function` has the power."""

    def short(count):
        return function(count, count * ratio if design.arms == 2 else 0.0, effect) - power

    low = max(design.least, 1 / ratio if design.arms == 2 else 0)
    if short(low) >= 0:
        return low
    high = 2 * low
    while short(high) < 0:
        high *= 2
        if high > LARGEST:
            raise ValueError(f"{who}: no number of patients reaches the power {power:g}")
    return optimize.brentq(short, low, high, xtol=1e-9, rtol=1e-14)


def _root_effect(design, first, second, power, who):
    """Effect, not below 0, at which the design has the power."""

    def short(effect):
        return design.exact(first, second, effect) - power

    if short(0.0) >= 0:
        raise ValueError(f"{who}: power {power:g} is not above the significance level")
    high = min(1.0, design.bound * (1 - 1e-9))
    while short(high) < 0:
        high *= 2
        if high >= design.bound or high > 1e300:
            raise ValueError(f"{who}: no effect reaches the power {power:g} with these patients")
    return optimize.brentq(short, 0.0, high, xtol=1e-300, rtol=1e-14, maxiter=2000)


def _t_power(ncp, df, level, sides):
    if df <= 0:
        return 0.0
    ncp = min(ncp, FAR)
    if df > MANY:
        far = special.ndtr(-ncp - stats.norm.isf(level / 2)) if sides == 2 else 0.0
        return _z_power(ncp, level, sides) + float(far)
    if sides == 1:
        return float(stats.nct.sf(stats.t.isf(level, df), df, ncp))
    return float(stats.ncf.sf(stats.f.isf(level, 1, df), 1, df, ncp**2)) if ncp else level


def _z_power(ncp, level, sides):
    """Power of a normal test; the far tail of a two-sided one is left out, as in the formulas."""
    return float(special.ndtr(ncp - stats.norm.isf(level / sides)))


def _t_design(spread, lost, effect, level, sides, **more):
    """Two arms, a t test of a difference with SD `spread` and N - `lost` df."""

    def ncp(n1, n2, effect):
        return effect / (spread * np.sqrt(1 / n1 + 1 / n2))

    return _Design(
        lambda n1, n2, e: _t_power(ncp(n1, n2, e), n1 + n2 - lost, level, sides),
        lambda n1, n2, e: _z_power(ncp(n1, n2, e), level, sides),
        effect,
        **more,
    )


def _size(delta):
    return None if delta is None else abs(delta)


def _rho(options, who):
    rho = options["rho"]
    if not (_is_number(rho) and -1 < rho < 1):
        raise ValueError(f"{who}: rho must be a correlation between -1 and 1, not {rho!r}")
    return rho


def _two_means(who, delta, sd, level, sides, options, sizes):
    return _t_design(sd, 2, _size(delta), level, sides)


def _ancova(who, delta, sd, level, sides, options, sizes):
    rho = _rho(options, who)
    spread = sd * np.sqrt(1 - rho**2)

    def unconditional(n1, n2, effect):
        df = n1 + n2 - 2
        ncp = effect / (spread * np.sqrt(1 / n1 + 1 / n2))

        def at(t):  # the standardised difference of the baseline means has the t distribution
            power = _t_power(ncp / np.sqrt(1 + t**2 / df), df - 1, level, sides)
            return 2 * stats.t.pdf(t, df) * power

        return integrate.quad(at, 0, np.inf, epsabs=1e-10)[0]

    return _t_design(
        spread,
        3,
        _size(delta),
        level,
        sides,
        extra={"rho": rho},
        also={"power_random_baseline": unconditional},
    )


def _change(who, delta, sd, level, sides, options, sizes):
    rho = _rho(options, who)
    spread = sd * np.sqrt(2 * (1 - rho))
    return _t_design(spread, 2, _size(delta), level, sides, extra={"rho": rho})


def _paired(who, delta, sd, level, sides, options, sizes):
    rho = None if options["rho"] is None else _rho(options, who)
    spread = sd if rho is None else sd * np.sqrt(2 * (1 - rho))
    return _Design(
        lambda n1, n2, e: _t_power(e * np.sqrt(n1) / spread, n1 - 1, level, sides),
        lambda n1, n2, e: _z_power(e * np.sqrt(n1) / spread, level, sides),
        _size(delta),
        arms=1,
        extra={} if rho is None else {"rho": rho},
    )


def _mmrm(who, delta, sd, level, sides, options, sizes):
    retention = options["retention"]
    if retention is None or options["correlation"] is None:
        raise ValueError(f"{who}: retention and correlation of the visits must be given")
    arms = _numbers(retention, f"{who}: retention")
    if arms.ndim not in (1, 2) or arms.size == 0 or (arms.ndim == 2 and len(arms) != 2):
        raise ValueError(f"{who}: retention must be one list, or two lists of the same visits")
    arms = np.broadcast_to(arms, (2, arms.shape[-1]))
    matrix = _correlation(options["correlation"], arms.shape[1], who)
    phi = [_inflation(arm, matrix, who) for arm in arms]

    def ncp(n1, n2, effect):
        return effect / (sd * np.sqrt(phi[0] / n1 + phi[1] / n2))

    return _Design(
        lambda n1, n2, e: _t_power(ncp(n1, n2, e), n1 / phi[0] + n2 / phi[1] - 2, level, sides),
        lambda n1, n2, e: _z_power(ncp(n1, n2, e), level, sides),
        _size(delta),
        extra={"phi_1": phi[0], "phi_2": phi[1]},
    )


def _correlation(given, visits, who):
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        name, rho = given
        require_choice(name, ("ar1", "cs"), "correlation", who)
        if not (_is_number(rho) and -1 < rho < 1):
            raise ValueError(f"{who}: {rho!r} is no correlation between -1 and 1")
        lag = np.abs(np.subtract.outer(np.arange(visits), np.arange(visits)))
        matrix = np.where(lag == 0, 1.0, float(rho) ** (lag if name == "ar1" else 1.0))
    else:
        matrix = _numbers(given, f"{who}: correlation")
    if matrix.shape != (visits, visits):
        raise ValueError(f"{who}: correlation is {matrix.shape}, retention has {visits} visits")
    if not (np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)) or (
        np.linalg.eigvalsh(matrix)[0] <= 0
    ):
        raise ValueError(f"{who}: correlation is no positive definite matrix with unit diagonal")
    return matrix


def _inflation(retention, matrix, who):
    """Variance of the last visit's mean times n over its variance with complete data (phi)."""
    falling = np.append(retention, 0.0)
    if not ((retention > 0).all() and (retention <= 1).all() and (np.diff(falling) <= 0).all()):
        raise ValueError(
            f"{who}: retention must fall from at most 1 and stay above 0: {retention.tolist()}"
        )
    information = np.zeros_like(matrix)
    for seen in range(1, len(retention) + 1):
        share = falling[seen - 1] - falling[seen]
        information[:seen, :seen] += share * np.linalg.inv(matrix[:seen, :seen])
    return float(np.linalg.inv(information)[-1, -1])


def _proportion(who, delta, sd, level, sides, options, sizes):
    p1, method = options["p1"], options["method"] or "normal"
    require_choice(method, ("normal", "arcsine"), "method", who)
    if not (_is_number(p1) and 0 < p1 < 1):
        raise ValueError(f"{who}: p1 must be given and between 0 and 1, not {p1!r}")
    if delta is not None and not 0 < p1 + delta < 1:
        raise ValueError(f"{who}: p1 + delta = {p1 + delta:g} is not between 0 and 1")
    sign = -1 if delta is not None and delta < 0 else 1

    def normal(n1, n2, effect):
        p2 = p1 + sign * effect
        pooled = (n1 * p1 + n2 * p2) / (n1 + n2)
        null = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        se = np.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
        return float(special.ndtr((effect - stats.norm.isf(level / sides) * null) / se))

    def arcsine(n1, n2, effect):
        h = abs(2 * np.arcsin(np.sqrt(p1 + sign * effect)) - 2 * np.arcsin(np.sqrt(p1)))
        ncp = h / np.sqrt(1 / n1 + 1 / n2)
        far = special.ndtr(-ncp - stats.norm.isf(level / 2)) if sides == 2 else 0.0
        return _z_power(ncp, level, sides) + float(far)

    return _Design(
        normal if method == "normal" else arcsine,
        normal,
        _size(delta),
        bound=1 - p1,
        extra={"p1": p1, "method": method},
    )


def _interaction(who, delta, sd, level, sides, options, sizes):
    if sizes is None or len(sizes) < 2:
        raise ValueError(f"{who}: strata must give the sizes of two strata or more")
    if sides != 2:
        raise ValueError(f"{who}: the F test has no one-sided form")
    k = len(sizes)
    pattern = options["pattern"]
    pattern = _numbers([0.0] * (k - 1) + [1.0] if pattern is None else pattern, f"{who}: pattern")
    if pattern.shape != (k,) or np.ptp(pattern) == 0:
        raise ValueError(f"{who}: pattern must hold {k} numbers that are not all the same")
    share = np.array(list(sizes.values())) / sum(sizes.values())
    # Each stratum has its share of either arm, so the precision of its difference is its share.
    apart = float(share @ (pattern - share @ pattern) ** 2)

    shown = {
        "strata": ", ".join(f"{name}: {size}" for name, size in sizes.items()),
        "pattern": ", ".join(f"{value:g}" for value in pattern),
    }

    def ncp(n1, n2, effect):
        return min(apart * effect**2 / (sd**2 * (1 / n1 + 1 / n2)), FAR**2)

    def exact(n1, n2, effect):
        df = n1 + n2 - 2 * k
        if df <= 0:
            return 0.0
        value = ncp(n1, n2, effect)
        return (
            float(stats.ncf.sf(stats.f.isf(level, k - 1, df), k - 1, df, value)) if value else level
        )

    def normal(n1, n2, effect):
        value = ncp(n1, n2, effect)
        return float(stats.ncx2.sf(stats.chi2.isf(level, k - 1), k - 1, value)) if value else level

    return _Design(exact, normal, _size(delta), least=float(k), extra=shown)


def _logrank(who, delta, sd, level, sides, options, sizes):
    events = options["events"]
    shares = [events, events] if np.ndim(events) == 0 else list(events)
    if len(shares) != 2 or not all(_is_number(x) and 0 < x <= 1 for x in shares):
        raise ValueError(f"{who}: events must be a share above 0, at most 1, or one an arm")
    if delta is not None and delta <= 0:
        raise ValueError(f"{who}: delta is the hazard ratio and must be positive, not {delta!r}")

    def function(n1, n2, effect):
        expected = shares[0] * n1 + shares[1] * n2
        return _z_power(effect * np.sqrt(expected * n1 * n2) / (n1 + n2), level, sides)

    return _Design(
        function,
        function,
        None if delta is None else abs(np.log(delta)),
        least=1.0,
        delta=lambda effect: float(np.exp(-effect)),
        extra={"events_1": shares[0], "events_2": shares[1]},
        also={"n_events": lambda n1, n2, effect: shares[0] * n1 + shares[1] * n2},
    )


def _correlated(who, delta, sd, level, sides, options, sizes):
    if delta is not None and not -1 < delta < 1:
        raise ValueError(f"{who}: delta is a correlation and must lie between -1 and 1")

    def exact(n1, n2, effect):
        critical = stats.t.isf(level / sides, n1 - 2)
        cut = np.arctanh(critical / np.sqrt(critical**2 + n1 - 2))
        z = np.arctanh(effect) + effect / (2 * (n1 - 1))
        root = np.sqrt(n1 - 3)
        far = special.ndtr((-z - cut) * root) if sides == 2 else 0.0
        return float(special.ndtr((z - cut) * root) + far)

    def normal(n1, n2, effect):
        return _z_power(np.arctanh(effect) * np.sqrt(n1 - 3), level, sides)

    return _Design(exact, normal, _size(delta), bound=1.0, arms=1, least=4.0)


_KINDS = {  # maker, its options, whether there is a standard deviation
    "t": (_two_means, (), True),
    "paired": (_paired, ("rho",), True),
    "ancova": (_ancova, ("rho",), True),
    "change": (_change, ("rho",), True),
    "mmrm": (_mmrm, ("retention", "correlation"), True),
    "proportion": (_proportion, ("p1", "method"), False),
    "interaction": (_interaction, ("pattern",), True),
    "logrank": (_logrank, ("events",), False),
    "correlation": (_correlated, (), False),
}


def _is_number(value):
    return (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and bool(np.isfinite(value))
    )


def _is_whole(value):
    return _is_number(value) and float(value).is_integer()


def _numbers(values, what):
    """Finite numbers as an array."""
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must hold numbers ({error})") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite")
    return array


def _strata(strata, who):
    if not hasattr(strata, "items"):
        raise ValueError(f"{who}: strata must give the patients of each stratum by name")
    sizes = dict(strata)
    bad = [name for name, size in sizes.items() if not (_is_whole(size) and size > 0)]
    if bad or not sizes:
        raise ValueError(
            f"{who}: strata must give a number of patients each; wrong: "
            f"{', '.join(map(str, bad)) or 'none given'}"
        )
    return {name: int(size) for name, size in sizes.items()}


def simulate_power(plan, n_trials=1000, seed=1, analysis="ancova"):
    """Power of a plan by simulation, with its Monte Carlo error.

    Parameters
    ----------
    plan : mapping
        ``visits``
            Names, the first is baseline.
        ``arms``
            Name to ``{"n": patients, "means": [one a visit]}``; the first is the reference.
            Arms are randomised, so the mean at baseline is the same in all.
        ``covariance``
            Of the visits within a patient: a matrix, or one an arm by name.
        ``retention``
            Share of patients still there at each visit, starting with 1; a list, or one an arm by
            name. Default: all stay.
        ``mar_slope``
            Default 0: drop-out completely at random. Else the log odds of leaving before a visit
            rise by this much for each SD of the value at the visit before, counted from the mean
            of the reference arm; retention then holds for patients about that mean (drop-out
            at random given what was seen).
        ``visit``
            Analysed; default the last.
        ``alpha``
            Two-sided level of each contrast; default 0.05.
    n_trials : int
    seed : int
        Trials are drawn in blocks of 100 with a stream each (PCG64, SeedSequence with the block
        as spawn key): a longer run begins with the same trials, and blocks may be run in any
        order and place, see :func:`simulate_block`.
    analysis : "ancova" or callable
        ``ancova``: change from baseline at the visit by arm, adjusted for baseline, patients with
        that visit. A callable takes the long frame of a trial (USUBJID, TRT01P, AVISIT, BASE,
        AVAL, CHG; visits after baseline that were seen) and returns a frame with ``contrast``
        (as ``EG - CG``), ``estimate``, ``se``, ``p``, and AVISIT where it has several visits.

    Returns
    -------
    DataFrame
        One row for each arm against the reference: ``contrast AVISIT power mc_se ci_low ci_high
        effect estimate sd_estimate mean_se n n_trials n_failed``. The interval is Clopper-Pearson's
        at 95%; `effect` is the plan's, `estimate` the mean found, `sd_estimate` its SD over
        trials, `mean_se` the mean of the standard errors claimed, `n` the mean number analysed.
        A trial whose analysis fails counts as no rejection.

    Notes
    -----
    ANCOVA is solved for all trials of a block at once. Held against the noncentral t
    distribution, averaged over the chance imbalance of baseline, in tests/unit.
    """
    if not (_is_whole(n_trials) and n_trials >= 1):
        raise ValueError(f"simulate_power: n_trials {n_trials!r} is not a count")
    blocks = range(-(-int(n_trials) // BLOCK))
    sizes = [min(BLOCK, int(n_trials) - block * BLOCK) for block in blocks]
    trials = [
        simulate_block(plan, block, seed, analysis, size)
        for block, size in zip(blocks, sizes, strict=True)
    ]
    return summarise_trials(plan, pd.concat(trials, ignore_index=True))


def simulate_block(plan, block, seed=1, analysis="ancova", n_trials=BLOCK):
    """Analyse one block of simulated trials; see :func:`simulate_power`.

    Returns
    -------
    DataFrame
        ``trial contrast estimate se p n``, a row for each trial and contrast; NaN if it failed.
    """
    plan = _plan(plan)
    if not (_is_whole(block) and block >= 0 and _is_whole(seed) and seed >= 0):
        raise ValueError(f"simulate_block: block {block!r} and seed {seed!r} must be counts")
    if analysis != "ancova" and not callable(analysis):
        raise ValueError(f"simulate_block: analysis {analysis!r} is not 'ancova' or a function")
    stream = np.random.SeedSequence(int(seed), spawn_key=(int(block),))
    values, seen = _draw(plan, np.random.Generator(np.random.PCG64(stream)))
    values, seen = values[:n_trials], seen[:n_trials]
    first = int(block) * BLOCK
    if analysis == "ancova":
        found = _batched_ancova(plan, values, seen)
    else:
        found = [_analysed(plan, *trial, analysis) for trial in zip(values, seen, strict=True)]
        found = np.array(found).transpose(2, 0, 1)
    trials = np.repeat(np.arange(first, first + len(values)), len(plan["contrasts"]))
    columns = dict(zip(("estimate", "se", "p", "n"), found.reshape(4, -1), strict=True))
    contrasts = np.tile(plan["contrasts"], len(values))
    return pd.DataFrame({"trial": trials, "contrast": contrasts, **columns})


def summarise_trials(plan, trials):
    """Power from the rows of :func:`simulate_block`, of any blocks in any order.

    Returns
    -------
    DataFrame
        See :func:`simulate_power`.
    """
    plan = _plan(plan)
    if trials.duplicated(["trial", "contrast"]).any():
        raise ValueError("summarise_trials: the same trial occurs twice")
    rows = []
    for contrast, effect in zip(plan["contrasts"], plan["effects"], strict=True):
        part = trials.loc[trials["contrast"] == contrast].sort_values("trial")
        if part.empty:
            raise ValueError(f"summarise_trials: there is no trial of {contrast}")
        count, hits = len(part), int((part["p"] < plan["alpha"]).sum())
        share = hits / count
        limits = stats.binomtest(hits, count).proportion_ci(0.95, "exact")
        rows.append(
            {
                "contrast": contrast,
                "AVISIT": plan["visits"][plan["at"]],
                "power": share,
                "mc_se": np.sqrt(share * (1 - share) / count),
                "ci_low": limits.low,
                "ci_high": limits.high,
                "effect": effect,
                "estimate": part["estimate"].mean(),
                "sd_estimate": part["estimate"].std(),
                "mean_se": part["se"].mean(),
                "n": part["n"].mean(),
                "n_trials": count,
                "n_failed": int(part["p"].isna().sum()),
            }
        )
    found = pd.DataFrame(rows)
    if found["n_failed"].any():
        warnings.warn(
            f"simulated power: {int(found['n_failed'].max())} trials could not be analysed and "
            "count as no rejection",
            stacklevel=2,
        )
    return found


_PLAN_KEYS = {"visits", "arms", "covariance", "retention", "mar_slope", "visit", "alpha"}


def _plan(plan):
    """Arrays of a plan, checked."""
    who = "simulated plan"
    unknown = set(plan) - _PLAN_KEYS
    missing = {"visits", "arms", "covariance"} - set(plan)
    if unknown or missing:
        raise ValueError(
            f"{who}: no such key {', '.join(sorted(unknown)) or '-'}; "
            f"missing {', '.join(sorted(missing)) or '-'}"
        )
    visits, arms = list(plan["visits"]), dict(plan["arms"])
    if len(visits) < 2 or len(set(visits)) < len(visits) or len(arms) < 2:
        raise ValueError(f"{who}: two visits with different names, and two arms, are needed")
    at = plan.get("visit", visits[-1])
    if at not in visits[1:]:
        raise ValueError(f"{who}: visit {at!r} is not one of {', '.join(map(str, visits[1:]))}")
    alpha, slope = plan.get("alpha", 0.05), plan.get("mar_slope", 0.0)
    if not (_is_number(alpha) and 0 < alpha < 1 and _is_number(slope)):
        raise ValueError(f"{who}: alpha {alpha!r} or mar_slope {slope!r} cannot be used")
    counts, means, roots, hazards = [], [], [], []
    for name, arm in arms.items():
        if set(arm) != {"n", "means"} or not (_is_whole(arm["n"]) and arm["n"] >= 1):
            raise ValueError(f"{who}: arm {name!r} needs n (a whole number) and means")
        counts.append(int(arm["n"]))
        means.append(_per_visit(arm["means"], visits, f"{who}: means of arm {name!r}"))
        covariance = plan["covariance"]
        covariance = _of_arm(covariance, name, f"{who}: covariance")
        roots.append(_root(covariance, len(visits), f"{who}: covariance of arm {name!r}"))
        stay = plan.get("retention", [1.0] * len(visits))
        stay = _of_arm(stay, name, f"{who}: retention")
        stay = _per_visit(stay, visits, f"{who}: retention of arm {name!r}")
        if stay[0] != 1 or (stay <= 0).any() or (np.diff(stay) > 0).any():
            raise ValueError(
                f"{who}: retention of arm {name!r} must start at 1, fall and stay above 0: "
                f"{stay.tolist()}"
            )
        hazards.append(1 - stay[1:] / stay[:-1])
    means = np.array(means)
    if np.ptp(means[:, 0]) > 0:
        raise ValueError(f"{who}: the arms differ at baseline, {means[:, 0].tolist()}")
    names, index = list(arms), visits.index(at)
    return {
        "visits": visits,
        "arms": names,
        "at": index,
        "alpha": alpha,
        "slope": slope,
        "counts": counts,
        "means": means,
        "roots": np.array(roots),
        "hazards": np.array(hazards),
        "arm": np.repeat(np.arange(len(names)), counts),
        "contrasts": [f"{name} - {names[0]}" for name in names[1:]],
        "effects": means[1:, index] - means[0, index],
    }


def _of_arm(given, arm, what):
    if not isinstance(given, dict):
        return given
    if arm not in given:
        raise ValueError(f"{what} does not name arm {arm!r}")
    return given[arm]


def _per_visit(values, visits, what):
    values = _numbers(values, what)
    if values.shape != (len(visits),):
        raise ValueError(f"{what}: {len(visits)} numbers are needed, one a visit")
    return values


def _root(covariance, visits, what):
    matrix = _numbers(covariance, what)
    if matrix.shape != (visits, visits) or not np.allclose(matrix, matrix.T):
        raise ValueError(f"{what}: a symmetric matrix of {visits} visits is needed")
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise ValueError(f"{what}: the matrix is not positive definite") from None


def _draw(plan, rng):
    """Values (trials, patients, visits) of a block, and whether each was seen."""
    arm, means = plan["arm"], plan["means"]
    shape = (BLOCK, len(arm), len(plan["visits"]))
    values = np.einsum("pvw,bpw->bpv", plan["roots"][arm], rng.standard_normal(shape))
    values += means[arm]
    seen = np.ones(shape, dtype=bool)
    if not plan["hazards"].any():
        return values, seen
    chance = rng.random((*shape[:2], shape[2] - 1))
    spread = np.sqrt((plan["roots"][0] ** 2).sum(axis=1))  # SD of the reference arm at each visit
    for visit in range(1, shape[2]):
        hazard = plan["hazards"][arm, visit - 1]
        if plan["slope"]:
            start = [_intercept(h, plan["slope"]) for h in plan["hazards"][:, visit - 1]]
            score = (values[:, :, visit - 1] - means[0, visit - 1]) / spread[visit - 1]
            hazard = special.expit(np.array(start)[arm] + plan["slope"] * score)
        seen[:, :, visit] = seen[:, :, visit - 1] & (chance[:, :, visit - 1] >= hazard)
    return values, seen


def _intercept(hazard, slope):
    """Intercept at which the logistic hazard is `hazard` on average over a standard normal."""
    if hazard == 0:
        return -np.inf
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    weights = weights / weights.sum()
    width = 50 + 10 * abs(slope)
    return optimize.brentq(
        lambda start: weights @ special.expit(start + slope * nodes) - hazard, -width, width
    )


def _batched_ancova(plan, values, seen):
    """Estimate, SE, p and n of each trial and contrast (4, trials, contrasts)."""
    at, k = plan["at"], len(plan["arms"])
    used = seen[:, :, at].astype(float)
    # Centred by the plan's mean, so that the normal equations are well conditioned.
    spread = plan["roots"][0][0, 0]
    base = (values[:, :, 0] - plan["means"][0, 0]) / spread
    change = values[:, :, at] - values[:, :, 0]
    arms = np.equal.outer(plan["arm"], np.arange(1, k)).astype(float)
    design = np.concatenate(
        [
            np.ones((*base.shape, 1)),
            base[:, :, None],
            np.broadcast_to(arms, (len(base), *arms.shape)),
        ],
        axis=2,
    )
    weighted = design * used[:, :, None]
    gram = weighted.transpose(0, 2, 1) @ design
    n = used.sum(axis=1)
    df = n - k - 1
    in_arm = np.stack([used[:, plan["arm"] == arm].sum(axis=1) for arm in range(k)])
    fit = (in_arm >= 1).all(axis=0) & (df >= 1)
    result = np.full((4, len(values), k - 1), np.nan)
    result[3] = n[:, None]
    if not fit.any():
        return result
    inverse = np.linalg.inv(gram[fit])
    moments = (weighted[fit].transpose(0, 2, 1) @ change[fit][:, :, None])[:, :, 0]
    beta = (inverse @ moments[:, :, None])[:, :, 0]
    residual = (change[fit] - (design[fit] @ beta[:, :, None])[:, :, 0]) * used[fit]
    variance = (residual**2).sum(axis=1) / df[fit]
    se = np.sqrt(variance[:, None] * np.einsum("bii->bi", inverse)[:, 2:])
    tested = inference(beta[:, 2:], se, df[fit][:, None], 0.95)
    result[:3, fit] = beta[:, 2:], se, tested["p"]
    return result


def _analysed(plan, values, seen, analysis):
    """Estimate, SE, p and n of one trial by a function, a row a contrast."""
    rows, visits = np.nonzero(seen[:, 1:])
    frame = pd.DataFrame(
        {
            "USUBJID": np.char.mod("S%05d", rows + 1),
            "TRT01P": pd.Categorical.from_codes(plan["arm"][rows], plan["arms"]),
            "AVISIT": pd.Categorical.from_codes(visits, plan["visits"][1:], ordered=True),
            "BASE": values[rows, 0],
            "AVAL": values[rows, visits + 1],
        }
    )
    frame["CHG"] = frame["AVAL"] - frame["BASE"]
    count = int(seen[:, plan["at"]].sum())
    try:
        found = analysis(frame)
    except ValueError:
        return [[np.nan, np.nan, np.nan, count]] * len(plan["contrasts"])
    absent = {"contrast", "estimate", "se", "p"} - set(found.columns)
    if absent:
        raise ValueError(f"simulate_block: the analysis gives no {', '.join(sorted(absent))}")
    if "AVISIT" in found:
        found = found.loc[found["AVISIT"] == plan["visits"][plan["at"]]]
    found = found.set_index("contrast")
    if found.index.has_duplicates or not set(plan["contrasts"]) <= set(found.index):
        raise ValueError(
            f"simulate_block: the analysis must give one row each of "
            f"{', '.join(plan['contrasts'])}; it gave {', '.join(map(str, found.index))}"
        )
    table = found.loc[plan["contrasts"], ["estimate", "se", "p"]].to_numpy(dtype=float)
    return [[*row, count] for row in table]
