"""Tests of exported pages; `test_browser.py` opens them in a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.data import Dataset
from isthmus.estimators import model_io
from isthmus.studio import Bundle, page, write_page

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

DIGITS = load_digits()
X, Y = DIGITS.images / 16, DIGITS.target


@pytest.fixture(autouse=True)
def app(monkeypatch):
    """Replace the built app, which a checkout without npm does not have."""
    files = {"app.js": b"/* </script> */", "app.css": b"p{}", "engine.wasm.gz": gzip.compress(b"w")}
    monkeypatch.setattr(page, "app_file", lambda name: files.get(name, b"licences"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = isthmus.VAE(n_components=2, hidden=(16,), epochs=2, random_state=0).fit(X)
    folder = tmp_path_factory.mktemp("runs") / "one"
    model_io.save(model, folder, {"name": "digits"})
    return folder


@pytest.fixture(scope="module")
def bundle(run):
    return Bundle.load([run], Dataset("digits", X, Y), max_rows=50)


def part(text, name):
    found = re.search(f'<script type="text/plain" id="part-{name}">([^<]*)</script>', text)
    return gzip.decompress(base64.b64decode(found[1]))


def test_file_contains_app_networks_and_rows(bundle, tmp_path):
    text = write_page(bundle, tmp_path / "one.html").read_text()
    about = json.loads(re.search(r'id="manifest">(.*?)</script>', text)[1])
    assert about["title"] == "VAE on digits"
    items = np.frombuffer(part(text, "items"), about["arrays"]["items"]["dtype"]).reshape(50, 64)
    np.testing.assert_allclose(items, bundle.items(np.arange(50)), atol=1e-7)
    codes = np.frombuffer(part(text, "codes"), "<f4").reshape(50, 2)
    np.testing.assert_array_equal(codes, bundle.arrays["codes"])
    onnxruntime = pytest.importorskip("onnxruntime")
    decoder = onnxruntime.InferenceSession(part(text, "decoder"))
    (decoded,) = decoder.run(None, {"z": codes})
    np.testing.assert_allclose(decoded, bundle.estimator.decode(codes), atol=1e-5)


def test_file_loads_nothing_and_runs_one_script(bundle, tmp_path):
    text = write_page(bundle, tmp_path / "one.html").read_text()
    head = text.split("part-")[0]
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|@import', head)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in text


def test_file_names_no_path_of_the_machine(run, tmp_path):
    np.save(tmp_path / "rows.npy", X[:20])
    out = tmp_path / "one.html"
    assert main(["export", str(run), "--page", str(out), "--data", str(tmp_path / "rows.npy")]) == 0
    text = out.read_text()
    contents = [text.encode(), *(part(text, name) for name in ("encoder", "decoder"))]
    for path in (tmp_path, run.parent, Path(isthmus.__file__).parent, Path(np.__file__).parents[1]):
        assert not any(str(path).encode() in content for content in contents)


def test_pages_are_reproducible(bundle, tmp_path):
    one, two = (write_page(bundle, tmp_path / f"{k}.html").read_bytes() for k in range(2))
    assert one == two


def test_folder_has_one_script_per_part(bundle, tmp_path):
    index = write_page(bundle, tmp_path / "site")
    assert index == tmp_path / "site" / "index.html"
    names = {p.stem for p in (tmp_path / "site" / "parts").iterdir()}
    assert names == {"encoder", "decoder", "engine", "items", "licences", *bundle.arrays}
    text = (tmp_path / "site" / "parts" / "codes.js").read_text()
    content = gzip.decompress(base64.b64decode(re.search(r'="(.*)"', text)[1]))
    assert content == bundle.arrays["codes"].tobytes()


def test_large_model_requires_a_folder(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MAX_FILE", 2**10)
    with pytest.raises(ValueError, match=r"MB, more than .* give a folder, .*big"):
        write_page(bundle, tmp_path / "big.html")
    assert not (tmp_path / "big.html").exists()
    assert write_page(bundle, tmp_path / "big").is_file()


def test_large_images_are_quantized_to_bytes(bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "QUANTIZE_FROM", 0)
    text = write_page(bundle, tmp_path / "one.html").read_text()
    spec = json.loads(re.search(r'id="manifest">(.*?)</script>', text)[1])["arrays"]["items"]
    items = np.frombuffer(part(text, "items"), np.uint8) * spec["step"] + spec["start"]
    np.testing.assert_allclose(items, bundle.items(np.arange(50)).ravel(), atol=0.5 / 255 + 1e-6)


def test_images_with_missing_values_are_not_quantized(monkeypatch):
    monkeypatch.setattr(page, "QUANTIZE_FROM", 0)
    about = {"item": {"shape": [2, 2], "low": 0.0, "high": 1.0}, "model": {"x_dtype": "float32"}}
    items, _ = page._stored_items(np.array([[0.0, 1.0, np.nan, 0.5]]), about)
    np.testing.assert_array_equal(items, [[0.0, 1.0, np.nan, 0.5]])


def test_missing_app_raises(bundle, tmp_path, monkeypatch):
    def absent(name):
        raise FileNotFoundError("run `npm ci && npm run build`")

    monkeypatch.setattr(page, "app_file", absent)
    with pytest.raises(FileNotFoundError, match="npm ci"):
        write_page(bundle, tmp_path / "one.html")


def test_run_without_model_is_not_exported(tmp_path):
    with pytest.raises(ValueError, match="no model yet"):
        write_page(Bundle({}), tmp_path / "one.html")


def test_export_command_writes_a_page(run, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["export", str(run), "--page", str(out), "--rows", "20"]) == 0
    assert "open it in a browser" in capsys.readouterr().out
    assert "20" in re.search(r'"rows":(\{.*?\})', out.read_text())[1]
    assert main(["export", str(run), "--page", str(out), "--no-data"]) == 0
    assert '"rows":null' in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "nothing to export"),
        (["nowhere", "--page"], "nowhere"),
        (
            ["RUN", "--page", "--rows", "1"],
            "argument --rows: expected a whole number of at least 2",
        ),
        (["RUN", "--page", "--data", "nothing.csv"], "neither a known dataset"),
    ],
)
def test_export_errors_are_one_line(run, arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [str(run) if a == "RUN" else a for a in arguments]
    assert main(["export", *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (run / "studio.html").exists()
