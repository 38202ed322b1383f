"""Mock shells: the layout of the real displays, and nothing of the data that they are made of."""

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from matplotlib.ticker import FixedLocator

from lungitude import cli
from lungitude.checks import TrialError
from lungitude.reporting import fabricated, figure, rendering, shells, table, table_adverse
from lungitude.reporting.results import Part

PARAMETERS = """\
PARAMCD\tPARAM\tAVALU\tLOW\tHIGH\tDECIMALS\tDIRECTION\tTRANSFORM\tDATASET\tCATEGORY\tMEASURE
VO2MAX\tPeak oxygen uptake\tmL/kg/min\t4\t60\t1\thigher\tnone\tADFUN\tExercise\t
FEV1\tForced expiratory volume in 1 s\tL\t0.2\t7\t2\thigher\tnone\tADFUN\tSpirometry\t
CACS\tCoronary artery calcium score\tAU\t1\t8000\t0\tlower\tlog\tADQCT\tHeart\t
"""
ARMS = [("EG", "Exercise"), ("CG", "Usual care"), ("XG", "Breathing training")]
DISPLAYS = [
    "figure_flow",
    "table_disposition",
    "table_baseline",
    "table_primary",
    "table_visits",
    "table_sensitivity",
    "figure_trend",
    "figure_sensitivity",
    "figure_missing",
    "table_adherence",
    "table_adverse",
    "figure_individual",
]
CONFIG = {
    "trial": "mock",
    "title": "A trial without data",
    "visits": [
        {"name": "Baseline", "path": "baseline", "number": 0, "day": 1, "baseline": True,
         "imaging": True},
        {"name": "Week 6", "path": "week06", "number": 6, "day": 43},
        {"name": "Week 12", "path": "week12", "number": 12, "day": 85, "imaging": True},
    ],
    "strata": [{
        "column": "SEVERITY",
        "label": "Severity",
        "levels": [
            {"value": "I", "path": "grade1", "label": "Grade I"},
            {"value": "II", "path": "grade2", "label": "Grade II"},
        ],
    }],
    "characteristics": [
        {"column": "AGE", "label": "Age", "unit": "years", "type": "continuous", "low": 18,
         "high": 90},
        {"column": "SEX", "label": "Sex", "type": "category",
         "levels": {"M": "Male", "F": "Female"}},
    ],
    "sheets": {
        "subjects": "subjects.tsv",
        "randomisation": "randomisation.tsv",
        "measurements": "measurements.tsv",
        "parameters": "parameters.tsv",
        "sessions": "sessions.tsv",
        "adverse": "adverse.tsv",
    },
}  # fmt: skip
PLAN = {
    "populations": {"ITT": {"label": "Intention to treat", "rule": "randomised"}},
    "analyses": {
        "disposition": {},
        "baseline": {"smd": True},
        "describe": {},
        "adherence": {"limits_pct": [80]},
        "adverse": {"population": "ITT"},
        "ancova": {"covariates": ["BASE", "AGE"]},
        "mmrm": {"covariates": ["BASE"], "parameters": ["VO2MAX"]},
    },
    "primary": {"parameter": "VO2MAX", "visit": "Week 12", "method": "ancova"},
    "families": [
        {"id": "other", "label": "Other endpoints", "analysis": "ancova", "method": "holm",
         "parameters": ["FEV1", "CACS"], "visits": ["Week 12"]},
    ],
    "displays": [
        {"id": kind, "number": f"14.{index}", "title": f"Display {kind.partition('_')[2]}"}
        for index, kind in enumerate(DISPLAYS)
    ],
}  # fmt: skip


def folder_of(path, arms=3, config=None, plan=None):
    """Write the folder of a trial that has a plan and no patients; return its config.yaml."""
    path.mkdir(parents=True, exist_ok=True)
    named = [{"code": code, "label": label} for code, label in ARMS[:arms]]
    if arms > 1:
        named[1]["reference"] = True
    (path / "parameters.tsv").write_text(PARAMETERS)
    given = {**CONFIG, "arms": named, **(config or {})}
    (path / "config.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    (path / "plan.yaml").write_text(yaml.safe_dump({**PLAN, **(plan or {})}, sort_keys=False))
    return path / "config.yaml"


@pytest.fixture(scope="module", params=[3, 1], ids=["three arms", "one arm"])
def made(request, tmp_path_factory):
    """Return a design, its shells, and the real displays of other data, by id."""
    path = tmp_path_factory.mktemp(f"arms{request.param}")
    # One arm is compared with nobody, so that there is no p value to adjust.
    plan = {"families": []} if request.param == 1 else {}
    design = shells.design_of(folder_of(path, request.param, plan=plan))
    given = (design.config, design.plan, path / "parameters.tsv")
    invented = fabricated.results_of(*given)
    assert invented.undone == {}
    context = shells.context_of(design, design.strata[0])
    pictures = path / "pictures"
    pictures.mkdir()
    mock = shells.shells(invented, context, pictures)
    looked = shells.Looked(fabricated.results_of(*given, seed=77).results, context)
    real = {}
    for display in design.plan["displays"]:
        module = rendering.MODULES[display["id"]]
        if module in rendering.TABLES and display["title"] not in dict(mock.document.left_out):
            real[display["id"]] = module.build(looked.results, context, display)
    return design, mock, real


def test_every_display_has_a_shell(made):
    design, mock, _ = made
    titles = {display["title"] for display in design.plan["displays"]}
    left_out = dict(mock.document.left_out)
    assert {piece.title for piece in mock.document.pieces} == titles - set(left_out)
    if len(design.config["arms"]) > 1:
        assert not left_out


def test_no_digit_of_invented_data_remains(made):
    for shell in made[1].document.tables:
        shown = [part for row in shell.rows for one in row.cells for part in one.parts]
        shown += [part for column in shell.columns for part in column.sub.parts if part.address]
        assert any("x" in part.text for part in shown)
        for part in shown:
            assert not re.search(r"\d|NE|[<>\u2212]", part.text), (shell.id, part)
        assert not any(
            re.search(r"\d", p.text) for r in shell.rows for p in r.label.parts if p.address
        )


def test_heads_rows_and_footnotes_are_those_of_the_real_display(made):
    _, mock, real = made
    assert real
    for shell in mock.document.tables:
        other = real[shell.id]
        assert [c.label for c in shell.columns] == [c.label for c in other.columns]
        assert [(r.label.text, r.kind, r.indent) for r in shell.rows] == [
            (r.label.text, r.kind, r.indent) for r in other.rows
        ]
        assert [len(r.cells) for r in shell.rows] == [len(r.cells) for r in other.rows]
        kept = [note for note in shell.footnotes if not note[1].startswith(shells.NOTE)]
        assert kept == [(mark, shells._masked_note(note)) for mark, note in other.footnotes]
        assert (shell.title, shell.number) == (other.title, other.number)


def test_decimals_are_those_of_the_real_display(made):
    def after_the_point(text):
        return [len(found) for found in re.findall(r"\.([\dx]+)", text)]

    _, mock, real = made
    compared = 0
    for shell in mock.document.tables:
        for ours, theirs in zip(shell.rows, real[shell.id].rows, strict=True):
            for one, other in zip(ours.cells, theirs.cells, strict=True):
                assert after_the_point(one.text) == after_the_point(other.text)
                compared += bool(after_the_point(one.text))
    assert compared > 20


def test_each_shell_says_so_and_has_programming_notes(made):
    design, mock, _ = made
    for piece in mock.document.pieces:
        if piece in mock.document.tables:
            assert piece.population.startswith(shells.HEADER)
            notes = " ".join(note for _, note in piece.footnotes)
        else:
            assert piece.caption.startswith(shells.HEADER)
            notes = piece.caption
        assert shells.NOTE in notes
    if len(design.config["arms"]) > 1:
        effects = next(p for p in mock.document.tables if p.id == "table_primary")
        notes = [note for _, note in effects.footnotes if note.startswith(shells.NOTE)]
        assert any("Difference from ancova: estimate, ci_low, ci_high" in note for note in notes)
        assert any("covariates: [BASE, AGE]" in note for note in notes)
        assert any("method: holm" in note for note in notes)


def test_figures_keep_their_axes_and_lose_their_data(made):
    drawings = made[1].drawings
    assert "figure_trend" in drawings
    for name, svg in drawings.items():
        assert "MOCK SHELL: NO DATA" in svg
        for _, text in figure.addresses(svg):
            assert not re.search(r"\d", text), (name, text)
    for name in ("figure_trend", "figure_individual"):
        assert "Peak oxygen uptake" in drawings[name]
        assert "Week 12" in drawings[name]
        said = re.findall(r"<text[^>]*>([^<]*)</text>", drawings[name])
        assert "xx" in said
        assert not [text for text in said if re.fullmatch(r"[\u2212-]?[\d.]+", text)]


def test_nothing_but_axes_is_left_in_a_panel():
    drawn = figure.new(60.0)
    axes = drawn.add_axes((0.2, 0.2, 0.7, 0.7))
    axes.plot([0, 1], [3.0, 4.0], marker="o")
    axes.axhline(0)
    axes.axhline(3.3)
    axes.fill_between([0, 1], 0, 1)
    axes.axvspan(0.2, 0.4)
    axes.set_xticks([0, 1], ["Week 1", "Week 2"])
    shells.blank(drawn)
    drawn.draw_without_rendering()
    assert [list(line.get_ydata()) for line in axes.lines] == [[0, 0]]
    assert not [*axes.patches, *axes.collections]
    assert {tick.get_text() for tick in axes.get_yticklabels()} == {"xx"}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["Week 1", "Week 2"]


def test_log_axes_lose_their_numbers_and_axes_without_numbers_get_none():
    drawn = figure.new(60.0)
    first, second = (drawn.add_axes((place, 0.2, 0.3, 0.7)) for place in (0.1, 0.6))
    for axes in (first, second):
        axes.set_yscale("log")
        axes.set_ylim(0.4, 3)
        axes.yaxis.set_major_locator(FixedLocator([0.5, 1, 2]))
    second.set_yticklabels([])
    shells.blank(drawn)
    drawn.draw_without_rendering()
    assert {tick.get_text() for tick in first.get_yticklabels()} == {"xx"}
    assert not any(tick.get_text() for tick in second.get_yticklabels())


def cells(shell):
    return {row.label.text: [one.text for one in row.cells] for row in shell.rows}


def test_shells_of_safety_have_every_line_that_the_tables_can_have(made):
    design, mock, _ = made
    groups = len(design.config["arms"]) + (len(design.config["arms"]) > 1)
    shown = {shell.id: cells(shell) for shell in mock.document.tables}
    for label in ("With planned sessions", "At least 80% of their sessions",
                  "No session attended", "Adherence not known"):  # fmt: skip
        assert shown["table_adherence"][label] == ["xx (xx.x)"] * groups
    assert shown["table_adherence"]["Minimum\u2013maximum"] == ["xx.x\u2013xx.x"] * groups
    lines = shown["table_adverse"]
    kinds = [*table_adverse.KINDS.values(), "Any adverse event", "Began before randomisation"]
    for label in (*kinds, "[system organ class A]", "[preferred term B]"):
        assert lines[label] == ["xx (xx.x) [xx]"] * groups, label


def test_terms_stand_in_one_order_in_each_stratum(tmp_path):
    design = shells.design_of(folder_of(tmp_path))
    invented = fabricated.results_of(design.config, design.plan, tmp_path / "parameters.tsv")
    rows = invented.results[invented.results["METHOD"] == "adverse"]
    for _, own in rows.groupby("STRATUM"):
        named = [name for name in dict.fromkeys(own["LEVEL"]) if name.startswith(("soc:", "pt:"))]
        assert named == sorted(named, key=lambda name: name.removeprefix("soc:")[-2])
        assert len(named) == 7


def test_a_display_without_its_sheet_or_of_the_network_has_no_shell_and_a_reason(tmp_path):
    kinds = ["table_adherence", "table_adverse", "table_network_accuracy", "table_primary"]
    sheets = {name: file for name, file in CONFIG["sheets"].items()
              if name not in ("sessions", "adverse")}  # fmt: skip
    analyses = {name: PLAN["analyses"][name] for name in ("adherence", "adverse", "ancova")}
    plan = {"displays": [{"id": kind, "title": kind} for kind in kinds],
            "analyses": {**analyses, "network_study": {"tables": "."}}}  # fmt: skip
    path = folder_of(tmp_path / "trial", 2, {"sheets": sheets}, plan)
    written = shells.write(shells.design_of(path), tmp_path / "out")
    (left_out,) = written.values()
    assert dict(left_out) == {
        "table_adherence": "config.yaml names no 'sheets: sessions', without which a run leaves it "
        "out as well",
        "table_adverse": "config.yaml names no 'sheets: adverse', without which a run leaves it "
        "out as well",
        "table_network_accuracy": "it tells how the network was tested, not about patients, and "
        "needs no shell",
    }


def test_a_set_that_asks_for_sessions_has_shells(tmp_path):
    sets = {"ITT": PLAN["populations"]["ITT"],
            "PP": {"label": "Per protocol", "rule": "randomised", "adherence_pct": 80}}  # fmt: skip
    plan = {"populations": sets, "displays": [{"id": "table_adherence", "title": "Adherence"}],
            "analyses": {"adherence": {"population": "PP", "limits_pct": [80]},
                         "ancova": PLAN["analyses"]["ancova"]}}  # fmt: skip
    path = folder_of(tmp_path / "trial", 2, plan=plan)
    assert list(shells.write(shells.design_of(path), tmp_path / "out").values()) == [[]]


@pytest.mark.parametrize("form", ["waterfall", "ridge"])
def test_changes_of_patients_have_a_shell_in_each_form(form, tmp_path):
    shown = {"id": "changes", "kind": "figure_individual", "form": form, "title": "Changes",
             "parameters": ["VO2MAX", "CACS"]}  # fmt: skip
    analyses = {name: PLAN["analyses"][name] for name in ("describe", "ancova")}
    path = folder_of(tmp_path / "trial", 2, plan={"displays": [shown], "analyses": analyses})
    assert list(shells.write(shells.design_of(path), tmp_path / "out").values()) == [[]]
    page = (tmp_path / "out" / "shells.html").read_text()
    assert page.count(">no data<") == (4 if form == "waterfall" else 2)
    said = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert "Coronary artery calcium score: Week 12" in said
    assert not [text for text in said if re.fullmatch(r"[\u2212-]?[\d.]+", text)]


@pytest.mark.parametrize(
    ("text", "small", "mask"),
    [
        ("12.3", False, "xx.x"),
        ("-4.5", False, "xx.x"),
        ("1234", False, "xx"),
        ("7", False, "xx"),
        ("0.0123", True, "x.xxxx"),
        ("<0.0001", True, "x.xxxx"),
        (".03", True, ".xx"),
        ("\u2013", False, "\u2013"),
    ],
)
def test_masks(text, small, mask):
    assert shells._mask(text, small) == mask


def test_what_could_not_be_estimated_looks_like_its_neighbours():
    row = {"PARAMCD": "FEV1", "STAT": "estimate", "METHOD": "ancova", "FAMILY": ""}
    cells = (
        table.cell(Part("1.23", "a")),
        table.cell(Part("NE", "b"), mark="a"),
        table.cell(Part("2.10", "c"), mark="b"),
    )
    columns = tuple(table.Column(name) for name in ("Row", "A", "B", "C"))
    rows = (table.Row(table.cell("FEV1"), cells),)
    notes = (("a", "Not estimated: 1 patient in EG"), ("b", "Of 3 patients"))
    given = table.Table("t", "1", "T", "All", columns, rows, notes)
    design = {"plan": {"analyses": {"ancova": {"covariates": ["BASE"]}}}}
    context = replace(_context(), plan=design["plan"])
    shell = shells.masked(given, dict.fromkeys("abc", row), context)
    assert [one.text for one in shell.rows[0].cells] == ["xx.xx", "xx.xx", "xx.xx"]
    assert [one.mark for one in shell.rows[0].cells] == ["", "", "a"]
    assert shell.footnotes[0] == ("a", "Of xx patients")


def _context():
    from unit import reporting_fixture as fixture

    return fixture.context()


def test_two_runs_give_the_same_bytes_and_leave_nothing_else(tmp_path, monkeypatch):
    plan = {
        "displays": [d for d in PLAN["displays"] if d["id"] in ("table_primary", "figure_trend")]
    }
    design = shells.design_of(folder_of(tmp_path / "trial", 2, plan=plan))
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        written = shells.write(design, tmp_path / name, ["all", "grade1"])
        assert list(written.values()) == [[], []]
    names = ["shells.docx", "shells.html", "grade1/shells.docx", "grade1/shells.html"]
    for name in names:
        one, two = (tmp_path / run / name for run in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name
    found = {p.relative_to(tmp_path / "one").as_posix() for p in (tmp_path / "one").rglob("*.*")}
    assert found == set(names)
    assert not (tmp_path / "results").exists()
    page = (tmp_path / "one" / "shells.html").read_text()
    assert "Mock shell: no data" in page
    assert "SHELL-0" not in page
    assert "Grade I" in (tmp_path / "one" / "grade1" / "shells.html").read_text()
    with zipfile.ZipFile(tmp_path / "one" / "shells.docx") as word:
        text = word.read("word/document.xml").decode()
    assert shells.HEADER in text
    assert "xx.x" in text


def test_sheets_of_patients_need_not_exist_but_the_plan_must_be_right(tmp_path, capsys):
    path = folder_of(tmp_path / "trial")
    assert not (path.parent / "subjects.tsv").exists()
    assert list(shells.design_of(path).parameters["PARAMCD"]) == ["VO2MAX", "FEV1", "CACS"]
    wrong = {"primary": {**PLAN["primary"], "parameter": "VO2"}}
    path = folder_of(tmp_path / "wrong", plan=wrong)
    with pytest.raises(TrialError, match="parameter 'VO2' is unknown"):
        shells.design_of(path)
    assert cli.main(["shells", str(path)]) == 1
    assert "subjects" not in capsys.readouterr().err
    path = folder_of(tmp_path / "none")
    (path.parent / "plan.yaml").unlink()
    with pytest.raises(TrialError, match="there is no plan"):
        shells.design_of(path)


def test_an_unknown_stratum_is_told(tmp_path):
    design = shells.design_of(folder_of(tmp_path))
    with pytest.raises(ValueError, match="stratum gold1 is not one of all, grade1, grade2"):
        shells.write(design, tmp_path / "out", ["gold1"])


def test_invented_patients_fill_every_arm_level_and_category(tmp_path):
    import numpy as np

    design = shells.design_of(folder_of(tmp_path))
    people = fabricated.subjects(design.config, np.random.default_rng(1))
    counts = people.groupby(["ARM", "SEVERITY", "SEX"]).size()
    assert len(counts) == 3 * 2 * 2
    assert counts.min() == counts.max() == fabricated.PER_LEVEL // 2
    assert people["AGE"].between(18, 90).all()


def test_one_parameter_stands_for_others_of_its_scale(tmp_path):
    design = shells.design_of(folder_of(tmp_path))
    same = fabricated._represented({"parameters": "all"}, design.parameters)
    assert same == {"VO2MAX": ["FEV1"], "CACS": []}
    alone = {"parameters": "all", "tipping": {"parameters": ["VO2MAX"]}}
    assert fabricated._represented(alone, design.parameters) == {
        "VO2MAX": [], "FEV1": [], "CACS": []
    }  # fmt: skip
    section = {"x": ["VO2MAX", "FEV1"], "y": ["FEV1", "VO2MAX", "CACS"]}
    pairs = fabricated._represented_pairs(section, design.parameters)
    everything = [pair for group in pairs.values() for pair in group]
    assert len(everything) == len({frozenset(pair) for pair in everything}) == 3
    assert not [pair for pair in pairs if pair[0] == pair[1]]


def test_shells_are_made_by_the_command(tmp_path, capsys):
    plan = {"displays": [d for d in PLAN["displays"] if d["id"] == "table_baseline"],
            "analyses": {name: PLAN["analyses"][name] for name in ("disposition", "baseline",
                                                                    "ancova")}}  # fmt: skip
    path = folder_of(tmp_path / "trial", plan=plan)
    assert cli.main(["shells", str(path), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [Path(line).name for line in said if line] == ["shells.html", "shells.docx"]
