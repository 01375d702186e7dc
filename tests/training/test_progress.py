"""Progress: a live bar in terminals and notebooks, lines elsewhere, records of a logger."""

import io
import logging
import sys
import time
import types

import numpy as np
import pytest

import isthmus
from isthmus.search import Sweep
from isthmus.training.progress import LOGGER, NotebookBar, ProgressBar, progress_callbacks

X = np.random.default_rng(0).normal(size=(60, 4))
FAST = {"epochs": 3, "hidden": (4,), "n_components": 2, "random_state": 0, "batch_size": 16}
FIELDS = ("loss", "reconstruction", "kl", "penalty", "valid_loss", "seconds", "examples_per_second")


def fit(**settings):
    return isthmus.VAE(**FAST | settings).fit(X)


def displays(how):
    return [type(c).__name__ for c in progress_callbacks(how)[1:]]


@pytest.fixture
def notebook(monkeypatch):
    """Let this process look like a Jupyter kernel; return what each of its outputs has shown."""
    outputs = []

    class Handle:
        def update(self, content, raw):
            assert raw
            outputs[-1].append(content["text/plain"])

    def display(content, raw, display_id):
        assert raw
        assert display_id is True
        outputs.append([content["text/plain"]])
        return Handle()

    shell = types.SimpleNamespace(kernel=None)
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    return outputs


@pytest.mark.parametrize("how", ["auto", "bar"])
def test_a_notebook_shows_one_line_that_is_updated(how, notebook, capsys):
    fit(progress=how)
    assert len(notebook) == 1
    assert all("\n" not in text and "\x1b" not in text for text in notebook[0])
    assert notebook[0][0].startswith("epoch 1/3 ")
    for words in ("epoch 3/3 ━━━━━━━━━━ loss ", " rec ", " KL ", "/s 00:00"):
        assert words in notebook[0][-1]
    assert capsys.readouterr() == ("", "")


def test_a_notebook_is_updated_ten_times_per_second_at_most(notebook):
    start = time.perf_counter()
    fit(progress="auto", epochs=8)
    assert len(notebook[0]) <= 3 + (time.perf_counter() - start) / 0.1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_fit_that_fails_leaves_its_line(error, notebook):
    class Fail(isthmus.Callback):
        def on_epoch(self, trainer, record):
            raise error("stop")

    with pytest.raises(error):
        isthmus.VAE(**FAST, progress="auto").fit(X, callbacks=[Fail()])
    assert len(notebook) == 1


def test_a_warm_start_begins_a_new_bar(notebook):
    fit(progress="auto", warm_start=True).fit(X)
    assert len(notebook) == 2
    assert notebook[1][0] == notebook[0][0]
    assert "━━━━━━━━━━" not in notebook[1][1]


def test_the_display_follows_the_place(monkeypatch, notebook):
    assert displays("auto") == displays("bar") == ["NotebookBar"]
    assert displays("lines") == ["ProgressLines"]
    assert displays("none") == []
    monkeypatch.delitem(sys.modules, "IPython")
    assert displays("auto") == ["ProgressLines"]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert displays("auto") == displays("bar") == ["ProgressBar"]
    # The terminal of IPython is a terminal.
    ipython = types.SimpleNamespace(get_ipython=types.SimpleNamespace)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert displays("auto") == ["ProgressBar"]
    assert issubclass(NotebookBar, ProgressBar)


def test_the_log_holds_a_record_per_epoch(caplog):
    caplog.set_level(logging.INFO, "isthmus")
    model = fit()
    start, *epochs, end = caplog.records
    assert {r.levelno for r in caplog.records} == {logging.INFO}
    assert all(r.name.split(".")[0] == "isthmus" for r in caplog.records)
    assert [r.event for r in caplog.records] == ["start", "epoch", "epoch", "epoch", "end"]
    assert start.getMessage() == "training starts: VAE on 54 rows, up to 3 epochs"
    for record, expected in zip(epochs, model.history_, strict=True):
        assert record.getMessage().startswith(f"epoch {expected['epoch']}/3  loss ")
        assert {name: getattr(record, name) for name in FIELDS} == {
            name: expected[name] for name in FIELDS
        }
    assert end.getMessage() == (
        "training ended after 3 epochs because all epochs are done; the weights are those of "
        f"epoch {model.best_epoch_}"
    )
    assert (end.stopped, end.best_epoch) == ("epochs", model.best_epoch_)
    caplog.clear()
    model.partial_fit(X)
    assert [r.getMessage().split("  ")[0] for r in caplog.records] == ["epoch 4"]


def test_the_log_says_why_training_ended(caplog):
    caplog.set_level(logging.INFO, "isthmus")
    model = fit(epochs=60, patience=1, learning_rate=0.3)
    assert model.stopped_ == caplog.records[-1].stopped == "patience"
    assert "because the validation loss no longer improves" in caplog.messages[-1]


def test_a_sweep_logs_its_groups(caplog):
    caplog.set_level(logging.INFO, "isthmus")
    Sweep(isthmus.BetaVAE(**FAST), {"beta": [1.0, 2.0]}).fit(X)
    assert "rung 1/1  group 1/1: 2 models, to 100% of the epochs" in caplog.messages


def test_without_configuration_nothing_is_printed(capfd):
    handlers = logging.getLogger("isthmus").handlers
    assert [type(handler) for handler in handlers] == [logging.NullHandler]
    fit()
    assert capfd.readouterr() == ("", "")


def test_auto_displays_nothing_if_the_log_is_printed(notebook, monkeypatch, caplog):
    caplog.set_level(logging.INFO, LOGGER.name)
    printer = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(LOGGER, "handlers", [printer])
    fit(progress="auto")
    assert notebook == []
    printer.setLevel(logging.WARNING)
    assert displays("auto") == ["NotebookBar"]
    printer.setLevel(logging.INFO)
    printer.setStream(io.StringIO())  # a file: the bar stays
    assert displays("auto") == ["NotebookBar"]


@pytest.mark.slow
def test_a_real_notebook():
    nbformat, nbclient = (pytest.importorskip(name) for name in ("nbformat", "nbclient"))
    pytest.importorskip("ipykernel")
    code = (
        "import isthmus, numpy as np\n"
        "X = np.random.default_rng(0).normal(size=(500, 4))\n"
        "isthmus.VAE(n_components=2, hidden=(4,), epochs=30, progress='auto').fit(X).n_iter_"
    )
    sheet = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(sheet, timeout=120).execute()
    bar, result = sheet.cells[0].outputs
    assert bar.data["text/plain"].startswith("epoch 30/30 ━━━━━━━━━━ loss ")
    assert "\n" not in bar.data["text/plain"]
    assert result.data["text/plain"] == "30"
