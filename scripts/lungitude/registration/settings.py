"""Presets of registration; a preset is a starting point, every value may be changed."""

# Measured on a real baseline/follow-up pair with landmarks and on synthetic breath-holds: radius 1
# is as accurate as 2 at half the time, a last level at full resolution doubles the time and gains
# nothing; without local contrast and overlap the error of a breath with trapped air is 1.4 times.
PRESETS = {
    "lung": {
        "backend": "syn",
        "spacing_mm": 3.0,  # working voxel
        "margin_mm": 16.0,  # around the fixed lungs
        "clip_hu": [-1000.0, -300.0],  # lung and vessels; denser tissue is all alike
        "contrast_mm": 10.0,  # sigma of the window of local contrast
        "contrast_floor_hu": 30.0,
        "radius_vox": 1,  # of local cross-correlation
        "mask_weight": 0.5,  # of the overlap of the lungs against 1 for their contents
        "shrink": [4, 2],  # one entry a level, coarse to fine
        "iterations": [60, 30],
        "smoothing_vox": [1.0, 0.5],
        "step": 0.15,
        "flow_sigma_vox": 3.0,
        "total_sigma_vox": 0.0,
        "convergence": 1e-6,
        "seed": 1,
        "threads": 1,
    },
}
_LEVELS = ("shrink", "iterations", "smoothing_vox")
_POSITIVE = ("spacing_mm", "contrast_mm", "contrast_floor_hu", "radius_vox", "step", "threads")
_NOT_NEGATIVE = ("margin_mm", "mask_weight", "flow_sigma_vox", "total_sigma_vox", "seed")


def complete(preset, given):
    """Complete settings by those of a preset.

    Parameters
    ----------
    preset : str
        Key of `PRESETS`.
    given : dict
        Settings that differ.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        Unknown preset or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise ValueError(f"registration preset {preset!r} is none of {', '.join(PRESETS)}")
    unknown = sorted(set(given) - set(PRESETS[preset]))
    if unknown:
        raise ValueError(
            f"registration: unknown settings {', '.join(unknown)}; "
            f"known: {', '.join(PRESETS[preset])}"
        )
    settings = {**PRESETS[preset], **given}
    for name in _POSITIVE + _NOT_NEGATIVE:
        value = settings[name]
        ok = value > 0 if name in _POSITIVE else value >= 0
        if not ok:
            raise ValueError(f"registration: {name} is {value!r}, too small")
    if len({len(settings[name]) for name in _LEVELS}) != 1 or not settings["shrink"]:
        raise ValueError(f"registration: {', '.join(_LEVELS)} need one entry a level each")
    low, high = settings["clip_hu"]
    if not low < high:
        raise ValueError(f"registration: clip_hu {settings['clip_hu']!r} is not (low, high)")
    return settings
