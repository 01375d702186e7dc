"""Anomaly scores: one class per `score_method` of `AnomalyDetector`; higher is more anomalous.

Rows pass through the model in padded batches of a fixed size, so that the score of a row does not
depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.distributions.base import per_example
from isthmus.estimators.base import SCORE_SAMPLES, LatentEstimator, marginal_terms
from isthmus.estimators.batched_inference import row_noise
from isthmus.estimators.validation import check_results, count_rows_from
from isthmus.nn.dense import Gated

__all__ = ["SCORES", "Score", "Whitening", "combined_anomaly"]

Array = NDArray[Any]
ACTIVATIONS = nn.ReLU.__module__
BLOCK = 4096  # rows whose activations are in memory at once
MAX_WIDTH = 512  # features of a layer; wider layers are hashed
MAX_PATH_WIDTH = 1024  # features of a path through the encoder, for "paths"
NEGLIGIBLE = 1e-10  # relative variance below float32 precision
RIDGE = 1e-4  # fraction of the mean variance added to each direction
ERROR_RIDGE = 0.1  # the same for errors, because tables may have few rows
JOINT_RIDGE = 0.1  # the same for rows and errors together, times features per row
CLOSEST = 0.9  # share of the rows whose mean and covariance a robust distance uses
CONCENTRATION_STEPS = 3  # towards the mean and covariance of the closest rows
HIDDEN = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97)  # shares of values that are hidden to scale gaps
LEAST_SCORE = 1e-12  # in a logarithm
GAP_ROWS = 1024  # rows of which values are hidden
POOL_SIZE = 7  # blocks per side over which errors of an image are averaged


class Score:
    """An anomaly score of a fitted estimator."""

    is_additive = False  # whether `contributions` is defined
    is_fitted = False  # whether `fit` must see rows

    def __init__(self, estimator: LatentEstimator) -> None:
        self.estimator = estimator

    def fit(self, X: Array) -> None:
        """Fit the score to the training rows of the model, if it has parameters."""

    def arrays(self) -> dict[str, Array]:
        """Return the fitted parameters by name, for `restore`."""
        return {}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Set fitted parameters; raise a KeyError or ValueError if they are invalid."""

    def anomaly(self, X: Array) -> Array:
        """Return the score of each row, (n,) of float64."""
        raise NotImplementedError

    def contributions(self, X: Array) -> Array:
        """Return the contribution of each feature to `anomaly`, (n, *features) of float64."""
        return self.estimator.scaler_.to_data_layout(self.run(self._parts, X))

    def _parts(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return the contributions for a batch of scaled rows."""
        raise NotImplementedError

    def run(self, f: Callable[[Tensor, Tensor | None], Tensor], X: Array) -> Array:
        """Apply f(x, c) to batches of rows."""
        (out,) = self.estimator.run_batched(lambda x, c: (f(x, c),), X)
        check_results((out,))
        return out


def combined_anomaly(scores: list[Score], X: Array) -> Array:
    """Combine the same score of several models: the geometric mean, or the mean of nats."""
    each = np.stack([score.anomaly(X) for score in scores])
    if len(each) == 1:
        return each[0]
    if isinstance(scores[0], Likelihood):
        return each.mean(0)
    # The scores differ in scale, which does not affect a geometric mean.
    return np.exp(np.log(np.maximum(each, np.finfo(np.float64).tiny)).mean(0))


class Reconstruction(Score):
    """Squared error of the scaled data, summed over features; 1 for each wrong category.

    The missing features of a row count as much as its observed ones on average.
    """

    is_additive = True

    def anomaly(self, X: Array) -> Array:
        """Return the summed errors."""
        return self.run(lambda x, c: per_example(self._parts(x, c), 1) * gap_weights(x), X)

    def _parts(self, x: Tensor, c: Tensor | None) -> Tensor:
        return errors(self.estimator, x, reconstruct(self.estimator, x, c)).cpu().double() ** 2


class Likelihood(Score):
    """Negative `score_samples` of the estimator: the negative log-likelihood or ELBO in nats.

    The contributions sum to the distortion; `anomaly` also contains the rate (the KL). The missing
    features of a row count as much as its observed ones on average, in the units of the model.
    """

    is_additive = True

    def anomaly(self, X: Array) -> Array:
        """Return rate + distortion."""
        anomaly = -self.estimator.score_samples(X)
        return anomaly + self.run(self._for_gaps, X) if self.estimator.model_.missing else anomaly

    def _for_gaps(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return what the missing features of each row add to the distortion, 0 without gaps."""
        unit = self.estimator.model_.log_unit
        units = torch.zeros_like(x[0]) if unit is None else unit
        losses = self._parts(x, c) - torch.where(x.isnan(), 0.0, units).cpu().double()
        missing = per_example(torch.where(x.isnan(), units, 0.0), 1).cpu().double()
        return per_example(losses, 1) * (gap_weights(x) - 1) + missing

    def _parts(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return the distortion of each feature, as in `rate_distortion` over all labels."""
        labels = self.estimator.label_conditions()
        if labels is None:
            return self._terms(x, c)[1]
        log_p, conditions = labels
        pairs = [self._terms(x, condition.expand(len(x), -1)) for condition in conditions]
        rate, parts = map(torch.stack, zip(*pairs, strict=True))
        weights = marginal_terms(log_p, rate, per_example(parts, 2))[2]
        return (weights.reshape(*weights.shape, *[1] * (parts.ndim - 2)) * parts).sum(0)

    def _terms(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the KL, and -E log p(x|z) per feature, with the draws of `rate_distortion`."""
        model = self.estimator.model_
        samples = SCORE_SAMPLES if model.prior is not None else 1
        noise = row_noise(x.cpu().numpy(), samples, self.estimator.n_components_)
        q: Any = model.encode(x, c)
        z = q.rsample((samples,), noise=torch.from_numpy(noise).to(x.device))
        values = model.decode(z, c).log_prob(torch.where(x.isnan(), 0.0, x))
        if model.log_unit is not None:
            values = values - model.log_unit
        kl = model.kl(q, z, c)
        rate = kl if kl.ndim == 1 else kl.mean(0)
        return rate, torch.where(x.isnan(), 0.0, -values.mean(0)).cpu().double()


class Latent(Score):
    """Squared Mahalanobis distance of the code from those of the training rows.

    The encoder sees means in place of gaps; the score of a row with gaps is scaled so that it is as
    high as that of complete rows if the row is normal.

    Source: A simple unified framework for detecting out-of-distribution samples and adversarial
    attacks (Lee, Lee, Lee, Shin, 2018), with one class.
    """

    is_fitted = True
    ridge = RIDGE
    gaps: GapScale | None = None

    def fit(self, X: Array) -> None:
        """Fit mean and covariance of the activations, and the scores of rows with gaps."""
        self.whitening, self.gaps = self._fit_whitening(X), None
        if self.estimator.model_.missing:
            rows = np.sort(np.random.default_rng(0).permutation(len(X))[:GAP_ROWS])
            self.gaps = GapScale.fit(partial(self._with_hidden, X[rows]))

    def _fit_whitening(self, X: Array) -> Whitening:
        """Return the whitening of the activations of rows."""
        return Whitening.fit(self._blocks(X), self.ridge)

    def _blocks(self, X: Array) -> Iterator[Array]:
        """Yield the activations of some rows at a time."""
        for start in range(0, len(X), BLOCK):
            with count_rows_from(start):
                yield self.run(self._activations, X[start : start + BLOCK])

    def arrays(self) -> dict[str, Array]:
        """Return mean and directions of the whitening."""
        gaps = {} if self.gaps is None else {"gaps": self.gaps.table}
        return {"mean": self.whitening.mean, "directions": self.whitening.directions} | gaps

    def restore(self, arrays: dict[str, Array]) -> None:
        """Set the whitening, whose width must be that of the activations."""
        mean, directions = arrays["mean"], arrays["directions"]
        x = torch.zeros((1, *self.estimator.model_shape_), device=self.estimator.device_)
        c = self.estimator.encode_condition(None, 1)
        with torch.no_grad():
            activations = self._activations(x, None if c is None else torch.from_numpy(c).to(x))
        width = activations.shape[1]
        valid = mean.shape == (width,) and directions.shape[:1] == mean.shape
        valid = valid and directions.ndim == 2 and directions.shape[1] <= width
        if not valid or any(
            a.dtype != np.float64 or not np.isfinite(a).all() for a in arrays.values()
        ):
            raise ValueError("the arrays do not hold the whitening of this model.")
        self.whitening = Whitening(mean, directions)
        self.gaps = GapScale.restore(arrays["gaps"]) if "gaps" in arrays else None

    def anomaly(self, X: Array) -> Array:
        """Return the squared distances, scaled for rows with gaps."""
        return self.run(self._scaled, X)

    def _scaled(self, x: Tensor, c: Tensor | None) -> Tensor:
        distances = self.whitening(self._activations(x, c))
        return distances if self.gaps is None else self.gaps(distances, x)

    def _with_hidden(self, X: Array, hidden: float) -> Array:
        """Return distance and share of missing values of rows of which some values are hidden."""
        generator = torch.Generator().manual_seed(0)  # a value that is hidden stays hidden

        def score(x: Tensor, c: Tensor | None) -> Tensor:
            draws = torch.rand(x.shape, generator=generator).to(x.device)
            x = torch.where(draws < hidden, torch.nan, x)
            return torch.stack([self._scaled(x, c), missing_share(x)], 1)

        return self.run(score, X)

    def _activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return the vectors to whiten, (n, width): the code."""
        return self.estimator.model_.encode(x, c).mean


class Nap(Latent):
    """Whitened difference between the encoder activations of a row and of its reconstruction.

    Of all hidden layers and the code; that of the input layer is the reconstruction error.

    Source: RaPP: novelty detection with reconstruction along projection pathway (Kim, Shim, Lim,
    Jeon, Choi, Kim, Yoon, 2020), normalized aggregation along pathway (NAP).
    """

    def _activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        return self._path(x, c) - self._path(reconstruct(self.estimator, x, c), c)

    def _path(self, x: Tensor, c: Tensor | None) -> Tensor:
        model, layers = self.estimator.model_, []
        hooks = [
            layer.register_forward_hook(lambda *call: layers.append(call[-1].flatten(1)))
            for layer in hidden_layers(model.encoder)
        ]
        try:
            code = model.encode(x, c).mean
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([*map(hash_features, layers), code], 1)


class Paths(Nap):
    """Whitened activations of a row, their difference to its reconstruction's, and the errors.

    Whitening all of them together makes an activation anomalous by itself or given the others.
    Errors of images are averaged over at most 7 x 7 blocks, in which noise averages out.

    Source: RaPP (Kim, Shim, Lim, Jeon, Choi, Kim, Yoon, 2020), which whitens only differences.
    """

    def _activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        reconstruction = reconstruct(self.estimator, x, c)
        path = hash_features(self._path(x, c), MAX_PATH_WIDTH)
        other = hash_features(self._path(reconstruction, c), MAX_PATH_WIDTH)
        error = errors(self.estimator, x, reconstruction)
        return torch.cat([path, path - other, pool_errors(error, self.estimator.model_shape_)], 1)


class Whitened(Latent):
    """Squared Mahalanobis distance of the errors.

    An error counts more if it is rare among normal rows, and correlated errors count once.
    """

    ridge = ERROR_RIDGE

    def _activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        reconstruction = reconstruct(self.estimator, x, c)
        return hash_features(errors(self.estimator, x, reconstruction).flatten(1))


class Mahalanobis(Latent):
    """Squared Mahalanobis distance of a row and its error, as one vector.

    The distance of the row alone finds what is far from the rest, even if the network was trained
    on similar outliers and reconstructs them; the errors find rows that break a nonlinear
    dependence. Mean and covariance are those of the nine tenths of the rows that are closest, so
    that outliers among the training rows do not hide themselves.

    Source: A fast algorithm for the minimum covariance determinant estimator (Rousseeuw, Van
    Driessen, 1999), its concentration steps.
    """

    def _fit_whitening(self, X: Array) -> Whitening:
        """Return the whitening of all rows, then again of the closest ones."""
        rows = np.concatenate([*self._blocks(X)])
        ridge = float(np.clip(JOINT_RIDGE * rows.shape[1] / len(rows), RIDGE, 1))
        closest = rows
        for _ in range(CONCENTRATION_STEPS):
            # A value that only the farthest rows have must count: hence keep_constant.
            whitening = Whitening.fit(blocks_of(closest), ridge, keep_constant=True)
            distances = np.concatenate(
                [whitening(torch.from_numpy(block)).numpy() for block in blocks_of(rows)]
            )
            closest = rows[distances <= np.quantile(distances, CLOSEST)]
        return Whitening.fit(blocks_of(closest), ridge, keep_constant=True)

    def _activations(self, x: Tensor, c: Tensor | None) -> Tensor:
        row = self.estimator.model_.likelihood.embed(x).nan_to_num(0.0)  # as the encoder sees it
        error = errors(self.estimator, x, reconstruct(self.estimator, x, c))
        return torch.cat([hash_features(row.flatten(1)), hash_features(error.flatten(1))], 1)


def blocks_of(rows: Array) -> Iterator[Array]:
    """Yield some rows at a time."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


@dataclass(frozen=True, eq=False)
class Whitening:
    """Squared Mahalanobis distance from the mean (width,).

    The directions (width, n_directions) are the principal ones, each divided by its standard
    deviation; those without variance are dropped unless `keep_constant`. A ridge regularises
    directions of low variance, which few rows estimate poorly.
    """

    mean: Array
    directions: Array

    @classmethod
    def fit(
        cls, blocks: Iterable[Array], ridge: float = RIDGE, keep_constant: bool = False
    ) -> Whitening:
        """Fit to blocks of rows (n, width), one in memory at a time."""
        n, total, products = 0, 0.0, 0.0
        shift: Any = None
        for block in blocks:
            shift = block.mean(0, dtype=np.float64) if shift is None else shift
            rows = block - shift  # values near 0 lose no digits when squared
            n, total, products = n + len(rows), total + rows.sum(0), products + rows.T @ rows
        mean = total / n
        variances, directions = np.linalg.eigh(products / n - np.outer(mean, mean))
        variances = variances.clip(min=0)
        kept = variances > NEGLIGIBLE * max(variances[-1], np.finfo(np.float64).tiny)
        scale = np.sqrt(variances + ridge * variances.mean())
        if keep_constant and scale[0] > 0:
            kept[:] = True
        return cls(shift + mean, directions[:, kept] / scale[kept])

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the squared distance of each row, (n,) of float64."""
        centred = rows.cpu().double() - torch.from_numpy(self.mean)
        return (centred @ torch.from_numpy(self.directions)).square().sum(1)


@dataclass(frozen=True, eq=False)
class GapScale:
    """Scaling of the scores of rows with gaps to those of rows without.

    The table (3, n_shares) holds shares of missing values, ascending, and mean and standard
    deviation of the logarithms of the scores of normal rows at each. Scores at any share are
    shifted and scaled to those at the first one.
    """

    table: Array

    @classmethod
    def fit(cls, score: Callable[[float], Array]) -> GapScale:
        """Fit to ``score(hidden)``, which hides that share of the values of some normal rows.

        It returns the score and the share of missing values of each row, (n, 2).
        """
        table = []
        for hidden in HIDDEN:
            rows = score(hidden)
            rows = rows[rows[:, 1] < 1]  # a row without values has no score
            if not len(rows):
                break
            logs = np.log(rows[:, 0].clip(min=LEAST_SCORE))
            table.append((rows[:, 1].mean(), logs.mean(), logs.std() + NEGLIGIBLE))
        shares, means, spreads = np.array(table).T
        return cls(np.array([np.maximum.accumulate(shares), means, spreads]))

    @classmethod
    def restore(cls, table: Array) -> GapScale:
        """Return the scale with a table; a ValueError if it is not one."""
        valid = table.ndim == 2 and len(table) == 3 and table.size > 0
        if not valid or (np.diff(table[0]) < 0).any() or (table[2] <= 0).any():
            raise ValueError("the gaps do not hold ascending shares and spreads of scores.")
        return cls(table)

    def __call__(self, scores: Tensor, x: Tensor) -> Tensor:
        """Return the scaled scores (n,) of rows x (n, *features)."""
        share, (shares, means, spreads) = missing_share(x).numpy(), self.table
        mean = torch.from_numpy(np.interp(share, shares, means))
        spread = torch.from_numpy(np.interp(share, shares, spreads))
        logs = scores.clamp(min=LEAST_SCORE).log()
        scaled = (means[0] + (logs - mean) * (spreads[0] / spread)).exp()
        return torch.where((mean == means[0]) & (spread == spreads[0]), scores, scaled)


def reconstruct(estimator: LatentEstimator, x: Tensor, c: Tensor | None) -> Tensor:
    """Return the reconstruction of scaled rows; missing values stay missing."""
    model = estimator.model_
    return torch.where(x.isnan(), x, model.reconstruct(model.encode(x, c).mean, c))


def errors(estimator: LatentEstimator, x: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the differences; 1 for a wrong category and 0 for a missing value."""
    difference = torch.where(x.isnan(), 0.0, x - reconstruction)
    category = torch.tensor(~np.asarray(estimator.model_.likelihood.ordered))
    return torch.where(category.to(x.device), (difference != 0).to(x.dtype), difference)


def missing_share(x: Tensor) -> Tensor:
    """Return the share of missing features of each row, (n,) of float64."""
    return x.isnan().flatten(1).double().mean(1).cpu()


def gap_weights(x: Tensor) -> Tensor:
    """Return the number of features over that of observed ones for each row, (n,) of float64."""
    observed = (~x.isnan()).flatten(1)
    return (observed.shape[1] / observed.sum(1).clamp(min=1)).cpu().double()


def pool_errors(error: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return errors as (n, width); those of images are averaged over at most 7 x 7 blocks."""
    if len(shape) in (2, 3):
        height, width = (min(POOL_SIZE, side) for side in shape[-2:])
        error = nn.functional.adaptive_avg_pool2d(error.reshape(-1, *shape), (height, width))
    return hash_features(error.flatten(1))


def hidden_layers(encoder: nn.Module) -> list[nn.Module]:
    """Return the modules whose outputs are the encoder's hidden activations.

    These are activation functions and gated layers or, if there are none, all modules with
    weights except the last.
    """
    modules = list(encoder.modules())
    found = [m for m in modules if isinstance(m, Gated) or type(m).__module__ == ACTIVATIONS]
    weighted = [m for m in modules if list(m.parameters(recurse=False))]
    return found or weighted[:-1]


def hash_features(layer: Tensor, max_width: int = MAX_WIDTH) -> Tensor:
    """Reduce (n, width) to at most `max_width` features by signed sums, which preserve distances.

    Source: Feature hashing for large scale multitask learning (Weinberger, Dasgupta, Langford,
    Smola, Attenberg, 2009).
    """
    width = layer.shape[1]
    if width <= max_width:
        return layer
    generator = torch.Generator().manual_seed(width)
    order = torch.randperm(width, generator=generator)
    signs = torch.randint(2, (width,), generator=generator) * 2 - 1
    signed = layer[:, order.to(layer.device)] * signs.to(layer.device)
    padded = nn.functional.pad(signed, (0, -width % max_width))
    return padded.reshape(len(layer), -1, max_width).sum(1)


#: Scores by the name that `AnomalyDetector` and the command line use.
SCORES: dict[str, type[Score]] = {
    score.__name__.lower(): score
    for score in (Reconstruction, Likelihood, Nap, Latent, Paths, Whitened, Mahalanobis)
}
