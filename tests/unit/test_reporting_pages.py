"""The report of a stratum and the page of scans, made by the scripts as a run makes them."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image
from unit import reporting_fixture as fixture
from unit import reporting_jobs as jobs

from lungitude import doubts, tables
from lungitude.reporting import figure_flow, figure_trend, methods, quality, report

VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use", "rect", "circle"}


class Outline(HTMLParser):
    """Checks that tags are closed in order; collects identifiers, links and text."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        """Open a tag."""
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[k] for k in ("href", "src", "xlink:href") if attrs.get(k)]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Close a tag."""
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        """Take a tag that closes itself."""
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []

    def handle_data(self, data):
        """Keep text."""
        if "style" not in self.open:
            self.text.append(data)


def outline(page):
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return parser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return {name: jobs.stratum_report(folder, name) for name in ("all", "grade2", "nobody")}


def test_report_needs_nothing_beside_it(run):
    page = run["all"].read_text()
    found = outline(page)
    outside = [link for link in found.links if re.match(r"(https?:)?//|file:|/", link)]
    assert outside == []
    assert page.count("<script") == 2  # the page's own, and what stands behind its numbers
    assert "default-src 'none'" in page
    assert "@import" not in page
    for link in found.links:
        if link.startswith("#"):
            assert link[1:] in found.ids, link


def test_report_links_to_files_that_exist(run):
    found = outline(run["all"].read_text())
    files = [link for link in found.links if not link.startswith(("#", "data:", "../"))]
    assert len(files) == 17
    for link in files:
        assert (run["all"].parent / link).is_file()
    assert "../grade1/report.html" in found.links
    assert "../quality.html" in found.links


def test_report_says_that_the_trial_is_synthetic_in_each_section(run):
    page = run["all"].read_text()
    assert page.count('class="tag"') == page.count("<section")
    real = {"name": "real", "title": "Real", "synthetic": False, "data_cut": "2026-01-31"}
    text = report.build(fixture.results(), fixture.context(trial=real), [], jobs.SCANS, [], {}, [])
    assert "ynthetic" not in text.replace("SYNTHETIC", "ynthetic")


def test_report_escapes_what_comes_from_data(run):
    page = run["all"].read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "3 slices missing &amp; more" in page


def test_summary_numbers_are_those_of_the_results(run):
    page = run["all"].read_text()
    frame = fixture.frame()
    rows = frame[
        (frame["METHOD"] == "ancova")
        & (frame["PARAMCD"] == "VO2MAX")
        & (frame["AVISIT"] == "Week 12")
        & (frame["STRATUM"] == "all")
        & (frame["COMPARISON"] == "EG - CG")
    ].set_index("STAT")["VALUE"]
    sentence = re.search(r'<p class="result">(.*?)</p>', page)[1]
    assert f">{rows['estimate']:.2f}</span> mL/kg/min (95% CI" in sentence
    assert f"{rows['ci_low']:.2f}</span> to " in sentence
    assert 'data-address="ancova.VO2MAX.week12.all||EG - CG||estimate"' in sentence


def test_report_of_one_patient_says_what_was_not_estimated(run):
    text = " ".join(outline(run["grade2"].read_text()).text)
    assert "not estimated: 1 patient in an arm" in text
    assert "Peak oxygen uptake (Week 6, Week 12)" in text


def test_report_without_patients_says_so(run):
    page = run["nobody"].read_text()
    assert "No patient of this trial belongs to the stratum nobody" in page
    assert "<table" not in page
    outline(page)


def test_second_report_has_the_same_bytes(run, tmp_path):
    again = jobs.stratum_report(tmp_path / "elsewhere", "all")
    assert again.read_bytes() == run["all"].read_bytes()


def test_trial_without_scans_has_a_report():
    frame = fixture.frame()
    frame = frame[~frame["LEVEL"].str.startswith("scans_")]
    text = report.build(
        fixture.results(table=frame), fixture.context(), [], pd.DataFrame(), [], {}, []
    )
    assert "The trial has no scan of its own" in text


def test_scans_of_a_stratum():
    scans = pd.DataFrame({"USUBJID": ["1", "2", "3"], "status": "ok"})
    subjects = pd.DataFrame({"USUBJID": ["1", "2", "3"], "SEVERITY": ["I", "II", "I"]})
    stratum = {"path": "grade1", "label": "I", "column": "SEVERITY", "value": "I"}
    assert list(report.of_stratum(scans, subjects, stratum)["USUBJID"]) == ["1", "3"]
    everybody = {"path": "all", "label": "All", "column": "", "value": ""}
    assert len(report.of_stratum(scans, subjects, everybody)) == 3


def test_methods_name_models_families_and_versions():
    said = methods.paragraphs(fixture.context(), {"ancova": [fixture.MODEL]}, {"Tool": "1.2"})
    text = " ".join(said)
    assert f"ANCOVA: {fixture.MODEL}." in text
    assert "Imaging biomarkers (Emphysema (LAA-950), 15th percentile of lung density and " in text
    assert "Benjamini-Hochberg" in text
    assert text.endswith("Tool 1.2.")
    assert "the change of Peak oxygen uptake from Baseline to Week 12, analysed by ANCOVA." in text
    assert "Whether the effect depends on Severity was tested in all patients" in text
    assert "p values within a stratum are not adjusted" in text
    assert "ICC(A,1)" in text
    assert "mixed model uses" not in text  # it has no model line here


def test_methods_name_each_limit_of_an_analysis_set():
    sets = {
        "ITT": {"label": "Intention to treat", "rule": "randomised"},
        "PP": {
            "label": "Per protocol",
            "rule": "completers",
            "no_events": ["relapse", "surgery"],
            "require": [{"param": "VO2MAX", "visit": "Week 12"}],
            "adherence_pct": 80,
        },
    }
    plan = {**fixture.plan(), "populations": sets}
    text = " ".join(methods.paragraphs(fixture.context(plan=plan), {}, {}))
    assert "Intention to treat (ITT): all randomised patients; Per protocol (PP): " in text
    assert (
        " without relapse or surgery and with Peak oxygen uptake at Week 12 and with at least 80% "
        "of their planned sessions attended."
    ) in text


def test_methods_name_every_analysis_of_the_plan():
    analyses = {
        "within_arm": {"method": "t", "adjust": "bh"},
        "arm_tests": {"method": "published"},
        "rm_anova": {},
        "association": {"x": ["FEV1"], "y": ["VO2MAX"], "values": "CHG", "by_arm": True},
        "stepwise": {"response": "FEV1", "response_visit": "Week 12", "candidates": ["AGE"]},
        "responders": {"endpoints": [], "missing": "nonresponder"},
        "imputation": {"strategies": ["mar", "j2r"], "method": "bayes", "n_imputations": 50},
    }
    plan = {**fixture.plan(), "analyses": {**fixture.plan()["analyses"], **analyses}}
    models = {"ancova": [fixture.MODEL], "mmrm": ["CHG ~ x"]}
    text = " ".join(methods.paragraphs(fixture.context(plan=plan), models, {}))
    for said in (
        "paired t tests, p values adjusted by Benjamini-Hochberg (false discovery rate) over",
        "without adjustment, by Student's t test (the Mann-Whitney test where Shapiro-Wilk",
        "Greenhouse-Geisser",
        "Pearson correlations of changes from baseline were computed within each arm, p values",
        "Stepwise regression of FEV1 at Week 12 let variables in at p < 0.05",
        "patients without a value were counted as no responder",
        "imputed 50 times, joined by Rubin's rules, under the assumptions missing at random and "
        "jump to reference",
        "the MMRM uses all visits",
    ):
        assert said in text
    assert "Missing values were not imputed" not in text


def test_methods_of_a_small_plan_say_no_more_than_was_done():
    plan = {**fixture.plan(), "families": [], "analyses": {"describe": {}}}
    plan["populations"]["PP"] = {
        "label": "Per protocol",
        "rule": "completers",
        "no_events": ["death"],
        "require": [{"param": "FEV1", "visit": "Week 12"}],
    }
    text = " ".join(methods.paragraphs(fixture.context(plan=plan, strata=[]), {}, {}))
    assert "who completed the trial without death and with FEV1 at Week 12." in text
    assert "CHG" not in text
    for word in (
        "Multiplicity",
        "Agreement",
        "ANCOVA uses",
        "Whether",
        "log scale",
        "standardised",
    ):
        assert word not in text


def test_caption_of_a_figure_names_its_analysis_and_patients():
    found, trial = fixture.results("grade1"), fixture.context("grade1")
    trend = figure_trend.caption(found, trial, fixture.DISPLAYS["figure_trend"])
    assert trend.startswith("Least squares means of the mixed model with 95% CI")
    assert trend.endswith("Analysis set: Intention to treat (ITT); Grade 1")
    assert figure_flow.caption(found, trial, fixture.DISPLAYS["figure_flow"]) == "Grade 1"


def picture(path, size=(900, 400)):
    """Write a picture that doesn't compress away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = Image.effect_noise(size, 60)
    noise.putpixel((0, 0), 0)
    noise.save(path)


@pytest.fixture
def scanned(tmp_path):
    """Make a folder of a run with two patients, one bad scan and one flag."""
    root = tmp_path / "run"
    scans, rows = [], []
    for subject in ("P1", "<script>"):
        for visit in fixture.VISITS[:2]:
            bad = subject == "P1" and visit["name"] == "Week 6"
            scans.append(
                [
                    subject,
                    visit["name"],
                    "hrct_insp",
                    "excluded" if bad else "ok",
                    "ingest" if bad else "",
                    "slices missing & more" if bad else "",
                ]
            )
            path = root / "visit" / subject / visit["path"] / "hrct_insp" / "quality.png"
            if bad:
                path.parent.mkdir(parents=True)
                path.touch()
                continue
            picture(path)
            rows.append(
                [
                    subject,
                    visit["name"],
                    "hrct_insp",
                    4321.25,
                    "noise high; low volume" if visit["name"] == "Week 6" else "",
                ]
            )
    picture(root / "visit" / "P1" / "baseline" / "prm" / "prm.png")
    picture(root / "subject" / "<script>" / "week06_to_baseline" / "registration.png")
    return SimpleNamespace(
        root=root,
        pictures=sorted(str(p) for p in root.rglob("*.png")),
        scans=pd.DataFrame(scans, columns=jobs.SCANS.columns),
        quality=pd.DataFrame(rows, columns=["USUBJID", "AVISIT", "SERIES", "volume_ml", "flags"]),
        registrations=pd.DataFrame(
            [["<script>", "Week 6", "to_baseline", 0.98765]],
            columns=["USUBJID", "AVISIT", "SERIES", "dice"],
        ),
    )


def test_quality_page(scanned):
    folder = scanned.root / "cohort"
    folder.mkdir()
    for name in ("scans", "quality", "registrations"):
        tables.write(getattr(scanned, name), folder / f"{name}.tsv")
    page = scanned.root / "report" / "quality.html"
    trial = fixture.context().trial
    jobs.execute(
        "report_quality",
        {
            "pictures": scanned.pictures[:3],
            "registration_pictures": scanned.pictures[3:],
            "prm_pictures": [],
            **{n: folder / f"{n}.tsv" for n in ("scans", "quality", "registrations")},
        },
        {"page": page},
        SimpleNamespace(visits=fixture.VISITS, trial=trial, code="c0de"),
    )
    text = page.read_text()
    outline(text)
    assert "<script" not in text
    assert "slices missing &amp; more" in text
    assert text.count("data:image/png;base64,") == 5
    assert "0.9877" in text
    assert '<span class="flag">noise high</span>' in text
    assert "Registration to baseline" in text
    assert "Parametric response map" in text
    assert text.index("Excluded scans") < text.index("Flagged scans") < text.index("All scans")
    assert str(scanned.root) not in text


def page_with(scanned, trust):
    trial = {"title": "T", "synthetic": False, "data_cut": None}
    return quality.build(
        [], scanned.registrations, scanned.quality, scanned.scans, fixture.VISITS, trial, {},
        scanned.root / "quality.html", trust,
    )  # fmt: skip


def test_quality_page_tells_how_far_label_maps_are_trusted(scanned):
    trust = pd.DataFrame(
        [
            ["P1", "Baseline", "hrct_insp", "lobes", "network", 4000, 0.97, 0.4, "", 0.98, 2, "",
             ""],
            ["P1", "Week 6", "hrct_insp", "lobes", "network", 4000, 0.91, 1.2, "<unlike>", 0.9, 9,
             "they differ", ""],
            ["P2", "Baseline", "hrct_insp", "lobes", "network", 4000, 0.95, 0.6, None, None, None,
             None, "LAV950: 3 further readings"],
            ["P2", "Baseline", "hrct_insp", "airways", "network", 0, None, 0.6, None, None, None,
             None, None],
        ],
        columns=doubts.COLUMNS,
    )  # fmt: skip
    text = page_with(scanned, trust)
    rows = re.findall(r'<tr><th scope="row">(?:lobes|airways).*?</tr>', text)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    assert cells == [
        ["lobes", "network", "3", "2", "0.95 (0.91 to 0.97)", "0.60 (0.40 to 1.20)",
         "0.94 (0.90 to 0.98)"],
        ["airways", "network", "1", "0", "", "0.60 (0.60 to 0.60)", ""],
    ]  # fmt: skip
    assert "<td>network: &lt;unlike&gt;; cross-check: they differ</td>" in text
    assert "<td>spread: LAV950: 3 further readings</td>" in text
    outline(text)
    assert "No label map is doubted." in page_with(scanned, trust.iloc[[0]])


@pytest.mark.parametrize("trust", [None, pd.DataFrame(columns=doubts.COLUMNS)])
def test_without_maps_of_the_run_there_is_no_word_of_trust(scanned, trust):
    assert "Trust in label maps" not in page_with(scanned, trust)


def test_quality_page_keeps_within_its_budget(scanned):
    pictures = [p for p in scanned.pictures if "baseline" in p]
    full = quality.thumbnails(pictures, 10**9)
    large = sum(map(len, full.values()))
    smaller = quality.thumbnails(pictures, large // 3)
    assert set(smaller) == set(full)
    assert sum(map(len, smaller.values())) <= large // 3
    least = max(len(quality.encoded(path, quality.WIDTHS[-1])) for path in pictures)
    assert set(quality.thumbnails(pictures, least, {pictures[-1]})) == {pictures[-1]}


def test_unreadable_picture_is_linked(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG not really")
    assert quality.encoded(path, 100) is None


def test_place_of_a_file():
    assert quality.place("R/visit/S/week06/hrct_insp/quality.png") == ("S", "week06", "hrct_insp")
    assert quality.place("R/subject/S/week06_to_baseline/registration.png") == (
        "S",
        "week06",
        "to_baseline",
    )


def test_flags():
    assert quality.flags({"flags": "a; b: 5 mm, not 2 mm", "x": 1}) == ["a", "b: 5 mm, not 2 mm"]
    assert quality.flags({"flag_noise": True, "flag_kernel": False, "flags": "ok"}) == ["noise"]
    assert quality.flags({"flags": float("nan")}) == []
