"""Hyperparameter search: sweeps over a grid of settings, and Optuna."""

from isthmus.search.sweep import Sweep

__all__ = ["Sweep"]
