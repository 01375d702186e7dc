"""Linear autoencoders start at, and stay with, the principal components of the data."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA

from isthmus import Autoencoder, ContractiveAutoencoder, DenoisingAutoencoder, SparseAutoencoder
from isthmus.training.linear_start import can_start_linear

SETTINGS = {"hidden": (), "n_components": 3, "validation_fraction": 0, "random_state": 0}


def made(n=300, n_features=8):
    """Rows whose covariance has clear gaps between its eigenvalues."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
    return rng.normal(size=(n, n_features)) * 2.0 ** -np.arange(n_features) @ axes.T + 5


def angle(model, X):
    """Largest angle in degrees to the components of the data as the model sees them."""
    scaled = model.scaler_.transform(X).reshape(len(X), -1)
    columns = model.model_.decoder.layers[0].weight.detach().double().numpy()
    expected = PCA(columns.shape[1]).fit(scaled).components_.T
    return np.degrees(subspace_angles(columns, expected)).max()


@pytest.mark.parametrize("scaling", ["standard", "global", "none"])
def test_the_start_is_principal_component_analysis(scaling):
    X = made()
    model = Autoencoder(**SETTINGS, scaling=scaling)
    model.prepare(X)
    assert angle(model, X) < 0.1
    scaled = model.scaler_.transform(X)
    pca = PCA(3).fit(scaled)
    expected = model.scaler_.inverse_transform(pca.inverse_transform(pca.transform(scaled)))
    np.testing.assert_allclose(model.reconstruct(X), expected, atol=1e-3)


@pytest.mark.parametrize("likelihood", ["auto", "gaussian", "gaussian-fixed"])
def test_training_stays_with_the_components(likelihood):
    X = load_wine().data
    model = Autoencoder(**SETTINGS, likelihood=likelihood, epochs=60).fit(X)
    scaled = model.scaler_.transform(X)
    pca = PCA(3).fit(scaled)
    best = np.square(pca.inverse_transform(pca.transform(scaled)) - scaled).sum(1).mean()
    rebuilt = model.scaler_.transform(model.reconstruct(X))
    assert np.square(rebuilt - scaled).sum(1).mean() < 1.02 * best


def test_images_and_arrays_on_disk_start_there_too(tmp_path):
    X = made().reshape(300, 2, 4)
    np.save(tmp_path / "x.npy", X)
    for rows in (X, np.load(tmp_path / "x.npy", mmap_mode="r")):
        model = Autoencoder(**SETTINGS)
        model.prepare(rows)
        assert angle(model, X) < 0.1


def test_more_units_than_features_or_rows_reconstruct_exactly():
    X = made(n_features=4)
    for rows, n in ((X, 6), (made(n=5), 6)):
        model = Autoencoder(**{**SETTINGS, "n_components": n})
        model.prepare(rows)
        np.testing.assert_allclose(model.reconstruct(rows), rows, atol=1e-3)


def test_missing_values_count_as_the_mean():
    X = made()
    X[::7, 2] = np.nan
    model = Autoencoder(**SETTINGS, missing="ignore")
    model.prepare(X)
    assert np.isfinite(model.reconstruct(X)).all()


@pytest.mark.parametrize("kind", [ContractiveAutoencoder, DenoisingAutoencoder])
def test_other_models_with_a_plain_code_start_there(kind):
    model = kind(**SETTINGS)
    model.prepare(made())
    assert angle(model, made()) < 0.1


@pytest.mark.parametrize(
    "model",
    [
        Autoencoder(**{**SETTINGS, "hidden": (9,)}),
        Autoencoder(**SETTINGS, activation="tanh"),
        Autoencoder(**SETTINGS, likelihood="laplace"),
        SparseAutoencoder(**SETTINGS, activation="identity"),
    ],
    ids=["hidden", "tanh", "laplace", "sparse"],
)
def test_other_networks_codes_and_likelihoods_do_not(model):
    model.prepare(made())
    assert not can_start_linear(model.model_)
