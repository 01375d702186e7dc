"""Anomaly detection: scikit-learn's contract, closed forms, coverage."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils import estimator_checks as checks
from torch import nn

import isthmus
from isthmus.applications.anomaly_detection import (
    AnomalyDetector,
    best_f1_threshold,
    conformal_threshold,
    default_estimator,
    fraction_threshold,
    resolve_score,
)
from isthmus.applications.anomaly_scores import (
    SCORES,
    Whitening,
    hash_features,
    hidden_layers,
    pool_errors,
)
from isthmus.cli import detect as command
from isthmus.cli._parser import make_parser
from isthmus.estimators import ESTIMATORS

DIGITS = load_digits()
IMAGES, Y = DIGITS.images / 16, DIGITS.target
ZEROS, FOURS = IMAGES[Y == 0], IMAGES[Y == 4]
FAST = {"epochs": 3, "hidden": (16,), "n_components": 3, "random_state": 0}
BYTES = (ZEROS * 255).astype(np.uint8)


def fitted(
    score="reconstruction", X=ZEROS, model="autoencoder", likelihood="bernoulli", **settings
):
    detector = AnomalyDetector(
        ESTIMATORS[model](likelihood=likelihood, **FAST),
        score_method=score,
        random_state=0,
        **settings,
    )
    return detector.fit(X)


@checks.parametrize_with_checks(
    [
        AnomalyDetector(isthmus.VAE(epochs=1, hidden=(8,)), score_method="likelihood"),
        AnomalyDetector(isthmus.VAE(epochs=1, hidden=(8,)), score_method="whitened"),
        AnomalyDetector(isthmus.Autoencoder(epochs=1, hidden=(8,)), score_method="paths"),
    ],
    expected_failed_checks=lambda _: (
        {
            f"check_sample_weight_equivalence_on_{kind}_data": "rows and noise are drawn by rows"
            for kind in ("dense", "sparse")
        }
        | {"check_estimators_nan_inf": "rows with infinite values are flagged, not refused"}
    ),
)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:X (has|does not have)")
@pytest.mark.parametrize(
    "check",
    [checks.check_n_features_in_after_fitting],
)
def test_further_scikit_learn_checks(check):
    check("AnomalyDetector", AnomalyDetector(isthmus.Autoencoder(epochs=1, hidden=(8,))))


# ---------------------------------------------------------------------- scores


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    "X", [ZEROS, ZEROS.reshape(-1, 64), BYTES], ids=["images", "table", "bytes"]
)
def test_signs_and_shapes_agree(score, X):
    detector = fitted(score, X)
    scores = detector.score_samples(X)
    assert scores.shape == (len(X),)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(detector.anomaly_score(X), -scores)
    np.testing.assert_array_equal(detector.decision_function(X), scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(X) == -1, scores < detector.offset_)
    np.testing.assert_array_equal(detector.score_samples(X), scores)
    np.testing.assert_allclose(detector.score_samples(X[5:9]), scores[5:9], rtol=1e-12)


@pytest.fixture(scope="module")
def vae():
    settings = {"n_components": 8, "hidden": (64,), "epochs": 40, "random_state": 0}
    return isthmus.VAE(learning_rate=5e-3, **settings).fit(ZEROS)


@pytest.mark.parametrize("score", SCORES)
def test_other_digits_have_higher_anomaly_scores(score, vae):
    frozen = FrozenEstimator(vae)
    detector = AnomalyDetector(frozen, score_method=score, random_state=0).fit(ZEROS)
    found = np.r_[detector.anomaly_score(ZEROS[:60]), detector.anomaly_score(FOURS)]
    assert roc_auc_score(np.r_[np.zeros(60), np.ones(len(FOURS))], found) > 0.95


def test_reconstruction_score_is_the_squared_error():
    detector = fitted()
    error = (detector.estimator_.reconstruct(FOURS) - FOURS) ** 2
    np.testing.assert_allclose(detector.anomaly_score(FOURS), error.sum((1, 2)), rtol=1e-5)


def test_errors_of_a_table_are_in_scaled_units():
    X = np.random.default_rng(0).normal([0, 1e6], [1, 1e5], (100, 2))
    detector = fitted(X=X, likelihood="auto")
    model = detector.estimator_
    error = ((model.reconstruct(X) - X) / model.scaler_.scale) ** 2
    np.testing.assert_allclose(detector.explain(X), error, rtol=1e-3, atol=1e-5)


def test_wrong_category_has_an_error_of_one():
    X = np.random.default_rng(0).integers(5, size=(60, 2)).astype(float)
    model = isthmus.Autoencoder(likelihood="categorical:5,gaussian", **FAST)
    detector = AnomalyDetector(model, random_state=0).fit(X)
    wrong = detector.estimator_.reconstruct(X)[:, 0] != X[:, 0]
    np.testing.assert_array_equal(detector.explain(X)[:, 0], wrong.astype(float))


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
@pytest.mark.parametrize("likelihood", ["auto", "gaussian"])
def test_likelihood_score_is_that_of_the_estimator(name, likelihood):
    model = ESTIMATORS[name](**FAST, likelihood=likelihood)
    detector = AnomalyDetector(model, score_method="likelihood", random_state=0).fit(ZEROS)
    rate, distortion = detector.estimator_.rate_distortion(FOURS)
    np.testing.assert_array_equal(detector.anomaly_score(FOURS), rate + distortion)
    parts = detector.explain(FOURS)
    assert parts.shape == FOURS.shape
    np.testing.assert_allclose(parts.sum((1, 2)), distortion, rtol=1e-4, atol=1e-4)


def test_contributions_sum_to_the_reconstruction_score():
    detector = fitted()
    parts = detector.explain(FOURS)
    np.testing.assert_allclose(parts.sum((1, 2)), detector.anomaly_score(FOURS), rtol=1e-12)
    np.testing.assert_array_equal(detector.anomaly_map(FOURS), parts)


def test_anomaly_maps_sum_over_channels():
    X = np.stack([ZEROS, ZEROS], 1)
    detector = fitted("nap", X)
    assert detector.anomaly_map(X).shape == ZEROS.shape
    np.testing.assert_array_equal(
        detector.anomaly_map(X), detector.explain(X, "reconstruction").sum(1)
    )


@pytest.mark.parametrize("score", ["nap", "latent", "paths", "whitened"])
def test_explain_rejects_whitened_scores(score):
    with pytest.raises(
        ValueError, match=r"not a sum over the features.*reconstruction, likelihood"
    ):
        fitted(score).explain(FOURS)


def test_anomaly_map_rejects_tables():
    with pytest.raises(ValueError, match="anomaly_map needs images"):
        fitted(X=ZEROS.reshape(-1, 64)).anomaly_map(ZEROS.reshape(-1, 64))


def test_latent_is_the_mahalanobis_distance_of_the_code():
    detector = fitted("latent", calibration_fraction=0, contamination=0.1)
    Z = detector.estimator_.transform(ZEROS).astype(np.float64)
    d = detector.estimator_.transform(FOURS) - Z.mean(0)
    expected = np.einsum("ni,ij,nj->n", d, np.linalg.inv(np.cov(Z.T, bias=True)), d)
    np.testing.assert_allclose(detector.anomaly_score(FOURS), expected, rtol=0.02)


def activations(model, X):
    """Return the activations of the only hidden layer and the code, by hand."""
    x = torch.from_numpy(X.astype(np.float32))
    hidden = torch.relu(model.model_.encoder.layers[0][0](x.flatten(1)))
    return torch.cat([hidden, model.model_.encoder(x)], 1).detach().double().numpy()


def distances(learned, rows, ridge):
    """Return squared Mahalanobis distances with a ridge, by singular values."""
    _, s, vt = np.linalg.svd(learned - learned.mean(0), full_matrices=False)
    variances = s**2 / len(learned)
    kept = variances > 1e-10 * variances[0]
    scale = np.sqrt(variances[kept] + ridge * variances.sum() / learned.shape[1])
    return ((((rows - learned.mean(0)) @ vt[kept].T) / scale) ** 2).sum(1)


def test_nap_matches_the_paper_without_the_input_layer():
    detector = fitted("nap", calibration_fraction=0, contamination=0.1)
    model = detector.estimator_

    def differences(X):
        return activations(model, X) - activations(model, model.reconstruct(X))

    expected = distances(differences(ZEROS), differences(FOURS), 1e-4)
    np.testing.assert_allclose(detector.anomaly_score(FOURS), expected, rtol=1e-3)


def test_paths_whiten_activations_differences_and_pooled_errors():
    X, new = (np.repeat(np.repeat(X, 7, 1), 7, 2)[:, ::4, ::4] for X in (ZEROS, FOURS))  # 14 x 14
    detector = fitted("paths", X, calibration_fraction=0, contamination=0.1)
    model = detector.estimator_

    def rows(X):
        first, second = activations(model, X), activations(model, model.reconstruct(X))
        blocks = (X - model.reconstruct(X)).reshape(-1, 7, 2, 7, 2).mean((2, 4))
        return np.c_[first, first - second, blocks.reshape(-1, 49)]

    assert detector._measures[0].whitening.mean.shape == (2 * (16 + 3) + 49,)
    expected = distances(rows(X), rows(new), 1e-4)
    np.testing.assert_allclose(detector.anomaly_score(new), expected, rtol=1e-2)


def test_whitened_is_the_mahalanobis_distance_of_the_errors():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    X, new = (rng.normal(size=(n, 5)) @ mixing for n in (400, 50))
    options = {"likelihood": "auto", "calibration_fraction": 0, "contamination": 0.1}
    detector = fitted("whitened", X, **options)
    model = detector.estimator_

    def rows(X):
        return (X - model.reconstruct(X)) / model.scaler_.scale

    e = rows(X)
    covariance = np.cov(e.T, bias=True)
    shrunk = covariance + 0.1 * np.trace(covariance) / 5 * np.eye(5)
    d = rows(new) - e.mean(0)
    expected = np.einsum("ni,ij,nj->n", d, np.linalg.inv(shrunk), d)
    np.testing.assert_allclose(detector.anomaly_score(new), expected, rtol=1e-3)


def test_mahalanobis_is_the_distance_of_row_and_error_together():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    X, new = (rng.normal(size=(n, 5)) @ mixing for n in (400, 50))
    options = {"likelihood": "auto", "calibration_fraction": 0, "contamination": 0.1}
    detector = fitted("mahalanobis", X, **options)
    model = detector.estimator_

    def rows(X):
        x, again = ((z - model.scaler_.shift) / model.scaler_.scale for z in (X, rebuilt(X)))
        return np.c_[x, x - again]

    def rebuilt(X):
        return model.reconstruct(X)

    a, b = rows(X), rows(new)
    closest = a
    for _ in range(4):  # of all rows, then of the nine tenths that are closest
        covariance = np.cov(closest.T, bias=True)
        shrunk = covariance + 0.1 * 10 / 400 * np.trace(covariance) / 10 * np.eye(10)
        inverse, mean = np.linalg.inv(shrunk), closest.mean(0)
        distances = np.einsum("ni,ij,nj->n", a - mean, inverse, a - mean)
        closest = a[distances <= np.quantile(distances, 0.9)]
    expected = np.einsum("ni,ij,nj->n", b - mean, inverse, b - mean)
    np.testing.assert_allclose(detector.anomaly_score(new), expected, rtol=1e-2)


def test_mahalanobis_sees_a_value_that_only_the_farthest_rows_have():
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(200, 3)), np.arange(200) < 4]
    model = isthmus.Autoencoder(likelihood="gaussian", **FAST)
    settings = {"score_method": "mahalanobis", "calibration_fraction": 0, "contamination": 0.02}
    detector = AnomalyDetector(model, **settings).fit(X)
    assert (detector.predict(X)[:4] == -1).all()


def contaminated(load, outliers, kept, seed=0):
    """Return a table in which `kept` rows of one class remain, and which rows these are."""
    X, y = load(return_X_y=True)
    few = np.random.default_rng(seed).choice(np.flatnonzero(y == outliers), kept, replace=False)
    others = np.flatnonzero(y != outliers)
    return X[np.r_[others, few]], np.arange(len(others) + kept) >= len(others)


@pytest.mark.parametrize(
    ("load", "kept", "least"), [(load_breast_cancer, 21, 0.87), (load_wine, 10, 0.7)]
)
def test_the_default_does_not_learn_the_outliers_among_the_rows_of_a_table(load, kept, least):
    """Trained to convergence, the former default had an AUROC of .61 and .56."""
    X, outlier = contaminated(load, 0, kept)
    detector = AnomalyDetector(random_state=0).fit(X)
    assert roc_auc_score(outlier, detector.anomaly_score(X)) > least


def test_the_default_is_chosen_by_the_shape_of_the_rows():
    rows = np.random.default_rng(0).normal(size=(40, 6))
    table = AnomalyDetector(random_state=0).fit(rows)
    assert table.score_method_ == "mahalanobis"
    assert table.estimator_.get_params()["n_components"] == 6
    assert table.estimator_.n_iter_ == 100  # one step each
    assert table.score_method == "auto"
    frozen = FrozenEstimator(table.estimator_)
    assert AnomalyDetector(frozen).fit(rows).score_method_ == "reconstruction"
    assert resolve_score("auto", None, (8, 8)) == "reconstruction"
    assert default_estimator(100, (8, 8)).epochs is None


@pytest.mark.parametrize(
    ("n_rows", "steps"), [(2, 100), (129, 100), (1500, 96), (10_000, 79), (10**6, 100)]
)
def test_the_default_takes_about_as_many_steps_for_any_number_of_rows(n_rows, steps):
    model = default_estimator(n_rows, (30,))
    assert model.epochs * -(-n_rows // model.batch_size) == steps


def test_the_default_explains_tables_by_squared_errors(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 6))
    detector = AnomalyDetector(random_state=0).fit(rows)
    np.testing.assert_array_equal(detector.explain(rows), detector.explain(rows, "reconstruction"))
    detector.save(tmp_path)
    again = AnomalyDetector.load(tmp_path)
    np.testing.assert_array_equal(again.score_samples(rows), detector.score_samples(rows))


def test_the_default_takes_mixed_columns():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=300)
    frame = pandas.DataFrame(
        {"a": kind + 0.1 * rng.normal(size=300), "b": np.array(["x", "y", "z"])[kind]}
    )
    detector = AnomalyDetector(random_state=0).fit(frame)
    strange = pandas.DataFrame({"a": np.zeros(20), "b": ["z"] * 20})  # each usual alone
    assert (detector.predict(strange) == -1).all()
    assert (detector.predict(frame) == 1).mean() > 0.9


def test_whitened_detects_small_but_unusual_errors():
    """An unusual small error, next to columns with large errors in normal rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6))
    X[:, 1:] = X[:, :1] + 0.05 * rng.normal(size=(500, 5))
    X = np.c_[X, rng.normal(size=(500, 3))]
    strange = X[300:].copy()
    strange[:, 5] += 0.5
    y = np.repeat([0, 1], [100, 200])

    def auroc(score):
        model = isthmus.Autoencoder(
            n_components=1, hidden=(), epochs=30, learning_rate=2e-3, random_state=0
        )
        detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X[:200])
        return roc_auc_score(y, detector.anomaly_score(np.r_[X[200:300], strange]))

    assert auroc("whitened") > auroc("reconstruction") + 0.1


@pytest.mark.parametrize("score", ["paths", "whitened"])
def test_activations_count_a_wrong_category_as_one(score):
    X = np.random.default_rng(0).integers(5, size=(60, 2)).astype(float)
    model = isthmus.Autoencoder(likelihood="categorical:5,gaussian", **FAST)
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X)
    x, _ = detector.estimator_.tensors(X)
    found = detector._measures[0]._activations(x, None)[:, -2].detach().numpy()
    wrong = detector.estimator_.reconstruct(X)[:, 0] != X[:, 0]
    np.testing.assert_array_equal(found, wrong.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "width"), [((5,), 5), ((4, 9), 28), ((3, 28, 28), 147), ((600,), 512)]
)
def test_pooled_errors_are_block_means(shape, width):
    error = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    out = pool_errors(error, shape)
    assert out.shape == (6, width)
    torch.testing.assert_close(pool_errors(error[2:3], shape), out[2:3])
    if shape == (3, 28, 28):
        blocks = error.reshape(6, 3, 7, 4, 7, 4).mean((3, 5))
        torch.testing.assert_close(out, blocks.flatten(1))


@pytest.mark.parametrize(
    ("name", "backbone"),
    [(name, "mlp") for name in ("sparse", "denoising", "conditional-vae", "beta-vae")]
    + [("autoencoder", backbone) for backbone in ("gated", "conv", "resnet")],
)
@pytest.mark.parametrize("score", ["nap", "paths"])
def test_hidden_layers_of_every_backbone_are_found(name, backbone, score):
    model = ESTIMATORS[name](**FAST | {"epochs": 1}, backbone=backbone)
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(IMAGES[:20], Y[:20])
    assert np.isfinite(detector.score_samples(FOURS[:5])).all()
    code = detector.estimator_.n_components_
    assert len(detector._measures[0].whitening.mean) > code
    assert not any(m._forward_hooks for m in detector.estimator_.model_.modules())


def test_hidden_layers_without_activation_modules():
    net = nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(3, 2))
    assert hidden_layers(net) == [net[0]]


def test_nap_of_a_linear_encoder_uses_the_code():
    model = isthmus.Autoencoder(**FAST | {"hidden": ()})
    detector = AnomalyDetector(model, score_method="nap", random_state=0).fit(ZEROS)
    assert len(detector._measures[0].whitening.mean) == 3


def test_hashed_features_preserve_distances():
    x = torch.randn(20, 5000, generator=torch.Generator().manual_seed(0))
    assert hash_features(x[:, :512]) is not None
    short = hash_features(x)
    assert short.shape == (20, 512)
    ratio = torch.pdist(short) / torch.pdist(x)
    assert ((ratio > 0.8) & (ratio < 1.2)).all()
    torch.testing.assert_close(hash_features(x[3:4]), short[3:4])


def test_whitening_does_not_depend_on_blocks():
    rows = np.random.default_rng(0).normal(1e3, [1, 5, 20], (300, 3))
    whole, blocks = Whitening.fit([rows]), Whitening.fit(np.split(rows, 3))
    x = torch.from_numpy(rows)
    torch.testing.assert_close(whole(x), blocks(x))
    assert float(whole(x).mean()) == pytest.approx(3, rel=0.1)


def test_constant_directions_are_dropped():
    rows = np.c_[np.random.default_rng(0).normal(size=(50, 1)), np.full((50, 1), 7.0)]
    whiten = Whitening.fit([rows])
    assert whiten.directions.shape == (2, 1)
    assert Whitening.fit([np.ones((9, 2))])(torch.ones(1, 2)).item() == 0


# ------------------------------------------------------------------ thresholds


@pytest.mark.parametrize("score", SCORES)
def test_numeric_contamination_flags_that_fraction(score):
    detector = AnomalyDetector(isthmus.Autoencoder(**FAST), score_method=score, random_state=0)
    for fraction in (0.01, 0.25, 0.5):
        flags = detector.set_params(contamination=fraction).fit_predict(ZEROS)
        assert (flags == -1).sum() == round(fraction * len(ZEROS))
        np.testing.assert_array_equal(detector.predict(ZEROS), flags)


@pytest.mark.parametrize("level", [0.05, 0.1, 0.3])
def test_automatic_threshold_flags_small_p_values(level):
    detector = fitted(false_alarm_rate=level)
    assert len(detector.calibration_scores_) == round(0.2 * len(ZEROS))
    for X in (ZEROS, FOURS):
        flagged = detector.predict(X) == -1
        np.testing.assert_array_equal(flagged, detector.anomaly_pvalue(X) <= level)


def test_conformal_threshold_with_few_rows():
    assert conformal_threshold(np.array([3.0, 4.0]), 0.05) == 3.0
    assert conformal_threshold(np.arange(19.0), 0.05) == 0.0
    assert conformal_threshold(np.arange(39.0), 0.05) == 1.0


def test_p_values_are_counts():
    detector = fitted()
    held, scores = detector.calibration_scores_, detector.score_samples(FOURS)
    expected = [(1 + (held <= s).sum()) / (1 + len(held)) for s in scores]
    np.testing.assert_array_equal(detector.anomaly_pvalue(FOURS), expected)


def test_p_values_of_normal_rows_are_valid():
    """Averaged over calibration sets, at most a fraction p of rows has a p-value <= p."""
    rng = np.random.default_rng(0)
    model = isthmus.Autoencoder(**FAST).fit(rng.normal(size=(100, 5)))
    drawn = []
    for _ in range(200):
        detector = AnomalyDetector(FrozenEstimator(model)).fit(rng.normal(size=(39, 5)))
        drawn.append(detector.anomaly_pvalue(rng.normal(size=(1, 5)))[0])
    for level in (0.05, 0.1, 0.25, 0.5, 0.9):
        excess = np.mean(np.array(drawn) <= level) - level
        assert excess < 3 * np.sqrt(level * (1 - level) / 200)
    # Ranks among 40 are uniform; the jitter makes them continuous.
    assert kstest(np.array(drawn) - rng.random(200) / 40, "uniform").pvalue > 1e-3


def test_calibrate_replaces_threshold_and_p_values():
    detector = fitted()
    detector.calibrate(ZEROS[:39])
    assert len(detector.calibration_scores_) == 39
    assert detector.offset_ == np.sort(detector.score_samples(ZEROS[:39]))[1]
    detector.set_params(contamination=0.2).calibrate(ZEROS[:50])
    assert (detector.predict(ZEROS[:50]) == -1).sum() == 10


def test_p_values_require_calibration_rows():
    detector = fitted(calibration_fraction=0, contamination=0.1)
    with pytest.raises(ValueError, match=r"call calibrate\(X\)"):
        detector.anomaly_pvalue(ZEROS)
    assert detector.calibrate(ZEROS).anomaly_pvalue(ZEROS).min() == 2 / (
        1 + len(ZEROS)
    )  # itself too


def test_tune_threshold_maximises_f1():
    X = np.concatenate([ZEROS[:80], FOURS[:40]])
    y = np.repeat([1, -1], [80, 40])
    detector = fitted().tune_threshold(X, y)
    scores = detector.score_samples(X)
    cuts = [*scores, scores.max() + 1]
    best = max(
        f1_score(y, np.where(scores < c, -1, 1), pos_label=-1, zero_division=0) for c in cuts
    )
    assert f1_score(y, detector.predict(X), pos_label=-1) == pytest.approx(best)


def test_thresholds_with_ties():
    tied = np.array([0.0, 1.0, 1.0, 2.0])
    assert best_f1_threshold(tied, np.array([True, True, False, False])) == 1.5  # 4/5, not 2/3
    assert best_f1_threshold(tied, np.ones(4, bool)) > 2
    assert fraction_threshold(tied, 0.1) == 0.0


# ------------------------------------------------------------ scikit-learn interface


def test_frozen_estimator_is_not_trained():
    model = isthmus.VAE(**FAST).fit(ZEROS)
    weights = {k: v.clone() for k, v in model.model_.state_dict().items()}
    detector = AnomalyDetector(FrozenEstimator(model), random_state=0).fit(ZEROS)
    assert len(detector.calibration_scores_) == len(ZEROS)
    assert detector.estimator_.model_ is model.model_
    assert all((weights[k] == v).all() for k, v in model.model_.state_dict().items())
    nap = clone(detector).set_params(score_method="nap").fit(ZEROS)
    assert len(nap.calibration_scores_) == round(0.2 * len(ZEROS))


@pytest.mark.filterwarnings("error")
def test_frozen_estimator_keeps_its_column_names():
    frames = pytest.importorskip("pandas")
    frame = frames.DataFrame(IMAGES.reshape(-1, 64)[:80, 20:24], columns=list("abcd"))
    model = isthmus.Autoencoder(**FAST).fit(frame)
    detector = AnomalyDetector(FrozenEstimator(model), score_method="likelihood").fit(frame)
    assert list(detector.feature_names_in_) == list("abcd")
    assert detector.score_samples(frame).shape == (80,)
    assert list(model.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        AnomalyDetector(FrozenEstimator(model)).fit(frame.rename(columns={"a": "z"}))


def test_flat_rows_are_explained_as_the_images_of_a_frozen_estimator():
    model = isthmus.Autoencoder(**FAST).fit(ZEROS)
    detector = AnomalyDetector(FrozenEstimator(model)).fit(ZEROS.reshape(-1, 64))
    assert detector.anomaly_map(FOURS.reshape(-1, 64)).shape == FOURS.shape
    np.testing.assert_array_equal(
        detector.score_samples(FOURS), detector.score_samples(FOURS.reshape(-1, 64))
    )


def test_random_state_is_reproducible_and_reaches_the_estimator():
    model = isthmus.Autoencoder(**FAST | {"random_state": None})
    first, again, other = (
        AnomalyDetector(model, random_state=seed).fit(ZEROS).score_samples(FOURS)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert fitted().estimator_.random_state == 0


@pytest.mark.parametrize("score", SCORES)
def test_pickled_detector_gives_the_same_p_values(score):
    detector = fitted(score)
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.anomaly_pvalue(FOURS), detector.anomaly_pvalue(FOURS))


def test_grid_search_over_parameters():
    X, y = np.concatenate([ZEROS[:60], FOURS[:20]]), np.repeat([1, -1], [60, 20])
    detector = AnomalyDetector(isthmus.Autoencoder(**FAST), random_state=0)
    grid = {"score_method": ["nap", "latent"], "estimator__n_components": [2, 3]}
    search = GridSearchCV(
        detector, grid, cv=KFold(2, shuffle=True, random_state=0), scoring="roc_auc"
    ).fit(X, y)
    assert 0 <= search.best_score_ <= 1
    by_itself = GridSearchCV(detector, grid, cv=2).fit(ZEROS[:60])  # uses the method `score`
    assert np.isfinite(by_itself.best_score_)


def test_score_is_the_mean_of_score_samples():
    detector = fitted("latent")
    assert detector.score(FOURS) == detector.score_samples(FOURS).mean()


def test_values_outside_the_training_range_are_anomalous():
    assert (fitted().predict(ZEROS * 3) == -1).all()  # beyond [0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"score_method": "knn"},
            "score_method must be one of auto, reconstruction, likelihood, nap, latent, paths",
        ),
        ({"contamination": 0.6}, r"contamination must be 'auto' or in \(0, 0.5\]"),
        ({"contamination": 0}, r"contamination must be 'auto' or in \(0, 0.5\]"),
        ({"contamination": "half"}, r"contamination must be 'auto' or in \(0, 0.5\]"),
        ({"calibration_fraction": 1.0}, r"calibration_fraction must be in \[0, 1\)"),
        ({"calibration_fraction": 0}, "contamination='auto' needs held-out rows"),
        ({"false_alarm_rate": 0}, r"false_alarm_rate must be in \(0, 1\)"),
        ({"estimator": PCA()}, "estimator must be an isthmus estimator.*got PCA"),
        ({"estimator": FrozenEstimator(PCA())}, "estimator must be an isthmus estimator.*got PCA"),
    ],
)
def test_invalid_parameters_raise_and_change_nothing(settings, message):
    detector = fitted()
    before = detector.score_samples(FOURS)
    with pytest.raises(ValueError, match=message):
        detector.set_params(**settings).fit(FOURS)
    np.testing.assert_array_equal(detector.score_samples(FOURS), before)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ones(10), "at least one -1"),
        (np.repeat([0, 1], 5), "1 - 2 \\* y"),
        (np.ones(3), "one label for each of 10 rows"),
    ],
)
def test_invalid_labels_raise(y, message):
    with pytest.raises(ValueError, match=message):
        fitted().tune_threshold(ZEROS[:10], y)


def test_two_rows_raise():
    with pytest.raises(ValueError, match="needs at least 3 rows"):
        fitted(X=ZEROS[:2])


@pytest.mark.parametrize("score", SCORES)
def test_missing_values_contribute_nothing(score):
    X = ZEROS.copy()
    X[::3, 3, 3:5] = np.nan
    model = isthmus.VAE(**FAST, missing="ignore")
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    parts = detector.explain(X, "likelihood")
    assert (parts[::3, 3, 3:5] == 0).all()
    assert (parts[1::3, 3, 3:5] != 0).all()
    with pytest.raises(ValueError, match="NaN: the first at row 0"):
        fitted(score, X)


# --------------------------------------------------------------------- the command


def detect(*words):
    return command.run(make_parser().parse_args(["detect", *map(str, words)]))


@pytest.fixture
def run(tmp_path):
    fitted(X=ZEROS[:100]).estimator_.save(tmp_path / "run")
    np.save(tmp_path / "new.npy", np.concatenate([ZEROS[140:], FOURS[:40]]))
    np.save(tmp_path / "normal.npy", ZEROS[100:140])
    return tmp_path


def test_command_writes_a_table(run, capsys):
    frames = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    words = [run / "run", run / "new.npy", "--normal", run / "normal.npy", "--score", "nap"]
    assert detect(*words, "--out", run / "s.parquet") == 0
    assert detect(*words, "--out", run / "s.csv") == 0
    parquet, csv = frames.read_parquet(run / "s.parquet"), frames.read_csv(run / "s.csv")
    frames.testing.assert_frame_equal(parquet, csv)
    model = isthmus.load(run / "run")
    detector = AnomalyDetector(FrozenEstimator(model), score_method="nap", random_state=0)
    detector.fit(np.load(run / "normal.npy"))
    X = np.load(run / "new.npy")
    np.testing.assert_array_equal(parquet["row"], np.arange(len(X)))
    np.testing.assert_array_equal(parquet["anomaly_score"], detector.anomaly_score(X))
    np.testing.assert_array_equal(parquet["pvalue"], detector.anomaly_pvalue(X))
    np.testing.assert_array_equal(parquet["prediction"], detector.predict(X))
    assert "8 rows of" in " ".join(capsys.readouterr().out.split())


def test_command_flags_a_share_of_normal_rows(run):
    out, new = run / "s.csv", run / "new.npy"
    words = ["--normal", new, "--contamination", 0.25, "--out", out]
    assert detect(run / "run", new, *words) == 0
    flagged = [line for line in out.read_text().splitlines() if line.endswith(",-1")]
    assert len(flagged) == round(0.25 * 78)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--out", "s.txt"], ValueError, "must end in .parquet or .csv"),
        (["--out", "nowhere/s.csv"], ValueError, "there is no folder 'nowhere'"),
        (["--contamination", "0"], ValueError, "contamination must be"),
    ],
)
def test_command_rejects_invalid_options(run, words, error, message):
    with pytest.raises(error, match=message):
        detect(run / "run", run / "new.npy", "--normal", run / "normal.npy", *words)


def test_command_names_the_package_for_parquet(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"isthmus\[tables\]"):
        command.check_writable(Path("s.parquet"))


def test_data_frames_with_mixed_columns_and_missing_categories():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 200)
    frame = pd.DataFrame(
        {"x": kind + 0.1 * rng.normal(size=200), "pet": np.array(["cat", "dog", "eel"])[kind]}
    )
    odd = pd.DataFrame(
        {"x": [0.0, 2.0], "pet": ["eel", "eel"]}
    )  # the first row has the number of a cat
    model = isthmus.VAE(n_components=2, hidden=(32,), epochs=50, learning_rate=2e-2, random_state=0)
    detector = AnomalyDetector(model, score_method="likelihood", random_state=0).fit(frame)
    strange, usual = detector.anomaly_score(odd)
    assert strange > usual + 1
    some = frame[frame["pet"] != "cat"]
    frozen = AnomalyDetector(
        FrozenEstimator(detector.estimator_), score_method="likelihood", contamination=0.1
    )
    strange, usual = frozen.fit(some).anomaly_score(odd)
    assert strange > usual + 1


@pytest.mark.parametrize("score", ["reconstruction", "likelihood"])
def test_scores_of_several_models_are_averaged(score):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 4))
    pair = [isthmus.Autoencoder(n_components=k, epochs=5, random_state=k) for k in (1, 2)]
    settings = {"score_method": score, "contamination": 0.1, "random_state": 3}
    together = AnomalyDetector(pair, **settings).fit(rows)
    one, two = (AnomalyDetector(m, **settings).fit(rows).anomaly_score(rows) for m in pair)
    mean = (one + two) / 2 if score == "likelihood" else np.sqrt(one * two)
    np.testing.assert_allclose(together.anomaly_score(rows), mean, rtol=1e-6)
    assert (together.predict(rows) == -1).mean() == pytest.approx(0.1)
    assert together.explain(rows).shape == rows.shape
    again = clone(together).fit(rows)
    np.testing.assert_array_equal(again.score_samples(rows), together.score_samples(rows))


@pytest.mark.parametrize("estimators", [[], [isthmus.VAE(), "VAE"], [PCA()]])
def test_invalid_lists_of_models_raise(estimators):
    with pytest.raises(ValueError, match="a non-empty list of them"):
        AnomalyDetector(estimators).fit(DIGITS.data)
