"""Equal seeds give equal bits, regardless of earlier work, process and batch."""

import hashlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

import isthmus
from isthmus.distributions.likelihoods import LIKELIHOODS
from isthmus.estimators import ESTIMATORS, base

RNG = np.random.default_rng(0)
X, Y = RNG.random((150, 9)), np.arange(150) % 3
FAST = {"n_components": 3, "hidden": (16,), "epochs": 3, "random_state": 0, "batch_size": 32}


def digest(model):
    """Return a hash of all weights."""
    state = model.model_.state_dict()
    return hashlib.sha256(
        b"".join(state[k].cpu().numpy().tobytes() for k in sorted(state))
    ).digest()


def fit(name, **settings):
    return ESTIMATORS[name](**FAST | settings).fit(X, Y)


def seeds():
    torch.manual_seed(123)
    np.random.seed(5)  # noqa: NPY002


def other_models():
    for name in ESTIMATORS:
        fit(name, epochs=1, random_state=None, dropout=0.3)


def other_number_of_threads():
    torch.set_num_threads(2)


def denormals():
    torch.set_flush_denormal((torch.tensor(1e-40) * 1.0).item() != 0.0)  # the other way


def failed_fit():
    with pytest.raises(ValueError, match="NaN"):
        isthmus.VAE(**FAST).fit(np.full((5, 9), np.nan))


@pytest.fixture(scope="module")
def with_dropout():
    return {name: fit(name, dropout=0.2) for name in ESTIMATORS}


@pytest.fixture(scope="module")
def models():
    return {name: fit(name) for name in ESTIMATORS}


@pytest.fixture
def restored_torch_settings():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    flushing = (torch.tensor(1e-40) * 1.0).item() == 0.0
    numpys = np.random.get_state()  # noqa: NPY002
    yield
    np.random.set_state(numpys)  # noqa: NPY002
    torch.set_num_threads(threads)
    torch.random.set_rng_state(state)
    torch.set_flush_denormal(flushing)


@pytest.mark.parametrize(
    "before", [seeds, other_models, other_number_of_threads, denormals, failed_fit]
)
@pytest.mark.usefixtures("restored_torch_settings")
def test_fit_does_not_depend_on_earlier_work(before, with_dropout):
    first = with_dropout
    before()
    for name in first:
        again = fit(name, dropout=0.2)
        assert digest(again) == digest(first[name]), name
        for method in ("transform", "reconstruct", "score_samples"):
            np.testing.assert_array_equal(
                getattr(again, method)(X), getattr(first[name], method)(X)
            )


def test_surrounding_autocast_only_reduces_precision(models):
    model = models["vae"]
    with torch.autocast("cpu", torch.bfloat16):
        codes = model.transform(X)
    assert codes.dtype == X.dtype
    np.testing.assert_allclose(codes, model.transform(X), atol=0.05)


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_every_likelihood_fits_and_samples_reproducibly(likelihood):
    rows = (X > 0.5).astype(float)
    a, b = (isthmus.VAE(**FAST, likelihood=likelihood).fit(rows) for _ in range(2))
    assert digest(a) == digest(b)
    torch.manual_seed(7)
    drawn = a.sample(20, random_state=3, noise=True)
    np.testing.assert_array_equal(drawn, b.sample(20, random_state=3, noise=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"prior": "mixture"},
        {"prior": "vamp", "prior_modes": 7},
        {"prior": "flow", "posterior_family": "flow"},
        {"bound": "dreg", "n_samples": 3},
        {"binarize": True, "likelihood": "bernoulli"},
        {"validation_fraction": 0.3, "patience": 1, "epochs": 6},
    ],
)
def test_every_random_choice_follows_the_seed(settings):
    if "flow" in settings.values():
        pytest.importorskip("zuko")
    first = fit("vae", **settings)
    torch.manual_seed(123)
    again = fit("vae", **settings)
    assert digest(again) == digest(first)
    np.testing.assert_array_equal(again.sample(5, random_state=0), first.sample(5, random_state=0))


def test_partial_fit_is_reproducible_and_depends_on_the_seed():
    def passes(seed):
        model = isthmus.VAE(**FAST | {"random_state": seed})
        for _ in range(3):
            model.partial_fit(X)
        return digest(model)

    assert passes(0) == passes(0)
    assert passes(0) != passes(1)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_clone_with_a_callback_trains_to_the_same_bits(name, models):
    class Watch(isthmus.training.Callback):
        def on_epoch(self, trainer, record):
            torch.randn(3)  # a callback that uses the global state
            model.transform(X)

    model = models[name]
    watched = clone(model).fit(X, Y, callbacks=[Watch()])
    assert digest(watched) == digest(model)
    assert [r["loss"] for r in watched.history_] == [r["loss"] for r in model.history_]


@pytest.mark.parametrize(
    "settings",
    [
        {"n_components": 5},
        {"n_components": 7, "prior": "mixture", "prior_modes": 5},
        {"n_components": 5, "prior": "vamp", "prior_modes": 3, "posterior_family": "full-normal"},
        {"n_components": 3, "hidden": (6, 5), "backbone": "gated"},
        {"n_components": 3, "hidden": ()},
    ],
)
@pytest.mark.parametrize("features", [5, 7, 11])
def test_results_do_not_depend_on_the_order_of_rows(settings, features):
    """Kernels sum rows whose length is not a multiple of four by their address."""
    x = np.random.default_rng(1).random((300, features))
    model = isthmus.VAE(**FAST | settings).fit(x)
    order = np.random.default_rng(2).permutation(300)
    for method in (model.transform, model.reconstruct, model.score_samples):
        np.testing.assert_array_equal(method(x[order]), method(x)[order])
    codes = model.transform(x)
    decoded = model.inverse_transform(codes)
    np.testing.assert_array_equal(model.inverse_transform(codes[order]), decoded[order])


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 9, 9), (3, 41, 67), (3, 90, 90)])
def test_scores_do_not_depend_on_the_order_of_rows(shape):
    """Means over samples are vectorized over rows, with a remainder."""
    x = np.random.default_rng(0).random((700 if shape[1] < 10 else 60, *shape)).astype("f4")
    model = isthmus.VAE(**FAST | {"hidden": (4,), "epochs": 1}).fit(x)
    order = np.random.default_rng(1).permutation(len(x))
    np.testing.assert_array_equal(model.score_samples(x[order]), model.score_samples(x)[order])


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_batch_size_of_inference_does_not_change_the_results(name, models, monkeypatch):
    """Up to rounding: kernels may sum in another order if the number of rows changes."""
    model = models[name]
    before = [model.transform(X), model.reconstruct(X), model.score_samples(X)]
    for rows in (8, 37, 150, 1000):
        monkeypatch.setattr(base, "inference_batch_size", lambda *args, rows=rows: rows)
        after = [model.transform(X), model.reconstruct(X), model.score_samples(X)]
        for a, b in zip(after, before, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_configuration_reproduces_every_model_in_a_new_process(tmp_path):
    """The other process uses other threads, another global seed and another order of models."""
    np.savez(tmp_path / "data.npz", X=X, Y=Y)
    own = {
        "denoising": {"corruption": "gaussian", "likelihood": "laplace"},
        "sparse": {"hidden": (), "activation": "batchtopk", "revive_every": 3},
        "vae": {"prior": "mixture", "dropout": 0.1, "validation_fraction": 0.2},
        "beta-vae": {"decomposed": True, "likelihood": "gaussian-network"},
        "conditional-vae": {"hidden": [12, 8], "nonlinearity": "gelu"},
    }
    expected = {}
    for name in ESTIMATORS:
        model = fit(name, **own.get(name, {}))
        model.save(tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()  # keep only the configuration
        expected[name] = digest(model).hex()
    code = f"""
        import json, pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import numpy as np, torch
        torch.manual_seed(99), torch.set_num_threads(2)
        from isthmus.estimators import ESTIMATORS
        from test_reproducible import digest
        folder = pathlib.Path({str(tmp_path)!r})
        data, found = np.load(folder / "data.npz"), dict()
        for path in sorted(folder.glob("*/config.json"), reverse=True):
            config = json.loads(path.read_text())
            model = ESTIMATORS[config["estimator"]](**config["params"])
            found[config["estimator"]] = digest(model.fit(data["X"], data["Y"])).hex()
        print(json.dumps(found))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_saved_model_records_the_library_versions(tmp_path, models):
    models["vae"].save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["versions"]["torch"] == torch.__version__
    assert config["versions"]["numpy"] == np.__version__
    assert config["isthmus"] == isthmus.__version__
