"""What stands behind the numbers of a report, as data and in a browser."""

import html
import json
import re
import shutil
import subprocess
from urllib.parse import quote

import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit import reporting_jobs as jobs

from lungitude import tables
from lungitude.reporting import lineage, pages

BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
ADDRESS = "ancova.VO2MAX.week12.all||EG - CG||estimate"
HOSTILE = "</script><b>P3</b>"


def cohort():
    """Three patients: one of each arm, and one with a hostile name and no change."""
    subjects = pd.DataFrame(
        {
            "USUBJID": ["P1", "P2", HOSTILE],
            "TRT01P": ["EG", "CG", "EG"],
            "ITTFL": ["Y", "Y", "Y"],
            "PPROTFL": ["Y", "N", "N"],
            "AGE": [61.0, 70.0, None],
        }
    )
    rows = [
        ["P1", "VO2MAX", "Week 12", 18.25, 1.5, "imported"],
        ["P2", "VO2MAX", "Week 12", 16.0, -0.5, "imported"],
        [HOSTILE, "VO2MAX", "Week 12", 15.0, None, "scan"],
        ["P1", "VO2MAX", "Baseline", 16.75, None, "imported"],
    ]
    names = ["USUBJID", "PARAMCD", "AVISIT", "AVAL", "CHG", "SOURCE"]
    records = pd.DataFrame(rows, columns=names).assign(ANL01FL="Y")
    scans = pd.DataFrame([[HOSTILE, "Week 12"]], columns=["USUBJID", "AVISIT"])
    return subjects, records, scans


def behind(address=ADDRESS):
    body = f'<span data-address="{html.escape(address)}">1.8</span>'
    return lineage.of_page(body, fixture.results(), fixture.context(), *cohort())


def test_a_number_leads_to_its_row_and_the_values_behind_it():
    found = behind()
    assert list(found["numbers"]) == [ADDRESS]
    row = dict(zip(found["columns"], found["numbers"][ADDRESS], strict=True))
    frame = fixture.frame()
    wanted = frame[
        (frame["ANALYSISID"] == "ancova.VO2MAX.week12.all")
        & (frame["STAT"] == "estimate")
        & (frame["COMPARISON"] == "EG - CG")
    ].iloc[0]
    assert row["VALUE"] == pytest.approx(wanted["VALUE"], rel=1e-9)
    # Patients stand in the order of their names; a change that is missing stays missing.
    assert found["patients"]["id"] == [HOSTILE, "P1", "P2"]
    assert found["patients"]["flags"]["PPROTFL"] == "NYN"
    assert found["values"]["VO2MAX"]["Week 12"] == [
        [1, 18.25, 1.5, 0],
        [2, 16.0, -0.5, 0],
        [0, 15.0, None, 1],
    ]
    assert found["scans"] == {"Week 12": {0: pages.anchor(HOSTILE, "Week 12")}}


def test_numbers_that_the_page_does_not_show_are_not_carried():
    assert behind("nothing.here")["numbers"] == {}
    assert behind("nothing.here")["values"] == {}


def test_the_data_can_not_leave_its_script():
    text = lineage.embed(behind())
    assert "<" not in text
    assert ">" not in text
    assert json.loads(text)["patients"]["id"][0] == HOSTILE


def test_the_same_data_give_the_same_bytes():
    assert lineage.embed(behind()) == lineage.embed(behind())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    subjects, records, scans = cohort()
    scans = pd.concat([scans.assign(SERIES="hrct", status="ok", stage="", reason=""), jobs.SCANS])
    tables.write_parquet(subjects, folder / "adsl.parquet")
    tables.write_parquet(records, folder / "adfun.parquet")
    more = {name: folder / f"{name}.parquet" for name in ("adsl", "adfun")}
    return jobs.stratum_report(folder, "all", scans=scans, more=more)


def seen(page, fragment=""):
    """Return the page as a browser without network shows it, and what it complained about."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-sync", "--enable-logging=stderr"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=4000"]
    command += [f"--user-data-dir={page.parent / 'browser'}", "--dump-dom"]
    run = subprocess.run(
        [*command, f"{page.as_uri()}{fragment}"], capture_output=True, text=True, timeout=120
    )
    return run.stdout, [line for line in run.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_what_stands_behind_a_number(page):
    dom, complaints = seen(page, f"#number={quote(ADDRESS)}")
    assert complaints == []
    dialog = re.search(r"<dialog.*?</dialog>", dom, flags=re.S)[0]
    assert dialog.startswith('<dialog id="behind" aria-labelledby="behind-title" open="">')
    assert "3 patients with a value, 2 with a change" in dialog
    assert "\u22120.5" in dialog
    assert f"../quality.html#{pages.anchor(HOSTILE, 'Week 12')}" in dialog
    assert "&lt;/script&gt;&lt;b&gt;P3&lt;/b&gt;" in dialog  # a name is text, never markup


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_opens_the_page_without_a_complaint(page):
    dom, complaints = seen(page)
    assert complaints == []
    assert "open=" not in re.search(r"<dialog[^>]*>", dom)[0]
    assert dom.count('class="sort"') == 5  # the list of excluded scans
    assert dom.count('class="filter"') >= 2
