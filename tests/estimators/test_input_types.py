"""Every kind of input that users pass: converted exactly, or refused with advice."""

import datetime

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import isthmus
from isthmus.applications import AnomalyDetector, Denoiser, LatentImputer, LatentIndex
from isthmus.data.columns import Columns, Table
from isthmus.search import Sweep

FAST = {"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0}
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4)).astype(np.float32)
HIDDEN = rng.random(X.shape) < 0.2
GAPS = np.where(HIDDEN, np.float32(np.nan), X)
SPOILT = np.where(HIDDEN, np.float32(1e9), X)  # what lies under a mask must not matter
MASKED = np.ma.masked_array(SPOILT, HIDDEN)
IMAGES = rng.integers(0, 256, (30, 8, 9, 3), np.uint8)


def vae(**settings):
    return isthmus.VAE(**FAST | settings)


def ignoring():
    return vae(missing="ignore")


START = {
    "fit": lambda X: vae().fit(X),
    "partial_fit": lambda X: vae().partial_fit(X),
    "begin": lambda X: vae().begin(X),
    "transform": lambda X: vae().fit(GAPS[~HIDDEN.any(1)]).transform(X),
    "detector": lambda X: AnomalyDetector(vae()).fit(X),
    "imputer": lambda X: LatentImputer(vae()).fit(X),
    "denoiser": lambda X: Denoiser(isthmus.DenoisingAutoencoder(**FAST)).fit(X),
    "index": lambda X: LatentIndex(vae()).fit(X),
    "sweep": lambda X: Sweep(vae(), {"n_components": [1, 2]}).fit(X),
}


# ---------------------------------------------------------------------- masks


def test_masked_values_are_missing_in_every_method():
    a, b = ignoring().fit(MASKED), ignoring().fit(GAPS)
    for method in ("transform", "score_samples", "reconstruct"):
        np.testing.assert_array_equal(getattr(a, method)(MASKED), getattr(b, method)(GAPS))
    a, b = (ignoring().fit_loader([each[:20], each[20:]]) for each in (MASKED, GAPS))
    np.testing.assert_array_equal(a.transform(MASKED), b.transform(GAPS))
    np.testing.assert_array_equal(a.transform([*MASKED]), b.transform(GAPS))


def test_masked_values_are_missing_in_applications():
    a, b = (AnomalyDetector(ignoring(), random_state=0).fit(each) for each in (MASKED, GAPS))
    np.testing.assert_array_equal(a.score_samples(MASKED), b.score_samples(GAPS))
    a, b = (LatentImputer(vae(), n_draws=4, random_state=0).fit(each) for each in (MASKED, GAPS))
    filled = a.transform(MASKED)
    np.testing.assert_array_equal(filled, b.transform(GAPS))
    np.testing.assert_array_equal(filled[~HIDDEN], X[~HIDDEN])
    grid = {"n_components": [1, 2]}
    a, b = (Sweep(ignoring(), grid, random_state=0).fit(each) for each in (MASKED, GAPS))
    np.testing.assert_array_equal(a.transform(MASKED), b.transform(GAPS))


@pytest.mark.parametrize("start", START)
def test_masked_values_are_refused_where_missing_ones_are(start):
    if start == "imputer":
        return
    with pytest.raises(ValueError, match="NaN"):
        START[start](MASKED)


def test_masked_whole_numbers_and_bytes_are_missing():
    counts = np.ma.masked_array(rng.integers(0, 9, X.shape), HIDDEN)
    model = vae(missing="ignore", likelihood="poisson").fit(counts)
    expected = model.transform(np.where(HIDDEN, np.nan, counts.data))
    np.testing.assert_array_equal(model.transform(counts), expected)
    hidden = rng.random((30, 6, 6)) < 0.2
    pixels = np.ma.masked_array(rng.integers(0, 256, hidden.shape, np.uint8), hidden)
    grey = np.where(hidden, np.nan, pixels.data / np.float32(255))
    a, b = ignoring().fit(pixels), ignoring().fit(grey)
    np.testing.assert_allclose(a.transform(pixels), b.transform(grey), atol=1e-6)  # rounding
    filled = LatentImputer(vae(), n_draws=4, random_state=0).fit(pixels).transform(pixels)
    assert filled.dtype == np.uint8
    np.testing.assert_array_equal(filled[~hidden], pixels.data[~hidden])


@pytest.mark.parametrize("likelihood", ["auto", "gaussian", "poisson"])
def test_masked_bytes_in_loaders(likelihood):
    pixels, grey = masked_pixels(255 if likelihood != "poisson" else 1)
    pixels[15:].mask = False  # a batch without gaps
    grey[15:] = pixels.data[15:] / (np.float32(255) if likelihood != "poisson" else 1)
    make = lambda: vae(missing="ignore", likelihood=likelihood)  # noqa: E731
    one = make().fit_loader([pixels[:1], pixels[1:15], pixels[15:]], valid=pixels)
    two = make().fit_loader([grey[:1], grey[1:15], grey[15:]], valid=grey)
    np.testing.assert_allclose(one.transform(pixels), two.transform(grey), atol=1e-6)
    assert one.history_[-1]["valid_loss"] == pytest.approx(two.history_[-1]["valid_loss"])


@pytest.mark.parametrize("fitted", [False, True])
def test_masked_bytes_in_a_denoiser(fitted):
    pixels, grey = masked_pixels(255)
    model = isthmus.DenoisingAutoencoder(missing="ignore", hidden=(4,), epochs=1, random_state=0)
    model = model.fit(pixels) if fitted else model
    one, two = Denoiser(model).fit(pixels), Denoiser(model).fit(grey)
    np.testing.assert_allclose(one.transform(pixels), two.transform(grey))
    assert one.transform(pixels.data).dtype == np.uint8
    with pytest.raises(ValueError, match="missing='ignore'"):
        Denoiser(isthmus.DenoisingAutoencoder(epochs=1)).fit(pixels)


def masked_pixels(unit):
    """Return grey pictures of bytes with a mask, and as floats with NaN."""
    hidden = rng.random((30, 6, 6)) < 0.2
    pixels = np.ma.masked_array(rng.integers(0, 256, hidden.shape, np.uint8), hidden)
    return pixels, np.where(hidden, np.nan, pixels.data / np.float32(unit))


class Labelled:
    """An array with names of its axes, as those of xarray."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.ndim, self.dims = values.ndim, [f"axis {i}" for i in range(values.ndim)]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return Labelled(self.values[index])


@pytest.mark.parametrize("shape", [(30, 6), (30, 2, 3)])
def test_arrays_with_labelled_axes(shape):
    values = rng.normal(size=shape)
    for weights in (None, np.arange(30)):
        one = vae().fit(Labelled(values), sample_weight=weights)
        two = vae().fit(values, sample_weight=weights)
        assert (one.transform(Labelled(values)) == two.transform(values)).all()


def test_masked_labels_are_refused():
    y = np.ma.masked_array(np.arange(40) % 3, np.arange(40) == 5)
    with pytest.raises(ValueError, match="y has missing values, the first in row 5"):
        isthmus.ConditionalVAE(**FAST).fit(X, y)


# ---------------------------------------------------------------------- times

DAYS = np.array(["2020-01-01", "NaT"], "datetime64[D]").repeat(8).reshape(8, 2)
TIMES = {
    "datetime64": DAYS,
    "timedelta64": DAYS - DAYS[0, 0],
    "objects": np.array([[datetime.date(2020, 1, 1), 1.0]] * 8, object),
    "list of objects": [[datetime.datetime(2020, 1, 1), 1.0]] * 8,
    "list of rows": [[*row] for row in DAYS],
    "images": DAYS.reshape(4, 2, 2),
}


@pytest.mark.parametrize("start", START)
@pytest.mark.parametrize("kind", TIMES)
def test_times_are_refused(start, kind):
    with pytest.raises(ValueError, match=r"X holds times .*convert them to numbers"):
        START[start](TIMES[kind])


def test_times_in_loaders_and_columns_are_refused():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    with pytest.raises(ValueError, match="a batch holds times"):
        vae().fit_loader([DAYS, DAYS])
    plain = pd.DataFrame(X, columns=list("abcd"))
    for values in (
        pd.date_range("2020-01-01", periods=40),
        pd.date_range("2020-01-01", periods=40, tz="UTC"),
        pd.Series([pd.NaT] * 40),
        pd.Series([pd.Timedelta("1D")] * 40),
        pd.Series([None] * 40, dtype="datetime64[ns]"),
    ):
        with pytest.raises(ValueError, match="column 'when' holds times"):
            ignoring().fit(plain.assign(when=values))
    fitted = vae().fit(plain)
    with pytest.raises(ValueError, match="column 'd' holds times"):
        fitted.transform(plain.assign(d=pd.Timestamp("2020-01-01")))
    for dtype in (pl.Date, pl.Datetime, pl.Duration, pl.Time):
        frame = pl.DataFrame({"a": X[:, 0], "when": pl.Series([None] * 40, dtype=dtype)})
        with pytest.raises(ValueError, match="column 'when' holds times"):
            ignoring().fit(frame)


# ---------------------------------------------------------------------- data frames


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_columns_of_bytes_are_numbers(library):
    pd = pytest.importorskip("pandas")
    counts = pd.DataFrame(rng.integers(3, 200, (40, 3), np.uint8), columns=list("abc"))
    frame = counts
    if library != "pandas":
        module = pytest.importorskip(library)
        convert = module.from_pandas if library == "polars" else module.Table.from_pandas
        frame = convert(counts)
    model, other = vae().fit(frame), vae().fit(counts.astype(float))
    assert model.likelihood_ == "gaussian-per-feature"
    np.testing.assert_array_equal(model.transform(frame), other.transform(counts.astype(float)))
    rebuilt = np.asarray(model.reconstruct(frame))
    assert rebuilt.mean() == pytest.approx(counts.to_numpy().mean(), rel=0.2)
    assert np.asarray(model.sample(50, random_state=0)).std() > 5
    a, b = (AnomalyDetector(vae(), random_state=0).fit(f) for f in (frame, counts.astype(float)))
    np.testing.assert_array_equal(a.score_samples(frame), b.score_samples(counts.astype(float)))


def test_denoisers_take_columns_of_bytes_for_numbers():
    pd = pytest.importorskip("pandas")
    counts = pd.DataFrame(rng.integers(3, 200, (40, 3), np.uint8), columns=list("abc"))
    denoiser = Denoiser(isthmus.DenoisingAutoencoder(**FAST)).fit(counts)
    cleaned = denoiser.transform(counts)
    np.testing.assert_array_equal(cleaned, denoiser.transform(counts.astype(float)))
    np.testing.assert_array_equal(cleaned, denoiser.transform(counts[["c", "a", "b"]]))
    assert cleaned.mean() == pytest.approx(counts.to_numpy().mean(), rel=0.2)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "record batch", "lazy"])
def test_columns_are_matched_by_name_in_tables_of_every_library(library):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    convert = {
        "pandas": lambda f: f,
        "polars": lambda f: pytest.importorskip("polars").from_pandas(f),
        "lazy": lambda f: pytest.importorskip("polars").from_pandas(f).lazy(),
        "pyarrow": lambda f: pytest.importorskip("pyarrow").Table.from_pandas(f),
        "record batch": lambda f: pytest.importorskip("pyarrow").RecordBatch.from_pandas(f),
    }[library]
    table, turned = convert(frame), convert(frame[list("dbca")])
    for model in (vae().fit(table), AnomalyDetector(vae(), random_state=0).fit(table)):
        np.testing.assert_array_equal(model.score_samples(turned), model.score_samples(frame))
        with pytest.raises(ValueError, match=r"[Ff]eature names"):
            model.score_samples(convert(frame.rename(columns={"a": "z"})))
    imputer = LatentImputer(vae(), n_draws=4, random_state=0).fit(table)
    gaps = convert(frame[list("dbca")].mask(HIDDEN))
    assert np.isfinite(np.asarray(imputer.transform(gaps))).all()


def test_tables_read_from_text_are_matched_by_name():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": X[:, 0], "kind": ["u", "v"] * 20, "n": X[:, 1]})
    columns = Columns.learn(frame)
    model = vae().fit(Table(columns.to_numbers(frame), columns))
    other = frame[["n", "kind", "x"]].iloc[1::2]  # "v" is its first category
    learned = Columns.learn(other)
    turned = Table(learned.to_numbers(other), learned)
    np.testing.assert_array_equal(model.transform(turned), model.transform(frame.iloc[1::2]))


def test_nullable_columns_keep_their_gaps():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "i": pd.array([1, 2, None, 4] * 10, "Int64"),
            "f": pd.array([1.5, None, 2, 3] * 10, "Float64"),
            "b": pd.array([True, None, False, True] * 10, "boolean"),
        }
    )
    numbers = frame[["i", "f"]].to_numpy(float, na_value=np.nan)
    for part, expected in ((frame[["i", "f"]], numbers), (frame[["f"]], numbers[:, 1:])):
        model = ignoring().fit(part)
        np.testing.assert_array_equal(
            model.transform(part), ignoring().fit(expected).transform(expected)
        )
        objects = part.to_numpy(object)  # holds pandas.NA
        np.testing.assert_array_equal(model.transform(objects), model.transform(part))
    filled = LatentImputer(vae(), n_draws=4, random_state=0).fit_transform(frame)
    assert not filled.isna().any().any()
    assert list(map(str, filled.dtypes)) == ["Int64", "Float64", "boolean"]
    with pytest.raises(ValueError, match="NaN"):
        vae().fit(frame)


def test_columns_of_zero_and_one_are_counts_if_their_likelihood_says_so():
    pd = pytest.importorskip("pandas")
    seen = pd.DataFrame({"n": [0, 1] * 20, "x": X[:, 0], "kind": ["u", "v", "w", "w"] * 10})
    new = seen.assign(n=range(40))
    with pytest.raises(ValueError, match="unknown value"):
        vae().fit(seen).transform(new)
    for likelihood in ("poisson,gaussian,categorical", "gaussian"):
        model = vae(likelihood=likelihood).fit(seen)
        assert model.columns_.columns[0].kind == "number"
        assert model.transform(new).shape == (40, 2)
        assert model.sample(3)["n"].dtype == seen["n"].dtype
    assert vae().fit(seen.assign(n=seen["n"].astype(float))).transform(new).shape == (40, 2)
    counts = vae(likelihood="poisson,gaussian,categorical")
    detector = AnomalyDetector(counts, random_state=0).fit(seen)
    scores = detector.score_samples(new)
    assert scores[-1] < scores[0]  # a count of 39 is unusual
    imputer = LatentImputer(counts, n_draws=4, random_state=0).fit(seen)
    assert imputer.transform(new)["n"].tolist() == [*range(40)]
    gaps = seen.assign(n=seen["n"].where(seen["n"].index > 3))  # pandas makes these floats
    assert ignoring().fit(gaps).columns_.columns[0].kind == "boolean"


# ---------------------------------------------------------------------- tensors, images, loaders

TENSOR = torch.from_numpy(X)
TENSORS = {
    "bfloat16": TENSOR.bfloat16(),
    "gradient": TENSOR.clone().requires_grad_(),
    "parameter": torch.nn.Parameter(TENSOR.clone()),
    "half": TENSOR.half(),
    "list": [*TENSOR],
    "list with gradients": [*TENSOR.clone().requires_grad_()],
    "sparse": TENSOR.to_sparse(),
    "conjugate view": torch.complex(TENSOR, TENSOR).real,
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_of_every_kind_are_accepted(kind):
    tensor = TENSORS[kind]
    rows = tensor if isinstance(tensor, torch.Tensor) else torch.stack(tensor)
    array = rows.detach().to_dense().float().numpy()
    expected = vae().fit(array).transform(array)
    tolerance = 1e-2 if kind == "half" else 0
    np.testing.assert_allclose(vae().fit(tensor).transform(tensor), expected, atol=tolerance)
    detector = AnomalyDetector(vae(), random_state=0).fit(tensor)
    assert detector.score_samples(tensor).shape == (40,)
    assert LatentImputer(vae(), n_draws=4).fit(tensor).transform(tensor).shape == (40, 4)


def test_loaders_and_labels_may_be_tensors_of_every_kind():
    model = vae().fit_loader(DataLoader(TensorDataset(TENSOR.bfloat16()), batch_size=10))
    assert model.transform(TENSOR.bfloat16()).shape == (40, 2)
    y = (torch.arange(40) % 2).float().requires_grad_()
    model = isthmus.ConditionalVAE(**FAST).fit(TENSOR, y)
    assert model.transform(TENSOR, condition=y).shape == (40, 2)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_lists_of_pillow_images_are_accepted(mode):
    images = [Image.fromarray(each).convert(mode) for each in IMAGES]
    shape = {"L": (8, 9), "RGBA": (8, 9, 4), "LA": (8, 9, 4)}.get(mode, (8, 9, 3))
    model = vae().fit(images)
    assert model.feature_shape_ == shape
    assert model.reconstruct(images).shape == (30, *shape)
    assert AnomalyDetector(vae()).fit(images).predict(images[:3]).shape == (3,)
    if mode == "RGB":
        np.testing.assert_array_equal(model.transform(images), model.transform(IMAGES))
        mask = np.zeros((8, 9, 3), bool)
        mask[2:4] = True
        filled = LatentImputer(vae(), n_draws=4).fit(images).impute(images, mask).values
        assert filled.dtype == np.uint8


def test_a_conversion_of_colours_warns():
    images = [Image.fromarray(each).convert("CMYK") for each in IMAGES]
    with pytest.warns(UserWarning, match="images in CMYK were converted to RGB"):
        assert vae().fit(images).feature_shape_ == (8, 9, 3)


def test_images_of_several_shapes_are_refused():
    images = [Image.fromarray(each) for each in IMAGES[:3]]
    for odd in (images[0].resize((4, 4)), images[0].convert("L")):
        with pytest.raises(ValueError, match=r"X\[0\] has the shape \(8, 9, 3\) and X\[3\]"):
            vae().fit([*images, odd])
    with pytest.raises(ValueError, match=r"a single one is \[image\]"):
        vae().fit(images[0])


LOADER = DataLoader(TensorDataset(TENSOR), batch_size=10)
ADVICE = {
    "loader": (LOADER, r"DataLoader: .*fit_loader\(loader\)"),
    "dataset": (LOADER.dataset, r"TensorDataset: .*fit_loader\(loader\)"),
    "iterator": (iter([X]), r"fit_loader\(function\)"),
    "function": (lambda: iter([X]), r"fit_loader\(function\)"),
    "path": ("rows.npy", r"isthmus\.data\.load\(path\)"),
    "columns": ({"a": X[:, 0]}, r"pandas\.DataFrame"),
    "records": ([{"a": 1.0}] * 9, r"pandas\.DataFrame"),
    "fields": (np.zeros(9, [("a", float)]), r"fields a: pass pandas\.DataFrame"),
}


@pytest.mark.parametrize("start", START)
@pytest.mark.parametrize("kind", ADVICE)
def test_other_input_is_refused_with_the_right_method(start, kind):
    given, advice = ADVICE[kind]
    with pytest.raises(ValueError, match=advice):
        START[start](given)


def test_subclasses_of_data_frames_are_data_frames():
    pd = pytest.importorskip("pandas")
    frame = type("GeoDataFrame", (pd.DataFrame,), {})(X, columns=list("abcd"))
    model = vae().fit(frame)
    assert list(model.reconstruct(frame).columns) == list("abcd")
    np.testing.assert_array_equal(model.transform(frame[list("dcba")]), model.transform(frame))
