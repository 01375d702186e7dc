"""Run the scripts of docs/gallery, save their pictures and write docs/gallery.md.

python docs/make_gallery.py --data-home DIR [--only NAME ...]

Each script assigns its picture to `figure` and runs in its own process. Its docstring becomes the
heading and text, its code is quoted unchanged, and the PNG stores a digest of the code that drew
it: the page is written only if every picture matches its script. `--check` runs no script and
reports whether page and pictures are current. The site shows the same scripts through
sphinx-gallery, which also reads comments that begin with `# sphinx_gallery`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

DOCS = Path(__file__).resolve().parent
PAGE, SCRIPTS, IMAGES = DOCS / "gallery.md", DOCS / "gallery", DOCS / "images" / "gallery"
ORDER = (
    *("anomaly_detection", "explanation", "inpainting", "denoising", "sound", "retrieval"),
    *("generation", "variations", "latent_arithmetic", "traversal", "latent_map", "posteriors"),
    *("vae_terms", "compression", "synthetic_table"),
)
DPI, COLOURS, LARGEST = 110, 128, 200_000  # the last in bytes
HEAD = """\
# Gallery

The gallery shows one picture for each [application](guides.md) of isthmus, together with the script
that draws it. Copy a script and run it as it is; scripts that use MNIST, Fashion-MNIST or speech
find their data through the environment variable `ISTHMUS_DATA`. The seconds are processor time on
one core, imports included. `python docs/make_gallery.py --data-home DIR` writes this page.
"""


def main() -> None:
    """Run the scripts, or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="the folder with mnist, fashion-mnist and speech")
    parser.add_argument("--only", nargs="+", default=ORDER, choices=ORDER, metavar="NAME")
    parser.add_argument(
        "--check", action="store_true", help="run nothing; report whether the page is current"
    )
    parser.add_argument("--draw", choices=ORDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.draw:
        return draw(arguments.draw)
    if arguments.check:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        sys.exit(
            None if current else f"{PAGE.name} is out of date: run this script without --check."
        )
    if arguments.data_home is not None:
        os.environ["ISTHMUS_DATA"] = str(Path(arguments.data_home).resolve())
    os.environ["OMP_NUM_THREADS"] = "1"  # sums in one order: the same picture again
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        print(f"{name} ... ", end="", flush=True)
        if subprocess.run([sys.executable, __file__, "--draw", name]).returncode:
            sys.exit(f"docs/gallery/{name}.py failed; the page was not written.")
    PAGE.write_text(page(), encoding="utf-8")


def draw(name: str) -> None:
    """Run a script and save its picture with its digest, processor time and title."""
    digest = digest_of(name)  # before the run: the file may change meanwhile
    figure = runpy.run_path(str(SCRIPTS / f"{name}.py"))["figure"]
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, facecolor="white")
    seconds = time.process_time()
    notes = PngInfo()
    for key, text in (("scene", digest), ("seconds", f"{seconds:.0f}"), ("title", heading(figure))):
        notes.add_itxt(key, text)
    out = io.BytesIO()
    picture = Image.open(buffer).convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT)
    picture.save(out, "png", optimize=True, pnginfo=notes)
    if len(out.getvalue()) > LARGEST:
        sys.exit(f"{name}.png has {len(out.getvalue()):,} bytes; the limit is {LARGEST:,}.")
    (IMAGES / f"{name}.png").write_bytes(out.getvalue())
    print(f"{seconds:.0f} s, {len(out.getvalue()) // 1000} kB")


def heading(figure: object) -> str:
    """Return a figure's title; it becomes the alternative text of the picture."""
    return " ".join(figure.get_suptitle().split())  # type: ignore[attr-defined]


def parts_of(name: str) -> tuple[str, str, str]:
    """Return a script's heading, text and code."""
    source = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    first, _, text = ast.get_docstring(tree).partition("\n\n")  # type: ignore[union-attr]
    code = source.splitlines()[tree.body[0].end_lineno :]
    shown = "\n".join(line for line in code if not line.startswith("# sphinx_gallery"))
    return first.splitlines()[0], text, shown.strip()


def digest_of(name: str) -> str:
    return hashlib.sha256(parts_of(name)[2].encode()).hexdigest()[:16]


def page() -> str:
    """Return the whole page; exit if a picture does not match its script."""
    if unlisted := {path.stem for path in SCRIPTS.glob("*.py")} ^ set(ORDER):
        sys.exit(f"ORDER and docs/gallery differ in {', '.join(sorted(unlisted))}.")
    return "\n".join([HEAD, *(section(name) for name in ORDER)])


def section(name: str) -> str:
    """Return heading, text, picture and code of a script."""
    path = IMAGES / f"{name}.png"
    notes = Image.open(path).text if path.exists() else {}
    if notes.get("scene") != digest_of(name):
        sys.exit(f"{path.name} does not match docs/gallery/{name}.py: run with --only {name}.")
    first, text, code = parts_of(name)
    picture = f"![{notes['title']}](images/gallery/{path.name})"
    run = f"```python\n{code}\n```\n\n{notes['seconds']} seconds."
    return f"## {first}\n\n{text}\n\n{picture}\n\n{run}\n"


if __name__ == "__main__":
    main()
