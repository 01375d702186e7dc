"""Settings that findings propose are tried on some of the rows."""

import numpy as np
import pytest
from measured import context_of

from isthmus import VAE, Autoencoder, BetaVAE, ConditionalVAE, SparseAutoencoder
from isthmus.evaluation import check
from isthmus.evaluation.checks import trials
from isthmus.evaluation.checks.claim import judge
from isthmus.evaluation.checks.finding import Evidence, Finding, Findings, Remedy, Trial
from isthmus.evaluation.checks.sparse import dead_units
from isthmus.evaluation.checks.trials import _Trials, with_trials

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 2)) @ RNG.normal(size=(2, 6)) + 0.3 * RNG.normal(size=(300, 6))
GREY = (ROWS - ROWS.min()) / np.ptp(ROWS)
UNITS = ROWS * np.array([1, 1, 1, 1, 1, 100])
TRAIN, TEST = slice(None, 200), slice(200, None)
FAST = {"hidden": (8,), "n_components": 2, "epochs": 20, "learning_rate": 0.01, "random_state": 0}


def trial_of(model, settings, name="reconstruction", X=ROWS, y=(None, None)):
    """Return a trial of settings, against a model fitted to training rows."""
    model.fit(X[TRAIN], y[0])
    context = context_of(model, X[TRAIN], X[TEST], labels=(*y, None))
    return _Trials(context).trial(settings, name)


def warned(*settings):
    evidence = Evidence("share", 0.4, 0.1)
    return Findings([Finding("reconstruction", "warning", "Bad.", evidence, Remedy(*settings))])


@pytest.mark.parametrize(
    ("present", "settings", "X", "unit"),
    [
        ({"learning_rate": 1e-6}, {"learning_rate": 0.01}, ROWS, "nats"),
        ({"epochs": 1}, {"epochs": 40, "patience": 0}, ROWS, "nats"),
        ({"n_components": 1, "hidden": (), "epochs": 60}, {"n_components": 2}, ROWS, "nats"),
        ({"hidden": (1,), "epochs": 40}, {"hidden": ()}, ROWS, "nats"),
        ({"likelihood": "laplace"}, {"likelihood": "gaussian-per-feature"}, ROWS, "nats"),
        ({"scaling": "none"}, {"scaling": "standard"}, UNITS, "nats"),
        ({"likelihood": "bernoulli", "epochs": 1}, {"likelihood": "gaussian"}, GREY, "of the squ"),
    ],
)
def test_each_setting_is_tried(present, settings, X, unit):
    trial = trial_of(VAE(**FAST | present), settings, X=X)
    assert not trial.error
    assert (trial.settings, trial.rows) == (settings, 200)
    assert trial.helped == (trial.gain > 3 * trial.standard_error)
    assert trial.unit.startswith(unit)
    if "likelihood" not in settings:
        assert trial.helped, str(trial)
    if "learning_rate" in settings or "epochs" in settings:
        assert trial.value_after < trial.value_before


def test_settings_that_make_a_model_worse_did_not_help():
    trial = trial_of(VAE(**FAST), {"learning_rate": 1e-6})
    assert not trial.helped
    assert "learning_rate=1e-06 did not help (from " in str(trial)


def test_models_without_a_prior_are_compared_by_their_errors():
    trial = trial_of(Autoencoder(**FAST | {"learning_rate": 1e-6}), {"learning_rate": 0.01})
    assert (trial.helped, trial.unit) == (True, "of the squared error")


def test_conditional_models_are_fitted_with_their_condition(monkeypatch):
    y = (ROWS[:, 0] > 0).astype(int)
    seen = []
    fit = ConditionalVAE.fit
    monkeypatch.setattr(
        ConditionalVAE, "fit", lambda self, X, y, **k: seen.append(y) or fit(self, X, y, **k)
    )
    model = ConditionalVAE(**FAST | {"condition_dropout": 0.9})
    trial = trial_of(model, {"condition_dropout": 0.1}, "ignored condition", y=(y[TRAIN], y[TEST]))
    assert not trial.error
    assert len(seen) == 3
    assert all(np.array_equal(each, y[TRAIN]) for each in seen)


def test_a_sparse_code_is_helped_if_its_units_live():
    heavy = {"penalty_weight": 5.0, "revive_every": None, "dictionary": False, "hidden": ()}
    model = SparseAutoencoder(**FAST | heavy | {"n_components": 32, "learning_rate": 0.05})
    model.fit(ROWS[TRAIN])
    context = context_of(model, ROWS[TRAIN], ROWS[TEST])
    [finding] = judge([*dead_units(context)])
    found = _Trials(context).of(finding)
    assert [each.settings for each in found.remedy.trials] == [*finding.remedy.options]
    assert any(each.helped for each in found.remedy.trials)
    for each in found.remedy.trials:
        assert each.value_before > 0.2
        assert each.helped or each.value_after > 0.2


def test_tables_keep_their_columns():
    pandas = pytest.importorskip("pandas")
    kind = np.where(ROWS[:, 0] > 0, "yes", "no")
    frame = pandas.DataFrame(ROWS[:, :3], columns=["a", "b", "c"]).assign(kind=kind)
    model = VAE(**FAST | {"epochs": 2}).fit(frame[TRAIN])
    tried = _Trials(context_of(model, frame[TRAIN], frame[TEST]))
    assert not tried.trial({"epochs": 30}, "reconstruction").error
    assert tried.model({"epochs": 30}).likelihood_ == model.likelihood_
    assert tried.model({"epochs": 30}).columns_.names == model.columns_.names


def test_settings_that_cannot_be_tried_are_named_with_the_reason():
    found = with_trials(
        warned({"likelihood": "poisson"}, {"hidden": (16,)}),
        context_of(VAE(**FAST).fit(ROWS[TRAIN]), ROWS[TRAIN], ROWS[TEST]),
    )
    poisson, wide = found[0].remedy.trials
    assert poisson.error.startswith("likelihood 'poisson' takes the whole numbers")
    assert len(poisson.error.splitlines()) == 1
    assert "likelihood='poisson' could not be tried (" in str(found)
    assert wide.error == ""
    assert Findings.from_dicts(found.to_dict()["findings"])[0].to_dict() == found[0].to_dict()


def test_trials_end_at_the_time_limit(monkeypatch):
    monkeypatch.setattr(trials, "MOST_SECONDS", 0.0)
    trial = trial_of(VAE(**FAST), {"epochs": 10**9})
    assert trial.error == "all trials together may take 0 minutes"


def test_few_rows_are_used_with_as_many_steps(monkeypatch):
    monkeypatch.setattr(trials, "MOST_ROWS", 50)
    model = VAE(**FAST | {"epochs": 2, "batch_size": 10, "patience": 0, "validation_fraction": 0.0})
    tried = _Trials(context_of(model.fit(ROWS[TRAIN]), ROWS[TRAIN], ROWS[TEST]))
    assert tried.trial({"hidden": (16,)}, "reconstruction").rows == 50
    assert tried.model({"hidden": (16,)}).n_iter_ == 8  # 2 epochs of 200 rows


def test_each_model_is_fitted_once(monkeypatch):
    model = VAE(**FAST | {"epochs": 2}).fit(ROWS[TRAIN])
    fit, made = VAE.fit, []
    monkeypatch.setattr(VAE, "fit", lambda self, *a, **k: made.append(1) or fit(self, *a, **k))
    evidence = Evidence("share", 0.4, 0.1)
    remedy = Remedy({"epochs": 3}, {"hidden": (4,)})
    bad = [Finding(n, "warning", "", evidence, remedy) for n in ("reconstruction", "overfitting")]
    note = Finding("prior mismatch", "note", "", evidence, Remedy({"prior": "mixture"}))
    found = with_trials(Findings([*bad, note]), context_of(model, ROWS[TRAIN], ROWS[TEST]))
    assert len(made) == 3  # with the present settings, and with two others
    assert [len(each.remedy.trials) for each in found] == [2, 2, 0]


def test_an_interrupted_fit_ends_the_check(monkeypatch):
    model = VAE(**FAST | {"epochs": 2}).fit(ROWS[TRAIN])
    fit = VAE.fit

    def interrupted(self, *args, **options):
        fit(self, *args, **options).stopped_ = "interrupted"
        return self

    monkeypatch.setattr(VAE, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        with_trials(warned({"epochs": 3}), context_of(model, ROWS[TRAIN], ROWS[TEST]))


def test_without_rows_nothing_is_tried():
    model = BetaVAE(**FAST | {"beta": 100.0}).fit(ROWS[TRAIN])
    for rows in ((None, None), (ROWS[TRAIN], None)):
        found = check(model, *rows, try_remedies=True, costly=False)
        assert ("trials of settings", "needs training rows and test rows") in found.not_made
        assert not any(each.remedy.trials for each in found)


def test_a_trial_is_one_line():
    trial = Trial({"beta": 1.0}, 2.0, 0.1, "nats", True, rows=2000)
    remedy = str(Remedy({"beta": 1.0}, trials=[trial]))
    assert remedy == "Try beta=1.0. Tried on 2,000 training rows: beta=1.0 helped (+2 ± 0.1 nats)."
