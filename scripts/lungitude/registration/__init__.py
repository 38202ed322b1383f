"""Registration of images: `register` two scans, keep one `Transform`, judge it by `report`.

Names are loaded when asked for: config is checked by `settings` where no image library is.
"""

from lungitude.registration.settings import PRESETS

__all__ = ["PRESETS", "Transform", "read", "register", "report"]


def __getattr__(name):
    if name == "register":
        from lungitude.registration.engine import register as found
    elif name == "report":
        from lungitude.registration.checks import report as found
    elif name == "Transform":
        from lungitude.registration.transform import Transform as found
    elif name == "read":
        from lungitude.registration.transform import read as found
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
