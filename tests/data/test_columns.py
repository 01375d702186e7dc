"""Data frames: the encoding of columns, and decoding to the same columns and types."""

import json

import numpy as np
import pytest

import isthmus
import isthmus.data
from isthmus.data import Column, Columns, Table

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

N = 60
RNG = np.random.default_rng(0)
KIND = RNG.integers(0, 3, N)
PETS = np.array(["cat", "dog", "eel"])[KIND]


def pandas_frame():
    return pd.DataFrame(
        {
            "age": 20 + 10 * KIND + RNG.integers(0, 5, N),
            "income": 1000.0 * KIND + RNG.normal(size=N),
            "small": RNG.normal(size=N).astype(np.float32),
            "pet": PETS,
            "as text": pd.array(PETS, dtype="string"),
            "grade": pd.Categorical(PETS, ["eel", "dog", "cat", "cow"], ordered=True),
            "member": KIND > 1,
            "may be": pd.array(KIND > 1, dtype="boolean"),
            "count": pd.array(KIND, dtype="Int64"),
            "flag": KIND % 2,
            "object": np.array([*PETS, None], dtype=object)[:-1],
        },
        index=np.arange(N) + 100,
    )


def polars_frame():
    return pl.DataFrame(
        {
            "age": pl.Series(20 + 10 * KIND, dtype=pl.Int32),
            "income": 1000.0 * KIND,
            "pet": PETS.tolist(),
            "kind": pl.Series(PETS.tolist(), dtype=pl.Categorical),
            "grade": pl.Series(PETS.tolist(), dtype=pl.Enum(["cat", "dog", "eel"])),
            "member": KIND > 1,
        }
    )


@pytest.mark.parametrize("frame", [pandas_frame(), polars_frame()], ids=["pandas", "polars"])
def test_decoding_the_encoded_frame_restores_it(frame):
    columns = Columns.learn(frame)
    again = columns.to_frame(columns.to_numbers(frame), frame)
    assert again.equals(frame)
    if isinstance(frame, pd.DataFrame):
        pd.testing.assert_frame_equal(again, frame)
    else:
        assert again.schema == frame.schema


def test_kinds_of_columns():
    taken = {c.name: (c.kind, c.likelihood) for c in Columns.learn(pandas_frame()).columns}
    assert taken == {
        "age": ("number", "gaussian-per-feature"),
        "income": ("number", "gaussian-per-feature"),
        "small": ("number", "gaussian-per-feature"),
        "pet": ("category", "categorical:3"),
        "as text": ("category", "categorical:3"),
        "grade": ("category", "categorical:4"),
        "member": ("boolean", "bernoulli"),
        "may be": ("boolean", "bernoulli"),
        "count": ("number", "gaussian-per-feature"),
        "flag": ("boolean", "bernoulli"),
        "object": ("category", "categorical:3"),
    }


def test_columns_survive_json():
    columns = Columns.learn(pandas_frame())
    assert Columns.from_json(json.loads(json.dumps(columns.to_json()))) == columns


@pytest.mark.parametrize("library", [pd, pl])
def test_missing_values_of_all_types_are_nan(library):
    frame = library.DataFrame(
        {"x": [1.0, None, 3.0], "c": ["a", None, "b"], "b": [True, None, False]}
    )
    numbers = Columns.learn(frame).to_numbers(frame)
    np.testing.assert_array_equal(numbers, [[1, 0, 1], [np.nan] * 3, [3, 1, 0]])


@pytest.mark.parametrize("library", [pd, pl])
def test_fill_changes_only_gaps(library):
    frame = library.DataFrame(
        {"x": [0.1, None, 3.0], "c": ["a", None, "b"], "b": [True, None, False], "n": [1, 2, 3]}
    )
    columns = Columns.learn(frame)
    X = columns.to_numbers(frame)
    full = columns.fill(frame, np.where(np.isnan(X), 1.0, X), np.isnan(X))
    assert full["x"].to_list() == [0.1, 1.0, 3.0]
    assert full["c"].to_list() == ["a", "b", "b"]
    assert full["b"].to_list() == [True, True, False]
    assert [str(t) for t in full.dtypes] == [str(t) for t in frame.dtypes]


def test_objects_that_are_all_numbers_are_numbers():
    frame = pd.DataFrame({"n": pd.Series([1.5, 2.5, None], dtype=object)})
    columns = Columns.learn(frame)
    numbers = columns.to_numbers(frame)
    np.testing.assert_array_equal(numbers, [[1.5], [2.5], [np.nan]])
    again = columns.to_frame(numbers[:2])
    assert again["n"].dtype == object
    assert again["n"].tolist() == [1.5, 2.5]


def test_text_in_a_column_of_numbers_is_refused():
    columns = Columns.learn(pd.DataFrame({"age": [31, 40]}))
    with pytest.raises(ValueError, match=r"'age' held numbers when .* now holds 'old'"):
        columns.to_numbers(pd.DataFrame({"age": ["old", "young"]}))


def test_a_saved_type_that_polars_lacks_is_refused():
    columns = Columns((Column("age", "number", "int64"),), "polars")
    with pytest.raises(ValueError, match="'age': polars has no type 'int64'"):
        columns.to_frame(np.zeros((2, 1)))


def test_decoded_numbers_are_clipped_and_rounded():
    column = Column("n", "number", "float64", low=0.0, high=5.0, whole=True)
    np.testing.assert_array_equal(column.from_numbers(np.array([-3.0, 2.6, 9.0])), [0, 3, 5])


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"name": [f"n{i}" for i in range(20)]}), "'name' has 20 different texts"),
        (pd.DataFrame({"day": pd.date_range("2020-01-01", periods=3)}), "'day' holds times"),
    ],
)
def test_columns_without_categories_are_refused(frame, words):
    with pytest.raises(ValueError, match=words):
        isthmus.VAE(epochs=1).fit(frame)


@pytest.fixture(scope="module")
def fitted():
    frame = pandas_frame()[["age", "income", "pet", "grade", "member", "flag"]]
    model = isthmus.VAE(n_components=3, epochs=60, learning_rate=3e-3, random_state=0)
    return frame, model.fit(frame)


def test_samples_have_the_columns_and_types_of_the_frame(fitted):
    frame, model = fitted
    made = model.sample(300, random_state=0)
    assert list(made.columns) == list(frame.columns)
    assert (made.dtypes == frame.dtypes).all()
    share = made["pet"].value_counts(normalize=True)
    truth = frame["pet"].value_counts(normalize=True)
    assert max(abs(share.get(pet, 0) - truth[pet]) for pet in truth.index) < 0.2
    # Rows hang together: incomes of the two kinds of pets are a thousand apart.
    means = made.groupby("pet")["income"].mean()
    assert means["cat"] < means["dog"] < means["eel"]


def test_output_type_follows_input_type(fitted):
    frame, model = fitted
    rebuilt = model.reconstruct(frame)
    assert (rebuilt.index == frame.index).all()
    assert (rebuilt["pet"] == frame["pet"]).mean() > 0.9
    numbers = model.columns_.to_numbers(frame)
    array = model.reconstruct(numbers)
    np.testing.assert_array_equal(model.columns_.to_numbers(rebuilt)[:, 2], array[:, 2])
    np.testing.assert_array_equal(model.transform(frame), model.transform(numbers))
    codes = model.transform(frame)
    assert model.inverse_transform(codes).equals(rebuilt.reset_index(drop=True))
    assert isinstance(model.decode(codes), np.ndarray)
    np.testing.assert_array_equal(
        model.score_samples(frame), model.score_samples(Table(numbers, model.columns_))
    )


def test_differing_columns_are_named(fitted):
    frame, model = fitted
    with pytest.raises(ValueError, match=r"missing: pet; unknown: fish\."):
        model.transform(frame.rename(columns={"pet": "fish"}))
    shuffled = frame[["pet", *[c for c in frame.columns if c != "pet"]]]
    np.testing.assert_array_equal(model.transform(shuffled), model.transform(frame))


def test_saving_keeps_the_columns(fitted, tmp_path):
    _, model = fitted
    model.save(tmp_path)
    again = isthmus.load(tmp_path)
    assert again.columns_ == model.columns_
    assert again.sample(5, random_state=0).equals(model.sample(5, random_state=0))


def test_refit_on_an_array_forgets_the_columns(fitted):
    frame, _ = fitted
    model = isthmus.VAE(n_components=2, epochs=1, random_state=0).fit(frame)
    model.fit(np.random.default_rng(0).normal(size=(20, 3)))
    assert model.columns_ is None
    assert isinstance(model.sample(2), np.ndarray)


def test_an_imputer_fills_a_real_table():
    from isthmus.applications.imputation import LatentImputer

    frame = pandas_frame()[["age", "income", "pet", "grade", "may be"]].astype({"age": float})
    holed = frame.copy()
    gaps = np.random.default_rng(1).random(frame.shape) < 0.15
    for j, name in enumerate(frame.columns):
        holed.loc[gaps[:, j], name] = pd.NA if name == "may be" else None
    model = isthmus.VAE(n_components=3, epochs=60, learning_rate=6e-3, random_state=0)
    imputer = LatentImputer(model, n_draws=8, random_state=0).fit(holed)
    full = imputer.transform(holed)
    assert not full.isna().any().any()
    assert (full.dtypes == holed.dtypes).all()
    for j, name in enumerate(frame.columns):
        assert (full[name][~gaps[:, j]] == frame[name][~gaps[:, j]]).all()
    hidden = gaps[:, 2]
    assert (full["pet"][hidden] == frame["pet"][hidden]).mean() > 0.6  # by chance a third
    drawn = imputer.sample_imputations(holed.iloc[:5])
    assert len(drawn) == 8
    assert drawn[0].shape == (5, 5)


def test_sampled_rows_vary_about_their_means(fitted):
    from isthmus.applications.generation import LatentSampler

    frame, model = fitted
    sampler = LatentSampler.from_fitted(model, source="mixture", n_modes=3, random_state=0)
    made = sampler.fit(frame).sample(300, random_state=0)
    assert (made.dtypes == frame.dtypes).all()
    assert made["income"].nunique() > 290
    # A normal cut off at 1000 and 3000, which are the modes of the data, varies less than those.
    assert made["income"].std() == pytest.approx(frame["income"].std(), rel=0.35)


def test_repeated_names_of_numbers_are_allowed(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(30, 3))
    lines = ["a,a,b", *(",".join(map(repr, row)) for row in numbers.tolist())]
    (tmp_path / "twice.csv").write_text("\n".join(lines))
    table = isthmus.data.load(tmp_path / "twice.csv").rows
    model = isthmus.VAE(n_components=2, epochs=1, random_state=0).fit(table)
    assert model.sample(2, random_state=0).shape == (2, 3)
    assert isinstance(model.sample(2, random_state=0), np.ndarray)
