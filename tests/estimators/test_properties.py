"""Hypothesis properties: saving and loading, array layouts, splits into batches."""

import tempfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import isthmus
from isthmus.distributions.likelihoods import LIKELIHOODS
from isthmus.estimators import ESTIMATORS
from isthmus.estimators.batched_inference import inference_batch_size, row_noise
from isthmus.models.params import params_of

QUICK = settings(
    deadline=None,
    max_examples=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
THOROUGH = settings(QUICK, max_examples=400)
N = 24
REAL = ("gaussian", "laplace")
#: Settings limited so that a fit is fast and accepts the test data.
SMALL = {
    "n_components": st.integers(1, 6),
    "hidden": st.lists(st.integers(1, 12), max_size=2).map(tuple),
    "backbone": st.sampled_from(["mlp", "gated"]),
    "kernel_size": st.just(3),
    "epochs": st.integers(1, 2),
    "batch_size": st.integers(1, 40),
    "learning_rate": st.floats(1e-5, 1e-2),
    "weight_decay": st.floats(0, 0.1),
    "likelihood": st.sampled_from(["auto", *LIKELIHOODS]),
    "n_samples": st.integers(1, 3),
    "prior_modes": st.integers(1, 8),
    "n_active": st.none() | st.integers(1, 3),
    "revive_every": st.none() | st.integers(1, 3),
    "corruption_level": st.floats(0, 1),
    "compile": st.just(False),  # takes a minute
    "device": st.just("cpu"),
    "random_state": st.integers(0, 2**40),
    "progress": st.just("none"),
    "missing": st.sampled_from(["refuse", "ignore"]),
}


def values(p):
    """Return a strategy for the valid values of a setting."""
    if p.name in SMALL:
        return SMALL[p.name]
    if p.choices:
        own = st.sampled_from(p.choices)
    elif p.scalar is bool:
        own = st.booleans()
    elif p.scalar is int:
        own = st.integers(int(p.minimum or 1), int(p.minimum or 1) + 5)
    else:
        low = p.minimum if p.above is None else p.above
        own = st.floats(low, min(p.below or 10.0, 10.0)).filter(p.accepts)
    return st.none() | own if p.optional else own


@st.composite
def estimators(draw):
    """Draw a model; most settings keep their defaults, so that few exclude each other."""
    cls = ESTIMATORS[draw(st.sampled_from(sorted(ESTIMATORS)))]
    params = params_of(cls)
    chosen = draw(st.lists(st.sampled_from(sorted(params)), unique=True, max_size=6))
    always = ("hidden", "n_components", "epochs", "likelihood", "random_state", "device")
    names = dict.fromkeys([*always, *chosen])
    return cls(**{name: draw(values(params[name])) for name in names})


def rows_for(model, shape, rng):
    """Return rows in the range of the likelihood of the model."""
    if model.likelihood.startswith(REAL):
        return rng.normal(3, 5, size=(N, *shape))
    x = rng.random((N, *shape))
    return x if model.likelihood in ("auto", "continuous-bernoulli") else np.round(x)


def fitted(model, x, y):
    """Fit the model; discard examples whose settings exclude each other."""
    try:
        return model.fit(x, y)
    except (ValueError, ImportError) as error:
        reason = str(error)
    assume("\n" in reason)  # such an error has one line; a longer one is a bug
    raise AssertionError(reason)


def answers(model, x, y):
    condition = y if model.conditional else None
    yield model.transform(x, condition=condition)
    yield model.posterior(x).std
    yield model.reconstruct(x)
    yield model.score_samples(x, condition=condition)
    yield model.inverse_transform(model.transform(x))
    if model.prior:
        labels = {"y": y[0]} if model.conditional else {}
        yield model.sample(3, random_state=1, **labels)
        yield model.sample(3, random_state=1, noise=True, **labels)


# --------------------------------------------------------------- save and load


def round_trip(model, seed, shape):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(N) % 3)
    x = rows_for(model, shape, rng)
    model = fitted(model, x, y)
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        again = isthmus.load(folder, device="cpu")
    assert type(again) is type(model)
    assert again.get_params() == model.get_params()
    for now, before in zip(answers(again, x, y), answers(model, x, y), strict=True):
        np.testing.assert_array_equal(now, before)
    for name, value in model.model_.state_dict().items():
        assert torch.equal(again.model_.state_dict()[name], value), name


SHAPES = st.sampled_from([(1,), (5,), (3, 4), (2, 2, 3)])


@QUICK
@given(estimators(), st.integers(0, 99), SHAPES)
def test_loaded_model_gives_the_same_results(model, seed, shape):
    round_trip(model, seed, shape)


@pytest.mark.slow
@THOROUGH
@given(estimators(), st.integers(0, 2**32 - 1), SHAPES)
def test_loaded_model_gives_the_same_results_for_many_settings(model, seed, shape):
    round_trip(model, seed, shape)


# ------------------------------------------------------------------ any array


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def every_other(x):
    """Return a strided view with the same values."""
    wide = np.repeat(x, 2, axis=-1)
    return wide[..., ::2]


#: Containers and memory layouts for the same values.
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "every other": every_other,
    "backwards": lambda x: x[::-1].copy()[::-1],
    "swapped": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "list": lambda x: x.tolist() if x.ndim == 2 else x,
    "tensor": lambda x: torch.from_numpy(x.copy()),
}
MODELS = {
    shape: {
        name: ESTIMATORS[name](
            n_components=3, hidden=(8,), epochs=1, random_state=0, likelihood=likelihood
        )
        for name, likelihood in (
            ("autoencoder", "gaussian"),
            ("vae", "bernoulli"),
            ("sparse", "laplace"),
            ("beta-vae", "gaussian-network"),
        )
    }
    for shape in ((1,), (7,), (3, 4), (2, 3, 2), (2, 1, 2, 2))
}


@pytest.fixture(scope="module")
def models():
    """Return a fitted model of each kind and shape."""
    rng = np.random.default_rng(0)
    return {
        (shape, name): model.fit(rng.random((40, *shape)))
        for shape, kinds in MODELS.items()
        for name, model in kinds.items()
    }


KEYS = st.sampled_from([(shape, name) for shape, kinds in MODELS.items() for name in kinds])


@QUICK
@given(
    KEYS,
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from([np.float64, np.float32, np.float16, np.uint8, bool, np.int32]),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_results_do_not_depend_on_memory_layout_or_container(models, key, layout, dtype, n, seed):
    (shape, _), model = key, models[key]
    x = (np.random.default_rng(seed).random((n, *shape)) * 2).astype(dtype)
    x = np.minimum(x, np.ones((), dtype))
    assume(not (layout == "swapped" and x.dtype.itemsize == 1))
    array, before = LAYOUTS[layout](x), x.copy()
    assume(layout != "list" or dtype in (np.float64, np.int32, bool))  # lists have no other dtypes
    codes, out = model.transform(array), model.reconstruct(array)
    floats = x.dtype if x.dtype.kind == "f" else np.dtype(codes.dtype)
    assert codes.shape == (n, 3)
    assert out.shape == x.shape
    assert codes.dtype == out.dtype == floats
    assert codes.dtype.isnative
    assert model.score_samples(array).shape == (n,)
    np.testing.assert_array_equal(codes, model.transform(x))
    np.testing.assert_array_equal(out, model.reconstruct(x))
    np.testing.assert_array_equal(x, before)  # the input is unchanged


@QUICK
@given(
    KEYS,
    st.sampled_from(["C", "Fortran", "read-only", "every other", "backwards", "swapped", "list"]),
    st.sampled_from([np.float64, np.float32]),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_codes_in_any_layout_decode_to_the_shape_of_the_data(models, key, layout, dtype, n, seed):
    (shape, _), model = key, models[key]
    z = np.random.default_rng(seed).normal(size=(n, 3)).astype(dtype)
    assume(layout != "list" or dtype is np.float64)
    out = model.inverse_transform(LAYOUTS[layout](z))
    assert out.shape == (n, *shape)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, model.inverse_transform(z))
    assert model.transform(out.clip(0, 1)).shape == z.shape


@QUICK
@given(
    st.sampled_from(sorted(ESTIMATORS)),
    st.sampled_from(["C", "Fortran", "read-only", "every other", "backwards", "swapped"]),
    st.sampled_from([np.float64, np.float32]),
    st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
)
def test_fit_gives_the_same_bits_for_any_memory_layout(name, layout, dtype, shape):
    x = np.random.default_rng(0).random((N, *shape)).astype(dtype)
    y, kind = np.arange(N) % 2, {"n_components": 2, "hidden": (4,), "epochs": 1, "random_state": 0}
    kind["channels"] = "first"  # (n, 3, 4, 4) could have them last
    a, b = (ESTIMATORS[name](**kind).fit(data, y) for data in (x, LAYOUTS[layout](x)))
    assert a.feature_shape_ == b.feature_shape_ == shape
    for left, right in zip(a.model_.parameters(), b.model_.parameters(), strict=True):
        assert torch.equal(left, right)
    np.testing.assert_array_equal(a.transform(x), b.transform(x))


# ------------------------------------------------------------------ any batches


@QUICK
@given(
    KEYS,
    st.integers(1, 700),
    st.lists(st.integers(0, 700), max_size=5),
    st.integers(0, 99),
    st.booleans(),
)
def test_any_split_of_the_rows_gives_the_same_bits(models, key, n, cuts, seed, shuffle):
    """Each call pads its rows to batches of one size, so that kernels add in the same order."""
    (shape, _), model = key, models[key]
    rng = np.random.default_rng(seed)
    x = rng.random((n, *shape))
    order = rng.permutation(n) if shuffle else np.arange(n)
    parts = [part for part in np.split(order, sorted(c % n for c in cuts)) if len(part)]
    codes = model.transform(x)
    for method in (model.transform, model.reconstruct, model.score_samples):
        whole = method(x)
        np.testing.assert_array_equal(np.concatenate([method(x[p]) for p in parts]), whole[order])
    decoded = np.concatenate([model.inverse_transform(codes[p]) for p in parts])
    np.testing.assert_array_equal(decoded, model.inverse_transform(codes)[order])


@QUICK
@given(st.integers(1, 10**8), st.booleans())
def test_inference_batch_size_is_bounded(n_features, convolutional):
    rows = inference_batch_size(n_features, convolutional)
    assert 8 <= rows <= 1024
    assert rows * n_features <= max(2**22, 8 * n_features)
    assert (
        inference_batch_size(n_features) % rows == 0
    )  # parts of files are whole chunks of either kind
    assert rows % inference_batch_size(10 * n_features, convolutional) == 0


@QUICK
@given(st.integers(1, 50), st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_noise_of_a_row_depends_only_on_the_row(n, samples, components, seed):
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    noise = row_noise(x, samples, components)
    assert noise.shape == (samples, n, components)
    assert np.isfinite(noise).all()
    for i in range(n):
        np.testing.assert_array_equal(row_noise(x[[i]], samples, components)[:, 0], noise[:, i])
    if n > 1 and not np.array_equal(x[0], x[1]):
        assert not np.array_equal(noise[:, 0], noise[:, 1])
