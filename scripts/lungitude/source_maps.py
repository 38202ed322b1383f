"""Maps from files that the statistician has to the sheets of a trial, as config.yaml declares them.

An entry of `sheets:` names a file in our columns, or is a map of a file, or a list of maps. Here is
what a map says, and what it can't say; `sources` reads the files.
"""

import dataclasses
import datetime
from pathlib import Path

from lungitude import readers
from lungitude.checks import nearest, schema, shown

# Days from which numbers count, by the word of `dates`; a day of sas-datetime has many numbers.
EPOCHS = {
    "sas-date": (datetime.datetime(1960, 1, 1), "days"),
    "sas-datetime": (datetime.datetime(1960, 1, 1), "seconds"),
    "excel": (datetime.datetime(1899, 12, 30), "days"),
}
ISO = "iso"
# Columns of CDISC that tell the arm: no other sheet than randomisation may take them.
ARMS = set(
    "ARM ARMCD ACTARM ACTARMCD ARMNRS TRT01P TRT01PN TRT01A TRT01AN TRTP TRTPN TRTA TRTAN".split()
)
# Keys of a map that are named otherwise here: `values` of an object reads as that of pandas.
_FIELDS = {"values": "recoded"}


@dataclasses.dataclass(frozen=True)
class Source:
    """One map of config.yaml with its defaults; each key is described in schemas/config.yaml.

    `recoded` is the key ``values``.
    """

    file: str
    format: str | None = None
    separator: str | None = None
    encoding: str | None = None
    decimal: str = "."
    columns: dict = dataclasses.field(default_factory=dict)
    constants: dict = dataclasses.field(default_factory=dict)
    where: dict = dataclasses.field(default_factory=dict)
    missing: object = ()
    recoded: dict = dataclasses.field(default_factory=dict)
    dates: dict = dataclasses.field(default_factory=dict)
    wide: dict = dataclasses.field(default_factory=dict)
    units: object = None
    distinct: bool = False
    join: list = dataclasses.field(default_factory=list)

    @property
    def form(self):
        """The format of the file, declared or by its suffix; None if neither says."""
        return readers.format_of(self.file, self.format)

    @property
    def taken(self):
        """The columns of the file that are read."""
        return list(dict.fromkeys([*self.columns.values(), *self.wide, *self.where]))

    def given(self, value):
        """Return the columns of the sheet that every row gets; `value` is the one of wide."""
        fixed = [set(one) for one in self.wide.values()]
        wide = {value, *set.intersection(*fixed)} if fixed else set()
        return {*self.columns, *self.constants, *wide}


def of(entry):
    """Return the maps of an entry of `sheets:`; none where it is the path of a sheet."""
    if isinstance(entry, str):
        return []
    maps = entry if isinstance(entry, list) else [entry]
    return [Source(**{_FIELDS.get(key, key): told for key, told in one.items()}) for one in maps]


def known_columns(name, extra=()):
    """Return the schema of the columns of a sheet, with those that config.yaml declares."""
    return {**schema(f"sheets/{name}")["properties"], **dict(extra)}


def declared_units(name, parameters, extra=()):
    """Return the units that `units:` of a sheet converts to, by PARAMCD or by column.

    Parameters
    ----------
    name : str
        Name of the sheet.
    parameters : DataFrame or None
        parameters.tsv, for sheets with PARAMCD.
    extra : mapping
        Columns of subjects that config.yaml declares.
    """
    if name == "subjects":
        return {column: spec["unit"] for column, spec in dict(extra).items() if spec.get("unit")}
    if parameters is None or "PARAMCD" not in known_columns(name):
        return {}
    return parameters.dropna(subset=["PARAMCD"]).set_index("PARAMCD")["AVALU"].dropna().to_dict()


def problems(name, config, document, extra=()):
    """Yield the problems of the maps of one sheet.

    Parameters
    ----------
    name : str
        Name of the sheet.
    config : dict
        Fits its schema.
    document : Document
        config.yaml, for the place of each problem.
    extra : mapping
        Columns of subjects that config.yaml declares.
    """
    entry = config["sheets"][name]
    maps = of(entry)
    known = known_columns(name, extra)
    value = schema(f"sheets/{name}").get("value")
    arms = arm_columns(config)
    given = set()
    for index, source in enumerate(maps):
        keys = ["sheets", name, *([index] if isinstance(entry, list) else [])]
        told = [*_file_faults(source), *_column_faults(source, known, value)]
        told += _unit_faults(source, name, known)
        if name != "randomisation":
            told += _arm_faults(source, arms)
        told += _join_faults(source, index, given)
        for key, text in told:
            yield document.problem([*keys, key], text)
        given |= source.given(value)
    joined = {column for source in maps if source.join for column in source.given(value)}
    for index, source in enumerate(maps):
        keys = ["sheets", name, *([index] if isinstance(entry, list) else [])]
        lacking = set(schema(f"sheets/{name}")["required"]) - source.given(value) - joined
        for column in sorted(lacking if not source.join else ()):
            text = f"the map gives no {column}; add it to 'columns' or 'constants'"
            yield document.problem(keys, text)
    lacking = [column for column in dict(extra) if column not in given]
    if lacking:
        listed, them = ", ".join(lacking[:15]) + ", ..." * (len(lacking) > 15), "it"
        them = them if len(lacking) == 1 else "them"
        text = f"no map gives {listed}, which config.yaml declares; add {them} to 'columns'"
        yield document.problem(["sheets", name], text)


def arm_columns(config):
    """Return (file, column) of what tells the arm, as config.yaml says it."""
    entry = config["sheets"].get("randomisation")
    if isinstance(entry, str):
        return {(Path(entry), "ARM")}
    return {(Path(one.file), one.columns.get("ARM")) for one in of(entry or [])}


def _file_faults(source):
    if source.form is None:
        suffix = Path(source.file).suffix.lower()
        remedy = f"say 'format' ({', '.join(dict.fromkeys(readers.FORMATS.values()))})"
        if suffix in readers.WORKBOOKS:
            remedy = "workbooks are not read, export the sheet as CSV"
        yield "file", f"the suffix of {shown(source.file)} tells no format; {remedy}"
    text = source.form in readers.SEPARATORS
    for key, wanted, fits in (
        ("separator", source.separator, text),
        ("decimal", source.decimal != ".", text),
        ("encoding", source.encoding, text or source.form == "xpt"),
    ):
        if wanted and not fits and source.form:
            yield key, f"a file of format {source.form} says that itself; delete '{key}'"
    if source.encoding and not readers.known_encoding(source.encoding):
        known = ("utf-8", "utf-16", "latin-1", "windows-1252", "windows-1250", "shift_jis", "gbk")
        yield "encoding", f"{shown(source.encoding)} is unknown; {nearest(source.encoding, known)}"


def _column_faults(source, known, value):
    fixed = {column for one in source.wide.values() for column in one}
    for key, names in (("columns", source.columns), ("constants", source.constants),
                       ("wide", fixed)):  # fmt: skip
        for column in sorted(set(names) - set(known)):
            yield key, f"the sheet has no column {shown(column)}; {nearest(column, known)}"
    for column in sorted(set(source.columns) & set(source.constants)):
        yield "constants", f"{column} stands under 'columns', too; delete one"
    if source.wide and value is None:
        yield "wide", "no column of this sheet can be spread over columns of a file; delete it"
    elif source.wide and value in {*source.columns, *source.constants, *fixed}:
        yield "wide", f"'wide' gives {value}; take it out of the other keys"
    mapped = {*source.columns, *([value] if source.wide else [])}
    missing = source.missing if isinstance(source.missing, dict) else {}
    for key, names in (("values", source.recoded), ("dates", source.dates), ("missing", missing)):
        for column in sorted(set(names) - mapped):
            yield key, f"{column} is not under 'columns'; {nearest(column, mapped)}"
    for column in sorted(set(source.recoded) & set(source.dates)):
        yield "dates", f"{column} stands under 'values', too; delete one"
    for column, form in source.dates.items():
        if column in known and known[column].get("format") not in ("date", "partial-date"):
            yield "dates", f"{column} is no date; delete it"
        if form not in (*EPOCHS, ISO) and not ("%Y" in form and "%y" not in form):
            words = ", ".join([*EPOCHS, ISO])
            yield (
                "dates",
                f"{shown(form)} of {column} is no form of a date; write {words}, or one with %Y, "
                "%m, %d or %b such as '%d.%m.%Y'; a year of two digits is not read",
            )


def _unit_faults(source, name, known):
    if source.units is None:
        return
    if name != "subjects" and not {"PARAMCD", "AVAL"} <= set(known):
        yield "units", "this sheet has no parameters; delete it"
    elif source.units == "AVALU" and "AVALU" not in {
        *source.columns,
        *source.constants,
        *(column for one in source.wide.values() for column in one),
    }:
        yield "units", "no AVALU is given; add it to 'columns', 'constants' or 'wide'"


def _arm_faults(source, arms):
    for column in source.taken:
        if column in ARMS or (Path(source.file), column) in arms:
            yield (
                "columns",
                f"column {column} of {source.file} tells the arm, which only the sheet "
                "'randomisation' may take; take it out",
            )


def _join_faults(source, index, given):
    if not source.join:
        return
    if not index:
        yield "join", "there is nothing before the first map; delete 'join', or put it later"
    for column in source.join:
        if column not in source.columns:
            yield "join", f"{column} is not under 'columns'; {nearest(column, source.columns)}"
    for column in sorted((set(source.columns) | set(source.constants)) & given - set(source.join)):
        yield "join", f"{column} is there already from a map before; take it out of one"
