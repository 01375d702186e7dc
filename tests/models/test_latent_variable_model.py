"""The model and its distributions against worked examples, and for extreme numbers."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from isthmus.distributions.base import DiagonalNormal, draw
from isthmus.distributions.families import NormalFamily
from isthmus.distributions.likelihoods import GaussianFamily
from isthmus.distributions.priors import StandardNormal
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import VAE
from isthmus.objectives.bounds import Elbo
from isthmus.objectives.objective import Objective
from isthmus.objectives.penalties import Pass
from isthmus.registry import LIKELIHOODS, POSTERIORS, build_model


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
    spec = VAE(n_components=3, hidden=(16,))
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
