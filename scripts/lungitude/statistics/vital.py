"""Factors that a model must estimate: an arm or a visit is not to leave it in silence."""

from lungitude.statistics.frames import ARM, levels
from lungitude.statistics.linear import independent


def columns_of_terms(design):
    """Columns of the data that each term of a design has: ``C(x):y`` has x and y."""
    column = {label: variable.column for label, variable in design.variables.items()}
    return {term: tuple(column[label] for label in term) for term in design.term_labels}


def vital_factors(design, interacting):
    """Name the factors of `interacting` and those with the name of an arm; else a lone factor.

    In the order of the design, so that the first fault that is told does not depend on chance.
    """
    found = set(interacting) | {name for name in design.factors if ARM.match(str(name))}
    if not found and len(design.factors) == 1:
        found = set(design.factors)
    return [name for name in design.factors if name in found]


def require_levels(data, design, name, who):
    """Raise a ValueError that names the levels without a complete row."""
    there = set(design.rows[name].unique())
    gone = [level for level in levels(data[name]) if level not in there]
    if gone:
        raise ValueError(
            f"{who}: no complete row for {name} {', '.join(map(str, gone))} (a value is "
            "missing in all of its rows); leave these rows out or repair them"
        )


def require_two_levels(design, name, who):
    """Raise a ValueError for a factor that is constant."""
    kept = design.factors[name]
    if len(kept) < 2:
        raise ValueError(f"{who}: {name!r} has one level only, {str(kept[0])!r}")


def require_unaliased(design, name, who):
    """Raise a ValueError for a factor within the span of the terms without it."""
    terms = columns_of_terms(design)
    own = [i for i, term in enumerate(design.terms) if terms.get(term) == (name,)]
    others = [i for i, term in enumerate(design.terms) if name not in terms.get(term, ())]
    found = independent(design.matrix[:, [*others, *own]])
    if sum(i >= len(others) for i in found) < len(own):
        raise ValueError(
            f"{who}: {name!r} is aliased with the other terms of the model; its effect cannot be "
            "told from theirs"
        )
