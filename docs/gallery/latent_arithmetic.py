"""
Interpolation and attribute vectors
===================================

Above, interpolations between the codes of two images; below, T-shirts moved along the difference
between pullovers and T-shirts, which adds sleeves.
"""

import numpy as np

from isthmus import VAE
from isthmus.applications.latent_paths import AttributeVectors, interpolate
from isthmus.data import load
from isthmus.plots import pictures
from isthmus.plots.style import title

data = load("fashion-mnist")
model = VAE(n_components=16, hidden=(500,), epochs=12, random_state=0).fit(data.X)

first, last = data.X_test[[9, 2]], data.X_test[[0, 13]]
between = interpolate(model, first, last, n_steps=9, how="spherical")
attributes = AttributeVectors.from_fitted(model).fit(data.X, data.y)
shirts = data.X_test[data.y_test == 0][:3]
moved = attributes.apply(shirts, add=2, remove=0, amount=np.linspace(0, 1.2, 9))

cells = np.concatenate([between, moved]).reshape(-1, 28, 28)
figure = pictures(cells, columns=9)
figure.set_figwidth(7.3)
figure.axes[0].set_yticks(np.arange(5) + 0.5, ["between"] * 2 + ["+ sleeves"] * 3)
title(figure, "Interpolations, and an attribute added little by little")

# sphinx_gallery_thumbnail_path = "images/gallery/latent_arithmetic.png"
