"""isthmus: the autoencoder family, scikit-learn style, on PyTorch.

Public names are loaded when first used, so that the command line can print its help without
loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus._version import __version__

if TYPE_CHECKING:
    from isthmus.estimators import VAE as VAE
    from isthmus.estimators import Autoencoder as Autoencoder
    from isthmus.estimators import BetaVAE as BetaVAE
    from isthmus.estimators import ConditionalVAE as ConditionalVAE
    from isthmus.estimators import ContractiveAutoencoder as ContractiveAutoencoder
    from isthmus.estimators import DenoisingAutoencoder as DenoisingAutoencoder
    from isthmus.estimators import SparseAutoencoder as SparseAutoencoder
    from isthmus.estimators.model_io import load as load
    from isthmus.hub import from_pretrained as from_pretrained
    from isthmus.hub import push_to_hub as push_to_hub
    from isthmus.hub import save_pretrained as save_pretrained
    from isthmus.models.latent_variable_model import LatentVariableModel as LatentVariableModel
    from isthmus.objectives.objective import Objective as Objective
    from isthmus.sweeps import Sweep as Sweep
    from isthmus.training import Callback as Callback
    from isthmus.training import Checkpoint as Checkpoint

_HOMES = {
    "Autoencoder": "isthmus.estimators",
    "BetaVAE": "isthmus.estimators",
    "Callback": "isthmus.training",
    "Checkpoint": "isthmus.training",
    "ConditionalVAE": "isthmus.estimators",
    "ContractiveAutoencoder": "isthmus.estimators",
    "DenoisingAutoencoder": "isthmus.estimators",
    "LatentVariableModel": "isthmus.models.latent_variable_model",
    "Objective": "isthmus.objectives.objective",
    "SparseAutoencoder": "isthmus.estimators",
    "Sweep": "isthmus.sweeps",
    "VAE": "isthmus.estimators",
    "from_pretrained": "isthmus.hub",
    "load": "isthmus.estimators.model_io",
    "push_to_hub": "isthmus.hub",
    "save_pretrained": "isthmus.hub",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
