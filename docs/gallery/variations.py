"""
Variations of one example
=========================

New digits drawn around the code of the test digit on the left: the same draws at three spreads,
in standard deviations of q(z|x).
"""

import numpy as np

from isthmus import VAE
from isthmus.applications.generation import variations
from isthmus.data import load
from isthmus.plots import pictures
from isthmus.plots.style import title

data = load("mnist")
model = VAE(n_components=10, hidden=(500,), epochs=10, random_state=0).fit(data.X)

given = data.X_test[[1]]
spreads = [1, 2, 4]
rows = [variations(model, given, 9, spread, random_state=0)[0] for spread in spreads]
cells = [np.concatenate([given / 255, row]) for row in rows]
figure = pictures(np.concatenate(cells), columns=10)
figure.axes[0].set_yticks(np.arange(3) + 0.5, [f"spread {spread}" for spread in spreads])
figure.axes[0].set_xticks([0.5], ["given"])
figure.axes[0].tick_params(labeltop=True, labelbottom=False)
title(figure, "A digit, and draws about its code")

# sphinx_gallery_thumbnail_path = "images/gallery/variations.png"
