import numpy as np
import pytest
import torch

from isthmus.applications.corruptions import (
    BackgroundNoise,
    InDataUnits,
    RandomChoice,
    make_corruption,
)
from isthmus.estimators.scaling import Scaler
from isthmus.objectives.corruptions import GaussianNoise, Masking


def test_background_noise_has_the_requested_snr():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(64, 1, 2000)).astype(np.float32))
    noise = [rng.normal(size=9000), 5 * rng.normal(size=5000)]
    y = BackgroundNoise(noise, snr=(5, 5))(x, torch.Generator().manual_seed(0))
    ratio = 10 * torch.log10(x.square().mean((1, 2)) / (y - x).square().mean((1, 2)))
    np.testing.assert_allclose(ratio, 5, atol=0.6)
    between = BackgroundNoise(noise, snr=(-5, 15), power=1.0)(x, torch.Generator().manual_seed(0))
    ratio = 10 * torch.log10(1 / (between - x).square().mean((1, 2)))
    assert -6 < ratio.min() < 0
    assert 10 < ratio.max() < 16


def test_background_noise_is_reproducible_and_rejects_silence():
    x = torch.zeros(4, 100)
    noise = BackgroundNoise(np.random.default_rng(0).normal(size=300), power=1.0)
    one, two = (noise(x, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one[0], one[1])
    with pytest.raises(ValueError, match="silent"):
        BackgroundNoise(np.zeros(300))
    with pytest.raises(ValueError, match="at least as long"):
        BackgroundNoise(np.ones(50), power=1.0)(x, None)


def test_corruption_is_applied_in_data_units():
    x = torch.randn(50, 6)
    scaler = Scaler(np.full(6, 7.0), np.arange(1.0, 7.0))
    masked = InDataUnits(Masking(0.5), scaler)(x, torch.Generator().manual_seed(0))
    zero = torch.from_numpy(-scaler.shift / scaler.scale).float()
    hit = ~torch.isclose(masked, x, atol=1e-4)
    assert hit.sum(1).tolist() == [3] * 50
    torch.testing.assert_close(masked[hit], zero.expand(50, 6)[hit])


def test_random_choice_applies_one_corruption_per_row():
    x = torch.ones(300, 4)
    kinds = RandomChoice((Masking(1.0), lambda x, g: x + 1, lambda x, g: -x))
    values = kinds(x, torch.Generator().manual_seed(0))
    assert (values == values[:, :1]).all()
    counts = [int((values[:, 0] == v).sum()) for v in (0, 2, -1)]
    assert sum(counts) == 300
    assert min(counts) > 60


def test_make_corruption_accepts_names_levels_and_callables():
    assert make_corruption(None) is None
    assert make_corruption("gaussian") == GaussianNoise(0.3)
    assert make_corruption(("masking", "gaussian"), (0.5, 1)) == RandomChoice(
        (Masking(0.5), GaussianNoise(1.0))
    )
    assert make_corruption(torch.add) is torch.add
