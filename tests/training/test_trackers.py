import io
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.cli._parser import make_parser
from isthmus.training import Checkpoint
from isthmus.training.tracker import FAILED, FINISHED, KILLED, Tracker, as_metrics, as_sheet
from isthmus.training.trackers import MLflow, TensorBoard, _database, make_trackers

X = load_digits().images[:300] / 16
SMALL = {"n_components": 2, "hidden": (8,), "epochs": 5, "random_state": 0}
SHEETS = ["reconstructions", "samples", "best/reconstructions", "best/samples"]


class Recorder(Tracker):
    """A tracker that records its calls, in a store that outlives it like a server."""

    def __init__(self, store=None, **options):
        super().__init__(**options)
        self.store = {"runs": 0} if store is None else store
        self.points, self.sheets, self.status = [], [], None

    def start_run(self):
        if not self.run:
            self.store["runs"] += 1
            self.run = str(self.store["runs"])
        return max(self.store.setdefault(self.run, {}), default=0)

    def log_metrics(self, values, epoch):
        assert epoch not in self.store[self.run]
        self.store[self.run][epoch] = values

    def log_image(self, name, pixels, epoch):
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        self.sheets.append((name, epoch, pixels))

    def end_run(self, status):
        self.status = status


class After(isthmus.Callback):
    """Do something after an epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_epoch(self, trainer, record):
        if record["epoch"] == self.epoch:
            self.action()


def fit(*callbacks, data=X, model=isthmus.VAE, resume_from=None, **settings):
    return model(**SMALL | settings).fit(data, callbacks=callbacks, resume_from=resume_from)


def interrupt():
    raise KeyboardInterrupt


def learned(points):
    """Return metrics by epoch without the speed, which differs if an epoch is repeated."""
    return {
        epoch: {name: value for name, value in values.items() if not name.startswith("speed")}
        for epoch, values in points.items()
    }


# ---------------------------------------------------------- calls of every tracker


def test_a_tracker_receives_settings_metrics_and_images():
    recorder = Recorder()
    model = fit(recorder)
    plain = fit()
    assert (model.transform(X) == plain.transform(X)).all()
    assert recorder.store["1"] == {r["epoch"]: as_metrics(r) for r in model.history_}
    assert recorder.settings["model"] == "VAE"
    assert recorder.settings["hidden"] == "8"
    assert recorder.settings["rows"] == 270
    assert [(name, epoch) for name, epoch, _ in recorder.sheets] == [
        *((name, epoch) for epoch in (1, 2, 4) for name in SHEETS[:2]),
        *((name, 5) for name in SHEETS[2:]),
    ]
    assert recorder.status == FINISHED


def test_reconstructions_are_below_their_rows():
    recorder = Recorder()
    fit(recorder, likelihood="bernoulli")
    sheet = recorder.sheets[0][2]
    cell = sheet[: sheet.shape[0] // 2, : sheet.shape[1] // 8, 0]
    rows = np.stack([as_sheet(x[None], 1)[..., 0] for x in X])
    step = cell.shape[1] // 9  # eight pixels and what is between
    small = rows[:, :: rows.shape[1] // 9, :: rows.shape[2] // 9]
    assert (small == cell[::step, ::step]).all((1, 2)).any()


def test_sheets_are_white_between_images_and_at_missing_values():
    pictures = np.zeros((3, 8, 8))
    pictures[1, 0, 0] = np.nan
    sheet = as_sheet(pictures, 2)
    assert (sheet[-1] == 255).all()
    assert sheet.shape[1] >= 480
    assert set(np.unique(sheet)) == {0, 255}
    assert as_sheet(np.zeros((2, 3, 600, 600)), 2).shape == (660, 1320, 3)


def test_tables_have_no_images_and_models_without_a_prior_no_samples():
    recorder = Recorder()
    fit(recorder, data=X.reshape(len(X), -1))
    assert not recorder.sheets
    recorder = Recorder(images=False)
    fit(recorder)
    assert not recorder.sheets
    recorder = Recorder()
    fit(recorder, model=isthmus.Autoencoder)
    assert {name for name, _, _ in recorder.sheets} == {SHEETS[0], SHEETS[2]}


def test_conditions_and_missing_values_have_images():
    recorder = Recorder()
    y = load_digits().target[: len(X)]
    isthmus.ConditionalVAE(**SMALL).fit(X, y, callbacks=[recorder])
    assert len(recorder.sheets) == 8
    recorder, holes = Recorder(), X.copy()
    holes[:, 2, 2] = np.nan
    fit(recorder, data=holes, missing="ignore")
    assert len(recorder.sheets) == 8


@pytest.mark.parametrize(("action", "status"), [(interrupt, KILLED), (lambda: 1 / 0, FAILED)])
def test_the_tracker_receives_the_status(action, status):
    recorder = Recorder()
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
        fit(recorder, After(3, action))
    assert recorder.status == status
    assert list(recorder.store["1"]) == [1, 2, 3]


def test_divergence_has_the_status_failed():
    recorder = Recorder()
    with pytest.warns(RuntimeWarning, match="diverged"):
        fit(recorder, learning_rate=1e18)
    assert recorder.status == FAILED


def test_a_resumed_run_continues_in_its_tracker(tmp_path):
    first = Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(tmp_path), first, After(3, interrupt))
    second = Recorder(first.store)
    model = fit(second, resume_from=tmp_path)
    assert first.store["runs"] == 1
    assert learned(first.store["1"]) == learned({r["epoch"]: as_metrics(r) for r in model.history_})
    assert [epoch for _, epoch, _ in second.sheets] == [4, 4, 5, 5]


def test_points_beyond_the_checkpoint_are_not_written_twice(tmp_path):
    first = Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(tmp_path), first, After(2, interrupt))
    first.store["1"][3] = {}  # the power failed after this and before the next checkpoint
    fit(Recorder(first.store), resume_from=tmp_path)
    assert first.store["1"][3] == {}
    assert list(first.store["1"]) == [1, 2, 3, 4, 5]


def test_a_tracker_added_on_resume_receives_all_epochs(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(tmp_path), After(3, interrupt))
    recorder = Recorder()
    fit(recorder, resume_from=tmp_path)
    assert list(recorder.store["1"]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("what", ["start_run", "log_metrics", "log_image", "end_run"])
def test_a_failing_tracker_warns_once_and_training_continues(monkeypatch, what):
    def gone(*given):
        raise OSError(28, "No space left on device")

    recorder = Recorder()
    monkeypatch.setattr(recorder, what, gone)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fit(recorder)
    assert [str(w.message) for w in caught] == [
        "could not write to Recorder (No space left on device); training continues without it."
    ]
    assert model.n_iter_ == 5


def test_one_tracker_logs_two_runs():
    recorder = Recorder()
    fit(recorder)
    fit(recorder)
    assert recorder.store["runs"] == 2
    assert list(recorder.store["2"]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("make", "library"),
    [(lambda: TensorBoard("x"), "tensorboard"), (MLflow, "mlflow")],
)
def test_a_missing_library_raises_before_training(monkeypatch, make, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"{library}: pip install 'isthmus\[track\]'"):
        make()


def test_numpy_settings_are_logged_as_plain_numbers():
    recorder = Recorder()
    fit(recorder, n_components=np.int64(3), learning_rate=np.float32(0.5), hidden=(np.int64(8),))
    chosen = recorder.settings
    assert [type(chosen[name]) for name in ("n_components", "learning_rate")] == [int, float]
    assert (chosen["n_components"], chosen["learning_rate"], chosen["hidden"]) == (3, 0.5, "8")


# -------------------------------------------------------------------- TensorBoard


def events(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def scalars(folder):
    found = events(folder)
    return {
        tag: {point.step: point.value for point in found.Scalars(tag)}
        for tag in found.Tags()["scalars"]
    }


def without_pace(series):
    return {name: points for name, points in series.items() if not name.startswith("speed")}


def wanted(model):
    names = as_metrics(model.history_[0])
    return {
        name: {r["epoch"]: pytest.approx(as_metrics(r)[name], rel=1e-6) for r in model.history_}
        for name in names
    }


def test_tensorboard_has_the_history_and_images(tmp_path):
    pytest.importorskip("tensorboard")
    model = fit(TensorBoard(tmp_path))
    assert scalars(tmp_path) == wanted(model)
    found = events(tmp_path)
    for name in SHEETS:
        for image in found.Images(name):
            opened = Image.open(io.BytesIO(image.encoded_image_string))
            opened.load()
            assert opened.size == (504, 252 if "samples" in name else 126)
    assert [image.step for image in found.Images("samples")] == [1, 2, 4]
    assert [image.step for image in found.Images("best/samples")] == [5]


def test_tensorboard_has_the_settings_in_the_same_run(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    fit(TensorBoard(tmp_path))
    content = events(tmp_path).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["n_components"].number_value == 2
    assert settings["hidden"].string_value == "8"
    assert len(list(tmp_path.iterdir())) == 1


def test_tensorboard_has_no_duplicate_points_after_a_resume(tmp_path):
    pytest.importorskip("tensorboard")
    log, run = tmp_path / "log", tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(run), TensorBoard(log), After(3, interrupt))
    model = fit(TensorBoard(log), resume_from=run)
    found = events(log)
    assert [point.step for point in found.Scalars("train/loss")] == [1, 2, 3, 4, 5]
    assert scalars(log) == wanted(model)
    assert [image.step for image in found.Images("samples")] == [1, 2, 4]


def test_a_run_resumed_within_a_second_is_read_in_order(tmp_path, monkeypatch):
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    log, run = tmp_path / "log", tmp_path / "run"
    # The last part of a file's name, by which "10" comes before "9".
    monkeypatch.setattr(writer, "_global_uid", writer.AtomicCounter(9))
    time.sleep(1 - time.time() % 1)  # the second has just begun
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(run), TensorBoard(log), After(3, interrupt))
    model = fit(TensorBoard(log), resume_from=run)
    assert scalars(log) == wanted(model)


def test_a_different_folder_receives_the_whole_run(tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(tmp_path / "run"), TensorBoard(tmp_path / "one"), After(3, interrupt))
    model = fit(TensorBoard(tmp_path / "two"), resume_from=tmp_path / "run")
    assert scalars(tmp_path / "two") == wanted(model)


def test_a_new_run_hides_the_earlier_one(tmp_path):
    pytest.importorskip("tensorboard")
    fit(TensorBoard(tmp_path), epochs=7)
    model = fit(TensorBoard(tmp_path), epochs=2)
    assert scalars(tmp_path) == wanted(model)


def test_a_tensorboard_error_does_not_end_training(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="could not write to TensorBoard"):
        assert fit(TensorBoard(tmp_path / "file")).n_iter_ == 5


# ------------------------------------------------------------------------- MLflow


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return the address of a store of files: a database takes seconds to make."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return (tmp_path / "mlruns").as_uri()


def mlflow_runs(uri):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    number = client.get_experiment_by_name("isthmus").experiment_id
    return client, client.search_runs([number])


def metrics(client, run):
    return {
        name: {p.step: p.value for p in client.get_metric_history(run.info.run_id, name)}
        for name in run.data.metrics
    }


def test_mlflow_has_settings_metrics_images_and_status(store):
    model = fit(MLflow(store, run_name="first"))
    client, (run,) = mlflow_runs(store)
    assert metrics(client, run) == wanted(model)
    assert run.data.params["hidden"] == "8"
    assert run.info.run_name == "first"
    assert run.info.status == FINISHED
    images = [f.path for f in client.list_artifacts(run.info.run_id, "images")]
    assert sum(path.endswith(".png") for path in images) == 8


def test_mlflow_continues_the_same_run(store, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(tmp_path), MLflow(store), After(3, interrupt))
    _, (run,) = mlflow_runs(store)
    assert run.info.status == KILLED
    model = fit(MLflow(store), resume_from=tmp_path, epochs=6)
    client, (run,) = mlflow_runs(store)
    assert run.info.status == FINISHED
    assert without_pace(metrics(client, run)) == without_pace(wanted(model))
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted(p.step for p in points) == [1, 2, 3, 4, 5, 6]


def test_an_existing_mlflow_run_is_not_ended(store):
    from mlflow import MlflowClient

    client = MlflowClient(store)
    run = client.create_run(client.create_experiment("isthmus"))
    client.log_param(run.info.run_id, "beta", "mine")
    fit(MLflow(store, run_id=run.info.run_id), model=isthmus.BetaVAE)
    client, (run,) = mlflow_runs(store)
    assert run.info.status == "RUNNING"
    assert run.data.params["beta"] == "mine"
    assert "train/loss" in run.data.metrics


def test_an_unreachable_server_does_not_end_training(monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.warns(RuntimeWarning, match="could not write to MLflow") as caught:
        assert fit(MLflow(f"http://127.0.0.1:{port}")).n_iter_ == 5
    assert len(caught) == 1


def test_an_experiment_created_by_another_process_is_used(monkeypatch):
    exceptions = pytest.importorskip("mlflow.exceptions")

    class Store:
        """A store in which another process was faster."""

        made = None

        def get_experiment_by_name(self, name):
            return self.made

        def create_experiment(self, name, artifacts):
            self.made = type("Experiment", (), {"experiment_id": "7"}) if name == "shared" else None
            raise exceptions.MlflowException("somebody was faster, or it may not be")

    tracker = MLflow()
    tracker.client = Store()
    assert tracker._experiment_id("shared", None) == "7"
    tracker.client = Store()
    with pytest.raises(exceptions.MlflowException, match="may not be"):
        tracker._experiment_id("refused", None)


@pytest.mark.parametrize(
    ("uri", "folder"),
    [(None, None), ("http://a:5000", None), ("databricks", None), ("/a/b", Path("/a/b"))],
)
def test_paths_are_folders_and_addresses_are_not(uri, folder):
    pytest.importorskip("mlflow")
    assert MLflow(uri)._folder() == folder


@pytest.mark.usefixtures("undrawn_report")
def test_a_folder_of_any_name_has_its_own_database(tmp_path):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    for name in ("a b", "a%20b", "a?b", "a#b", "ü"):
        url = sqlalchemy.make_url(_database(tmp_path / name))
        assert (url.database, url.query) == (str(tmp_path / name / "mlflow.db"), {})


@pytest.mark.slow
def test_processes_started_together_share_a_new_folder(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    code = (
        "import sys, numpy as np, isthmus; from isthmus.training.trackers import MLflow;"
        "tracker = MLflow(sys.argv[1]);"
        "isthmus.VAE(epochs=1, hidden=(4,)).fit(np.eye(40), callbacks=[tracker]);"
        "sys.exit(tracker.failed)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a%20b")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert {path.name for path in tmp_path.iterdir()} >= {"a%20b"}
    assert len(mlflow_runs(_database(tmp_path / "a%20b"))[1]) == 3


@pytest.mark.slow
def test_a_folder_has_a_database_and_images(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    model = fit(MLflow(tmp_path / "here"))
    client, (run,) = mlflow_runs(f"sqlite:///{tmp_path / 'here' / 'mlflow.db'}")
    assert metrics(client, run) == wanted(model)
    assert list((tmp_path / "here" / "artifacts").rglob("*.png"))


# --------------------------------------------------------------- by name, of `isthmus fit`


RUN = Path("runs/first")


def test_trackers_are_made_by_name():
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    board, mlflow = make_trackers(["tensorboard", "mlflow"], None, RUN)
    assert board.log_dir == RUN / "tensorboard"
    assert mlflow.run_name == "first"
    assert make_trackers(["tensorboard"], "logs", RUN)[0].log_dir == Path("logs")
    assert make_trackers(["mlflow"], "sqlite:///x.db", RUN)[0].tracking_uri == "sqlite:///x.db"


@pytest.mark.parametrize("names", [[], ["tensorboard", "mlflow"]])
def test_track_to_needs_exactly_one_tracker(names):
    with pytest.raises(ValueError, match=f"--track names {len(names)}"):
        make_trackers(names, "logs", RUN)


def test_flags_are_read_and_checked(capsys):
    read = make_parser().parse_args
    assert read(["fit", "digits"]).track == []
    given = read(["fit", "digits", "--track", "mlflow,tensorboard,mlflow"])
    assert given.track == ["mlflow", "tensorboard"]
    assert main(["fit", "digits", "--track", "tensorbord"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean 'tensorboard'?" in said
    assert said.count("\n") == 1


# ------------------------------------------------------------------- docs/callbacks.md


def test_the_callback_in_the_docs_runs_and_has_at_most_ten_lines(capsys):
    page = Path(__file__).parents[2] / "docs" / "callbacks.md"
    code = page.read_text().split("```python")[1].split("```")[0]
    own = code[code.index("class ") :].partition("\n\n\n")[0]
    assert len(own.strip().splitlines()) <= 10
    exec(compile(code, str(page), "exec"), {})
    assert "from 0.003 to 0.0\n" in capsys.readouterr().out


# ---------------------------------------------------------------------- `isthmus fit`


@pytest.mark.usefixtures("undrawn_report")
def test_the_command_line_tracks_and_resumes_a_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard")
    from isthmus.training.training_log import TrainingLog

    out = tmp_path / "run"
    flags = ["fit", "digits", "--out", str(out), "--track", "tensorboard", "--epochs", "4"]
    with monkeypatch.context() as patched:
        patched.setattr(TrainingLog, "on_epoch", After(2, interrupt).on_epoch)
        assert main([*flags, "--hidden", "8", "--random-state", "0"]) == 130
    assert "--resume --track tensorboard" in capsys.readouterr().err
    assert main([*flags, "--resume"]) == 0
    found = events(out / "tensorboard")
    assert [point.step for point in found.Scalars("train/loss")] == [1, 2, 3, 4]
    assert main([*flags, "--track", "mlflow,tensorboard", "--track-to", "x", "--force"]) == 2
    assert "--track names 2" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["memory", "disk", "loader"])
def test_reconstructions_use_the_conditions_of_their_rows(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.data.disk_array.MAX_IN_MEMORY", 0)
    labels = np.random.default_rng(0).integers(0, 3, 4000)
    rows = np.ones((4000, 8, 8), "f4") * labels[:, None, None] / 2
    np.save(tmp_path / "x.npy", rows)
    recorder, model = Recorder(), isthmus.ConditionalVAE(**SMALL | {"epochs": 1})
    if kind == "loader":
        batches = list(zip(np.array_split(rows, 9), np.array_split(labels, 9), strict=True))
        model.fit_loader(batches, callbacks=[recorder])
    else:
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r" if kind == "disk" else None)
        model.fit(mapped, labels, callbacks=[recorder])
    x, c = recorder.shown
    values = model.scaler_.inverse_transform(x.numpy()).mean((1, 2))
    assert (2 * values).round().tolist() == c.argmax(1).tolist()
