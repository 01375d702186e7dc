"""Text tables: delimiters, headers, labels, missing values and invalid files."""

import time
import warnings

import numpy as np
import pytest

from isthmus.data import read_table
from isthmus.data.tables import fill_table


@pytest.fixture
def table(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_are_detected(table, delimiter, newline, mark):
    rows = ["a|b|c", "1|2|3", "", "4|-5e-1|6"]
    X, y, columns = read_table(table(mark + newline.join(rows).replace("|", delimiter)))
    np.testing.assert_array_equal(X, [[1, 2, 3], [4, -0.5, 6]])
    assert X.dtype == np.float64
    assert y is None
    assert columns.names == ("a", "b", "c")


def test_tsv_files_are_tab_separated(table):
    X, _, columns = read_table(table("a,b\tc\n1\t2\n", "table.tsv"))
    assert columns.names == ("a,b", "c")
    np.testing.assert_array_equal(X, [[1, 2]])


def test_one_column(table):
    X, _, columns = read_table(table("height\n1.5\n2.5\n"))
    np.testing.assert_array_equal(X, [[1.5], [2.5]])
    assert columns.names == ("height",)


def test_a_table_without_names(table):
    X, _, columns = read_table(table("1,2\n3,4\n"))
    np.testing.assert_array_equal(X, [[1, 2], [3, 4]])
    assert columns.names == ("x0", "x1")


def test_quoted_names_and_a_nameless_column(table):
    _, _, columns = read_table(table('"","weight, kg"\n0,70\n'))
    assert columns.names == ("x0", "weight, kg")


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA", "null"])
def test_missing_values_are_nan(table, cell):
    X, _, _ = read_table(table(f"a,b\n1,{cell}\n{cell},2\n"))
    np.testing.assert_array_equal(X, [[1, np.nan], [np.nan, 2]])


@pytest.mark.parametrize("label", ["kind", 1, -2, "1"])
def test_label_is_returned_as_y(table, label):
    X, y, columns = read_table(table("a,kind,b\n1,cat,2\n3, dog,4\n"), label)
    np.testing.assert_array_equal(X, [[1, 2], [3, 4]])
    assert y.tolist() == ["cat", "dog"]
    assert columns.names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "names", "n"),
    [
        ("0,1,2\n5,6,7\n8,9,1\n", ("0", "1", "2"), 2),  # as pandas writes a frame of an array
        (",0,1,2\n0,.5,6,7\n1,8,9,1\n", ("x0", "0", "1", "2"), 2),  # with its index
        ("0,1\n.5,.25\n1,0\n", ("0", "1"), 2),
        ("0,1\n1,1\n1,0\n", ("x0", "x1"), 3),  # rows of zeros and ones
        ("0,1,3\n5,6,7\n", ("x0", "x1", "x2"), 2),
        ("0,1,2\n", ("x0", "x1", "x2"), 1),
    ],
)
def test_a_row_counting_the_columns_is_a_header(table, text, names, n):
    X, _, columns = read_table(table(text))
    assert columns.names == names
    assert len(X) == n


@pytest.mark.parametrize("label", [2, -1, "2", "-1"])
def test_a_text_label_is_not_a_header(table, label):
    X, y, columns = read_table(table("5.1,3.5,setosa\n7.0,3.2,versicolor\n"), label)
    assert X.shape == (2, 2)
    assert y.tolist() == ["setosa", "versicolor"]
    assert columns.names == ("x0", "x1")


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        (["3", "-1"], np.int64, [3, -1]),
        (["3", "1.5"], np.float64, [3, 1.5]),
        (["3", ""], np.float64, [3, np.nan]),
        (["1_0", "2"], "U3", ["1_0", "2"]),
        (["9" * 30, "1"], np.float64, [1e30, 1]),
    ],
)
def test_the_type_of_the_label(table, cells, dtype, expected):
    _, y, _ = read_table(table(f"a,b\n1,{cells[0]}\n2,{cells[1]}\n"), "b")
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)


def test_a_label_string_matches_names_before_indices(table):
    path = table("1,a,b\n5,6,7\n")
    assert read_table(path, "1")[1].tolist() == [5]
    assert read_table(path, 1)[1].tolist() == [6]


BAD = {
    "names": (
        "a,city\n" + "".join(f"{i},city{i}\n" for i in range(11)),
        None,
        "column 'city' has 11 different texts in 11 rows, such as 'city0'",
    ),
    "two of a name": ("a,a\n1,x\n", None, "two columns are named 'a'"),
    "short row": ("a,b,c\n1,2,3\n4,5\n", None, "expected 3 cells per row"),
    "row named": ("a,b\n1,2\n3,4,5\n", None, "row 3 has 3"),
    "empty": ("", None, "found none"),
    "only blank lines": ("\n\n", None, "found none"),
    "only names": ("a,b\n", None, "found none"),
    "not text": (b"\xff\xfe\x00\x81", None, "expected text in UTF-8"),
    "immense cell": ("a\n" + "1" * 200_000, None, "expected a text table"),
    "unknown label": ("width,height\n1,2\n", "hieght", "got 'hieght'; columns: width, height."),
    "suggestion": ("width,height\n1,2\n", "hieght", "Did you mean 'height'?"),
    "label too far": ("a,b\n1,2\n", 2, "its number from 0 to 1, got 2"),
    "label twice": ("a,a,b\n1,2,3\n", "a", "the name of one column"),
    "label alone": ("a\n1\n", "a", "expected features beside the label"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_name_the_file(table, name):
    content, label, words = BAD[name]
    with pytest.raises(ValueError, match=r"table\.csv: ") as caught:
        read_table(table(content), label)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_parquet_file_is_refused(table):
    with pytest.raises(ValueError, match=r"table\.parquet: expected a Parquet file"):
        read_table(table(b"PAR1", "table.parquet"))


def test_parquet_and_text_give_the_same_table(table, tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    text = table("a,city,kind\n1,Rome,x\n2.5,,y\n,Oslo,x\n")
    pd.read_csv(text).to_parquet(tmp_path / "same.parquet")
    X, y, columns = read_table(text, "kind")
    again, labels, taken = read_table(tmp_path / "same.parquet", "kind")
    np.testing.assert_array_equal(again, X)
    assert labels.tolist() == y.tolist()
    assert taken.summary == columns.summary


def test_texts_are_categories_or_booleans(table):
    X, _, columns = read_table(table("size,pet,member\n1,eel,Yes\n2,cat,no\n3,,\n4,dog,Yes\n"))
    np.testing.assert_array_equal(X, [[1, 2, 1], [2, 0, 0], [3, np.nan, np.nan], [4, 1, 1]])
    assert columns.columns[1].categories == ("cat", "dog", "eel")
    assert columns.columns[2].categories == ("no", "Yes")
    assert columns.likelihood == "gaussian-per-feature,categorical:3,bernoulli"


def test_columns_of_one_table_encode_another(table):
    _, _, columns = read_table(table("a,pet\n1,cat\n2,dog\n3,eel\n"))
    X, _, _ = read_table(table("pet,a\neel,5\n", "other.csv"), columns=columns)
    np.testing.assert_array_equal(X, [[5, 2]])
    with pytest.raises(ValueError, match=r"other\.csv: .*missing: a; unknown: b"):
        read_table(table("pet,b\neel,5\n", "other.csv"), columns=columns)
    with pytest.raises(
        ValueError, match=r"column 'pet' holds the unknown value 'cow' in row 1.*cat, dog, eel"
    ):
        read_table(table("pet,a\neel,5\ncow,1\n", "other.csv"), columns=columns)


def test_digits_in_a_column_of_texts_are_its_categories(table):
    _, _, columns = read_table(table("a,room\n1,20\n2,21\n3,hall\n"))
    X, _, _ = read_table(table("a,room\n4,21\n5,20\n", "other.csv"), columns=columns)
    np.testing.assert_array_equal(X, [[4, 1], [5, 0]])


def test_fill_table_keeps_the_spelling_of_other_cells(table):
    path = table("n,pet,x\n01,cat,1.50\n,,\n3,dog,2.5\n4,eel,3\n")
    X, _, columns = read_table(path)
    gaps, X[1] = np.isnan(X), [2.2, 1, 2.25]
    lines = fill_table(path, X, gaps, columns).splitlines()
    assert lines == ["n,pet,x", "01,cat,1.50", "2,dog,2.2", "3,dog,2.5", "4,eel,3"]


def test_a_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a table"):
        read_table(tmp_path / "nowhere.csv")


def test_a_large_table_is_read_fast(table):
    line = ",".join(f"{j}.25" for j in range(20)) + "\n"
    path = table(line * 20_000)
    start = time.process_time()
    X, _, _ = read_table(path)
    assert X.shape == (20_000, 20)
    assert time.process_time() - start < 5  # about a tenth of a second


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("51.2,869,y\n48.6,649,x\n30.1,700,y\n", ("x0", "x1", "x2")),
        ("m,51,no\nf,48,no\nm,30,yes\nm,31,no", ("x0", "x1", "x2")),
        ("x,no\ny,no\nx,yes\ny,yes\n", ("x0", "x1")),
        ("a,b,c\n51.2,869,a\n48.6,649,b\n", ("a", "b", "c")),
        ("id,400.5,401\n0,1.5,2\n1,2.5,3\n", ("id", "400.5", "401")),
        ("country,2019,2020\nFrance,1,2\nPeru,2,3\nFrance,2,5\n", ("country", "2019", "2020")),
    ],
)
def test_rows_of_categories_are_not_read_as_names(table, text, names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X, _, columns = read_table(table(text))
    assert columns.names == names
    assert len(X) == len(text.splitlines()) - (names[0] != "x0")


def test_a_first_row_that_may_hold_values_is_named(table):
    with pytest.warns(UserWarning, match="first row, with '2019', is read as the names"):
        read_table(table("country,2019,2020\nFrance,1,2\nPeru,2,3\nFrance,2,5\n"))


@pytest.mark.parametrize("names", ["2019,2020,2021", "400.5,401,401.5"])
def test_a_first_row_that_may_hold_names_is_named(table, names):
    with pytest.warns(UserWarning, match=r"is read as values; if it holds names, begin one with"):
        read_table(table(names + "\n" + 3 * "1,2,5\n3,1,2\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_table(table("1,2,5\n" + 3 * "3,1,7\n0,4,2\n"))


@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_counts_the_rows_is_named(table, start):
    rows = "".join(f"{start + i},{i}.5\n" for i in range(5))
    with pytest.warns(UserWarning, match="counts the rows; if it is an index"):
        read_table(table(",a\n" + rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X, _, _ = read_table(table(",a\n" + rows), drop="x0")
    assert X.shape == (5, 1)


def test_a_column_without_values_is_described(table):
    _, _, columns = read_table(table("a,b\n1,\n2,\n"))
    assert columns.columns[1].describe() == "number, without a value"
