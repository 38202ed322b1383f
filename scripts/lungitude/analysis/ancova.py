"""Analysis of covariance of every parameter at every visit, overall and by stratum."""

import numpy as np

from lungitude.analysis.common import (
    ALL,
    ARM,
    RATIO,
    RATIO_NOTE,
    Cohort,
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
from lungitude.statistics.ancova import AncovaFit, NotEstimableError, rank_ancova
from lungitude.statistics.arms import dunnett
from lungitude.statistics.frames import levels

METHOD = "ancova"
MEAN = ("estimate", "se", "df", "ci_low", "ci_high")
EFFECT = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high")
CONTRAST = (*EFFECT, "partial_eta_sq")
GLOBAL = ("arm_F", "arm_df1", "arm_df2", "arm_p")
RANK = ("rank_F", "rank_df1", "rank_df2", "rank_p")
INTERACTION = ("interaction_F", "interaction_df1", "interaction_df2", "interaction_p")
DUNNETT = ("p_dunnett", "dunnett_ci_low", "dunnett_ci_high")


def ancova(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Compare each arm with the reference, for all parameters, visits and strata.

    Parameters
    ----------
    adsl : DataFrame
    records : list of DataFrame
        BDS tables.
    parameters : DataFrame
        PARAMCD TRANSFORM.
    section : dict
        Of plan.yaml: population parameters visits response covariates strata_in_model robust rank.
    arms, visits, strata, characteristics : list of dict
        As in config.yaml.
    confidence : float

    Returns
    -------
    DataFrame
        Results table. By COMPARISON estimate se df statistic p ci_low ci_high partial_eta_sq; by
        GROUP emmean se df ci_low ci_high, and left_out where patients with an observed response
        are not in the model (a covariate is missing, or a value has no logarithm: see NOTE), N
        being those with a response; STAT model with the model line; for all patients the
        test of arm x stratum factor (interaction_F interaction_df1 interaction_df2 interaction_p
        with LEVEL the factor). With more than two arms: LEVEL TRT01P the global test of the arms
        (arm_F arm_df1 arm_df2 arm_p), and by COMPARISON Dunnett's p_dunnett dunnett_ci_low
        dunnett_ci_high. With `rank`: LEVEL TRT01P Quade's rank ANCOVA (rank_F rank_df1 rank_df2
        rank_p). Parameters with a TRANSFORM are analysed on the log scale; the ratio is its
        exponential. What can't be estimated is NaN with the reason.
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    kind, robust = section.get("response", "CHG"), section.get("robust")
    for param in chosen(section.get("parameters", "all"), parameters):
        transform = transform_of(parameters, param)
        for visit in chosen_visits(section.get("visits", "post-baseline"), cohort):
            response = cohort.response(param, visit, kind, transform)
            if (param, visit) not in cohort.measured:
                continue
            observed = ~np.isnan(cohort.response(param, visit, kind))
            for stratum, column, mask in cohort.strata():
                terms = model_terms(section, cohort, column)
                data = cohort.data(param, terms, transform).assign(**{kind: response})
                job = Job(
                    rows,
                    cohort,
                    kind,
                    terms,
                    transform,
                    confidence,
                    {
                        "param": param,
                        "visit": visit,
                        "place": cohort.places[visit],
                        "stratum": stratum,
                    },
                )
                used, rows.remark = cohort.pooled(data.loc[mask].dropna(), terms)
                job.fit(used, robust)
                if section.get("rank") and len(cohort.arms) > 1:
                    job.rank(used)
                rows.remark = ""
                job.left_out(data.loc[mask & observed])
                if stratum == ALL and len(cohort.arms) > 1:
                    for factor in cohort.factors:
                        job.interaction(cohort, factor["column"], data, param, transform, robust)
    return rows.frame()


def model_terms(section, cohort, column=""):
    """Covariates of the plan, then stratum factors, without the one that defines the stratum."""
    terms = list(section.get("covariates") or [])
    if section.get("strata_in_model", True):
        terms += [factor["column"] for factor in cohort.factors]
    return [term for term in dict.fromkeys(terms) if term != column]


def arms_with_data(cohort, count):
    """Arms that can be in a model, and for each comparison the reason why it can't be made."""
    kept = [code for code in cohort.arms if count.get(code, 0) >= 2]
    reasons = {code: too_few(count, (code, cohort.reference)) for code in cohort.compared}
    return kept, {code: why_not(short) for code, short in reasons.items() if short}


def no_model(cohort, kept, count):
    """Say why there is no model of the arms that are kept, with nothing to say where there is."""
    enough = len(kept) > 1 or len(cohort.arms) == 1
    return "" if enough and cohort.reference in kept else too_few(count, cohort.arms)


def without(cohort, kept):
    """Say which arms a test of several does not have."""
    gone = [code for code in cohort.arms if code not in kept]
    return f"without {', '.join(gone)}" if gone else ""


class Job:
    """One analysis: a parameter at a visit in a stratum."""

    def __init__(self, rows, cohort, kind, terms, transform, confidence, keys):
        self.rows, self.cohort, self.kind, self.terms = rows, cohort, kind, terms
        self.transform, self.confidence, self.keys = transform, confidence, keys

    def fit(self, data, robust):
        """Fit the model and add its rows, or rows that say why there are none."""
        cohort = self.cohort
        count = data[ARM].value_counts().to_dict()
        kept, reasons = arms_with_data(cohort, count)
        used = data.loc[data[ARM].isin(kept)]
        alone = len(cohort.arms) == 1
        fit, cause, dropped = None, no_model(cohort, kept, count), []
        if not cause:
            try:
                fit = AncovaFit(
                    used,
                    self.kind,
                    ARM,
                    self.terms,
                    cohort.reference,
                    None,
                    self.confidence,
                    one_arm=alone,
                )
                dropped = fit.dropped
                if fit.exact:
                    fit, cause = None, "no variation beyond the model"
                elif robust:
                    fit.vcov, fit.robust = fit.fit.robust(robust), robust
            except ValueError as error:
                fit, cause = None, str(error)
        n = len(used) if fit else len(data)
        line = self.line(dropped, robust)
        self.rows.add(
            {"model": np.nan}, n, note=line if fit else f"{line}; {why_not(cause)}", **self.keys
        )
        contrasts = fit.arm_contrasts().set_index("contrast") if fit and not alone else None
        means = fit.arm_means().set_index(ARM) if fit else None
        for code in cohort.compared:
            name = f"{code} - {cohort.reference}"
            reason = reasons.get(code) or (why_not(cause) if fit is None else "")
            row = contrasts.loc[name] if not reason else None
            size = n if not reason else count.get(code, 0) + count.get(cohort.reference, 0)
            self.add(row, CONTRAST, reason, size, ratio=True, comparison=name)
        for code in cohort.arms:
            size = count.get(code, 0)
            reason = "" if code in kept and fit else why_not(too_few(count, [code]) or cause)
            row = means.loc[code] if not reason else None
            self.add(row, MEAN, reason, size, ratio=self.kind == "CHG", group=code)
        if len(cohort.arms) > 2:
            self.several(fit, n, cause, reasons)

    def several(self, fit, n, cause, reasons):
        """Add what more than two arms need: the global test, and Dunnett's comparisons."""
        cohort = self.cohort
        scale = f"{self.transform} scale" if self.transform != "none" else ""
        values, note = missing(GLOBAL, why_not(cause))
        family = None
        if fit:
            row = fit.test(ARM).iloc[0]
            values = dict(zip(GLOBAL, row[["f", "df1", "df2", "p"]], strict=True))
            note = "; ".join(filter(None, [scale, without(cohort, fit.arms)]))
            family, cause = attempted(dunnett, fit)
        self.put(values, n, note, level=ARM)
        for code in cohort.compared:
            name = f"{code} - {cohort.reference}"
            own, said = missing(DUNNETT, reasons.get(code) or why_not(cause))
            if family is not None and code not in reasons:
                row = family.set_index("contrast").loc[name, ["p_adjusted", "ci_low", "ci_high"]]
                own, said = dict(zip(DUNNETT, row, strict=True)), note
            self.put(own, n, said, comparison=name)

    def rank(self, data):
        """Add Quade's test of the arms, which asks for no distribution."""
        count = data[ARM].value_counts().to_dict()
        kept, _ = arms_with_data(self.cohort, count)
        used, table, said = data.loc[data[ARM].isin(kept)], None, too_few(count, self.cohort.arms)
        if len(kept) > 1:
            table, said = attempted(rank_ancova, used, self.kind, ARM, self.terms)
        values, note = missing(RANK, why_not(said))
        if table is not None:
            values = dict(zip(RANK, table.loc[0, ["f", "df1", "df2", "p"]], strict=True))
            note = "; ".join(filter(None, ["Quade's test", without(self.cohort, kept), said]))
        self.put(values, len(used), note, level=ARM)

    def left_out(self, observed):
        """Count by arm who has a response and is not in the model, where there is anybody."""
        gone = observed.isna()
        if not gone.any(axis=None):
            return
        lacking = set(gone.columns[gone.any()])
        scale = lacking & {"BASE", self.kind} if self.transform != "none" else set()
        causes = [name for name in observed if name in lacking - scale]
        note = [f"{', '.join(causes)} missing"] if causes else []
        note += [f"no {', '.join(sorted(scale))} on the {self.transform} scale"] if scale else []
        for code in self.cohort.arms:
            mine = gone.loc[observed[ARM] == code].any(axis=1)
            self.rows.add(
                {"left_out": int(mine.sum())},
                len(mine),
                group=code,
                note="; ".join(note),
                **self.keys,
            )

    def add(self, row, names, reason, n, ratio, **keys):
        """Add a contrast or a mean, with its back-transformed ratio where the scale is log."""
        logged = self.transform != "none"
        said = {name: "emmean" if names is MEAN and name == "estimate" else name for name in names}
        if row is None:
            wanted = [*said.values(), *(RATIO if logged and ratio else ())]
            values, note = missing(wanted, reason)
            self.rows.add(values, n, note=note, **self.keys, **keys)
            return
        note = f"{self.transform} scale" if logged else ""
        self.put({said[name]: row[name] for name in names}, n, note, **keys)
        if logged and ratio:
            with np.errstate(over="ignore"):
                values = np.exp([row["estimate"], row["ci_low"], row["ci_high"]])
            self.put(dict(zip(RATIO, values, strict=True)), n, RATIO_NOTE[self.transform], **keys)

    def put(self, values, n, note="", **keys):
        """Add rows; a value that is not finite and has no reason gets one."""
        if not note.startswith("not estimated"):
            values, note = noted(values, note)
        self.rows.add(values, n, note=note, **self.keys, **keys)

    def line(self, dropped, robust=None, factor=None):
        """Model line as a table prints it; with a `factor`, of the model with arm x factor."""
        terms = [f"{ARM} * {factor}" if factor else ARM]
        terms += [term for term in self.terms if term != factor]
        parts = [
            f"{self.kind} ~ {' + '.join(terms)}",
            f"least squares, {f'{robust} standard errors, ' if robust else ''}residual df",
            "LS means: factors weighted equally, covariates at their mean",
            f"analysis set {self.cohort.population}",
        ]
        if self.transform != "none":
            parts.insert(1, f"{self.transform} scale")
        if dropped:
            parts.append(f"left out as aliased: {', '.join(dropped)}")
        return "; ".join(parts)

    def interaction(self, cohort, factor, data, param, transform, robust=None):
        """F test of arm x factor against the model with both main effects."""
        terms = [*self.terms, *([] if factor in self.terms else [factor])]
        if factor not in data:
            data = data.assign(**{factor: cohort.covariate(factor, param, transform)})
        data, self.rows.remark = cohort.pooled(data.dropna(), terms)
        kept, _ = arms_with_data(cohort, data[ARM].value_counts().to_dict())
        data = data.loc[data[ARM].isin(kept)]
        try:
            values, note = interaction_test(data, self.kind, terms, factor)
        except NotEstimableError as error:
            values, note = missing(INTERACTION, why_not(error))
        else:
            plain = "by residual variance, not robust" if robust else ""
            note = "; ".join(filter(None, [note, plain]))
        self.rows.add(values, len(data), level=factor, note=note, **self.keys)
        self.rows.remark = ""


def interaction_test(data, response, terms, factor, arm=ARM):
    """F test of the interaction of the arm with a factor.

    Returns
    -------
    dict, str
        interaction_F interaction_df1 interaction_df2 interaction_p, and a note where empty cells
        cost degrees of freedom.
    """
    if min(len(levels(data[name])) for name in (arm, factor)) < 2:
        raise NotEstimableError(f"one level of {arm} or {factor}")
    fit = AncovaFit(data, response, arm, [*terms, (arm, factor)], None, None, 0.95)
    if fit.exact:
        raise NotEstimableError("no variation beyond the model")
    return interaction_of(fit, factor)


def interaction_of(fit, factor):
    """Test the interaction of the arm with a factor in a fit; returns as `interaction_test`."""
    own = [i for i, term in enumerate(fit.design.terms) if set(term) == {fit.arm, factor}]
    cells = f"empty cells of {fit.arm} x {factor}"
    if not set(own) & set(fit.kept):
        raise NotEstimableError(cells)
    row = fit.test((fit.arm, factor)).iloc[0]
    lost = len(own) - int(row["df1"])
    values = dict(zip(INTERACTION, row[["f", "df1", "df2", "p"]], strict=True))
    return values, f"{lost} {cells}" if lost else ""
