"""`isthmus evaluate`: every metric that applies, finite and correct; errors in one line."""

import functools
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.data import load
from isthmus.estimators import ESTIMATORS, model_io
from isthmus.evaluation import evaluate_model, importance_weighted, l0, squared_error
from isthmus.models.specs import SPECS

DIGITS = load_digits()
GREY = DIGITS.images[:200] / 16
LIKELIHOOD = (
    "ELBO (nats)",
    "rate (nats)",
    "distortion (nats)",
    "log-likelihood, 5 importance samples (nats)",
    "standard error, from the samples",
    "standard error, from the rows",
    "effective sample size, median",
    "effective sample size, least",
    "bits per dimension",
    "aggregate posterior KL to the prior (nats)",
    "mutual information of row and code (nats)",
    "components in use",
)
SPARSITY = ("codes: dead units (share)", "codes: live units (share)")
REBUILDING = ("mean squared error", "explained variance", "PSNR (dB)", "SSIM")
FACTORS = (
    "BetaVAE score",
    "FactorVAE score",
    "MIG",
    "DCI disentanglement",
    "DCI completeness",
    "DCI informativeness",
    "SAP",
    "modularity",
)
SAMPLES = ("Fréchet distance", "precision", "recall", "density", "coverage")


@pytest.fixture(autouse=True)
def small_estimates(monkeypatch):
    module = importlib.import_module("isthmus.evaluation.model_evaluation")
    short = functools.partial(module.annealed_importance, n_steps=40)
    monkeypatch.setattr(module, "annealed_importance", short)
    monkeypatch.setattr(module, "AIS_ROWS", 4)
    monkeypatch.setattr("isthmus.evaluation.disentanglement.TREES", 10)
    monkeypatch.setattr("isthmus.evaluation.disentanglement.GROUPS", 200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A few digits with labels and random factors, and binary masks, as files."""
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "grey.npz", X=GREY, y=DIGITS.target[:200])
    np.savez(folder / "masks.npz", X=(GREY > 0.5).astype(float))
    rng = np.random.default_rng(0)
    np.save(folder / "factors.npy", np.stack([DIGITS.target[:200], rng.integers(3, size=200)], 1))
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    """Return a function that fits and saves a model once."""

    def run(name, file="grey.npz"):
        out = folder / f"{file}-{name}"
        if not out.exists():
            data = load(folder / file)
            model = fitted(data.X, ESTIMATORS[name], data.y, likelihood="bernoulli")
            model_io.save(model, out, data.fingerprint)
        return str(out)

    return run


def evaluate(run, data, *flags):
    """Evaluate a run and return its JSON, which must not contain NaN or Infinity."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    assert main(["evaluate", run, str(data), "--samples", "5", *flags]) == 0
    with open(f"{run}/evaluation.json") as file:
        return json.load(file, parse_constant=refuse)


@pytest.mark.parametrize("model", SPECS)
def test_every_model_has_all_metrics_that_apply(model, runs, folder, capsys):
    record = evaluate(runs(model), folder / "grey.npz", "--factors", str(folder / "factors.npy"))
    numbers, table = record["numbers"], capsys.readouterr().out
    generative = "vae" in model
    for name in (*(LIKELIHOOD if generative else SPARSITY), *REBUILDING, *FACTORS):
        assert np.isfinite(numbers[name]), name
        assert name in table
    assert ("log-likelihood at the code (nats)" in numbers) is not generative
    assert any("L0" in name for name in numbers) is not generative
    assert all(value is not None and np.isfinite(value) for value in numbers.values())
    assert not any("Dice" in name or "annealed" in name for name in numbers)
    assert record["model"] == SPECS[model].__name__
    assert record["trained_on_these_rows"]
    assert "trained on most of these rows" in table


def test_annealing_and_sample_quality_are_optional(runs, folder):
    run, data = runs("vae"), folder / "grey.npz"
    annealed = "annealed log-likelihood, 4 rows (nats)"
    for features in ("values", "codes"):
        numbers = evaluate(run, data, "--quality", features, "--annealed")["numbers"]
        assert all(np.isfinite(numbers[f"samples, in {features}: {name}"]) for name in SAMPLES)
        same = numbers["annealed: importance weighting of the same rows (nats)"]
        assert numbers[annealed] == pytest.approx(same, abs=0.5)
        assert 0 < numbers["annealed: acceptance rate"] < 1


def test_masks_have_dice_and_f1(runs, folder):
    numbers = evaluate(runs("autoencoder", "masks.npz"), folder / "masks.npz")["numbers"]
    assert 0 < numbers["Dice, mean over rows"] < 1
    assert 0 < numbers["F1, all rows together"] < 1


def test_a_conditional_model_is_measured_with_labels(runs, folder):
    run = runs("conditional-vae")
    numbers = evaluate(run, folder / "grey.npz", "--quality", "codes", "--annealed")["numbers"]
    model = isthmus.load(run)
    expected = importance_weighted(model, GREY, 5, condition=DIGITS.target[:200]).log_likelihood
    assert numbers["log-likelihood, 5 importance samples (nats)"] == pytest.approx(expected.mean())


def test_metrics_repeat_and_equal_those_of_the_functions(runs, folder):
    run, data = runs("vae"), folder / "grey.npz"
    flags = ("--annealed", "--quality", "values", "--factors", str(folder / "factors.npy"))
    numbers = evaluate(run, data, *flags)["numbers"]
    assert numbers == evaluate(run, data, *flags)["numbers"]
    model = isthmus.load(run)
    rate, distortion = model.rate_distortion(GREY)
    assert numbers["rate (nats)"] == pytest.approx(rate.mean())
    assert numbers["distortion (nats)"] == pytest.approx(distortion.mean())
    assert numbers["ELBO (nats)"] == pytest.approx(model.score(GREY))
    error = squared_error(GREY, model.reconstruct(GREY))
    assert numbers["mean squared error"] == pytest.approx(error)


def test_metrics_of_a_random_subset_with_one_importance_sample(runs, folder, tmp_path):
    out = tmp_path / "numbers.json"
    run, data = runs("vae"), str(folder / "grey.npz")
    command = ["evaluate", run, data, "--samples", "1", "--rows", "50", "--json", str(out)]
    assert main(command) == 0
    numbers = json.loads(out.read_text())["numbers"]
    assert numbers["rows"] == 50
    assert numbers["effective sample size, median"] == pytest.approx(1)
    assert "standard error, from the samples" not in numbers  # one sample has none


def test_the_documentation_explains_every_metric():
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    for name in (*LIKELIHOOD, *REBUILDING, *SPARSITY, *SAMPLES, *FACTORS):
        words = name.split(" (")[0].split(": ")[-1].replace("5 importance", "500 importance")
        assert words in page or words.removeprefix("DCI ") in page, words


# --------------------------------------------------------------------- from Python


def fitted(X, cls=isthmus.VAE, y=None, **settings):
    return cls(n_components=2, hidden=(16,), epochs=2, random_state=0, **settings).fit(X, y)


@pytest.mark.parametrize("likelihood", ["poisson", "categorical:17", "gaussian", "bernoulli"])
def test_bytes_are_read_as_the_model_reads_them(likelihood):
    X = DIGITS.images[:100].astype(np.uint8)
    model = fitted(X, likelihood=likelihood)
    numbers = evaluate_model(model, X, n_samples=5, features="values")
    assert all(np.isfinite(value) for value in numbers.values())
    if likelihood == "categorical:17":
        rebuilt = numbers["categories reconstructed (share)"]
        assert rebuilt == pytest.approx(np.mean(model.reconstruct(X) == X))
        assert "mean squared error" not in numbers
    else:
        x = X / 255 if likelihood in ("gaussian", "bernoulli") else X.astype(float)
        error = np.mean((x - model.reconstruct(X)) ** 2)
        assert numbers["mean squared error"] == pytest.approx(error, rel=1e-4)


def test_bits_per_dimension_of_a_density_use_the_unit_of_bytes():
    X = (GREY * 255).astype(np.uint8)
    model = fitted(X, likelihood="gaussian")
    of_bytes, of_numbers = (
        evaluate_model(model, x, n_samples=5)["bits per dimension"] for x in (X, X / 255)
    )
    assert of_bytes == pytest.approx(of_numbers + np.log2(255), abs=1e-3)


def test_mixed_tables_measure_each_column_by_its_likelihood():
    rng = np.random.default_rng(0)
    X = np.stack([rng.normal(size=90), rng.integers(3, size=90), rng.integers(2, size=90)], 1)
    numbers = evaluate_model(
        fitted(X, likelihood="gaussian,categorical:3,bernoulli"), X, n_samples=5
    )
    assert 0 <= numbers["categories reconstructed (share)"] <= 1
    assert np.isfinite(numbers["explained variance"])
    assert "PSNR (dB)" not in numbers


def test_features_can_be_a_function():
    model = fitted(GREY)
    numbers = evaluate_model(model, GREY, n_samples=5, features=lambda X: X.mean(axis=2))
    assert all(np.isfinite(numbers[f"samples, in features: {name}"]) for name in SAMPLES)
    with pytest.raises(ValueError, match="features must be 'values', 'codes' or a function"):
        evaluate_model(model, GREY, features="pixels")


def test_a_sigmoid_unit_is_active_above_one_half():
    model = fitted(GREY, isthmus.SparseAutoencoder, penalty="kl")
    numbers = evaluate_model(model, GREY)
    name = "codes: active units per example (L0, above 0.5)"
    assert numbers[name] == l0(model.transform(GREY), 0.5)


def test_flat_rows_equal_images_and_signals_have_no_ssim():
    flat = evaluate_model(fitted(GREY), GREY.reshape(200, 64), n_samples=5)
    whole = evaluate_model(fitted(GREY), GREY, n_samples=5)
    assert flat == whole
    signals = evaluate_model(fitted(GREY, backbone="conv1d", kernel_size=3), GREY, n_samples=5)
    assert "SSIM" not in signals


def test_the_global_random_state_is_unchanged():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    evaluate_model(fitted(GREY), GREY, n_samples=5, features="codes", annealed=True)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


# -------------------------------------------------------------------------- errors


def error_of(arguments, capsys):
    capsys.readouterr()
    assert main(["evaluate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--samples", "0"], "--samples: expected a whole number of at least 1"),
        (["--rows", "1"], "--rows: expected a whole number of at least 2"),
        (["--rows", "-5"], "--rows: expected a whole number of at least 2"),
        (["--random-state", "-1"], "--random-state: expected a whole number of at least 0"),
        (["--samples", "many"], "invalid whole number value"),
        (["--quality", "pixels"], "unknown value 'pixels'"),
        (["--json", "nowhere/numbers.json"], "in a folder that exists"),
        (["--factors", "nowhere.npy"], "nowhere.npy"),
        (["--factors", "words.npy"], "is not an .npy file"),
        (["--factors", "empty.npy"], "is not an .npy file"),
        (["--factors", "several.npz"], "must be a matrix of whole numbers"),
        (["--factors", "flat.npy"], "got int64 (200,)"),
        (["--factors", "real.npy"], "got float64 (200, 2)"),
        (["--factors", "short.npy"], "has 3 rows, the data have 200"),
        (["--factors", "fixed.npy"], "factor 1 has the same level in every row"),
    ],
)
def test_an_invalid_flag_is_reported_in_one_line(
    flags, words, runs, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.npy").write_text("no array")
    (tmp_path / "empty.npy").write_bytes(b"")
    whole = np.arange(400).reshape(200, 2) % 5
    np.savez(tmp_path / "several.npz", a=whole, b=whole)
    np.save(tmp_path / "flat.npy", whole[:, 0])
    np.save(tmp_path / "real.npy", whole * 0.5)
    np.save(tmp_path / "short.npy", whole[:3])
    np.save(tmp_path / "fixed.npy", whole * [1, 0])
    flags = ["--samples", "5", *flags]
    assert words in error_of([runs("vae"), str(folder / "grey.npz"), *flags], capsys)


def test_data_that_do_not_fit_are_reported_in_one_line(runs, folder, tmp_path, capsys):
    grey = str(folder / "grey.npz")
    np.save(tmp_path / "other.npy", np.zeros((5, 3)))
    np.save(tmp_path / "bare.npy", GREY)
    np.save(tmp_path / "large.npy", 9 * GREY)
    assert "no saved model" in error_of([str(tmp_path), grey], capsys)
    assert "neither a known dataset" in error_of([runs("vae"), "digts.npy"], capsys)
    assert "3 features" in error_of([runs("vae"), str(tmp_path / "other.npy")], capsys)
    assert "between 0 and 1" in error_of([runs("vae"), str(tmp_path / "large.npy")], capsys)
    bare = [runs("conditional-vae"), str(tmp_path / "bare.npy")]
    assert "has no labels" in error_of(bare, capsys)
    for flag in (["--annealed"], ["--quality", "codes"]):
        assert f"{flag[0]} is for models with a prior" in error_of(
            [runs("autoencoder"), grey, *flag], capsys
        )
