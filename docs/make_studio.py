"""Write the screenshots of the studio in docs/images, from an exported page in Chromium.

From the root of a checkout, with MNIST in $ISTHMUS_DATA:

    isthmus fit mnist --n-components 2 --hidden 512x256 --epochs 25 --random-state 0 \
        --out runs/mnist --page
    python docs/make_studio.py runs/mnist/studio.html
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1280, "height": 800}


def map_with_background(page: Page) -> None:
    page.get_by_role("button", name="Decoded background").click()
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_timeout(2500)
    box = page.get_by_role("application").bounding_box()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.63 * box["height"])


def stroke(page: Page) -> None:
    page.get_by_role("button", name="Clear mask").click()
    box = page.get_by_label("Item to mask").bounding_box()
    x, y, w, h = box["x"], box["y"], box["width"], box["height"]
    page.mouse.move(x + 0.3 * w, y + 0.2 * h)
    page.mouse.down()
    page.mouse.move(x + 0.7 * w, y + 0.5 * h, steps=15)
    page.mouse.move(x + 0.3 * w, y + 0.6 * h, steps=15)
    page.mouse.up()


PICTURES: dict[str, tuple[str, Callable[[Page], None]]] = {
    "studio-map": ("map", map_with_background),
    "studio-repair": ("impute", stroke),
}


def main(address: str) -> None:
    with sync_playwright() as p:
        flags = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
        page = p.chromium.launch(**flags).new_page(viewport=SIZE)
        for name, (view, act) in PICTURES.items():
            page.goto(f"{address}#{view}")
            page.wait_for_timeout(5000)
            act(page)
            page.wait_for_timeout(1500)
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            shot.save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve().as_uri())
