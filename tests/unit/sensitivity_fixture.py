"""Rows of MMRM and imputation beside those of the fixture trial, and what tests ask of a figure."""

import functools
import html
import itertools

import pandas as pd
from unit import reporting_fixture as fixture

from lungitude.reporting import figure
from lungitude.reporting.results import Results

LINE = "CHG ~ TRT01P * AVISIT + BASE; visits Week 6, Week 12; REML, covariance us, residual df"
IMPUTATION = (
    "imputation by CHG ~ TRT01P * AVISIT + BASE * AVISIT, REML, unstructured covariance, slopes "
    "and covariance of each arm; conditional mean, jackknife standard errors; then CHG ~ TRT01P + "
    "BASE at each visit; analysis set ITT"
)
STRATEGIES = {"mar": "missing at random", "j2r": "jump to reference"}
DELTAS = (-4, -2, 0, 2)
VISITS = ("Week 6", "Week 12")
MM = 25.4


def plan():
    """Return the plan of the fixture trial with MMRM and imputation."""
    given = fixture.plan(VISITS)
    for method in ("mmrm", "imputation"):
        given["analyses"][method] = {"population": "ITT", "parameters": "all"}
    return given


def context(stratum="all", arms=2, **changes):
    """Return the context of the fixture trial under this plan."""
    return fixture.context(stratum, arms, **{"plan": plan(), **changes})


def frame(arms=2, interval=False, parameter="VO2MAX"):
    """Return the results table; with `interval` the shifts have limits.

    In grade2 the imputation could not be made, and no shift takes p to its limit.
    """
    return _frame(arms, interval, parameter).copy()


@functools.cache
def _frame(arms, interval, parameter):
    codes = [arm["code"] for arm in fixture.ARMS[:arms]]
    rows = []
    for stratum, size in (("all", 380), ("grade1", 44), ("grade2", 3)):
        builder = fixture.Builder(stratum, dict.fromkeys(codes, size))
        why = "not estimated: 1 patient in EG" if stratum == "grade2" else ""
        for place, visit in enumerate(VISITS):
            _mmrm(builder, codes, size, parameter, visit, place, why)
            _imputation(builder, codes, size, parameter, visit, place, why, interval)
        rows += builder.rows
    return pd.concat([plain_frame(arms), pd.DataFrame(rows)], ignore_index=True)


@functools.cache
def _plain(arms):
    return fixture.frame(arms)


def plain_frame(arms=2):
    """Return the results table of the fixture trial without these rows, built once."""
    return _plain(arms).copy()


def _values(base, why):
    if why:
        return dict.fromkeys(("estimate", "se", "p", "ci_low", "ci_high"), float("nan"))
    return {
        "estimate": base,
        "se": 0.213,
        "p": 0.0123 + base / 1000,
        "ci_low": base - 0.41,
        "ci_high": base + 0.43,
    }


def _mmrm(builder, codes, size, parameter, visit, place, why):
    for code in set(codes) - {"CG"}:
        for stat, value in _values(1.234 + place, why).items():
            builder.add(
                "mmrm", stat, value, size, parameter, visit, COMPARISON=f"{code} - CG", NOTE=why
            )
    note = f"{LINE}; {why}" if why else LINE
    builder.add("mmrm", "model", float("nan"), 2 * size, parameter, visit, NOTE=note)


def _imputation(builder, codes, size, parameter, visit, place, why, interval):
    def add(stat, value, note="", **more):
        builder.add("imputation", stat, value, size, parameter, visit, NOTE=note, **more)

    add("model", float("nan"), f"{IMPUTATION}; {why}" if why else IMPUTATION)
    for index, code in enumerate(codes):
        add("n_imputed", 11 + index + 3 * place, "0 after drop-out", GROUP=code)
    for number, code in enumerate(sorted(set(codes) - {"CG"})):
        own = {"COMPARISON": f"{code} - CG"}
        for shift, (level, said) in enumerate(STRATEGIES.items()):
            for stat, value in _values(1.111 + place - 0.2 * shift + number, why).items():
                add(stat, value, why or said, LEVEL=level, **own)
        for arm, sign in ((code, -1), ("CG", 1)):
            value = float("nan") if why else sign * (5.678 + place)
            note = "not estimated: no shift changes the conclusion" if why else "shift"
            add("tipping_delta", value, note, LEVEL="tipping", GROUP=arm, **own)
        for delta in () if why else DELTAS:
            found = _values(1.5 + 0.2 * delta + number, "")
            for stat in ("estimate", "se", "p", *(("ci_low", "ci_high") if interval else ())):
                add(stat, found[stat], "shifted", LEVEL=f"delta {delta}", **own)


def results(stratum="all", arms=2, table=None, **options):
    """Return the `Results` of a stratum."""
    return Results(frame(max(arms, 2), **options) if table is None else table, stratum, plan())


def known(found):
    """Numbers by address."""
    return {number.address: number for number in found._numbers.values()}


def numbers_of(picture, path):
    """Save a figure; return pairs (address, text) as a reader of its SVG file finds them."""
    figure.save(picture, {"svg": path}, "A title")
    pairs = figure.addresses(path.read_text())
    return [
        (html.unescape(address), text.strip().replace("\u2212", "-")) for address, text in pairs
    ]


def check_texts(picture):
    """Assert that no text leaves the figure or covers another one."""
    boxes = [(text.get_text(), box) for text, box in _texts(picture)]
    wide, high = (side * MM for side in picture.get_size_inches())
    for shown, (left, low, right, top) in boxes:
        assert left > -0.3, (shown, left)
        assert right < wide + 0.3, (shown, right)
        assert low > -0.3, (shown, low)
        assert top < high + 0.3, (shown, top)
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        across = min(a[2], b[2]) - max(a[0], b[0])
        along = min(a[3], b[3]) - max(a[1], b[1])
        # Pieces of one line touch, and boxes hold more than the ink.
        assert across < 0.6 or along < 0.6, (one, two, across, along)


@figure.styled
def _texts(picture):
    dpi = picture.dpi
    picture.set_dpi(300)
    picture.canvas.draw()
    found = list(picture.texts)
    for axes in picture.axes:
        found += axes.texts
        if not axes.axison:
            continue
        found += [axes.xaxis.label, axes.yaxis.label]
        for axis, view in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            pairs = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
            found += [label for at, label in pairs if min(view) <= at <= max(view)]
    placed = []
    for text in found:
        if text.get_text().strip():
            box = text.get_window_extent()
            mm = MM / 300
            placed.append((text, (box.x0 * mm, box.y0 * mm, box.x1 * mm, box.y1 * mm)))
    picture.set_dpi(dpi)
    return placed
