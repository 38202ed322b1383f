"""Make all displays of one stratum from the results table alone."""

import logging
from dataclasses import replace
from pathlib import Path

from lungitude.reporting import (
    displays,
    figure,
    figure_activation,
    figure_agreement,
    figure_architecture,
    figure_correlations,
    figure_flow,
    figure_forest,
    figure_forest_strata,
    figure_individual,
    figure_missing,
    figure_models_heatmap,
    figure_overlap_models,
    figure_sensitivity,
    figure_tipping,
    figure_trend,
    figure_trends_grades,
    table,
    table_accuracy,
    table_adherence,
    table_adverse,
    table_agreement,
    table_arm_tests,
    table_baseline,
    table_completion,
    table_correlations,
    table_disposition,
    table_models,
    table_network_accuracy,
    table_primary,
    table_segmentation_accuracy,
    table_sensitivity,
    table_subgroups,
    table_visits,
    table_within_arm,
)
from lungitude.reporting.individual import Individual
from lungitude.reporting.results import Absent, Results

TABLES = (
    table_accuracy,
    table_adherence,
    table_adverse,
    table_agreement,
    table_arm_tests,
    table_baseline,
    table_completion,
    table_correlations,
    table_disposition,
    table_models,
    table_network_accuracy,
    table_primary,
    table_segmentation_accuracy,
    table_sensitivity,
    table_subgroups,
    table_visits,
    table_within_arm,
)
FIGURES = (
    figure_activation,
    figure_agreement,
    figure_architecture,
    figure_correlations,
    figure_flow,
    figure_forest,
    figure_forest_strata,
    figure_individual,
    figure_missing,
    figure_models_heatmap,
    figure_overlap_models,
    figure_sensitivity,
    figure_tipping,
    figure_trend,
    figure_trends_grades,
)
MODULES = {module.__name__.rpartition(".")[2]: module for module in (*TABLES, *FIGURES)}


def write(frame, context, folder, individual=None):
    """Write each display of the plan and the manifest of the folder.

    Parameters
    ----------
    frame : DataFrame
        The analysis results table.
    context : Context
        Of the stratum.
    folder : path
    individual : DataFrame, optional
        Values of single patients, as `lungitude.analysis.individual` gathers them.

    Notes
    -----
    A display that has nothing to show because its analysis was not made is left out, and its entry
    of the manifest says why. A stratum without patients keeps its displays, which say so.
    """
    log = logging.getLogger(__name__)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found, entries = {}, []
    for display in displays.of_plan(context.plan):
        population = display.get("population")
        if population not in found:
            found[population] = _look_up(frame, individual, context, population)
        entry = {"display": display, "caption": "", "left_out": ""}
        try:
            entry["caption"] = _make(found[population], context, display, folder)
            log.info("%s: made", display["id"])
        except Absent as reason:
            entry["left_out"] = str(reason)
            log.info("%s: left out, %s", display["id"], reason)
        entries.append(entry)
    displays.write_manifest(folder, entries)


def _look_up(frame, individual, context, population):
    if individual is not None:
        individual = Individual(individual, context.stratum, context.plan, population)
    return Results(frame, context.stratum["path"], context.plan, population, individual)


def _make(results, context, display, folder):
    """Write the files of one display; return its caption (a table has its own title lines)."""
    context = replace(context, p_style=display.get("style") or "csr")
    module = MODULES[displays.kind_of(display)]
    paths = {suffix: folder / name for suffix, name in displays.files(display).items()}
    if module in TABLES:
        table.write(module.build(results, context, display), context.trial, paths)
        return ""
    title = f"{display['title']}: {context.stratum['label']}"
    figure.save(module.draw(results, context, display), paths, title)
    return module.caption(results, context, display)
