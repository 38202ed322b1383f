"""How numbers are printed: ties, signs, p styles."""

import pytest

from lungitude.reporting import format as text

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (2.675, 2, "2.68"),
        (1.005, 2, "1.01"),
        (0.5, 0, "1"),
        (1.5, 0, "2"),
        (2.5, 0, "3"),
        (-0.5, 0, "-1"),
        (-2.5, 0, "-3"),
        (-0.04, 1, "0.0"),
        (-0.0, 1, "0.0"),
        (0.0, 0, "0"),
        (-0.05, 1, "-0.1"),
        (25, 1, "25.0"),
        (1e-7, 2, "0.00"),
        (1e22, 1, "1" + "0" * 22 + ".0"),
        (0.125, 2, "0.13"),
        (99.95, 1, "100.0"),
        (NAN, 1, "NE"),
        (None, 1, "NE"),
        (float("inf"), 1, "NE"),
    ],
)
def test_number_rounds_half_away_from_zero(value, decimals, expected):
    assert text.number(value, decimals) == expected


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (2.675, 2, "2.68"),
        (2.665, 2, "2.66"),
        (0.5, 0, "0"),
        (1.5, 0, "2"),
        (2.5, 0, "2"),
        (-0.5, 0, "0"),
        (0.125, 2, "0.12"),
    ],
)
def test_number_rounds_half_to_even_when_asked(value, decimals, expected):
    assert text.number(value, decimals, "half_even") == expected


def test_number_refuses_an_unknown_rule():
    with pytest.raises(ValueError, match="half_up"):
        text.number(1.0, 1, "half_up")


@pytest.mark.parametrize(
    ("p", "csr", "jmir", "nejm"),
    [
        (0.00004, "<0.0001", "<.001", "<0.001"),
        (0.0001, "0.0001", "<.001", "<0.001"),
        (0.00096, "0.0010", "<.001", "<0.001"),
        (0.001, "0.0010", ".001", "0.001"),
        (0.0094, "0.0094", ".009", "0.009"),
        (0.0312, "0.0312", ".03", "0.03"),
        (0.049, "0.0490", ".049", "0.05"),
        (0.0499, "0.0499", ".0499", "0.05"),
        (0.05, "0.0500", ".05", "0.05"),
        (0.25, "0.2500", ".25", "0.25"),
        (0.995, "0.9950", ">.99", ">0.99"),
        (0.99999, ">0.9999", ">.99", ">0.99"),
        (1.0, ">0.9999", ">.99", ">0.99"),
        (NAN, "NE", "NE", "NE"),
    ],
)
def test_p_value_styles(p, csr, jmir, nejm):
    assert [text.p_value(p, style) for style in text.P_STYLES] == [csr, jmir, nejm]


def test_p_value_is_never_zero_and_never_outside():
    assert text.p_value(0.0) == "<0.0001"
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="outside"):
            text.p_value(wrong)
    with pytest.raises(ValueError, match="style"):
        text.p_value(0.5, "stars")


def test_p_phrase():
    assert text.p_phrase(0.0312) == "p = 0.0312"
    assert text.p_phrase(0.00001) == "p < 0.0001"
    assert text.p_phrase(0.00001, "jmir") == "P<.001"
    assert text.p_phrase(0.031, "nejm") == "P=0.03"


def test_estimate_with_interval():
    assert text.estimate(-1.25, -2.0, 0.449, 1) == "-1.3 (-2.0 to 0.4)"
    assert text.estimate(NAN, NAN, NAN, 1) == "NE"
    assert text.confidence_label(0.95) == "95% CI"
    assert text.confidence_label(0.975) == "97.5% CI"


def test_count_is_whole():
    assert text.count(12.0) == "12"
    assert text.count(NAN) == "NE"
    with pytest.raises(ValueError, match="whole"):
        text.count(1.5)
