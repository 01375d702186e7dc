"""Reconstruction: against closed forms, scikit-learn, torchmetrics and scipy."""

import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import f1_score, mean_squared_error
from torchmetrics.functional.image import peak_signal_noise_ratio

import isthmus
from isthmus.evaluation import evaluate_model
from isthmus.evaluation import reconstruction as r


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    x = rng.random((5, 3, 24, 20))
    return x, np.clip(x + 0.1 * rng.normal(size=x.shape), 0, 1)


def test_squared_error(images):
    x, y = images
    flat = [a.reshape(5, -1) for a in images]
    assert r.squared_error(x, y) == pytest.approx(mean_squared_error(*flat))
    per_example = r.squared_error(x, y, per="example")
    assert per_example == pytest.approx(mean_squared_error(*flat) * 3 * 24 * 20)


def test_bytes_count_as_values_in_the_unit_interval():
    x = np.array([[0, 51, 255]], dtype=np.uint8)
    assert r.squared_error(x, [[0.0, 0.2, 0.5]], per="example") == pytest.approx(0.25)


def test_psnr(images):
    x, y = images
    each = [
        peak_signal_noise_ratio(torch.tensor(b), torch.tensor(a), data_range=1.0)
        for a, b in zip(x, y, strict=True)
    ]
    assert r.psnr(x, y) == pytest.approx(np.mean(each))
    assert r.psnr(255 * x, 255 * y, peak=255) == pytest.approx(r.psnr(x, y))
    assert r.psnr(x, x) == np.inf


def ssim_by_scipy(x, y, sigma, radius):
    """Follow Wang and others (2004) for one channel, borders mirrored."""

    def blur(a):
        return gaussian_filter(a, sigma, radius=radius, mode="mirror")

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    full = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return full.mean()


@pytest.mark.parametrize(("size", "window"), [(24, 11), (11, 11), (10, 9), (8, 7), (5, 5), (3, 3)])
def test_ssim_matches_scipy(size, window):
    rng = np.random.default_rng(0)
    x = rng.random((4, size, size + 2))
    y = np.clip(x + 0.2 * rng.normal(size=x.shape), 0, 1)
    sigma, radius = 1.5 * window / 11, window // 2
    expected = np.mean([ssim_by_scipy(a, b, sigma, radius) for a, b in zip(x, y, strict=True)])
    assert r.ssim(x, y) == pytest.approx(expected, rel=1e-6)


def test_ssim_of_flat_images():
    x, y = np.full((2, 16, 16), 0.2), np.full((2, 16, 16), 0.6)
    luminance = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert r.ssim(x, y) == pytest.approx(luminance)


def test_ssim_channels_and_chunks(images, monkeypatch):
    x, y = images
    assert r.ssim(x, x) == pytest.approx(1)
    each_channel = np.mean([r.ssim(x[:, c], y[:, c]) for c in range(3)])
    assert r.ssim(x, y) == pytest.approx(each_channel)
    whole = r.ssim(x, y)
    monkeypatch.setattr(r, "PIXELS", 2 * x[0].size)
    assert r.ssim(x, y) == pytest.approx(whole)
    as_bytes = np.round(255 * x).astype(np.uint8)
    assert r.ssim(as_bytes, y.astype(np.float32)) == pytest.approx(whole, abs=1e-3)


def test_ssim_names_the_extra(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(ImportError, match=r"pip install 'isthmus\[metrics\]'"):
        r.ssim(*images)


def test_f1_and_dice_match_sklearn():
    rng = np.random.default_rng(0)
    x, y = (rng.random((6, 4, 4)) for _ in range(2))
    x[0] = y[0] = 0  # no positive on either side
    y[1] = 0
    a, b = ((v > 0.5).reshape(6, -1) for v in (x, y))
    assert r.f1(x, y) == pytest.approx(f1_score(a.ravel(), b.ravel()))
    each = [f1_score(p, q, zero_division=1.0) for p, q in zip(a, b, strict=True)]
    assert each[:2] == [1, 0]
    assert r.dice(x, y) == pytest.approx(np.mean(each))
    assert r.dice(a, b) == r.dice(x, y)


def test_f1_from_counts():
    assert float(r.f1_from_counts(0, 0, 0)) == 1
    assert float(r.f1_from_counts(3, 1, 2)) == pytest.approx(6 / 9)
    with pytest.raises(ValueError, match="zero or more"):
        r.f1_from_counts(1, -1, 0)


def test_bits_per_dimension():
    # A uniform model of n bytes costs n ln 256 nats: 8 bits each, however it is written.
    assert r.bits_per_dimension(10 * np.log(256), 10) == pytest.approx(8)
    assert r.bits_per_dimension(0.0, 10, levels=256) == pytest.approx(8)
    # The same density of x / 255 in place of x / 256 costs n ln(256 / 255) fewer nats.
    assert r.bits_per_dimension(10 * np.log(256 / 255), 10, levels=255) == pytest.approx(8)
    np.testing.assert_allclose(r.bits_per_dimension(np.array([0, np.log(2)]), 1, 4), [2, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r.squared_error(np.ones((2, 3)), np.ones((3, 2))), "the same shape"),
        (lambda: r.squared_error(np.ones((2, 3)), np.ones((2, 3)), per="row"), "per must be"),
        (lambda: r.squared_error(np.ones((2, 3)), np.full((2, 3), np.nan)), "NaN"),
        (lambda: r.psnr(np.ones((2, 3)), np.ones((2, 3)), peak=0), "positive peak"),
        (lambda: r.ssim(np.ones((2, 64)), np.ones((2, 64))), "reshape"),
        (lambda: r.ssim(np.ones((2, 2, 8)), np.ones((2, 2, 8))), "3 × 3"),
        (lambda: r.ssim(2 * np.ones((2, 8, 8)), np.ones((2, 8, 8))), r"\[0, 1\]"),
        (lambda: r.dice(np.eye(3, dtype=np.uint8), np.eye(3)), "bool or float"),
        (lambda: r.bits_per_dimension(1.0, 0), "above zero"),
    ],
)
def test_invalid_arguments_raise(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_metrics_of_images_do_not_depend_on_the_place_of_the_channels():
    last = np.random.default_rng(0).random((12, 9, 10, 3)).astype(np.float32)
    first = np.moveaxis(last, -1, 1)
    a, b = (
        evaluate_model(
            isthmus.VAE(n_components=2, hidden=(8,), epochs=1, random_state=0).fit(X),
            X,
            features=None,
            n_samples=2,
            random_state=0,
        )
        for X in (last, first)
    )
    assert a == pytest.approx(b, rel=1e-5)
    assert "SSIM" in a
    assert r.ssim(last, last[::-1]) == pytest.approx(r.ssim(first, first[::-1]))
