"""Searches rank only scores of one measure: densities, or probabilities."""

import numpy as np
import pytest

from isthmus import VAE, Autoencoder, Sweep
from isthmus.cli import main
from isthmus.distributions.mixed import make_likelihood

GREY = np.random.default_rng(0).random((80, 6))
FAST = {"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0}


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("bernoulli", "probability"),
        ("continuous-bernoulli", "density"),
        ("gaussian-network", "density"),
        ("laplace", "density"),
        ("categorical:3", "probability"),
        ("poisson", "probability"),
        ("negative-binomial", "probability"),
        ("gaussian,laplace", "density"),
        ("bernoulli,poisson", "probability"),
        ("gaussian,poisson", "density, probability"),
    ],
)
def test_the_measure_of_a_likelihood(name, measure):
    assert make_likelihood(name, (2,) if "," in name else (3,)).measure() == measure


def test_bytes_in_the_unit_interval_are_not_whole_numbers():
    grey, counts = (make_likelihood(name, (2,)).measure(True) for name in ("bernoulli", "poisson"))
    assert grey != counts


@pytest.mark.parametrize("halving", [None, 2])
def test_a_sweep_refuses_densities_next_to_probabilities(halving, tmp_path):
    grid = {"likelihood": ["gaussian", "bernoulli"], "learning_rate": [0.001, 0.01]}
    sweep = Sweep(VAE(**FAST), grid, halving=halving, random_state=0)
    with pytest.raises(ValueError, match="'bernoulli' is the logarithm of a probability, that of"):
        sweep.fit(GREY, folder=tmp_path)
    assert not [*tmp_path.iterdir()]
    assert not hasattr(sweep, "results_")


def test_a_sweep_over_the_models_of_one_measure_is_allowed():
    grid = {"likelihood": ["gaussian", "laplace", "continuous-bernoulli"]}
    sweep = Sweep(VAE(**FAST), [grid, {"scaling": ["none", "global"], "likelihood": ["gaussian"]}])
    assert len(sweep.fit(GREY).results_) == 5


@pytest.mark.parametrize("metric", ["squared-error", lambda model, X: -model.score(X)])
def test_other_metrics_compare_any_likelihoods(metric):
    grid = {"likelihood": ["gaussian", "bernoulli"]}
    sweep = Sweep(Autoencoder(**FAST), grid, metric=metric, random_state=0).fit(GREY)
    if metric == "squared-error":
        held = GREY[sweep.test_rows_]
        for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
            error = ((model.reconstruct(held) - held) / held.std(0)) ** 2
            assert row["metric"] == pytest.approx(-error.sum(1).mean())


def test_squared_errors_of_bytes_have_one_unit():
    X = (GREY * 255).astype(np.uint8)
    grid = {"likelihood": ["bernoulli", "poisson"]}
    with pytest.raises(ValueError, match="cross-entropy"):
        Sweep(Autoencoder(**FAST), grid).fit(X)
    sweep = Sweep(Autoencoder(**FAST), grid, metric="squared-error", random_state=0).fit(X)
    one, other = (row["metric"] for row in sweep.results_)
    assert 0.1 < one / other < 10


def test_squared_errors_of_categories_are_refused():
    model = VAE(**FAST, likelihood="categorical")
    with pytest.raises(ValueError, match="categories"):
        Sweep(model, {"beta_epochs": [1, 2]}, metric="squared-error").fit(np.floor(GREY * 3))


def test_the_command_says_which_metric_can_compare(tmp_path, capsys):
    np.save(tmp_path / "grey.npy", GREY)
    command = ["tune", str(tmp_path / "grey.npy"), "--grid", "likelihood=gaussian,bernoulli"]
    command += ["--out", str(tmp_path / "out"), "--epochs", "2", "--hidden", "8", "--quiet"]
    assert main(command) != 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "--metric squared-error" in lines[0]
    assert main([*command, "--metric", "squared-error"]) == 0
