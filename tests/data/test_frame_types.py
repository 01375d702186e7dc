"""Types of data frames: names and categories that JSON lacks, and types that must be rebuilt."""

import datetime
import decimal
import json
import warnings

import numpy as np
import pytest

import isthmus
from isthmus.applications import LatentImputer, LatentSampler
from isthmus.data import Columns, read_table
from isthmus.data.columns import Table
from isthmus.data.feature_columns import FeatureColumns

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

N = 12
KIND = np.arange(N) % 3
X = np.random.default_rng(0).normal(size=(N, 3))
FAST = {"n_components": 2, "hidden": (4,), "epochs": 1, "random_state": 0}
MONTHS = pd.period_range("2020-01", periods=3, freq="M")
DAYS = pd.date_range("2020-01-01", periods=3)
PYTHON_DAYS = np.array([datetime.date(2020, 1, 1 + i) for i in range(3)], object)
DECIMALS = np.array([decimal.Decimal("1.25") * i for i in range(3)], object)


def saved_and_loaded(columns):
    return Columns.from_json(json.loads(json.dumps(columns.to_json())))


CATEGORIES = {
    "intervals": pd.cut(X[:, 0], 3),
    "quantiles": pd.qcut(X[:, 0], 3),
    "periods": MONTHS[KIND],
    "timestamps": DAYS[KIND],
    "dates": PYTHON_DAYS[KIND],
    "time differences": pd.to_timedelta([1, 2, 3], unit="D")[KIND],
    "decimals": DECIMALS[KIND],
    "infinity": np.array([1.0, 2.0, np.inf])[KIND],
    "tuples": pd.Index([("a", 1), ("b", 2), ("c", 3)], tupleize_cols=False)[KIND],
}


@pytest.mark.parametrize("kind", CATEGORIES)
def test_categories_that_json_lacks_are_kept_as_text(kind):
    frame = pd.DataFrame({"x": X[:, 1], "c": pd.Categorical(CATEGORIES[kind])})
    with pytest.warns(UserWarning, match="the names or categories of 'c' are kept as text"):
        columns = Columns.learn(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the warning is of fit only
        again = saved_and_loaded(columns)
        numbers = again.to_numbers(frame)
        np.testing.assert_array_equal(numbers[:, 1], frame["c"].cat.codes)
        decoded = again.to_frame(numbers, frame)
        np.testing.assert_array_equal(again.to_numbers(decoded), numbers)
        filled = again.fill(frame, numbers[::-1], np.eye(2, dtype=bool)[[0, 1] * (N // 2)])
    assert decoded["c"].tolist() == [*map(str, frame["c"])]
    assert filled["c"].dtype == frame["c"].dtype
    assert filled["c"][1] == frame["c"][N - 2]


NAMES = {
    "timestamp": pd.Timestamp("2020-01-01"),
    "date": datetime.date(2020, 1, 1),
    "period": pd.Period("2020-01"),
    "interval": pd.Interval(0, 1),
    "bytes": b"x",
    "decimal": decimal.Decimal("1.5"),
    "not a number": float("nan"),
    "in a tuple": ("a", pd.Timestamp("2020-01-01")),
    "nested": ("a", ("b", 1)),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_that_json_lacks_are_kept_as_text(kind):
    frame = pd.DataFrame({"x": X[:, 0], "t": np.array(["u", "v", "w"])[KIND]})
    frame.columns = pd.Index([NAMES[kind], "t"], dtype=object, tupleize_cols=False)
    with pytest.warns(UserWarning, match="are kept as text"):
        columns = saved_and_loaded(Columns.learn(frame))
    numbers = columns.to_numbers(frame)
    np.testing.assert_array_equal(numbers, np.stack([X[:, 0], KIND], 1))
    np.testing.assert_array_equal(columns.to_numbers(columns.to_frame(numbers)), numbers)
    gaps = np.zeros(numbers.shape, bool)
    gaps[3] = True
    filled = columns.fill(frame, numbers + 1, gaps)
    assert [*filled.columns] == [*frame.columns] or kind == "not a number"
    assert filled.iloc[3, 0] == numbers[3, 0] + 1
    features = FeatureColumns(2, columns)  # of batches
    np.testing.assert_array_equal(features.rows(frame), numbers)


@pytest.mark.parametrize("name", [np.int64(3), 7, 1.5, None, True, ("a", 1)])
def test_other_names_stay_as_they_are(name):
    frame = pd.DataFrame({"x": X[:, 0], "t": np.array(["u", "v", "w"])[KIND]})
    frame.columns = pd.Index([name, "t"], dtype=object, tupleize_cols=False)
    columns = saved_and_loaded(Columns.learn(frame))
    assert columns.names == (name, "t")
    filled = columns.fill(frame, columns.to_numbers(frame), np.ones((N, 2), bool))
    assert filled.equals(frame)


@pytest.mark.filterwarnings("ignore:the names or categories")
@pytest.mark.parametrize("index", [MONTHS, DAYS, pd.interval_range(0, 3)])
def test_a_model_of_a_table_with_such_names_is_saved(index, tmp_path):
    frame = pd.DataFrame(X, columns=index).assign(bins=pd.cut(X[:, 0], 3))
    for table in (frame, frame.drop(columns="bins")):
        model = isthmus.VAE(**FAST).fit(table)
        model.save(tmp_path)
        again = isthmus.load(tmp_path)
        np.testing.assert_array_equal(again.transform(table), model.transform(table))
        assert again.sample(2, random_state=0).equals(model.sample(2, random_state=0))
    holed = frame.copy()
    holed.iloc[0, [0, 3]] = None
    imputer = LatentImputer(isthmus.VAE(**FAST, missing="ignore"), n_draws=2, random_state=0)
    full = imputer.fit_transform(holed)
    assert [*full.columns] == [*frame.columns]
    assert (full.dtypes == frame.dtypes).all()
    assert not full.isna().any().any()


LABELS = {
    "intervals": CATEGORIES["intervals"],
    "periods": MONTHS[KIND],
    "timestamps": DAYS[KIND],
    "seconds": DAYS[KIND].astype("datetime64[s]"),
    "dates": PYTHON_DAYS[KIND],
    "decimals": DECIMALS[KIND],
    "bytes": np.array([b"a", b"b", b"c"])[KIND],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_json_lacks_are_kept_as_text(kind, tmp_path):
    y = LABELS[kind]
    with pytest.warns(UserWarning, match=r"labels such as .* are kept as text"):
        model = isthmus.ConditionalVAE(**FAST).fit(X, y)
    model.save(tmp_path / "model")
    again = isthmus.load(tmp_path / "model")
    codes = again.transform(X, condition=y)
    np.testing.assert_array_equal(codes, model.transform(X, condition=y))
    assert not np.array_equal(codes, model.transform(X))
    with pytest.warns(UserWarning, match="are kept as text"):
        sampler = LatentSampler(
            isthmus.VAE(**FAST), source="mixture", n_modes=1, random_state=0
        ).fit(X, y)
    sampler.save(tmp_path / "sampler")
    loaded = LatentSampler.load(tmp_path / "sampler", sampler.estimator_)
    assert [*loaded.classes_] == [*model.classes_]
    assert loaded.sample(2, 0, y=np.asarray(y)[:2]).shape == (2, 3)


def test_categories_of_another_type_are_matched_as_text(tmp_path):
    (tmp_path / "a.csv").write_text("x,room\n" + "".join(f"{i},{i % 3}\n" for i in range(N)))
    numbers, _, columns = read_table(tmp_path / "a.csv", categorical="room")
    frame = pd.DataFrame({"x": range(N), "room": KIND})
    np.testing.assert_array_equal(columns.to_numbers(frame), numbers)
    bins = pd.DataFrame({"x": X[:, 0], "c": pd.cut(X[:, 0], 3)})
    with pytest.warns(UserWarning, match="kept as text"):
        columns = Columns.learn(bins)
    as_objects = bins.astype({"c": object})
    np.testing.assert_array_equal(columns.to_numbers(as_objects), columns.to_numbers(bins))


def test_missing_times_are_no_label():
    y = DAYS[KIND].to_numpy().copy()
    y[4] = np.datetime64("NaT")
    with pytest.raises(ValueError, match="y has missing values, the first in row 4"):
        isthmus.ConditionalVAE(**FAST).fit(X, y)


def arrow(array):
    return pd.Series(pd.arrays.ArrowExtensionArray(array))


def decimals(scale):
    return [decimal.Decimal(i).scaleb(-scale) for i in range(N)]


WORDS = ["a", "b", "c"] * (N // 3)
PANDAS = {
    "dictionary": arrow(pa.array(WORDS).dictionary_encode()),
    "small dictionary": arrow(
        pa.DictionaryArray.from_arrays(
            pa.array([0, 1, 2] * (N // 3), pa.int8()), pa.array(["a", "b", "c"], pa.large_string())
        )
    ),
    "dictionary of numbers": arrow(pa.array(KIND.tolist()).dictionary_encode()),
    "decimal": arrow(pa.array(decimals(2), type=pa.decimal128(10, 2))),
    "long decimal": arrow(pa.array(decimals(4), type=pa.decimal256(50, 4))),
    "decimal objects": pd.Series(decimals(3), dtype=object),
    "decimal whole": pd.Series(decimals(0), dtype=object),
    "sparse": pd.Series(pd.arrays.SparseArray(KIND * 1.5)),
    "arrow numbers": pd.Series(KIND, dtype="int32[pyarrow]"),
    "arrow text": pd.Series(WORDS, dtype="string[pyarrow]"),
}
POLARS = {
    "decimal": pl.Series(decimals(2)),
    "wide decimal": pl.Series(decimals(4), dtype=pl.Decimal(20, 4)),
    "dictionary": pl.from_arrow(pa.array(WORDS).dictionary_encode()),
    "decimal of arrow": pl.from_arrow(pa.array(decimals(3))),
    "128 bits": pl.Series(KIND.tolist(), dtype=pl.Int128),
    "without values": pl.Series([None] * N),
}


@pytest.mark.parametrize(
    ("library", "series"),
    [*((pd, s) for s in PANDAS.values()), *((pl, s) for s in POLARS.values())],
    ids=[*PANDAS, *(f"polars {name}" for name in POLARS)],
)
@pytest.mark.parametrize("gap", [False, True])
def test_every_type_that_is_read_is_built(library, series, gap):
    if gap and library is pd:
        series = series[1:].reindex(range(N))
    frame = library.DataFrame({"x": series, "t": WORDS})
    columns = saved_and_loaded(Columns.learn(frame))
    numbers = columns.to_numbers(frame)
    again = columns.to_frame(numbers, frame)
    assert str(again["x"].dtype) == str(frame["x"].dtype)
    gaps = np.zeros(numbers.shape, bool)
    gaps[2] = True
    filled = columns.fill(frame, numbers, gaps)
    assert str(filled["x"].dtype) == str(frame["x"].dtype)
    for table in (again, filled):
        kept = [None if v is None or v is pd.NA or v != v else v for v in table["x"].to_list()]
        expected = [None if v is None or v is pd.NA or v != v else v for v in frame["x"].to_list()]
        assert kept == expected
        assert {type(v) for v in kept} == {type(v) for v in expected}


def test_decimals_are_rounded_to_their_digits():
    frame = pd.DataFrame({"x": PANDAS["decimal"], "t": WORDS})
    columns = Columns.learn(frame)
    drawn = columns.to_frame(np.array([[0.0449, 0], [7.0, 1]]))["x"].tolist()
    assert drawn == [decimal.Decimal("0.04"), decimal.Decimal("0.11")]  # within the range seen


def test_models_sample_decimals_and_dictionaries(tmp_path):
    frame = pd.DataFrame({"x": PANDAS["decimal"], "t": PANDAS["dictionary"]})
    model = isthmus.VAE(**FAST).fit(frame)
    model.save(tmp_path)
    drawn = isthmus.load(tmp_path).sample(3, random_state=0)
    assert (drawn.dtypes == frame.dtypes).all()


def test_parquet_files_with_decimals_and_dictionaries_are_imputed(tmp_path):
    values = [None, *decimals(2)[1:]]
    words = pa.array([*WORDS[:-1], None]).dictionary_encode()
    table = pa.table({"x": pa.array(values, type=pa.decimal128(10, 2)), "t": words})
    pq.write_table(table, tmp_path / "a.parquet")
    X, _, columns = read_table(tmp_path / "a.parquet")
    np.testing.assert_array_equal(np.isnan(X).nonzero(), [[0, N - 1], [0, 1]])
    frame = pd.read_parquet(tmp_path / "a.parquet")
    full = columns.fill(frame, np.nan_to_num(X, nan=0.05), np.isnan(X))
    full.to_parquet(tmp_path / "b.parquet")
    again = pq.read_table(tmp_path / "b.parquet")
    assert again["x"].to_pylist() == [decimal.Decimal("0.05"), *values[1:]]
    assert again["t"].to_pylist() == [*WORDS[:-1], "a"]


@pytest.mark.parametrize(
    "dtype",
    [
        "decimal999(10, 2)[pyarrow]",
        "Decimal(99, 2)",
        "dictionary<values=x, indices=y, ordered=0>[pyarrow]",
    ],
)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_saved_types_that_do_not_exist_are_refused(dtype, library):
    if (dtype, library) == ("Decimal(99, 2)", "pandas"):
        pytest.skip("objects, of any number of digits")
    column = isthmus.data.Column("x", "number", dtype, low=0.0, high=1.0)
    with pytest.raises(ValueError, match=r"column 'x': (pandas|polars) has no type"):
        Columns((column,), library).to_frame(np.zeros((2, 1)))


def test_whole_numbers_without_a_value_come_back_as_missing_ones(tmp_path):
    (tmp_path / "t.csv").write_text("a,none\n" + "".join(f"{i % 5},\n" for i in range(20)))
    X, _, columns = read_table(tmp_path / "t.csv")
    drawn = isthmus.VAE(missing="ignore", **FAST).fit(Table(X, columns)).sample(3, random_state=0)
    assert drawn["none"].isna().all()
    assert len(drawn) == 3
