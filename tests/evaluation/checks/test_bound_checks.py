"""Gaps between the bound and log p(x): 0 for an exact posterior, and found if they are made."""

import numpy as np
import pytest
import torch
from exact import linear_model
from measured import findings_of

from isthmus import VAE, BetaVAE
from isthmus.evaluation.baselines import has_normal_posterior
from isthmus.evaluation.checks.bounds import gaps


def test_both_gaps_of_the_exact_posterior_are_zero_within_error():
    model, X = linear_model(6, 1, width=1.0)
    for each in findings_of(gaps, model, X, X[:50]).values():
        assert each.severity == "ok"
        assert abs(each.evidence.value) < 3 * each.evidence.standard_error + 0.02


def test_a_wrong_encoder_is_told_from_a_poor_family():
    model, X = linear_model(6, 1, width=1.0)
    with torch.no_grad():
        model.model_.encoder.layers[0].bias[0] += 2.0
    found = findings_of(gaps, model, X, X[:50])
    assert found["amortisation"].severity == "warning"
    assert found["family of the posterior"].severity == "ok"
    assert found["amortisation"].evidence.rows == 32


def test_correlated_codes_have_a_gap_of_the_family():
    model, X = linear_model(6, 2, width=1.0)
    with torch.no_grad():
        layer = model.model_.decoder.layers[0]
        layer.weight[:, 1] = layer.weight[:, 0] * 0.98 + 0.02 * layer.weight[:, 1]
        layer.weight *= 3
    found = findings_of(gaps, model, X, X[:50])["family of the posterior"]
    assert found.evidence.value > 0.5
    precision = np.eye(2) + (layer.weight.T @ layer.weight).detach().double().numpy() / 0.36
    exact = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert found.evidence.value == pytest.approx(exact, abs=0.1)


def test_the_check_is_for_diagonal_normal_posteriors():
    assert has_normal_posterior(BetaVAE())
    assert not has_normal_posterior(VAE(posterior_family="full-normal"))
