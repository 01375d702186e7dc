"""The summary of a run next to simple models."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA

from isthmus import VAE, Autoencoder, ConditionalVAE
from isthmus.estimators.base import Posterior
from isthmus.evaluation import components_in_use, evaluate_model, held_out_summary
from isthmus.evaluation.baselines import normal_log_density, pca_error
from isthmus.evaluation.components_in_use import component_kl

RNG = np.random.default_rng(0)
FAST = {"hidden": (8,), "epochs": 2, "random_state": 0}
TABLE = RNG.normal(size=(200, 2)) @ RNG.normal(size=(2, 5)) + 0.3 * RNG.normal(size=(200, 5))
WINE = RNG.permutation(load_wine().data)
NORMAL = "log-likelihood of a normal distribution (nats)"
BOUND = "log-likelihood, 100 importance samples (nats)"
MIXTURE = "KL to a mixture of normals (nats)"


def summary_of(model, X=TABLE, **fit):
    return held_out_summary(model.fit(X[60:], **fit), X[60:], X[:60])


@pytest.mark.parametrize("standard", [True, False])
def test_a_component_with_the_posterior_of_the_prior_has_no_kl(standard):
    mean = RNG.normal(size=(500, 1)) * [[0.0, 0.1, 1.0]]
    q = Posterior(mean, np.full((500, 3), [1.0, (1 - 0.01) ** 0.5, 0.1]))
    kl = component_kl(q, standard=standard)
    assert kl[0] == pytest.approx(0)
    assert 0.01 / 2.2 < kl[1] < 0.01  # ½ log(1 + .01), although the variance of the mean is .01
    assert kl[2] == pytest.approx(np.log(10), rel=0.05)


def test_only_the_standard_prior_gives_codes_a_place():
    q = Posterior(np.full((9, 1), 3.0), np.full((9, 1), 0.2))  # the same for all rows
    assert component_kl(q, standard=True) > 1
    assert component_kl(q, standard=False) == pytest.approx(0)


def test_a_code_longer_than_the_row_has_components_that_are_not_in_use():
    model = VAE(n_components=20, random_state=0, epochs=200).fit(WINE[35:])
    q = model.posterior(WINE[:35])
    assert 4 <= components_in_use(model, WINE[:35]) <= 15
    assert np.sum(q.mean.var(0) > 0.01) >= 12  # by variance
    kl = model.rate_distortion(WINE[:35]).rate.mean()
    assert component_kl(q, standard=True).sum() == pytest.approx(kl, rel=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        VAE(n_components=3, posterior_family="full-normal", **FAST),
        VAE(n_components=3, prior="mixture", prior_modes=3, **FAST),
        VAE(n_components=3, prior="vamp", prior_modes=3, **FAST),
        Autoencoder(n_components=3, **FAST),
    ],
)
def test_summary_and_metrics_agree_on_components_in_use(model):
    summary = summary_of(model)
    count = summary["components in use, of 3"]
    assert count == components_in_use(model, TABLE[:60])
    if model.prior is not None:
        assert evaluate_model(model, TABLE[:60], n_samples=1)["components in use"] == count


def test_a_code_as_long_as_a_row_is_compared_with_the_components_in_use():
    summary = summary_of(VAE(n_components=7, **FAST))
    used = summary["components in use, of 7"]
    assert summary["squared error of PCA, code as long as a row, scaled columns"] == 0
    error = summary["squared error of PCA, components in use, scaled columns"]
    scaled = (TABLE - TABLE[60:].mean(0)) / TABLE[60:].std(0)
    left = scaled[:60]
    if used:
        pca = PCA(used).fit(scaled[60:])
        left = left - pca.inverse_transform(pca.transform(left))
    assert error == pytest.approx(np.sum(left**2) / 60)


def test_pca_of_no_components_is_the_mean():
    assert pca_error(0, TABLE, TABLE) == pytest.approx(TABLE.var(0).sum())


def test_a_table_is_compared_with_a_normal_distribution_in_its_own_units():
    units = np.array([1e-6, 1.0, 1e3, 1.0, 1e9])
    one, other = (summary_of(VAE(n_components=2, **FAST), X) for X in (TABLE, TABLE * units))
    normal = multivariate_normal(TABLE[60:].mean(0), np.cov(TABLE[60:].T, bias=True))
    assert one[NORMAL] == pytest.approx(normal.logpdf(TABLE[:60]).mean(), abs=0.1)
    assert other[NORMAL] == pytest.approx(one[NORMAL] - np.log(units).sum())
    assert one[BOUND] - one[NORMAL] == pytest.approx(other[BOUND] - other[NORMAL], abs=1e-3)


@pytest.mark.parametrize(
    "X",
    [
        np.c_[TABLE, TABLE[:, 0]],  # determined by another
        np.c_[TABLE, np.ones(200)],
        np.where(np.eye(200, 5) > 0, np.nan, TABLE),
        RNG.normal(size=(50, 11)),  # few rows
        RNG.normal(size=(50, 2, 2)),
    ],
)
def test_no_normal_distribution_without_a_bounded_density(X):
    assert normal_log_density(X, X) is None


@pytest.mark.parametrize(
    ("model", "X"),
    [
        (Autoencoder(n_components=2, **FAST), TABLE),
        (VAE(n_components=2, **FAST), (TABLE > 0) * 1.0),
        (VAE(n_components=2, likelihood="poisson", **FAST), np.floor(np.abs(TABLE) * 5)),
    ],
)
def test_probabilities_and_codes_are_not_compared_with_densities(model, X):
    assert NORMAL not in summary_of(model, X)


def test_the_summary_of_missing_values_and_conditions():
    holes = np.where(RNG.random(TABLE.shape) < 0.1, np.nan, TABLE)
    assert MIXTURE in summary_of(VAE(n_components=2, missing="ignore", **FAST), holes)
    y = np.arange(200) % 2
    model = ConditionalVAE(n_components=2, **FAST).fit(TABLE[60:], y[60:])
    summary = held_out_summary(model, TABLE[60:], TABLE[:60], list(y[:60]))
    assert MIXTURE not in summary  # the codes of one condition are not those of all
    assert NORMAL in summary
