"""Looking through a scan in a browser: from disk, without network, by mouse and by keys."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from unit import browser, viewer_case

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium here")
READY = "document.getElementById('slices')?.dataset.ready"
COLOURED = {"niivue": browser.GRAPHICS, "canvas": browser.NO_GRAPHICS}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return viewer_case.page(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="module", params=COLOURED)
def tab(request):
    """A browser with WebGL2, and one without."""
    with browser.browser(COLOURED[request.param], height=1000) as page:
        page.painter = request.param
        yield page


@pytest.fixture
def page(tab, path):
    """The page as it opens, with the focus on the slices."""
    tab.resize(1280, 1000)
    tab.open(path, ready=READY)
    assert tab.run(READY) == "yes"
    tab.run("document.getElementById('slices').focus()")
    tab.settle()
    return tab


def numbers(page):
    """Return the slice numbers (axial, coronal, sagittal) as the page tells them."""
    texts = [
        page.run(f"document.getElementById('number-{name}').textContent")
        for name in ("axial", "coronal", "sagittal")
    ]
    return [int(text.split(" of ")[0]) for text in texts]


def pixels(page):
    """Return the slices as an array of RGB."""
    page.settle()
    with Image.open(io.BytesIO(page.picture(selector="#slices"))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def coloured(values):
    """Return the share of pixels that are neither grey nor of the crosshair."""
    return float((np.ptp(values, axis=-1) > 25).mean())


def opaque(page):
    """Let the lobes hide the scan."""
    page.run(
        "(() => { const e = document.getElementById('opacity-0'); e.value = 100;"
        "e.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def differ(first, second):
    return float((np.abs(first - second).max(axis=-1) > 8).mean())


def test_it_opens_from_disk_without_network_or_complaint(page, path):
    assert page.complaints == []
    assert {url.partition(":")[0] for url in page.requests} <= {"file", "data"}
    assert page.run("document.getElementById('slices').dataset.painter") == page.painter
    said = page.run("document.getElementById('by').textContent")
    assert ("NiiVue" in said) == (page.painter == "niivue")
    assert "no WebGL2" in said or page.painter == "niivue"
    values = pixels(page)
    assert values.std() > 30  # something is drawn
    assert coloured(values) > 0.1
    page.picture(f"viewer_{page.painter}")


def test_planes_stand_as_in_radiology(page):
    """The patient's right lung (orange, vermilion, yellow) is on the left, the head above."""
    page.click("label[for=layer-2]")  # without airways
    opaque(page)
    values = pixels(page)
    height, width, _ = values.shape
    axial = values[:, : round(0.36 * width)]
    warm = (axial[..., 0] - axial[..., 2]) > 30
    cold = (axial[..., 2] - axial[..., 0]) > 30
    assert warm.sum() > 500
    assert cold.sum() > 500
    assert np.median(np.nonzero(warm)[1]) < np.median(np.nonzero(cold)[1])
    # In the coronal plane, the lower lobe of the left lung (blue) lies below the upper (sky).
    coronal = values[:, round(0.37 * width) : round(0.72 * width)]
    blue = np.abs(coronal - (0x00, 0x72, 0xB2)).max(axis=-1) < 12
    sky = np.abs(coronal - (0x56, 0xB4, 0xE9)).max(axis=-1) < 12
    assert min(blue.sum(), sky.sum()) > 500
    assert np.median(np.nonzero(blue)[0]) > np.median(np.nonzero(sky)[0])
    assert height > 200


def test_arrows_scroll_the_chosen_plane(page):
    before, picture = numbers(page), pixels(page)
    for _ in range(6):
        page.press("ArrowUp")
    assert numbers(page) == [before[0] + 6, *before[1:]]
    assert differ(picture, pixels(page)) > 0.01
    for _ in range(6):
        page.press("ArrowDown")
    assert numbers(page) == before
    assert differ(picture, pixels(page)) < 0.002
    page.press("c")
    page.press("ArrowUp")
    assert numbers(page) == [before[0], before[1] + 1, before[2]]
    assert page.run("document.getElementById('plane').textContent") == "coronal"
    page.press("s")
    page.press("Home")
    assert numbers(page)[2] == 1
    page.press("ArrowDown")
    assert numbers(page)[2] == 1  # no slice before the first
    page.press("End")
    size = page.run("JSON.parse(document.getElementById('volumes').textContent).size")
    assert numbers(page)[2] == size[0]
    page.press("r")
    assert numbers(page) == before


def test_the_wheel_scrolls_the_plane_that_it_is_over(page):
    before, picture = numbers(page), pixels(page)
    page.wheel("#slices", 3, across=0.18, down=0.35)
    after = numbers(page)
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    assert differ(picture, pixels(page)) > 0.003
    page.wheel("#slices", 3, across=0.55)
    assert numbers(page)[1] != before[1]
    assert numbers(page)[0] == after[0]


def test_a_click_leads_there_and_is_told_in_words(page):
    before = numbers(page)
    page.click("#slices", across=0.55, down=0.3)  # coronal, the upper part of the chest
    after = numbers(page)
    assert after[1] == before[1]
    assert after[0] > before[0]
    page.click("#slices", across=0.30, down=0.5 if page.painter == "canvas" else 0.4)
    said = page.run("document.getElementById('where').textContent")
    assert "HU" in said
    assert "left" in said  # a lobe of the left lung, on the right of the picture


def test_windows_change_the_greys(page):
    lung = pixels(page)
    page.press("m")
    assert page.run("document.getElementById('window-mediastinum').checked")
    mediastinum = pixels(page)
    assert differ(lung, mediastinum) > 0.2
    page.click("label[for=window-lung]")
    assert differ(lung, pixels(page)) < 0.002


def test_label_maps_are_switched_and_faded(page):
    shown = coloured(pixels(page))
    page.press("o")
    hidden = coloured(pixels(page))
    assert hidden < 0.25 * shown
    assert not page.run("document.getElementById('over').checked")
    page.press("o")
    assert coloured(pixels(page)) == pytest.approx(shown, rel=0.02)
    page.click("label[for=layer-0]")
    assert coloured(pixels(page)) < 0.5 * shown
    page.press("1")  # it has the focus, not the slices: no key acts
    assert not page.run("document.getElementById('layer-0').checked")
    page.run("document.getElementById('slices').focus()")
    page.press("1")
    assert page.run("document.getElementById('layer-0').checked")
    faint = pixels(page)
    opaque(page)
    assert np.ptp(pixels(page), axis=-1).mean() > 1.5 * np.ptp(faint, axis=-1).mean()


def test_one_plane_can_be_shown_alone(page):
    three = pixels(page)
    page.press("s")
    page.press("v")
    assert page.run("document.getElementById('view-sagittal').checked")
    assert differ(three, pixels(page)) > 0.2
    page.press("v")
    assert differ(three, pixels(page)) < 0.002


def test_all_is_reached_by_the_keyboard_in_order(page, path):
    page.open(path, ready=READY)
    stops, outlines = [], {}
    for _ in range(24):
        page.press("Tab")
        stops.append(page.focused())
        outlines[stops[-1]] = page.run("getComputedStyle(document.activeElement).outlineStyle")
    wanted = ["slices", "slice-axial", "slice-coronal", "slice-sagittal", "window-lung", "view-all"]
    wanted += ["over", "layer-0", "opacity-0", "layer-1"]
    places = [stops.index(name) for name in wanted]
    assert places == sorted(places)
    assert stops.index("SUMMARY") > places[-1]
    outlines.pop("BODY", None)  # after the last one
    assert {name for name, style in outlines.items() if style == "none"} == set()  # focus is seen
    # A slider is a slider: its arrows do what the slices' do.
    before = numbers(page)
    page.run("document.getElementById('slice-axial').focus()")
    page.press("ArrowRight")
    assert numbers(page)[0] == before[0] + 1
    said = page.run("document.getElementById('slice-axial').getAttribute('aria-valuetext')")
    assert said.startswith(f"axial slice {before[0] + 1} of")


def test_there_is_no_barrier(page):
    page.run("document.querySelector('details').open = true")
    assert page.barriers() == []


def test_it_fits_a_telephone(page):
    page.resize(390, 844)
    page.settle()
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.barriers() == []
    page.picture(f"viewer_{page.painter}_telephone")


@pytest.fixture(scope="module")
def bare():
    with browser.browser() as page:
        yield page


def test_without_the_bundle_slices_are_drawn_plainly(bare, tmp_path):
    bare.open(viewer_case.page(tmp_path, bundle=False), ready=READY)
    assert bare.run("document.getElementById('slices').dataset.painter") == "canvas"
    assert "NiiVue is not beside" in bare.run("document.getElementById('by').textContent")
    assert all("ERR_FILE_NOT_FOUND" in line for line in bare.complaints)


def test_a_scan_without_label_maps_is_shown(bare, tmp_path):
    inputs = viewer_case.write(tmp_path / "visit")
    inputs |= {"lungs": [], "lungs_record": [], "prm": [], "structures": []}
    bare.open(viewer_case.page(tmp_path, inputs, columns=[]), ready=READY)
    assert bare.complaints == []
    assert bare.run("document.getElementById('slices').dataset.painter") == "niivue"
    assert "This scan has no label map." in bare.run("document.body.textContent")
    assert bare.barriers() == []


def test_an_excluded_scan_has_a_page_without_barrier(bare, tmp_path):
    inputs = viewer_case.write(tmp_path / "visit", status="excluded")
    bare.open(viewer_case.page(tmp_path, inputs))
    assert bare.complaints == []
    assert bare.barriers() == []


def test_a_barrier_would_be_found(bare, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text('<html><body><p style="color:#bbb;background:#fff">faint</p></body></html>')
    bare.open(page)
    rules = {rule for rule, _ in bare.barriers()}
    assert {"color-contrast", "document-title", "html-has-lang"} <= rules


def test_a_foreign_script_does_not_run(bare, path, tmp_path):
    """What got into the page as markup after all would not run."""
    text = path.read_text(encoding="utf-8")
    bad = tmp_path / "bad.html"
    bad.write_text(text.replace("<main>", "<main><script>window.foreign = 1</script>", 1))
    bare.open(bad)
    assert bare.run("typeof window.foreign") == "undefined"
    assert any("Content Security Policy" in line for line in bare.complaints)
    assert json.dumps(bare.requests).count("http:") == 0
