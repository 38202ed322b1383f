"""Digests of code and data: what a job depends on, and what a report was made from."""

import ast
import contextlib
import functools
import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path

SCRIPTS = Path(__file__).parents[1]
PACKAGES = "numpy scipy pandas statsmodels matplotlib".split()
IMAGING_PACKAGES = "SimpleITK pydicom antspyx scikit-image".split()
NETWORK_PACKAGES = "torch monai".split()


@functools.cache
def digest(script):
    """Digest a script with every module of the library that it reaches by import.

    Parameters
    ----------
    script : str
        Name of a script under scripts/, without suffix.

    Returns
    -------
    str
        16 hexadecimal digits of SHA-256. It changes when one of the files changes in content, so
        that a rule with ``params: code=digest(...)`` runs again; the templates of a package that
        is reached count as its code.
    """
    total = hashlib.sha256()
    for path in sorted(reached(SCRIPTS / f"{script}.py")):
        total.update(path.relative_to(SCRIPTS).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def reached(path):
    """Return the files under scripts/ that a module uses, itself and templates included."""
    found, waiting = set(), [Path(path)]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        if current.suffix == ".py":
            waiting += _imported(current)
    return found


@functools.cache
def _imported(path):
    """Return the files that one module imports from the library, and the templates beside it."""
    files = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = path.relative_to(SCRIPTS).parent.parts
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *filter(None, [base])])
            # A package only hands names on: what is taken from it is the module, if it is one.
            names = [f"{base}.{alias.name}" for alias in node.names]
            if not all(map(_files_of, names)):
                names.append(base)
        else:
            continue
        for name in names:
            files += _files_of(name)
    for folder in ("templates", "profiles"):
        if (path.parent / folder).is_dir():
            files += sorted((path.parent / folder).iterdir())
    return files


def _files_of(name):
    """Return the file of a dotted module name of the library, none if there is no such module.

    Packages on the way don't count: they only hand on names of their modules.
    """
    parts = name.split(".")
    if parts[0] != "lungitude":
        return []
    stem = SCRIPTS.joinpath(*parts)
    return [p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()]


def digest_of(*paths):
    """Digest the content of files, as 16 hexadecimal digits."""
    total = hashlib.sha256()
    for path in paths:
        total.update(Path(path).read_bytes())
    return total.hexdigest()[:16]


def digest_of_text(content):
    """Digest plain values (the plan, a list of digests), whatever the order of their keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(imaging, network=False):
    """Return the versions of Python, Lungitude and the packages that numbers come from.

    Parameters
    ----------
    imaging : bool
        Whether scans were measured, so that their packages count.
    network : bool
        Whether a network found the structures.
    """
    found = {"Python": platform.python_version()}
    names = ["lungitude", "snakemake", *PACKAGES]
    names += IMAGING_PACKAGES if imaging else []
    names += NETWORK_PACKAGES if imaging and network else []
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def fingerprint(path):
    """Tell a scan from a changed one without reading it: number, size and date of its files.

    A file exchanged inside a DICOM folder leaves the date of the folder alone, so the folder itself
    can't trigger a rerun.
    """
    path = Path(path)
    if not path.is_dir():
        status = path.stat()
        return f"1 file, {status.st_size} bytes, {status.st_mtime_ns}"
    count = size = newest = 0
    for folder, _, names in os.walk(path):
        for name in names:
            status = os.stat(os.path.join(folder, name))
            count, size = count + 1, size + status.st_size
            newest = max(newest, status.st_mtime_ns)
    return f"{count} files, {size} bytes, {newest}"
