"""The displays of a plan: their kinds, and the folder that holds what was made of them.

A plan names each display by an `id` of its own and a `kind`, which is a module of this package. All
displays of a stratum are written by one job into one folder, beside a manifest that says in which
order they stand, and which were left out and why.
"""

import json
from pathlib import Path

from lungitude.job import whole

# Kind: what its section of a report is called.
KINDS = {
    "figure_flow": "Patients and scans",
    "table_disposition": "Disposition",
    "table_completion": "Visits and scans",
    "figure_missing": "Missing values",
    "table_baseline": "Baseline",
    "table_adherence": "Adherence",
    "table_primary": "Effects",
    "table_models": "Models",
    "figure_trend": "Course over the visits",
    "figure_trends_grades": "Course by stratum",
    "figure_individual": "Changes of patients",
    "table_visits": "Values by visit",
    "table_within_arm": "Changes within arms",
    "table_arm_tests": "Tests between arms",
    "table_subgroups": "Subgroups",
    "figure_forest": "Subgroups, drawn",
    "figure_forest_strata": "Effects by stratum, drawn",
    "table_sensitivity": "Sensitivity analyses",
    "figure_sensitivity": "Sensitivity analyses, drawn",
    "figure_tipping": "Tipping points",
    "table_correlations": "Associations",
    "figure_correlations": "Associations, drawn",
    "table_adverse": "Adverse events",
    "table_agreement": "Agreement",
    "figure_agreement": "Agreement, drawn",
    "table_accuracy": "Accuracy",
    "figure_architecture": "The network",
    "table_network_accuracy": "Accuracy of the network",
    "table_segmentation_accuracy": "Overlap of the network",
    "figure_overlap_models": "Overlap of several networks",
    "figure_models_heatmap": "Biomarkers of several networks",
    "figure_activation": "Where the network looks",
}
EFFECTS = ("ancova", "mixed_model", "mmrm", "imputation")
# What a kind shows nothing without: one of these analyses of the plan.
NEEDS = {
    "figure_flow": ("disposition",),
    "table_disposition": ("disposition",),
    "table_completion": ("disposition",),
    "figure_missing": ("describe",),
    "table_baseline": ("baseline",),
    "table_adherence": ("adherence",),
    "table_adverse": ("adverse",),
    "table_models": (*EFFECTS, "subgroups", "responders", "stepwise"),
    "figure_trends_grades": EFFECTS,
    "figure_individual": ("describe",),
    "table_visits": ("describe",),
    "table_within_arm": ("within_arm",),
    "table_arm_tests": ("arm_tests",),
    "table_subgroups": ("subgroups",),
    "figure_forest": ("subgroups",),
    "figure_forest_strata": ("ancova", "mmrm", "mixed_model"),
    "table_sensitivity": EFFECTS,
    "figure_sensitivity": EFFECTS,
    "figure_tipping": ("imputation",),
    "table_correlations": ("association",),
    "figure_correlations": ("association",),
    "table_agreement": ("agreement",),
    "figure_agreement": ("agreement", "accuracy"),
    "table_accuracy": ("accuracy",),
    "figure_architecture": ("network_study",),
    "table_network_accuracy": ("network_study",),
    "table_segmentation_accuracy": ("network_study",),
    "figure_overlap_models": ("network_study",),
    "figure_models_heatmap": ("network_study",),
    "figure_activation": ("network_study",),
}
# Tables that a plan need not name: made where it has the analysis.
UNASKED = {
    "table_agreement": "Agreement of measurements with readers",
    "table_accuracy": "Measurements of scans against their truth",
}
# What is written of each. The first is what a report shows.
FORMATS = {"table": ("html", "tsv", "json"), "figure": ("svg", "pdf", "png", "tiff")}
PRINT = ("pdf", "tiff")  # of a figure, where the plan does not say less
MANIFEST = "displays.json"


def kind_of(display):
    """Return the kind of an entry of a plan; its id where it names none."""
    return display.get("kind") or display["id"]


def of_plan(plan):
    """Return the displays of a plan in their order, then those that it need not name."""
    usual = {"print_files": list(plan.get("print_files", PRINT))}
    asked = [{**usual, **display} for display in plan.get("displays", [])]
    kinds = {kind_of(display) for display in asked}
    return asked + [
        {"id": kind, "kind": kind, "title": title, **usual}
        for kind, title in UNASKED.items()
        if kind not in kinds and any(name in plan.get("analyses", {}) for name in NEEDS[kind])
    ]


def headings(shown):
    """Return what the section of each display is called, by its id.

    Its kind says it; of several displays of one kind, their titles do.
    """
    kinds = [kind_of(display) for display in shown]
    return {
        display["id"]: KINDS[kind] if kinds.count(kind) == 1 else display["title"]
        for display, kind in zip(shown, kinds, strict=True)
    }


def files(display):
    """Return the names of the files of a display by suffix."""
    group = kind_of(display).partition("_")[0]
    unwanted = set(PRINT) - set(display.get("print_files", PRINT))
    wanted = (suffix for suffix in FORMATS[group] if suffix not in unwanted)
    return {suffix: f"{display['id']}.{suffix}" for suffix in wanted}


def title_number(display):
    """First line of a title: the name in the paper, then the number in the report."""
    number, alias = display.get("number", ""), display.get("alias", "")
    if alias and number:
        return f"{alias} ({number})"
    return alias or number


def write_manifest(folder, entries):
    """Write what was made, in the order of the plan.

    Parameters
    ----------
    folder : path
    entries : list of dict
        ``display`` (its entry of the plan), ``caption``, and ``left_out``: empty, or why it was not
        made.
    """
    with whole(Path(folder) / MANIFEST) as part:
        part.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder):
    """Return the entries of a folder's manifest."""
    return json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))


def read(folder):
    """Return the entries of a folder's manifest; those that were made also have their ``body``.

    Raises
    ------
    FileNotFoundError
        If a file of the manifest is gone.
    """
    folder = Path(folder)
    entries = read_manifest(folder)
    for entry in entries:
        if not entry["left_out"]:
            first = next(iter(files(entry["display"]).values()))
            entry["body"] = (folder / first).read_text(encoding="utf-8")
    return entries
