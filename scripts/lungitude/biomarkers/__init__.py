"""Biomarkers: functions that take images in HU and label maps, and return one row a region."""

from lungitude.biomarkers.agatston import agatston
from lungitude.biomarkers.airway_match import match_branches
from lungitude.biomarkers.airways import airway_branches, airways, airways_from_branches
from lungitude.biomarkers.clusters import clusters
from lungitude.biomarkers.parenchyma import parenchyma
from lungitude.biomarkers.prm import prm
from lungitude.biomarkers.ventricle import ventricle, volume_curve
from lungitude.biomarkers.vessels import vessel_segments, vessels

__all__ = [
    "agatston",
    "airway_branches",
    "airways",
    "airways_from_branches",
    "clusters",
    "match_branches",
    "parenchyma",
    "prm",
    "ventricle",
    "vessel_segments",
    "vessels",
    "volume_curve",
]
