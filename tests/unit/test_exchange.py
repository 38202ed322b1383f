"""Data sets for SAS and CDISC: read back by others' readers, and refused where they can't hold."""

import datetime
import functools
import json
import math
import runpy
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import odmlib
import pandas as pd
import pyreadstat
import pytest
import xmlschema
from odmlib.dataset_json_1_1.model import DatasetJSON
from odmlib.define_loader import XMLDefineLoader
from odmlib.loader import ODMLoader
from unit import test_safety as case

from helpers import ROOT
from lungitude import exchange, metadata, safety, tables

LABELS = {"GOLDGR": "GOLD grade"}


def bds():
    return pd.DataFrame(
        {
            "USUBJID": ["P-1", "P-1", "P-2"],
            "GOLDGR": ["II", "II", None],
            "PARAMCD": ["BV5"] * 3,
            "PARAM": ["Blood volume in vessels below 5 mm\u00b2"] * 3,
            "AVISITN": [0, 6, 0],
            "ADT": ["2021-04-05", None, "2021-05-01"],
            "AVAL": [25.9, -0.1, np.nan],
            "TRT01PN": [1, 1, 2],
        }
    )


def write(frame, path, dataset="ADQCT"):
    found = exchange.variables(frame, LABELS)
    exchange.write_xpt(frame, path, dataset, "A label", found)
    return found


def test_xpt_is_read_back_as_it_was(tmp_path):
    frame = bds()
    write(frame, tmp_path / "adqct.xpt")
    back, about = pyreadstat.read_xport(tmp_path / "adqct.xpt")
    assert about.table_name == "ADQCT"
    assert dict(zip(about.column_names, about.column_labels, strict=True))["GOLDGR"] == "GOLD grade"
    assert back["USUBJID"].tolist() == ["P-1", "P-1", "P-2"]
    assert back["GOLDGR"].tolist() == ["II", "II", ""]
    assert back["AVAL"].tolist()[:2] == [25.9, -0.1]
    assert np.isnan(back["AVAL"][2])
    assert back["ADT"].tolist()[0] == datetime.date(2021, 4, 5)
    assert pd.isna(back["ADT"][1])
    assert back["PARAM"][0].endswith("5 mm2")


RSCRIPT = shutil.which("Rscript")
READ_BY_R = """
path <- commandArgs(trailingOnly = TRUE)
if (!requireNamespace("PACKAGE", quietly = TRUE)) quit(status = 77)
data <- READ
cat(names(data), sep = " "); cat("\\n")
cat(format(data$AVAL, digits = 15), sep = " "); cat("\\n")
cat(as.character(data$PARAM[1]), "\\n")
cat(as.numeric(data$ADT), "\\n")
cat(as.character(data$GOLDGR), sep = "|"); cat("\\n")
"""


@pytest.mark.parametrize(
    ("package", "read", "first_day"),
    [
        ("haven", "haven::read_xpt(path)", datetime.date(1970, 1, 1)),  # as Date of R
        ("foreign", "foreign::read.xport(path)", datetime.date(1960, 1, 1)),  # as SAS has it
    ],
)
@pytest.mark.skipif(not RSCRIPT, reason="R is not installed")
def test_xpt_is_read_by_r(package, read, first_day, tmp_path):
    write(bds(), tmp_path / "adqct.xpt")
    script = tmp_path / "read.R"
    script.write_text(READ_BY_R.replace("PACKAGE", package).replace("READ", read))
    done = subprocess.run(
        [RSCRIPT, "--vanilla", script, tmp_path / "adqct.xpt"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(f"the R package {package} is not installed")
    assert done.returncode == 0, done.stderr
    names, values, label, days, grades = done.stdout.splitlines()
    assert names.split() == list(bds())
    assert values.split()[:2] == ["25.9", "-0.1"]
    assert values.split()[2] in ("NA", "NaN")
    assert label.strip().endswith("5 mm2")
    assert days.split()[0] == str((datetime.date(2021, 4, 5) - first_day).days)
    assert days.split()[1] == "NA"
    assert grades == "II|II|"


def test_the_same_data_set_has_the_same_bytes(tmp_path):
    for name in ("a.xpt", "b.xpt"):
        write(bds(), tmp_path / name)
    assert (tmp_path / "a.xpt").read_bytes() == (tmp_path / "b.xpt").read_bytes()
    assert b"01JAN60:00:00:00" in (tmp_path / "a.xpt").read_bytes()[:800]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"SMOKING_STATUS": "Y"}, "ADQCT.SMOKING_STATUS: a name has at most 8 letters"),
        ({"1ST": "Y"}, "ADQCT.1ST: a name has at most 8 letters"),
        ({"NOTE": "x" * 201}, "ADQCT.NOTE: a value of 201 bytes, more than 200"),
        ({"NOTE": "\u00e9t\u00e9"}, "is not ASCII; spell it in ASCII"),
        ({"CHG": np.inf}, "ADQCT.CHG: an infinite value"),
    ],
)
def test_what_a_transport_file_would_cut_is_an_error(change, said, tmp_path):
    frame = bds().assign(**change)
    with pytest.raises(ValueError, match="SAS transport files") as error:
        write(frame, tmp_path / "a.xpt")
    assert said in str(error.value)
    assert not (tmp_path / "a.xpt").exists()


def test_a_label_of_more_than_40_bytes_is_an_error(tmp_path):
    found = exchange.variables(bds(), {"GOLDGR": "g" * 41})
    with pytest.raises(ValueError, match="has 41 bytes, more than 40"):
        exchange.write_xpt(bds(), tmp_path / "a.xpt", "ADQCT", "A label", found)


def test_dataset_json_holds_the_records_and_their_types(tmp_path):
    frame = bds()
    found = exchange.variables(frame, LABELS)
    path = tmp_path / "adqct.json"
    exchange.write_dataset_json(frame, path, "ADQCT", "A label", found, "TOY", "2026-01-31")
    content = json.loads(path.read_text())
    assert content["records"] == len(content["rows"]) == 3
    types = {column["name"]: column["dataType"] for column in content["columns"]}
    assert types == {
        **dict.fromkeys(("USUBJID", "GOLDGR", "PARAMCD", "PARAM"), "string"),
        **{"AVISITN": "integer", "TRT01PN": "integer", "ADT": "date", "AVAL": "float"},
    }
    row = dict(zip(types, content["rows"][1], strict=True))
    assert row["ADT"] is None
    assert row["AVAL"] == -0.1
    assert content["rows"][2][list(types).index("AVAL")] is None
    keys = {c["name"]: c["keySequence"] for c in content["columns"] if "keySequence" in c}
    assert keys == {"USUBJID": 1, "PARAMCD": 2, "AVISITN": 3}
    assert content["datasetJSONCreationDateTime"] == "2026-01-31T00:00:00"
    kept = {k: v for k, v in content.items() if k not in ("columns", "rows", "sourceSystem")}
    DatasetJSON(**kept)  # odmlib knows every name and type of the standard


def test_define_describes_each_variable_once(tmp_path):
    frame = bds()
    described = {
        "ADSL": exchange.variables(frame[["USUBJID", "GOLDGR"]], LABELS),
        "ADQCT": exchange.variables(frame, LABELS),
    }
    exchange.write_define(described, tmp_path / "define.xml", "TOY", "A toy trial", "2026-01-31")
    loader = ODMLoader(XMLDefineLoader(model_package="define_2_1"))
    loader.open_odm_document(str(tmp_path / "define.xml"))
    version = loader.MetaDataVersion()
    groups = {group.Name: group for group in version.ItemGroupDef}
    assert list(groups) == ["ADSL", "ADQCT"]
    assert [ref.ItemOID for ref in groups["ADQCT"].ItemRef] == [
        f"IT.ADQCT.{name}" for name in frame
    ]
    items = {item.OID: item for item in version.ItemDef}
    assert len(items) == 2 + len(frame.columns)
    assert items["IT.ADQCT.ADT"].DataType == "date"
    assert items["IT.ADQCT.GOLDGR"].Description.TranslatedText[0]._content == "GOLD grade"
    referred = {ref.ItemOID for group in groups.values() for ref in group.ItemRef}
    assert referred == set(items)


# --- Sessions and adverse events ------------------------------------------------------------------

SAFETY = ("adex", "adae")
SUFFIXES = ("csv", "xpt", "json")


def cohort(events=case.EVENTS):
    """Return the data sets of a trial with sessions and adverse events by name."""
    adsl, cut = case.adsl(), case.CUT
    parameters = pd.DataFrame([("FEV1", "FEV1", "L", "ADFUN")], columns=[
        "PARAMCD", "PARAM", "AVALU", "DATASET"])  # fmt: skip
    given = (case.MEASUREMENTS, adsl, parameters, case.VISITS, case.STRATA)
    made = {name: case.adam.bds(*given, dataset=name.upper()) for name in ("adqct", "adfun")}
    sheet = pd.DataFrame(events, columns=None if events else ["USUBJID", "AETERM"])
    return {
        "adsl": adsl,
        **made,
        "adex": safety.adex(case.SESSIONS, adsl, case.STRATA, cut),
        "adae": safety.adae(sheet, adsl, case.STRATA, cut),
    }


def export(frames, folder):
    """Run the script of the workflow on data sets; return its files by name."""
    folder.mkdir(exist_ok=True)
    for name, frame in frames.items():
        tables.write_parquet(frame, folder / f"{name}.parquet")
    outputs = {f"{name}_{end}": folder / f"{name}.{end}" for name in frames for end in SUFFIXES}
    outputs["define"] = folder / "define.xml"
    job = SimpleNamespace(
        input=SimpleNamespace(**{name: folder / f"{name}.parquet" for name in frames}),
        output=SimpleNamespace(**outputs),
        params=SimpleNamespace(
            arms=case.ARMS, columns=case.STRATA, study="T", title="A trial", cut=case.CUT
        ),
    )
    runpy.run_path(str(ROOT / "scripts" / "export_data.py"))["main"](job)
    return outputs


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    frames = cohort()
    return frames, export(frames, tmp_path_factory.mktemp("export"))


def plain(values):
    """Values as Python has them: missing ones and empty texts are None."""
    values = [None if value is None or value is pd.NA or value != value else value
              for value in values]  # fmt: skip
    return [None if value == "" else value for value in values]


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(plain(found), plain(expected), strict=True):
        if isinstance(other, int | float | np.number) and one is not None:
            assert math.isclose(float(one), float(other), rel_tol=1e-9)
        else:
            assert str(one) == str(other)


@pytest.mark.parametrize("name", SAFETY)
def test_sessions_and_events_are_read_back_from_each_format(name, exported):
    frames, files = exported
    typed = tables.read_parquet(files[f"{name}_csv"].with_suffix(".parquet"))
    assert len(typed) == len(frames[name]) > 4
    xpt, about = pyreadstat.read_xport(files[f"{name}_xpt"])
    assert about.table_name == name.upper()
    csv = pd.read_csv(files[f"{name}_csv"], keep_default_na=False, na_values=[""], dtype=object)
    content = json.loads(files[f"{name}_json"].read_text())
    records = pd.DataFrame(content["rows"], columns=[c["name"] for c in content["columns"]])
    for found in (xpt, csv, records):
        assert list(found) == list(typed)
        for column in typed:
            same(found[column], typed[column])


@pytest.mark.parametrize("name", SAFETY)
@pytest.mark.skipif(not RSCRIPT, reason="R is not installed")
def test_sessions_and_events_are_read_by_r(name, exported, tmp_path):
    _, files = exported
    script = tmp_path / "read.R"
    # foreign comes with R: SAS days are numbers, and a missing number is NA.
    script.write_text(
        'if (!requireNamespace("foreign", quietly = TRUE)) quit(status = 77)\n'
        "given <- commandArgs(trailingOnly = TRUE)\n"
        "write.csv(foreign::read.xport(given[1]), given[2], row.names = FALSE, na = '')\n"
    )
    command = [RSCRIPT, "--vanilla", script, files[f"{name}_xpt"], tmp_path / "read.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("the R package foreign is not installed")
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "read.csv", keep_default_na=False, dtype=object)
    typed = tables.read_parquet(files[f"{name}_csv"].with_suffix(".parquet"))
    assert list(found) == list(typed)
    for column in typed:
        expected = typed[column]
        if column == "ASTDT":
            days = pd.to_datetime(expected) - pd.Timestamp(exchange.EPOCH)
            expected = days.dt.days.astype("Int64")
        same(found[column], expected)


def read_define(path):
    loader = ODMLoader(XMLDefineLoader(model_package="define_2_1"))
    loader.open_odm_document(str(path))
    return loader.MetaDataVersion()


@functools.cache
def define_schema():
    """CDISC's own, as odmlib carries it; it takes seconds to read."""
    folder = Path(odmlib.__file__).parent / "schemas" / "define" / "2.1"
    return xmlschema.XMLSchema(str(folder / "define2-1-0.xsd"))


def faults_of_define(path):
    return [error.reason for error in define_schema().iter_errors(str(path))]


def test_define_tells_class_keys_codes_and_origins_of_sessions_and_events(exported, tmp_path):
    frames, files = exported
    assert faults_of_define(files["define"]) == []
    broken = tmp_path / "define.xml"
    broken.write_text(files["define"].read_text().replace("partialDate", "partlyDate"))
    assert faults_of_define(broken)
    version = read_define(files["define"])
    groups = {group.Name: group for group in version.ItemGroupDef}
    assert list(groups) == ["ADSL", "ADQCT", "ADFUN", "ADEX", "ADAE"]
    classes = {name: group.Class.Name for name, group in groups.items()}
    assert classes["ADEX"] == "BASIC DATA STRUCTURE"
    assert classes["ADAE"] == "OCCURRENCE DATA STRUCTURE"
    assert [one.Name for one in groups["ADAE"].Class.SubClass] == ["ADVERSE EVENT"]
    for name, keys in (("ADEX", ["USUBJID", "PARAMCD"]), ("ADAE", ["USUBJID", "AESEQ"])):
        found = [ref.ItemOID.split(".")[-1] for ref in groups[name].ItemRef if ref.KeySequence]
        assert found == keys
        assert not frames[name.lower()].duplicated(keys).any()
    items = {item.OID: item for item in version.ItemDef}
    lists = {one.OID: one for one in version.CodeList}
    assert items["IT.ADAE.AESTDTC"].DataType == "partialDate"
    assert items["IT.ADAE.ASTDT"].DataType == "date"
    assert items["IT.ADAE.AESTDY"].DataType == "integer"

    def codes(oid):
        made = lists[items[oid].CodeListRef.CodeListOID]
        decoded = {item.CodedValue: item.Decode.TranslatedText[0]._content
                   for item in made.CodeListItem}  # fmt: skip
        return decoded or [item.CodedValue for item in made.EnumeratedItem]

    assert codes("IT.ADAE.AESEV") == ["MILD", "MODERATE", "SEVERE"]
    assert codes("IT.ADAE.TRT01P") == {"EG": "Exercise", "CG": "Control"}
    assert codes("IT.ADAE.SITE") == {"N": "North", "S": "South"}
    assert codes("IT.ADEX.PARAMCD") == safety.EXPOSURE
    assert codes("IT.ADAE.TRTEMFL") == codes("IT.ADAE.AESER") == {"N": "No", "Y": "Yes"}
    # Each value of a data set is one of its list.
    for name, frame in frames.items():
        for column in frame:
            oid = f"IT.{name.upper()}.{column}"
            if items[oid].CodeListRef is not None:
                values = {str(value) for value in plain(frame[column]) if value is not None}
                assert values <= set(codes(oid)), oid
    methods = {one.OID for one in version.MethodDef}
    for name in ("ADEX", "ADAE"):
        for ref in groups[name].ItemRef:
            origin = items[ref.ItemOID].Origin[0]
            assert (origin.Type == "Derived") == (ref.MethodOID in methods), ref.ItemOID
            told = [text._content for text in origin.Description.TranslatedText]
            assert (origin.Type == "Predecessor") == bool(told)
    told = items["IT.ADAE.AETERM"].Origin[0].Description.TranslatedText[0]._content
    assert told == "AE.AETERM"
    told = items["IT.ADEX.ITTFL"].Origin[0].Description.TranslatedText[0]._content
    assert told == "ADSL.ITTFL"


def test_every_variable_of_sessions_and_events_has_a_label_of_adam():
    for name in SAFETY:
        for column in cohort()[name]:
            label = metadata.LABELS.get(column)
            assert label, column
            assert len(label.encode()) <= exchange.LABEL
    for about in metadata.DATASETS.values():
        assert len(about.label.encode()) <= exchange.LABEL


def test_a_trial_without_sessions_and_events_has_the_same_other_files(exported, tmp_path):
    frames, files = exported
    fewer = {name: frame for name, frame in frames.items() if name not in SAFETY}
    others = export(fewer, tmp_path / "fewer")
    for name in fewer:
        for end in SUFFIXES:
            one, other = files[f"{name}_{end}"], others[f"{name}_{end}"]
            assert one.read_bytes() == other.read_bytes()
    assert [group.Name for group in read_define(others["define"]).ItemGroupDef] == [
        "ADSL", "ADQCT", "ADFUN"
    ]  # fmt: skip
    assert faults_of_define(others["define"]) == []


def test_a_trial_without_an_event_yet_has_an_empty_data_set(tmp_path):
    files = export(cohort([]), tmp_path / "none")
    back, about = pyreadstat.read_xport(files["adae_xpt"])
    assert len(back) == 0
    assert "AETERM" in about.column_names
    assert faults_of_define(files["define"]) == []


def test_all_that_a_transport_file_would_cut_is_told_of_all_data_sets(tmp_path):
    events = [{**case.EVENTS[0], "AETERM": "chute \u00e0 v\u00e9lo"},
              {**case.EVENTS[1], "AETERM": "x" * 201}]  # fmt: skip
    frames = cohort(events)
    frames["adsl"] = frames["adsl"].assign(DCSREAS="\u00e9t\u00e9")
    with pytest.raises(ValueError, match="SAS transport files") as error:
        export(frames, tmp_path / "cut")
    for said in ("ADSL.DCSREAS: '", "ADAE.AETERM: 'chute", "ADAE.AETERM: a value of 201 bytes"):
        assert said in str(error.value)
    assert not list((tmp_path / "cut").glob("*.xpt"))
