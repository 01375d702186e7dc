"""
What each latent represents
===========================

Hearts of six sizes in all positions. In each row one latent moves from −3 to 3 while the others
stay fixed; the variance of its codes is in brackets. With β = 8, two latents represent the
position and one the size (beyond the smallest size the model has no training data); the others
are inactive.
"""

import numpy as np

from isthmus import BetaVAE
from isthmus.data.sprites import N_SPRITES, factors, render
from isthmus.plots import traversals
from isthmus.plots.style import title

shape, _, orientation, _, _ = factors(np.arange(N_SPRITES)).T
X = render(np.flatnonzero((shape == 2) & (orientation == 0)))  # upright hearts, 6144
X = X[:, ::2, ::2]  # a quarter of the pixels, for speed
model = BetaVAE(beta=8, n_components=6, hidden=(400, 400), epochs=70, random_state=0).fit(X)

figure = traversals(model, model.transform(X), n_dims=4)
title(figure, "Hearts: one latent changes along each row")

# sphinx_gallery_thumbnail_path = "images/gallery/traversal.png"
