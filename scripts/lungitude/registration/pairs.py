"""What both registration rules do: pass exclusions on, register, judge, write."""

import logging

import SimpleITK as sitk

from lungitude import images, records
from lungitude.job import write_empty
from lungitude.overlays import registration_overlay
from lungitude.registration.checks import MIN_DICE_USABLE, report
from lungitude.registration.engine import register
from lungitude.registration.settings import complete
from lungitude.registration.transform import Transform

log = logging.getLogger("lungitude.registration")
STAGE = "registration"


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
        ``preset`` and whatever differs from it.
    on_bad_scan : {"exclude", "stop"}
        What follows when the lungs don't overlap after registration, or none was possible.

    Returns
    -------
    dict
        The record that was written.
    """
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
        return _exclude(files, outputs.record, identity, bad["stage"], _whose(bad))
    fixed, moving = images.read(inputs.fixed), images.read(inputs.moving)
    masks = (
        images.read_labels(inputs.fixed_lungs, like=fixed),
        images.read_labels(inputs.moving_lungs, like=moving),
    )
    settings = dict(settings or {})
    complete(settings.get("preset", "lung"), {k: v for k, v in settings.items() if k != "preset"})
    try:
        transform = register(fixed, moving, fixed_mask=masks[0], moving_mask=masks[1], **settings)
    except ValueError as error:  # of the scans: the settings are known to be good
        return _bad(files, outputs.record, identity, str(error), on_bad_scan)
    found = report(fixed, moving, transform, masks)
    for warning in found["warnings"]:
        log.warning("%s %s: %s", identity["USUBJID"], identity["AVISIT"], warning)
    if not found["dice_after"] >= MIN_DICE_USABLE:
        reason = (
            f"lungs overlap by Dice {found['dice_after']:.2f} after registration, "
            f"less than {MIN_DICE_USABLE:g}"
        )
        return _bad(files, outputs.record, identity, reason, on_bad_scan, **found)
    warped = transform.resample(moving, like=fixed)
    transform.write(outputs.transform)
    if image_path:
        images.write(warped, image_path)
    before = Transform(sitk.Transform(3, sitk.sitkIdentity)).resample(moving, like=fixed)
    title = " ".join(identity[name] for name in ("USUBJID", "AVISIT", "SERIES"))
    registration_overlay(fixed, before, warped, masks[0], outputs.picture, title)
    records.write(outputs.record, **identity, stage=STAGE, reason="", **found)
    return records.read(outputs.record)


def _bad(files, record, identity, reason, on_bad_scan, **found):
    if on_bad_scan == "stop":
        raise ValueError(f"{identity['USUBJID']} {identity['AVISIT']}: {reason}")
    return _exclude(files, record, identity, STAGE, reason, **found)


def _exclude(files, record, identity, stage, reason, **found):
    log.warning("%s %s: excluded at %s: %s", identity["USUBJID"], identity["AVISIT"], stage, reason)
    write_empty(*files)
    records.exclude(record, stage, reason, **identity, **found)
    return records.read(record)


def _whose(bad):
    """Reason of an exclusion with the scan that it came from."""
    scan = " ".join(str(bad[name]) for name in ("AVISIT", "SERIES") if bad.get(name))
    return f"{scan}: {bad['reason']}" if scan else bad["reason"]
