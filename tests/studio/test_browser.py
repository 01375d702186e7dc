"""Tests of the studio app in Chromium, as an exported page and with the live server.

Set ISTHMUS_SCREENSHOTS to a folder to save screenshots of all views.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.data import Dataset
from isthmus.estimators import model_io
from isthmus.evaluation import Evidence, Finding, Remedy
from isthmus.persistence.run_folder import CONFIG, HISTORY, WEIGHTS
from isthmus.studio import Bundle, write_page
from isthmus.studio.queries import ModelQueries
from isthmus.training.training_log import TRAINING_LOG, TrainingLog, remove_training_log

pytest.importorskip("onnx")
pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")
make_app = pytest.importorskip("isthmus.studio.server").make_app
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BUILT = (resources.files("isthmus.studio") / "app" / "app.js").is_file()
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(not BUILT, reason="the studio app is not built"),
]
AXE = Path(__file__).parents[2] / "studio" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = ("map", "item", "sliders", "interpolate", "samples", "impute", "anomalies", "training")
BACKENDS = ("file", pytest.param("folder", marks=pytest.mark.slow), "live")
TIMEOUT = 30_000  # milliseconds
COPY = """c => { const copy = new OffscreenCanvas(c.width, c.height);
  const pen = copy.getContext('2d', {willReadFrequently: true}); pen.drawImage(c, 0, 0);
  const data = pen.getImageData(0, 0, copy.width, copy.height).data"""


DIGITS = load_digits()
DATA = Dataset("digits", DIGITS.images[:300] / 16, DIGITS.target[:300])
FINDINGS = [
    Finding(
        "narrow code", "warning", "It is narrow.", Evidence("share", 0.4, 0.2), Remedy({"n": 8})
    ),
    Finding("prior", "note", "It has holes.", Evidence("gain", 0.3, 0.25)),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = isthmus.VAE(n_components=2, hidden=(32,), epochs=3, random_state=0).fit(DATA.X)
    folder = tmp_path_factory.mktemp("runs") / "digits"
    config = model_io.save(model, folder, {"name": "digits"})
    model_io.save_summary(folder, config, {}, [each.to_dict() for each in FINDINGS])
    return folder


@pytest.fixture(scope="module")
def bundle(run):
    return Bundle.load([run], DATA)


@pytest.fixture(scope="module")
def file(bundle, tmp_path_factory):
    """Address of the run exported as one file."""
    return write_page(bundle, tmp_path_factory.mktemp("pages") / "page.html").as_uri()


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    """Address of the run exported as a folder."""
    return write_page(bundle, tmp_path_factory.mktemp("pages") / "site").as_uri()


@pytest.fixture(scope="module")
def live(run, bundle):
    """Address of the run on the live server."""
    with served(run, lambda: bundle) as address:
        yield address


@pytest.fixture
def address(request, backend):
    """Address of the run with a backend, which is created on first use."""
    return request.getfixturevalue(backend)


@contextmanager
def served(run, load):
    """Serve a run in a thread and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        app = make_app(ModelQueries([run], load), "secret", frozenset({host}))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://{host}/?token=secret"
        finally:
            server.should_exit = True
            thread.join()


class Browser:
    """A browser that keeps the page of each address open, because loading a page is slow."""

    def __init__(self, chromium):
        self.chromium, self.pages = chromium, {}

    def page(self, address, scheme):
        """Return the page of an address, and a list of its console messages."""
        if (address, scheme) not in self.pages:
            size = {"width": 1000, "height": 700}
            page, messages = self.chromium.new_page(viewport=size, color_scheme=scheme), []
            page.set_default_timeout(TIMEOUT)
            page.on(
                "console",
                lambda m: messages.append(m.text) if m.type in ("error", "warning") else None,
            )
            page.on("pageerror", lambda error: messages.append(str(error)))
            self.pages[address, scheme] = page, messages
        return self.pages[address, scheme]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Browser(chromium)
        chromium.close()


@contextmanager
def opened(browser, address, view, scheme="light"):
    """Open a view; afterwards require an empty console and no error message."""
    page, messages = browser.page(address, scheme)
    page.goto(f"{address}#{view}")
    page.locator("main:has(h2)").get_by_role(
        "heading", name=view.capitalize(), exact=True
    ).wait_for()
    yield page
    assert page.get_by_role("alert").count() == 0, page.get_by_role("alert").inner_text()
    assert not [line for line in messages if "GPU stall" not in line]  # of software rendering


def screenshot(page, name):
    if folder := os.environ.get("ISTHMUS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def pixels(canvas):
    """Return the red channel of a canvas."""
    script = COPY + "; return [copy.width, copy.height, [...data]] }"
    width, height, data = canvas.evaluate(script)
    return np.array(data).reshape(height, width, 4)[..., 0]


def drawn(page, canvas):
    """Wait until a canvas is drawn, and return its pixels."""
    is_drawn = COPY + "; return data.some((v, i) => i % 4 < 3 && v > 0) }"
    page.wait_for_function(is_drawn, arg=canvas.element_handle())
    return pixels(canvas)


def set_slider(slider, value):
    """Move a slider as a user would; return its actual value."""
    slider.evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value
    )
    return float(slider.input_value())


def visit(page):
    """Open each view and yield its name once it is drawn."""
    for view in VIEWS:
        page.get_by_role("link", name=view.capitalize(), exact=True).click()
        page.locator("main:has(h2)").get_by_role(
            "heading", name=view.capitalize(), exact=True
        ).wait_for()
        page.locator("main :is(canvas, svg, table)").first.wait_for()
        page.wait_for_timeout(100)
        yield view


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_views_open_without_console_messages(browser, address, backend):
    with opened(browser, address, "map") as page:
        for view in visit(page):
            assert page.get_by_role("heading", level=1).inner_text() == "VAE on digits"
            screenshot(page, f"{backend}-{view}")
            if backend == "file":
                assert_fits_a_phone(page, view)
        page.get_by_role("button", name="Licences").click()
        page.get_by_text("onnxruntime-web").first.wait_for()


@pytest.mark.parametrize("backend", ["file", "live"])
def test_the_first_view_opens_with_the_findings(browser, address, backend):
    with opened(browser, address, "map") as page:
        panel = page.get_by_role("region", name="Findings")
        for text in (
            "warning",
            "narrow code",
            "It is narrow.",
            "Try n=8.",
            "share: 0.4, threshold",
        ):
            panel.get_by_text(text).first.wait_for()
        assert panel.get_by_text("It has holes.").count() == 0
        panel.get_by_role("button", name="Show all 2").click()
        panel.get_by_text("It has holes.").wait_for()
        panel.get_by_role("button", name="Show fewer").click()
        page.get_by_role("link", name="Item", exact=True).click()
        page.get_by_role("heading", name="Item", exact=True).wait_for()
        assert panel.count() == 0


def assert_fits_a_phone(page, view):
    desktop = page.viewport_size
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400, view
    screenshot(page, f"phone-{view}")
    page.set_viewport_size(desktop)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_sliders_decode_like_python(browser, address, run):
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


def test_decoding_keeps_up_with_the_pointer_at_thirty_frames_per_second(browser, file):
    """Measure only the decoding, because the drawing speed depends on the machine."""
    with opened(browser, file, "map") as page:
        stage = page.get_by_role("application")
        page.wait_for_timeout(400)
        box = stage.bounding_box()
        page.evaluate("performance.clearMeasures()")
        seconds = page.evaluate("performance.now()")
        for k in range(60):
            angle = k / 60 * 6.3
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
def test_map_decodes_positions_without_items(browser, address, backend):
    with opened(browser, address, "map") as page:
        panel = page.get_by_role("region", name="Focus")
        stage = page.get_by_role("application")
        page.wait_for_timeout(400)
        box = stage.bounding_box()
        page.mouse.move(box["x"] + 30, box["y"] + 40)  # a corner without items
        panel.get_by_text("no items nearby").first.wait_for()
        assert drawn(page, panel.locator("canvas").first).max() > 0


@pytest.mark.parametrize("backend", ["file", "live"])
def test_hidden_pixels_are_imputed(browser, address, backend):
    with opened(browser, address, "impute") as page:
        page.get_by_role("button", name="Clear mask").click()
        mask = page.get_by_label("Item to mask")
        box = mask.bounding_box()
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2, steps=12)
        page.mouse.up()
        page.get_by_text(re.compile(r"[1-9]\d* of 64 pixels hidden")).wait_for()
        imputed = page.get_by_role("img", name="imputed item")
        assert drawn(page, imputed).max() > 0
        if backend == "live":
            page.get_by_role("img", name="standard deviation of the imputed values").wait_for()


@pytest.mark.parametrize("backend", ["file", "live"])
def test_lower_threshold_flags_more_items(browser, address, backend):
    with opened(browser, address, "anomalies") as page:
        slider = page.get_by_role("slider").first
        flagged = page.get_by_text(re.compile(r"[\d,]+ of [\d,]+ flagged"))
        before = int(flagged.inner_text().split()[0].replace(",", ""))
        slider.focus()
        for _ in range(5):
            page.keyboard.press("PageDown")
        page.wait_for_timeout(200)
        assert int(flagged.inner_text().split()[0].replace(",", "")) > before


def test_interpolation_plays_automatically(browser, file):
    with opened(browser, file, "interpolate") as page:
        slider = page.get_by_role("slider", name="Position between A and B")
        page.get_by_role("button", name="Pause").wait_for()
        first = slider.input_value()
        page.wait_for_timeout(300)
        assert slider.input_value() != first


def test_click_on_a_sample_opens_it_in_the_sliders(browser, file):
    with opened(browser, file, "samples") as page:
        grid = page.locator("main .gallery button")
        drawn(page, grid.first.locator("canvas"))
        grid.first.click()
        page.get_by_role("slider", name="z1").wait_for()
        assert page.url.endswith("#sliders")


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm ci in studio/)")
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_reports_no_serious_violation(browser, file, scheme):
    with opened(browser, file, "map", scheme) as page:
        page.evaluate(AXE.read_text())
        rules = (
            "{runOnly: ['color-contrast']}" if scheme == "dark" else ""
        )  # other rules do not depend on colours
        for view in visit(page):
            found = page.evaluate(f"axe.run({rules}).then(r => r.violations)")
            serious = [v for v in found if v["impact"] in ("serious", "critical")]
            assert not serious, (view, [(v["id"], v["nodes"][0]["html"][:150]) for v in serious])
            screenshot(page, f"{scheme}-{view}")


MARKUP = "<img src=x onerror='window.ran=1'>"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with a table whose names and values contain markup, and a run on it."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    lines = [f'age,"{MARKUP}",class']
    for _ in range(60):
        lines.append(f'{rng.integers(90)},"</script>{rng.integers(3)}","{MARKUP}{rng.integers(2)}"')
    (folder / f"{MARKUP[:4]}.csv").write_text("\n".join(lines))
    options = [
        "--label",
        "class",
        "--epochs",
        "1",
        "--hidden",
        "8",
        "--random-state",
        "0",
        "--quiet",
    ]
    source = str(folder / f"{MARKUP[:4]}.csv")
    assert main(["fit", source, *options, "--page", "--out", str(folder / "run")]) == 0
    return folder


def test_markup_in_names_and_values_is_shown_as_text(browser, table):
    with opened(browser, (table / "run" / "studio.html").as_uri(), "map") as page:
        for view in visit(page):
            assert page.evaluate("window.ran") is None
            assert page.locator("img").count() == 0
            assert "<img" in page.locator("body").inner_text(), view


@pytest.mark.slow
def test_report_links_to_the_page(browser, table):
    page = browser.chromium.new_page()
    page.goto((table / "run" / "report.html").as_uri())
    page.get_by_role("link", name="Open the studio").click()
    page.get_by_role("link", name="Sliders").wait_for()
    page.close()


@pytest.mark.slow
def test_page_works_without_data(browser, table, capsys):
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
        page.get_by_text("data of this run is not included").first.wait_for()
    with opened(browser, out.as_uri(), "sliders") as page:
        values = page.get_by_role("table").first
        before = values.inner_text()
        set_slider(page.get_by_role("slider").first, 3)
        page.wait_for_timeout(500)
        assert values.inner_text() != before
    with opened(browser, out.as_uri(), "samples") as page:
        page.locator("main .gallery button").first.wait_for()


def test_training_is_followed_until_the_model_is_available(browser, run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with (
        slow_training(folder) as done,
        served(folder, lambda: Bundle.load([folder])) as address,
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
def slow_training(folder):
    """Write a training log until the yielded event is set."""
    facts = {"estimator": "vae", "params": {}, "data": {"name": "digits", "shape": [9, 8, 8]}}
    log, done = TrainingLog(folder, facts), threading.Event()
    outcome = SimpleNamespace(history=[])
    trainer = SimpleNamespace(outcome=outcome, n_epochs=lambda rows: 1000)

    def train():
        log.on_start(trainer, None)
        while not done.wait(0.05):
            epoch = len(outcome.history) + 1
            outcome.history.append({"epoch": epoch, "loss": 9 / epoch})
            log.on_epoch(trainer, outcome.history[-1])
        log.on_end(trainer, outcome)
        remove_training_log(folder)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        wait_until(lambda: log.written > 2)
        yield done
    finally:
        done.set()
        thread.join()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)
