"""Sample quality: closed forms, and sets whose overlap is known."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from isthmus.evaluation import samples as s


def clusters(rng, n, centres):
    return rng.normal(size=(n, 2)) + 20 * np.array(centres)[rng.integers(len(centres), size=n)]


def test_frechet_of_commuting_covariances():
    # With diagonal covariances it is Σ (μ - ν)² + (σ - τ)².
    mu, nu = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0])
    sigma, tau = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 1.0])
    expected = np.sum((mu - nu) ** 2 + (sigma - tau) ** 2)
    found = s.frechet_distance_from_moments(mu, np.diag(sigma**2), nu, np.diag(tau**2))
    assert found == pytest.approx(expected)


def test_frechet_distance_matches_the_matrix_root():
    rng = np.random.default_rng(0)
    a, b = (np.cov(rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5)), rowvar=0) for _ in "ab")
    expected = np.trace(a) + np.trace(b) - 2 * np.trace(sqrtm(a @ b)).real
    zero = np.zeros(5)
    found = s.frechet_distance_from_moments(zero, a, zero, b)
    assert found == pytest.approx(expected, rel=1e-9)
    assert s.frechet_distance_from_moments(zero, b, zero, a) == pytest.approx(found)


def test_frechet_with_fewer_rows_than_features():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(20, 50))
    assert s.frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert s.frechet_distance(real, real + 2) == pytest.approx(4 * 50)


def test_frechet_of_shifted_normal_samples():
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(20_000, 3)), 2 * rng.normal(size=(20_000, 3)) + [3, 0, 0]
    assert s.frechet_distance(real, generated) == pytest.approx(9 + 3 * (2 - 1) ** 2, rel=0.03)
    assert s.frechet_distance(real[:, :1], generated[:, :1]) == pytest.approx(10, rel=0.03)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dimensions", [1, 3, 64])
def test_identical_sets(offset, dimensions):
    real = np.random.default_rng(0).normal(size=(300, dimensions)) + offset
    table = s.sample_quality(real, real.copy())
    assert table.pop("Fréchet distance") == pytest.approx(0, abs=1e-6)
    assert table == {"precision": 1, "recall": 1, "density": pytest.approx(1), "coverage": 1}


def test_repeated_rows():
    real = np.repeat(np.random.default_rng(0).normal(size=(10, 30)), 10, axis=0)  # radii of zero
    assert s.precision_recall(real, real) == (1, 1)
    assert s.density_coverage(real, real)[1] == 1


def test_disjoint_sets():
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(200, 4)), rng.normal(size=(150, 4)) + 100
    assert s.precision_recall(real, generated) == (0, 0)
    assert s.density_coverage(real, generated) == (0, 0)


def test_same_distribution():
    rng = np.random.default_rng(0)
    table = s.sample_quality(rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2)), k=5)
    assert table["density"] == pytest.approx(1, abs=0.05)
    # Expected coverage of sets of n from one distribution (Naeem et al., lemma 2): 1 - 2^-k.
    assert table["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)
    assert min(table["precision"], table["recall"]) > 0.95


def test_a_dropped_mode_costs_recall_and_coverage():
    rng = np.random.default_rng(0)
    real = clusters(rng, 1000, [(0, 0), (1, 0), (0, 1), (1, 1)])
    full = s.sample_quality(real, clusters(rng, 1000, [(0, 0), (1, 0), (0, 1), (1, 1)]))
    half = s.sample_quality(real, clusters(rng, 1000, [(0, 0), (1, 0)]))
    assert half["precision"] > 0.95
    for name in ("recall", "coverage"):
        assert full[name] > 0.9
        assert half[name] == pytest.approx(0.5, abs=0.05)
    # The opposite fault, samples of no real kind, costs precision and density.
    wild = s.sample_quality(real, clusters(rng, 1000, [(0, 0), (1, 0), (0, 1), (5, 5)]))
    assert wild["precision"] == pytest.approx(0.75, abs=0.05)
    assert wild["density"] < full["density"]


def test_scores_of_points_on_a_line():
    real = np.array([[0.0], [1.0], [3.0], [7.0]])  # radii to the next: 1, 1, 2, 4
    generated = np.array([[0.5], [2.5], [8.0], [20.0]])  # radii 2, 2, 5.5, 12
    precision, recall = s.precision_recall(real, generated, k=1)
    assert precision == 3 / 4  # 0.5 in two balls, 2.5 in one, 8 in one, 20 in none
    assert recall == 1
    density, coverage = s.density_coverage(real, generated, k=1)
    assert density == 4 / 4
    assert coverage == 1
    # With the second neighbour the radii are 3, 2, 3, 6: in 3, 4, 1 and 0 balls.
    assert s.density_coverage(real, generated, k=2) == ((3 + 4 + 1 + 0) / (2 * 4), 1)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (np.ones((9, 4)), np.ones((9, 3)), "flatten"),
        (np.ones((9, 4, 4)), np.ones((9, 4, 4)), "flatten"),
        (np.ones((5, 2)), np.ones((9, 2)), "at least 6 rows.*5 and 9"),
        (np.full((9, 2), np.inf), np.ones((9, 2)), "infinity"),
    ],
)
def test_invalid_arguments_raise(real, generated, message):
    with pytest.raises(ValueError, match=message) as caught:
        s.sample_quality(real, generated)
    assert "\n" not in str(caught.value)


def test_invalid_moments_and_neighbours_raise():
    with pytest.raises(ValueError, match="means"):
        s.frechet_distance_from_moments([0.0], [[1.0]], [0.0, 1.0], [[1.0]])
    with pytest.raises(ValueError, match="k of 1 or more"):
        s.precision_recall(np.ones((9, 2)), np.ones((9, 2)), k=0)
