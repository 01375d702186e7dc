"""Build models and objectives from specs; the tables of parts by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
from isthmus.distributions.sparse_codes import SPARSE_POINTS
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.params import params_of
from isthmus.models.specs import Spec
from isthmus.nn.conv import conv, conv1d, resnet
from isthmus.nn.dense import Shapes, gated, mlp
from isthmus.nn.pyramid import Pyramid
from isthmus.nn.stft import Spectral
from isthmus.objectives.bounds import (
    Bound,
    Capacity,
    Decomposed,
    Elbo,
    FreeBits,
    ImportanceWeighted,
    mean_kl,
)
from isthmus.objectives.corruptions import CORRUPTIONS, Binarize, Corruption, Masking
from isthmus.objectives.objective import Objective
from isthmus.objectives.penalties import Contractive, KLSparsity, Penalty, sparsity_penalties
from isthmus.objectives.schedules import SCHEDULES

__all__ = [
    "BACKBONES",
    "LIKELIHOODS",
    "PENALTIES",
    "POSTERIORS",
    "PRIORS",
    "SIZED",
    "backbone_of",
    "build_model",
    "build_objective",
    "check_combination",
    "code_activation",
]

Shape = tuple[int, ...]

#: Functions of (shape, activation, spec) that return a posterior.
POSTERIORS: dict[str, Callable[[Shape, str, Any], Family]] = {
    "delta": lambda shape, act, spec: PointMass(shape, act),
    "sparse": lambda shape, act, spec: SPARSE_POINTS[act](shape, spec),
    "normal": lambda shape, act, spec: NormalFamily(shape, "log-variance", act),
    "normal-softplus": lambda shape, act, spec: NormalFamily(shape, "softplus", act),
    "full-normal": lambda shape, act, spec: FullNormalFamily(shape),
    "flow": lambda shape, act, spec: FlowFamily(shape),
}

#: Functions of (spec, shapes, likelihood) that return a prior.
PRIORS: dict[str, Callable[[Any, Shapes, Family], Prior]] = {
    "standard": lambda spec, shapes, likelihood: StandardNormal(shapes.code),
    "mixture": lambda spec, shapes, likelihood: MixtureOfNormals(
        shapes.code, spec.prior_modes, shapes.condition
    ),
    "vamp": lambda spec, shapes, likelihood: VampPrior(
        shapes.code,
        spec.prior_modes,
        shapes.features,
        shapes.condition,
        *(likelihood.interval or ()),
    ),
    "flow": lambda spec, shapes, likelihood: FlowPrior(shapes.code, shapes.condition),
}

BACKBONES: dict[str, Callable[..., tuple[torch.nn.Module, torch.nn.Module]]] = {
    "mlp": mlp,
    "gated": gated,
    "conv": conv,
    "resnet": resnet,
    "conv1d": conv1d,
}

#: Backbones whose code size follows from the shape of an example.
SIZED: dict[str, Any] = {"pyramid": Pyramid(), "spectral": Spectral()}

MOST_COMPONENTS = 20  # of a code by default

PENALTIES: dict[str, Callable[[Any], tuple[Penalty, ...]]] = {
    "l1": lambda spec: sparsity_penalties(spec, code_activation(spec)),
    "kl": lambda spec: (
        KLSparsity(
            1.0 if spec.penalty_weight is None else spec.penalty_weight, spec.sparsity_target
        ),
    ),
    "contractive": lambda spec: (Contractive(spec.penalty_weight, spec.penalty_samples),),
}


def build_model(
    spec: Spec,
    features: Shape,
    likelihood: str,
    n_condition: int = 0,
    log_unit: Tensor | None = None,
) -> LatentVariableModel:
    """Build the model of a spec for examples of a given shape.

    Weights are drawn from torch's global random state; use `isolated_rng` to control it.

    Parameters
    ----------
    spec : Spec
        An instance of a spec, or an estimator.
    features : tuple of int
        Shape of one example.
    likelihood : str
        A name in `LIKELIHOODS`, or one name per column of a mixed table, separated by commas.
    n_condition : int
        Numbers in the condition of a row; 0 for an unconditional model.
    log_unit : Tensor, optional
        See `LatentVariableModel`.

    Examples
    --------
    >>> from isthmus.models.specs import VAE
    >>> model = build_model(VAE(n_components=2, hidden=(8,)), (4, 4), "bernoulli")
    >>> model.encode(torch.zeros(3, 4, 4)).mean.shape
    torch.Size([3, 2])
    """
    n_components = code_size(spec, features, likelihood)
    posterior = POSTERIORS[spec.posterior_family]((n_components,), code_activation(spec), spec)
    p_of_x = make_likelihood(likelihood, features)
    shapes = Shapes(
        features,
        n_components,
        posterior.n_outputs,
        p_of_x.n_outputs,
        n_condition,
        p_of_x.input_shape,
        p_of_x.total_outputs,
    )
    encoder, decoder = _networks(spec, shapes, backbone_of(spec, features, likelihood))
    prior = None if spec.prior is None else PRIORS[spec.prior](spec, shapes, p_of_x)
    return LatentVariableModel(
        encoder, decoder, posterior, p_of_x, prior, log_unit, spec.missing == "ignore"
    )


def backbone_of(spec: Spec, features: Shape, likelihood: str = "gaussian") -> Any:
    """Return the backbone of a spec for examples of a given shape; "auto" follows the data.

    Dense networks cannot denoise audio through a short code, so "auto" is "spectral" for windows
    (1, time) of real numbers, unless the user chose the sizes of dense networks.

    Examples
    --------
    >>> from isthmus.models.specs import DenoisingAutoencoder
    >>> backbone_of(DenoisingAutoencoder(), (1, 4096)), backbone_of(DenoisingAutoencoder(), (8, 8))
    ('spectral', 'mlp')
    """
    if spec.backbone != "auto":
        return spec.backbone
    denoises = spec.corruption is not None and spec.missing == "refuse"
    is_window = len(features) == 2 and features[0] == 1 and features[1] >= Spectral().frame
    defaults = params_of(type(spec))
    sized = any(
        getattr(spec, name) not in (defaults[name].default, before)
        for name, before in (("hidden", None), ("n_components", MOST_COMPONENTS))
    )
    audio = denoises and is_window and not sized and likelihood in ("gaussian", "gaussian-fixed")
    return "spectral" if audio else "mlp"


def code_size(spec: Spec, features: Shape, likelihood: str = "gaussian") -> int:
    """Return the size of the code, which some backbones fix; otherwise `n_components`.

    Examples
    --------
    >>> from isthmus.models.specs import VAE
    >>> code_size(VAE(), (13,)), code_size(VAE(), (8, 8)), code_size(VAE(n_components=30), (13,))
    (6, 20, 30)
    """
    backbone = backbone_of(spec, features, likelihood)
    backbone = SIZED.get(backbone) if isinstance(backbone, str) else backbone
    own = getattr(backbone, "n_components", None)
    if own:
        return own(features)
    if spec.n_components is not None:
        return spec.n_components
    return min(MOST_COMPONENTS, max(1, math.prod(features) // 2))


#: Settings that only the objective reads, so that they may differ between two fits of one model.
OBJECTIVE_SETTINGS = (
    "beta",
    "beta_epochs",
    "beta_schedule",
    "bound",
    "capacity",
    "condition_dropout",
    "corruption",
    "corruption_level",
    "decomposed",
    "free_bits",
    "n_samples",
    "penalty_samples",
    "penalty_weight",
    "revive_every",
    "sparsity_target",
)


def build_objective(spec: Spec, n_rows: int = 1, steps_per_epoch: int = 1) -> Objective:
    """Build the objective of a spec.

    Parameters
    ----------
    spec : Spec
    n_rows : int
        Size of the data set.
    steps_per_epoch : int
        Optimiser steps per epoch, for schedules that are given in epochs.

    Examples
    --------
    >>> from isthmus.models.specs import BetaVAE
    >>> build_objective(BetaVAE(beta=2.0)).kl_weight(step=0)
    2.0
    """
    check_combination(spec)
    steps = spec.beta_epochs * steps_per_epoch
    return Objective(
        # In the decomposed KL, β weights one part and the schedule all parts.
        beta=SCHEDULES[spec.beta_schedule](1.0 if spec.decomposed else spec.beta, steps),
        bound=_bound(spec, n_rows, steps),
        penalties=() if spec.penalty is None else PENALTIES[spec.penalty](spec),
        corruption=_corruption(spec),
        observe=Binarize() if spec.binarize else None,
        condition_dropout=getattr(spec, "condition_dropout", 0.0),
        n_samples=spec.n_samples,
    )


def _corruption(spec: Any) -> Corruption | None:
    if spec.corruption is None or callable(spec.corruption):
        return spec.corruption
    if spec.corruption == "masking" and spec.missing == "ignore":
        return Masking(spec.corruption_level, value=math.nan)
    return CORRUPTIONS[spec.corruption](spec.corruption_level)


def _bound(spec: Spec, n_rows: int, steps: int) -> Bound:
    if spec.bound != "elbo":
        return ImportanceWeighted(doubly=spec.bound == "dreg")
    if spec.decomposed:
        return Elbo(Decomposed(n_rows, correlation=spec.beta))
    if spec.capacity is not None:
        return Elbo(Capacity(spec.capacity, steps))
    return Elbo(FreeBits(spec.free_bits) if spec.free_bits else mean_kl)


def check_combination(spec: Spec) -> None:
    """Raise a ValueError if settings of a spec contradict each other; builds no network."""
    _corruption(spec)  # checks the level
    if spec.penalty == "kl" and code_activation(spec) != "sigmoid":
        raise ValueError(
            "penalty='kl' needs a code between 0 and 1: use activation='sigmoid' or 'auto', not "
            f"{code_activation(spec)!r}."
        )
    instead_of_kl = {
        "decomposed": spec.decomposed,
        "capacity": spec.capacity is not None,
        "free_bits": spec.free_bits > 0,
        f"bound={spec.bound!r}": spec.bound != "elbo",
    }
    chosen = [name for name, on in instead_of_kl.items() if on]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} each replace the KL term; choose one of them.")
    elementwise = spec.posterior_family.startswith("normal")
    if spec.free_bits and not (elementwise and spec.prior == "standard"):
        raise ValueError(
            "free_bits needs the KL of each dimension: use posterior_family='normal' and "
            f"prior='standard', not {spec.posterior_family!r} and {spec.prior!r}."
        )
    if spec.decomposed and not elementwise:
        raise ValueError(
            "decomposed needs the density of each dimension: use posterior_family='normal', not "
            f"{spec.posterior_family!r}."
        )
    if spec.bound == "dreg" and spec.posterior_family == "flow":
        raise ValueError("bound='dreg' needs a normal posterior; use bound='iwae' with a flow.")


def code_activation(spec: Spec) -> str:
    """Return the activation function of the code; the penalty decides what "auto" is."""
    if spec.activation != "auto":
        return spec.activation
    return "sigmoid" if spec.penalty == "kl" else "relu"


def _networks(spec: Spec, shapes: Shapes, backbone: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    if callable(backbone):
        return _checked(backbone(shapes), shapes)
    if backbone in SIZED:
        return SIZED[backbone](shapes)
    options = {"kernel_size": spec.kernel_size} if backbone == "conv1d" else {}
    return BACKBONES[backbone](shapes, spec.hidden, spec.nonlinearity, spec.dropout, **options)


def _checked(networks: Any, shapes: Shapes) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Check the networks of a user-defined backbone on two rows of zeros."""
    try:
        encoder, decoder = networks
    except TypeError:
        raise ValueError(
            "your backbone must return two networks, encoder and decoder; it returned a "
            f"{type(networks).__name__}."
        ) from None
    condition = (torch.zeros(2, shapes.condition),) if shapes.condition else ()
    for name, network, x, wanted in (
        ("encoder", encoder, torch.zeros(2, *shapes.encoder_inputs), shapes.encoder_outputs),
        ("decoder", decoder, torch.zeros(2, shapes.code), shapes.decoder_outputs),
    ):
        with torch.no_grad():
            got = network(x, *condition).shape
        if got[0] != 2 or math.prod(got[1:]) != wanted:
            raise ValueError(
                f"the {name} of your backbone must return {wanted} numbers per row for "
                f"{shapes}; for 2 rows it returned the shape {tuple(got)}."
            )
    return encoder, decoder
