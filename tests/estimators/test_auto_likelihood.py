"""The rule of likelihood="auto", and values a rounding error outside the support."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.preprocessing import MinMaxScaler

import isthmus
from isthmus.applications import AnomalyDetector
from isthmus.distributions.mixed import make_likelihood
from isthmus.estimators.defaults import resolve_likelihood

TINY = {"n_components": 2, "hidden": (8,), "epochs": 1, "random_state": 0, "progress": "none"}
UNIT = np.random.default_rng(0).uniform(size=(40, 4))
UNIT[0], UNIT[1] = 0.0, 1.0
BITS = (UNIT > 0.5).astype(float)
IMAGES = load_digits().images[:60] / 16
ABOVE = np.nextafter(1.0, 2.0)


def one_bit_more(X):
    return np.where(X == 1.0, ABOVE, X)


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_cross_validation_of_min_max_scaled_data_has_finite_consistent_scores(load):
    X = MinMaxScaler().fit_transform(load().data)
    model = isthmus.VAE(batch_size=512, validation_fraction=0.0, **TINY)
    assert np.isfinite(cross_val_score(model, X)).all()
    search = GridSearchCV(model, {"n_components": [2, 3]}, cv=5).fit(X)
    for k in range(5):
        assert np.isfinite(search.cv_results_[f"split{k}_test_score"]).all()
    assert search.best_estimator_.likelihood_ == "gaussian"


def test_detector_of_min_max_scaled_data_works_for_every_seed():
    X = MinMaxScaler().fit_transform(load_breast_cancer().data)
    for seed in range(6):
        detector = AnomalyDetector(
            isthmus.Autoencoder(**TINY), score_method="likelihood", random_state=seed
        )
        assert np.isfinite(detector.fit(X).score_samples(X)).all()
        assert detector.estimator_.likelihood_ == "gaussian"


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (UNIT, "gaussian"),
        (one_bit_more(UNIT), "gaussian"),
        (UNIT[:, :1] * 0.99, "gaussian"),
        (UNIT * 1e-9, "gaussian"),
        (BITS * 1e-8, "gaussian"),
        (BITS, "bernoulli"),
        (one_bit_more(BITS), "bernoulli"),
        (BITS - 1e-17, "bernoulli"),
        (np.zeros((5, 2)), "bernoulli"),
        (BITS + 1, "gaussian"),
        (IMAGES, "bernoulli"),
        (one_bit_more(IMAGES), "bernoulli"),
        (IMAGES - 1e-7, "bernoulli"),
        (IMAGES.astype(np.float32) * np.float32(1.0000001), "bernoulli"),
        (IMAGES * 1.01, "gaussian"),
        (IMAGES - 0.01, "gaussian"),
        (IMAGES[:, None], "bernoulli"),
        ((IMAGES.reshape(60, -1) * 255).astype(np.uint8), "bernoulli"),
    ],
)
def test_auto_is_bernoulli_for_bits_bytes_and_pictures_and_gaussian_otherwise(X, expected):
    assert resolve_likelihood("auto", X) == expected


@pytest.mark.parametrize("name", ["bernoulli", "continuous-bernoulli"])
def test_rounding_errors_outside_a_bound_count_as_inside(name):
    model = isthmus.VAE(likelihood=name, **TINY).fit(one_bit_more(UNIT))
    for error in (1e-16, 1e-9, 0.9e-6):
        outside = np.where(UNIT == 1, 1 + error, np.where(UNIT == 0, -error, UNIT))
        np.testing.assert_array_equal(model.score_samples(outside), model.score_samples(UNIT))
        np.testing.assert_array_equal(model.transform(outside), model.transform(UNIT))
        x, _ = model.tensors(outside)
        assert float(x.max()) == 1.0
        assert float(x.min()) == 0.0
    with pytest.raises(
        ValueError, match=r"between 0 and 1, but X has 1\.00001 in row 1, feature 0"
    ):
        model.score_samples(UNIT * 1.00001)


@pytest.mark.parametrize("name", ["poisson", "categorical:4", "gaussian,poisson,categorical:4"])
def test_rounding_errors_of_whole_numbers_are_removed(name):
    counts = np.array([[0.0, 1, 2], [3, 2, 1], [1, 1, 3]])
    family = make_likelihood(name, (3,))
    wrong = counts * (1 + 1e-9)
    wrong[0, 1:] -= 1e-9
    np.testing.assert_array_equal(family.clean(wrong)[:, 1:], counts[:, 1:])
    family.check(family.clean(wrong))
    with pytest.raises(ValueError, match="whole numbers"):
        family.check(family.clean(np.full((2, 3), 1e-9)))  # not counts of 0


def test_rounding_errors_with_gaps_images_and_streams():
    images = one_bit_more(IMAGES)
    gaps = images.copy()
    gaps[:, 0, 0] = np.nan
    for X, settings in ((images, {}), (gaps, {"missing": "ignore"})):
        model = isthmus.VAE(**TINY, **settings).fit(X)
        assert model.likelihood_ == "bernoulli"
        assert np.isfinite(model.score_samples(X)).all()
    streamed = isthmus.VAE(**TINY).fit_loader([IMAGES[:30] * (IMAGES[:30] < 1), images[30:]])
    assert np.isfinite(streamed.partial_fit(images).score(images))


def test_sweep_and_stacked_models_follow_the_rule():
    sweep = isthmus.Sweep(isthmus.VAE(**TINY), {"n_components": [2, 3]}, random_state=0)
    assert sweep.fit(one_bit_more(UNIT)).best_estimator_.likelihood_ == "gaussian"


def test_binarize_asks_for_the_bernoulli_likelihood():
    with pytest.raises(ValueError, match="needs likelihood='bernoulli', not 'gaussian': set it"):
        isthmus.VAE(binarize=True, **TINY).fit(UNIT)


@pytest.mark.parametrize("fit", ["fit", "partial_fit", "begin"])
@pytest.mark.parametrize("shape", [(6,), (4, 4)])
@pytest.mark.parametrize("likelihood", ["auto", "bernoulli", "continuous-bernoulli"])
def test_bytes_of_0_and_1_are_not_taken_for_grey_values(fit, shape, likelihood):
    X = np.random.default_rng(0).integers(2, size=(20, *shape)).astype(np.uint8)
    model = isthmus.VAE(
        n_components=2, hidden=(4,), epochs=1, likelihood=likelihood, random_state=0
    )
    with pytest.raises(ValueError, match=r"bytes 0 and 1.*astype\(bool\)"):
        getattr(model, fit)(X)
    reconstructed = getattr(model, fit)(X.astype(bool)).reconstruct(X.astype(bool))
    assert 0.05 < reconstructed.mean() < 0.95
    model.set_params(likelihood="poisson").fit(X)  # bytes are counts
