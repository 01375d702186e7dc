import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.base import clone
from sklearn.decomposition import PCA

from isthmus import Autoencoder
from isthmus.applications import SeriesDetector
from isthmus.applications.series_detection import _held_out
from isthmus.applications.window_pca import Moments, WindowPCA

N = 1500
T = np.arange(N)
NOISE = np.random.default_rng(0).normal(0, 0.1, (N, 3))
CLEAN = np.sin(2 * np.pi * T[:, None] / [24, 24, 12] + [0, 1, 2]) + NOISE
BROKEN = CLEAN.copy()
BROKEN[700:715, 1] += 2.0
TIMES = pd.date_range("2024-01-01", periods=N, freq="h", tz="Europe/Berlin")
FRAME = pd.DataFrame(BROKEN, TIMES, ["a", "b", "c"])
DETECTOR = SeriesDetector().fit(FRAME)


def test_fault_is_the_segment_that_is_found():
    assert DETECTOR.window_reason_ == "24 steps, the dominant period"
    segments = DETECTOR.segments(FRAME)
    assert len(segments) == 1
    (found,) = segments.itertuples()
    assert TIMES[676] <= found.start <= TIMES[702]
    assert TIMES[712] <= found.end <= TIMES[738]
    assert TIMES[695] <= found.peak <= TIMES[720]
    assert found.channels == "b"
    assert found.steps == (found.end - found.start) / pd.Timedelta("1h") + 1
    assert len(DETECTOR.segments(FRAME, min_length=100)) == 0


def test_results_follow_the_conventions_of_outlier_detectors():
    score = DETECTOR.anomaly_score(FRAME)
    assert score.shape == (N,)
    assert np.median(score) == pytest.approx(1, abs=0.1)
    np.testing.assert_array_equal(DETECTOR.score_samples(FRAME), -score)
    decision = DETECTOR.decision_function(FRAME)
    np.testing.assert_array_equal(decision, -score - DETECTOR.offset_)
    np.testing.assert_array_equal(DETECTOR.predict(FRAME), np.where(decision < 0, -1, 1))
    parts = DETECTOR.anomaly_map(FRAME)
    np.testing.assert_allclose(parts.sum(1), score)
    assert parts[707].argmax() == 1
    clone(DETECTOR).fit(FRAME.iloc[:500])


@pytest.mark.parametrize("n_components", [1, 5, 20])
def test_errors_of_windows_are_those_of_principal_components(n_components):
    detector = SeriesDetector(
        window=10,
        score_method="reconstruction",
        n_components=n_components,
        calibration_fraction=0,
        contamination=0.05,
    ).fit(BROKEN)
    x = (BROKEN - BROKEN.mean(0)) / BROKEN.std(0)
    windows = sliding_window_view(x, 10, 0).reshape(-1, 30)
    pca = PCA(n_components).fit(windows)
    errors = ((windows - pca.inverse_transform(pca.transform(windows))) ** 2).sum(1)
    np.testing.assert_allclose(30 * detector.window_scores(BROKEN), errors, rtol=1e-4)
    assert (detector.predict(BROKEN) == -1).mean() == pytest.approx(0.05, abs=1e-3)


def test_whitened_windows_have_the_mahalanobis_distance_of_the_covariance_with_a_ridge():
    X = np.random.default_rng(0).normal(size=(200, 5)) @ np.random.default_rng(1).normal(
        size=(5, 5)
    )
    pca = WindowPCA.fit(Moments.of([X[:50], X[50:]]), 5, distances=True)
    centred = X - X.mean(0)
    covariance = np.cov(X.T, ddof=0) + pca.ridge * np.eye(5)
    expected = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(covariance), centred)
    np.testing.assert_allclose((pca.whitened(X) ** 2).sum(1), expected)
    half = WindowPCA.fit(Moments.of([X[:90]]), 5).moments.merged(Moments.of([X[90:]]))
    np.testing.assert_allclose(half.covariance, np.cov(X.T, ddof=0))


def test_scores_at_the_ends_are_like_those_inside():
    rng = np.random.default_rng(1)
    ends, inside = [], []
    for _ in range(30):
        x = np.sin(2 * np.pi * (np.arange(120) / 24 + rng.uniform())) + rng.normal(0, 0.1, 120)
        score = SINE.anomaly_score(x)
        ends += [score[0], score[-1]]
        inside += [score[60]]
    assert np.median(ends) == pytest.approx(np.median(inside), rel=0.15)


SINE = SeriesDetector(window=24).fit(CLEAN[:, 0])


@pytest.mark.parametrize("stride", [1, 5])
@pytest.mark.parametrize("trend", ["none", "difference", "linear"])
@pytest.mark.parametrize("sizes", [[1], [7, 1, 60], [150]])
def test_stream_has_the_scores_of_the_whole_series(stride, trend, sizes):
    detector = SeriesDetector(window=24, stride=stride, trend=trend).fit(CLEAN)
    x = BROKEN[:150].copy()
    x[50:90] = np.nan
    x[100:110, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = detector.anomaly_score(x)
    cuts = np.cumsum(np.tile(sizes, 2000))
    parts = [*detector.score_stream(np.split(x, cuts[cuts < len(x)]))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-12)
    assert np.isnan(whole).sum() == 40 + (trend == "difference") * 2


def test_stream_of_frames_continues_over_missing_steps():
    frame = FRAME.drop(FRAME.index[300:340])
    with pytest.warns(UserWarning, match="40 of"):
        whole = DETECTOR.anomaly_score(frame)
    chunks = [frame[:290], frame[290:300], frame[300:301], frame[301:]]
    np.testing.assert_allclose(np.concatenate([*DETECTOR.score_stream(chunks)]), whole)
    with pytest.raises(ValueError, match="must follow each other in time"):
        list(DETECTOR.score_stream([FRAME[:100], FRAME[90:]]))


def test_gaps_are_neither_normal_nor_anomalous():
    gappy = CLEAN.copy()
    gappy[300:400] = np.nan  # longer than windows
    gappy[600:640, 0] = np.nan
    gappy[np.random.default_rng(0).random(gappy.shape) < 0.05] = np.nan
    with pytest.warns(UserWarning, match=r"rows have no value in any channel"):
        score = DETECTOR.anomaly_score(pd.DataFrame(gappy, TIMES, ["a", "b", "c"]))
    assert np.isnan(score[300:400]).all()
    assert np.nanmean(score > -DETECTOR.offset_) < 0.01
    assert np.nanmax(score) < 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (SeriesDetector(window=24).fit(gappy).predict(BROKEN)[705:711] == -1).all()


def test_pvalues_of_normal_steps_are_valid_although_the_series_has_a_memory():
    rng = np.random.default_rng(0)
    below = []
    for _ in range(40):
        x = rng.normal(size=2400)
        for t in range(1, len(x)):
            x[t] += 0.8 * x[t - 1]
        p = SeriesDetector(window=10).fit(x[:1800]).anomaly_pvalue(x[1800:])
        below.append([(p <= level).mean() for level in (0.1, 0.2, 0.5)])
    mean, error = np.mean(below, 0), np.std(below, 0) / np.sqrt(len(below))
    assert (mean <= np.array([0.1, 0.2, 0.5]) + 2 * error).all()
    assert (mean > np.array([0.01, 0.08, 0.35])).all()  # and of use


def test_conformal_threshold_flags_low_pvalues():
    detector = SeriesDetector(window=5, contamination="conformal", false_alarm_rate=0.1).fit(CLEAN)
    flagged = detector.predict(BROKEN) == -1
    np.testing.assert_array_equal(flagged, detector.anomaly_pvalue(BROKEN) <= 0.1)


@pytest.mark.parametrize("estimator", [None, Autoencoder(n_components=3, hidden=(16,), epochs=3)])
def test_saved_detector_gives_the_same_scores(estimator, tmp_path):
    detector = SeriesDetector(estimator, window=12, random_state=0).fit(FRAME)
    detector.save(tmp_path)
    again = SeriesDetector.load(tmp_path)
    np.testing.assert_array_equal(again.anomaly_score(FRAME), detector.anomaly_score(FRAME))
    assert again.segments(FRAME).equals(detector.segments(FRAME))
    assert again.window_reason_ == detector.window_reason_
    strict = SeriesDetector.load(tmp_path, contamination="conformal")
    assert strict.offset_ != detector.offset_
    content = (tmp_path / "detector.safetensors").read_bytes()
    (tmp_path / "detector.safetensors").write_bytes(content[:-8] + b"\xff" * 8)
    with pytest.raises(ValueError, match="corrupt"):
        SeriesDetector.load(tmp_path)


def test_network_refines_the_score_and_a_fitted_one_sets_the_window():
    model = Autoencoder(n_components=3, hidden=(16,), epochs=3, random_state=0)
    windows = sliding_window_view(CLEAN, 12, 0)
    model.fit(windows)
    detector = SeriesDetector(model).fit(BROKEN)
    assert detector.window_ == 12
    assert detector.estimators_ == [model]
    assert 690 < detector.anomaly_score(BROKEN).argmax() < 725
    with pytest.raises(ValueError, match="takes windows of 12 steps"):
        SeriesDetector(model, window=20).fit(BROKEN)
    with pytest.raises(ValueError, match=r"takes examples of shape \(3, 12\)"):
        SeriesDetector(model).fit(BROKEN[:, :2])
    with pytest.raises(ValueError, match="windowed PCA only"):
        detector.partial_fit(BROKEN)


def test_partial_fit_approaches_the_fit_to_all():
    part = SeriesDetector(window=24).partial_fit(CLEAN[:750])
    n = len(part.calibration_scores_)
    part.partial_fit(CLEAN[750:])
    assert len(part.calibration_scores_) == n + 750
    whole = SeriesDetector(window=24).fit(CLEAN)
    pair = part.anomaly_score(BROKEN), whole.anomaly_score(BROKEN)
    assert np.corrcoef(*pair)[0, 1] > 0.99


def test_several_series_are_fitted_and_scored_together():
    series = [CLEAN[:300], CLEAN[300:500], CLEAN[500:560], CLEAN[560:900], CLEAN[900:]]
    detector = SeriesDetector(window=24).fit(series)
    assert [len(s) for s in detector.anomaly_score([BROKEN, BROKEN[:50]])] == [N, 50]
    table = detector.segments([CLEAN[:100], BROKEN])
    assert set(table["series"]) == {1}
    with pytest.raises(ValueError, match="series 1 has 20 steps, fewer than a window of 24"):
        detector.anomaly_score([BROKEN, BROKEN[:20]])


def test_held_out_steps_are_stretches_or_whole_series():
    (mask,) = _held_out([1000], 20, 0.2)
    assert mask.sum() == pytest.approx(200, abs=10)
    assert np.diff(mask.astype(int)).clip(0).sum() == 2
    masks = _held_out([50] * 10, 20, 0.2)
    assert sum(map(all, masks)) == 2
    assert sum(map(any, masks)) == 2


def test_drift_is_no_anomaly_if_the_trend_is_removed():
    drift = BROKEN + 0.01 * T[:, None]
    for trend in ("difference", "level", "linear"):
        segments = SeriesDetector(trend=trend, window=24).fit(drift).segments(drift)
        worst = segments.loc[segments["score"].idxmax()]
        assert worst["channels"] == "x1"
        assert 690 <= worst["peak"] <= 725


def test_change_of_a_constant_channel_is_anomalous():
    with pytest.warns(UserWarning, match="channel 3 is constant in training"):
        detector = SeriesDetector(window=24).fit(np.c_[CLEAN, np.ones(N)])
    changed = np.c_[CLEAN, np.ones(N)]
    changed[1200:1210, 3] = 2
    segments = detector.segments(changed)
    assert segments.loc[segments["score"].idxmax(), "channels"] == "x3"
    assert segments["peak"].between(1200, 1210).any()


def test_threshold_can_be_tuned_on_labels():
    labels = np.where((T >= 700) & (T < 715), -1, 1)
    detector = SeriesDetector(window=24).fit(CLEAN).tune_threshold(BROKEN, labels)
    predicted = detector.predict(BROKEN)
    assert (predicted[700:715] == -1).any()
    assert (predicted == -1).sum() < 60
    with pytest.raises(ValueError, match="1 or -1 for each of 1500 rows"):
        detector.tune_threshold(BROKEN, (labels < 0).astype(int))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": 0}, "window must be 'auto' or a positive whole number, got 0"),
        ({"window": 24, "stride": 30}, "stride is 30, more than the window of 24"),
        ({"window": 1301}, "a window of 1301 steps is too long for 1500 steps"),
        ({"window": 1400}, "4,200 numbers, more than 4,096"),
        ({"trend": "slope"}, "trend must be .*'slope'"),
        ({"scaling": "none"}, "scaling must be"),
        ({"contamination": "Conformal"}, "Did you mean 'conformal'"),
        ({"contamination": 0.7}, r"contamination must be 'auto' or in \(0, 0.5\]"),
        ({"contamination": "conformal", "calibration_fraction": 0}, "needs held-out steps"),
        ({"estimator": PCA(2)}, "must be an isthmus estimator"),
        ({"time": "when"}, "has no column 'when'"),
    ],
)
def test_invalid_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        SeriesDetector(**parameters).fit(BROKEN)


def test_series_unlike_that_of_training_is_refused():
    for wrong, message in (
        (BROKEN[:, :2], "2 channels, expected 3: a, b, c"),
        (FRAME[["a", "b"]], "has no channel 'c'"),
        (FRAME[::2], "steps of 2:00:00, but the detector was fitted on steps of 1:00:00"),
        (BROKEN[:20], "fewer than a window of 24"),
    ):
        with pytest.raises(ValueError, match=message):
            DETECTOR.predict(wrong)
