"""Where a run finds the files of a series: its folder, or a folder of links to them."""

import bisect
import os
import re
import shutil
from pathlib import Path

from lungitude.dicom import MIN_POSITIONS

# What a cell of a sheet can't hold without being changed.
_ODD = re.compile('[\x00-\x1f\x7f-\x9f"\ufeff\ufffd\ud800-\udfff]|^\\s|\\s$')
_LONGEST = 900


class Layout:
    """Which folders hold the slices of which series.

    Parameters
    ----------
    items : list of decisions.Item
    """

    def __init__(self, items):
        self.places = sorted(
            {
                (os.path.dirname(one.path) + os.sep, item.number)
                for item in items
                if item.stack is not None
                and item.stack.shared["slices"]
                and item.stack.positions >= MIN_POSITIONS
                for one in item.stack.slices
            }
        )

    def own_folder(self, item):
        """Return the folder that holds this series and no other one; None if there is none."""
        folders = {os.path.dirname(path) for path in item.paths}
        if len(folders) > 1 or item.stack.copies:
            return None
        folder = folders.pop()
        at = bisect.bisect_left(self.places, (folder + os.sep, -1))
        while at < len(self.places) and self.places[at][0].startswith(folder + os.sep):
            if self.places[at][1] != item.number:
                return None
            at += 1
        return folder


def path_of(item, layout, base, folder, always=False):
    """Return what PATH of scans.tsv says of a series; makes the links that it needs.

    Parameters
    ----------
    item : decisions.Item
    layout : Layout
    base : path
        What PATH is relative to.
    folder : path
        Where folders of links are made.
    always : bool
        Links also where a folder of the export would do.

    Raises
    ------
    ValueError
        If links can't be made there.
    """
    if item.stack is None:
        own = item.paths[0]
        if is_odd(relative(own, base)) or (always and own.lower().endswith((".nii", ".nii.gz"))):
            suffix = "".join(Path(own).suffixes[-2:]) if own.lower().endswith(".gz") else None
            name = "image" + (suffix or Path(own).suffix)
            return relative(linked(Path(folder) / item.identifier, {name: own}), base) + f"/{name}"
        return relative(own, base)
    own = None if always else layout.own_folder(item)
    if own is None or is_odd(relative(own, base)):
        names = {f"{k:06d}.dcm": path for k, path in enumerate(item.paths, 1)}
        own = linked(Path(folder) / item.identifier, names)
    return relative(own, base)


def is_odd(text):
    """Whether a sheet can't hold a path as it is."""
    return bool(_ODD.search(text)) or len(text) > _LONGEST


def relative(path, base):
    """Return a path relative to a folder, with / between folders."""
    return Path(os.path.relpath(path, base or ".")).as_posix()


def linked(folder, names):
    """Make a folder of links by name, in place of what was there; return it."""
    if folder.is_dir():
        shutil.rmtree(folder)  # of links alone: named by what the images are
    folder.mkdir(parents=True)
    for name, path in names.items():
        target, place = os.path.abspath(path), folder / name
        try:
            os.symlink(target, place)
        except OSError:
            try:
                os.link(target, place)
            except OSError as error:
                text = (
                    f"{folder}: links to files can't be made here ({error.strerror}); name "
                    "another disk by --out, or give each series of the export a folder of its own"
                )
                raise ValueError(text) from None
    return folder
