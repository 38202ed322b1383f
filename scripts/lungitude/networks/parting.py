"""Who is trained on, who is watched while training, who is left for a test: patients of anatomies.

Patients of the phantom have no GOLD grade; `anatomies.grade` stands for it.
"""

from . import anatomies, folds

# Without a column to stratify by, the last patients are held out, see `training.split`.
DEFAULTS = {"by": "", "shares": {}, "folds": 0, "seed": 1}
PARTS = ("train", "validation", "test")


def patients(folder, settings, fold=0):
    """Patients by part, each with its share of every grade.

    Parameters
    ----------
    folder : path
        Anatomies, see `anatomies.write`.
    settings : dict
        All of `DEFAULTS`.
    fold : int
        Which of the folds, from 1, is held out for validation; the rest of the parts ``train`` and
        ``validation`` is trained on, and ``test`` is the same for all folds. 0 parts by the shares.

    Returns
    -------
    dict of list of str, or None
        Names, sorted, by `PARTS`; None without a column to stratify by.

    Raises
    ------
    ValueError
        A fold that the settings don't have, anatomies without the column, as `folds.split`.
    """
    by = settings["by"]
    if not 0 <= fold <= settings["folds"]:
        have = f"folds 1 to {settings['folds']}" if settings["folds"] else "no folds"
        raise ValueError(f"parting: fold {fold} is asked for; the settings have {have}")
    if not by:
        return None
    grades = {}
    for name in anatomies.names(folder, "whole"):
        known = anatomies.known(folder, name)
        if by not in known:
            raise ValueError(
                f"{folder}: anatomy {name} has no {by}, which 'parting: by' names; make the "
                "anatomies anew (rule make_anatomies)"
            )
        grades[anatomies.patient_of(name)] = known[by]
    found = folds.split(list(grades), grades.values(), settings["shares"], settings["seed"])
    found = {part: found.get(part, []) for part in PARTS}
    if fold:
        both = found["train"] + found["validation"]
        same = [grades[name] for name in both]
        held = folds.folds(both, same, settings["folds"], settings["seed"])[fold - 1]
        found["validation"], found["train"] = held, sorted(set(both) - set(held))
    return found
