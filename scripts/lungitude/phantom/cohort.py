"""The tables of a synthetic trial, drawn from its generative model.

``python -m lungitude.phantom.cohort config/demo`` writes the sheets of the demo trial anew, byte
for byte; ``--scale 0.05`` makes a tiny trial of the same design.
"""

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd

from lungitude import tables
from lungitude.phantom import model, values


@dataclasses.dataclass
class Cohort:
    """Patients in the order of enrolment and their values.

    Attributes
    ----------
    subjects : ndarray of str, (n,)
    level, arm : ndarray of int, (n,)
        Positions in ``model.levels`` and ``model.arms``.
    characteristics : dict of str to ndarray, (n,)
    exact, printed : dict of str to ndarray, (n, visit)
        All quantities before rounding, and parameters as a device prints them.
    randomised, dates : ndarray of datetime64[D], (n,) and (n, visit)
    attended : ndarray of bool, (n, visit)
    tested : dict of str to ndarray of bool, (n, visit)
        By test: done.
    events : DataFrame
        USUBJID EVENT ADT REASON.
    """

    subjects: np.ndarray
    level: np.ndarray
    arm: np.ndarray
    characteristics: dict
    exact: dict
    printed: dict
    randomised: np.ndarray = None
    dates: np.ndarray = None
    attended: np.ndarray = None
    tested: dict = None
    events: pd.DataFrame = None


def _counted(expected, rng):
    """Round an expected number to a whole one, up with the probability of its fraction."""
    return math.floor(expected + rng.random())


# --- Who is in the trial, and in which arm ------------------------------------------------------


def enrol(trial, seed, scale=1.0):
    """Return level and arm of each patient, in the order of enrolment.

    Parameters
    ----------
    trial : Model
    seed : int
    scale : float
        Patients per cell of arm x level as a part of the full trial; at least one each.

    Returns
    -------
    (ndarray of int, ndarray of int)
        Level and arm. Arms come in permuted blocks within a level.
    """
    if not scale > 0:
        raise ValueError(f"scale {scale:g}: it must be above 0; 1 is the full trial")
    rng = values.stream(seed, "enrolment")
    cells = np.maximum(1, np.floor(trial.cells * scale + 0.5).astype(int))
    level = rng.permutation(np.repeat(np.arange(len(trial.levels)), cells.sum(axis=0)))
    arm = np.empty(len(level), dtype=int)
    per_block = trial.content["trial"]["block_per_arm"]
    for g in range(len(trial.levels)):
        arms = np.repeat(np.arange(len(trial.arms)), cells[:, g])
        block = np.concatenate([np.arange(count) // per_block for count in cells[:, g]])
        arm[level == g] = arms[np.lexsort((rng.random(len(arms)), block))]
    return level, arm


# --- When they come, and what is missing --------------------------------------------------------


def schedule(trial, seed, n):
    """Draw the day of randomisation and of each visit, on weekdays.

    Returns
    -------
    (ndarray of datetime64[D], (n,); ndarray of datetime64[D], (n, visit))
        Randomisation in order of enrolment.
    """
    rng = values.stream(seed, "dates")
    period = trial.content["trial"]["enrolment"]
    days = np.arange(np.datetime64(period["first"], "D"), np.datetime64(period["last"], "D") + 1)
    randomised = np.sort(rng.choice(days[np.is_busday(days)], n))
    dates = np.empty((n, len(trial.visits)), dtype="datetime64[D]")
    for v, visit in enumerate(trial.content["visits"]):
        low, high = visit["window"]
        window = randomised[:, None] + (visit["day"] - 1) + np.arange(low, high + 1)
        # The most likely of the weekdays in the window is drawn by a random key per day.
        key = np.where(np.is_busday(window), rng.random(window.shape), -1.0)
        dates[:, v] = window[np.arange(n), key.argmax(axis=1)]
    return randomised, dates


def follow(trial, seed, cohort):
    """Draw drop-outs, missed visits, missing tests and events; fills the cohort in.

    Notes
    -----
    Numbers per cell of arm x level are the expected ones, rounded up or down by chance, so that a
    cell's missingness is as the model says. It depends on arm and level only, not on the values:
    the planted effects hold for those observed as for all.
    """
    spec = trial.content["attrition"]
    rng = values.stream(seed, "attrition")
    n, last = len(cohort.arm), len(trial.visits) - 1
    cohort.attended = np.ones((n, last + 1), dtype=bool)
    leaves = np.full(n, last + 1)
    for members, a, g in _cells(trial, cohort):
        rate = model.by_level(
            spec["discontinuation"], trial.levels, "discontinuation", arm=trial.arms[a]
        )[g]
        gone = rng.permutation(members)[: _counted(rate * len(members), rng)]
        early = _counted(spec["early_part"] * len(gone), rng) if last > 1 else len(gone)
        leaves[gone[:early]] = 1
        leaves[gone[early:]] = rng.integers(2, last + 1, len(gone) - early) if last > 1 else 1
    for v in range(1, last + 1):
        for members, a, g in _cells(trial, cohort):
            rate = model.by_level(
                spec["missed_visit"],
                trial.levels,
                "missed_visit",
                arm=trial.arms[a],
                visit=trial.visits[v],
            )[g]
            there = rng.permutation(members[leaves[members] > v])
            cohort.attended[there[: _counted(rate * len(members), rng)], v] = False
        cohort.attended[leaves <= v, v] = False

    cut = np.datetime64(trial.content["trial"]["data_cut"], "D")
    cohort.events = _events(trial, rng, cohort, leaves, cut)
    cohort.attended &= cohort.dates <= cut
    cohort.tested = {}
    for test, entry in spec["tests"].items():
        chance = values.stream(seed, f"test {test}").random((n, last + 1))
        cohort.tested[test] = cohort.attended & (chance >= entry["missing"])


def _cells(trial, cohort):
    """Yield the patients of each cell, with its arm and level."""
    for a in range(len(trial.arms)):
        for g in range(len(trial.levels)):
            yield np.flatnonzero((cohort.arm == a) & (cohort.level == g)), a, g


def _between(rng, first, last):
    """Draw a day from `first` to `last`."""
    return first + int(rng.integers(0, max(int((last - first).astype(int)), 0) + 1))


def _events(trial, rng, cohort, leaves, cut):
    """Draw dated events: discontinuations with what caused them, then events in the trial."""
    reasons = trial.content["attrition"]["reasons"]
    weights = np.array([reason["weight"] for reason in reasons], dtype=float)
    rows, end = [], cohort.dates[:, -1].copy()
    for i in np.flatnonzero(leaves < len(trial.visits)):
        reason = reasons[rng.choice(len(reasons), p=weights / weights.sum())]
        v = leaves[i]
        planned = cohort.randomised[i] + (trial.content["visits"][v]["day"] - 1)
        after = max(cohort.dates[i, v - 1], cohort.randomised[i]) + 2
        end[i] = _between(rng, after, planned - 1)
        rows.append((i, "discontinuation", end[i], reason["reason"]))
        if "event" in reason:
            rows.append((i, reason["event"], end[i], reason["detail"]))
    for event in trial.content["events"]:
        details = list(event["details"])
        weights = np.array([event["details"][detail] for detail in details])
        for members, a, g in _cells(trial, cohort):
            rate = model.by_level(event["rate"], trial.levels, event["event"], arm=trial.arms[a])[g]
            for i in rng.permutation(members)[: _counted(rate * len(members), rng)]:
                day = _between(rng, cohort.randomised[i] + 1, end[i] - 1)
                detail = details[rng.choice(len(details), p=weights / weights.sum())]
                rows.append((i, event["event"], day, detail))
    rows = [row for row in rows if row[2] <= cut]
    frame = pd.DataFrame(rows, columns=["i", "EVENT", "ADT", "REASON"])
    frame = frame.drop_duplicates(["i", "EVENT", "ADT"]).sort_values(["i", "ADT", "EVENT"])
    frame.insert(0, "USUBJID", cohort.subjects[frame.pop("i").to_numpy(dtype=int)])
    frame["ADT"] = frame["ADT"].astype(str).str[:10]
    return frame


def draw(trial, seed, scale=1.0):
    """Draw a whole cohort.

    Parameters
    ----------
    trial : Model
    seed : int
    scale : float
        See `enrol`.

    Returns
    -------
    Cohort
    """
    full = enrol(trial, seed)
    correlation = values.residual_correlations(trial, *full, values.scores(trial, seed, full[0]))
    level, arm = enrol(trial, seed, scale)
    drawn = values.realise(trial, level, arm, values.scores(trial, seed, level), correlation)
    pattern = trial.content["trial"]["subject"]
    subjects = np.array([pattern.format(number=i + 1) for i in range(len(level))], dtype=object)
    cohort = Cohort(subjects, level, arm, *drawn)
    cohort.randomised, cohort.dates = schedule(trial, seed, len(level))
    follow(trial, seed, cohort)
    return cohort


# --- The sheets ---------------------------------------------------------------------------------


def imaging_order(trial, seed, cohort):
    """Return the patients in an order of which any beginning is a fair sample of the design.

    Each block holds one patient of each cell of arm x level, shuffled, until small cells run out.
    In the first block all patients are complete but one, who missed a single visit (where there
    are such patients): a run of the first block meets the usual case and the missing scan.
    """
    rng = values.stream(seed, "imaging order")
    done = np.all(list(cohort.tested.values()), axis=0)
    whole, one_missing = done.all(axis=1), (~cohort.attended).sum(axis=1) == 1
    queues = [list(rng.permutation(members)) for members, _, _ in _cells(trial, cohort)]
    for queue in queues:
        _put_first(queue, whole)
    able = [queue for queue in queues if one_missing[queue].any()]
    if able:
        _put_first(able[rng.integers(len(able))], one_missing)
    order = []
    for b in range(max(len(queue) for queue in queues)):
        order += list(rng.permutation([queue[b] for queue in queues if len(queue) > b]))
    return np.array(order)


def _put_first(queue, wanted):
    """Move the first patient of a queue who is as wanted to its front, if there is one."""
    for i in queue:
        if wanted[i]:
            queue.remove(i)
            queue.insert(0, i)
            return


def sheets(trial, seed, cohort, name=None, labels=False):
    """Return the sheets of a trial folder by file name.

    Parameters
    ----------
    trial : Model
    seed : int
    cohort : Cohort
    name : str, optional
        Trial in the paths of the scans; the model's own name if not given.
    labels : bool
        Whether scans.tsv names the true label maps, which then take the network's place.

    Returns
    -------
    dict of str to DataFrame
        Columns as in config/schemas/sheets.
    """
    column = trial.content["stratum"]["column"]
    subjects = {"USUBJID": cohort.subjects}
    for code in cohort.characteristics:
        subjects[code] = _numbers(
            cohort.characteristics[code], trial.content["characteristics"][code].get("decimals")
        )
    subjects[column] = np.array(trial.levels, dtype=object)[cohort.level]
    subjects["RANDDT"] = cohort.randomised.astype(str)
    return {
        "subjects": pd.DataFrame(subjects),
        "randomisation": pd.DataFrame(
            {"USUBJID": cohort.subjects, "ARM": np.array(trial.arms, dtype=object)[cohort.arm]}
        ),
        "scans": _scans(trial, seed, cohort, name or trial.content["trial"]["name"], labels),
        "measurements": _measurements(trial, cohort),
        "parameters": _parameters(trial),
        "events": cohort.events,
        "reads": _reads(trial, seed, cohort),
        "phantom": _phantom(trial, cohort),
    }


def _numbers(array, decimals):
    return array.astype(int) if decimals == 0 else array


def _scans(trial, seed, cohort, name, labels):
    spec, tests = trial.content["scans"], trial.content["attrition"]["tests"]
    named = spec["labels"] if labels else {}
    structures = [column for columns in named.values() for column in columns]
    rows = []
    for i in imaging_order(trial, seed, cohort):
        for v, visit in enumerate(trial.content["visits"]):
            place = {"trial": name, "subject": cohort.subjects[i], "visit": visit["path"]}
            for series in spec["series"]:
                needed = [t for t in tests if series in tests[t].get("series", [])]
                if cohort.attended[i, v] and all(cohort.tested[t][i, v] for t in needed):
                    paths = {
                        column: spec["labels_path"].format(**place, structure=column.lower())
                        for column in named.get(series, [])
                    }
                    row = {
                        "USUBJID": cohort.subjects[i],
                        "AVISIT": visit["name"],
                        "SERIES": series,
                        "PATH": spec["path"].format(**place, series=series),
                        **paths,
                        "ADT": str(cohort.dates[i, v]),
                    }
                    rows.append(row)
    columns = ["USUBJID", "AVISIT", "SERIES", "PATH", *structures, "ADT"]
    return pd.DataFrame(rows, columns=columns)


def _measurements(trial, cohort):
    rows = []
    for i, subject in enumerate(cohort.subjects):
        for v, visit in enumerate(trial.visits):
            for code, spec in trial.content["parameters"].items():
                if all(cohort.tested[test][i, v] for test in spec["tests"]):
                    unit = spec["sheet"]["AVALU"] or None
                    rows.append(
                        (
                            subject,
                            visit,
                            code,
                            cohort.printed[code][i, v],
                            unit,
                            str(cohort.dates[i, v]),
                        )
                    )
    return pd.DataFrame(rows, columns=["USUBJID", "AVISIT", "PARAMCD", "AVAL", "AVALU", "ADT"])


def _parameters(trial):
    rows = [
        {"PARAMCD": code, **{c: spec["sheet"].get(c) for c in model.SHEET_COLUMNS}}
        for code, spec in trial.content["parameters"].items()
    ]
    frame = pd.DataFrame(rows)
    frame["AVALU"] = frame["AVALU"].replace("", None)
    return frame.assign(TRANSFORM=frame["TRANSFORM"].fillna("none"))


def _phantom(trial, cohort):
    """Return the truth of the images of each attended visit."""
    spec = trial.content["phantom"]
    known = {**cohort.exact, **spec["constants"]}
    there = np.nonzero(cohort.attended)
    frame = {
        "USUBJID": cohort.subjects[there[0]],
        "AVISIT": np.array(trial.visits, dtype=object)[there[1]],
    }
    for column, entry in spec["columns"].items():
        value = np.clip(model.evaluate(entry["formula"], known), entry["low"], entry["high"])
        frame[column] = np.round(value[there], entry["decimals"])
    return pd.DataFrame(frame)


def _reads(trial, seed, cohort):
    """Draw repeated readings around the automatic value of some patient-visits.

    The root mean square of automatic value minus mean reading is the planted one exactly, before
    rounding; readers differ by a bias, and from themselves by the reader's SD.
    """
    spec = trial.content["reads"]
    rng = values.stream(seed, "reads")
    codes = [code for code in spec["rmse"] if code in trial.content["parameters"]]
    tests = {test for code in codes for test in trial.content["parameters"][code]["tests"]}
    there = np.all([cohort.tested[test] for test in sorted(tests)], axis=0)
    share = len(cohort.level) / trial.cells.sum()
    chosen = []
    for g in range(len(trial.levels)):
        members = rng.permutation(np.flatnonzero((cohort.level == g) & there.any(axis=1)))
        chosen += list(members[: max(1, math.floor(spec["per_level"] * share + 0.5))])
    cases = [(i, rng.choice(np.flatnonzero(there[i]))) for i in sorted(chosen)]
    readers = spec["reference"]["readers"]
    shape = (len(cases), len(readers), spec["repeats"])
    rows = []
    for code in codes:
        decimals = trial.content["parameters"][code]["sheet"]["DECIMALS"]
        bias = spec["reader_bias"][code] * np.linspace(1, -1, len(readers))[:, None]
        spread = rng.normal(0, spec["reader_sd"][code], shape) + bias
        spread -= spread.mean(axis=(1, 2), keepdims=True)
        spread += bias.mean()
        error = rng.standard_normal(len(cases))
        error *= spec["rmse"][code] / math.sqrt(np.mean(error**2))
        for k, (i, v) in enumerate(cases):
            where = (cohort.subjects[i], trial.visits[v], code)
            own = cohort.printed[code][i, v]
            rows.append((*where, spec["automatic"]["method"], spec["automatic"]["reader"], 1, own))
            for j, reader in enumerate(readers):
                for repeat in range(spec["repeats"]):
                    # No reading is below nothing.
                    value = max(own - error[k] + spread[k, j, repeat], 0.0)
                    rows.append(
                        (
                            *where,
                            spec["reference"]["method"],
                            reader,
                            repeat + 1,
                            round(float(value), decimals),
                        )
                    )
    columns = ["USUBJID", "AVISIT", "PARAMCD", "METHOD", "READER", "REPEAT", "AVAL"]
    return pd.DataFrame(rows, columns=columns)


def write(folder, model_path, seed=None, scale=1.0, name=None, labels=False):
    """Draw a trial and write its sheets.

    Parameters
    ----------
    folder : path
        Receives subjects, randomisation, scans, measurements, parameters, events, reads and
        phantom (the truth of the images), all ``.tsv``.
    model_path : path
        The generative model.
    seed : int, optional
        The model's own if not given.
    scale : float
        Patients per cell of arm x level as a part of the model's; at least one each.
    name : str, optional
        Trial in the paths of scans.tsv; the model's own if not given.
    labels : bool
        Whether scans.tsv names the true label maps.

    Returns
    -------
    dict of str to DataFrame
        What was written.
    """
    trial = model.read(model_path)
    seed = trial.content["trial"]["seed"] if seed is None else seed
    found = sheets(trial, seed, draw(trial, seed, scale), name, labels)
    for sheet, frame in found.items():
        tables.write(frame, Path(folder) / f"{sheet}.tsv")
    return found


def main(argv=None):
    """Write the sheets of a trial folder from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lungitude.phantom.cohort",
        description="Write the sheets of a synthetic trial from its generative model.",
    )
    parser.add_argument("folder", type=Path, help="trial folder with model.yaml")
    parser.add_argument("--out", type=Path, help="folder for the sheets (default: the same)")
    parser.add_argument("--seed", type=int, help="default: that of the model")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="part of the patients per arm and level, at least one each",
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="name the true label maps in scans.tsv: they take the network's place",
    )
    options = parser.parse_args(argv)
    out = options.out or options.folder
    model_path = options.folder / "model.yaml"
    found = write(out, model_path, options.seed, options.scale, labels=options.labels)
    print(
        f"{len(found['subjects'])} patients, {len(found['measurements'])} measurements, "
        f"{len(found['scans'])} scans: {len(found)} sheets in {out}"
    )


if __name__ == "__main__":
    main()
