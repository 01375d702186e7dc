"""The commands that use a run: call them on tiny models of the digits, and check their files."""

import json
import shutil
from importlib import import_module

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from isthmus import VAE
from isthmus.cli import main
from isthmus.cli._parser import make_parser
from isthmus.data import load
from isthmus.estimators import model_io
from isthmus.runs.data import CHANGED, load_for_run

FAST = {"hidden": (32,), "epochs": 3, "random_state": 0}
DATA = load("digits")


def do(*words):
    """Run a command; errors are raised."""
    arguments = make_parser().parse_args([str(word) for word in words])
    return import_module(f"isthmus.cli.{arguments.command}").run(arguments)


def picture(path):
    """Return the pixels of an image, and check that they differ."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.std() > 1
    return pixels


def test_search_prints_and_draws_neighbours_and_stores_the_index(runs, tmp_path, capsys):
    run, out = runs["vae"], tmp_path / "found.png"
    assert do("search", run, "17", "3", "-k", 4, "--out", out) == 0
    picture(out)
    first = capsys.readouterr().out
    assert "indexed 1,797 rows" in first
    lines = [line for line in first.splitlines() if line.startswith("17 (7): ")]
    assert lines[0].count("(") == 5  # the query's label, and four neighbours
    assert " 17 (" not in lines[0]
    record = json.loads((run / "index" / "index.json").read_text())
    assert record["data"]["sha256"] == DATA.fingerprint["sha256"]
    assert do("search", run, "17", "-k", 4, "--metric", "cosine", "--out", out) == 0
    assert "indexed" not in capsys.readouterr().out


def test_search_notes_a_query_that_was_resized_or_looks_inverted(runs, tmp_path, capsys):
    shutil.copytree(runs["plain"], tmp_path / "run")
    pixels = np.kron(load("digits").X[3] * 255, np.ones((4, 4))).astype(np.uint8)
    for name, image in (("as.png", pixels), ("inverted.png", 255 - pixels)):
        Image.fromarray(image).save(tmp_path / name)
        assert main(["search", str(tmp_path / "run"), str(tmp_path / name)]) == 0
        notes = capsys.readouterr().err
        assert "resized 1 of 1 images to 8x8" in notes
        assert ("if it is inverted" in notes) == (name == "inverted.png")


def test_search_indexes_other_data_and_uses_them_again(runs, tmp_path, capsys):
    np.savez(tmp_path / "part.npz", X=DATA.X[:50], y=DATA.y[:50])
    run, out = runs["plain"], tmp_path / "found.pdf"
    assert do("search", run, "1", "-k", 2, "--data", tmp_path / "part.npz", "--out", out) == 0
    assert "indexed 50 rows" in capsys.readouterr().out
    assert out.read_bytes().startswith(b"%PDF")
    assert do("search", run, "49", "-k", 2, "--out", out) == 0
    assert "indexed" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="no row 50"):
        do("search", run, "50", "--out", out)


def test_a_corrupt_index_is_rebuilt(runs, tmp_path, capsys):
    run, out = runs["conditional"], tmp_path / "found.png"
    do("search", run, "0", "--out", out)
    (run / "index" / "index.json").write_text("{")
    capsys.readouterr()
    assert do("search", run, "0", "--out", out) == 0
    assert "indexed" in capsys.readouterr().out


def test_queries_may_be_files(runs, tmp_path, capsys):
    grey = np.uint8(255 * DATA.X[3])
    Image.fromarray(grey).resize((20, 20)).save(tmp_path / "three.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "colour.png")
    np.save(tmp_path / "one.npy", DATA.X[3])
    np.save(tmp_path / "some.npy", DATA.X[3:6])
    files = [tmp_path / name for name in ("three.png", "colour.png", "one.npy", "some.npy")]
    assert do("search", runs["vae"], *files, "-k", 3, "--out", tmp_path / "o.png") == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if ".npy: " in x or ".png: " in x]
    assert len(lines) == 6
    assert lines[2].startswith("one.npy: 3 (")  # the nearest row is the row in the file


def test_sample_from_the_prior_and_save(runs, tmp_path):
    out, rows = tmp_path / "sheet.png", tmp_path / "rows.npy"
    assert do("sample", runs["vae"], "-n", 9, "--out", out, "--save", rows) == 0
    picture(out)
    again = model_io.load(runs["vae"]).sample(9, 0)
    np.testing.assert_array_equal(np.load(rows, allow_pickle=False), again)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("plain", ["-n", 8]),
        ("plain", ["--of", 3, 5, "-n", 12, "--modes", 2]),
        ("plain", ["--around", 17, "--spread", 0.5, "--modes", 2]),
        ("vae", ["--mixture", "--modes", 2, "-n", 5]),
        ("vae", ["--around", 17, 3, "--spread", 2]),
        ("conditional", ["--of", "each", "-n", 3]),
        ("conditional", ["--around", 17]),
    ],
)
def test_sample_options(runs, name, flags, tmp_path):
    assert do("sample", runs[name], *flags, "--out", tmp_path / "sheet.png") == 0
    picture(tmp_path / "sheet.png")


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("vae", []),
        ("plain", ["--steps", 5]),
        ("vae", ["--latents", 1, 3]),
        ("plain", ["--row", 17, "--latents", 2]),
        ("vae", ["--row", 17, 3]),
        ("vae", ["--row", 17, "--toward", 3, "--away", 7]),
        ("vae", ["--grid", 4]),
        ("plain", ["--grid", 4, "--latents", 1, 2]),
        ("conditional", ["--grid", 4]),
    ],
)
def test_traverse_options(runs, name, flags, tmp_path):
    assert do("traverse", runs[name], *flags, "--out", tmp_path / "sheet.png") == 0
    picture(tmp_path / "sheet.png")


@pytest.mark.parametrize("flags", [[], ["--spherical", "--steps", 4]])
def test_interpolate(runs, flags, tmp_path):
    assert do("interpolate", runs["vae"], 0, 1, 2, *flags, "--out", tmp_path / "way.png") == 0
    picture(tmp_path / "way.png")


@pytest.mark.parametrize("flags", [[], ["--method", "pca"], ["--spread"], ["--rows", 0, 1]])
def test_map_options(runs, flags, tmp_path):
    assert do("map", runs["vae"], "digits", *flags, "--out", tmp_path / "map.svg") == 0
    assert b"<svg" in (tmp_path / "map.svg").read_bytes()


def test_map_side_by_side(runs, tmp_path):
    wide = tmp_path / "three.png"
    do("map", runs["plain"], "digits", "--beside", runs["kl"], runs["vae"], "--out", wide)
    height, width = picture(wide).shape
    assert width > 2 * height


def test_compress_and_back(runs, tmp_path, capsys):
    codes, back = tmp_path / "codes.npz", tmp_path / "back.npy"
    assert do("compress", runs["plain"], "digits", "--bits", 6, "--out", codes) == 0
    table = capsys.readouterr().out
    assert str(codes.stat().st_size) in table
    for words in ("bytes per row of the file", "error of decompressed", "not counted"):
        assert words in table
    picture(tmp_path / "codes.png")
    assert do("compress", runs["plain"], codes, "--decompress", "--out", back) == 0
    picture(tmp_path / "back.png")
    rows, plain = (
        np.load(back, allow_pickle=False),
        model_io.load(runs["plain"]).reconstruct(DATA.X),
    )
    assert rows.shape == DATA.X.shape
    assert np.abs(rows - plain).mean() < 0.05


def test_tables_are_drawn_too(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 5))
    np.savez(tmp_path / "t.npz", X=X, y=np.repeat(["low", "high"], 30))
    run, at = saved_table(X, tmp_path / "run"), ["--data", tmp_path / "t.npz"]
    out = ["--out", tmp_path / "o.png"]
    assert do("search", run, 1, *at, *out) == 0
    assert do("sample", run, *out) == 0
    assert do("traverse", run, "--row", 1, "--toward", "low", *at, *out) == 0
    assert do("interpolate", run, 0, 59, *at, *out) == 0
    assert do("map", run, tmp_path / "t.npz", *out) == 0
    assert do("compress", run, tmp_path / "t.npz", "--out", tmp_path / "c.npz") == 0
    with pytest.raises(ValueError, match="place was not recorded; give it by --data"):
        do("traverse", run)


def saved_table(X, folder):
    model_io.save(VAE(n_components=2, **FAST).fit(X), folder, {"name": "t"})
    return folder


def recorded(path, folder, **options):
    """Save a run that records the path of its data; return its folder."""
    data = load(path, **options)
    model_io.save(VAE(n_components=2, **FAST).fit(data.rows), folder, data.fingerprint)
    return folder


@pytest.fixture
def table(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 3)).round(3).astype(str)
    kinds = np.repeat(["low", "high"], 30)
    lines = [",".join([*row, kind]) for row, kind in zip(rows, kinds, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,kind", *lines]))
    return tmp_path / "t.csv"


def test_a_run_finds_its_own_data_again(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = recorded("t.csv", tmp_path / "run", label="kind")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found, wanted = load_for_run(run), load(table, label="kind")
    np.testing.assert_array_equal(found.X, wanted.X)
    np.testing.assert_array_equal(found.y, wanted.y)
    assert found.fingerprint == wanted.fingerprint
    assert CHANGED not in found.notes
    assert do("traverse", run, "--row", 1, "--toward", "low", "--out", "sheet.png") == 0
    assert do("interpolate", run, 0, 1, "--out", "way.png") == 0
    assert capsys.readouterr().err == ""


def test_given_data_take_precedence_over_recorded_data(table, tmp_path):
    run = recorded(table, tmp_path / "run", label="kind")
    np.save(tmp_path / "other.npy", np.ones((2, 3)))
    assert load_for_run(run, tmp_path / "other.npy").y is None
    assert load_for_run(run, "digits").name == "digits"
    with pytest.raises(ValueError, match="got 'colour'"):
        load_for_run(run, label="colour")


@pytest.mark.parametrize("size", [6, (5, 7)])
def test_images_are_loaded_again_in_their_size(tmp_path, size):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(12):
        Image.fromarray(np.uint8(DATA.X[i] * 255)).save(photos / f"{i}.png")
    run = recorded(photos, tmp_path / "run", size=size)
    found = load_for_run(run)
    assert found.X.shape[1:] == ((6, 6) if size == 6 else size)
    assert CHANGED not in found.notes


def test_missing_data_are_reported_in_one_line(table, tmp_path):
    run = recorded(table, tmp_path / "run", label="kind")
    table.rename(tmp_path / "moved.csv")
    with pytest.raises(ValueError, match="no longer at") as caught:
        do("traverse", run, "--row", 1)
    assert str(caught.value) == (
        f"the data of {run} are no longer at {table}; give their place by --data PATH."
    )
    assert len(load_for_run(run, tmp_path / "moved.csv", label="kind").X) == 60


@pytest.mark.parametrize("most", [0, 2**28])
def test_data_that_changed_are_noted(table, tmp_path, most, monkeypatch, capsys):
    monkeypatch.setattr("isthmus.runs.data.MAX_BYTES_TO_COMPARE", most)
    run = recorded(table, tmp_path / "run", label="kind")
    head, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([head, "7,8,9,low", *rest]))
    assert (CHANGED in load_for_run(run).notes) == bool(
        most
    )  # only the shape of large data is compared
    table.write_text("\n".join([head, first, *rest[:-1]]))
    assert load_for_run(run).notes[-1] == CHANGED
    assert str(table) not in CHANGED
    assert do("interpolate", run, 0, 1, "--out", tmp_path / "o.png") == 0
    assert capsys.readouterr().err == f"note: {CHANGED}\n"


def test_a_link_keeps_its_own_name(table, tmp_path):
    (tmp_path / "objects").mkdir()
    table.rename(tmp_path / "objects" / "0123")
    table.symlink_to(tmp_path / "objects" / "0123")
    assert len(load_for_run(recorded(table, tmp_path / "run", label="kind")).X) == 60


@pytest.mark.parametrize(
    "entries",
    [
        {"source": "x" * 4097},
        {"source": ""},
        {"source": ["/data"]},
        {"source": "/data", "size": 0},
        {"source": "/data", "size": [1, 2, 3]},
        {"source": "/data", "size": 2**40},
        {"source": "/data", "label": ["kind"]},
        {"source": "/data", "label": "x" * 10_001},
    ],
    ids=lambda entries: str(entries)[:40],
)
def test_the_recorded_source_of_a_run_is_validated(runs, tmp_path, entries):
    config = json.loads((runs["vae"] / "config.json").read_text())
    del config["sha256"]
    config["data"] |= entries
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="expected") as caught:
        load_for_run(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["/no\nwhere\0", "/dev/zero", "\udcff" * 4096])
def test_an_invalid_recorded_source_is_reported_in_one_line(runs, tmp_path, source):
    config = json.loads((runs["vae"] / "config.json").read_text())
    del config["sha256"]
    config["data"] |= {"source": source, "size": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((ValueError, OSError)) as caught:
        load_for_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_too_long_is_not_recorded(monkeypatch, tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    monkeypatch.setattr("isthmus.data.datasets.MAX_PATH_LENGTH", 5)
    assert load(tmp_path / "x.npy").source is None


MISTAKES = [
    (["search", "vae", "nope"], "'nope' is not a query"),
    (["search", "vae", "test:0"], "has no test set"),
    (["search", "vae", "0", "-k", 0], "-k must be"),
    (["search", "vae", "0", "--out", "sheet.doc"], "--out must end in"),
    (["search", "vae", "0", "--out", "no/where/sheet.png"], "create it first"),
    (["sample", "vae", "--of", 3], "VAE cannot generate a given class"),
    (["sample", "plain", "--of", 33], "unknown class '33'; known classes: 0, 1"),
    (["sample", "vae", "-n", 0], "expected a whole number of at least 1, got 0"),
    (["sample", "vae", "-n", 1601], "at most 1600 examples in all"),
    (["sample", "vae", "--of", 3, "--around", 3], "exclude each other"),
    (["sample", "vae", "--save", "rows.csv"], ".npy"),
    (["sample", "vae", "--out", "rows.csv"], "needs a model of a table"),
    (["traverse", "vae", "--latents", 4], "no latent 4"),
    (["traverse", "vae", "--toward", 3], "need --row"),
    (["traverse", "vae", "--steps", 1], "--steps: expected a whole number from 2 to 40, got 1"),
    (["traverse", "vae", "--row", 0, "--toward", "x"], "unknown class 'x'"),
    (["traverse", "vae", "--grid", 5, "--latents", 1], "needs two --latents"),
    (["interpolate", "vae", 0], "expected 2 to 40 examples, got 1"),
    (["interpolate", "vae", 0, 1, "--steps", "x"], "--steps: invalid whole number value: 'x'"),
    (["map", "plain", "digits", "--spread"], "are points"),
    (["map", "vae", "digits", "--spread", "--rows", 0], "exclude each other"),
    (["map", "vae", "digits", "--beside", "vae"], "each run once"),
    (["compress", "vae", "digits", "--bits", 17], "1 to 16"),
    (["compress", "vae", "digits", "--out", "codes.zip"], "must end in .npz"),
    (["compress", "vae", "digits", "--test"], "no test set"),
    (["compress", "vae", "nope.npz", "--decompress"], "nope.npz"),
    (["denoise", "vae", "nope.png", "--rate", 0], "--rate: expected a whole number of at least 1"),
    (["push", "vae", "me/digits", "--data", "digits"], "require --examples"),
]


def test_mistakes_are_one_line(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, complaint in MISTAKES:
        named = [str(runs.get(word, word)) for word in words]
        assert main(named) == 2, words
        error = capsys.readouterr().err
        assert complaint in error, words
        assert error.startswith(f"isthmus {words[0]}: "), words
        assert error.count("\n") == 1, words
    assert not list(tmp_path.iterdir())


def test_a_folder_of_pictures_is_searched_by_a_picture_and_sampled_by_class(tmp_path):
    photos, digits = tmp_path / "photos", load_digits()
    for k in (0, 1):
        (photos / f"digit {k}").mkdir(parents=True)
        for i, image in enumerate(digits.images[digits.target == k][:6]):
            Image.fromarray(np.uint8(image * 15)).save(photos / f"digit {k}" / f"{i}.png")
    data, run, out = load(photos), tmp_path / "run", tmp_path / "o.png"
    model_io.save(VAE(n_components=2, **FAST).fit(data.X), run, data.fingerprint)
    at = ["--data", photos, "--out", out]
    assert do("search", run, photos / "digit 1" / "2.png", "-k", 3, *at) == 0
    assert do("sample", run, "--mixture", "--modes", 1, "--of", "digit 0", *at) == 0
    picture(out)


def test_a_run_of_a_mixed_table_generates_rows_with_the_same_columns(tmp_path, capsys):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 120)
    table = pd.DataFrame(
        {
            "age": 20 + 10 * kind + rng.integers(0, 5, 120),
            "pet": np.array(["cat", "dog", "eel"])[kind],
            "member": np.where(kind > 1, "yes", "no"),
        }
    )
    table.loc[5, "pet"] = None
    table.to_csv(tmp_path / "people.csv", index=False)
    data, folder = str(tmp_path / "people.csv"), str(tmp_path / "run")
    flags = ["--epochs", "3", "--n-components", "2", "--missing", "ignore"]
    assert main(["fit", data, "--out", folder, "--quiet", *flags]) == 0
    assert main(["sample", folder, "-n", "2000", "--out", str(tmp_path / "rows.csv")]) == 0
    made = pd.read_csv(tmp_path / "rows.csv")
    assert list(made.columns) == list(table.columns)
    assert len(made) == 2000
    assert made["age"].dtype == np.int64
    assert set(made["pet"]) <= {"cat", "dog", "eel"}
    assert main(["impute", folder, data]) == 0
    full = pd.read_csv(tmp_path / "run" / "people-imputed.csv")
    assert not full.isna().any().any()
    assert main(["compress", folder, data]) == 0
    assert main(["compress", folder, folder + "/codes.npz", "--decompress"]) == 0
    assert list(pd.read_csv(folder + "/rows.csv").columns) == list(table.columns)
    assert main(["info", folder]) == 0
    assert "3 categories: cat, dog, eel" in capsys.readouterr().out
    table.drop(columns="age").to_csv(tmp_path / "less.csv", index=False)
    assert main(["evaluate", folder, str(tmp_path / "less.csv")]) == 2
    assert "missing: age" in capsys.readouterr().err


COMMANDS = {
    "index": ["search", "{run}", "0"],
    "mixture": ["sample", "{run}", "--source", "mixture", "-n", "4"],
    "detector": ["detect", "{run}", "{data}", "--out", "{data}.csv"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_stored_through_a_link_in_a_run(run, tmp_path, capsys, name):
    copied, data = tmp_path / "run", tmp_path / "data.npy"
    shutil.copytree(run, copied)
    np.save(data, DATA.X[:20])
    (tmp_path / "elsewhere").mkdir()
    (copied / name).symlink_to(tmp_path / "elsewhere")
    assert do(*[word.format(run=copied, data=data) for word in COMMANDS[name]]) == 0
    lines = capsys.readouterr()
    assert f"expected a folder, found a link; remove it: '{copied / name}'" in lines.out + lines.err
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_networks_are_not_exported_through_a_link_in_a_run(run, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("isthmus.export.encoder", lambda *arguments: b"a graph")
    monkeypatch.setattr("isthmus.export.PARTS", {"encoder": None})
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError, match="found a link"):
        do("export", tmp_path / "run", "--onnx")
    assert not [*(tmp_path / "elsewhere").iterdir()]
