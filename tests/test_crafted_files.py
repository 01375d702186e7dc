"""Crafted files with correct checksums are refused in one line, or read as if they were intact.

An attacker can recompute checksums, so every entry and every tensor is checked by itself. The
variants are read in a child process with a limit on memory and time, since a wrong shape in an
optimizer's state, for example, would end the process.
"""

import contextlib
import copy
import faulthandler
import hashlib
import json
import math
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import torch as tensors_file

import isthmus
from isthmus.applications.anomaly_detection import AnomalyDetector
from isthmus.applications.compression import CompressedCodes, LatentCodec
from isthmus.applications.generation import LatentSampler
from isthmus.applications.retrieval import LatentIndex
from isthmus.persistence.integrity import SUMS, with_checksums
from isthmus.persistence.run_folder import CHECKPOINTS, read_test_rows
from isthmus.runs import sweep_of
from isthmus.runs.settings import ModelSettings
from isthmus.search import Sweep
from isthmus.search.sweep_folder import CANDIDATES
from isthmus.training import Callback, Checkpoint
from isthmus.training.checkpoints import read_checkpoint
from isthmus.training.sample_history import SampleRecorder
from isthmus.training.state import is_generator_state
from isthmus.training.training_log import TRAINING_LOG, TrainingLog, read_training_log

ROWS = np.random.default_rng(0).random((40, 3))
LABELS = np.arange(40) % 3
SMALL = {"n_components": 2, "hidden": (4,), "batch_size": 16, "random_state": 0}
MEMORY = 600 * 2**20  # bytes of address space for the reading of variants, beyond that at the start
HANGS = 60  # seconds for one variant, on a busy machine
SECONDS = 5.0  # of processor time for one variant, on a busy machine
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, trainer, n_rows):
        if trainer.step == self.step:
            trainer.stop_request.reason = "interrupted"


# --------------------------------------------------------- files as plain values
# A kind is read into {file: {"json": ..., "tensors": ...}} and written with new checksums.


def read_checkpoint_file(path):
    tensors = tensors_file.load(path.read_bytes()[:-32])
    return {"json": json.loads(tensors.pop("facts").numpy().tobytes()), "tensors": tensors}


def write_checkpoint_file(path, part):
    facts = torch.frombuffer(bytearray(to_text(part["json"])), dtype=torch.uint8)
    content = tensors_file.save(part["tensors"] | {"facts": facts})
    path.write_bytes(content + hashlib.sha256(content).digest())


def read_lines(path):
    values = [json.loads(line) for line in path.read_text().splitlines()]
    return {"json": [{k: v for k, v in value.items() if k != "sha256"} for value in values]}


def write_lines(path, part):
    values = part["json"] if isinstance(part["json"], list) else [part["json"]]
    lines, digest = [to_text(value) + b"\n" for value in values], hashlib.sha256()
    for n, line in enumerate(lines if path.name == TRAINING_LOG else ()):
        digest.update(line[:-1])
        checksum = b', "sha256": "' + digest.hexdigest()[:16].encode() + b'"}\n'
        lines[n] = line[:-2] + checksum if line.endswith(b"}\n") else line
    path.write_bytes(b"".join(lines))


def read_codes(path):
    with np.load(path) as file:
        tensors = {name: torch.from_numpy(file[name]) for name in ("payload", "low", "high")}
        return {"json": json.loads(file["meta"].tobytes()), "tensors": tensors}


def write_codes(path, part):
    arrays = {}
    for name, tensor in part["tensors"].items():
        with contextlib.suppress(TypeError):  # NumPy has no such type
            arrays[name] = tensor.numpy()
    np.savez(path, **arrays, meta=np.frombuffer(to_text(part["json"]), np.uint8))


def read_tensors(path):
    return {"tensors": tensors_file.load(path.read_bytes())}


def write_tensors(path, part):
    path.write_bytes(tensors_file.save({k: t.contiguous() for k, t in part["tensors"].items()}))


def read_record(path):
    return {"json": json.loads(path.read_text())}


def to_text(value):
    """Return JSON, with a repeated name and deep nesting where `change_json` asks for them."""
    text = json.dumps(value).replace('"__twice__": ', '"format": 1, "format": ')
    return re.sub(r'"__deep (\d+)__"', lambda m: "[" * int(m[1]) + "]" * int(m[1]), text).encode()


FORMATS = {
    ".jsonl": (read_lines, write_lines),
    ".npz": (read_codes, write_codes),
    ".json": (read_record, None),
}


def formats(name):
    if name in CHECKPOINTS:
        return read_checkpoint_file, write_checkpoint_file
    return FORMATS.get(Path(name).suffix, (read_tensors, write_tensors))


def write_files(folder, files):
    """Write only files of a kind, records last, with correct checksums."""
    shutil.rmtree(folder)
    folder.mkdir()
    for name in sorted(files, key=lambda name: name.endswith(".json")):
        path = folder / name
        if not name.endswith(".json"):
            formats(name)[1](path, files[name])
            continue
        record = files[name]["json"]
        if isinstance(record, dict) and isinstance(record.get(SUMS), dict):
            others = [other for other in files if other != name]
            with contextlib.suppress(Exception):  # an entry that JSON cannot hold
                record = with_checksums(record, {o: (folder / o).read_bytes() for o in others})
        path.write_bytes(to_text(record))


# ------------------------------------------------------------------------- kinds


class Kind:
    """A kind of files, how to read them, and what reading intact ones returns."""

    def __init__(self, folder, read):
        self.read, self.salt = read, zlib.crc32(folder.name.encode())
        self.files = {path.name: formats(path.name)[0](path) for path in folder.iterdir()}
        self.expected = read(folder)


def answers(model):
    model.history_ = [{k: r[k] for k in r if "second" not in k} for r in model.history_]
    return model


def make_kinds(folder):
    made = {}

    def add(name, save, read):
        (folder / name).mkdir()
        save(folder / name)
        made[name] = Kind(folder / name, read)

    frame = pd.DataFrame({"a": ROWS[:, 0], "b": ["x", "y", "z", "x"] * 10})
    model = isthmus.VAE(**SMALL, epochs=1).fit(ROWS)
    add("vae", model.save, lambda f: isthmus.load(f).transform(ROWS))
    table = isthmus.VAE(**SMALL, epochs=1).fit(frame)
    add("table", table.save, lambda f: isthmus.load(f).transform(frame))
    conditional = isthmus.ConditionalVAE(**SMALL, prior="mixture", prior_modes=2, epochs=1)
    conditional.fit(ROWS, LABELS)
    answer = {"X": ROWS, "condition": LABELS}
    add("conditional", conditional.save, lambda f: isthmus.load(f).transform(**answer))
    rows = np.array([2, 5, 31])
    add(
        "split",
        lambda f: isthmus.estimators.model_io.save(model, f, {"shape": [40, 3]}, rows),
        lambda f: read_test_rows(f, isthmus.persistence.run_folder.read_config(f)),
    )
    index = LatentIndex.from_fitted(model, metric="scaled").fit(ROWS)
    add("index", index.save, lambda f: LatentIndex.load(f, model).kneighbors(ROWS[:4], 3)[0])
    sampler = LatentSampler.from_fitted(model, source="mixture", n_modes=2, random_state=0)
    sampler.fit(ROWS, LABELS)
    add(
        "mixture",
        sampler.save,
        lambda f: LatentSampler.load(f, model).sample(4, random_state=0),
    )
    detector = AnomalyDetector(model, score_method="whitened", random_state=0).fit(ROWS)
    add(
        "detector",
        lambda f: detector.save(f, models=False),
        lambda f: AnomalyDetector.load(f, model).decision_function(ROWS),
    )
    for coding in ("packed", "zlib", "lzma"):
        codec = LatentCodec.from_fitted(model, bits=5, coding=coding).fit(ROWS)
        add(
            f"codes-{coding}",
            lambda f, codec=codec: codec.compress(ROWS).save(f / "a.npz"),
            lambda f: CompressedCodes.load(f / "a.npz").codes(),
        )
    for name, settings in CHECKPOINTED.items():
        add(f"checkpoint-{name}", lambda f, s=settings: interrupted(s, f), Resume(settings))
    add("log", write_log, lambda f: read_training_log(f))
    add("sweep", write_sweep, resume_sweep)
    return made


CHECKPOINTED = {
    "vae": ("VAE", {"dropout": 0.2}),
    "sparse": ("SparseAutoencoder", {"hidden": (), "n_components": 6, "revive_every": 2}),
}


def callbacks():
    return [SampleRecorder(4)]


def new(settings, **more):
    name, own = settings
    return getattr(isthmus, name)(**SMALL | own | {"epochs": 3} | more)


def interrupted(settings, folder, step=5):
    with contextlib.suppress(KeyboardInterrupt):
        new(settings).fit(ROWS, callbacks=[*callbacks(), StopAt(step), Checkpoint(folder)])
    files = sorted(folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime_ns)
    for path in files[:-1]:
        path.unlink()


class Resume:
    """Continue a run from Python and as the command line does, which takes its settings."""

    def __init__(self, settings):
        self.settings = settings

    def __call__(self, folder):
        facts = read_checkpoint(folder).facts
        model = ModelSettings().build(facts, folder)
        model.set_params(progress="none", epochs=3)
        model.fit(ROWS, callbacks=callbacks(), resume_from=folder)
        return torch.cat([w.detach().flatten() for w in model.model_.parameters()]).numpy()


def write_log(folder):
    facts = {"estimator": "vae", "params": {"hidden": [4]}, "data": {"name": "x", "shape": [40, 3]}}
    log = TrainingLog(folder, facts)

    class Keep(Callback):
        def on_end(self, trainer, outcome):
            log._close()

    isthmus.VAE(**SMALL, epochs=2).fit(ROWS, callbacks=[log, Keep()])


def search():
    return Sweep(isthmus.VAE(**SMALL, epochs=1), {"n_components": [1, 2]}, random_state=0)


def write_sweep(folder):
    search().fit(ROWS, folder=folder)
    shutil.rmtree(folder / CANDIDATES)


def resume_sweep(folder):
    sweep_of(folder).candidates()
    return [row["valid_loss"] for row in search().fit(ROWS, resume_from=folder).results_]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_kinds(tmp_path_factory.mktemp("kinds"))


# --------------------------------------------------------------------- mutations

HOSTILE = (
    *(None, True, False, -1, 0, 1, 2, 2**31, 2**63, 2**64, 10**12, 10**400, -(2**63) - 1),
    *(float("nan"), float("inf"), -float("inf"), -0.5, 0.5, 1e308, "1", "nan", "", "x"),
    *("../../x", "/dev/zero", "cuda:99", "\x00", "a\nb", "\x1b[31m", "flow", "categorical:99999"),
    "x" * 9999,
    *([], {}, [[]], [1, "a"], [10**12], [-1], [0] * 5000, {"custom": True}, [[1, 2], [3]], [None]),
)
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64),
)


def places(value, path=()):
    if len(path) > 12:
        return
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def change_json(value, rng):
    """Change an entry of JSON; return what it is now and what was done."""
    *way, last = (found := list(places(value)))[rng.integers(len(found))]
    inner = value
    for key in way:
        inner = inner[key]
    how = ("drop", "rename", *("hostile",) * 3, "number", "nest", "deep", "repeat", "add")
    how = how[rng.integers(len(how))]
    if how == "drop":
        del inner[last]
    elif how == "rename" and isinstance(inner, dict):
        inner[("X" + str(last), "a\nb", "\x1b[31m", "x" * 9999)[rng.integers(4)]] = inner.pop(last)
    elif how == "number":
        inner[last] = int(rng.integers(-99, 99))
    elif how == "nest":
        inner[last] = [inner[last]]
    elif how == "deep":
        inner[last] = f"__deep {2 ** rng.integers(5, 18)}__"
    elif how == "repeat" and isinstance(inner, dict):
        inner["__twice__"] = 1
    elif how == "add" and isinstance(inner, list):
        inner.extend([inner[last]] * int(rng.integers(1, 40)))
    else:
        inner[last] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])
    return f"{how} {'.'.join(map(str, (*way, last)))}"


def change_tensors(tensors, rng):
    """Change a tensor; return what was done."""
    names = sorted(tensors)
    name = names[rng.integers(len(names))]
    tensor = tensors[name]
    how = ("drop", "rename", "shape", "shape", "dtype", "dtype", "extra", "values", "values")
    how = how[rng.integers(len(how))]
    if how == "drop":
        del tensors[name]
    elif how == "rename":
        tensors[name + "x"] = tensors.pop(name)
    elif how == "extra":
        tensors[("optimizer.99.step", "x", "callback.X.y")[rng.integers(3)]] = torch.zeros(2)
    elif how == "shape":
        shapes = [(), (0,), (1,), (3,), (2, 0), (1000,), (*tensor.shape, 1), (1, *tensor.shape)]
        shapes += [tuple(reversed(tensor.shape)), (tensor.numel() + 1,), (tensor.numel(),)]
        tensors[name] = torch.zeros(shapes[rng.integers(len(shapes))], dtype=tensor.dtype)
    elif how == "dtype":
        tensors[name] = tensor.to(DTYPES[rng.integers(len(DTYPES))])
    else:
        flat = tensor.clone().flatten()
        bad = (math.nan, math.inf, -math.inf, -1e300, 1e300, -1, 2**31, 255)
        if len(flat):
            with contextlib.suppress(RuntimeError):  # the type does not hold such a number
                flat[int(rng.integers(len(flat)))] = bad[rng.integers(len(bad))]
        tensors[name] = flat.reshape(tensor.shape)
    return f"{how} {name}"


def variant(kind, rng):
    """Return the files of a kind with one to three changes, and what was done."""
    files, done = copy.deepcopy(kind.files), []
    for _ in range((1, 1, 1, 2, 3)[rng.integers(5)]):
        parts = [(n, p) for n, each in sorted(files.items()) for p in sorted(each) if each[p]]
        if not parts:
            break
        name, part = parts[rng.integers(len(parts))]
        change = change_json if part == "json" else change_tensors
        done.append(f"{name}: {change(files[name][part], rng)}")
    return files, "; ".join(done)


GOOD = ("refused", "equal", "another file")


def same(a, b):
    if isinstance(a, tuple | list | dict):
        return a == b
    return np.shape(a) == np.shape(b) and np.array_equal(a, b, equal_nan=True)


def outcome(kind, folder, files):
    """Read files in this process; return what came of it in a word or a sentence."""
    write_files(folder, files)
    start = time.process_time()
    try:
        found = kind.read(folder)
    except (ValueError, OSError) as error:
        text = str(error)
        if "\n" in text or not text or len(text) > 3000:
            return f"not one short line: {text[:200]!r}"
        word = "refused"
    except BaseException:
        return traceback.format_exc(limit=-3)
    else:
        word = "equal" if same(found, kind.expected) else "another file"
    seconds = time.process_time() - start
    return word if seconds < SECONDS else f"{seconds:.1f} s"


def in_child(kinds, folder, jobs):
    """Read variants in a forked process with limits; return the outcomes up to its end."""
    receive, send = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with os.fdopen(send, "w") as stream:
                _read_variants(kinds, folder, jobs, stream)
        finally:
            os._exit(sys.exc_info()[0] is not None)
    os.close(send)
    with os.fdopen(receive) as stream:
        words = [json.loads(line) for line in stream]
    _, status = os.waitpid(pid, 0)
    return [*words, f"ended the process (status {status})"] if status else words


def _read_variants(kinds, folder, jobs, stream):
    faulthandler.disable()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, files, _ in jobs:
        signal.alarm(HANGS)  # ends the process
        print(json.dumps(outcome(kinds[name], folder, files)), file=stream, flush=True)


def check_variants(kinds, folder, seeds):
    """Check that variants of every kind are refused or harmless; return what came of each."""
    jobs = []
    for seed in seeds:
        for name, kind in kinds.items():
            jobs.append((name, *variant(kind, np.random.default_rng([seed, kind.salt]))))
    words = []
    while len(words) < len(jobs):  # a variant may end the process
        words += in_child(kinds, folder, jobs[len(words) :])
    found = zip(jobs, words, strict=True)
    bad = [f"{name}: {done}: {word}" for (name, _, done), word in found if word not in GOOD]
    assert not bad, "\n".join([f"{len(bad)} of {len(jobs)}", *bad[:20]])
    return words


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_crafted_files_are_refused_or_harmless(kinds, tmp_path):
    words = check_variants(kinds, tmp_path, range(4))
    assert words.count("refused") > len(words) / 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_thousand_crafted_files_are_refused_or_harmless(kinds, tmp_path):
    check_variants(kinds, tmp_path, range(100, 100 + -(-1000 // len(kinds))))


# ------------------------------------------------------------------- checkpoints


@pytest.fixture
def run(kinds, tmp_path):
    """Return a function that changes a checkpoint and continues the run."""
    kind = kinds["checkpoint-vae"]
    (name,) = kind.files

    def change(edit, *, resume=True):
        part = copy.deepcopy(kind.files[name])
        edit(part["json"], part["tensors"])
        write_checkpoint_file(tmp_path / name, part)
        return kind.read(tmp_path) if resume else None

    change.folder, change.expected, change.settings = tmp_path, kind.expected, CHECKPOINTED["vae"]
    return change


def put(entry, value):
    def edit(facts, tensors):
        *way, last = entry.split(".")
        for key in way:
            facts = facts[int(key) if isinstance(facts, list) else key]
        facts[last] = value

    return edit


def put_tensor(name, change):
    def edit(facts, tensors):
        found = change(tensors.pop(name)) if name in tensors else change(None)
        if found is not None:
            tensors[name] = found

    return edit


def generator_state(left, following):
    def change(state):
        content = bytearray(state.numpy().tobytes())
        content[8:12], content[16:24] = left.to_bytes(4, "little"), following.to_bytes(8, "little")
        return torch.frombuffer(content, dtype=torch.uint8)

    return change


CRAFTED = {
    "moments of another shape": put_tensor("optimizer.0.exp_avg", lambda t: torch.zeros(1)),
    "squares of another shape": put_tensor("optimizer.1.exp_avg_sq", lambda t: torch.zeros(0)),
    "no squares": put_tensor("optimizer.0.exp_avg_sq", lambda t: None),
    "steps of another shape": put_tensor("optimizer.0.step", lambda t: torch.zeros(0)),
    "steps that are not a number": put_tensor("optimizer.0.step", lambda t: t * math.nan),
    "negative squares": put_tensor("optimizer.0.exp_avg_sq", lambda t: t - 1),
    "moments of unknown weights": put_tensor("optimizer.99.step", lambda t: torch.ones(())),
    "moments of another type": put_tensor("optimizer.0.exp_avg", torch.Tensor.double),
    "weights in eight bits": put_tensor(
        "model.encoder.layers.0.0.bias", lambda t: t.to(torch.float8_e4m3fn)
    ),
    "weights that are not finite": put_tensor("model.encoder.layers.0.0.bias", lambda t: t / 0),
    "a prior of negative width": put_tensor("model.prior.scale", lambda t: t - 2),
    "no best weights": put_tensor("best.encoder.layers.0.0.bias", lambda t: None),
    "a short generator": put_tensor("random.generator", lambda t: t[:100]),
    "a generator that reads beyond its numbers": put_tensor(
        "random.generator", generator_state(624, 624)
    ),
    "a generator without numbers": put_tensor("random.layers", generator_state(0, 700)),
    "an order of rows without generator": put_tensor("random.began", lambda t: t * 0),
    "no sums": put_tensor("sums", lambda t: None),
    "no history": put("history", []),
    "a history in another order": put("history.0.epoch", 7),
    "a history of words": put("history.0.kl", "x"),
    "a history of infinite numbers": put("history.0.loss", math.inf),
    "an epoch before the history": put("epoch", 1),
    "a batch after the last": put("batch", 10**9),
    "no rows": put("rows", 0),
    "no reader": put("readers", []),
    "half a row at a time": put("most_rows", 0),
    "a seed that is too large": put("about.seed", 2**64),
    "a seed that is no number": put("about.seed", "0"),
    "an unknown setting": put("about.params.x", 1),
    "a width of a billion": put("about.params.hidden", [10**9]),
    "a code of a billion": put("about.params.n_components", 10**9),
    "a billion draws": put("about.params.n_samples", 10**9),
    "a layer without units": put("about.params.hidden", [0]),
    "a likelihood of a long name": put("about.params.likelihood", "x" * 9999),
    "an unknown backbone": put("about.params.backbone", "os.system"),
    "a step size that is infinite": put("about.params.learning_rate", math.inf),
    "an unknown class": put("about.estimator", "os.system"),
    "other data": put("about.rows.shape", [40, 10**6]),
    "samples of another shape": put_tensor(
        "callback.SampleRecorder-1.1", lambda t: t[:, :2].clone()
    ),
    "no samples": put_tensor("callback.SampleRecorder-1.1", lambda t: None),
    "samples of other epochs": put("callbacks.SampleRecorder-1.epochs", [3]),
    "a state that is no dictionary": put("callbacks.SampleRecorder-1", []),
}


@pytest.mark.parametrize("edit", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_checkpoint_is_refused_in_one_line(edit, run):
    with pytest.raises(ValueError, match="checkpoint") as caught:
        run(edit)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["epoch", "step", "history", "about", "callbacks", "best_loss"])
def test_an_entry_that_is_missing_or_of_another_type_is_named(name, run):
    with pytest.raises(ValueError, match=rf"safetensors.* {name}: expected"):
        run(put(name, "x"))
    with pytest.raises(ValueError, match=rf"safetensors.* {name}: expected"):
        run(lambda facts, tensors: facts.pop(name))


def test_the_checkpoint_before_a_crafted_one_is_used(run, tmp_path):
    interrupted(run.settings, run.folder, step=3)
    (older,) = run.folder.glob("*.safetensors")
    other = CHECKPOINTS[1 - CHECKPOINTS.index(older.name)]
    for edit in (
        put_tensor("optimizer.0.exp_avg", lambda t: torch.zeros(1)),
        put_tensor("callback.SampleRecorder-1.1", lambda t: None),
        put("about.params.hidden", [0]),
        put("epoch", None),
    ):
        content = older.read_bytes()
        run(edit, resume=False)
        (crafted,) = {p.name for p in run.folder.glob("*.safetensors")} - {other, older.name} or {
            next(iter(CHECKPOINTS))
        }
        (run.folder / crafted).rename(run.folder / other)
        older.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = Resume(run.settings)(run.folder)
        np.testing.assert_array_equal(found, run.expected)
        older.write_bytes(content)


def test_a_generator_that_has_drawn_any_number_is_valid():
    generator, device = torch.Generator(), torch.device("cpu")
    for n in (0, 1, 2, 300, 322, 1, 623, 625):
        torch.rand(n, generator=generator)
        assert is_generator_state(generator.get_state(), device)
