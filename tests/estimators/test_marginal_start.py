"""Training starts at the marginal distribution of the data, for every likelihood and backbone."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import isthmus
from isthmus.data import disk_array
from isthmus.distributions.base import isolated_rng
from isthmus.distributions.likelihoods import LIKELIHOODS
from isthmus.distributions.mixed import make_likelihood
from isthmus.search import Sweep
from isthmus.training import Checkpoint

RNG = np.random.default_rng(0)
N = 300
RATES = np.array([0.02, 1.0, 30.0, 1e3, 1e5])
COUNTS = RNG.poisson(RATES, (N, 5)).astype(float)
DATA = {
    "bernoulli": (RNG.random((N, 5)) < [0.01, 0.2, 0.5, 0.9, 1.0]).astype(float),
    "continuous-bernoulli": RNG.beta([0.3, 1, 2, 5, 1], [3, 1, 2, 1, 50], (N, 5)),
    "categorical:4": RNG.choice(4, (N, 5), p=[0.1, 0.6, 0.3, 0]).astype(float),
    "poisson": COUNTS,
    "negative-binomial": RNG.poisson(RATES * RNG.gamma(2, 0.5, (N, 5))).astype(float),
}
NUMBERS = np.array([-300.0, 0, 0, 5, 1e3]) + [1, 1, 3, 1, 1] * RNG.normal(size=(N, 5))
MIXED = "gaussian-per-feature,poisson,bernoulli,categorical:4,negative-binomial"
DATA[MIXED] = np.column_stack(
    [
        NUMBERS[:, 0],
        COUNTS[:, 3],
        DATA["bernoulli"][:, 1],
        DATA["categorical:4"][:, 3],
        COUNTS[:, 4],
    ]
)
SPECS = [*(name for name in LIKELIHOODS if name != "categorical"), "categorical:4", MIXED]
SMALL = {"n_components": 2, "hidden": (8,), "random_state": 0}


def data(spec):
    return DATA.get(spec, NUMBERS)


def at_no_code(model):
    """Return p(x|z) without the influence of z."""
    with torch.no_grad():
        model.model_.decoder.layers[-1].weight.zero_()
        return model.model_.decode(torch.zeros(1, 2))


def constant_score(spec, X, like):
    """Return the mean log-likelihood of X under the constant model fitted to `like`."""
    family = make_likelihood(spec, X.shape[1:])
    x, like = torch.tensor(X).float(), torch.tensor(like).float()
    family.start_from(like)
    with torch.no_grad():
        p = family(family.marginal_outputs(like).reshape(1, -1))
        return float(p.log_prob(x).sum(1).mean())


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_a_decoder_starts_at_the_marginal(spec, gaps):
    X = data(spec)
    if gaps:
        X = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
    missing = "ignore" if gaps else "refuse"
    model = isthmus.VAE(likelihood=spec, missing=missing, **SMALL).begin(X)
    p = at_no_code(model)
    mean = model.scaler_.inverse_transform(p.mean.detach().double().numpy())[0]
    expected = np.nanmedian(X, 0) if spec == "laplace" else np.nanmean(X, 0)
    spread = np.nanstd(X, 0) + 0.05
    np.testing.assert_allclose(mean / spread, expected / spread, atol=0.06)


def test_scales_and_shapes_start_at_the_marginal():
    X = NUMBERS * 7
    settings = {**SMALL, "scaling": "none"}
    for spec, expected in (
        ("gaussian", X.std(0).__pow__(2).mean() ** 0.5),
        ("gaussian-per-feature", X.std(0)),
        ("gaussian-network", X.std(0)),
        ("laplace", np.sqrt(2) * np.abs(X - np.median(X, 0)).mean()),
    ):
        p = at_no_code(isthmus.VAE(likelihood=spec, **settings).begin(X))
        np.testing.assert_allclose(p.stddev.detach()[0], np.broadcast_to(expected, 5), rtol=1e-3)
    p = at_no_code(
        isthmus.VAE(likelihood="negative-binomial", **SMALL).begin(data("negative-binomial"))
    )
    np.testing.assert_allclose(p.total_count.detach()[0, 2:], 2, rtol=0.4)
    p = at_no_code(isthmus.VAE(likelihood="negative-binomial", **SMALL).begin(COUNTS))
    np.testing.assert_allclose(p.variance.detach()[0], COUNTS.var(0), rtol=0.3, atol=0.02)


@pytest.mark.parametrize(
    ("backbone", "shape", "options"),
    [
        ("conv", (2, 9, 8), {}),
        ("conv", (8, 9), {}),
        ("resnet", (2, 8, 8), {}),
        ("conv1d", (2, 40), {"kernel_size": 5}),
        ("conv1d", (2, 140), {"kernel_size": 65}),
        ("pyramid", (2, 8, 8), {}),
        ("gated", (2, 8, 8), {}),
        ("mlp", (2, 8, 8), {"hidden": ()}),
    ],
)
@pytest.mark.parametrize("spec", ["bernoulli", "gaussian-network", "poisson"])
def test_every_backbone_starts_at_the_marginal(backbone, shape, options, spec):
    rates = np.array([0.1, 0.7]).reshape(2, *[1] * (len(shape) - 1)) if shape[0] == 2 else 0.2
    X = RNG.binomial(1, np.broadcast_to(rates, (60, *shape))).astype(float)
    kind = isthmus.Autoencoder if backbone == "pyramid" else isthmus.VAE
    settings = {**SMALL, "scaling": "none", **options}
    model = kind(backbone=backbone, likelihood=spec, **settings).begin(X)
    z = torch.zeros(1, model.n_components_)
    mean = model.model_.decode(z).mean.detach().numpy()[0]
    if shape[0] == 2 and backbone != "gated":
        assert mean[0].mean() == pytest.approx(0.1, abs=0.08)
        assert mean[1].mean() == pytest.approx(0.7, abs=0.2)
    assert mean.mean() == pytest.approx(X.mean(), abs=0.12)


def test_the_last_linear_layer_of_a_custom_backbone_starts_at_the_marginal():
    def backbone(shapes):
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(shapes.n_features, shapes.encoder_outputs))
        decoder = nn.Sequential(
            nn.Linear(shapes.code, 4), nn.ReLU(), nn.Linear(4, shapes.decoder_outputs)
        )
        return encoder, decoder

    X = data("bernoulli")
    model = isthmus.VAE(backbone=backbone, likelihood="bernoulli", n_components=2).begin(X)
    with torch.no_grad():
        model.model_.decoder[-1].weight.zero_()
        mean = model.model_.decode(torch.zeros(1, 2)).mean[0]
    np.testing.assert_allclose(mean, X.mean(0), atol=0.01)


@pytest.mark.parametrize("kind", [isthmus.VAE, isthmus.Autoencoder])
@pytest.mark.parametrize("spec", ["poisson", "negative-binomial"])
def test_large_counts_end_at_the_constant_model(kind, spec):
    X = RNG.poisson(np.geomspace(1, 1e5, 8), (600, 8)).astype(float)
    model = kind(likelihood=spec, epochs=30, n_components=2, hidden=(32,), random_state=0)
    model.fit(X[:400])
    assert -model.history_[0]["loss"] > constant_score(spec, X[:400], X[:400]) - 8
    assert model.score(X[400:]) > constant_score(spec, X[400:], X[:400]) - 0.4


def test_large_counts_with_structure_are_learned():
    rates = 1e4 * np.exp(RNG.normal(size=(600, 1)) * np.linspace(0.05, 0.3, 6))
    X = RNG.poisson(rates).astype(float)
    settings = {"epochs": 60, "n_components": 1, "hidden": (32,), "learning_rate": 5e-3}
    model = isthmus.VAE(likelihood="poisson", random_state=0, **settings).fit(X)
    assert constant_score("poisson", X, X) < -1000
    assert model.score(X) > -70


def start(model):
    """Return everything that a fit starts with and the data determine."""
    family = model.model_.likelihood
    return [buffer.numpy() for buffer in family.buffers()]


@pytest.mark.parametrize("held_out", [0.0, 0.2])
def test_every_entry_point_starts_from_the_same_rows(tmp_path, monkeypatch, held_out):
    settings = {**SMALL, "likelihood": "negative-binomial", "epochs": 1}
    settings["validation_fraction"] = held_out
    expected = start(isthmus.VAE(**settings).fit(COUNTS, callbacks=[Checkpoint(tmp_path)]))
    resumed = isthmus.VAE(**settings | {"epochs": 2}).fit(COUNTS, resume_from=tmp_path)
    monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)
    np.save(tmp_path / "x.npy", COUNTS)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    others = {"disk": isthmus.VAE(**settings).fit(stored), "resumed": resumed}
    if not held_out:  # the other entry points hold out nothing
        others["partial_fit"] = isthmus.VAE(**settings).partial_fit(COUNTS)
        others["fit_loader"] = isthmus.VAE(**settings).fit_loader(np.array_split(COUNTS, 3))
    for name, other in others.items():
        for a, b in zip(expected, start(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=name)


def test_a_weight_of_two_counts_as_two_rows():
    weights = RNG.integers(0, 3, N)
    model = isthmus.VAE(**SMALL, likelihood="poisson", epochs=1, validation_fraction=0.0)
    weighted = start(isthmus.VAE(**model.get_params()).fit(COUNTS, sample_weight=weights))
    repeated = start(isthmus.VAE(**model.get_params()).fit(np.repeat(COUNTS, weights, 0)))
    for a, b in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_all_models_of_a_sweep_start_from_the_same_rows():
    model = isthmus.VAE(**SMALL, likelihood="poisson", epochs=1)
    grid = {"learning_rate": [1e-3, 2e-3], "hidden": [(8,), (4,)]}
    first, *others = Sweep(model, grid, random_state=0).fit(COUNTS).estimators_
    np.testing.assert_allclose(start(first)[0][1:], np.log(RATES[1:]), rtol=0.02, atol=0.1)
    for other in others:
        assert all(map(np.array_equal, start(first), start(other)))


def test_counts_saved_without_units_are_raw_log_rates(tmp_path):
    model = isthmus.VAE(likelihood="negative-binomial", **SMALL).begin(COUNTS)
    family = model.model_.likelihood
    old = {k: v for k, v in family.state_dict().items() if k == "log_shape"}
    loaded = make_likelihood("negative-binomial", (5,))
    loaded.load_state_dict(old)
    raw = torch.linspace(-3, 3, 5)[None]
    torch.testing.assert_close(loaded(raw).mean.detach(), (raw / (1 + raw.abs() / 20)).exp())
    torch.testing.assert_close(loaded.embed(raw.exp()), raw.exp().log1p())


@pytest.mark.parametrize(("name", "value"), [("spread", 0.0), ("log_mean", np.nan)])
def test_invalid_units_of_a_saved_model_are_refused(tmp_path, name, value):
    model = isthmus.VAE(likelihood="poisson", **SMALL).begin(COUNTS)
    getattr(model.model_.likelihood, name)[1] = value
    model.save(tmp_path)
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        isthmus.load(tmp_path)


@pytest.mark.parametrize("rate", [1e-3, 3.0, 1e5, 1e8])
def test_log_probabilities_of_large_counts_are_exact(rate):
    x = np.array([0.0, 1.0, np.floor(rate), np.floor(rate + 3 * rate**0.5)])
    log_rate = torch.tensor(rate).log()[None, None]
    for spec, exact in (
        ("poisson", stats.poisson.logpmf(x, float(log_rate.double().exp()))),
        (
            "negative-binomial",
            stats.nbinom.logpmf(x, 5.0, 5 / (5 + float(log_rate.double().exp()))),
        ),
    ):
        family = make_likelihood(spec, (1,))
        family.log_mean.copy_(log_rate[0])
        if spec == "negative-binomial":
            family.start_log_shape.fill_(np.log(5))
        found = family(torch.zeros(1, 1)).log_prob(torch.tensor(x).float()[:, None])
        np.testing.assert_allclose(found.detach()[:, 0], exact, rtol=1e-4, atol=2e-3)


def test_new_weights_do_not_depend_on_the_data():
    """The start takes no random numbers."""
    first = isthmus.VAE(likelihood="poisson", **SMALL).begin(COUNTS).model_.encoder.layers[0][0]
    with isolated_rng(torch.Generator().manual_seed(0)):
        again = nn.Linear(5, 8)
    assert torch.equal(first.weight, again.weight)
