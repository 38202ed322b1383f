"""Design matrices with marginal means: built from columns (fast) or from a formula (general).

Both classes have `matrix` (n, k), `names` (as R writes them), `factors` (levels by name) and
``mean_row(fixed, weights)``: the linear function of the coefficients that is the marginal mean
with some factors fixed. Factors have treatment coding; the first level is the reference.
"""

import itertools
import re

import numpy as np
import pandas as pd

from lungitude.statistics.frames import is_factor, levels, numbers, require_choice

WEIGHTS = ("equal", "proportional", "counterfactual")


class ColumnDesign:
    """Design from whole columns and products of columns; no formula is parsed.

    Parameters
    ----------
    data : DataFrame
        Rows without missing values in the variables.
    terms : sequence of str or tuple of str
        A variable, or an interaction whose main effects are terms too.
    factor_levels : dict of name to list, optional
        Levels in their order, for factors whose order or reference the data do not carry.
    """

    def __init__(self, data, terms, factor_levels=None):
        terms = [(term,) if isinstance(term, str) else tuple(term) for term in terms]
        self.factors = {}
        self._means = {}
        columns = {}
        for name in dict.fromkeys(itertools.chain.from_iterable(terms)):
            column = data[name]
            if name in (factor_levels or {}) or is_factor(column):
                kept = (factor_levels or {}).get(name) or levels(column)
                self.factors[name] = list(kept)
                codes = pd.Categorical(column, categories=kept).codes
                columns[name] = np.equal.outer(codes, np.arange(1, len(kept))).astype(float)
            else:
                columns[name] = numbers(column, name, "design")[:, None]
                self._means[name] = columns[name].mean(axis=0)
        blocks, self.names, self.terms = [np.ones((len(data), 1))], ["(Intercept)"], [()]
        for term in terms:
            block, labels = np.ones((len(data), 1)), [""]
            for name in term:
                block = (block[:, :, None] * columns[name][:, None, :]).reshape(len(data), -1)
                own = (
                    [f"{name}{level}" for level in self.factors[name][1:]]
                    if name in self.factors
                    else [name]
                )
                labels = [f"{left}:{right}" if left else right for left in labels for right in own]
            blocks.append(block)
            self.names += labels
            self.terms += [term] * len(labels)
        self.matrix = np.hstack(blocks)

    def _value(self, name, fixed):
        if name not in self.factors:
            return self._means[name] if name not in fixed else np.array([float(fixed[name])])
        kept = self.factors[name]
        if name not in fixed:
            return np.full(len(kept) - 1, 1 / len(kept))
        return np.array([float(level == fixed[name]) for level in kept[1:]])

    def mean_row(self, fixed, weights="equal"):
        """Coefficients' weights of a marginal mean: other factors equally, covariates at means.

        In a full grid with equal weights the mean of a product of factors is the product of their
        means, so no grid is needed.
        """
        require_choice(weights, ("equal",), "weights", "marginal means")
        row, previous = [1.0], None
        for term in self.terms[1:]:
            if term == previous:
                continue
            value = np.ones(1)
            for name in term:
                value = np.outer(value, self._value(name, fixed)).ravel()
            row.extend(value)
            previous = term
        return np.array(row)


def r_name(name):
    """Name of a coefficient as R writes it: ``arm[T.B]:visit[T.2]`` is ``armB:visit2``."""
    name = re.sub(r"\[T?\.?(.*?)\]", r"\1", name)
    return "(Intercept)" if name == "Intercept" else name


class FormulaDesign:
    """Design from a formula such as ``"FEV1 ~ RACE + log(AGE) + ARM * VISIT"``.

    Parameters
    ----------
    data : DataFrame
    formula : str
        Wilkinson formula as formulaic reads it.
    extra : sequence of str
        Further columns that must be present in a row (subject, visit).
    """

    def __init__(self, data, formula, extra=(), who="model"):
        from formulaic import Formula

        try:
            parsed = Formula(formula)
            left, right = parsed.lhs, parsed.rhs
        except Exception as error:  # formulaic raises its own family; its message names the place
            if isinstance(error, AttributeError):
                raise ValueError(f"{who}: formula {formula!r} has no response: y ~ x") from error
            raise ValueError(f"{who}: formula {formula!r} cannot be read: {error}") from error
        used = sorted(map(str, parsed.required_variables))
        absent = [name for name in [*used, *extra] if name not in data.columns]
        if absent:
            raise ValueError(f"{who}: no column {', '.join(map(repr, absent))} for {formula!r}")
        kept = data.loc[data[[*used, *extra]].notna().all(axis=1)].copy()
        if kept.empty:
            raise ValueError(f"{who}: no row has all of {', '.join([*used, *extra])}")
        self.factors, self.covariates = {}, []
        response = {str(name) for name in left.required_variables}
        for name in used:
            if name in response:
                numbers(kept[name], name, who)
            elif is_factor(kept[name]) or re.search(rf"\bC\(\s*{re.escape(name)}\b", formula):
                self.factors[name] = levels(kept[name])
                kept[name] = pd.Categorical(kept[name], categories=self.factors[name])
            else:
                numbers(kept[name], name, who)
                self.covariates.append(name)
        self.rows = kept
        self.response = left.get_model_matrix(kept).to_numpy(dtype=float)
        if self.response.shape[1] != 1:
            raise ValueError(f"{who}: {formula!r} needs one numeric response")
        self.response = self.response[:, 0]
        built = right.get_model_matrix(kept)
        self._spec = built.model_spec
        self.matrix = built.to_numpy(dtype=float)
        self.names = [r_name(name) for name in built.columns]
        if not (np.isfinite(self.matrix).all() and np.isfinite(self.response).all()):
            bad = [
                n
                for n, c in zip(self.names, self.matrix.T, strict=True)
                if not np.isfinite(c).all()
            ]
            raise ValueError(f"{who}: {', '.join(bad) or 'the response'} is not finite in all rows")

    def _matrix(self, frame):
        frame = frame.copy()
        for name, kept in self.factors.items():
            frame[name] = pd.Categorical(frame[name], categories=kept)
        return self._spec.get_model_matrix(frame).to_numpy(dtype=float)

    def mean_row(self, fixed, weights="equal"):
        """Coefficients' weights of a marginal mean.

        `weights` ``equal``: factors that are not fixed are averaged over their grid, covariates at
        their mean; ``proportional``: the grid is weighted by the frequency of its cells;
        ``counterfactual``: the mean over the rows with the fixed variables set.
        """
        require_choice(weights, WEIGHTS, "weights", "marginal means")
        for name, value in fixed.items():
            if name in self.factors and value not in self.factors[name]:
                raise ValueError(f"marginal means: {value!r} is no level of {name!r}")
            if name not in self.factors and name not in self.covariates:
                raise ValueError(f"marginal means: {name!r} is no variable of the model")
        if weights == "counterfactual":
            return self._matrix(self.rows.assign(**fixed)).mean(axis=0)
        free = [name for name in self.factors if name not in fixed]
        cells = list(itertools.product(*(self.factors[name] for name in free)))
        grid = pd.DataFrame(cells, columns=free, index=range(len(cells)))
        for name in self.covariates:
            grid[name] = self.rows[name].astype(float).mean()
        for name, value in fixed.items():
            grid[name] = value
        share = np.full(len(cells), 1 / len(cells))
        if weights == "proportional" and free:
            counts = self.rows.groupby(free, observed=False).size()
            if len(free) == 1:
                share = counts.reindex([cell[0] for cell in cells]).to_numpy(dtype=float)
            else:
                share = counts.reindex(pd.MultiIndex.from_tuples(cells)).to_numpy(dtype=float)
            share = share / share.sum()
        return share @ self._matrix(grid)
