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

# Names and labels of ADaM variables (ADaMIG 1.3); those of a trial's own columns come from it.
LABELS = {
    "STUDYID": "Study Identifier",
    "USUBJID": "Unique Subject Identifier",
    "SITE": "Site",
    "TRT01P": "Planned Treatment for Period 01",
    "TRT01PN": "Planned Treatment for Period 01 (N)",
    "AGE": "Age",
    "SEX": "Sex",
    "RANDDT": "Date of Randomization",
    "ITTFL": "Intent-To-Treat Population Flag",
    "SAFFL": "Safety Population Flag",
    "PPROTFL": "Per-Protocol Population Flag",
    "EOSSTT": "End of Study Status",
    "EOSDT": "End of Study Date",
    "DCSREAS": "Reason for Discontinuation from Study",
    "PARAMCD": "Parameter Code",
    "PARAM": "Parameter",
    "PARAMN": "Parameter (N)",
    "AVISIT": "Analysis Visit",
    "AVISITN": "Analysis Visit (N)",
    "ADT": "Analysis Date",
    "ADY": "Analysis Relative Day",
    "AVAL": "Analysis Value",
    "AVALU": "Analysis Value Unit",
    "BASE": "Baseline Value",
    "CHG": "Change from Baseline",
    "PCHG": "Percent Change from Baseline",
    "ABLFL": "Baseline Record Flag",
    "ANL01FL": "Analysis Flag 01",
    "DTYPE": "Derivation Type",
    "SOURCE": "Source of the Value",
    "RFSTDT": "Subject Reference Start Date",
    "ASEQ": "Analysis Sequence Number",
    "VISIT": "Visit Name",
    "AWTARGET": "Analysis Window Target",
    "AWTDIFF": "Analysis Window Diff from Target",
    "AWLO": "Analysis Window Beginning Timepoint",
    "AWHI": "Analysis Window Ending Timepoint",
    "AWRANGE": "Analysis Window Valid Relative Range",
    "AWU": "Analysis Window Unit",
    "ANLREAS": "Reason Record Is Not Analyzed",
}
DATASETS = {
    "ADSL": ("Subject-Level Analysis Dataset", "SUBJECT LEVEL ANALYSIS DATASET", ["USUBJID"]),
    "ADQCT": ("Analysis Dataset of Quantitative CT", "BASIC DATA STRUCTURE", None),
    "ADFUN": ("Analysis Dataset of Function", "BASIC DATA STRUCTURE", None),
}
BDS_KEYS = ["USUBJID", "PARAMCD", "AVISITN"]
DATES = re.compile(r"DT$")
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
    """A column: its label, whether it is text, integer, float or date, and its longest text."""

    name: str
    label: str
    kind: str
    length: int


def variables(frame, labels):
    """Describe the columns of a data set.

    Parameters
    ----------
    frame : DataFrame
    labels : dict
        Labels of the trial's own columns, beside `LABELS`.
    """
    found = []
    for name in frame:
        values = frame[name].dropna()
        if DATES.search(name) and not pd.api.types.is_numeric_dtype(frame[name]):
            kind, length = "date", 10
        elif pd.api.types.is_numeric_dtype(frame[name]):
            integer = len(values) > 0 and bool((values == values.round()).all()) and name != "AVAL"
            kind, length = ("integer" if integer else "float"), 8
        else:
            texts = values.astype(str)
            kind, length = "text", max([1, *(len(text.encode()) for text in texts.unique())])
        found.append(Variable(name, LABELS.get(name) or labels.get(name, name), kind, length))
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
        if variable.kind == "text":
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
        With all of `faults`, before anything is written.

    Notes
    -----
    Dates are SAS days with format DATE9. Letters such as a raised 2 are spelled (`SPELLED`), since
    these files are read as ASCII.
    """
    import pyreadstat

    wrong = faults(dataset, frame, found)
    if wrong:
        raise ValueError("SAS transport files (XPT) can't hold this:\n" + "\n".join(wrong))
    columns, formats = {}, {}
    for variable in found:
        values = frame[variable.name]
        if variable.kind == "date":
            columns[variable.name] = [_day(value) for value in values]
            formats[variable.name] = "DATE9."
        elif variable.kind == "text":
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
                "dataType": "string" if v.kind == "text" else v.kind,
                **({"length": v.length} if v.kind == "text" else {}),
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
        return "" if kind == "text" else None
    if kind == "text":
        return str(value)
    if kind == "date":
        return str(value)[:10] or None
    return int(value) if kind == "integer" else float(value)


def keys_of(dataset, names):
    """Return the variables that name a record of a data set, of which `names` are there."""
    return DATASETS[dataset][2] or [*BDS_KEYS, *(["ASEQ"] if "ASEQ" in names else [])]


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

    def told(text):
        node = define.Description()
        node.TranslatedText.append(define.TranslatedText(_content=text, lang="en"))
        return node

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
    for dataset, found in described.items():
        label, structure, _ = DATASETS[dataset]
        keys = keys_of(dataset, [variable.name for variable in found])
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
        group.Description = told(label)
        for order, variable in enumerate(found, start=1):
            reference = {
                "ItemOID": f"IT.{dataset}.{variable.name}",
                "OrderNumber": order,
                "Mandatory": "Yes" if variable.name in keys else "No",
            }
            if variable.name in keys:
                reference["KeySequence"] = keys.index(variable.name) + 1
            group.ItemRef.append(define.ItemRef(**reference))
        group.Class = define.Class(Name=structure)
        group.leaf = define.leaf(ID=f"LF.{dataset}", href=f"{dataset.lower()}.xpt")
        group.leaf.title = define.title(_content=f"{dataset.lower()}.xpt")
        version.ItemGroupDef.append(group)
        for variable in found:
            given = {"SignificantDigits": 6} if variable.kind == "float" else {}
            if variable.kind != "date":
                given["Length"] = variable.length
            item = define.ItemDef(
                OID=f"IT.{dataset}.{variable.name}",
                Name=variable.name,
                DataType=variable.kind,
                SASFieldName=variable.name,
                **given,
            )
            item.Description = told(variable.label)
            item.Origin.append(define.Origin(Type="Derived", Source="Sponsor"))
            version.ItemDef.append(item)
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


def _version():
    from importlib import metadata

    return metadata.version("lungitude")
