"""From a row of choices to a model and an objective: the tables of parts by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isthmus.backbones import BACKBONES, Shapes
from isthmus.corruptions import CORRUPTIONS
from isthmus.families import BernoulliFamily, Family, NormalFamily, PointMass
from isthmus.model import LatentVariableModel
from isthmus.objective import Objective
from isthmus.penalties import L1, Contractive, KLSparsity, Penalty
from isthmus.priors import Prior, StandardNormal
from isthmus.rows import Parts

__all__ = ["LIKELIHOODS", "PENALTIES", "POSTERIORS", "PRIORS", "build_model", "build_objective"]

Shape = tuple[int, ...]

POSTERIORS: dict[str, Callable[[Shape, str], Family]] = {
    "delta": lambda shape, act: PointMass(shape, act),
    "normal": lambda shape, act: NormalFamily(shape, "log-variance", act),
    "normal-softplus": lambda shape, act: NormalFamily(shape, "softplus", act),
}

LIKELIHOODS: dict[str, Callable[[Shape], Family]] = {
    "bernoulli": BernoulliFamily,
    "gaussian": lambda shape: NormalFamily(shape, "shared"),
}

PRIORS: dict[str, Callable[[int], Prior]] = {"standard": StandardNormal}

PENALTIES: dict[str, Callable[[Any], Penalty]] = {
    "l1": lambda row: L1(row.penalty_weight),
    "kl": lambda row: KLSparsity(row.penalty_weight, row.sparsity_target),
    "contractive": lambda row: Contractive(row.penalty_weight),
}


def build_model(
    row: Parts,
    features: Shape,
    likelihood: str,
    n_context: int = 0,
    log_unit: Tensor | None = None,
) -> LatentVariableModel:
    """Make the model of a row for examples of a given shape.

    Weights are drawn from torch's global random state: call it under `isolated_rng`.

    Parameters
    ----------
    row : Parts
        An instance of a row, or an estimator.
    features : tuple of int
        Shape of one example.
    likelihood : {"bernoulli", "gaussian"}
    n_context : int
        Numbers of context a row.
    log_unit : Tensor, optional
        See `LatentVariableModel`.

    Examples
    --------
    >>> from isthmus.rows import VAE
    >>> model = build_model(VAE(n_components=2, hidden=(8,)), (4, 4), "bernoulli")
    >>> model.encode(torch.zeros(3, 4, 4)).mean.shape
    torch.Size([3, 2])
    """
    posterior = POSTERIORS[row.posterior_family]((row.n_components,), code_activation(row))
    p_of_x = LIKELIHOODS[likelihood](features)
    shapes = Shapes(
        features,
        row.n_components,
        posterior.n_outputs,
        p_of_x.n_outputs,
        n_context,
        p_of_x.input_shape,
    )
    encoder, decoder = _networks(row, shapes)
    prior = None if row.prior is None else PRIORS[row.prior](row.n_components)
    return LatentVariableModel(encoder, decoder, posterior, p_of_x, prior, log_unit)


def build_objective(row: Parts) -> Objective:
    """Make the objective of a row.

    Examples
    --------
    >>> from isthmus.rows import BetaVAE
    >>> build_objective(BetaVAE(beta=2.0)).beta
    2.0
    """
    if row.penalty == "kl" and code_activation(row) != "sigmoid":
        raise ValueError(
            "penalty='kl' compares activities between 0 and 1: it needs activation='sigmoid' (or "
            f"'auto'), got {code_activation(row)!r}."
        )
    corruption = row.corruption
    return Objective(
        beta=row.beta,
        penalties=() if row.penalty is None else (PENALTIES[row.penalty](row),),
        corruption=corruption and CORRUPTIONS[corruption](row.corruption_level),  # type: ignore
        condition_dropout=getattr(row, "condition_dropout", 0.0),
    )


def code_activation(row: Parts) -> str:
    """Return the function on the code, "auto" decided by the penalty."""
    if row.activation != "auto":
        return row.activation
    return "sigmoid" if row.penalty == "kl" else "relu"


def _networks(row: Parts, shapes: Shapes) -> tuple[torch.nn.Module, torch.nn.Module]:
    if callable(row.backbone):
        return _checked(row.backbone(shapes), shapes)
    return BACKBONES[row.backbone](shapes, row.hidden, row.nonlinearity)


def _checked(networks: Any, shapes: Shapes) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Try the user's own networks on two rows of zeros, before training does."""
    encoder, decoder = networks
    context = (torch.zeros(2, shapes.context),) if shapes.context else ()
    for name, network, x, wanted in (
        ("encoder", encoder, torch.zeros(2, *shapes.encoder_inputs), shapes.encoder_outputs),
        ("decoder", decoder, torch.zeros(2, shapes.code), shapes.decoder_outputs),
    ):
        with torch.no_grad():
            got = network(x, *context).shape
        if got[0] != 2 or math.prod(got[1:]) != wanted:
            raise ValueError(
                f"the {name} of your backbone must return {wanted} numbers a row for "
                f"{shapes}; from 2 rows it returned the shape {tuple(got)}."
            )
    return encoder, decoder
