"""Where the evidence lower bound loses to the log-likelihood."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.distributions.base import DiagonalNormal
from isthmus.evaluation.annealed import annealed_importance
from isthmus.evaluation.baselines import independent_log_density
from isthmus.evaluation.checks.claim import Claim
from isthmus.evaluation.checks.context import Context
from isthmus.evaluation.checks.finding import Evidence, Remedy, percent
from isthmus.evaluation.joint import Joint
from isthmus.inference.density import LogDensity
from isthmus.inference.gaussian import Gaussian, SobolNoise
from isthmus.inference.reverse_kl import maximize_elbo

__all__ = ["gaps"]

Array = NDArray[Any]
ROWS = 32
STEPS, DRAWS, RATE = 200, 8, 0.1  # of the fits
FINAL_DRAWS = 256  # codes of each row, from which its bounds are computed
CHAINS, TEMPERATURES, LEAPFROGS = 8, 60, 4
LOST, LOST_MUCH = 0.05, 0.2  # of the gain over independent features: a note, a warning
LEAST_GAIN = 10.0  # nats; smaller gains count as this


def gaps(context: Context) -> Iterator[Claim]:
    """Measure how much of log p(x) the encoder loses, and how much the normal posterior.

    The gap of amortisation is that between the bound with the encoder's posterior and with the best
    diagonal normal of each row; the gap of the family is that between the latter and log p(x), by
    annealed importance sampling. Both are compared with the gain of log p(x) over independent
    features.

    References
    ----------
    Inference suboptimality in variational autoencoders (Cremer, Li, Duvenaud, 2018).
    """
    estimator, train = context.estimator, context.train
    assert train is not None
    rows = (context.test or train).first(ROWS)
    joint = Joint.of(estimator, rows.X, rows.condition)[slice(0, len(rows))]
    own, best = _bounds(joint, context.random_state)
    log_p = annealed_importance(
        estimator,
        rows.X,
        n_chains=CHAINS,
        n_steps=TEMPERATURES,
        leapfrogs=LEAPFROGS,
        start="posterior",
        random_state=context.random_state,
        condition=rows.condition,
    ).log_likelihood
    gain = max(
        LEAST_GAIN, float((log_p - independent_log_density(estimator, train.X, rows.X)).mean())
    )
    for name, lost, cause, right, remedy in (
        (
            "amortisation",
            best - own,
            "because the encoder misses the best normal posterior of each row",
            "The encoder finds nearly the best normal posterior of each row",
            Remedy(
                {"hidden": tuple(2 * width for width in estimator.hidden) or (400,)},
                advice="More training rows help the encoder, too.",
            ),
        ),
        (
            "family of the posterior",
            log_p - best,
            "because no diagonal normal is like the true posterior",
            "A diagonal normal is nearly the true posterior of each row",
            Remedy({"posterior_family": "full-normal"}, {"bound": "iwae", "n_samples": 8}),
        ),
    ):
        mean = float(lost.mean())
        share = f"{percent(mean / gain)} of what the model gains over independent features"
        yield Claim(
            name,
            Evidence.of_mean("nats lost per row", lost, LOST * gain, "nats"),
            f"The ELBO is {mean:.2g} nats per row too low {cause}: {share}.",
            f"{right}: the ELBO loses {share}.",
            remedy,
            "warning" if mean > LOST_MUCH * gain else "note",
        )


def _bounds(joint: Joint, seed: int) -> tuple[Array, Array]:
    """Return the bound of each row with the encoder's posterior and with the best normal, (n,)."""
    n = len(joint)

    def log_density(z: Tensor) -> Tensor:
        """Return log p(x, z) of each row for the codes of all rows in one, (draws, n)."""
        codes = z.view(len(z), n, -1)
        return joint.log_likelihood(codes) + joint.log_prior(codes)

    with torch.no_grad():
        q = joint.posterior()
    start = Gaussian(q.mean.flatten(), q.stddev.flatten())
    noise = SobolNoise(len(start.mean), seed, torch.Generator().manual_seed(seed))
    with warnings.catch_warnings():  # a fit that has not converged makes the gap smaller
        warnings.simplefilter("ignore", UserWarning)
        best, _ = maximize_elbo(lambda z: log_density(z).sum(-1), start, noise, STEPS, DRAWS, RATE)
    same = noise.balanced(FINAL_DRAWS).to(start.mean)
    with torch.no_grad():
        own, other = (_bound(log_density, each, same, n) for each in (start, best))
    return own, other


def _bound(log_density: LogDensity, q: Gaussian, noise: Tensor, n: int) -> Array:
    log_q = DiagonalNormal(q.mean, q.scale).log_prob(q.at(noise)).view(len(noise), n, -1).sum(-1)
    each = log_density(q.at(noise)) - log_q
    return each.double().mean(0).cpu().numpy()
