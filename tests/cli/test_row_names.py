"""What goes in and comes out is named: files, ids, one image, other sizes, folders of media."""

import csv

import numpy as np
import pytest
from PIL import Image

from isthmus import VAE
from isthmus.cli import main
from isthmus.cli._parser import make_parser
from isthmus.data import load
from isthmus.data.row_ids import read_ids
from isthmus.data.wav import AudioClip, write_wav
from isthmus.estimators import model_io
from isthmus.runs import DataArguments, load_for_run

RNG = np.random.default_rng(0)
FAST = {"n_components": 2, "hidden": (8,), "epochs": 1, "random_state": 0, "progress": "none"}


def write_images(folder, n=12, size=(6, 8), mode="L"):
    for i in range(n):
        pixels = RNG.integers(0, 255, (*size, 3)).astype(np.uint8)
        path = folder / ("odd", "even")[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(path)
    return folder


def write_table(path, n=30):
    rows = [f"{x:.3f},{y:.3f},c{i:03}" for i, (x, y) in enumerate(RNG.normal(size=(n, 2)))]
    path.write_text("\n".join(["width,height,customer", *rows]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs on images (6 x 8), on audio at 1000 Hz and on a table with an id, and their data."""
    root = tmp_path_factory.mktemp("named")
    write_images(root / "photos")
    (root / "sounds").mkdir()
    for i in range(3):
        clip = AudioClip(RNG.normal(0, 0.1, (1, 250)), 1000)
        write_wav(root / "sounds" / f"{i}.wav", clip)
    write_table(root / "table.csv")
    for name, source, options in (
        ("images", "photos", {}),
        ("audio", "sounds", {"size": 100}),
        ("rows", "table.csv", {"id_column": "customer"}),
    ):
        data = load(root / source, **options)
        model_io.save(VAE(**FAST).fit(data.rows), root / name, data.fingerprint)
    return root


@pytest.fixture
def call(folder, monkeypatch, tmp_path, capsys):
    """Run a command in the folder of the runs; return the exit code and what it printed."""
    monkeypatch.chdir(folder)

    def call(*words):
        code = main([*map(str, words)])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def table_of(path):
    with path.open() as file:
        return [*csv.DictReader(file)]


def test_detect_names_images(call, tmp_path):
    out = tmp_path / "scores.csv"
    code, printed = call("detect", "images", "photos", "--contamination", 0.1, "--out", out)
    assert code == 0, printed
    rows = table_of(out)
    assert [*rows[0]] == ["row", "file", "anomaly_score", "pvalue", "prediction"]
    assert [row["file"] for row in rows[:2]] == ["even/01.png", "even/03.png"]
    worst = max(rows, key=lambda row: float(row["anomaly_score"]))
    assert f"flagged: {worst['file']} (score" in printed


def test_detect_names_windows_of_audio_and_their_start(call, tmp_path):
    out = tmp_path / "scores.csv"
    code, printed = call("detect", "audio", "sounds", "--out", out)
    assert code == 0, printed
    assert [(row["file"], float(row["start"])) for row in table_of(out)[:5]] == [
        *(("0.wav", start) for start in (0, 0.05, 0.1, 0.15)),
        ("1.wav", 0),
    ]


def test_detect_names_rows_by_the_id_column(call, tmp_path):
    out = tmp_path / "scores.csv"
    # The run records the id column; the flag is needed for tables that name it otherwise.
    words = ("--normal", "table.csv", "--contamination", 0.1)
    code, printed = call("detect", "rows", "table.csv", *words, "--out", out)
    assert code == 0, printed
    assert [row["customer"] for row in table_of(out)[:2]] == ["c000", "c001"]
    assert "flagged: c0" in printed
    other = tmp_path / "other.csv"
    other.write_text("id,height,width\n007,1,2\n008,2,1\n009,1,1\n")
    code, printed = call("detect", "rows", other, "--normal", "table.csv", "--out", out)
    assert (code, "columns the model does not use: id" in printed) == (0, True)
    code, printed = call(
        "detect", "rows", other, "--id", "id", "--normal", "table.csv", "--out", out
    )
    assert code == 0, printed
    assert [row["id"] for row in table_of(out)] == ["007", "008", "009"]  # not numbers
    code, printed = call("detect", "rows", other, "--id", "idd", "--out", out)
    assert (code, "columns: id, height, width. Did you mean 'id'?" in printed) == (2, True)


@pytest.mark.parametrize("name", ["photos/odd/00.png", "sounds/0.wav"])
def test_detect_takes_one_file(call, tmp_path, name):
    run, normal = ("images", "photos") if name.endswith("png") else ("audio", "sounds")
    out = tmp_path / "scores.csv"
    code, printed = call("detect", run, name, "--normal", normal, "--out", out)
    assert code == 0, printed
    assert {row["file"] for row in table_of(out)} == {name.rpartition("/")[2]}
    together = tmp_path / "all.csv"
    call("detect", run, normal, "--out", together)
    score = next(r for r in table_of(together) if name.endswith(r["file"]))["anomaly_score"]
    assert float(table_of(out)[0]["anomaly_score"]) == pytest.approx(float(score), rel=1e-5)
    assert call("detect", run, name, "--out", out)[0] == 0  # by the run's detector


@pytest.mark.parametrize("names", [["photos/odd/00.png", "photos/even/01.png"], ["photos/*/*.png"]])
def test_detect_scores_several_images_in_one_table(call, tmp_path, names):
    out = tmp_path / "scores.csv"
    code, printed = call("detect", "images", *names, "--normal", "photos", "--out", out)
    assert code == 0, printed
    found = {row["file"]: row["anomaly_score"] for row in table_of(out)}
    assert len(found) == (2 if len(names) > 1 else 12)
    together = tmp_path / "all.csv"
    call("detect", "images", "photos", "--normal", "photos", "--out", together)
    for row in table_of(together):
        if (name := f"photos/{row['file']}") in found:
            assert float(found[name]) == pytest.approx(float(row["anomaly_score"]), rel=1e-5)


def test_ids_of_parquet_keep_their_type(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"x": [1.0, 2.0], "n": [7, 8], "day": pd.to_datetime(["2024-02-01"] * 2)})
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_ids(tmp_path / "a.parquet", "n").tolist() == [7, 8]
    assert read_ids(tmp_path / "a.parquet", "day")[0].startswith("2024-02-01")


def test_other_sizes_are_resized_only_on_request(call, tmp_path):
    write_images(tmp_path / "large", 3, (12, 20), "RGB")
    words = ("detect", "images", tmp_path / "large", "--normal", "photos")
    words = (*words, "--out", tmp_path / "scores.csv")
    code, printed = call(*words)
    assert code == 2
    assert "12 x 20 pixels (height x width), but the model takes 6 x 8; add --resize" in printed
    code, printed = call(*words, "--resize")
    assert code == 0, printed
    assert "note: resized 3 of 3 images to 6x8 (height x width)" in printed
    assert "note: converted 3 of 3 images from colour to grey, as the model takes" in printed
    assert call(*words, "--size", "6x8")[0] == 0
    assert "expected a whole number of at least 1" in call(*words, "--size", "6x0")[1]
    assert "resize is for images or audio" in call("detect", "rows", "table.csv", "--resize")[1]


def test_a_height_and_a_width_are_read_and_recorded(call, tmp_path):
    size = make_parser().parse_args(["fit", "photos", "--size", "12x20"]).size
    data = load("photos", size=size)
    assert data.X.shape == (12, 12, 20)
    arguments = DataArguments("my photos", size=size)
    assert arguments.command_line == "'my photos' --size 12x20"
    model_io.save(VAE(**FAST).fit(data.X), tmp_path / "run", data.fingerprint)
    out = tmp_path / "sheet.png"
    code, printed = call("search", tmp_path / "run", 0, "-k", 2, "--out", out)
    assert code == 0, printed
    assert "0 (even) even/01.png: " in printed
    assert "note: resized 12 of 12 images to 12x20 (height x width)" in printed


def test_search_answers_with_names(call, tmp_path):
    for run, query, name in (
        ("images", "photos/odd/00.png", "00.png: "),
        ("audio", 0, "0 0.wav at 0.0 s: "),
        ("rows", 3, "3 c003: "),
    ):
        code, printed = call("search", run, query, "-k", 2, "--out", tmp_path / "sheet.png")
        assert code == 0, printed
        line = next(line for line in printed.splitlines() if name in line)
        found = line.split(": ")[1]
        assert all(
            {"images": ".png (", "audio": " s (", "rows": "c0"}[run] in word
            for word in found.split("), ")
        )


def test_transform_takes_folders_of_images_and_audio(call, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "codes"
    code, printed = call("transform", "images", "photos", "photos/odd/00.png", out)
    assert code == 0, printed
    table = parquet.read_table(out / "photos.parquet")
    assert table.column_names == ["file", "vae0", "vae1"]
    model, data = model_io.load("images"), load("photos")
    np.testing.assert_allclose(table["vae0"], model.transform(data.X)[:, 0], rtol=1e-5)
    assert table["file"].to_pylist() == data.ids["file"].tolist()
    assert parquet.read_table(out / "00.parquet").num_rows == 1
    assert "finished before" in call("transform", "images", "photos", out)[1]
    code, printed = call("transform", "audio", "sounds", tmp_path / "more")
    assert code == 0, printed
    sounds = parquet.read_table(tmp_path / "more" / "sounds.parquet")
    assert (sounds.column_names[:2], sounds.num_rows) == (["file", "start"], 12)
    table = tmp_path / "ids"
    assert call("transform", "rows", "table.csv", table, "--id", "customer")[0] == 0
    assert (table / "table.csv").read_text().splitlines()[2].startswith("c001,")


def test_a_changed_folder_is_encoded_again(call, tmp_path):
    pytest.importorskip("pyarrow")
    photos = write_images(tmp_path / "new", 3)
    assert "3 rows" in call("transform", "images", photos, tmp_path / "codes")[1]
    Image.new("L", (8, 6)).save(photos / "odd" / "more.png")
    assert "4 rows" in call("transform", "images", photos, tmp_path / "codes")[1]


def test_detect_names_the_files_of_several_folders(call, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_images(tmp_path / "a", 3)
    write_images(tmp_path / "b", 4, (12, 20))
    words = ("detect", "images", tmp_path / "a", tmp_path / "b", "--normal", "photos")
    code, printed = call(*words, "--out", tmp_path / "scores/")
    assert (code, "b: the images have 12 x 20 pixels" in printed) == (1, True), printed
    code, printed = call(*words, "--out", tmp_path / "scores/", "--resize")
    assert code == 0, printed
    assert "resized 4 of 4 images to 6x8" in printed
    assert "Warning" not in printed
    table = parquet.read_table(tmp_path / "scores" / "b.parquet")
    assert table["file"].to_pylist()[0] == "even/01.png"


def test_audio_is_resampled_to_the_rate_of_the_run(call, tmp_path):
    t = np.arange(500) / 2000
    write_wav(tmp_path / "fast.wav", AudioClip(0.1 * np.sin(400 * t)[None], 2000))
    code, printed = call(
        "detect", "audio", tmp_path / "fast.wav", "--normal", "sounds", "--out", tmp_path / "s.csv"
    )
    assert code == 0, printed
    assert "note: resampled 1 of 1 files to 1000 Hz" in printed
    assert [float(row["start"]) for row in table_of(tmp_path / "s.csv")] == [0, 0.05, 0.1, 0.15]


def test_other_commands_know_the_id_column(call, tmp_path):
    table = tmp_path / "gaps.csv"
    table.write_text("customer,width,height\nc1,,2.0\nc2,1.0,1.0\n")
    code, printed = call("impute", "rows", table, "--out", tmp_path / "full.csv", "--draws", 2)
    assert code == 0, printed
    rows = table_of(tmp_path / "full.csv")
    assert [row["customer"] for row in rows] == ["c1", "c2"]
    assert np.isfinite(float(rows[0]["width"]))
    assert load_for_run("rows", "table.csv").ids["customer"][0] == "c000"
    assert load_for_run("rows").columns.names == ("width", "height")
