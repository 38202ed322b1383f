"""Agreement of ordered or named categories: weighted kappa and the confusion matrix."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.frames import require_confidence
from lungitude.statistics.pairs import each_stratum, same_length, series

WEIGHTS = ("unweighted", "linear", "quadratic")


def weighted_kappa(a, b, weights="linear", labels=None, confidence=0.95, by=None):
    """Cohen's kappa of two raters, with weights for near misses.

    Parameters
    ----------
    a, b : array_like
        Categories of the same subjects, by position; pairs with a missing value are left out.
    weights : {"linear", "quadratic", "unweighted"} or array_like (k, k)
        Weights of agreement by the places i, j of the categories: ``1 - |i - j| / (k - 1)``, its
        square form ``1 - (i - j)^2 / (k - 1)^2``, 1 on the diagonal only; or a matrix of own
        weights, 1 on the diagonal.
    labels : sequence, optional
        Categories in their order. Not given: the categories of a Categorical, else the values that
        occur, sorted (text by the alphabet, so I II III IV stand right and mild moderate severe
        too, but low medium high does not). Declared categories count for k though none occurs.
    confidence : float
    by : array_like, optional
        Stratum of each pair, each analysed on its own with the same categories.

    Returns
    -------
    DataFrame
        One row [a stratum]: kappa se ci_low ci_high n observed expected (weighted agreement) se0
        statistic p. `se` is for the interval, `se0`, statistic (z) and p are for kappa = 0.

    Raises
    ------
    ValueError
        Unequal lengths, categories beyond `labels`, fewer than 2 categories or pairs, chance
        agreement of 1 (both raters used one and the same category).

    Notes
    -----
    Standard errors of [1]_. ``vcd::Kappa(weights="Equal-Spacing" | "Fleiss-Cohen")`` of R; SAS PROC
    FREQ with AGREE (WT=FC for quadratic). ``psych::cohen.kappa`` 2.2.9 has another, wrong variance
    with weights.

    References
    ----------
    .. [1] Fleiss, Cohen & Everitt 1969, Psychological Bulletin 72:323-327.
    """
    who = "weighted_kappa"
    require_confidence(confidence, who)
    a, b, labels = _coded(a, b, labels, who)
    k = len(labels)
    if k < 2:
        raise ValueError(f"{who}: one category ({labels[0]}), at least 2 are needed")
    steps = np.abs(np.subtract.outer(np.arange(k), np.arange(k))) / (k - 1)
    if isinstance(weights, str):
        if weights not in WEIGHTS:
            listed = ", ".join(map(repr, WEIGHTS))
            raise ValueError(f"{who}: weights {weights!r} is not one of {listed}, nor a matrix")
        matrix = {"unweighted": 1.0 - (steps > 0), "linear": 1 - steps, "quadratic": 1 - steps**2}
        matrix = matrix[weights]
    else:
        matrix = np.asarray(weights, dtype=float)
        if matrix.shape != (k, k) or not np.isfinite(matrix).all() or (np.diag(matrix) != 1).any():
            raise ValueError(
                f"{who}: weights has shape {matrix.shape}; {k} by {k} finite numbers "
                f"with 1 on the diagonal are needed for {', '.join(map(str, labels))}"
            )

    def one(rows):
        return _kappa(_counts(a[rows], b[rows], k), matrix, confidence, who)

    if by is not None:
        return each_stratum(one, by, len(a), who)
    return one(slice(None))


def _kappa(counts, weights, confidence, who):
    n = int(counts.sum())
    if n < 2:
        raise ValueError(f"{who}: {n} complete pairs, at least 2 are needed")
    share = counts / n
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    chance = np.outer(rows, columns)
    observed, expected = np.sum(weights * share), np.sum(weights * chance)
    if np.isclose(expected, 1, rtol=0, atol=1e-12):
        raise ValueError(f"{who}: both raters use one category only, kappa has no meaning")
    kappa = (observed - expected) / (1 - expected)
    means = np.add.outer(weights @ columns, weights.T @ rows)
    scale = n * (1 - expected) ** 2
    variance = np.sum(share * (weights - means * (1 - kappa)) ** 2)
    variance = (variance - (kappa - expected * (1 - kappa)) ** 2) / scale
    null = (np.sum(chance * (weights - means) ** 2) - expected**2) / scale
    # Rounding can leave a variance of nil a little below 0.
    se, se0 = np.sqrt(max(0.0, variance)), np.sqrt(max(0.0, null))
    half = stats.norm.ppf(0.5 + confidence / 2) * se
    statistic = kappa / se0 if se0 > 1e-12 else np.nan
    row = {
        "kappa": kappa,
        "se": se,
        "ci_low": kappa - half,
        "ci_high": kappa + half,
        "n": n,
        "observed": observed,
        "expected": expected,
        "se0": se0,
        "statistic": statistic,
        "p": 2 * stats.norm.sf(abs(statistic)),
    }
    return pd.DataFrame([row])


@dataclass
class Confusion:
    """Result of `confusion_matrix`.

    Attributes
    ----------
    table : DataFrame
        [by] a b n: each pair of categories, also those that do not occur.
    overall : DataFrame
        One row [a stratum]: accuracy ci_low ci_high correct n, and Bowker's test of symmetry:
        statistic df p (McNemar's without correction for 2 categories).
    classes : DataFrame
        [by] label measure (sensitivity specificity ppv npv) estimate ci_low ci_high count n.
    """

    table: pd.DataFrame
    overall: pd.DataFrame
    classes: pd.DataFrame


def confusion_matrix(a, b, labels=None, confidence=0.95, by=None):
    """Cross-table of classes against a reference, with accuracy and measures by class.

    Parameters
    ----------
    a : array_like
        Class by the method or reader to be judged.
    b : array_like
        Reference class of the same subjects (second as in `bland_altman` and `accuracy`; note that
        sklearn has the reference first). Pairs with a missing value are left out.
    labels : sequence, optional
        Categories in their order; else as of `weighted_kappa`.
    confidence : float
        Of the Wilson intervals.
    by : array_like, optional
        Stratum of each pair, each analysed on its own.

    Returns
    -------
    Confusion

    Raises
    ------
    ValueError
        Unequal lengths, categories beyond `labels`, no complete pair.

    Warns
    -----
    UserWarning
        A measure of a class without any subject is NaN.

    Notes
    -----
    As ``caret::confusionMatrix`` of R, with Wilson in place of exact binomial intervals (Wilson
    1927, JASA 22:209). Bowker 1948, JASA 43:572: pairs of cells that are both empty take no df
    (``mcnemar.test`` of R has NaN then).
    """
    who = "confusion_matrix"
    require_confidence(confidence, who)
    a, b, labels = _coded(a, b, labels, who)

    def one(rows, which):
        counts = _counts(a[rows], b[rows], len(labels))
        if counts.sum() == 0:
            raise ValueError(f"{who}: no complete pair")
        return (_cells, _overall, _classes)[which](counts, labels, confidence)

    if by is None:
        return Confusion(*(one(slice(None), which) for which in range(3)))
    keys = ["a", "b", "label"]
    return Confusion(
        *(each_stratum(lambda rows, i=i: one(rows, i), by, len(a), who, keys) for i in range(3))
    )


def _cells(counts, labels, confidence):
    pairs = pd.MultiIndex.from_product([labels, labels], names=["a", "b"]).to_frame(index=False)
    return pairs.assign(n=counts.ravel().astype(int))


def _overall(counts, labels, confidence):
    correct, n = int(np.trace(counts)), int(counts.sum())
    above, below = (table[np.triu_indices(len(labels), 1)] for table in (counts, counts.T))
    used = above + below > 0
    statistic = np.sum((above - below)[used] ** 2 / (above + below)[used])
    df = int(used.sum())
    row = _proportion(correct, n, confidence, "accuracy")
    row |= {"correct": correct, "n": n, "statistic": statistic, "df": df}
    return pd.DataFrame([row | {"p": stats.chi2.sf(statistic, df) if df else np.nan}])


def _classes(counts, labels, confidence):
    total, rows, empty = counts.sum(), [], []
    for i, label in enumerate(labels):
        hit, said, true = counts[i, i], counts[i].sum(), counts[:, i].sum()
        absent = total - said - true + hit
        for measure, count, n in (
            ("sensitivity", hit, true),
            ("specificity", absent, total - true),
            ("ppv", hit, said),
            ("npv", absent, total - said),
        ):
            row = {"label": label, "measure": measure}
            row |= _proportion(int(count), int(n), confidence, "estimate")
            rows.append(row | {"count": int(count), "n": int(n)})
            if n == 0:
                empty.append(f"{measure} of {label}")
    if empty:
        warnings.warn(f"confusion_matrix: no subject for {', '.join(empty)}: NaN", stacklevel=4)
    return pd.DataFrame(rows)


def _proportion(count, n, confidence, name):
    if n == 0:
        return {name: np.nan, "ci_low": np.nan, "ci_high": np.nan}
    low, high = stats.binomtest(count, n).proportion_ci(confidence, method="wilson")
    return {name: count / n, "ci_low": low, "ci_high": high}


def _coded(a, b, labels, who):
    """Places of the categories of both raters (-1 where either is missing), and the categories."""
    a, b = series(a, "a", who), series(b, "b", who)
    same_length(who, {"a": a, "b": b})
    if labels is None:
        declared = [
            list(one.cat.categories) for one in (a, b) if isinstance(one.dtype, pd.CategoricalDtype)
        ]
        if len(declared) == 2 and declared[0] != declared[1]:
            raise ValueError(
                f"{who}: the categories of a ({', '.join(map(str, declared[0]))}) and b "
                f"({', '.join(map(str, declared[1]))}) differ; give labels"
            )
        if declared:
            labels = declared[0]
        else:
            try:
                labels = sorted(set(a.dropna()) | set(b.dropna()))
            except TypeError as error:
                raise ValueError(f"{who}: text and numbers are mixed; give labels") from error
    labels = list(labels)
    if len(set(labels)) < len(labels):
        raise ValueError(f"{who}: labels holds a category twice")
    if not labels:
        raise ValueError(f"{who}: all values are missing")
    codes = []
    for name, one in (("a", a), ("b", b)):
        code = pd.Categorical(one, categories=labels).codes
        beyond = one[(code < 0) & one.notna().to_numpy()]
        if len(beyond):
            raise ValueError(
                f"{who}: {name} holds {beyond.iloc[0]}, which is none of "
                f"{', '.join(map(str, labels))}"
            )
        codes.append(code.astype(int))
    known = (codes[0] >= 0) & (codes[1] >= 0)
    return np.where(known, codes[0], -1), np.where(known, codes[1], -1), labels


def _counts(a, b, k):
    known = a >= 0
    return np.bincount(a[known] * k + b[known], minlength=k * k).reshape(k, k).astype(float)
