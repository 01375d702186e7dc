"""`isthmus info` checks the files of a run against their checksums."""

import shutil

import numpy as np
import pytest

import isthmus
from isthmus.applications import AnomalyDetector, LatentIndex, LatentSampler
from isthmus.cli import main
from isthmus.persistence.atomic import staged
from isthmus.persistence.integrity import SUMS
from isthmus.persistence.run_folder import read_config
from isthmus.runs import RunOptions, fit_run

X = np.random.default_rng(0).random((40, 3)).astype("f4")
FILES = (
    "model.safetensors",
    "history.jsonl",
    "split.safetensors",
    "index/codes.safetensors",
    "index/index.json",
    "mixture/mixture.safetensors",
    "detector/whitened/detector.safetensors",
    "detector/whitened/detector.json",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("info") / "run"
    np.save(folder.parent / "rows.npy", X)
    model = isthmus.VAE(n_components=2, hidden=(4,), epochs=1, random_state=0)
    fitted = fit_run(model, folder.parent / "rows.npy", RunOptions(out=folder, quiet=True))
    model = fitted.estimator
    LatentIndex.from_fitted(model).fit(X).save(folder / "index")
    LatentSampler.from_fitted(model, source="mixture", n_modes=2).fit(X).save(folder / "mixture")
    detector = AnomalyDetector(model, score_method="whitened", random_state=0).fit(X)
    detector.save(folder / "detector" / "whitened", models=False)
    return folder


@pytest.fixture
def copy(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    assert main(["info", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().err == ""
    return tmp_path / "run"


@pytest.mark.parametrize("name", FILES)
def test_changed_files_are_named(copy, capsys, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    assert main(["info", str(copy)]) == 1
    assert capsys.readouterr().err.strip().endswith(f"do not match their checksums: {name}")


def test_missing_files_are_named(copy, capsys):
    names = [name for name in FILES if name.endswith((".safetensors", ".jsonl"))]
    for name in names:
        (copy / name).unlink()
    assert main(["info", str(copy)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert all(name in line for name in names)


@pytest.mark.parametrize("beside", ["nothing", "an older file", "a damaged file"])
def test_a_file_whose_writer_was_killed_is_not_damaged(copy, capsys, beside):
    path = copy / "model.safetensors"
    waiting = staged(path, read_config(copy)[SUMS][path.name])
    if beside == "a damaged file":
        waiting.write_bytes(b"damaged")
    else:
        path.rename(waiting)
    if beside == "an older file":
        path.write_bytes(b"older")
    assert main(["info", str(copy)]) == 0
    assert capsys.readouterr().err == ""
