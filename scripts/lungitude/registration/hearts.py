"""Gated angiography onto the scan of the chest: register, judge, write, for the rule."""

import itertools
import logging
import math

import numpy as np
import SimpleITK as sitk

from lungitude import images, measuring, records
from lungitude.overlays import registration_overlay
from lungitude.registration import checks
from lungitude.registration.engine import register
from lungitude.registration.linear import centre_of, refine_linear
from lungitude.registration.pairs import STAGE, exclude, of_scan, settle, stop_if
from lungitude.registration.settings import split_heart
from lungitude.registration.transform import Transform

log = logging.getLogger("lungitude.registration")

MIN_SIMILARITY = 0.8
MIN_SIMILARITY_USABLE = 0.6
MIN_INSIDE_PCT = 95.0
MIN_INSIDE_USABLE_PCT = 50.0
MAX_TURN_DEG = 20.0

WINDOW_HU = (-400.0, 400.0)
_CLIP_HU = (-1000.0, 0.0)  # contrast medium is in one of both
_NOTHING_HU = -3000.0
_NO_DATA_HU = -1500.0
_STEP_MM = 4.0  # of the comparison
_FLIP_STEP_MM = 8.0
_NAMES = ("gated scan", "inspiration")  # on the grid of the gated scan, where the heart is


def run(inputs, outputs, identity, settings, on_bad_scan="exclude"):
    """Register one phase of a gated angiography onto the inspiration of the same visit.

    Parameters
    ----------
    inputs : object
        Paths ``fixed fixed_record`` of the inspiration, ``moving moving_record`` of the gated scan
        (4-D); ``heart``, label map of all its phases or an empty list, for the picture.
    outputs : object
        Paths ``transform record picture``.
    identity : dict
        USUBJID, AVISIT, SERIES of the record.
    settings : dict
        As `split_heart` takes them.
    on_bad_scan : {"exclude", "stop"}
        What follows when the registration is refused, or none was possible.

    Returns
    -------
    dict
        The record that was written: the numbers and ``warnings`` of `report`, ``backend`` and the
        ``phase_pct`` that was found.

    Raises
    ------
    ValueError
        Settings that `split_heart` refuses; with "stop", a bad pair.
    """
    wanted_pct, given = split_heart(settings)
    files = [outputs.transform, outputs.picture]
    bad = records.excluded(inputs.fixed_record, inputs.moving_record)
    if bad:
        return exclude(files, outputs.record, identity, bad["stage"], of_scan(bad))
    fixed, cycle = images.read(inputs.fixed), images.read_cycle(inputs.moving)
    told = records.read(inputs.moving_record)
    percent, known = phases_pct(told.get("phases"), told.get("phases_unit"), len(cycle))
    number = nearest_phase(percent, wanted_pct)
    moving = cycle[number]
    try:
        transform = register(fixed, moving, **given)
        found = report(fixed, moving, transform)
    except ValueError as error:
        stop_if(on_bad_scan, identity, str(error))
        return exclude(files, outputs.record, identity, STAGE, str(error))
    found = {"backend": "linear", "phase_pct": percent[number], **found}
    if not known:
        found["warnings"].append(
            "phase estimated: the headers tell no interval between two R waves"
        )

    def draw(title, lines):
        labels = _labels(inputs.heart, cycle, number)
        _draw((fixed, moving, labels), transform, outputs.picture, title, lines)

    return settle(files, outputs, identity, transform, found, draw, on_bad_scan)


def phases_pct(times, unit, count):
    """Return where in the cycle each phase lies, and whether that is known.

    Parameters
    ----------
    times : list of float or None
        As records of gated scans tell; None: evenly spaced from 0 on.
    unit : {"percent", "ms"} or None
        Times in ms are after the R wave of a cycle that ends one step after its last phase: an
        estimate, as the scan may cover a part of the cycle alone.
    count : int
        Phases.

    Returns
    -------
    tuple of list of float and bool
    """
    if not times or len(times) != count:
        return [round(100.0 * k / count, 2) for k in range(count)], True
    if unit != "ms":
        return list(map(float, times)), True
    length = max(times) + float(np.median(np.diff(sorted(times))))
    return [round(100.0 * time / length, 2) for time in times], False


def nearest_phase(percent, wanted_pct):
    """Choose the phase nearest to a percentage of the cycle, which is round."""
    gaps = [abs((value - wanted_pct + 50.0) % 100.0 - 50.0) for value in percent]
    return int(np.argmin(gaps))


def _labels(path, cycle, number):
    """Read the label map of one phase; None where there is none, or none that fits."""
    if not path:
        return None
    try:
        return measuring.read_labels(path, cycle, cycle=True)[number]
    except ValueError as error:  # it is for the picture alone
        log.warning("heart: drawn without its contour: %s", getattr(error, "fault", error))
        return None


def report(fixed, moving, transform):
    """Judge a linear map of a gated scan onto a scan of the same chest.

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
        CT in HU; contrast medium in one of them does no harm.
    transform : Transform
        Linear, from fixed to moving.

    Returns
    -------
    dict
        ``inside_pct`` (of the moving scan that the fixed one holds); ``similarity_before`` and
        ``similarity`` (correlation of HU clipped to -1000 to 0 there, by world coordinates and by
        the map); ``shift_mm`` and ``turn_deg`` (what the map does at the centre of the moving
        scan); ``flip_gain`` (by how much the best of seven flips of the moving scan correlates
        better than the scan as it is) and ``flip`` (its axes, or empty); ``warnings`` and
        ``refused``, as `checks.report`.

    Notes
    -----
    Lungs, fat and muscle around the heart are what is compared. Two hearts of one size look much
    alike at this resolution: the wrong patient is told from the right one by the lungs
    (`checks.report`), not here.
    """
    fixed, moving = _coarse(fixed), _coarse(moving)
    back = transform.sitk.GetInverse()
    turn, centre = _turn(back), centre_of(moving)
    inside_pct, similarity = _compare(fixed, moving, back)
    _, before = _compare(fixed, moving, sitk.Transform(3, sitk.sitkIdentity))
    cosine = np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0)
    shift = np.linalg.norm(np.array(back.TransformPoint(centre.tolist())) - centre)
    found = {
        "inside_pct": inside_pct,
        "similarity_before": before,
        "similarity": similarity,
        "shift_mm": float(shift),
        "turn_deg": math.degrees(math.acos(cosine)),
        **_flip(fixed, moving, transform),
    }
    faults = list(_faults(found))
    found["warnings"] = [text for text, _ in faults]
    found["refused"] = [text for text, refuses in faults if refuses]
    return found


def _coarse(image):
    sizes = zip(image.GetSpacing(), image.GetSize(), strict=True)
    factors = [min(max(1, round(_STEP_MM / mm)), n) for mm, n in sizes]
    return sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), factors)


def _compare(fixed, moving, back):
    """Return how much of a moving scan the fixed one holds (%), and their correlation there."""
    here = sitk.Resample(fixed, moving, back, sitk.sitkLinear, _NOTHING_HU)
    a, b = images.array(here), images.array(moving)
    scanned = b > _NO_DATA_HU
    both = scanned & (a > _NO_DATA_HU)
    if not both.any():
        return 0.0, math.nan
    a, b = (np.clip(values[both], *_CLIP_HU).astype(float) for values in (a, b))
    inside_pct = float(100.0 * both.sum() / scanned.sum())
    return inside_pct, checks.correlation(a, b)


def _turn(transform):
    """Return the rotation of a linear transform."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.stack([np.array(transform.TransformPoint(e)) - origin for e in np.eye(3)], axis=1)
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def _flip(fixed, moving, transform):
    """Try the moving scan flipped along each set of axes, from the map that was found on."""
    found = {}
    for axes in itertools.product((False, True), repeat=3):
        flipped = sitk.Flip(moving, axes)
        flipped.SetOrigin(moving.GetOrigin())
        flipped.SetDirection(moving.GetDirection())
        map_ = refine_linear(fixed, flipped, transform.sitk, _FLIP_STEP_MM)
        _, similarity = _compare(fixed, flipped, map_.GetInverse())
        found[axes] = -1.0 if math.isnan(similarity) else similarity
    as_it_is = found.pop((False, False, False))
    best = max(found, key=found.get)
    gain = found[best] - as_it_is
    # Where no way round is alike, there is something else wrong with the scans.
    is_flipped = gain > checks.MAX_FLIP_GAIN and found[best] >= MIN_SIMILARITY
    return {"flip_gain": gain, "flip": checks.axes_told(best) if is_flipped else ""}


def _faults(found):
    """Yield what is wrong and whether it refuses; a NaN keeps no limit."""
    inside, similarity, turn = (found[k] for k in ("inside_pct", "similarity", "turn_deg"))
    if not inside >= MIN_INSIDE_PCT:
        text = f"{inside:.0f} % of the gated scan lies inside the other"
        text += f", less than {MIN_INSIDE_PCT:g} %"
        yield text, not inside >= MIN_INSIDE_USABLE_PCT
    if not similarity >= MIN_SIMILARITY:
        text = (
            f"the scans correlate by {similarity:.2f} around the heart, less than "
            f"{MIN_SIMILARITY:g}: another chest, or a failed registration"
        )
        yield text, not similarity >= MIN_SIMILARITY_USABLE
    if found["flip"]:
        yield checks.flip_told("gated", found), True
    if turn > MAX_TURN_DEG:
        yield f"the gated scan is turned by {turn:.0f} degrees, more than {MAX_TURN_DEG:g}", False


def _draw(scans, transform, path, title, lines):
    """Draw both on the grid of the gated scan, where the heart is."""
    fixed, moving, labels = scans
    box = sitk.Cast(moving, sitk.sitkInt16)
    stays = Transform(sitk.Transform(3, sitk.sitkIdentity))
    after = Transform(transform.sitk.GetInverse()).resample(fixed, like=box)
    before = stays.resample(fixed, like=box)
    registration_overlay(
        box, before, after, labels, path, title, lines, _NAMES, window_hu=WINDOW_HU
    )
