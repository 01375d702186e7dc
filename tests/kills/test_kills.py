"""A kill before every file operation: the old state or the new is there, and a command goes on."""

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from file_layer import operations, run_in_child
from sklearn.frozen import FrozenEstimator

import isthmus
from isthmus.applications import AnomalyDetector, LatentIndex, LatentSampler
from isthmus.cli import main
from isthmus.persistence.run_folder import find_checkpoints, read_config
from isthmus.training import Callback, checkpoints

PAGE = Path(__file__).parents[2] / "docs" / "promises.md"
X = np.random.default_rng(0).random((60, 4)).astype("f4")
SETTINGS = {"n_components": 2, "hidden": (8,), "epochs": 2, "progress": "none", "random_state": 0}
FLAGS = ["--n-components", "2", "--hidden", "8", "--epochs", "2", "--random-state", "0", "--quiet"]
OTHER = [*FLAGS, "--learning-rate", "0.01"]
GRID = ["--model", "beta-vae", *FLAGS, "--grid", "beta=1,2", "--max-stacked", "1"]


@dataclass
class Case:
    """A command that is killed.

    Parameters
    ----------
    prepare : function of a folder
        Makes the state before the command.
    command : function of a folder, which returns an exit code
    state : function of a folder
        Returns "old", "new" or "none"; raises if the folder holds neither.
    again : function of a folder, which returns an exit code
        Goes on after the kill.
    """

    name: str
    prepare: object
    command: object
    state: object
    again: object


class StopInSecondEpoch(Callback):
    def on_step(self, trainer, n_rows):
        if trainer.outcome.history:
            trainer.stop_request.reason = "interrupted"


def cli(*arguments):
    """Return a function of a folder that runs a command; IN stands for the folder."""
    return lambda folder: main([str(a).replace("IN", str(folder)) for a in arguments])


def fit(*flags):
    return cli("fit", "IN/data.npy", "--out", "IN/run", *flags)


def nothing(folder):
    np.save(folder / "data.npy", X)


def prepared(*steps):
    """Return a function of a folder that saves data and runs commands."""

    def prepare(folder):
        nothing(folder)
        for step in steps:
            assert not step(folder)

    return prepare


def old_run(folder):
    """Save a run, with everything that other commands add to it."""
    nothing(folder)
    assert fit(*FLAGS)(folder) == 0
    model = isthmus.load(folder / "run")
    AnomalyDetector(model).fit(X).save(folder / "run" / "detector" / "reconstruction")
    LatentIndex(FrozenEstimator(model)).fit(X).save(folder / "run" / "index")
    (folder / "run" / "evaluation.json").write_text("{}")
    (folder / "run" / "mine.txt").write_text("mine")


def interrupted_run(folder):
    nothing(folder)
    from isthmus.runs import RunOptions, fit_run

    options = RunOptions(out=folder / "run", quiet=True, callbacks=[StopInSecondEpoch()])
    run = fit_run(isthmus.VAE(**SETTINGS), folder / "data.npy", options)
    assert run.resumable


def run_without_report(folder):
    nothing(folder)
    assert fit(*FLAGS)(folder) == 0
    config = read_config(folder / "run")
    isthmus.estimators.model_io.save_summary(folder / "run", config, {})
    (folder / "run" / "report.html").unlink()


def run_state(folder):
    """Return which model is in a run; the old one must have all of its files."""
    run = folder / "run"
    if not (run / "config.json").exists():
        return "none"
    model = isthmus.load(run)  # raises if it is incomplete
    assert model.transform(X).shape == (60, 2)
    if model.learning_rate == 0.01:
        return "new"
    reference = folder.parent / "before" / "run"
    if not (reference / "config.json").exists():
        return "new"
    names = [p.relative_to(reference) for p in reference.rglob("*") if p.is_file()]
    if find_checkpoints(reference):  # those of the command replace them
        names = [name for name in names if name.stem[:10] not in ("checkpoint", "training")]
    same = all((run / n).exists() and _bytes(run / n) == _bytes(reference / n) for n in names)
    assert same or _is_later(run, reference), "an incomplete old run"
    return "old" if same else "new"


def _bytes(path):
    return path.read_bytes()


def _is_later(run, reference):
    """Whether a run is the one before, trained further or with the rest of its report."""
    more = len(isthmus.load(run).history_) > len(isthmus.load(reference).history_)
    return more or bool(read_config(run)["held_out"]) > bool(read_config(reference)["held_out"])


def resume_or_start(*flags):
    """Return a function of a folder: --resume continues or, if nothing can be, --force starts."""

    def again(folder):
        return fit("--resume", "--quiet")(folder) and fit(*flags, "--force")(folder)

    return again


def start_again(*flags):
    return fit(*flags, "--force")


def tune_state(folder):
    """Return which sweep a folder holds; before it is finished, it is the one that goes on."""
    out = folder / "run"
    best = out / "best"
    if not (best / "config.json").exists():
        return "none"
    model, results = isthmus.load(best), out / "results.csv"
    assert model.transform(X).shape == (60, 2)
    if (out / "sweep.json").exists():
        return "goes on" if model.learning_rate == 0.01 or not _old(folder) else "old"
    assert results.exists()
    return "new" if model.learning_rate == 0.01 or not _old(folder) else "old"


def _old(folder):
    return (folder.parent / "before" / "run" / "results.csv").exists()


def resume_or_tune(*flags):
    def again(folder):
        out = ("tune", "IN/data.npy", "--out", "IN/run")
        return cli(*out, "--resume", "--quiet")(folder) and cli(*out, *flags, "--force")(folder)

    return again


def model(seed):
    return isthmus.VAE(**SETTINGS | {"random_state": seed}).fit(X)


def object_case(name, make, load, value):
    """Return the case of an object that is saved over an older one of its kind."""
    objects = {}

    def saved(which):
        def save(folder):
            (make_all()[which]).save(folder / "run")
            return 0

        return save

    def make_all():
        if not objects:
            first = model(0)
            objects.update(zip(("old", "new"), make(first), strict=True), first=first)
        return objects

    def prepare(folder):
        make_all()
        saved("old")(folder)

    def state(folder):
        found = value(load(folder / "run", make_all()["first"]))
        return next(w for w in ("old", "new") if np.array_equal(found, value(make_all()[w])))

    return Case(name, prepare, saved("new"), state, saved("new"))


OBJECTS = [
    object_case(
        "`model.save` over an older model",
        lambda first: (first, model(1)),
        lambda folder, _: isthmus.load(folder),
        lambda m: m.transform(X),
    ),
    object_case(
        "`LatentIndex.save` over an older index",
        lambda first: [LatentIndex(FrozenEstimator(first)).fit(X[:n]) for n in (50, 60)],
        LatentIndex.load,
        lambda index: index.codes_,
    ),
    object_case(
        "`LatentSampler.save` over an older mixture",
        lambda first: [
            LatentSampler(FrozenEstimator(first), source="mixture", random_state=s).fit(X)
            for s in (0, 1)
        ],
        LatentSampler.load,
        lambda sampler: sampler.random_state,
    ),
    object_case(
        "`AnomalyDetector.save` over an older detector",
        lambda first: [AnomalyDetector(m).fit(X) for m in (first, model(1))],
        lambda folder, _: AnomalyDetector.load(folder),
        lambda detector: detector.decision_function(X),
    ),
]


def bulk_state(form):
    """Return a function of a folder that says which files are complete."""

    def state(folder):
        found = Counter()
        for name in ("a", "b"):
            path = folder / "codes" / f"{name}.{form}"
            if not path.exists():
                found["none"] += 1
            else:
                read = np.load if form == "npy" else _parquet
                assert read(path).shape == (60, 2)
                old = folder.parent / "before" / "codes" / path.name
                found["old" if old.exists() and _bytes(old) == _bytes(path) else "new"] += 1
        return " and ".join(sorted(found))

    return state


def _parquet(path):
    from pyarrow import parquet

    return np.stack([np.asarray(c) for c in parquet.read_table(path).columns], 1)


def two_files(folder):
    old_run(folder)
    for name in ("a", "b"):
        np.save(folder / f"{name}.npy", X)


def transform(form, *flags):
    return cli("transform", "IN/run", "IN/a.npy", "IN/b.npy", "IN/codes", "--format", form, *flags)


def old_codes(form):
    def prepare(folder):
        two_files(folder)
        assert transform(form)(folder) == 0
        np.save(folder / "b.npy", X[::-1])  # only this file has changed

    return prepare


def export_state(*names):
    """Return a function of a folder: exported files are complete one by one."""

    def state(folder):
        new = folder.parent / "after"
        for name in names:
            path = folder / "run" / name
            if path.exists():
                assert path.stat().st_size == (new / "run" / name).stat().st_size
        return "new" if all((folder / "run" / n).exists() for n in names) else "some"

    return state


EXPORT = cli("export", "IN/run", "--torch")
CHECKPOINTED = ("--checkpoint-every", "0")
CASES = [
    Case("`fit`", nothing, fit(*FLAGS), run_state, resume_or_start(*FLAGS)),
    Case(
        "`fit --checkpoint-every none`",
        nothing,
        fit(*FLAGS, "--checkpoint-every", "none"),
        run_state,
        resume_or_start(*FLAGS),
    ),
    Case(
        "`fit --force` over a run with detector and index",
        old_run,
        fit(*OTHER, "--force"),
        run_state,
        start_again(*OTHER),
    ),
    Case(
        "`fit --force --checkpoint-every none` over an interrupted run",
        interrupted_run,
        fit(*OTHER, "--force", "--checkpoint-every", "none"),
        run_state,
        start_again(*OTHER),
    ),
    Case(
        "`fit --resume`",
        interrupted_run,
        fit("--resume", "--quiet"),
        run_state,
        fit("--resume", "--quiet"),
    ),
    Case(
        "`report`",
        run_without_report,
        cli("report", "IN/run", "--quiet"),
        run_state,
        cli("report", "IN/run", "--quiet"),
    ),
    *OBJECTS,
    Case(
        "`tune`",
        nothing,
        cli("tune", "IN/data.npy", "--out", "IN/run", *GRID),
        tune_state,
        resume_or_tune(*GRID),
    ),
    Case(
        "`tune --force` over an older sweep",
        prepared(cli("tune", "IN/data.npy", "--out", "IN/run", *GRID)),
        cli("tune", "IN/data.npy", "--out", "IN/run", "--force", *GRID, *OTHER),
        tune_state,
        cli("tune", "IN/data.npy", "--out", "IN/run", "--force", *GRID, *OTHER),
    ),
    Case(
        "`transform` to .npy",
        two_files,
        transform("npy"),
        bulk_state("npy"),
        transform("npy"),
    ),
    Case(
        "`transform` to Parquet, one file changed",
        old_codes("parquet"),
        transform("parquet"),
        bulk_state("parquet"),
        transform("parquet"),
    ),
    Case(
        "`export --torch`",
        prepared(fit(*FLAGS)),
        EXPORT,
        export_state(*(f"torch/{part}.pt2" for part in ("encoder", "decoder", "scorer"))),
        EXPORT,
    ),
]


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    """Write a checkpoint after each epoch and draw nothing, which takes most of the time."""
    monkeypatch.setattr(checkpoints, "MIN_INTERVAL", 0)
    monkeypatch.setattr("isthmus.report.page._sections", lambda *_: iter(()))
    monkeypatch.setattr("isthmus.runs.tune.Sweep.figure", lambda self: _Figure())
    # The content of exported networks does not matter here, and takes seconds.
    monkeypatch.setattr("isthmus.cli.export._saved_program", lambda model, part: part.encode() * 9)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "work" / "state"))  # of the user's key


class _Figure:
    def savefig(self, stream, **options):
        stream.write(b"figure")


def names_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def check(case, tmp_path, chosen=None):
    """Kill a command before each of its operations, or before the chosen ones.

    Returns the number of operations, and a counter of the states after the kills.
    """
    root = tmp_path / "work"
    root.mkdir()
    case.prepare(root)
    shutil.copytree(root, tmp_path / "before", symlinks=True)
    done = operations(lambda: case.command(root), root, tmp_path / "log")
    shutil.copytree(root, tmp_path / "after", symlinks=True)
    final = case.state(root)
    complete, found = names_in(root), Counter()
    for last in range(1, len(done) + 1) if chosen is None else chosen(len(done)):
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "before", root, symlinks=True)
        context = f"killed before operation {last}: {done[last - 1]}"
        code = run_in_child(lambda: case.command(root), root, last)
        assert code == -9, (context, Path(f"{root}.output").read_text()[-2000:])
        try:
            found[case.state(root)] += 1
        except Exception as error:
            raise AssertionError(f"{context}: neither the old nor the new state") from error
        code = run_in_child(lambda: case.again(root), root)
        assert code == 0, (context, Path(f"{root}.output").read_text()[-2000:])
        assert case.state(root) == final, context
        assert names_in(root) == complete, context
    return len(done), found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_killed_before_every_operation_a_command_goes_on(case, tmp_path):
    n, found = check(case, tmp_path)
    if os.environ.get("WRITE_TABLE"):  # the row of the guarantees
        row = f"| {case.name} | {n} | {', '.join(f'{k}: {found[k]}' for k in sorted(found))} |"
        lines = PAGE.read_text().splitlines(keepends=True)
        own = [line.startswith(f"| {case.name} |") for line in lines].index(True)
        PAGE.write_text("".join([*lines[:own], row + "\n", *lines[own + 1 :]]))


@pytest.mark.parametrize("case", [CASES[0], OBJECTS[0]], ids=lambda case: case.name)
def test_killed_in_the_middle_a_command_goes_on(case, tmp_path):
    check(case, tmp_path, lambda n: [n // 2])


def test_the_table_of_the_guarantees_has_every_case():
    assert all(f"\n| {case.name} | " in PAGE.read_text() for case in CASES)
