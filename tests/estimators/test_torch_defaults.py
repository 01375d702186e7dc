"""Settings of torch and NumPy around a call change neither results nor types."""

import contextlib

import numpy as np
import pytest
import torch

import isthmus
from isthmus.applications import AnomalyDetector, LatentImputer

TINY = {"n_components": 2, "hidden": (8,), "epochs": 1, "random_state": 0, "progress": "none"}
X = np.random.default_rng(0).normal(size=(40, 4))
GAPS = np.where(np.random.default_rng(1).uniform(size=X.shape) < 0.1, np.nan, X)
IMAGES = np.random.default_rng(0).uniform(size=(20, 6, 6))


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


CONTEXTS = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "device": default_device,
    "device block": lambda: torch.device("meta"),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "errstate": lambda: np.errstate(all="raise"),
}
MODELS = {
    "vae": lambda: isthmus.VAE(**TINY).fit(X),
    "vamp": lambda: isthmus.VAE(prior="vamp", **TINY).fit(X),
    "full normal": lambda: isthmus.VAE(posterior_family="full-normal", **TINY).fit(X),
    "conv": lambda: isthmus.VAE(backbone="conv", **TINY).fit(IMAGES),
    "sparse": lambda: isthmus.SparseAutoencoder(activation="topk", **TINY).fit(X),
    "conditional": lambda: isthmus.ConditionalVAE(**TINY).fit(X, np.arange(40) % 2),
    "loader": lambda: isthmus.VAE(**TINY).fit_loader([X]).partial_fit(X),
    "sweep": lambda: (
        isthmus.Sweep(isthmus.VAE(**TINY), {"random_state": [0, 1]}, random_state=0)
        .fit(X)
        .best_estimator_
    ),
}


def answers(model):
    data = IMAGES if len(model.feature_shape_) > 1 else X
    results = [model.transform(data), model.reconstruct(data), model.score_samples(data)]
    if model.model_.prior is not None and not model.conditional:
        results.append(model.sample(3, random_state=0))
    return results


@pytest.fixture(scope="module")
def expected():
    models = {name: fit() for name, fit in MODELS.items()}
    return {name: (model, answers(model)) for name, model in models.items()}


@pytest.mark.parametrize("name", ["float64", "device", "inference_mode", "errstate"])
def test_defaults_of_torch_and_numpy_change_nothing(name, expected):
    dtype, device = torch.get_default_dtype(), torch.empty(0).device
    with CONTEXTS[name]():
        inside = torch.get_default_dtype(), torch.empty(0).device
        fitted = {key: fit() for key, fit in MODELS.items()}
        found = {key: answers(model) for key, model in fitted.items()}
        again = {key: answers(model) for key, (model, _) in expected.items()}
        assert (torch.get_default_dtype(), torch.empty(0).device) == inside
    assert (torch.get_default_dtype(), torch.empty(0).device) == (dtype, device)
    for key, (_, before) in expected.items():
        for each in (found[key], again[key]):
            for result, value in zip(each, before, strict=True):
                np.testing.assert_allclose(result, value, rtol=1e-5, atol=1e-5)
        weights = fitted[key].model_.state_dict().values()
        assert {w.dtype for w in weights if w.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("name", CONTEXTS)
def test_applications_and_loading_ignore_defaults(name, tmp_path):
    model = isthmus.VAE(missing="ignore", **TINY).fit(X)
    model.save(tmp_path)

    def use():
        loaded = isthmus.load(tmp_path)
        detector = AnomalyDetector(loaded, score_method="paths", random_state=0).fit(X)
        imputer = LatentImputer(loaded, n_draws=3, random_state=0).fit(X)
        return [
            detector.score_samples(X),
            imputer.transform(GAPS),
            loaded.tensors(X)[0].numpy(),
            loaded.partial_fit(X).transform(X),
        ]

    outside = use()
    with CONTEXTS[name]():
        inside = use()
    for result, value in zip(inside, outside, strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-4, atol=1e-5)


def test_optimizing_imputer_under_inference_mode(monkeypatch):
    monkeypatch.setattr("isthmus.applications.gap_filling.STEPS", 3)
    imputer = LatentImputer(isthmus.VAE(**TINY).fit(X), method="optimize").fit(X)
    with torch.inference_mode():
        inside = imputer.transform(GAPS[:8])
    np.testing.assert_allclose(inside, imputer.transform(GAPS[:8]))
