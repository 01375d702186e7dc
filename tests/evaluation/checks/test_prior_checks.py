"""Holes between the codes, from which the prior draws samples."""

import numpy as np
import pytest
import torch
from measured import findings_of, severities_of

from isthmus import VAE, Autoencoder, BetaVAE, ConditionalVAE, SparseAutoencoder
from isthmus.evaluation.checks.claim import CannotCheckError
from isthmus.evaluation.checks.prior import can_sample, holes, mismatch

RNG = np.random.default_rng(0)
CENTERS = RNG.uniform(-8, 8, (5, 8))
CLUSTERS = CENTERS[RNG.integers(5, size=600)] + RNG.normal(size=(600, 8))
PLAIN = RNG.normal(size=(600, 2)) @ RNG.normal(size=(2, 8)) + 0.3 * RNG.normal(size=(600, 8))


def fitted(model, X, *y, **settings):
    settings = {"hidden": (32,), "epochs": 20, "random_state": 0} | settings
    return model(n_components=2, **settings).fit(X[:400], *y)


@pytest.fixture(scope="module")
def clustered():
    return fitted(Autoencoder, CLUSTERS)


def test_clusters_leave_holes_in_a_normal_distribution_of_codes(clustered):
    found = findings_of(holes, clustered, CLUSTERS[:400], CLUSTERS[400:])
    assert found["holes in the prior"].severity == "note"
    assert (
        "normal distribution of the codes are unlike any row" in found["holes in the prior"].verdict
    )
    assert "LatentSampler" in str(found["holes in the prior"].remedy)


def test_clusters_leave_holes_in_a_standard_prior():
    model = fitted(BetaVAE, CLUSTERS, beta=0.01, learning_rate=0.01)
    found = findings_of(holes, model, CLUSTERS[:400], CLUSTERS[400:])["holes in the prior"]
    assert found.severity == "warning"
    assert found.remedy.settings == {"prior": "mixture", "prior_modes": 20}


@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_normal_codes_have_no_holes(model):
    found = severities_of(holes, fitted(model, PLAIN), PLAIN[:400], PLAIN[400:])
    assert found == {"holes in the prior": "ok"}


@pytest.mark.parametrize(
    ("prior", "measured"), [("standard", "gain of a mixture"), ("mixture", "area under the ROC")]
)
def test_codes_that_have_left_the_prior_are_noted(prior, measured):
    model = fitted(VAE, PLAIN, prior=prior, hidden=(), epochs=40)
    found = findings_of(mismatch, model, PLAIN[:400], PLAIN[400:])["prior mismatch"]
    assert found.evidence.quantity.startswith(measured)
    assert found.severity == "ok"
    with torch.no_grad():
        model.model_.encoder.layers[-1].bias[:2] += 8
    found = findings_of(mismatch, model, PLAIN[:400], PLAIN[400:])["prior mismatch"]
    assert found.severity == "note"
    assert ("prior" in found.remedy.settings) == (prior == "standard")
    assert "LatentSampler" in found.remedy.advice


def test_conditional_models_are_sampled_under_the_labels_of_rows():
    y = (PLAIN[:, 0] > 0).astype(int)
    model = fitted(ConditionalVAE, PLAIN, y[:400])
    labels = (y[:400], y[400:], None)
    found = findings_of(holes, model, PLAIN[:400], PLAIN[400:], labels=labels)
    assert found["holes in the prior"].severity == "ok"


def test_sparse_codes_have_no_prior(clustered):
    assert can_sample(clustered)
    assert not can_sample(SparseAutoencoder())


def test_few_rows_are_not_compared(clustered):
    with pytest.raises(CannotCheckError, match="at least 20"):
        findings_of(holes, clustered, CLUSTERS[:400], CLUSTERS[400:410])
