"""Bulk inference: the same bytes in any number of processes, after a crash, despite bad files."""

import multiprocessing
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

import isthmus
from isthmus.applications import AnomalyDetector
from isthmus.bulk import BatchMap, Encode, Score, WorkerRank, files, outputs
from isthmus.cli import main
from isthmus.data.chunked_reader import read_chunks
from isthmus.data.feature_columns import FeatureColumns

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pq = pytest.importorskip("pyarrow.parquet")

X = load_digits().data.astype(np.float32) / 16
SIZES = (700, 301, 96)
FAST = {"n_components": 3, "hidden": (16,), "epochs": 2, "random_state": 0}
FAST["likelihood"] = "bernoulli"


@pytest.fixture(scope="module")
def model():
    return isthmus.VAE(**FAST).fit(X)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model.save(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(files, "inference_batch_size", lambda n_features: 8)


def lists(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def write_lists(path, rows, group=1000):
    table = pa.table({"id": np.arange(len(rows)), "pixels": lists(rows)})
    pq.write_table(table, path, row_group_size=group)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of Parquet files with lists of pixels of the first digits."""
    (tmp_path / "in").mkdir()
    for n in SIZES:
        write_lists(tmp_path / "in" / f"f{n}.parquet", X[:n])
    return tmp_path


def transform(*words, rank=0, world=1, monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
    return main(["transform", *map(str, words)])


LISTS = ("--column", "pixels", "--keep", "id")


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


# ------------------------------------------------------------------------- answers


@pytest.mark.parametrize("world", [1, 3])
def test_outputs_do_not_depend_on_processes_or_row_groups(run, model, folder, world, monkeypatch):
    again = folder / "again"
    again.mkdir()
    for n in SIZES:
        write_lists(again / f"f{n}.parquet", X[:n], group=(7, 64, 999)[world % 3])
    assert transform(run, folder / "in", folder / "one", *LISTS) == 0
    for rank in reversed(range(world)):
        words = (run, again, folder / "many", *LISTS)
        assert transform(*words, rank=rank, world=world, monkeypatch=monkeypatch) == 0
    assert contents(folder / "one") == contents(folder / "many")
    table = pd.read_parquet(folder / "many" / "f301.parquet")
    assert [*table.columns] == ["id", *model.get_feature_names_out()]
    np.testing.assert_array_equal(table.iloc[:, 1:], model.transform(X[:301]))
    np.testing.assert_array_equal(table["id"], np.arange(301))


def test_all_file_types_give_the_same_codes(run, model, tmp_path):
    kinds, rows = tmp_path / "in", X[:130]
    kinds.mkdir()
    np.save(kinds / "npy.npy", rows.reshape(-1, 8, 8).reshape(-1, 64))
    np.savez(kinds / "npz.npz", X=rows, y=np.arange(130))
    frame = pd.DataFrame(rows, columns=[f"p{j}" for j in range(64)])
    frame.to_parquet(kinds / "columns.parquet")
    frame.to_csv(kinds / "text.csv", index=False)
    frame.to_csv(kinds / "bare.tsv", index=False, header=False, sep="\t")
    pq.write_table(pa.table({"x": pa.array(list(rows))}), kinds / "lists.parquet")
    assert transform(run, kinds / "*", tmp_path / "out", "--format", "npy") == 0
    found = contents(tmp_path / "out")
    assert len(found) == 6
    for name in found:
        np.testing.assert_array_equal(
            np.load(tmp_path / "out" / name).astype(np.float32), model.transform(rows), name
        )


def test_mixed_tables_are_encoded_by_column_names(tmp_path):
    rng = np.random.default_rng(0)
    kind = np.array(["1", "2", "a"])[np.r_[rng.integers(0, 2, 90), rng.integers(0, 3, 60)]]
    sure = np.array(["yes", "no"])[rng.integers(0, 2, 150)]
    frame = pd.DataFrame({"x": rng.normal(size=150), "kind": kind, "sure": sure})
    model = isthmus.VAE(**FAST | {"likelihood": "auto"}).fit(frame)
    model.save(tmp_path / "run")
    more = frame[["sure", "kind", "x"]].assign(name=[f"n{i}" for i in range(150)])
    more.to_csv(tmp_path / "text.csv", index=False)
    more.to_parquet(tmp_path / "arrow.parquet")
    words = (tmp_path / "run", tmp_path / "*.[cp]*", tmp_path / "out", "--keep", "name")
    assert transform(*words) == 0
    out = tmp_path / "out"
    for table in (pd.read_csv(out / "text.csv"), pd.read_parquet(out / "arrow.parquet")):
        np.testing.assert_array_equal(table["name"], more["name"])
        np.testing.assert_array_equal(table.iloc[:, 1:], model.transform(frame))


def test_the_output_has_the_format_of_the_input_or_the_one_named(run, model, tmp_path, capsys):
    pd.DataFrame(X[:20], columns=[f"p{j}" for j in range(64)]).to_csv(
        tmp_path / "a.csv", index=False
    )
    pd.DataFrame(X[:20]).to_csv(tmp_path / "b.tsv", index=False, header=False, sep="\t")
    assert transform(run, tmp_path / "[ab].*", tmp_path / "out") == 0
    for name, mark in (("a.csv", ","), ("b.tsv", "\t")):
        codes = pd.read_csv(tmp_path / "out" / name, sep=mark, float_precision="round_trip")
        np.testing.assert_array_equal(codes, model.transform(X[:20]))
    assert transform(run, tmp_path / "a.csv", tmp_path / "out", "--format", "parquet") == 0
    assert (tmp_path / "out" / "a.parquet").exists()
    assert transform(run, "digts", tmp_path / "out") == 2
    assert "Did you mean 'digits'?" in capsys.readouterr().err


@pytest.mark.parametrize("score", ["reconstruction", "likelihood", "nap", "paths", "whitened"])
def test_all_files_share_one_calibration(run, model, folder, score, monkeypatch):
    write_lists(folder / "normal.parquet", X[800:1100])
    words = ["detect", run, folder / "in", "--score", score, "--normal", folder / "normal.parquet"]
    words += ["--keep", "id", "--column", "pixels", "--out"]
    assert main([*map(str, words), f"{folder}/one/"]) == 0
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main([*map(str, words), f"{folder}/two/"]) == 0
    assert contents(folder / "one") == contents(folder / "two")
    detector = AnomalyDetector(FrozenEstimator(model), score_method=score, random_state=0)
    detector.fit(X[800:1100])
    table = pd.read_parquet(folder / "one" / "f700.parquet")
    assert [*table.columns] == ["id", "row", "anomaly_score", "pvalue", "prediction"]
    np.testing.assert_array_equal(table["row"], np.arange(700))
    np.testing.assert_array_equal(table["anomaly_score"], detector.anomaly_score(X[:700]))
    np.testing.assert_array_equal(table["pvalue"], detector.anomaly_pvalue(X[:700]))
    np.testing.assert_array_equal(table["prediction"], detector.predict(X[:700]))


def test_empty_files_give_empty_outputs(run, folder):
    write_lists(folder / "in" / "none.parquet", X[:0])
    assert transform(run, folder / "in", folder / "out", *LISTS) == 0
    none = pq.read_table(folder / "out" / "none.parquet")
    assert none.schema == pq.read_table(folder / "out" / "f96.parquet").schema
    assert len(none) == 0


# -------------------------------------------------------------------------- breaks


def test_finished_files_are_skipped_until_something_changes(run, model, folder, capsys):
    words = (run, folder / "in", folder / "out", *LISTS)
    assert transform(*words) == 0
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.parquet")}
    assert transform(*words) == 0
    assert "3 finished before" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    write_lists(folder / "in" / "f96.parquet", X[:95])
    (folder / "out" / "f301.parquet").write_bytes(b"changed")
    assert transform(*words) == 0
    assert "1 finished before" in capsys.readouterr().out
    assert len(pd.read_parquet(folder / "out" / "f96.parquet")) == 95
    isthmus.VAE(**FAST | {"random_state": 1}).fit(X).save(folder / "other")
    assert transform(folder / "other", *words[1:]) == 0
    assert "of 3 files 3 done" in capsys.readouterr().out
    assert transform(folder / "other", *words[1:], "--force") == 0
    assert "of 3 files 3 done" in capsys.readouterr().out


def test_failures_do_not_stop_other_files(run, folder, capsys):
    whole = (folder / "in" / "f700.parquet").read_bytes()
    (folder / "in" / "cut.parquet").write_bytes(whole[:-50])
    (folder / "in" / "flipped.parquet").write_bytes(whole[:100] + b"\xff" * 400 + whole[500:])
    write_lists(folder / "in" / "narrow.parquet", X[:9, :60])
    write_lists(folder / "in" / "grey.parquet", 255 * X[:9])
    holed = X[:200].copy()
    holed[150, 3] = np.nan
    write_lists(folder / "in" / "holed.parquet", holed)
    assert transform(run, folder / "in", folder / "out", *LISTS) == 1
    assert sorted(contents(folder / "out")) == [f"f{n}.parquet" for n in sorted(SIZES, key=str)]
    output = capsys.readouterr()
    failures = output.err.splitlines()
    assert len(failures) == 5
    assert "of 8 files 3 done" in output.out
    message = "grey.parquet: the model takes values between 0 and 1, but X has"
    assert any(message in line for line in failures)
    assert any("64 numbers" in line and "60" in line for line in failures)
    assert any("holed.parquet: Input X contains NaN: the first at row 150" in f for f in failures)
    left = [path.name for path in (folder / "out" / ".isthmus").iterdir()]
    assert sorted(left) == sorted(f"f{n}.parquet.json" for n in SIZES)


def test_a_killed_process_leaves_no_partial_output(run, folder, monkeypatch):
    source, out = folder / "in.npy", folder / "out"
    np.save(source, np.tile(X, (8, 1)))
    words = ["transform", run, str(source), str(out)]
    process = multiprocessing.get_context("fork").Process(target=main, args=(words,))
    process.start()  # with small chunks: it is killed in the middle
    monkeypatch.undo()
    drafts, target = ".isthmus/.in.npy.*.part", out / "in.npy"
    while not [*out.glob(drafts)] and process.is_alive():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert not target.exists()
    assert [*out.glob(drafts)]
    assert main(words) == 0
    assert len(np.load(target)) == 8 * len(X)
    assert not [*out.glob(drafts)]


def test_the_lock_that_a_killed_process_left_beside_a_finished_output_is_removed(run, folder):
    words = (run, folder / "in", folder / "out", *LISTS)
    assert transform(*words) == 0
    locks = [path.with_suffix(".lock") for path in (folder / "out" / ".isthmus").glob("*.json")]
    assert len(locks) == 3
    for path in locks:
        path.touch()
    assert transform(*words) == 0
    assert not any(path.exists() for path in locks)


def test_outputs_are_locked(tmp_path):
    with outputs.atomic_output(tmp_path / "a.npy", {}) as writer:
        second = outputs.atomic_output(tmp_path / "a.npy", {})
        with pytest.raises(ValueError, match="another process is writing"), second:
            pass
        writer.write({"x": np.arange(3.0)})
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), [[0.0], [1.0], [2.0]])


@pytest.mark.slow
def test_under_torchrun_a_failure_waits_for_the_others(run, folder):
    (folder / "in" / "bad.parquet").write_bytes(b"PAR1")
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    words += ["-m", "isthmus", "transform", run, "in", "out", *LISTS]
    done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "failed: in/bad.parquet" in done.stderr
    assert len(contents(folder / "out")) == 3


# ------------------------------------------------------------------------- mistakes


def test_a_process_without_files_succeeds(run, folder, monkeypatch, capsys):
    words = (run, folder / "in", folder / "out", *LISTS)
    assert transform(*words, rank=3, world=4, monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == (
        "rank 3 of 4: no file is left for this process: there are fewer files than processes\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere/*.parquet", "out"), "no file matches 'nowhere/*.parquet'"),
        (("in/f96.parquet", "twin", "out"), "have the same output out/f96.parquet"),
        (("in", "in"), "in holds the input f301.parquet"),
        (("in", "in/codes"), "is inside the input in"),
        (("in", "notes.txt"), "notes.txt is a file; name a folder"),
        (("in", "codes.npy"), "codes.npy is the name of a file; name a folder for the results"),
        (("x.npy", "out"), "--column is for tables, but all inputs are arrays; omit it."),
        (("notes.txt", "out"), "expected .parquet, .npy, .npz, .csv, .tsv"),
        (("empty", "out"), "empty holds no file of"),
        (("in", "out", "--device", "cuda:99"), "device must be"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, folder, words, message, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "twin").mkdir()
    (folder / "notes.txt").write_text("mine")
    np.save(folder / "x.npy", X[:3])
    write_lists(folder / "twin" / "f96.parquet", X[:3])
    before = sorted(folder.rglob("*"))
    assert transform(run, *words, *LISTS) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--column", "pixel"), "no column 'pixel'; columns: id, pixels. Did you mean 'pixels'?"),
        (("--keep", "pixels"), "expected rows of 64 numbers"),
        ((), "select one column with --column pixels."),
    ],
)
def test_unsuitable_columns_are_named(run, folder, words, message, capsys):
    assert transform(run, folder / "in" / "f96.parquet", folder / "out", *words) == 1
    assert message in capsys.readouterr().err


def test_foreign_files_are_replaced_only_with_force(run, folder, capsys):
    (folder / "out").mkdir()
    mine = folder / "out" / "f96.parquet"
    mine.write_text("mine")
    words = (run, folder / "in", folder / "out", *LISTS)
    assert transform(*words) == 1
    assert "isthmus did not write it" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert transform(*words, "--force") == 0
    assert len(pd.read_parquet(mine)) == 96


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a", "b"], "column 'id' does not hold numbers, as .npy requires"),
        ([2**53 + 1, 2], "column 'id' has whole numbers above 2^53"),
    ],
)
def test_npy_refuses_columns_it_cannot_hold(run, folder, column, message, capsys):
    table = pa.table({"id": column, "pixels": lists(X[:2])})
    pq.write_table(table, folder / "x.parquet")
    words = (run, folder / "x.parquet", folder / "out", *LISTS, "--format", "npy")
    assert transform(*words) == 1
    assert message in capsys.readouterr().err
    assert not contents(folder / "out")


def test_npy_keeps_missing_numbers_as_nan(run, model, folder):
    gaps = pa.array([None if i > 100 else i for i in range(130)], pa.int8())  # in later parts
    pq.write_table(pa.table({"id": gaps, "pixels": lists(X[:130])}), folder / "x.parquet")
    words = (run, folder / "x.parquet", folder / "out", *LISTS, "--format", "npy")
    assert transform(*words) == 0
    found = np.load(folder / "out" / "x.npy")
    np.testing.assert_array_equal(found[:, 0], [*range(101), *[np.nan] * 29])
    np.testing.assert_array_equal(found[:, 1:], model.transform(X[:130]))


def test_arrays_beside_tables_of_lists_need_no_column(run, model, folder):
    np.save(folder / "in" / "array.npy", X[:9])
    assert transform(run, folder / "in", folder / "out", *LISTS) == 1  # --keep is for tables
    assert transform(run, folder / "in", folder / "out", "--column", "pixels", "--force") == 0
    np.testing.assert_array_equal(np.load(folder / "out" / "array.npy"), model.transform(X[:9]))


def test_column_may_apply_to_normal_only(run, folder):
    for name in ("a", "b"):
        np.save(folder / f"{name}.npy", X[:9])
    words = [f"{folder}/{name}" for name in ("a.npy", "b.npy")]
    normal = ["--normal", f"{folder}/in/f301.parquet", "--column", "pixels"]
    assert main(["detect", run, *words, *normal, "--out", f"{folder}/out/"]) == 0
    assert main(["detect", run, *words, "--normal", words[0], *normal[2:], "--out", "x/"]) == 2


def test_out_without_suffix_is_a_folder(run, folder, capsys):
    (folder / "arrays").mkdir()
    for name in ("a", "b"):
        np.save(folder / "arrays" / f"{name}.npy", X[:9])
    words = ["detect", run, f"{folder}/arrays", "--normal", f"{folder}/arrays/a.npy"]
    assert main(words) == 2
    assert "holds many files: name an output folder by --out" in capsys.readouterr().err
    assert main(["detect", run, "digits", "--out", "scores"]) == 2
    assert "--out must end in .parquet or .csv" in capsys.readouterr().err
    assert main([*words, "--out", f"{folder}/scores"]) == 0
    assert sorted(contents(folder / "scores")) == ["a.parquet", "b.parquet"]


def test_equal_failures_share_one_line(run, folder, capsys):
    for i in range(5):
        write_lists(folder / "in" / f"grey{i}.parquet", (255 - i) * X[:9])
    assert transform(run, folder / "in", folder / "out", *LISTS) == 1
    output = capsys.readouterr()
    assert "5 failed" in output.out
    (line,) = output.err.splitlines()
    assert "grey2.parquet and 2 more: the model takes values between 0 and 1" in line


def test_errors_name_file_and_row(run, folder, capsys):
    text = np.full((200, 64), "0.5", dtype=object)
    text[150, 3] = "half"
    frame = pd.DataFrame(text, columns=[f"p{j}" for j in range(64)])
    frame.to_csv(folder / "text.csv", index=False)
    frame.rename(columns={"p1": "p0"}).to_csv(folder / "twice.csv", index=False)
    pq.write_table(pa.table({"vae0": [1.0], "x": lists(X[:1])}), folder / "vae0.parquet")
    out = folder / "out"
    assert transform(run, folder / "text.csv", folder / "twice.csv", out) == 1
    assert transform(run, folder / "vae0.parquet", out, "--column", "x", "--keep", "vae0") == 1
    text, twice, vae0 = capsys.readouterr().err.splitlines()
    assert "text.csv: column 'p3' holds 'half' in row 150, which is not a number" in text
    assert "twice.csv: two columns are named 'p0'" in twice
    assert "vae0.parquet: column 'vae0' is kept and also an output" in vae0


def test_an_output_folder_that_cannot_be_created_is_a_usage_error(run, folder, capsys):
    (folder / "file").write_text("")
    assert transform(run, folder / "in", folder / "file" / "out", *LISTS) == 2
    assert capsys.readouterr().err.endswith("; name another folder.\n")


@pytest.mark.parametrize("environment", [("x", "2"), ("2", "2"), ("0", "")])
def test_an_invalid_environment_raises(environment, monkeypatch):
    monkeypatch.setenv("RANK", environment[0])
    monkeypatch.setenv("WORLD_SIZE", environment[1])
    with pytest.raises(ValueError, match="RANK below WORLD_SIZE"):
        WorkerRank.from_environment()


def test_many_files_need_normal_rows(run, folder, capsys):
    words = ["detect", run, f"{folder}/in", "--score", "latent", "--out", f"{folder}/out/"]
    assert main(words) == 2
    assert "whose place was not recorded; name normal rows" in capsys.readouterr().err
    words = ["detect", run, f"{folder}/in/*.parquet", "--normal", f"{folder}/in/f96.parquet"]
    assert main(words) == 2
    assert "many files need an output folder: name one by" in capsys.readouterr().err
    holed = np.full((9, 64), np.nan)
    np.save(folder / "holed.npy", holed)
    words = ["detect", run, f"{folder}/in", "--normal", f"{folder}/holed.npy", "--out"]
    assert main([*words, f"{folder}/out/"]) == 2
    assert "holed.npy: Input X contains NaN" in capsys.readouterr().err


def test_a_missing_library_names_the_extra(run, folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    np.save(folder / "x.npy", X[:9])
    assert transform(run, folder / "x.npy", folder / "out", "--format", "parquet") == 1
    assert "pip install 'isthmus[tables]', or use --format csv or npy" in capsys.readouterr().err


# --------------------------------------------------------------------------- parts


def test_files_are_divided_evenly(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}" for i in range(40)]
    for path in paths:
        path.write_bytes(bytes(int(rng.integers(0, 1000))))
    shares = [WorkerRank(i, 7).assign(paths) for i in range(7)]
    assert sorted(path for share in shares for path in share) == sorted(paths)
    loads = [sum(path.stat().st_size for path in share) for share in shares]
    assert max(loads) - min(loads) <= max(path.stat().st_size for path in paths)


def test_chunks_do_not_depend_on_row_groups(tmp_path):
    write_lists(tmp_path / "x.parquet", X[:100], group=13)
    features = FeatureColumns(64, column="pixels", keep=("id",))
    chunks = [*read_chunks(tmp_path / "x.parquet", features, 32)]
    assert [len(chunk.X) for chunk in chunks] == [32, 32, 32, 4]
    np.testing.assert_array_equal(np.concatenate([chunk.X for chunk in chunks]), X[:100])
    kept = np.concatenate([chunk.kept["id"].to_numpy() for chunk in chunks])
    np.testing.assert_array_equal(kept, np.arange(100))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(X[:6].reshape(6, 8, 8).tolist()),
        pa.array(list(X[:6]), pa.large_list(pa.float32())),
        pa.chunked_array([lists(X[:2]), lists(X[2:6])]),
        pa.FixedShapeTensorArray.from_numpy_ndarray(X[:6].reshape(6, 8, 8)),
    ],
    ids=["nested", "large", "chunks", "tensors"],
)
def test_all_types_of_lists_are_rows(column):
    table = pa.table({"x": column})
    np.testing.assert_array_equal(FeatureColumns(64).rows(table), X[:6])
    np.testing.assert_array_equal(FeatureColumns(64).rows(table[2:5]), X[2:5])


def test_lists_of_different_lengths_are_refused():
    for column in ([[1.0, 2.0], [1.0]], [[1.0, 2.0], None]):
        with pytest.raises(ValueError, match="holds lists of different"):
            FeatureColumns(2).rows(pa.table({"x": pa.array(column)}))
        with pytest.raises(ValueError, match="holds"):
            FeatureColumns(2).rows(pd.DataFrame({"x": column}))


# ----------------------------------------------------------------------- batch maps


@pytest.mark.parametrize("kind", ["arrays", "pandas", "arrow", "lists"])
def test_output_batches_have_the_type_of_the_input(run, model, kind):
    encode: BatchMap = pickle.loads(pickle.dumps(Encode(run, column="x", keep=["id"])))
    batch = {
        "arrays": lambda: {"id": np.arange(9), "x": X[:9].reshape(9, 8, 8)},
        "pandas": lambda: pd.DataFrame({"id": np.arange(9), "x": list(X[:9])}, index=range(9, 18)),
        "arrow": lambda: pa.table({"id": np.arange(9), "x": lists(X[:9])}),
        "lists": lambda: {"id": np.arange(9), "x": X[:9].tolist()},
    }[kind]()
    (output,) = encode.frames(iter([batch]))
    assert type(output) is type(batch)
    np.testing.assert_array_equal(np.asarray(output["id"]), np.arange(9))
    expected = model.transform(X[:9])
    for j, name in enumerate(model.get_feature_names_out()):
        np.testing.assert_array_equal(np.asarray(output[name]), expected[:, j])
    again = pickle.loads(pickle.dumps(encode))
    assert "estimator" not in again.__dict__


def test_score_is_pickled_with_its_calibration(model):
    detector = AnomalyDetector(FrozenEstimator(model), random_state=0).fit(X[:300])
    score = pickle.loads(pickle.dumps(Score(detector)))
    frame = pd.DataFrame(X[300:350], columns=[f"p{j}" for j in range(64)])
    output = score(frame)
    np.testing.assert_array_equal(output["pvalue"], detector.anomaly_pvalue(X[300:350]))
