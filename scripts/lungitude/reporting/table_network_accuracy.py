"""Biomarkers of the segmentation network on unseen patients: r, RMSE and ICC by domain.

A row a biomarker, as in the publication's Table 2. The numbers are those of the study that the plan
names under ``network_study``; no patient of the trial is among them.
"""

from lungitude import network_study as study
from lungitude.reporting import results as lookup
from lungitude.reporting.table import Column, Marks, Row, Table, cell, mark_not_estimated

METHOD = "network_accuracy"
AGAINST_TRUTH = f"{study.NETWORK} - {study.TRUTH}"
PATIENTS = "Synthetic patients that no training saw; none is a patient of the trial"
DOMAINS = (
    "Internal, scanned by the protocol of the demonstration trial; external, by others on another "
    "scanner."
)
R_DECIMALS = 3
ABBREVIATIONS = [
    ("BV5", "blood volume in vessels below 5 mm²"),
    ("CACS", "coronary artery calcium score"),
    ("CI", "confidence interval"),
    ("EF", "ejection fraction"),
    ("HU", "Hounsfield units"),
    ("ICC", "intraclass correlation, ICC(A,1)"),
    ("LAV", "low attenuation volume below -950 HU"),
    ("LVM", "left ventricular mass"),
    ("MLD", "mean lung density"),
    ("Perc15", "15th percentile of lung density"),
    ("Pi10", "square root of wall area at 10 mm perimeter"),
    ("r", "Pearson's correlation"),
    ("RMSE", "root mean squared error"),
    ("SV", "stroke volume"),
    ("WA", "wall area"),
]


def build(results, context, display):
    """Build the table of accuracy of the network's biomarkers.

    Parameters
    ----------
    results : Results
        Rows of method ``network_accuracy``.
    context : Context
    display : dict
        ``id number alias title``.

    Raises
    ------
    Absent
        If the stratum has no such rows; they stand in that of all patients.
    """
    found = results.of(METHOD)
    known = set(found["LEVEL"])
    groups = domains(found)
    marks, rows, section = Marks(), [], None
    for quantity, named in study.QUANTITIES.items():
        if quantity not in known:
            continue
        if named.section != section:
            rows.append(Row(cell(named.section), kind="group"))
            section = named.section
        cells = []
        for domain in groups:
            cells += _cells(results, context, quantity, domain, marks)
        rows.append(Row(cell(named.label), tuple(cells), indent=1))
    note = (
        "n, patients with a value. Measured from the network's label maps, against the truth that "
        f"the scans were made from; r and ICC with {study.INTERVAL}. {DOMAINS}"
    )
    return Table.of(
        display,
        context,
        columns=(Column("Biomarker"), *_columns(results, groups)),
        rows=rows,
        footnotes=(("", note), *_weights(results), *marks.footnotes()),
        methods=[METHOD],
        population=PATIENTS,
        abbreviations=ABBREVIATIONS,
    )


def domains(rows):
    """Return the domains of rows, the known ones in their order; ``both`` is none."""
    found = [name for name in dict.fromkeys(rows["GROUP"]) if name not in ("", study.BOTH)]
    return sorted(found, key=lambda name: (name not in study.DOMAINS, *_place(name)))


def _place(name):
    return (study.DOMAINS.index(name), "") if name in study.DOMAINS else (0, name)


def size_cell(results, method, domain):
    """Cell such as (n=32) for the head of a domain's columns; empty where nobody counted."""
    found = results.get(method, "patients", group=domain)
    return cell("") if found is None else cell("(n=", lookup.count_part(found), ")")


def interval_parts(get, stat, decimals, rounding, prefix=None):
    """Pieces of an estimate with its interval, such as 0.95 (0.93 to 0.97).

    Parameters
    ----------
    get : callable
        Looks a statistic up.
    stat : str
    decimals : int
    rounding : str
    prefix : str, optional
        Of the limits, before ``_ci_low``; the statistic's own name if absent.
    """
    prefix = stat if prefix is None else prefix
    found, low, high = get(stat), get(f"{prefix}_ci_low"), get(f"{prefix}_ci_high")
    shown = lookup.part(found, decimals, rounding)
    if found is None or not found.estimated or low is None or high is None:
        return (shown,)
    ends = [lookup.part(end, decimals, rounding) for end in (low, high)]
    return (shown, " (", ends[0], " to ", ends[1], ")")


def _columns(results, groups):
    interval = cell(f"({study.INTERVAL})")
    found = []
    for domain in groups:
        name = domain.capitalize()
        found += [
            Column(f"{name}: n", size_cell(results, METHOD, domain)),
            Column(f"{name}: r", interval),
            Column(f"{name}: RMSE"),
            Column(f"{name}: ICC(A,1)", interval),
        ]
    return found


def _cells(results, context, quantity, domain, marks):
    rounding = context.style["rounding"]

    def get(stat):
        return results.get(METHOD, stat, group=domain, comparison=AGAINST_TRUTH, level=quantity)

    counted = get("r") or get("rmse")
    rmse = get("rmse")
    return [
        cell(lookup.used_part(counted)),
        cell(
            *interval_parts(get, "r", R_DECIMALS, rounding),
            mark=mark_not_estimated(get("r"), marks),
        ),
        cell(
            lookup.part(rmse, study.decimals_of(quantity), rounding),
            mark=mark_not_estimated(rmse, marks),
        ),
        cell(
            *interval_parts(get, "icc_a1", R_DECIMALS, rounding, "icc"),
            mark=mark_not_estimated(get("icc_a1"), marks),
        ),
    ]


def _weights(results):
    """Say which weights were read; the digest is that of their file."""
    found = results.get(METHOD, "weights")
    if found is None or not found.note:
        return ()
    return (("", f"Network: {found.note}."),)
