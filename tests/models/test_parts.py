"""Test the contract of every part registered in `isthmus.registry`.

To add a part:

1. Write it next to its siblings in `distributions`, `objectives` or `nn`. The docstring of the base
   class describes the required methods.
2. Add its name to the table in `isthmus/registry.py` (or in its own file) and to the choices in
   `isthmus/models/specs.py`: TestTables below fails until both agree.
3. Run this file. The tests of its kind and the cross products find it by its name; you write no
   test here. If a part needs data other than numbers between 0 and 1, add them to DATA. An
   impossible combination must raise: see `test_every_posterior_prior_and_bound_train_together`.
4. Add a test to the folder of its package that compares it with a closed form, a library or a
   worked example.
"""

import itertools
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from isthmus.distributions.base import draw, per_example
from isthmus.distributions.families import ACTIVATIONS
from isthmus.distributions.mixed import make_likelihood
from isthmus.distributions.sparse_codes import SPARSE_POINTS
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.params import params_of
from isthmus.models.specs import (
    VAE,
    BetaVAE,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
)
from isthmus.nn.dense import NONLINEARITIES, Shapes
from isthmus.objectives.corruptions import CORRUPTIONS
from isthmus.objectives.objective import Objective
from isthmus.objectives.penalties import Pass
from isthmus.objectives.schedules import SCHEDULES, SETTLED
from isthmus.registry import (
    BACKBONES,
    LIKELIHOODS,
    PENALTIES,
    POSTERIORS,
    PRIORS,
    SIZED,
    build_model,
    build_objective,
)

N, D, K, CONDITION = 6, 3, 4, 5
SHAPE = (D,)

#: Data of likelihoods that need values other than numbers between 0 and 1.
DATA = {
    "poisson": lambda g: torch.randint(0, 9, (N, D), generator=g).float(),
    "negative-binomial": lambda g: torch.randint(0, 9, (N, D), generator=g).float(),
    "categorical": lambda g: torch.randint(0, 2, (N, D), generator=g).float(),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data(likelihood):
    make = DATA.get(likelihood, lambda g: torch.rand(N, D, generator=g))
    return make(generator())


@pytest.fixture(autouse=True)
def fixed_weights():
    """Seed the global random state, from which weights are drawn."""
    torch.manual_seed(0)


@contextmanager
def global_state_untouched():
    """Fail if the block changes the global random state of torch."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(torch.random.get_rng_state(), before)


class TestTables:
    """The names in the tables are the choices of the settings."""

    @pytest.mark.parametrize(
        ("table", "spec", "field"),
        [
            (set(POSTERIORS) - {"delta", "sparse"}, VAE, "posterior_family"),  # points: no VAE
            (PRIORS, VAE, "prior"),
            (SCHEDULES, VAE, "beta_schedule"),
            ({"auto", *BACKBONES, *SIZED}, VAE, "backbone"),
            (NONLINEARITIES, VAE, "nonlinearity"),
            (CORRUPTIONS, DenoisingAutoencoder, "corruption"),
            (ACTIVATIONS, ContractiveAutoencoder, "activation"),
            ({"auto", *SPARSE_POINTS}, SparseAutoencoder, "activation"),
        ],
    )
    def test_names_and_choices_agree(self, table, spec, field):
        assert set(params_of(spec)[field].choices) == set(table)

    def test_every_penalty_is_in_a_spec(self):
        assert set(PENALTIES) == {
            *params_of(SparseAutoencoder)["penalty"].choices,
            ContractiveAutoencoder.penalty,
        }

    @pytest.mark.parametrize("name", sorted(LIKELIHOODS))
    def test_help_of_the_setting_names_every_likelihood(self, name):
        assert name in params_of(VAE)["likelihood"].help


class TestPosteriors:
    @pytest.fixture(params=sorted(POSTERIORS))
    def q(self, request):
        family = POSTERIORS[request.param]((K,), "identity", VAE())
        return family(torch.randn(N, family.total_outputs, generator=generator()))

    def test_samples_have_leading_axes(self, q):
        assert q.rsample().shape == (N, K)
        assert q.rsample((7, 2)).shape == (7, 2, N, K)

    def test_mean_and_standard_deviation_have_one_number_per_component(self, q):
        assert q.mean.shape == q.stddev.shape == (N, K)
        assert (q.stddev >= 0).all()

    def test_samples_are_reproducible_and_leave_the_global_state(self, q):
        with global_state_untouched():
            a, b = (q.rsample((2,), generator=generator(3)) for _ in range(2))
        assert torch.equal(a, b)

    def test_noise_can_be_passed(self, q):
        noise = torch.randn(2, N, K, generator=generator())
        assert torch.equal(q.rsample((2,), noise=noise), q.rsample((2,), noise=noise))

    def test_log_prob_has_one_value_per_sample(self, q):
        z = q.rsample((2,), generator=generator())
        assert per_example(q.log_prob(z), 2).shape == (2, N)
        assert torch.isfinite(per_example(q.log_prob(z), 2)).all()

    @pytest.mark.parametrize("name", sorted(POSTERIORS))
    def test_gradient_of_a_sample_depends_only_on_its_row(self, name):
        family = POSTERIORS[name]((K,), "identity", VAE())
        outputs = torch.randn(N, family.total_outputs, generator=generator(), requires_grad=True)
        z = family(outputs).rsample((2,), generator=generator())
        (gradient,) = torch.autograd.grad(z[:, 3].sum(), outputs)
        assert torch.isfinite(gradient).all()
        assert gradient[3, :K].abs().min() > 0  # the mean comes first in every family
        assert not gradient[[0, 1, 2, 4, 5]].any()


class TestLikelihoods:
    @pytest.fixture(params=sorted(LIKELIHOODS))
    def name(self, request):
        return request.param

    def outputs(self, family, *batch):
        return torch.randn(*batch, family.total_outputs, generator=generator())

    def test_log_prob_has_one_value_per_feature(self, name):
        family = make_likelihood(name, SHAPE)
        p = family(self.outputs(family, N))
        assert p.log_prob(data(name)).shape == (N, D)
        assert torch.isfinite(p.log_prob(data(name))).all()

    def test_leading_axes_of_the_code_are_kept(self, name):
        family = make_likelihood(name, SHAPE)
        p = family(self.outputs(family, 7 * N), (7, N))
        assert p.log_prob(data(name)).shape == (7, N, D)

    def test_samples_are_valid_and_reproducible(self, name):
        family = make_likelihood(name, SHAPE)
        p = family(self.outputs(family, N))
        with global_state_untouched():
            x, again = draw(p, generator(1)), draw(p, generator(1))
        assert x.shape == (N, D)
        assert torch.equal(x, again)
        family.check(x.numpy())
        assert torch.isfinite(p.log_prob(x)).all()

    def test_center_has_one_number_per_feature(self, name):
        family = make_likelihood(name, SHAPE)
        centre = family.center(family(self.outputs(family, N)))
        assert centre.shape == (N, D)
        assert torch.isfinite(centre).all()

    def test_embedded_data_have_the_declared_shape(self, name):
        family = make_likelihood(name, SHAPE)
        assert family.embed(data(name)).shape == (N, *family.input_shape)

    def test_values_outside_the_support_raise(self, name):
        family = make_likelihood(name, SHAPE)
        family.check(data(name).numpy())
        bad = np.full((N, D), -0.5, np.float32)
        if family.scalable:
            family.check(bad)
        else:
            with pytest.raises(ValueError, match=name):
                family.check(bad)


class TestPriors:
    @pytest.fixture(params=list(itertools.product(sorted(PRIORS), [0, CONDITION])))
    def made(self, request):
        name, n_condition = request.param
        model = compose("normal", "bernoulli", prior=name, n_condition=n_condition)
        c = torch.zeros(N, n_condition) if n_condition else None
        return model, c

    def test_log_prior_keeps_leading_axes(self, made):
        model, c = made
        z = torch.randn(7, N, K, generator=generator())
        assert model.log_prior(z, c).shape == (7, N)
        assert torch.isfinite(model.log_prior(z, c)).all()

    def test_samples_of_a_prior_are_more_likely_than_distant_codes(self, made):
        model, c = made
        p = model.prior_given(c)
        one_for_all = len(p.batch_shape + p.event_shape) == 1
        z = draw(p, generator(), (N,) if one_for_all else ())
        assert z.shape == (N, K)
        assert (model.log_prior(z, c) > model.log_prior(z + 50, c)).all()

    def test_samples_of_a_prior_are_reproducible(self, made):
        model, c = made
        p = model.prior_given(c)
        with global_state_untouched():
            assert torch.equal(draw(p, generator(1), (2,)), draw(p, generator(1), (2,)))

    def test_log_prior_has_gradients_for_the_prior(self, made):
        model, c = made
        z = torch.randn(N, K, generator=generator())
        own = list(model.prior.parameters())
        if not own:
            assert not model.log_prior(z, c).requires_grad
            return
        model.log_prior(z, c).mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in own)
        assert any(p.grad.any() for p in own)


class TestPenalties:
    """A penalty is a mean over rows, is proportional to its weight and trains the encoder.

    The same holds after a warm-up, in which a penalty may rise from 0.
    """

    @pytest.fixture(params=sorted(PENALTIES))
    def name(self, request):
        return request.param

    def penalty(self, name, weight, x, model=None, number=SETTLED):
        model = model or self.model()
        q = model.encode(x)
        z, nothing = q.rsample(), torch.zeros(len(x))
        step = Pass(model, x, None, q, z, model.decode(z), nothing, nothing, number)
        return sum(p(step) for p in PENALTIES[name](SparseAutoencoder(penalty_weight=weight)))

    def model(self):
        torch.manual_seed(0)
        return compose("delta", "bernoulli", prior=None, activation="sigmoid")

    def test_penalty_is_positive_and_proportional_to_its_weight(self, name):
        none, one, two = (self.penalty(name, w, data("bernoulli")) for w in (0.0, 1.0, 2.0))
        assert one.shape == ()
        assert float(none.detach()) == 0
        assert float(one.detach()) > 0
        torch.testing.assert_close(two, 2 * one)

    def test_penalty_rises_to_its_final_value(self, name):
        x = data("bernoulli")
        values = [float(self.penalty(name, 1.0, x, number=n).detach()) for n in (0, 250, 500, 9999)]
        assert values == sorted(values)
        assert values[-1] == float(self.penalty(name, 1.0, x).detach()) > 0
        if name == "l1":
            assert values == pytest.approx(values[-1] * np.array([0, 0.5, 1, 1]))

    def test_penalty_does_not_depend_on_the_batch_size(self, name):
        x = data("bernoulli")
        torch.testing.assert_close(
            self.penalty(name, 1.0, torch.cat([x, x])), self.penalty(name, 1.0, x)
        )

    def test_penalty_has_a_gradient_and_leaves_the_global_state(self, name):
        model = self.model()
        with global_state_untouched():
            self.penalty(name, 1.0, data("bernoulli"), model).backward()
        gradients = [p.grad for p in model.encoder.parameters() if p.grad is not None]
        assert any(g.any() for g in gradients)
        assert all(torch.isfinite(g).all() for g in gradients)
        assert all(p.grad is None for p in model.decoder.parameters())


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule_stays_between_0_and_its_final_value(name):
    schedule = SCHEDULES[name](3.0, 10)
    weights = [schedule(step) for step in range(50)]
    assert 0 <= min(weights) <= max(weights) <= 3.0
    assert 3.0 in weights
    assert schedule(SETTLED) == 3.0


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_corruption_is_reproducible_and_does_not_change_its_input(name):
    x = torch.rand(8, 3, 5, generator=generator())
    kept = x.clone()
    corrupt = CORRUPTIONS[name](0.4)
    with global_state_untouched():
        a, again = corrupt(x, generator(1)), corrupt(x, generator(1))
    assert torch.equal(a, again)
    assert a.shape == x.shape
    assert not torch.equal(a, x)
    assert torch.equal(x, kept)
    assert torch.equal(CORRUPTIONS[name](0.0)(x, generator(1)), x)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 1.0])
def test_masking_hides_the_same_fraction_of_every_row(share):
    x = torch.ones(50, 20)
    hit = (CORRUPTIONS["masking"](share)(x, generator()) == 0).sum(1)
    assert (hit == round(20 * share)).all()


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("condition", [0, CONDITION])
@pytest.mark.parametrize("features", [(11, 7), (2, 9, 8), (13,), (3, 50)])
def test_backbone_returns_the_declared_shapes(name, condition, features):
    axes = {"conv": 2, "resnet": 2, "conv1d": 1}.get(name)
    shapes = Shapes(features, K, 2, 3, condition)
    if axes and len(features) not in (axes, axes + 1):
        with pytest.raises(ValueError, match="convolutional backbone expects"):
            BACKBONES[name](shapes)
        return
    encoder, decoder = BACKBONES[name](shapes, hidden=(16,))
    c = (torch.zeros(4, condition),) if condition else ()
    assert encoder(torch.rand(4, *features), *c).shape == (4, shapes.encoder_outputs)
    assert decoder(torch.rand(4, K), *c).numel() == 4 * shapes.decoder_outputs


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_works_with_every_likelihood(name):
    for likelihood in sorted(LIKELIHOODS):
        check_backbone(name, likelihood)


def check_backbone(name, likelihood):
    features = (2, 9) if name == "conv1d" else (7, 5)
    spec = VAE(n_components=K, hidden=(8,), backbone=name)
    model = build_model(spec, features, likelihood)
    make = DATA.get(likelihood)
    x = torch.rand(N, *features) if make is None else torch.randint(0, 2, (N, *features)).float()
    terms = Objective()(model, x, generator=generator())
    terms.loss.backward()
    assert model.reconstruct(model.encode(x).mean).shape == x.shape
    assert all(torch.isfinite(t) for t in terms)
    for part, p in model.named_parameters():
        assert p.grad is not None, (part, likelihood)
        assert torch.isfinite(p.grad).all(), (part, likelihood)


def compose(posterior, likelihood, prior="standard", n_condition=0, activation="identity"):
    q_of_z = POSTERIORS[posterior]((K,), activation, VAE())
    p_of_x = make_likelihood(likelihood, SHAPE)
    shapes = Shapes(
        SHAPE, K, q_of_z.n_outputs, p_of_x.n_outputs, n_condition, inputs=p_of_x.input_shape
    )
    networks = BACKBONES["mlp"](shapes, hidden=(8,), nonlinearity="tanh")
    spec = VAE(n_components=K, prior=prior, prior_modes=6)
    made = None if prior is None else PRIORS[prior](spec, shapes, p_of_x)
    return LatentVariableModel(*networks, q_of_z, p_of_x, made)


CHOICES = [
    sorted(POSTERIORS),
    sorted(LIKELIHOODS),
    [None, *sorted(PENALTIES)],
    [None, *sorted(CORRUPTIONS)],
    [0, CONDITION],
]

#: A quarter of all combinations, a Latin square that contains every pair of choices. Counts and
#: categories with normal noise are not counts and categories.
COMPOSITIONS = [
    [options[i] for options, i in zip(CHOICES, place, strict=True)]
    for place in itertools.product(*(range(len(options)) for options in CHOICES))
    if sum(place[:4]) % 4 == 0
    and not (CHOICES[1][place[1]] in DATA and CHOICES[3][place[3]] == "gaussian")
]


def test_compositions_contain_every_pair_of_choices():
    for (i, first), (j, second) in itertools.combinations(enumerate(CHOICES), 2):
        pairs = {(choice[i], choice[j]) for choice in COMPOSITIONS}
        missing = set(itertools.product(first, second)) - pairs
        assert missing <= set(itertools.product(DATA, ["gaussian"]))


@pytest.mark.parametrize("posterior", sorted(POSTERIORS))
def test_every_composition_has_a_finite_loss_and_gradient(posterior):
    for choice in COMPOSITIONS:
        if choice[0] == posterior:
            check_composition(*choice)


def check_composition(posterior, likelihood, penalty, corruption, n_condition):
    # KL sparsity needs activities between 0 and 1.
    activation = "sigmoid" if penalty == "kl" else "identity"
    prior = None if posterior == "delta" else "standard"
    model = compose(posterior, likelihood, prior, n_condition, activation)
    spec = SparseAutoencoder(penalty_weight=0.1)
    objective = Objective(
        penalties=() if penalty is None else PENALTIES[penalty](spec),
        corruption=None if corruption is None else CORRUPTIONS[corruption](0.3),
        condition_dropout=0.5 if n_condition else 0.0,
    )
    c = torch.eye(N, n_condition) if n_condition else None
    choice = (posterior, likelihood, penalty, corruption, n_condition)
    check_trains(model, objective, data(likelihood), c, choice)


def check_trains(model, objective, x, c, choice):
    with global_state_untouched():
        terms = objective(model, x, c, generator=generator())
        terms.loss.backward()
    assert all(torch.isfinite(t) for t in terms), choice
    for name, p in model.named_parameters():
        assert p.grad is not None, (name, choice)
        assert torch.isfinite(p.grad).all(), (name, choice)


@pytest.mark.parametrize("posterior", params_of(VAE)["posterior_family"].choices)
@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_every_posterior_prior_and_bound_train_together(posterior, prior):
    bounds = params_of(VAE)["bound"].choices
    for bound, n_samples, n_condition in itertools.product(bounds, [1, 3], [0, CONDITION]):
        check_bound(posterior, prior, bound, n_samples, n_condition)


def check_bound(posterior, prior, bound, n_samples, n_condition):
    spec = VAE(
        n_components=K,
        hidden=(8,),
        posterior_family=posterior,
        prior=prior,
        prior_modes=6,
        bound=bound,
        n_samples=n_samples,
    )
    if (posterior, bound) == ("flow", "dreg"):
        with pytest.raises(ValueError, match="use bound='iwae' with a flow"):
            build_objective(spec)
        return
    c = torch.eye(N, n_condition) if n_condition else None
    model, objective = build_model(spec, SHAPE, "bernoulli", n_condition), build_objective(spec, N)
    check_trains(model, objective, data("bernoulli"), c, (posterior, prior, bound, n_samples))


@pytest.mark.parametrize("posterior", ["normal", "normal-softplus"])
@pytest.mark.parametrize(
    "choice", [{"free_bits": 0.5}, {"capacity": 2.0}, {"decomposed": True}], ids=lambda c: min(c)
)
@pytest.mark.parametrize("n_samples", [1, 3])
def test_every_replacement_of_the_kl_trains(posterior, choice, n_samples):
    spec = BetaVAE(
        n_components=K, hidden=(8,), posterior_family=posterior, n_samples=n_samples, **choice
    )
    model, objective = build_model(spec, SHAPE, "bernoulli"), build_objective(spec, N)
    check_trains(model, objective, data("bernoulli"), None, choice)
