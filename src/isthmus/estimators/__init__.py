"""The models as scikit-learn estimators."""

from isthmus.estimators.base import LatentEstimator, Posterior
from isthmus.estimators.model_io import ESTIMATORS
from isthmus.estimators.models import (
    VAE,
    Autoencoder,
    BetaVAE,
    ConditionalVAE,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
)

__all__ = [
    "ESTIMATORS",
    "VAE",
    "Autoencoder",
    "BetaVAE",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "LatentEstimator",
    "Posterior",
    "SparseAutoencoder",
]
