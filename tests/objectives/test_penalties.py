"""Penalties against closed forms, automatic differentiation and worked examples."""

import pytest
import torch

from isthmus.models.specs import ContractiveAutoencoder, SparseAutoencoder
from isthmus.objectives.objective import Objective
from isthmus.objectives.penalties import Contractive, KLSparsity, Pass, bernoulli_kl
from isthmus.registry import build_model


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
