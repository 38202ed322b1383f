"""Correlations of parameters: at each visit, within arms, between visits, adjusted by family."""

import itertools

import numpy as np
import pandas as pd

from lungitude.analysis.common import (
    ARM,
    TOTAL,
    Cohort,
    add_adjusted,
    attempted,
    chosen,
    missing,
    noted,
    patients,
    planned_visits,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.correlation import (
    compare_correlations,
    correlate,
    correlate_changes,
    partial_correlation,
)
from lungitude.statistics.frames import complete, require_choice

METHOD = "association"
STATS = ("r", "ci_low", "ci_high", "p")
CHANGE = {
    "r_change": "estimate",
    "r_change_ci_low": "ci_low",
    "r_change_ci_high": "ci_high",
    "r_change_p": "p",
}
DIFFERENCE = {
    "r_difference": "estimate",
    "r_difference_ci_low": "ci_low",
    "r_difference_ci_high": "ci_high",
    "z_difference": "statistic",
    "p": "p",
}


def association(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Correlate every x with every y at each visit, in each stratum and, if wanted, arm.

    For the other arguments see `lungitude.analysis.within_arm.within_arm`.

    Parameters
    ----------
    section : dict
        Of plan.yaml: population; x, y (lists of PARAMCD; a pair is tested once); values (AVAL,
        CHG); visits; method (pearson, spearman); covariates (partial correlation; BASE are the
        baseline values of both); by_arm (within arms in place of all patients); adjust;
        compare_visits, compare_test (steiger, bootstrap); max_days_apart (of the two measurements
        of a pair; the note counts who is left out).

    Returns
    -------
    DataFrame
        Results table, PARAMCD x and LEVEL y. By GROUP (an arm, or TOTAL) r ci_low ci_high p, and
        p_adj (FAMILY association) over all pairs and visits of one stratum and group. With by_arm
        and no covariates, by COMPARISON of arms r_difference r_difference_ci_low
        r_difference_ci_high z_difference p. With compare_visits, by COMPARISON ("Week 12 -
        Baseline") r_change r_change_ci_low r_change_ci_high r_change_p, over patients who have
        all four values. Parameters with a TRANSFORM enter on the log scale.
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    table = Table(cohort, parameters, section, confidence)
    by_arm = section.get("by_arm", False)
    groups = {code: cohort.arm == code for code in cohort.arms}
    groups = groups if by_arm else {TOTAL: np.ones(len(cohort.arm), dtype=bool)}
    for stratum, column, mask in cohort.strata():
        for group, member in groups.items():
            table.correlations(stratum, group, mask & member, column)
        if by_arm and len(cohort.arms) > 1 and not table.covariates:
            table.arms(stratum, mask)
    return table.rows.frame()


class Table:
    """The rows of one section, and its values: one frame a visit, one row a patient."""

    def __init__(self, cohort, parameters, section, confidence):
        self.cohort, self.confidence = cohort, confidence
        self.rows = Rows(METHOD, cohort.population)
        self.method = section.get("method", "pearson")
        self.values = section.get("values", "AVAL")
        self.adjustment = section.get("adjust", "bh")
        self.covariates = list(section.get("covariates") or [])
        self.compared = section.get("compare_visits", False)
        self.test = section.get("compare_test", "steiger")
        self.limit = section.get("max_days_apart")
        require_choice(self.method, ("pearson", "spearman"), "method", METHOD)
        require_choice(self.values, ("AVAL", "CHG"), "values", METHOD)
        require_choice(self.test, ("steiger", "bootstrap"), "compare_test", METHOD)
        if self.compared and self.covariates:
            raise ValueError("plan: association compares visits without covariates only")
        pairs = itertools.product(
            chosen(section["x"], parameters), chosen(section["y"], parameters)
        )
        # r of y and x is r of x and y: a second row would count twice in the family
        pairs = {frozenset(pair): pair for pair in reversed(list(pairs)) if pair[0] != pair[1]}
        self.pairs = list(reversed(pairs.values()))
        params = list(dict.fromkeys(itertools.chain(*self.pairs)))
        self.transforms = {param: transform_of(parameters, param) for param in params}
        planned = planned_visits(section, cohort)
        if self.values == "CHG" and section.get("visits", "all") == "all":
            planned = [visit for visit in planned if visit in cohort.post_baseline]
        self.frames = {visit: self._frame(visit, params) for visit in planned}

    def _frame(self, visit, params):
        cohort, scales = self.cohort, self.transforms
        columns = {p: cohort.response(p, visit, self.values, scales[p]) for p in params}
        for name in self.covariates:
            if name == "BASE":
                columns.update({f"BASE {p}": cohort.covariate(name, p, scales[p]) for p in params})
            else:
                columns[name] = cohort.covariate(name, "")
        return pd.DataFrame(columns).assign(**{ARM: cohort.arm})

    def _visits(self, x, y):
        known = self.cohort.measured
        return [visit for visit in self.frames if (x, visit) in known and (y, visit) in known]

    def _keys(self, x, y, visit, stratum):
        place = self.cohort.places[visit]
        return {"param": x, "level": y, "visit": visit, "place": place, "stratum": stratum}

    def _note(self, x, y, *more):
        scales = [f"{p} on the {s} scale" for p in (x, y) if (s := self.transforms[p]) != "none"]
        return "; ".join(filter(None, [self.method, *scales, *more]))

    def _together(self, used, x, y, visits):
        """Keep the patients whose x and y were measured within the days that the plan allows.

        Returns
        -------
        DataFrame, str
            The rows of `used`, whose index are positions of patients, and who was left out.
        """
        if self.limit is None:
            return used, ""
        if self.values == "CHG":
            visits = [self.cohort.baseline, *visits]
        apart = [self.cohort.days_apart(x, y, visit)[used.index] for visit in visits]
        far = np.any([days > self.limit for days in apart], axis=0)
        unknown = np.any([np.isnan(days) for days in apart], axis=0) & ~far
        said = [
            f"{patients(int(who.sum()))} left out, {why}"
            for who, why in (
                (far, f"more than {self.limit} days apart"),
                (unknown, "without both dates"),
            )
            if who.any()
        ]
        return used.loc[~(far | unknown)], "; ".join(said)

    def correlations(self, stratum, group, member, column):
        """Add the correlations of one group of a stratum, whose factor is in `column`."""
        parts = {visit: frame[member] for visit, frame in self.frames.items()}
        cells = []
        for x, y in self.pairs:
            terms = [name for name in self.covariates if name not in (column, "BASE")]
            terms += [f"BASE {x}", f"BASE {y}"] if "BASE" in self.covariates else []
            there = self._visits(x, y)
            for visit in there:
                keys = {**self._keys(x, y, visit, stratum), "group": group}
                cells.append(self._correlation(parts[visit], x, y, terms, keys))
            for visit in there[1:] if self.compared else ():
                keys = {**self._keys(x, y, visit, stratum), "group": group}
                self._change(parts, x, y, there[0], visit, keys)
        add_adjusted(self.rows, self.adjustment, cells, METHOD)

    def _correlation(self, part, x, y, terms, keys):
        used, gone = self._together(complete(part, [x, y, *terms]), x, y, [keys["visit"]])
        if terms:
            found, said = attempted(
                partial_correlation, used, x, y, terms, self.method, None, self.confidence
            )
        else:
            found, said = attempted(correlate, used, x, y, self.method, self.confidence)
        given = "; ".join(filter(None, [f"given {', '.join(terms)}" if terms else "", gone]))
        row = self._add(found, said, dict(zip(STATS, STATS, strict=True)), len(used), keys, given)
        return row["p"], len(used), keys

    def _change(self, parts, x, y, first, later, keys):
        names = [(f"{x} {visit}", f"{y} {visit}") for visit in (first, later)]
        columns = [
            parts[visit][[x, y]].set_axis(pair, axis=1)
            for visit, pair in zip((first, later), names, strict=True)
        ]
        used, gone = self._together(pd.concat(columns, axis=1).dropna(), x, y, [first, later])
        found, said = attempted(
            compare_correlations, used, *names, None, self.method, self.test, self.confidence
        )
        keys["comparison"] = f"{later} - {first}"
        self._add(
            *(found, said, CHANGE, len(used), keys), "; ".join(filter(None, [self.test, gone]))
        )

    def arms(self, stratum, mask):
        """Add the differences of the arms' correlations."""
        reference = self.cohort.reference
        for x, y in self.pairs:
            for visit in self._visits(x, y):
                whole = self.frames[visit].loc[mask, [ARM, x, y]].dropna()
                for code in self.cohort.compared:
                    two = whole.loc[whole[ARM].isin([code, reference])]
                    two, gone = self._together(two, x, y, [visit])
                    keys = self._keys(x, y, visit, stratum)
                    keys["comparison"] = f"{code} - {reference}"
                    found, said = attempted(
                        correlate_changes, two, x, y, ARM, reference=reference,
                        method=self.method, confidence=self.confidence,
                    )  # fmt: skip
                    found = None if found is None else found.contrasts
                    how = "; ".join(filter(None, ["Fisher z", gone]))
                    self._add(found, said, DIFFERENCE, len(two), keys, how)

    def _add(self, found, said, stats, n, keys, how):
        """Add a row of a result, or rows that say why there is none, and return the numbers."""
        note = self._note(keys["param"], keys["level"], how)
        if found is None or found.empty or found.iloc[0][list(stats.values())].isna().all():
            values, notes = missing(stats, f"{note}; {why_not(said or 'one arm')}")
        else:
            row = {stat: float(found.iloc[0][name]) for stat, name in stats.items()}
            values, notes = noted(row, note, said)
        self.rows.add(values, n, note=notes, **keys)
        return values
