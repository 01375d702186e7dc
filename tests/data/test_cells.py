"""Cells of text that hold numbers: decimal marks, thousands, signs, missing words, odd cells."""

import warnings

import numpy as np
import pytest

import isthmus
from isthmus.data import Columns, load, read_table
from isthmus.data.chunked_reader import read_chunks
from isthmus.data.feature_columns import FeatureColumns
from isthmus.data.number_format import NumberFormat
from isthmus.data.table_options import TableOptions

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")

VALUES = np.array([20.63, -1234.5, 1234567.25, 0.5, 7.0, 12.75])
PLAIN = [f"{v:.2f}" for v in VALUES]
GERMAN = [f"{v:,.2f}".translate(str.maketrans(",.", ".,")) for v in VALUES]
SPELLINGS = {
    "decimal comma": [text.replace(".", ",") for text in PLAIN],
    "German": GERMAN,
    "thousands": [f"{v:,.2f}" for v in VALUES],
    "Swiss": [f"{v:,.2f}".replace(",", "’") for v in VALUES],
    "thin spaces": [f"{v:,.2f}".replace(",", "\u202f").replace(".", ",") for v in VALUES],
    "dollars": [f"${v:,.2f}".replace("$-", "-$") for v in VALUES],
    "sign after the dollar": [f"${v:.2f}" for v in VALUES],
    "euros": [f"{text} €" for text in GERMAN],
    "code": [f"CHF {text}" for text in PLAIN],
    "percent": [f"{text}%" for text in PLAIN],
    "percent with a space": [f"{text}\u00a0%" for text in GERMAN],
    "minus": [text.replace("-", "\u2212") for text in PLAIN],
    "dash": [text.replace("-", "\u2013") for text in PLAIN],
    "exponents": [f"{v:.9e}" for v in VALUES],
}


def text_file(path, cells):
    path.write_text("\n".join(["x;n", *(f"{cell};{i}" for i, cell in enumerate(cells))]))
    return path


def from_csv(cells, folder, **options):
    return read_table(text_file(folder / "table.csv", cells), **options)[0][:, 0]


def from_tsv(cells, folder, **options):
    (folder / "table.tsv").write_text("\n".join(["x\tn", *(f"{cell}\t1" for cell in cells)]))
    return read_table(folder / "table.tsv", **options)[0][:, 0]


def from_parquet(cells, folder, **options):
    frame = pd.DataFrame({"x": cells, "n": range(len(cells))})
    frame.to_parquet(folder / "table.parquet")
    return read_table(folder / "table.parquet", **options)[0][:, 0]


def from_pandas(cells, folder, dtype=object, **options):
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=dtype), "n": range(len(cells))})
    return Columns.learn(frame, TableOptions.of(**options)).to_numbers(frame)[:, 0]


def from_strings(cells, folder, **options):
    return from_pandas(cells, folder, "string", **options)


def from_polars(cells, folder, **options):
    frame = pl.DataFrame({"x": cells, "n": range(len(cells))})
    return Columns.learn(frame, TableOptions.of(**options)).to_numbers(frame)[:, 0]


def from_chunks(cells, folder, **options):
    features = FeatureColumns(2, options=TableOptions.of(**options))
    chunks = read_chunks(text_file(folder / "table.csv", cells), features, 4)
    return np.concatenate([chunk.X for chunk in chunks])[:, 0]


READERS = [from_csv, from_tsv, from_chunks, from_parquet, from_pandas, from_strings, from_polars]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_numbers_are_read_however_they_are_spelled(read, name, tmp_path):
    np.testing.assert_allclose(read(SPELLINGS[name], tmp_path), VALUES)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "word", ["", "?", "-", "--", ".", "#N/A", "NaN", "<NA>", "NULL", "n/a", "None", "\u2013"]
)
def test_words_for_missing_are_gaps_among_numbers(read, word, tmp_path):
    numbers = read(["1.5", word, "2.5", "3.5", "4.5", "6.5"], tmp_path)
    np.testing.assert_array_equal(numbers, [1.5, np.nan, 2.5, 3.5, 4.5, 6.5])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("words", [["err", "-999"], ["ERR", -999.0]])
def test_na_values_are_gaps_as_words_and_numbers(read, words, tmp_path):
    cells = ["1.5", "err", "-999", "2.5", "-999.0", "3.5"]
    numbers = read(cells, tmp_path, na_values=words)
    np.testing.assert_array_equal(numbers, [1.5, np.nan, np.nan, 2.5, np.nan, 3.5])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("row", [0, 7, 19])
@pytest.mark.parametrize("odd", ["err", "kg", "Total", "12:30", "<0.01", "5 kg", "1.2.3"])
def test_an_odd_cell_among_numbers_is_refused(read, row, odd, tmp_path):
    cells = [f"{i}.25" for i in range(20)]
    cells[row] = odd
    with pytest.raises(ValueError, match=f"column 'x' holds '{odd}' in row {row}"):
        read(cells, tmp_path)


@pytest.mark.parametrize(
    ("cells", "odd"),
    [
        (["$1.50"] * 12 + ["2.50"], "2.50"),
        (["1.5%"] * 12 + ["0.02"], "0.02"),
        (["€ 1.50"] * 12 + ["$ 1.50"], "$ 1.50"),
        (["1,5"] * 12 + ["2.5"], "2.5"),
        (["kg", "1", "2", "3", "4", "5"], "kg"),  # units, in a table too short for 90 %
        (["1", "2", "3", "4", "5", "mean"], "mean"),
    ],
)
def test_inconsistent_columns_are_refused(cells, odd, tmp_path):
    with pytest.raises(ValueError, match="which is not a number as") as caught:
        from_csv(cells, tmp_path)
    assert repr(odd) in str(caught.value)


def test_the_line_of_an_odd_cell_is_named(tmp_path):
    lines = ["sep=;", "a;b", "1;x", "", *(f"{i};y" for i in range(20)), "err;x", "7;y"]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"in row 21, .* See line {lines.index('err;x') + 1}\."):
        read_table(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("cells", "number", "other"),
    [
        (["1,234", "12,345"], 1234, "2.5"),  # as in the other column
        (["1,234", "12,345"], 1.234, "2,5"),
        (["1.234", "12.345"], 1.234, "2.5"),
        (["1.234", "12.345"], 1234, "2,5"),
        (["1,234", "12,345"], 1.234, "2"),  # semicolons suggest decimal commas
        (["1.234", "12.345"], 1.234, "2"),
    ],
)
def test_an_ambiguous_mark_is_that_of_the_other_columns(cells, number, other, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a;b\n" + "".join(f"{cell};{other}\n" for cell in cells))
    with warnings.catch_warnings(record=True):
        assert read_table(path)[0][0, 0] == number


@pytest.mark.parametrize(("decimal", "number"), [(".", 1234), (",", 1.234)])
def test_the_decimal_mark_can_be_given(decimal, number, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('a,b\n"1,234",1\n"12,345",2\n')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_table(path, decimal=decimal)[0][0, 0] == number
    with pytest.warns(UserWarning, match="'1,234' was read as 1234; .* pass decimal=','"):
        assert read_table(path)[0][0, 0] == 1234
    with pytest.raises(ValueError, match=r"decimal must be 'auto' or '\.' or ','"):
        read_table(path, decimal="comma")


def test_signs_that_are_left_out_are_named(tmp_path):
    with pytest.warns(UserWarning, match=r"in 'x', signs such as '%' in '5.1%' are left out"):
        assert from_csv(["5.1%", "7%"], tmp_path).tolist() == [5.1, 7]


def test_text_that_is_read_as_numbers_is_named():
    with pytest.warns(UserWarning, match=r"text in 'x' is read as numbers"):
        from_pandas(["20,63", "2,7"], None)


@pytest.mark.parametrize(
    "series",
    [
        pd.Series(["1", "2", "3", "1"], dtype="category"),
        pl.Series(["1", "2", "3", "1"], dtype=pl.Categorical),
        pl.Series(["1", "2", "3", "1"], dtype=pl.Enum(["1", "2", "3"])),
    ],
    ids=["category", "Categorical", "Enum"],
)
def test_types_of_categories_are_not_read_as_numbers(series):
    library = pd if isinstance(series, pd.Series) else pl
    column = Columns.learn(library.DataFrame({"x": series})).columns[0]
    assert (column.kind, column.categories) == ("category", ("1", "2", "3"))


def test_a_first_line_may_name_the_delimiter(tmp_path):
    for line, mark in (("sep=;", ";"), ('"sep=|"', "|"), ("SEP=\t", "\t")):
        (tmp_path / "t.csv").write_text(f"{line}\r\na{mark}b\r\n1,5{mark}2\r\n")
        X, _, columns = read_table(tmp_path / "t.csv")
        assert columns.names == ("a", "b")
        assert X.tolist() == [[1.5, 2]]


def test_a_table_without_names_may_have_decimal_commas(tmp_path):
    (tmp_path / "t.csv").write_text("20,63;2,7\n1,5;−3,25\n")
    X, _, columns = read_table(tmp_path / "t.csv")
    assert columns.names == ("x0", "x1")
    assert X.tolist() == [[20.63, 2.7], [1.5, -3.25]]


@pytest.mark.parametrize(
    ("cells", "categories"),
    [
        (["+", "-", "+", "-", "NA"], ("+", "-")),
        (["a", "?", "b", "-", "a"], ("a", "b")),
        (["20", "21", "hall", "20"], ("20", "21", "hall")),
    ],
)
def test_text_remains_categories(cells, categories, tmp_path):
    columns = read_table(text_file(tmp_path / "table.csv", cells))[2]
    assert columns.columns[0].categories == categories


def test_many_rare_texts_are_not_categories(tmp_path):
    cells = [f"{i} kg" for i in range(30) for _ in range(1 + i % 2)]
    with pytest.raises(ValueError, match="column 'x' has 30 different texts in 45 rows"):
        from_csv(cells, tmp_path)


class TestOptions:
    TEXT = "id,room,flag,size,kind\n7,1,0,2.5,a\n8,2,1,err,b\n9,1,1,3.5,a\n"

    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "table.csv").write_text(self.TEXT)
        return tmp_path / "table.csv"

    def test_columns_are_dropped_and_chosen(self, path):
        assert read_table(path, drop="id")[2].names == ("room", "flag", "size", "kind")
        X, y, columns = read_table(path, "kind", ["flag", "room"])
        assert columns.names == ("room", "flag")
        assert y.tolist() == ["a", "b", "a"]
        assert X.tolist() == [[1, 0], [2, 1], [1, 1]]

    def test_kinds_can_be_declared(self, path):
        options = {"categorical": ["room"], "numeric": ["flag", "size"], "na_values": "err"}
        X, _, columns = read_table(path, "kind", **options)
        kinds = {c.name: (c.kind, c.categories) for c in columns.columns}
        assert kinds["room"] == ("boolean", ("1", "2"))
        assert kinds["flag"] == kinds["size"] == ("number", ())
        np.testing.assert_array_equal(X[:, 3], [2.5, np.nan, 3.5])
        with pytest.raises(ValueError, match="'size' holds 'err' in row 1, which is not a number"):
            read_table(path, numeric="size")

    def test_typed_columns_can_be_categories(self, tmp_path):
        frame = pd.read_csv(pd.io.common.StringIO(self.TEXT))
        frame.to_parquet(tmp_path / "table.parquet")
        X, _, columns = read_table(
            tmp_path / "table.parquet", "kind", categorical="room", drop="size", na_values=9
        )
        assert columns.columns[1].categories == (1, 2)
        np.testing.assert_array_equal(X[:, 0], [7, 8, np.nan])
        assert columns.to_frame(np.nan_to_num(X))["room"].tolist() == [1, 2, 1]
        again = read_table(tmp_path / "table.parquet", "kind", columns)[0]  # without options
        np.testing.assert_array_equal(again, X)

    def test_a_label_can_be_categorical(self, path):
        assert load(path, label="room", categorical="room", drop="size").y.tolist() == list("121")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"drop": "idd"}, "drop: there is no column 'idd'.* Did you mean 'id'"),
            ({"columns": ["rooms"]}, "columns: there is no column 'rooms'"),
            ({"categorical": ["x"]}, "categorical: there is no column 'x'; columns: id, room"),
            ({"numeric": "a", "categorical": "a"}, "'a' is both in categorical and in numeric"),
            ({"columns": "id", "drop": "id"}, "no column is left"),
            ({"numeric": "kind"}, "column 'kind' holds 'a' in row 0, which is not a number"),
        ],
    )
    def test_mistakes_are_named(self, path, options, words):
        with pytest.raises(ValueError, match=words):
            read_table(path, **options)

    def test_options_are_for_tables(self):
        with pytest.raises(ValueError, match="drop is for tables"):
            load("digits", drop="id")

    def test_folders_of_parquet_have_columns_to_drop(self, tmp_path):
        for name in "ab":
            frame = pd.DataFrame({"id": [1, 2], "x": [0.5, 1.5], "y": [2.5, 3.5]})
            frame.to_parquet(tmp_path / f"{name}.parquet")
        assert load(tmp_path, drop="id").X.shape == (4, 2)
        assert load(tmp_path, columns=["x"]).X.tolist() == [[0.5], [1.5]] * 2
        with pytest.raises(ValueError, match="na_values is for tables in one file"):
            load(tmp_path, na_values="?")


class TestKnownColumns:
    """Another table is read as the one before, by every reader."""

    ROWS = tuple(f"{i},5;{i % 2 + 1};{'ab'[i % 2]};{900 + i}" for i in range(12))

    @pytest.fixture
    def columns(self, tmp_path):
        (tmp_path / "first.csv").write_text("\n".join(["x;room;kind;id", *self.ROWS]))
        options = {"categorical": "room", "drop": "id", "na_values": "999"}
        return load(tmp_path / "first.csv", **options).columns

    def test_columns_survive_json(self, columns):
        assert Columns.from_json(columns.to_json()) == columns
        assert columns.columns[0].format == NumberFormat(",")

    @pytest.mark.parametrize("entry", [{"decimal": ";"}, {"na_values": [3]}, {"rows": []}, []])
    def test_saved_options_are_checked(self, columns, entry):
        with pytest.raises(ValueError, match=r"table options|decimal"):
            Columns.from_json(columns.to_json() | {"options": entry})

    @pytest.mark.parametrize("change", [{"suffix": "x"}, {"decimal": ""}, {"a": 1}])
    def test_saved_formats_are_checked(self, columns, change):
        saved = columns.to_json()
        saved["columns"][0]["format"] |= change
        with pytest.raises(ValueError, match="expected decimal, prefix and suffix"):
            Columns.from_json(saved)

    def test_other_files_are_read_the_same_way(self, columns, tmp_path):
        path = tmp_path / "second.csv"
        path.write_text("kind;x;room;id\na;1.234;2;7\n?;999;1;8\n")  # alone, 1.234 is ambiguous
        expected = [[1234, 1, 0], [np.nan, 0, np.nan]]
        np.testing.assert_array_equal(read_table(path, columns=columns)[0], expected)
        chunks = [c.X for c in read_chunks(path, FeatureColumns(3, columns), 1)]
        np.testing.assert_array_equal(np.concatenate(chunks), expected)
        frame = pd.read_csv(path, sep=";", dtype=str)
        frame["kind"] = frame["kind"].replace("?", None)
        np.testing.assert_array_equal(columns.to_numbers(frame), expected)
        polars = pl.from_pandas(frame)
        np.testing.assert_array_equal(
            Columns(columns.columns, "polars", columns.options).to_numbers(polars), expected
        )

    def test_another_format_is_refused_unless_it_is_stated(self, columns, tmp_path):
        path = tmp_path / "second.csv"
        path.write_text("x;room;kind\n1.5;2;a\n2.25;1;b\n")
        with pytest.raises(
            ValueError, match=r"'x' held numbers such as '1,5' .* now holds '1.5' in row 0.*line 2"
        ):
            read_table(path, columns=columns)
        assert read_table(path, columns=columns, decimal=".")[0][:, 0].tolist() == [1.5, 2.25]
        with pytest.raises(ValueError, match="column 'x' held numbers when the model was fitted"):
            read_table(path, columns=columns, categorical="x")

    def test_a_category_is_not_a_word_for_missing(self, tmp_path):
        (tmp_path / "a.csv").write_text("x;kind\n" + "1;a\n2;?\n3;none\n" * 4)
        columns = read_table(tmp_path / "a.csv")[2]
        known = Columns(  # as an older version encoded it
            (columns.columns[0], isthmus.data.Column("kind", "category", "str", ("?", "a", "none")))
        )
        X = read_table(tmp_path / "a.csv", columns=known)[0]
        assert X[:3, 1].tolist() == [1, 0, 2]

    def test_booleans_of_a_frame_are_read_from_text(self, tmp_path):
        frame = pd.DataFrame({"x": [1.5, 2.5, 3.5], "yes": [True, False, True], "n": [0, 1, 1]})
        columns = Columns.learn(frame)
        frame.to_csv(tmp_path / "a.csv", index=False)
        X = read_table(tmp_path / "a.csv", columns=columns)[0]
        np.testing.assert_array_equal(X, columns.to_numbers(frame))


def test_chunks_of_a_file_have_one_format(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b\n"1,234",1\n"2,345",2\n"3,5",3\n')
    chunks = read_chunks(path, FeatureColumns(2), 2)
    with pytest.warns(UserWarning, match="'1,234' was read as 1234"):
        assert next(chunks).X[:, 0].tolist() == [1234, 2345]
    with pytest.raises(ValueError, match="'a' holds '3,5' in row 2, which is not a number"):
        next(chunks)


@pytest.mark.filterwarnings("ignore:text in")
@pytest.mark.parametrize("library", [pd, pl])
def test_gaps_in_text_are_filled_as_text(library):
    frame = library.DataFrame({"x": ["1,5 €", None, "1.234,5 €"], "n": [1.0, 2.0, 3.0]})
    columns = Columns.learn(frame)
    X = columns.to_numbers(frame)
    full = columns.fill(frame, np.where(np.isnan(X), 20.3, X), np.isnan(X))
    assert full["x"].to_list() == ["1,5 €", "20,3 €", "1.234,5 €"]
    assert columns.to_frame(np.nan_to_num(X))["x"].to_list() == [1.5, 1.5, 1234.5]


def test_filled_tables_keep_decimal_commas(tmp_path):
    from isthmus.data.tables import fill_table

    path = tmp_path / "a.csv"
    path.write_text("sep=;\nx;id;rate\n1,50;1;5%\n;2;7%\n2,5;3;?\n")
    with pytest.warns(UserWarning, match="signs"):
        X, _, columns = read_table(path, drop="id")
    gaps = np.isnan(X)
    lines = fill_table(path, np.where(gaps, 2.2, X), gaps, columns).splitlines()
    assert lines == ["x;id;rate", "1,50;1;5%", "2,2;2;7%", "2,5;3;5%"]
