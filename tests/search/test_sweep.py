import csv
import json
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils import estimator_checks as checks

import isthmus
from isthmus import (
    VAE,
    Autoencoder,
    BetaVAE,
    ConditionalVAE,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    Sweep,
)
from isthmus.cli import main
from isthmus.data import disk_array, sparse_rows
from isthmus.estimators.sample_weight import WeightedRows
from isthmus.search.candidates import Candidate, group_candidates, make_candidates, prepare
from isthmus.search.figure import rate_distortion_figure
from isthmus.search.ranking import rungs
from isthmus.search.stacked import StackedRun
from isthmus.search.stacked_adam import StackedAdam, lay_out

DIGITS = load_digits()
X, Y = DIGITS.data[:500] / 16, DIGITS.target[:500]
SMALL = {"n_components": 4, "hidden": (24,), "epochs": 4, "batch_size": 100, "random_state": 0}
TABLE = np.random.default_rng(0).normal(size=(300, 6))
COUNTS = np.random.default_rng(0).poisson(2.0, size=(300, 6)).astype(float)
CLOCK = ("seconds", "examples_per_second")


def fit_alone(sweep, row, X, y=None):
    """Fit one candidate of a sweep by its own `fit`, on the training rows of the sweep."""
    rows = sweep.train_rows_
    one = clone(sweep.estimator).set_params(**row["params"])
    return one.fit(X[rows], None if y is None else y[rows])


def assert_same(one, other, X, codes=1e-5):
    assert (one.n_iter_, one.best_epoch_, one.stopped_) == (
        other.n_iter_,
        other.best_epoch_,
        other.stopped_,
    )
    for a, b in zip(one.history_, other.history_, strict=True):
        assert a.keys() == b.keys()
        for k in a.keys() - set(CLOCK):
            assert a[k] == pytest.approx(b[k], rel=3e-4, abs=1e-5)
    np.testing.assert_allclose(one.transform(X), other.transform(X), rtol=1e-3, atol=codes)
    assert one.fitted_params_ == other.fitted_params_


CASES = {
    "vae": (VAE(**SMALL), {"random_state": [0, 1], "learning_rate": [1e-3, 5e-3]}, X),
    "vae on a table": (VAE(**SMALL), {"random_state": [0, 1], "weight_decay": [0.0, 0.1]}, TABLE),
    "beta-vae": (BetaVAE(**SMALL), {"beta": [0.5, 4.0], "random_state": [0, 1]}, X),
    "warm-up": (BetaVAE(**SMALL, beta_schedule="linear"), {"beta_epochs": [1, 3]}, X),
    "capacity": (BetaVAE(**SMALL, capacity=3.0), {"beta": [1.0, 9.0]}, X),
    "free bits": (VAE(**SMALL, free_bits=0.1), {"random_state": [0, 1]}, X),
    "decomposed": (BetaVAE(**SMALL, decomposed=True), {"random_state": [0, 1]}, X),
    "importance": (VAE(**SMALL, bound="iwae", n_samples=3), {"random_state": [0, 1]}, X),
    "binarize": (VAE(**SMALL, binarize=True, likelihood="bernoulli"), {"random_state": [0, 1]}, X),
    "autoencoder": (Autoencoder(**SMALL), {"random_state": [0, 1]}, TABLE),
    "gated": (Autoencoder(**SMALL, backbone="gated"), {"learning_rate": [1e-3, 2e-3]}, X),
    "l1": (SparseAutoencoder(**SMALL, revive_every=None), {"penalty_weight": [None, 0.5]}, X),
    "kl": (SparseAutoencoder(**SMALL, penalty="kl"), {"penalty_weight": [0.1, 1.0]}, X),
    "topk": (
        SparseAutoencoder(**SMALL, activation="topk", revive_every=None),
        {"random_state": [0, 1]},
        X,
    ),
    "denoising": (DenoisingAutoencoder(**SMALL), {"corruption_level": [0.1, 0.5]}, X),
    "salt": (
        DenoisingAutoencoder(**SMALL, corruption="salt-and-pepper"),
        {"random_state": [0, 1]},
        X,
    ),
    "vamp": (VAE(**SMALL, prior="vamp", prior_modes=5), {"random_state": [0, 1]}, X),
    "mixture": (VAE(**SMALL, prior="mixture", prior_modes=5), {"random_state": [0, 1]}, X),
    "full": (VAE(**SMALL, posterior_family="full-normal"), {"random_state": [0, 1]}, X),
    "laplace": (VAE(**SMALL, likelihood="laplace"), {"random_state": [0, 1]}, TABLE),
    "categorical": (VAE(**SMALL, likelihood="categorical"), {"random_state": [0, 1]}, COUNTS),
    "poisson": (VAE(**SMALL, likelihood="poisson"), {"random_state": [0, 1]}, COUNTS),
    "negative": (VAE(**SMALL, likelihood="negative-binomial"), {"random_state": [0, 1]}, COUNTS),
    "bytes": (VAE(**SMALL), {"random_state": [0, 1]}, (16 * X).astype(np.uint8).reshape(-1, 8, 8)),
}


@pytest.mark.parametrize("name", CASES)
def test_stacked_models_equal_their_own_fit(name):
    estimator, grid, data = CASES[name]
    sweep = Sweep(estimator, grid, random_state=0).fit(data)
    n = len(sweep.results_)
    assert [row["stacked"] for row in sweep.results_] == [n] * n
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        assert_same(model, fit_alone(sweep, row, data), data)


def test_stacking_decomposed_models_prints_no_warning_of_torch(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator, grid, data = CASES["decomposed"]
        Sweep(estimator, grid, random_state=0).fit(data)
    assert "batching rule" not in capfd.readouterr().err


def test_stacked_conditional_models_equal_their_own_fit():
    sweep = Sweep(ConditionalVAE(**SMALL), {"condition_dropout": [0.0, 0.4]}, random_state=0)
    sweep.fit(X, Y)
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        assert_same(model, fit_alone(sweep, row, X, Y), X)


def test_stacked_models_with_missing_values_equal_their_own_fit():
    holes = np.where(np.random.default_rng(1).random(TABLE.shape) < 0.2, np.nan, TABLE)
    sweep = Sweep(VAE(**SMALL, missing="ignore"), {"random_state": [0, 1]}, random_state=0)
    sweep.fit(holes)
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        assert_same(model, fit_alone(sweep, row, holes), holes)


def test_patience_stops_each_model_at_its_own_epoch():
    settings = {**SMALL, "epochs": 40, "learning_rate": 0.05}
    grid = {"patience": [1, 3], "random_state": [0, 1, 2]}
    sweep = Sweep(VAE(**settings), grid, random_state=0).fit(X[:200])
    assert len({row["epochs"] for row in sweep.results_}) > 1
    assert any(row["best_epoch"] < row["epochs"] for row in sweep.results_)
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        assert_same(model, fit_alone(sweep, row, X[:200]), X, codes=1e-3)


def test_without_validation_rows_the_last_weights_are_kept():
    sweep = Sweep(VAE(**SMALL, validation_fraction=0.0), {"random_state": [0, 1]}, random_state=0)
    sweep.fit(X)
    assert sweep.results_[0]["valid_loss"] is None
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        assert_same(model, fit_alone(sweep, row, X), X)


def test_compiled_step_gives_the_same_results(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda graph, **options: graph)
    grid = {"beta": [0.5, 4.0], "patience": [1, 50]}
    settings = {**SMALL, "epochs": 12, "learning_rate": 0.03, "beta_schedule": "linear"}
    sweep = Sweep(BetaVAE(**settings, compile=True), grid, random_state=0).fit(X)
    sweep.estimator.compile = False
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        model.fitted_params_["compile"] = False
        assert_same(model, fit_alone(sweep, row, X), X, codes=1e-4)


def test_diverging_model_does_not_affect_the_others():
    settings = {**SMALL, "epochs": 6, "likelihood": "gaussian-fixed", "scaling": "none"}
    grid = {"learning_rate": [1e-3, 1e18]}
    with pytest.warns(RuntimeWarning, match="diverged"):
        sweep = Sweep(Autoencoder(**settings), grid, random_state=0).fit(TABLE)
    assert [row["stopped"] for row in sweep.results_] == ["epochs", "diverged"]
    assert_same(sweep.estimators_[0], fit_alone(sweep, sweep.results_[0], TABLE), TABLE)
    assert all(torch.isfinite(p).all() for p in sweep.estimators_[1].model_.parameters())
    assert sweep.best_index_ == 0


@pytest.mark.parametrize(
    "estimator",
    [
        VAE(**SMALL, dropout=0.2),
        VAE(**SMALL, normalize_gradients=True),
        ContractiveAutoencoder(**{**SMALL, "hidden": ()}),
        SparseAutoencoder(**{**SMALL, "hidden": ()}, revive_every=3),
        SparseAutoencoder(**SMALL, revive_every=3),
        SparseAutoencoder(**SMALL, activation="batchtopk"),
    ],
    ids=["dropout", "normalised", "contractive", "dictionary", "revived", "batchtopk"],
)
def test_models_that_cannot_be_stacked_equal_their_own_fit_exactly(estimator):
    sweep = Sweep(estimator, {"random_state": [0, 1]}, random_state=0).fit(X)
    assert [row["stacked"] for row in sweep.results_] == [1, 1]
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        np.testing.assert_array_equal(fit_alone(sweep, row, X).transform(X), model.transform(X))


def test_models_of_different_shapes_are_stacked_in_groups():
    grid = {"n_components": [2, 3], "random_state": [0, 1, 2]}
    sweep = Sweep(VAE(**SMALL), grid, max_stacked=2, random_state=0).fit(X)
    assert [row["stacked"] for row in sweep.results_] == [2, 2, 1, 2, 2, 1]
    sizes = [e.transform(X[:1]).shape[1] for e in sweep.estimators_]
    assert sizes == [row["params"]["n_components"] for row in sweep.results_]


def test_decomposed_models_of_different_beta_are_not_stacked():
    candidates = make_candidates(BetaVAE(decomposed=True), {"beta": [1.0, 2.0]})
    prepare(candidates, WeightedRows(X), lambda estimator: None)
    assert [len(group) for group in group_candidates(candidates, 16)] == [1, 1]


def test_best_model_has_the_highest_unweighted_elbo():
    sweep = Sweep(BetaVAE(**SMALL), {"beta": [0.1, 1.0, 20.0]}, random_state=0).fit(X)
    held = X[sweep.test_rows_]
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        assert row["score"] == pytest.approx(model.score(held))
        assert row["score"] == pytest.approx(-(row["rate"] + row["distortion"]))
    scores = [row["score"] for row in sweep.results_]
    assert sweep.best_score_ == max(scores)
    assert sweep.best_params_ == sweep.results_[int(np.argmax(scores))]["params"]
    assert sweep.score(held) == pytest.approx(sweep.best_score_)
    assert len(np.intersect1d(sweep.train_rows_, sweep.test_rows_)) == 0
    assert sweep.transform(X).shape == (500, 4)
    assert sweep.sample(3, random_state=0).shape == (3, 64)


def test_custom_metric_selects_the_best_model():
    sweep = Sweep(
        BetaVAE(**SMALL),
        {"beta": [0.1, 30.0]},
        metric=lambda model, X: -model.rate_distortion(X).rate.mean(),
        random_state=0,
    ).fit(X)
    assert sweep.best_params_ == {"beta": 30.0}
    assert sweep.best_score_ == pytest.approx(-sweep.results_[1]["rate"])


def test_groups_are_not_divided_by_the_split():
    groups = np.arange(len(X)) // 25
    sweep = Sweep(VAE(**SMALL), {"random_state": [0, 1]}, random_state=0).fit(X, groups=groups)
    train = sweep.train_rows_
    assert not set(groups[sweep.test_rows_]) & set(groups[train])
    alone = VAE(**SMALL).fit(X[train], groups=groups[train])  # validates on the same groups
    losses = [[row["valid_loss"] for row in m.history_] for m in (alone, sweep.estimators_[0])]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_data_frames_are_accepted():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(TABLE, columns=list("abcdef"))
    frame["kind"] = np.where(TABLE[:, 0] > 0, "x", "y")
    sweep = Sweep(VAE(**SMALL), {"random_state": [0, 1]}, random_state=0).fit(frame)
    assert sweep.sample(2, random_state=0).columns.tolist() == [*"abcdef", "kind"]


def test_rungs_are_fractions_of_the_epochs():
    assert rungs(9, 3) == [1 / 9, 1 / 3, 1.0]
    assert rungs(1, 3) == rungs(5, None) == [1.0]


@pytest.mark.parametrize("dropout", [0.0, 0.1], ids=["stacked", "sequential"])
def test_winner_of_halving_equals_its_own_full_fit(dropout):
    settings = {**SMALL, "epochs": 8, "dropout": dropout, "warmup": 10}
    grid = {"learning_rate": [1e-5, 1e-4, 1e-3, 1e-2]}
    sweep = Sweep(VAE(**settings), grid, halving=2, random_state=0).fit(X)
    assert sorted(row["epochs"] for row in sweep.results_) == [2, 2, 4, 8]
    assert sorted(row["stopped"] for row in sweep.results_) == ["epochs"] + ["halving"] * 3
    assert sweep.best_params_ == {"learning_rate": 1e-2}
    best = sweep.results_[sweep.best_index_]
    assert_same(sweep.best_estimator_, fit_alone(sweep, best, X), X)
    for row, model in zip(sweep.results_, sweep.estimators_, strict=True):
        rows, held = sweep.train_rows_, X[sweep.test_rows_]
        short = clone(sweep.estimator).set_params(**row["params"])
        if not dropout:  # without a schedule, a shorter fit is the start of a longer one
            short.set_params(epochs=row["epochs"]).fit(X[rows])
            assert short.score(held) == pytest.approx(model.score(held), abs=1e-3)


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ({"betta": [1.0]}, {}, "no setting 'betta'. Did you mean 'beta'"),
        ({}, {}, "grid is empty"),
        ([], {}, "grid is empty"),
        ({"beta": []}, {}, r"grid\['beta'\] must be a list"),
        ({"beta": 1.0}, {}, r"grid\['beta'\] must be a list"),
        ({"prior": "standard"}, {}, r"grid\['prior'\] must be a list"),
        ("beta", {}, "a dict of lists"),
        ({"beta": [1.0, -1.0]}, {}, "beta must be a number of at least 0, got -1.0"),
        ({"prior": ["standart"]}, {}, "Did you mean 'standard'"),
        ({"likelihood": ["gausian"]}, {}, "gaussian"),
        ({"capacity": [2.0], "free_bits": [1.0]}, {}, "each replace the KL term"),
        ({"beta": [1.0]}, {"halving": 1}, "halving must be a number above 1"),
        ({"beta": [1.0]}, {"test_fraction": 0}, "test_fraction must be"),
        ({"beta": [1.0]}, {"max_stacked": 0}, "max_stacked must be"),
        ({"beta": [1.0]}, {"metric": "scor"}, "metric must be"),
        ({"beta": [1.0]}, {"progress": "bar"}, "progress must be"),
    ],
)
def test_invalid_settings_raise_before_training(grid, options, words, monkeypatch):
    monkeypatch.setattr(StackedRun, "advance", lambda *_: pytest.fail("it trained"))
    sweep = Sweep(BetaVAE(**SMALL), grid, **options)
    with pytest.raises(ValueError, match=words) as error:
        sweep.fit(X)
    assert "\n" not in str(error.value)
    assert not hasattr(sweep, "results_")


def test_progress_lines_name_rung_and_group(capsys):
    grid = {"n_components": [2, 3], "random_state": [0, 1]}
    Sweep(VAE(**SMALL), grid, progress="lines", random_state=0).fit(X)
    printed = capsys.readouterr().err.splitlines()
    assert printed[1] == "rung 1/1  group 2/2: 2 models, to 100% of the epochs"


def test_other_estimators_raise():
    with pytest.raises(ValueError, match="one of isthmus's models"):
        Sweep("vae", {"beta": [1.0]}).fit(X)


def test_unsuitable_data_raise_before_training(monkeypatch):
    monkeypatch.setattr(StackedRun, "advance", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ValueError, match="bernoulli"):
        Sweep(VAE(**SMALL), {"likelihood": ["gaussian", "bernoulli"]}).fit(TABLE)


def test_ctrl_c_keeps_the_models_trained_so_far(monkeypatch):
    calls, real = [], StackedRun._one_epoch

    def one_epoch(self):
        calls.append(1)
        if len(calls) == SMALL["epochs"] + 3:  # in the second group
            raise KeyboardInterrupt
        real(self)

    monkeypatch.setattr(StackedRun, "_one_epoch", one_epoch)
    grid = {"n_components": [2, 3, 4], "random_state": [0, 1]}
    sweep = Sweep(VAE(**SMALL), grid, random_state=0)
    with pytest.raises(KeyboardInterrupt, match="4 models"):
        sweep.fit(X)
    assert [row["stopped"] for row in sweep.results_] == ["epochs"] * 2 + ["interrupted"] * 2
    assert [row["epochs"] for row in sweep.results_] == [4, 4, 2, 2]
    assert sweep.transform(X).shape[0] == len(X)


def test_stacked_adam_equals_adam_of_each_model():
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, 5, generator=rng)
    pairs = (0.1, 0), (0.1, 0), (0.2, 0.5)
    settings = [VAE(learning_rate=r, weight_decay=d) for r, d in pairs]
    stacked = lay_out(start.clone())
    adam = StackedAdam([stacked], settings)
    alone = [start[i].clone().requires_grad_() for i in range(3)]
    single = [
        torch.optim.AdamW([w], lr=s.learning_rate, weight_decay=s.weight_decay, fused=True)
        for w, s in zip(alone, settings, strict=True)
    ]
    for turn in range(4):
        if turn == 2:  # one model leaves
            stacked = lay_out(stacked[[0, 2]])
            adam = adam.of([stacked], [0, 2])
            alone, single = alone[::2], single[::2]
        gradient = torch.randn(len(alone), 5, 4, generator=rng).mT
        adam.step([gradient], lambda s: s.learning_rate)
        for w, g, optimizer in zip(alone, gradient, single, strict=True):
            w.grad = g.contiguous()
            optimizer.step()
    torch.testing.assert_close(stacked, torch.stack(alone).detach())


def test_candidate_records_its_best_epoch():
    c = Candidate(0, {}, VAE())
    losses = [3.0, 1.0, 2.0]
    better = [c.offer({"epoch": i + 1, "loss": v}, False) for i, v in enumerate(losses)]
    assert (better, c.best_epoch, c.best_loss) == ([True, True, False], 2, 1.0)


def test_figure_shows_every_candidate_and_marks_the_best():
    sweep = Sweep(BetaVAE(**SMALL), {"beta": [1.0, 4.0], "random_state": [0, 1]}, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = sweep.fit(X).figure()
        figure.canvas.draw()
    (axes,) = figure.axes
    points, ring = (c.get_offsets() for c in axes.collections)
    np.testing.assert_allclose(points, [(r["rate"], r["distortion"]) for r in sweep.results_])
    np.testing.assert_allclose(ring[0], points[sweep.best_index_])
    words = " ".join(t.get_text() for t in axes.texts)
    assert words.count("beta") in (1, 2)
    assert "1" in words
    assert "4" in words


# ------------------------------------------------------------- the command line

FAST = ["--epochs", "2", "--hidden", "16", "--n-components", "2", "--data-home", "."]


def test_tune_writes_a_table_a_plot_and_the_best_run(tmp_path, capsys):
    out = tmp_path / "t"
    command = ["tune", "digits", "--model", "beta-vae", "--grid", "beta=1,8"]
    command += ["--grid", "random-state=0,1", "--out", str(out), *FAST]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "beta" in printed
    assert str(out / "best") in printed
    assert sorted(p.name for p in out.iterdir()) == ["best", "rate-distortion.png", "results.csv"]
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert [(r["beta"], r["random_state"]) for r in rows] == [
        ("1.0", "0"), ("1.0", "1"), ("8.0", "0"), ("8.0", "1")
    ]  # fmt: skip
    (best,) = [r for r in rows if r["best"] == "1"]
    assert best["score"] == max((r["score"] for r in rows), key=float)
    model = isthmus.load(out / "best")
    assert (model.beta, model.random_state) == (float(best["beta"]), int(best["random_state"]))
    config = json.loads((out / "best" / "config.json").read_text())
    assert config["held_out"]["rows"] == 180
    assert main(["info", str(out / "best")]) == 0
    assert main(command) == 2
    assert main([*command, "--force", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--grid beta=1,2,4"),
        (["--grid", "betta=1"], "Did you mean 'beta'"),
        (["--grid", "beta"], "SETTING=A,B"),
        (["--grid", "beta="], "SETTING=A,B"),
        (["--grid", "beta=1,x"], "beta must be a number"),
        (["--grid", "beta=-1"], "at least 0"),
        (["--grid", "beta=1", "--grid", "beta=2"], "twice"),
        (["--grid", "beta=1", "--beta", "2"], "a value and a grid"),
        (["--grid", "binarize=maybe"], "binarize must be True or False"),
        (["--grid", "beta=1", "--halving", "0.5"], "halving"),
    ],
)
def test_invalid_arguments_of_tune_print_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["tune", "digits", "--model", "beta-vae", *arguments]) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


@checks.parametrize_with_checks(
    [Sweep(VAE(**{**SMALL, "epochs": 2}), {"random_state": [0, 1]}, random_state=0)],
    expected_failed_checks=lambda _: {
        f"check_sample_weight_equivalence_on_{kind}_data": "the test rows are drawn by rows"
        for kind in ("dense", "sparse")
    },
)
def test_check_estimator(estimator, check):
    check(estimator)


def test_failing_metric_ranks_the_model_last():
    def metric(model, rows):
        if model.beta == 4.0:
            raise KeyError("no such thing")
        return model.score(rows)

    with pytest.warns(RuntimeWarning, match="metric failed on candidate 1, .*KeyError"):
        sweep = Sweep(BetaVAE(**SMALL), {"beta": [1.0, 4.0]}, metric=metric, random_state=0).fit(X)
    assert sweep.best_params_ == {"beta": 1.0}
    assert len(sweep.estimators_) == 2
    assert np.isnan(sweep.results_[1]["metric"])


def test_weighted_candidates_equal_their_own_fit():
    weights = np.random.default_rng(0).integers(0, 4, len(TABLE)).astype(float)
    grids = {"stacked": {"random_state": [0, 1]}, "alone": {"hidden": [(8,), (9,)]}}
    for grid in grids.values():
        model = BetaVAE(**SMALL, decomposed="random_state" in grid)
        sweep = Sweep(model, grid, random_state=0).fit(TABLE, sample_weight=weights)
        kept = np.flatnonzero(weights)
        assert sorted([*sweep.train_rows_, *sweep.test_rows_]) == kept.tolist()
        absent = Sweep(model, grid, random_state=0).fit(TABLE[kept], sample_weight=weights[kept])
        assert absent.best_score_ == pytest.approx(sweep.best_score_, rel=1e-12)
        rows, held = sweep.train_rows_, sweep.test_rows_
        for row, fitted in zip(sweep.results_, sweep.estimators_, strict=True):
            alone = clone(model).set_params(**row["params"])
            assert_same(fitted, alone.fit(TABLE[rows], sample_weight=weights[rows]), TABLE)
            score = alone.score(TABLE[held], sample_weight=weights[held])
            assert row["score"] == pytest.approx(score, rel=1e-4)


def test_weights_of_two_equal_repeated_rows():
    model = Autoencoder(**SMALL | {"batch_size": 1000}, validation_fraction=0)
    sweeps = [Sweep(model, {"learning_rate": [1e-3, 2e-3]}, random_state=0) for _ in range(2)]
    groups, twice = np.arange(300), 1 + np.arange(300) % 2
    one = sweeps[0].fit(TABLE, sample_weight=twice, groups=groups)
    two = sweeps[1].fit(TABLE.repeat(twice, 0), groups=groups.repeat(twice))
    for a, b in zip(one.estimators_, two.estimators_, strict=True):
        np.testing.assert_allclose(a.transform(TABLE), b.transform(TABLE), atol=1e-4)
    assert one.best_score_ == pytest.approx(two.best_score_, rel=1e-4)


@pytest.mark.parametrize("kind", ["sparse", "zarr"])
def test_data_that_are_read_in_parts(kind, monkeypatch, tmp_path):
    if kind == "sparse":
        monkeypatch.setattr(sparse_rows, "MAX_DENSE_BYTES", 0)
        rows = sparse.csr_array(COUNTS)
    else:
        monkeypatch.setattr(disk_array, "MAX_IN_MEMORY", 0)
        zarr = pytest.importorskip("zarr")
        rows = zarr.open_array(
            tmp_path / "x.zarr", mode="w", shape=COUNTS.shape, chunks=(20, 6), dtype="f8"
        )
        rows[:] = COUNTS
    model = VAE(**SMALL, likelihood="poisson")
    weights = 1 + np.arange(300) % 2
    sweep = Sweep(model, {"learning_rate": [1e-3, 2e-3]}, random_state=0)
    sweep.fit(rows, sample_weight=weights, groups=np.arange(300) // 3)
    assert sweep.transform(COUNTS).shape == (300, 4)
    held = sweep.test_rows_
    score = sweep.score(COUNTS[held], sample_weight=weights[held])
    assert sweep.best_score_ == pytest.approx(score, rel=1e-5)
    assert not {*(held // 3)} & {*(sweep.train_rows_ // 3)}


@pytest.mark.parametrize("assume", [False, True])
def test_scaled_overflow_in_test_rows_is_found_before_training(assume, monkeypatch):
    steady = np.random.default_rng(0).normal(size=(100, 3)) * [1, 1, 1e-30]
    sweep = Sweep(VAE(**SMALL), {"random_state": [0, 1]}, random_state=0)
    row = int(clone(sweep).set_params(grid={"epochs": [1]}).fit(steady).test_rows_[3])
    steady[row, 2] = 1e30
    monkeypatch.setattr(StackedRun, "advance", None)  # not reached
    with (
        config_context(assume_finite=assume),
        pytest.raises(
            ValueError, match=rf"held out to compare the candidates, X\[{row}, 2\] is 1e"
        ),
    ):
        sweep.fit(steady)


def test_two_settings_are_told_apart_and_one_is_labelled():
    grid = [(b, r, s) for b in (1.0, 4.0) for r in (0.1, 0.2) for s in (0, 1)]
    rows = [
        {
            "params": {"beta": b, "dropout": r, "random_state": s},
            "rate": 9 - b + s / 9,
            "distortion": 90 + b + 10 * r,
        }
        for b, r, s in grid
    ]
    (axes,) = rate_distortion_figure(rows, 0).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["dropout 0.1", "dropout 0.2"]
    assert any("beta 4" in text.get_text() for text in axes.texts)
