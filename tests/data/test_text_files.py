"""Tables in compressed files, lines of JSON and other encodings, through every reader."""

import gzip

import numpy as np
import pytest

from isthmus.cli import main
from isthmus.data import load

NAMES = ["a", "café"]
ROWS = [[f"{i / 4}", "über" if i % 2 else "straße"] for i in range(24)]
CSV = "\n".join(",".join(row) for row in [NAMES, *ROWS]) + "\n"
JSON = "".join(f'{{"a": {a}, "café": "{b}"}}\n' for a, b in ROWS)
FILES = {
    "t.csv": CSV.encode(),
    "t.csv.gz": gzip.compress(CSV.encode()),
    "t.tsv.gz": gzip.compress(CSV.replace(",", "\t").encode()),
    "t.jsonl": JSON.encode(),
    "t.jsonl.gz": gzip.compress(JSON.encode()),
    "latin.csv": CSV.encode("latin-1"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    fit = ["fit", str(folder / "t.csv.gz"), "--epochs", "1", "--hidden", "4", "--quiet"]
    assert main([*fit, "--test-fraction", "0", "--out", str(folder / "run")]) == 0
    return folder


@pytest.mark.filterwarnings("ignore:.*read as Windows-1252")
@pytest.mark.parametrize("name", FILES)
def test_every_form_holds_the_same_table(folder, name):
    plain, found = load(folder / "t.csv"), load(folder / name)
    assert found.feature_names == ("a", "café")
    assert found.name == name.partition(".")[0]
    np.testing.assert_array_equal(found.X, plain.X)
    assert load(folder / name, label="café").y.tolist() == [row[1] for row in ROWS]


@pytest.mark.parametrize("name", FILES)
def test_every_form_is_encoded_and_evaluated(folder, name, tmp_path, capsys):
    run, out = str(folder / "run"), str(tmp_path / "out")
    assert main(["transform", run, str(folder / name), out, "--keep", "café"]) == 0
    assert len([*(tmp_path / "out").glob(f"{name.partition('.')[0]}.[ct]sv")]) == 1
    assert main(["evaluate", run, str(folder / name), "--samples", "1"]) == 0
    assert ("read as Windows-1252" in capsys.readouterr().err) == (name == "latin.csv")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bad.csv.gz", b"a,b\n1,2\n", "expected a gzip file"),
        ("cut.csv.gz", gzip.compress(CSV.encode() * 99)[:-30], "expected a gzip file"),
        ("bytes.csv", b"a,b\n\xff\x00,2\n", "expected text in UTF-8"),
        ("bad.jsonl", b'{"a": 1}\n[1]\n', "expected a JSON object in line 2"),
        ("deep.jsonl", b'{"a": [1]}\n{"a": [2]}\n', "line 1: 'a' holds lists"),
        ("none.jsonl", b"\n", "expected rows, found none"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="(?s)" + words.replace("(", r"\(")):
        load(tmp_path / name)


def test_a_small_file_that_unpacks_to_much_text_is_refused(tmp_path):
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * (2**22 + 99)))
    with pytest.raises(ValueError, match="unpack to much more text"):
        load(tmp_path / "bomb.csv.gz")


def test_absent_and_null_values_are_missing(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"a": null, "b": true}\n{"a": 3, "b": false}\n')
    X = load(tmp_path / "t.jsonl").X
    np.testing.assert_array_equal(X, [[1, np.nan], [np.nan, 1], [3, 0]])
