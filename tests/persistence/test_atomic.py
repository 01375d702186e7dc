"""Atomic writing: old content or new after any failure, and no link is followed."""

import errno
import os
import re
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator

import isthmus
from isthmus.applications import AnomalyDetector, LatentIndex, LatentSampler
from isthmus.bulk.files import FileTask, process_files
from isthmus.bulk.outputs import atomic_output
from isthmus.data.feature_columns import FeatureColumns
from isthmus.persistence import atomic
from isthmus.persistence.atomic import (
    inner_folder,
    staged,
    write_all_atomic,
    write_atomic,
)

X = np.random.default_rng(0).random((40, 6))
SETTINGS = {"n_components": 2, "hidden": (8,), "epochs": 1, "progress": "none"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing runs after it, so the tests forbid all further operations."""


@pytest.fixture(scope="module")
def models():
    return [isthmus.VAE(**SETTINGS, random_state=seed).fit(X) for seed in (0, 1)]


def kill_before(monkeypatch, n):
    """Let the n-th operation that changes the disk, and all later ones, raise Killed."""
    count = 0

    def counted(operation):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count >= n:
                raise Killed
            return operation(*args, **kwargs)

        return call

    for name in ("open", "replace", "unlink", "mkdir", "fsync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.fixture(scope="module")
def saved(models):
    """Return two objects of each kind that is saved with a record."""
    wrapped = [FrozenEstimator(model) for model in models]
    samplers = [LatentSampler(wrapped[0], source="mixture", random_state=seed) for seed in (0, 1)]
    return {
        "model": models,
        "index": [LatentIndex(wrapped[0]).fit(X[:n]) for n in (35, 40)],
        "sampler": [sampler.fit(X) for sampler in samplers],
        "detector": [AnomalyDetector(model).fit(X) for model in models],
    }


def state(folder, kind, saved):
    """Return which of the two objects a folder holds, after a complete check."""
    models = saved["model"]
    if kind == "model":
        again = isthmus.load(folder)
        return [np.array_equal(again.transform(X), m.transform(X)) for m in models].index(True)
    if kind == "index":
        return [35, 40].index(len(LatentIndex.load(folder, models[0]).codes_))
    if kind == "sampler":
        return LatentSampler.load(folder, models[0]).random_state
    scores = AnomalyDetector.load(folder).decision_function(X)
    both = [detector.decision_function(X) for detector in saved["detector"]]
    return [np.array_equal(scores, other) for other in both].index(True)


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("model", "detector")]


@pytest.mark.parametrize("kind", ["index", "sampler", *SLOW])
def test_killed_before_any_operation_the_old_or_the_new_state_is_there(
    saved, tmp_path, monkeypatch, kind
):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    old, new = saved[kind]
    old.save(tmp_path / "old")
    expected = {p.relative_to(tmp_path / "old") for p in (tmp_path / "old").rglob("*")}
    states, n, killed = [], 0, True
    while killed:
        folder, n = tmp_path / str(n), n + 1
        shutil.copytree(tmp_path / "old", folder)
        with monkeypatch.context() as patched:
            kill_before(patched, n)
            try:
                new.save(folder)
                killed = False
            except Killed:
                pass
        states.append(state(folder, kind, saved))
        old.save(folder)  # a new writer goes on, and leaves nothing of the killed one
        assert {p.relative_to(folder) for p in folder.rglob("*")} == expected
    assert state(folder, kind, saved) == 0
    assert states == sorted(states)
    assert set(states) == {0, 1}


# --------------------------------------------------------------------------- links


def write_output(folder, saved):
    with atomic_output(folder / "out.npy", {}) as writer:
        writer.write({"x": np.arange(3.0)})


PLANTED = {
    "model": (
        lambda f, s: s["model"][0].save(f),
        ["config.json", "model.safetensors", "history.jsonl"],
    ),
    "index": (lambda f, s: s["index"][0].save(f), ["index.json", LatentIndex._arrays_file]),
    "output": (write_output, ["out.npy", ".isthmus/out.npy.json"]),
    "file": (lambda f, s: write_atomic(f / "report.html", b"new"), ["report.html"]),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("end", ["", ".part", ".lock"])
def test_planted_links_are_not_written_through(saved, tmp_path, kind, end):
    write, names = PLANTED[kind]
    folder, precious = tmp_path / "folder", tmp_path / "precious"
    (folder / ".isthmus").mkdir(parents=True)
    precious.write_text("content")
    for name in names:
        (folder / (name + end)).symlink_to(precious)
    write(folder, saved)
    assert precious.read_text() == "content"
    assert not precious.is_symlink()
    for name in names:
        assert (folder / name).is_file()
        assert not (folder / name).is_symlink()


def test_names_of_drafts_cannot_be_predicted(tmp_path, monkeypatch):
    names = []
    opened = os.open

    def record(path, flags, *args, **kwargs):
        names.append(Path(path).name)
        assert not flags & os.O_CREAT or flags & os.O_EXCL
        assert not flags & os.O_CREAT or flags & os.O_NOFOLLOW
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", record)
    for _ in range(2):
        write_atomic(tmp_path / "a.txt", b"new")
    drafts = {name for name in names if name.endswith(".part")}
    assert len(drafts) == 2


@pytest.mark.parametrize("name", ["detector", "reconstruction"])
def test_an_inner_folder_that_is_a_link_is_refused(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    run = tmp_path / "run"
    link = run / "detector" if name == "detector" else run / "detector" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError, match=f"expected a folder, found a link.*{name}"):
        inner_folder(run, "detector", "reconstruction")
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_outputs_are_not_recorded_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".isthmus").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError, match="found a link"):
        write_output(tmp_path / "out", None)
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_a_named_folder_may_be_a_link(saved, models, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    models[0].save(tmp_path / "run")
    assert (tmp_path / "run").is_symlink()
    assert state(tmp_path / "disk", "model", saved) == 0


def test_files_of_one_folder_under_two_names_are_written_together(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    write_all_atomic({tmp_path / "disk" / "a": b"a", tmp_path / "link" / "b": b"b"})
    assert sorted(os.listdir(tmp_path / "disk")) == ["a", "b"]


# --------------------------------------------------------------------- leftovers


def test_only_own_leftovers_are_removed(tmp_path):
    other = tmp_path / "elsewhere"
    other.write_text("content")
    left = ".a.txt.0123456789abcdef"
    kept = ["a.txt.part", ".a.txt.backup", f".b.txt.{'0' * 16}.part", f"{left[1:]}.part"]
    for name in [left, left + ".part", *kept]:
        (tmp_path / name).write_text("left")
    (tmp_path / f".a.txt.{'1' * 16}.part").symlink_to(other)
    (tmp_path / f".a.txt.{'2' * 16}").mkdir()
    write_atomic(tmp_path / "a.txt", b"new")
    found = {p.name for p in tmp_path.iterdir()}
    links = {f".a.txt.{'1' * 16}.part", f".a.txt.{'2' * 16}"}
    assert found == {"a.txt", "elsewhere", *kept, *links}
    assert other.read_text() == "content"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs another user's file")
def test_leftovers_of_other_users_stay(tmp_path):
    left = tmp_path / f".a.txt.{'0' * 16}.part"
    left.write_text("left")
    os.chown(left, 12345, -1)
    write_atomic(tmp_path / "a.txt", b"new")
    assert left.exists()


def test_drafts_of_older_versions_are_removed_from_saved_folders(models, tmp_path):
    (tmp_path / "model.safetensors.part").write_bytes(b"left")
    models[0].save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "history.jsonl", "model.safetensors"]


# --------------------------------------------------------------------- other promises


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a", b"new")
        write_output(tmp_path, None)
        (tmp_path / "b").write_text("")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("a", "b", "out.npy")}
    assert modes == {0o666 & ~umask}


def test_a_staged_file_is_found_by_its_checksum_only(saved, models, tmp_path):
    models[0].save(tmp_path)
    weights = tmp_path / "model.safetensors"
    config = isthmus.persistence.run_folder.read_config(tmp_path)
    waiting = staged(weights, config["sha256"][weights.name])
    waiting.write_bytes(b"something else")
    assert state(tmp_path, "model", saved) == 0
    weights.replace(waiting)
    assert state(tmp_path, "model", saved) == 0
    waiting.write_bytes(b"something else")
    with pytest.raises(FileNotFoundError, match="missing"):
        isthmus.load(tmp_path)


def test_a_summary_gives_staged_files_their_names(saved, models, tmp_path):
    config = isthmus.estimators.model_io.save(models[0], tmp_path)
    for name in ("model.safetensors", "history.jsonl"):
        (tmp_path / name).rename(staged(tmp_path / name, config["sha256"][name]))
    isthmus.estimators.model_io.save_summary(tmp_path, config, {"rows": 3})
    assert sorted(os.listdir(tmp_path)) == ["config.json", "history.jsonl", "model.safetensors"]
    assert state(tmp_path, "model", saved) == 0


@pytest.mark.parametrize("operation", ["write", "fsync", "replace"])
def test_errors_name_the_file_and_change_nothing(tmp_path, monkeypatch, operation):
    files = {tmp_path / "a.txt": b"new", tmp_path / "b.txt": b"new"}
    for path in files:
        path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if operation == "write":
        monkeypatch.setattr(atomic, "open_new", lambda path: open("/dev/full", "wb"))  # noqa: SIM115
    else:
        monkeypatch.setattr(os, operation, fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.txt'") as raised:
        write_all_atomic(files, tmp_path / "b.txt")
    assert raised.value.filename == str(tmp_path / "a.txt")
    monkeypatch.undo()
    assert {path.read_bytes() for path in files} == {b"old"}
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_a_folder_in_the_place_of_a_file_is_refused(models, tmp_path):
    models[0].save(tmp_path)
    (tmp_path / "history.jsonl").unlink()
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(IsADirectoryError, match=r"found a folder: '.*history\.jsonl'"):
        models[1].save(tmp_path)
    (tmp_path / "history.jsonl").rmdir()
    models[0].save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'.*no/a\.txt'"):
        write_atomic(tmp_path / "no" / "a.txt", b"new")


def test_long_and_undecodable_names(tmp_path):
    for name in ("n" * 255, os.fsdecode(b"caf\xe9.csv"), "line\nbreak"):
        (tmp_path / atomic._draft(tmp_path / name).name).write_bytes(b"left")
        write_atomic(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
    assert len(os.listdir(tmp_path)) == 3


def test_threads_that_save_to_one_folder_leave_one_of_the_models(saved, models, tmp_path):
    threads = [threading.Thread(target=m.save, args=(tmp_path,)) for m in models * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state(tmp_path, "model", saved) in (0, 1)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "history.jsonl", "model.safetensors"]


def test_a_detector_of_an_older_version_is_loaded_and_replaced(saved, tmp_path):
    old, new = saved["detector"]
    old.save(tmp_path)
    (folder,) = tmp_path.glob("model-*")
    folder.rename(tmp_path / "model-0")
    (tmp_path / "model-mine").mkdir()
    assert state(tmp_path, "detector", saved) == 0
    new.save(tmp_path)
    assert state(tmp_path, "detector", saved) == 1
    assert not (tmp_path / "model-0").exists()
    assert (tmp_path / "model-mine").exists()


@pytest.mark.parametrize("name", ["out.npy", "out.parquet"])
def test_a_full_disk_keeps_an_older_output_and_names_it(tmp_path, tmp_path_factory, name):
    mounted = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        with atomic_output(tmp_path / name, {}) as writer:
            writer.write({"x": np.arange(3.0)})
        before = (tmp_path / name).read_bytes()
        rows = np.random.default_rng(0).random(2**17)
        task = FileTask(lambda X, start: {"x": rows[start : start + len(X)]}, FeatureColumns(2))
        source = tmp_path_factory.mktemp("source") / "in.npy"
        np.save(source, np.zeros((len(rows), 2), np.float32))
        targets = {source: tmp_path / name}
        (result,) = process_files(targets, [*targets], task, force=True)
        assert f"No space left on device: '{tmp_path / name}'" in result.error
        assert (tmp_path / name).read_bytes() == before
        assert not [p for p in tmp_path.rglob("*") if atomic.is_leftover(p)]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_reader_sees_one_version_while_another_is_written(saved, tmp_path):
    model = FrozenEstimator(saved["model"][0])
    versions = [LatentIndex(model).fit(X[:n]) for n in range(10, 40)]
    versions[0].save(tmp_path)
    end = time.monotonic() + 0.4

    def replace():
        while time.monotonic() < end:
            for version in versions:
                version.save(tmp_path)

    writer = threading.Thread(target=replace)
    writer.start()
    while writer.is_alive():
        index = LatentIndex.load(tmp_path, saved["model"][0])
        np.testing.assert_array_equal(index.codes_, versions[len(index.codes_) - 10].codes_)
    writer.join()


def test_a_full_disk_leaves_the_older_version_and_names_the_file(saved, tmp_path):
    mounted = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        for kind, (old, new) in saved.items():
            old.save(tmp_path / kind)
            free = os.statvfs(tmp_path)
            (tmp_path / "other").write_bytes(bytes(free.f_bavail * free.f_bsize))
            with pytest.raises(OSError, match=rf"No space left on device: '.*/{kind}/"):
                new.save(tmp_path / kind)
            (tmp_path / "other").unlink()
            assert state(tmp_path / kind, kind, saved) == 0
            assert not [p for p in tmp_path.rglob("*") if atomic.is_leftover(p)]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


WRITES = re.compile(
    r"\.write_(text|bytes)\(|\bopen\([^)]*[\"'][wax]b?\+?[\"']|os\.(replace|rename|link)\(|"
    r"(savefig|to_csv|to_parquet|np\.savez?|save_file|imsave|imwrite)\((path|out|target|folder)\b"
)
ALLOWED = (
    "persistence/atomic.py",
    "persistence/origin.py",  # the key of this user
    "training/training_log.py",  # appends to a file that was written atomically
    "data/wav.py",  # `write_wav` is for users; a memory file
    "cli/_parser.py",  # os.devnull
)


def test_no_module_writes_files_in_another_way():
    root = Path(isthmus.__file__).parent
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in sorted(root.rglob("*.py"))
        if path.relative_to(root).as_posix() not in ALLOWED
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if WRITES.search(line) and not line.lstrip().startswith((">>>", "...", "#"))
    ]
    assert not found
