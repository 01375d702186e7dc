"""What every part must do, tried on every part that is named in `isthmus.build`.

To add a part: write it beside its kind, name it in the table of `isthmus/build.py` and among the
choices in `isthmus/rows.py`, and run this file. A part that needs other data than the numbers
between 0 and 1 used here says so in DATA below. Then add an oracle to test_oracles.py.
"""

import itertools

import pytest
import torch

from isthmus.backbones import Shapes
from isthmus.build import BACKBONES, LIKELIHOODS, PENALTIES, POSTERIORS, PRIORS
from isthmus.corruptions import CORRUPTIONS
from isthmus.distributions import draw, per_example
from isthmus.model import LatentVariableModel
from isthmus.objective import Objective
from isthmus.rows import VAE, SparseAutoencoder

N, D, K, CONTEXT = 6, 3, 4, 5
SHAPE = (D,)

#: Likelihoods of other data than numbers between 0 and 1: what stands for x.
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
def no_global_random_state():
    """No part may draw from the global random state once it is made."""
    torch.manual_seed(0)
    return


class TestPosteriors:
    @pytest.fixture(params=sorted(POSTERIORS))
    def q(self, request):
        family = POSTERIORS[request.param]((K,), "identity")
        return family(torch.randn(N, family.total_outputs, generator=generator()))

    def test_samples_have_leading_axes(self, q):
        assert q.rsample().shape == (N, K)
        assert q.rsample((7, 2)).shape == (7, 2, N, K)

    def test_mean_and_spread_are_one_number_a_component(self, q):
        assert q.mean.shape == q.stddev.shape == (N, K)
        assert (q.stddev >= 0).all()

    def test_a_generator_repeats_and_nothing_global_is_touched(self, q):
        before = torch.random.get_rng_state()
        a, b = (q.rsample((2,), generator=generator(3)) for _ in range(2))
        assert torch.equal(a, b)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_noise_can_be_given(self, q):
        noise = torch.randn(2, N, K, generator=generator())
        assert torch.equal(q.rsample((2,), noise=noise), q.rsample((2,), noise=noise))

    def test_the_density_is_summed_to_one_number_a_sample(self, q):
        z = q.rsample((2,), generator=generator())
        assert per_example(q.log_prob(z), 2).shape == (2, N)
        assert torch.isfinite(per_example(q.log_prob(z), 2)).all()


class TestLikelihoods:
    @pytest.fixture(params=sorted(LIKELIHOODS))
    def name(self, request):
        return request.param

    def outputs(self, family, *batch):
        return torch.randn(*batch, family.total_outputs, generator=generator())

    def test_the_density_keeps_the_features(self, name):
        family = LIKELIHOODS[name](SHAPE)
        p = family(self.outputs(family, N))
        assert p.log_prob(data(name)).shape == (N, D)
        assert torch.isfinite(p.log_prob(data(name))).all()

    def test_samples_of_z_stand_in_front(self, name):
        family = LIKELIHOODS[name](SHAPE)
        p = family(self.outputs(family, 7 * N), (7, N))
        assert p.log_prob(data(name)).shape == (7, N, D)

    def test_what_is_drawn_is_allowed_and_repeats(self, name):
        family = LIKELIHOODS[name](SHAPE)
        p = family(self.outputs(family, N))
        x = draw(p, generator(1))
        assert x.shape == (N, D)
        assert torch.equal(x, draw(p, generator(1)))
        family.check(x.numpy())
        assert torch.isfinite(p.log_prob(x)).all()

    def test_the_centre_is_one_number_a_feature(self, name):
        family = LIKELIHOODS[name](SHAPE)
        centre = family.center(family(self.outputs(family, N)))
        assert centre.shape == (N, D)
        assert torch.isfinite(centre).all()

    def test_the_encoder_sees_what_is_announced(self, name):
        family = LIKELIHOODS[name](SHAPE)
        assert family.embed(data(name)).shape == (N, *family.input_shape)


class TestPriors:
    @pytest.fixture(params=list(itertools.product(sorted(PRIORS), [0, CONTEXT])))
    def made(self, request):
        name, n_context = request.param
        model = compose("normal", "bernoulli", prior=name, n_context=n_context)
        c = torch.zeros(N, n_context) if n_context else None
        return model, c

    def test_a_prior_scores_codes_with_leading_axes(self, made):
        model, c = made
        z = torch.randn(7, N, K, generator=generator())
        assert model.log_prior(z, c).shape == (7, N)
        assert torch.isfinite(model.log_prior(z, c)).all()

    def test_what_a_prior_draws_it_finds_likely(self, made):
        model, c = made
        p = model.prior_given(c)
        one_for_all = len(p.batch_shape + p.event_shape) == 1
        z = draw(p, generator(), (N,) if one_for_all else ())
        assert z.shape == (N, K)
        assert (model.log_prior(z, c) > model.log_prior(z + 50, c)).all()


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_keeps_the_shape_and_repeats_and_leaves_its_input(name):
    x = torch.rand(8, 3, 5, generator=generator())
    kept = x.clone()
    corrupt = CORRUPTIONS[name](0.4)
    a = corrupt(x, generator(1))
    assert torch.equal(a, corrupt(x, generator(1)))
    assert a.shape == x.shape
    assert not torch.equal(a, x)
    assert torch.equal(x, kept)
    assert torch.equal(CORRUPTIONS[name](0.0)(x, generator(1)), x)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 1.0])
def test_masking_hits_the_same_share_of_every_row(share):
    x = torch.ones(50, 20)
    hit = (CORRUPTIONS["masking"](share)(x, generator()) == 0).sum(1)
    assert (hit == round(20 * share)).all()


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("features", [(11, 7), (2, 9, 8), (13,), (3, 50)])
def test_a_backbone_returns_what_its_shapes_say(name, context, features):
    axes = {"conv": 2, "resnet": 2, "conv1d": 1}.get(name)
    shapes = Shapes(features, K, 2, 3, context)
    if axes and len(features) not in (axes, axes + 1):
        with pytest.raises(ValueError, match="convolutional backbone is for"):
            BACKBONES[name](shapes)
        return
    encoder, decoder = BACKBONES[name](shapes, hidden=(16,))
    c = (torch.zeros(4, context),) if context else ()
    assert encoder(torch.rand(4, *features), *c).shape == (4, shapes.encoder_outputs)
    assert decoder(torch.rand(4, K), *c).numel() == 4 * shapes.decoder_outputs


def compose(posterior, likelihood, prior="standard", n_context=0, activation="identity"):
    q_of_z = POSTERIORS[posterior]((K,), activation)
    p_of_x = LIKELIHOODS[likelihood](SHAPE)
    shapes = Shapes(
        SHAPE, K, q_of_z.n_outputs, p_of_x.n_outputs, n_context, inputs=p_of_x.input_shape
    )
    networks = BACKBONES["mlp"](shapes, hidden=(8,), nonlinearity="tanh")
    row = VAE(n_components=K, prior=prior, prior_modes=6)
    made = None if prior is None else PRIORS[prior](row, shapes, likelihood)
    return LatentVariableModel(*networks, q_of_z, p_of_x, made)


PENALTY_CHOICES = [None, *sorted(PENALTIES)]
COMPOSITIONS = list(
    itertools.product(
        sorted(POSTERIORS),
        sorted(LIKELIHOODS),
        PENALTY_CHOICES,
        [None, *sorted(CORRUPTIONS)],
        [0, CONTEXT],
    )
)


@pytest.mark.parametrize("posterior", sorted(POSTERIORS))
@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_every_composition_has_a_finite_loss_and_a_gradient_on_every_parameter(
    posterior, likelihood
):
    for choice in COMPOSITIONS:
        if choice[:2] == (posterior, likelihood):
            check_composition(*choice)


def check_composition(posterior, likelihood, penalty, corruption, n_context):
    # KL sparsity compares activities between 0 and 1.
    activation = "sigmoid" if penalty == "kl" else "identity"
    prior = None if posterior == "delta" else "standard"
    model = compose(posterior, likelihood, prior, n_context, activation)
    row = SparseAutoencoder(penalty_weight=0.1)
    objective = Objective(
        penalties=() if penalty is None else (PENALTIES[penalty](row),),
        corruption=None if corruption is None else CORRUPTIONS[corruption](0.3),
        condition_dropout=0.5 if n_context else 0.0,
    )
    x = data(likelihood)
    c = torch.eye(N, n_context) if n_context else None
    if corruption == "gaussian" and likelihood in DATA:
        return  # counts and categories with normal noise are no counts any more
    terms = objective(model, x, c, generator=generator())
    assert all(torch.isfinite(t) for t in terms)
    terms.loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, (name, penalty, corruption, n_context)
        assert torch.isfinite(p.grad).all(), (name, penalty, corruption, n_context)
