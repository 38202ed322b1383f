"""Tables of counts: measures of association, tests, strata, and Fisher's test by an exact sum.

A 2 x 2 table has the two groups in its rows and event, no event in its columns, as R and the
textbooks have it; `cross_table` makes one from patients or from counts.
"""

import warnings

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from lungitude.statistics.frames import (
    complete,
    levels,
    numbers,
    require,
    require_choice,
    require_confidence,
)

ALTERNATIVES = ("two-sided", "less", "greater")
TIE = 1e-7  # R's relative tolerance: a table is as improbable as the one that was observed
LARGEST = 40_000_000  # steps of the exact sum, some ten seconds
BATCH = 1_000_000  # steps at a time
HELD = 8_000_000  # ways kept in memory, below 1 GB


def cross_table(data, rows, columns, strata=None, counts=None, event=None):
    """Count the cells of two factors, by stratum if one is given.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in one of the columns are left out.
    rows, columns, strata : str
        Factors; the order of the categories, else sorted.
    counts : str, optional
        Column of whole numbers, where a row of `data` is a cell and not a patient.
    event : optional
        Level of `columns` that becomes the first column.

    Returns
    -------
    DataFrame of int, or dict of them by stratum
    """
    who = "cross_table"
    names = [name for name in (rows, columns, strata, counts) if name is not None]
    require(data, names, who)
    used = complete(data, names)
    if not len(used):
        raise ValueError(f"{who}: no row has all of {', '.join(names)}")
    kept = {name: levels(used[name]) for name in (rows, columns)}
    if event is not None:
        if event not in kept[columns]:
            found = ", ".join(map(str, kept[columns]))
            raise ValueError(f"{who}: event {event!r} is no level of {columns!r} (found: {found})")
        kept[columns] = [event, *(level for level in kept[columns] if level != event)]
    weight = np.ones(len(used)) if counts is None else numbers(used[counts], counts, who)
    if ((weight < 0) | (weight % 1 != 0)).any():
        raise ValueError(f"{who}: column {counts!r} must hold counts, whole and not negative")
    codes = [pd.Categorical(used[name], kept[name]).codes for name in (rows, columns)]

    def one(member):
        table = np.zeros([len(kept[rows]), len(kept[columns])], dtype=int)
        np.add.at(table, tuple(code[member] for code in codes), weight[member].astype(int))
        return pd.DataFrame(
            table, pd.Index(kept[rows], name=rows), pd.Index(kept[columns], name=columns)
        )

    if strata is None:
        return one(np.ones(len(used), dtype=bool))
    return {level: one((used[strata] == level).to_numpy()) for level in levels(used[strata])}


def _counts(table, who, shape=None):
    """Return the table as whole numbers, or say what is wrong with it."""
    try:
        table = np.asarray(table, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{who}: the table must hold numbers") from None
    size = " x ".join(map(str, table.shape))
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"{who}: a table of at least 2 x 2 is needed, this one is {size}")
    if shape and table.shape != shape:
        raise ValueError(f"{who}: a table of {shape[0]} x {shape[1]} is needed, this one is {size}")
    if not np.isfinite(table).all() or (table < 0).any() or (table % 1 != 0).any():
        raise ValueError(f"{who}: the table must hold counts, whole, finite and not negative")
    return table


def _filled(table, who, shape=None):
    """Return the counts if no row or column is empty."""
    table = _counts(table, who, shape)
    for axis, name in ((1, "row"), (0, "column")):
        empty = np.flatnonzero(table.sum(axis=axis) == 0) + 1
        if len(empty):
            raise ValueError(f"{who}: {name} {', '.join(map(str, empty))} of the table is empty")
    return table


def _two_groups(table, who):
    """Return the counts and the sizes of the groups, if neither group is empty."""
    table = _counts(table, who, (2, 2))
    n = table.sum(axis=1)
    if (n == 0).any():
        raise ValueError(f"{who}: group {int(np.argmin(n)) + 1} of the table is empty")
    return table, n


def expected_counts(table):
    """Compute the counts expected without association: row by column total, by the total."""
    found = stats.contingency.expected_freq(_filled(table, "expected_counts"))
    if isinstance(table, pd.DataFrame):
        return pd.DataFrame(found, table.index, table.columns)
    return pd.DataFrame(found)


def association(table, method="chi2", alternative="two-sided"):
    """Test a table of any size for association.

    Parameters
    ----------
    table : DataFrame or array_like (r, c)
        Counts.
    method : {"chi2", "chi2-yates", "g", "fisher"}
        Pearson's chi-square (chisq.test(correct = FALSE), PROC FREQ CHISQ), with Yates's
        correction (2 x 2), the likelihood-ratio test, or Fisher's exact test (see `fisher_p`).
    alternative : {"two-sided", "less", "greater"}
        Of the odds ratio in fisher of a 2 x 2 table.

    Returns
    -------
    DataFrame
        One row: method statistic df p cramers_v min_expected n.
    """
    who = "association"
    require_choice(method, ("chi2", "chi2-yates", "g", "fisher"), "method", who)
    table = _filled(table, who, (2, 2) if method == "chi2-yates" else None)
    if method != "fisher" and alternative != "two-sided":
        raise ValueError(f"{who}: {method} is two-sided; alternative is for fisher")
    expected = stats.contingency.expected_freq(table)
    pearson = ((table - expected) ** 2 / expected).sum()
    smallest = min(table.shape) - 1
    found = {"method": method, "statistic": np.nan, "df": np.nan}
    if method == "fisher":
        found["p"] = fisher_p(table, alternative)
    else:
        test = stats.chi2_contingency(
            table,
            correction=method == "chi2-yates",
            lambda_="log-likelihood" if method == "g" else "pearson",
        )
        found.update(statistic=float(test.statistic), df=float(test.dof), p=float(test.pvalue))
    found["cramers_v"] = float(np.sqrt(pearson / (table.sum() * smallest)))
    found["min_expected"] = float(expected.min())
    return pd.DataFrame([{**found, "n": int(table.sum())}])


def fisher_p(table, alternative="two-sided"):
    """Test a table of any size exactly by Fisher's test and give p.

    Parameters
    ----------
    table : array_like (r, c)
        Counts.
    alternative : {"two-sided", "less", "greater"}
        One-sided for a 2 x 2 table: odds ratio below or above 1. Two-sided: the probability of
        all tables with these margins that are at most as probable as the one observed (relative
        tolerance 1e-7), as R's fisher.test and the EXACT statement of PROC FREQ.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the exact sum would take more than some ten seconds.

    Notes
    -----
    scipy.stats.fisher_exact samples tables larger than 2 x 2. Here the columns are split in two
    halves; each half is built up column by column, with paths that lead to the same row totals
    at the same probability kept as one with their number, as in the network algorithm [1]_. Each
    way through one half then needs only a look-up in the ordered cumulative sum of the other.

    References
    ----------
    .. [1] Mehta & Patel 1983, J Am Stat Assoc 78:427-434.
    """
    who = "fisher"
    table = _filled(table, who)
    require_choice(alternative, ALTERNATIVES, "alternative", who)
    if table.shape == (2, 2):
        support, weight = _hypergeometric(table)
        return _tail(support, weight, table[0, 0], alternative)
    if alternative != "two-sided":
        raise ValueError(f"{who}: alternative {alternative!r} is for a 2 x 2 table only")
    return _network_p(table.astype(int))


def _hypergeometric(table):
    """First cell given the margins: its values and the logarithms of their probabilities."""
    (row, _), (column, other) = table.sum(axis=1), table.sum(axis=0)
    support = np.arange(max(0, row - other), min(row, column) + 1)
    weight = -sum(
        special.gammaln(cell + 1)
        for cell in (support, row - support, column - support, other - row + support)
    )
    return support, weight - special.logsumexp(weight)


def _tail(support, weight, x, alternative):
    if alternative == "two-sided":
        chosen = weight <= weight[support == x] + np.log1p(TIE)
    else:
        chosen = support <= x if alternative == "less" else support >= x
    return min(1.0, float(np.exp(weight[chosen]).sum()))


def conditional_odds_ratio(table, confidence=0.95, alternative="two-sided"):
    """Conditional odds ratio of a 2 x 2 table with its exact interval: a dict."""
    return _conditional(*_hypergeometric(table), table[0, 0], confidence, alternative)


def _conditional(support, weight, x, confidence, alternative="two-sided"):
    """Conditional maximum-likelihood odds ratio with its exact interval.

    `weight` are the logarithms of the probabilities of `support` at odds ratio 1. The logarithm
    of the odds ratio is solved to machine precision; R's own root search is looser.
    """

    def moved(shift):
        tilted = weight + shift * support
        tilted = np.exp(tilted - tilted.max())
        return tilted / tilted.sum()

    def solve(function):
        far = 8.0
        while function(-far) * function(far) > 0 and far < 1e5:
            far *= 2
        root = optimize.brentq(function, -far, far, xtol=1e-14, rtol=1e-14, maxiter=500)
        return float(np.exp(root))

    first, last = support[0], support[-1]
    tail = (1 - confidence) / (2 if alternative == "two-sided" else 1)
    estimate = 0.0 if x == first else np.inf
    if first < x < last:
        estimate = solve(lambda shift: moved(shift) @ support - x)
    low, high = 0.0, np.inf
    if x > first and alternative != "less":
        low = solve(lambda shift: moved(shift)[support >= x].sum() - tail)
    if x < last and alternative != "greater":
        high = solve(lambda shift: moved(shift)[support <= x].sum() - tail)
    return {"estimate": estimate, "ci_low": low, "ci_high": high}


def _too_large(table):
    size = " x ".join(map(str, table.shape))
    return ValueError(
        f"fisher: the {size} table of {table.sum()} observations has too many tables with its "
        "margins for an exact sum; use chi2"
    )


def _network_p(table):
    """Sum the probabilities of the tables at most as probable as this one."""
    table = table if table.shape[0] <= table.shape[1] else table.T
    rows, columns = np.sort(table.sum(axis=1)), np.sort(table.sum(axis=0))
    search = _Network(table, rows)
    ahead, behind = _halves(rows, columns)
    # From the full row totals to the middle: all ways to fill the columns of the first half.
    nodes, ways = rows[None], _Ways(np.array([0, 1]), np.zeros(1), np.ones(1))
    for column in ahead:
        nodes, ways = search.forward(nodes, ways, column)
    # From the middle to the end; the last column takes what is left.
    levels = [nodes]
    for column in behind[:-1]:
        levels.append(search.reached(levels[-1], column))
    last = levels[-1]
    future = _Ways(np.arange(len(last) + 1), search.factorial[last].sum(axis=1), np.ones(len(last)))
    for depth in range(len(levels) - 2, 0, -1):
        parts = search.backward(levels[depth], levels[depth + 1], future, behind[depth])
        future = _Ways.joined(search.held(part for _, part in parts))
    constant = search.factorial[rows].sum() + search.factorial[columns].sum()
    constant -= search.factorial[table.sum()]
    least = search.factorial[table].sum() - np.log1p(TIE)
    parts = [(0, future)]
    if len(levels) > 1:
        parts = search.backward(nodes, levels[1], future, behind[0])
    return min(1.0, sum(_meet(ways, part, first, constant, least) for first, part in parts))


def _halves(rows, columns):
    """Split the columns so that the steps to and from the middle are fewest, roughly."""
    places = len(rows)

    def count(total):  # bound of the logarithm of the ways to fill a column
        free = special.gammaln(total + places) - special.gammaln(total + 1)
        bounded = np.log(np.minimum(rows[:-1], total) + 1.0).sum()
        return min(free - special.gammaln(places), bounded)

    best = None
    *others, largest = columns
    for stride in (1, 2):
        order = [*others[::stride], *(others[1::2] if stride == 2 else [])]
        for cut in range(1, len(order) + 1):
            ahead, behind = order[:cut], order[cut:]
            middle = count(sum(ahead))
            cost = np.logaddexp(sum(map(count, ahead)), middle + sum(map(count, behind)))
            if best is None or cost < best[0]:
                best = cost, ahead, [*sorted(behind), largest]
    return best[1:]


class _Ways:
    """Ways to fill columns, by node: sums of log factorials of the cells, and how many share one.

    `start` (k + 1,) says where the ways of each of the k nodes begin; `length` is ascending within
    a node.
    """

    def __init__(self, start, length, count):
        self.start, self.length, self.count = start, length, count

    @classmethod
    def joined(cls, parts):
        size = np.concatenate([np.diff(part.start) for part in parts])
        return cls(
            np.r_[0, np.cumsum(size)],
            np.concatenate([part.length for part in parts]),
            np.concatenate([part.count for part in parts]),
        )


def _meet(ways, future, first, constant, least):
    """Sum over the nodes of `future`, which are those of `ways` from number `first` on."""
    p = 0.0
    for node in range(len(future.start) - 1):
        mine = slice(ways.start[first + node], ways.start[first + node + 1])
        theirs = slice(future.start[node], future.start[node + 1])
        lengths = future.length[theirs]
        # the long ones are the improbable ones: their sum from the far end keeps its digits
        share = np.cumsum((future.count[theirs] * np.exp(lengths[0] - lengths))[::-1])
        number = len(lengths) - np.searchsorted(lengths, least - ways.length[mine])
        some = number > 0
        scale = np.exp(constant - lengths[0] - ways.length[mine][some])
        p += float((ways.count[mine][some] * scale) @ share[number[some] - 1])
    return p


class _Network:
    """Steps between nodes, which are row totals that are still to be filled, ascending.

    The order of the rows does not matter for what follows, so nodes that differ in it are one.
    """

    def __init__(self, table, rows):
        self.table, self.steps = table, 0
        self.factorial = special.gammaln(np.arange(table.sum() + 1) + 1.0)
        base = int(rows.max()) + 1
        if base ** (len(rows) - 1) >= 2**62:
            raise _too_large(table)
        # the last total follows from the others
        self.radix = np.array([base**place for place in range(len(rows) - 1)] + [0])

    def _spend(self, steps):
        self.steps += int(steps)
        if self.steps > LARGEST:
            raise _too_large(self.table)

    def held(self, parts):
        """List parts (ways, or their arrays) while they fit into memory."""
        kept, size = [], 0
        for part in parts:
            kept.append(part)
            size += len(part.count if isinstance(part, _Ways) else part[-1])
            if size > HELD:
                raise _too_large(self.table)
        return kept

    def _moves(self, nodes, column):
        """Fill a column in all ways, some nodes at a time: first and last node, parent, cells."""
        bound = np.minimum(nodes[:, :-1], column).astype(float) + 1
        cuts = _batches(bound.prod(axis=1))
        for low, high in zip(np.r_[0, cuts], np.r_[cuts, len(nodes)], strict=True):
            if low < high:
                yield (low, high, *self._compositions(nodes[low:high], column))

    def _compositions(self, room, total):
        """Spread `total` over the places of each row of `room` in all ways."""
        after = np.cumsum(room[:, ::-1], axis=1)[:, ::-1] - room
        parent, left, parts = np.arange(len(room)), np.full(len(room), total), []
        for place in range(room.shape[1]):
            low = np.maximum(0, left - after[parent, place])
            many = np.maximum(np.minimum(left, room[parent, place]) - low + 1, 0)
            if place < room.shape[1] - 1:  # the last place takes what is left
                self._spend(many.sum())
            origin, value = _repeat(many)
            value += low[origin]
            parts = [part[origin] for part in parts] + [value]
            parent, left = parent[origin], left[origin] - value
        return parent, np.column_stack(parts)

    def reached(self, nodes, column):
        """Nodes after one more column, by their code."""
        parts = []
        for low, _, parent, cells in self._moves(nodes, column):
            after = np.sort(nodes[low + parent] - cells, axis=1)
            parts.append(after[np.unique(after @ self.radix, return_index=True)[1]])
        after = np.concatenate(parts)
        return after[np.unique(after @ self.radix, return_index=True)[1]]

    def forward(self, nodes, ways, column):
        """Nodes after one more column, and all ways that lead to each."""
        following = self.reached(nodes, column)
        code = following @ self.radix

        def parts():
            for low, _, parent, cells in self._moves(nodes, column):
                after = np.sort(nodes[low + parent] - cells, axis=1)
                target = np.searchsorted(code, after @ self.radix)
                added = self.factorial[cells].sum(axis=1)
                yield self._extended(target, added, ways, low + parent)

        node, length, count = _joined(self.held(parts()))
        return following, _Ways(np.searchsorted(node, np.arange(len(code) + 1)), length, count)

    def backward(self, nodes, following, future, column):
        """Ways from each node to the end, some nodes at a time, with the number of the first."""
        code = following @ self.radix
        for low, high, parent, cells in self._moves(nodes, column):
            after = np.sort(nodes[low + parent] - cells, axis=1)
            target = np.searchsorted(code, after @ self.radix)
            added = self.factorial[cells].sum(axis=1)
            node, length, count = self._extended(parent, added, future, target)
            yield low, _Ways(np.searchsorted(node, np.arange(high - low + 1)), length, count)

    def _extended(self, node, added, ways, source):
        """Prolong the ways of `source` by `added`, for `node`."""
        many = np.diff(ways.start)[source]
        self._spend(many.sum())

        def parts():
            for some in np.split(np.arange(len(many)), _batches(many)):
                origin, entry = _repeat(many[some])
                origin = some[origin]
                entry += ways.start[source[origin]]
                total = ways.length[entry] + added[origin]
                yield _merged(node[origin], total, ways.count[entry])

        return _joined(self.held(parts()))


def _batches(size):
    """Where to cut a list of sizes so that the parts have about `BATCH` each."""
    ends = np.cumsum(size)
    return np.unique(np.searchsorted(ends, np.arange(BATCH, ends[-1], BATCH)))


def _repeat(many):
    """Index of each of `many` repeats, and its number among them."""
    origin = np.repeat(np.arange(len(many)), many)
    return origin, np.arange(len(origin)) - np.repeat(np.cumsum(many) - many, many)


def _joined(parts):
    return parts[0] if len(parts) == 1 else _merged(*map(np.concatenate, zip(*parts, strict=True)))


def _merged(node, length, count):
    """Join the ways of a node that have the same length but for rounding; sorted."""
    if not len(node):
        return node, length, count
    first, shortest = node.min(), length.min()
    # 1e-8 is far above rounding and far below R's tolerance of 1e-7
    step = np.rint((length - shortest) * 1e8).astype(np.int64)
    key = (node - first) * (step.max() + 1) + step
    order = np.argsort(key)
    start = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    chosen = order[start]
    return node[chosen], length[chosen], np.add.reduceat(count[order], start)


def proportions(table, confidence=0.95):
    """Share of events in each group with Wilson's interval.

    Parameters
    ----------
    table : DataFrame or array_like (2, 2)
        Rows groups; columns event, no event.

    Returns
    -------
    DataFrame
        One row a group: group events n proportion ci_low ci_high.

    Notes
    -----
    R's prop.test(correct = FALSE), PROC FREQ BINOMIAL(WILSON).
    """
    from statsmodels.stats.proportion import proportion_confint

    who = "proportions"
    require_confidence(confidence, who)
    counts, n = _two_groups(table, who)
    low, high = proportion_confint(counts[:, 0], n, 1 - confidence, method="wilson")
    names = list(table.index) if isinstance(table, pd.DataFrame) else [1, 2]
    return pd.DataFrame(
        {
            "group": names,
            "events": counts[:, 0].astype(int),
            "n": n.astype(int),
            "proportion": counts[:, 0] / n,
            "ci_low": np.clip(low, 0, 1),
            "ci_high": np.clip(high, 0, 1),
        }
    )


def _measure(method, estimate, low, high, n):
    found = {"method": method, "estimate": float(estimate), "ci_low": low, "ci_high": high}
    return pd.DataFrame([{**found, "n1": int(n[0]), "n2": int(n[1])}])


def _log_interval(estimate, variance, confidence, who):
    """Interval of a ratio on the log scale; NaN with a warning where a count of 0 forbids it."""
    if not np.isfinite(variance):
        warnings.warn(f"{who}: a count is 0: no interval on the log scale", stacklevel=3)
        return np.nan, np.nan
    half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    return float(estimate * np.exp(-half)), float(estimate * np.exp(half))


def odds_ratio(table, method="woolf", confidence=0.95):
    """Odds ratio of the first against the second group.

    Parameters
    ----------
    table : DataFrame or array_like (2, 2)
        Rows groups; columns event, no event.
    method : {"woolf", "conditional"}
        Cross-product ratio with the interval of its logarithm (PROC FREQ RELRISK), or conditional
        maximum likelihood with the exact interval (R's fisher.test; PROC FREQ EXACT OR has this
        interval beside the cross-product ratio).

    Returns
    -------
    DataFrame
        One row: method estimate ci_low ci_high n1 n2. Without an event in one group the estimate
        is 0 or infinite and Woolf's interval NaN with a warning.
    """
    who = "odds_ratio"
    require_choice(method, ("woolf", "conditional"), "method", who)
    require_confidence(confidence, who)
    _two_groups(table, who)
    table = _filled(table, who)
    n = table.sum(axis=1)
    if method == "conditional":
        found = conditional_odds_ratio(table, confidence)
        return _measure(method, found["estimate"], found["ci_low"], found["ci_high"], n)
    (a, b), (c, d) = table
    with np.errstate(divide="ignore"):
        estimate = np.divide(a * d, b * c)
        variance = (1 / table).sum()
    return _measure(method, estimate, *_log_interval(estimate, variance, confidence, who), n)


def risk_ratio(table, confidence=0.95):
    """Ratio of the shares of events, first by second group, with Katz's log interval.

    Parameters
    ----------
    table : DataFrame or array_like (2, 2)
        Rows groups; columns event, no event.

    Returns
    -------
    DataFrame
        One row: method estimate ci_low ci_high n1 n2; PROC FREQ RELRISK.
    """
    who = "risk_ratio"
    require_confidence(confidence, who)
    table, n = _two_groups(table, who)
    events = table[:, 0]
    if not events.any():
        raise ValueError(f"{who}: neither group has an event")
    with np.errstate(divide="ignore"):
        estimate = np.divide(events[0] / n[0], events[1] / n[1])
        variance = (1 / events - 1 / n).sum()
    return _measure("katz", estimate, *_log_interval(estimate, variance, confidence, who), n)


def risk_difference(table, method="newcombe", confidence=0.95):
    """Difference of the shares of events, first minus second group.

    Parameters
    ----------
    table : DataFrame or array_like (2, 2)
        Rows groups; columns event, no event.
    method : {"newcombe", "wald"}
        Hybrid of two Wilson intervals without continuity correction (Newcombe 1998, method 10;
        PROC FREQ RISKDIFF(CL=NEWCOMBE)), or the plain normal interval.

    Returns
    -------
    DataFrame
        One row: method estimate ci_low ci_high n1 n2.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    who = "risk_difference"
    require_choice(method, ("newcombe", "wald"), "method", who)
    require_confidence(confidence, who)
    table, n = _two_groups(table, who)
    (one, two) = table[:, 0]
    low, high = confint_proportions_2indep(
        one,
        n[0],
        two,
        n[1],
        method={"newcombe": "newcomb", "wald": "wald"}[method],
        compare="diff",
        alpha=1 - confidence,
    )
    return _measure(method, one / n[0] - two / n[1], float(low), float(high), n)


def mcnemar(table, method="chi2-corrected", confidence=0.95):
    """McNemar's test of paired yes or no.

    Parameters
    ----------
    table : DataFrame or array_like (2, 2)
        Rows before, columns after.
    method : {"chi2-corrected", "chi2", "exact"}
        With continuity correction (R's mcnemar.test), without (PROC FREQ AGREE), or binomial.

    Returns
    -------
    DataFrame
        One row: method statistic df p estimate ci_low ci_high n. The estimate is the paired odds
        ratio b / c with the exact (Clopper-Pearson) interval for every method.

    Notes
    -----
    Own code: statsmodels corrects also where b equals c, which makes p too small there; R does
    not.
    """
    who = "mcnemar"
    require_choice(method, ("chi2-corrected", "chi2", "exact"), "method", who)
    require_confidence(confidence, who)
    table = _counts(table, who, (2, 2))
    b, c = int(table[0, 1]), int(table[1, 0])
    if b + c == 0:
        raise ValueError(f"{who}: no pair differs, there is nothing to test")
    binomial = stats.binomtest(b, b + c)
    found = {"method": method, "statistic": np.nan, "df": np.nan, "p": float(binomial.pvalue)}
    if method != "exact":
        correction = float(method == "chi2-corrected" and b != c)
        statistic = (abs(b - c) - correction) ** 2 / (b + c)
        found.update(statistic=statistic, df=1.0, p=float(stats.chi2.sf(statistic, 1)))
    interval = binomial.proportion_ci(confidence)
    with np.errstate(divide="ignore"):
        share = np.array([b / (b + c), interval.low, interval.high])
        found.update(zip(("estimate", "ci_low", "ci_high"), share / (1 - share), strict=True))
    return pd.DataFrame([{**found, "n": int(table.sum())}])


def trend(table, scores=None):
    """Cochran-Armitage test of a trend in the share of the first row.

    Parameters
    ----------
    table : DataFrame or array_like (2, k)
        Rows event, no event (or the two groups); columns ordered.
    scores : array_like (k,), optional
        1 to k.

    Returns
    -------
    DataFrame
        One row: statistic (chi-square) df p slope n; slope is the change of the share a unit of
        the score, by least squares weighted with the column totals.

    Notes
    -----
    R's prop.trend.test, PROC FREQ TREND (whose z is the root). Own code: statsmodels has the
    permutation variance, larger by n / (n - 1).
    """
    who = "trend"
    table = _filled(table, who)
    if table.shape[0] != 2:
        raise ValueError(f"{who}: a table with two rows is needed, this one has {table.shape[0]}")
    n = table.sum(axis=0)
    score = np.arange(1.0, len(n) + 1) if scores is None else np.asarray(scores, dtype=float)
    if score.shape != n.shape or not np.isfinite(score).all() or np.ptp(score) == 0:
        raise ValueError(f"{who}: scores must be {len(n)} finite numbers that are not all equal")
    share = table[0].sum() / n.sum()
    centred = score - (n @ score) / n.sum()
    spread = n @ centred**2
    slope = centred @ table[0] / spread
    statistic = slope**2 * spread / (share * (1 - share))
    found = {"statistic": statistic, "df": 1.0, "p": float(stats.chi2.sf(statistic, 1))}
    return pd.DataFrame([{**found, "slope": slope, "n": int(n.sum())}])


def _strata(tables, who):
    """Return counts (k, 2, 2) of the strata that have both groups and both outcomes, and n."""
    tables = list(tables.values()) if isinstance(tables, dict) else list(tables)
    if not tables:
        raise ValueError(f"{who}: no stratum")
    tables = np.array([_counts(table, who, (2, 2)) for table in tables])
    telling = (tables.sum(axis=1) > 0).all(axis=1) & (tables.sum(axis=2) > 0).all(axis=1)
    if not telling.any():
        raise ValueError(f"{who}: no stratum has both groups and both outcomes")
    if not telling.all():
        warnings.warn(
            f"{who}: {int((~telling).sum())} strata lack a group or an outcome and add nothing",
            stacklevel=3,
        )
    return tables[telling], int(tables.sum())


def mantel_haenszel(tables, method="chi2", confidence=0.95):
    """Cochran-Mantel-Haenszel test and common odds ratio of 2 x 2 tables by stratum.

    Parameters
    ----------
    tables : dict, sequence or ndarray (k, 2, 2)
        One table a stratum: rows groups; columns event, no event.
    method : {"chi2", "chi2-corrected", "exact"}
        Without continuity correction (PROC FREQ CMH), with it (R's mantelhaen.test), or the exact
        conditional test given the margins of every stratum (exact = TRUE).

    Returns
    -------
    DataFrame
        One row: method statistic df p estimate ci_low ci_high n strata. The odds ratio is
        Mantel-Haenszel's with the interval of Robins, Breslow & Greenland (1986), or conditional
        maximum likelihood with its exact interval.

    Notes
    -----
    Odds ratio and standard error by statsmodels. Its test is not used: it subtracts the
    correction also from a difference below 0.5, and its p is 1 - cdf, which is 0 below 1e-16.
    """
    from statsmodels.stats.contingency_tables import StratifiedTable

    who = "mantel_haenszel"
    require_choice(method, ("chi2", "chi2-corrected", "exact"), "method", who)
    require_confidence(confidence, who)
    tables, n = _strata(tables, who)
    tail = {"n": n, "strata": len(tables)}
    if method == "exact":
        first, chances = 0, np.ones(1)
        for table in tables:  # sum of the first cells over the strata
            support, weight = _hypergeometric(table)
            first, chances = first + support[0], np.convolve(chances, np.exp(weight))
        support = first + np.arange(len(chances))
        with np.errstate(divide="ignore"):
            weight = np.log(chances)
        x = tables[:, 0, 0].sum()
        p = _tail(support, weight, x, "two-sided")
        found = {"method": method, "statistic": np.nan, "df": np.nan, "p": p}
        return pd.DataFrame([{**found, **_conditional(support, weight, x, confidence), **tail}])
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    size = rows.sum(axis=1)
    excess = abs((tables[:, 0, 0] - rows[:, 0] * columns[:, 0] / size).sum())
    variance = (rows.prod(axis=1) * columns.prod(axis=1) / (size**2 * (size - 1))).sum()
    correction = 0.5 if method == "chi2-corrected" and excess >= 0.5 else 0.0
    statistic = (excess - correction) ** 2 / variance
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = StratifiedTable(np.moveaxis(tables, 0, 2))
        estimate, spread = pooled.oddsratio_pooled, pooled.logodds_pooled_se**2
        low, high = _log_interval(estimate, spread, confidence, who)
    found = {"method": method, "statistic": statistic, "df": 1.0}
    found.update(p=float(stats.chi2.sf(statistic, 1)), estimate=estimate, ci_low=low, ci_high=high)
    return pd.DataFrame([{**found, **tail}])


def breslow_day(tables, tarone=True):
    """Test that the odds ratio is the same in all strata.

    Parameters
    ----------
    tables : dict, sequence or ndarray (k, 2, 2)
        One table a stratum.
    tarone : bool
        Tarone's correction, which makes the chi-square distribution right asymptotically; without
        it the test of Breslow & Day (1980), as PROC FREQ CMH prints it.

    Returns
    -------
    DataFrame
        One row: method statistic df p estimate n strata; estimate is the Mantel-Haenszel odds
        ratio.

    Notes
    -----
    Own code: statsmodels divides by 0 at a common odds ratio of exactly 1.
    """
    who = "breslow_day"
    tables, n = _strata(tables, who)
    if len(tables) < 2:
        raise ValueError(f"{who}: two strata with both groups and both outcomes are needed")
    size = tables.sum(axis=(1, 2))
    up = (tables[:, 0, 0] * tables[:, 1, 1] / size).sum()
    down = (tables[:, 0, 1] * tables[:, 1, 0] / size).sum()
    if up == 0 or down == 0:
        raise ValueError(f"{who}: the common odds ratio is {'0' if up == 0 else 'infinite'}")
    ratio = up / down
    row, column = tables[:, 0].sum(axis=1), tables[:, :, 0].sum(axis=1)
    # expected first cell: root of (1 - ratio) e^2 + b e - ratio row column, in its stable form
    b = ratio * (row + column) + size - row - column
    root = np.sqrt(b**2 + 4 * (1 - ratio) * ratio * row * column)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(
            b > 0, 2 * ratio * row * column / (b + root), (root - b) / (2 * (1 - ratio))
        )
    cells = [first, row - first, column - first, size - row - column + first]
    variance = 1 / sum(1 / cell for cell in cells)
    excess = tables[:, 0, 0] - first
    statistic = (excess**2 / variance).sum()
    if tarone:
        statistic -= excess.sum() ** 2 / variance.sum()
    df = len(tables) - 1
    found = {"method": "tarone" if tarone else "breslow-day", "statistic": float(statistic)}
    found.update(df=float(df), p=float(stats.chi2.sf(statistic, df)), estimate=float(ratio))
    return pd.DataFrame([{**found, "n": n, "strata": len(tables)}])
