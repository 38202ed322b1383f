"""Least squares and what every linear fit shares: aliasing, tests of linear functions, means."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.frames import with_reference

TOLERANCE = 1e-7  # of R's lm: a column whose part outside the span of earlier ones is smaller goes

ROBUST = ("HC0", "HC1", "HC2", "HC3", "HC4")


def independent(matrix, tolerance=TOLERANCE):
    """Find the columns that are not in the span of the columns before them."""
    kept, basis = [], np.empty((len(matrix), 0))
    for index, column in enumerate(matrix.T):
        length = np.linalg.norm(column)
        rest = column
        for _ in range(2):  # twice is enough for orthogonality to machine precision
            rest = rest - basis @ (basis.T @ rest)
        if length > 0 and np.linalg.norm(rest) > tolerance * length:
            kept.append(index)
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
    return kept


def estimable(rows, matrix, tolerance=1e-8):
    """Which linear functions of the coefficients the full design `matrix` can estimate."""
    rows = np.atleast_2d(rows)
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1
    _, values, right = np.linalg.svd(matrix / scale, full_matrices=False)
    span = right[values > TOLERANCE * values[0]]
    scaled = rows / scale
    rest = scaled - scaled @ span.T @ span
    return np.linalg.norm(rest, axis=1) <= tolerance * np.maximum(np.linalg.norm(scaled, axis=1), 1)


@dataclass
class LeastSquares:
    """Ordinary least squares: `beta` and `covariance` of the kept columns, residual `df`."""

    beta: np.ndarray
    covariance: np.ndarray
    df: int
    sigma: float
    residual: np.ndarray
    leverage: np.ndarray
    unscaled: np.ndarray
    matrix: np.ndarray

    @property
    def rss(self):
        """Residual sum of squares."""
        return float(self.residual @ self.residual)

    def robust(self, kind):
        """Heteroscedasticity-consistent covariance HC0 to HC4 (MacKinnon & White; Cribari-Neto)."""
        rest = 1 - self.leverage
        if kind not in ("HC0", "HC1") and (rest < 1e-10).any():
            raise ValueError(
                f"{kind}: {int((rest < 1e-10).sum())} observations have leverage 1 "
                "(alone in a factor level); use HC0, HC1 or no robust covariance"
            )
        n, k = self.matrix.shape
        weight = {
            "HC0": lambda: 1.0,
            "HC1": lambda: n / (n - k),
            "HC2": lambda: 1 / rest,
            "HC3": lambda: rest**-2,
            "HC4": lambda: rest ** -np.minimum(4, n * self.leverage / k),
        }[kind]()
        scores = self.matrix * (self.residual * np.sqrt(weight))[:, None]
        return self.unscaled @ (scores.T @ scores) @ self.unscaled


def least_squares(matrix, response):
    """Fit by QR; `matrix` (n, k) must have full column rank and n > k."""
    n, k = matrix.shape
    q, r = np.linalg.qr(matrix)
    inverse = np.linalg.inv(r)
    beta = inverse @ (q.T @ response)
    residual = response - matrix @ beta
    df = n - k
    variance = float(residual @ residual) / df
    unscaled = inverse @ inverse.T
    return LeastSquares(
        beta,
        variance * unscaled,
        df,
        float(np.sqrt(variance)),
        residual,
        np.einsum("ij,ij->i", q, q),
        unscaled,
        matrix,
    )


def inference(estimate, se, df, confidence):
    """Compute t, two-sided p and interval; df infinite is the normal distribution."""
    estimate, se, df = (np.asarray(value, dtype=float) for value in (estimate, se, df))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / se
    half = stats.t.ppf(0.5 + confidence / 2, df) * se
    return {
        "statistic": statistic,
        "p": 2 * stats.t.sf(np.abs(statistic), df),
        "ci_low": estimate - half,
        "ci_high": estimate + half,
    }


def joint_df(df):
    """Denominator df of the mean of squared independent t statistics (Fai & Cornelius 1996)."""
    df = np.asarray(df, dtype=float)
    if len(df) == 1 or np.ptp(df) < 1e-8 or np.isinf(df).all():
        return float(np.mean(df))
    if (df <= 2).any():
        return 2.0
    ratio = np.where(np.isinf(df), 1.0, df / (df - 2)).sum()
    return float(2 * ratio / (ratio - len(df)))


def kenward_roger_df(size, a1, a2):
    """Denominator df of the scaled F of `size` rows from A1 and A2 of Kenward & Roger 1997.

    The scale that belongs to it is ``df (1 - a2 / size) / (df - 2)``.
    """
    b = (a1 + 6 * a2) / (2 * size)
    g = ((size + 1) * a1 - (size + 4) * a2) / ((size + 2) * a2)
    below = 3 * size + 2 * (1 - g)
    c1, c2, c3 = g / below, (size - g) / below, (size + 2 - g) / below
    rho = (1 - a2 / size) ** 2 * (1 + c1 * b) / (size * (1 - c2 * b) ** 2 * (1 - c3 * b))
    return 4 + (size + 2) / (size * rho - 1)


def combinations(design, names):
    """Cells of the factors `names` as dicts, the first name fastest."""
    if len(set(names)) < len(names):
        raise ValueError(f"marginal means: a factor is named twice in {', '.join(map(str, names))}")
    for name in names:
        if name not in design.factors:
            found = ", ".join(design.factors) or "none"
            raise ValueError(f"{name!r} is no factor of the model (factors: {found})")
    backwards = [design.factors[name] for name in reversed(names)]
    return [dict(zip(names, cell[::-1], strict=True)) for cell in itertools.product(*backwards)]


def restricted(cells, at):
    """Cells whose levels are among those that `at` names."""
    for name in [name for name in (cells[0] if cells else ()) if name in at]:
        wanted = at.pop(name)
        wanted = [wanted] if isinstance(wanted, str) or np.ndim(wanted) == 0 else list(wanted)
        known = {cell[name] for cell in cells}
        if unknown := [level for level in wanted if level not in known]:
            raise ValueError(f"marginal means: {unknown[0]!r} is no level of {name!r}")
        cells = [cell for cell in cells if cell[name] in wanted]
    return cells


def listed(names):
    """Make a list of a name, names or None."""
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


class LinearFit:
    """Marginal means and contrasts of a fitted linear model.

    A subclass sets `design`, `kept` (indices of the columns in the fit), `beta` and `vcov` of
    those, `confidence`, and has ``_df(rows)`` for rows over the kept columns.
    """

    def linear(self, labels, rows, tested=True, strict=True):
        """Estimate linear functions of the coefficients.

        Parameters
        ----------
        labels : list of dict
            Label columns of each row.
        rows : ndarray (m, columns of the design)
        tested : bool
            Whether to give statistic and p.
        strict : bool
            Raise a ValueError where the data cannot estimate a row; otherwise it is NaN.

        Returns
        -------
        DataFrame
            The labels, estimate se df [statistic p] ci_low ci_high.
        """
        rows = np.atleast_2d(rows)
        known = estimable(rows, self.design.matrix)
        if strict and not known.all():
            label = ", ".join(str(value) for value in labels[int(np.argmin(known))].values())
            gone = [n for i, n in enumerate(self.design.names) if i not in set(self.kept)]
            raise ValueError(
                f"{label} cannot be estimated: {', '.join(gone)} is aliased "
                "(an empty cell, or a variable that is a combination of others)"
            )
        rows = rows[:, self.kept]
        estimate = rows @ self.beta
        se = np.sqrt(np.einsum("ij,jk,ik->i", rows, self.vcov, rows))
        df = self._df(rows)
        found = inference(estimate, se, df, self.confidence)
        columns = {"estimate": estimate, "se": se, "df": df, **found}
        if not tested:
            del columns["statistic"], columns["p"]
        columns = {name: np.where(known, value, np.nan) for name, value in columns.items()}
        return pd.DataFrame({**pd.DataFrame(labels).to_dict("series"), **columns})

    def emmeans(self, specs, by=None, weights="equal", at=None):
        """Estimated marginal means of the cells of `specs`, within the cells of `by`.

        Parameters
        ----------
        specs, by : str or list of str
            Factors of the model.
        weights : {"equal", "proportional", "counterfactual"}
            How factors that are not named are averaged; covariates are at their mean.
        at : dict, optional
            Variables at other values.

        Returns
        -------
        DataFrame
            The factors, estimate se df ci_low ci_high.
        """
        names, at = [*listed(specs), *listed(by)], dict(at or {})
        labels = restricted(combinations(self.design, names), at)
        rows = [self.design.mean_row({**at, **cell}, weights) for cell in labels]
        return self.linear(labels, np.array(rows), tested=False)

    def contrasts(self, factor, by=None, reference=None, weights="equal", at=None):
        """Differences of the marginal means of a factor from its reference level.

        Returns
        -------
        DataFrame
            contrast ("TRT - PBO"), the `by` columns, estimate se df statistic p ci_low ci_high.
        """
        if not isinstance(factor, str):
            raise ValueError(f"contrasts: {factor!r} is no name; contrast one factor at a time")
        by, at = listed(by), dict(at or {})
        combinations(self.design, [factor, *by])
        cells = restricted(combinations(self.design, by), at)
        if factor in at:
            raise ValueError(f"contrasts: {factor!r} is contrasted and cannot be fixed by at")
        first, *others = with_reference(self.design.factors[factor], reference, factor, "contrasts")
        labels, rows = [], []
        for cell in cells or [{}]:
            base = self.design.mean_row({**at, **cell, factor: first}, weights)
            for level in others:
                labels.append({"contrast": f"{level} - {first}", **cell})
                rows.append(self.design.mean_row({**at, **cell, factor: level}, weights) - base)
        if not rows:
            raise ValueError(f"contrasts: {factor!r} has one level only, {first!r}")
        return self.linear(labels, np.array(rows))

    def over_kept(self, rows, who):
        """Rows over all columns of the design, or over the coefficients, as rows over the latter.

        Raises a ValueError where the data cannot estimate a row, or it is no row at all.
        """
        try:
            rows = np.atleast_2d(np.asarray(rows, dtype=float))
        except (TypeError, ValueError):
            raise ValueError(f"{who}: test takes rows of numbers over the coefficients") from None
        names, kept = self.design.names, self.kept
        if rows.shape[1] == len(names) != len(kept):
            lost = [n for i, n in enumerate(names) if i not in set(kept)]
            if not estimable(rows, self.design.matrix).all():
                raise ValueError(f"{who}: a row cannot be estimated, {', '.join(lost)} is aliased")
            rows = rows[:, kept]
        if rows.shape[1] != len(kept):
            raise ValueError(
                f"{who}: test has {rows.shape[1]} columns for {len(kept)} coefficients"
            )
        if not np.isfinite(rows).all() or not rows.any(axis=1).all():
            raise ValueError(f"{who}: test has a row that is 0 or not finite")
        return rows

    @property
    def coefficients(self):
        """Coefficients in the fit: term estimate se df statistic p ci_low ci_high."""
        rows = np.eye(len(self.kept))
        se = np.sqrt(np.diag(self.vcov))
        df = self._df(rows)
        names = [self.design.names[index] for index in self.kept]
        return pd.DataFrame(
            {
                "term": names,
                "estimate": self.beta,
                "se": se,
                "df": df,
                **inference(self.beta, se, df, self.confidence),
            }
        )
