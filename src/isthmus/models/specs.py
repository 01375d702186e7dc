"""The seven models as rows of choices, and the settings of training.

A row says which posterior, prior, corruption, penalty and weight a model has: as a class
attribute where the choice makes the model what it is, as a field (`param`) where it is the
user's. Nothing here computes; `isthmus.registry` turns a row into a model and an objective.
A denoising, sparse, conditional β-VAE is one more row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

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
]

spec = dataclass(kw_only=True, eq=False, repr=False)

POSTERIORS = ("normal", "normal-softplus", "full-normal", "flow")
PRIORS = ("standard", "mixture", "vamp", "flow")
NONLINEARITIES = ("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky-relu")


@spec
class Training:
    """How a model is trained: read by the trainer alone."""

    epochs: int | None = param(
        None,
        "Passes over the training rows, at most; by default what 6000 optimiser steps need, "
        "between 20 and 500.",
        minimum=1,
    )
    batch_size: int = param(128, "Rows in one optimiser step.", minimum=1)
    learning_rate: float = param(1e-3, "Step size of Adam.", above=0)
    weight_decay: float = param(0.0, "Decoupled weight decay (AdamW).", minimum=0)
    normalize_gradients: bool = param(
        False, "Divide the gradient of each parameter by its norm before the step."
    )
    validation_fraction: float = param(
        0.1, "Share of the rows held out to watch training; 0 for none.", minimum=0, below=1
    )
    patience: int | None = param(
        50,
        "Epochs without a better held-out loss before training stops; the best weights stay.",
        minimum=1,
    )
    compile: bool = param(
        False,
        "Compile the training step to machine code first: takes up to half a minute and a C++ "
        "compiler, then small models train up to twice as fast; worth it for long runs.",
    )
    precision: str = param(
        "float32",
        "What networks compute in while they train; weights and losses stay float32.",
        choices=("float32", "bfloat16"),
    )
    strategy: str = param(
        "auto",
        "What several processes that torchrun started do: train one model, of which each has a "
        "copy ('ddp', the automatic choice) or a part ('fsdp'), or one each ('none').",
        choices=("auto", "ddp", "fsdp", "none"),
    )
    device: str = param("auto", "Where to compute: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.")
    random_state: int | None = param(
        None, "Seed; an integer makes the result repeatable.", minimum=0
    )
    progress: str = param(
        "none",
        "How to show progress; 'auto' is a live bar in a terminal and lines elsewhere.",
        choices=("none", "auto", "bar", "lines"),
    )


@spec
class Spec(Training):
    """What every model has: shape of the networks, likelihood, scaling."""

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

    n_components: int = param(20, "Numbers in the code of one example.", minimum=1)
    hidden: tuple[int, ...] = param(
        (400,),
        "Widths of the dense layers before the code, mirrored after it; () is linear.",
        minimum=1,
    )
    nonlinearity: str = param(
        "relu", "Function between the dense or convolutional layers.", choices=NONLINEARITIES
    )
    backbone: str | Callable[..., Any] = param(
        "mlp",
        "Networks: dense, gated dense, convolutional or residual (pictures), or along the last "
        "axis (signals); for cleaning, with a code of their own size, 'pyramid' (pictures) and "
        "'spectral' (sound); from Python also a function that makes your own.",
        choices=("mlp", "gated", "conv", "resnet", "conv1d", "pyramid", "spectral"),
    )
    kernel_size: int = param(
        9, "Width of the kernels of backbone 'conv1d', odd; long ones go by FFT.", minimum=1
    )
    dropout: float = param(
        0.0,
        "Share of units, or of whole channels in convolutions, dropped while training.",
        minimum=0,
        below=1,
    )
    binarize: bool = param(
        False, "Draw values of [0, 1] as 0 or 1, anew in each step (dynamic binarisation)."
    )
    likelihood: str = param(
        "auto",
        "What the decoder's numbers mean; 'auto' is bernoulli for data in [0, 1] or bytes, else "
        "gaussian (one learned scale). Also gaussian-fixed, gaussian-per-feature, "
        "gaussian-network, continuous-bernoulli, laplace, poisson, negative-binomial, "
        "categorical or categorical:K; for a mixed table one name a column, joined by commas.",
    )
    scaling: str = param(
        "auto",
        "How real-valued data are scaled before the model sees them: each feature to mean 0 and "
        "variance 1 ('standard'), all by one mean and scale ('global'), or not; 'auto' is "
        "standard for tables, global for pictures and signals, none where the likelihood is not "
        "of real numbers.",
        choices=("auto", "standard", "global", "none"),
    )
    missing: str = param(
        "refuse",
        "What to do with missing values (NaN): refuse them, or leave them out of the likelihood, "
        "so that the model learns from what was observed; the encoder sees the mean in their "
        "place.",
        choices=("refuse", "ignore"),
    )


@spec
class PointCode(Spec):
    """A code that is one point, with a function on it."""

    activation: str = param(  # type: ignore[misc]
        "identity", "Function on the code.", choices=("identity", "relu", "sigmoid", "tanh")
    )


@spec
class Autoencoder(PointCode):
    """Point-mass code, nothing but reconstruction."""


@spec
class DenoisingAutoencoder(PointCode):
    """Reconstruct the clean row from a corrupted one."""

    corruption: str | Callable[..., Any] = param(  # type: ignore[misc]
        "masking",
        "What is done to the input while training; or a function of your own of (x, generator) "
        "that returns the corrupted rows.",
        choices=("masking", "gaussian", "salt-and-pepper"),
    )
    corruption_level: float = param(
        0.3,
        "Share of features hit (masking, salt-and-pepper) or standard deviation (gaussian).",
        minimum=0,
    )


@spec
class SparseAutoencoder(Spec):
    """Few active units a row; the decoder reads the activations that are penalised."""

    posterior_family: ClassVar[str] = "sparse"

    penalty: str = param(  # type: ignore[misc]
        "l1",
        "Sum of absolute activations, or KL to a target activity; of activation 'jumprelu' l1 is "
        "the number of active units (L0), of 'gated' the sum of the gates.",
        choices=("l1", "kl"),
    )
    penalty_weight: float | None = param(
        None,
        "Weight of the penalty beside the nats; by default 0.05 for l1, 1 for kl, and 0 for topk "
        "and batchtopk, which are sparse by themselves.",
        minimum=0,
    )
    sparsity_target: float = param(
        0.05, "Mean activity asked of each unit by the KL penalty.", above=0, below=1
    )
    activation: str = param(  # type: ignore[misc]
        "auto",
        "Function on the code; 'auto' is relu for l1 and sigmoid for kl. 'topk' keeps the largest "
        "of each row, 'batchtopk' of each batch, 'jumprelu' those over a learned threshold, "
        "'gated' those of an open gate.",
        choices=("auto", "identity", "relu", "sigmoid", "topk", "batchtopk", "jumprelu", "gated"),
    )
    n_active: int | None = param(
        None,
        "Active units a row, of topk and batchtopk; by default a quarter of the units, at most 32.",
        minimum=1,
    )
    bandwidth: float = param(
        0.1, "Width of the kernel by which the thresholds of jumprelu learn.", above=0
    )
    dictionary: bool = param(
        True,
        "With hidden=() and no sigmoid: decoder columns of unit norm, the decoder's bias begun at "
        "the data's geometric median, the encoder at the decoder's transpose, and dead units "
        "given new work.",
    )
    revive_every: int | None = param(
        250,
        "Optimiser steps after which a unit of a dictionary that was active on no row gets new "
        "work; None for never.",
        minimum=1,
    )


@spec
class ContractiveAutoencoder(PointCode):
    """Penalise the Jacobian of the encoder."""

    penalty: ClassVar[str] = "contractive"
    penalty_weight: float = param(0.1, "Weight of the squared Jacobian norm.", minimum=0)
    penalty_samples: int | None = param(  # type: ignore[misc]
        None,
        "Random directions a row by which the norm is estimated, without bias; by default it is "
        "exact, which for deep or convolutional encoders takes a backward pass a component.",
        minimum=1,
    )


@spec
class VAE(Spec):
    """Diagonal normal posterior, standard normal prior, ELBO."""

    beta: ClassVar[float] = 1.0
    posterior_family: str = param(  # type: ignore[misc]
        "normal",
        "Family of q(z|x): diagonal normal (its scale exp of half a log-variance, or a softplus), "
        "full-covariance normal, or an inverse autoregressive flow.",
        choices=POSTERIORS,
    )
    prior: str = param(  # type: ignore[misc]
        "standard",
        "p(z): standard normal, learned mixture of normals, VampPrior, or a flow.",
        choices=PRIORS,
    )
    prior_modes: int = param(
        100, "Normals of a mixture prior, pseudo-inputs of a VampPrior.", minimum=1
    )
    bound: str = param(  # type: ignore[misc]
        "elbo",
        "What is maximised: the evidence lower bound, or the importance-weighted bound with its "
        "plain ('iwae') or doubly reparameterised ('dreg') gradient.",
        choices=("elbo", "iwae", "dreg"),
    )
    n_samples: int = param(1, "Samples of z a row in a step.", minimum=1)  # type: ignore[misc]
    beta_schedule: str = param(  # type: ignore[misc]
        "constant",
        "How the KL term's weight comes to its value: at once, by a linear warm-up, or again and "
        "again from 0.",
        choices=("constant", "linear", "cyclical"),
    )
    beta_epochs: int = param(  # type: ignore[misc]
        10, "Epochs of the warm-up, or of one cycle, or until the capacity is full.", minimum=1
    )
    free_bits: float = param(  # type: ignore[misc]
        0.0, "Nats of KL in each dimension that cost nothing.", minimum=0
    )


@spec
class BetaVAE(VAE):
    """The KL term weighted by β."""

    beta: float = param(4.0, "Weight of the KL term.", minimum=0)  # type: ignore[misc]
    capacity: float | None = param(  # type: ignore[misc]
        None, "Nats to which the KL is steered, from 0 on: the loss is β |KL - C|.", minimum=0
    )
    decomposed: bool = param(  # type: ignore[misc]
        False, "β-TCVAE: β weighs the total correlation alone, the rest of the KL has weight 1."
    )


@spec
class ConditionalVAE(VAE):
    """Encoder, decoder and prior are told the label."""

    conditional: ClassVar[bool] = True
    condition_dropout: float = param(
        0.1,
        "Share of rows whose label is hidden while training, so that the model also serves "
        "rows of unknown label.",
        minimum=0,
        below=1,
    )


#: Every model by the name that the command line and saved files use.
SPECS: dict[str, type[Spec]] = {
    "autoencoder": Autoencoder,
    "denoising": DenoisingAutoencoder,
    "sparse": SparseAutoencoder,
    "contractive": ContractiveAutoencoder,
    "vae": VAE,
    "beta-vae": BetaVAE,
    "conditional-vae": ConditionalVAE,
}
