"""Reverse KL: the ELBO followed uphill."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from isthmus.inference.density import LogDensity, evaluate, evaluate_in_parts, gradient
from isthmus.inference.gaussian import Gaussian, Noise

__all__ = ["average_elbo", "climb"]

POLISH = 8  # times as many draws in the last fifth of the gradient steps
UNSETTLED = 0.1  # gradient of the ELBO, in nats a standard deviation, that should have gone
STRIDE = 10.0  # times the learning rate that the mean moves at most, far from the optimum


def climb(
    log_density: LogDensity, q: Gaussian, noise: Noise, steps: int, n: int, rate: float
) -> tuple[Gaussian, list[float]]:
    """Follow the gradient of the ELBO, and return the last q and the ELBO of each step."""
    adam = [_Adam(q.mean), _Adam(q.scale)]
    polish = max(1, steps // 5)
    late, trace = [torch.zeros_like(q.mean), torch.zeros_like(q.scale)], []
    for step in range(steps):
        is_late = step >= steps - polish
        epsilon = noise.balanced(POLISH * n) if is_late else noise(n)
        elbo, *gradients = _slopes(log_density, q, epsilon.to(q.mean))
        trace.append(elbo)
        if is_late:
            late = [a + g / polish for a, g in zip(late, gradients, strict=True)]
        pace = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        (mean, scale), stride = _preconditioned(*gradients)
        q = q.moved(pace * stride * adam[0](mean), pace * adam[1](scale))
    _warn_unsettled(max(g.abs().max().item() for g in late))
    return q, trace


def _preconditioned(mean: Tensor, scale: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the gradients tamed far from the optimum, and how far the mean may stride, (d,)."""
    # By Stein's lemma the scale's gradient is one less the mean curvature, all in units of q.
    # The curvature is one at the optimum, where nothing here has an effect.
    curvature = 1 - (scale.diagonal() if scale.ndim == 2 else scale)
    excess = (0.5 * curvature).clamp(min=1)
    newton = mean / excess  # about the distance to the optimum, in standard deviations
    tamed = scale / (excess[:, None] if scale.ndim == 2 else excess)
    return (newton.clamp(-1, 1), tamed), newton.abs().clamp(1, STRIDE)


class _Adam:
    """Directions of length about one from gradients.

    Source: Adam: a method for stochastic optimization (Kingma, Ba, 2015).
    """

    def __init__(self, like: Tensor, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        self.betas, self.steps = betas, 0
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)

    def __call__(self, gradient: Tensor) -> Tensor:
        self.steps += 1
        first, second = self.betas
        self.mean.lerp_(gradient, 1 - first)
        self.square.lerp_(gradient.square(), 1 - second)
        size = (self.square / (1 - second**self.steps)).sqrt() + 1e-8
        return self.mean / (1 - first**self.steps) / size


def _slopes(log_density: LogDensity, q: Gaussian, noise: Tensor) -> tuple[float, Tensor, Tensor]:
    """Return the ELBO and its gradients by q's mean and scale, in units of q's own."""
    z = q.at(noise).requires_grad_()
    with torch.enable_grad():
        log_p = evaluate(log_density, z, "reverse")
        slope = gradient(log_p, z)
    # log q's own slope along the path is minus the noise; its parameters get no gradient.
    ascent = (slope @ q.scale if q.full else slope * q.scale) + noise
    pull = (ascent.mT @ noise).tril() / len(noise) if q.full else (ascent * noise).mean(0)
    # E[log q] over these very draws, for then the noise of both terms cancels at q = p.
    log_q = -q.entropy() - 0.5 * (noise.square().sum(-1) - noise.shape[-1])
    return (log_p.detach() - log_q).mean().item(), ascent.mean(0), pull


def average_elbo(log_density: LogDensity, q: Gaussian, noise: Tensor) -> float:
    """Return the bound over draws of q made from noise (n, d), in nats."""
    noise = noise.to(q.mean)
    log_q = -q.entropy() - 0.5 * (noise.square().sum(-1) - noise.shape[-1])
    return (evaluate_in_parts(log_density, q.at(noise)) - log_q).mean().item()


def _warn_unsettled(gradient: float) -> None:
    if gradient > UNSETTLED:
        warnings.warn(
            f"the fit has not settled: the ELBO's gradient is still {gradient:.2g} nats a standard "
            "deviation; raise n_steps or n_samples, or start nearer.",
            stacklevel=4,
        )
