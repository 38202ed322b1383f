# What the network's further readings of a visit are for, and what they need. No rules here.
from types import SimpleNamespace

from lungitude import doubts


def made_of(table):
    """The structures that a table of measures is made of in this trial."""
    leaves_out = table == "prm" and IMAGING.get("prm", {}).get("leave_out_vessels")
    return (*doubts.MADE_OF[table], *(["vessels"] if leaves_out else []))


def found_for(wildcards, measure):
    """The series whose label maps a measure is made of, and which of them the network finds."""
    series, table, _, _ = measure.split(":")
    series = IMAGING.get("inspiration") if series in ("visit", "subject") else series
    parts = SOUGHT.get((wildcards.subject, wildcards.visit, series), ())
    return series, [part for part in made_of(table) if part in parts]


def spread_measures(wildcards):
    """PARAMCD and MEASURE of what the network's label maps of a visit decide.

    Of what is compared with the baseline the airways alone: they need no further scan.
    """
    visit = (wildcards.subject, wildcards.visit)
    alone = not VISITS[wildcards.visit]["baseline"] and not (
        visit in FOLLOWED and baseline_of_spread(wildcards)
    )
    measures = {}
    for row in parameter_rows():
        series, table, *_ = row.get("MEASURE", ":").split(":")
        if (series == "subject" and (table != "airways" or alone)) or (
            table == "prm" and visit not in PAIRED
        ):
            continue
        if table and found_for(wildcards, row["MEASURE"])[1]:
            measures[row["PARAMCD"]] = row["MEASURE"]
    return measures


def found_of_visit(wildcards):
    """The structures to find in each view, by series."""
    found = {}
    for measure in spread_measures(wildcards).values():
        series, parts = found_for(wildcards, measure)
        found.setdefault(series, set()).update(parts)
    return {series: sorted(parts) for series, parts in sorted(found.items())}


def spread_tables(wildcards):
    """Series and name of the tables that hold these measures."""
    measures = spread_measures(wildcards).values()
    return sorted({tuple(measure.split(":")[:2]) for measure in measures})


def table_of_spread(wildcards, series, name):
    """Where such a table lies; branches of the visit stand for the table of the patient."""
    folder = f"{RESULTS}/visit/{wildcards.subject}/{wildcards.visit}"
    if series == "subject":
        return f"{folder}/{IMAGING['inspiration']}/branches.tsv"
    if series == "visit":
        return f"{folder}/prm/prm.tsv"
    return f"{folder}/{series}/{name}.tsv"


def baseline_of_spread(wildcards):
    """Record and branches of the baseline's inspiration, for a follow-up."""
    return baseline_airways(
        SimpleNamespace(
            subject=wildcards.subject,
            visit=wildcards.visit,
            series=IMAGING["inspiration"],
        )
    )


def spread_files(wildcards):
    """What is needed to measure a visit with other label maps of the network."""
    folder = f"{RESULTS}/visit/{wildcards.subject}/{wildcards.visit}"
    found = spread_tables(wildcards)
    names = {name for _, name in found}
    chests = chests_of_visit(wildcards)
    files = {
        "tables": [table_of_spread(wildcards, *entry) for entry in found],
        "lungs": [f"{folder}/{series}/lungs.nii.gz" for series in chests],
        "lungs_records": [f"{folder}/{series}/lungs.json" for series in chests],
        **dict.fromkeys(("vessels", "expiration", "baseline", "change"), []),
    }
    needed = {part for name in names for part in made_of(name)}
    if "vessels" in needed and "VESSELS" in labelled_columns(wildcards):
        files["vessels"] = [structure("VESSELS")(wildcards)]
    if "prm" in names:
        files["expiration"] = [f"{folder}/exp_to_insp/expiration.nii.gz"]
    if "airways" in names:
        files["baseline"] = baseline_of_spread(wildcards)
    if ("subject", "airways") in found and files["baseline"]:
        change = f"{RESULTS}/subject/{wildcards.subject}/{wildcards.visit}_to_baseline"
        files["change"] = [f"{change}/transform.tfm", f"{change}/registration.json"]
    return files


def chests_of_visit(wildcards):
    """The series of a visit that show the lungs and that its measures are made of."""
    return [
        series for series in found_of_visit(wildcards) if series not in HEART_SERIES
    ]
