"""Images with channels last: accepted, and returned in the same layout by every method."""

import json

import numpy as np
import pytest
import torch

import isthmus
from isthmus.applications import (
    AnomalyDetector,
    AttributeVectors,
    Denoiser,
    LatentCodec,
    LatentImputer,
    LatentSampler,
    variations,
)
from isthmus.applications.latent_paths import interpolate
from isthmus.data.layout import find_channels, to_channels_first

FAST = {"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0}
LAST = np.random.default_rng(0).random((40, 9, 10, 3)).astype(np.float32)
FIRST = np.ascontiguousarray(np.moveaxis(LAST, -1, 1))
BYTES = np.uint8(255 * LAST)


def first(X):
    return np.moveaxis(X, -1, -3)


@pytest.fixture(scope="module")
def models():
    return [isthmus.VAE(**FAST).fit(X) for X in (LAST, FIRST)]


@pytest.mark.parametrize("backbone", ["mlp", "conv"])
@pytest.mark.parametrize("shape", [(30, 28, 28, 1), (30, 9, 10, 3), (30, 8, 8, 4)])
def test_models_of_both_layouts_are_equal(backbone, shape):
    X = np.random.default_rng(0).random(shape).astype(np.float32)
    settings = FAST | {"epochs": 1, "backbone": backbone}
    last, other = (isthmus.VAE(**settings).fit(each) for each in (X, first(X)))
    assert (last.channels_, other.channels_) == ("last", "first")
    assert last.feature_shape_ == shape[1:]
    assert last.model_shape_ == other.feature_shape_ == (shape[-1], *shape[1:3])
    np.testing.assert_array_equal(last.transform(X), other.transform(first(X)))
    np.testing.assert_array_equal(first(last.reconstruct(X)), other.reconstruct(first(X)))
    assert last.reconstruct(X).shape == shape


def test_every_output_of_a_model_has_the_layout_of_the_data(models):
    last, other = models
    codes = last.transform(LAST)
    for method, arguments in [
        ("sample", {"n_samples": 3, "random_state": 0}),
        ("decode", {"Z": codes}),
        ("decode", {"Z": codes, "noise": True, "random_state": 0}),
        ("inverse_transform", {"Z": codes}),
    ]:
        out = getattr(last, method)(**arguments)
        assert out.shape[1:] == (9, 10, 3), method
        np.testing.assert_array_equal(first(out), getattr(other, method)(**arguments))
    np.testing.assert_array_equal(last.score_samples(LAST), other.score_samples(FIRST))
    assert torch.equal(last.tensors(LAST)[0], other.tensors(FIRST)[0])


def test_a_model_takes_images_of_the_other_layout_and_returns_them_in_it(models):
    last, other = models
    np.testing.assert_array_equal(last.transform(FIRST), other.transform(LAST))
    np.testing.assert_array_equal(last.reconstruct(FIRST), other.reconstruct(FIRST))
    np.testing.assert_array_equal(other.reconstruct(LAST), last.reconstruct(LAST))
    with pytest.raises(ValueError, match=r"have shape \(10, 9, 3\)"):
        last.transform(LAST.swapaxes(1, 2))


@pytest.mark.parametrize("scaling", ["standard", "global"])
def test_scaling_and_saving_keep_the_layout(scaling, tmp_path):
    kind = FAST | {"likelihood": "gaussian", "scaling": scaling}
    last, other = (isthmus.VAE(**kind).fit(9 * X) for X in (LAST, FIRST))
    np.testing.assert_array_equal(first(last.reconstruct(9 * LAST)), other.reconstruct(9 * FIRST))
    last.save(tmp_path)
    loaded = isthmus.load(tmp_path)
    assert loaded.channels_ == "last"
    np.testing.assert_array_equal(loaded.reconstruct(9 * LAST), last.reconstruct(9 * LAST))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["fitted"]["channels"] == "last"


def test_increments_and_loaders_learn_the_layout():
    loaded = isthmus.VAE(**FAST).fit_loader([LAST[:20], LAST[20:]])
    partial = isthmus.VAE(**FAST).partial_fit(LAST).partial_fit(FIRST)
    for model in (loaded, partial):
        assert model.sample(2).shape == (2, 9, 10, 3)


def test_detectors_explain_images_in_their_layout():
    model = isthmus.Autoencoder(**FAST)
    a, b = (AnomalyDetector(model, random_state=0).fit(X) for X in (LAST, FIRST))
    np.testing.assert_array_equal(a.score_samples(LAST), b.score_samples(FIRST))
    np.testing.assert_array_equal(first(a.explain(LAST)), b.explain(FIRST))
    np.testing.assert_array_equal(a.anomaly_map(LAST), b.anomaly_map(FIRST))


def test_imputers_fill_images_in_their_layout():
    images = LAST[:12, :6, :5]
    holes = np.zeros(images.shape, bool)
    holes[::2, 2:5, 3:4] = True
    gaps = np.where(holes, np.nan, images)
    a, b = (
        LatentImputer(isthmus.VAE(**FAST), n_draws=4, random_state=0).fit(X)
        for X in (gaps, first(gaps))
    )
    for one, two in zip(a.impute(gaps), b.impute(first(gaps)), strict=True):
        np.testing.assert_array_equal(first(one), two)
    np.testing.assert_array_equal(a.impute(images, holes).values, a.transform(gaps))
    same = a.impute(images, np.broadcast_to(holes[0], holes.shape))
    np.testing.assert_array_equal(a.impute(images, holes[0]).std, same.std)
    np.testing.assert_array_equal(a.transform(first(gaps)), b.transform(first(gaps)))
    assert a.sample_imputations(gaps[:2]).shape == (4, 2, 6, 5, 3)


def test_denoisers_return_images_in_their_layout():
    model = isthmus.DenoisingAutoencoder(**FAST)
    a, b = (Denoiser(model).fit(X).transform(X) for X in (BYTES, first(BYTES)))
    np.testing.assert_array_equal(first(a), b)
    patches = {"patch_size": (5, 5), "n_patches": 40, "random_state": 0}
    a, b = (Denoiser(model, **patches).fit(X) for X in (BYTES, first(BYTES)))
    np.testing.assert_array_equal(first(a.transform(BYTES)), b.transform(first(BYTES)))
    assert a.transform(BYTES[:2, :7]).shape == (2, 7, 10, 3)


def test_other_applications_return_images_in_their_layout(models):
    model, labels = models[0], np.arange(40) % 2
    assert variations(model, LAST[:2], 3).shape == (2, 3, 9, 10, 3)
    assert interpolate(model, LAST[:2], LAST[2:4], 5).shape == (2, 5, 9, 10, 3)
    codec = LatentCodec.from_fitted(model).fit(LAST)
    assert codec.decompress(codec.compress(LAST)).shape == LAST.shape
    sampler = LatentSampler.from_fitted(model, source="mixture", n_modes=1).fit(LAST)
    assert sampler.sample(2).shape == (2, 9, 10, 3)
    vectors = AttributeVectors.from_fitted(model).fit(LAST, labels)
    assert vectors.apply(LAST[:2], add=1).shape == (2, 9, 10, 3)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((28, 28, 1), "last"),
        ((64, 64, 3), "last"),
        ((64, 64, 4), "last"),
        ((1, 28, 28), "first"),
        ((3, 64, 64), "first"),
        ((16, 8, 8), "first"),
        ((1, 4, 4), "first"),  # no image has a side of length 1
        ((4, 4, 1), "last"),
        ((28, 28), "first"),
        ((28,), "first"),
    ],
)
def test_auto_finds_the_channels(shape, found):
    assert find_channels(shape) == found
    moved = to_channels_first(np.zeros((2, *shape)))
    assert moved.shape[1:] == ((shape[-1], *shape[:-1]) if found == "last" else shape)


@pytest.mark.parametrize("shape", [(3, 28, 3), (3, 28, 4), (4, 4, 4), (3, 3, 3)])
@pytest.mark.parametrize("start", ["fit", "partial_fit", "begin", "detector"])
def test_an_ambiguous_layout_is_refused_with_the_option(shape, start):
    X, model = np.random.default_rng(0).random((9, *shape)), isthmus.Autoencoder(**FAST)
    fit = AnomalyDetector(model).fit if start == "detector" else getattr(model, start)
    with pytest.raises(ValueError, match=r"channels='first' or channels='last'"):
        fit(X)
    for channels, height in (("first", shape[1]), ("last", shape[0])):
        fitted = isthmus.Autoencoder(**FAST, channels=channels).fit(X)
        assert fitted.model_shape_[1] == height
        assert fitted.reconstruct(X).shape == X.shape


def test_signals_may_have_their_channels_last_on_request():
    X = np.random.default_rng(0).random((20, 30, 2))
    settings = FAST | {"backbone": "conv1d", "kernel_size": 3}
    model = isthmus.Autoencoder(**settings, channels="last").fit(X)
    assert model.model_shape_ == (2, 30)
    assert model.reconstruct(X).shape == X.shape
    with pytest.raises(ValueError, match="channels='last' needs images"):
        isthmus.Autoencoder(**FAST, channels="last").fit(X[..., 0])
