"""Gaussians fitted to densities whose moments, evidence and best fits are known."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch.distributions import (
    Categorical,
    Gamma,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from isthmus.inference import fit_gaussian, plot_fits

CONSTANT = 7.0  # log Z of the Gaussian target
QUICK = {"n_steps": 100, "n_samples": 16}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(d=3, seed=0):
    """Return a strongly correlated Gaussian with a nonzero mean."""
    g = generator(seed)
    factor = torch.randn(d, d, generator=g, dtype=torch.float64)
    mean = 3 * torch.randn(d, generator=g, dtype=torch.float64)
    return MultivariateNormal(mean, factor @ factor.T + 0.5 * torch.eye(d))


def full(q):
    return MultivariateNormal(q.mean, q.variance.diag()) if isinstance(q, Independent) else q


def covariance_of(q):
    return full(q).covariance_matrix


TARGET = normal()
KINDS = ("diagonal", "full")


def gaussian(z):
    return TARGET.log_prob(z) + CONSTANT


@cache
def fitted(direction, kind):
    steps = 600 if (direction, kind) == ("reverse", "full") else None
    return fit_gaussian(gaussian, 3, covariance=kind, direction=direction, n_steps=steps)


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_finds_the_nearest_gaussian_in_closed_form(kind):
    q = fitted("reverse", kind).distribution
    best = TARGET.covariance_matrix
    if kind == "diagonal":  # the mean-field optimum keeps the diagonal of the precision matrix
        best = (1 / TARGET.precision_matrix.diagonal()).diag()
    torch.testing.assert_close(covariance_of(q), best, rtol=1e-6, atol=0)
    torch.testing.assert_close(q.mean, TARGET.mean, rtol=0, atol=1e-6)


def test_elbo_of_a_full_gaussian_is_tight():
    fit = fitted("reverse", "full")
    assert isinstance(fit.distribution, MultivariateNormal)
    assert fit.elbo == pytest.approx(CONSTANT, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_matches_the_moments(kind):
    q = fitted("forward", kind).distribution
    best, deviations = TARGET.covariance_matrix, TARGET.stddev
    best = best.diagonal().diag() if kind == "diagonal" else best
    assert ((covariance_of(q) - best) / torch.outer(deviations, deviations)).abs().max() < 0.03
    assert ((q.mean - TARGET.mean) / deviations).abs().max() < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_log_evidence_is_elbo_plus_kl(direction, kind):
    fit = fitted(direction, kind)
    kl = kl_divergence(full(fit.distribution), TARGET).item()
    assert fit.elbo + kl == pytest.approx(CONSTANT, abs=1e-6)
    assert abs(fit.log_evidence - CONSTANT) < 4 * fit.standard_error
    assert fit.standard_error < 0.02
    assert fit.kl == pytest.approx(kl, abs=4 * fit.standard_error)


def test_moments_of_given_samples_are_matched_exactly():
    g = generator()
    draws = TARGET.mean + torch.randn(500, 3, generator=g, dtype=torch.float64) @ (
        TARGET.scale_tril.T
    )
    known = {"direction": "forward", "samples": draws}
    fit, field = fit_gaussian(gaussian, covariance="full", **known), fit_gaussian(gaussian, **known)
    torch.testing.assert_close(fit.distribution.mean, draws.mean(0))
    covariance = torch.cov(draws.T, correction=0)
    torch.testing.assert_close(fit.distribution.covariance_matrix, covariance)
    torch.testing.assert_close(field.distribution.variance, covariance.diagonal())
    for each in (fit, field):
        assert abs(each.log_evidence - CONSTANT) < 4 * each.standard_error
        assert each.elbo_trace.tolist() == [each.elbo]


def test_bayesian_linear_regression():
    """The evidence is a Gaussian density of y, and the posterior is Gaussian."""
    g = generator(3)
    x = torch.randn(30, 4, generator=g, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2, 0.5, 0]).double() + 0.7 * torch.randn(30, generator=g)
    prior, noise = Normal(0.0, 1.5), 0.7

    def joint(w):
        return prior.log_prob(w).sum(-1) + Normal(w @ x.T, noise).log_prob(y).sum(-1)

    spread = noise**2 * torch.eye(30) + 1.5**2 * x @ x.T
    evidence = MultivariateNormal(torch.zeros(30).double(), spread).log_prob(y).item()
    precision = x.T @ x / noise**2 + torch.eye(4) / 1.5**2
    mean = torch.linalg.solve(precision, x.T @ y / noise**2)
    posterior = MultivariateNormal(mean, precision_matrix=precision)
    for kind in ("diagonal", "full"):
        fit = fit_gaussian(joint, 4, covariance=kind, n_steps=400)
        kl = kl_divergence(full(fit.distribution), posterior).item()
        assert fit.elbo + kl == pytest.approx(evidence, abs=1e-6)
        assert abs(fit.log_evidence - evidence) < 4 * fit.standard_error
    assert kl < 1e-9  # of the full covariance, the last of the loop


MODES = torch.tensor([[-2.0, -1.0], [2.0, 1.0]], dtype=torch.float64)
WIDTHS = torch.tensor([[0.6, 0.8], [0.5, 0.7]], dtype=torch.float64)
TWO = MixtureSameFamily(
    Categorical(torch.ones(2, dtype=torch.float64)), Independent(Normal(MODES, WIDTHS), 1)
)
WIDE = MultivariateNormal(torch.zeros(2), 9 * torch.eye(2))


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_fits_one_of_two_modes(kind):
    fit = fit_gaussian(TWO.log_prob, start=WIDE, covariance=kind, n_steps=200)
    distance = (fit.distribution.mean - MODES).abs().amax(1)
    mode = int(distance.argmin())
    assert distance[mode] < 0.1
    spread = fit.distribution.variance.sqrt()
    torch.testing.assert_close(spread, WIDTHS[mode], rtol=0.05, atol=0)
    # Half the mass is missed: KL(q || p) is a little less than log 2, and log Z is 0.
    assert fit.elbo == pytest.approx(-math.log(2), abs=0.02)
    assert abs(fit.log_evidence) < 4 * fit.standard_error
    assert fit.kl == pytest.approx(math.log(2), abs=0.06)


@pytest.mark.parametrize("start", [None, WIDE])
def test_forward_covers_both_modes(start):
    known = {"start": start, "direction": "forward"}
    fit = fit_gaussian(TWO.log_prob, 2, covariance="full", **known)
    across = MODES - TWO.mean
    exact = (WIDTHS**2).mean(0).diag() + across.T @ across / 2
    torch.testing.assert_close(fit.distribution.mean, TWO.mean, rtol=0, atol=0.06)
    torch.testing.assert_close(fit.distribution.covariance_matrix, exact, rtol=0.03, atol=0)
    field = fit_gaussian(TWO.log_prob, 2, **known).distribution
    torch.testing.assert_close(field.variance, TWO.variance, rtol=0.03, atol=0)
    assert abs(fit.log_evidence) < 4 * fit.standard_error


def test_standard_error_of_the_evidence_is_calibrated():
    fits = [
        fit_gaussian(
            TWO.log_prob, start=WIDE, direction="forward", n_steps=8, n_samples=500, random_state=i
        )
        for i in range(30)
    ]
    z = np.array([fit.log_evidence / fit.standard_error for fit in fits])
    assert np.sqrt((z**2).mean()) < 1.4
    assert abs(z.mean()) < 0.6


def test_skewed_density_matches_the_closed_form():
    """Gumbel: the ELBO is -m - exp(s²/2 - m) + entropy, greatest at m = 1/2, s = 1."""
    fit = fit_gaussian(lambda z: (-z - (-z).exp()).sum(-1), 1, n_steps=400)
    assert fit.distribution.mean.item() == pytest.approx(0.5, abs=0.01)
    assert fit.distribution.stddev.item() == pytest.approx(1, abs=0.01)
    exact = -0.5 - 1 + 0.5 * math.log(2 * math.pi * math.e)
    assert fit.elbo == pytest.approx(exact, abs=0.01)
    assert abs(fit.log_evidence) < 4 * fit.standard_error


@pytest.mark.parametrize("kind", KINDS)
def test_elbo_increases_and_stays_below_the_evidence(kind):
    fit = fitted("reverse", kind)
    trace = fit.elbo_trace
    assert len(trace) == (2000 if kind == "diagonal" else 600)
    assert trace[:20].mean() < trace[100:120].mean() < fit.elbo + 0.05
    smooth = np.convolve(trace, np.ones(50) / 50, "valid")
    assert smooth.max() < CONSTANT + 0.02
    np.testing.assert_allclose(trace[-100:], fit.elbo, atol=0.01)


@pytest.mark.parametrize(
    ("mean", "deviation", "n_steps"), [(0.0, 1e4, 500), (1000.0, 1.0, 1500), (0.1, 1e-3, 500)]
)
def test_fit_does_not_depend_on_scale(mean, deviation, n_steps):
    target = Normal(torch.tensor(mean).double(), deviation)
    fit = fit_gaussian(lambda z: target.log_prob(z).sum(-1), 2, n_steps=n_steps)
    assert fit.elbo == pytest.approx(0, abs=1e-6)


def test_more_dimensions_than_draws_per_step():
    target = normal(70)
    fit = fit_gaussian(target.log_prob, 70, covariance="full", n_steps=400)
    torch.testing.assert_close(fit.distribution.mean, target.mean, rtol=0, atol=1e-3)
    torch.testing.assert_close(fit.distribution.stddev, target.stddev, rtol=1e-3, atol=0)


def test_bayesian_logistic_regression_agrees_with_a_long_run():
    g = generator(5)
    x = torch.randn(40, 3, generator=g, dtype=torch.float64)
    y = (torch.rand(40, generator=g) < (x @ torch.tensor([1.5, -1, 0]).double()).sigmoid()).double()

    def joint(w):
        likelihood = -torch.nn.functional.softplus((1 - 2 * y) * (w @ x.T)).sum(-1)
        return likelihood + Normal(0.0, 3.0).log_prob(w).sum(-1)

    reverse, forward = (
        fit_gaussian(joint, 3, covariance="full", direction=d, **steps)
        for d, steps in (("reverse", {"n_steps": 300}), ("forward", {}))
    )
    # A long run of plain importance sampling, from a wide Gaussian about the reverse fit.
    q = reverse.distribution
    wide = MultivariateNormal(q.mean, 2 * q.covariance_matrix)
    noise = torch.randn(200_000, 3, generator=g, dtype=torch.float64)
    w = q.mean + noise @ wide.scale_tril.T
    log_weight = joint(w) - wide.log_prob(w)
    weight = log_weight.softmax(0)
    evidence = (log_weight.logsumexp(0) - math.log(len(w))).item()
    mean = weight @ w
    covariance = torch.cov(w.T, aweights=weight, correction=0)
    deviations = covariance.diagonal().sqrt()

    assert ((forward.distribution.mean - mean) / deviations).abs().max() < 0.02
    torch.testing.assert_close(forward.distribution.stddev, deviations, rtol=0.03, atol=0)
    assert ((reverse.distribution.mean - mean) / deviations).abs().max() < 0.1
    for fit in (reverse, forward):
        assert abs(fit.log_evidence - evidence) < 4 * fit.standard_error + 0.005
    assert forward.elbo < reverse.elbo < evidence
    assert evidence - reverse.elbo < 0.1


def test_forward_accepts_densities_with_bounded_support():
    """The Gamma density is zero below 0, so the reverse KL of any Gaussian is infinite."""
    gamma = Gamma(3.0, 2.0, validate_args=False)

    def log_density(z):
        inside = gamma.log_prob(z.clamp(min=1e-9)).squeeze(-1)
        return torch.where(z.squeeze(-1) > 0, inside, -torch.inf)

    fit = fit_gaussian(log_density, 1, direction="forward")
    assert fit.distribution.mean.item() == pytest.approx(1.5, rel=0.02)
    assert fit.distribution.stddev.item() == pytest.approx(math.sqrt(3) / 2, rel=0.02)
    assert abs(fit.log_evidence) < 4 * fit.standard_error
    assert fit.elbo == -math.inf
    assert fit.kl == math.inf
    with pytest.raises(ValueError, match=r"is -inf at \d+ of 64 points.*forward"):
        fit_gaussian(log_density, 1)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_random_state_is_reproducible_and_local(direction):
    torch.manual_seed(1)
    state = torch.get_rng_state()

    def fit(seed):
        return fit_gaussian(TWO.log_prob, 2, direction=direction, random_state=seed, **quick)

    quick = {"n_steps": 100} if direction == "reverse" else {"n_steps": 3}
    first, again, other = fit(0), fit(0), fit(-1)
    assert torch.equal(first.distribution.mean, again.distribution.mean)
    assert first.log_evidence == again.log_evidence
    assert first.elbo_trace.tolist() == again.elbo_trace.tolist()
    assert first.log_evidence != other.log_evidence
    assert torch.equal(torch.get_rng_state(), state)


def test_start_selects_the_mode():
    for mode in MODES:
        fit = fit_gaussian(TWO.log_prob, start=mode, n_steps=150)
        torch.testing.assert_close(fit.distribution.mean, mode, rtol=0, atol=0.1)
    base = Independent(Normal(torch.ones(2), 0.5 * torch.ones(2)), 1)
    fit = fit_gaussian(TWO.log_prob, start=base, covariance="full", n_steps=150)
    torch.testing.assert_close(fit.distribution.mean, MODES[1], rtol=0, atol=0.1)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_single_precision(direction):
    target = Normal(2.0, 0.5)
    steps = {"n_steps": 300} if direction == "reverse" else {}
    fit = fit_gaussian(
        lambda z: target.log_prob(z).sum(-1), 2, direction=direction, dtype=torch.float32, **steps
    )
    assert fit.distribution.mean.dtype == torch.float32
    torch.testing.assert_close(fit.distribution.mean, torch.full((2,), 2.0), rtol=0, atol=0.02)


def test_parameters_of_the_density_get_no_gradients():
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    fit_gaussian(lambda z: -(z * weight).square().sum(-1), 2, **QUICK)
    assert weight.grad is None


WRONG_CALLS = [
    ({"n_dims": None}, "cannot infer n_dims"),
    ({"n_dims": 0}, "n_dims must be a positive integer, got 0"),
    ({"direction": "reversed"}, "direction must be 'reverse' or 'forward'.*mean 'reverse'"),
    ({"covariance": "diag"}, "covariance must be .* got 'diag'.*mean 'diagonal'"),
    ({"n_steps": 0}, "n_steps must be a positive integer, got 0"),
    ({"n_samples": 1.5}, "n_samples must be a positive integer, got 1.5"),
    ({"learning_rate": 0}, "learning_rate must be positive"),
    ({"start": torch.zeros(3)}, r"start must have a mean of shape \(2,\), got \(3,\)"),
    ({"start": torch.zeros(1, 2), "n_dims": None}, r"shape \(n_dims,\), got \(1, 2\)"),
    ({"start": torch.full((2,), math.nan)}, "start must have a finite mean"),
    ({"samples": torch.zeros(9, 2)}, "samples can only be used with direction='forward'"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_CALLS)
def test_invalid_arguments_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        fit_gaussian(TWO.log_prob, **{"n_dims": 2, **QUICK, **changes})


WRONG_SAMPLES = [
    (torch.zeros(9), r"samples must have shape \(n, 2\), got \(9,\)"),
    (torch.zeros(9, 3), r"samples must have shape \(n, 2\), got \(9, 3\)"),
    (torch.randn(2, 2, generator=generator()), "full covariance of 2 dim.* at least 3 samples"),
    (torch.full((9, 2), math.inf), "samples must be finite"),
    (torch.arange(9.0)[:, None] * torch.ones(2), "singular covariance"),
]


@pytest.mark.parametrize(("samples", "message"), WRONG_SAMPLES)
def test_invalid_samples_raise(samples, message):
    with pytest.raises(ValueError, match=message):
        fit_gaussian(TWO.log_prob, 2, covariance="full", direction="forward", samples=samples)


def test_constant_samples_raise():
    with pytest.raises(ValueError, match="dimension 1 of the samples"):
        fit_gaussian(
            TWO.log_prob, direction="forward", samples=torch.tensor([[0.0, 1], [1, 1], [2, 1]])
        )


WRONG_DENSITIES = [
    (lambda z: z, ValueError, r"must return shape \(16,\) .* got \(16, 2\)"),
    (lambda z: z.sum(), ValueError, r"must return shape \(16,\) .* got \(\)"),
    (lambda z: z.detach().numpy().sum(-1), TypeError, "must return a tensor, got ndarray"),
    (lambda z: z.detach().sum(-1), TypeError, "not differentiable.*detach"),
    (lambda z: torch.ones(len(z), requires_grad=True) * 2, TypeError, "not differentiable"),
    (lambda z: z.sum(-1) * math.nan, ValueError, "is nan at 16 of 16 points, such as"),
    (lambda z: z.sum(-1) + math.inf, ValueError, "is inf at 16 of 16 points"),
    (
        lambda z: (z - z).sqrt().sum(-1),
        ValueError,
        "log_density is not finite at 16 of 16",
    ),
]


@pytest.mark.parametrize(("density", "kind", "message"), WRONG_DENSITIES)
def test_invalid_densities_raise(density, kind, message):
    with pytest.raises(kind, match=message):
        fit_gaussian(density, 2, **QUICK)


def test_zero_density_at_all_points_raises():
    with pytest.raises(
        ValueError, match=r"is -inf at all 2000 proposed points.*start that overlaps"
    ):
        fit_gaussian(lambda z: z.sum(-1) * 0 - math.inf, 2, direction="forward")


@pytest.mark.filterwarnings("ignore:importance sampling")  # pytest repeats what did not match
def test_unconverged_fits_warn():
    far = Normal(1e6, 1.0)
    with pytest.warns(UserWarning, match="has not converged") as seen:
        fit_gaussian(lambda z: far.log_prob(z).sum(-1), 2, **QUICK)
    assert any("effective sample size of only 1.0" in str(w.message) for w in seen)
    assert all(w.filename == __file__ for w in seen)


def test_plot_has_a_map_and_a_trace_per_fit():
    steps = {"reverse": 100, "forward": 5}
    fits = {
        direction: fit_gaussian(TWO.log_prob, start=WIDE, direction=direction, n_steps=n)
        for direction, n in steps.items()
    }
    sheet = plot_fits(TWO.log_prob, fits, limits=(-5, 5, -4, 4), title="Two modes")
    board, *traces = sheet.axes
    rings = [line.get_xydata() for line in board.get_lines() if len(line.get_xydata()) > 1]
    assert len(rings) == 4
    q = fits["reverse"].distribution
    distance = ((torch.as_tensor(rings[1]) - q.mean) / q.stddev).square().sum(-1).sqrt()
    torch.testing.assert_close(distance, torch.full_like(distance, 2.0))
    assert [axes.get_title(loc="left") for axes in traces] == list(steps)
    for axes, fit in zip(traces, fits.values(), strict=True):
        line, evidence = axes.get_lines()
        np.testing.assert_array_equal(line.get_ydata(), fit.elbo_trace)
        assert evidence.get_ydata()[0] == fit.log_evidence
        assert any("KL" in text.get_text() for text in axes.texts)
    sheet.canvas.draw()


def test_invalid_plots_raise():
    with pytest.raises(ValueError, match="one to five fits"):
        plot_fits(TWO.log_prob, {})
    fit = fit_gaussian(gaussian, 3, direction="forward", n_steps=2)
    with pytest.raises(ValueError, match="two dimensions, but 'solid' has 3"):
        plot_fits(gaussian, {"solid": fit})
