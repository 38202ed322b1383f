"""Multivariable linear regression and stepwise selection of its terms."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.design import ColumnDesign, FormulaDesign
from lungitude.statistics.frames import (
    complete,
    numbers,
    require,
    require_choice,
    require_confidence,
)
from lungitude.statistics.linear import ROBUST, LinearFit, independent, least_squares, listed

EXACT = 1e-20  # share of residual in total sum of squares below which a fit is without error


class Regression(LinearFit):
    """Result of `regress`: `coefficients`, `summary`, `emmeans`, `contrasts`, `dropped`, `n`."""

    def __init__(self, design, response, robust, confidence, who="regress"):
        self.design, self.confidence = design, confidence
        if np.ptp(response) == 0:
            raise ValueError(f"{who}: the response does not vary over {len(response)} rows")
        if "(Intercept)" not in design.names:
            raise ValueError(f"{who}: a model without intercept has no R squared; leave it in")
        self.kept = independent(design.matrix)
        self.n = len(response)
        if self.n <= len(self.kept):
            raise ValueError(
                f"{who}: {self.n} rows for {len(self.kept)} columns: "
                f"{', '.join(design.names[index] for index in self.kept)}"
            )
        self.dropped = [name for i, name in enumerate(design.names) if i not in set(self.kept)]
        self.dropped += [name for name, found in design.factors.items() if len(found) < 2]
        self.fit = least_squares(design.matrix[:, self.kept], response)
        self.beta = self.fit.beta
        self.vcov = self.fit.robust(robust) if robust else self.fit.covariance
        self._response = response
        spread = response - response.mean()
        self._total = float(spread @ spread)
        self.exact = self.fit.rss <= EXACT * self._total

    def _df(self, rows):
        return np.full(len(rows), float(self.fit.df))

    def _inflation(self):
        """Inflation of the variance of each kept column but the intercept, by whole terms."""
        columns = self.design.matrix[:, self.kept[1:]]
        terms = [self.design.terms[index] for index in self.kept[1:]]
        if len(set(terms)) < 2:
            return np.ones(len(terms))
        matrix = np.corrcoef(columns, rowvar=False)
        whole, found = np.linalg.slogdet(matrix)[1], {}
        for term in dict.fromkeys(terms):
            own = np.array([other == term for other in terms])
            parts = [np.linalg.slogdet(matrix[np.ix_(k, k)])[1] for k in (own, ~own)]
            found[term] = float(np.exp((sum(parts) - whole) / own.sum()))
        return np.array([found[term] for term in terms])

    @property
    def coefficients(self):
        """Columns term estimate se df statistic p ci_low ci_high beta_std vif."""
        table = super().coefficients
        spread = np.std(self.design.matrix[:, self.kept], axis=0, ddof=1)
        scaled = self.beta * spread / np.std(self._response, ddof=1)
        table["beta_std"] = np.r_[np.nan, scaled[1:]]
        table["vif"] = np.r_[np.nan, self._inflation()]
        return table

    @property
    def summary(self):
        """One row: n r r2 r2_adjusted sigma f df1 df2 p aic bic."""
        df1, df2 = len(self.kept) - 1, self.fit.df
        r2 = 1 - self.fit.rss / self._total
        f = np.nan
        if df1:
            f = float(self.beta[1:] @ np.linalg.solve(self.vcov[1:, 1:], self.beta[1:])) / df1
        with np.errstate(divide="ignore"):
            deviance = self.n * (np.log(2 * np.pi * self.fit.rss / self.n) + 1)
        row = {
            "n": self.n,
            "r": np.sqrt(max(r2, 0.0)),
            "r2": r2,
            "r2_adjusted": 1 - (1 - r2) * (self.n - 1) / df2,
            "sigma": self.fit.sigma,
            "f": f,
            "df1": df1,
            "df2": df2,
            "p": float(stats.f.sf(f, df1, df2)) if df1 else np.nan,
            "aic": deviance + 2 * (df1 + 2),
            "bic": deviance + np.log(self.n) * (df1 + 2),
        }
        return pd.DataFrame([row])


def _usable(data, response, terms, who):
    """Rows complete in all columns, checked."""
    columns = list(dict.fromkeys([response, *terms]))
    require(data, columns, who)
    if response in terms:
        raise ValueError(f"{who}: {response} is the response and a term")
    used = complete(data, columns)
    if used.empty:
        raise ValueError(f"{who}: no row has all of {', '.join(columns)}")
    values = numbers(used[response], response, who)
    for name in terms:
        if pd.api.types.is_numeric_dtype(used[name]):
            numbers(used[name], name, who)
    return used, values


def regress(data, response, terms=None, robust=None, confidence=0.95):
    """Fit a multivariable linear regression by least squares.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in a used column are left out.
    response : str
        Numeric column, or with no `terms` a formula: ``"CHG ~ BASE + log(CRP) + ARM * SEX"``.
    terms : sequence of str or tuple of str, optional
        Columns and products of columns; text and categories enter as factors.
    robust : {None, "HC0", "HC1", "HC2", "HC3", "HC4"}
        Heteroscedasticity-consistent covariance, with residual df.
    confidence : float

    Returns
    -------
    Regression
        ``.coefficients``: term estimate se df statistic p ci_low ci_high beta_std vif;
        ``.summary``: n r r2 r2_adjusted sigma f df1 df2 p aic bic; ``.emmeans``, ``.contrasts``,
        ``.dropped`` (aliased columns, also named in a warning), ``.n``.

    Raises
    ------
    ValueError
        For a response that does not vary, more columns than rows, a model without intercept.

    Notes
    -----
    beta_std: estimate times SD of the column over SD of the response (PROC REG STB,
    lm.beta::lm.beta). vif: ``1 / (1 - R^2)`` of the column on the others (PROC REG VIF, car::vif);
    for a factor or another term of several columns, all have GVIF^(1/df) of the term (Fox & Monette
    1992, J Am Stat Assoc 87), the square of the GVIF^(1/(2 df)) of car::vif, which does not depend
    on the reference level. aic and bic as R's AIC and BIC: the residual variance is counted. f and
    its p test all terms together, with the robust covariance where it is asked for.
    """
    who = "regress"
    require_choice(robust, (None, *ROBUST), "robust", who)
    require_confidence(confidence, who)
    if terms is None:
        design = FormulaDesign(data, response, who=who)
        values = design.response
    else:
        terms = [(term,) if isinstance(term, str) else tuple(term) for term in listed(terms)]
        terms = list(dict.fromkeys(terms))
        names = list(dict.fromkeys(name for term in terms for name in term))
        used, values = _usable(data, response, names, who)
        design = ColumnDesign(used, terms)
    fit = Regression(design, values, robust, confidence)
    if fit.dropped:
        warnings.warn(f"{who}: {', '.join(fit.dropped)} is aliased and left out", stacklevel=2)
    if fit.exact:
        warnings.warn(f"{who}: the model fits without error; SE and p mean nothing", stacklevel=2)
    return fit


class _Search:
    """Least-squares fits of subsets of whole terms, remembered."""

    def __init__(self, used, values, candidates):
        self.order = list(candidates)
        centred = values - values.mean()
        self._values, self.n = centred, len(values)
        self.total = float(centred @ centred)
        self._blocks, self._known = {}, {}
        for name in candidates:
            raw = ColumnDesign(used, [name]).matrix[:, 1:]
            block = raw - raw.mean(axis=0)
            length = np.linalg.norm(block, axis=0)
            varies = length > 1e-12 * np.linalg.norm(raw, axis=0)  # the rest is rounding
            self._blocks[name] = np.where(varies, block, 0) / np.where(varies, length, 1)

    def columns(self, names):
        return sum(self._blocks[name].shape[1] for name in names)

    def fit(self, names):
        """Residual sum of squares and number of columns, the intercept included."""
        key = frozenset(names)
        if key not in self._known:
            if not key:
                return self.total, 1
            matrix = np.hstack([self._blocks[name] for name in self.order if name in key])
            beta, _, rank, _ = np.linalg.lstsq(matrix, self._values, rcond=1e-7)
            rest = self._values - matrix @ beta
            self._known[key] = float(rest @ rest), int(rank) + 1
        return self._known[key]

    def criterion(self, names, penalty):
        """R's extractAIC: n log(RSS / n) + penalty times the columns."""
        rss, columns = self.fit(names)
        with np.errstate(divide="ignore"):
            return self.n * np.log(rss / self.n) + penalty * columns

    def test(self, small, large):
        """Partial F test of the terms `large` has beyond `small`: f, df1, df2, p; None if void."""
        (rss0, columns0), (rss1, columns1) = self.fit(small), self.fit(large)
        df1, df2 = columns1 - columns0, self.n - columns1
        if df1 < 1 or df2 < 1 or rss0 <= EXACT * self.total:
            return None
        with np.errstate(divide="ignore"):
            f = float(np.divide(max(rss0 - rss1, 0.0) / df1, rss1 / df2))
        return f, df1, df2, float(stats.f.sf(f, df1, df2))

    def moves(self, model, action):
        """List the moves that change the fit: ``(action, term, model after it, test)``."""
        found = []
        for name in model if action == "-" else [n for n in self.order if n not in model]:
            after = [n for n in model if n != name] if action == "-" else [*model, name]
            test = self.test(*((after, model) if action == "-" else (model, after)))
            if test:
                found.append((action, name, after, test))
        return found


@dataclass(eq=False)
class Stepwise:
    """Result of `stepwise_model`.

    Attributes
    ----------
    path : DataFrame
        step action term p r r2 aic bic r2_adjusted f df1 df2, one row a move.
    selected : list of str
        Terms of the final model, in the order of the model.
    model : Regression
        Final model over the rows of the search.
    start : DataFrame
        One row: r2 aic bic of the model that the search began with.
    n : int
        Rows used.
    """

    path: pd.DataFrame
    selected: list
    model: Regression
    start: pd.DataFrame
    n: int


PATH = "step action term p r r2 aic bic r2_adjusted f df1 df2".split()


def _by_p(search, model, direction, p_enter, p_remove, record, who):
    seen = {frozenset(model)}
    while True:
        before = model
        if direction != "backward" and (found := search.moves(model, "+")):
            best = min(found, key=lambda move: move[3][3])
            if best[3][3] < p_enter:
                model = record(best)
        if direction != "forward" and (found := search.moves(model, "-")):
            worst = max(found, key=lambda move: move[3][3])
            if worst[3][3] > p_remove:
                model = record(worst)
        if model is before:
            return model
        if frozenset(model) in seen:
            warnings.warn(f"{who}: the search came back to a model and was ended", stacklevel=4)
            return model
        seen.add(frozenset(model))


def _by_criterion(search, model, direction, penalty, record):
    while True:
        found = search.moves(model, "-") if direction != "forward" else []
        found += search.moves(model, "+") if direction != "backward" else []
        best = min(found, key=lambda m: search.criterion(m[2], penalty), default=None)
        if not best or search.criterion(best[2], penalty) >= search.criterion(model, penalty):
            return model
        model = record(best)


def stepwise_model(
    data,
    response,
    candidates,
    p_enter=0.05,
    p_remove=0.10,
    direction="both",
    criterion="p",
    start=None,
    confidence=0.95,
):
    """Select the terms of a linear regression step by step; see `stepwise`.

    Returns
    -------
    Stepwise
        Path with all its columns, selected terms, final model, start, n.
    """
    who = "stepwise"
    candidates = listed(candidates)
    require_choice(direction, ("both", "forward", "backward"), "direction", who)
    require_choice(criterion, ("p", "aic", "bic"), "criterion", who)
    require_choice(start, (None, "null", "full"), "start", who)
    require_confidence(confidence, who)
    natural = "full" if direction == "backward" else "null"
    start = start or natural
    if direction != "both" and start != natural:
        raise ValueError(f"{who}: direction {direction} starts with the {natural} model")
    for name, value in (("p_enter", p_enter), ("p_remove", p_remove)):
        if not 0 < value < 1:
            raise ValueError(f"{who}: {name} {value!r} is not between 0 and 1")
    if direction == "both" and criterion == "p" and p_remove < p_enter:
        raise ValueError(
            f"{who}: p_remove {p_remove} is below p_enter {p_enter}: "
            "a term would enter and leave for ever"
        )
    if not candidates or len(set(candidates)) < len(candidates):
        raise ValueError(f"{who}: candidates must be different columns, at least one")
    used, values = _usable(data, response, candidates, who)
    if np.ptp(values) == 0:
        raise ValueError(f"{who}: response {response!r} does not vary over {len(used)} rows")
    search = _Search(used, values, candidates)
    wide = search.columns(candidates)
    if len(used) <= wide + 1:
        raise ValueError(
            f"{who}: {len(used)} complete rows for {wide} columns of the candidates "
            f"{', '.join(map(str, candidates))}; leave some out"
        )
    full = ColumnDesign(used, candidates)
    kept = set(independent(full.matrix))
    lost = [name for i, name in enumerate(full.names) if i not in kept]
    lost += [name for name, found in full.factors.items() if len(found) < 2]
    model = []
    if start == "full":
        model = [n for n in candidates if any(full.terms[i] == (n,) for i in kept)]
    if lost:
        warnings.warn(
            f"{who}: {', '.join(lost)} is a combination of the other candidates or constant"
            + ("; left out of the full model" if start == "full" else ""),
            stacklevel=3,
        )
    penalty = {"p": 2.0, "aic": 2.0, "bic": np.log(len(used))}[criterion]
    rows = []

    def state(names):
        rss, columns = search.fit(names)
        r2 = 1 - rss / search.total
        return {
            "r": np.sqrt(max(r2, 0.0)),
            "r2": r2,
            "aic": search.criterion(names, 2.0),
            "bic": search.criterion(names, np.log(search.n)),
            "r2_adjusted": 1 - (1 - r2) * (search.n - 1) / (search.n - columns),
        }

    def record(move):
        action, term, after, (f, df1, df2, p) = move
        row = {"step": len(rows) + 1, "action": action, "term": term, "p": p, **state(after)}
        rows.append({**row, "f": f, "df1": df1, "df2": df2})
        return after

    begin = pd.DataFrame([state(model)])[["r2", "aic", "bic"]]
    if criterion == "p":
        model = _by_p(search, model, direction, p_enter, p_remove, record, who)
    else:
        model = _by_criterion(search, model, direction, penalty, record)
    if search.fit(candidates)[0] <= EXACT * search.total:
        warnings.warn(
            f"{who}: the candidates fit without error; p and aic mean nothing", stacklevel=3
        )
    final = Regression(ColumnDesign(used, model), values, None, confidence, who)
    return Stepwise(pd.DataFrame(rows, columns=PATH), model, final, begin, len(used))


def stepwise(
    data,
    response,
    candidates,
    p_enter=0.05,
    p_remove=0.10,
    direction="both",
    criterion="p",
    start=None,
):
    """Select the terms of a linear regression step by step.

    Parameters
    ----------
    data : DataFrame
        Rows complete in the response and all candidates are used throughout.
    response : str
        Numeric column.
    candidates : sequence of str
        Columns; text and categories enter and leave as whole factors.
    p_enter, p_remove : float
        With `criterion` p: the term with the smallest p of its partial F test enters if it is
        below `p_enter`; then the one with the largest p leaves if it is above `p_remove`; one
        move in and one out a round.
    direction : {"both", "forward", "backward"}
    criterion : {"p", "aic", "bic"}
        aic and bic: the move with the least criterion, as long as it falls (R's step).
    start : {"null", "full"}, optional
        Model that the search begins with: null, and for backward full, when not given.

    Returns
    -------
    DataFrame
        Path, one row a move: step action ("+" or "-") term p (partial F test of the move) r r2
        aic (of the model after it). ``attrs``: n (rows used), selected (terms of the final model).
        aic is R's extractAIC, ``n log(RSS / n) + 2 columns``: AIC less ``n (1 + log(2 pi)) + 2``.

    Raises
    ------
    ValueError
        For a response that does not vary, as many columns as rows, `p_remove` below `p_enter`.

    Notes
    -----
    The path is that of R's ``step`` (aic, bic) and of ``add1`` and ``drop1`` with F tests (p), of
    PROC REG SELECTION=STEPWISE SLENTRY= SLSTAY= but that SAS removes all it can before the next
    entry. Candidates that are combinations of others are named in a warning; they are passed over
    once they add nothing. p values and intervals of a selected model are too optimistic, because
    the selection is not accounted for. `stepwise_model` gives the final model.

    References
    ----------
    Efroymson 1960, Multiple regression analysis; Venables & Ripley 2002, Modern Applied Statistics
    with S, section 6.8.
    """
    found = stepwise_model(
        data, response, candidates, p_enter, p_remove, direction, criterion, start
    )
    path = found.path[PATH[:7]].copy()
    path.attrs.update(n=found.n, selected=list(found.selected))
    return path
