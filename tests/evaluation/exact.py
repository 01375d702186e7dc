"""Models whose likelihood is known: linear ones by a formula, those of one code by a grid."""

import numpy as np
import torch
from scipy.stats import multivariate_normal

import isthmus
from isthmus.evaluation.joint import Joint

NOISE = 0.6


def linear_model(n_features, n_components, scaling="standard", width=1.3, seed=0):
    """Return a linear-Gaussian VAE, its encoder near the posterior, and rows drawn from it."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n_features, n_components)) / np.sqrt(n_components)
    X = 50 + 7 * (rng.normal(size=(300, n_components)) @ W.T)
    X += 7 * NOISE * rng.normal(size=X.shape)
    model = isthmus.VAE(
        n_components=n_components,
        hidden=(),
        scaling=scaling,
        epochs=1,
        random_state=0,
        likelihood="gaussian",
    ).fit(X)
    model.model_.likelihood.floor = None  # the scale is set below
    precision = np.eye(n_components) + W.T @ W / NOISE**2
    log_variance = np.log(width / np.diag(precision))
    raw = log_variance / (1 - np.abs(log_variance) / 20)  # undoes the soft limit
    slopes = np.linalg.solve(precision, W.T) / NOISE**2
    encoder, decoder = model.model_.encoder.layers[0], model.model_.decoder.layers[0]
    with torch.no_grad():
        encoder.weight.copy_(torch.from_numpy(np.vstack([slopes, np.zeros_like(slopes)])))
        encoder.bias.copy_(torch.from_numpy(np.concatenate([np.zeros(n_components), raw])))
        decoder.weight.copy_(torch.from_numpy(W))
        decoder.bias.zero_()
        model.model_.likelihood.log_scale.fill_(np.log(NOISE) / (1 - abs(np.log(NOISE)) / 10))
    return model, X


def of_linear(model, X):
    """Return log p(x) of a linear-Gaussian model, whatever its weights, (n,)."""
    layer, scaler = model.model_.decoder.layers[0], model.scaler_
    weight = layer.weight.detach().double().numpy().T * scaler.scale
    mean = layer.bias.detach().double().numpy() * scaler.scale + scaler.shift
    p = model.model_.decode(torch.zeros(1, model.n_components_))
    sigma = p.scale.detach().double().numpy()[0] * scaler.scale
    return multivariate_normal(mean, weight.T @ weight + np.diag(sigma**2)).logpdf(X)


def by_grid(model, X, condition=None, limit=25.0, n=4001):
    """Return log p(x) of a model of one code, by a sum over a grid, (n,)."""
    grid = torch.linspace(-limit, limit, n)[:, None, None]
    joint = Joint.of(model, X, condition)
    with torch.no_grad():
        rows = [joint[slice(i, i + 1)] for i in range(len(X))]
        logs = [(r.log_likelihood(grid) + r.log_prior(grid)).double() for r in rows]
    step = 2 * limit / (n - 1)
    return np.array([float(v.logsumexp(0)) + np.log(step) for v in logs])
