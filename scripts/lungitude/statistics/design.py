"""Design matrices with marginal means, coded and named as R does it.

A design has `matrix` (n, k), `names` (as R writes them), `terms` (the variables of each column),
`factors` (levels by name), and ``mean_row(fixed, weights)``: the linear function of the
coefficients that is the marginal mean with some variables fixed. Factors have treatment coding;
the first level is the reference. `ColumnDesign` takes columns and products of columns,
`FormulaDesign` a Wilkinson formula.
"""

import ast
import itertools
import re

import numpy as np
import pandas as pd

from lungitude.statistics.frames import (
    is_factor,
    levels,
    numbers,
    require,
    require_choice,
    with_reference,
)

WEIGHTS = ("equal", "proportional", "counterfactual")


# The three kinds of variable have the same methods: `names` and `values` of their columns (`full`:
# all indicators of a factor, else all but the first), and `at`, their row with variables fixed.


class Factor:
    """A column with levels."""

    def __init__(self, label, column, kept):
        self.label, self.column, self.levels = label, column, list(kept)

    def names(self, full):  # noqa: D102
        return [f"{self.label}{level}" for level in self.levels[0 if full else 1 :]]

    def values(self, frame, full):  # noqa: D102
        codes = pd.Categorical(frame[self.column], categories=self.levels).codes
        return np.equal.outer(codes, np.arange(0 if full else 1, len(self.levels))).astype(float)

    def at(self, fixed, means, full):
        """Give the indicators with the factor fixed, else their equally weighted mean."""
        kept = self.levels[0 if full else 1 :]
        if self.column in fixed:
            return np.array([float(level == fixed[self.column]) for level in kept])
        return np.full(len(kept), 1 / len(self.levels))


class Number:
    """A numeric column as it is."""

    levels = None

    def __init__(self, column):
        self.label = self.column = column

    def names(self, full):  # noqa: D102
        return [self.label]

    def values(self, frame, full):  # noqa: D102
        return frame[self.column].to_numpy(dtype=float, na_value=np.nan)[:, None]

    def at(self, fixed, means, full):  # noqa: D102
        return np.array([float(fixed.get(self.column, means[self.column]))])


class Expression:
    """A transformation of numeric columns, ``log(CRP)`` or ``poly(AGE, 2)``, by formulaic."""

    levels = column = None

    def __init__(self, label, frame):
        from formulaic import model_matrix

        self.label = label
        call = isinstance(ast.parse(label, mode="eval").body, ast.Call)
        built = model_matrix(f"0 + {label}" if call else f"0 + {{{label}}}", frame)
        # poly(x, 2)[1] is poly(x, 2)1 in R
        self._names = [re.sub(r"\[(\d+)\]$", r"\1", str(name)) for name in built.columns]
        self._spec = built.model_spec
        self.built = built.to_numpy(dtype=float)

    def names(self, full):  # noqa: D102
        return self._names

    def values(self, frame, full):  # noqa: D102
        return self._spec.get_model_matrix(frame).to_numpy(dtype=float)

    def at(self, fixed, means, full):  # noqa: D102
        # At the mean of the variable, not the mean of the transformed one, as emmeans does it.
        frame = pd.DataFrame({name: [value] for name, value in {**means, **fixed}.items()})
        return self.values(frame, full)[0]


class Design:
    """Columns of `terms` over `frame`; see the module.

    Parameters
    ----------
    frame : DataFrame
        Rows without missing values in the variables.
    variables : dict of label to Factor, Number or Expression
    terms : list of tuple of label
        Without the intercept; in the order of the columns.
    intercept : bool
    """

    def __init__(self, frame, variables, terms, intercept=True):
        self.rows, self.variables = frame, variables
        self.factors = {
            v.column: v.levels for v in variables.values() if v.levels and v.column is not None
        }
        self.covariates = [v.column for v in variables.values() if isinstance(v, Number)]
        self.means = {
            name: float(np.mean(numbers(frame[name], name, "design"))) for name in self.covariates
        }
        self._intercept = intercept
        self._coding = self._coded(terms, intercept)
        self.names, self.terms = (["(Intercept)"], [()]) if intercept else ([], [])
        for term, coding in self._coding:
            labels = [""]
            for label, full in zip(term, coding, strict=True):
                own = self.variables[label].names(full)
                labels = [f"{left}:{right}" if left else right for right in own for left in labels]
            self.names += labels
            self.terms += [term] * len(labels)
        self.matrix = self._matrix(frame)

    def _coded(self, terms, intercept):
        """Whether each factor of each term has all its indicators: R's rule.

        A factor has contrasts where the term without it is in the model, else all indicators
        (Chambers & Hastie 1992, section 2.4.1). Without an intercept the first factor has all.
        """
        present = {frozenset(term) for term in terms} | {frozenset()}
        coded, whole = [], not intercept
        for term in terms:
            coding = []
            for label in term:
                if self.variables[label].levels is None:
                    coding.append(False)
                    continue
                full = frozenset(term) - {label} not in present
                if whole and len(term) == 1:
                    full, whole = True, False
                coding.append(full)
            coded.append((term, coding))
        return coded

    def _matrix(self, frame):
        cache = {}
        blocks = [np.ones((len(frame), 1))] if self._intercept else []
        for term, coding in self._coding:
            block = None
            for key in zip(term, coding, strict=True):
                if key not in cache:
                    cache[key] = self.variables[key[0]].values(frame, key[1])
                value = cache[key]
                if block is None:
                    block = value
                else:  # the first variable is the fastest
                    block = (value[:, :, None] * block[:, None, :]).reshape(len(frame), -1)
            blocks.append(block)
        return np.hstack(blocks)

    def mean_row(self, fixed, weights="equal"):
        """Coefficients' weights of a marginal mean.

        `weights` ``equal``: factors that are not fixed are averaged over their levels, covariates
        at their mean; ``proportional``: the cells of these factors are weighted by their
        frequency; ``counterfactual``: the mean over the rows with the fixed variables set
        (g-computation).
        """
        require_choice(weights, WEIGHTS, "weights", "marginal means")
        known = {*self.factors, *self.covariates, *self.means}
        for name, value in fixed.items():
            if name in self.factors and value not in self.factors[name]:
                raise ValueError(f"marginal means: {value!r} is no level of {name!r}")
            if name not in known:
                raise ValueError(f"marginal means: {name!r} is no variable of the model")
            if name not in self.factors and not (
                isinstance(value, int | float | np.number) and np.isfinite(value)
            ):
                raise ValueError(f"marginal means: {name!r} at {value!r}; give one number")
        if weights == "counterfactual":
            return self._matrix(self.rows.assign(**fixed)).mean(axis=0)
        if weights == "proportional":
            # Frequencies of cells times their rows is the mean over the rows.
            return self._matrix(self.rows.assign(**{**self.means, **fixed})).mean(axis=0)
        # In a full grid with equal weights the mean of a product is the product of the means.
        row = [np.ones(1)] if self._intercept else []
        for term, coding in self._coding:
            value = np.ones(1)
            for label, full in zip(term, coding, strict=True):
                own = self.variables[label].at(fixed, self.means, full)
                value = np.outer(own, value).ravel()
            row.append(value)
        return np.concatenate(row)

    def hypothesis(self, term):
        """Rows of the type III hypothesis of a term: differences from first levels.

        Averaged equally over the factors of the terms that contain it, as SAS and car do it for
        full-rank designs.
        """
        position, blocks = {}, {}
        start = int(self._intercept)
        for other, coding in self._coding:
            size = int(
                np.prod(
                    [len(self.variables[x].names(f)) for x, f in zip(other, coding, strict=True)]
                )
            )
            position[other], start = start, start + size
            blocks[other] = coding
        own = blocks[term]
        free = [
            [None]
            if self.variables[x].levels is None
            else self.variables[x].levels[0 if f else 1 :]
            for x, f in zip(term, own, strict=True)
        ]
        rows = []
        for cell in itertools.product(*reversed(free)):
            cell = dict(zip(term, cell[::-1], strict=True))
            row = np.zeros(len(self.names))
            for other, coding in self._coding:
                numeric = {x for x in other if self.variables[x].levels is None}
                if not set(term) <= set(other) or not numeric <= set(term):
                    continue
                value = np.ones(1)
                for x, full in zip(other, coding, strict=True):
                    variable = self.variables[x]
                    if variable.levels is None:
                        part = np.ones(len(variable.names(full)))
                    elif x in term:
                        part = np.array([float(level == cell[x]) for level in variable.levels])
                        if full and not own[term.index(x)]:
                            part[0] = -1.0
                        part = part if full else part[1:]
                    else:
                        part = variable.at({}, self.means, full)
                    value = np.outer(part, value).ravel()
                row[position[other] : position[other] + len(value)] = value
            rows.append(row)
        return np.array(rows)

    @property
    def term_labels(self):
        """Terms without the intercept, in order."""
        return [term for term, _ in self._coding]


class ColumnDesign(Design):
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
        variables = {}
        for name in dict.fromkeys(itertools.chain.from_iterable(terms)):
            column, given = data[name], (factor_levels or {}).get(name)
            if given is not None or is_factor(column):
                variables[name] = Factor(name, name, given or levels(column))
            else:
                variables[name] = Number(name)
        super().__init__(data, variables, terms)


def _reference(option, label, who):
    """Read the reference level of ``C(x, Treatment('B'))`` or ``C(x, contr.treatment('B'))``."""
    found = re.fullmatch(
        r"(?:contrasts\s*=\s*)?(?:Treatment|contr\.treatment)\(\s*(?:(?:reference|base)\s*=\s*)?(.+?)\s*\)",
        option,
    )
    try:
        return ast.literal_eval(found[1])
    except (TypeError, ValueError, SyntaxError):
        raise ValueError(
            f"{who}: {label!r} is not offered; factors have treatment coding, and another "
            "reference is C(x, Treatment('level')) or a Categorical whose first category it is"
        ) from None


def _within(parsed, data):
    """Columns within calls, which formulaic does not list where a transform keeps a state."""
    found = set()
    for side in (parsed.lhs, parsed.rhs):
        for expression in (str(factor.expr) for term in side for factor in term.factors):
            try:
                tree = ast.parse(expression.strip("`{} "), mode="eval")
            except SyntaxError:  # a quoted name
                continue
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            found |= {name for name in names if name in data.columns}
    return found


class FormulaDesign(Design):
    """Design from a formula such as ``"FEV1 ~ RACE + log(AGE) + ARM * VISIT"``.

    Parameters
    ----------
    data : DataFrame
    formula : str
        Wilkinson formula as formulaic reads it; ``C(x)`` makes a factor of a numeric column.
    extra : sequence of str
        Further columns that must be present in a row (subject, visit).

    Notes
    -----
    formulaic parses and evaluates transformations; the columns are coded, ordered and named by
    R's rules, which differ from formulaic's where a margin is absent (``A:B:C`` without ``A:B``).
    """

    def __init__(self, data, formula, extra=(), who="model"):
        from formulaic import Formula

        try:
            parsed = Formula(formula)
            left, right = parsed.lhs, parsed.rhs
        except Exception as error:  # formulaic raises its own family; its message names the place
            if isinstance(error, AttributeError):
                raise ValueError(f"{who}: formula {formula!r} has no response: y ~ x") from error
            told = re.sub(r"\x1b\[[0-9;]*m|\s+", " ", str(error)).replace("\u29db", "")
            raise ValueError(f"{who}: formula {formula!r} cannot be read: {told}") from error
        require(data, [], who)
        used = sorted(set(map(str, parsed.required_variables)) | _within(parsed, data))
        absent = [name for name in [*used, *extra] if name not in data.columns]
        if absent:
            raise ValueError(f"{who}: no column {', '.join(map(repr, absent))} for {formula!r}")
        needed = list(dict.fromkeys([*used, *extra]))
        kept = data.loc[data[needed].notna().all(axis=1), needed].copy()
        if kept.empty:
            raise ValueError(f"{who}: no row has all of {', '.join(needed)}")
        response = [factor.expr for term in left for factor in term.factors]
        if len(response) != 1:
            raise ValueError(f"{who}: {formula!r} needs one numeric response")
        self.response_name = str(response[0])
        for name in {str(name) for name in left.required_variables}:
            numbers(kept[name], name, who)
        self.response = self._evaluate(str(response[0]), kept, who).values(kept, False)
        if self.response.shape[1] != 1:
            raise ValueError(f"{who}: {formula!r} needs one numeric response")
        self.response = self.response[:, 0]
        # The order of variables in an interaction is that of their first appearance (R's terms).
        unordered = Formula(formula, _ordering="none").rhs
        order = {}
        for term in unordered:
            for factor in term.factors:
                order.setdefault(str(factor.expr), len(order))
        terms, intercept = [], False
        for term in right:
            labels = [str(factor.expr) for factor in term.factors]
            if labels in (["1"], []):
                intercept = True
                continue
            if "0" in labels:
                continue
            terms.append(tuple(sorted(labels, key=order.__getitem__)))
        terms.sort(key=len)
        variables = {}
        for label in dict.fromkeys(itertools.chain.from_iterable(terms)):
            variables[label] = self._evaluate(label, kept, who)
        for variable in variables.values():
            if isinstance(variable, Number):
                numbers(kept[variable.column], variable.column, who)
        super().__init__(kept, variables, terms, intercept)
        # Variables that occur within expressions only are covariates, too.
        inside = [n for n in used if n not in self.factors and n not in self.covariates]
        for name in inside:
            if not is_factor(kept[name]) and name not in map(str, left.required_variables):
                self.means[name] = float(np.mean(numbers(kept[name], name, who)))
        if not (np.isfinite(self.matrix).all() and np.isfinite(self.response).all()):
            bad = [
                n
                for n, c in zip(self.names, self.matrix.T, strict=True)
                if not np.isfinite(c).all()
            ]
            raise ValueError(f"{who}: {', '.join(bad) or 'the response'} is not finite in all rows")

    @staticmethod
    def _evaluate(label, frame, who):
        plain = label.strip("`")
        made = re.fullmatch(r"C\(\s*`?([^,`()]+?)`?\s*(?:,\s*(.+?)\s*)?\)", label)
        if plain in frame.columns and not is_factor(frame[plain]):
            return Number(plain)
        if made or plain in frame.columns:
            column = made[1] if made else plain
            kept = levels(frame[column])
            if made and made[2]:
                kept = with_reference(kept, _reference(made[2], label, who), column, who)
            return Factor(label if made else plain, column, kept)
        inside = [
            name for name in frame.columns if re.search(rf"\b{re.escape(str(name))}\b", label)
        ]
        factors = [name for name in inside if is_factor(frame[name])]
        if factors:
            raise ValueError(
                f"{who}: {label!r} transforms {factors[0]!r}, which is no number; factors enter by "
                "their name, or as C(name) for numbers"
            )
        try:
            return Expression(label, frame)
        except Exception as error:  # whatever the expression raises, the user wrote it
            raise ValueError(f"{who}: {label!r} cannot be computed: {error}") from error
