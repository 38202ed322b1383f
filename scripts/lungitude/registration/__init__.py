"""Registration of images: `register` two scans, keep one `Transform`, judge it by `report`."""

from lungitude.registration.checks import report
from lungitude.registration.engine import register
from lungitude.registration.settings import PRESETS
from lungitude.registration.transform import Transform, read

__all__ = ["PRESETS", "Transform", "read", "register", "report"]
