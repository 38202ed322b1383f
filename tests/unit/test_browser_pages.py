"""The pages of a report in a browser: from disk, without network, by mouse, keys, for everybody."""

from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from unit import browser, test_lineage
from unit import reporting_fixture as fixture
from unit import reporting_jobs as jobs

from lungitude import runs, tables
from lungitude.reporting import pages, quality

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium here")
ADDRESS = test_lineage.ADDRESS
MAX_BYTES = 15_000_000


@pytest.fixture(scope="module")
def tab():
    with browser.browser(browser.NO_GRAPHICS, height=1000) as page:
        yield page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def report(folder):
    subjects, records, scans = test_lineage.cohort()
    scans = pd.concat([scans.assign(SERIES="hrct", status="ok", stage="", reason=""), jobs.SCANS])
    tables.write_parquet(subjects, folder / "adsl.parquet")
    tables.write_parquet(records, folder / "adfun.parquet")
    more = {name: folder / f"{name}.parquet" for name in ("adsl", "adfun")}
    return jobs.stratum_report(folder, "all", scans=scans, more=more)


@pytest.fixture(scope="module")
def scans_page(folder):
    """The page of quality: flags, an excluded scan, pictures, and trust in label maps."""
    root = folder / "scans"
    picture = root / "visit/P001/baseline/hrct_insp/quality.png"
    picture.parent.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (60, 180, 3), np.uint8)
    Image.fromarray(noise).save(picture)
    measured = pd.DataFrame(
        [["P001", "Baseline", "hrct_insp", 4321.25, "noise high; low volume"]],
        columns=["USUBJID", "AVISIT", "SERIES", "volume_ml", "flags"],
    )
    registrations = pd.DataFrame(
        [["P001", "Week 6", "to_baseline", "ok", "folds", 0.98]],
        columns=["USUBJID", "AVISIT", "SERIES", "status", "warnings", "dice"],
    )
    page = root / "report/quality.html"
    page.parent.mkdir()
    trial = fixture.context().trial
    text = quality.build(
        [picture], registrations, measured, jobs.SCANS, fixture.VISITS, trial, {"code": "c"}, page
    )
    page.write_text(text, encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def compared(folder):
    before = fixture.frame()
    after = before.copy()
    p = after.index[(after["METHOD"] == "ancova") & (after["STAT"] == "p")][0]
    after.loc[p, "VALUE"] = 0.2
    for name, table in (("a", before), ("b", after)):
        (folder / name / "analysis").mkdir(parents=True)
        tables.write_parquet(table, folder / name / runs.RESULTS)
        (folder / name / runs.PLAN).write_text(f"note: {name}\n", encoding="utf-8")
    return runs.write(runs.compare(folder / "a", folder / "b"), folder / "compared")


@pytest.mark.parametrize("name", ["report", "scans_page", "compared"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_opens_from_disk_and_has_no_barrier(tab, request, name, width):
    page = request.getfixturevalue(name)
    tab.resize(width, 1000)
    tab.open(page)
    assert tab.complaints == []
    assert {url.partition(":")[0] for url in tab.requests} <= {"file", "data"}
    assert sum(not url.startswith("data:") for url in tab.requests) == 1  # it needs no other file
    assert tab.barriers() == []
    assert page.stat().st_size < MAX_BYTES
    assert tab.run("document.documentElement.scrollWidth") <= width
    tab.picture(f"{name}_{width}")


def test_an_empty_stratum_has_no_barrier(tab, folder):
    tab.open(jobs.stratum_report(folder / "empty", "grade2", fixture.frame().iloc[:0]))
    assert tab.complaints == []
    assert tab.barriers() == []


def test_what_stands_behind_a_number_is_read_without_barrier(tab, report):
    tab.resize(1280, 1000)
    tab.open(report, f"#number={quote(ADDRESS)}")
    assert tab.run("document.getElementById('behind').open")
    assert tab.barriers() == []
    tab.picture("report_behind_a_number")
    place = pages.anchor(test_lineage.HOSTILE, "Week 12")
    links = tab.run("[...document.querySelectorAll('#behind a')].map(a => a.getAttribute('href'))")
    assert f"../quality.html#{place}" in links


def test_a_click_on_a_number_opens_it_and_escape_closes_it(tab, report):
    tab.resize(1280, 1000)
    tab.open(report)
    tab.click(f'main [data-address="{ADDRESS}"]')
    assert tab.run("document.getElementById('behind').open")
    assert ADDRESS in tab.run("document.getElementById('behind').textContent")
    tab.press("Escape")
    assert not tab.run("document.getElementById('behind').open")
    assert tab.complaints == []


def test_numbers_are_reached_by_keys(tab, report):
    tab.open(report)
    tab.run("document.querySelector('main .scroll:has([data-address])').focus()")
    tab.press("ArrowRight")
    tab.press("ArrowRight")
    current = tab.run("document.querySelector('.current').dataset.address")
    tab.press("Enter")
    assert tab.run("document.getElementById('behind').open")
    assert current.split("#")[0] in tab.run("document.getElementById('behind').textContent")
    tab.press("Escape")
    assert not tab.run("document.getElementById('behind').open")


def test_a_table_is_sorted_by_its_heads(tab, report):
    tab.open(report)
    column = (
        "[...document.querySelectorAll('[aria-label=\"Excluded scans\"] tbody tr')]"
        ".map(row => row.cells[0].textContent)"
    )
    before = tab.run(column)
    head = '[aria-label="Excluded scans"] thead th:first-child button'
    tab.click(head)
    up = tab.run(column)
    tab.run(f"document.querySelector('{head}').focus()")
    tab.press("Enter")
    down = tab.run(column)
    assert sorted(before) == sorted(up)
    assert up == down[::-1]
    assert len(set(up)) > 1
    said = tab.run(f"document.querySelector('{head}').closest('th').getAttribute('aria-sort')")
    assert said == "descending"


def test_scans_are_looked_through_from_the_report(tab, folder, report):
    """Where the trial has pages of its scans, a patient's values lead there."""
    text = report.read_text(encoding="utf-8")
    told = '"viewers":{"Week 12":{"0":[["hrct","../scans/P3/week12/hrct.html"]]}}'
    assert '"viewers":{}' in text
    page = report.with_name("with_viewers.html")
    page.write_text(text.replace('"viewers":{}', told, 1), encoding="utf-8")
    tab.open(page, f"#number={quote(ADDRESS)}")
    links = tab.run("[...document.querySelectorAll('#behind a')].map(a => a.getAttribute('href'))")
    assert "../scans/P3/week12/hrct.html" in links
    assert tab.barriers() == []
