"""Mixed model for repeated measures of every parameter, overall and by stratum."""

from lungitude.analysis.common import ARM
from lungitude.analysis.visits import PATIENT, VISIT, VisitModel, over_visits
from lungitude.statistics.mmrm import fit_design, require_options

METHOD = "mmrm"
COVARIANCE = ("us", "toeph", "ar1h", "csh", "cs")
DF = {
    "satterthwaite": "Satterthwaite df",
    "kenward-roger": "Kenward-Roger df",
    "kenward-roger-linear": "Kenward-Roger df (linear)",
    "between-within": "between-within df",
    "residual": "residual df",
}


def mmrm(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Compare each arm with the reference at each visit by one model a parameter and stratum.

    Parameters
    ----------
    section : dict
        Of plan.yaml: population parameters visits response covariates by_visit strata_in_model
        covariance group_by_arm df vcov.
    adsl, records, parameters, arms, visits, strata, characteristics, confidence
        See `lungitude.analysis.ancova.ancova`.

    Returns
    -------
    DataFrame
        Results table, see `lungitude.analysis.visits.over_visits`.

    Notes
    -----
    Fixed effects arm x visit, the covariates (those of `by_visit` with a coefficient at each
    visit, BASE when nothing is said) and the stratum factors. A patient with all covariates and
    one post-baseline value is in. The covariance is the first of those declared that converges;
    the model line names it, and why those before it were not used. The model of one visit is the
    ANCOVA: its Kenward-Roger df are the linear ones, with which the standard error is the ANCOVA's.
    """
    require_options(
        section.get("covariance", COVARIANCE),
        "reml",
        section.get("df", "kenward-roger-linear"),
        section.get("vcov", "model"),
        confidence,
    )
    return over_visits(
        Marginal,
        METHOD,
        adsl,
        records,
        parameters,
        section,
        arms,
        visits,
        strata,
        characteristics,
        confidence,
    )


class Marginal(VisitModel):
    """A marginal covariance of the visits."""

    def __init__(self, rows, cohort, kind, section, transform, confidence):
        super().__init__(rows, cohort, kind, section, transform, confidence)
        self.declared = list(section.get("covariance", COVARIANCE))
        self.by_arm = bool(section.get("group_by_arm"))
        self.vcov = section.get("vcov", "model")

    def crossed(self):
        """Name the fixed effects that have a coefficient at each visit."""
        given = self.section.get("by_visit")
        return ["BASE"] if given is None else given

    def df(self, design):
        """Degrees of freedom of the plan; those of one visit are the ANCOVA's."""
        df = self.section.get("df", "kenward-roger-linear")
        one = design is not None and len(design.factors[VISIT]) == 1
        return "kenward-roger-linear" if one and df == "kenward-roger" else df

    def engine(self, design, data):
        """Fit the first structure that converges."""
        try:
            return fit_design(
                design,
                data[self.kind],
                PATIENT,
                VISIT,
                self.declared,
                group=ARM if self.by_arm else None,
                df=self.df(design),
                vcov=self.vcov,
                confidence=self.confidence,
                name=self.kind,
                strict=False,
            )
        except ValueError as error:
            raise ValueError(str(error).removeprefix("mmrm: ")) from error

    def estimation(self, fit):
        """Say how the model was estimated."""
        covariance = fit.covariance_used if fit else ", else ".join(self.declared)
        parts = ["REML", f"covariance {covariance}{' by arm' if self.by_arm else ''}"]
        parts += [DF[self.df(fit.design if fit else None)]]
        parts += [] if self.vcov == "model" else [f"{self.vcov} standard errors"]
        return ", ".join(parts)

    def remarks(self, fit):
        """Say why structures that were declared first are not used."""
        tried = fit.attempts.iloc[:-1]
        told = [f"{a.covariance} ({a.reason})" for a in tried.itertuples()]
        return [f"{fit.covariance_used} instead of {', '.join(told)}"] if told else []
