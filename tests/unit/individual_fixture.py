"""Values of the single patients of the fixture trial, and what figures of them are held to."""

import functools
import html
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.text import Text
from unit import reporting_fixture as fixture

from lungitude.analysis.individual import gather, individual, pairs
from lungitude.reporting import figure
from lungitude.reporting import format as text
from lungitude.reporting.individual import Individual
from lungitude.reporting.results import Results

SIZES = {"I": [24, 24, 23, 25], "II": [1, 3, 2, 2], "III": [175, 173, 173, 175]}
PARAMETERS = pd.DataFrame(fixture.context().parameters)


def trial(arms=2, visits=3, parameters=PARAMETERS, log=()):
    """Return ADSL and records whose counts are those of `reporting_fixture.frame`.

    Four patients an arm, all of the first grade, have no value after the baseline.
    """
    rng = np.random.default_rng(3)
    context = fixture.context(arms=arms, visits=visits)
    people, rows = [], []
    for place, arm in enumerate(context.arms):
        for grade, sizes in SIZES.items():
            for index in range(sizes[place]):
                name = f"{arm['code']}-{grade}-{index:03d}"
                people.append((name, arm["code"], grade, "Y", index >= 4))
    adsl = pd.DataFrame(people, columns=["USUBJID", "TRT01P", "SEVERITY", "ITTFL", "there"])
    adsl.loc[adsl["SEVERITY"] != "I", "there"] = True
    for code, _, _, _, _, _, mean, sd, _ in fixture.PARAMETERS[:3]:
        base = mean + rng.normal(0, sd, len(adsl))
        base = np.abs(base) + 1 if code in log else base
        for number, visit in enumerate(context.visits):
            values = base + number * rng.normal(0, sd / 5, len(adsl))
            values = np.abs(values) if code in log else values
            own = adsl[["USUBJID"]].assign(AVAL=values)[adsl["there"] | (number == 0)]
            rows.append(own.assign(PARAMCD=code, AVISIT=visit["name"]))
    records = pd.concat(rows, ignore_index=True).assign(ANL01FL="Y", SOURCE="scan")
    return adsl.drop(columns="there"), records


def reads(adsl, count=60, parameter="LAA950", seed=4):
    """Return reads of some patients at baseline: two repeats of two readers, and a network."""
    rng, rows = np.random.default_rng(seed), []
    for name in adsl["USUBJID"][:count]:
        truth = rng.normal(14, 6)
        rows.append((name, "network", "", "1", truth - 0.35 + rng.normal(0, 1)))
        for reader in ("R1", "R2"):
            for repeat in ("1", "2"):
                rows.append((name, "reader", reader, repeat, truth + rng.normal(0, 1)))
    frame = pd.DataFrame(rows, columns=["USUBJID", "METHOD", "READER", "REPEAT", "AVAL"])
    return frame.assign(AVISIT="Baseline", PARAMCD=parameter)


@functools.cache
def values(arms=2, visits=3, log=()):
    """Return the individual values of the fixture trial."""
    adsl, records = trial(arms, visits, log=log)
    context = fixture.context(arms=arms, visits=visits)
    table = PARAMETERS.assign(
        TRANSFORM=["log" if code in log else "none" for code in PARAMETERS["PARAMCD"]]
    )
    own = (context.visits, context.strata)
    return gather(
        [
            individual(adsl, [records], table, *own),
            pairs(adsl, reads(adsl), table, {}, *own),
        ]
    )


def stratum_of(path):
    """Return a stratum as a context has it."""
    value = {"grade1": "I", "grade2": "II"}.get(path)
    label = {"all": "All patients"}.get(path, path.replace("grade", "Grade "))
    own = {"path": path, "label": label}
    return {**own, "column": "SEVERITY", "value": value} if value else own


def setting(stratum="all", arms=2, visits=3, frame=None, single=None, plan=None, **changes):
    """Return the results, with individual values, and the context of a stratum."""
    planned = plan or fixture.plan()
    data = fixture.frame(arms, visits) if frame is None else frame
    place = stratum_of(stratum)
    context = fixture.context(stratum, arms, visits, plan=planned)
    context = replace(context, **{"stratum": place, **changes})
    single = values(arms, visits) if single is None else single
    found = Individual(single, place, planned) if len(single) else None
    return Results(data, stratum, planned, individual=found), context


def svg_of(picture, folder, name="a.svg"):
    """Write a figure, and return the text of its SVG file."""
    figure.save(picture, {"svg": folder / name}, "A title")
    return (folder / name).read_text()


def texts(picture):
    """Return every text that a figure draws."""
    found = []
    for axes in picture.axes:
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            # Matplotlib keeps labels of ticks beyond the limits, and doesn't draw them.
            low, high = sorted(limits)
            own = axis.get_ticklabels() if axes.axison else []
            place = 0 if axis is axes.xaxis else 1
            found += [one for one in own if low <= one.get_position()[place] <= high]
    found += picture.texts
    return [one for one in found if isinstance(one, Text) and one.get_text().strip()]


def check_texts(picture):
    """No text leaves the figure, and none lies on another."""
    picture.set_dpi(300)  # as it is written; fewer pixels make wider letters
    canvas = picture.canvas.get_renderer()
    picture.draw(canvas)
    found = texts(picture)
    said = [one.get_text() for one in found]
    boxes = np.array([one.get_window_extent(canvas).extents for one in found])
    edge = np.array([picture.bbox.width, picture.bbox.height])
    out = (boxes[:, :2] < -0.5).any(axis=1) | (boxes[:, 2:] > edge + 0.5).any(axis=1)
    assert not out.any(), [said[i] for i in np.flatnonzero(out)]
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = shared - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    over = np.triu((shared[..., 0] > 2.0) & (shared[..., 1] > 4.0), 1)
    assert not over.any(), [(said[i], said[j]) for i, j in np.argwhere(over)]
    assert picture.get_size_inches()[0] * 25.4 == np.float64(figure.WIDTH_MM)


def check_addresses(svg, data):
    """Return the numbers of a figure by address, each held against the results table."""
    known = {
        f"{r.ANALYSISID}|{r.GROUP}|{r.COMPARISON}|{r.LEVEL}|{r.STAT}".rstrip("|"): r
        for r in data.itertuples()
    }
    pairs_of = {}
    for address, shown in figure.addresses(svg):
        address, shown = html.unescape(address), shown.strip().replace("\u2212", "-")
        row, used = known[address.partition("#")[0]], address.endswith("#N")
        if used:
            assert shown == str(int(row.N))
        elif shown == "NE":
            assert np.isnan(row.VALUE)
        elif shown[0] in "<>":
            assert (float(shown[1:]) > row.VALUE) == (shown[0] == "<")
        else:
            assert shown == text.number(row.VALUE, len(shown.partition(".")[2]))
        pairs_of[address] = shown
    return pairs_of
