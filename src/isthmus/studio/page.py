"""Export of a run as a page, a single file or a folder, that runs without Python or network."""

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
from isthmus.persistence.atomic import inner_folder, write_all_atomic, write_atomic
from isthmus.plots.cells import is_image
from isthmus.report.templating import template
from isthmus.studio.bundle import Bundle

__all__ = ["app_file", "shell", "to_json", "write_page"]

Array = NDArray[Any]

MAX_FILE = 48 * 2**20  # bytes of one file that browsers open quickly
QUANTIZE_FROM = 4 * 2**20  # bytes of float images from which pixels are stored as bytes

# regl needs 'unsafe-eval' to compile its draw commands. Only the script with this hash runs, so
# text from the data cannot be executed.
POLICY = (
    "default-src 'none'; script-src 'sha256-{digest}' 'unsafe-eval' 'wasm-unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def write_page(bundle: Bundle, path: Path) -> Path:
    """Write a run as a self-contained HTML file, or as a folder with an index.html.

    Encoder and decoder run in the browser with onnxruntime's WebAssembly. The page loads nothing
    from other hosts, so it can be opened from disk, from a mail or from any static host. If the
    path ends in .html, it is a file, otherwise a folder. Returns the path of the file to open.

    Raises
    ------
    ValueError
        If the run has no model, or the model cannot be exported or is too large for one file.
    FileNotFoundError
        If the app was not built.
    ImportError
        If onnx is not installed.
    """
    if bundle.estimator is None:
        raise ValueError("the run has no model yet; export it when training has finished.")
    app_file("app.js")
    bundle = _with_items(bundle)
    model = bundle.estimator
    contents = {"encoder": export.encoder(model), "decoder": export.decoder(model)}
    for name, array in bundle.arrays.items():
        contents[name] = array.astype(array.dtype.newbyteorder("<")).tobytes()
    parts = {name: _compressed(content) for name, content in contents.items()}
    parts["engine"] = base64.b64encode(app_file("engine.wasm.gz"))
    parts["licences"] = _compressed(app_file("licences.txt"))
    write = _write_file if path.suffix == ".html" else _write_folder
    return write(bundle, parts, path)


def app_file(name: str) -> bytes:
    """Return a file of the built app.

    Raises
    ------
    FileNotFoundError
        If the app was not built in this checkout.
    """
    file = resources.files("isthmus.studio") / "app" / name
    if not file.is_file():
        raise FileNotFoundError(
            "the studio app is not built: run `npm ci && npm run build` in studio/ of the checkout "
            "(Node 20 or newer), then reinstall unless the install is editable. Released packages "
            "contain the built app."
        )
    return file.read_bytes()


def shell(title: str, **content: Any) -> str:
    """Return the HTML document of the app, with inline contents or links to files."""
    empty = {"policy": "", "style": "", "script": "", "manifest": "", "parts": {}}
    values = empty | {"title": title, "version": __version__} | content
    return template("isthmus.studio", "shell.html").render(values) + "\n"


def _with_items(bundle: Bundle) -> Bundle:
    """Return the bundle with an additional array of all items."""
    if bundle.X is None:
        return bundle
    items, spec = _stored_items(bundle.items(np.arange(len(bundle.X))), bundle.manifest)
    spec |= {"dtype": items.dtype.name, "shape": list(items.shape)}
    return replace(
        bundle,
        manifest=bundle.manifest | {"arrays": bundle.manifest["arrays"] | {"items": spec}},
        arrays=bundle.arrays | {"items": items},
    )


def _stored_items(items: Array, manifest: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
    """Return items in the smallest sufficient data type, with the scale of quantized bytes."""
    item = manifest["item"]
    if not is_image(tuple(item["shape"])):
        return (items if manifest["model"]["x_dtype"] == "float64" else items.astype("f4")), {}
    if items.size * 4 <= QUANTIZE_FROM or np.isnan(items).any():  # bytes cannot represent NaN
        return items.astype(np.float32), {}
    start, step = item["low"], (item["high"] - item["low"]) / 255
    quantized = ((items - start) / step).round().clip(0, 255).astype(np.uint8)
    return quantized, {"start": start, "step": step}


def _compressed(content: bytes) -> bytes:
    return base64.b64encode(gzip.compress(content, 9, mtime=0))  # reproducible


def _write_file(bundle: Bundle, parts: dict[str, bytes], path: Path) -> Path:
    size = sum(map(len, parts.values()))
    if size > MAX_FILE:
        raise ValueError(
            f"the page would have {size / 2**20:.0f} MB, more than the {MAX_FILE / 2**20:.0f} MB "
            f"that browsers open reliably: give a folder, such as --page {path.with_suffix('')}, "
            "or fewer rows with --rows."
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
    """Write index.html, the app, and a script for each part."""
    page = shell(bundle.manifest["title"], manifest=to_json(bundle.manifest))
    files = {"index.html": page.encode()}
    files |= {name: app_file(name) for name in ("app.js", "app.css")}
    for name, content in parts.items():
        script = b'(window.isthmusParts??={})["%s"]="%s"\n' % (name.encode(), content)
        files[f"parts/{name}.js"] = script
    inner_folder(folder, "parts")
    write_all_atomic({folder / name: content for name, content in files.items()})
    return folder / "index.html"


def to_json(manifest: dict[str, Any]) -> str:
    """Return JSON that is safe inside a script element, whatever texts it contains."""
    text = json.dumps(_finite(manifest), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any) -> Any:
    """Replace numbers that JSON cannot represent by None."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
