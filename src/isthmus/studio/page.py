"""A run as a page of its own: one file, or a folder, that needs neither Python nor a network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus import export
from isthmus._version import __version__
from isthmus.persistence.atomic import write_all_atomic, write_atomic
from isthmus.plots.cells import is_image
from isthmus.report.templating import template
from isthmus.studio.bundle import Bundle

__all__ = ["app_file", "shell", "to_json", "write_page"]

Array = NDArray[Any]

LARGEST = 48 * 2**20  # bytes of one file that browsers still open at once
BYTES_FROM = 4 * 2**20  # bytes of pictures in floats; of more each pixel is kept in one

# 'unsafe-eval' is regl's, which compiles its draw commands; scripts are named by their hash, so
# that no text of the data can become one.
POLICY = (
    "default-src 'none'; script-src 'sha256-{digest}' 'unsafe-eval' 'wasm-unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def write_page(bundle: Bundle, path: Path) -> Path:
    """Write a run as one self-contained page, or as a folder with an index.html.

    Encoder and decoder run in the reader's browser, by onnxruntime's wasm; nothing is loaded
    from elsewhere, and the page may be opened from a disk, a mail or any static host.

    Parameters
    ----------
    bundle : Bundle
        Of a run that has a model.
    path : Path
        A file that ends in .html, else a folder, which is made.

    Returns
    -------
    Path
        The file to open.

    Raises
    ------
    ValueError
        A run without a model, a model that cannot be exported, or one too large for one file.
    FileNotFoundError
        Where the app was never built.
    ImportError
        Where onnx is not installed.
    """
    if bundle.estimator is None:
        raise ValueError("the run has no model yet: it is still being trained. Export it later.")
    app_file("app.js")
    bundle = _with_items(bundle)
    parts = {name: _packed(content) for name, content in _parts(bundle).items()}
    parts["engine"] = base64.b64encode(app_file("engine.wasm.gz"))
    parts["licences"] = _packed(app_file("licences.txt"))
    return (
        _write_file(bundle, parts, path)
        if path.suffix == ".html"
        else _write_folder(bundle, parts, path)
    )


def app_file(name: str) -> bytes:
    """Return a file of the built app.

    Raises
    ------
    FileNotFoundError
        In a checkout in which it was never built; the line says how to.
    """
    file = resources.files("isthmus.studio") / "app" / name
    if not file.is_file():
        raise FileNotFoundError(
            "the studio's app is not built here: run `npm ci && npm run build` in studio/ of the "
            "checkout (Node 20 or newer), and install again unless it is editable; packages bring "
            "the app along."
        )
    return file.read_bytes()


def shell(title: str, **content: Any) -> str:
    """Return the HTML around the app: with everything in it, or with files beside it."""
    nothing = {"policy": "", "style": "", "script": "", "manifest": "", "parts": {}}
    about = {"title": title, "version": __version__}
    return template("isthmus.studio", "shell.html").render(nothing | about | content) + "\n"


def _with_items(bundle: Bundle) -> Bundle:
    """Return the bundle with the items themselves among its arrays."""
    if bundle.X is None:
        return bundle
    items, spec = _kept(bundle.items(np.arange(len(bundle.X))), bundle.manifest)
    spec |= {"dtype": items.dtype.name, "shape": list(items.shape)}
    return replace(
        bundle,
        manifest=bundle.manifest | {"arrays": bundle.manifest["arrays"] | {"items": spec}},
        arrays=bundle.arrays | {"items": items},
    )


def _kept(items: Array, manifest: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
    """Return items as small as they may be, and how bytes are to be read."""
    item = manifest["item"]
    if not is_image(tuple(item["shape"])):  # a column like 1e9 ± 1 keeps its digits
        return (items if manifest["model"]["x_dtype"] == "float64" else items.astype("f4")), {}
    if items.size * 4 <= BYTES_FROM or np.isnan(items).any():  # no byte says "missing"
        return items.astype(np.float32), {}
    start, step = item["low"], (item["high"] - item["low"]) / 255
    return ((items - start) / step).round().clip(0, 255).astype(np.uint8), {
        "start": start,
        "step": step,
    }


def _parts(bundle: Bundle) -> dict[str, bytes]:
    """Return the networks and the arrays as bytes by name."""
    networks = {
        "encoder": export.encoder(bundle.estimator),
        "decoder": export.decoder(bundle.estimator),
    }
    return networks | {name: _little_endian(a).tobytes() for name, a in bundle.arrays.items()}


def _little_endian(a: Array) -> Array:
    return a.astype(a.dtype.newbyteorder("<"), copy=False)


def _packed(content: bytes) -> bytes:
    return base64.b64encode(gzip.compress(content, 9, mtime=0))  # without a time it repeats


def _write_file(bundle: Bundle, parts: dict[str, bytes], path: Path) -> Path:
    size = sum(map(len, parts.values()))
    if size > LARGEST:
        raise ValueError(
            f"one page would have {size / 2**20:.0f} MB, more than the {LARGEST / 2**20:.0f} MB "
            f"that browsers open well: name a folder instead, such as --page {path.with_suffix('')}"
            ", or show fewer rows by --rows."
        )
    script = app_file("app.js").decode().replace("</script", "<\\/script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = shell(
        bundle.manifest["title"],
        policy=POLICY.format(digest=digest),
        style=app_file("app.css").decode(),
        script=script,
        manifest=to_json(bundle.manifest),
        parts={name: content.decode() for name, content in parts.items()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page.encode())
    return path


def _write_folder(bundle: Bundle, parts: dict[str, bytes], folder: Path) -> Path:
    """Write index.html, the app, and each part as a script that brings it along."""
    page = shell(bundle.manifest["title"], manifest=to_json(bundle.manifest))
    files = {"index.html": page.encode()}
    files |= {name: app_file(name) for name in ("app.js", "app.css")}
    for name, content in parts.items():
        files[f"parts/{name}.js"] = b'(window.isthmusParts??={})["%s"]="%s"\n' % (
            name.encode(),
            content,
        )
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    write_all_atomic({folder / name: content for name, content in files.items()})
    return folder / "index.html"


def to_json(manifest: dict[str, Any]) -> str:
    """Return JSON that cannot end the element it stands in, whatever the texts in it."""
    text = json.dumps(_finite(manifest), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any) -> Any:
    """Return values with numbers that JSON does not know as null."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
