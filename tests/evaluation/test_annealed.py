import numpy as np
import pytest
from exact import linear_model, of_linear

from isthmus.evaluation import annealed_importance, importance_weighted


@pytest.fixture(scope="module")
def linear():
    return linear_model(5, 2)


@pytest.mark.parametrize(
    ("start", "schedule", "n_steps", "most"),
    [
        ("prior", "sigmoid", 80, 0.15),
        ("prior", "linear", 80, 0.15),
        ("posterior", "linear", 80, 0.03),
    ],
)
def test_annealing_is_exact_within_its_error(linear, start, schedule, n_steps, most):
    model, data = linear
    found = annealed_importance(
        model, data[:60], n_chains=16, n_steps=n_steps, start=start, schedule=schedule
    )
    off = found.log_likelihood - of_linear(model, data[:60])
    assert abs(off.mean()) < most
    assert np.sqrt(np.mean((off / found.standard_error) ** 2)) < 1.8
    assert 0.4 < found.acceptance_rate.mean() < 0.98
    assert np.median(found.effective_sample_size) > 8


def test_estimate_does_not_depend_on_the_encoder(linear):
    model, data = linear_model(5, 2, width=0.02)  # far too narrow
    truth = of_linear(model, data[:40])
    weighted = importance_weighted(model, data[:40], 400).log_likelihood - truth
    annealed = annealed_importance(model, data[:40], n_steps=100).log_likelihood - truth
    assert weighted.mean() < -0.5
    assert abs(annealed.mean()) < 0.15


def test_more_steps_reduce_the_error():
    model, data = linear_model(20, 4)
    truth = of_linear(model, data[:30])
    off = [
        abs(np.mean(annealed_importance(model, data[:30], n_steps=n).log_likelihood - truth))
        for n in (5, 100)
    ]
    assert off[0] > 5 * off[1]


def test_memory_is_bounded_however_many_chains(linear):
    model, data = linear
    seen = []
    hook = model.model_.decoder.register_forward_hook(lambda m, a, out: seen.append(len(a[0])))
    found = annealed_importance(
        model, data[:2], n_chains=1000, n_steps=20, leapfrogs=3, max_bytes=200_000
    )
    hook.remove()
    assert max(seen) * 5 * 4 <= 200_000  # five numbers of four bytes, at the least
    assert sum(seen) >= 2000 * 20 * 3
    np.testing.assert_allclose(found.log_likelihood, of_linear(model, data[:2]), atol=0.3)
    assert (found.acceptance_rate <= 1).all()


def test_random_state_makes_the_estimate_repeatable(linear):
    model, data = linear

    def drawn(seed):
        return annealed_importance(model, data[:5], n_steps=5, random_state=seed).log_likelihood

    np.testing.assert_array_equal(drawn(4), drawn(4))
    assert (drawn(4) != drawn(5)).all()
    assert (drawn(None) != drawn(None)).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_chains": 0}, "n_chains must be at least 1"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"leapfrogs": -1}, "leapfrogs must be at least 1"),
        ({"start": "decoder"}, "start must be 'prior' or 'posterior', got 'decoder'"),
        ({"schedule": "cosine"}, "schedule must be 'sigmoid' or 'linear', got 'cosine'"),
        ({"random_state": -1}, "random_state must be an integer of at least 0"),
    ],
)
def test_invalid_arguments_raise(linear, wrong, message):
    with pytest.raises(ValueError, match=message):
        annealed_importance(*linear, **wrong)
