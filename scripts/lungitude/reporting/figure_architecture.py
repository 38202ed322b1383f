"""The segmentation network as it is built: encoders, branches, levels, and which scan each reads.

Drawn from docs/networks/architecture.json, which is written from the network itself (see
`lungitude.networks.architecture`); its numbers are those of the results table.
"""

import json
from pathlib import Path

from matplotlib.patches import FancyBboxPatch

from lungitude import network_study as study
from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, width_of, write_parts
from lungitude.reporting.results import Absent, Part

METHOD = "network_architecture"
# All in mm.
LEFT, RIGHT, GRID, GAP, TOP, FOOT = 1.5, 1.5, 11.0, 5.0, 1.5, 4.0
TITLE_STEP, STEP, PAD, UP, PASS = 3.3, 2.8, 1.3, 5.0, 4.6
SPARE = 1.5  # type on a screen is up to this much wider than on paper
POINTS, TITLE_POINTS, NOTE_POINTS = 7.0, 7.5, 6.5
SHADE, PALE = "#dce8f2", "#f6f7f9"
LINES = (fig.COLOURS[0], fig.COLOURS[2], fig.COLOURS[3])  # from each encoder; gates are orange
# What the finest level of a branch gets beside the features of its encoder.
FILTERS = {"edges": "edges of the image", "tubeness": "tubes in the image"}
FUSED = "coarser scales"
KINDS = {"residual": "residual units", "resnet50": "ResNet50"}
VALUES = {
    "laa950_pct": "LAV %",
    "mld_hu": "MLD",
    "perc15_hu": "Perc15",
    "lung_ml": "lung volume",
    "wall_pct": "wall %",
    "lumen_ml": "volume of lumen",
    "vessel_pct": "vessels %",
    "artery_pct": "arteries %",
    "lv_ml": "LV volume",
    "rv_ml": "RV volume",
    "myocardium_ml": "volume of myocardium",
}
OUTSIDE = "outside"  # the class of what is none of the others


def described(context):
    """Return what architecture.json says.

    Raises
    ------
    Absent
        If the file is not there.
    """
    path = Path(study.paths(study.section_of(context.plan))["architecture"])
    if not path.is_file():
        raise Absent(f"there is no {path.name}, which describes the network")
    return json.loads(path.read_text(encoding="utf-8"))


def caption(results, context, display):
    """Say what boxes, lines and dots are, and which weights the network has."""
    results.of(METHOD)
    found = described(context)
    weights = found.get("weights", {}).get("digest")
    gates = "; circles are attention gates on them" if _gated(found) else ""
    outside = any(OUTSIDE in group["classes"] for b in found["branches"] for group in b["groups"])
    known = f". Weights {weights}" if weights else ""
    return (
        "Boxes: levels with their feature maps, on the grid of the scan at the top and coarser "
        "ones below it. Lines from the encoder to the branches: its features, which are joined to "
        f"those of the branch{gates}. Top: classes of the voxels"
        f"{', and what is none of them' if outside else ''}. Bottom of a branch: quantities that "
        "it estimates as a whole, from the coarsest features and its own finest. Dots: branches "
        f"that read the scan at this size of voxels{known}"
    )


def _gated(found):
    return any(branch["gates"] for branch in found["branches"])


@fig.styled
def draw(results, context, display):
    """Draw the network.

    Parameters
    ----------
    results : Results
        Rows of method ``network_architecture``.
    context : Context
        Its plan says where the description lies.
    display : dict

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide.

    Raises
    ------
    Absent
        If the stratum has no such rows (they stand in that of all patients), or without the file.
    """
    results.of(METHOD)
    return Drawing(results, described(context)).draw(context)


class Drawing:
    """One network: columns are its encoders and branches, rows the grids."""

    def __init__(self, results, found):
        self.results, self.found = results, found
        self.columns = [("encoder", part) for part in found["encoders"]]
        self.columns += [("branch", part) for part in found["branches"]]
        room = fig.WIDTH_MM - LEFT - RIGHT - GRID
        self.width = min((room + GAP) / len(self.columns) - GAP, 45.0)
        self.grids = sorted({level["grid"] for _, part in self.columns for level in part["levels"]})
        self.titles = [self._title(kind, part) for kind, part in self.columns]
        self.outputs = [
            self._input() if kind == "encoder" else self._output(part)
            for kind, part in self.columns
        ]
        self.notes = [self._extras(part) if kind == "branch" else [] for kind, part in self.columns]
        self.estimates = [
            self._wrapped(", ".join(VALUES.get(name, name) for name in part["values"]))
            if kind == "branch"
            else []
            for kind, part in self.columns
        ]

    # What stands in the boxes.

    def number(self, stat, level, decimals=0):
        """Part of a number of the results table."""
        return lookup.part(self.results.get(METHOD, stat, level=level), decimals)

    def _wrapped(self, said, points=NOTE_POINTS, bold=False):
        return fig.wrap(said, points, self.width - 2 * PAD - SPARE, bold)

    def _title(self, kind, part):
        """Lines of a column's title as lists of parts, the first ones bold."""
        name = part["name"].capitalize()
        if kind == "encoder":
            name = "Shared encoder" if part["name"] == "shared" else f"Encoder, {part['name']}"
        million = self.number("parameters_million", f"{kind} {part['name']}", 2)
        lines = [[Part(line)] for line in fig.wrap(name, TITLE_POINTS, self.width, True)]
        bold = len(lines)
        if kind == "encoder":
            lines.append([Part(KINDS.get(part["kind"], part["kind"]))])
        lines.append([million, Part(" M parameters")])
        return lines, bold

    def _input(self):
        lines = [[Part(line)] for line in self._wrapped("Scan, HU in windows")]
        for number in range(1, len(self.found["input"]["windows_hu"]) + 1):
            ends = [self.number(f"{end}_hu", f"window {number}") for end in ("low", "high")]
            lines.append([ends[0], Part(" to "), ends[1]])
        return lines

    def _output(self, part):
        lines = []
        for group in part["groups"]:
            said = ", ".join(name for name in group["classes"] if name != OUTSIDE)
            wrapped = self._wrapped(said[:1].upper() + said[1:])
            lines += [[Part(line)] for line in wrapped]
        return lines

    def _extras(self, part):
        said = [FILTERS.get(name, name) for name in part["filters"]]
        said += [FUSED] if part["fused"] else []
        return [line for one in said for line in self._wrapped(f"+ {one}")]

    # Places.

    def x(self, index):
        """Left end of a column."""
        return LEFT + GRID + index * (self.width + GAP)

    def _place(self):
        """Upper ends and heights of the rows; the height of the figure."""
        y = TOP + TITLE_STEP * max(len(lines) for lines, _ in self.titles) + 1.5
        self.output_top = y
        self.output_height = STEP * max(len(lines) for lines in self.outputs) + 2 * PAD
        y += self.output_height + UP
        self.rows = {}
        for grid in self.grids:
            lines = 1
            for (_, part), extras in zip(self.columns, self.notes, strict=True):
                if part["levels"][0]["grid"] == grid:
                    lines = max(lines, 1 + len(extras))
            if grid == self.grids[-1]:
                lines = 1  # the boxes of the estimates stand below
            high = STEP * lines + 2 * PAD
            self.rows[grid] = (y, high)
            y += high + UP
        self.estimate_top = y - UP + 1.5
        self.estimate_height = STEP * max(map(len, self.estimates), default=0) + 2 * PAD
        self.pass_top = self.estimate_top + self.estimate_height + 3.0
        y = self.pass_top + PASS * (len(self.found["passes"]) + 1)
        return y + FOOT

    # Drawing.

    def draw(self, context):
        """Draw all; return the figure."""
        height = self._place()
        figure = fig.new(height)
        self.axes = page(figure, height)
        for index, (kind, part) in enumerate(self.columns):
            self._draw_title(index)
            self._draw_top(index, kind)
            self._draw_levels(index, kind, part)
        for index, (kind, part) in enumerate(self.columns):
            if kind == "branch":
                self._draw_skips(index, part)
        self._draw_grids()
        self._draw_passes()
        said = Part(" million (M) parameters in all")
        parts = [self.number("parameters_million", "network", 2), said]
        write_parts(self.axes, LEFT, height - 2.2, parts, NOTE_POINTS)
        fig.synthetic_line(figure, context, height)
        return figure

    def _draw_title(self, index):
        lines, bold = self.titles[index]
        for number, parts in enumerate(lines):
            y = TOP + TITLE_STEP * (number + 0.5)
            style = {"fontweight": "bold"} if number < bold else {"color": fig.SOFT}
            points = TITLE_POINTS if number < bold else POINTS
            self._centred(index, y, parts, points, bold=number < bold, **style)

    def _draw_top(self, index, kind):
        y, high = self.output_top, self.output_height
        self._box(index, y, high, PALE)
        lines = self.outputs[index]
        first = y + 0.5 * high - 0.5 * STEP * (len(lines) - 1)
        for number, parts in enumerate(lines):
            self._centred(index, first + STEP * number, parts, NOTE_POINTS)

    def _draw_levels(self, index, kind, part):
        stem = f"{kind} {part['name']}"
        encoders = [one for other, one in self.columns if other == "encoder"]
        edge = LINES[encoders.index(part) % len(LINES)] if kind == "encoder" else fig.SOFT
        before = self.output_top + self.output_height
        middle = self.x(index) + 0.5 * self.width
        for number, level in enumerate(part["levels"]):
            y, high = self.rows[level["grid"]]
            self._box(index, y, high, SHADE if kind == "encoder" else "white", edge)
            parts = [self.number("channels", f"{stem} {number + 1}"), Part(" maps")]
            extras = self.notes[index] if number == 0 else []
            first = y + 0.5 * high - 0.5 * STEP * len(extras)
            self._centred(index, first, parts, POINTS)
            for line, said in enumerate(extras, 1):
                self._centred(index, first + STEP * line, [Part(said)], NOTE_POINTS, color=fig.SOFT)
            # An encoder goes down to coarser grids, a branch comes up from them.
            self._arrow((middle, before), (middle, y), down=kind == "encoder")
            before = y + high
        if kind == "branch" and part["values"]:
            self._draw_estimates(index, part, before, middle)

    def _draw_estimates(self, index, part, before, middle):
        """Box of the quantities that a branch estimates, below the line of coarsest features."""
        bus, top = self._line(part)[-1], self.estimate_top
        self._arrow((middle, before), (middle, bus), down=False)
        self._arrow((middle, bus), (middle, top), down=True)
        self._box(index, top, self.estimate_height, PALE)
        lines = self.estimates[index]
        first = top + 0.5 * self.estimate_height - 0.5 * STEP * (len(lines) - 1)
        for number, line in enumerate(lines):
            self._centred(index, first + STEP * number, [Part(line)], NOTE_POINTS)

    def _encoder_of(self, part):
        """Column of the encoder that a branch reads, its place among encoders, and itself."""
        encoders = [number for number, (kind, _) in enumerate(self.columns) if kind == "encoder"]
        return next(
            (number, order, self.columns[number][1])
            for order, number in enumerate(encoders)
            if self.columns[number][1]["name"] == part["encoder"]
        )

    def _line(self, part):
        """Heights of the lines of the encoder that a branch reads, from its finest level."""
        _, order, encoder = self._encoder_of(part)
        places = (self.rows[level["grid"]] for level in encoder["levels"])
        # Those of a second encoder run beside those of the first.
        return [y + 0.5 * high + 1.2 * order for y, high in places]

    def _draw_skips(self, index, part):
        """Lines from the encoder that a branch reads: one a level, and the coarsest features."""
        place, order, encoder = self._encoder_of(part)
        start, end = self.x(place) + self.width, self.x(index)
        own = {level["grid"] for level in part["levels"]}
        style = {"color": LINES[order % len(LINES)], "linewidth": 0.8, "zorder": 1.5}
        for level, y in zip(encoder["levels"], self._line(part), strict=True):
            if level["grid"] in own:
                self.axes.plot([start, end], [y, y], **style)
                if part["gates"]:
                    self._gate(end - 0.5 * GAP, y)
            elif level is encoder["levels"][-1]:
                self.axes.plot([start, end + 0.5 * self.width], [y, y], **style)

    def _gate(self, x, y):
        self.axes.plot(
            [x], [y], marker="o", markersize=5.0, markerfacecolor="white",
            markeredgecolor=fig.COLOURS[1], markeredgewidth=1.1, linestyle="none", zorder=4,
        )  # fmt: skip

    def _draw_grids(self):
        """Write the grid of each row at the left: voxels of the scan a side of its cells."""
        x = LEFT
        y = self.output_top + 0.5 * self.output_height
        for line, said in enumerate(("Grid of", "the scan")):
            self.axes.text(
                x, y + STEP * (line - 0.5), said, fontsize=6.0, va="center_baseline", color=fig.SOFT
            )
        for grid in self.grids:
            y, high = self.rows[grid]
            level = next(
                f"{kind} {part['name']} {number}"
                for kind, part in self.columns
                for number, one in enumerate(part["levels"], 1)
                if one["grid"] == grid
            )
            parts = [Part("1/"), self.number("grid", level)]
            write_parts(self.axes, x, y + 0.5 * high, parts, POINTS, color=fig.SOFT)

    def _draw_passes(self):
        y = self.pass_top + 0.5 * PASS
        self.axes.plot(
            [LEFT, fig.WIDTH_MM - RIGHT], [y - 2.5, y - 2.5], color=fig.LINE, linewidth=0.5
        )
        said = "Read at voxels of"
        self.axes.text(LEFT, y, said, fontsize=POINTS, va="center_baseline", color=fig.SOFT)
        for number, one in enumerate(self.found["passes"], 1):
            at = y + PASS * number
            parts = [self.number("voxel_mm", f"pass {one['name']}"), Part(f" mm: {one['name']}")]
            write_parts(self.axes, LEFT, at, parts, POINTS)
            for index, (kind, part) in enumerate(self.columns):
                if kind == "branch" and part["name"] in one["branches"]:
                    self.axes.plot(
                        [self.x(index) + 0.5 * self.width], [at], marker="o", markersize=4.2,
                        color=fig.INK, linestyle="none",
                    )  # fmt: skip

    def _box(self, index, y, high, fill, edge=None, zorder=2):
        self.axes.add_patch(
            FancyBboxPatch(
                (self.x(index) + 0.6, y + 0.6), self.width - 1.2, high - 1.2,
                boxstyle="round,pad=0.6", facecolor=fill, edgecolor=edge or fig.LINE,
                linewidth=0.7, zorder=zorder,
            )
        )  # fmt: skip

    def _arrow(self, above, below, down):
        start, end = (above, below) if down else (below, above)
        self.axes.annotate(
            "", xy=end, xytext=start, zorder=1.8,
            arrowprops={
                "arrowstyle": "-|>,head_width=0.13,head_length=0.28", "linewidth": 0.8,
                "color": fig.SOFT, "shrinkA": 0, "shrinkB": 0,
            },
        )  # fmt: skip

    def _centred(self, index, y, parts, points, bold=False, **style):
        wide = width_of(parts, points)
        if bold:
            wide = fig.text_width_mm("".join(part.text for part in parts), points, bold=True)
        x = self.x(index) + 0.5 * (self.width - wide)
        write_parts(self.axes, x, y, parts, points, zorder=5, **style)
