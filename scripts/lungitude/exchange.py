"""Analysis data sets in the formats of CDISC and SAS: XPT v5, Dataset-JSON 1.1, define.xml 2.1.

What a format can't hold is an error before anything is written: SAS transport files cut long texts
and labels without a word, and a reviewer would never know.
"""

import datetime
import json
import math
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungitude.job import whole
from lungitude.metadata import (
    DATASETS,
    LABELS,
    METHODS,
    TERMINOLOGY,
    CodeList,
    codes_of,
    origin_of,
)

DATES = re.compile(r"DT$")
PARTIAL = re.compile(r"DTC$")  # ISO 8601, of which the day or the month may be unknown
TEXTS = ("text", "partialDate")
EPOCH = datetime.date(1960, 1, 1)  # day 0 of SAS
# How letters beyond ASCII are spelled in a SAS transport file; all others are an error.
SPELLED = str.maketrans(
    {
        "\u00b2": "2",
        "\u00b3": "3",
        "\u00b5": "u",
        "\u03bc": "u",
        "\u00b0": "deg",
        "\u00b1": "+/-",
        "\u00b7": ".",
        "\u00d7": "x",
        "\u2013": "-",
        "\u2212": "-",
        "\u2019": "'",
        "\u2264": "<=",
        "\u2265": ">=",
    }
)
# Limits of SAS transport version 5, in bytes.
NAME, LABEL, TEXT = 8, 40, 200
_STAMP = re.compile(rb"\d{2}[A-Z]{3}\d{2}:\d{2}:\d{2}:\d{2}")


@dataclass(frozen=True)
class Variable:
    """A column: its label, its type in define.xml, its longest text, and its list of codes."""

    name: str
    label: str
    kind: str
    length: int
    codes: CodeList | None = None


def variables(frame, labels, dataset="", own=None):
    """Describe the columns of a data set.

    Parameters
    ----------
    frame : DataFrame
    labels : dict
        Labels of the trial's own columns, beside `LABELS`.
    dataset : str
    own : dict of str to CodeList, optional
        Of the trial's own columns, from `metadata.own_codes`.
    """
    found = []
    for name in frame:
        values = frame[name].dropna()
        if DATES.search(name) and not pd.api.types.is_numeric_dtype(frame[name]):
            kind, length = "date", 10
        elif pd.api.types.is_numeric_dtype(frame[name]):
            integer = pd.api.types.is_integer_dtype(frame[name]) or (
                len(values) > 0 and bool((values == values.round()).all()) and name != "AVAL"
            )
            kind, length = ("integer" if integer else "float"), 8
        else:
            texts = values.astype(str)
            kind = "partialDate" if PARTIAL.search(name) else "text"
            length = max([1, *(len(text.encode()) for text in texts.unique())])
        label = LABELS.get(name) or labels.get(name, name)
        found.append(Variable(name, label, kind, length, codes_of(dataset, name, frame, own or {})))
    return found


def faults(dataset, frame, found):
    """Return what SAS transport version 5 can't hold, one line a fault.

    Parameters
    ----------
    dataset : str
    frame : DataFrame
    found : list of Variable
    """
    lines = []
    for variable in found:
        where = f"{dataset}.{variable.name}"
        if not re.fullmatch(rf"[A-Za-z_][A-Za-z0-9_]{{0,{NAME - 1}}}", variable.name):
            lines.append(
                f"{where}: a name has at most {NAME} letters, digits and _, and no digit first; "
                "rename the column"
            )
        label = variable.label.translate(SPELLED)
        if len(label.encode()) > LABEL:
            lines.append(
                f"{where}: the label '{label}' has {len(label.encode())} bytes, more than {LABEL}; "
                "shorten it"
            )
        if not label.isascii():
            lines.append(f"{where}: the label '{variable.label}' is not ASCII; spell it in ASCII")
        if variable.kind in TEXTS:
            lines += _text_faults(where, frame, variable.name)
        elif variable.kind != "date" and np.isinf(frame[variable.name].to_numpy(float)).any():
            lines.append(f"{where}: an infinite value; SAS knows numbers and missing only")
    return lines


def _text_faults(where, frame, name):
    for value in frame[name].dropna().astype(str).str.translate(SPELLED).unique():
        size = len(value.encode())
        if size > TEXT:
            yield (
                f"{where}: a value of {size} bytes, more than {TEXT} ('{value[:30]}...'); "
                "shorten it"
            )
        if not value.isascii():
            yield f"{where}: '{value[:60]}' is not ASCII; spell it in ASCII"


def check(described):
    """Refuse data sets that a SAS transport file can't hold.

    Parameters
    ----------
    described : dict of str to (DataFrame, list of Variable)
        By data set.

    Raises
    ------
    ValueError
        With all of `faults`, of all data sets.
    """
    wrong = [
        line for name, (frame, found) in described.items() for line in faults(name, frame, found)
    ]
    if wrong:
        raise ValueError("SAS transport files (XPT) can't hold this:\n" + "\n".join(wrong))


def write_xpt(frame, path, dataset, label, found):
    """Write a data set as SAS transport file, version 5.

    Parameters
    ----------
    frame : DataFrame
    path : path
    dataset, label : str
    found : list of Variable
        Of `variables`.

    Raises
    ------
    ValueError
        As of `check`, before anything is written.

    Notes
    -----
    Dates are SAS days with format DATE9. Letters such as a raised 2 are spelled (`SPELLED`), since
    these files are read as ASCII.
    """
    import pyreadstat

    check({dataset: (frame, found)})
    columns, formats = {}, {}
    for variable in found:
        values = frame[variable.name]
        if variable.kind == "date":
            columns[variable.name] = [_day(value) for value in values]
            formats[variable.name] = "DATE9."
        elif variable.kind in TEXTS:
            texts = values.astype(object).where(values.notna(), "").astype(str)
            columns[variable.name] = texts.str.translate(SPELLED)
        else:
            columns[variable.name] = values.astype(float)
    with whole(path) as part, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.xpt"
        pyreadstat.write_xport(
            pd.DataFrame(columns),
            str(file),
            file_label=label,
            column_labels={v.name: v.label.translate(SPELLED) for v in found},
            table_name=dataset,
            file_format_version=5,
            variable_format=formats,
        )
        # The clock of the writing stands in the headers; without it two runs give the same bytes.
        data = file.read_bytes()
        head = data[:800]
        part.write_bytes(_STAMP.sub(b"01JAN60:00:00:00", head) + data[800:])


def _day(value):
    """Return a date as SAS counts days, missing where there is none."""
    if value is None or value != value or value == "":
        return math.nan
    return float((datetime.date.fromisoformat(str(value)[:10]) - EPOCH).days)


def write_dataset_json(frame, path, dataset, label, found, study, cut=None):
    """Write a data set as CDISC Dataset-JSON 1.1.

    Parameters
    ----------
    frame : DataFrame
    path : path
    dataset, label : str
    found : list of Variable
    study : str
    cut : str, optional
        Day of the data cut (ISO), which stands for the day of writing: no clock in an output.
    """
    keys = keys_of(dataset, frame)
    content = {
        "datasetJSONCreationDateTime": f"{cut or EPOCH}T00:00:00",
        "datasetJSONVersion": "1.1.0",
        "fileOID": f"{study}.{dataset}",
        "originator": "Lungitude",
        "sourceSystem": {"name": "Lungitude", "version": _version()},
        "studyOID": study,
        "metaDataVersionOID": "MDV.1",
        "metaDataRef": "define.xml",
        "itemGroupOID": f"IG.{dataset}",
        "records": len(frame),
        "name": dataset,
        "label": label,
        "columns": [
            {
                "itemOID": f"IT.{dataset}.{v.name}",
                "name": v.name,
                "label": v.label,
                "dataType": "string" if v.kind in TEXTS else v.kind,
                **({"length": v.length} if v.kind in TEXTS else {}),
                **({"keySequence": keys.index(v.name) + 1} if v.name in keys else {}),
            }
            for v in found
        ],
        "rows": [
            [_value(value, v.kind) for value, v in zip(row, found, strict=True)]
            for row in frame.itertuples(index=False, name=None)
        ],
    }
    with whole(path) as part:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")


def _value(value, kind):
    if value is None or value is pd.NA or value != value:
        return "" if kind in TEXTS else None
    if kind in TEXTS:
        return str(value)
    if kind == "date":
        return str(value)[:10] or None
    return int(value) if kind == "integer" else float(value)


def keys_of(dataset, names):
    """Return the variables that name a record of a data set, of which `names` are there."""
    return [*DATASETS[dataset].keys, *(["ASEQ"] if "ASEQ" in names else [])]


def write_define(described, path, study, title, cut=None):
    """Write the metadata of all data sets as define.xml 2.1.

    Parameters
    ----------
    described : dict of str to list of Variable
        By data set.
    path : path
    study, title : str
    cut : str, optional
        As of `write_dataset_json`.
    """
    import odmlib.define_2_1.model as define

    version = define.MetaDataVersion(
        OID="MDV.1",
        Name=f"{study}, analysis data",
        Description=f"Analysis data sets of {title}",
        DefineVersion="2.1.0",
    )
    version.Standards = define.Standards()
    version.Standards.Standard.append(
        define.Standard(OID="STD.1", Name="ADaMIG", Type="IG", Version="1.3", Status="Final")
    )
    found = [variable.codes for one in described.values() for variable in one]
    if any(codes is not None and codes.code for codes in found):
        version.Standards.Standard.append(
            define.Standard(
                OID="STD.2", Name="CDISC/NCI", Type="CT", PublishingSet="SDTM",
                Version=TERMINOLOGY, Status="Final",
            )
        )  # fmt: skip
    lists = {}
    joined = {variable.name for variable in described.get("ADSL", ())}
    for dataset, variables_of in described.items():
        version.ItemGroupDef.append(_group(define, dataset, variables_of))
        for variable in variables_of:
            item = _item(define, dataset, variable, joined)
            if variable.codes is not None:
                oid = _list_oid(lists, variable)
                item.CodeListRef = define.CodeListRef(CodeListOID=oid)
            version.ItemDef.append(item)
            if (dataset, variable.name) in METHODS:
                version.MethodDef.append(_method(define, dataset, variable.name))
    for oid, (codes, kind) in lists.items():
        version.CodeList.append(_code_list(define, oid, codes, kind))
    names = define.GlobalVariables()
    names.StudyName = define.StudyName(_content=study)
    names.StudyDescription = define.StudyDescription(_content=title)
    names.ProtocolName = define.ProtocolName(_content=study)
    whole_study = define.Study(OID=study)
    whole_study.GlobalVariables = names
    whole_study.MetaDataVersion = version
    root = define.ODM(
        FileOID=f"{study}.define",
        FileType="Snapshot",
        CreationDateTime=f"{cut or EPOCH}T00:00:00",
        AsOfDateTime=f"{cut or EPOCH}T00:00:00",
        ODMVersion="1.3.2",
        Originator="Lungitude",
        SourceSystem="Lungitude",
        SourceSystemVersion=_version(),
        Context="Other",
    )
    root.Study = whole_study
    with whole(path) as part:
        root.write_xml(str(part))


def _told(define, text, kind="Description"):
    """Return an English text as an element."""
    node = getattr(define, kind)()
    node.TranslatedText.append(define.TranslatedText(_content=text, lang="en"))
    return node


def _group(define, dataset, found):
    """Return the description of a data set."""
    about, keys = DATASETS[dataset], keys_of(dataset, [variable.name for variable in found])
    group = define.ItemGroupDef(
        OID=f"IG.{dataset}",
        Name=dataset,
        Domain=dataset,
        SASDatasetName=dataset,
        Repeating="No" if dataset == "ADSL" else "Yes",
        IsReferenceData="No",
        Purpose="Analysis",
        Structure=f"One record per {', '.join(keys)}",
        ArchiveLocationID=f"LF.{dataset}",
        StandardOID="STD.1",
    )
    group.Description = _told(define, about.label)
    for order, variable in enumerate(found, start=1):
        reference = {
            "ItemOID": f"IT.{dataset}.{variable.name}",
            "OrderNumber": order,
            "Mandatory": "Yes" if variable.name in keys else "No",
        }
        if variable.name in keys:
            reference["KeySequence"] = keys.index(variable.name) + 1
        if (dataset, variable.name) in METHODS:
            reference["MethodOID"] = f"MT.{dataset}.{variable.name}"
        group.ItemRef.append(define.ItemRef(**reference))
    group.Class = define.Class(Name=about.structure)
    if about.subclass:
        group.Class.SubClass.append(define.SubClass(Name=about.subclass))
    group.leaf = define.leaf(ID=f"LF.{dataset}", href=f"{dataset.lower()}.xpt")
    group.leaf.title = define.title(_content=f"{dataset.lower()}.xpt")
    return group


def _item(define, dataset, variable, joined):
    """Return the description of a variable."""
    given = {"SignificantDigits": 6} if variable.kind == "float" else {}
    if variable.kind not in ("date", "partialDate"):
        given["Length"] = variable.length
    item = define.ItemDef(
        OID=f"IT.{dataset}.{variable.name}",
        Name=variable.name,
        DataType=variable.kind,
        SASFieldName=variable.name,
        **given,
    )
    item.Description = _told(define, variable.label)
    kind, text = origin_of(dataset, variable.name, joined)
    origin = define.Origin(Type=kind, **({} if text else {"Source": "Sponsor"}))
    if text:
        origin.Description = _told(define, text)
    item.Origin.append(origin)
    return item


def _method(define, dataset, name):
    """Return how a variable is derived."""
    method = define.MethodDef(
        OID=f"MT.{dataset}.{name}", Name=f"Derivation of {dataset}.{name}", Type="Computation"
    )
    method.Description = _told(define, METHODS[dataset, name])
    return method


def _list_oid(lists, variable):
    """Return the name of a list of codes in define.xml; it is put among `lists` if it is new."""
    own = (variable.codes, variable.kind)
    for oid, known in lists.items():
        if known == own:
            return oid
    oid = f"CL.{variable.codes.code or variable.name}"
    if oid in lists:
        oid = f"{oid}.{len(lists)}"
    lists[oid] = own
    return oid


def _code_list(define, oid, codes, kind):
    """Return a list of codes."""
    owner = {"StandardOID": "STD.2"} if codes.code else {"IsNonStandard": "Yes"}
    made = define.CodeList(OID=oid, Name=codes.name, DataType=kind, **owner)
    for value, meaning in codes.items:
        if meaning:
            item = define.CodeListItem(CodedValue=value)
            item.Decode = _told(define, meaning, "Decode")
            made.CodeListItem.append(item)
        else:
            made.EnumeratedItem.append(define.EnumeratedItem(CodedValue=value))
    if codes.code:
        made.Alias.append(define.Alias(Context="nci:ExtCodeID", Name=codes.code))
    return made


def _version():
    from importlib import metadata

    return metadata.version("lungitude")
