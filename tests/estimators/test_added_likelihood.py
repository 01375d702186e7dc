"""A likelihood defined outside the package: one class and one line in a table."""

import numpy as np
import pytest
from torch.distributions import Exponential

import isthmus
from isthmus.distributions.families import Family, soft_limit
from isthmus.distributions.likelihoods import LIKELIHOODS
from isthmus.distributions.mixed import make_likelihood
from isthmus.evaluation import evaluate_model
from isthmus.report import captions, write_report

RNG = np.random.default_rng(0)
WAITING_TIMES = RNG.exponential(np.exp(RNG.normal(size=(120, 1))), (120, 4))
FAST = {"n_components": 2, "hidden": (8,), "epochs": 60, "random_state": 0}


class ExponentialFamily(Family):
    """Waiting times: positive numbers, whose scale carries meaning."""

    bounds = (0, float("inf"))

    def build(self, *outputs):
        (log_rate,) = outputs
        return Exponential(soft_limit(log_rate, 20.0).exp(), validate_args=False)


@pytest.fixture(scope="module", autouse=True)
def registered():
    LIKELIHOODS["exponential"] = ExponentialFamily
    yield
    LIKELIHOODS.pop("exponential", None)


@pytest.fixture(scope="module")
def fitted(registered):
    return isthmus.VAE(likelihood="exponential", **FAST).fit(WAITING_TIMES)


def test_traits_follow_from_the_bounds():
    family = make_likelihood("exponential", (4,))
    assert (family.name, family.label) == ("exponential", "exponential likelihood")
    assert not family.scalable
    assert not family.binary
    assert family.interval is None
    mixed = make_likelihood("gaussian,exponential,bernoulli,categorical:3", (4,))
    assert mixed.scalable.tolist() == [True, False, False, False]
    assert mixed.binary.tolist() == [False, False, True, False]
    assert mixed.ordered.tolist() == [True, True, True, False]
    assert not mixed.discrete


def test_fit_score_and_sample(fitted):
    assert fitted.history_[-1]["loss"] < fitted.history_[0]["loss"]
    assert fitted.scaling_ == "none"
    assert np.isfinite(fitted.score_samples(WAITING_TIMES)).all()
    samples = fitted.sample(50, random_state=0, noise=True)
    assert samples.shape == (50, 4)
    assert samples.min() >= 0


def test_unsuitable_data_raise():
    with pytest.raises(ValueError, match="'exponential' takes values of at least 0, but X has -1"):
        isthmus.VAE(likelihood="exponential", **FAST).fit(-np.ones((5, 2)))
    with pytest.raises(ValueError, match="out of the range of likelihood 'exponential'"):
        isthmus.VAE(likelihood="exponential", scaling="standard", **FAST).fit(WAITING_TIMES)


def test_metrics_and_report(fitted, tmp_path):
    numbers = evaluate_model(fitted, WAITING_TIMES, n_samples=5)
    assert np.isfinite(numbers["mean squared error"])
    assert captions.subtitle(fitted).startswith("4 numbers in, 2 latent numbers, exponential")
    write_report(tmp_path / "report.html", estimator=fitted, X=WAITING_TIMES, title="Times")
    assert "exponential likelihood" in (tmp_path / "report.html").read_text()


def test_one_column_of_a_mixed_table():
    table = np.column_stack([RNG.normal(size=60), RNG.exponential(size=60)])
    model = isthmus.VAE(likelihood="gaussian,exponential", validation_fraction=0.0, **FAST)
    model.fit(table)
    assert model.scaler_.scale.tolist() == [pytest.approx(table[:, 0].std()), 1.0]


def test_a_saved_model_loads_only_if_the_likelihood_is_registered(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path)
    again = isthmus.load(tmp_path)
    expected = fitted.score_samples(WAITING_TIMES)
    np.testing.assert_array_equal(again.score_samples(WAITING_TIMES), expected)
    monkeypatch.delitem(LIKELIHOODS, "exponential")
    with pytest.raises(ValueError, match="unknown likelihood 'exponential'"):
        isthmus.load(tmp_path)
