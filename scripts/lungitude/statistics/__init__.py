"""Statistical methods: a tidy frame and column names in, a tidy frame or a fit out.

Every method is held against R in ``tests/reference``; docs/statistics.md says how each is defined
and what R and SAS call it. Heavy libraries are imported on first use.
"""

from lungitude.statistics.accuracy import accuracy, ccc, minimal_detectable_change, repeatability
from lungitude.statistics.agreement import bland_altman, icc
from lungitude.statistics.allocation import allocate
from lungitude.statistics.ancova import ancova, rank_ancova
from lungitude.statistics.arms import dunnett, stratum_contrasts, subgroups, tukey
from lungitude.statistics.bands import verbal_band
from lungitude.statistics.binary import logistic
from lungitude.statistics.categorical import confusion_matrix, weighted_kappa
from lungitude.statistics.correlation import (
    compare_correlations,
    correlate,
    correlate_changes,
    correlation_matrix,
    partial_correlation,
    repeated_correlation,
)
from lungitude.statistics.counts import count_model
from lungitude.statistics.cox import cox
from lungitude.statistics.distribution import equal_variances, normality, summarise
from lungitude.statistics.groups import compare_groups, compare_many, effect_size, paired
from lungitude.statistics.imputation import impute_reference_based
from lungitude.statistics.mixed import mixed_model
from lungitude.statistics.mmrm import mmrm
from lungitude.statistics.multiplicity import adjust, fixed_sequence, graphical
from lungitude.statistics.planning import power, simulate_power
from lungitude.statistics.regression import regress, stepwise, stepwise_model
from lungitude.statistics.rm_anova import friedman, rm_anova
from lungitude.statistics.survival import kaplan_meier, logrank, restricted_mean
from lungitude.statistics.tipping import tipping_point

__all__ = [
    "accuracy",
    "adjust",
    "allocate",
    "ancova",
    "bland_altman",
    "ccc",
    "compare_correlations",
    "compare_groups",
    "compare_many",
    "confusion_matrix",
    "correlate",
    "correlate_changes",
    "correlation_matrix",
    "count_model",
    "cox",
    "dunnett",
    "effect_size",
    "equal_variances",
    "fixed_sequence",
    "friedman",
    "graphical",
    "icc",
    "impute_reference_based",
    "kaplan_meier",
    "logistic",
    "logrank",
    "minimal_detectable_change",
    "mixed_model",
    "mmrm",
    "normality",
    "paired",
    "partial_correlation",
    "power",
    "rank_ancova",
    "regress",
    "repeatability",
    "repeated_correlation",
    "restricted_mean",
    "rm_anova",
    "simulate_power",
    "stepwise",
    "stepwise_model",
    "stratum_contrasts",
    "subgroups",
    "summarise",
    "tipping_point",
    "tukey",
    "verbal_band",
    "weighted_kappa",
]
