"""Probability: distributions, and the families of each slot of a model."""
