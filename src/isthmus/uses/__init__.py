"""What people do with a fitted model: each use wraps any estimator of isthmus.

Names are loaded when first used.
"""

from __future__ import annotations

from typing import Any

_HOMES = {
    "AddedSound": "sound",
    "AnomalyDetector": "anomalies",
    "AnyOf": "denoising",
    "AttributeVectors": "moves",
    "CompressedCodes": "compression",
    "Denoiser": "denoising",
    "LatentCodec": "compression",
    "LatentImputer": "imputation",
    "LatentIndex": "search",
    "LatentMap": "maps",
    "LatentSampler": "generation",
    "combine": "moves",
    "decoded_grid": "moves",
    "decompress": "compression",
    "denoise_sound": "denoising",
    "fit_three": "maps",
    "interpolate": "moves",
    "latent_distributions": "maps",
    "path": "moves",
    "side_by_side": "maps",
    "traverse": "moves",
    "variations": "generation",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'isthmus.uses' has no attribute {name!r}")
    return getattr(importlib.import_module(f"isthmus.uses.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
