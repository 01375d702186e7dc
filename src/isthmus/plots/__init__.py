"""Figures: each function takes arrays or a fitted model and returns a matplotlib Figure.

Nothing is shown or saved; call ``figure.savefig("name.png")``. Notebooks display the figure.
"""

from isthmus.plots.curves import loss_curves
from isthmus.plots.examples import pictures, reconstructions, samples_by_epoch
from isthmus.plots.latent import latent_grid, latent_map, traversals
from isthmus.plots.series import time_series

__all__ = [
    "latent_grid",
    "latent_map",
    "loss_curves",
    "pictures",
    "reconstructions",
    "samples_by_epoch",
    "time_series",
    "traversals",
]
