"""What the path of a loose image file says, by the patterns that a trial declares."""

import re

NAMES = ("patient", "visit", "series")
_PARTS = re.compile(r"(\*\*/|\*\*|\*|\?|\{[a-z]+\})")
_REGEX = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def compiled(pattern):
    """Return a pattern of paths as a regular expression with a group for each placeholder."""
    text = ""
    for part in _PARTS.split(pattern):
        if part.startswith("{"):
            text += f"(?P<{part[1:-1]}>[^/]+?)"
        else:
            text += _REGEX.get(part) or re.escape(part)
    return re.compile(text)


def told(path, patterns):
    """Return what all patterns that fit a path say of it.

    Parameters
    ----------
    path : str
        Relative to the folder that is indexed, with / between folders.
    patterns : list of dict
        ``index: files`` of config.yaml.

    Returns
    -------
    said : list of dict
        Of each pattern that fits: patient, visit, series, or ignore; what is given by a
        placeholder has the key ``{patient}`` and so on.
    """
    said = []
    for pattern in patterns:
        match = compiled(pattern["path"]).fullmatch(path)
        if match:
            own = {name: pattern[name] for name in (*NAMES, "ignore") if name in pattern}
            own |= {f"{{{name}}}": value for name, value in match.groupdict().items()}
            said.append(own)
    return said
