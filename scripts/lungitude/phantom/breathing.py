"""The known deformation between inspiration and expiration.

The expiratory image is the inspiratory one pulled back, exp(x) = insp(phi(x)). phi is a composition
of two maps, each monotone in one coordinate: first along z (the diaphragm rises, the apex stays),
then in the plane (the chest narrows about the midline and towards the back, which lies on the
table), with an amount that depends on the inspiratory z alone. So the inverse is exact in the
plane and a one-dimensional Newton search along z, and the Jacobian determinant is closed.
"""

import math

import numpy as np

# How the logarithm of the volume ratio is shared between the axes: mostly the diaphragm.
_SHARE_Z, _SHARE_X, _SHARE_Y = 0.72, 0.09, 0.19
_SOFTNESS = 0.05


def make(kappa, apex_mm, base_mm, back_mm, scale_xy):
    """Parameters of the field.

    Parameters
    ----------
    kappa : float
        About the logarithm of V_insp / V_exp; 0 is the identity.
    apex_mm, base_mm : float
        z of the lung apex and of the lowest recess at inspiration.
    back_mm : float
        y of the back, which does not move.
    scale_xy : float
        Size of the chest, for the shape of the diaphragm's motion.

    Returns
    -------
    dict of float
    """
    length = apex_mm - base_mm
    return {
        "kappa": float(kappa),
        "top_mm": float(apex_mm + 0.06 * length),
        "rise_mm": float(1.06 * length * -math.expm1(-_SHARE_Z * kappa)),
        "length_mm": float(1.06 * length * math.exp(-_SHARE_Z * kappa)),
        "narrow_x": math.expm1(_SHARE_X * kappa),
        "narrow_y": math.expm1(_SHARE_Y * kappa),
        "level_mm": float(apex_mm - 0.13 * length),
        "level_width_mm": float(0.06 * length),
        "back_mm": float(back_mm),
        "size_mm": float(100.0 * scale_xy),
    }


def _ramp(breath, z):
    """Share of the rise at z, 0 above the apex to 1 below the diaphragm, and its slope per mm."""
    t = (breath["top_mm"] - z) / breath["length_mm"]
    soft = _SOFTNESS
    value = soft * (np.logaddexp(0.0, t / soft) - np.logaddexp(0.0, (t - 1.0) / soft))
    slope = _logistic(t / soft) - _logistic((t - 1.0) / soft)
    return value, slope / breath["length_mm"]


def _logistic(t):
    return 0.5 * (1.0 + np.tanh(0.5 * t))


def _rise(breath, x, y):
    """Rise of the diaphragm in mm at expiratory (x, y): most in the middle and at the back."""
    size = breath["size_mm"]
    q = (x / size) ** 2 + (y / (0.7 * size)) ** 2
    return breath["rise_mm"] * (1.0 + 0.08 * np.tanh(y / (0.6 * size)) - 0.08 * q / (1.0 + q))


def _narrowing(breath, z):
    return _logistic((breath["level_mm"] - z) / breath["level_width_mm"])


def exp_to_insp(breath, x, y, z):
    """Inspiratory coordinates of expiratory ones; arrays that broadcast, LPS mm."""
    ramp, _ = _ramp(breath, z)
    z_insp = z - _rise(breath, x, y) * ramp
    narrow = _narrowing(breath, z_insp)
    x_insp = x * (1.0 + breath["narrow_x"] * narrow)
    back = breath["back_mm"]
    y_insp = back + (y - back) * (1.0 + breath["narrow_y"] * narrow)
    return x_insp, y_insp, z_insp


def insp_to_exp(breath, x, y, z, iterations=60, tolerance_mm=1e-4):
    """Expiratory coordinates of inspiratory ones: the inverse of `exp_to_insp`.

    Newton steps on a function whose slope is 1 or more, kept inside a shrinking bracket, so that
    it converges from anywhere.
    """
    x, y, z = np.broadcast_arrays(x, y, z)
    narrow = _narrowing(breath, z)
    x_exp = x / (1.0 + breath["narrow_x"] * narrow)
    back = breath["back_mm"]
    y_exp = back + (y - back) / (1.0 + breath["narrow_y"] * narrow)
    rise = _rise(breath, x_exp, y_exp)
    low, high = z.astype(float), z + rise
    guess = z + 0.5 * rise
    for _ in range(iterations):
        ramp, slope = _ramp(breath, guess)
        error = guess - rise * ramp - z
        high = np.where(error > 0, guess, high)
        low = np.where(error > 0, low, guess)
        step = guess - error / (1.0 + rise * slope)
        step = np.where((step < low) | (step > high), 0.5 * (low + high), step)
        done = np.abs(step - guess).max(initial=0.0) < tolerance_mm
        guess = step
        if done:
            break
    return x_exp, y_exp, guess


def jacobian(breath, x, y, z):
    """Return det d(insp)/d(exp) at expiratory coordinates; above 1 where lung empties."""
    ramp, slope = _ramp(breath, z)
    rise = _rise(breath, x, y)
    narrow = _narrowing(breath, z - rise * ramp)
    return (
        (1.0 + rise * slope)
        * (1.0 + breath["narrow_x"] * narrow)
        * (1.0 + breath["narrow_y"] * narrow)
    )


def map_points(breath, points_mm, direction):
    """Map (n, 3) LPS points; direction ``exp_to_insp`` or ``insp_to_exp``."""
    functions = {"exp_to_insp": exp_to_insp, "insp_to_exp": insp_to_exp}
    if direction not in functions:
        raise ValueError(f"direction {direction!r}: expected one of {', '.join(functions)}")
    points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
    return np.stack(functions[direction](breath, *points.T), axis=1)
