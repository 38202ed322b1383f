"""Presets of registration; a preset is a starting point, config.yaml may change its values."""

# A gated CT angiography against a scan of the same chest without contrast medium, or two phases of
# a cycle: a patient lies differently, and hardly changes shape.
HEART = {
    "kind": "rigid",
    "metric": "mattes",
    "spacing_mm": [8.0, 4.0, 2.5],
    "reach_mm": 20.0,
    "reach_deg": 10.0,
    "iterations": 60,
    "bins": 32,
    "seed": 1,
    "threads": 1,
}
# A cardiac MR series against a CT angiography, which is the fixed one: thick slices, and another
# breath-hold. An affine map is no closer on phantoms, and its shear can run away.
CMR = {**HEART, "spacing_mm": [8.0, 4.0, 3.0]}

_LUNG = {
    "start": "masks",
    "spacing_mm": 3.0,  # working voxel, and no finer than the scans
    "margin_mm": 16.0,  # around the fixed lungs
    "clip_hu": [-1000.0, -300.0],  # lung and vessels; denser tissue is all alike
    "contrast_mm": [10.0],  # sigma of the windows of local contrast
    "contrast_floor_hu": 30.0,
    "rim_mm": 6.0,  # of the surroundings of a lung that are compared: its surface
    "mask_weight": 1.0,  # of the overlap of the lungs against 1 for their contents
    "seed": 1,
    "threads": 1,
}
# One entry a level, coarse to fine. Chosen on phantom breaths and visits of known motion at 2 and
# 3.3 mm (docs/registration.md): more stiffness misses the motion at the diaphragm, less follows
# noise and lesions; a level of finer nodes gains nothing.
_FLOW = {
    "search_mm": 18.0,  # reach of the search before the first level
    "search_voxel_mm": 6.0,
    "blur_mm": [4.0, 2.5, 1.2, 0.8],
    "node_mm": [24.0, 14.0, 8.0, 5.0],
    "iterations": [30, 30, 40, 30],
    "step_mm": [1.5, 0.8, 0.5, 0.3],
    "stiffness": [2.0, 2.0, 10.0, 60.0],
    "points": 12000,
    "field_mm": 4.0,
}
# Measured on a real baseline/follow-up pair with landmarks and on synthetic breath-holds: radius 1
# is as accurate as 2 at half the time, a last level at full resolution doubles the time and gains
# nothing; without local contrast and overlap the error of a breath with trapped air is 1.4 times.
_SYN = {
    "radius_vox": 1,  # of local cross-correlation
    "shrink": [4, 2],
    "iterations": [60, 30],
    "smoothing_vox": [1.0, 0.5],
    "step": 0.15,
    "flow_sigma_vox": 3.0,
    "total_sigma_vox": 0.0,
    "convergence": 1e-6,
}
# On phantom breaths: the last level, at full resolution, takes 80 % of the time and a third of the
# error away; diffeomorphic updates double the time, gain nothing, and no field folded without them.
_DEMONS = {
    "shrink": [4, 2, 1],
    "iterations": [80, 50, 30],
    "smoothing_vox": [2.0, 1.0, 0.0],
    "step": 2.0,  # longest update, voxels of the level
    "flow_sigma_vox": 0.0,  # of the update
    "total_sigma_vox": 2.5,  # of the field
    "diffeomorphic": False,
}
# What moves inside the heart between two phases of a cycle, after the rigid start.
_PHASES = {
    "start": "linear",
    "spacing_mm": 1.5,
    "margin_mm": 8.0,
    "clip_hu": [-200.0, 600.0],
    "contrast_mm": [12.0, 6.0],
    "search_mm": 0.0,
}

# By preset, then backend; the first backend is the default.
PRESETS = {
    "lung": {
        "torch": {**_LUNG, **_FLOW, "spacing_mm": 1.5, "contrast_mm": [6.0, 3.0]},
        "antspyx": {**_LUNG, **_SYN, "mask_weight": 0.5},
        "simpleitk": {**_LUNG, **_DEMONS, "contrast_mm": [7.0]},
    },
    "heart": {
        "linear": HEART,
        "torch": {**_LUNG, **_FLOW, **_PHASES},
    },
    "cmr": {"linear": CMR},
}
PHASE_PCT = 75.0  # of the cycle: mid-diastole, when the heart is stillest
FALLBACK = {"backend": "antspyx"}  # another method fails elsewhere
_SECOND = ("backend", "subjects")
_LEVELS = {
    "torch": ("blur_mm", "node_mm", "iterations", "step_mm", "stiffness"),
    "antspyx": ("shrink", "iterations", "smoothing_vox"),
    "simpleitk": ("shrink", "iterations", "smoothing_vox"),
    "linear": ("spacing_mm",),
}
_NOT_NEGATIVE = {
    *("margin_mm", "flow_sigma_vox", "total_sigma_vox", "seed", "rim_mm"),
    *("iterations", "smoothing_vox", "blur_mm", "stiffness", "search_mm", "reach_mm", "reach_deg"),
}
_SIGNED = {"clip_hu"}
_WORDS = {
    "kind": ("rigid", "affine"),
    "metric": ("mattes", "correlation"),
    "start": ("masks", "linear"),
    "diffeomorphic": (False, True),
}
_OTHER = {"backend", *_WORDS}


def complete(preset, given):
    """Complete settings by those of a preset.

    Parameters
    ----------
    preset : str
        Key of `PRESETS`.
    given : dict
        Settings that differ; ``backend`` chooses among those of the preset.

    Returns
    -------
    dict
        With ``backend``.

    Raises
    ------
    ValueError
        Unknown preset, backend or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise ValueError(f"registration preset {preset!r} is none of {', '.join(PRESETS)}")
    backends = PRESETS[preset]
    backend = given.get("backend") or next(iter(backends))
    if backend not in backends:
        raise ValueError(
            f"registration backend {backend!r} is none of {', '.join(backends)}, "
            f"which the preset {preset} has"
        )
    known = {"backend": backend, **backends[backend]}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"registration: unknown settings {', '.join(unknown)}; "
            f"known to the backend {backend}: {', '.join(known)}"
        )
    settings = {**known, **given, "backend": backend}
    for name in set(settings) - _OTHER:
        _check(name, settings[name], known[name])
    levels = _LEVELS[backend]
    if len({len(settings[name]) for name in levels}) != 1 or not settings[levels[0]]:
        raise ValueError(f"registration: {', '.join(levels)} need one entry a level each")
    for name, words in _WORDS.items():
        if settings.get(name, words[0]) not in words:
            raise ValueError(
                f"registration: {name} is {settings[name]!r}, none of {', '.join(map(str, words))}"
            )
    if "clip_hu" in settings and not (
        len(settings["clip_hu"]) == 2 and settings["clip_hu"][0] < settings["clip_hu"][1]
    ):
        raise ValueError(f"registration: clip_hu {settings['clip_hu']!r} is not (low, high)")
    return settings


def split(settings):
    """Part the settings of the rules into those of each registration.

    Parameters
    ----------
    settings : dict or None
        What `register` takes (``preset``, ``backend`` and what differs from them), and

        - ``fallback``: the same for another try where the first fails its checks; antspyx where not
          given, None for none;
        - ``second_opinion``: ``backend``, to compare the first with, and ``subjects``, the patients
          of whom it is asked.

    Returns
    -------
    given : dict
    fallback : dict or None
        None also where it would repeat the first.
    second : dict or None
        ``settings`` and ``subjects``.

    Raises
    ------
    ValueError
        Settings that `settings.complete` refuses, or a second opinion without its two keys or by
        the backend of the first.
    """
    given = dict(settings or {})
    fallback = given.pop("fallback", FALLBACK)
    second = given.pop("second_opinion", None)
    preset = given.setdefault("preset", "lung")
    first = completed(given)
    if fallback is not None:
        fallback = {"preset": preset, **fallback}
        if "threads" in fallback:
            raise ValueError("registration: a job has one thread; delete 'threads' of the fallback")
        if fallback["preset"] != preset:
            raise ValueError(
                f"registration: the fallback has the preset {fallback['preset']}, not {preset}"
            )
        if completed(fallback) == first:
            fallback = None
    if second is not None:
        if sorted(second) != sorted(_SECOND):
            raise ValueError(
                f"registration: second_opinion has {', '.join(second) or 'nothing'}; "
                f"it needs {' and '.join(_SECOND)}"
            )
        other = {"preset": preset, "backend": second["backend"]}
        if completed(other)["backend"] == first["backend"]:
            raise ValueError(
                f"registration: second_opinion is by {second['backend']}, as the first; "
                "name another backend"
            )
        second = {"settings": other, "subjects": list(map(str, second["subjects"]))}
    return given, fallback, second


def split_heart(settings):
    """Part the settings of the rule of hearts: the phase of the cycle, and those of `register`.

    Parameters
    ----------
    settings : dict
        ``preset``, ``phase_pct`` and what differs from the preset's backend ``linear``.

    Returns
    -------
    phase_pct : float
    given : dict

    Raises
    ------
    ValueError
        Settings that `complete` refuses.
    """
    given = {"preset": "heart", **settings, "backend": "linear"}
    phase_pct = given.pop("phase_pct", PHASE_PCT)
    completed(given)
    return phase_pct, given


def completed(given):
    """Complete the settings of one registration, with their ``preset``."""
    return complete(given["preset"], {k: v for k, v in given.items() if k != "preset"})


def _check(name, value, model):
    """Refuse a value, or an entry of a list, that is too small or no number."""
    if isinstance(model, list) != isinstance(value, list | tuple):
        raise ValueError(f"registration: {name} is {value!r}; write it as {model!r}")
    sample = model[0] if isinstance(model, list) else model
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"registration: {name} is {value!r}, no number")
        if isinstance(sample, int) and number != int(number):
            raise ValueError(f"registration: {name} is {value!r}, no whole number")
        if name in _SIGNED:
            continue
        if not (number >= 0 if name in _NOT_NEGATIVE else number > 0):
            raise ValueError(f"registration: {name} is {value!r}, too small")
