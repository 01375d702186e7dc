"""
Generating a chosen digit
=========================

All digits are generated: a conditional VAE drew twelve samples for each class.
"""

import numpy as np

from isthmus import ConditionalVAE
from isthmus.data import load
from isthmus.plots import pictures
from isthmus.plots.style import title

data = load("mnist")
model = ConditionalVAE(n_components=6, hidden=(500,), epochs=12, random_state=0)
model.fit(data.X, data.y)

labels = np.repeat(np.arange(10), 12)
figure = pictures(model.sample(len(labels), random_state=0, y=labels), columns=12)
figure.axes[0].set_yticks(np.arange(10) + 0.5, range(10))
title(figure, "Generated digits, one class per row")

# sphinx_gallery_thumbnail_path = "images/gallery/generation.png"
