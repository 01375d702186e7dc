import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits

from isthmus import VAE, Autoencoder, ConditionalVAE
from isthmus.applications.latent_paths import (
    AttributeVectors,
    decode_grid,
    interpolate,
    latent_arithmetic,
    latent_path,
    traverse,
)

X, Y = load_digits().images[:200] / 16, load_digits().target[:200]
RNG = np.random.default_rng(0)
FAST = {"n_components": 3, "hidden": (16,), "epochs": 2, "random_state": 0}


class Identity(BaseEstimator):
    """A model whose codes are the rows."""

    prior = "standard"

    def fit(self, X, y=None):
        self.n_components_ = X.shape[1]
        return self

    def transform(self, X, condition=None):
        return np.asarray(X, dtype=np.float64)

    def decode(self, Z, condition=None):
        return np.asarray(Z, dtype=np.float64)


@pytest.fixture(scope="module")
def vae():
    return VAE(**FAST).fit(X)


@pytest.mark.parametrize("how", ["linear", "spherical"])
@pytest.mark.parametrize("d", [1, 2, 30])
def test_paths_start_and_end_at_the_given_codes(how, d):
    a, b = RNG.normal(size=(2, 5, d))
    steps = latent_path(a, b, 7, how)
    assert steps.shape == (5, 7, d)
    np.testing.assert_allclose(steps[:, 0], a)
    np.testing.assert_allclose(steps[:, -1], b)
    np.testing.assert_allclose(steps[2], latent_path(a[2], b[2], 7, how))
    np.testing.assert_allclose(steps, latent_path(b, a, 7, how)[:, ::-1], atol=1e-12)


def test_spherical_path_has_constant_angular_speed():
    a, b = RNG.normal(size=(2, 12)) * [[1.0], [4.0]]
    steps = latent_path(a, b, 9, "spherical")
    lengths = np.linalg.norm(steps, axis=1)
    np.testing.assert_allclose(np.diff(lengths, 2), 0, atol=1e-12)
    units = steps / lengths[:, None]
    angles = np.arccos((units[1:] * units[:-1]).sum(1))
    np.testing.assert_allclose(angles, angles[0])
    whole = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    np.testing.assert_allclose(angles.sum(), whole)
    plane = np.linalg.matrix_rank(np.vstack([a, b, steps]), tol=1e-9)
    assert plane == 2


@pytest.mark.parametrize("end", [[2.0, 0.0], [-3.0, 0.0], [0.0, 0.0], [1.0, 1e-12], [-1.0, 1e-12]])
def test_spherical_path_between_parallel_codes_is_straight(end):
    np.testing.assert_allclose(
        latent_path([1.0, 0.0], end, 5, "spherical"), latent_path([1.0, 0.0], end, 5), atol=1e-9
    )


def test_interpolation_starts_and_ends_at_reconstructions(vae):
    made = interpolate(vae, X[:3], X[3:6], 5, "spherical")
    assert made.shape == (3, 5, 8, 8)
    np.testing.assert_allclose(made[:, 0], vae.reconstruct(X[:3]), atol=1e-5)
    np.testing.assert_allclose(made[:, -1], vae.reconstruct(X[3:6]), atol=1e-5)


def test_traversal_changes_only_one_latent():
    rows = RNG.normal(size=(4, 3))
    made = traverse(Identity().fit(rows), rows, 1, values=[-1.0, 0.0, 7.0])
    np.testing.assert_allclose(made[:, :, 1], np.tile([-1.0, 0.0, 7.0], (4, 1)))
    np.testing.assert_allclose(made[:, :, [0, 2]], np.tile(rows[:, None, [0, 2]], (1, 3, 1)))
    assert (
        traverse(Identity().fit(rows), rows, 0)[0, :, 0].tolist() == np.linspace(-3, 3, 9).tolist()
    )


def test_attribute_vectors_are_differences_of_means():
    rows, y = RNG.normal(size=(60, 4)), np.repeat(["a", "b", "c"], 20)
    moves = AttributeVectors(Identity()).fit(rows, y)
    for name in "abc":
        expected = rows[y == name].mean(0) - rows[y != name].mean(0)
        np.testing.assert_allclose(moves.vector(name), expected)
        np.testing.assert_allclose(moves.vector(remove=name), -expected)
    between = rows[y == "a"].mean(0) - rows[y == "c"].mean(0)
    np.testing.assert_allclose(moves.vector("a", "c"), between)
    made = moves.apply(rows[:5], "a", "c", amount=[0, 0.5, 1])
    np.testing.assert_allclose(made[:, 1], rows[:5] + 0.5 * between, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        moves.apply(rows[40:], "a", "c").mean(0), rows[y == "a"].mean(0), atol=1e-5
    )


def test_attributes_may_be_columns_with_names():
    rows = RNG.normal(size=(50, 4))
    has = pd.DataFrame({"smile": RNG.integers(0, 2, 50), "hat": RNG.integers(0, 2, 50)})
    moves = AttributeVectors(Identity()).fit(rows, has)
    assert moves.names_ == ["smile", "hat"]
    worn = has["hat"].to_numpy() == 1
    np.testing.assert_allclose(moves.vector("hat"), rows[worn].mean(0) - rows[~worn].mean(0))


def test_apply_shifts_codes_along_an_attribute(vae):
    moves = AttributeVectors.from_fitted(vae).fit(X, Y)
    assert moves.estimator_.model_ is vae.model_
    np.testing.assert_allclose(
        moves.apply(X[:2], add=3, amount=0.0), vae.reconstruct(X[:2]), atol=1e-5
    )


def test_latent_arithmetic():
    a, b, c = RNG.normal(size=(3, 4))
    np.testing.assert_allclose(
        latent_arithmetic(Identity(), plus=[b, c], minus=[a]), b + c - a, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(latent_arithmetic(Identity(), plus=[b]), b, rtol=1e-5)


def test_decode_grid(vae):
    grid = decode_grid(vae, 5, (2, 0))
    corner = np.array([[-1.959964, 0.0, 1.959964]])  # z3 first: 2.5 %, z1: 97.5 %
    np.testing.assert_allclose(grid[0, 4], vae.inverse_transform(corner[:, ::-1])[0], atol=1e-5)
    np.testing.assert_allclose(grid[2, 2], vae.inverse_transform(np.zeros((1, 3)))[0], atol=1e-5)
    codes = vae.transform(X)
    low, high = np.quantile(codes, [0.01, 0.99], axis=0)
    z = np.median(codes, axis=0)
    z[0], z[1] = low[0], high[1]
    by_codes = decode_grid(vae, 4, codes=codes)
    np.testing.assert_allclose(by_codes[0, -1], vae.inverse_transform(z[None])[0], atol=1e-5)


def test_condition_is_passed_to_the_model():
    model = ConditionalVAE(**FAST).fit(X, Y)
    assert not np.allclose(
        interpolate(model, X[:1], X[1:2], condition=0), interpolate(model, X[:1], X[1:2])
    )
    assert traverse(model, X[:1], 0, condition=3).shape == (1, 9, 8, 8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m: latent_path([0.0], [0.0, 1.0]), "the same shape"),
        (lambda m: latent_path([0.0], [1.0], how="bent"), "how must be"),
        (lambda m: latent_path([0.0], [1.0], 1), "at least 2"),
        (lambda m: traverse(m, X, 3), "from 0 to 2"),
        (lambda m: decode_grid(m, 3, (0, 0)), "latents must be two"),
        (
            lambda m: traverse(Autoencoder(**FAST).fit(X), X, 0),
            "no standard .* pass values",
        ),
        (lambda m: decode_grid(Autoencoder(**FAST).fit(X)), "pass codes"),
        (lambda m: AttributeVectors(m).fit(X, np.zeros(200)), "with and without"),
        (lambda m: AttributeVectors(m).fit(X, np.full((200, 2), 3)), "column of 0 and 1"),
        (lambda m: AttributeVectors.from_fitted(m).fit(X, Y).vector(77), "unknown attribute 77"),
        (lambda m: AttributeVectors.from_fitted(m).fit(X, Y).vector(), "pass an attribute"),
    ],
)
def test_invalid_arguments_raise(vae, make, words):
    with pytest.raises(ValueError, match=words):
        make(vae)
