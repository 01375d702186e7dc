"""
Removing noise from images
==========================

Test images with three kinds of noise, and the output of one denoiser that was trained on all
three.
"""

import numpy as np

from isthmus import DenoisingAutoencoder
from isthmus.applications.denoising import Denoiser
from isthmus.data import load
from isthmus.plots import pictures
from isthmus.plots.style import title

data = load("fashion-mnist")
model = DenoisingAutoencoder(
    backbone="pyramid", epochs=2, batch_size=64, learning_rate=2e-3, random_state=0
)
kinds = {"gaussian": 0.3, "masking": 0.5, "salt-and-pepper": 0.2}
denoiser = Denoiser(model, corruption=tuple(kinds), level=tuple(kinds.values()))
denoiser.fit(data.X[:20_000] / np.float32(255))

X = data.X_test[[0, 1, 11, 18, 19, 23, 30]] / np.float32(255)
rng = np.random.default_rng(0)
hit = rng.random(X.shape)
noisy = [X + rng.normal(0, 0.3, X.shape), X * (hit > 0.5), np.where(hit < 0.2, hit < 0.1, X)]
cells = [row for y in noisy for row in (y, denoiser.transform(y.astype(np.float32)))]
figure = pictures(np.concatenate([*cells, X]).clip(0, 1), columns=len(X))
names = ["Gaussian", "denoised", "half masked", "denoised", "salt, pepper", "denoised"]
figure.axes[0].set_yticks(np.arange(7) + 0.5, [*names, "original"])
figure.set_figwidth(8)
title(figure, "Noisy test images, and denoised")

# sphinx_gallery_thumbnail_path = "images/gallery/denoising.png"
