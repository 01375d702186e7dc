"""The command `isthmus export`; tests/studio/test_studio_page.py tests --page."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from isthmus import VAE, Autoencoder
from isthmus.cli import main
from isthmus.nn.dense import mlp

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

X = np.random.default_rng(0).normal(size=(40, 5)) * [1, 1, 3, 100, 1] + [0, 1e9, 0, 0, -5]

ALONE = """
import sys
sys.modules["isthmus"] = None  # as if it were not installed
import numpy as np, torch
encode, score = (torch.export.load(path).module() for path in sys.argv[1:3])
x = torch.from_numpy(np.load(sys.argv[3]))
np.save(sys.argv[4], encode(x)[0])
print(score(x, torch.zeros(1, len(x), 2))[0].isfinite().all().item())
"""


@pytest.fixture(scope="module")
def model():
    return VAE(n_components=2, hidden=(8,), epochs=2, random_state=0).fit(X)


@pytest.fixture
def run(model, tmp_path):
    model.save(tmp_path / "run")
    return tmp_path / "run"


def test_torch_programs_are_written_beside_the_run(run, model, capsys):
    assert main(["export", str(run), "--torch"]) == 0
    assert capsys.readouterr().out.count("written to") == 3
    encode = torch.export.load(run / "torch" / "encoder.pt2").module()
    codes = encode(torch.from_numpy(X))[0].detach()  # torch 2.9 keeps the gradient
    np.testing.assert_allclose(codes, model.transform(X), atol=1e-5)


@pytest.mark.slow
def test_exported_networks_run_without_isthmus(run, model, tmp_path, capsys):
    assert (
        main(["export", str(run), "--onnx", "--opset", "18", "--torch", str(tmp_path / "pt")]) == 0
    )
    assert capsys.readouterr().out.count("written to") == 6
    graph = onnx.load(run / "onnx" / "encoder.onnx")
    assert [o.version for o in graph.opset_import if o.domain == ""] == [18]
    np.save(tmp_path / "x.npy", X)
    files = tmp_path / "pt/encoder.pt2", tmp_path / "pt/scorer.pt2", tmp_path / "x.npy"
    out = tmp_path / "codes.npy"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE, *files, out],
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    np.testing.assert_allclose(np.load(out), model.transform(X), atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to export: give --page, --onnx, or --torch"),
        (["--onnx", "--opset", "11"], "opset 11 is too old: choose 18 to 2"),
        (["--onnx", "--opset", "99"], "opset 99 is too new"),
        (["--onnx", "--opset", "new"], "--opset: invalid int value: 'new'"),
        (["--page", "--opset", "20"], "--opset is a version of ONNX: use it with --onnx"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(run, flags, message, capsys):
    before = sorted(run.rglob("*"))
    assert main(["export", str(run), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("flag", ["--onnx", "--torch"])
def test_custom_backbone_must_be_passed(flag, tmp_path, capsys):
    def own(shapes):
        return mlp(shapes, (4,))

    Autoencoder(n_components=2, backbone=own, epochs=1).fit(X).save(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), flag]) == 2
    error = capsys.readouterr().err
    assert "custom backbone" in error
    assert error.count("\n") == 1
