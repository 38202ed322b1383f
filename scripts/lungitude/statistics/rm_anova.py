"""Repeated-measures analysis of variance, and Friedman's test."""

import itertools
import warnings

import numpy as np
import pandas as pd
from scipy import linalg, stats

from lungitude.statistics.frames import complete, levels, numbers, require, require_confidence
from lungitude.statistics.linear import inference, listed

COLUMNS = "source F df1 df2 p gg_eps p_gg hf_eps p_hf mauchly_w mauchly_p ges".split()


class Profiles:
    """Complete cases in wide form: one row a subject, one column a level of the within factor.

    Attributes
    ----------
    wide : ndarray (subjects, levels)
    levels : list
        Of the within factor.
    subjects : Index
    groups : DataFrame
        Between factors of the subjects, categorical.
    n, n_dropped : int
    """

    def __init__(self, data, value, subject, within, between, who):
        self.value, self.within, self.between = value, within, between
        names = [value, subject, within, *between]
        if len(set(names)) < len(names):
            raise ValueError(f"{who}: {', '.join(names)} must be different columns")
        require(data, names, who)
        rows = complete(data[names].reset_index(drop=True), [subject, within])
        numbers(rows[value], value, who)
        self.levels = levels(rows[within])
        if len(self.levels) < 2:
            raise ValueError(
                f"{who}: {within!r} needs two levels, found "
                f"{', '.join(map(str, self.levels)) or 'none'}"
            )
        everyone = rows[subject].nunique()
        rows = complete(rows, names)
        twice = rows.duplicated([subject, within])
        if twice.any():
            first = rows.loc[twice].iloc[0]
            raise ValueError(
                f"{who}: {int(twice.sum())} duplicate rows of {subject} and {within}, such as "
                f"{first[subject]}, {first[within]}"
            )
        for name in between:
            kinds = rows.groupby(subject, observed=True)[name].nunique()
            if (kinds > 1).any():
                raise ValueError(
                    f"{who}: {name!r} varies within {int((kinds > 1).sum())} subjects, such as "
                    f"{kinds.index[kinds > 1][0]}; a between factor has one value a subject"
                )
        codes, subjects = pd.factorize(rows[subject], sort=True)
        wide = np.full((len(subjects), len(self.levels)), np.nan)
        place = pd.Categorical(rows[within], categories=self.levels).codes
        wide[codes, place] = rows[value].astype(float)
        whole = np.isfinite(wide).all(axis=1)
        self.wide, self.subjects = wide[whole], subjects[whole]
        self.n, self.n_dropped = len(self.wide), everyone - len(self.wide)
        if self.n < 2:
            there = rows[within].value_counts()
            raise ValueError(
                f"{who}: {self.n} subjects have {value} at all levels of {within} ("
                + ", ".join(f"{level}: {there.get(level, 0)}" for level in self.levels)
                + ")"
            )
        if self.n_dropped:
            warnings.warn(
                f"{who}: {self.n_dropped} of {everyone} subjects without a value at every level "
                f"of {within} are left out",
                stacklevel=3,
            )
        if np.ptp(self.wide) == 0:
            raise ValueError(f"{who}: no variation of {value}")
        one = rows.drop_duplicates(subject).set_index(subject).loc[self.subjects]
        self.groups = pd.DataFrame(index=self.subjects)
        for name in between:
            kept = levels(one[name])
            if len(kept) < 2:
                raise ValueError(f"{who}: {name!r} has one level only, {kept[0]}")
            self.groups[name] = pd.Categorical(one[name], categories=kept)
        self.who = who

    def design(self):
        """Sum-to-zero design of the between factors: matrix, and the columns of each term.

        Sum-to-zero coding makes type III hypotheses those of unweighted cell means.
        """
        codes = {}
        for name in self.between:
            column = self.groups[name].cat
            size = len(column.categories)
            contrast = np.vstack([np.eye(size - 1), -np.ones(size - 1)])
            codes[name] = contrast[column.codes]
        blocks, terms = [np.ones((self.n, 1))], {(): [0]}
        for size in range(1, len(self.between) + 1):
            for term in itertools.combinations(self.between, size):
                block = np.ones((self.n, 1))
                for name in term:
                    block = (block[:, :, None] * codes[name][:, None, :]).reshape(self.n, -1)
                start = sum(b.shape[1] for b in blocks)
                terms[term] = list(range(start, start + block.shape[1]))
                blocks.append(block)
        matrix = np.hstack(blocks)
        empty = np.linalg.matrix_rank(matrix) < matrix.shape[1]
        if empty:
            raise ValueError(
                f"{self.who}: a combination of {', '.join(self.between)} has no subject"
            )
        if self.n <= matrix.shape[1]:
            raise ValueError(f"{self.who}: {self.n} subjects for {matrix.shape[1]} groups")
        return matrix, terms

    def attributes(self, frame):
        """Give a table the counts of subjects."""
        frame.attrs.update(n=self.n, n_dropped=self.n_dropped)
        return frame


def _univariate(profiles):
    """Type III table of both strata; the errors of the changes (k - 1, k - 1) and their df."""
    matrix, terms = profiles.design()
    unscaled = np.linalg.inv(matrix.T @ matrix)
    k = len(profiles.levels)
    df = profiles.n - matrix.shape[1]
    rows = []
    for own, basis in (
        ((), np.full((k, 1), k**-0.5)),
        ((profiles.within,), linalg.helmert(k).T),  # orthonormal differences of the levels
    ):
        y = profiles.wide @ basis
        beta = unscaled @ (matrix.T @ y)
        residual = y - matrix @ beta
        error = residual.T @ residual
        rest, width = float(np.trace(error)), basis.shape[1]
        if not rest > 1e-24 * np.sum(profiles.wide**2):
            what = "changes within subjects" if own else "subject means"
            raise ValueError(f"{profiles.who}: no variation between the {what} of {profiles.value}")
        for term, columns in terms.items():
            part = beta[columns]
            ss = float(np.sum(part * np.linalg.solve(unscaled[np.ix_(columns, columns)], part)))
            df1, df2 = len(columns) * width, df * width
            f = (ss / df1) / (rest / df2)
            source = ":".join([*term, *own]) or "(Intercept)"
            rows.append((source, ss, df1, rest, df2, f, float(stats.f.sf(f, df1, df2))))
    return pd.DataFrame(rows, columns="source ss df1 ss_error df2 F p".split()), error, df


def _sphericity(error, df, size):
    """Greenhouse-Geisser epsilon, Mauchly's W and its p from the errors of the contrasts."""
    d = len(error)
    gg = float(np.trace(error) ** 2 / (d * np.sum(error * error)))
    if d < 2 or d > df:  # no sphericity to test, or too few subjects to test it
        return gg if d > 1 else 1.0, np.nan, np.nan
    sign, logdet = np.linalg.slogdet(error)
    log_w = logdet - d * np.log(np.trace(error) / d) if sign > 0 else -np.inf
    rho = 1 - (2 * d**2 + d + 2) / (6 * d * df)
    # Anderson 2003 has 3 d; stats::mauchly.test, after it car and pingouin, has 3 times the levels.
    second = (d + 2) * (d - 1) * (d - 2) * (2 * d**3 + 6 * d**2 + 3 * size + 2)
    second = second / (288 * (df * d * rho) ** 2)
    z, dz = -df * rho * log_w, d * (d + 1) / 2 - 1
    one, two = stats.chi2.sf(z, dz), stats.chi2.sf(z, dz + 4)
    return gg, float(np.exp(log_w)), float(one + second * (two - one))


def _within_only(profiles):
    """Table and sphericity by pingouin."""
    import pingouin

    long = pd.DataFrame(profiles.wide).reset_index(names="subject")
    long = long.melt("subject", var_name="level", value_name="value")
    row = pingouin.rm_anova(
        long, dv="value", within="level", subject="subject", correction=True, effsize="ng2"
    ).iloc[0]
    table = pd.DataFrame(
        {
            "source": [profiles.within],
            "F": [row["F"]],
            "df1": [row["ddof1"]],
            "df2": [row["ddof2"]],
            "p": [row["p_unc"]],
            "ges": [row["ng2"]],
        }
    )
    return table, row["eps"], row.get("W_spher", np.nan), row.get("p_spher", np.nan)


def rm_anova(data, value="AVAL", subject="USUBJID", within="AVISIT", between=None):
    """Analyse repeated measures by analysis of variance, with type III tests.

    Parameters
    ----------
    data : DataFrame
        Long: one row a subject and level of `within`. A subject that lacks a level is left out
        whole, with a warning.
    value, subject, within : str
    between : str or list of str, optional
        Factors with one value a subject; several are crossed.

    Returns
    -------
    DataFrame
        source F df1 df2 p gg_eps p_gg hf_eps p_hf mauchly_w mauchly_p ges. Rows: the between
        terms, the within factor, ``between:within``. `ges` is generalised eta squared with all
        factors manipulated. Where sphericity is no matter (between terms, two levels) the epsilons
        are 1 and Mauchly's test is NaN. `attrs` has the subjects used, `n`, and left out,
        `n_dropped`.

    Notes
    -----
    R: ``car::Anova(type = 3)`` with sum-to-zero contrasts, and afex; SAS: PROC GLM with REPEATED.
    Without a between factor pingouin computes it. Its mixed design weights the levels of the
    within factor by group sizes, which is not type III when these differ; that is done here.
    Epsilons of Greenhouse & Geisser 1959 and of Huynh & Feldt 1976 as Lecoutre 1991 corrected it;
    the latter may exceed 1 and counts as 1 in `p_hf`, as in car. Generalised eta squared: Olejnik
    & Algina 2003.
    """
    profiles = Profiles(data, value, subject, within, listed(between), "rm_anova")
    table, error, df = _univariate(profiles)
    d = len(error)
    if df < 2:
        raise ValueError(
            f"rm_anova: {profiles.n} subjects with a value at every level of {within!r} leave "
            f"{int(df)} degree of freedom for the error; at least 2 are needed"
        )
    inside = np.arange(len(table)) >= len(table) / 2  # the second stratum
    if profiles.between:
        errors = table["ss_error"].iloc[0] + table["ss_error"].iloc[-1]
        table["ges"] = table["ss"] / (table["ss"] + errors)
        table, inside = table.iloc[1:].reset_index(drop=True), inside[1:]
        gg, w, w_p = _sphericity(error, df, d + 1)
    else:
        table, gg, w, w_p = _within_only(profiles)
        inside = np.array([True])
    hf = ((df + 1) * d * gg - 2) / (d * (df - d * gg)) if d > 1 and df > d * gg else float(d < 2)
    if d > df:
        warnings.warn(
            f"rm_anova: {profiles.n} subjects are too few for Mauchly's test of {d + 1} levels",
            stacklevel=2,
        )
        w = w_p = np.nan
        hf = hf if hf > 0 else np.nan
    for name, eps in (("gg", gg), ("hf", hf)):
        table[f"{name}_eps"] = np.where(inside, eps, 1.0)
        used = np.minimum(table[f"{name}_eps"], 1.0)
        table[f"p_{name}"] = stats.f.sf(table["F"], table["df1"] * used, table["df2"] * used)
    table["mauchly_w"], table["mauchly_p"] = (np.where(inside, x, np.nan) for x in (w, w_p))
    return profiles.attributes(table[COLUMNS])


def rm_anova_sums(data, value="AVAL", subject="USUBJID", within="AVISIT", between=None):
    """Compute the sums of squares of `rm_anova`, type III, with the intercept.

    Returns
    -------
    DataFrame
        source ss df1 ss_error df2 F p (the univariate table of ``summary(car::Anova)``).
    """
    profiles = Profiles(data, value, subject, within, listed(between), "rm_anova_sums")
    return profiles.attributes(_univariate(profiles)[0])


def _cells(profiles):
    """Means (levels,) of each cell of the between factors, and its number of subjects."""
    if not profiles.between:
        return [({}, profiles.wide.mean(axis=0), profiles.n)]
    kinds = [profiles.groups[name].cat.categories for name in profiles.between]
    found = []
    for cell in itertools.product(*reversed(kinds)):
        cell = dict(zip(profiles.between, cell[::-1], strict=True))
        mask = np.all([profiles.groups[n] == level for n, level in cell.items()], axis=0)
        found.append((cell, profiles.wide[mask].mean(axis=0), int(mask.sum())))
    return found


def _linear(profiles, weights, labels, confidence):
    """Linear functions (m, levels) of the means of each cell, by the multivariate model."""
    matrix, _ = profiles.design()
    residual = profiles.wide - matrix @ np.linalg.lstsq(matrix, profiles.wide, rcond=None)[0]
    df = profiles.n - matrix.shape[1]
    covariance = residual.T @ residual / df
    variance = np.einsum("ij,jk,ik->i", weights, covariance, weights)
    parts = []
    for cell, means, n in _cells(profiles):
        estimate, se = weights @ means, np.sqrt(variance / n)
        numbers = {"estimate": estimate, "se": se, "df": float(df)}
        numbers.update(inference(estimate, se, float(df), confidence))
        parts.append(pd.DataFrame({**labels, **cell, **numbers, "n": n}))
    return profiles.attributes(pd.concat(parts, ignore_index=True))


def rm_anova_means(
    data, value="AVAL", subject="USUBJID", within="AVISIT", between=None, confidence=0.95
):
    """Means of each level of the within factor in each between group.

    Returns
    -------
    DataFrame
        The within and between columns, estimate se df ci_low ci_high n. Each level has its own
        variance, pooled over groups (emmeans of afex with ``model = "multivariate"``).
    """
    require_confidence(confidence, "rm_anova_means")
    profiles = Profiles(data, value, subject, within, listed(between), "rm_anova_means")
    labels = {within: profiles.levels}
    table = _linear(profiles, np.eye(len(profiles.levels)), labels, confidence)
    return table.drop(columns=["statistic", "p"])


def rm_anova_pairs(
    data, value="AVAL", subject="USUBJID", within="AVISIT", between=None, confidence=0.95
):
    """Differences between all levels of the within factor in each between group.

    Returns
    -------
    DataFrame
        contrast ("Week 6 - Baseline"), the between columns, estimate se df statistic p ci_low
        ci_high n. No sphericity is assumed; p is unadjusted (see `adjust`).
    """
    require_confidence(confidence, "rm_anova_pairs")
    profiles = Profiles(data, value, subject, within, listed(between), "rm_anova_pairs")
    k = len(profiles.levels)
    pairs = [(high, low) for high in range(k) for low in range(high)]
    weights = np.array([np.eye(k)[high] - np.eye(k)[low] for high, low in pairs])
    names = profiles.levels
    labels = {"contrast": [f"{names[high]} - {names[low]}" for high, low in pairs]}
    return _linear(profiles, weights, labels, confidence)


def friedman(data, value="AVAL", subject="USUBJID", within="AVISIT"):
    """Friedman's rank test of the levels of a within factor, corrected for ties.

    Returns
    -------
    DataFrame
        One row: statistic (chi-square) df p kendall_w n n_dropped.

    Notes
    -----
    ``scipy.stats.friedmanchisquare``; R: friedman.test; SAS: PROC FREQ with CMH2 SCORES=RANK.
    """
    profiles = Profiles(data, value, subject, within, [], "friedman")
    n, k = profiles.wide.shape
    if k < 3:
        raise ValueError(f"friedman: {within!r} has two levels; use the signed-rank test")
    if not np.ptp(profiles.wide, axis=1).any():
        raise ValueError(f"friedman: no variation of {value} within subjects")
    found = stats.friedmanchisquare(*profiles.wide.T)
    return pd.DataFrame(
        {
            "statistic": [float(found.statistic)],
            "df": [k - 1],
            "p": [float(found.pvalue)],
            "kendall_w": [float(found.statistic) / (n * (k - 1))],
            "n": [n],
            "n_dropped": [profiles.n_dropped],
        }
    )
