"""Documents of a stratum: the same numbers in each format, and each in the results table."""

import hashlib
import json
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace

import docx
import pytest
from docx.oxml.ns import qn
from unit import reporting_fixture as fixture

from lungitude.reporting import document, latex, pdf, rendering, rtf, word
from lungitude.reporting.format import NOT_APPLICABLE, NOT_ESTIMATED, number
from lungitude.reporting.table import Cell, Column, Part, Row, Table, cell, from_json, to_json

WRITERS = {"docx": word.write, "rtf": rtf.write, "tex": latex.write, "pdf": pdf.write}
DIGITS = re.compile(r"\d+(?:\.\d+)?")


def made(folder, stratum="all", **changes):
    """Render the displays of a stratum and return its document."""
    plan = {**fixture.plan(("Week 12",)), "displays": list(fixture.DISPLAYS.values())}
    context = fixture.context(stratum, plan=plan, **changes)
    rendering.write(fixture.frame(), context, folder / stratum)
    found = fixture.results(stratum)
    return document.of_folder(found, context, folder / stratum, {"Lungitude": "0.1.0"})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    given = made(folder)
    for suffix, write in WRITERS.items():
        write(given, folder / f"a.{suffix}")
    return {"folder": folder, "document": given}


def grids(given):
    """Return the texts of each table's lines, as a document should show them."""
    return [
        [
            [row.label.text + row.label.mark, *(cell.text + cell.mark for cell in row.cells)]
            for row in table.rows
        ]
        for table in given.tables
    ]


def test_a_table_comes_back_from_json(run):
    for table in run["document"].tables:
        assert from_json(to_json(table)) == table


def test_every_number_of_every_table_stands_in_the_results(run):
    frame = fixture.frame()
    rows = frame[frame["STRATUM"] == "all"]
    keys = ["ANALYSISID", "GROUP", "COMPARISON", "LEVEL", "STAT", "FAMILY"]
    address = rows[keys].fillna("").astype(str).agg("|".join, axis=1).str.rstrip("|")
    known = dict(zip(address, zip(rows["VALUE"], rows["N"], strict=True), strict=True))
    checked = 0
    for table in run["document"].tables:
        parts = [part for row in table.rows for cell in row.cells for part in cell.parts]
        parts += [part for column in table.columns for part in column.sub.parts]
        for part in parts:
            text = part.text.replace("\u2212", "-")
            if not part.address:
                assert not DIGITS.search(text.replace("95% CI", "")), text
                continue
            where, _, used = part.address.partition("#")
            value = known[where][1 if used else 0]
            if text in (NOT_ESTIMATED, NOT_APPLICABLE):
                continue
            shown = text.lstrip("<>(")
            digits = len(shown.partition(".")[2])
            if text[0] == "<":
                assert value < float(shown)
            else:
                assert number(value, digits) == shown, part
            checked += 1
    assert checked > 200


def test_word_shows_the_cells_of_the_tables(run):
    file = docx.Document(run["folder"] / "a.docx")
    assert len(file.tables) == len(run["document"].tables)
    for table, wanted in zip(file.tables, grids(run["document"]), strict=True):
        lines = [[c.text for c in dict.fromkeys(row.cells)] for row in table.rows][1:]
        assert [[text for text in line if text] for line in lines] == [
            [text for text in line if text] for line in wanted
        ]
        styles = {p.style.name for row in table.rows[:6] for c in row.cells for p in c.paragraphs}
        assert styles == {"Table Text"}
        head = table.rows[0]._tr
        assert head.find(f".//{qn('w:tblHeader')}") is not None


def test_word_numbers_its_captions_by_fields(run):
    with zipfile.ZipFile(run["folder"] / "a.docx") as file:
        body = file.read("word/document.xml").decode()
    fields = re.findall(r"SEQ (Table|Figure) \\\* ARABIC \\r (\d+)", body)
    assert sorted(fields) == [("Figure", "1"), ("Figure", "2"), ("Table", "1"), ("Table", "2")]
    assert 'descr="Figure 1 (14.1.1) Flow of patients and scans' in body
    assert body.count("<w:drawing>") == 2


def test_rtf_shows_the_cells_of_the_tables(run):
    text = (run["folder"] / "a.rtf").read_text(encoding="ascii")
    text = re.sub(r"\\uc1\\u(\d+)\*", lambda found: chr(int(found[1])), text)
    found = re.findall(r"\{\\f\d+(?:\\b)? ?([^{}]*)\}\\cell", text)
    wanted = [
        value
        for table in run["document"].tables
        for row in table.rows
        for value in (row.label.text, *(cell.text for cell in row.cells))
        if value
    ]
    bare = [re.sub(r" \[[a-z]+\]$", "", value) for value in found if value]
    place = iter(bare)
    assert all(value in place for value in wanted)
    assert all(len(line) < 100_000 for line in text.splitlines())


def test_latex_shows_the_cells_of_the_tables(run):
    text = (run["folder"] / "a.tex").read_text(encoding="utf-8")
    tables = re.findall(r"\\endfoot\n(.*?)\\end\{longtable\}", text, flags=re.S)
    assert len(tables) == len(run["document"].tables)
    for body, wanted in zip(tables, grids(run["document"]), strict=True):
        lines = [line for line in body.splitlines() if line.strip()]
        shown = [[latex.plain(cell).strip() for cell in line.split(" & ")] for line in lines]
        assert len(shown) == len(wanted)
        for line, cells in zip(shown, wanted, strict=True):
            if len(cells) > 1:
                assert [DIGITS.findall(c) for c in line] == [DIGITS.findall(c) for c in cells]


def test_latex_escapes_what_comes_from_data():
    assert latex.escape(r"a_b & 5% \input{x} $y$ #1 ~^") == (
        r"a\_b \& 5\% \textbackslash{}input\{x\} \$y\$ \#1 $\sim$\textasciicircum{}"
    )


PDFLATEX = shutil.which("pdflatex")
# Units, signs and letters that stand in tables or in the names of a trial; the last ones pdfLaTeX
# has no sign for.
LETTERS = (
    "mL\u00b7min\u207b\u00b9\u00b7kg\u207b\u00b9 CO\u2082 m\u00b2 cm\u00b3 \u00b5g \u03bcm \u00b0C "
    "\u03b11 \u0394 \u03a9 \u2212950 \u00b13 \u2264 \u2265 \u2248 \u2260 \u221e \u00d7 \u2013 "
    "\u2014 \u2026 \u20ac \u2030 \u2020 \u2192 \u201cx\u201d \u00c5ngstr\u00f6m \u0141\u00f3d "
    "a_b & 5% $y$ #1 ~^ {x} <0.1> [n] *p"
)
WITHOUT_SIGN = "\u0416 \u4e2d \u0127 \U0001f600"


def compiled(path):
    """Compile a LaTeX file until its widths are found; return what pdfLaTeX complains about."""
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", path.name]
    for _ in range(3):
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True,
                              errors="replace", check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
    log = path.with_suffix(".log").read_text(encoding="latin-1")
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")
    return re.findall(r"^(?:Overfull .*|! .*|Missing character.*|.*Rerun.*)$", log, flags=re.M)


@pytest.mark.skipif(not PDFLATEX, reason="pdflatex is not installed")
def test_the_tables_compile_and_fit_the_page(run, tmp_path):
    shutil.copy(run["folder"] / "a.tex", tmp_path / "a.tex")
    assert compiled(tmp_path / "a.tex") == []


@pytest.mark.skipif(not PDFLATEX, reason="pdflatex is not installed")
def test_any_letter_compiles_and_a_long_heading_is_broken(run, tmp_path):
    said = f"{LETTERS} {WITHOUT_SIGN}"
    rows = [
        Row(cell(f"{LETTERS} " * 3), kind="group"),
        *(Row(cell(start), (cell("1.2"), cell("[3]")), indent=1) for start in ("[a]", "*b", "c")),
        Row(cell("a label that is longer than its column and goes on"), (cell("1"), cell("2")),
            indent=2),
    ]  # fmt: skip
    columns = (Column(LETTERS), Column("A", cell("[n]")), Column("*B", cell("(95% CI)")))
    hard = Table("hard", "1", said, "All", columns, tuple(rows), (("a", said), ("", said)))
    document = replace(run["document"], title=said, pieces=(hard, replace(hard, rows=())))
    latex.write(document, tmp_path / "hard.tex")
    written = (tmp_path / "hard.tex").read_text(encoding="utf-8")
    assert written.count(r"\DeclareUnicodeCharacter{") == 4
    assert r"\DeclareUnicodeCharacter{1F600}{[U+1F600]}" in written
    assert [line for line in compiled(tmp_path / "hard.tex") if "Overfull" not in line] == []


def test_latex_names_each_letter_or_tells_its_number():
    assert latex.unknown(latex.escape(LETTERS)) == ""
    assert latex.plain(latex.escape("m\u00b2 kg\u207b\u00b9 \u2265 CO\u2082")) == (
        "m\u00b2 kg\u207b\u00b9 \u2265 CO\u2082"
    )
    assert len(latex.unknown(WITHOUT_SIGN).splitlines()) == 4


def test_pdf_is_whole_and_says_that_the_trial_is_synthetic(run):
    data = (run["folder"] / "a.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") >= 5
    assert b"/CreationDate (D:20000101000000+00'00')" in data


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_second_document_has_the_same_bytes(run, suffix, tmp_path):
    WRITERS[suffix](run["document"], tmp_path / f"b.{suffix}")
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (run["folder"] / f"a.{suffix}", tmp_path / f"b.{suffix}")
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_stratum_without_patients_has_its_documents(suffix, tmp_path):
    given = made(tmp_path, "nobody")
    assert [title for title, _ in given.left_out] == ["Agreement of measurements with readers"]
    WRITERS[suffix](given, tmp_path / f"a.{suffix}")
    if suffix == "docx":
        text = "\n".join(p.text for p in docx.Document(tmp_path / "a.docx").paragraphs)
        assert "No data meet the criteria of this table." in text
        assert "Agreement of measurements with readers: the agreement has no results here." in text
    elif suffix != "pdf":
        assert "No data meet the criteria" in (tmp_path / f"a.{suffix}").read_text()


def test_markup_in_the_data_stays_text(tmp_path):
    trial = {"title": "A <b>bold</b> & {odd} trial_1", "synthetic": False, "data_cut": None}
    given = made(tmp_path, trial={**trial, "name": "odd"})
    for suffix, write in WRITERS.items():
        write(given, tmp_path / f"a.{suffix}")
    file = docx.Document(tmp_path / "a.docx")
    assert file.paragraphs[0].text == trial["title"]
    assert r"A \textless{}b\textgreater{}bold" in (tmp_path / "a.tex").read_text()
    for name in ("a.tex", "a.rtf"):
        assert "SYNTHETIC" not in (tmp_path / name).read_text().upper()


def test_wide_tables_are_laid_on_their_side(run):
    by_id = {table.id: table for table in run["document"].tables}
    assert document.wide(by_id["table_primary"])
    assert sum(document.shares(by_id["table_primary"])) == pytest.approx(1)


def test_negative_numbers_have_a_true_minus(run):
    cells = [cell for table in run["document"].tables for row in table.rows for cell in row.cells]
    assert isinstance(cells[0], Cell)
    text = json.dumps([cell.text for cell in cells], ensure_ascii=False)
    assert "\u2212" in text
    assert not re.search(r"(?<![\w.\u2013-])-\d", text)
    assert all(isinstance(part, Part) for cell in cells for part in cell.parts)
