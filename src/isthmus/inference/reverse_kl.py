"""Minimise the reverse KL: maximise the ELBO by gradient ascent."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from isthmus.inference.density import LogDensity, evaluate, evaluate_in_chunks, gradient
from isthmus.inference.gaussian import Gaussian, SobolNoise

__all__ = ["average_elbo", "maximize_elbo"]

FINAL_FACTOR = 8  # multiplies the number of draws in the last fifth of the steps
TOLERANCE = 0.1  # largest final gradient of the ELBO, in nats per standard deviation
BETAS = 0.9, 0.99  # decay rates of the moments in Adam
MAX_STRIDE = 10.0  # largest step of the mean far from the optimum, in learning rates


def maximize_elbo(
    log_density: LogDensity, q: Gaussian, noise: SobolNoise, steps: int, n: int, rate: float
) -> tuple[Gaussian, list[float]]:
    """Maximise the ELBO; return the last q and the ELBO of each step."""
    adam = [_Adam(q.mean), _Adam(q.scale)]
    n_final = max(1, steps // 5)
    final, trace = [torch.zeros_like(q.mean), torch.zeros_like(q.scale)], []
    for step in range(steps):
        is_final = step >= steps - n_final
        epsilon = noise.balanced(FINAL_FACTOR * n) if is_final else noise(n)
        elbo, *gradients = _gradients(log_density, q, epsilon.to(q.mean))
        trace.append(elbo)
        if is_final:
            final = [a + g / n_final for a, g in zip(final, gradients, strict=True)]
        step_size = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        (mean, scale), stride = _preconditioned(*gradients)
        q = q.moved(step_size * stride * adam[0](mean), step_size * adam[1](scale))
    steepest = max(g.abs().max().item() for g in final)
    if steepest > TOLERANCE:
        warnings.warn(
            f"the fit has not converged: the gradient of the ELBO is still {steepest:.2g} nats per "
            "standard deviation. Increase n_steps or n_samples, or pass a better start.",
            stacklevel=3,
        )
    return q, trace


def _preconditioned(mean: Tensor, scale: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return gradients damped far from the optimum, and step factors of the mean, (d,)."""
    # By Stein's lemma the gradient of the scale is one minus the mean curvature, in units of q.
    # At the optimum the curvature is one, and nothing here has an effect.
    curvature = 1 - (scale.diagonal() if scale.ndim == 2 else scale)
    excess = (0.5 * curvature).clamp(min=1)
    newton = mean / excess  # approximate distance to the optimum, in standard deviations
    damped = scale / (excess[:, None] if scale.ndim == 2 else excess)
    return (newton.clamp(-1, 1), damped), newton.abs().clamp(1, MAX_STRIDE)


class _Adam:
    """Turn gradients into steps of about unit size.

    Source: Adam: a method for stochastic optimization (Kingma, Ba, 2015).
    """

    def __init__(self, like: Tensor) -> None:
        self.steps, self.mean, self.square = 0, torch.zeros_like(like), torch.zeros_like(like)

    def __call__(self, gradient: Tensor) -> Tensor:
        self.steps += 1
        first, second = BETAS
        self.mean.lerp_(gradient, 1 - first)
        self.square.lerp_(gradient.square(), 1 - second)
        size = (self.square / (1 - second**self.steps)).sqrt() + 1e-8
        return self.mean / (1 - first**self.steps) / size


def _gradients(log_density: LogDensity, q: Gaussian, noise: Tensor) -> tuple[float, Tensor, Tensor]:
    """Return the ELBO and its gradients for mean and scale, in units of q."""
    z = q.at(noise).requires_grad_()
    with torch.enable_grad():
        log_p = evaluate(log_density, z, "reverse")
        grad = gradient(log_p, z)
    # Along the path the gradient of log q is minus the noise; its parameters get no gradient.
    path = (grad @ q.scale if q.full else grad * q.scale) + noise
    scale = (path.mT @ noise).tril() / len(noise) if q.full else (path * noise).mean(0)
    # E[log q] over the same draws, so that the noise of both terms cancels at q = p.
    log_q = -q.entropy() - 0.5 * (noise.square().sum(-1) - noise.shape[-1])
    return (log_p.detach() - log_q).mean().item(), path.mean(0), scale


def average_elbo(log_density: LogDensity, q: Gaussian, noise: Tensor) -> float:
    """Return the ELBO in nats, over draws of q from noise (n, d)."""
    noise = noise.to(q.mean)
    log_q = -q.entropy() - 0.5 * (noise.square().sum(-1) - noise.shape[-1])
    return (evaluate_in_chunks(log_density, q.at(noise)) - log_q).mean().item()
