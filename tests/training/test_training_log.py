"""The training log, from which other processes follow a run."""

import contextlib
import errno
import json
import multiprocessing
import shutil
import time

import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.persistence.locks import LOCK
from isthmus.persistence.run_folder import HISTORY, read_config, read_history
from isthmus.training import Callback, Checkpoint, checkpoints, training_log
from isthmus.training.training_log import (
    TRAINING_LOG,
    TrainingLog,
    has_training_log,
    read_run_facts,
    read_training_log,
    remove_training_log,
)

X = load_digits().images[:200] / 16
SMALL = {"n_components": 2, "hidden": (8,), "batch_size": 64, "random_state": 0}
FACTS = {"estimator": "vae", "params": SMALL, "data": {"name": "digits", "shape": [200, 8, 8]}}
FAST = ["--epochs", "4", "--hidden", "8", "--n-components", "2", "--quiet"]


class At(Callback):
    """Do something after an epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_epoch(self, trainer, record):
        if record["epoch"] == self.epoch:
            self.action(trainer)


def stop(trainer):
    trainer.stop_request.reason = "interrupted"


def kill(trainer):
    raise RuntimeError("power failure")


def fitted(folder, *more, epochs=4, **options):
    callbacks = [TrainingLog(folder, FACTS), *more]
    return isthmus.VAE(epochs=epochs, **SMALL).fit(X, callbacks=callbacks, **options)


def test_the_log_has_the_facts_and_every_finished_epoch(tmp_path):
    seen = []
    before = time.time()
    watch = [At(k, lambda trainer: seen.append(read_training_log(tmp_path))) for k in range(1, 5)]
    model = fitted(tmp_path / ".", *watch)
    assert [records for _, records in seen] == [model.history_[:k] for k in range(1, 5)]
    facts, records = read_training_log(tmp_path)
    assert before <= facts.pop("started") <= time.time()
    params = json.loads(json.dumps(SMALL))
    assert facts == {"format": 2, **FACTS, "params": params, "epochs": 4}
    assert records == model.history_


def test_the_log_has_the_default_number_of_epochs(tmp_path):
    with contextlib.suppress(KeyboardInterrupt):
        fitted(tmp_path, At(1, stop), epochs=None)
    assert read_training_log(tmp_path)[0]["epochs"] == 2000


def test_the_log_of_a_resumed_run_starts_with_its_earlier_records(tmp_path):
    with contextlib.suppress(KeyboardInterrupt):
        fitted(tmp_path, At(2, stop), Checkpoint(tmp_path))
    _, first = read_training_log(tmp_path)
    assert len(first) == 2
    begun = []

    class Begun(Callback):
        def on_step(self, trainer, n_rows):
            begun.append(read_training_log(tmp_path)[1])

    model = fitted(tmp_path, Begun(), resume_from=tmp_path)
    assert begun[0] == first
    assert read_training_log(tmp_path)[1] == model.history_
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4]


def test_records_after_the_checkpoint_are_replaced(tmp_path):
    keep = tmp_path / "keep"
    with contextlib.suppress(RuntimeError):
        fitted(
            tmp_path,
            At(3, lambda trainer: shutil.copytree(tmp_path, keep)),
            At(4, kill),
            Checkpoint(tmp_path),
        )
    assert len(read_training_log(keep)[1]) == 3  # one more than the checkpoint beside it
    model = fitted(keep, resume_from=keep)
    assert read_training_log(keep)[1] == model.history_
    assert len(model.history_) == 4


def test_a_run_without_a_log_can_be_resumed_with_one(tmp_path):
    with contextlib.suppress(KeyboardInterrupt):
        isthmus.VAE(epochs=4, **SMALL).fit(X, callbacks=[At(2, stop), Checkpoint(tmp_path)])
    model = fitted(tmp_path, resume_from=tmp_path)
    assert read_training_log(tmp_path)[1] == model.history_


def plain_weights(model):
    return {name: tensor.tolist() for name, tensor in model.model_.state_dict().items()}


def test_failed_writes_do_not_affect_training(tmp_path, monkeypatch, recwarn):
    wanted = plain_weights(isthmus.VAE(epochs=4, **SMALL).fit(X))
    gone, full, odd = tmp_path / "gone", tmp_path / "full", tmp_path / "odd"
    models = [fitted(gone, At(1, lambda trainer: shutil.rmtree(gone)))]
    (tmp_path / "file").write_text("")
    models.append(fitted(tmp_path / "file"))
    models.append(fitted(odd, At(1, lambda trainer: trainer.outcome.history[0].update(a={1}))))
    with monkeypatch.context() as patched:
        patched.setattr(training_log, "_line", FullDisk(2))
        models.append(fitted(full))
    assert all(plain_weights(model) == wanted for model in models)
    assert not gone.exists()
    assert len(read_training_log(odd)[1]) == 4  # it was written before
    assert len(read_training_log(full)[1]) == 1
    assert not recwarn.list


class FullDisk:
    """Format lines, and fail after the first few as if the disk were full."""

    def __init__(self, room):
        self.room, self.line = room, training_log._line

    def __call__(self, value, digest):
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.line(value, digest)


def test_a_full_disk_leaves_at_most_an_incomplete_line(tmp_path):
    watcher = TrainingLog(tmp_path, FACTS)

    def fill(trainer):
        watcher.stream.close()
        watcher.stream = open("/dev/full", "wb")  # noqa: SIM115

    isthmus.VAE(epochs=3, **SMALL).fit(X, callbacks=[watcher, At(1, fill)])
    assert watcher.stream is None
    assert len(read_training_log(tmp_path)[1]) == 1


def written(folder, *lines, end=b""):
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    (folder / TRAINING_LOG).write_bytes(content + end)
    return folder


WHOLE = {"format": 1, **FACTS, "epochs": None, "started": 1.5e9}


def test_a_truncated_log_is_read_up_to_the_last_complete_line(tmp_path):
    fitted(tmp_path)
    content = (tmp_path / TRAINING_LOG).read_bytes()
    whole = read_training_log(tmp_path)
    for n in range(0, len(content), 7):
        (tmp_path / TRAINING_LOG).write_bytes(content[:n])
        lines = content[:n].count(b"\n")
        wanted = (whole[0], whole[1][: lines - 1]) if lines else None
        assert read_training_log(tmp_path) == wanted


def test_a_missing_log_is_none(tmp_path):
    assert read_training_log(tmp_path / "nowhere") is None
    assert read_training_log(tmp_path) is None
    (tmp_path / "file").write_text("")
    assert read_training_log(tmp_path / "file") is None
    (tmp_path / TRAINING_LOG).mkdir()
    assert read_training_log(tmp_path) is None
    remove_training_log(tmp_path)  # a folder is not removed, without an error
    remove_training_log(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([[]], "the facts: expected a dictionary"),
        (["x" * 10**6], "the facts"),
        ([{}], "format"),
        ([WHOLE | {"format": 3}], "written by a newer isthmus"),
        ([WHOLE | {"format": True}], "format"),
        ([WHOLE | {"estimator": ["vae"]}], "estimator"),
        ([WHOLE | {"params": None}], "params"),
        ([WHOLE | {"params": {"hidden": [[1]]}}], "params.hidden"),
        ([WHOLE | {"params": {"hidden": [1] * 10**5}}], "params.hidden"),
        ([WHOLE | {"data": []}], "data"),
        ([WHOLE | {"data": {"name": 3, "shape": [1]}}], "data.name"),
        ([WHOLE | {"data": {"name": "x", "shape": "many"}}], "data.shape"),
        ([WHOLE | {"data": {"name": "x", "shape": [-1]}}], "data.shape"),
        ([WHOLE | {"epochs": 10**400}], "epochs"),
        ([WHOLE | {"epochs": "x"}], "epochs"),
        ([WHOLE | {"started": float("nan")}], "started"),
        ([WHOLE | {"started": "x\ny"}], "started"),
        ([WHOLE, []], "line 1: expected a dictionary"),
        ([WHOLE, {"epoch": 1}, {"epoch": "2"}], "line 2, epoch"),
        ([WHOLE, {"loss": {"a": 1}}], "line 1, loss"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_log_raises_one_line(tmp_path, lines, words):
    with pytest.raises(ValueError, match="is not a valid training log") as caught:
        read_training_log(written(tmp_path, *lines))
    said = str(caught.value)
    assert words in said
    assert "\n" not in said
    assert len(said) < 1000


@pytest.mark.parametrize(
    "content",
    [b"\n", b"\xff\xfe\n", b"{" * 10**5 + b"\n", b"[" * 10**6 + b"\n", b'{"format": 1\n}\n'],
    ids=["blank", "bytes", "nested", "lists", "cut"],
)
def test_invalid_json_raises(tmp_path, content):
    (tmp_path / TRAINING_LOG).write_bytes(content)
    with pytest.raises(ValueError, match="is not a valid training log"):
        read_training_log(tmp_path)


def damaged(content):
    """Yield a log with a flipped bit in many places, and without each of its lines."""
    for place in {*range(0, len(content), 5), *(n for n, b in enumerate(content) if b == 10)}:
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        yield bytes(changed)
    lines = content.splitlines(keepends=True)
    for n in range(len(lines) - 1):  # without the last one it is as that of a killed run
        yield b"".join(lines[:n] + lines[n + 1 :])
    yield b"".join(lines[:-2] + lines[:-3:-1])


def test_a_flipped_bit_is_detected_wherever_it_is(tmp_path):
    fitted(tmp_path, epochs=2)
    path = tmp_path / TRAINING_LOG
    content, facts = path.read_bytes(), read_run_facts(tmp_path)
    size = len(content.splitlines(keepends=True)[0])
    for changed in damaged(content):
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"^[^\n]*is not a valid training log: [^\n]+$"):
            read_training_log(tmp_path)
        if changed[:size] == content[:size]:
            assert read_run_facts(tmp_path) == facts
        if len(changed) == len(content):
            assert has_training_log(tmp_path)  # so that --force may replace it


@pytest.mark.parametrize("end", [b"", b"\0" * 4000], ids=["cut", "zeros"])
def test_what_a_killed_writer_left_is_ignored(tmp_path, end):
    model = fitted(tmp_path, epochs=2)
    path = tmp_path / TRAINING_LOG
    content = path.read_bytes()
    for n in {1, 2, 3, 18, 19, 20, *range(21, len(content.splitlines()[-1]) + 1, 5)}:
        path.write_bytes(content[:-n] + end)
        assert read_training_log(tmp_path)[1] == model.history_[:1]


def test_logs_of_older_versions_have_no_checksums(tmp_path):
    records = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5}]
    assert read_training_log(written(tmp_path, WHOLE, *records))[1] == records
    assert read_run_facts(tmp_path)["format"] == 1
    assert read_training_log(written(tmp_path, WHOLE, records[0], end=b'{"epo'))[1] == records[:1]


def test_a_log_that_lost_its_checksums_raises(tmp_path):
    with pytest.raises(ValueError, match="line 1 does not match its checksum"):
        read_training_log(written(tmp_path, WHOLE | {"format": 2}))


def wide(n):
    return json.dumps({str(i): 1 for i in range(n)}).encode() + b"\n"


LARGE = {
    "blank lines": lambda: b"\n" * 10_000_000,
    "empty records": lambda: b"{}\n" * 5_000_000,
    "wide records": lambda: wide(999) * 5000,
    "nested": lambda: (b'{"a":' + b"[" * 60 + b"]" * 60 + b"}\n") * 100_000,
    "one line": lambda: b'{"a":"' + b"x" * 10_000_000 + b'"}\n',
}


@pytest.mark.parametrize("name", LARGE)
def test_large_logs_and_histories_are_refused_at_once(tmp_path, measure, name):
    content = LARGE[name]()
    (tmp_path / HISTORY).write_bytes(content)
    (tmp_path / TRAINING_LOG).write_bytes(json.dumps(WHOLE).encode() + b"\n" + content)
    for read in (read_history, read_training_log):
        refusal = measure(read, tmp_path)
        assert refusal.error.startswith("ValueError: ")
        assert "\n" not in refusal.error
        assert refusal.seconds < 1
        assert refusal.megabytes < 500


def test_long_logs_and_histories_take_time_and_memory_in_proportion(tmp_path, measure):
    def cost(read, n):
        lines = b"".join(b'{"epoch":%d,"loss":0.5,"valid_loss":0.5}\n' % i for i in range(n))
        (tmp_path / HISTORY).write_bytes(lines)
        (tmp_path / TRAINING_LOG).write_bytes(json.dumps(WHOLE).encode() + b"\n" + lines)
        found = measure(read, tmp_path)
        assert not found.error
        return found

    for read in (read_history, read_training_log):
        few, many = cost(read, 4_000), cost(read, 32_000)
        assert many.seconds < 16 * few.seconds + 0.2
        assert many.megabytes < 40


def test_a_file_that_is_too_large_raises(tmp_path):
    with open(tmp_path / TRAINING_LOG, "wb") as file:
        file.truncate(2**32)
    with pytest.raises(ValueError, match="ISTHMUS_MAX_BYTES"):
        read_training_log(tmp_path)


def test_custom_code_is_recorded_as_in_a_configuration(tmp_path):
    facts = WHOLE | {"params": {"backbone": {"custom": True}, "hidden": [3, 4], "patience": None}}
    assert read_training_log(written(tmp_path, facts)) == (facts, [])


# ------------------------------------------------------------------ isthmus fit


def fit(*more):
    return main(["fit", "digits", *FAST, *map(str, more)])


@pytest.fixture
def watch(monkeypatch):
    """Return a function that registers an action after an epoch of `isthmus fit`."""

    def run(epoch, action):
        from isthmus.training.sample_history import SampleRecorder

        monkeypatch.setattr(SampleRecorder, "on_start", lambda *a: None)
        monkeypatch.setattr(SampleRecorder, "on_end", lambda *a: None)
        monkeypatch.setattr(SampleRecorder, "pictures", lambda *a: [])
        monkeypatch.setattr(SampleRecorder, "on_epoch", At(epoch, action).on_epoch)

    return run


@pytest.mark.usefixtures("undrawn_report")
def test_a_run_can_be_followed_and_removes_its_log(tmp_path, watch):
    seen = []
    watch(3, lambda trainer: seen.append(read_training_log(tmp_path)))
    assert fit("--out", tmp_path, "--model", "beta-vae", "--random-state", 7) == 0
    ((facts, records),) = seen
    assert facts["estimator"] == "beta-vae"
    assert facts["params"]["random_state"] == 7
    assert facts["params"] == read_config(tmp_path)["params"]
    assert facts["data"] == {"name": "digits", "shape": [1797, 8, 8]}
    assert facts["epochs"] == 4
    assert records == read_history(tmp_path)[: len(records)]
    assert len(records) >= 2
    assert not (tmp_path / TRAINING_LOG).exists()


@pytest.mark.usefixtures("undrawn_report")
def test_an_interrupted_run_leaves_its_log_with_the_checkpoints(tmp_path, watch, monkeypatch):
    watch(2, stop)
    assert fit("--out", tmp_path) == 130
    facts, records = read_training_log(tmp_path)
    assert len(records) == 2
    assert checkpoints.find_checkpoints(tmp_path)
    monkeypatch.undo()
    seen = []
    watch(3, lambda trainer: seen.append(read_training_log(tmp_path)))
    assert main(["fit", "digits", "--out", str(tmp_path), "--resume", "--quiet"]) == 0
    ((again, longer),) = seen
    assert longer[:2] == records
    assert {**again, "started": 0} == {**facts, "started": 0}
    assert not (tmp_path / TRAINING_LOG).exists()


@pytest.mark.parametrize("flags", [(), ("--checkpoint-every", "none")])
def test_a_run_that_fails_leaves_no_folder(tmp_path, watch, flags):
    out = tmp_path / "run"
    watch(1, kill)
    with pytest.raises(RuntimeError, match="power failure"):
        fit("--out", out, *flags)
    assert not out.exists()


@pytest.mark.usefixtures("undrawn_report")
def test_ctrl_c_without_checkpoints_leaves_no_log(tmp_path, watch):
    watch(2, stop)
    assert fit("--out", tmp_path, "--checkpoint-every", "none") == 130
    assert not (tmp_path / TRAINING_LOG).exists()
    assert isthmus.load(tmp_path).n_iter_ == 2


def _run_until_killed(folder, ready):
    def wait(self, trainer, record):
        ready.set()
        time.sleep(60)

    Checkpoint.write = lambda self, trainer: None
    TrainingLog.on_epoch = wait
    fit("--out", folder)


@pytest.mark.usefixtures("undrawn_report")
def test_a_run_killed_before_its_first_checkpoint_can_be_started_again(tmp_path, capsys):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_run_until_killed, args=(tmp_path / "run", ready))
    process.start()
    assert ready.wait(60)
    assert main(["fit", "digits", "--out", str(tmp_path / "run")]) == 2  # it is still running
    assert "another process" in capsys.readouterr().err
    process.kill()
    process.join()
    assert {p.name for p in (tmp_path / "run").iterdir()} == {LOCK, TRAINING_LOG}
    assert fit("--out", tmp_path / "run") == 0
    assert not (tmp_path / "run" / TRAINING_LOG).exists()


def test_a_foreign_file_named_like_the_log_is_kept(tmp_path, capsys):
    (tmp_path / TRAINING_LOG).write_text('{"prompt": "hello"}\n')
    for flags, words in (((), "is not empty"), (("--force",), "does not hold a run")):
        assert fit("--out", tmp_path, *flags) == 2
        assert words in capsys.readouterr().err
    written(tmp_path, WHOLE)
    (tmp_path / "thesis.txt").write_text("dear")
    assert fit("--out", tmp_path) == 2
    assert (tmp_path / "thesis.txt").read_text() == "dear"
    assert read_training_log(tmp_path) is not None
