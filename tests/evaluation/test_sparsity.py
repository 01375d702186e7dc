"""Sparsity: counts by hand, and fidelity against closed forms."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from isthmus.evaluation import sparsity as s

CODES = np.array([[0.0, 2.0, 0.0, 0.05], [1.0, -3.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]])


def test_counts_of_a_small_table():
    assert s.l0(CODES) == pytest.approx(5 / 3)
    np.testing.assert_allclose(s.feature_density(CODES), [1 / 3, 1, 0, 1 / 3])
    assert s.live_share(CODES) == 0.75


def test_threshold_is_on_the_magnitude_and_strict():
    assert s.l0(CODES, threshold=0.05) == pytest.approx(4 / 3)
    assert s.live_share(CODES, threshold=0.05) == 0.5
    assert s.l0(CODES, threshold=3.0) == 0


def test_l0_is_the_sum_of_densities():
    codes = np.maximum(np.random.default_rng(0).normal(size=(50, 7)), 0)
    assert s.l0(codes) == pytest.approx(s.feature_density(codes).sum())


def test_explained_variance_is_that_of_pca():
    X = np.random.default_rng(0).normal(size=(200, 6)) * np.arange(1, 7) + 5
    pca = PCA(2).fit(X)
    reconstruction = pca.inverse_transform(pca.transform(X))
    expected = pca.explained_variance_ratio_.sum()
    assert s.explained_variance(X, reconstruction) == pytest.approx(expected)


def test_explained_variance_at_the_edges():
    X = np.random.default_rng(0).normal(size=(20, 2, 3)) + 4
    assert s.explained_variance(X, X) == 1
    mean = np.broadcast_to(X.mean(axis=0), X.shape)
    assert s.explained_variance(X, mean) == pytest.approx(0)
    # A constant bias counts as an error, unlike in sklearn's explained_variance_score.
    assert s.explained_variance(X, X + 1) < 0.2
    assert s.explained_variance(X, np.zeros_like(X)) < 0
    assert s.explained_variance(np.ones((3, 2)), np.ones((3, 2))) == 1
    assert s.explained_variance(np.ones((3, 2)), np.zeros((3, 2))) == 0


def test_explained_variance_weighs_features_by_their_variance():
    # Of 16 + 2·1 about the mean, all of the small feature is lost and none of the large one.
    X = np.array([[0.0, 0.0], [4.0, 2.0]])
    assert s.explained_variance(X, [[0.0, 1.0], [4.0, 1.0]]) == pytest.approx(1 - 2 / 10)


def test_cosine():
    rng = np.random.default_rng(0)
    X, R = rng.normal(size=(30, 2, 4)), rng.normal(size=(30, 2, 4))
    expected = np.diag(cosine_similarity(X.reshape(30, -1), R.reshape(30, -1))).mean()
    assert s.reconstruction_cosine(X, R) == pytest.approx(expected)
    assert s.reconstruction_cosine(X, 3 * X) == pytest.approx(1)
    assert s.reconstruction_cosine(X, -X) == pytest.approx(-1)
    assert s.reconstruction_cosine([[1.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]) == 0.5


def test_active_units():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(5000, 4)) * [1.0, 0.12, 0.08, 0.0] + [0, 0, 9, 9]
    assert s.active_units(means) == 2  # variances 1, 0.0144, 0.0064, 0
    assert s.active_units(means, threshold=0.001) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: s.l0(np.ones(3)), "n_components"),
        (lambda: s.l0(np.full((2, 2), np.nan)), "NaN"),
        (lambda: s.l0(CODES, threshold=-1), "at least 0, got -1"),
        (lambda: s.explained_variance(CODES, CODES[:2]), "the same shape"),
        (lambda: s.explained_variance(CODES[:1], CODES[:1]), "at least 2 rows"),
    ],
)
def test_invalid_arguments_raise(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
