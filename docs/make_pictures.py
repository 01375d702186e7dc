"""Draw the picture of the README: the map and the decoded plane of a two-dimensional VAE of MNIST.

python docs/make_pictures.py --data-home DIR
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image

from isthmus import VAE
from isthmus.data import load
from isthmus.plots import latent_grid, latent_map

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Fit the model, draw two figures and save them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", required=True)
    mnist = load("mnist", data_home=parser.parse_args().data_home)
    model = VAE(n_components=2, hidden=(500, 500), epochs=30, random_state=0, progress="lines")
    model.fit(mnist.X)
    figures = [
        latent_map(model.transform(mnist.X_test), mnist.y_test),
        latent_grid(model, n=20),
    ]
    join(figures, height=760).save(IMAGES / "map-and-plane.png", optimize=True)


def join(figures: list, height: int) -> Image.Image:
    """Return the figures side by side with equal heights on a white background."""
    pictures = []
    for figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=160, facecolor="white", bbox_inches="tight")
        picture = Image.open(buffer).convert("RGB")
        pictures.append(picture.resize((picture.width * height // picture.height, height)))
    sheet = Image.new("RGB", (sum(p.width for p in pictures), height), "white")
    x = 0
    for picture in pictures:
        sheet.paste(picture, (x, 0))
        x += picture.width
    return sheet


if __name__ == "__main__":
    main()
