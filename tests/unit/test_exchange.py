"""Data sets for SAS and CDISC: read back by others' readers, and refused where they can't hold."""

import datetime
import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pyreadstat
import pytest
from odmlib.dataset_json_1_1.model import DatasetJSON
from odmlib.define_loader import XMLDefineLoader
from odmlib.loader import ODMLoader

from lungitude import exchange

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
