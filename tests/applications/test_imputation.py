import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.distributions import Distribution, Normal

import isthmus
from isthmus.applications.imputation import LatentImputer
from isthmus.distributions.families import Family
from isthmus.distributions.likelihoods import LIKELIHOODS

FAST = {"n_components": 3, "hidden": (16,), "epochs": 5, "random_state": 0}
RNG = np.random.default_rng(0)
LOADINGS = np.random.default_rng(1).normal(size=(2, 6))
TABLE = 10 + 3 * (RNG.normal(size=(400, 2)) @ LOADINGS + 0.3 * RNG.normal(size=(400, 6)))
GAPS = RNG.random(TABLE.shape) < 0.3
INCOMPLETE = np.where(GAPS, np.nan, TABLE)
DIGITS = load_digits().images[:300] / 16


@pytest.fixture(scope="module")
def linear():
    """A linear-Gaussian model: the missing values have a known normal distribution."""
    settings = {"epochs": 40, "learning_rate": 2e-2, "batch_size": 100, "random_state": 0}
    return isthmus.VAE(n_components=2, hidden=(), **settings).fit(TABLE)


def exact(model, row, gaps):
    """Return mean and standard deviation of the missing values of one row, in closed form."""
    layer, scaler = model.model_.decoder.layers[0], model.scaler_
    weight = layer.weight.detach().double().numpy() * np.reshape(scaler.scale, (-1, 1))
    mean = layer.bias.detach().double().numpy() * scaler.scale + scaler.shift
    noise = model.model_.decode(torch.zeros(1, 2)).scale.detach().double().numpy()[0]
    covariance = weight @ weight.T + np.diag((noise * scaler.scale) ** 2)
    k = ~gaps
    gain = covariance[np.ix_(gaps, k)] @ np.linalg.inv(covariance[np.ix_(k, k)])
    rest = covariance[np.ix_(gaps, gaps)] - gain @ covariance[np.ix_(k, gaps)]
    return mean[gaps] + gain @ (row[k] - mean[k]), np.sqrt(np.diag(rest))


def test_draws_have_the_exact_mean_and_deviation(linear):
    rows, gaps = TABLE[:12], GAPS[:12]
    imputer = LatentImputer(FrozenEstimator(linear), n_draws=1500, random_state=0).fit(TABLE)
    found = imputer.impute(rows, mask=gaps)
    for i in range(12):
        if gaps[i].any() and not gaps[i].all():
            mean, deviation = exact(linear, rows[i], gaps[i])
            np.testing.assert_allclose(found.values[i][gaps[i]], mean, atol=0.25 * deviation.max())
            np.testing.assert_allclose(found.std[i][gaps[i]], deviation, rtol=0.2)


def test_single_draws_are_as_wide_as_the_deviation(linear):
    imputer = LatentImputer(FrozenEstimator(linear), n_draws=400, random_state=0).fit(TABLE)
    each = imputer.sample_imputations(TABLE[:5], mask=GAPS[:5])
    assert each.shape == (400, 5, 6)
    found = imputer.impute(TABLE[:5], mask=GAPS[:5])
    np.testing.assert_allclose(each.mean(0)[GAPS[:5]], found.values[GAPS[:5]], rtol=0.1)
    np.testing.assert_allclose(each.std(0)[GAPS[:5]], found.std[GAPS[:5]], rtol=0.25)


def test_optimize_finds_the_exact_mean_of_a_linear_model(linear):
    imputer = LatentImputer(FrozenEstimator(linear), method="optimize").fit(TABLE)
    found = imputer.impute(TABLE[:6], mask=GAPS[:6]).values
    for i in range(6):
        if GAPS[i].any():
            mean, deviation = exact(linear, TABLE[i], GAPS[i])
            np.testing.assert_allclose(found[i][GAPS[i]], mean, atol=0.02 * deviation.max())


@pytest.mark.parametrize("method", ["auto", "decode", "optimize", "sample"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_observed_values_do_not_change(method, dtype):
    incomplete, gaps = INCOMPLETE[:40].astype(dtype), GAPS[:40]
    imputer = LatentImputer(isthmus.VAE(**FAST), method=method, n_draws=5, random_state=0)
    full = imputer.fit_transform(incomplete)
    assert full.dtype == dtype
    assert np.isfinite(full).all()
    assert full[~gaps].tobytes() == incomplete[~gaps].tobytes()


def relative_error(imputed):
    """Return the error of imputed values, relative to the error of the column means."""
    table, gaps = TABLE[: len(imputed)], GAPS[: len(imputed)]
    mean_error = np.abs(np.nanmean(INCOMPLETE, 0) - table)[gaps].mean()
    return np.abs(imputed - table)[gaps].mean() / mean_error


def test_imputation_beats_the_mean():
    settings = {"n_components": 2, "epochs": 60, "learning_rate": 5e-3, "batch_size": 64}
    imputer = LatentImputer(isthmus.VAE(**FAST | settings), n_draws=20, random_state=0).fit(
        INCOMPLETE
    )
    for method, most in {"decode": 0.7, "optimize": 0.6, "sample": 0.6}.items():  # 0.66, 0.53, 0.51
        imputed = imputer.set_params(method=method).transform(INCOMPLETE[:100])
        assert relative_error(imputed) < most


def test_images_and_bytes():
    images = (255 * DIGITS[:100]).round().astype(np.uint8)
    mask = np.zeros((8, 8), bool)
    mask[4:] = True
    imputer = LatentImputer(FrozenEstimator(isthmus.VAE(**FAST).fit(images)), random_state=0)
    full = imputer.fit(images).impute(images, mask).values
    assert full.dtype == np.uint8
    assert full.shape == images.shape
    np.testing.assert_array_equal(full[:, :4], images[:, :4])
    assert full[:, 4:].std() > 1


def test_mixed_table_gets_categories_and_binary_values():
    table = np.column_stack(
        [RNG.normal(size=300), RNG.random(300) < 0.4, RNG.integers(0, 3, 300)]
    ).astype(float)
    holed = np.where(RNG.random(table.shape) < 0.2, np.nan, table)
    model = isthmus.VAE(likelihood="gaussian, bernoulli, categorical", **FAST)
    full = LatentImputer(model, n_draws=20, random_state=0).fit_transform(holed)
    assert set(full[:, 1]) <= {0.0, 1.0}
    assert set(full[:, 2]) <= {0.0, 1.0, 2.0}


def test_complete_rows_are_returned_unchanged():
    imputer = LatentImputer(isthmus.VAE(**FAST), random_state=0).fit(TABLE)
    completed = imputer.impute(TABLE)
    np.testing.assert_array_equal(completed.values, TABLE)
    assert not completed.std.any()


def test_random_state_makes_draws_reproducible():
    imputer = LatentImputer(isthmus.VAE(**FAST), n_draws=5, random_state=3).fit(INCOMPLETE)
    np.testing.assert_array_equal(
        imputer.transform(INCOMPLETE[:40]), imputer.transform(INCOMPLETE[:40])
    )


def test_invalid_arguments_raise():
    imputer = LatentImputer(isthmus.Autoencoder(**FAST)).fit(INCOMPLETE)
    with pytest.raises(ValueError, match="draws need a model with a prior"):
        imputer.sample_imputations(INCOMPLETE)
    with pytest.raises(ValueError, match="'sample' needs a model with a prior"):
        imputer.set_params(method="sample").transform(INCOMPLETE)
    with pytest.raises(ValueError, match="method must be one of"):
        imputer.set_params(method="magic").transform(INCOMPLETE)
    imputer.set_params(method="decode")
    for mask in (np.zeros((3, 3), bool), np.zeros(TABLE.shape)):
        with pytest.raises(ValueError, match="mask must hold True and False"):
            imputer.impute(INCOMPLETE, mask)


@parametrize_with_checks(
    [LatentImputer(isthmus.VAE(**FAST | {"epochs": 1}), n_draws=2, random_state=0)]
)
def test_imputer_is_a_scikit_learn_transformer(estimator, check):
    check(estimator)


def test_predict_with_a_linear_denoiser_is_the_regression():
    """With one column always hidden, least squares on the other columns is optimal."""
    mask = np.zeros(6, bool)
    mask[2] = True
    settings = {"n_components": 6, "hidden": (), "epochs": 60, "learning_rate": 2e-2}
    settings |= {"likelihood": "gaussian-fixed", "validation_fraction": 0, "random_state": 0}
    model = isthmus.Autoencoder(**settings)
    imputer = LatentImputer(model, train_mask=mask, random_state=0).fit(TABLE)
    found = imputer.impute(TABLE, mask)
    design = np.column_stack([np.ones(len(TABLE)), TABLE[:, ~mask]])
    best = design @ np.linalg.lstsq(design, TABLE[:, 2], rcond=None)[0]
    off = found.values[:, 2] - best
    assert np.sqrt(np.mean(off**2)) < 0.05 * TABLE[:, 2].std()


def test_masked_values_do_not_influence_the_result():
    model = isthmus.DenoisingAutoencoder(**FAST)
    imputer = LatentImputer(model, random_state=0).fit(TABLE)
    first = imputer.impute(TABLE, GAPS).values
    second = imputer.impute(np.where(GAPS, 1e3, TABLE), GAPS).values
    np.testing.assert_array_equal(first[GAPS], second[GAPS])
    np.testing.assert_array_equal(first, imputer.set_params(method="predict").transform(INCOMPLETE))


def test_denoising_autoencoder_beats_the_mean():
    settings = {"n_components": 6, "epochs": 40, "learning_rate": 1e-2, "batch_size": 64}
    model = isthmus.DenoisingAutoencoder(**FAST | settings)
    assert relative_error(LatentImputer(model).fit_transform(INCOMPLETE)) < 0.6


@pytest.mark.parametrize(
    "model", [isthmus.DenoisingAutoencoder(**FAST), isthmus.Autoencoder(**FAST)]
)
def test_predictions_of_several_models_are_averaged(model, monkeypatch):
    monkeypatch.setattr("isthmus.applications.gap_filling.STEPS", 30)  # need not converge
    several = LatentImputer(model, n_models=3, random_state=0).fit(INCOMPLETE)
    assert [each.random_state for each in several.estimators_] == [0, 1, 2]
    single = [
        LatentImputer(FrozenEstimator(each), random_state=0).fit(INCOMPLETE).impute(INCOMPLETE[:12])
        for each in several.estimators_
    ]
    found = several.impute(INCOMPLETE[:12])
    mean = np.mean([each.values for each in single], 0)
    np.testing.assert_allclose(found.values[GAPS[:12]], mean[GAPS[:12]], rtol=1e-5)
    # The law of total variance.
    within = np.mean([each.std**2 for each in single], 0)
    variance = within + np.var([each.values for each in single], 0)
    np.testing.assert_allclose(found.std[GAPS[:12]] ** 2, variance[GAPS[:12]], rtol=1e-3)


def test_n_draws_is_the_total_over_all_models():
    imputer = LatentImputer(isthmus.VAE(**FAST), n_models=2, n_draws=5, random_state=0).fit(
        INCOMPLETE
    )
    assert imputer.sample_imputations(INCOMPLETE[:9]).shape == (5, 9, 6)


def test_train_mask_improves_inpainting():
    digits = load_digits().images / 16
    mask = np.zeros((8, 8), bool)
    mask[4:] = True
    model = isthmus.DenoisingAutoencoder(
        n_components=32, epochs=8, learning_rate=4e-3, random_state=0
    )
    imputer = LatentImputer(model, train_mask=mask).fit(digits[:1500])
    found = imputer.impute(digits[1500:], mask).values
    ours, mean = found - digits[1500:], digits[:1500].mean(0) - digits[1500:]
    assert (ours[:, mask] ** 2).mean() < 0.7 * (mean[:, mask] ** 2).mean()


def test_invalid_model_parameters_raise():
    model = isthmus.Autoencoder(**FAST)
    for mask in (np.zeros((3, 3), bool), np.zeros(6)):
        with pytest.raises(ValueError, match="train_mask must hold True and False in the shape"):
            LatentImputer(model, train_mask=mask).fit(TABLE)
    for n in (0, 101):
        with pytest.raises(ValueError, match="n_models must be between 1 and n_draws=100"):
            LatentImputer(model, n_models=n).fit(TABLE)
    frozen = FrozenEstimator(model.fit(TABLE))
    with pytest.raises(ValueError, match="a fitted estimator is not trained again"):
        LatentImputer(frozen, n_models=2).fit(TABLE)


@pytest.mark.parametrize("binary", [False, True])
def test_draws_have_the_spread_of_the_conditional_posterior(binary):
    digits = load_digits().images / 16
    rows = (digits > 0.5).astype(float) if binary else digits
    settings = {"n_components": 4, "hidden": (64,), "epochs": 30, "learning_rate": 3e-3}
    vae = isthmus.VAE(likelihood="bernoulli", random_state=0, **settings).fit(rows[:600])
    mask = np.zeros((8, 8), bool)
    mask[4:] = True
    test = rows[1700:1720]
    imputer = LatentImputer(FrozenEstimator(vae), n_draws=200, random_state=0).fit(rows[:600])
    mean, std = (part.reshape(20, -1)[:, 32:] for part in imputer.impute(test, mask))
    # Importance sampling from the prior, with enough draws to be almost exact.
    z = torch.randn(50_000, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        p = vae.model_.decode(z)
        x = torch.tensor(test, dtype=torch.float32).flatten(1)[:, :32]
        logits, shown = p.logits.flatten(1)[:, :32], p.mean.flatten(1)[:, :32]
        weights = (x @ logits.T - torch.nn.functional.softplus(logits).sum(1)).softmax(1)
        means = p.mean.flatten(1)[:, 32:]
        exact = weights @ means
        spread = weights @ means**2 - exact**2
        # The Bernoulli variance; of grey values, times the dispersion of the observed ones.
        residual = (weights * ((x[:, None] - shown) ** 2).sum(-1)).sum(1)
        expected = weights @ (shown * (1 - shown)).sum(1)
        dispersion = 1.0 if binary else (residual / expected)[:, None]
        spread = (spread + dispersion * (weights @ (means * (1 - means)))).sqrt()
    assert std.mean() == pytest.approx(float(spread.mean()), rel=0.08)
    assert np.abs(mean - exact.numpy()).mean() < 0.03


# ------------------------------------------------------------------ standard deviations

MIXED = "gaussian-per-feature,poisson,bernoulli,categorical:3,gaussian-per-feature,laplace"
SPECS = [*(name for name in LIKELIHOODS if name != "categorical"), "categorical:4", MIXED]


def rows_of_a_known_model(spec, n=150):
    """Return a model and rows drawn from it, so that every posterior is the right one."""
    rng = np.random.default_rng(0)
    scaled = spec.startswith(("gaussian", "laplace"))
    start = rng.integers(0, 2, (60, 6)) * (1.0 if not scaled or "," in spec else 9.0)
    model = isthmus.VAE(n_components=2, hidden=(), likelihood=spec, random_state=0).begin(start)
    with torch.no_grad():  # a strong dependence on the code
        model.model_.decoder.layers[-1].weight.mul_(2)
    return model, np.asarray(model.sample(n, random_state=1, noise=True), np.float64)


@pytest.mark.parametrize("spec", SPECS)
def test_standard_deviations_cover_hidden_values(spec):
    model, X = rows_of_a_known_model(spec)
    gaps = np.random.default_rng(2).random(X.shape) < 0.3
    imputer = LatentImputer(FrozenEstimator(model), n_draws=50, random_state=0).fit(X)
    values, std = imputer.impute(X, gaps)
    draws = imputer.sample_imputations(X, gaps)
    family = model.model_.likelihood
    assert (std[gaps] > 0).all()
    assert not std[~gaps].any()
    classes = np.logical_not(family.ordered) | (family.binary if "," in spec else False)
    classes = gaps & np.broadcast_to(classes, 6)
    if classes.any():  # the probability of a wrong class
        wrong = (values != X)[classes].mean()
        assert wrong == pytest.approx(std[classes].mean(), abs=0.08)
    numbers = gaps & ~classes
    if numbers.any():
        ratio = (values - X)[numbers] / std[numbers]
        of_draws = ((draws - values)[:, numbers] / std[numbers]) ** 2
        error = 3 * of_draws.std() / np.sqrt(numbers.sum())  # large for heavy tails, as of counts
        assert np.mean(ratio**2) == pytest.approx(1, abs=error)
        # The share within one standard deviation, which depends on the family, is that of draws.
        inside = np.abs(draws - values)[:, numbers] <= std[numbers]
        assert np.mean(np.abs(ratio) <= 1) == pytest.approx(inside.mean(), abs=0.08)
        assert draws.std(0)[numbers].mean() == pytest.approx(std[numbers].mean(), rel=0.1)
        low, high = np.quantile(draws, [0.05, 0.95], 0)[:, numbers]
        assert 0.83 < np.mean((low <= X[numbers]) & (X[numbers] <= high)) <= 1


@pytest.mark.parametrize("method", ["decode", "optimize", "predict"])
def test_methods_without_draws_know_the_spread_of_each_column(method, monkeypatch):
    monkeypatch.setattr("isthmus.applications.gap_filling.STEPS", 20)
    model, X = rows_of_a_known_model(MIXED, 40)
    gaps = np.random.default_rng(2).random(X.shape) < 0.3
    for frozen in (model, isthmus.DenoisingAutoencoder(**FAST, likelihood=MIXED).fit(X)):
        imputer = LatentImputer(FrozenEstimator(frozen), method=method).fit(X)
        std = imputer.impute(X, gaps).std
        assert (std[gaps] > 0).all()
        assert np.isfinite(std).all()


def test_uncertainty_is_in_the_units_of_each_column():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"income": 4e4 + 1e4 * rng.normal(size=300), "age": rng.normal(size=300)})
    frame["pet"] = rng.choice(["cat", "dog"], 300, p=[0.8, 0.2])
    holed = frame.mask(rng.random(frame.shape) < 0.3)
    model = isthmus.VAE(**FAST | {"epochs": 20, "n_components": 1})
    std = LatentImputer(model, n_draws=20, random_state=0).fit(holed).impute(holed).std
    income, age, pet = (np.median(std[holed[name].isna(), j]) for j, name in enumerate(frame))
    assert income == pytest.approx(1e4, rel=0.25)
    assert age == pytest.approx(1, rel=0.25)
    assert 0.15 < pet < 0.4


def test_a_likelihood_without_variance_gives_nan_with_a_warning(monkeypatch):
    class Opaque(Normal):
        variance = property(lambda self: Distribution.variance.fget(self))

    class OpaqueFamily(Family):
        def build(self, *outputs):
            return Opaque(outputs[0], 1.0, validate_args=False)

    monkeypatch.setitem(LIKELIHOODS, "opaque", OpaqueFamily)
    model = isthmus.VAE(likelihood="opaque", n_components=2, hidden=()).begin(TABLE)
    imputer = LatentImputer(FrozenEstimator(model), n_draws=2, random_state=0).fit(TABLE)
    with pytest.warns(UserWarning, match="Opaque has no variance: add the property `variance`"):
        values, std = imputer.impute(TABLE[:9], GAPS[:9])
    assert np.isfinite(values).all()
    assert np.isnan(std[GAPS[:9]]).all()


def test_draws_of_grey_values_stay_between_0_and_1():
    model = isthmus.VAE(likelihood="bernoulli", **FAST).fit(DIGITS)
    mask = np.zeros((8, 8), bool)
    mask[:, 4:] = True
    imputer = LatentImputer(FrozenEstimator(model), n_draws=30, random_state=0).fit(DIGITS)
    draws = imputer.sample_imputations(DIGITS[:10], mask)
    std = imputer.impute(DIGITS[:10], mask).std
    assert 0 <= draws.min() < draws.max() <= 1
    assert draws.std(0)[:, mask].mean() == pytest.approx(std[:, mask].mean(), rel=0.1)


# ------------------------------------------------------------------ columns without values


@pytest.mark.parametrize("method", ["decode", "sample"])
def test_a_column_without_values_stays_empty(method, tmp_path):
    holed = INCOMPLETE[:60].copy()
    holed[:, 2] = np.nan
    imputer = LatentImputer(isthmus.VAE(**FAST), method=method, n_draws=3, random_state=0)
    imputer.fit(holed)
    imputer.estimator_.save(tmp_path)
    loaded = LatentImputer(FrozenEstimator(isthmus.load(tmp_path)), method=method, n_draws=3)
    for each in (imputer, loaded.fit(INCOMPLETE[:60])):
        with pytest.warns(
            UserWarning, match="feature 2 had no values in training: .* stay missing"
        ):
            values, std = each.impute(holed)
        assert np.isnan(values[:, 2]).all()
        assert np.isnan(std[:, 2]).all()
        assert np.isfinite(np.delete(values, 2, 1)).all()
        # Values that a row does have stay.
        with pytest.warns(UserWarning, match="feature 2"):
            values = each.impute(INCOMPLETE[:60]).values
        np.testing.assert_array_equal(values[~GAPS[:60]], INCOMPLETE[:60][~GAPS[:60]])


@pytest.mark.filterwarnings("ignore:feature")
def test_draws_and_frames_keep_columns_without_values_empty():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "none": np.nan, "pet": ["cat", "dog"] * 30})
    frame.loc[::4, "a"] = np.nan
    frame["words"] = pd.Series([None] * 60, dtype=object)
    imputer = LatentImputer(isthmus.VAE(**FAST), n_draws=2, random_state=0).fit(frame)
    for full in (imputer.impute(frame).values, *imputer.sample_imputations(frame)):
        assert full[["none", "words"]].isna().all(axis=None)
        assert full[["a", "pet"]].notna().all(axis=None)
    with pytest.warns(UserWarning, match="features 'none', 'words' had no values in training"):
        imputer.transform(frame)
    assert imputer.estimator_.sample(4)["none"].isna().all()


def test_pixels_without_values_stay_empty():
    images = DIGITS[:60].copy()
    images[:, 0] = np.nan
    model = isthmus.VAE(**FAST | {"epochs": 1})
    imputer = LatentImputer(model, method="decode").fit(images)
    with pytest.warns(UserWarning, match="features 0, 1, 2, 3, 4, … had no values"):
        values = imputer.transform(images)
    assert np.isnan(values[:, 0]).all()
    assert np.isfinite(values[:, 1:]).all()
