"""Sparse codes: activations against their definitions, initialization and dead units."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_digits

import isthmus
from isthmus import Autoencoder, SparseAutoencoder
from isthmus.distributions.families import BernoulliFamily
from isthmus.distributions.likelihoods import GaussianFamily
from isthmus.distributions.sparse_codes import (
    SPARSE_POINTS,
    BatchTopKPoint,
    GatedPoint,
    JumpReLUPoint,
    TopKPoint,
)
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.models.specs import Training
from isthmus.nn.dense import Shapes, mlp
from isthmus.objectives.objective import Objective
from isthmus.objectives.penalties import L1, GatePenalty, GateReconstruction, Pass
from isthmus.registry import build_model, build_objective
from isthmus.training import Rows, Trainer
from isthmus.training.dictionary import (
    Dictionary,
    Revive,
    UnitColumns,
    geometric_median,
    start_sparse,
    training_callbacks,
)

N, D, K, ACTIVE = 40, 8, 24, 3
PARTS = SimpleNamespace(n_active=ACTIVE, bandwidth=0.3)
NAMES = sorted(set(SPARSE_POINTS) - {"identity"})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def sparse_model(name, n_units=K, likelihood=GaussianFamily):
    torch.manual_seed(0)
    networks = mlp(Shapes((D,), n_units), hidden=())
    posterior = SPARSE_POINTS[name]((n_units,), PARTS)
    return LatentVariableModel(*networks, posterior, likelihood((D,)))


def one_pass(model, x, step=0):
    q = model.encode(x)
    z = q.rsample()
    p = model.decode(z)
    return Pass(model, x, None, q, z, p, -model.log_likelihood(p, x), torch.zeros(len(x)), step)


def trained(model, x, penalties=(), callbacks=(), epochs=30, batch_size=40):
    settings = Training(epochs=epochs, batch_size=batch_size, learning_rate=3e-3)
    objective = Objective(beta=0.0, penalties=penalties)
    trainer = Trainer(model, objective, settings, generator())
    trainer.fit(Rows(x), callbacks=callbacks)
    return trainer


def sparse_data(n=400, seed=0):
    """Rows that are sums of a few of K directions."""
    g = generator(seed)
    directions = torch.nn.functional.normalize(torch.randn(K, D, generator=g), dim=1)
    active = torch.rand(n, K, generator=g) < ACTIVE / K
    return (active * (1 + torch.rand(n, K, generator=g))) @ directions


class TestTopK:
    def test_keeps_the_largest_positive_numbers_of_each_row(self):
        a = numbers(N, K)
        z = TopKPoint((K,), ACTIVE)(a).mean.numpy()
        for row, code in zip(a.numpy(), z, strict=True):
            expected = np.zeros(K, np.float32)
            best = np.argsort(row)[-ACTIVE:]
            expected[best] = np.maximum(row[best], 0)
            np.testing.assert_array_equal(code, expected)

    def test_a_row_without_positive_numbers_has_no_active_unit(self):
        assert not TopKPoint((K,), ACTIVE)(-numbers(N, K).abs()).mean.any()

    @pytest.mark.parametrize("k", [0, K + 1])
    def test_more_active_units_than_units_raise(self, k):
        with pytest.raises(
            ValueError, match="n_active must be between 1 and the number of units, 24"
        ):
            TopKPoint((K,), k)


class TestBatchTopK:
    def test_keeps_the_largest_numbers_of_the_batch(self):
        a = numbers(N, K)
        z = BatchTopKPoint((K,), ACTIVE)(a).mean
        kept = np.sort(a.numpy().ravel())[-ACTIVE * N :]
        np.testing.assert_array_equal(np.sort(z[z > 0].numpy()), kept)
        assert torch.equal(z[z > 0], a[z > 0])

    def test_after_training_a_code_does_not_depend_on_its_batch(self):
        family, a = BatchTopKPoint((K,), ACTIVE), numbers(N, K)
        family(a)
        family.eval()
        alone = torch.cat([family(row[None]).mean for row in a])
        assert torch.equal(family(a).mean, alone)
        threshold = family.threshold.clone()
        family(100 * a)
        assert torch.equal(family.threshold, threshold)

    def test_the_threshold_keeps_k_units_a_row_on_the_mean(self):
        family = BatchTopKPoint((K,), ACTIVE)
        for seed in range(200):
            family(numbers(N, K, seed=seed))
        z = family.eval()(numbers(5000, K, seed=999)).mean
        assert float((z > 0).sum(1).float().mean()) == pytest.approx(ACTIVE, rel=0.05)

    def test_a_batch_without_active_units_keeps_the_threshold(self):
        family = BatchTopKPoint((K,), ACTIVE)
        family(-numbers(N, K).abs())
        assert family.threshold == -1
        family(numbers(N, K))
        before = family.threshold.clone()
        family(torch.zeros(N, K))
        assert torch.equal(family.threshold, before)

    def test_the_threshold_is_saved(self):
        assert list(BatchTopKPoint((K,), ACTIVE).state_dict()) == ["threshold"]


class TestJumpReLU:
    def family(self):
        family = JumpReLUPoint((K,), bandwidth=0.3, threshold=0.4)
        family.log_threshold.data += 0.1 * numbers(K)
        return family

    def test_definition(self):
        family, a = self.family(), numbers(N, K)
        theta = family.log_threshold.detach().exp()
        q = family(a)
        assert torch.equal(q.mean, torch.where(a > theta, a, 0.0))
        assert torch.equal(q.gate, (a > theta).float())

    @pytest.mark.parametrize("of", ["code", "gate"])
    def test_straight_through_gradients(self, of):
        """Equations 11 and 12 of the paper, times ∂θ/∂log θ = θ."""
        family, a = self.family(), numbers(N, K).requires_grad_()
        weights = numbers(N, K, seed=1)
        q = family(a)
        ((q.mean if of == "code" else q.gate) * weights).sum().backward()
        theta, x = family.log_threshold.detach().exp(), a.detach()
        kernel = ((x - theta).abs() < 0.15).float() / 0.3
        slope = -theta * kernel if of == "code" else -kernel
        expected = (weights * slope * theta).sum(0)
        assert kernel.sum() > 0
        torch.testing.assert_close(family.log_threshold.grad, expected)
        if of == "code":
            torch.testing.assert_close(a.grad, weights * (x > theta))
        else:
            assert a.grad is None

    def test_the_gate_penalty_is_l0_and_raises_thresholds(self):
        model = sparse_model("jumprelu")
        step = one_pass(model, numbers(N, D))
        penalty = GatePenalty(0.7)(step)
        assert penalty.item() == pytest.approx(0.7 * float((step.z > 0).sum(1).float().mean()))
        penalty.backward()
        assert (model.posterior.log_threshold.grad <= 0).all()


class TestGated:
    def family(self):
        family = GatedPoint((K,))
        family.rescale.data = 0.3 * numbers(K, seed=1)
        family.bias.data = 0.3 * numbers(K, seed=2)
        return family

    def test_definition(self):
        family, a = self.family(), numbers(N, K)
        q = family(a)
        r, b = family.rescale.detach(), family.bias.detach()
        assert torch.equal(q.mean, (a > 0) * torch.relu(r.exp() * a + b))
        assert torch.equal(q.gate, torch.relu(a))

    def test_it_equals_the_two_biases_of_the_paper(self):
        """Gate w·x + c and magnitude e^r w·x + d, with the magnitude's bias free."""
        family, wx, c = self.family(), numbers(N, K), numbers(K, seed=3)
        r, b = family.rescale.detach(), family.bias.detach()
        d = b + r.exp() * c
        expected = (wx + c > 0) * torch.relu(r.exp() * wx + d)
        torch.testing.assert_close(family(wx + c).mean, expected)

    def test_the_auxiliary_term_has_no_gradient_for_the_decoder(self):
        model, x = sparse_model("gated"), numbers(N, D)
        auxiliary = GateReconstruction()(one_pass(model, x))
        gate = torch.relu(model.encoder(x))
        expected = -model.log_likelihood(model.decode(gate), x).mean()
        torch.testing.assert_close(auxiliary, expected)
        auxiliary.backward()
        grads = {name: p.grad for name, p in model.named_parameters()}
        assert {n for n, g in grads.items() if g is not None} == {
            "encoder.layers.0.weight",
            "encoder.layers.0.bias",
        }


class TestEveryActivation:
    @pytest.fixture(params=NAMES)
    def name(self, request):
        return request.param

    def test_the_decoder_receives_the_penalised_code(self, name):
        model, x = sparse_model(name), numbers(N, D)
        step = one_pass(model, x)
        assert torch.equal(step.z, step.q.mean)
        torch.testing.assert_close(L1(1.0)(step), step.z.abs().sum(1).mean())
        assert torch.equal(step.p.mean.float(), model.decoder(step.z))

    def test_gradients_are_finite_without_active_units(self, name):
        model = sparse_model(name)
        for scale in (0.0, 1.0, 1e3):
            model.zero_grad()
            objective = Objective(beta=0.0, penalties=(GatePenalty(1.0), GateReconstruction()))
            objective(model, scale * numbers(N, D)).loss.backward()
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            assert all(torch.isfinite(g).all() for g in gradients)

    def test_it_learns_few_active_units_with_columns_of_unit_norm(self, name):
        model, x = sparse_model(name), sparse_data()
        start_sparse(model, x)
        penalties = {
            "relu": (L1(0.5),),
            "jumprelu": (GatePenalty(0.5),),
            "gated": (GatePenalty(0.5), GateReconstruction()),
        }.get(name, ())
        trained(model, x, penalties, [UnitColumns(), Revive(every=100)], epochs=50)
        norms = model.decoder.layers[0].weight.detach().norm(dim=0)
        torch.testing.assert_close(norms, torch.ones(K))
        with torch.no_grad():
            z = model.encode(x).mean
            error = (model.reconstruct(z) - x).square().sum() / (x - x.mean(0)).square().sum()
        assert error < 0.2
        if name != "sigmoid":
            assert (z > 0).float().sum(1).mean() < K / 2
            assert (z > 0).any(0).float().mean() > 0.8

    def test_training_repeats(self, name):
        losses = []
        for _ in range(2):
            model, x = sparse_model(name), sparse_data()
            trained(model, x, (), [UnitColumns(), Revive(every=5)], epochs=3)
            losses.append(model.state_dict())
        assert all(torch.equal(losses[0][k], losses[1][k]) for k in losses[0])


class TestPenalties:
    @pytest.mark.parametrize("penalty", [L1, GatePenalty])
    def test_warm_up_grows_linearly_and_settles(self, penalty):
        step = one_pass(sparse_model("relu"), numbers(N, D))
        whole, warm = penalty(2.0)(step).item(), penalty(2.0, warm_up=10)
        shares = [warm(replace(step, step=s)).item() / whole for s in (0, 5, 10, 99)]
        assert shares == pytest.approx([0, 0.5, 1, 1])

    def test_a_gate_penalty_needs_a_gate(self):
        torch.manual_seed(0)
        model = build_model(Autoencoder(n_components=2), (D,), "gaussian")
        with pytest.raises(ValueError, match="needs a posterior of a sparse family"):
            GatePenalty(1.0)(one_pass(model, numbers(N, D)))

    def test_the_default_warms_up(self):
        for activation in ("relu", "jumprelu", "gated"):
            penalty, *_ = build_objective(SparseAutoencoder(activation=activation)).penalties
            assert penalty.warm_up == 500


class TestGeometricMedian:
    @pytest.mark.parametrize("seed", range(3))
    def test_against_a_minimiser(self, seed):
        x = numbers(60, 4, seed=seed).double() ** 3
        best = minimize(lambda m: np.linalg.norm(x.numpy() - m, axis=1).sum(), x.numpy().mean(0))
        np.testing.assert_allclose(geometric_median(x).numpy(), best.x, atol=1e-4)

    def test_an_outlier_hardly_moves_it(self):
        x = numbers(100, 4)
        wild = torch.cat([x, torch.full((1, 4), 1e6)])
        assert (geometric_median(wild) - geometric_median(x)).norm() < 0.05

    def test_rows_that_are_all_the_same(self):
        assert torch.equal(geometric_median(torch.ones(5, 2)), torch.ones(2))

    def test_a_median_that_is_a_row(self):
        x = torch.cat([torch.zeros(6, 3), numbers(5, 3)])
        torch.testing.assert_close(geometric_median(x), torch.zeros(3), atol=1e-5, rtol=0)


class TestStart:
    def test_tied_transpose_unit_columns_and_the_median(self):
        model, x = sparse_model("relu"), sparse_data() + 5
        start_sparse(model, x)
        encoder, decoder = Dictionary.of(model)
        torch.testing.assert_close(decoder.weight.norm(dim=0), torch.ones(K))
        torch.testing.assert_close(decoder.bias.data, geometric_median(x))
        scale = encoder.weight.norm(dim=1)
        torch.testing.assert_close(scale, scale[:1].expand(K))
        torch.testing.assert_close(encoder.weight, scale[0] * decoder.weight.T)
        reads = encoder(geometric_median(x)[None])
        torch.testing.assert_close(reads, torch.zeros(1, K), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_first_reconstruction_beats_the_median_and_no_statistics_change(self, name):
        model, x = sparse_model(name), sparse_data()
        start_sparse(model, x)
        assert not model.posterior.fired.any()
        if name == "batchtopk":
            assert model.posterior.threshold == -1
        if name != "sigmoid":
            rebuilt = model.reconstruct(model.train().encode(x).mean)
            assert (rebuilt - x).square().sum() < (geometric_median(x) - x).square().sum()

    def test_bernoulli_decoders_start_at_the_logit_of_the_median(self):
        model, x = sparse_model("relu", likelihood=BernoulliFamily), torch.rand(50, D) * 0.9
        start_sparse(model, x)
        bias = Dictionary.of(model).decoder.bias
        torch.testing.assert_close(torch.sigmoid(bias), geometric_median(x))

    def test_deeper_networks_raise(self):
        model = build_model(SparseAutoencoder(hidden=(5,)), (D,), "gaussian")
        with pytest.raises(ValueError, match=r"hidden=\(\)"):
            start_sparse(model, sparse_data())


class TestRevive:
    def test_revival_needs_a_sparse_family(self):
        model = build_model(Autoencoder(n_components=2, hidden=()), (D,), "gaussian")
        with pytest.raises(ValueError, match="needs a sparse posterior family"):
            trained(model, sparse_data(), callbacks=[Revive()], epochs=1)

    def killed(self, name):
        """A model whose second half of units is inactive on every row."""
        model, x = sparse_model(name), sparse_data()
        start_sparse(model, x)
        Dictionary.of(model).encoder.bias.data[K // 2 :] = -1e3
        return model, x

    @pytest.mark.parametrize("name", ["relu", "topk", "batchtopk", "jumprelu", "gated"])
    def test_dead_units_become_active(self, name):
        alive = []
        for callbacks in ([], [Revive(every=20)]):
            model, x = self.killed(name)
            trained(model, x, (), [UnitColumns(), *callbacks], epochs=10)
            with torch.no_grad():
                fires = (model.encode(x).mean > 0).any(0)
            alive.append(int(fires[K // 2 :].sum()))
        assert alive[0] == 0
        assert alive[1] >= 0.8 * (K // 2)

    @pytest.mark.parametrize("name", ["relu", "topk", "batchtopk", "jumprelu", "gated"])
    @pytest.mark.parametrize("backbone", ["mlp", "gated"])
    def test_dead_units_of_deep_networks_become_active(self, name, backbone):
        torch.manual_seed(0)
        spec = SparseAutoencoder(n_components=K, hidden=(30,), activation=name, backbone=backbone)
        model, x = build_model(spec, (D,), "gaussian"), sparse_data()
        last = list(model.encoder.modules())[-1]
        last.bias.data[K // 2 :] = -1e3
        (callback,) = training_callbacks(spec, model)
        callback.every, callback.strength = 20, 1.0
        decoder = model.decoder.layers[0]
        trainer = trained(model, x, (), [callback], epochs=1)
        before = [p.clone() for p in decoder.parameters()]
        callback.revive(trainer)
        assert callback.revived[-1] >= K // 2
        assert all(torch.equal(a, b) for a, b in zip(before, decoder.parameters(), strict=True))
        with torch.no_grad():
            gates = model.train().encode(x).gate
        assert (gates != 0).any(0)[K // 2 :].float().mean() >= 0.8

    def test_an_encoder_without_a_last_linear_layer_is_not_revived(self):
        spec = SparseAutoencoder(n_components=K, hidden=(30,))
        model = build_model(spec, (D,), "gaussian")
        assert len(training_callbacks(spec, model)) == 1
        model.encoder.layers.append(torch.nn.Identity())
        assert training_callbacks(spec, model) == []

    def test_only_dead_units_are_changed(self):
        model, x = self.killed("jumprelu")
        trainer = trained(model, x, epochs=3)
        callback = Revive()
        callback.on_start(trainer, Rows(x))
        model.train()
        model.encode(x)
        dead = ~model.posterior.fired
        model.posterior.log_threshold.data[dead] = 3.0
        before = {k: v.clone() for k, v in model.state_dict().items()}
        callback.revive(trainer)
        after = model.state_dict()
        for name in ("encoder.layers.0.weight", "encoder.layers.0.bias", "posterior.log_threshold"):
            changed = (after[name] != before[name]).reshape(K, -1).any(1)
            assert torch.equal(changed, dead), name
        columns = after["decoder.layers.0.weight"]
        changed = (columns != before["decoder.layers.0.weight"]).any(0)
        assert torch.equal(changed, dead)
        moments = trainer.optimizer.state[Dictionary.of(model).decoder.weight]["exp_avg_sq"]
        assert not moments[:, dead].any()
        assert moments[:, ~dead].any()
        assert callback.revived == [int(dead.sum())]

    def test_none_is_revived_near_the_end(self):
        model, x = self.killed("relu")
        callback = Revive(every=10, until=0.5)
        trained(model, x, callbacks=[callback], epochs=10)  # 100 steps
        assert len(callback.revived) == 5

    def test_counts_of_active_units_are_not_saved(self):
        assert not any("fired" in name for name in sparse_model("relu").state_dict())


class TestUnitColumns:
    def test_the_gradient_along_columns_is_removed_only_during_training(self):
        model, x = sparse_model("relu"), sparse_data()
        callback = UnitColumns()
        trainer = trained(model, x, epochs=1)
        callback.on_start(trainer, Rows(x))
        weight = Dictionary.of(model).decoder.weight

        def along():
            model.zero_grad()
            trainer.objective(model, x).loss.backward()
            return (weight.grad * weight.data).sum(0).abs().max()

        assert along() < 1e-5
        callback.on_end(trainer, None)
        assert along() > 1e-3


class TestTopActivating:
    @pytest.fixture
    def fitted(self):
        X = load_digits().data[:500] / 16
        model = SparseAutoencoder(n_components=30, hidden=(), epochs=3, random_state=0)
        return model.fit(X), X

    def test_against_all_codes(self, fitted, monkeypatch):
        model, X = fitted
        monkeypatch.setattr("isthmus.estimators.models.ROWS_AT_ONCE", 100)
        codes = model.transform(X)
        for unit in (0, 29):
            rows, activations = model.top_activating(X, unit, n=7)
            expected = np.argsort(-codes[:, unit], kind="stable")[:7]
            np.testing.assert_array_equal(rows, expected)
            np.testing.assert_array_equal(activations, codes[expected, unit])

    def test_fewer_rows_than_requested(self, fitted):
        model, X = fitted
        assert len(model.top_activating(X[:4], 0, n=10)[0]) == 4

    @pytest.mark.parametrize(
        ("unit", "n", "says"),
        [(30, 1, "unit must be between 0 and 29, got 30"), (0, 0, "at least 1")],
    )
    def test_units_and_counts_out_of_range_raise(self, fitted, unit, n, says):
        model, X = fitted
        with pytest.raises(ValueError, match=says):
            model.top_activating(X, unit, n=n)


class TestEstimator:
    """Sparse codes as a user fits them."""

    X = sparse_data()

    def fit(self, activation, **settings):
        settings = {"n_components": K, "hidden": (), "epochs": 20, "random_state": 0} | settings
        return SparseAutoencoder(activation=activation, **settings).fit(self.X)

    @pytest.mark.parametrize("name", ["relu", "topk", "batchtopk", "jumprelu", "gated"])
    def test_a_linear_code_is_a_dictionary_of_unit_columns(self, name):
        model = self.fit(name)
        columns = model.model_.decoder.layers[0].weight
        torch.testing.assert_close(columns.norm(dim=0), torch.ones(K))
        model.partial_fit(self.X)
        columns = model.model_.decoder.layers[0].weight
        torch.testing.assert_close(columns.norm(dim=0), torch.ones(K))
        assert not columns._backward_hooks

    @pytest.mark.parametrize(
        "settings",
        [{"dictionary": False}, {"hidden": (9,)}, {"activation": "sigmoid"}],
        ids=lambda s: min(s),
    )
    def test_no_dictionary_if_not_requested_or_impossible(self, settings):
        model = SparseAutoencoder(n_components=K, epochs=2, **{"hidden": ()} | settings)
        columns = model.fit(self.X).model_.decoder.layers[-1].weight
        assert not torch.allclose(columns.norm(dim=0), torch.ones(columns.shape[1]))

    @pytest.mark.parametrize("name", NAMES)
    def test_every_activation_is_saved_and_loaded(self, name, tmp_path):
        model = self.fit(name, epochs=3)
        model.save(tmp_path)
        again = isthmus.load(tmp_path)
        np.testing.assert_array_equal(again.transform(self.X), model.transform(self.X))

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("hidden", [(), (9,)])
    def test_the_code_of_a_row_does_not_depend_on_its_batch(self, name, hidden):
        model = self.fit(name, epochs=3, hidden=hidden)
        alone = np.concatenate([model.transform(row[None]) for row in self.X[:9]])
        np.testing.assert_allclose(model.transform(self.X)[:9], alone, atol=1e-5)

    def test_at_most_n_active_units_are_active(self):
        assert (self.fit("topk", n_active=2).transform(self.X) > 0).sum(1).max() == 2
        assert (self.fit("batchtopk", n_active=2).transform(self.X) > 0).sum(1).mean() < 3

    @pytest.mark.parametrize("name", ["relu", "jumprelu", "gated"])
    def test_a_heavier_penalty_leaves_fewer_units_active(self, name):
        active = [
            (
                self.fit(name, epochs=100, learning_rate=0.01, penalty_weight=w).transform(self.X)
                > 0
            ).mean()
            for w in (0.01, 10.0)
        ]
        assert active[1] < 0.7 * active[0]

    def test_revive_every_leaves_fewer_dead_units(self):
        few = {"epochs": 25, "n_components": 200, "n_active": 2, "batch_size": 20}
        dead = [
            (self.fit("topk", revive_every=every, **few).transform(self.X) == 0).all(0).mean()
            for every in (None, 25)
        ]
        assert dead[1] < 0.5 * dead[0]

    def test_more_active_units_than_components_raise(self):
        with pytest.raises(ValueError, match="number of units, 24; got 25"):
            self.fit("topk", n_active=25)
