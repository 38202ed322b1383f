"""Units convert exactly or not at all; values in another unit stand out, those of a bulk do not."""

import numpy as np
import pandas as pd
import pytest

from lungitude import units


@pytest.mark.parametrize(
    ("cell", "unit", "wanted", "expected"),
    [
        ("1450", "mL", "L", "1.45"),
        ("2690.5", "mL", "L", "2.6905"),
        ("2.10", "L", "L", "2.10"),
        ("20", "mL/min/kg", "mL/kg/min", "20"),
        ("7", "10*3/uL", "10^9/L", "7"),
        ("25", "kg/m2", "kg/m²", "25"),
        ("65", "%predicted", "% predicted", "65"),
        ("0.7", "1", "%", "70"),
        ("60", "/min", "1/s", "1"),
        ("98.6", "degF", "degC", "37"),
        ("8", "mmol/min/kPa", "mmol/s/kPa", "0.13333333333333333"),
    ],
)
def test_a_value_is_converted_in_decimals(cell, unit, wanted, expected):
    pytest.importorskip("pint")
    assert units.convert(cell, unit, wanted) == expected


def test_pressures_agree_with_their_definition():
    pytest.importorskip("pint")
    # 1 mmHg is 133.322387415 Pa, 1 cmH2O 98.0665 Pa (NIST SP 811)
    assert float(units.convert("120", "mm Hg", "kPa")) == pytest.approx(15.9986864898, rel=1e-9)
    assert float(units.convert("10", "cmH2O", "kPa")) == pytest.approx(0.980665, rel=1e-4)


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("points", "m"),
        ("% predicted", "%"),
        ("AU", "%"),
        ("mg/dL", "mmol/L"),
        ("G/L", "10^9/L"),
        ("mmol/min/kPa", "mL/min/mmHg"),
        ("HU", "1"),
        ("2", "L"),
        ("1,5 L", "L"),
        ("L (", "L"),
        ("Liter", "L"),
        ("", "L"),
    ],
)
def test_what_is_not_known_or_does_not_convert_is_an_error(unit, wanted):
    pytest.importorskip("pint")
    with pytest.raises(units.UnitError, match=r"is not known|does not convert to"):
        units.convert("5", unit, wanted)


def frame(values, unit="L"):
    return pd.DataFrame({"PARAMCD": "X", "AVAL": values, "AVALU": unit})


@pytest.mark.parametrize(
    ("unit", "factor", "times", "other"),
    [
        ("L", 1000, 1000, ""),
        ("L", 0.1, 0.1, ""),
        ("kPa", 7.50062, 7.50062, "mmHg"),
        ("mmol/L", 18.0156, 18.0156, "mg/dL"),
        ("mg/dL", 1 / 18.0156, 1 / 18.0156, "mmol/L"),
    ],
)
def test_a_slip_of_the_unit_is_found(unit, factor, times, other):
    values = 5 * np.exp(np.linspace(-0.3, 0.3, 40))
    values[7] = 5 * factor
    found = units.slips(frame(values, unit))
    assert list(found.index) == [7]
    assert found.loc[7, "times"] == pytest.approx(times)
    assert found.loc[7, "unit"] == other
    assert found.loc[7, "median"] == pytest.approx(5, rel=0.05)


def test_what_is_spread_widely_or_is_scarce_is_no_slip():
    rng = np.random.default_rng(1)
    skewed = np.exp(rng.normal(3, 1.5, 500))
    score = rng.integers(2, 35, 500).astype(float)
    few = np.array([1, 1.1, 1.2, 1000.0])
    for values in (skewed, score, few, np.zeros(20), np.full(20, np.nan)):
        assert len(units.slips(frame(values))) == 0


def test_an_outlier_that_no_factor_explains_is_left_to_low_and_high():
    values = np.linspace(2.0, 2.4, 40)
    values[3] = 2.2 * 4
    assert len(units.slips(frame(values))) == 0
