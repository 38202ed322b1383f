"""Flow of patients and scans (CONSORT), for any number of arms; counts of zero are shown.

The layout is computed first, as rectangles in mm with their lines of text, and only then drawn: so
a test can prove that boxes don't overlap and that text stays inside its box.
"""

from collections import Counter
from dataclasses import dataclass

from matplotlib.patches import Rectangle

from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.results import Part

METHOD = "disposition"
BAND, GAP_X, GAP_Y, PAD, OVERHANG = 7.0, 4.0, 5.0, 2.0, 1.6
MAXIMUM_BOX_MM = 82.0
BAND_SMALLER = 0.8


@dataclass(frozen=True)
class Line:
    """One line of a box; `parts` hold text and numbers, `points` the font size."""

    parts: tuple[Part, ...]
    bold: bool = False
    indent_mm: float = 0.0

    @property
    def text(self):
        """The line as plain text."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Box:
    """A rectangle in mm from the top left corner, with its lines."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[Line, ...]
    kind: str = "box"

    def overlaps(self, other):
        """Whether two boxes share any area."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


@dataclass(frozen=True)
class Layout:
    """Boxes, bands (the stages at the left), arrows (x1 y1 x2 y2) and lines, all in mm."""

    boxes: tuple[Box, ...]
    bands: tuple[Box, ...]
    arrows: tuple[tuple[float, float, float, float], ...]
    lines: tuple[tuple[float, float, float, float], ...]
    height: float
    points: float


def stages(results, context):
    """List what is said of each arm, stage by stage.

    Returns
    -------
    list of (str, callable)
        Label of the stage, and a function from an arm's code to its paragraphs: tuples
        (text, parts of its count, level of indentation, bold).
    """

    def count(arm, level, visit=""):
        return _counted(results.get(METHOD, "n", visit=visit, group=arm, level=level))

    def allocation(arm):
        label = next(a["label"] for a in context.arms if a["code"] == arm)
        return [
            (label, (), 0, True),
            (context.entered.capitalize(), count(arm, "randomised"), 0, False),
        ]

    found = [("Allocation" if len(context.arms) > 1 else "Enrolment", allocation)]
    scans = [results.levels(METHOD, "scans_expected", visit["name"]) for visit in context.visits]
    visits = "Visits and scans" if any(scans) else "Visits"
    for visit in context.visits:
        name = visit["name"]
        scanned = bool(results.levels(METHOD, "scans_expected", name))
        reasons = results.levels(METHOD, "scans_excluded:", name)

        def attendance(arm, name=name, scanned=scanned, reasons=reasons):
            said = [
                (name, (), 0, True),
                ("Expected", count(arm, "expected", name), 0, False),
                ("Attended", count(arm, "attended", name), 0, False),
            ]
            if scanned:
                said += [
                    ("Scans expected", count(arm, "scans_expected", name), 0, False),
                    ("evaluable", count(arm, "scans_evaluable", name), 1, False),
                    ("excluded", count(arm, "scans_excluded", name), 1, False),
                ]
                said += [
                    (level.partition(":")[2], count(arm, level, name), 2, False)
                    for level in reasons
                ]
            return said

        found.append((visits, attendance))
    lost = results.levels(METHOD, "discontinued:")

    underway = any(results.where(METHOD=METHOD, LEVEL="ongoing")["VALUE"] > 0)

    def discontinuation(arm):
        said = [("Discontinued", count(arm, "discontinued"), 0, True)]
        said += [(level.partition(":")[2], count(arm, level), 1, False) for level in lost]
        if underway:
            said.append(("Ongoing", count(arm, "ongoing"), 0, True))
        return [*said, ("Completed", count(arm, "completed"), 0, True)]

    found.append(("Follow-up", discontinuation))
    primary = context.plan.get("primary") or {}
    endpoint = ""
    if primary and context.has_parameter(primary["parameter"]):
        endpoint = f"{context.label(primary['parameter'])}, {primary['visit']}"

    def in_model(arm):
        # The N that the table of effects prints; a model may lose patients by a covariate.
        where = (primary.get("method"), "emmean", primary.get("parameter"), primary.get("visit"))
        return results.get(*where, group=arm) if primary else None

    def measured(arm):
        return results.get(METHOD, "n", group=arm, level="analysed")

    codes = [arm["code"] for arm in context.arms]
    pairs = [(in_model(code), measured(code)) for code in codes]
    differ = any(model and had and model.n != had.value for model, had in pairs)

    def analysis(arm):
        found = in_model(arm)
        counted = count(arm, "analysed") if found is None else _of(lookup.used_part(found))
        said = [("Analysed", counted, 0, True)]
        said += [(endpoint, (), 0, False)] if endpoint else []
        return [*said, ("measured", count(arm, "analysed"), 1, False)] if differ else said

    return [*found, ("Analysis", analysis)]


def _counted(number):
    """Parts of "(n = 12)"; spaces in it don't break, and a missing count is a dash."""
    return _of(lookup.count_part(number))


def _of(part):
    return (Part("(n\u00a0=\u00a0"), part, Part(")"))


def layout(results, context, width_mm=fig.WIDTH_MM):
    """Place the boxes of the flow diagram.

    Parameters
    ----------
    results : Results
        Rows of method ``disposition``.
    context : Context
    width_mm : float

    Returns
    -------
    Layout
        Boxes of one stage have one height, so that arms can be compared line by line.
    """
    arms = [arm["code"] for arm in context.arms]
    points = 7.0 if len(arms) <= 3 else 6.2
    line_mm = points * fig.POINT_MM * 1.32
    room = width_mm - BAND - GAP_X - 1.0
    box_width = min(MAXIMUM_BOX_MM, (room - GAP_X * (len(arms) - 1)) / len(arms))
    left = BAND + GAP_X + (room - len(arms) * box_width - (len(arms) - 1) * GAP_X) / 2
    lefts = [left + index * (box_width + GAP_X) for index in range(len(arms))]
    centres = [x + box_width / 2 for x in lefts]
    middle = (centres[0] + centres[-1]) / 2

    top = _lines(
        [(f"Patients {context.entered}", _counted(results.size(context.total)), 0, True)],
        MAXIMUM_BOX_MM,
        points,
    )
    top_height = len(top) * line_mm + 2 * PAD
    top_width = max(fig.text_width_mm(line.text, points, True) for line in top) + 6 * PAD
    bands, arrows, lines = [], [], []
    boxes, start = enrolment(results, context, middle, width_mm, points)
    if boxes:
        arrows.append((middle, boxes[0].y + boxes[0].height, middle, start))
        beside = boxes[1].y + boxes[1].height / 2
        arrows.append((middle, beside, boxes[1].x, beside))
        height = start + top_height + OVERHANG
        bands.append(Box(0.5, 0.5, BAND - 1, height, (Line((Part("Enrolment"),), True),), "band"))
    boxes.append(Box(middle - top_width / 2, start, top_width, top_height, top, "head"))
    bottom = start + top_height
    y = bottom + 2 * GAP_Y
    branch = bottom + GAP_Y
    if len(arms) > 1:
        lines += [(middle, bottom, middle, branch), (centres[0], branch, centres[-1], branch)]
    starts = [branch if len(arms) > 1 else bottom] * len(arms)
    found = stages(results, context)
    share = Counter(name for name, _ in found)
    for name, said in found:
        texts = [_lines(said(arm), box_width - 2 * PAD, points) for arm in arms]
        height = max(len(text) for text in texts) * line_mm + 2 * PAD
        # The word at the left runs along its band, which is a little longer than its boxes.
        upright = fig.text_width_mm(name, points - BAND_SMALLER, True) + 1.0
        room = upright - 2 * OVERHANG - GAP_Y * (share[name] - 1)
        height = max(height, room / share[name])
        for index, text in enumerate(texts):
            boxes.append(Box(lefts[index], y, box_width, height, text))
            arrows.append((centres[index], starts[index], centres[index], y))
        if bands and bands[-1].lines[0].text == name:
            last = bands.pop()
            bands.append(
                Box(0.5, last.y, BAND - 1, y + height + OVERHANG - last.y, last.lines, "band")
            )
        else:
            bands.append(
                Box(
                    0.5,
                    y - OVERHANG,
                    BAND - 1,
                    height + 2 * OVERHANG,
                    (Line((Part(name),), True),),
                    "band",
                )
            )
        starts = [y + height] * len(arms)
        y += height + GAP_Y
    return Layout(tuple(boxes), tuple(bands), tuple(arrows), tuple(lines), y - GAP_Y + 5.0, points)


def enrolment(results, context, middle, width_mm, points):
    """Place who was assessed for eligibility, and at its side who was excluded and why.

    Returns
    -------
    list of Box, float
        Both boxes, none where nobody counted them; where the box of the randomised begins.
    """

    def count(level):
        return _counted(results.get(METHOD, "n", group=context.total, level=level))

    if not results.levels(METHOD, "assessed"):
        return [], 1.0
    line_mm = points * fig.POINT_MM * 1.32
    head = _lines(
        [("Assessed for eligibility", count("assessed"), 0, True)], MAXIMUM_BOX_MM, points
    )
    width = max(fig.text_width_mm(line.text, points, True) for line in head) + 6 * PAD
    first = Box(middle - width / 2, 1.0, width, len(head) * line_mm + 2 * PAD, head, "head")
    said = [("Excluded", count("not_randomised"), 0, True)]
    said += [
        (level.partition(":")[2], count(level), 1, False)
        for level in results.levels(METHOD, "not_randomised:")
    ]
    if any(results.where(METHOD=METHOD, LEVEL="awaiting")["VALUE"] > 0):
        said.append(("Not yet randomised", count("awaiting"), 0, True))
    left = middle + 2 * GAP_X
    beside = min(MAXIMUM_BOX_MM, width_mm - 1.0 - left)
    lines = _lines(said, beside - 2 * PAD, points)
    y = first.y + first.height + GAP_Y
    second = Box(left, y, beside, len(lines) * line_mm + 2 * PAD, lines)
    return [first, second], y + second.height + GAP_Y


def _lines(said, width_mm, points):
    """Break paragraphs into lines; a count is never torn apart."""
    lines = []
    for text, tail, level, bold in said:
        indent = 2.4 * level
        end = "".join(part.text for part in tail)
        whole = f"{text} {end}" if end else text
        *pieces, last = fig.wrap(whole, points, width_mm - indent, bold)
        lines += [Line((Part(piece),), bold, indent) for piece in pieces]
        lines.append(Line((Part(last.removesuffix(end)), *tail), bold, indent))
    return tuple(lines)


def caption(results, context, display):
    """Say whom the diagram shows."""
    return context.population_line("disposition")


@fig.styled
def draw(results, context, display):
    """Draw the flow diagram.

    Returns
    -------
    matplotlib.figure.Figure
        A notice where the stratum has no patient.
    """
    if results.empty:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    placed = layout(results, context)
    figure = fig.new(placed.height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, fig.WIDTH_MM), ylim=(placed.height, 0))
    axes.axis("off")
    for x1, y1, x2, y2 in placed.lines:
        axes.plot([x1, x2], [y1, y2], color=fig.SOFT, linewidth=0.8, solid_capstyle="projecting")
    for x1, y1, x2, y2 in placed.arrows:
        axes.annotate(
            "",
            (x2, y2),
            (x1, y1),
            arrowprops={
                "arrowstyle": "-|>,head_width=0.16,head_length=0.32",
                "color": fig.SOFT,
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    for box in placed.bands:
        _rectangle(axes, box, "#dfe8f0", "none")
        axes.text(
            box.x + box.width / 2,
            box.y + box.height / 2,
            box.lines[0].text,
            rotation=90,
            ha="center",
            va="center",
            fontsize=placed.points - BAND_SMALLER,
            fontweight="bold",
        )
    for box in placed.boxes:
        _rectangle(axes, box, "#eef2f6" if box.kind == "head" else "white", fig.SOFT)
        _write(axes, box, placed.points)
    fig.synthetic_line(figure, context, placed.height)
    return figure


def _rectangle(axes, box, face, edge):
    axes.add_patch(
        Rectangle(
            (box.x, box.y), box.width, box.height, facecolor=face, edgecolor=edge, linewidth=0.7
        )
    )


def _write(axes, box, points):
    step = points * fig.POINT_MM * 1.32
    y = box.y + PAD + step * 0.5
    for line in box.lines:
        x = box.x + PAD + line.indent_mm
        if box.kind == "head":
            x = box.x + (box.width - fig.text_width_mm(line.text, points, line.bold)) / 2
        for part in line.parts:
            drawn = axes.text(
                x,
                y,
                part.text,
                ha="left",
                va="center_baseline",
                fontsize=points,
                fontweight="bold" if line.bold else "normal",
            )
            fig.set_address(drawn, part.address)
            x += fig.text_width_mm(part.text, points, line.bold)
        y += step
