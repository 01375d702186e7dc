"""Behaviour of the estimators beyond scikit-learn's conventions."""

import copy
import random
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits

import isthmus
from isthmus.estimators import ESTIMATORS
from isthmus.evaluation import importance_weighted
from isthmus.nn.dense import Shapes, mlp
from isthmus.training import Trainer

FAST = {"epochs": 2, "hidden": (16,), "n_components": 3, "random_state": 0}
DIGITS = load_digits()
X, Y = DIGITS.images[:300] / 16, DIGITS.target[:300]
TABLE = load_breast_cancer().data
RNG = np.random.default_rng(0)
SHAPES = {
    "mlp": [(7,), (2, 3, 4, 5)],
    "gated": [(5, 4)],
    "conv": [(9, 7), (3, 10, 13), (1, 28, 28)],
    "resnet": [(2, 8, 8)],
    "conv1d": [(23,), (2, 37)],
}


@cache
def _fitted(name):
    return ESTIMATORS[name](likelihood="bernoulli", **FAST).fit(X, Y)


def fitted(name="vae"):
    """Return a copy of a model that was fitted once on the digits."""
    return copy.deepcopy(_fitted(name))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("backbone", SHAPES)
def test_outputs_keep_the_shape_of_the_data(name, backbone):
    shapes = (
        SHAPES[backbone] if name in ("autoencoder", "conditional-vae") else SHAPES[backbone][:1]
    )
    for shape in shapes:
        data = RNG.random((20, *shape))
        model = ESTIMATORS[name](backbone=backbone, **FAST | {"epochs": 1})
        codes = model.fit(data, np.arange(20) % 2).transform(data)
        assert codes.shape == (20, 3)
        assert model.reconstruct(data).shape == data.shape
        assert model.inverse_transform(codes).shape == data.shape
        assert model.score_samples(data).shape == (20,)
        assert model.n_features_in_ == np.prod(shape)
        if model.prior:
            assert model.sample(4, random_state=0).shape == (4, *shape)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("backbone", ["mlp", "conv"])
def test_result_of_a_row_does_not_depend_on_the_other_rows(name, backbone):
    model = ESTIMATORS[name](backbone=backbone, **FAST).fit(X, Y)
    order = RNG.permutation(len(X))
    for method in ("transform", "reconstruct", "score_samples"):
        whole = getattr(model, method)(X)
        np.testing.assert_array_equal(getattr(model, method)(X[order]), whole[order])
        np.testing.assert_array_equal(getattr(model, method)(X[7:8]), whole[7:8])


def test_bytes_are_mapped_to_the_unit_interval():
    raw = RNG.integers(0, 256, (60, 5, 5), dtype=np.uint8)
    grey = isthmus.VAE(likelihood="bernoulli", **FAST)
    a = clone(grey).fit(raw)
    b = clone(grey).fit(raw.astype(np.float32) / 255)
    np.testing.assert_allclose(a.transform(raw), b.transform(raw / 255.0), atol=1e-6)
    assert a.reconstruct(raw).dtype == np.float32
    assert a.reconstruct(raw).max() <= 1


def test_auto_likelihood_and_scaling_depend_on_the_data():
    table = isthmus.VAE(**FAST).fit(TABLE)
    assert (table.likelihood_, table.scaling_) == ("gaussian-per-feature", "standard")
    assert isthmus.VAE(**FAST).fit(16 * X).scaling_ == "global"
    assert isthmus.VAE(**FAST).fit(X).likelihood_ == "gaussian"
    assert isthmus.VAE(**FAST).fit(X > 0.5).scaling_ == "none"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f8", "<f4"])
def test_any_memory_layout_and_byte_order_is_accepted(dtype):
    model = fitted()
    expected = model.transform(X.astype(np.float32))
    odd = np.asfortranarray(X.astype(dtype))[::-1]
    odd.setflags(write=False)
    np.testing.assert_allclose(model.transform(odd)[::-1], expected, atol=1e-6)
    assert model.transform(odd).dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_float_type_of_the_input(dtype):
    model, data = fitted(), X.astype(dtype)
    codes = model.transform(data)
    results = [codes, model.reconstruct(data), model.inverse_transform(codes)]
    results += model.posterior(data)
    assert {a.dtype for a in results} == {np.dtype(dtype)}
    assert model.score_samples(data).dtype == np.float64
    assert isinstance(model.score(data), float)


def test_tensors_and_flat_rows_are_accepted():
    model = isthmus.VAE(**FAST).fit(torch.tensor(X))
    flat = model.transform(X.reshape(len(X), -1))
    np.testing.assert_array_equal(flat, model.transform(X))


def weights(model):
    return [p.detach().numpy() for p in model.model_.parameters()]


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_same_seed_gives_the_same_model_and_keeps_global_random_states(name):
    numpys = np.random.get_state()[1].copy()  # noqa: NPY002
    states = random.getstate(), numpys, torch.random.get_rng_state()
    a = ESTIMATORS[name](dropout=0.1, **FAST).fit(X, Y)
    torch.manual_seed(123)
    b = ESTIMATORS[name](dropout=0.1, **FAST).fit(X, Y)
    torch.random.set_rng_state(states[2])
    for left, right in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(left, right)
    if a.prior:
        np.testing.assert_array_equal(a.sample(5, random_state=1), b.sample(5, random_state=1))
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_without_a_seed_fits_differ():
    settings = FAST | {"random_state": None}
    a, b = (isthmus.VAE(**settings).fit(X) for _ in range(2))
    assert not np.array_equal(weights(a)[0], weights(b)[0])


def test_scores_are_densities_in_the_units_of_the_data():
    model = isthmus.VAE(**FAST).fit(TABLE)
    tenfold = isthmus.VAE(**FAST).fit(10 * TABLE)
    shift = TABLE.shape[1] * np.log(10)
    assert tenfold.score(10 * TABLE) == pytest.approx(model.score(TABLE) - shift, abs=0.01)
    np.testing.assert_allclose(
        tenfold.reconstruct(10 * TABLE), 10 * model.reconstruct(TABLE), rtol=1e-3
    )


@pytest.mark.parametrize("scaling", ["standard", "global", "none"])
def test_autoencoder_score_is_the_normal_density_for_every_scaling(scaling):
    model = isthmus.Autoencoder(scaling=scaling, **FAST).fit(TABLE)
    noise = model.model_.likelihood.scale.detach().numpy() * model.scaler_.scale
    density = norm(model.reconstruct(TABLE), noise).logpdf(TABLE).sum(1)
    np.testing.assert_allclose(model.score_samples(TABLE), density, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("scaling", ["standard", "global"])
def test_score_does_not_depend_on_an_offset_of_the_data(scaling):
    def difference(kind):
        a, b = (kind(scaling=scaling, **FAST).fit(TABLE + move) for move in (0.0, 1e4))
        return np.abs(a.score_samples(TABLE) - b.score_samples(TABLE + 1e4))

    assert difference(isthmus.Autoencoder).max() < 1e-3
    # Rows that the offset rounds have other draws from the posterior; most have the same.
    assert np.median(difference(isthmus.VAE)) < 1e-3


def test_history_has_the_units_of_the_score():
    train, valid = TABLE[:400], TABLE[400:]
    model = isthmus.VAE(n_components=2, hidden=(32,), epochs=30, random_state=0)
    model.fit(train, X_val=valid)
    record = model.history_[model.best_epoch_ - 1]
    # In other units they would differ by the sum of the logarithms of 30 scales.
    assert np.abs(np.log(model.scaler_.scale).sum()) > 10
    assert record["valid_loss"] == pytest.approx(-model.score(valid), abs=0.5)


def test_columns_with_large_offsets_keep_their_digits():
    data = RNG.normal(size=(200, 3)) + np.array([0.0, 1e6, 1e9])
    settings = {"n_components": 3, "hidden": (32,), "random_state": 0}
    model = isthmus.Autoencoder(epochs=60, learning_rate=5e-3, **settings).fit(data)
    assert np.abs(model.reconstruct(data) - data).mean() < 0.3


def test_constant_columns_are_scaled_by_one():
    data = np.column_stack([RNG.normal(size=50), np.full(50, 7.3), np.zeros(50)])
    model = isthmus.VAE(**FAST).fit(data)
    assert np.isfinite(model.score_samples(data)).all()
    np.testing.assert_allclose(model.scaler_.scale[1:], 1.0)
    constant = isthmus.VAE(**FAST).fit(np.full((20, 4), 3.0))
    assert np.isfinite(constant.score(np.full((5, 4), 3.0)))


def test_score_is_minus_rate_minus_distortion():
    model = fitted()
    rate, distortion = model.rate_distortion(X)
    np.testing.assert_array_equal(model.score_samples(X), -(rate + distortion))
    mean, std = model.posterior(X)
    closed = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(1)
    np.testing.assert_allclose(rate, closed, rtol=1e-4)
    np.testing.assert_array_equal(mean, model.transform(X))


def test_posterior_of_an_autoencoder_has_no_spread():
    assert not fitted("autoencoder").posterior(X).std.any()


def test_partial_fit_continues_from_the_current_weights():
    model = isthmus.VAE(**FAST)
    losses = [model.partial_fit(X).history_[-1]["loss"] for _ in range(20)]
    assert losses[-1] < losses[0]
    assert model.n_iter_ == len(model.history_) == 20
    before = model.score(X)
    assert model.partial_fit(X).n_iter_ == 21
    assert fitted().partial_fit(X).n_iter_ == 3
    assert model.score(X) == pytest.approx(before, abs=1.0)


def test_partial_fit_works_under_inference_mode():
    with torch.inference_mode():
        model = isthmus.VAE(**FAST).partial_fit(X)
    expected = isthmus.VAE(**FAST).partial_fit(X).partial_fit(X)
    np.testing.assert_array_equal(model.partial_fit(X).transform(X), expected.transform(X))


def fail_in_the_second_step(monkeypatch, error):
    """Make training raise an error in its second step."""
    update, steps = Trainer.update, []

    def update_or_fail(self, *args):
        steps.append(1)
        if len(steps) == 2:
            raise error
        return update(self, *args)

    monkeypatch.setattr(Trainer, "update", update_or_fail)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_partial_fit_is_reproducible_and_keeps_global_random_states(dropout):
    before = torch.random.get_rng_state()
    a = isthmus.VAE(dropout=dropout, **FAST).partial_fit(X).partial_fit(X)
    untouched = torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(123)
    b = isthmus.VAE(dropout=dropout, **FAST).partial_fit(X).partial_fit(X)
    torch.random.set_rng_state(before)
    assert untouched
    np.testing.assert_array_equal(a.transform(X), b.transform(X))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no memory")])
def test_interrupted_partial_fit_leaves_the_model_unchanged(monkeypatch, error):
    model = isthmus.VAE(dropout=0.3, **FAST).fit(X)
    before = model.transform(X), model.n_iter_, len(model.history_)
    fail_in_the_second_step(monkeypatch, error)
    with pytest.raises(type(error)):
        model.partial_fit(X)
    assert not model.model_.training  # or dropout would be on in transform
    np.testing.assert_array_equal(model.transform(X), before[0])
    assert (model.n_iter_, len(model.history_)) == before[1:]


def test_diverging_partial_fit_warns_and_keeps_the_weights():
    model = isthmus.VAE(likelihood="gaussian", **FAST).fit(X)
    before = model.score(X)
    model.set_params(learning_rate=1e6)
    with pytest.warns(RuntimeWarning, match="diverged") as warned:
        model.partial_fit(X)
    assert warned[0].filename == __file__
    assert model.score(X) == before


def test_partial_fit_uses_a_changed_learning_rate():
    # Averaged weights would still follow those of the first call, and a warm-up hide the rate.
    model = isthmus.VAE(ema=0.0, warmup=0, **FAST).partial_fit(X)
    before = model.transform(X)
    model.set_params(learning_rate=1e-12).partial_fit(X)
    np.testing.assert_allclose(model.transform(X), before, atol=1e-6)
    model.set_params(learning_rate=1e-2).partial_fit(X)
    assert np.abs(model.transform(X) - before).max() > 0.01


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.partial_fit(X[:, :7], Y), "fitted on examples of shape"),
        (lambda m: m.partial_fit(2 * X, Y), "values between 0 and 1"),
        (lambda m: m.partial_fit(X, Y + 50), "unknown label '5[0-9]'"),
        (lambda m: m.partial_fit(X, Y[:5]), "300 rows"),
        (lambda m: m.partial_fit(X, Y[:1]), "300 rows"),
        (lambda m: m.set_params(batch_size=0).partial_fit(X, Y), "batch_size must be"),
    ],
)
def test_partial_fit_on_invalid_data_leaves_the_model_unchanged(call, words):
    model = fitted("conditional-vae")
    before, n_iter = model.transform(X), model.n_iter_
    with pytest.raises(ValueError, match=words):
        call(model)
    np.testing.assert_array_equal(model.transform(X), before)
    assert model.n_iter_ == n_iter


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_failed_first_fit_leaves_the_estimator_unchanged(method):
    model = isthmus.VAE(**FAST)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="NaN"):
        getattr(model, method)(nan_at(5, (2, 3)))
    assert vars(model) == before


@pytest.mark.parametrize("method", ["transform", "score_samples", "get_feature_names_out"])
def test_changed_settings_take_effect_at_the_next_fit(method):
    model = fitted()
    arguments = () if method == "get_feature_names_out" else (X,)
    before = getattr(model, method)(*arguments)
    model.set_params(n_components=7)
    np.testing.assert_array_equal(getattr(model, method)(*arguments), before)


def test_samples_are_reproducible_only_with_a_seed():
    model = fitted()
    assert np.array_equal(model.sample(3, random_state=1), model.sample(3, random_state=1))
    assert not np.array_equal(model.sample(3), model.sample(3))
    noisy = model.sample(3, random_state=1, noise=True)
    assert set(np.unique(noisy)) <= {0.0, 1.0}


def test_numpy_integers_are_valid_seeds():
    model = isthmus.VAE(**FAST | {"random_state": np.int64(0)}).fit(X)
    same = model.sample(np.int64(3), random_state=np.int64(1))
    np.testing.assert_array_equal(same, model.sample(3, random_state=1))


def test_samples_of_a_class_are_reproducible_and_differ_between_classes():
    model = isthmus.ConditionalVAE(**FAST | {"epochs": 30}).fit(X, Y)
    sevens = model.sample(5, random_state=1, y=7)
    np.testing.assert_array_equal(model.sample(5, random_state=1, y=[7] * 5), sevens)
    assert not np.array_equal(model.sample(5, random_state=1, y=1), sevens)


def test_dropout_is_inactive_after_fit():
    model = isthmus.VAE(dropout=0.5, **FAST).fit(X)
    np.testing.assert_array_equal(model.transform(X), model.transform(X))
    np.testing.assert_array_equal(model.sample(3, random_state=1), model.sample(3, random_state=1))


def test_sample_generates_a_class_and_rejects_unknown_labels():
    model = fitted("conditional-vae")
    assert model.sample(3, y=7).shape == (3, 8, 8)
    assert model.sample(2, y=[1, 2]).shape == (2, 8, 8)
    assert model.sample(2).shape == (2, 8, 8)
    with pytest.raises(ValueError, match=r"unknown label '11'; labels seen during fit: 0, 1"):
        model.sample(2, y=11)
    with pytest.raises(ValueError, match="for each of the 3 rows"):
        model.sample(3, y=[1, 2])
    assert np.isfinite(model.score(X, condition=Y))


def test_numeric_conditions_are_accepted():
    angle = RNG.random((300, 2))
    model = isthmus.ConditionalVAE(**FAST).fit(X, angle)
    assert model.sample(4, y=angle[:4]).shape == (4, 8, 8)
    assert model.transform(X, condition=angle).shape == (300, 3)
    one_for_all = model.transform(X, condition=angle[0])
    np.testing.assert_array_equal(one_for_all, model.transform(X, condition=[angle[0]] * 300))


@pytest.mark.parametrize("wrong", [lambda c: c.T, np.ravel, lambda c: c[:, :1]])
def test_numeric_conditions_of_the_wrong_shape_raise(wrong):
    angle = RNG.random((300, 2))
    model = isthmus.ConditionalVAE(**FAST).fit(X, angle)
    with pytest.raises(ValueError, match="condition"):
        model.transform(X, condition=wrong(angle))


@pytest.mark.parametrize("labels", [Y.astype(str), [f"n{k}" for k in Y], Y > 4, Y.astype(object)])
def test_labels_of_any_type_are_accepted(labels):
    model = isthmus.ConditionalVAE(**FAST).fit(X, labels)
    assert list(model.classes_) == sorted(set(labels))
    assert model.sample(2, y=labels[0]).shape == (2, 8, 8)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_labels_raise(missing):
    labels = np.array([f"n{k}" for k in Y], dtype=object)
    labels[3] = missing
    with pytest.raises(ValueError, match=r"y .*missing.*row 3"):
        isthmus.ConditionalVAE(**FAST).fit(X, labels)


@pytest.mark.parametrize("name", ["autoencoder", "denoising", "sparse", "contractive"])
def test_sampling_without_a_prior_raises(name):
    with pytest.raises(ValueError, match=r"has no prior to sample from.*Fit a VAE"):
        fitted(name).sample(3)


def test_custom_backbone():
    def custom(shapes: Shapes):
        return mlp(shapes, (5,))

    assert isthmus.VAE(backbone=custom, **FAST).fit(X).transform(X).shape == (300, 3)

    def wrong(shapes: Shapes):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 7)), custom(shapes)[1]

    with pytest.raises(ValueError, match="the encoder of your backbone must return 6 numbers"):
        isthmus.VAE(backbone=wrong, **FAST).fit(X)


def test_custom_backbone_receives_the_condition_width():
    seen = []

    def custom(shapes: Shapes):
        seen.append(shapes)
        return mlp(shapes, (5,))

    model = isthmus.ConditionalVAE(backbone=custom, **FAST).fit(X, Y)
    assert seen == [Shapes((8, 8), 3, 2, 1, condition=11, inputs=(8, 8), outputs=64)]
    assert model.sample(2, y=3).shape == (2, 8, 8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda s: (mlp(s, (5,))[0], torch.nn.Linear(3, 63)), "decoder of your backbone must ret"),
        (lambda s: torch.nn.Linear(64, 6), "your backbone must return"),
    ],
)
def test_invalid_backbone_raises_and_leaves_the_model_unchanged(wrong, words):
    model = fitted()
    before = model.transform(X)
    with pytest.raises(ValueError, match=words):
        model.set_params(backbone=wrong).fit(X)
    np.testing.assert_array_equal(model.transform(X), before)


def nan_at(row, place, value=np.nan):
    bad = X.copy()
    bad[(row, *place)] = value
    return bad


def test_list_of_images_is_accepted():
    model = fitted().fit(list(X))
    np.testing.assert_array_equal(model.transform([X[0], X[1]]), model.transform(X[:2]))


def test_noisy_input_may_leave_the_range_of_the_likelihood():
    model = fitted()
    noisy = X + np.random.default_rng(0).normal(0, 2, X.shape)
    assert not ((noisy >= 0) & (noisy <= 1)).all()
    assert np.isfinite(model.reconstruct(noisy)).all()


BAD = [
    (lambda m: m.fit(nan_at(5, (2, 3))), r"contains NaN: the first at row 5, feature \(2, 3\)"),
    (lambda m: m.fit(nan_at(5, (2, 3), np.inf)), "contains infinity: the first at row 5"),
    (lambda m: m.fit(nan_at(5, (2, 3)).reshape(300, -1)), "NaN: the first at row 5, feature 19"),
    (lambda m: m.transform(X[:, :7]), r"have shape \(7, 8\), but VAE was fitted on .* \(8, 8\)"),
    (lambda m: m.transform(X.reshape(300, -1)[:, :3]), "X has 3 features, but VAE is expecting 64"),
    (lambda m: m.set_params(likelihood="bernoulli").fit(16 * X), "'bernoulli'.*between 0 and 1"),
    (lambda m: m.score_samples(2 * X), "'bernoulli' takes values between 0 and 1"),
    (lambda m: m.transform(255 * X), r"values between 0 and 1, but X has .* in row 0, feature \("),
    (lambda m: m.transform(X[0]), r"shape of one example, \(8, 8\): pass X\[None\]"),
    (lambda m: m.set_params(strategy=[1]).partial_fit(X), "strategy must be one of"),
    (lambda m: m.reconstruct(X - 20), r"between 0 and 1, but X has -20 in row 0, feature \(0, 0\)"),
    (
        lambda m: m.set_params(n_components=0).fit(X),
        "n_components must be an integer of at least 1",
    ),
    (lambda m: m.fit(np.empty((0, 8, 8))), "X is empty"),
    (lambda m: m.fit(np.empty((0, 8))), "0 sample"),
    (lambda m: m.fit(X[:1]), "1 sample"),
    (lambda m: m.fit(X.reshape(300, -1)[:1]), "1 sample"),
    (lambda m: m.fit(np.array([["a", "b"], ["c", "d"]])), "[Cc]onvert"),
    (lambda m: m.fit(np.full((4, 2, 2), "a")), "X must hold numbers"),
    (lambda m: m.inverse_transform(np.zeros((2, 9))), "Z has 9 columns, but the codes"),
    (lambda m: m.transform(X, condition=Y), "was not trained with labels"),
    (lambda m: m.sample(0), "n_samples must be at least 1"),
    (lambda m: m.sample(2, y=3), "was not trained with labels: .*ConditionalVAE"),
    (lambda m: m.transform(nan_at(5, (2, 3))), r"NaN: the first at row 5, feature \(2, 3\)"),
    (lambda m: m.inverse_transform(np.full((2, 3), np.nan)), "Z contains NaN"),
    (lambda m: m.set_params(n_components=2.5).fit(X), "n_components must be an integer"),
    (lambda m: m.set_params(backbone="cnn").fit(X), "backbone must be one of .* Did you mean"),
    (lambda m: m.set_params(device="warp").fit(X), "device must be 'auto' or"),
    (lambda m: m.set_params(scaling="standard").fit(X), "scaling='standard' would move values"),
    (
        lambda m: m.set_params(binarize=True, likelihood="auto").fit(16 * X),
        "binarize=True draws 0 or 1",
    ),
    (lambda m: m.set_params(backbone="conv1d").fit(X[:, None]), "convolutional backbone expects"),
]


@pytest.mark.parametrize(("call", "words"), BAD)
def test_invalid_input_raises_and_leaves_the_model_unchanged(call, words):
    model = fitted()
    before = model.transform(X), model.n_features_in_, model.feature_shape_
    parameters = model.get_params()
    with pytest.raises(ValueError, match=words):
        call(model)
    model.set_params(**parameters)
    np.testing.assert_array_equal(model.transform(X), before[0])
    assert (model.n_features_in_, model.feature_shape_) == before[1:]


def test_conditional_model_requires_labels():
    with pytest.raises(ValueError, match=r"requires y to be passed.*use VAE"):
        isthmus.ConditionalVAE(**FAST).fit(X)
    with pytest.raises(ValueError, match="X has 300 rows, but y has 5"):
        isthmus.ConditionalVAE(**FAST).fit(X, Y[:5])


def test_transform_uses_batches_of_at_most_1024_rows():
    model = fitted()
    seen = []
    model.model_.encoder.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    model.transform(np.broadcast_to(X[:1], (5000, 8, 8)))
    assert max(seen) <= 1024


def test_numeric_conditions_are_standardised(tmp_path):
    rng = np.random.default_rng(0)
    year = rng.uniform(1900, 2000, 400)
    X = (year[:, None] - 1950) / 30 + 0.1 * rng.normal(size=(400, 4))
    settings = {"n_components": 1, "hidden": (32,), "epochs": 10, "random_state": 0}
    model = isthmus.ConditionalVAE(**settings).fit(X, year)
    same = isthmus.ConditionalVAE(**settings).fit(X, (year - 1950) / 30)
    np.testing.assert_allclose(
        model.score_samples(X, condition=year),
        same.score_samples(X, condition=(year - 1950) / 30),
        rtol=1e-3,
    )
    model.save(tmp_path)
    again = isthmus.load(tmp_path)
    np.testing.assert_array_equal(
        again.transform(X, condition=year), model.transform(X, condition=year)
    )


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_axes_of_length_one_may_have_negative_strides(kind):
    rows = (np.random.default_rng(0).random((600, 1, 4, 4)) * 200).astype(kind)
    turned = rows[:, ::-1]
    assert turned.strides[1] < 0
    model = isthmus.VAE(n_components=2, hidden=(8,), epochs=1, random_state=0).fit(turned)
    np.testing.assert_array_equal(model.transform(turned), model.transform(rows))
    assert model.tensors(turned)[0].shape == (600, 1, 4, 4)


def test_tensors_returns_copies():
    rows = np.random.default_rng(0).random((20, 6), np.float32)
    model = isthmus.VAE(n_components=2, hidden=(8,), epochs=1, scaling="none").fit(rows)
    before = rows.copy()
    model.tensors(rows)[0].zero_()
    np.testing.assert_array_equal(rows, before)


def test_codes_in_another_byte_order_keep_their_precision():
    X = np.random.default_rng(0).random((20, 4)).astype(np.float32)
    model = isthmus.Autoencoder(n_components=2, hidden=(), epochs=1).fit(X)
    codes = model.transform(X)
    decoded = model.inverse_transform(codes.astype(codes.dtype.newbyteorder()))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, model.inverse_transform(codes))


@pytest.mark.parametrize("seed", [2**64, -1, 1.5, "a", np.float64(3), True])
def test_seeds_are_checked_wherever_numbers_are_drawn(seed):
    model = isthmus.VAE(n_components=2, hidden=(4,), epochs=1, random_state=0).fit(np.eye(8))
    draws = [
        lambda: clone(model).set_params(random_state=seed).fit(np.eye(8)),
        lambda: model.sample(2, random_state=seed),
        lambda: importance_weighted(model, np.eye(8), random_state=seed),
    ]
    for draw in draws:
        with pytest.raises(ValueError, match=r"random_state must be an integer of at least 0"):
            draw()


@pytest.mark.parametrize("seed", [2**64 - 1, np.int64(3), np.uint64(2**64 - 1), np.uint8(3)])
def test_seeds_of_any_size_and_type_repeat_the_result(seed, tmp_path):
    model = isthmus.VAE(n_components=2, hidden=(4,), epochs=1, random_state=seed).fit(np.eye(8))
    again = isthmus.VAE(n_components=2, hidden=(4,), epochs=1, random_state=int(seed)).fit(
        np.eye(8)
    )
    np.testing.assert_array_equal(model.transform(np.eye(8)), again.transform(np.eye(8)))
    model.partial_fit(np.eye(8))
    model.save(tmp_path)
    assert isthmus.load(tmp_path).random_state == int(seed)
    assert np.shape(model.sample(2, random_state=seed)) == (2, 8)


@pytest.mark.parametrize("hidden", [(2**30, 2**30), (2**30, 2**30, 2**30)])
def test_a_model_too_large_for_memory_says_so(hidden):
    with pytest.raises(MemoryError, match="memory is too small for the model"):
        isthmus.VAE(hidden=hidden, epochs=1).fit(np.eye(8))


def test_dropout_can_be_a_numpy_number():
    isthmus.VAE(hidden=(4,), epochs=1, dropout=np.float32(0.5)).fit(np.eye(8))
