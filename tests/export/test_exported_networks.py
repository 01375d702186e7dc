"""Exported networks agree with the estimator for batches of any size."""

import copy
import logging
import sys
import warnings
from functools import partial
from io import BytesIO
from pathlib import Path

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
    export,
)
from isthmus.distributions.likelihoods import LIKELIHOODS
from isthmus.distributions.sparse_codes import SPARSE_POINTS
from isthmus.estimators.batched_inference import row_noise
from isthmus.export import networks, onnx_export
from isthmus.models.specs import NONLINEARITIES, POSTERIORS, PRIORS
from isthmus.nn.dense import mlp
from isthmus.training import to_unit

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
GREY = RNG.random((40, 9, 8), np.float32)
COLOUR = RNG.integers(0, 256, (40, 3, 9, 8), np.uint8)
SIGNALS = RNG.normal(size=(40, 2, 30)).astype(np.float32)
TABLE = RNG.normal(size=(40, 5)) * [1, 1, 3, 100, 1] + [0, 1e9, 0, 0, -5]
INCOMPLETE = np.where(RNG.random(TABLE.shape) < 0.2, np.nan, TABLE)
COUNTS = RNG.integers(0, 3, (40, 4)).astype(float)
MIXED = np.column_stack([TABLE[:, 1], COUNTS[:, 0] > 0, COUNTS[:, 1], COUNTS[:, 2], TABLE[:, 0]])
Y = np.array(["a", "b", "c", "d"] * 10)
SIZES = 1, 10, 100  # 10 is also the number of samples
PATHS = (str(Path(export.__file__).parents[1]).encode(), b"site-packages")


def fitted(model, X, y=None, **settings):
    small = {"epochs": 1, "n_components": 3, "hidden": (8,), "random_state": 0, "device": "cpu"}
    return model(**{**small, **settings}).fit(X, y)


def by_onnx(model, part, **options):
    """Return a function of named arrays that runs the ONNX model in onnxruntime."""
    graph = getattr(export, part)(model, **options)
    versions = {o.domain: o.version for o in onnx.load_from_string(graph).opset_import}
    assert versions[""] == options.get("opset", versions[""])
    assert not any(path in graph for path in PATHS)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert all(i.shape[0] in ("batch", "samples") for i in session.get_inputs())
    names, results = (
        [i.name for i in side] for side in (session.get_inputs(), session.get_outputs())
    )
    assert tuple(results) == export.PARTS[part].outputs

    def compute(inputs):
        out = session.run(None, {name: inputs[name] for name in names})
        return dict(zip(results, out, strict=True))

    return compute


def by_torch(model, part):
    """Return a function of named arrays that runs the torch.export program from a file."""
    file = BytesIO()
    torch.export.save(export.program(model, part), file)
    assert not any(path in file.getvalue() for path in PATHS)
    program = torch.export.load(BytesIO(file.getvalue())).module()
    names = [*export.PARTS[part].inputs, *([] if model.condition_encoder_ is None else ["c"])]

    def compute(inputs):
        out = program(*(torch.from_numpy(inputs[name]) for name in names))
        return {k: t.detach().numpy() for k, t in zip(export.PARTS[part].outputs, out, strict=True)}

    return compute


def rows(model, X, n):
    """Return rows, their condition, and the inputs of the exported network for them."""
    X = np.resize(X, (n, *X.shape[1:]))
    condition = None if model.condition_encoder_ is None else np.resize(model.classes_, n)
    inputs = {"x": (X / 255 if X.dtype == np.uint8 else X).astype(export.x_dtype(model))}
    if condition is not None:
        inputs["c"] = model.condition_encoder_.encode(condition, n)
    X = inputs["x"]  # results have the type of the data
    samples = 1 if model.model_.prior is None else 10
    seen = to_unit(model.tensors(X)[0]).numpy()
    inputs["eps"] = row_noise(seen, samples, model.n_components_)
    inputs["z"] = RNG.normal(size=(n, model.n_components_)).astype(np.float32)
    return X, condition, inputs


def close(got, wanted, scale):
    assert got.shape == wanted.shape
    assert (np.abs(got - wanted) <= 1e-5 * scale).all()


def check_encoder(model, X, form=by_onnx):
    compute = form(model, "encoder")
    for n in SIZES:
        given, condition, inputs = rows(model, X, n)
        got, wanted = compute(inputs), model.posterior(given, condition=condition)
        assert got["mean"].dtype == got["std"].dtype == np.float32
        scale = max(1, np.abs(wanted.mean).max())
        close(got["mean"], wanted.mean, scale)
        close(got["std"], wanted.std, scale)


def check_decoder(model, X, form=by_onnx):
    compute = form(model, "decoder")
    for n in SIZES:
        _, condition, inputs = rows(model, X, n)
        z = inputs["z"].astype(np.float64)
        got, wanted = compute(inputs)["x"], model.decode(z, condition=condition)
        assert got.dtype == export.x_dtype(model)
        close(got, wanted, np.maximum(model.scaler_.scale, np.abs(wanted - model.scaler_.shift)))


def check_scorer(model, X, form=by_onnx):
    compute = form(model, "scorer")
    for n in SIZES:
        given, condition, inputs = rows(model, X, n)
        wanted = model.score_samples(given, condition=condition)
        close(compute(inputs)["score"], wanted, max(1, np.abs(wanted).max()))


CHECKS = {"encoder": check_encoder, "decoder": check_decoder, "scorer": check_scorer}


def check(model, X):
    for check_part in CHECKS.values():
        for form in (by_onnx, by_torch):
            check_part(model, X, form)


class TestParity:
    def test_table_with_large_offsets_and_missing_values(self):
        model = fitted(VAE, INCOMPLETE, missing="ignore", nonlinearity="gelu")
        assert export.x_dtype(model) == "float64"
        check_scorer(model, INCOMPLETE)
        check_encoder(model, INCOMPLETE, by_torch)

    def test_mixed_table(self):
        names = "gaussian,bernoulli,categorical,poisson,gaussian-per-feature"
        check_decoder(fitted(VAE, MIXED, likelihood=names), MIXED)

    def test_conditional_convolutions_on_colour_images(self):
        settings = {"backbone": "conv", "dropout": 0.2, "likelihood": "bernoulli"}
        model = fitted(ConditionalVAE, COLOUR, Y, **settings)
        assert export.x_dtype(model) == "float32"
        check_encoder(model, COLOUR)
        check_decoder(model, COLOUR, by_torch)

    def test_scores_of_a_decoder_with_large_logits(self):
        model = fitted(VAE, GREY, likelihood="bernoulli")
        with torch.no_grad():
            model.model_.decoder.layers[-1].weight.mul_(100)
        assert np.abs(model.score_samples(GREY)).max() > 100
        check_scorer(model, GREY)

    def test_sparse_code_has_zero_standard_deviation(self):
        settings = {"activation": "topk", "n_active": 2, "likelihood": "bernoulli"}
        model = fitted(SparseAutoencoder, GREY, **settings)
        got = by_torch(model, "encoder")({"x": GREY})
        close(got["mean"], model.transform(GREY), 1)
        assert not got["std"].any()


class TestNetworks:
    """The exported modules before conversion."""

    def test_fft_convolutions_become_standard_layers(self):
        model = fitted(VAE, SIGNALS, backbone="conv1d", kernel_size=65)
        graph = networks.Encode(model).eval()
        assert not any(type(layer) in networks.SAME_LAYER for layer in graph.modules())
        with torch.no_grad():
            mean, _ = graph(torch.from_numpy(SIGNALS).double())
        close(mean.detach().numpy(), model.transform(SIGNALS), 1)

    def test_flow_posterior(self):
        pytest.importorskip("zuko")
        model = fitted(VAE, GREY, posterior_family="flow", likelihood="bernoulli")
        x, wanted = torch.from_numpy(GREY), model.posterior(GREY)
        with torch.no_grad():
            mean, std = networks.Encode(model).eval()(x)
            (score,) = networks.Score(model).eval()(x, torch.from_numpy(row_noise(GREY, 10, 3)))
        close(mean.detach().numpy(), wanted.mean, 1)
        close(std.detach().numpy(), wanted.std, 1)
        close(score.detach().numpy(), model.score_samples(GREY), 100)


class DependsOnBatch(nn.Module):
    """A network whose result depends on the batch size."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x[0:1].expand(2, *x.shape[1:])) if len(x) == 2 else self.network(x)


class Random(DependsOnBatch):
    """A network with a random result."""

    def forward(self, x):
        return self.network(x) + torch.rand(())


def custom_backbone(kind):
    def backbone(shapes):
        encoder, decoder = mlp(shapes, (8,))
        return kind(encoder), decoder

    return backbone


class TestErrors:
    @pytest.mark.parametrize("kind", [DependsOnBatch, Random])
    def test_network_that_is_not_a_function_of_each_row_is_rejected(self, kind):
        model = fitted(Autoencoder, GREY, backbone=custom_backbone(kind))
        with pytest.raises(ValueError, match=r"the encoder of this Autoencoder cannot") as error:
            export.encoder(model)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("name", ["onnx", "onnxscript"])
    def test_missing_library_is_named(self, name, monkeypatch):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=r"pip install 'isthmus\[onnx\]'"):
            export.decoder(fitted(Autoencoder, GREY))

    @pytest.mark.parametrize("graph", [export.encoder, export.decoder, export.scorer])
    def test_unfitted_model_is_rejected(self, graph):
        with pytest.raises(ValueError, match="not fitted"):
            graph(VAE())

    def test_unknown_part_is_rejected(self):
        with pytest.raises(ValueError, match="must be one of encoder, decoder, scorer, got 'all'"):
            export.program(VAE(), "all")

    @pytest.mark.parametrize(("opset", "what"), [(17, "old"), (26, "new")])
    def test_unsupported_opset_is_rejected(self, opset, what):
        with pytest.raises(ValueError, match=rf"opset {opset} is too {what}: choose 18 to 25"):
            export.encoder(VAE(), opset=opset)

    @pytest.mark.slow
    @pytest.mark.parametrize("opset", ["model.onnx", 18.0, True])
    def test_a_path_in_place_of_the_opset_is_named(self, opset):
        with pytest.raises(TypeError, match=r"whole number, got .* return bytes"):
            export.encoder(VAE(), opset)

    def test_opset_that_torch_cannot_convert_to(self, monkeypatch):
        monkeypatch.setattr(onnx_export, "NEWEST_OPSET", 99)
        monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: 99)
        with pytest.raises(ValueError, match=r"the encoder .* torch wrote opset \d+ instead of 99"):
            export.encoder(fitted(VAE, TABLE, nonlinearity="gelu"), opset=99)


def test_export_is_silent_and_leaves_the_model_unchanged(capfd):
    model = fitted(Autoencoder, GREY)
    before = copy.deepcopy(model.model_.state_dict())
    state, level = torch.random.get_rng_state(), logging.getLogger("torch").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        export.encoder(model)
        assert warnings.filters == filters
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert logging.getLogger("torch").level == level
    for name, weight in model.model_.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.slow
class TestAllParts:
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
    @pytest.mark.parametrize("X", [GREY, TABLE], ids=["images", "table"])
    def test_models(self, model, X):
        check(fitted(model, X, Y), X)

    @pytest.mark.parametrize("backbone", ["mlp", "gated", "conv", "resnet"])
    @pytest.mark.parametrize("X", [GREY, COLOUR, COLOUR - 0.5], ids=["grey", "bytes", "scaled"])
    def test_images(self, backbone, X):
        check(fitted(VAE, X, backbone=backbone, dropout=0.1), X)

    @pytest.mark.parametrize("kernel_size", [9, 65])
    def test_signals(self, kernel_size):
        check(fitted(VAE, SIGNALS, backbone="conv1d", kernel_size=kernel_size), SIGNALS)

    @pytest.mark.parametrize(
        ("backbone", "X"), [("pyramid", COLOUR), ("spectral", RNG.normal(size=(8, 512)))]
    )
    def test_denoising_backbones(self, backbone, X):
        check(fitted(DenoisingAutoencoder, X, backbone=backbone, corruption="gaussian"), X)

    @pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
    def test_likelihoods(self, likelihood):
        X = (COUNTS > 0).astype(float) if "bernoulli" in likelihood else COUNTS
        check(fitted(VAE, X, likelihood=likelihood), X)

    def test_mixed_tables_with_missing_values(self):
        names = "gaussian,bernoulli,categorical,negative-binomial,laplace"
        X = np.where(np.isnan(INCOMPLETE), np.nan, MIXED)
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
    def test_conditional_models(self, prior):
        check(fitted(ConditionalVAE, TABLE, Y, prior=prior, prior_modes=5), TABLE)

    @pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
    def test_nonlinearities(self, nonlinearity):
        model = fitted(VAE, GREY, nonlinearity=nonlinearity)
        check_encoder(model, GREY)
        check_encoder(model, GREY, by_torch)

    @pytest.mark.parametrize("opset", range(export.OLDEST_OPSET, export.NEWEST_OPSET + 1))
    @pytest.mark.parametrize("part", export.PARTS)
    def test_opsets(self, part, opset):
        pytest.importorskip("zuko")
        parts = {"posterior_family": "flow", "prior": "vamp", "prior_modes": 5}
        for model, X in (
            (fitted(VAE, GREY, backbone="conv", **parts), GREY),
            (
                fitted(ConditionalVAE, INCOMPLETE, Y, missing="ignore", nonlinearity="gelu"),
                INCOMPLETE,
            ),
        ):
            CHECKS[part](model, X, partial(by_onnx, opset=opset))
