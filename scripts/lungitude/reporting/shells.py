"""Mock shells: the tables and figures of a plan as they will look, before there are data.

Each shell is the real display, made by the real module from real analyses of invented patients (see
`fabricated`), in which every digit that comes from data is then replaced by ``x``. So heads, rows,
footnotes and decimals are those of the report, and what is approved with a plan is what will run.
Figures are drawn as they will be drawn, and what stands for data is taken out: axes, panels, names
and legends remain. A programming note below each says which analysis of the plan feeds what.
"""

import logging
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from lungitude import documents, source_maps, sources, tables
from lungitude.checks import TrialError, schema
from lungitude.documents import dates_as_text
from lungitude.job import whole
from lungitude.provenance import digest_of, digest_of_text
from lungitude.reporting import (
    displays,
    document,
    fabricated,
    figure,
    pages,
    rendering,
    table,
    word,
)
from lungitude.reporting.context import Context
from lungitude.reporting.format import NOT_ESTIMATED
from lungitude.reporting.individual import Individual
from lungitude.reporting.results import ADDRESS, Absent, Part, Results
from lungitude.sheets import numbers
from lungitude.trial import SHEETS, Trial, load, with_defaults

HEADER = "Mock shell: no data"
NOTE = "Programming note."
# Figures of single patients, whose number must be that of the results.
OF_PATIENTS = ("figure_individual", "figure_agreement")
# Statistics that lie between -1 and 1: one place before the point.
SMALL = re.compile(r"(^|_)(p|r|icc|ccc|smd)(_|$)")
DIGIT = re.compile(r"\d")
# Counts of patients or tests that a note of the results table names.
COUNTED = re.compile(
    r"\b\d+(?= (?:of \d+ )?(?:planned )?(?:patients?|tests?|pairs?|observations?|values?|scans?)\b)"
)
OUT_OF = re.compile(r"(?<=x of )\d+(?= )")


@dataclass(frozen=True)
class Shells:
    """The shells of one stratum, ready to be written.

    Attributes
    ----------
    document : document.Document
        `pieces` are tables and pictures in the order of the plan.
    drawings : dict of str to str
        By id of a figure, its SVG text.
    headings : dict of str to str
        By id, what its section of a report is called.
    """

    document: document.Document
    drawings: dict
    headings: dict


def design_of(path, root="."):
    """Read what is known of a trial before it has data: config.yaml, plan.yaml, parameters.tsv.

    Parameters
    ----------
    path : path
        config.yaml.
    root : path

    Returns
    -------
    Trial
        Without rows in its sheets but those of parameters and, where they exist already, reads.

    Raises
    ------
    TrialError
        With all that is wrong in these three files. Other sheets need not exist.
    """
    path = Path(path)
    plan_path = path.with_name("plan.yaml")
    problems = []
    try:
        found = load(path, root=root)
        config, plan = found.config, found.plan
    except TrialError as error:
        content = [documents.read(one, []) for one in (path, plan_path)]
        sheet = None
        if content[0] is not None:
            named = content[0].content.get("sheets")
            sheet = path.parent / str((named if isinstance(named, dict) else {}).get("parameters"))
        needed = tuple(f"{one}{end}" for one in (path, plan_path, sheet) for end in (",", ":"))
        problems = [line for line in error.problems if line.startswith(needed)]
        if problems:
            raise _ToldError(problems) from None
        config, plan = (
            one and with_defaults(dates_as_text(one.content), schema(name))
            for one, name in zip(content, ("config", "plan"), strict=True)
        )
    if plan is None:
        raise _ToldError([f"{plan_path}: there is no plan, of which shells are made; write it"])
    sheets = {
        name: path.parent / entry
        for name, entry in config["sheets"].items()
        if isinstance(entry, str)
    }
    frames = {name: pd.DataFrame() for name in SHEETS}
    frames["parameters"] = tables.read(sheets["parameters"])
    if "reads" in sheets and sheets["reads"].is_file():
        frames["reads"] = tables.read(sheets["reads"])
    elif "reads" in config["sheets"]:
        made = sources.read("reads", source_maps.of(config["sheets"]["reads"]), path.parent, [])
        if made:
            frames["reads"] = made.frame.assign(AVAL=numbers(made.frame["AVAL"]))
    return Trial(path.parent, config, plan, **frames, paths=sheets)


class _ToldError(TrialError):
    """Problems that are lines already."""

    def __init__(self, lines):
        ValueError.__init__(self, "\n".join(lines))
        self.problems = list(lines)


def write(trial, folder, strata=("all",)):
    """Write shells.html and shells.docx of a trial.

    Parameters
    ----------
    trial : Trial
        As `design_of` reads it.
    folder : path
        Those of all patients lie here, those of a stratum in a folder of its own.
    strata : iterable of str
        Paths of strata; `all` is all patients.

    Returns
    -------
    dict of Path to list of (str, str)
        By page that was written, the titles of the displays without a shell, and why.

    Raises
    ------
    ValueError
        If the trial has no such stratum.
    """
    known = {one["path"]: one for one in trial.strata}
    unknown = [name for name in strata if name not in known]
    if unknown:
        raise ValueError(f"stratum {', '.join(unknown)} is not one of {', '.join(known)}")
    reads = trial.reads if len(trial.reads) else None
    invented = fabricated.results_of(trial.config, trial.plan, trial.paths["parameters"], reads)
    written = {}
    for name in strata:
        target = Path(folder) / ("" if name == "all" else name)
        context = context_of(trial, known[name])
        with tempfile.TemporaryDirectory(prefix="lungitude-shells-") as pictures:
            made = shells(invented, context, pictures)
            page = target / "shells.html"
            with whole(page) as part:
                part.write_text(to_page(made, context), encoding="utf-8")
            word.write(made.document, target / "shells.docx")
        written[page] = list(made.document.left_out)
    return written


def context_of(trial, stratum):
    """Return the `Context` of a stratum whose sources are the plan and the configuration alone."""
    rows = trial.parameters.to_dict("records")
    config = trial.config
    return Context(
        stratum=dict(stratum),
        arms=config["arms"],
        visits=config["visits"],
        parameters=[{k: v for k, v in row.items() if v == v} for row in rows],
        plan=trial.plan,
        trial={"name": config["trial"], "title": config["title"]},
        provenance={
            "plan": digest_of_text(trial.plan),
            "config": digest_of_text(config),
            "parameters": digest_of(trial.paths["parameters"]),
        },
        characteristics=config["characteristics"],
        strata=config["strata"],
    )


def shells(invented, context, folder):
    """Make the shells of the displays of a plan.

    Parameters
    ----------
    invented : fabricated.Invented
    context : Context
    folder : path
        Where pictures are put.

    Returns
    -------
    Shells
    """
    pieces, shown, left_out, drawings, known = [], [], [], {}, {}
    frame, undone = invented.results, invented.undone
    quiet = neutral(frame)
    for display in displays.of_plan(context.plan):
        own = replace(context, p_style=display.get("style") or "csr")
        kind = displays.kind_of(display)
        table_wanted = rendering.MODULES[kind] in rendering.TABLES
        as_it_is = table_wanted or kind in OF_PATIENTS
        key = (as_it_is, display.get("population"))
        if key not in known:  # reading a large table of results takes longer than most displays
            given = frame if as_it_is else quiet
            known[key] = Looked(given, context, key[1], invented.individual)
        try:
            if table_wanted:
                pieces.append(table_shell(known[key], own, display))
            else:
                piece, drawing = figure_shell(known[key], own, display, folder)
                pieces.append(piece)
                drawings[display["id"]] = drawing
        except Absent as reason:
            said = [undone[name] for name in displays.NEEDS.get(kind, ()) if name in undone]
            left_out.append((display["title"], (said or [str(reason)])[0]))
            logging.getLogger(__name__).info("%s: left out, %s", display["id"], left_out[-1][1])
            continue
        shown.append(display)
    made = document.Document(
        title=context.trial["title"],
        stratum=f"{HEADER}. {context.stratum['label']}",
        lines=(
            "The tables and figures of the plan as they will be printed. x stands for a digit; "
            "signs are not shown.",
        ),
        sentences=(),
        methods=(),
        pieces=tuple(pieces),
        left_out=tuple(left_out),
        provenance="; ".join(f"{k} {str(v)[:16]}" for k, v in context.provenance.items()),
    )
    return Shells(made, drawings, displays.headings(shown))


class Looked:
    """Results, and their rows by the address that a `Part` carries.

    Parameters
    ----------
    frame : DataFrame
    context : Context
    population : str or None
    individual : DataFrame, optional
        The values of single patients.
    """

    def __init__(self, frame, context, population=None, individual=None):
        stratum, plan = context.stratum, context.plan
        if individual is not None:
            individual = Individual(individual, stratum, plan, population)
        self.results = Results(frame, stratum["path"], plan, population, individual)
        self.rows = {}
        for row in self.results.known.to_dict("records"):
            self.rows["|".join(row[name] for name in ADDRESS).rstrip("|")] = row


# --- Tables -------------------------------------------------------------------------------------


def table_shell(looked, context, display):
    """Return the shell of a table.

    Raises
    ------
    Absent
        If its analysis was not run.
    """
    module = rendering.MODULES[displays.kind_of(display)]
    return masked(module.build(looked.results, context, display), looked.rows, context)


def masked(made, rows, context):
    """Take the data out of a table, and say below it what feeds it.

    Parameters
    ----------
    made : Table
    rows : dict
        Rows of the results table by address.
    context : Context

    Returns
    -------
    Table
    """
    shape = {}  # what an estimate of the same kind looks like, for those that could not be made
    for part in _parts(made):
        row = rows.get(_row_of(part))
        if row is not None and DIGIT.search(part.text):
            like = _mask(part.text, _small(row))
            shape.setdefault((row["PARAMCD"], row["STAT"]), like)
            shape.setdefault(row["STAT"], like)

    def cell(given):
        lost = any(part.address and part.text == NOT_ESTIMATED for part in given.parts)
        parts = tuple(_masked_part(part, rows, shape) for part in given.parts)
        return replace(given, parts=parts, mark="" if lost else given.mark)

    columns = tuple(replace(column, sub=cell(column.sub)) for column in made.columns)
    body = tuple(
        replace(row, label=cell(row.label), cells=tuple(map(cell, row.cells))) for row in made.rows
    )
    notes = [(mark, _masked_note(note)) for mark, note in made.footnotes]
    columns, body, notes = _relettered(columns, body, notes)
    more = [("", f"{NOTE} {said}") for said in programming(made, rows, context)]
    population = f"{HEADER}. {made.population}".removesuffix(". ")
    return replace(
        made, columns=columns, rows=body, footnotes=(*notes, *more), population=population
    )


def _parts(made):
    for column in made.columns:
        yield from column.sub.parts
    for row in made.rows:
        yield from row.label.parts
        for one in row.cells:
            yield from one.parts


def _row_of(part):
    return part.address.removesuffix("#N")


def _masked_part(part, rows, shape):
    if not part.address:
        return part
    row = rows.get(_row_of(part), {"PARAMCD": "", "STAT": ""})
    if part.text == NOT_ESTIMATED:
        like = shape.get((row["PARAMCD"], row["STAT"])) or shape.get(row["STAT"]) or "xx"
        return Part(like, part.address)
    return Part(_mask(part.text, not part.address.endswith("#N") and _small(row)), part.address)


def _small(row):
    """Tell whether a statistic can't be larger than 1."""
    return bool(SMALL.search(row["STAT"])) or row.get("METHOD") == "association"


def _mask(text, small):
    """Replace a number by x: two places before the point (one where it can't be larger than 1).

    Signs go, too, for they would tell something of invented data; decimals stay as many.
    """
    if not DIGIT.search(text):
        return text
    before, point, after = text.lstrip("<>+-\u2212 ").partition(".")
    places = 1 if small else 2
    return "x" * (places if before else 0) + point + DIGIT.sub("x", after)


def _masked_note(note):
    """Replace what a footnote counts: patients, tests, pairs."""
    return OUT_OF.sub("xx", COUNTED.sub("xx", note))


def _relettered(columns, body, notes):
    """Drop the footnotes that no cell names any more, and give the others letters in order."""
    used = [column.mark for column in columns]
    used += [one.mark for row in body for one in (row.label, *row.cells)]
    used = {letter for mark in used for letter in mark.split(",")}
    kept = [(mark, note) for mark, note in notes if not mark or mark in used]
    new = {
        mark: table.letters(index) for index, mark in enumerate(mark for mark, _ in kept if mark)
    }

    def cell(given):
        return replace(given, mark=new.get(given.mark, given.mark))

    columns = tuple(replace(one, mark=new.get(one.mark, one.mark)) for one in columns)
    body = tuple(
        replace(row, label=cell(row.label), cells=tuple(map(cell, row.cells))) for row in body
    )
    return columns, body, [(new.get(mark, mark), note) for mark, note in kept]


def programming(made, rows, context):
    """Say which analysis and statistics feed the columns of a table, and how each is planned.

    Parameters
    ----------
    made : Table
        Before it was masked.
    rows : dict
        Rows of the results table by address.
    context : Context

    Returns
    -------
    list of str
    """
    fed, methods, families = {}, {}, {}
    for index, column in enumerate(made.columns):
        parts = [*column.sub.parts] if index else []
        for row in made.rows:
            cells = (row.label, *row.cells)
            parts += cells[index].parts if index < len(cells) else ()
        said = {}
        for part in parts:
            row = rows.get(_row_of(part)) if part.address else None
            if row is None:
                continue
            stat = "N" if part.address.endswith("#N") else row["STAT"]
            said.setdefault(row["METHOD"], {})[stat] = None
            methods[row["METHOD"]] = None
            if row["FAMILY"]:
                families[row["FAMILY"]] = None
        if said:
            what = "; ".join(f"{method}: {', '.join(stats)}" for method, stats in said.items())
            name = column.label or ("Row labels" if index == 0 else f"column {index + 1}")
            fed.setdefault(what, []).append(name)
    lines = [f"{', '.join(names)} from {what}." for what, names in fed.items()]
    return lines + planned(methods, families, context)


def planned(methods, families, context):
    """Quote the sections of the plan that feed a display.

    Parameters
    ----------
    methods, families : iterable of str
        Analyses and families of hypotheses.
    context : Context

    Returns
    -------
    list of str
    """
    analyses = context.plan.get("analyses", {})
    lines = [f"analyses: {_quoted({name: analyses[name]})}" for name in methods if name in analyses]
    known = {family["id"]: family for family in context.plan.get("families", [])}
    lines += [f"families: {_quoted(known[name])}" for name in families if name in known]
    return lines


def _quoted(section):
    """Write a section of the plan on one line, as YAML."""
    text = yaml.safe_dump(
        section, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    )
    return text.strip()


# --- Figures ------------------------------------------------------------------------------------


def figure_shell(looked, context, display, folder):
    """Return the shell of a figure and its SVG text.

    Parameters
    ----------
    looked : Looked
        Of neutral results.
    context : Context
    display : dict
    folder : path
        The picture for documents is written here.

    Raises
    ------
    Absent
        If its analysis was not run.
    """
    module = rendering.MODULES[displays.kind_of(display)]
    results, rows = looked.results, looked.rows
    drawn = module.draw(results, context, display)
    methods = {rows[a]["METHOD"]: None for a in addresses(drawn) if a in rows}
    blank(drawn)
    title = f"{HEADER}. {display['title']}: {context.stratum['label']}"
    paths = {suffix: Path(folder) / f"{display['id']}.{suffix}" for suffix in ("svg", "png")}
    figure.save(drawn, paths, title)
    caption = _masked_note(module.caption(results, context, display)).rstrip(". ")
    notes = [f"{NOTE} {said}" for said in planned(methods, [], context)]
    said = f"{HEADER}. {'. '.join([caption, *notes])}".strip(". ")
    picture = document.Picture(
        display["id"], displays.title_number(display), display["title"], said, paths["png"]
    )
    return picture, paths["svg"].read_text(encoding="utf-8")


def neutral(frame):
    """Return a results table in which nothing gives a figure a colour or a mark.

    Correlations are 0 and not significant; nothing is missing, and who was missing has a value.
    """
    frame = frame.copy()
    pairs = (frame["METHOD"] == "association") & frame["VALUE"].notna()
    for stat, value in (("r", 0.0), ("p_adj", 1.0)):
        frame.loc[pairs & (frame["STAT"] == stat), "VALUE"] = value
    counts = frame.loc[(frame["METHOD"] == "describe") & frame["STAT"].isin(["missing", "n"])]
    everyone = counts.groupby(["ANALYSISID", "GROUP", "LEVEL"])["VALUE"].transform("sum")
    frame.loc[counts.index, "VALUE"] = everyone.where(counts["STAT"] == "n", 0.0)
    return frame


def addresses(drawn):
    """Return the addresses of the numbers that are written in a figure."""
    gids = [text.get_gid() or "" for text in drawn.findobj(Text)]
    return [
        gid.removeprefix(figure.ADDRESS).removesuffix("#N")
        for gid in gids
        if gid.startswith(figure.ADDRESS)
    ]


@figure.styled
def blank(drawn):
    """Take the data out of a figure: numbers become x, and panels keep their axes alone."""
    for axes in drawn.axes:
        if axes.axison:
            _blank_panel(axes)
    for text in drawn.findobj(Text):
        if (text.get_gid() or "").startswith(figure.ADDRESS):
            shown = text.get_text().replace(NOT_ESTIMATED, "xx")
            text.set_text(DIGIT.sub("x", shown).lstrip("<>+-\u2212"))
        elif re.fullmatch(r"[1-9]\d*%", text.get_text()):  # the end of a scale of shares
            text.set_text("xx%")
    width, height = drawn.get_size_inches() / figure.MM
    drawn.text(
        1 - 1 / width,
        1 / height,
        HEADER.upper(),
        ha="right",
        va="bottom",
        fontsize=6,
        color="#7a2e00",
        fontweight="bold",
    )


def _blank_panel(axes):
    """Take lines, markers and bands out of a panel; the line of no effect may stay."""
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    for line in list(axes.lines):
        where = line.get_transform()
        if where == axes.transAxes:
            continue  # the key of the counts below the axis
        across = (axes.get_xaxis_transform(), axes.get_yaxis_transform())
        along = [v for v, one in zip(line.get_data(), across, strict=True) if where == one]
        if not along or {float(v) for v in along[0]} not in ({0.0}, {1.0}):
            line.remove()
    for artist in [*axes.patches, *axes.collections, *axes.images]:
        artist.remove()
    for text in list(axes.texts):
        if text.get_transform() == axes.get_xaxis_transform() and not text.get_gid():
            text.remove()
    for axis in (axes.xaxis, axes.yaxis):
        named = isinstance(axis.get_major_locator(), FixedLocator | NullLocator)
        written = any(label.get_text() for label in axis.get_ticklabels())
        if written and (not named or axis.get_scale() == "log"):
            axis.set_major_formatter(FuncFormatter(lambda value, place: "xx"))
            axis.set_minor_formatter(NullFormatter())
    axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center",
              fontsize=7, color=figure.SOFT)  # fmt: skip


# --- Pages --------------------------------------------------------------------------------------


def to_page(made, context):
    """Return the shells as one HTML page that needs nothing beside it."""
    shown = []
    for piece in made.document.pieces:
        name = f"{piece.number} {piece.title}"
        if piece.id in made.drawings:
            body = pages.inline_svg(made.drawings[piece.id], piece.id, name)
        else:
            body = pages.safe(table.to_html(piece))
        shown.append({
            "id": piece.id,
            "number": piece.number,
            "title": piece.title,
            "picture": piece.id in made.drawings,
            "note": getattr(piece, "caption", ""),
            "heading": made.headings[piece.id],
            "body": body,
        })  # fmt: skip
    return pages.render(
        "shells.html.j2",
        trial=context.trial,
        header=HEADER,
        stratum=context.stratum,
        lines=made.document.lines,
        shown=shown,
        left_out=made.document.left_out,
        provenance=made.document.provenance,
    )
