"""The start of linear autoencoders at the principal components of the data."""

from __future__ import annotations

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from isthmus.distributions.families import PointMass
from isthmus.distributions.likelihoods import GaussianFamily
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.training.dictionary import Dictionary, has_linear_networks

__all__ = ["can_start_linear", "start_linear"]


def can_start_linear(model: LatentVariableModel) -> bool:
    """Whether principal component analysis solves the reconstruction of a model."""
    code = model.posterior
    is_plain = isinstance(code, PointMass) and code.activation == "identity"
    is_squared_error = isinstance(model.likelihood, GaussianFamily)
    return is_plain and is_squared_error and has_linear_networks(model)


@torch.no_grad()
def start_linear(model: LatentVariableModel, x: Tensor) -> None:
    """Initialize a linear autoencoder with the principal components of rows, in place.

    They are the exact solution for the squared error of these rows. Gradient descent finds it too,
    but slowly if eigenvalues are close. Units beyond the rank of the rows keep their encoder
    weights and start without effect on the reconstruction.

    Parameters
    ----------
    model : LatentVariableModel
        One for which `can_start_linear` holds.
    x : Tensor (n, *features)
        Training rows in model space, without missing values; a few thousand suffice.

    References
    ----------
    Neural networks and principal component analysis: learning from examples without local minima
    (Baldi, Hornik, 1989).

    Examples
    --------
    >>> from isthmus.registry import build_model
    >>> from isthmus.models.specs import Autoencoder
    >>> model = build_model(Autoencoder(n_components=2, hidden=()), (4,), "gaussian")
    >>> x = torch.randn(50, 2) @ torch.randn(2, 4)
    >>> start_linear(model, x)
    >>> model.reconstruct(model.encode(x).mean).allclose(x, atol=1e-4)
    True
    """
    encoder, decoder = Dictionary.of(model)
    rows = x.flatten(1).double().cpu().numpy()
    n = min(len(encoder.weight), *rows.shape)
    pca = PCA(n, random_state=0).fit(rows)
    axes = torch.from_numpy(pca.components_).to(encoder.weight)
    mean = torch.from_numpy(pca.mean_).to(encoder.weight)
    encoder.weight[:n] = axes
    encoder.bias[:n] = -axes @ mean
    decoder.weight.zero_()
    decoder.weight[:, :n] = axes.T
    decoder.bias.copy_(mean)
