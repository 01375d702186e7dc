"""The specs of the seven models, and the settings of training.

A spec names the posterior, prior, corruption, penalty and weights of a model: as a class attribute
if the choice defines the model, as a field (`param`) if the user chooses. Nothing is computed
here; `isthmus.registry` turns a spec into a model and an objective. A denoising, sparse,
conditional β-VAE is one more spec.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

from isthmus.models.params import param

__all__ = [
    "SPECS",
    "VAE",
    "Autoencoder",
    "BetaVAE",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "SparseAutoencoder",
    "Training",
    "model_name",
]

T = TypeVar("T")


# Type checkers see a default only if it is passed by name: param(default=...).
@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(param,))
def spec(cls: type[T]) -> type[T]:
    """Make a class of settings a dataclass with keyword arguments, which type checkers know.

    Examples
    --------
    >>> @spec
    ... class Settings:
    ...     width: int = param(default=4, help="Width.")
    >>> Settings(width=5).width
    5
    """
    return dataclass(kw_only=True, eq=False, repr=False)(cls)


POSTERIORS = ("normal", "normal-softplus", "full-normal", "flow")
PRIORS = ("standard", "mixture", "vamp", "flow")
HANDLE_UNKNOWN = ("error", "missing", "flag")
NONLINEARITIES = ("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky-relu")
BACKBONES = ("auto", "mlp", "gated", "conv", "resnet", "conv1d", "pyramid", "spectral")
BACKBONE_HELP = (
    "Networks: dense, gated dense, convolutional or residual (images), or convolutional along the "
    "last axis (signals); for denoising, with a code size of their own, 'pyramid' (images) and "
    "'spectral' (audio). 'auto', the default of denoising autoencoders, is spectral for windows of "
    "audio, (n, 1, time), if hidden and n_components have their defaults, else mlp. In Python also "
    "a function that builds your own networks."
)


@spec
class Training:
    """Settings of training; only the trainer reads them."""

    epochs: int | None = param(
        default=None,
        help="Maximum number of passes over the training rows; by default as many as hold 6000 "
        "optimiser steps, at least 12.",
        minimum=1,
    )
    batch_size: int = param(default=128, help="Rows per optimiser step.", minimum=1)
    optimizer: str = param(
        default="adamw",
        help="Optimiser: Adam with decoupled weight decay, Adam with Nesterov momentum, or "
        "gradient "
        "descent with Nesterov momentum 0.9.",
        choices=("adamw", "nadam", "sgd"),
    )
    learning_rate: float = param(
        default=3e-3,
        help="Step size of the optimiser, after the warm-up and before any decay.",
        above=0,
    )
    lr_schedule: str = param(
        default="constant",
        help="How the learning rate falls until the last of `epochs`: not at all, as a cosine, or "
        "linearly in the last quarter ('wsd': warm-up, stable, decay).",
        choices=("constant", "cosine", "wsd"),
    )
    warmup: int | None = param(
        default=None,
        help="Steps in which the learning rate rises from 0. By default 100, at most a tenth of "
        "the "
        "planned steps; 0 for none.",
        minimum=0,
    )
    clip_norm: float | None = param(
        default=None,
        help="Largest norm of the gradient of a step; longer ones are shortened to it.",
        above=0,
    )
    ema: float = param(
        default=0.1,
        help="Mean age of the weights in the moving average that is evaluated and kept, as a "
        "share of "
        "the steps so far; 0 to keep the weights themselves.",
        minimum=0,
        below=1,
    )
    weight_decay: float = param(default=0.0, help="Decoupled weight decay (AdamW).", minimum=0)
    normalize_gradients: bool = param(
        default=False, help="Divide the gradient of each parameter by its norm before the step."
    )
    validation_fraction: float = param(
        default=0.1,
        help="Share of the rows held out to monitor training; 0 for none.",
        minimum=0,
        below=1,
    )
    validation_split: str = param(
        default="random",
        help="Which rows are held out: drawn at random, or, if the rows are in order of time, the "
        "last "
        "ones ('time').",
        choices=("random", "time"),
    )
    patience: int | None = param(
        default=None,
        help="Epochs without a better validation loss before training stops; the best weights are "
        "kept. "
        "By default as many as hold 1000 steps, at least 4, and no limit if the learning rate "
        "falls; 0 for no limit.",
        minimum=0,
    )
    compile: bool = param(
        default=False,
        help="Compile the training step first: needs up to half a minute and a C++ compiler; small "
        "models then train up to twice as fast. Worth it for long runs.",
    )
    precision: str = param(
        default="float32",
        help="Data type in which networks compute during training; weights and losses stay "
        "float32.",
        choices=("float32", "bfloat16"),
    )
    strategy: str = param(
        default="auto",
        help="What processes started by torchrun do: train one model of which each holds a copy "
        "('ddp', the automatic choice) or a part ('fsdp'), or train one model each ('none').",
        choices=("auto", "ddp", "fsdp", "none"),
    )
    device: str = param(
        default="auto", help="Device to compute on: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'."
    )
    random_state: int | None = param(
        default=None, help="Seed; an integer makes the result repeatable.", minimum=0, below=2**64
    )
    warm_start: bool = param(
        default=False,
        help="Let `fit` continue from the weights of the last fit, with its shape, scaling, "
        "likelihood "
        "and labels, instead of starting anew.",
    )
    progress: str = param(
        default="none",
        help="How to show progress; 'auto' is a live bar in a terminal or a notebook, lines "
        "elsewhere, "
        "and nothing if the logger 'isthmus' prints the epochs.",
        choices=("none", "auto", "bar", "lines"),
    )


@spec
class Structure:
    """Settings of what a model is: its networks, likelihood and scaling."""

    n_components: int | None = param(
        default=None,
        help="Dimensions of the code of one example; by default half as many as an example has "
        "numbers, "
        "at most 20.",
        minimum=1,
    )
    hidden: tuple[int, ...] = param(
        default=(400,),
        help="Widths of the dense layers of the encoder, mirrored in the decoder; () is linear.",
        minimum=1,
    )
    nonlinearity: str = param(
        default="relu", help="Activation function of the hidden layers.", choices=NONLINEARITIES
    )
    backbone: str | Callable[..., Any] = param(
        default="mlp",
        help=BACKBONE_HELP,
        choices=BACKBONES,
    )
    kernel_size: int = param(
        default=9,
        help="Kernel size of backbone 'conv1d', odd; long kernels use the FFT.",
        minimum=1,
    )
    dropout: float = param(
        default=0.0,
        help="Share of units (whole channels in convolutions) dropped during training.",
        minimum=0,
        below=1,
    )
    binarize: bool = param(
        default=False, help="Draw values in [0, 1] as 0 or 1 in each step (dynamic binarisation)."
    )
    likelihood: str = param(
        default="auto",
        help="Distribution p(x|z); 'auto' is bernoulli for values within [0, 1] that are nearly "
        "binary, "
        "else gaussian (one learned scale), and for tables in variational models "
        "gaussian-per-feature (one per column). Also gaussian-fixed, gaussian-network, "
        "continuous-bernoulli, laplace, poisson, negative-binomial, categorical or categorical:K; "
        "for a mixed table one name per column, separated by commas.",
    )
    scaling: str = param(
        default="auto",
        help="How real-valued data are scaled before the model sees them: each feature to mean 0 "
        "and "
        "variance 1 ('standard'; less if only few rows differ), all features by one mean and scale "
        "('global'), or not ('none'); 'auto' is standard for tables, global for images and "
        "signals, and none if the likelihood is not one of real numbers.",
        choices=("auto", "standard", "global", "none"),
    )
    channels: str = param(
        default="auto",
        help="Which axis of an example holds the channels: the first (channels, height, width), "
        "or the "
        "last (height, width, channels), as Pillow and TensorFlow have it; 'auto' is last for "
        "images whose last axis, and not the first, has length 1, 3 or 4.",
        choices=("auto", "first", "last"),
    )
    handle_unknown: str = param(
        default="error",
        help="What becomes of a category of a table that was not seen during fit: an error, a "
        "missing "
        "value (for models with missing 'ignore'), or a missing value that is also named in the "
        "output of a command.",
        choices=HANDLE_UNKNOWN,
    )
    missing: str = param(
        default="refuse",
        help="What to do with missing values (NaN): refuse them, or ignore them, so that the model "
        "learns from the observed values; the encoder sees the mean in their place.",
        choices=("refuse", "ignore"),
    )


@spec
class Spec(Training, Structure):
    """Settings of all models: networks, likelihood, scaling."""

    posterior_family: ClassVar[str] = "delta"
    prior: ClassVar[str | None] = None
    activation: ClassVar[str] = "identity"
    bound: ClassVar[str] = "elbo"
    n_samples: ClassVar[int] = 1
    beta: ClassVar[float] = 0.0
    beta_schedule: ClassVar[str] = "constant"
    beta_epochs: ClassVar[int] = 1
    free_bits: ClassVar[float] = 0.0
    capacity: ClassVar[float | None] = None
    decomposed: ClassVar[bool] = False
    corruption: ClassVar[str | Callable[..., Any] | None] = None
    penalty: ClassVar[str | None] = None
    penalty_samples: ClassVar[int | None] = None
    conditional: ClassVar[bool] = False


@spec
class PointCode(Spec):
    """A deterministic code with an activation function."""

    activation: str = param(  # type: ignore[misc]
        default="identity",
        help="Activation function of the code.",
        choices=("identity", "relu", "sigmoid", "tanh"),
    )


@spec
class Autoencoder(PointCode):
    """Deterministic code, trained for reconstruction alone."""


@spec
class DenoisingAutoencoder(PointCode):
    """Reconstruct the clean row from a corrupted one."""

    backbone: str | Callable[..., Any] = param(
        default="auto", help=BACKBONE_HELP, choices=BACKBONES
    )
    corruption: str | Callable[..., Any] = param(  # type: ignore[misc]
        default="masking",
        help="How the input is corrupted during training; or a function of (x, generator) that "
        "returns "
        "the corrupted rows.",
        choices=("masking", "gaussian", "salt-and-pepper"),
    )
    corruption_level: float = param(
        default=0.3,
        help="Share of corrupted features (masking, salt-and-pepper) or standard deviation "
        "(gaussian).",
        minimum=0,
    )


@spec
class SparseAutoencoder(Spec):
    """Few active units per row; the decoder reads the penalised activations."""

    posterior_family: ClassVar[str] = "sparse"

    penalty: str = param(  # type: ignore[misc]
        default="l1",
        help="Sum of absolute activations, or KL to a target activity; for activation 'jumprelu', "
        "l1 is "
        "the number of active units (L0), for 'gated' the sum of the gates.",
        choices=("l1", "kl"),
    )
    penalty_weight: float | None = param(
        default=None,
        help="Weight of the penalty relative to the loss in nats; by default 0.05 for l1, 1 for "
        "kl, and "
        "0 for topk and batchtopk, which are sparse by construction.",
        minimum=0,
    )
    sparsity_target: float = param(
        default=0.05, help="Mean activity of a unit at which the KL penalty is 0.", above=0, below=1
    )
    activation: str = param(  # type: ignore[misc]
        default="auto",
        help="Activation function of the code; 'auto' is relu for l1 and sigmoid for kl. 'topk' "
        "keeps "
        "the largest units of each row, 'batchtopk' of each batch, 'jumprelu' those above a "
        "learned threshold, 'gated' those with an open gate.",
        choices=("auto", "identity", "relu", "sigmoid", "topk", "batchtopk", "jumprelu", "gated"),
    )
    n_active: int | None = param(
        default=None,
        help="Active units per row for topk and batchtopk; by default a quarter of all units, at "
        "most "
        "32.",
        minimum=1,
    )
    bandwidth: float = param(
        default=0.1,
        help="Kernel width of the gradient estimate for the thresholds of jumprelu.",
        above=0,
    )
    dictionary: bool = param(
        default=True,
        help="With hidden=() and no sigmoid: keep decoder columns at unit norm, initialise the "
        "decoder "
        "bias at the geometric median of the data and the encoder at the transpose of the "
        "decoder.",
    )
    revive_every: int | None = param(
        default=250,
        help="Optimiser steps after which units that were active on no row are revived; None for "
        "never.",
        minimum=1,
    )


@spec
class ContractiveAutoencoder(PointCode):
    """Penalise the Jacobian of the encoder."""

    penalty: ClassVar[str] = "contractive"
    penalty_weight: float = param(
        default=0.1, help="Weight of the squared Jacobian norm.", minimum=0
    )
    penalty_samples: int | None = param(  # type: ignore[misc]
        default=None,
        help="Random directions per row for an unbiased estimate of the norm; by default the norm "
        "is "
        "exact, which takes one backward pass per component for deep or convolutional encoders.",
        minimum=1,
    )


@spec
class VAE(Spec):
    """Diagonal normal posterior, standard normal prior, ELBO."""

    beta: ClassVar[float] = 1.0
    posterior_family: str = param(  # type: ignore[misc]
        default="normal",
        help="Family of q(z|x): diagonal normal (scale from a log-variance or a softplus), "
        "full-covariance normal, or an inverse autoregressive flow.",
        choices=POSTERIORS,
    )
    prior: str = param(  # type: ignore[misc]
        default="standard",
        help="p(z): standard normal, learned mixture of normals, VampPrior, or a flow.",
        choices=PRIORS,
    )
    prior_modes: int = param(
        default=100,
        help="Components of a mixture prior, or pseudo-inputs of a VampPrior.",
        minimum=1,
    )
    bound: str = param(  # type: ignore[misc]
        default="elbo",
        help="Training objective: the evidence lower bound, or the importance-weighted bound with "
        "the "
        "plain ('iwae') or the doubly reparameterised ('dreg') gradient.",
        choices=("elbo", "iwae", "dreg"),
    )
    n_samples: int = param(  # type: ignore[misc]
        default=1, help="Samples of z per row and step.", minimum=1
    )
    beta_schedule: str = param(  # type: ignore[misc]
        default="constant",
        help="Schedule of the weight of the KL term: constant, a linear warm-up from 0, or "
        "repeated "
        "warm-ups.",
        choices=("constant", "linear", "cyclical"),
    )
    beta_epochs: int = param(  # type: ignore[misc]
        default=10,
        help="Epochs of the warm-up, of one cycle, or until the capacity is reached.",
        minimum=1,
    )
    free_bits: float = param(  # type: ignore[misc]
        default=0.0, help="Nats of KL per dimension that are not penalised.", minimum=0
    )


@spec
class BetaVAE(VAE):
    """The KL term weighted by β."""

    beta: float = param(default=4.0, help="Weight of the KL term.", minimum=0)  # type: ignore[misc]
    capacity: float | None = param(  # type: ignore[misc]
        default=None,
        help="Target C of the KL in nats, raised from 0: the loss is β |KL - C|.",
        minimum=0,
    )
    decomposed: bool = param(  # type: ignore[misc]
        default=False,
        help="β-TCVAE: β weights only the total correlation; the rest of the KL has weight 1.",
    )


@spec
class ConditionalVAE(VAE):
    """Encoder, decoder and prior are conditioned on the label."""

    conditional: ClassVar[bool] = True
    condition_dropout: float = param(
        default=0.1,
        help="Share of rows whose label is hidden during training, so that the model also handles "
        "rows "
        "with unknown labels.",
        minimum=0,
        below=1,
    )


#: Every model by its name on the command line and in saved files.
SPECS: dict[str, type[Spec]] = {
    "autoencoder": Autoencoder,
    "denoising": DenoisingAutoencoder,
    "sparse": SparseAutoencoder,
    "contractive": ContractiveAutoencoder,
    "vae": VAE,
    "beta-vae": BetaVAE,
    "conditional-vae": ConditionalVAE,
}
_SHORT = {
    "ae": "autoencoder",
    "dae": "denoising",
    "sae": "sparse",
    "cae": "contractive",
    "bvae": "beta-vae",
    "βvae": "beta-vae",
    "cvae": "conditional-vae",
}


def model_name(text: str) -> str:
    """Return the name of a model in `SPECS` that a text stands for; else the text itself.

    Examples
    --------
    >>> [model_name(text) for text in ("VAE", "BetaVAE", "beta_vae", "bvae", "vea")]
    ['vae', 'beta-vae', 'beta-vae', 'beta-vae', 'vea']
    """
    known = {_folded(spec.__name__): name for name, spec in SPECS.items()}
    known |= {_folded(name): name for name in SPECS} | _SHORT
    return known.get(_folded(text), text)


def _folded(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
