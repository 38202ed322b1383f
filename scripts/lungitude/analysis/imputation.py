"""Sensitivity to missing values: imputation under stated assumptions, then ANCOVA at each visit."""

import numpy as np
import pandas as pd

from lungitude.analysis.ancova import model_terms
from lungitude.analysis.common import (
    ARM,
    Cohort,
    add_difference,
    attempted,
    chosen,
    chosen_visits,
    missing,
    noted,
    too_few,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.imputation import ImputationModel
from lungitude.statistics.tipping import tipping_point

METHOD = "imputation"
VISIT = "AVISIT"
STATS = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high")
STRATEGIES = {
    "mar": "missing at random",
    "j2r": "jump to reference",
    "cr": "copy reference",
    "cir": "copy increments in reference",
}


def imputation(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Compare each arm with the reference at each visit, what is missing being imputed.

    Parameters
    ----------
    adsl : DataFrame
    records : list of DataFrame
        BDS tables.
    parameters : DataFrame
        PARAMCD TRANSFORM.
    section : dict
        Of plan.yaml: population parameters visits response covariates by_visit strata_in_model
        strategies method n_imputations seed by_arm tipping.
    arms, visits, strata, characteristics : list of dict
        As in config.yaml.
    confidence : float

    Returns
    -------
    DataFrame
        Results table. LEVEL the strategy (mar j2r cr cir): by COMPARISON estimate se df statistic p
        ci_low ci_high (no df where inference is normal). By GROUP n_imputed of the arm; STAT model
        with the model line, and left_out, the patients without a covariate. LEVEL ``tipping``: by
        COMPARISON and GROUP tipping_delta, the shift of the imputed values of the arm at which p is
        1 - confidence; LEVEL ``delta <number>``: what a shift of the compared arm makes of the
        comparison. N is the patients analysed.
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    planned = chosen_visits(section.get("visits", "post-baseline"), cohort)
    for param in chosen(section.get("parameters", "all"), parameters):
        there = [visit for visit in planned if (param, visit) in cohort.measured]
        if there and cohort.compared:
            analysis = Imputation(rows, cohort, section, param, there, confidence)
            analysis.transform = transform_of(parameters, param)
            for stratum, column, mask in cohort.strata():
                analysis.fit(stratum, column, mask)
    return rows.frame()


class Imputation:
    """The models of one parameter, a stratum each."""

    def __init__(self, rows, cohort, section, param, visits, confidence):
        self.rows, self.cohort, self.section = rows, cohort, section
        self.param, self.visits, self.confidence = param, visits, confidence
        self.kind = section.get("response", "CHG")
        self.transform = "none"

    def fit(self, stratum, column, mask):
        """Impute and analyse one stratum."""
        cohort, section = self.cohort, self.section
        terms = model_terms(section, cohort, column)
        crossed = [name for name in section.get("by_visit", ["BASE"]) if name in terms]
        one = cohort.data(self.param, terms, self.transform)
        one["USUBJID"] = cohort.patients["USUBJID"].to_numpy()
        kept = mask & one[terms].notna().all(axis=1).to_numpy()
        lost = int((mask & ~kept).sum())
        one, pooled = cohort.pooled(one[kept], terms)
        at = one.index
        parts = [
            one.assign(
                **{
                    VISIT: visit,
                    self.kind: cohort.response(self.param, visit, self.kind, self.transform)[at],
                }
            )
            for visit in self.visits
        ]
        data = pd.concat(parts, ignore_index=True)
        data[VISIT] = pd.Categorical(data[VISIT], categories=self.visits)
        count = data.dropna().groupby(ARM)["USUBJID"].nunique().to_dict()
        cause = too_few(count, cohort.arms)
        model = None
        if not cause:
            covariates = [f"{name}*{VISIT}" if name in crossed else name for name in terms]
            model, cause = attempted(
                ImputationModel,
                data,
                self.kind,
                covariates=covariates,
                reference=cohort.reference,
                by_arm=section.get("by_arm", True),
                confidence=self.confidence,
            )
        said = "" if model is None else cause
        note = self.line(terms, crossed, said if model else why_not(cause))
        for visit in self.visits:
            self.rows.remark = pooled
            keys = {
                "param": self.param,
                "visit": visit,
                "place": cohort.places[visit],
                "stratum": stratum,
            }
            self.rows.add({"model": np.nan}, int(kept.sum()), note=note, **keys)
            self.rows.remark = ""
            self.rows.add({"left_out": lost}, int(kept.sum()), note="without a covariate", **keys)
            self.rows.remark = pooled
            if model is not None:
                self.imputed(model, visit, keys)
            for strategy in section.get("strategies", ("mar", "j2r")):
                self.strategy(model, strategy, visit, int(kept.sum()), cause, keys)
            tipping = section.get("tipping")
            if tipping and self.param in tipping["parameters"]:
                self.tip(model, tipping["deltas"], visit, int(kept.sum()), cause, keys)
        self.rows.remark = ""

    @property
    def options(self):
        """How the model is asked, for every strategy."""
        return {
            "method": self.section.get("method", "conditional-mean"),
            "n_imputations": self.section.get("n_imputations", 500),
            "seed": self.section.get("seed", 1),
        }

    def imputed(self, model, visit, keys):
        """Count the imputed values of each arm."""
        here = model.imputed.loc[model.imputed[VISIT] == visit].set_index(ARM)
        for code in self.cohort.arms:
            row = here.loc[code]
            note = f"{row['dropout']} after drop-out, {row['intermittent']} between visits"
            self.rows.add({"n_imputed": row["n_imputed"]}, row["n"], note=note, group=code, **keys)

    def strategy(self, model, strategy, visit, n, cause, keys):
        """Add the comparisons under one assumption."""
        table, note = None, cause
        if model is not None:
            table, note = attempted(model.analyse, strategy, visit=visit, **self.options)
        for code in self.cohort.compared:
            own = {**keys, "level": strategy, "comparison": f"{code} - {self.cohort.reference}"}
            if table is None:
                values, reason = missing(STATS, why_not(note))
                self.rows.add(values, n, note=reason, **own)
                continue
            row = table.set_index("contrast").loc[own["comparison"]]
            self.inference(row, int(row["n"]), STRATEGIES[strategy], own)

    def inference(self, row, n, note, keys):
        """Add the statistics of one comparison; normal inference has no degrees of freedom."""
        values = {stat: float(row[stat]) for stat in STATS}
        if np.isinf(values["df"]):
            del values["df"]
            note = f"{note}; normal inference"
        add_difference(self.rows, values, n, note, self.transform, **keys)

    def tip(self, model, deltas, visit, n, cause, keys):
        """Add the shifts of imputed values at which the conclusion tips, and a grid of shifts."""
        cohort, found, note = self.cohort, None, cause
        if model is not None:
            grid = dict.fromkeys(cohort.compared, deltas)
            found, note = attempted(
                tipping_point,
                model,
                deltas=grid,
                alpha=1 - self.confidence,
                analysis_visit=visit,
                **self.options,
            )
        for code in cohort.compared:
            name = f"{code} - {cohort.reference}"
            for arm in (code, cohort.reference):
                own = {**keys, "level": "tipping", "comparison": name, "group": arm}
                if found is None:
                    values, notes = missing(("tipping_delta",), why_not(note))
                else:
                    table = found.tipping
                    at = table.loc[(table["contrast"] == name) & (table["arm"] == arm)].iloc[0]
                    values, notes = noted(
                        {"tipping_delta": float(at["delta"])},
                        f"shift of {int(at['n_imputed'])} imputed values on the scale of analysis",
                        "no shift changes the conclusion",
                    )
                self.rows.add(values, n, note=notes, **own)
            if found is None:
                continue
            for row in found.grid.loc[found.grid["contrast"] == name].itertuples():
                own = {**keys, "level": f"delta {row.delta_active:g}", "comparison": name}
                names = ("estimate", "se", "p", "ci_low", "ci_high")
                values = {stat: float(getattr(row, stat)) for stat in names}
                known, notes = noted(values, f"imputed values of {code} shifted, mar")
                self.rows.add(known, n, note=notes, **own)

    def line(self, terms, crossed, cause):
        """Model line as a table prints it."""
        section = self.section
        parts = [f"{name} * {VISIT}" if name in crossed else name for name in [ARM, *terms]]
        parts[0] = f"{ARM} * {VISIT}"
        matrix = "unstructured covariance"
        if section.get("by_arm", True):
            matrix += ", slopes and covariance of each arm"
        how = (
            "conditional mean, jackknife standard errors"
            if self.options["method"] == "conditional-mean"
            else f"{self.options['n_imputations']} imputations, Rubin's rules"
        )
        said = [
            f"imputation by {self.kind} ~ {' + '.join(parts)}, REML, {matrix}",
            how,
            f"then {self.kind} ~ {' + '.join([ARM, *terms])} at each visit",
            f"analysis set {self.cohort.population}",
        ]
        if self.transform != "none":
            said.insert(0, f"{self.transform} scale")
        return "; ".join([*said, *([cause] if cause else [])])
