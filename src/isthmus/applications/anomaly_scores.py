"""What makes a row an anomaly: one small class for each score of `AnomalyDetector`.

Each learns what it needs from training rows (most need nothing) and answers in anomaly, where
higher is stranger. Rows run in the estimator's padded chunks, so that a row gets the same number
in whatever company it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.distributions.base import per_example
from isthmus.estimators.base import SCORE_SAMPLES, LatentEstimator
from isthmus.estimators.batched_inference import row_noise
from isthmus.nn.dense import Gated

__all__ = [
    "SCORES",
    "Committee",
    "Latent",
    "Likelihood",
    "Nap",
    "Paths",
    "Reconstruction",
    "Score",
    "Whitened",
    "Whitening",
]

Array = NDArray[Any]
ACTIVATIONS = nn.ReLU.__module__  # where torch keeps its nonlinearities
BLOCK = 4096  # rows whose activations are held at once
WIDEST = 512  # numbers of a layer; wider ones are hashed to so many
NEGLIGIBLE = 1e-10  # share of the largest variance that float32 cannot tell from none
RIDGE = 1e-4  # of the mean variance, added to each
ERROR_RIDGE = 0.1  # the same for errors, of which tables have few rows
WIDEST_WAY = 1024  # numbers of a way through the encoder, two of which "paths" whitens
COARSE = 7  # blocks along each side of a picture, over which its errors are averaged


class Score:
    """One way to say how strange a row is.

    Parameters
    ----------
    model : LatentEstimator
        Fitted.
    """

    by_feature = False  # whether `contributions` are defined
    learns = False  # whether `learn` must see rows

    def __init__(self, model: LatentEstimator) -> None:
        self.model = model

    def learn(self, X: Array) -> None:
        """Learn from rows the model was trained on, where anything is to be learned."""

    def anomaly(self, X: Array) -> Array:
        """Return how strange each row is, (n,) of float64."""
        raise NotImplementedError

    def contributions(self, X: Array) -> Array:
        """Return the part of each feature in `anomaly`, (n, *features) of float64."""
        raise NotImplementedError

    def run(self, f: Callable[[Tensor, Tensor | None], Tensor], X: Array) -> Array:
        """Apply f to chunks of rows and their context."""
        (out,) = self.model.run_batched(lambda x, c: (f(x, c),), X)
        return out


class Committee:
    """Several models' scores as one: their geometric mean, of nats their mean.

    Parameters
    ----------
    scores : list of Score
        Of one kind, each of its own model.
    """

    def __init__(self, scores: list[Score]) -> None:
        self.scores = scores

    def learn(self, X: Array) -> None:
        """Let each learn."""
        for score in self.scores:
            score.learn(X)

    def anomaly(self, X: Array) -> Array:
        """Return how strange each row is, (n,) of float64."""
        each = np.stack([score.anomaly(X) for score in self.scores])
        if len(each) == 1:
            return each[0]
        if isinstance(self.scores[0], Likelihood):
            return each.mean(0)
        # Each has a unit of its own, which a mean of logarithms forgets.
        return np.exp(np.log(np.maximum(each, np.finfo(np.float64).tiny)).mean(0))


class Reconstruction(Score):
    """The squared error, as the model sees the data, summed over the features.

    A category that is missed counts 1: distances between the numbers of categories mean nothing.
    What was not observed (NaN) counts 0.
    """

    by_feature = True

    def anomaly(self, X: Array) -> Array:
        """Return the summed errors."""
        return self.run(lambda x, c: per_example(self._errors(x, c), 1), X)

    def contributions(self, X: Array) -> Array:
        """Return the errors."""
        return self.run(self._errors, X)

    def _errors(self, x: Tensor, c: Tensor | None) -> Tensor:
        return errors(self.model, x, rebuilt(self.model, x, c)).cpu().double() ** 2


class Likelihood(Score):
    """Minus the estimator's `score_samples`: minus a bound on, or the, log-likelihood, in nats."""

    by_feature = True

    def anomaly(self, X: Array) -> Array:
        """Return rate + distortion."""
        return -self.model.score_samples(X)

    def contributions(self, X: Array) -> Array:
        """Return the distortion by feature; what is left of `anomaly` is the rate, the KL."""
        return self.run(self._distortions, X)

    def _distortions(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return -E log p(x|z) by feature, by the draws of `rate_distortion`."""
        model = self.model.model_
        samples = SCORE_SAMPLES if model.prior is not None else 1
        noise = row_noise(x.cpu().numpy(), samples, self.model.n_components_)
        q: Any = model.encode(x, c)
        z = q.rsample((samples,), noise=torch.from_numpy(noise).to(x.device))
        values = model.decode(z, c).log_prob(x.nan_to_num(0.0))
        if model.log_unit is not None:
            values = values - model.log_unit
        return torch.where(x.isnan(), 0.0, -values.mean(0)).cpu().double()


class Latent(Score):
    """How far the code is from those of the training rows: squared Mahalanobis distance.

    Source: A simple unified framework for detecting out-of-distribution samples and adversarial
    attacks (Lee, Lee, Lee, Shin, 2018), with one class.
    """

    learns = True
    ridge = RIDGE

    def learn(self, X: Array) -> None:
        """Learn mean and covariance of the activations."""
        blocks = (self.run(self.activations, X[i : i + BLOCK]) for i in range(0, len(X), BLOCK))
        self.whitening = Whitening.learn(blocks, self.ridge)

    def anomaly(self, X: Array) -> Array:
        """Return the squared distances."""
        return self.run(lambda x, c: self.whitening(self.activations(x, c)), X)

    def activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return what is whitened, (n, width): the code."""
        return self.model.model_.encode(x, c).mean


class Nap(Latent):
    """How the reconstruction's way through the encoder differs from the row's own.

    Differences of the activations of all hidden layers and of the code, whitened. The input
    layer, whose differences the reconstruction error is made of, is left out.

    Source: RaPP: novelty detection with reconstruction along projection pathway (Kim, Shim, Lim,
    Jeon, Choi, Kim, Yoon, 2020).
    """

    def activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return what is whitened, (n, width): the differences."""
        return self._path(x, c) - self._path(rebuilt(self.model, x, c), c)

    def _path(self, x: Tensor, c: Tensor | None) -> Tensor:
        model, layers = self.model.model_, []
        hooks = [
            layer.register_forward_hook(lambda *call: layers.append(call[-1].flatten(1)))
            for layer in hidden_layers(model.encoder)
        ]
        try:
            code = model.encode(x, c).mean
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([*map(narrowed, layers), code], 1)


class Paths(Nap):
    """How unusual the row's and its reconstruction's ways through the encoder are together.

    The activations of both and the errors, which of pictures are averaged over at most 7 x 7
    blocks, whitened as one: a way is strange by itself or for the other, and errors are strange
    for the ways. In few blocks errors of one sign add up, and noise averages out.

    Source: RaPP (Kim, Shim, Lim, Jeon, Choi, Kim, Yoon, 2020), which whitens the differences
    alone.
    """

    def activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return what is whitened, (n, width): the row's way, the differences, the errors."""
        again = rebuilt(self.model, x, c)
        way = narrowed(self._path(x, c), WIDEST_WAY)
        other = narrowed(self._path(again, c), WIDEST_WAY)
        rest = coarse(errors(self.model, x, again), self.model.feature_shape_)
        return torch.cat([way, way - other, rest], 1)


class Whitened(Latent):
    """How unlike those of the training rows the errors of the reconstruction are.

    Their squared Mahalanobis distance: an error counts by how rarely normal rows have it, and
    errors that usually go together count once. A tenth of the mean variance is added to each
    direction, since tables often have few rows for their columns.
    """

    ridge = ERROR_RIDGE

    def activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return what is whitened, (n, width): the errors."""
        return narrowed(errors(self.model, x, rebuilt(self.model, x, c)).flatten(1))


class Whitening:
    """Squared Mahalanobis distance from rows that were learned from.

    Directions in which those rows do not vary are left out, and a little of the mean variance is
    added to each of the others: few rows say little of the directions in which they vary least.

    Parameters
    ----------
    mean : ndarray (width,)
    directions : ndarray (width, kept)
        Principal directions, each divided by its standard deviation.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(scale=[1.0, 10.0], size=(1000, 2))
    >>> whiten = Whitening.learn([rows])
    >>> whiten(torch.tensor([[0.0, 20.0], [2.0, 0.0]])).round()
    tensor([4., 4.], dtype=torch.float64)
    """

    def __init__(self, mean: Array, directions: Array) -> None:
        self.mean, self.directions = mean, directions

    @classmethod
    def learn(cls, blocks: Iterable[Array], ridge: float = RIDGE) -> Whitening:
        """Learn from blocks of rows, each (rows, width); none is kept.

        Of the mean variance the share `ridge` is added to each direction.
        """
        n, first, second = 0, 0.0, 0.0
        shift: Any = None
        for block in blocks:
            shift = block.mean(0, dtype=np.float64) if shift is None else shift
            rows = block - shift  # near zero, so that the squares lose nothing
            n, first, second = n + len(rows), first + rows.sum(0), second + rows.T @ rows
        mean = first / n
        variances, directions = np.linalg.eigh(second / n - np.outer(mean, mean))
        kept = variances > NEGLIGIBLE * max(variances[-1], np.finfo(np.float64).tiny)
        scale = np.sqrt(variances[kept] + ridge * variances.clip(min=0).mean())
        return cls(shift + mean, directions[:, kept] / scale)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the squared distance of each row, (n,) of float64."""
        centred = rows.cpu().double() - torch.from_numpy(self.mean)
        return (centred @ torch.from_numpy(self.directions)).square().sum(1)


def rebuilt(model: LatentEstimator, x: Tensor, c: Tensor | None) -> Tensor:
    """Return the reconstruction of rows, as the model sees data; what is missing stays so."""
    out = model.model_.reconstruct(model.model_.encode(x, c).mean, c)
    return torch.where(x.isnan(), x, out)


def errors(model: LatentEstimator, x: Tensor, again: Tensor) -> Tensor:
    """Return x less its reconstruction, 1 for a category that is missed, 0 for what is missing."""
    difference = (x - again).nan_to_num(0.0)
    category = torch.tensor(~np.asarray(model.model_.likelihood.ordered))
    return torch.where(category.to(x.device), (difference != 0).to(x.dtype), difference)


def coarse(error: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return errors as (n, width): of pictures averaged over at most 7 x 7 blocks.

    Examples
    --------
    >>> coarse(torch.ones(2, 784), (28, 28)).shape
    torch.Size([2, 49])
    >>> coarse(torch.ones(2, 5), (5,)).shape
    torch.Size([2, 5])
    """
    if len(shape) in (2, 3):
        height, width = (min(COARSE, side) for side in shape[-2:])
        error = nn.functional.adaptive_avg_pool2d(error.reshape(-1, *shape), (height, width))
    return narrowed(error.flatten(1))


def hidden_layers(encoder: nn.Module) -> list[nn.Module]:
    """Return the modules whose outputs are the encoder's hidden activations.

    Its nonlinearities and gated layers; in a network that has none as modules, whatever has
    weights but the last.

    Examples
    --------
    >>> hidden_layers(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    [ReLU()]
    """
    modules = list(encoder.modules())
    found = [m for m in modules if isinstance(m, Gated) or type(m).__module__ == ACTIVATIONS]
    weighted = [m for m in modules if list(m.parameters(recurse=False))]
    return found or weighted[:-1]


def narrowed(layer: Tensor, widest: int = WIDEST) -> Tensor:
    """Return at most `widest` numbers a row; each of more is a signed sum of a few.

    Such a hash keeps distances up to chance, and costs no weights to be stored.
    Source: Feature hashing for large scale multitask learning (Weinberger, Dasgupta, Langford,
    Smola, Attenberg, 2009).
    """
    width = layer.shape[1]
    if width <= widest:
        return layer
    generator = torch.Generator().manual_seed(width)
    order = torch.randperm(width, generator=generator)
    signs = torch.randint(2, (width,), generator=generator) * 2 - 1
    signed = layer[:, order.to(layer.device)] * signs.to(layer.device)
    padded = nn.functional.pad(signed, (0, -width % widest))
    return padded.reshape(len(layer), -1, widest).sum(1)


#: Scores by the name that `AnomalyDetector` and the command line use.
SCORES: dict[str, type[Score]] = {
    "reconstruction": Reconstruction,
    "likelihood": Likelihood,
    "nap": Nap,
    "latent": Latent,
    "paths": Paths,
    "whitened": Whitened,
}
