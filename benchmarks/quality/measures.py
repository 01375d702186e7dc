"""Quality of a model on held-out rows: the same code and the same noise for all contenders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 1000  # rows at a time


@dataclass(frozen=True)
class Coder:
    """A variational autoencoder of pixels in [0, 1], as its quality is measured.

    Parameters
    ----------
    encode : callable
        Rows to the mean and the log-variance of q(z|x).
    decode : callable
        Codes to logits of the pixels.
    log_prior : callable, optional
        Codes to log p(z); None is the standard normal, whose KL is computed exactly.
    """

    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]
    log_prior: Callable[[Tensor], Tensor] | None = None


def negative_elbo(model: Coder, x: Tensor) -> float:
    """Return the mean of cross-entropy plus KL over rows, in nats, by one draw of each code."""
    return sum(float(_negative_elbos(model, part).sum()) for part in x.split(PIECE)) / len(x)


def _negative_elbos(model: Coder, x: Tensor) -> Tensor:
    mean, log_variance = model.encode(x)
    noise = torch.randn_like(mean)
    z = mean + (0.5 * log_variance).exp() * noise
    if model.log_prior is None:
        kl = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).sum(1)
    else:
        log_q = -0.5 * (noise.pow(2) + log_variance + torch.log(torch.tensor(2 * torch.pi)))
        kl = log_q.sum(1) - model.log_prior(z)
    logits = model.decode(z).flatten(1)
    return kl + F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="none").sum(1)


def squared_error(reconstruct: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Return the squared error of reconstructions, summed over pixels, its mean over rows."""
    parts = x.split(PIECE)
    errors = (float((reconstruct(p).flatten(1) - p.flatten(1)).pow(2).sum()) for p in parts)
    return sum(errors) / len(x)
