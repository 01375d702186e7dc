import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import isthmus
from isthmus.distributions.base import DiagonalMixture
from isthmus.distributions.priors import MixtureOfNormals, VampPrior
from isthmus.models.specs import VAE
from isthmus.registry import build_model

DIGITS = load_digits()
X = DIGITS.images / 16


def reference(p):
    modes = Independent(Normal(p.loc, p.scale), 1)
    return MixtureSameFamily(Categorical(logits=p.log_weights), modes)


@pytest.mark.parametrize("middle", [0.0, 30.0])
def test_mixture_density_matches_torch(middle):
    g = torch.Generator().manual_seed(0)
    loc = middle + 2 * torch.randn(7, 4, generator=g)
    p = DiagonalMixture(torch.randn(7, generator=g), loc, 0.1 + torch.rand(7, 4, generator=g))
    z = middle + 2 * torch.randn(3, 50, 4, generator=g)
    torch.testing.assert_close(p.log_prob(z), reference(p).log_prob(z), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(p.mean, reference(p).mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(p.variance, reference(p).variance, rtol=1e-3, atol=1e-3)


def test_mixture_samples_follow_the_weights():
    p = DiagonalMixture(torch.tensor([0.0, 1.0]), torch.tensor([[-4.0], [4.0]]), torch.ones(2, 1))
    torch.manual_seed(0)
    z = p.sample((20_000,))
    assert float((z > 0).float().mean()) == pytest.approx(float(p.log_weights[1].exp()), abs=0.02)


def test_vamp_prior_averages_the_posteriors_of_its_pseudo_inputs():
    torch.manual_seed(0)
    spec = VAE(n_components=3, hidden=(8,), prior="vamp", prior_modes=5)
    model = build_model(spec, (8, 8), "bernoulli")
    q = model.encode(model.prior.pseudo_inputs.clamp(0, 1))
    z = torch.randn(11, 3)
    each = torch.stack([Normal(q.loc[i], q.scale[i]).log_prob(z).sum(-1) for i in range(5)])
    expected = each.logsumexp(0) - np.log(5)
    torch.testing.assert_close(model.log_prior(z), expected, rtol=1e-4, atol=1e-4)


def test_pseudo_inputs_are_the_only_parameters_of_a_vamp_prior():
    prior = VampPrior(3, 5, (8, 8))
    assert [name for name, _ in prior.named_parameters()] == ["pseudo_inputs"]
    with pytest.raises(ValueError, match="needs the encode method"):
        prior()


def test_pseudo_inputs_start_from_the_data():
    estimator = isthmus.VAE(
        hidden=(8,),
        prior="vamp",
        prior_modes=20,
        epochs=1,
        learning_rate=1e-12,
        random_state=0,
        likelihood="bernoulli",
    )
    pseudo = estimator.fit(X).model_.prior.pseudo_inputs.detach().numpy()
    rows = X.astype(np.float32).reshape(len(X), -1)
    nearest = np.abs(pseudo.reshape(20, 1, -1) - rows[None]).max(-1).min(1)
    assert nearest.max() < 1e-6


def given_mixture():
    torch.manual_seed(0)
    prior = MixtureOfNormals(3, n_modes=5, n_condition=4)
    with torch.no_grad():
        prior.logits.normal_()
        prior.shift.normal_()
        prior.log_scale.normal_(std=0.3)
    return prior, torch.eye(4)


def test_conditional_mixture_depends_on_the_condition_of_each_row():
    prior, c = given_mixture()
    p, z = prior(c), torch.randn(7, 4, 3)
    assert (p.batch_shape, p.event_shape) == ((4,), (3,))
    for i in range(4):
        alone = reference(DiagonalMixture(prior.logits + prior.shift[i], p.loc, p.scale))
        torch.testing.assert_close(
            p.log_prob(z)[:, i], alone.log_prob(z[:, i]), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(p.mean[i], alone.mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(p.variance[i], alone.variance, rtol=1e-3, atol=1e-3)


def test_conditional_mixture_samples_have_its_moments():
    prior, c = given_mixture()
    p = prior(c)
    drawn = p.sample((20_000,))
    assert drawn.shape == (20_000, 4, 3)
    torch.testing.assert_close(drawn.mean(0), p.mean, rtol=0, atol=0.06)
    torch.testing.assert_close(drawn.var(0), p.variance, rtol=0.1, atol=0.05)


def test_conditional_mixture_learns_the_codes_of_each_condition():
    torch.manual_seed(0)
    prior, c = MixtureOfNormals(1, n_modes=6, n_condition=2), torch.eye(2).repeat(200, 1)
    z = torch.where(c[:, :1] > 0, 3.0, -2.0) + 0.5 * torch.randn(400, 1)
    optimizer = torch.optim.Adam(prior.parameters(), 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (-prior(c).log_prob(z).mean()).backward()
        optimizer.step()
    p = prior(torch.eye(2))
    torch.testing.assert_close(p.mean[:, 0], torch.tensor([3.0, -2.0]), rtol=0, atol=0.15)
    torch.testing.assert_close(p.stddev[:, 0], torch.full((2,), 0.5), rtol=0, atol=0.15)


def test_mixture_saved_without_condition_weights_loads(tmp_path):
    model = isthmus.ConditionalVAE(n_components=2, hidden=(8,), prior="mixture", epochs=1)
    model.fit(X[:200], DIGITS.target[:200])
    with torch.no_grad():
        model.model_.prior.shift.zero_()
    model.save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.prior.shift"]
    save_file(tensors, tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    del config["sha256"]  # models of that time had no checksums
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = isthmus.load(tmp_path)
    given = {"condition": DIGITS.target[:50]}
    np.testing.assert_array_equal(
        again.score_samples(X[:50], **given), model.score_samples(X[:50], **given)
    )


def test_initial_modes_differ():
    assert MixtureOfNormals(2, n_modes=4).loc.std(0).min() > 0


@pytest.mark.parametrize("prior", ["mixture", "vamp", "flow"])
@pytest.mark.parametrize("family", ["normal", "full-normal", "flow"])
def test_every_prior_and_posterior_fit_together_and_reload(prior, family, tmp_path):
    model = isthmus.VAE(
        n_components=2, hidden=(16,), prior=prior, prior_modes=10, posterior_family=family, epochs=1
    ).fit(X[:100])
    assert model.sample(4, random_state=0).shape == (4, 8, 8)
    assert np.isfinite(model.score_samples(X[:50])).all()
    model.save(tmp_path)
    again = isthmus.load(tmp_path)
    np.testing.assert_array_equal(again.score_samples(X[:50]), model.score_samples(X[:50]))
    np.testing.assert_array_equal(again.sample(4, random_state=0), model.sample(4, random_state=0))


def test_learned_priors_score_no_worse_than_the_standard_prior():
    settings = {"n_components": 4, "hidden": (32,), "prior_modes": 20, "epochs": 60}
    settings["likelihood"] = "bernoulli"
    scores = {
        prior: isthmus.VAE(prior=prior, random_state=1, **settings).fit(X[:1500]).score(X[1500:])
        for prior in ("standard", "mixture", "vamp")
    }
    assert scores["vamp"] > scores["standard"] - 0.2
    assert scores["mixture"] > scores["standard"] - 0.2
