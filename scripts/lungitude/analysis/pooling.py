"""Levels of a factor that have too few patients, joined for the models of the plan."""

JOINT = "+"


def groups(count, levels, below, into):
    """Join sparse levels of a factor.

    Parameters
    ----------
    count : dict of str to list of int
        Patients of each arm, by level.
    levels : list of str
        Levels in their declared order; one without any patient is left as it is.
    below : int
        A level is sparse that has fewer patients of an arm.
    into : str
        ``neighbour``: the sparse level with the fewest patients joins the smaller of its
        neighbours, until none is sparse. ``together``: all sparse levels are one, and if that is
        still sparse, it takes in the smallest other level.

    Returns
    -------
    list of tuple of str
        The levels that have patients, as they are joined, in order.
    """
    found = [(level,) for level in levels if sum(count.get(level, ()))]

    def of_arms(group):
        return [sum(parts) for parts in zip(*(count[level] for level in group), strict=True)]

    def size(group):
        return sum(of_arms(group))

    def sparse(group):
        return min(of_arms(group)) < below

    def join(*parts):
        kept = [group for group in found if group not in parts]
        one = tuple(level for level in levels if any(level in group for group in parts))
        return sorted([*kept, one], key=lambda group: levels.index(group[0]))

    if into == "together" and sum(map(sparse, found)) > 1:
        found = join(*filter(sparse, found))
    while len(found) > 1 and any(map(sparse, found)):
        least = min(filter(sparse, found), key=lambda group: (size(group), levels.index(group[0])))
        at = found.index(least)
        others = [g for g in found if g != least]
        near = others if into == "together" else found[max(at - 1, 0) : at] + found[at + 1 : at + 2]
        found = join(least, min(near, key=size))
    return found


def told(column, found, below):
    """Return what was pooled as a note says it; empty where nothing was."""
    joint = [JOINT.join(group) for group in found if len(group) > 1]
    if not joint:
        return ""
    return f"pooled: {column} {' and '.join(joint)} (fewer than {below} patients of an arm)"
