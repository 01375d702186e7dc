import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from isthmus.distributions.base import DiagonalNormal
from isthmus.distributions.posteriors import FlowFamily, FullNormalFamily

ROWS, D = 5, 3


def full(seed=0):
    family = FullNormalFamily((D,))
    g = torch.Generator().manual_seed(seed)
    return family(torch.randn(ROWS, family.total_outputs, generator=g))


def test_full_normal_matches_torch():
    q, z = full(), torch.randn(ROWS, D)
    same = MultivariateNormal(q.loc, scale_tril=q.scale_tril)
    torch.testing.assert_close(q.log_prob(z), same.log_prob(z))
    torch.testing.assert_close(q.covariance_matrix, same.covariance_matrix)


def test_kl_of_full_normal_to_diagonal_normal_matches_torch():
    q, loc, scale = full(), torch.randn(D), torch.rand(D) + 0.5
    general = kl_divergence(
        MultivariateNormal(q.loc, scale_tril=q.scale_tril),
        MultivariateNormal(loc, torch.diag(scale**2)),
    )
    torch.testing.assert_close(kl_divergence(q, DiagonalNormal(loc, scale)), general)


def test_samples_of_full_normal_have_its_moments():
    q = full()
    z = q.rsample((100_000,), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(z.mean(0), q.mean, atol=0.03, rtol=0.03)
    row = z[:, 0]
    torch.testing.assert_close(torch.cov(row.T), q.covariance_matrix[0], atol=0.05, rtol=0.05)


@pytest.fixture(scope="module")
def flow():
    torch.manual_seed(0)
    family = FlowFamily((D,))
    with torch.no_grad():  # make the flow strongly nonlinear
        for p in family.flow.parameters():
            p.mul_(2)
    return family


def test_flow_density_follows_from_the_jacobian(flow):
    outputs = torch.randn(1, flow.total_outputs)
    noise = torch.randn(D)

    def push(e):
        return flow(outputs).rsample(noise=e[None])[0]

    jacobian = torch.autograd.functional.jacobian(push, noise)
    expected = Normal(0.0, 1.0).log_prob(noise).sum() - jacobian.det().abs().log()
    found = flow(outputs).log_prob(push(noise)[None])[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_flow_density_integrates_to_one():
    torch.manual_seed(1)
    family = FlowFamily((2,))
    q = family(torch.randn(1, family.total_outputs))
    grid = torch.linspace(-12, 12, 161)
    points = torch.cartesian_prod(grid, grid)[:, None]
    mass = q.log_prob(points).exp().sum() * (grid[1] - grid[0]) ** 2
    assert float(mass) == pytest.approx(1.0, abs=0.01)


def test_flow_mean_and_stddev_match_its_samples(flow):
    q = flow(torch.randn(ROWS, flow.total_outputs))
    z = q.rsample((10_000,), generator=torch.Generator().manual_seed(2))
    assert ((q.mean - z.mean(0)).abs() < 0.3 * z.std(0)).all()
    assert (q.stddev / z.std(0) - 1).abs().max() < 0.35
    torch.testing.assert_close(q.mean, q.mean)  # the same at every call


@pytest.mark.parametrize("make", [full, None])
def test_equal_noise_gives_equal_samples(make, flow):
    q = make() if make else flow(torch.randn(ROWS, flow.total_outputs))
    noise = torch.randn(4, ROWS, D)
    before = torch.random.get_rng_state()
    assert torch.equal(q.rsample((4,), noise=noise), q.rsample((4,), noise=noise))
    g = torch.Generator().manual_seed(0)
    assert q.rsample((4,), generator=g).shape == (4, ROWS, D)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(), (4,), (5, 4), (5, 1)])
def test_shared_scales_give_the_densities_and_gradients_of_torch(shape):
    torch.manual_seed(0)
    loc, log_scale = torch.randn(5, 4, requires_grad=True), torch.randn(shape, requires_grad=True)
    x = torch.randn(3, 5, 4)
    ours, reference = (kind(loc, log_scale.exp()).log_prob(x) for kind in (DiagonalNormal, Normal))
    assert torch.equal(ours, reference)
    for values in zip(
        torch.autograd.grad(ours.sum(), (loc, log_scale)),
        torch.autograd.grad(reference.sum(), (loc, log_scale)),
        strict=True,
    ):
        torch.testing.assert_close(*values)
