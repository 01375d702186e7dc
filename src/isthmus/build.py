"""From a row of choices to a model and an objective: the tables of parts by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isthmus.bounds import (
    Bound,
    Capacity,
    Decomposed,
    Elbo,
    FreeBits,
    ImportanceWeighted,
    mean_kl,
)
from isthmus.corruptions import CORRUPTIONS, Binarize, Corruption, Masking
from isthmus.distributions.families import Family, NormalFamily, PointMass
from isthmus.distributions.likelihoods import LIKELIHOODS
from isthmus.distributions.mixed import make_likelihood
from isthmus.distributions.posteriors import FlowFamily, FullNormalFamily
from isthmus.distributions.priors import (
    FlowPrior,
    MixtureOfNormals,
    Prior,
    StandardNormal,
    VampPrior,
)
from isthmus.distributions.sparse_codes import SPARSE_POINTS, sparsity_penalties
from isthmus.model import LatentVariableModel
from isthmus.nn.conv import conv, conv1d, resnet
from isthmus.nn.dense import Shapes, gated, mlp
from isthmus.nn.pyramid import Pyramid
from isthmus.nn.stft import Spectral
from isthmus.objective import Objective
from isthmus.penalties import Contractive, KLSparsity, Penalty
from isthmus.rows import Parts
from isthmus.schedules import SCHEDULES

__all__ = [
    "BACKBONES",
    "LIKELIHOODS",
    "PENALTIES",
    "POSTERIORS",
    "PRIORS",
    "SIZED",
    "build_model",
    "build_objective",
]

Shape = tuple[int, ...]

#: (shape, activation, row) to a posterior.
POSTERIORS: dict[str, Callable[[Shape, str, Any], Family]] = {
    "delta": lambda shape, act, row: PointMass(shape, act),
    "sparse": lambda shape, act, row: SPARSE_POINTS[act](shape, row),
    "normal": lambda shape, act, row: NormalFamily(shape, "log-variance", act),
    "normal-softplus": lambda shape, act, row: NormalFamily(shape, "softplus", act),
    "full-normal": lambda shape, act, row: FullNormalFamily(shape),
    "flow": lambda shape, act, row: FlowFamily(shape),
}

#: (row, shapes, likelihood) to a prior.
PRIORS: dict[str, Callable[[Any, Shapes, str], Prior]] = {
    "standard": lambda row, shapes, likelihood: StandardNormal(shapes.code),
    "mixture": lambda row, shapes, likelihood: MixtureOfNormals(
        shapes.code, row.prior_modes, shapes.context
    ),
    "vamp": lambda row, shapes, likelihood: VampPrior(
        shapes.code,
        row.prior_modes,
        shapes.features,
        shapes.context,
        *((0.0, 1.0) if likelihood.endswith("bernoulli") and "," not in likelihood else ()),
    ),
    "flow": lambda row, shapes, likelihood: FlowPrior(shapes.code, shapes.context),
}

BACKBONES: dict[str, Callable[..., tuple[torch.nn.Module, torch.nn.Module]]] = {
    "mlp": mlp,
    "gated": gated,
    "conv": conv,
    "resnet": resnet,
    "conv1d": conv1d,
}

#: Backbones whose code has a size of its own, which the shape of an example tells.
SIZED: dict[str, Any] = {"pyramid": Pyramid(), "spectral": Spectral()}

PENALTIES: dict[str, Callable[[Any], tuple[Penalty, ...]]] = {
    "l1": lambda row: sparsity_penalties(row, code_activation(row)),
    "kl": lambda row: (KLSparsity(_weight(row, 1.0), row.sparsity_target),),
    "contractive": lambda row: (Contractive(row.penalty_weight, row.penalty_samples),),
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
    likelihood : str
        A name of `LIKELIHOODS`, or names joined by commas for the columns of a table.
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
    n_components = code_size(row, features)
    posterior = POSTERIORS[row.posterior_family]((n_components,), code_activation(row), row)
    p_of_x = make_likelihood(split_names(likelihood), features)
    shapes = Shapes(
        features,
        n_components,
        posterior.n_outputs,
        p_of_x.n_outputs,
        n_context,
        p_of_x.input_shape,
        p_of_x.total_outputs,
    )
    encoder, decoder = _networks(row, shapes)
    prior = None if row.prior is None else PRIORS[row.prior](row, shapes, likelihood)
    return LatentVariableModel(
        encoder, decoder, posterior, p_of_x, prior, log_unit, row.missing == "ignore"
    )


def code_size(row: Parts, features: Shape) -> int:
    """Return the numbers in a code: the field, but for backbones with a size of their own.

    Examples
    --------
    >>> from isthmus.rows import Autoencoder
    >>> code_size(Autoencoder(n_components=5), (8, 8))
    5
    >>> code_size(Autoencoder(backbone="pyramid"), (8, 8))
    672
    """
    backbone = SIZED.get(row.backbone) if isinstance(row.backbone, str) else row.backbone
    own = getattr(backbone, "n_components", None)
    return own(features) if own else row.n_components


def split_names(likelihood: str) -> str | tuple[str, ...]:
    """Return a likelihood's name, or the names of a mixed table's columns.

    Examples
    --------
    >>> split_names("gaussian, categorical:3")
    ('gaussian', 'categorical:3')
    """
    names = tuple(name.strip() for name in likelihood.split(","))
    return names if len(names) > 1 else names[0]


def build_objective(row: Parts, n_rows: int = 1, steps_per_epoch: int = 1) -> Objective:
    """Make the objective of a row.

    Parameters
    ----------
    row : Parts
    n_rows : int
        Size of the data set.
    steps_per_epoch : int
        Optimiser steps in an epoch, by which schedules in epochs are counted.

    Examples
    --------
    >>> from isthmus.rows import BetaVAE
    >>> build_objective(BetaVAE(beta=2.0)).weight_of_kl(step=0)
    2.0
    """
    _check_combination(row)
    steps = row.beta_epochs * steps_per_epoch
    return Objective(
        # In the decomposed KL β stands before one part only, and the schedule before all.
        beta=SCHEDULES[row.beta_schedule](1.0 if row.decomposed else row.beta, steps),
        bound=_bound(row, n_rows, steps),
        penalties=() if row.penalty is None else PENALTIES[row.penalty](row),
        corruption=_corruption(row),
        observe=Binarize() if row.binarize else None,
        condition_dropout=getattr(row, "condition_dropout", 0.0),
        n_samples=row.n_samples,
    )


def _corruption(row: Any) -> Corruption | None:
    if row.corruption is None or callable(row.corruption):
        return row.corruption
    if row.corruption == "masking" and row.missing == "ignore":
        return Masking(row.corruption_level, value=math.nan)
    return CORRUPTIONS[row.corruption](row.corruption_level)


def _bound(row: Parts, n_rows: int, steps: int) -> Bound:
    if row.bound != "elbo":
        return ImportanceWeighted(doubly=row.bound == "dreg")
    if row.decomposed:
        return Elbo(Decomposed(n_rows, correlation=row.beta))
    if row.capacity is not None:
        return Elbo(Capacity(row.capacity, steps))
    return Elbo(FreeBits(row.free_bits) if row.free_bits else mean_kl)


def _check_combination(row: Parts) -> None:
    """Raise a ValueError for choices that exclude each other."""
    if row.penalty == "kl" and code_activation(row) != "sigmoid":
        raise ValueError(
            "penalty='kl' compares activities between 0 and 1: it needs activation='sigmoid' (or "
            f"'auto'), got {code_activation(row)!r}."
        )
    instead_of_kl = {
        "decomposed": row.decomposed,
        "capacity": row.capacity is not None,
        "free_bits": row.free_bits > 0,
        f"bound={row.bound!r}": row.bound != "elbo",
    }
    chosen = [name for name, on in instead_of_kl.items() if on]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} each replace the KL term; choose one of them.")
    elementwise = row.posterior_family.startswith("normal")
    if row.free_bits and not (elementwise and row.prior == "standard"):
        raise ValueError(
            "free_bits counts the KL of each dimension: it needs posterior_family='normal' and "
            f"prior='standard', got {row.posterior_family!r} and {row.prior!r}."
        )
    if row.decomposed and not elementwise:
        raise ValueError(
            "decomposed needs the density of each dimension: use posterior_family='normal', not "
            f"{row.posterior_family!r}."
        )
    if row.bound == "dreg" and row.posterior_family == "flow":
        raise ValueError("bound='dreg' is for normal posteriors; use bound='iwae' with a flow.")


def _weight(row: Any, default: float) -> float:
    return default if row.penalty_weight is None else row.penalty_weight


def code_activation(row: Parts) -> str:
    """Return the function on the code, "auto" decided by the penalty."""
    if row.activation != "auto":
        return row.activation
    return "sigmoid" if row.penalty == "kl" else "relu"


def _networks(row: Parts, shapes: Shapes) -> tuple[torch.nn.Module, torch.nn.Module]:
    if callable(row.backbone):
        return _checked(row.backbone(shapes), shapes)
    if row.backbone in SIZED:
        return SIZED[row.backbone](shapes)
    options = {"kernel_size": row.kernel_size} if row.backbone == "conv1d" else {}
    return BACKBONES[row.backbone](shapes, row.hidden, row.nonlinearity, row.dropout, **options)


def _checked(networks: Any, shapes: Shapes) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Try the user's own networks on two rows of zeros, before training does."""
    try:
        encoder, decoder = networks
    except TypeError:
        raise ValueError(
            "your backbone must return two networks, encoder and decoder; it returned a "
            f"{type(networks).__name__}."
        ) from None
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
