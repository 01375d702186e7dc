import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from isthmus import VAE, ConditionalVAE
from isthmus.applications.imputation import LatentImputer
from isthmus.applications.with_condition import with_condition

DIGITS, LABELS = load_digits(return_X_y=True)
X, y = DIGITS[:200] / 16, LABELS[:200]
FAST = {"n_components": 2, "hidden": (16,), "epochs": 3, "random_state": 0}


@pytest.fixture(scope="module", params=["standard", "mixture", "vamp"])
def model(request):
    return ConditionalVAE(prior=request.param, prior_modes=4, **FAST).fit(X, y)


@pytest.mark.parametrize("label", [None, 3])
@torch.no_grad()
def test_fixed_condition_equals_passing_the_condition(model, label):
    plain, fixed = model.model_, with_condition(model, label).model_
    c = torch.from_numpy(model.condition_encoder_.encode(label, 5))
    x, z = torch.from_numpy(X[:5]).float(), torch.randn(3, 5, 2)
    torch.testing.assert_close(fixed.encode(x).mean, plain.encode(x, c).mean)
    torch.testing.assert_close(fixed.reconstruct(z), plain.reconstruct(z, c))
    torch.testing.assert_close(fixed.log_prior(z), plain.log_prior(z, c))
    other = torch.from_numpy(model.condition_encoder_.encode(7, 5))
    torch.testing.assert_close(fixed.encode(x, other).mean, plain.encode(x, other).mean)


def test_with_condition_shares_weights(model):
    before = model.transform(X[:5], condition=3)
    fixed = with_condition(model, 3)
    assert fixed.model_.encoder is model.model_.encoder
    np.testing.assert_array_equal(fixed.transform(X[:5]), before)
    np.testing.assert_array_equal(model.transform(X[:5], condition=3), before)
    assert with_condition(fixed) is fixed


def test_unconditional_models_are_returned_unchanged():
    model = VAE(**FAST).fit(X)
    assert with_condition(model) is model
    with pytest.raises(ValueError, match="not trained with labels"):
        with_condition(model, 3)


def test_unknown_labels_raise(model):
    with pytest.raises(ValueError, match="label '12'"):
        with_condition(model, 12)


def test_imputation_depends_on_the_condition():
    model = ConditionalVAE(**FAST | {"epochs": 25}).fit(DIGITS / 16, LABELS)
    nothing = np.full((1, 64), np.nan)
    for label in (0, 1):
        imputer = LatentImputer(FrozenEstimator(with_condition(model, label)), random_state=0)
        filled = imputer.fit(nothing).transform(nothing)[0]
        apart = [np.abs(filled - DIGITS[k == LABELS].mean(0) / 16).mean() for k in range(10)]
        assert np.argmin(apart) == label
