from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)
from torch.utils._python_dispatch import TorchDispatchMode

import isthmus
from isthmus.models.specs import VAE, BetaVAE
from isthmus.objectives.bounds import Capacity, Decomposed, Elbo, FreeBits, ImportanceWeighted
from isthmus.objectives.penalties import Pass
from isthmus.objectives.schedules import SETTLED, Cyclical, Linear
from isthmus.registry import build_model, build_objective

X = torch.rand(12, 6, generator=torch.Generator().manual_seed(0))


def one_pass(samples=1, seed=0, size=3.0, **fields):
    torch.manual_seed(0)
    spec = VAE(n_components=3, hidden=(8,), n_samples=samples, **fields)
    model = build_model(spec, (6,), "bernoulli")
    with torch.no_grad():  # move the posteriors away from the prior, so that no term is near zero
        for p in model.parameters():
            p.mul_(size)
    q = model.encode(X)
    z = q.rsample((samples,), generator=torch.Generator().manual_seed(seed))
    p = model.decode(z)
    return Pass(model, X, None, q, z, p, -model.log_likelihood(p, X), model.kl(q, z), 0)


def test_elbo_matches_its_equation():
    step = one_pass()
    kl = kl_divergence(Normal(step.q.loc, step.q.scale), Normal(0.0, 1.0)).sum(-1)
    expected = step.reconstruction.mean() + 2.0 * kl.mean()
    torch.testing.assert_close(Elbo()(step, 2.0), expected)


def test_importance_weighted_bound_matches_its_equation():
    step = one_pass(samples=7)
    log_q = Normal(step.q.loc, step.q.scale).log_prob(step.z).sum(-1)
    log_p = Normal(0.0, 1.0).log_prob(step.z).sum(-1)
    weight = -step.reconstruction + log_p - log_q  # (7, n)
    expected = -(weight.exp().mean(0).log()).mean()
    torch.testing.assert_close(ImportanceWeighted()(step, 1.0), expected)
    torch.testing.assert_close(ImportanceWeighted(doubly=True)(one_pass(samples=7), 1.0), expected)


def test_more_samples_give_a_tighter_bound():
    losses = [ImportanceWeighted()(one_pass(samples=k), 1.0).item() for k in (1, 10, 1000)]
    assert losses[0] > losses[1] > losses[2]


def gradients(doubly, seed, size):
    step = one_pass(samples=5, seed=seed, size=size)
    loss = ImportanceWeighted(doubly)(step, 1.0)
    parameters = [*step.model.encoder.parameters(), *step.model.decoder.parameters()]
    parts = torch.autograd.grad(loss, parameters)
    n_encoder = len(list(step.model.encoder.parameters()))
    flat = [torch.cat([g.flatten() for g in p]) for p in (parts[:n_encoder], parts[n_encoder:])]
    return flat


@pytest.mark.parametrize("size", [0.3, 3.0])
def test_doubly_reparameterized_gradient_has_the_same_mean(size):
    plain = [gradients(False, seed, size) for seed in range(40)]
    doubly = [gradients(True, seed, size) for seed in range(40)]
    encoder_plain = torch.stack([g[0] for g in plain])
    encoder_doubly = torch.stack([g[0] for g in doubly])
    error = encoder_plain.mean(0) - encoder_doubly.mean(0)
    allowed = (encoder_plain.var(0) + encoder_doubly.var(0)).div(40).sqrt()
    assert (error.abs() > 5 * allowed + 1e-6).float().mean() < 0.01
    if size < 1:  # q is near the posterior, so the noise of the gradient nearly vanishes
        assert encoder_doubly.var(0).sum() < 0.5 * encoder_plain.var(0).sum()
    # The gradient of the decoder is the same for every sample.
    torch.testing.assert_close(plain[0][1], doubly[0][1], rtol=1e-4, atol=1e-5)


def test_free_bits_clamp_the_kl_of_each_dimension():
    step = one_pass()
    each = kl_divergence(step.q, step.model.prior_given()).mean(0)
    floor = each.median().item() + 1e-3
    expected = sum(max(floor, v.item()) for v in each)
    assert FreeBits(floor)(step).item() == pytest.approx(expected, rel=1e-5)


def test_capacity_is_the_distance_to_a_growing_target():
    step = one_pass()
    kl = float(step.kl.mean())
    assert float(Capacity(10.0, warm_up=100)(replace(step, step=0))) == pytest.approx(kl)
    halfway = Capacity(10.0, warm_up=100)(replace(step, step=50))
    assert float(halfway) == pytest.approx(abs(kl - 5.0), rel=1e-5)


def test_decomposed_parts_sum_to_the_kl_at_the_samples():
    step = replace(one_pass(), z=one_pass().z[0])
    log_q = step.q.log_prob(step.z).sum(-1)
    kl = (log_q - Normal(0.0, 1.0).log_prob(step.z).sum(-1)).mean()
    torch.testing.assert_close(sum(Decomposed(n_rows=500).parts(step)), kl)


def test_decomposed_parts_of_all_rows_match_the_exact_mixture():
    step = replace(one_pass(), z=one_pass().z[0])
    q = MixtureSameFamily(
        Categorical(torch.ones(len(X))), Independent(Normal(step.q.loc, step.q.scale), 1)
    )
    each = MixtureSameFamily(
        Categorical(torch.ones(3, len(X))), Normal(step.q.loc.T, step.q.scale.T)
    )
    log_q, log_each = q.log_prob(step.z), each.log_prob(step.z).sum(-1)
    information, correlation, dimensions = Decomposed(len(X)).parts(step)
    own = step.q.log_prob(step.z).sum(-1)
    torch.testing.assert_close(information, (own - log_q).mean())
    torch.testing.assert_close(correlation, (log_q - log_each).mean())
    prior = Normal(0.0, 1.0).log_prob(step.z).sum(-1)
    torch.testing.assert_close(dimensions, (log_each - prior).mean())


@pytest.mark.slow
def test_total_correlation_matches_the_stratified_estimator():
    step = replace(one_pass(), z=one_pass().z[0])
    n, total = len(X), 500
    density = torch.empty(n, n, 3)
    for i in range(n):
        for j in range(n):
            density[i, j] = Normal(step.q.loc[j], step.q.scale[j]).log_prob(step.z[i])
    share = torch.full((n, n), (total - 1) / (total * (n - 1))).fill_diagonal_(1 / total)
    torch.testing.assert_close(share.sum(1), torch.ones(n))
    joint = (share * density.sum(-1).exp()).sum(1).log()
    each = (share[..., None] * density.exp()).sum(1).log().sum(-1)
    torch.testing.assert_close(Decomposed(total).parts(step)[1], (joint - each).mean())


def test_decomposed_kl_lowers_total_correlation_more_than_mutual_information():
    images = load_digits().images[:800] / 16
    settings = {"n_components": 4, "hidden": (64,), "epochs": 25, "learning_rate": 3e-3}
    fits = [
        isthmus.BetaVAE(beta=beta, decomposed=True, random_state=0, **settings).fit(images)
        for beta in (1.0, 10.0)
    ]
    parts = []
    for model in fits:
        x, _ = model.tensors(images)
        with torch.no_grad():
            q = model.model_.encode(x)
            z = q.rsample(generator=torch.Generator().manual_seed(0))
        step = replace(one_pass(), model=model.model_, q=q, z=z)
        parts.append(Decomposed(len(x)).parts(step))
    (information, correlation, _), (less_information, less_correlation, _) = parts
    assert less_correlation < 0.5 * correlation
    assert less_information > 0.5 * information


def test_schedules_end_at_their_final_value():
    assert [Linear(2.0, 10)(s) for s in (0, 5, 10, SETTLED)] == [0.0, 1.0, 2.0, 2.0]
    assert [Cyclical(2.0, 10)(s) for s in (0, 5, 9, 10, SETTLED)] == [0.0, 2.0, 2.0, 0.0, 2.0]


def test_schedule_length_is_in_epochs():
    objective = build_objective(
        VAE(beta_schedule="linear", beta_epochs=4), n_rows=1000, steps_per_epoch=10
    )
    assert objective.kl_weight(20) == 0.5
    assert objective.kl_weight(40) == 1.0


def test_validation_losses_do_not_depend_on_the_warm_up():
    images = load_digits().images[:300] / 16
    model = isthmus.VAE(
        n_components=4, hidden=(16,), beta_schedule="linear", beta_epochs=20, epochs=25
    ).fit(images)
    for record in model.history_:
        whole = record["valid_reconstruction"] + record["valid_kl"]
        assert record["valid_loss"] == pytest.approx(whole, rel=1e-5)
    assert model.history_[0]["loss"] < 1.01 * model.history_[0]["reconstruction"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (BetaVAE(capacity=3.0, free_bits=0.1), "capacity and free_bits each replace the KL"),
        (BetaVAE(decomposed=True, bound="iwae"), "choose one of them"),
        (VAE(free_bits=0.1, prior="vamp"), "free_bits needs the KL of each dimension"),
        (BetaVAE(decomposed=True, posterior_family="full-normal"), "density of each dimension"),
        (VAE(bound="dreg", posterior_family="flow"), "use bound='iwae' with a flow"),
    ],
)
def test_incompatible_settings_raise(spec, message):
    with pytest.raises(ValueError, match=message):
        build_objective(spec)


class Operations(TorchDispatchMode):
    """Record the operations within the block that read a whole batch (100, ...)."""

    def __enter__(self):
        self.names = []
        return super().__enter__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(isinstance(a, torch.Tensor) and a.shape == (100, 40) for a in args):
            self.names.append(str(function).removeprefix("aten.").split(".")[0])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("likelihood", "most"), [("bernoulli", 8), ("gaussian", 15), ("gaussian-fixed", 10)]
)
def test_a_step_passes_seldom_over_the_features(likelihood, most):
    spec = VAE(n_components=3, hidden=(8,), scaling="none")
    model, x = build_model(spec, (40,), likelihood), torch.rand(100, 40)
    with Operations() as operations:
        build_objective(spec)(model, x).loss.backward()
    products = {"addmm", "mm", "t", "view", "detach"}
    passes = [name for name in operations.names if name not in products]
    assert len(passes) <= most, passes
    assert "stack" not in passes  # the outputs' gradient is not copied
