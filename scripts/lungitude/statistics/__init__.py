"""Statistical methods: a tidy frame and column names in, a tidy frame or a fit out.

Every method is held against R in ``tests/reference``; heavy libraries are imported on first use.
"""

from lungitude.statistics.agreement import bland_altman, icc
from lungitude.statistics.ancova import ancova
from lungitude.statistics.correlation import correlate
from lungitude.statistics.groups import compare_groups
from lungitude.statistics.mixed import mixed_model
from lungitude.statistics.mmrm import mmrm
from lungitude.statistics.multiplicity import adjust

__all__ = [
    "adjust",
    "ancova",
    "bland_altman",
    "compare_groups",
    "correlate",
    "icc",
    "mixed_model",
    "mmrm",
]
