"""What the registration rules of the lungs do: pass exclusions on, register, judge, write."""

import logging

import SimpleITK as sitk

from lungitude import images, records
from lungitude.job import write_empty
from lungitude.overlays import registration_overlay
from lungitude.registration import checks
from lungitude.registration.engine import register
from lungitude.registration.settings import completed, split
from lungitude.registration.transform import Transform

log = logging.getLogger("lungitude.registration")
STAGE = "registration"
_KINDS = {"exp_to_insp": "breath", "to_baseline": "visits"}


def run(inputs, outputs, identity, settings, on_bad_scan="exclude"):
    """Register two scans of a patient.

    Parameters
    ----------
    inputs : object
        Paths ``fixed fixed_record fixed_lungs fixed_lungs_record`` and the same of ``moving``.
    outputs : object
        Paths ``transform record picture`` and, where the warped image is wanted, ``image``.
    identity : dict
        USUBJID, AVISIT, SERIES of the record.
    settings : dict
        As `split` takes them.
    on_bad_scan : {"exclude", "stop"}
        What follows when `checks.report` refuses the registration, or none was possible.

    Returns
    -------
    dict
        The record that was written: the numbers and ``warnings`` of `checks.report`, ``backend``,
        ``fallback`` (whether the map that was kept is that of the fall-back); with a second opinion
        ``second_backend``, ``second_mean_mm`` and ``second_p95_mm`` (distance of its map in the
        lungs).

    Raises
    ------
    ValueError
        Settings that `split` refuses; with "stop", a bad pair.

    Notes
    -----
    Where the map fails its checks and the scans are not to blame, the fall-back registers them once
    more, and the better of both is kept: fewer refusals, then fewer warnings, then more similar.
    """
    given, fallback, second = split(settings)
    files = [outputs.transform, outputs.picture]
    image_path = getattr(outputs, "image", None)
    if image_path:
        files.append(image_path)
    bad = records.excluded(
        inputs.fixed_record,
        inputs.fixed_lungs_record,
        inputs.moving_record,
        inputs.moving_lungs_record,
    )
    if bad:
        return exclude(files, outputs.record, identity, bad["stage"], of_scan(bad))
    fixed, moving = images.read(inputs.fixed), images.read(inputs.moving)
    masks = (
        images.read_labels(inputs.fixed_lungs, like=fixed),
        images.read_labels(inputs.moving_lungs, like=moving),
    )
    pair = (fixed, moving, masks, _KINDS.get(identity["SERIES"]))
    try:
        transform, found = _best(pair, given, fallback)
    except ValueError as error:  # of the scans: the settings are known to be good
        stop_if(on_bad_scan, identity, str(error))
        return exclude(files, outputs.record, identity, STAGE, str(error))
    if not found["refused"] and second and identity["USUBJID"] in second["subjects"]:
        repeats = found["backend"] == second["settings"]["backend"]  # the fall-back was kept
        _compare(found, transform, pair, given if repeats else second["settings"])
    warped = transform.resample(moving, like=fixed)

    def draw(title, lines):
        before = Transform(sitk.Transform(3, sitk.sitkIdentity)).resample(moving, like=fixed)
        registration_overlay(fixed, before, warped, masks[0], outputs.picture, title, lines)

    record = settle(files, outputs, identity, transform, found, draw, on_bad_scan)
    if image_path and record["status"] == "ok":
        images.write(warped, image_path)
    return record


def settle(files, outputs, identity, transform, found, draw, on_bad_scan):
    """Write what a registration gave, or exclude the pair where its report refuses it.

    Parameters
    ----------
    files : list of path
        All outputs but the record; empty of an excluded pair, but for the picture.
    outputs : object
        Paths ``transform record picture``.
    identity : dict
    transform : Transform
    found : dict
        The report, with ``warnings`` and ``refused``, which the record does not keep.
    draw : callable
        Takes a title and lines of text and draws the picture.
    on_bad_scan : {"exclude", "stop"}

    Returns
    -------
    dict
        The record.
    """
    refused = found.pop("refused")
    for warning in found["warnings"]:
        log.warning("%s %s: %s", identity["USUBJID"], identity["AVISIT"], warning)
    if refused:
        stop_if(on_bad_scan, identity, "; ".join(refused))
    title = " ".join(identity[name] for name in ("USUBJID", "AVISIT", "SERIES"))
    draw(title, [f"REFUSED: {text}" if text in refused else text for text in found["warnings"]])
    if refused:  # the picture stays: a person may want to see why
        files.remove(outputs.picture)
        return exclude(files, outputs.record, identity, STAGE, "; ".join(refused), **found)
    transform.write(outputs.transform)
    records.write(outputs.record, **identity, stage=STAGE, reason="", **found)
    return records.read(outputs.record)


def _best(pair, given, fallback):
    """Register and, where that fails, register by the fall-back; return transform and report."""
    transform, found = _attempt(pair, given)
    found["fallback"] = False
    if fallback is None or not checks.map_fails(found):
        return transform, found
    log.warning("%s; trying the fall-back", "; ".join(found["warnings"]))
    try:
        other, second = _attempt(pair, fallback)
    except ValueError as error:
        log.warning("fall-back: %s", error)
        return transform, found
    second["fallback"] = True
    return (other, second) if checks.better(found, second) else (transform, found)


def _attempt(pair, given):
    """Register with some settings; return transform and report."""
    transform = _registered(pair, given)
    fixed, moving, masks, kind = pair
    backend = completed(given)["backend"]
    return transform, {**checks.report(fixed, moving, transform, masks, kind), "backend": backend}


def _registered(pair, given):
    fixed, moving, masks, _ = pair
    return register(fixed, moving, fixed_mask=masks[0], moving_mask=masks[1], **given)


def _compare(found, transform, pair, settings):
    """Add a second opinion to a report: how far another backend is from the map that was kept."""
    backend = completed(settings)["backend"]
    try:
        other = _registered(pair, settings)
    except ValueError as error:
        found["warnings"].append(f"no second opinion by {backend}: {error}")
        return
    mean, p95 = checks.difference(transform, other, pair[2][0])
    found |= {"second_backend": backend, "second_mean_mm": mean, "second_p95_mm": p95}
    most = checks.MAX_DIFFERENCE_MM
    if mean > most[0] or p95 > most[1]:
        found["warnings"].append(
            f"{backend} differs by {mean:.1f} mm on average and {p95:.1f} mm at the 95th "
            f"percentile, more than {most[0]:g} or {most[1]:g} mm"
        )


def stop_if(on_bad_scan, identity, reason):
    """End the run at a bad pair if the trial wishes so."""
    if on_bad_scan == "stop":
        raise ValueError(f"{identity['USUBJID']} {identity['AVISIT']}: {reason}")


def exclude(files, record, identity, stage, reason, **found):
    """Leave empty files and the record of a pair that is excluded; return the record."""
    log.warning("%s %s: excluded at %s: %s", identity["USUBJID"], identity["AVISIT"], stage, reason)
    write_empty(*files)
    records.exclude(record, stage, reason, **identity, **found)
    return records.read(record)


def of_scan(bad):
    """Reason of an exclusion with the scan that it came from."""
    scan = " ".join(str(bad[name]) for name in ("AVISIT", "SERIES") if bad.get(name))
    return f"{scan}: {bad['reason']}" if scan else bad["reason"]
