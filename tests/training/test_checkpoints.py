import contextlib
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.estimators import ESTIMATORS
from isthmus.estimators.run_fingerprint import MAY_CHANGE
from isthmus.nn.dense import mlp
from isthmus.persistence.run_folder import CHECKPOINTS, find_checkpoints
from isthmus.training import Callback, Checkpoint, checkpoints
from isthmus.training.checkpoints import read_checkpoint

DIGITS = load_digits()
X, y = DIGITS.images[:200] / 16, DIGITS.target[:200]
SMALL = {"n_components": 3, "hidden": (8,), "batch_size": 32, "epochs": 4, "random_state": 0}
KINDS = [
    ("vae", {}),
    ("vae", {"dropout": 0.3, "normalize_gradients": True, "validation_fraction": 0.0}),
    ("vae", {"prior": "vamp", "prior_modes": 4, "beta_schedule": "linear", "patience": 2}),
    ("vae", {"backbone": "conv"}),
    ("vae", {"bound": "iwae", "n_samples": 4, "weight_decay": 0.1}),
    ("vae", {"lr_schedule": "cosine", "warmup": 5, "clip_norm": 5.0, "ema": 0.0}),
    ("vae", {"optimizer": "nadam", "lr_schedule": "wsd"}),
    ("vae", {"optimizer": "sgd", "learning_rate": 1e-4, "warmup": 0}),
    ("vae", {"backbone": "conv", "validation_fraction": 0.0, "ema": 0.3}),
    ("beta-vae", {"capacity": 3.0}),
    ("conditional-vae", {}),
    ("autoencoder", {}),
    ("denoising", {"binarize": True}),
    ("sparse", {"hidden": (), "n_components": 40, "revive_every": 5}),
    ("sparse", {"activation": "batchtopk"}),
    ("sparse", {"activation": "jumprelu", "hidden": ()}),
    ("contractive", {}),
]
PLAIN = ("autoencoder", {})
ids = [f"{name}-{'-'.join(settings)}" for name, settings in KINDS]


def make(kind, **more):
    name, settings = kind
    return ESTIMATORS[name](**SMALL | settings | more)


class StopAt(Callback):
    """Ask training to stop after so many steps."""

    def __init__(self, step):
        self.step = step

    def on_step(self, trainer, n_rows):
        if trainer.step == self.step:
            trainer.stop_request.reason = "interrupted"


def fit_until(step, kind, folder, **options):
    with contextlib.suppress(KeyboardInterrupt):
        make(kind).fit(X, y, callbacks=[StopAt(step), Checkpoint(folder)], **options)


def weights(model):
    return {k: v.clone() for k, v in model.model_.state_dict().items()}


def assert_same(a, b):
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(t, theirs[k]) for k, t in ours.items())
    untimed = [
        [{k: v for k, v in r.items() if "second" not in k} for r in m.history_] for m in (a, b)
    ]
    assert untimed[0] == untimed[1]
    assert (a.best_epoch_, a.n_iter_, a.stopped_) == (b.best_epoch_, b.n_iter_, b.stopped_)


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_a_resumed_run_ends_with_the_same_bits(kind, tmp_path):
    whole = make(kind).fit(X, y)
    fit_until(1, kind, tmp_path)  # in the first epoch
    fit_until(9, kind, tmp_path, resume_from=tmp_path)
    facts = read_checkpoint(tmp_path).facts
    assert (facts["epoch"], facts["step"]) == (2, 9)
    torch.manual_seed(5)  # whatever happened between
    before = torch.get_rng_state()
    assert_same(make(kind).fit(X, y, resume_from=tmp_path), whole)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("step", [6, 12])
def test_a_run_resumed_at_the_end_of_an_epoch_ends_with_the_same_bits(step, tmp_path):
    whole = make(KINDS[1]).fit(X, y)
    assert len(X) // 32 == 6
    fit_until(step, KINDS[1], tmp_path)
    assert_same(make(KINDS[1]).fit(X, y, resume_from=tmp_path), whole)


def test_a_finished_run_resumes_at_once_and_can_train_longer(tmp_path):
    kind = "vae", {"warmup": 10}  # by default a share of the planned steps
    first = make(kind).fit(X, callbacks=[Checkpoint(tmp_path)])
    assert_same(make(kind).fit(X, resume_from=tmp_path), first)
    longer = make(kind, epochs=7).fit(X, resume_from=tmp_path)
    assert_same(longer, make(kind, epochs=7).fit(X))


def test_patience_counts_across_an_interruption(tmp_path):
    settings = {"epochs": 60, "patience": 2, "learning_rate": 0.03}
    whole = make(PLAIN, **settings).fit(X)
    assert whole.stopped_ == "patience"
    checkpoint = Checkpoint(tmp_path)
    checkpoint.cost = 0.0
    make(PLAIN, **settings).fit(X, callbacks=[checkpoint])
    assert_same(make(PLAIN, **settings).fit(X, resume_from=tmp_path), whole)


def test_a_resumed_run_without_random_state_keeps_its_seed(tmp_path):
    estimator = make(KINDS[0], random_state=None)
    with contextlib.suppress(KeyboardInterrupt):
        estimator.fit(X, callbacks=[StopAt(8), Checkpoint(tmp_path)])
    seed = read_checkpoint(tmp_path).facts["about"]["seed"]
    resumed = make(KINDS[0], random_state=None).fit(X, resume_from=tmp_path)
    assert_same(resumed, make(KINDS[0], random_state=seed).fit(X))


# ------------------------------------------------------------------- killed


def in_child(kind, folder, resume):
    """Train in a forked process that checkpoints at every step; return its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        real = os.fsync
        checkpoints.MIN_INTERVAL = 0
        os.fsync = lambda f: (time.sleep(0.003), real(f))  # so that many die while writing
        warnings.simplefilter("ignore")
        model = make(kind).fit(
            X, y, callbacks=[Checkpoint(folder, every=0)], resume_from=folder if resume else None
        )
        model.save(folder / "model")
    finally:
        os._exit(0)


def kill_and_go_on(kind, folder, seed, n):
    """Kill a run up to n times at random moments; return how often, and the steps lost."""
    moments, killed, lost, reached = random.Random(seed), 0, [], 0
    while not (folder / "model" / "config.json").is_file():
        pid = in_child(kind, folder, resume=bool(find_checkpoints(folder)))
        if killed < n:
            time.sleep(moments.uniform(0.0, 0.25))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        killed += os.WIFSIGNALED(status)
        if find_checkpoints(folder):
            step = read_checkpoint(folder).facts["step"]
            lost.append(step < reached)
            reached = step
    return killed, lost


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", [KINDS[1], KINDS[9]], ids=["vae", "sparse"])
def test_killed_at_random_moments_nothing_is_lost(kind, tmp_path):
    whole = make(kind).fit(X, y)
    killed, lost = kill_and_go_on(kind, tmp_path, seed=0, n=5)
    assert killed > 0
    assert not any(lost)
    saved = isthmus.load(tmp_path / "model", device="cpu")
    assert_same(saved, whole)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_a_hundred_times_nothing_is_lost(tmp_path):
    total = 0
    for number in range(100):
        if total >= 100:
            break
        kind = KINDS[number % len(KINDS)]
        folder = tmp_path / str(number)
        killed, lost = kill_and_go_on(kind, folder, seed=number, n=10)
        total += killed
        assert not any(lost)
        assert_same(isthmus.load(folder / "model", device="cpu"), make(kind).fit(X, y))
    print(f"{total} kills")
    assert total >= 100


def has_finished_an_epoch(folder):
    try:
        return read_checkpoint(folder).facts["epoch"] > 1
    except (FileNotFoundError, ValueError):  # none yet, or being written
        return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step_and_the_run_resumes(number, code, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["fit", "digits", "--out", str(out)]
    flags = ["--random-state", "0", "--epochs", "3000", "--patience", "none", "--hidden", "16"]
    flags += ["--checkpoint-every", "0.1"]

    def fit():
        with (tmp_path / "log").open("w") as sys.stderr:
            code = main([*arguments, *flags])
        os._exit(code)

    run = multiprocessing.get_context("fork").Process(target=fit)
    run.start()
    while not has_finished_an_epoch(out) and run.is_alive():
        time.sleep(0.05)
    os.kill(run.pid, number)
    run.join(120)
    log = (tmp_path / "log").read_text()
    assert run.exitcode == code, log
    assert f"--out {out} --resume" in log
    assert isthmus.load(out).n_iter_ > 0
    epoch = read_checkpoint(out).facts["epoch"]
    assert main([*arguments, "--epochs", str(epoch + 1), "--resume", "--quiet"]) == 0
    assert isthmus.load(out).n_iter_ == epoch + 1
    assert not find_checkpoints(out)
    assert main([*arguments, "--resume"]) == 0
    assert "is complete" in capsys.readouterr().err


def test_resuming_with_fewer_epochs_than_done_raises_and_loses_nothing(tmp_path):
    fit_until(20, KINDS[0], tmp_path)
    done = read_checkpoint(tmp_path).facts["epoch"] - 1
    assert done > 1
    model = make(KINDS[0], epochs=done - 1)
    with pytest.raises(ValueError, match=f"has {done} epochs, more than epochs={done - 1}"):
        model.fit(X, y, resume_from=tmp_path)
    assert not hasattr(model, "model_")
    again = make(KINDS[0]).fit(X, y, resume_from=tmp_path)
    assert_same(again, make(KINDS[0]).fit(X, y))


# ------------------------------------------------------------------- faults


def test_a_full_disk_does_not_end_training(tmp_path):
    folder = tmp_path / "run"
    whole = make(KINDS[0]).fit(X)
    fit_until(8, KINDS[0], folder)
    step = read_checkpoint(folder).facts["step"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.warns(RuntimeWarning, match="could not write a checkpoint"):
            model = make(KINDS[0]).fit(X, resume_from=folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert_same(model, whole)
    assert read_checkpoint(folder).facts["step"] == step
    assert sorted(os.listdir(folder)) == sorted(p.name for p in find_checkpoints(folder))


@pytest.mark.parametrize(("change", "said"), [(-1, "a newer"), (1, "an older")])
def test_checkpoints_of_another_format_raise(change, said, tmp_path, monkeypatch):
    fit_until(8, KINDS[0], tmp_path)
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + change)
    with pytest.raises(ValueError, match=f"was written by {said} isthmus"):
        make(KINDS[0]).fit(X, resume_from=tmp_path)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs to mount")
def test_a_full_file_system_does_not_end_training(tmp_path):
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        (tmp_path / "other").write_bytes(bytes(60_000))
        with pytest.warns(RuntimeWarning, match="No space left"):
            assert_same(
                make(KINDS[0]).fit(X, callbacks=[Checkpoint(tmp_path)]), make(KINDS[0]).fit(X)
            )
        assert os.listdir(tmp_path) == ["other"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_removed_folder_does_not_end_training(tmp_path):
    folder = tmp_path / "run"

    class Remove(Callback):
        def on_epoch(self, trainer, record):
            for path in folder.iterdir() if folder.is_dir() else ():
                path.unlink()
            if folder.is_dir():
                folder.rmdir()

    with pytest.warns(RuntimeWarning, match="No such file"):
        model = make(KINDS[0]).fit(X, callbacks=[Remove(), Checkpoint(folder)])
    assert model.n_iter_ == 4


def test_corrupt_checkpoints_are_detected_and_the_other_one_is_used(tmp_path):
    fit_until(13, KINDS[0], tmp_path)
    newest = max(find_checkpoints(tmp_path), key=lambda p: p.stat().st_mtime_ns)
    content, rng = newest.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        newest.write_bytes(damaged)
        assert read_checkpoint(tmp_path).facts["step"] < 13
    for length in rng.integers(len(content), size=50):
        newest.write_bytes(content[:length])
        assert read_checkpoint(tmp_path).facts["step"] < 13
    whole = make(KINDS[0]).fit(X)
    assert_same(make(KINDS[0]).fit(X, resume_from=tmp_path), whole)
    for name in CHECKPOINTS:
        (tmp_path / name).write_bytes(content[:-1])
    with pytest.raises(ValueError, match="is corrupt"):
        make(KINDS[0]).fit(X, resume_from=tmp_path)


def test_resuming_a_different_run_raises(tmp_path):
    fit_until(8, KINDS[0], tmp_path)
    for more, words in [
        ({"learning_rate": 0.01}, "learning_rate was 0.003, is 0.01"),
        ({"random_state": 1}, "random_state was 0, is 1"),
        ({"hidden": (9,)}, "hidden was"),
    ]:
        with pytest.raises(ValueError, match=words):
            make(KINDS[0], **more).fit(X, resume_from=tmp_path)
    with pytest.raises(ValueError, match="other data"):
        make(KINDS[0]).fit(X[::-1], resume_from=tmp_path)
    with pytest.raises(ValueError, match="belongs to a VAE, not a Autoencoder"):
        isthmus.Autoencoder(**SMALL).fit(X, resume_from=tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        make(KINDS[0]).fit(X, resume_from=tmp_path / "elsewhere")
    assert set(MAY_CHANGE) < {
        "epochs",
        "patience",
        "progress",
        "random_state",
        "device",
        "strategy",
        "warm_start",
    }


def test_resuming_with_another_version_warns(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.estimators.run_fingerprint.__version__", "0.0.1")
    fit_until(8, KINDS[0], tmp_path)
    monkeypatch.undo()
    with pytest.warns(RuntimeWarning, match=r"started with isthmus 0\.0\.1"):
        make(KINDS[0]).fit(X, resume_from=tmp_path)


@pytest.mark.slow
def test_a_new_run_replaces_the_checkpoints_of_an_old_one(tmp_path):
    make(KINDS[0], epochs=9).fit(X, callbacks=[Checkpoint(tmp_path)])
    make(KINDS[0], epochs=1, random_state=3).fit(X, callbacks=[Checkpoint(tmp_path)])
    assert read_checkpoint(tmp_path).facts["about"]["seed"] == 3


def test_slow_checkpoints_are_written_less_often(tmp_path, monkeypatch):
    writes = []

    def slow(path, content):
        writes.append(path)
        time.sleep(0.02)

    monkeypatch.setattr(checkpoints, "write_atomic", slow)
    start = time.perf_counter()
    make(KINDS[0], epochs=50, patience=None).fit(X, callbacks=[Checkpoint(tmp_path, every=0)])
    assert len(writes) <= 1 + (time.perf_counter() - start) / (50 * 0.02)


def test_non_finite_weights_are_never_written(tmp_path):
    class Break(Callback):
        def on_step(self, trainer, n_rows):
            if trainer.step == 8:
                trainer.weights[0].data.fill_(torch.nan)

    with pytest.warns(RuntimeWarning, match="diverged in epoch 2"):
        make(KINDS[0]).fit(X, callbacks=[Break(), Checkpoint(tmp_path, every=0)])
    assert read_checkpoint(tmp_path).facts["step"] < 8


def test_numbers_of_numpy_shared_weights_and_infinite_buffers_can_be_checkpointed(tmp_path):
    def tied(shapes):
        encoder, decoder = mlp(shapes, hidden=(8,))
        encoder.register_buffer("mask", torch.tensor(-torch.inf))
        decoder.layers[0][0].bias = encoder.layers[0][0].bias
        return encoder, decoder

    settings = {"backbone": tied, "n_components": np.int64(3), "hidden": (np.int64(8),)}
    whole = make(KINDS[0], **settings).fit(X)
    with contextlib.suppress(KeyboardInterrupt):
        make(KINDS[0], **settings).fit(X, callbacks=[StopAt(8), Checkpoint(tmp_path)])
    assert_same(make(KINDS[0], **settings).fit(X, resume_from=tmp_path), whole)


def test_a_callback_state_that_is_not_json_does_not_end_training(tmp_path):
    class Strange(Callback):
        def state(self):
            return {"what": object()}

    with pytest.warns(RuntimeWarning, match="could not write a checkpoint .*JSON"):
        model = make(KINDS[0]).fit(X, callbacks=[Strange(), Checkpoint(tmp_path)])
    assert model.n_iter_ == 4


def test_a_signal_after_the_last_step_ends_the_program(tmp_path):
    class Late(Callback):
        def on_epoch(self, trainer, record):
            if record["epoch"] == 4:
                trainer.stop_request.reason = "terminated"

    model = make(KINDS[0])
    with pytest.raises(SystemExit, match="143"):
        model.fit(X, callbacks=[Late()])
    assert_same(model, make(KINDS[0]).fit(X))


# ------------------------------------------------------------------- memory


def small_memory(monkeypatch, most):
    """Let a step fail on more rows than `most`."""
    from isthmus.training import Trainer

    real = Trainer.update

    def update(self, batch):
        if len(batch.x) > most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ...")
        return real(self, batch)

    monkeypatch.setattr(Trainer, "update", update)


def test_a_batch_too_large_for_memory_is_halved_once_with_a_warning(monkeypatch):
    small_memory(monkeypatch, 20)
    with pytest.warns(RuntimeWarning, match="too small for a batch of 32 rows") as said:
        model = make(KINDS[0], likelihood="bernoulli").fit(X)
    assert len(said) == 1
    assert model.n_iter_ == 4
    monkeypatch.undo()
    ordinary = make(KINDS[0], likelihood="bernoulli").fit(X)
    assert model.history_[-1]["loss"] == pytest.approx(ordinary.history_[-1]["loss"], rel=0.01)


def test_memory_too_small_for_half_a_batch_raises(monkeypatch):
    small_memory(monkeypatch, 10)
    with (
        pytest.warns(RuntimeWarning, match="too small"),
        pytest.raises(MemoryError, match="set a smaller batch_size than 32"),
    ):
        make(KINDS[0]).fit(X)
