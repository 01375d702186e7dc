"""A graph computes what the estimator does, for any number of rows."""

import copy
import logging
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from isthmus import (
    VAE,
    Autoencoder,
    BetaVAE,
    ConditionalVAE,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    graphs,
)
from isthmus.backbones import mlp
from isthmus.estimators.border import row_noise
from isthmus.likelihoods import LIKELIHOODS
from isthmus.rows import NONLINEARITIES, POSTERIORS, PRIORS
from isthmus.sparse import SPARSE_POINTS
from isthmus.training import to_unit

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
GREY = RNG.random((40, 9, 8), np.float32)
COLOUR = RNG.integers(0, 256, (40, 3, 9, 8), np.uint8)
SIGNALS = RNG.normal(size=(40, 2, 30)).astype(np.float32)
TABLE = RNG.normal(size=(40, 5)) * [1, 1, 3, 100, 1] + [0, 1e9, 0, 0, -5]
HOLES = np.where(RNG.random(TABLE.shape) < 0.2, np.nan, TABLE)
COUNTS = RNG.integers(0, 3, (40, 4)).astype(float)
MIXED = np.column_stack([TABLE[:, 1], COUNTS[:, 0] > 0, COUNTS[:, 1], COUNTS[:, 2], TABLE[:, 0]])
Y = np.array(["a", "b", "c", "d"] * 10)
SIZES = 1, 7, 100


def fitted(model, X, y=None, **settings):
    small = {"epochs": 1, "n_components": 3, "hidden": (8,), "random_state": 0, "device": "cpu"}
    return model(**{**small, **settings}).fit(X, y)


def computed(graph, inputs):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert all(i.shape[0] in ("batch", "samples") for i in session.get_inputs())
    names = [o.name for o in session.get_outputs()]
    given = {i.name: inputs[i.name] for i in session.get_inputs()}
    return dict(zip(names, session.run(None, given), strict=True))


def rows(model, X, n):
    """Return rows, their condition, and what a graph takes for them."""
    X = np.resize(X, (n, *X.shape[1:]))
    condition = None if model.context_ is None else np.resize(model.classes_, n)
    inputs = {"x": (X / 255 if X.dtype == np.uint8 else X).astype(graphs.x_dtype(model))}
    if condition is not None:
        inputs["c"] = model.context_.encode(condition, n)
    X = inputs["x"]  # the types of the data are those of the answers
    samples = 1 if model.model_.prior is None else 10
    seen = to_unit(model.tensors(X)[0]).numpy()
    inputs["eps"] = row_noise(seen, samples, model.n_components_)
    inputs["z"] = RNG.normal(size=(n, model.n_components_)).astype(np.float32)
    return X, condition, inputs


def close(got, wanted, scale):
    assert got.shape == wanted.shape
    assert (np.abs(got - wanted) <= 1e-5 * scale).all()


def check_encoder(model, X, sizes=SIZES):
    graph = graphs.encoder(model)
    for n in sizes:
        given, condition, inputs = rows(model, X, n)
        got, wanted = computed(graph, inputs), model.posterior(given, condition=condition)
        assert set(got) == {"mean", "std"}
        assert got["mean"].dtype == got["std"].dtype == np.float32
        scale = max(1, np.abs(wanted.mean).max())
        close(got["mean"], wanted.mean, scale)
        close(got["std"], wanted.std, scale)


def check_decoder(model, X, sizes=SIZES):
    graph = graphs.decoder(model)
    for n in sizes:
        _, condition, inputs = rows(model, X, n)
        z = inputs["z"].astype(np.float64)
        got, wanted = computed(graph, inputs)["x"], model.decode(z, condition=condition)
        assert got.dtype == graphs.x_dtype(model)
        close(got, wanted, np.maximum(model.scaler_.scale, np.abs(wanted - model.scaler_.shift)))


def check_scorer(model, X, sizes=SIZES):
    graph = graphs.scorer(model)
    for n in sizes:
        given, condition, inputs = rows(model, X, n)
        wanted = model.score_samples(given, condition=condition)
        close(computed(graph, inputs)["score"], wanted, max(1, np.abs(wanted).max()))


def check(model, X, sizes=SIZES):
    check_encoder(model, X, sizes)
    check_decoder(model, X, sizes)
    check_scorer(model, X, sizes)


class TestParity:
    def test_a_table_with_large_offsets_and_holes(self):
        model = fitted(VAE, HOLES, missing="ignore", nonlinearity="gelu")
        assert graphs.x_dtype(model) == "float64"
        check_encoder(model, HOLES)
        check_scorer(model, HOLES)

    def test_a_mixed_table_in_its_own_units(self):
        names = "gaussian,bernoulli,categorical,poisson,gaussian-per-feature"
        check_decoder(fitted(VAE, MIXED, likelihood=names), MIXED)

    def test_labelled_colour_pictures_by_convolutions(self):
        model = fitted(ConditionalVAE, COLOUR, Y, backbone="conv", dropout=0.2)
        assert graphs.x_dtype(model) == "float32"
        check_encoder(model, COLOUR)
        check_decoder(model, COLOUR)

    def test_a_sparse_code_has_no_spread(self):
        model = fitted(SparseAutoencoder, GREY, activation="topk", n_active=2)
        got = computed(graphs.encoder(model), {"x": GREY})
        close(got["mean"], model.transform(GREY), 1)
        assert not got["std"].any()


class TestStandIns:
    """What ONNX lacks, against torch's own."""

    def test_gamma(self):
        x = torch.cat([torch.logspace(-6, 8, 500, dtype=torch.float64), torch.arange(1.0, 50)])
        torch.testing.assert_close(graphs._lgamma(x), torch.lgamma(x), rtol=1e-10, atol=1e-10)
        small = x[x < 1e3].float()
        torch.testing.assert_close(graphs._lgamma(small), torch.lgamma(small))

    def test_triangular_solution(self):
        g = torch.Generator().manual_seed(0)
        a = torch.randn(4, 6, 6, generator=g).double().tril() + 3 * torch.eye(6)
        b = torch.randn(5, 1, 6, 2, generator=g).double()
        wanted = torch.linalg.solve_triangular(a, b, upper=False)
        torch.testing.assert_close(graphs._solve_triangular(a, b, upper=False), wanted)

    def test_other_triangular_solutions_are_refused(self):
        with pytest.raises(ValueError, match="lower triangular"):
            graphs._solve_triangular(torch.eye(2), torch.eye(2), upper=True)

    def test_spectrum_and_back(self):
        x, window = torch.randn(3, 640, dtype=torch.float64), torch.hann_window(64).double()
        wanted = torch.stft(x, 64, 32, window=window, center=False, return_complex=True)
        torch.testing.assert_close(graphs._stft(x, 64, 32, 64, window, False), wanted)
        spectrum = torch.stft(x, 64, 32, window=window, return_complex=True)
        spectrum = spectrum * torch.rand(3, 33, 1)
        sound = torch.istft(spectrum, 64, 32, window=window, length=640)
        got = graphs._istft(spectrum, 64, 32, 64, window, length=640)
        torch.testing.assert_close(got, sound)

    def test_long_kernels_go_by_torchs_own_layers(self):
        model = fitted(VAE, SIGNALS, backbone="conv1d", kernel_size=65)
        graph = graphs.Encode(model).eval()
        assert not any(type(layer) in graphs.SAME_LAYER for layer in graph.modules())
        with torch.no_grad():
            mean, _ = graph(torch.from_numpy(SIGNALS).double())
        close(mean.numpy(), model.transform(SIGNALS), 1)

    def test_the_noise_of_a_flow_and_its_memory(self):
        pytest.importorskip("zuko")
        model = fitted(VAE, GREY, posterior_family="flow")
        x, wanted = torch.from_numpy(GREY), model.posterior(GREY)
        with torch.no_grad():
            mean, std = graphs.Encode(model).eval()(x)
            (score,) = graphs.Score(model).eval()(x, torch.from_numpy(row_noise(GREY, 10, 3)))
        close(mean.numpy(), wanted.mean, 1)
        close(std.numpy(), wanted.std, 1)
        close(score.numpy(), model.score_samples(GREY), 100)


class OfTwo(nn.Module):
    """A network that has as many rows as it was made for."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x[0:1].expand(2, *x.shape[1:])) if len(x) == 2 else self.network(x)


class Drawing(OfTwo):
    """A network that never returns the same."""

    def forward(self, x):
        return self.network(x) + torch.rand(())


def own(kind):
    def backbone(shapes):
        encoder, decoder = mlp(shapes, (8,))
        return kind(encoder), decoder

    return backbone


class TestErrors:
    @pytest.mark.parametrize("kind", [OfTwo, Drawing])
    def test_a_network_that_is_no_function_of_a_row_is_refused(self, kind):
        model = fitted(Autoencoder, GREY, backbone=own(kind))
        with pytest.raises(ValueError, match=r"the encoder of this Autoencoder cannot") as error:
            graphs.encoder(model)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("name", ["onnx", "onnxscript"])
    def test_what_is_not_installed_is_named(self, name, monkeypatch):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=r"pip install 'isthmus\[onnx\]'"):
            graphs.decoder(fitted(Autoencoder, GREY))

    @pytest.mark.parametrize("graph", [graphs.encoder, graphs.decoder, graphs.scorer])
    def test_a_model_that_is_not_fitted_is_refused(self, graph):
        with pytest.raises(ValueError, match="not fitted"):
            graph(VAE())


def test_nothing_is_said_and_nothing_changed(capfd):
    model = fitted(Autoencoder, GREY)
    before = copy.deepcopy(model.model_.state_dict())
    state, level = torch.random.get_rng_state(), logging.getLogger("torch").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        graphs.encoder(model)
        assert warnings.filters == filters
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert logging.getLogger("torch").level == level
    for name, weight in model.model_.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.slow
class TestEverything:
    @pytest.mark.parametrize(
        "model",
        [
            Autoencoder,
            DenoisingAutoencoder,
            SparseAutoencoder,
            ContractiveAutoencoder,
            VAE,
            BetaVAE,
            ConditionalVAE,
        ],
    )
    @pytest.mark.parametrize("X", [GREY, TABLE], ids=["pictures", "table"])
    def test_models(self, model, X):
        check(fitted(model, X, Y), X)

    @pytest.mark.parametrize("backbone", ["mlp", "gated", "conv", "resnet"])
    @pytest.mark.parametrize("X", [GREY, COLOUR, COLOUR - 0.5], ids=["grey", "bytes", "scaled"])
    def test_pictures(self, backbone, X):
        check(fitted(VAE, X, backbone=backbone, dropout=0.1), X)

    @pytest.mark.parametrize("kernel_size", [9, 65])
    def test_signals(self, kernel_size):
        check(fitted(VAE, SIGNALS, backbone="conv1d", kernel_size=kernel_size), SIGNALS)

    @pytest.mark.parametrize(
        ("backbone", "X"), [("pyramid", COLOUR), ("spectral", RNG.normal(size=(8, 512)))]
    )
    def test_cleaning(self, backbone, X):
        check(fitted(DenoisingAutoencoder, X, backbone=backbone, corruption="gaussian"), X)

    @pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
    def test_likelihoods(self, likelihood):
        X = (COUNTS > 0).astype(float) if "bernoulli" in likelihood else COUNTS
        check(fitted(VAE, X, likelihood=likelihood), X)

    def test_mixed_tables_with_holes(self):
        names = "gaussian,bernoulli,categorical,negative-binomial,laplace"
        X = np.where(np.isnan(HOLES), np.nan, MIXED)
        check(fitted(VAE, X, likelihood=names, missing="ignore"), X)

    @pytest.mark.parametrize("posterior", POSTERIORS)
    @pytest.mark.parametrize("prior", PRIORS)
    def test_posteriors_and_priors(self, posterior, prior):
        pytest.importorskip("zuko")
        check(fitted(VAE, GREY, posterior_family=posterior, prior=prior, prior_modes=5), GREY)

    @pytest.mark.parametrize("activation", sorted(SPARSE_POINTS))
    def test_sparse_codes(self, activation):
        settings = {"activation": activation, "n_components": 12}
        check(fitted(SparseAutoencoder, GREY, **settings), GREY)

    @pytest.mark.parametrize("prior", ["standard", "mixture", "vamp"])
    def test_labels(self, prior):
        check(fitted(ConditionalVAE, TABLE, Y, prior=prior, prior_modes=5), TABLE)

    @pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
    def test_nonlinearities(self, nonlinearity):
        check_encoder(fitted(VAE, GREY, nonlinearity=nonlinearity), GREY)
