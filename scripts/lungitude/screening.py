"""Who was assessed for eligibility and never randomised, and why: checked, and counted."""

from lungitude.adam import analysed
from lungitude.checks import Problem, Rule

NOT_RECORDED = "Not recorded"


def counts(screening, randomised, data_cut=None):
    """Count people from their assessment to randomisation.

    Parameters
    ----------
    screening : DataFrame
        SCREENID STATUS, optionally SCREENDT REASON USUBJID.
    randomised : iterable of str
        USUBJID of the patients who were randomised by the data cut.
    data_cut : str, optional
        ISO date; people who were assessed later do not count.

    Returns
    -------
    dict of str to int
        ``assessed``, ``not_randomised``, ``not_randomised:<reason>`` from the most frequent one on,
        and ``awaiting`` (neither excluded nor randomised yet). They sum up to the randomised.
    """
    table = screening.reindex(
        columns=["SCREENID", "SCREENDT", "STATUS", "REASON", "USUBJID"]
    ).astype(object)
    table = table.loc[analysed(table["SCREENDT"], data_cut) == "Y"]
    out = table.loc[table["STATUS"] == "excluded"]
    reasons = out["REASON"].where(out["REASON"].notna(), NOT_RECORDED).value_counts()
    order = sorted(reasons.items(), key=lambda item: (-item[1], item[0] == NOT_RECORDED, item[0]))
    arrived = table["USUBJID"].isin(list(randomised)) & (table["STATUS"] == "randomised")
    return {
        "assessed": len(table),
        "not_randomised": len(out),
        **{f"not_randomised:{reason}": int(number) for reason, number in order},
        "awaiting": len(table) - len(out) - int(arrived.sum()),
    }


def rules(trial):
    """Return the rules of the cells of screening.tsv, against the sheets of those randomised."""
    frame = trial.screening
    status, who = frame["STATUS"], frame["USUBJID"]
    allocated = set(trial.randomisation["USUBJID"].dropna())
    dated = trial.subjects.reindex(columns=["USUBJID", "RANDDT"]).dropna()
    day = dated.drop_duplicates("USUBJID").set_index("USUBJID")["RANDDT"]

    def late(cells):
        return cells > who[cells.index].map(day).fillna("9999")  # ISO dates sort as texts

    first = {name: index + 2 for index, name in reversed(list(who.dropna().items()))}
    return [
        Rule(
            "STATUS",
            lambda s: (s != "randomised") | who[s.index].notna(),
            lambda v, row: f"{row.SCREENID} is randomised, but USUBJID is empty; fill it in",
        ),
        Rule(
            "USUBJID",
            lambda s: (status[s.index] == "randomised") | ~s.isin(allocated),
            lambda v, row: (
                f"{v} is in randomisation.tsv, but {row.SCREENID} is {row.STATUS}; mend STATUS or "
                "USUBJID"
            ),
        ),
        Rule(
            "USUBJID",
            lambda s: ~s.duplicated(),
            lambda v, row: (
                f"{v} is the patient of line {first[v]}, too; a patient has one row: mend one"
            ),
        ),
        Rule(
            "REASON",
            lambda s: status[s.index] == "excluded",
            lambda v, row: (
                f"{row.SCREENID} has a reason to be excluded, but is {row.STATUS}; mend STATUS, or "
                "leave REASON empty"
            ),
        ),
        Rule(
            "SCREENDT",
            lambda s: ~late(s),
            lambda v, row: (
                f"{row.SCREENID} was assessed on {v}, after {row.USUBJID} was randomised "
                f"({day.get(row.USUBJID)}, RANDDT of subjects.tsv); mend one"
            ),
        ),
    ]


def problems(trial):
    """Yield the patients who were randomised, but of whom screening.tsv has no row.

    Parameters
    ----------
    trial : Trial
    """
    known = set(trial.screening["USUBJID"].dropna())
    name = "randomisation" if "randomisation" in trial.paths else "subjects"
    frame = getattr(trial, name)
    for index, who in frame["USUBJID"].dropna().items():
        if who not in known:
            text = f"{who} has no row in {trial.paths['screening'].name}, which holds all who were "
            text += "assessed; add the row, with STATUS randomised"
            yield Problem(str(trial.paths[name]), index + 2, "USUBJID", text)
