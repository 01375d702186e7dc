"""The same seed gives the same bits, whatever ran before and wherever it is run."""

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
    """A fingerprint of all weights."""
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


def another_number_of_threads():
    torch.set_num_threads(2)


def denormals():
    torch.set_flush_denormal((torch.tensor(1e-40) * 1.0).item() != 0.0)  # the other way


def a_failed_fit():
    with pytest.raises(ValueError, match="NaN"):
        isthmus.VAE(**FAST).fit(np.full((5, 9), np.nan))


@pytest.fixture
def settings_of_torch_put_back():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    flushing = (torch.tensor(1e-40) * 1.0).item() == 0.0
    numpys = np.random.get_state()  # noqa: NPY002
    yield
    np.random.set_state(numpys)  # noqa: NPY002
    torch.set_num_threads(threads)
    torch.random.set_rng_state(state)
    torch.set_flush_denormal(flushing)


@pytest.mark.parametrize(
    "before", [seeds, other_models, another_number_of_threads, denormals, a_failed_fit]
)
@pytest.mark.usefixtures("settings_of_torch_put_back")
def test_what_ran_before_does_not_matter(before):
    kinds = {name: {"dropout": 0.2} for name in ESTIMATORS}
    first = {name: fit(name, **settings) for name, settings in kinds.items()}
    before()
    for name, settings in kinds.items():
        again = fit(name, **settings)
        assert digest(again) == digest(first[name]), name
        for method in ("transform", "reconstruct", "score_samples"):
            np.testing.assert_array_equal(
                getattr(again, method)(X), getattr(first[name], method)(X)
            )


def test_an_autocast_around_costs_digits_and_no_answer():
    model = fit("vae")
    with torch.autocast("cpu", torch.bfloat16):
        codes = model.transform(X)
    assert codes.dtype == X.dtype
    np.testing.assert_allclose(codes, model.transform(X), atol=0.05)


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_every_likelihood_repeats_in_fit_and_in_draws(likelihood):
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
        {"binarize": True},
        {"validation_fraction": 0.3, "patience": 1, "epochs": 6},
    ],
)
def test_every_source_of_chance_is_the_seed(settings):
    if "flow" in settings.values():
        pytest.importorskip("zuko")
    first = fit("vae", **settings)
    torch.manual_seed(123)
    again = fit("vae", **settings)
    assert digest(again) == digest(first)
    np.testing.assert_array_equal(again.sample(5, random_state=0), first.sample(5, random_state=0))


def test_partial_fits_repeat_and_seeds_differ():
    def passes(seed):
        model = isthmus.VAE(**FAST | {"random_state": seed})
        for _ in range(3):
            model.partial_fit(X)
        return digest(model)

    assert passes(0) == passes(0)
    assert passes(0) != passes(1)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_clone_trains_to_the_same_bits_and_watching_changes_none(name):
    class Watch(isthmus.training.Callback):
        def on_epoch(self, trainer, record):
            torch.randn(3)  # a guest who draws from the global state
            model.transform(X)

    model = fit(name)
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
def test_the_place_of_a_row_in_its_chunk_does_not_matter(settings, features):
    """Rows whose length is no multiple of four: there kernels sum by the row's address."""
    x = np.random.default_rng(1).random((300, features))
    model = isthmus.VAE(**FAST | settings).fit(x)
    order = np.random.default_rng(2).permutation(300)
    for method in (model.transform, model.reconstruct, model.score_samples):
        np.testing.assert_array_equal(method(x[order]), method(x)[order])
    codes = model.transform(x)
    decoded = model.inverse_transform(codes)
    np.testing.assert_array_equal(model.inverse_transform(codes[order]), decoded[order])


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 9, 9), (3, 41, 67), (3, 150, 150)])
def test_a_score_does_not_depend_on_the_place_of_its_row(shape):
    """Means over draws go through a chunk of rows by vectors, and would treat a rest otherwise."""
    x = np.random.default_rng(0).random((700 if shape[1] < 10 else 80, *shape)).astype("f4")
    model = isthmus.VAE(**FAST | {"hidden": (4,)}).fit(x)
    order = np.random.default_rng(1).permutation(len(x))
    np.testing.assert_array_equal(model.score_samples(x[order]), model.score_samples(x)[order])


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("rows", [8, 37, 150, 1000])
def test_chunks_of_another_size_give_the_same_answers(name, rows, monkeypatch):
    """To rounding: kernels may sum in another order for another number of rows."""
    model = fit(name)
    before = [model.transform(X), model.reconstruct(X), model.score_samples(X)]
    monkeypatch.setattr(base, "inference_batch_size", lambda n_numbers, convolutional: rows)
    after = [model.transform(X), model.reconstruct(X), model.score_samples(X)]
    for a, b in zip(after, before, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_configuration_alone_reruns_every_model_in_a_new_process(tmp_path):
    """There other threads, another global seed and another order of the models hold."""
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
        (tmp_path / name / "model.safetensors").unlink()  # nothing but the configuration
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


def test_the_versions_that_made_a_model_are_written_beside_it(tmp_path):
    fit("vae").save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["versions"]["torch"] == torch.__version__
    assert config["versions"]["numpy"] == np.__version__
    assert config["isthmus"] == isthmus.__version__
