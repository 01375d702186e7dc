"""
Completing the missing half of a digit
======================================

The model receives only the upper half of each test digit. The draws are plausible completions.
The uncertainty, two standard deviations, is bright if they differ.
"""

import numpy as np
from sklearn.frozen import FrozenEstimator

from isthmus import VAE
from isthmus.applications import LatentImputer
from isthmus.data import load
from isthmus.plots import pictures
from isthmus.plots.style import title

data = load("mnist")
model = VAE(n_components=10, hidden=(500,), epochs=10, random_state=0).fit(data.X)
X = data.X_test[[0, 1, 3, 8, 18, 61]] / 255
lower = np.arange(28)[:, None] >= np.full(28, 14)

imputer = LatentImputer(FrozenEstimator(model), n_draws=300, random_state=0).fit(X)
mean, std = imputer.impute(X, lower)
draws = imputer.sample_imputations(X, lower)[::60][:4]
given = np.where(lower, 0.35, X)
figure = pictures(np.stack([given, *draws, mean, 2 * std, X], 1).reshape(-1, 28, 28), columns=8)
names = ["input", "draw", "draw", "draw", "draw", "mean", "uncertainty", "original"]
figure.axes[0].set_xticks(np.arange(8) + 0.5, names)
figure.axes[0].tick_params(labeltop=True, labelbottom=False)
title(figure, "Six digits without their lower half, and plausible completions")

# sphinx_gallery_thumbnail_path = "images/gallery/inpainting.png"
