"""Likelihoods against closed forms, sums and integrals; and at the edges of float32."""

import itertools

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from isthmus._messages import RowError
from isthmus.distributions.base import draw
from isthmus.distributions.families import NormalFamily
from isthmus.distributions.likelihood_distributions import (
    ContinuousBernoulli,
    GreyValues,
    NumberedCategorical,
)
from isthmus.distributions.likelihoods import LIKELIHOODS, GaussianFamily, LaplaceFamily
from isthmus.distributions.mixed import MixedFamily, count_categories, make_likelihood
from isthmus.distributions.priors import StandardNormal
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.nn.dense import Dense, linear_layer
from isthmus.objectives.objective import Objective

N, D = 6, 3
MIXED = "categorical:4,gaussian,categorical:4,bernoulli,poisson,gaussian"
SPECS = [*LIKELIHOODS, "categorical:5", MIXED]
NETWORK = torch.tensor([-1e4, -300.0, -30.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 30.0, 300.0, 1e4])
TILTS = [-1e4, -500.0, -20.0, -1.0, -0.51, -0.5, -0.49, -1e-3, -1e-9]
TILTS += [0.0, 1e-9, 1e-3, 0.49, 0.5, 0.51, 1.0, 20.0, 500.0, 1e4]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(spec, shape=(D,)):
    return make_likelihood(spec, (spec.count(",") + 1,) if "," in spec else shape)


def outputs(family, *batch):
    return torch.randn(*batch, family.total_outputs, generator=generator())


def data(spec, n=N, shape=(D,)):
    """Return rows that a likelihood allows, the extremes among them."""
    g = generator(1)
    if "," in spec:
        return torch.cat([data(name, n, (1,)) for name in spec.split(",")], 1)
    if spec.startswith("categorical"):
        return torch.randint(0, int(spec[12:] or 2), (n, *shape), generator=g).float()
    if spec in ("poisson", "negative-binomial"):
        return torch.randint(0, 9, (n, *shape), generator=g).float()
    if "bernoulli" in spec:
        return torch.rand(n, *shape, generator=g)
    return torch.randn(n, *shape, generator=g)


def largest(spec, x):
    """Return x with its first row as large, and its second as small, as is allowed."""
    x = x.clone()
    if "," in spec:
        pieces = [largest(name, x[:, [i]]) for i, name in enumerate(spec.split(","))]
        return torch.cat(pieces, 1)
    bounded = "bernoulli" in spec or spec.startswith("categorical")
    low, high = (0, 1) if bounded else (-1e4, 1e4)
    x[0], x[1] = high, 0 if spec in ("poisson", "negative-binomial") else low
    return x


# ------------------------------------------------------------------ all likelihoods


@pytest.mark.parametrize("spec", SPECS)
def test_shapes_and_reproducible_samples(spec):
    family = make(spec)
    x = data(spec)
    p = family(outputs(family, 7 * N), (7, N))
    assert p.log_prob(x).shape == p.batch_shape == (7, *x.shape)
    assert p.mean.shape == family.center(p).shape == (7, *x.shape)
    assert family.embed(x).shape == (N, *family.input_shape)
    drawn = draw(p, generator(), (2,))
    assert drawn.shape == (2, 7, *x.shape)
    assert torch.equal(drawn, draw(p, generator(), (2,)))
    family.check(drawn[0, 0].numpy())
    assert torch.isfinite(p.log_prob(drawn)).all()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("name", [*LIKELIHOODS, "categorical:5"])
def test_any_number_of_feature_axes_is_supported(name, shape):
    family = make(name, shape)
    x = data(name, shape=shape)
    p = family(outputs(family, N))
    assert p.log_prob(x).shape == family.center(p).shape == x.shape
    assert family.embed(x).shape == (N, *family.input_shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("spec", SPECS)
def test_values_and_gradients_are_finite_for_extreme_outputs(spec, dtype):
    family = make(spec).to(dtype)
    x = largest(spec, data(spec)).to(dtype)
    rows = NETWORK.repeat_interleave(N)[:, None].expand(-1, family.total_outputs)
    raw = rows.to(dtype).clone().requires_grad_()
    p = family(raw, (len(NETWORK), N))
    for value in (p.log_prob(x), family.center(p), family.embed(x)):
        assert torch.isfinite(value).all()
    p.log_prob(x).sum().backward()
    for leaf in (raw, *family.parameters()):
        assert torch.isfinite(leaf.grad).all()
    assert torch.isfinite(draw(p, generator())).all()


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_match_finite_differences(spec):
    family = make(spec).double()
    x = data(spec).double()
    raw = outputs(family, N).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda raw: family(raw).log_prob(x), raw)
    for name, value in family.named_parameters():

        def log_prob_of(v, name=name):
            return torch.func.functional_call(family, {name: v}, (raw.detach(),)).log_prob(x)

        assert torch.autograd.gradcheck(log_prob_of, (value.detach() + 0.3).requires_grad_())


@pytest.mark.parametrize("spec", SPECS)
def test_samples_have_the_mean_of_the_distribution(spec):
    family = make(spec)
    p = family(outputs(family, 2))
    x = draw(p, generator(), (20_000,)).double()
    error = x.std(0) / len(x) ** 0.5
    assert ((x.mean(0) - p.mean).abs() < 5 * error + 1e-6).all()


# ------------------------------------------------------------------ continuous Bernoulli


@pytest.mark.parametrize("eta", TILTS)
def test_continuous_bernoulli_integrates_to_one_and_has_its_mean(eta):
    p = ContinuousBernoulli(torch.tensor(eta, dtype=torch.float64))

    def density(x):
        return p.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item()

    # The mass lies within about 1/|η| of one end.
    ends = np.clip(np.array([1, 5, 20, 60]) / max(abs(eta), 1e-3), 0, 1)
    cuts = np.unique([0.0, 1.0, *(ends if eta < 0 else 1 - ends)])
    pieces = list(itertools.pairwise(cuts))
    mass = sum(integrate.quad(density, a, b)[0] for a, b in pieces)
    mean = sum(integrate.quad(lambda x: x * density(x), a, b)[0] for a, b in pieces)
    assert mass == pytest.approx(1, abs=1e-10)
    assert mean == pytest.approx(p.mean.item(), abs=1e-10, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_continuous_bernoulli_gradient_is_x_minus_the_mean(dtype):
    eta = torch.tensor(TILTS, dtype=dtype, requires_grad=True)
    p = ContinuousBernoulli(eta)
    (gradient,) = torch.autograd.grad(p.log_prob(torch.tensor(0.3, dtype=dtype)).sum(), eta)
    exact = ContinuousBernoulli(eta.detach().double()).mean
    torch.testing.assert_close(gradient, (0.3 - exact).to(dtype), rtol=0, atol=1e-6)
    torch.testing.assert_close(p.mean.double(), exact, rtol=1e-5, atol=1e-7)


def test_continuous_bernoulli_is_uniform_at_zero():
    eta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    p = ContinuousBernoulli(eta)
    assert p.log_prob(torch.tensor(0.7)).item() == 0
    assert p.mean.item() == 0.5
    (variance,) = torch.autograd.grad(p.mean, eta)
    assert variance.item() == pytest.approx(1 / 12)


def test_continuous_bernoulli_matches_torch():
    eta = torch.tensor([-3.0, -0.7, 0.2, 2.0], dtype=torch.float64)
    x = torch.tensor([0.1, 0.0, 0.6, 1.0], dtype=torch.float64)
    log_constant = eta.abs().log() - (eta.abs() / 2).tanh().log()
    bernoulli = x * eta - nn.functional.softplus(eta)
    torch.testing.assert_close(ContinuousBernoulli(eta).log_prob(x), bernoulli + log_constant)
    theirs = torch.distributions.ContinuousBernoulli(logits=eta)
    torch.testing.assert_close(ContinuousBernoulli(eta).log_prob(x), theirs.log_prob(x))


@pytest.mark.parametrize("eta", [-1e4, -8.0, -1e-4, 0.0, 0.3, 8.0])
def test_continuous_bernoulli_samples_follow_its_distribution(eta):
    p = ContinuousBernoulli(torch.tensor(eta, dtype=torch.float64))
    x = draw(p, generator(), (4000,)).numpy()

    def cdf(x):
        if abs(eta) < 1e-3:
            return x
        tail = np.expm1(-abs(eta) * (x if eta < 0 else 1 - x)) / np.expm1(-abs(eta))
        return tail if eta < 0 else 1 - tail

    assert stats.kstest(x, cdf).pvalue > 1e-3
    shares = torch.tensor([0.0, 0.2, 0.9], dtype=torch.float64)
    np.testing.assert_allclose(cdf(p.icdf(shares).numpy()), shares, atol=1e-4)


# ------------------------------------------------------------------ real numbers


@pytest.mark.parametrize(
    ("cls", "theirs"), [(GaussianFamily, stats.norm), (LaplaceFamily, stats.laplace)]
)
@pytest.mark.parametrize("scale", ["shared", "per-feature", 0.3])
def test_location_families_match_scipy(cls, theirs, scale):
    family = cls((D,), scale)
    for parameter in family.parameters():
        nn.init.normal_(parameter, generator=generator())
    x, raw = data("gaussian"), outputs(family, N)
    expected = theirs(raw, family.scale.detach()).logpdf(x)
    np.testing.assert_allclose(family(raw).log_prob(x).detach(), expected, rtol=1e-5, atol=1e-5)
    assert len(list(family.parameters())) == (scale != 0.3)
    assert family.scale.shape == ((D,) if scale == "per-feature" else ())


def test_fixed_scale_is_saved():
    family, again = GaussianFamily((D,), 0.25), make("gaussian-fixed")
    assert family.scale.item() == pytest.approx(0.25)
    assert again.scale == 1
    again.load_state_dict(family.state_dict())
    assert again.scale == family.scale


def test_network_outputs_are_log_variances():
    family = make("gaussian-network", (2,))
    p = family(torch.tensor([[1.0, 2.0, 0.0, 2.0]]))
    torch.testing.assert_close(p.mean, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(p.stddev, torch.tensor([[1.0, np.exp(1 / 1.1)]]).float())


# ------------------------------------------------------------------ categories and counts


def test_categorical_probabilities_are_a_softmax():
    family = make("categorical:4", (2, 3))
    raw = outputs(family, N)
    p = family(raw)
    x = data("categorical:4", shape=(2, 3))
    expected = -nn.functional.cross_entropy(raw.reshape(N, 4, 2, 3), x.long(), reduction="none")
    torch.testing.assert_close(p.log_prob(x), expected)
    each = torch.arange(4.0).reshape(4, 1, 1, 1)
    torch.testing.assert_close(p.log_prob(each).exp().sum(0), torch.ones(N, 2, 3))
    assert torch.equal(family.center(p), raw.reshape(N, 4, 2, 3).argmax(1).float())
    assert p.log_prob(x).dtype == draw(p, generator()).dtype == torch.float32


def test_categories_are_one_hot_and_soft_inputs_get_gradients():
    family = make("categorical:4", (2, 3))
    x = data("categorical:4", shape=(2, 3))
    one_hot = nn.functional.one_hot(x.long(), 4).movedim(-1, 1).float()
    assert torch.equal(family.embed(x), one_hot)
    between = torch.full((1, 2, 3), 1.25, requires_grad=True)
    embedded = family.embed(between)
    assert torch.equal(embedded[0, :, 0, 0], torch.tensor([0.0, 0.75, 0.25, 0.0]))
    embedded[:, 2].sum().backward()
    assert (between.grad == 1).all()


def test_categorical_samples_follow_the_probabilities():
    p = NumberedCategorical(torch.tensor([0.0, 1.0, -1.0]))
    counts = torch.bincount(draw(p, generator(), (9000,)).long())
    assert stats.chisquare(counts.numpy(), 9000 * p.probs.double().numpy()).pvalue > 1e-3


def softly_limited_exp(raw, limit=20):
    raw = np.asarray(raw)
    return np.exp(raw / (1 + np.abs(raw) / limit))


def test_poisson_matches_scipy():
    family = make("poisson").double()
    raw = outputs(family, N).double()
    rate = softly_limited_exp(raw)
    x = data("poisson").double()
    p = family(raw)
    np.testing.assert_allclose(p.log_prob(x), stats.poisson(rate).logpmf(x))
    np.testing.assert_allclose(family.center(p), rate)
    counts = torch.arange(200.0, dtype=torch.float64).reshape(-1, 1, 1)
    np.testing.assert_allclose(p.log_prob(counts).exp().sum(0), 1)


def test_negative_binomial_matches_scipy():
    family = make("negative-binomial").double()
    with torch.no_grad():
        family.log_shape.copy_(torch.tensor([-0.5, 0.5, 2.0]))
    raw = outputs(family, N).double()
    mean = softly_limited_exp(raw)
    r = softly_limited_exp([-0.5, 0.5, 2.0], limit=10)
    p = family(raw)
    x = data("negative-binomial").double()
    expected = stats.nbinom(r, r / (r + mean))
    np.testing.assert_allclose(p.log_prob(x).detach(), expected.logpmf(x))
    np.testing.assert_allclose(family.center(p).detach(), mean)
    np.testing.assert_allclose(p.variance.detach(), mean + mean**2 / r)


@pytest.mark.parametrize("name", ["poisson", "negative-binomial"])
def test_counts_are_embedded_as_logarithms(name):
    x = torch.tensor([[0.0, np.e - 1, -3.0]])
    torch.testing.assert_close(make(name).embed(x), torch.tensor([[0.0, 1.0, 0.0]]))


@pytest.mark.parametrize("spec", SPECS)
def test_variance_is_that_of_draws(spec):
    family = make(spec)
    p = family(outputs(family, 4))
    x = draw(p, generator(), (20_000,))
    torch.testing.assert_close(p.variance.detach(), x.var(0), rtol=0.12, atol=1e-3)


@pytest.mark.parametrize("tilt", TILTS)
def test_variance_of_the_continuous_bernoulli_is_the_derivative_of_its_mean(tilt):
    logits = torch.tensor(tilt, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ContinuousBernoulli(logits).mean, logits)
    variance = ContinuousBernoulli(logits.detach()).variance
    torch.testing.assert_close(variance, slope, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize("dispersion", [1e-3, 0.2, 1.0])
def test_grey_values_have_their_mean_and_variance(dispersion):
    p = GreyValues(torch.tensor([0.0, 0.1, 0.5, 0.97, 1.0]), torch.tensor(dispersion))
    x = draw(p, generator(), (40_000,))
    assert 0 <= x.min() <= x.max() <= 1
    torch.testing.assert_close(x.mean(0), p.mean, rtol=0.03, atol=3e-4)
    torch.testing.assert_close(x.var(0), p.variance, rtol=0.05, atol=3e-4)
    assert dispersion < 1 or set(x.flatten().tolist()) == {0.0, 1.0}


# ------------------------------------------------------------------ mixed tables


def test_mixed_likelihood_matches_its_columns():
    family = make(MIXED)
    x, raw = data(MIXED), outputs(family, N)
    p = family(raw)
    log_prob, center, mean, start = p.log_prob(x), family.center(p), p.mean, 0
    for part, columns in zip(family.parts, family.columns, strict=True):
        q = part(raw[:, start : start + part.total_outputs])
        start += part.total_outputs
        torch.testing.assert_close(log_prob[:, columns], q.log_prob(x[:, columns]))
        torch.testing.assert_close(center[:, columns], part.center(q))
        torch.testing.assert_close(mean[:, columns], q.mean)
    assert start == family.total_outputs == 2 * 4 + 4


def test_mixed_likelihood_of_one_kind_matches_that_kind():
    mixed, alone = make("bernoulli,bernoulli,bernoulli"), make("bernoulli")
    x, raw = data("bernoulli"), outputs(alone, N)
    assert torch.equal(mixed(raw).log_prob(x), alone(raw).log_prob(x))
    assert torch.equal(mixed.embed(x), alone.embed(x))


def test_mixed_samples_have_the_type_of_their_column():
    family = make(MIXED)
    x = draw(family(outputs(family, 200)), generator())
    family.check(x.numpy())
    assert set(x[:, 0].tolist()) == {0, 1, 2, 3}
    assert set(x[:, 3].tolist()) == {0, 1}
    assert len(x[:, 1].unique()) == 200


def test_parts_of_a_mixed_likelihood_may_have_any_order():
    parts = [NormalFamily((2,)), make("laplace", (1,))]
    family = MixedFamily(parts, [(2, 0), (1,)])
    assert family.total_outputs == 5
    assert family(torch.zeros(4, 5)).log_prob(torch.zeros(4, 3)).shape == (4, 3)


# ------------------------------------------------------------------ by name, and bad data


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("continuous-bernoulli", 1.5, "'continuous-bernoulli' takes values between 0 and 1, but X"),
        ("continuous-bernoulli", -0.1, "has -0.1 in row 4, feature 2; correct X, or use"),
        ("categorical:4", 4, "the whole numbers 0 to 3, but X has 4 in row 4, feature 2"),
        ("categorical:4", -1, "0 to 3, but X has -1 in row 4"),
        ("categorical:4", 1.5, "0 to 3, but X has 1.5 in row 4"),
        ("poisson", -2, "'poisson' takes the whole numbers 0, 1, 2, ..., but X has -2 in row 4"),
        ("negative-binomial", 0.5, "'negative-binomial' takes the whole .* has 0.5 in row 4"),
    ],
)
def test_error_names_the_place_of_an_invalid_value(name, value, message):
    family = make(name)
    x = data(name).numpy()
    family.check(x)
    x[4, 2] = value
    with pytest.raises(ValueError, match=message) as error:
        family.check(x)
    assert "\n" not in str(error.value)


def test_bytes_are_gray_levels_and_errors_name_the_pixel():
    make("continuous-bernoulli").check(np.array([[0, 255, 7]], np.uint8))
    make("categorical:4").check(np.array([[0, 3, 1]], np.uint8))
    with pytest.raises(ValueError, match=r"row 1, feature \(0, 1\)"):
        make("poisson", (2, 2)).check(np.array([[[0, 1], [2, 3]], [[1, -1], [0, 0]]]))


@pytest.mark.parametrize("column", [0, 2, 3, 4])
def test_error_of_a_mixed_table_names_the_column(column):
    x = data(MIXED).numpy()
    make(MIXED).check(x)
    x[5, column] = -1
    with pytest.raises(ValueError, match=f"^column {column}: likelihood") as error:
        make(MIXED).check(x)
    assert "in row 5;" in str(error.value)


@pytest.mark.parametrize("name", ["bernoulli", "continuous-bernoulli"])
def test_encoder_input_may_be_noisy_or_missing_but_not_rescaled(name):
    make(name).check_input(np.array([[-2.5, np.nan, 4.0]]))
    make(name).check_input(np.array([[0, 255, 7]], np.uint8))
    message = r"^the model takes .* 0 and 1, but X has 255 in row 0, feature 2; scale X as it was"
    with pytest.raises(RowError, match=message):
        make(name).check_input(np.array([[0.0, np.nan, 255.0]]))


@pytest.mark.parametrize(
    ("name", "noisy", "wrong", "message"),
    [
        ("poisson", -9.5, -9999, "the whole numbers 0, 1, 2, ..., but X has -9999 in row 1"),
        ("negative-binomial", 0.5, -11, "but X has -11 in row 1, feature 0; correct X, or mark"),
        ("categorical:3", 2, 3, "the whole numbers 0 to 2, but X has 3 in row 1, feature 0"),
        ("categorical:3", 0, -1, "the whole numbers 0 to 2, but X has -1 in row 1, feature 0"),
    ],
)
def test_encoder_input_outside_a_support_is_no_noise(name, noisy, wrong, message):
    x = np.array([[0.0, 1.0], [noisy, np.nan], [1.0, 0.0]])
    make(name, (2,)).check_input(x)
    x[1, 0] = wrong
    with pytest.raises(RowError, match=message) as caught:
        make(name, (2,)).check_input(x)
    assert caught.value.rows.tolist() == [1]


def test_error_of_a_mixed_table_names_the_rescaled_column():
    x = np.array([[1e5, 0.0], [3e5, np.nan]])
    make("gaussian,bernoulli").check_input(x)
    with pytest.raises(RowError, match=r"^column 1: the model takes .* X has 30 in row 1; scale"):
        make("gaussian,bernoulli").check_input(np.array([[1e5, 0.0], [3e5, 30.0]]))


def test_bytes_in_a_mixed_table_are_numbers():
    with pytest.raises(ValueError, match="column 1: likelihood 'bernoulli'"):
        make("poisson,bernoulli").check(np.array([[3, 1], [9, 2]], np.uint8))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("poison", "unknown likelihood 'poison'; expected one of .* Did you mean 'poisson'"),
        ("gaussian:3", "unknown likelihood 'gaussian:3'"),
        ("categorical:1", "n_categories must be at least 2, got 1"),
        ("gaussian,bernoulli", "one likelihood per column, .* got 2 likelihoods"),
    ],
)
def test_invalid_likelihoods_raise(spec, message):
    with pytest.raises(ValueError, match=message) as error:
        make_likelihood(spec, (D,))
    assert "\n" not in str(error.value)


def test_number_of_categories_is_read_from_the_data():
    X = np.array([[0.5, 0, 0], [1.5, 6, 0]])
    name = "gaussian, categorical, categorical:3"
    assert count_categories(name, X) == "gaussian,categorical:7,categorical:3"
    assert count_categories("categorical", X[:, 1:]) == "categorical:7"
    assert count_categories("poisson", X) == "poisson"
    assert count_categories("categorical", np.zeros((3, 2))) == "categorical:2"


# ------------------------------------------------------------------ in a model


def composed(spec, family):
    posterior = NormalFamily((2,))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Dense([int(np.prod(family.input_shape)), 16, 4], linear_layer("tanh"))
        decoder = Dense([2, 16, family.total_outputs], linear_layer("tanh"))
    return LatentVariableModel(encoder, decoder, posterior, family, StandardNormal(2))


def drawn_from_two_groups(spec, family, n=256):
    """Return rows of data whose distribution depends on a hidden label."""
    labels = torch.arange(n) % 2
    groups = 2 * torch.randn(2, family.total_outputs, generator=generator(5))
    with torch.no_grad():
        return draw(family(groups[labels]), generator(6))


@pytest.mark.parametrize("spec", SPECS)
def test_model_learns(spec):
    family = make(spec, (8,))
    x = drawn_from_two_groups(spec, family)
    family.check(x.numpy())
    model, objective, g = composed(spec, family), Objective(), generator()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for step in range(100):
        loss = objective(model, x, step=step, generator=g).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    family.check(draw(model.decode(torch.zeros(3, 2)), generator()).numpy())
