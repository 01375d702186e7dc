"""Disentanglement: closed forms by hand, and codes whose scores are known."""

import time

import numpy as np
import pytest
from scipy.linalg import hadamard

from isthmus.evaluation import disentanglement as d

SIZES = (3, 4, 5, 6, 8)
N = 3000
SCORES = {
    "FactorVAE": d.factor_vae_score,
    "MIG": d.mutual_information_gap,
    "DCI": lambda z, f, seed: d.dci(z, f, seed).disentanglement,
    "SAP": d.sap,
    "modularity": d.modularity,
}


@pytest.fixture(autouse=True)
def small_estimates(monkeypatch):
    monkeypatch.setattr(d, "TREES", 10)
    monkeypatch.setattr(d, "GROUPS", 300)


@pytest.fixture(scope="module")
def factors():
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(size, size=N) for size in SIZES], axis=1)


@pytest.mark.parametrize("name", SCORES)
def test_identity_scores_high_and_constants_low(factors, name):
    assert SCORES[name](factors, factors, 0) >= 0.95
    some = factors[:1500]
    assert SCORES[name](7.0 - 2.5 * some[:, ::-1], some, 0) >= 0.9
    for value in (0.0, 0.1, -7e5):
        assert SCORES[name](np.full((500, 5), value), some[:500], 0) == 0


@pytest.mark.parametrize("name", SCORES)
def test_codes_that_mix_all_factors_score_low(factors, name):
    # Equal weights: FactorVAE and modularity forgive a rotation in which one stands out.
    four = factors[:, :4]
    mixed = four / four.std(axis=0) @ hadamard(4)
    assert SCORES[name](mixed, four, 0) < 0.5


@pytest.mark.parametrize("name", SCORES)
def test_order_sign_and_unit_of_codes_do_not_matter(factors, name):
    factors = factors[:1000]
    noisy = factors + 0.3 * np.random.default_rng(2).normal(size=factors.shape)
    changed = noisy[:, ::-1] * np.array([-1.0, 20.0, 3.0, -0.5, 1.0])
    assert SCORES[name](changed, factors, 0) == pytest.approx(
        SCORES[name](noisy, factors, 0), abs=0.02
    )


def test_duplicated_codes(factors):
    twice = np.hstack([factors, factors])
    assert d.mutual_information_gap(twice, factors) == pytest.approx(0, abs=1e-12)
    assert d.sap(twice, factors, 0) == 0
    score = d.dci(twice, factors, 0)
    assert score.disentanglement >= 0.95
    # Importance shared evenly by two of ten codes.
    assert score.completeness == pytest.approx(1 - np.log(2) / np.log(10), abs=0.01)
    assert score.informativeness == pytest.approx(1, abs=0.01)


def test_beta_vae_score(factors):
    assert d.beta_vae_score(factors, factors, 0) >= 0.99
    assert d.beta_vae_score(np.ones((N, 4)), factors, 0) == 0
    noise = np.random.default_rng(3).normal(size=(N, 5))
    assert d.beta_vae_score(noise, factors, 0) == pytest.approx(0.2, abs=0.05)
    assert d.factor_vae_score(noise, factors, 0) == pytest.approx(0.2, abs=0.1)
    # By design, a factor that is encoded twice does not lower the score.
    assert d.beta_vae_score(np.hstack([factors, factors]), factors, 0) >= 0.99


def test_collapsed_codes_do_not_change_the_score(factors):
    dead = np.hstack([factors, np.full((N, 2), 0.1), np.zeros((N, 1))])
    assert d.factor_vae_score(dead, factors, 0) == d.factor_vae_score(factors, factors, 0)
    assert d.mutual_information_gap(dead, factors) == d.mutual_information_gap(factors, factors)
    assert d.dci(dead, factors, 0).disentanglement >= 0.95
    assert d.sap(dead, factors, 0) == d.sap(factors, factors, 0)
    # As in disentanglement_lib, a code that informs about nothing is not modular.
    assert d.modularity(dead, factors) == pytest.approx(5 / 8, abs=0.01)


def test_collapsed_codes_have_no_vote(factors):
    # Collapsed, but a function of one factor alone: relative to its variance it would win.
    noise = np.random.default_rng(4).normal(size=(N, 1))
    codes = np.hstack([noise, 0.01 * factors[:, :1]])
    rng = np.random.default_rng(0)
    assert d._scaled_live(codes).shape[1] == 1
    assert d._scaled_live(1e-4 * factors).shape[1] == 5
    assert d.factor_vae_score(1e-4 * factors, factors, rng) == 1
    assert d._scaled_live(np.zeros((4, 2))).shape == (4, 0)


def test_gap_of_two_bits_and_their_sum():
    # Two independent bits; code 0 is bit 0, code 1 their sum: I = ln 2, 0; 1/2 ln 2, 1/2 ln 2.
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    codes = np.stack([bits[:, 0], bits.sum(axis=1)], axis=1)
    found = d._information(codes, bits, 20)
    np.testing.assert_allclose(found, np.log(2) * np.array([[1, 0], [0.5, 0.5]]), atol=1e-12)
    assert d.mutual_information_gap(codes, bits) == pytest.approx(0.5)
    assert d.modularity(codes, bits) == pytest.approx(0.5)  # 1 and 0
    # With one code, the second best counts as 0.
    assert d.mutual_information_gap(bits[:, :1], bits) == pytest.approx(0.5)


def test_mutual_information_of_a_noisy_bit():
    # One bit in ten is flipped: I = ln 2 - H(0.1), and the other code has no information.
    bit = np.tile([0, 1], 500)
    code = np.where(np.arange(1000) % 20 < 2, 1 - bit, bit)
    codes = np.stack([code, np.arange(1000) // 500], axis=1)
    noise = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9))
    assert d.mutual_information_gap(codes, bit[:, None]) == pytest.approx(1 - noise)


def test_bins_are_of_equal_width():
    code = np.concatenate([np.linspace(0, 1, 50), [10.0]])
    assert d._cut(code, 10, 10).tolist() == [0] * 49 + [1] + [9]
    assert d._cut(np.array([3.0, 1.0, 3.0]), 10, 10).tolist() == [1, 0, 1]


def test_sap_of_a_noisy_bit():
    # Code 0 equals a balanced bit on 3 rows of 4, code 1 is a constant: accuracy 3/4, adjusted 1/2.
    y = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 500)
    code = np.tile([0, 0, 0, 1, 0, 1, 1, 1], 500)
    codes = np.stack([code, np.zeros_like(code)], axis=1)
    assert d.sap(codes, y[:, None], 0) == pytest.approx(0.5, abs=0.03)
    assert d.sap(codes[:, :1], y[:, None], 0) == pytest.approx(0.5, abs=0.03)


def test_dci_matches_the_closed_form():
    score = d.dci_from_importance([[3, 1], [0, 4]])
    base2 = 1 + 0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)
    assert score.disentanglement == pytest.approx(0.5 * base2 + 0.5)
    fifth = 1 + 0.2 * np.log2(0.2) + 0.8 * np.log2(0.8)
    assert score.completeness == pytest.approx(3 / 8 * 1 + 5 / 8 * fifth)
    assert np.isnan(score.informativeness)
    assert d.dci_from_importance(np.eye(4)[:, :3])[:2] == (1, 1)  # a dead code has no weight
    assert d.dci_from_importance(np.ones((4, 3)))[:2] == pytest.approx((0, 0))
    assert d.dci_from_importance(np.zeros((4, 3)))[:2] == (0, 0)
    assert d.dci_from_importance([[2, 1]]).completeness == 1


def test_modularity_matches_the_closed_form():
    M = [[2, 1, 0], [0, 3, 0], [0, 0, 0], [1, 1, 1]]
    assert d.modularity_from_information(M) == pytest.approx((1 - 1 / 8 + 1 + 0 + 0) / 4)
    assert d.modularity_from_information(np.eye(3)) == 1


def test_group_rows_share_the_level():
    levels = np.array([2, 0, 1, 0, 2, 2, 3])
    rng = np.random.default_rng(0)
    assert set(d._repeated(levels)) == {0, 1, 3, 4, 5}  # the levels 1 and 3 occur once
    rows = rng.choice(d._repeated(levels), size=(200, 3))
    partners = d._partners(levels, rows, rng)
    np.testing.assert_array_equal(levels[rows], levels[partners])
    assert set(partners[rows == 0]) == {0, 4, 5}


def test_table_is_repeatable_and_fast(factors):
    rng, factors = np.random.default_rng(5), factors[:500]
    codes = np.hstack([factors + rng.normal(size=factors.shape), rng.normal(size=(500, 5))])
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    start = time.perf_counter()
    first = d.disentanglement_table(codes, factors, 0)
    assert time.perf_counter() - start < 20
    assert first == d.disentanglement_table(codes, factors, 0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert list(first)[:3] == ["BetaVAE score", "FactorVAE score", "MIG"]
    assert all(type(score) is float and 0 <= score <= 1 for score in first.values())


def test_group_scores_are_left_out_for_one_factor(factors):
    one = factors[:500, :1]
    names = d.disentanglement_table(one, one, 0)
    assert not [name for name in names if "VAE" in name]
    assert all(score == pytest.approx(1, abs=0.05) for score in names.values())


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.ones((4, 2)), np.ones((3, 2), int), r"same rows.*\(4, 2\) and \(3, 2\)"),
        (np.ones(4), np.ones((4, 2), int), "n_components"),
        (np.full((4, 2), np.nan), np.eye(4, 2, dtype=int), "NaN"),
        (np.ones((4, 2)), np.eye(4, 2), "integer levels"),
        (np.ones((4, 2)), np.eye(4, 1, dtype=int) * [1, 0], "factor 1 has the same level"),
    ],
)
def test_invalid_arguments_raise(codes, factors, message):
    with pytest.raises(ValueError, match=message) as caught:
        d.disentanglement_table(codes, factors)
    assert "\n" not in str(caught.value)


def test_invalid_groups_and_matrices_raise():
    lone = np.stack([np.arange(6), np.arange(6) % 2], axis=1)
    with pytest.raises(ValueError, match="different level in every row"):
        d.factor_vae_score(lone, lone)
    with pytest.raises(ValueError, match="at least 2 factors"):
        d.beta_vae_score(lone, lone[:, :1])
    for bad in ([1.0], [[-1.0]], [[np.nan]], np.zeros((0, 2))):
        with pytest.raises(ValueError, match="non-negative"):
            d.dci_from_importance(bad)
