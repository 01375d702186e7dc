"""Files and folders whose names are not UTF-8 work like any other."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

from isthmus._messages import as_text, printable
from isthmus.cli import main
from isthmus.data import load
from isthmus.report.pictures import Picture

BAD = os.fsdecode(b"caf\xe9")
FAST = ["--hidden", "8", "--n-components", "2", "--epochs", "1", "--random-state", "0", "--quiet"]
pytestmark = pytest.mark.skipif(os.fsencode(BAD) != b"caf\xe9", reason="names are not bytes here")


def do(*words):
    return main([*map(str, words)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data of each kind, and a run of each, whose names are not UTF-8."""
    folder, rng = tmp_path_factory.mktemp("names") / BAD, np.random.default_rng(0)
    folder.mkdir()
    X = rng.normal(size=(60, 3)).round(2)
    rows = [",".join(map(str, row)) for row in X]
    (folder / f"{BAD}.csv").write_text("\n".join(["a,b,c", *rows]))
    np.save(folder / f"{BAD}.npy", X)
    for name in (BAD, "b"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(8):
            image = rng.integers(0, 255, (6, 6), dtype=np.uint8)
            Image.fromarray(image).save(folder / "photos" / name / f"{i}{BAD}.png")
    for data in (f"{BAD}.csv", f"{BAD}.npy", "photos"):
        out = folder / f"run of {data}"
        with pytest.MonkeyPatch.context() as patch:  # drawing the report takes most of the time
            patch.setattr("isthmus.report.page.as_picture", lambda *_: Picture("", ""))
            assert do("fit", folder / data, "--out", out, *FAST) == 0
    return folder


COMMANDS = {
    "info": ["info", "RUN"],
    "evaluate": ["evaluate", "RUN", "DATA", "--samples", 2, "--rows", 4],
    "detect": ["detect", "RUN", "DATA", "--out", f"OUT{BAD}.csv"],
    "detect many": ["detect", "RUN", "DATA", "--out", f"OUT{BAD}/"],
    "search": ["search", "RUN", 1, "--out", f"OUT{BAD}.png"],
    "transform": ["transform", "RUN", "DATA", f"OUT{BAD}"],
    "sample": ["sample", "RUN", "--out", f"OUT{BAD}.png"],
    "mixture": ["sample", "RUN", "--source", "mixture", "--save", f"OUT{BAD}.npy"],
    "map": ["map", "RUN", "DATA", "--out", f"OUT{BAD}.png"],
    "compress": ["compress", "RUN", "DATA", "--out", f"OUT{BAD}.npz"],
    "traverse": ["traverse", "RUN", "--row", 1, "--out", f"OUT{BAD}.png"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("data", [f"{BAD}.csv", f"{BAD}.npy", "photos"], ids=["csv", "npy", "png"])
def test_commands_accept_names_that_are_not_utf8(folder, data, words, tmp_path, capfd):
    places = {"RUN": folder / f"run of {data}", "DATA": folder / data, "OUT": f"{tmp_path}/"}
    for name, place in places.items():
        words = [str(word).replace(name, str(place)) for word in words]
    assert do(*words) == 0
    out, err = capfd.readouterr()
    assert "\\udce9" not in out + err
    assert all(printable(line) == line for line in (out + err).split("\n"))


def test_names_of_files_and_classes_are_escaped_in_results(folder, tmp_path):
    run, photos = folder / "run of photos", folder / "photos"
    assert do("detect", run, photos, "--out", tmp_path / "scores.csv") == 0
    names = [row["file"] for row in csv.DictReader((tmp_path / "scores.csv").open())]
    assert names[-1] == r"caf\xe9/7caf\xe9.png"
    assert {*load(photos).y} == {"b", r"caf\xe9"}
    words = ["sample", run, "--source", "mixture", "--modes", 2, "--out", tmp_path / "of.png"]
    assert do(*words, "--of", BAD) == 0  # as the shell completes it
    assert do(*words, "--of", r"caf\xe9") == 0  # as it is printed


def test_an_image_with_such_a_name_is_a_query(folder, tmp_path, capsys):
    image = folder / "photos" / BAD / f"1{BAD}.png"
    assert do("search", folder / "run of photos", image, "--out", tmp_path / "s.png") == 0
    assert r"1caf\xe9.png: " in capsys.readouterr().out


def test_parquet_files_with_such_names(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / BAD).mkdir()
    table = pa.table({name: np.random.default_rng(0).normal(size=40) for name in "ab"})
    with open(tmp_path / BAD / f"{BAD}.parquet", "wb") as file:
        parquet.write_table(table, file)
    one, many = load(tmp_path / BAD / f"{BAD}.parquet"), load(tmp_path / BAD)
    assert (one.name, many.name) == (r"caf\xe9", r"caf\xe9")
    np.testing.assert_allclose(one.X, np.asarray(many.X), rtol=1e-6)
    run = tmp_path / "run"
    assert do("fit", tmp_path / BAD / f"{BAD}.parquet", "--out", run, *FAST) == 0
    assert do("transform", run, tmp_path / BAD, tmp_path / "codes") == 0


@pytest.mark.parametrize("name", ["a", "é", "\x1b", "日本"])
def test_other_names_stay_as_they_are(name):
    assert as_text(name) == name
