"""The models against closed forms, libraries and worked examples."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch.distributions import Normal, kl_divergence

import isthmus
import isthmus.models.specs
import isthmus.registry
from isthmus.distributions.base import DiagonalNormal, draw
from isthmus.distributions.families import NormalFamily
from isthmus.distributions.likelihoods import GaussianFamily
from isthmus.distributions.priors import StandardNormal
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import VAE, ContractiveAutoencoder, SparseAutoencoder
from isthmus.objectives.bounds import Elbo
from isthmus.objectives.corruptions import CORRUPTIONS
from isthmus.objectives.objective import Objective
from isthmus.objectives.penalties import Contractive, KLSparsity, Pass, bernoulli_kl
from isthmus.registry import LIKELIHOODS, POSTERIORS, build_model

DIGITS = load_digits()
X = DIGITS.data / 16
TRAIN, TEST = X[:1400], X[1400:]
SOME = X[:600]


def low_rank(n=1000, d=12, k=3, noise=0.3, seed=0):
    """Return data of a linear-Gaussian model: n rows, d features, k causes."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(k, d)) * np.array([[3.0], [2.0], [1.0]])
    return rng.normal(size=(n, k)) @ loadings + noise * rng.normal(size=(n, d)) + 5.0


def squared_error(a, b):
    return np.sum((a - b) ** 2, axis=1).mean()


@pytest.mark.parametrize("scaling", ["global", "none"])
def test_linear_autoencoder_reaches_the_error_of_pca(scaling):
    data = low_rank(n=300, noise=1.0) - 5.0
    model = isthmus.Autoencoder(
        n_components=3,
        hidden=(),
        likelihood="gaussian",
        scaling=scaling,
        epochs=400,
        learning_rate=2e-2,
        batch_size=300,
        validation_fraction=0.0,
        random_state=0,
    ).fit(data)
    pca = PCA(3).fit(data)
    best = squared_error(data, pca.inverse_transform(pca.transform(data)))
    assert best <= squared_error(data, model.reconstruct(data)) * (1 + 1e-9) + 1e-9
    assert squared_error(data, model.reconstruct(data)) < 1.01 * best


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corruption", "level"),
    [
        ("gaussian", 0.3),
        pytest.param("masking", 0.5, marks=pytest.mark.slow),
        pytest.param("salt-and-pepper", 0.2, marks=pytest.mark.slow),
    ],
)
def test_denoising_autoencoder_beats_pca_and_a_plain_autoencoder(corruption, level):
    settings = {"n_components": 32, "hidden": (200,), "epochs": 80, "random_state": 0}
    denoiser = isthmus.DenoisingAutoencoder(
        corruption=corruption, corruption_level=level, **settings
    ).fit(TRAIN)
    plain = isthmus.Autoencoder(**settings).fit(TRAIN)
    noise = CORRUPTIONS[corruption](level)
    seen = noise(torch.tensor(TEST, dtype=torch.float32), torch.Generator().manual_seed(1)).numpy()
    pca = PCA(32).fit(TRAIN)
    cleaned = squared_error(denoiser.reconstruct(seen), TEST)
    assert cleaned < 0.8 * squared_error(seen, TEST)
    assert cleaned < squared_error(pca.inverse_transform(pca.transform(seen)), TEST)
    assert cleaned < squared_error(plain.reconstruct(seen), TEST)


def test_activity_decreases_with_the_l1_weight():
    settings = {"n_components": 30, "hidden": (64,), "epochs": 30, "random_state": 0}
    activity = [
        isthmus.SparseAutoencoder(penalty="l1", penalty_weight=w, **settings)
        .fit(SOME)
        .transform(SOME)
        .mean()
        for w in (0.0, 0.03, 0.1, 0.3)
    ]
    assert activity == sorted(activity, reverse=True)
    assert activity[0] > 2 * activity[2]


def test_kl_sparsity_matches_the_worked_example():
    activations = torch.tensor(
        [[0.9, 0.8, 0.85, 0.9, 0.88], [0.1, 0.15, 0.05, 0.1, 0.08], [0.05, 0.1, 0.2, 0.15, 0.05]]
    ).T  # (5 rows, 3 units)
    means = activations.mean(0)
    torch.testing.assert_close(means, torch.tensor([0.866, 0.096, 0.11]))
    found = bernoulli_kl(0.2, means)
    torch.testing.assert_close(found, torch.tensor([1.136, 0.049, 0.034]), atol=6e-4, rtol=0)
    assert float(bernoulli_kl(0.2, torch.tensor(0.5))) == pytest.approx(0.1927, abs=1e-4)
    nothing = torch.zeros(5)
    step = Pass(None, activations, None, None, activations, None, nothing, nothing)
    assert float(KLSparsity(2.0, 0.2)(step)) == pytest.approx(2 * float(found.sum()))


def test_kl_sparse_decoder_receives_the_penalized_activations():
    model = isthmus.SparseAutoencoder(
        penalty="kl",
        penalty_weight=10.0,
        sparsity_target=0.1,
        n_components=40,
        hidden=(),
        epochs=60,
        random_state=0,
    ).fit(SOME)
    codes = model.transform(SOME)
    assert codes.min() >= 0
    assert codes.max() <= 1
    assert abs(codes.mean() - 0.1) < 0.04
    np.testing.assert_array_equal(model.inverse_transform(codes), model.reconstruct(SOME))
    q = model.model_.encode(torch.tensor(X[:9], dtype=torch.float32))
    assert torch.equal(q.rsample(), q.mean)


def test_decoder_and_penalty_receive_the_same_activations():
    torch.manual_seed(0)
    spec = SparseAutoencoder(penalty="kl", n_components=6, hidden=())
    model = build_model(spec, (64,), "bernoulli")
    decoded, penalised = [], []
    model.decoder.register_forward_pre_hook(lambda m, inputs: decoded.append(inputs[0]))

    def spy(step):
        penalised.append(step.z)
        return step.z.new_zeros(())

    Objective(penalties=(spy,))(model, torch.rand(5, 64))
    assert torch.equal(decoded[0], penalised[0])
    assert ((decoded[0] > 0) & (decoded[0] < 1)).all()


def test_shifting_an_activation_changes_penalty_and_output():
    torch.manual_seed(0)
    spec = SparseAutoencoder(penalty="kl", n_components=6, hidden=())
    model, x = build_model(spec, (64,), "bernoulli"), torch.rand(5, 64)

    def look():
        z = model.encode(x).mean
        nothing = torch.zeros(5)
        step = Pass(model, x, None, None, z, None, nothing, nothing)
        return z, float(KLSparsity(1.0, 0.05)(step)), model.decode(z).logits

    with torch.no_grad():
        before = look()
        model.encoder.layers[0].bias[2] += 3.0
        after = look()
        moved = after[0] - before[0]
        column = model.decoder.layers[0].weight[:, 2]
    assert moved[:, 2].min() > 0.1
    assert not moved[:, [0, 1, 3, 4, 5]].any()
    assert after[1] > before[1] + 0.5
    torch.testing.assert_close(after[2] - before[2], moved[:, 2:3] * column, atol=1e-5, rtol=1e-4)


def jacobian_penalty(model, x, samples=None, generator=None):
    q, zeros = model.encode(x), x.new_zeros(len(x))
    step = Pass(model, x, None, q, q.rsample(), None, zeros, zeros, generator=generator)
    return Contractive(1.0, samples)(step)


def test_contractive_penalty_of_one_layer_matches_the_closed_form():
    torch.manual_seed(0)
    spec = ContractiveAutoencoder(n_components=7, hidden=(), activation="sigmoid")
    model = build_model(spec, (10,), "gaussian")
    x = torch.randn(6, 10)
    h, weight = model.encode(x).mean, model.encoder.layers[0].weight
    closed = ((h * (1 - h)) ** 2 * weight.pow(2).sum(1)).sum(1).mean()
    torch.testing.assert_close(jacobian_penalty(model, x), closed)


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"hidden": (), "activation": "tanh"}, (10,)),
        ({"hidden": (), "activation": "relu"}, (2, 5)),
        ({"hidden": (), "activation": "identity"}, (10,)),
        ({"hidden": (16, 12), "nonlinearity": "tanh"}, (10,)),
        ({"hidden": (16,), "nonlinearity": "relu", "activation": "sigmoid"}, (10,)),
        ({"hidden": (6,), "nonlinearity": "relu"}, (10,)),
        ({"hidden": (6,), "nonlinearity": "gelu", "activation": "tanh"}, (10,)),
        ({"hidden": (16, 5, 6), "nonlinearity": "leaky-relu"}, (10,)),
        ({"hidden": (6, 5), "backbone": "gated"}, (10,)),
        ({"hidden": (16,), "backbone": "conv", "nonlinearity": "silu"}, (2, 9, 9)),
    ],
)
def test_contractive_penalty_and_gradient_match_jacrev(fields, shape):
    torch.manual_seed(0)
    model = build_model(ContractiveAutoencoder(n_components=4, **fields), shape, "gaussian")
    x = torch.randn(5, *shape)
    model.train()
    with torch.no_grad():
        model.encode(x)  # change the initial running statistics
    found = jacobian_penalty(model, x)
    assert all(m.training for m in model.modules())
    model.eval()

    def code(row):
        return model.encode(row[None]).mean[0]

    exact = torch.stack([torch.func.jacrev(code)(row).pow(2).sum() for row in x]).mean()
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
    weights = list(model.encoder.parameters())
    gradients = (torch.autograd.grad(v, weights, allow_unused=True) for v in (found, exact))
    for ours, theirs in zip(*gradients, strict=True):
        if ours is None or theirs is None:  # the derivative of relu does not depend on the bias
            assert all(g is None or not g.any() for g in (ours, theirs))
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "fields", [{"hidden": ()}, {"hidden": (6, 5)}, {"hidden": (6,), "backbone": "gated"}]
)
def test_estimated_contractive_penalty_is_unbiased(fields):
    torch.manual_seed(0)
    spec = ContractiveAutoencoder(n_components=4, activation="sigmoid", **fields)
    model, x = build_model(spec, (10,), "gaussian").eval(), torch.randn(5, 10)
    exact = jacobian_penalty(model, x)
    generator = torch.Generator().manual_seed(0)
    several = torch.stack([jacobian_penalty(model, x, 1, generator) for _ in range(200)])
    assert abs(several.mean() - exact) < 4 * several.std() / 200**0.5
    many = jacobian_penalty(model, x, 4000, generator)
    torch.testing.assert_close(many, exact, rtol=0.05, atol=0)


def test_vae_loss_matches_the_worked_example():
    x, z = torch.tensor([[2.0]]), torch.tensor([[1.6]])
    q, p = DiagonalNormal(torch.tensor([[1.5]]), torch.tensor([[0.5]])), Normal(z, 1.0)
    kl = kl_divergence(q, DiagonalNormal(torch.zeros(1), torch.ones(1))).sum()
    assert float(-p.log_prob(x)) == pytest.approx(0.9989, abs=1e-4)
    assert float(kl) == pytest.approx(1.4431, abs=1e-4)
    assert float(-p.log_prob(x) + kl) == pytest.approx(2.4420, abs=1e-4)


class ConstantOutput(torch.nn.Module):
    """A network that returns the same numbers for every input."""

    def __init__(self, *numbers):
        super().__init__()
        self.out = torch.nn.Parameter(torch.tensor(numbers))

    def forward(self, x):
        return self.out.expand(len(x), -1)


#: The encoder output for σ = ½, by the parametrization of σ.
HALF = {
    "log-variance": math.log(0.25) / (1 + math.log(0.25) / 20),  # before the soft limit
    "softplus": math.log(math.expm1(0.5)),
}


@pytest.mark.parametrize("scale", sorted(HALF))
def test_model_and_bound_match_the_worked_example(scale):
    model = LatentVariableModel(
        ConstantOutput(1.5, HALF[scale]),
        torch.nn.Identity(),
        NormalFamily((1,), scale),
        GaussianFamily((1,), scale=1.0),
        StandardNormal(1),
    )
    x = torch.tensor([[2.0]])
    q = model.encode(x)
    z = q.rsample(noise=torch.tensor([[0.2]]))
    assert float(z.detach()) == pytest.approx(1.6, abs=1e-4)
    p = model.decode(z)
    reconstruction, kl = -model.log_likelihood(p, x), model.kl(q, z)
    loss = Elbo()(Pass(model, x, None, q, z, p, reconstruction, kl), 1.0)
    found = [float(t.detach()) for t in (reconstruction, kl, loss)]
    assert found == pytest.approx([0.9989, 1.4431, 2.4420], abs=2e-4)


def test_both_parametrizations_of_sigma_reach_the_same_bound():
    settings = {"n_components": 5, "hidden": (64,), "epochs": 20, "random_state": 0}
    scores = [
        isthmus.VAE(posterior_family=name, **settings).fit(TRAIN).score(TEST)
        for name in ("normal", "normal-softplus")
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.5)


@pytest.mark.parametrize("scale", sorted(HALF))
def test_standard_deviation_is_positive_and_finite_for_any_output(scale):
    raw = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    std = NormalFamily((5,), scale)(torch.stack([torch.zeros(5), raw]).reshape(1, 10)).stddev
    assert (std > 0).all()
    assert (std[0].diff() >= 0).all()
    std.log().sum().backward()
    assert torch.isfinite(std).all()
    assert torch.isfinite(raw.grad).all()


def test_kl_of_normals_matches_the_closed_form_and_the_monte_carlo_mean():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 3, generator=g) for _ in range(2))
    s, t = (torch.rand(4, 3, generator=g) + 0.3 for _ in range(2))
    q, p = DiagonalNormal(a, s), DiagonalNormal(b, t)
    closed = 0.5 * ((t / s).pow(2).log() - 1 + (s**2 + (a - b) ** 2) / t**2)
    torch.testing.assert_close(kl_divergence(q, p), closed)
    z = q.rsample((200_000,), generator=g)
    sampled = (q.log_prob(z) - p.log_prob(z)).mean(0)
    torch.testing.assert_close(sampled, closed, atol=0.05, rtol=0.02)
    standard = DiagonalNormal(torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(kl_divergence(q, standard), 0.5 * (a**2 + s**2 - 1 - (s**2).log()))


@pytest.fixture(scope="module")
def linear_gaussian():
    data = low_rank(n=2000)
    model = isthmus.VAE(
        n_components=3,
        hidden=(),
        likelihood="gaussian",
        scaling="global",
        epochs=250,
        batch_size=250,
        learning_rate=1e-2,
        n_samples=4,
        validation_fraction=0.0,
        random_state=0,
    ).fit(data)
    model.set_params(learning_rate=5e-4)
    for _ in range(80):
        model.partial_fit(data)
    return model, data, PCA(3).fit(data).score(data)


def test_linear_gaussian_vae_reaches_the_likelihood_of_probabilistic_pca(linear_gaussian):
    model, data, exact = linear_gaussian
    assert model.score(data) == pytest.approx(exact, abs=0.05)


@pytest.mark.slow
def test_marginal_likelihood_of_a_linear_gaussian_vae_is_nearly_maximal(linear_gaussian):
    model, data, exact = linear_gaussian
    weight, bias = (
        p.detach().double().numpy() for p in model.model_.decoder.layers[0].parameters()
    )
    noise, scaler = float(model.model_.likelihood.scale.detach()), model.scaler_
    covariance = (weight @ weight.T + noise**2 * np.eye(12)) * scaler.scale**2
    mean = bias * scaler.scale + scaler.shift
    marginal = multivariate_normal(mean, covariance).logpdf(data).mean()
    assert exact - 0.03 < marginal <= exact + 1e-6  # probabilistic PCA is its maximum
    assert model.score(data) < marginal + 0.03  # a bound, but for the sampling error


def test_kl_and_active_units_decrease_with_beta():
    settings = {"n_components": 10, "hidden": (64,), "epochs": 50, "random_state": 0}
    kls, active = [], []
    for beta in (0.1, 1.0, 4.0):
        model = isthmus.BetaVAE(beta=beta, **settings).fit(SOME)
        kls.append(model.rate_distortion(SOME).rate.mean())
        active.append((model.transform(SOME).var(0) > 0.01).sum())
    assert kls == sorted(kls, reverse=True)
    assert active == sorted(active, reverse=True)


def test_generated_digits_show_the_requested_class():
    settings = {"n_components": 8, "hidden": (64,), "epochs": 60, "random_state": 0}
    model = isthmus.ConditionalVAE(learning_rate=3e-3, **settings).fit(X, DIGITS.target)
    classifier = LogisticRegression(max_iter=2000).fit(X, DIGITS.target)
    requested = np.repeat(np.arange(10), 30)
    samples = model.sample(len(requested), random_state=0, y=requested)
    assert (classifier.predict(samples) == requested).mean() >= 0.95


BOUNDED = {"bernoulli", "continuous-bernoulli", "categorical"}  # no data beyond 1 here
EXTREMES = [
    (likelihood, posterior, dtype)
    for likelihood in sorted(LIKELIHOODS)
    for posterior in sorted(POSTERIORS)
    for dtype in (torch.float32, torch.bfloat16)
]


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_loss_and_gradient_are_finite_for_extreme_outputs(size):
    for likelihood, posterior, dtype in EXTREMES:
        check_extreme_numbers(likelihood, posterior, dtype, size)


def check_extreme_numbers(likelihood, posterior, dtype, size):
    torch.manual_seed(0)
    shape = (6,)
    p_of_x = LIKELIHOODS[likelihood](shape)
    q_of_z = POSTERIORS[posterior]((3,), "identity", VAE())

    class Extreme(torch.nn.Module):
        """Return ±1e4 for every input."""

        def __init__(self, n):
            super().__init__()
            signs = torch.tensor([(-1.0) ** i for i in range(n)])
            self.out = torch.nn.Parameter(size * signs)

        def forward(self, x):
            return self.out.expand(len(x), -1) + 0 * x.flatten(1).sum(1, keepdim=True)

    networks = Extreme(q_of_z.total_outputs), Extreme(p_of_x.total_outputs)
    prior = StandardNormal(3)
    model = LatentVariableModel(*networks, q_of_z, p_of_x, prior).to(dtype)
    low, high = (0.0, 1.0) if "bernoulli" in likelihood else (-abs(size), abs(size))
    if likelihood in ("poisson", "negative-binomial"):
        low = 0.0
    if likelihood == "categorical":
        low, high = 0.0, 1.0
    x = torch.tensor([low, high] * 3, dtype=dtype).expand(4, 6)
    terms = Objective()(model, x, generator=torch.Generator().manual_seed(0))
    assert math.isfinite(float(terms.loss.detach()))
    terms.loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradient_are_finite_for_large_inputs(dtype):
    for likelihood in sorted(set(LIKELIHOODS) - BOUNDED):
        for posterior in sorted(POSTERIORS):
            check_large_inputs(likelihood, posterior, dtype)


def check_large_inputs(likelihood, posterior, dtype):
    torch.manual_seed(0)
    spec = isthmus.models.specs.VAE(n_components=3, hidden=(16,))
    spec.posterior_family = posterior
    model = build_model(spec, (6,), likelihood).to(dtype)
    low = 0.0 if likelihood in ("poisson", "negative-binomial") else -1e4
    x = torch.tensor([low, 1e4, 0.0] * 2, dtype=dtype).expand(4, 6)
    terms = Objective()(model, x, generator=torch.Generator().manual_seed(0))
    assert all(torch.isfinite(t).all() for t in terms)
    terms.loss.backward()
    for name, p in model.named_parameters():
        assert torch.isfinite(p.grad).all(), name


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_center_and_samples_are_finite_for_extreme_outputs(likelihood, dtype, size):
    family = LIKELIHOODS[likelihood]((6,)).to(dtype)
    p = family(torch.full((2, family.total_outputs), size, dtype=dtype))
    assert torch.isfinite(family.center(p)).all()
    drawn = draw(p, torch.Generator().manual_seed(0))
    assert torch.isfinite(drawn).all()
    family.check(drawn.float().numpy())
