"""Sample weights: a row of weight 2 counts as two rows, one of weight 0 not at all."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.utils import estimator_checks as checks

import isthmus
from isthmus.data import loader_adapter, sparse_rows
from isthmus.data.loader_adapter import as_batch
from isthmus.estimators import ESTIMATORS
from isthmus.estimators.condition import ConditionEncoder
from isthmus.estimators.scaling import Scaler
from isthmus.objectives.objective import StepInputs
from isthmus.registry import build_objective
from isthmus.training import Checkpoint

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)), np.arange(40) % 3
W = RNG.integers(0, 4, size=40)
FAST = {"epochs": 3, "hidden": (4,), "n_components": 2, "random_state": 0, "progress": "none"}
EXACT = {"validation_fraction": 0, "batch_size": 256}


def same(a, b):
    """Return whether two models are the same, bit for bit."""
    pairs = zip(a.model_.state_dict().values(), b.model_.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs) and a.scaler_.shift == pytest.approx(
        b.scaler_.shift, abs=0
    )


@pytest.mark.parametrize("name", ["autoencoder", "sparse", "contractive"])
@pytest.mark.parametrize(
    "check",
    [
        checks.check_sample_weight_equivalence_on_dense_data,
        checks.check_sample_weight_equivalence_on_sparse_data,
    ],
)
def test_equivalence_to_repeated_rows(name, check):
    check(name, ESTIMATORS[name](**FAST | {"epochs": 1}, learning_rate=1e-3, **EXACT))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_rows_of_weight_0_are_left_out(name):
    make, kept = lambda: ESTIMATORS[name](**FAST), W > 0
    weighted = make().fit(X, Y, sample_weight=kept)
    assert same(weighted, make().fit(X[kept], Y[kept]))
    frames = pytest.importorskip("pandas")
    frame = frames.DataFrame(X, columns=list("abcd"))
    frame["colour"] = np.where(kept, "red", "a colour of weight 0")
    categories = make().fit(frame, Y, sample_weight=kept).columns_.columns[-1].categories
    assert list(categories) == ["red"]


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.coo_matrix, np.ndarray.tolist])
def test_kinds_of_input(kind):
    groups = np.arange(40) // 2
    kept, settings = W > 0, {"likelihood": "gaussian"}
    weighted = isthmus.VAE(**FAST, **settings).fit(
        kind(X), sample_weight=(5 * W).tolist(), groups=groups
    )
    other = isthmus.VAE(**FAST, **settings).fit(
        X[kept], sample_weight=5 * W[kept], groups=groups[kept]
    )
    assert same(weighted, other)


def test_only_ratios_of_weights_matter():
    plain = isthmus.VAE(**FAST).fit(X)
    for weights in (7, np.full(40, 1e-300), np.full(40, 2)):
        assert same(isthmus.VAE(**FAST).fit(X, sample_weight=weights), plain)
    partial = isthmus.VAE(**FAST).partial_fit(X, sample_weight=3).partial_fit(X, sample_weight=2)
    assert same(partial, isthmus.VAE(**FAST).partial_fit(X).partial_fit(X))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vae", {}),
        ("vae", {"bound": "iwae", "n_samples": 3}),
        ("vae", {"bound": "dreg", "n_samples": 3}),
        ("beta-vae", {"capacity": 2.0}),
        ("vae", {"free_bits": 0.1}),
        ("sparse", {}),
        ("sparse", {"penalty": "kl"}),
        ("sparse", {"activation": "gated"}),
        ("sparse", {"activation": "jumprelu"}),
        ("contractive", {}),
        ("contractive", {"backbone": "conv", "n_components": 2}),
    ],
)
def test_loss_equals_that_of_repeated_rows(name, settings):
    shape = (40, 8, 8) if settings.get("backbone") == "conv" else (40, 4)
    data = RNG.normal(size=shape)
    spec = {k: v for k, v in FAST.items() if k != "hidden" or len(shape) == 2} | settings
    model = ESTIMATORS[name](**spec).begin(data, Y)
    objective = build_objective(model, 40, 1)
    x, _ = model.tensors(data)
    noise = objective.noise(model.model_, 40, torch.Generator().manual_seed(0))
    times = torch.from_numpy(W)
    weights = times / times.double().mean()

    def repeat(t, axis):
        return t.repeat_interleave(times, axis)

    weighted = objective.terms(
        model.model_, StepInputs(x, x, None, weights.float()), noise=noise, step=5
    )
    twice = repeat(x, 0)
    repeated = objective.terms(
        model.model_,
        StepInputs(twice, twice, None),
        noise=None if noise is None else repeat(noise, noise.ndim - 2),
        step=5,
    )
    for one, other in zip(weighted, repeated, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_decomposed_kl_counts_weights():
    model = isthmus.BetaVAE(**FAST, decomposed=True).begin(X)
    objective, (x, _) = build_objective(model, 40, 1), model.tensors(X)
    noise = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    plain, ones, some = (
        objective.terms(model.model_, StepInputs(x, x, None, w), noise=noise).loss
        for w in (None, torch.ones(40), torch.from_numpy(W / W.mean() + 1e-3).float())
    )
    torch.testing.assert_close(plain, ones)
    assert some.isfinite()
    assert some != plain


@pytest.mark.parametrize("how", ["standard", "global"])
def test_scaling_counts_weights(how):
    rows = np.where(RNG.random(X.shape) < 0.2, np.nan, 1e6 + X)
    weighted = Scaler.fit(rows, how, W / W.mean())
    repeated = Scaler.fit(rows.repeat(W, 0), how)
    np.testing.assert_allclose(weighted.shift, repeated.shift, rtol=1e-12)
    np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-9)


def test_numeric_conditions_count_weights():
    y = RNG.normal(size=40)
    weighted = ConditionEncoder.fit(y, 40, weights=W / W.mean())
    repeated = ConditionEncoder.fit(y.repeat(W), W.sum())
    np.testing.assert_allclose(weighted.shift + weighted.scale, repeated.shift + repeated.scale)


def test_scores_count_weights():
    model = isthmus.VAE(**FAST).fit(X)
    assert model.score(X, sample_weight=W) == pytest.approx(model.score(X.repeat(W, 0)))
    model = isthmus.Autoencoder(**FAST, validation_split="time").fit(X, sample_weight=1 + W)
    held = -model.score(X[-4:], sample_weight=1 + W[-4:])
    assert model.history_[-1]["valid_loss"] == pytest.approx(held, rel=1e-5)


def test_rows_that_are_read_during_training(monkeypatch):
    weights = 1 + W
    dense = isthmus.Autoencoder(**FAST, **EXACT).fit(X, sample_weight=weights)
    monkeypatch.setattr(sparse_rows, "MAX_DENSE_BYTES", 0)
    for rows in (sparse.csr_array(X), sparse.coo_array(X)):
        model = isthmus.Autoencoder(**FAST, **EXACT).fit(rows, sample_weight=weights)
        np.testing.assert_allclose(model.transform(X), dense.transform(X), atol=1e-6)
        model.partial_fit(rows, sample_weight=weights)
        held = isthmus.Autoencoder(**FAST, validation_split="time").fit(rows, sample_weight=weights)
        score = -held.score(X[-4:], sample_weight=weights[-4:])
        assert held.history_[-1]["valid_loss"] == pytest.approx(score, rel=1e-5)


def test_a_checkpoint_remembers_weights(tmp_path):
    full = isthmus.VAE(**FAST).fit(X, sample_weight=W)
    half = isthmus.VAE(**FAST | {"epochs": 2})
    half.fit(X, sample_weight=W, callbacks=[Checkpoint(tmp_path, every=0)])
    for other in (None, W + (np.arange(40) == np.argmax(W))):
        with pytest.raises(ValueError, match="other data"):
            isthmus.VAE(**FAST).fit(X, sample_weight=other, resume_from=tmp_path)
    assert same(isthmus.VAE(**FAST).fit(X, sample_weight=W, resume_from=tmp_path), full)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(39), r"one weight for each of 40 rows, got shape \(39,\)"),
        (np.ones((40, 1)), "one weight for each of 40 rows"),
        (np.where(np.arange(40) == 7, -1, 1), r"sample_weight\[7\] is -1.0"),
        (np.where(np.arange(40) == 7, np.nan, 1), r"sample_weight\[7\] is nan"),
        (np.ma.masked_equal(np.arange(40), 7), r"sample_weight\[7\] is nan"),
        (np.ma.masked_equal(np.arange(40.0), 7), r"sample_weight\[7\] is nan"),
        (np.zeros(40), "zero for every row"),
        (np.arange(40) == 3, "at least 2 rows|minimum of 2"),
    ],
)
def test_errors(weights, message):
    with pytest.raises(ValueError, match=message):
        isthmus.VAE(**FAST).fit(X, sample_weight=weights)


def test_errors_name_the_rows_of_x():
    bad = X.copy()
    bad[30, 1] = np.nan
    with pytest.raises(ValueError, match="row 30, feature 1"):
        isthmus.VAE(**FAST).fit(bad, sample_weight=np.arange(40) >= 20)
    with pytest.raises(ValueError, match="X has 40 rows, but y has 39"):
        isthmus.ConditionalVAE(**FAST).fit(X, Y[:39], sample_weight=W)


def batches_of(weights, size=8, y=None):
    """Return the batches of a loader with weights."""
    return [
        (X[i : i + size], None if y is None else y[i : i + size], weights[i : i + size])
        for i in range(0, len(X), size)
    ]


@pytest.mark.parametrize("name", ["autoencoder", "vae", "conditional-vae"])
def test_loaders_with_weights(name):
    make, y = lambda: ESTIMATORS[name](**FAST), Y if name == "conditional-vae" else None
    model = make().fit_loader(batches_of(W, y=y))
    absent = [tuple(p if p is None else p[b[2] > 0] for p in b) for b in batches_of(W, y=y)]
    assert same(model, make().fit_loader(absent))
    assert same(model, make().fit_loader([list(b) for b in batches_of(5 * W, y=y)]))
    valid = make().fit_loader(batches_of(W, y=y), valid=(X, y, W)).history_[-1]["valid_loss"]
    rows = {"X_val": X.repeat(W, 0), "y_val": None if y is None else Y.repeat(W)}
    if name == "autoencoder":  # draws nothing
        repeated = make().fit_loader(batches_of(W, y=y), valid=X.repeat(W, 0))
        assert valid == pytest.approx(repeated.history_[-1]["valid_loss"], rel=1e-5)
    one = make().fit(X, Y, X_val=X, y_val=rows["y_val"] if y is None else Y, sample_weight_val=W)
    two = make().fit(X, Y, X_val=X[W > 0], y_val=y if y is None else Y[W > 0],
                     sample_weight_val=W[W > 0])  # fmt: skip
    assert one.history_[-1]["valid_loss"] == two.history_[-1]["valid_loss"]


def test_a_loader_of_one_batch_is_a_fit():
    fit = isthmus.Autoencoder(**FAST, **EXACT).fit(X, sample_weight=W)
    loaded = isthmus.Autoencoder(**FAST, **EXACT).fit_loader([(X, None, W)])
    repeated = isthmus.Autoencoder(**FAST, **EXACT).fit_loader([X.repeat(W, 0)])
    np.testing.assert_allclose(loaded.transform(X), fit.transform(X), atol=1e-5)
    np.testing.assert_allclose(loaded.transform(X), repeated.transform(X), atol=1e-4)
    data = torch.utils.data.TensorDataset(*map(torch.from_numpy, (X, Y, W)))
    torches = isthmus.Autoencoder(**FAST, **EXACT).fit_loader(torch.utils.data.DataLoader(data, 40))
    assert same(torches, loaded)


def test_validation_rows_with_weights():
    held = {"X_val": X, "sample_weight_val": W}
    loss = isthmus.Autoencoder(**FAST).fit(X, **held).history_[-1]["valid_loss"]
    other = isthmus.Autoencoder(**FAST).fit(X, X_val=X.repeat(W, 0)).history_[-1]["valid_loss"]
    assert loss == pytest.approx(other, rel=1e-5)
    with pytest.raises(ValueError, match="sample_weight_val is for X_val, which is missing"):
        isthmus.Autoencoder(**FAST).fit(X, sample_weight_val=W)
    with pytest.raises(ValueError, match="sample_weight_val: sample_weight must hold one weight"):
        isthmus.Autoencoder(**FAST).fit(X, X_val=X, sample_weight_val=W[1:])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([(X, None, W[1:])], "40 rows, but 39 sample weights"),
        ([(X, None, W), (X, None, -1.0 - W)], r"batch 2 of the loader: .*\[0\] is -"),
        ([(X, None, W), X], "batch 2 of the loader: all batches must have sample weights, or none"),
        ([(X, Y[1:])], "40 rows, but 39 labels"),
        ([(X, Y, 0 * W)], "only rows of weight 0"),
    ],
)
def test_errors_of_loaders(batches, message, monkeypatch):
    monkeypatch.setattr(loader_adapter, "PREVIEW_BYTES", 0)
    with pytest.raises(ValueError, match=message):
        isthmus.VAE(**FAST).fit_loader(batches)


def test_validation_rows_of_a_loader_must_count():
    with pytest.raises(ValueError, match="valid holds no rows, or only rows of weight 0"):
        isthmus.VAE(**FAST).fit_loader([X], valid=(X, None, 0 * W))


def test_three_examples_are_no_weights():
    for batch in ([*X[:3]], X[:3].tolist(), [*RNG.random((3, 4, 4))]):
        assert as_batch(batch).X.shape[0] == 3
