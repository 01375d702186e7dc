"""Make the gallery: run the scenes of docs/gallery, keep their pictures, write docs/gallery.md.

python docs/make_gallery.py --data-home DIR [--only NAME ...]

Each scene is a script that ends with a `figure`, run in a process of its own. Its docstring is the
heading and the text of the page, its code is quoted as it stands, and its picture remembers by
which code it was made: the page is written only where both agree. `--check` runs nothing, and
says whether page and pictures are those of the scenes. The site shows the same scenes by
sphinx-gallery, which reads the heading and comments that begin with `# sphinx_gallery`.
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
PAGE, SCENES, IMAGES = DOCS / "gallery.md", DOCS / "gallery", DOCS / "images" / "gallery"
ORDER = (
    *("anomalies", "explain", "repair", "denoising", "sound", "search", "generation"),
    *("variations", "moves", "traversal", "map", "ellipses", "three", "compression", "table"),
)
DPI, COLOURS, LARGEST = 110, 128, 200_000  # the last in bytes
HEAD = """\
# Gallery

What the [uses](uses/) look like. Each picture was made by the lines under it, which can be pasted
and run; those of `mnist`, `fashion-mnist` and speech find their data by the environment variable
`ISTHMUS_DATA`. This page is written by `python docs/make_gallery.py --data-home DIR`. Seconds are
those that one core computed, imports included.
"""


def main() -> None:
    """Run scenes, or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="the folder with mnist, fashion-mnist and speech")
    parser.add_argument("--only", nargs="+", default=ORDER, choices=ORDER, metavar="NAME")
    parser.add_argument("--check", action="store_true", help="run nothing; is the page current?")
    parser.add_argument("--draw", choices=ORDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.draw:
        return draw(arguments.draw)
    if arguments.check:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        sys.exit(None if current else f"{PAGE.name} is stale: run without --check.")
    if arguments.data_home is not None:
        os.environ["ISTHMUS_DATA"] = str(Path(arguments.data_home).resolve())
    os.environ["OMP_NUM_THREADS"] = "1"  # sums in one order: the same picture again
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        print(f"{name} ... ", end="", flush=True)
        if subprocess.run([sys.executable, __file__, "--draw", name]).returncode:
            sys.exit(f"the scene {name} failed; the page was not written.")
    PAGE.write_text(page(), encoding="utf-8")


def draw(name: str) -> None:
    """Run a scene and keep its picture, with how it came about."""
    digest = digest_of(name)  # of the code that runs, whatever is written meanwhile
    figure = runpy.run_path(str(SCENES / f"{name}.py"))["figure"]
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
        sys.exit(f"the picture of {name} has {len(out.getvalue()):,} bytes, over {LARGEST:,}.")
    (IMAGES / f"{name}.png").write_bytes(out.getvalue())
    print(f"{seconds:.0f} s, {len(out.getvalue()) // 1000} kB")


def heading(figure: object) -> str:
    """Return a figure's title, which says in words what is drawn."""
    return " ".join(figure.get_suptitle().split())  # type: ignore[attr-defined]


def parts_of(name: str) -> tuple[str, str, str]:
    """Return a scene's heading, its text, and its code."""
    source = (SCENES / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    first, _, text = ast.get_docstring(tree).partition("\n\n")  # type: ignore[union-attr]
    code = source.splitlines()[tree.body[0].end_lineno :]
    shown = "\n".join(line for line in code if not line.startswith("# sphinx_gallery"))
    return first.splitlines()[0], text, shown.strip()


def digest_of(name: str) -> str:
    return hashlib.sha256(parts_of(name)[2].encode()).hexdigest()[:16]


def page() -> str:
    """Return the page of all scenes; a SystemExit where a picture is not that of its scene."""
    if unlisted := {path.stem for path in SCENES.glob("*.py")} ^ set(ORDER):
        sys.exit(f"ORDER and the folder gallery differ in {', '.join(sorted(unlisted))}.")
    return "\n".join([HEAD, *(section(name) for name in ORDER)])


def section(name: str) -> str:
    """Return heading, text, picture and code of a scene."""
    path = IMAGES / f"{name}.png"
    notes = Image.open(path).text if path.exists() else {}
    if notes.get("scene") != digest_of(name):
        sys.exit(f"{path.name} was not made by its scene as it stands: run with --only {name}.")
    first, text, code = parts_of(name)
    picture = f"![{notes['title']}](images/gallery/{path.name})"
    run = f"```python\n{code}\n```\n\n{notes['seconds']} seconds."
    return f"## {first}\n\n{text}\n\n{picture}\n\n{run}\n"


if __name__ == "__main__":
    main()
