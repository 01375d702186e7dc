"""What estimators promise beyond scikit-learn's conventions."""

import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits

import isthmus
from isthmus.backbones import Shapes, mlp
from isthmus.estimators import ESTIMATORS

FAST = {"epochs": 2, "hidden": (16,), "n_components": 3, "random_state": 0}
DIGITS = load_digits()
X, Y = DIGITS.images[:300] / 16, DIGITS.target[:300]
TABLE = load_breast_cancer().data
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize(
    ("backbone", "shape"),
    [
        ("mlp", (7,)),
        ("gated", (5, 4)),
        ("conv", (9, 7)),
        ("conv", (3, 10, 13)),
        ("resnet", (2, 8, 8)),
        ("conv1d", (2, 37)),
        ("mlp", (2, 3, 4, 5)),
    ],
)
def test_outputs_keep_the_shape_of_the_data(name, backbone, shape):
    data = RNG.random((20, *shape))
    model = ESTIMATORS[name](backbone=backbone, **FAST).fit(data, np.arange(20) % 2)
    assert model.transform(data).shape == (20, 3)
    assert model.reconstruct(data).shape == data.shape
    assert model.inverse_transform(model.transform(data)).shape == data.shape
    assert model.score_samples(data).shape == (20,)
    assert model.n_features_in_ == np.prod(shape)
    if model.prior:
        assert model.sample(4, random_state=0).shape == (4, *shape)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("backbone", ["mlp", "conv"])
def test_a_row_gets_the_same_answer_in_any_company(name, backbone):
    model = ESTIMATORS[name](backbone=backbone, **FAST).fit(X, Y)
    order = RNG.permutation(len(X))
    for method in ("transform", "reconstruct", "score_samples"):
        whole = getattr(model, method)(X)
        np.testing.assert_array_equal(getattr(model, method)(X[order]), whole[order])
        np.testing.assert_array_equal(getattr(model, method)(X[7:8]), whole[7:8])


def test_bytes_are_values_between_0_and_1():
    raw = RNG.integers(0, 256, (60, 5, 5), dtype=np.uint8)
    a = isthmus.VAE(**FAST).fit(raw)
    b = isthmus.VAE(**FAST).fit(raw.astype(np.float32) / 255)
    assert a.likelihood_ == b.likelihood_ == "bernoulli"
    np.testing.assert_allclose(a.transform(raw), b.transform(raw / 255.0), atol=1e-6)
    assert a.reconstruct(raw).dtype == np.float32
    assert a.reconstruct(raw).max() <= 1


def test_auto_decides_by_the_data_and_tells():
    assert isthmus.VAE(**FAST).fit(TABLE).likelihood_ == "gaussian"
    assert isthmus.VAE(**FAST).fit(TABLE).scaling_ == "standard"
    assert isthmus.VAE(**FAST).fit(16 * X).scaling_ == "global"
    assert isthmus.VAE(**FAST).fit(X).scaling_ == "none"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f8", "<f4"])
def test_any_layout_of_memory_is_taken(dtype):
    model = isthmus.VAE(**FAST).fit(X)
    expected = model.transform(X.astype(np.float32))
    odd = np.asfortranarray(X.astype(dtype))[::-1]
    odd.setflags(write=False)
    np.testing.assert_allclose(model.transform(odd)[::-1], expected, atol=1e-6)
    assert model.transform(odd).dtype == np.dtype(dtype).newbyteorder("=")


def test_tensors_and_flat_rows_are_taken():
    model = isthmus.VAE(**FAST).fit(torch.tensor(X))
    flat = model.transform(X.reshape(len(X), -1))
    np.testing.assert_array_equal(flat, model.transform(X))


def weights(model):
    return [p.detach().numpy() for p in model.model_.parameters()]


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_the_same_seed_gives_the_same_bits_and_touches_nothing_global(name):
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


def test_scores_are_densities_of_the_data_in_their_own_units():
    model = isthmus.VAE(**FAST).fit(TABLE)
    tenfold = isthmus.VAE(**FAST).fit(10 * TABLE)
    shift = TABLE.shape[1] * np.log(10)
    assert tenfold.score(10 * TABLE) == pytest.approx(model.score(TABLE) - shift, abs=0.01)
    np.testing.assert_allclose(
        tenfold.reconstruct(10 * TABLE), 10 * model.reconstruct(TABLE), rtol=1e-3
    )


def test_the_history_is_in_the_same_units_as_the_score():
    model = isthmus.VAE(n_components=2, epochs=30, random_state=0).fit(TABLE)
    record = model.history_[model.best_epoch_ - 1]
    assert record["valid_loss"] == pytest.approx(-model.score(TABLE), rel=0.2)


def test_a_large_offset_loses_no_digits():
    data = RNG.normal(size=(200, 3)) + np.array([0.0, 1e6, 1e9])
    model = isthmus.Autoencoder(n_components=3, hidden=(32,), epochs=200, random_state=0).fit(data)
    assert np.abs(model.reconstruct(data) - data).mean() < 0.3


def test_constant_columns_work():
    data = np.column_stack([RNG.normal(size=50), np.full(50, 7.3), np.zeros(50)])
    model = isthmus.VAE(**FAST).fit(data)
    assert np.isfinite(model.score_samples(data)).all()
    np.testing.assert_allclose(model.scaler_.scale[1:], 1.0)
    constant = isthmus.VAE(**FAST).fit(np.full((20, 4), 3.0))
    assert np.isfinite(constant.score(np.full((5, 4), 3.0)))


def test_the_elbo_is_rate_and_distortion():
    model = isthmus.VAE(**FAST).fit(X)
    rate, distortion = model.rate_distortion(X)
    np.testing.assert_array_equal(model.score_samples(X), -(rate + distortion))
    mean, std = model.posterior(X)
    closed = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(1)
    np.testing.assert_allclose(rate, closed, rtol=1e-4)
    np.testing.assert_array_equal(mean, model.transform(X))


def test_a_points_spread_is_zero():
    assert not isthmus.Autoencoder(**FAST).fit(X).posterior(X).std.any()


def test_partial_fit_goes_on_from_where_it_was():
    model = isthmus.VAE(**FAST)
    losses = [model.partial_fit(X).history_[-1]["loss"] for _ in range(20)]
    assert losses[-1] < losses[0]
    assert model.n_iter_ == len(model.history_) == 20
    before = model.score(X)
    assert model.partial_fit(X).n_iter_ == 21
    assert isthmus.VAE(**FAST).fit(X).partial_fit(X).n_iter_ == 3
    assert model.score(X) == pytest.approx(before, abs=1.0)


def test_samples_repeat_by_seed_and_differ_without():
    model = isthmus.VAE(**FAST).fit(X)
    assert np.array_equal(model.sample(3, random_state=1), model.sample(3, random_state=1))
    assert not np.array_equal(model.sample(3), model.sample(3))
    noisy = model.sample(3, random_state=1, noise=True)
    assert set(np.unique(noisy)) <= {0.0, 1.0}


def test_a_class_is_made_on_demand_and_unknown_ones_are_said():
    model = isthmus.ConditionalVAE(**FAST).fit(X, Y)
    assert model.sample(3, y=7).shape == (3, 8, 8)
    assert model.sample(2, y=[1, 2]).shape == (2, 8, 8)
    assert model.sample(2).shape == (2, 8, 8)
    with pytest.raises(ValueError, match=r"label '11' was not there.*known are: 0, 1"):
        model.sample(2, y=11)
    with pytest.raises(ValueError, match="for each of the 3 rows"):
        model.sample(3, y=[1, 2])
    told = model.score(X, condition=Y)
    assert np.isfinite(told)


def test_a_context_of_numbers_is_taken():
    angle = RNG.random((300, 2))
    model = isthmus.ConditionalVAE(**FAST).fit(X, angle)
    assert model.sample(4, y=angle[:4]).shape == (4, 8, 8)
    assert model.transform(X, condition=angle).shape == (300, 3)


@pytest.mark.parametrize("name", ["autoencoder", "denoising", "sparse", "contractive"])
def test_a_model_without_a_prior_says_so(name):
    model = ESTIMATORS[name](**FAST).fit(X)
    with pytest.raises(ValueError, match=r"has no prior to sample from.*Fit a VAE"):
        model.sample(3)


def test_a_backbone_of_your_own_serves():
    def mine(shapes: Shapes):
        return mlp(shapes, (5,))

    assert isthmus.VAE(backbone=mine, **FAST).fit(X).transform(X).shape == (300, 3)

    def wrong(shapes: Shapes):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 7)), mine(shapes)[1]

    with pytest.raises(ValueError, match="the encoder of your backbone must return 6 numbers"):
        isthmus.VAE(backbone=wrong, **FAST).fit(X)


def nan_at(row, place, value=np.nan):
    bad = X.copy()
    bad[(row, *place)] = value
    return bad


BAD = [
    (lambda m: m.fit(nan_at(5, (2, 3))), r"contains NaN: the first at row 5, feature \(2, 3\)"),
    (lambda m: m.fit(nan_at(5, (2, 3), np.inf)), "contains infinity: the first at row 5"),
    (lambda m: m.fit(nan_at(5, (2, 3)).reshape(300, -1)), "NaN: the first at row 5, feature 19"),
    (lambda m: m.transform(X[:, :7]), r"has shape \(7, 8\), but VAE was fitted on .* \(8, 8\)"),
    (lambda m: m.transform(X.reshape(300, -1)[:, :3]), "X has 3 features, but VAE is expecting 64"),
    (lambda m: m.set_params(likelihood="bernoulli").fit(16 * X), "'bernoulli' is for values betw"),
    (lambda m: m.score_samples(2 * X), "'bernoulli' is for values between 0 and 1"),
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
    (lambda m: m.set_params(device="warp").fit(X), "device must be 'auto' or"),
    (lambda m: m.set_params(scaling="standard").fit(X), "scaling='standard' would take values"),
    (lambda m: m.set_params(binarize=True).fit(16 * X), "binarize draws values of"),
    (lambda m: m.set_params(backbone="conv1d").fit(X[:, None]), "convolutional backbone is for"),
]


@pytest.mark.parametrize(("mistake", "words"), BAD)
def test_a_mistake_is_said_in_one_line_and_changes_nothing(mistake, words):
    model = isthmus.VAE(**FAST).fit(X)
    before = model.transform(X), model.n_features_in_, model.feature_shape_
    parameters = model.get_params()
    with pytest.raises(ValueError, match=words):
        mistake(model)
    model.set_params(**parameters)
    np.testing.assert_array_equal(model.transform(X), before[0])
    assert (model.n_features_in_, model.feature_shape_) == before[1:]


def test_a_model_with_labels_asks_for_them():
    with pytest.raises(ValueError, match=r"requires y to be passed.*Use VAE"):
        isthmus.ConditionalVAE(**FAST).fit(X)
    with pytest.raises(ValueError, match="X has 300 rows, but y has 5"):
        isthmus.ConditionalVAE(**FAST).fit(X, Y[:5])


def test_a_million_rows_need_no_million_rows_of_activations():
    model = isthmus.VAE(**FAST).fit(X)
    seen = []
    model.model_.encoder.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    model.transform(np.broadcast_to(X[:1], (5000, 8, 8)))
    assert max(seen) <= 256
