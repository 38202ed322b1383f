"""Read the scans of one visit again in other views, and tell how far its biomarkers spread.

The views decide the label maps alone: what is measured with them is measured on the scan itself, by
the functions and settings of the measure_* scripts.
"""

import logging

import numpy as np
import pandas as pd

from lungitude import images, measuring, records, registration, tables
from lungitude.biomarkers.agatston import agatston
from lungitude.biomarkers.airway_match import follow
from lungitude.biomarkers.airways import airway_branches, airways_from_branches
from lungitude.biomarkers.density import density
from lungitude.biomarkers.prm import measures, prm_map
from lungitude.biomarkers.ventricle import ventricle
from lungitude.biomarkers.vessels import vessels
from lungitude.job import job_log
from lungitude.networks import inference, spread

log = logging.getLogger(__name__)
EMPTY = pd.DataFrame(columns=["SERIES", "region"])


def main(job):
    """Write one row a parameter of the visit."""
    wanted = {code: text.split(":") for code, text in job.params.measures.items()}
    measured = values(wanted, as_measured(job))
    again = {code: [] for code in wanted}
    reader = None
    scans = zip(job.params.series, job.input.images, job.input.records, strict=True)
    for series, path, record in scans:
        mine = {code: m for code, m in wanted.items() if scan_of(m[0], job) == series}
        mine = {code: m for code, m in mine.items() if not np.isnan(measured[code])}
        if not mine or records.excluded(record):
            continue
        reader = reader or inference.Reader(
            job.params.weights, job.params.precision, vessel_tracking=job.params.vessel_tracking
        )
        parts = job.params.made[series]
        scan = (images.read_cycle if "heart" in parts else images.read)(path)
        for number in range(1, job.params.views + 1):
            view = spread.View.draw(
                scan[0] if "heart" in parts else scan, *job.params.identity.values(), series, number
            )
            log.info("%s, view %d: %s", series, number, view)
            maps = spread.read(scan, parts, reader, view)
            found = measured_again(scan, maps, {m[1] for m in mine.values()}, record, series, job)
            for code, value in values(mine, found).items():
                again[code].append(value)
    table = spread.summarise(measured, again)
    tables.write(table, job.output.table, job.params.identity)


def scan_of(series, job):
    """Return the series whose label maps vary; a visit and a patient are those of inspiration."""
    return job.params.roles["inspiration"] if series in ("visit", "subject") else series


def values(wanted, found):
    """Return the value of each parameter, NaN without one.

    Parameters
    ----------
    wanted : dict of list of str
        By PARAMCD: series, table, region, column.
    found : dict of DataFrame
        By series and table.
    """
    told = {}
    for code, (series, name, region, column) in wanted.items():
        table = found.get((series, name), EMPTY)
        rows = table[table["region"] == region]
        told[code] = float(rows[column].iloc[0]) if len(rows) and column in rows else np.nan
    return told


def as_measured(job):
    """Return the tables of the analysis by series and name."""
    found = {}
    for (series, name), path in zip(job.params.tables, job.input.tables, strict=True):
        table = tables.read(path)
        if not len(table):
            continue
        # The table of a patient waits for all his visits; the branches of this one tell the same.
        found[series, name] = compared(table, job) if series == "subject" else table
    return found


def measured_again(scan, maps, names, record, series, job):
    """Return the tables that are made of a scan, by series and name, as measured with `maps`."""
    found = {}
    for name in sorted(names):
        try:
            found |= MEASURES[name](scan, maps, record, series, job)
        except ValueError as error:  # as `measuring.run`: what is refused has no numbers
            log.warning("%s, %s: not measured: %s", series, name, error)
    return found


def of_lungs(scan, maps, record, series, job):
    """Density of the lungs."""
    return {(series, "parenchyma"): density(scan, *lungs_of(scan, maps, series, job))}


def of_airways(scan, maps, record, series, job):
    """Airways of the visit, and as they compare with the baseline."""
    scale = measuring.airway_scale(record, job.input.baseline, job.params.psf_mm)
    branches = airway_branches(scan, maps["airways"], **scale)
    found = {(series, "airways"): airways_from_branches(branches)}
    return {**found, ("subject", "airways"): compared(branches, job)}


def of_vessels(scan, maps, record, series, job):
    """Volume of the vessels by their cross-section."""
    lungs, _ = lungs_of(scan, maps, series, job)
    return {(series, "vessels"): vessels(vessels_of(scan, maps, job), lungs, scan)}


def of_calcium(scan, maps, record, series, job):
    """Score of the coronary calcium."""
    return {(series, "calcium"): agatston(scan, maps["coronary"])}


def of_ventricle(scan, maps, record, series, job):
    """Volumes and mass of the left ventricle."""
    return {(series, "ventricle"): ventricle(maps["heart"])}


def of_prm(scan, maps, record, series, job):
    """Classes of the lung; the registration is that of the analysis."""
    expiration = images.read(job.input.expiration[0])
    lungs, scheme = lungs_of(scan, maps, series, job)
    left_out = vessels_of(scan, maps, job) if job.params.without_vessels else None
    vessel_hu = job.params.vessel_hu
    classes = prm_map(scan, expiration, lungs, vessel_hu, left_out)
    found = measures(scan, expiration, classes, lungs, scheme, vessel_hu)
    return {("visit", "prm"): found}


MEASURES = {
    "parenchyma": of_lungs,
    "airways": of_airways,
    "vessels": of_vessels,
    "calcium": of_calcium,
    "ventricle": of_ventricle,
    "prm": of_prm,
}


def lungs_of(scan, maps, series, job):
    """Return the lungs and what their labels are: by the view, or as scans.tsv gives them."""
    at = job.params.chests.index(series)
    scheme = records.read(job.input.lungs_records[at])["scheme"]
    if "lobes" in maps:
        return maps["lobes"], scheme
    return images.read_labels(job.input.lungs[at], like=scan), scheme


def vessels_of(scan, maps, job):
    """Return the vessels: by the view, or as scans.tsv gives them."""
    if "vessels" in maps:
        return maps["vessels"]
    return images.read_labels(job.input.vessels[0], like=scan)


def compared(branches, job):
    """Return the airways as those of a patient, `compare_visits`; empty without a registration."""
    if not job.input.baseline:
        return airways_from_branches(branches)
    first = tables.read(job.input.baseline[1])
    if not len(first) or not job.input.change or records.excluded(job.input.change[1]):
        return EMPTY
    return follow(first, branches, registration.read(job.input.change[0]))


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
