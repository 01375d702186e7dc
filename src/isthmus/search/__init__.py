"""Many models at once: a grid of settings, trained together where the shapes allow it."""

from isthmus.search.sweep import Sweep

__all__ = ["Sweep"]
