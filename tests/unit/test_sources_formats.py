"""Files as statisticians have them reach the sheet as the same cells, whatever their format."""

import datetime
import gzip
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyreadstat
import pytest

from helpers import ROOT
from lungitude import exchange, readers

COLUMNS = ["SUBJID", "VISITNUM", "AVAL", "ADT"]
CELLS = [
    ["A-1", "1", "2.87", "2024-03-01"],
    ["A-2", "2", "", ""],
    ["A-3", "1", "1.5", "2024-03-05"],
]
DAYS = [datetime.date(2024, 3, 1), None, datetime.date(2024, 3, 5)]
FRAME = pd.DataFrame(
    {
        "SUBJID": ["A-1", "A-2", "A-3"],
        "VISITNUM": [1.0, 2.0, 1.0],
        "AVAL": [2.87, float("nan"), 1.5],
        "ADT": DAYS,
        "ARM": ["x", "y", "x"],
    }
)


def text(separator):
    lines = [separator.join([*COLUMNS, "ARM"])]
    lines += [separator.join([*cells, "x"]) for cells in CELLS]
    return "\n".join(lines).encode()


def xpt(version):
    def write(path):
        pyreadstat.write_xport(FRAME, str(path), file_format_version=version, table_name="ADX")

    return write


def parquet(path):
    fields = {
        "SUBJID": pa.array(FRAME["SUBJID"]).dictionary_encode(),
        "VISITNUM": pa.array([1, 2, 1], pa.int8()),
        "AVAL": pa.array([2.87, None, 1.5], pa.float32()),
        "ADT": pa.array(DAYS, pa.date32()).cast(pa.timestamp("ms")),
        "ARM": pa.array(FRAME["ARM"]),
    }
    pq.write_table(pa.table(fields), path)


def dataset_json(lines):
    def write(path):
        names = [*COLUMNS, "ARM"]
        head = {"datasetJSONVersion": "1.1.0", "columns": [{"name": name} for name in names]}
        rows = [[c[0], int(c[1]), float(c[2]) if c[2] else None, c[3] or None, "x"] for c in CELLS]
        if lines:
            path.write_text("\n".join(map(json.dumps, [head, *rows])) + "\n")
        else:
            path.write_text(json.dumps(head | {"rows": rows}))

    return write


def sas7bdat(path):
    packed = ROOT / "tests" / "data" / "sources" / "visits.sas7bdat.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))


WRITERS = {
    "a.csv": lambda path: path.write_bytes(text(",")),
    "b.csv": lambda path: path.write_bytes(b"\xef\xbb\xbf" + text(",").replace(b"\n", b"\r\n")),
    "a.tsv": lambda path: path.write_bytes(text("\t")),
    "v5.xpt": xpt(5),
    "v8.xpt": xpt(8),
    "a.sas7bdat": sas7bdat,
    "a.parquet": parquet,
    "a.json": dataset_json(lines=False),
    "a.ndjson": dataset_json(lines=True),
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_gives_the_same_cells(name, tmp_path):
    WRITERS[name](tmp_path / name)
    problems = []
    form = readers.format_of(name)
    cells = readers.read(tmp_path / name, form, COLUMNS, problems, "mend it")
    assert problems == []
    assert cells.frame.to_numpy().tolist() == CELLS
    assert list(cells.frame) == COLUMNS  # the arm was not asked for
    lines = form in ("csv", "tsv")
    assert cells.rows == ([2, 3, 4] if lines else [1, 2, 3])
    assert cells.counted == ("line" if lines else "row")


def test_what_the_project_writes_it_reads(tmp_path):
    frame = FRAME[["SUBJID", "AVAL"]]
    found = [
        exchange.Variable("SUBJID", "Subject", "text", 3),
        exchange.Variable("AVAL", "Value", "float", 8),
    ]
    path = tmp_path / "adx.json"
    exchange.write_dataset_json(frame, path, "ADSL", "Patients", found, "S")
    cells = readers.read(path, "dataset-json", ["AVAL", "SUBJID"], [], "")
    assert cells.frame.to_numpy().tolist() == [["2.87", "A-1"], ["", "A-2"], ["1.5", "A-3"]]


def told(path, content, columns=("a",), form="csv", **options):
    path.write_bytes(content)
    problems = []
    cells = readers.read(path, form, list(columns), problems, "mend the path", **options)
    return cells, [str(problem).removeprefix(f"{path}") for problem in problems]


LATIN = "a;b\nMüller;1,5\n"


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "utf-16", "utf-8"])
def test_a_declared_encoding_is_read(encoding, tmp_path):
    cells, problems = told(tmp_path / "a.csv", LATIN.encode(encoding), ["a"],
                           encoding=encoding, separator=";")  # fmt: skip
    assert problems == []
    assert cells.frame["a"].tolist() == ["Müller"]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (
            LATIN.encode("latin-1"),
            {},
            ", line 2: byte 0xFC is not UTF-8 (perhaps Latin-1 or Windows-1252); say 'encoding: "
            "windows-1252' (or the right one)",
        ),
        (
            LATIN.encode("utf-16"),
            {},
            ": the file is in UTF-16; say 'encoding: utf-16'",
        ),
        (
            LATIN.encode(),
            {"encoding": "latin-1"},
            ": the letters of the file are those of UTF-8, not of latin-1; delete 'encoding'",
        ),
        (
            b"a\n\x81\n",
            {"encoding": "windows-1252"},
            ", line 2: byte 0x81 is not windows-1252; mend 'encoding'",
        ),
        (
            LATIN.encode(),
            {},
            ", line 1: the header has one column; it is not split at ,, but perhaps at ;; say so "
            "as "
            "'separator'",
        ),
        (
            b"a,b\n1,2\n1,2,3\n",
            {},
            ", line 3: the row has 3 cells, the header 2; mend it in a copy, or say the right "
            "'separator'",
        ),
        (
            b'a,b\n"1\n2",3\n"4,5\n',
            {},
            ", line 4: the line can't be split into cells (unexpected end of data); mend it in a "
            "copy",
        ),
        (
            b"a,a\n1,2\n",
            {},
            ", line 1, column a: the file has the column twice; rename one in a copy",
        ),
        (b"\n", {}, ": the file is empty; it needs at least a header line"),
        (
            b"A,FEV1_L\n1,2\n",
            {"columns": ["FEV1"]},
            ": the file has no column 'FEV1'; did you mean 'FEV1_L'? It has A, FEV1_L",
        ),
        (
            b"PK\x03\x04\0\0",
            {},
            ": the file is no plain text (a workbook, or UTF-16); export it as CSV, or say its "
            "'format'",
        ),
        (
            b"not SAS",
            {"form": "xpt"},
            ": it can't be read as a SAS file (Unable to read from file); mend "
            "'format', or export it anew",
        ),
        (
            b"not SAS",
            {"form": "sas7bdat"},
            ": it can't be read as a SAS file (Unable to read from file); mend "
            "'format', or export it anew",
        ),
        (
            b'{"rows": []}',
            {"form": "dataset-json"},
            ": it is no Dataset-JSON 1.1 (datasetJSONVersion, columns, rows); export it so",
        ),
        (
            b'{"datasetJSONVersion": "1.1.0", "columns": [{"name": "a"}], "rows": [[1], [1, 2]]}',
            {"form": "dataset-json"},
            ", row 2: it does not have 1 values, as 'columns' says",
        ),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_read_says_why(content, options, expected, tmp_path):
    cells, problems = told(tmp_path / "a.csv", content, **options)
    assert problems == [expected]
    assert cells is None


def test_parquet_that_is_none_says_so(tmp_path):
    _, problems = told(tmp_path / "a.parquet", b"no", form="parquet")
    assert "it can't be read as Parquet" in problems[0]


def test_a_missing_file_says_what_to_do(tmp_path):
    problems = []
    assert readers.read(tmp_path / "no.xpt", "xpt", ["a"], problems, "mend the path") is None
    assert str(problems[0]).endswith("no.xpt: the file is missing; mend the path")


def test_a_transport_file_of_another_encoding_asks_for_it(tmp_path):
    path = tmp_path / "a.xpt"
    frame = pd.DataFrame({"NAME": ["M~ller"]})
    pyreadstat.write_xport(frame, str(path), file_format_version=5, table_name="ADX")
    data = path.read_bytes().replace(b"M~ller", "Müller".encode("latin-1"))
    assert told(path, data, ["NAME"], "xpt")[1] == [
        ": its letters are not UTF-8; say 'encoding: windows-1252' (or the right one)"
    ]
    cells, problems = told(path, data, ["NAME"], "xpt", encoding="windows-1252")
    assert problems == []
    assert cells.frame["NAME"].tolist() == ["Müller"]


def test_a_transport_file_of_two_data_sets_is_refused(tmp_path):
    path = tmp_path / "a.xpt"
    xpt(5)(path)
    data = path.read_bytes()
    _, problems = told(path, data + data[240:], COLUMNS, "xpt")
    assert problems == [": the file holds 2 data sets; write each to a file of its own"]


def test_lines_are_those_of_the_file_and_blanks_are_counted(tmp_path):
    content = b'a,b\n\n"1\n and more",2\n,\n 3 ,4\n'
    cells, problems = told(tmp_path / "a.csv", content, ["a", "b"])
    assert problems == []
    assert cells.frame.to_numpy().tolist() == [["1 and more", "2"], ["3", "4"]]
    assert cells.rows == [3, 6]
    assert cells.trimmed == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5001.0, "5001"),
        (0.1, "0.1"),
        (float("nan"), ""),
        (None, ""),
        (True, "true"),
        (datetime.datetime(2024, 3, 1), "2024-03-01"),
        (datetime.datetime(2024, 3, 1, 8, 30), "2024-03-01T08:30:00"),
        (1e300, "1e+300"),
    ],
)
def test_a_value_becomes_the_shortest_text_that_is_the_same(value, expected):
    assert readers._written(value) == expected
