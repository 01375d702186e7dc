import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.search.optuna import OptunaPruning, suggest

X = load_digits().data / 16
X_train, X_held = X[:400], X[400:600]
SMALL = {"n_components": 2, "hidden": (8,), "epochs": 6, "random_state": 0}


def negative_elbo(record):
    return record["valid_reconstruction"] + record["valid_kl"]


@pytest.fixture
def optuna():
    library = pytest.importorskip("optuna")
    library.logging.set_verbosity(library.logging.WARNING)
    return library


class Stub:
    """A trial that is pruned after some epochs, and records the reported values."""

    def __init__(self, prune_after=99, study=None):
        self.after, self.study, self.reported = prune_after, study, {}

    def report(self, value, step):
        self.reported[step] = value

    def should_prune(self):
        return len(self.reported) >= self.after


def journal(folder):
    """Return a storage on disk; a database takes seconds to create."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / "study.log")))


def test_study_is_stored_and_prunes_trials(optuna, tmp_path):
    space = {"n_components": (2, 16), "learning_rate": (1e-5, 1e-2), "beta": (0.5, 4.0)}

    def elbo(trial):
        chosen = suggest(trial, isthmus.BetaVAE, **space)
        model = isthmus.BetaVAE(**SMALL | chosen)
        model.fit(X_train, callbacks=[OptunaPruning(trial, monitor=negative_elbo)])
        return model.score(X_held)

    study = optuna.create_study(
        study_name="digits",
        storage=journal(tmp_path),
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1),
    )
    study.optimize(elbo, n_trials=8)
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 8
    assert {*states} == {"COMPLETE", "PRUNED"}
    for trial in study.trials:
        n = len(trial.intermediate_values)
        assert sorted(trial.intermediate_values) == [*range(1, n + 1)]
        assert n == 6 or trial.state.name == "PRUNED"
    again = optuna.load_study(study_name="digits", storage=journal(tmp_path))
    assert again.best_params == study.best_params
    best = suggest(optuna.trial.FixedTrial(study.best_params), isthmus.BetaVAE, **space)
    assert best == study.best_params


def test_reported_values_are_those_of_the_history(optuna):
    trial = Stub()
    model = isthmus.VAE(**SMALL).fit(X_train, callbacks=[OptunaPruning(trial)])
    assert trial.reported == {r["epoch"]: r["valid_loss"] for r in model.history_}


def test_values_change_sign_if_the_study_maximises(optuna):
    trial = Stub(study=optuna.create_study(direction="maximize"))
    model = isthmus.VAE(**SMALL).fit(X_train, callbacks=[OptunaPruning(trial, "valid_kl")])
    assert trial.reported == {r["epoch"]: -r["valid_kl"] for r in model.history_}


def test_densities_and_probabilities_of_one_study_are_refused(optuna):
    study = optuna.create_study()
    X = (X_train - X_train.min()) / np.ptp(X_train)

    def fit(likelihood, monitor="valid_loss"):
        callback = OptunaPruning(study.ask(), monitor)
        isthmus.VAE(**SMALL, likelihood=likelihood).fit(X, callbacks=[callback])

    fit("gaussian")
    fit("laplace")
    with pytest.raises(ValueError, match="'bernoulli' is the logarithm of a probability, that of"):
        fit("bernoulli")
    fit("bernoulli", "valid_kl")
    fit("bernoulli", lambda record: 0.0)


def test_pruned_fit_raises_and_leaves_the_estimator_unchanged(optuna):
    model = isthmus.VAE(**SMALL).fit(X_train)
    before, known = model.transform(X_held), dict(model.__dict__)
    trial = Stub(prune_after=3)
    with pytest.raises(optuna.TrialPruned, match="epoch 3"):
        model.set_params(epochs=9).fit(X_train, callbacks=[OptunaPruning(trial)])
    assert sorted(trial.reported) == [1, 2, 3]
    assert (model.transform(X_held) == before).all()
    assert model.__dict__ == known | {"epochs": 9}
    new = isthmus.VAE(**SMALL)
    with pytest.raises(optuna.TrialPruned):
        new.fit(X_train, callbacks=[OptunaPruning(Stub(prune_after=1))])
    assert not hasattr(new, "model_")


def test_fixed_trial_is_never_pruned(optuna):
    trial = optuna.trial.FixedTrial({})
    assert isthmus.VAE(**SMALL).fit(X_train, callbacks=[OptunaPruning(trial)]).n_iter_ == 6


@pytest.mark.parametrize(
    ("monitor", "settings", "words"),
    [
        ("valid_loss", {"validation_fraction": 0}, "Set validation_fraction above 0"),
        ("val_loss", {}, "Did you mean 'valid_loss'"),
    ],
)
def test_unknown_monitor_raises(optuna, monitor, settings, words):
    with pytest.raises(ValueError, match=words) as caught:
        isthmus.VAE(**SMALL | settings).fit(X_train, callbacks=[OptunaPruning(Stub(), monitor)])
    assert "\n" not in str(caught.value)


def test_missing_optuna_raises_import_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'isthmus\[tune\]'"):
        OptunaPruning(Stub())


def test_suggestions_have_the_declared_type_and_range(optuna):
    space = {
        "n_components": (2, 64),
        "learning_rate": (1e-4, 1e-2),
        "dropout": (0.0, 0.5),
        "hidden": [(32,), (64, 32), ()],
        "prior": ["standard", "mixture"],
        "batch_size": [64, 128],
        "binarize": [True, False],
        "patience": [None, 5],
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        chosen = suggest(trial, isthmus.VAE, **space)
        assert [*chosen] == [*space]
        assert isinstance(chosen["n_components"], int)
        assert 2 <= chosen["n_components"] <= 64
        assert 1e-4 <= chosen["learning_rate"] <= 1e-2
        for name in [*space][3:]:
            assert chosen[name] in space[name]
        assert suggest(optuna.trial.FixedTrial(trial.params), isthmus.VAE, **space) == chosen
        isthmus.VAE(**chosen)
    ranges = trial.distributions
    assert ranges["learning_rate"].log
    assert ranges["n_components"].log
    assert not ranges["dropout"].log


def test_numpy_numbers_become_python_numbers(optuna, tmp_path):
    space = {
        "n_components": list(np.arange(2, 9)),
        "batch_size": (np.int64(32), np.int64(128)),
        "learning_rate": tuple(np.float32([1e-4, 1e-2])),
    }
    study = optuna.create_study(study_name="numpy", storage=journal(tmp_path))
    chosen = suggest(study.ask(), isthmus.VAE, **space)
    assert [type(value) for value in chosen.values()] == [int, int, float]
    (trial,) = optuna.load_study(study_name="numpy", storage=journal(tmp_path)).trials
    assert trial.params == chosen


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"betta": (1, 2)}, "VAE has no setting 'betta'"),
        ({"n_component": (1, 2)}, "Did you mean 'n_components'"),
        ({"n_components": (0, 8)}, "n_components must be an integer of at least 1 or None, got 0"),
        ({"n_components": (8, 2)}, r"expected a range \(low, high\) or a list of values"),
        ({"n_components": 8}, r"expected a range \(low, high\) or a list of values"),
        ({"n_components": (1.5, 8)}, "n_components must be an integer"),
        ({"n_components": (2,)}, "expected a range"),
        ({"n_components": ("a", 8)}, "expected a range"),
        ({"patience": (None, 5)}, "expected a range"),
        ({"learning_rate": (1e-4, float("inf"))}, "expected a range"),
        ({"prior": ("standard", "flow")}, "prior: expected a list of values"),
        ({"prior": ["standart"]}, "prior must be one of"),
        ({"hidden": [(0,)]}, "hidden must be a sequence of integers"),
        ({"hidden": (32, 64)}, "hidden: expected a list of values"),
    ],
)
def test_invalid_space_raises_before_any_suggestion(space, words):
    with pytest.raises(ValueError, match=words) as caught:
        suggest(None, isthmus.VAE, **space)
    assert "\n" not in str(caught.value)


def test_missing_trial_raises(optuna):
    with pytest.raises(ValueError, match="TorchDistributedTrial"):
        OptunaPruning(None)
