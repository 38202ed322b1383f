"""Biomarkers: functions that take images in HU and label maps, and return one row a region."""

from lungitude.biomarkers.parenchyma import parenchyma
from lungitude.biomarkers.prm import prm

__all__ = ["parenchyma", "prm"]
