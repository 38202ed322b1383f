"""Mixed model of every parameter over all visits, overall and by stratum."""

from lungitude.analysis.common import ARM
from lungitude.analysis.visits import PATIENT, VisitModel, over_visits
from lungitude.statistics.mixed import MixedFit, RandomTerm

METHOD = "mixed_model"


def mixed_model(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Compare each arm with the reference at each visit by one model a parameter and stratum.

    Fixed effects arm x visit, the covariates and the stratum factors; a random intercept of the
    patient, and of the `site` of the plan, a column that is then no fixed effect; REML;
    Satterthwaite df. For the arguments see `lungitude.analysis.ancova.ancova`.

    Returns
    -------
    DataFrame
        Results table, see `lungitude.analysis.visits.over_visits`.
    """
    site = section.get("site")
    if site and site in (ARM, *(section.get("covariates") or [])):
        raise ValueError(
            f"plan: mixed_model has {site} as site and as a fixed effect; name it once"
        )
    return over_visits(
        Mixed,
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


class Mixed(VisitModel):
    """A random intercept of the patient, and of the site."""

    def random(self):
        """Columns of groups other than the patients."""
        return [self.section["site"]] if self.section.get("site") else []

    def engine(self, design, data):
        """Fit by REML; a site is random where there are two, and it is no fixed effect."""
        if not data[PATIENT].duplicated().any():
            raise ValueError("no patient has two visits")
        groups = [RandomTerm.of(data[PATIENT], "USUBJID")]
        for name in self.random():
            term = RandomTerm.of(data[name], name)
            if term.size == groups[0].size:
                raise ValueError(f"each patient has a {name} of their own")
            if term.size > 1 and name not in design.factors:
                groups.insert(0, term)
        response = data[self.kind].to_numpy(dtype=float)
        return MixedFit(design, response, groups, True, "satterthwaite", self.confidence)

    def equation(self, terms):
        """Write the formula of the model."""
        groups = [f"(1 | {name})" for name in (*self.random(), "USUBJID")]
        return f"{self.kind} ~ {terms} + {' + '.join(groups)}"

    def estimation(self, fit):
        """Say how the model was estimated."""
        return "REML, Satterthwaite df"

    def remarks(self, fit):
        """Say which variances are 0, or not in the model."""
        found = {term.group for term in fit.terms}
        said = [f"no random effect of {name}" for name in self.random() if name not in found]
        names = {"USUBJID": "patients"}
        between = [names.get(group, group) for group in dict.fromkeys(fit.model.singular)]
        return said + [f"variance between {name} estimated as 0" for name in between]
