import sys
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from isthmus import VAE, Autoencoder
from isthmus.applications.maps import (
    LatentMap,
    compare_latent_maps,
    fit_loss_ablation,
    latent_distributions,
)

X, Y = load_digits().images[:300] / 16, load_digits().target[:300]
FAST = {"hidden": (16,), "epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def vae():
    return VAE(n_components=4, **FAST).fit(X)


@pytest.fixture(scope="module")
def flat():
    return VAE(n_components=2, **FAST).fit(X)


def drawn(figure):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    return figure


def test_two_component_codes_are_the_map(flat):
    latent = LatentMap.from_fitted(flat).fit(X)
    assert latent.method_ == "codes"
    np.testing.assert_array_equal(latent.transform(X), flat.transform(X))


def test_more_components_are_projected_by_pca(vae):
    latent = LatentMap.from_fitted(vae).fit(X[:200])
    pca = PCA(2, random_state=0).fit(vae.transform(X[:200]))
    np.testing.assert_allclose(latent.transform(X), pca.transform(vae.transform(X)), atol=1e-5)
    figure = drawn(latent.figure(X, Y))
    assert figure.axes[0].get_xlabel().startswith("principal component 1 (")


def test_one_latent_is_a_histogram():
    latent = LatentMap(VAE(n_components=1, **FAST)).fit(X)
    assert latent.transform(X).shape == (300, 1)
    drawn(latent.figure(X, Y))


def test_ellipses_are_the_projected_standard_deviations(vae):
    latent = LatentMap.from_fitted(vae).fit(X)
    figure = drawn(latent.posterior_figure(X[:1]))
    (ellipse,) = (c for c in figure.axes[0].collections if isinstance(c, EllipseCollection))
    q = vae.posterior(X[:1])
    W = PCA(2, random_state=0).fit(vae.transform(X)).components_
    covariance = W @ np.diag(q.std[0] ** 2) @ W.T
    angle = np.radians(ellipse.get_angles()[0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    halves = np.array([ellipse.get_widths()[0], ellipse.get_heights()[0]]) / 2
    np.testing.assert_allclose(turn @ np.diag(halves**2) @ turn.T, covariance, rtol=1e-3)


def test_ellipses_lie_within_the_axes(flat):
    figure = drawn(LatentMap.from_fitted(flat).fit(X).posterior_figure(X, Y))
    q = flat.posterior(X)
    low, high = figure.axes[0].get_xlim()
    assert low <= (q.mean - q.std)[:, 0].min()
    assert high >= (q.mean + q.std)[:, 0].max()


def test_distributions_latent_by_latent(vae):
    figure = drawn(latent_distributions(vae, X[:3], ["a", "b", "c"]))
    assert len(figure.axes) == 3
    q = vae.posterior(X[:3])
    order = np.argsort(-q.mean.var(0), kind="stable")
    marks = figure.axes[1].containers[0][0].get_ydata()
    np.testing.assert_allclose(marks, q.mean[1, order])


def test_compare_latent_maps_of_a_loss_ablation():
    settings = {"n_components": 2, "hidden": (32,), "epochs": 20, "random_state": 0}
    models = fit_loss_ablation(X, **settings)
    assert list(models) == ["reconstruction only", "KL only", "both"]
    q = models["KL only"].posterior(X)
    assert np.abs(q.mean).max() < 0.2  # the posterior is the prior
    np.testing.assert_allclose(q.std, 1, atol=0.2)
    assert models["reconstruction only"].model_.prior is None
    figure = drawn(compare_latent_maps(models, X, Y))
    assert [a.get_title(loc="left") for a in figure.axes] == list(models)
    assert [a.get_legend() is not None for a in figure.axes] == [False, False, True]
    assert not figure.axes[1].texts  # names would lie on each other
    assert len(figure.axes[0].texts) == 10


def test_compare_latent_maps_projects_many_components(vae, flat):
    figure = drawn(compare_latent_maps({"four": vae, "two": flat}, X))
    assert "component 1" in figure.axes[0].get_xlabel()


def test_invalid_plots_raise(vae):
    plain = Autoencoder(n_components=2, **FAST).fit(X)
    with pytest.raises(ValueError, match=r"of Autoencoder are points.*use a VAE"):
        LatentMap.from_fitted(plain).fit(X).posterior_figure(X)
    with pytest.raises(ValueError, match="use a VAE"):
        latent_distributions(plain, X[:2])
    with pytest.raises(ValueError, match="at most 12"):
        latent_distributions(vae, X)
    with pytest.raises(ValueError, match="use 'pca'"):
        LatentMap.from_fitted(vae, method="codes").fit(X)
    with pytest.raises(ValueError, match="method must be"):
        LatentMap(VAE(), method="tsne").fit(X)
    with pytest.raises(ValueError, match="one to four"):
        compare_latent_maps({}, X)


def test_missing_umap_names_the_extra(vae, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"isthmus\[maps\]"):
        LatentMap(vae, method="umap").fit(X)


@pytest.mark.slow
def test_umap_lays_codes_out(vae):
    pytest.importorskip("umap")
    latent = LatentMap.from_fitted(vae, method="umap").fit(X)
    assert latent.transform(X[:5]).shape == (5, 2)
    drawn(latent.figure(X, Y))
    with pytest.raises(ValueError, match="linear map"):
        latent.posterior_figure(X)
