"""Rows drawn from models of tables look like the data: range, decimals, whole numbers."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest, truncnorm

import isthmus
from isthmus.applications.generation import LatentSampler
from isthmus.applications.imputation import LatentImputer
from isthmus.data.column import Column
from isthmus.distributions.likelihood_distributions import LogPoisson
from isthmus.distributions.truncated import draw_within

DRAWS = 4000


def people(n=600):
    rng = np.random.default_rng(0)
    job = rng.choice(["clerk", "nurse", "smith"], n)
    age = np.clip(rng.normal(42, 13, n), 18, 75).round().astype(int)
    income = np.exp(9.6 + 0.4 * (job == "smith") + rng.normal(0, 0.6, n)).round(2)
    height = rng.normal(1.7, 0.1, n).round(2).astype(np.float32)
    visits = rng.poisson(2, n)
    columns = {"age": age, "income": income, "height": height, "visits": visits, "job": job}
    return pd.DataFrame(columns)


LIKELIHOODS = (
    "auto",
    "laplace,gaussian-network,gaussian,poisson,categorical:3",
    "gaussian,laplace,gaussian-fixed,negative-binomial,categorical:3",
)


@pytest.fixture(scope="module", params=LIKELIHOODS)
def fitted(request):
    frame = people()
    model = isthmus.VAE(n_components=2, epochs=8, likelihood=request.param, random_state=0)
    return frame, model.fit(frame)


def check(made, frame):
    """Check range, decimals and types of generated rows, and that few are at the ends."""
    assert (made.dtypes == frame.dtypes).all()
    for name in ("age", "income", "height", "visits"):
        assert made[name].between(frame[name].min(), frame[name].max()).all()
    for end in (frame["income"].min(), frame["income"].max()):
        assert (made["income"] == end).mean() < 0.005
    # Ages have 58 values, so that a few per cent at an end would be a heap.
    assert (made["age"] == 18).mean() < 0.03
    cents = made["income"].to_numpy()
    assert np.array_equal(cents, np.array([float(f"{v:.2f}") for v in cents]))
    height = made["height"].to_numpy()
    assert np.array_equal(height, np.array([f"{v:.2f}" for v in height], np.float32))


def test_samples_of_a_table_fill_its_range(fitted):
    frame, model = fitted
    check(model.sample(DRAWS, random_state=0), frame)


def test_samples_of_a_mixture_and_of_polars_as_well():
    polars = pytest.importorskip("polars")
    frame = people()
    model = isthmus.VAE(n_components=2, epochs=4, random_state=0).fit(polars.DataFrame(frame))
    sampler = LatentSampler(model, source="mixture", n_modes=2, random_state=0)
    made = sampler.fit(polars.DataFrame(frame)).sample(DRAWS, random_state=0)
    check(pd.DataFrame(made.to_dict(as_series=False)).astype(frame.dtypes.to_dict()), frame)


def test_draws_have_the_truncated_density():
    p = torch.distributions.Normal(torch.full((DRAWS,), 1.0), torch.tensor(2.0))
    for low, high in ((-1.0, 2.0), (5.0, 6.0), (-30.0, -20.0), (13.0, np.inf)):
        ends = torch.tensor([low, high], dtype=torch.float64)
        x = draw_within(p, torch.Generator().manual_seed(0), tuple(ends))
        exact = truncnorm((low - 1) / 2, (high - 1) / 2, 1, 2)
        assert kstest(x.numpy(), exact.cdf).pvalue > 1e-3


def test_laplace_draws_have_the_truncated_density():
    p = torch.distributions.Laplace(torch.zeros(DRAWS), torch.tensor(2.0))
    for low, high, mean in ((0.0, np.inf, 2.0), (40.0, np.inf, 42.0), (-np.inf, -300.0, -302.0)):
        ends = torch.tensor([low, high], dtype=torch.float64)
        x = draw_within(p, torch.Generator().manual_seed(0), tuple(ends))
        assert low <= x.min()
        assert x.max() <= high
        assert x.mean().item() == pytest.approx(mean, abs=0.15)


def test_bounds_far_away_and_counts():
    generator = torch.Generator().manual_seed(0)
    p = torch.distributions.Normal(torch.tensor([0.0, 0.0, 3.0]), 1e-3)
    low, high = torch.tensor([[5.0, -9.0, 3.0], [7.0, -8.0, 3.0]], dtype=torch.float64)
    assert draw_within(p, generator, (low, high)).tolist() == [5, -8, 3]
    counts = LogPoisson(torch.full((DRAWS,), 2.0).log())
    x = draw_within(counts, generator, (torch.tensor(1.0), torch.tensor(3.0)))
    shares = np.array([(x == k).double().mean().item() for k in (1, 2, 3)])
    assert shares == pytest.approx(np.array([6, 6, 4]) / 16, abs=0.03)


def test_draws_depend_on_the_seed_alone(fitted):
    _, model = fitted
    torch.manual_seed(1)
    first = model.sample(20, random_state=3)
    state = torch.get_rng_state()
    pd.testing.assert_frame_equal(first, model.sample(20, random_state=3))
    assert torch.equal(state, torch.get_rng_state())
    assert not first.equals(model.sample(20, random_state=4))


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        (["18590.49", "0.5"], 2),
        (["3", "4"], 0),
        (["0.000001"], 6),
        (["0.0000001"], None),
        (["1234567890.12", "-0.01", "nan"], 2),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "Float64", "float32"])
def test_the_decimals_of_a_column_are_learned(values, decimals, dtype):
    if dtype == "float32" and "1234567890.12" in values:
        pytest.skip("float32 has no cents there")
    numbers = pd.array([float(v) for v in values], dtype=dtype)
    columns = isthmus.data.columns.Columns.learn(pd.DataFrame({"x": numbers}))
    assert columns.columns[0].decimals == decimals
    frame = columns.to_frame(np.array([[float(values[0]) + 1e-9]]))
    if decimals is not None:
        assert str(frame["x"][0]) in (values[0], f"{float(values[0])}")


def test_decimals_are_saved_and_checked(tmp_path, fitted):
    _, model = fitted
    model.save(tmp_path / "run")
    loaded = isthmus.load(tmp_path / "run")
    assert [c.decimals for c in loaded.columns_.columns] == [0, 2, 2, 0, None]
    pd.testing.assert_frame_equal(loaded.sample(5, random_state=0), model.sample(5, random_state=0))
    saved = {"name": "x", "kind": "number", "dtype": "float64", "low": 0.0, "high": 1.0}
    assert Column.from_json(saved).decimals is None  # of an older version
    for wrong in (-1, 7, 10**9, 2.0, True, "2", [2]):
        with pytest.raises(ValueError, match="entry of column 'x' is invalid"):
            Column.from_json(saved | {"decimals": wrong})


def test_means_and_reconstructions_have_the_decimals_too(fitted):
    frame, model = fitted
    for made in (model.sample(9, random_state=0, noise=False), model.reconstruct(frame[:9])):
        assert (made["income"].round(2) == made["income"]).all()


def test_imputed_draws_do_not_pile_up_at_the_ends(fitted):
    frame, model = fitted
    gaps = frame[:20].copy()
    gaps["income"] = np.nan
    imputer = LatentImputer(model, n_draws=20, random_state=0).fit(gaps)
    made = pd.concat(imputer.sample_imputations(gaps))
    low, high = frame["income"].min(), frame["income"].max()
    assert made["income"].between(low, high).all()
    assert made["income"].isin([low, high]).mean() < 0.005
