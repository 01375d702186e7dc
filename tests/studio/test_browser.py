"""The studio in a real browser: each view opened, hovered, dragged and painted, in each backend.

Set ISTHMUS_SCREENSHOTS to a folder to keep a picture of each view; frame rates are printed by
``pytest -s``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import isthmus
from isthmus.cli import main
from isthmus.data import load
from isthmus.estimators import model_io
from isthmus.persistence.run_folder import CONFIG, HISTORY, WEIGHTS
from isthmus.studio import Bundle, write_page
from isthmus.training.training_log import TRAINING_LOG, TrainingLog, remove_training_log

pytest.importorskip("onnx")
pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BUILT = (resources.files("isthmus.studio") / "app" / "app.js").is_file()
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to drive"),
    pytest.mark.skipif(not BUILT, reason="the studio's app is not built (npm is not installed)"),
]
AXE = Path(__file__).parents[2] / "studio" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = ("map", "item", "sliders", "between", "samples", "repair", "anomalies", "training")
BACKENDS = ("file", pytest.param("folder", marks=pytest.mark.slow), "live")
PATIENCE = 30_000  # milliseconds
COPY = """c => { const copy = new OffscreenCanvas(c.width, c.height);
  const pen = copy.getContext('2d', {willReadFrequently: true}); pen.drawImage(c, 0, 0);
  const data = pen.getImageData(0, 0, copy.width, copy.height).data"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    X = load("digits").X
    model = isthmus.VAE(n_components=2, hidden=(64,), epochs=20, random_state=0).fit(X)
    folder = tmp_path_factory.mktemp("runs") / "digits"
    model_io.save(model, folder, load("digits").fingerprint)
    return folder


@pytest.fixture(scope="module")
def pages(run, tmp_path_factory):
    """Where the run lies as a file, and as a folder."""
    out = tmp_path_factory.mktemp("pages")
    bundle = Bundle.of([run], load("digits"), most_rows=600)
    file, index = (write_page(bundle, out / name) for name in ("page.html", "site"))
    return {"file": file.as_uri(), "folder": index.as_uri()}


@pytest.fixture(scope="module")
def live(run):
    """Where `isthmus studio` shows the run."""
    with served(run) as address:
        yield address


@pytest.fixture
def address(request, backend):
    """Where a backend shows the run; only those that are asked for are made."""
    if backend == "live":
        return request.getfixturevalue("live")
    return request.getfixturevalue("pages")[backend]


@contextmanager
def served(*runs, **options):
    """Start `isthmus studio` and yield its address."""
    command = [sys.executable, "-m", "isthmus", "studio", *map(str, runs), "--no-browser"]
    server = subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, text=True, bufsize=1, **options
    )
    try:
        for line in server.stdout:
            if found := re.search(r"http://\S+token=\S+", line):
                yield found[0]
                break
        else:
            raise AssertionError("the studio named no address")
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(20) in (0, 130)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened(browser, address, view, **options):
    """Open a view; afterwards nothing may have been said on the console."""
    page = browser.new_page(**{"viewport": {"width": 1000, "height": 700}} | options)
    page.set_default_timeout(PATIENCE)
    said = []
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        page.goto(f"{address}#{view}")
        page.get_by_role("link", name=view.capitalize(), exact=True).wait_for()
        yield page
        assert page.get_by_role("alert").count() == 0, page.get_by_role("alert").inner_text()
        assert not [line for line in said if "GPU stall" not in line]  # the software renderer's
    finally:
        page.close()


def keep(page, name):
    if folder := os.environ.get("ISTHMUS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def pixels(canvas):
    """The red channel of what a canvas shows, once something is drawn."""
    script = COPY + "; return [copy.width, copy.height, [...data]] }"
    width, height, data = canvas.evaluate(script)
    return np.array(data).reshape(height, width, 4)[..., 0]


def drawn(page, canvas):
    """Wait until a canvas shows something, and return its pixels."""
    seen = COPY + "; return data.some((v, i) => i % 4 < 3 && v > 0) }"
    page.wait_for_function(seen, arg=canvas.element_handle())
    return pixels(canvas)


def set_slider(slider, value):
    """Put a slider where a user would drag it; return where it came to stand."""
    slider.evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value
    )
    return float(slider.input_value())


def visit(page):
    """Go from view to view, and yield the name of each when it shows something."""
    for view in VIEWS:
        page.get_by_role("link", name=view.capitalize(), exact=True).click()
        page.locator("main:has(h2)").get_by_role("heading", name=view.capitalize()).wait_for()
        page.locator("main :is(canvas, svg, table)").first.wait_for()
        page.wait_for_timeout(100)
        yield view


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_view_opens_without_a_word_on_the_console(browser, address, backend):
    with opened(browser, address, "map") as page:
        for view in visit(page):
            assert page.get_by_role("heading", level=1).inner_text() == "VAE on digits"
            keep(page, f"{backend}-{view}")
        page.get_by_role("button", name="Licences").click()
        page.get_by_text("onnxruntime-web").first.wait_for()


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_sliders_decode_as_python_does(browser, address, run):
    model = isthmus.load(run)
    with opened(browser, address, "sliders") as page:
        canvas = page.get_by_role("img", name="Decoded from the sliders")
        drawn(page, canvas)
        for code in ((0.5, -1.25), (-2.0, 1.5), (0.0, 0.0)):
            z = [set_slider(page.get_by_role("slider", name=f"z{j + 1}"), code[j]) for j in (0, 1)]
            expected = model.decode(np.array([z]))[0] * 255
            page.wait_for_timeout(300)
            shown = pixels(canvas)
            assert np.abs(shown - expected).max() <= 1


def test_decoding_follows_the_pointer_at_thirty_frames_a_second(browser, pages):
    """Of what the page computes a frame: how fast the screen is drawn, the machine says."""
    with opened(browser, pages["file"], "map") as page:
        stage = page.get_by_role("application")
        page.wait_for_timeout(1500)
        box = stage.bounding_box()
        page.evaluate("performance.clearMeasures()")
        seconds = page.evaluate("performance.now()")
        for k in range(120):
            angle = k / 120 * 6.3
            page.mouse.move(
                box["x"] + box["width"] * (0.5 + 0.45 * np.cos(angle)),
                box["y"] + box["height"] * (0.5 + 0.45 * np.sin(angle)),
            )
        seconds = (page.evaluate("performance.now()") - seconds) / 1000
        took = page.evaluate("performance.getEntriesByName('decode').map(e => e.duration)")
        print(f"\n{len(took)} decodes in {seconds:.1f} s, each {np.median(took):.1f} ms")
        assert len(took) > 10
        assert np.median(took) < 1000 / 30


@pytest.mark.parametrize("backend", ["file", "live"])
def test_the_map_shows_items_and_what_empty_land_decodes_to(browser, address, backend):
    with opened(browser, address, "map") as page:
        panel = page.get_by_role("region", name="What is there")
        stage = page.get_by_role("application")
        page.wait_for_timeout(1500)
        box = stage.bounding_box()
        page.mouse.move(box["x"] + 30, box["y"] + 40)  # a corner, where no item is
        panel.get_by_text("no items near").wait_for()
        assert drawn(page, panel.locator("canvas").first).max() > 0


@pytest.mark.parametrize("backend", ["file", "live"])
def test_painting_over_a_part_completes_it(browser, address, backend):
    with opened(browser, address, "repair") as page:
        page.get_by_role("button", name="Show all").click()
        damaged = page.get_by_label("Damaged item")
        box = damaged.bounding_box()
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2, steps=12)
        page.mouse.up()
        page.get_by_text(re.compile(r"[1-9]\d* of 64 pixels hidden")).wait_for()
        completed = page.get_by_role("img", name="completed by the model")
        assert drawn(page, completed).max() > 0
        if backend == "live":
            page.get_by_role("img", name="standard deviation of the completions").wait_for()


@pytest.mark.parametrize("backend", ["file", "live"])
def test_the_threshold_flags_more_as_it_falls(browser, address, backend):
    with opened(browser, address, "anomalies") as page:
        slider = page.get_by_role("slider").first
        flagged = page.get_by_text(re.compile(r"[\d,]+ of [\d,]+ flagged"))
        before = int(flagged.inner_text().split()[0].replace(",", ""))
        slider.focus()
        for _ in range(5):
            page.keyboard.press("PageDown")
        page.wait_for_timeout(200)
        assert int(flagged.inner_text().split()[0].replace(",", "")) > before


def test_a_path_plays(browser, pages):
    with opened(browser, pages["file"], "between") as page:
        slider = page.get_by_role("slider", name="How far from A to B")
        page.get_by_role("button", name="Pause").wait_for()  # it plays by itself
        first = slider.input_value()
        page.wait_for_timeout(700)
        assert slider.input_value() != first


def test_a_sample_goes_to_the_sliders(browser, pages):
    with opened(browser, pages["file"], "samples") as page:
        sheet = page.locator("main .gallery button")
        drawn(page, sheet.first.locator("canvas"))
        sheet.first.click()
        page.get_by_role("slider", name="z1").wait_for()
        assert page.url.endswith("#sliders")


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm ci in studio/)")
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_no_serious_fault(browser, pages, scheme):
    with opened(browser, pages["file"], "map", color_scheme=scheme) as page:
        page.evaluate(AXE.read_text())
        rules = "{runOnly: ['color-contrast']}" if scheme == "dark" else ""  # nothing else differs
        for view in visit(page):
            found = page.evaluate(f"axe.run({rules}).then(r => r.violations)")
            serious = [f for f in found if f["impact"] in ("serious", "critical")]
            assert not serious, (view, [(f["id"], f["nodes"][0]["html"][:150]) for f in serious])
            keep(page, f"{scheme}-{view}")


def test_nothing_runs_over_the_edge_of_a_phone(browser, pages):
    size = {"width": 400, "height": 800}
    with opened(browser, pages["file"], "map", viewport=size) as page:
        for view in visit(page):
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, view
            keep(page, f"phone-{view}")


MARKUP = "<img src=x onerror='window.ran=1'>"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run on a table whose names and values are markup, and the table itself."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    lines = [f'age,"{MARKUP}",class']
    for _ in range(120):
        lines.append(f'{rng.integers(90)},"</script>{rng.integers(3)}","{MARKUP}{rng.integers(2)}"')
    (folder / f"{MARKUP[:4]}.csv").write_text("\n".join(lines))
    given = ["--label", "class", "--epochs", "3", "--hidden", "8", "--random-state", "0", "--quiet"]
    source = str(folder / f"{MARKUP[:4]}.csv")
    assert main(["fit", source, *given, "--page", "--out", str(folder / "run")]) == 0
    return folder


def test_markup_in_names_and_values_shows_as_text(browser, table):
    with opened(browser, (table / "run" / "studio.html").as_uri(), "map") as page:
        for view in visit(page):
            assert page.evaluate("window.ran") is None
            assert page.locator("img").count() == 0
            assert "<img" in page.locator("body").inner_text(), view


@pytest.mark.slow
def test_the_report_has_a_button_that_opens_the_live_page(browser, table):
    page = browser.new_page()
    page.goto((table / "run" / "report.html").as_uri())
    page.get_by_role("link", name="Open the studio").click()
    page.get_by_role("link", name="Sliders").wait_for()
    page.close()


@pytest.mark.slow
def test_a_run_whose_data_moved_can_still_be_moved(browser, table, capsys):
    source = table / f"{MARKUP[:4]}.csv"
    source.rename(table / "elsewhere.csv")
    try:
        out = table / "without.html"
        assert main(["export", str(table / "run"), "--page", str(out)]) == 0
    finally:
        (table / "elsewhere.csv").rename(source)
    assert "no longer at" in capsys.readouterr().out
    assert str(table) not in out.read_text()
    with opened(browser, out.as_uri(), "map") as page:
        page.get_by_text("without its data").first.wait_for()
    with opened(browser, out.as_uri(), "sliders") as page:
        shown = page.get_by_role("table").first
        before = shown.inner_text()
        set_slider(page.get_by_role("slider").first, 3)
        page.wait_for_timeout(500)
        assert shown.inner_text() != before
    with opened(browser, out.as_uri(), "samples") as page:
        page.locator("main .gallery button").first.wait_for()


def test_a_run_is_followed_while_it_trains_and_opened_when_it_is_done(browser, run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with (
        trained_slowly(folder) as done,
        served(folder) as address,
        opened(browser, address, "training") as page,
    ):
        epochs = page.get_by_role("progressbar")
        epochs.wait_for()
        first = float(epochs.get_attribute("value"))
        wait_until(lambda: float(epochs.get_attribute("value")) > first)
        done.set()
        wait_until(lambda: not (folder / TRAINING_LOG).exists())
        for name in (WEIGHTS, HISTORY, CONFIG):
            shutil.copy(run / name, folder)
        page.get_by_role("button", name="Reload").click()
        page.get_by_role("link", name="Sliders").click()
        page.get_by_role("slider").first.wait_for()


@contextmanager
def trained_slowly(folder):
    """Fill a journal as a run would, until the event is set that is yielded."""
    facts = {"estimator": "vae", "params": {}, "data": {"name": "digits", "shape": [9, 8, 8]}}
    journal, done = TrainingLog(folder, facts), threading.Event()
    outcome = SimpleNamespace(history=[])
    trainer = SimpleNamespace(outcome=outcome, n_epochs=lambda rows: 1000)

    def train():
        journal.on_start(trainer, None)
        while not done.wait(0.2):
            epoch = len(outcome.history) + 1
            outcome.history.append({"epoch": epoch, "loss": 9 / epoch})
            journal.on_epoch(trainer, outcome.history[-1])
        journal.on_end(trainer, outcome)
        remove_training_log(folder)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        wait_until(lambda: journal.written > 2)
        yield done
    finally:
        done.set()
        thread.join()


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)
