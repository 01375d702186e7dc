"""The rule of likelihood="auto", and values a rounding error outside the support."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.ndimage import gaussian_filter
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.preprocessing import MinMaxScaler

import isthmus
from isthmus.applications import AnomalyDetector
from isthmus.data.disk_array import DiskArray
from isthmus.distributions.mixed import make_likelihood
from isthmus.estimators.defaults import MOST_GREY, greyness, resolve_likelihood

TINY = {"n_components": 2, "hidden": (8,), "epochs": 1, "random_state": 0, "progress": "none"}
UNIT = np.random.default_rng(0).uniform(size=(40, 4))
UNIT[0], UNIT[1] = 0.0, 1.0
BITS = (UNIT > 0.5).astype(float)
IMAGES = load_digits().images[:60] / 16
ABOVE = np.nextafter(1.0, 2.0)


def one_bit_more(X):
    return np.where(X == 1.0, ABOVE, X)


def test_tables_have_one_scale_without_a_prior():
    for name, expected in (("Autoencoder", "gaussian"), ("VAE", "gaussian-per-feature")):
        model = getattr(isthmus, name)(epochs=1).fit(UNIT + 1)
        assert model.likelihood_ == expected


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_cross_validation_of_min_max_scaled_data_has_finite_consistent_scores(load):
    X = MinMaxScaler().fit_transform(load().data)
    model = isthmus.VAE(batch_size=512, validation_fraction=0.0, **TINY)
    assert np.isfinite(cross_val_score(model, X)).all()
    search = GridSearchCV(model, {"n_components": [2, 3]}, cv=5).fit(X)
    for k in range(5):
        assert np.isfinite(search.cv_results_[f"split{k}_test_score"]).all()
    assert search.best_estimator_.likelihood_ == "gaussian-per-feature"


def test_detector_of_min_max_scaled_data_works_for_every_seed():
    X = MinMaxScaler().fit_transform(load_breast_cancer().data)
    for seed in range(6):
        detector = AnomalyDetector(
            isthmus.Autoencoder(**TINY), score_method="likelihood", random_state=seed
        )
        assert np.isfinite(detector.fit(X).score_samples(X)).all()
        assert detector.estimator_.likelihood_ == "gaussian"


def blurred_masks(sigma):
    grid = np.arange(24)
    centres = np.random.default_rng(0).uniform(8, 16, (60, 2))
    offsets = np.stack(np.meshgrid(grid, grid), -1) - centres[:, None, None]
    distances = np.linalg.norm(offsets, axis=3)
    return np.stack([gaussian_filter(d, sigma) for d in (distances < 6).astype(float)])


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (UNIT, "gaussian-per-feature"),
        (one_bit_more(UNIT), "gaussian-per-feature"),
        (UNIT[:, :1] * 0.99, "gaussian-per-feature"),
        (UNIT * 1e-9, "gaussian-per-feature"),
        (BITS * 1e-8, "gaussian-per-feature"),
        (BITS, "bernoulli"),
        (one_bit_more(BITS), "bernoulli"),
        (BITS - 1e-17, "bernoulli"),
        (np.abs(BITS - 1e-5), "bernoulli"),
        (np.where(BITS == 1, 0.999, BITS), "bernoulli"),
        (BITS.astype(np.float16).astype(bool), "bernoulli"),
        (np.zeros((5, 2)), "bernoulli"),
        (np.ones((5, 2)), "bernoulli"),
        (np.ones((5, 2)) - [[1e-16, 0]], "bernoulli"),
        (np.full((5, 2), 0.5), "gaussian-per-feature"),
        (np.column_stack([BITS, np.ones(40), np.zeros(40)]), "bernoulli"),
        (BITS + 1, "gaussian-per-feature"),
        (BITS * 255, "gaussian-per-feature"),
        ((BITS * 255).astype(np.uint8), "bernoulli"),
        (IMAGES, "gaussian"),
        (one_bit_more(IMAGES), "gaussian"),
        (IMAGES * 1.01, "gaussian"),
        (IMAGES - 0.01, "gaussian"),
        (IMAGES[:, None], "gaussian"),
        (IMAGES > 0.5, "bernoulli"),
        ((IMAGES.reshape(60, -1) * 255).astype(np.uint8), "gaussian-per-feature"),
        ((IMAGES * 255).astype(np.uint8), "gaussian"),
        (blurred_masks(0), "bernoulli"),
        (blurred_masks(0.7), "bernoulli"),
        (blurred_masks(0.7) - 1e-7, "bernoulli"),
        (blurred_masks(0.7).astype(np.float32) * np.float32(1.0000001), "bernoulli"),
        (blurred_masks(0.7) - 0.01, "gaussian"),
        (blurred_masks(3), "gaussian"),
    ],
)
def test_auto_is_bernoulli_for_nearly_binary_values_and_gaussian_otherwise(X, expected):
    assert resolve_likelihood("auto", X).name == expected


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_diabetes])
def test_no_table_scaled_to_the_unit_interval_is_near_the_limit(load):
    assert greyness(MinMaxScaler().fit_transform(load().data)) > 2 * MOST_GREY


def test_greyness_counts_weights_and_leaves_out_missing_values():
    X = np.array([[0.0, 0.2], [1.0, 0.9], [0.3, 0.1]])
    weights = np.array([2.0, 1.0, 3.0])
    repeated = X[[0, 0, 1, 2, 2, 2]]
    assert greyness(X, weights) == pytest.approx(greyness(repeated))
    gaps = np.concatenate([X, [[np.nan, 0.4], [0.7, np.nan]]])
    columns = [np.append(X[:, 0], 0.7), np.append(X[:, 1], 0.4)]
    terms = [np.mean(c * (1 - c)) for c in columns], [c.mean() * (1 - c.mean()) for c in columns]
    assert greyness(gaps) == pytest.approx(np.sum(terms[0]) / np.sum(terms[1]))


def test_every_way_to_fit_chooses_the_same_likelihood_and_records_why(tmp_path):
    for X in (IMAGES, IMAGES > 0.5, UNIT, BITS):
        expected = resolve_likelihood("auto", X)
        path = tmp_path / "X.npy"
        np.save(path, X)
        stored = DiskArray.of(np.load(path, mmap_mode="r"), block_bytes=256)
        models = [
            isthmus.VAE(**TINY).fit(X),
            isthmus.VAE(**TINY).fit(stored),
            isthmus.VAE(**TINY).partial_fit(X),
            isthmus.VAE(**TINY).begin(X),
            isthmus.VAE(**TINY).fit_loader(np.array_split(X, 3)),
            isthmus.Sweep(isthmus.VAE(**TINY), {"beta_epochs": [2, 3]}).fit(X).best_estimator_,
        ]
        if X.ndim == 2:
            models += [isthmus.VAE(**TINY).fit(sparse.csr_array(X))]
            models += [isthmus.VAE(**TINY).fit(pd.DataFrame(X))]
        for model in models:
            assert model.likelihood_ == expected.name or model.columns_ is not None
        models[0].save(tmp_path / "model")
        again = isthmus.load(tmp_path / "model")
        assert again.likelihood_reason_ == models[0].likelihood_reason_ != ""


def test_a_chosen_likelihood_is_kept():
    model = isthmus.VAE(likelihood="bernoulli", **TINY).fit(IMAGES)
    assert (model.likelihood_, model.likelihood_reason_) == ("bernoulli", "chosen by the user")


def test_binarize_makes_bernoulli_the_automatic_choice_for_values_in_the_unit_interval():
    assert isthmus.VAE(binarize=True, **TINY).fit(IMAGES).likelihood_ == "bernoulli"


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
    masks = one_bit_more((IMAGES > 0.5).astype(float))
    gaps = masks.copy()
    gaps[:, 0, 0] = np.nan
    for X, settings in ((masks, {}), (gaps, {"missing": "ignore"})):
        model = isthmus.VAE(**TINY, **settings).fit(X)
        assert model.likelihood_ == "bernoulli"
        assert np.isfinite(model.score_samples(X)).all()
    streamed = isthmus.VAE(**TINY).fit_loader([masks[:30] * (masks[:30] < 1), masks[30:]])
    assert np.isfinite(streamed.partial_fit(masks).score(masks))


def test_sweep_and_stacked_models_follow_the_rule():
    sweep = isthmus.Sweep(isthmus.VAE(**TINY), {"n_components": [2, 3]}, random_state=0)
    assert sweep.fit(one_bit_more(UNIT)).best_estimator_.likelihood_ == "gaussian-per-feature"


def test_binarize_asks_for_the_bernoulli_likelihood():
    message = "needs likelihood='bernoulli', not 'gaussian-per-feature': set it"
    with pytest.raises(ValueError, match=message):
        isthmus.VAE(binarize=True, **TINY).fit(2 * UNIT)


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
