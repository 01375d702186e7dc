"""What is fuzzed: for each reader a few good files to begin with, and what reads one.

A reader returns, or raises ValueError or OSError in one line. Anything else is a crash.
"""

import bz2
import copy
import gzip
import hashlib
import io
import json
import shutil
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

_kept = tempfile.TemporaryDirectory(prefix="isthmus-fuzz-")  # goes with the process
FOLDER = Path(_kept.name)


def checked(read):
    """Return what calls a reader and lets its good errors pass."""

    def run(content):
        start = time.process_time()  # other programs do not count
        try:
            read(content)
        except (ValueError, OSError) as error:
            if "\n" in str(error) or not str(error):
                raise AssertionError(f"not one line: {error!r}") from error
            if len(str(error)) > 3000:
                raise AssertionError(f"{len(str(error))} characters") from error
        seconds = time.process_time() - start
        if run.seconds and seconds > run.seconds:
            raise AssertionError(f"{seconds:.1f} s")

    run.seconds = 0  # that one input may take, where set
    return run


def in_file(name, read):
    """Return what writes bytes to a file of its own and reads it."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)

    def run(content):
        path.write_bytes(content)
        read(path)

    return checked(run)


def idx():
    from isthmus.data import read_idx

    plain = bytes([0, 0, 8, 2]) + struct.pack(">2I", 2, 3) + bytes(range(6))
    wide = bytes([0, 0, 0x0D, 1]) + struct.pack(">I", 2) + bytes(8)
    return [plain, wide, gzip.compress(plain), gzip.compress(wide)], in_file("idx", read_idx)


def npy():
    from isthmus.data import load

    good = []
    for array in (np.arange(6.0).reshape(2, 3), np.ones((1, 2), "i1"), np.array(["a"])):
        stream = io.BytesIO()
        np.save(stream, array)
        good.append(stream.getvalue())
    return good, in_file("a.npy", load)


def npz():
    from isthmus.data import load

    good = []
    for save in (np.savez, np.savez_compressed):
        for arrays in ({"X": np.ones((2, 2)), "y": np.array([0, 1])}, {"a": np.ones((1, 1))}):
            stream = io.BytesIO()
            save(stream, **arrays)
            good.append(stream.getvalue())
    return good, in_file("a.npz", load)


def wav():
    from isthmus.data.audio import read_audio_folder
    from isthmus.data.wav import SAMPLE_FORMATS, AudioClip, wav_bytes

    samples = np.sin(np.arange(40.0)).reshape(2, 20) / 2
    good = [wav_bytes(AudioClip(samples, 8000, kind))[0] for kind in SAMPLE_FORMATS]
    folder = FOLDER / "sounds"
    other = folder / "b.wav"
    run = in_file("sounds/a.wav", lambda path: read_audio_folder(path.parent, 16))
    other.write_bytes(wav_bytes(AudioClip(samples, 44100))[0])
    return good, run


def image():
    from PIL import Image

    from isthmus.data import read_image_folder

    good = []
    for mode in ("L", "RGB", "RGBA", "P", "I;16", "1"):
        for form in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"):
            stream = io.BytesIO()
            try:
                Image.new(mode, (5, 4)).save(stream, form)
            except (OSError, KeyError, ValueError):
                continue
            good.append(stream.getvalue())
    return good, in_file("images/a.png", lambda path: read_image_folder(path.parent))


def csv():
    from isthmus.data import read_table

    good = [
        b"a,b,kind\n1,2,x\n3,,y\n",
        b"1;2,5\n3;4,5\n",
        b'"a\nb"\tc\n1\t2\n',
        b"x|yes\n1|no\n2|yes\n",
        b"\xef\xbb\xbfa,b\n1e400,-0\n",
    ]

    def read(path):
        read_table(path)
        read_table(path, label=-1)

    return good, in_file("a.csv", read)


def tsv():
    from isthmus.data import read_table

    return [b"a\tb\n1\t2\n", b"1\t2\n3\tx\n"], in_file("a.tsv", read_table)


def parquet():
    import pandas as pd

    from isthmus.data import read_table

    frame = pd.DataFrame({"a": [1.0, None], "s": ["x", "y"], "b": [True, False]})
    good = []
    for rows in (frame, frame[["a"]], frame.astype({"s": "category"})):
        for compression in (None, "snappy", "zstd"):
            stream = io.BytesIO()
            rows.to_parquet(stream, compression=compression)
            good.append(stream.getvalue())
    return good, in_file("a.parquet", read_table)


def zarr():
    """Fuzz metadata of version 2 or 3, a chunk after the name of its compressor, or a shard."""
    from isthmus.data import load

    rows = np.arange(6.0, dtype="<f4")
    record = {"zarr_format": 2, "shape": [2, 3], "chunks": [2, 3], "dtype": "<f4", "order": "C"}
    names = (None, "gzip", "zlib", "bz2")
    plain = rows.tobytes()
    packed = (plain, gzip.compress(plain), zlib.compress(plain), bz2.compress(plain))
    grid = {"name": "regular", "configuration": {"chunk_shape": [2, 3]}}
    inner = {"chunk_shape": [1, 3], "codecs": [{"name": "bytes"}, {"name": "zlib"}]}
    inner["index_codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    newer = {"zarr_format": 3, "node_type": "array", "shape": [2, 3], "data_type": "float32"}
    newer |= {"chunk_grid": grid, "chunk_key_encoding": {"name": "default"}, "fill_value": 0}
    codecs = [{"name": "transpose", "configuration": {"order": [1, 0]}}, {"name": "bytes"}]
    sharded = newer | {"codecs": [{"name": "sharding_indexed", "configuration": inner}]}
    halves = [zlib.compress(half) for half in rows.reshape(2, 3)]
    offsets = (0, len(halves[0]), len(halves[0]), len(halves[1]))
    shard = b"".join(halves) + struct.pack("<4Q", *offsets)
    older, v3 = FOLDER / "older.zarr", FOLDER / "v3.zarr"
    (v3 / "c/0").mkdir(parents=True, exist_ok=True)
    older.mkdir(exist_ok=True)

    def run(content):
        kind, name = content[:1], names[(content[1:2] or b"\0")[0] % len(names)]
        codec = None if name is None else {"id": name}
        text = json.dumps(record | {"compressor": codec}).encode()
        (older / ".zarray").write_bytes(content[1:] if kind == b"m" else text)
        (older / "0.0").write_bytes(packed[0] if kind == b"m" else content[2:])
        is_shard = kind == b"s"
        (v3 / "zarr.json").write_bytes(json.dumps(sharded).encode() if is_shard else content[1:])
        (v3 / "c/0/0").write_bytes(content[1:] if is_shard else shard)
        load(v3 if kind in (b"3", b"s") else older).X[:]

    good = [b"c" + bytes([i]) + content for i, content in enumerate(packed)]
    metadata = (b"m", record), (b"3", sharded), (b"3", newer | {"codecs": codecs})
    good += [kind + json.dumps(each).encode() for kind, each in metadata]
    return [*good, b"s" + shard], checked(run)


def _model():
    import isthmus

    X = np.random.default_rng(0).random((40, 3))
    return isthmus.VAE(n_components=2, hidden=(4,), epochs=1, random_state=0).fit(X)


def _unsealed(path):
    record = json.loads(path.read_text())
    record.pop("sha256", None)
    path.write_text(json.dumps(record))
    return path.read_bytes()


def _part_of_model(name):
    """Return seeds and reader for one file of a saved model, the others whole."""
    import isthmus

    folder = FOLDER / f"model-{name}"
    _model().save(folder)
    _unsealed(folder / "config.json")
    good = [(folder / name).read_bytes()]
    return good, in_file(f"model-{name}/{name}", lambda path: isthmus.load(path.parent))


def config():
    return _part_of_model("config.json")


def weights():
    return _part_of_model("model.safetensors")


def history():
    return _part_of_model("history.jsonl")


HOSTILE = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**12, 10**400, float("nan"), float("inf"), -0.5, 1e308),
    *("", "x", "os.system", "../../x", "/dev/zero", "categorical:1000000000", "U999999999"),
    *("categorical:0", "bernoulli," * 20, "flow", "cuda:99", "\x00", "a\nb", "x" * 20_000),
    *([], {}, [[]], [1, "a"], [10**12], [-1], [0] * 5000, {"custom": True}, [[1, 2], [3]]),
)


def places(value, path=()):
    """Yield the way to every entry of nested JSON."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value[:5]) if isinstance(value, list) else items
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(record, provider):
    """Return JSON with some entries replaced by hostile ones, taken away or added."""
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        found = list(places(record))
        if not found:
            break
        *way, last = found[provider.ConsumeIntInRange(0, len(found) - 1)]
        inner = record
        for key in way:
            inner = inner[key]
        kind = provider.ConsumeIntInRange(0, 9)
        if kind == 0:
            del inner[last]
        elif kind == 1 and isinstance(inner, dict):
            inner[provider.ConsumeUnicodeNoSurrogates(8)] = inner.pop(last)
        elif kind == 2:
            inner[last] = provider.ConsumeInt(8)
        elif kind == 3:
            inner[last] = [copy.deepcopy(inner[last])] * provider.ConsumeIntInRange(0, 40)
        else:
            hostile = HOSTILE[provider.ConsumeIntInRange(0, len(HOSTILE) - 1)]
            inner[last] = copy.deepcopy(hostile)
    return record


def structure():
    """Change entries of config.json of several models, which stays JSON."""
    import atheris
    import pandas as pd

    import isthmus

    rng = np.random.default_rng(0)
    X = rng.random((40, 3))
    frame = pd.DataFrame({"a": X[:, 0], "b": ["x", "y", "z", "x"] * 10})
    small = {"n_components": 2, "hidden": (4,), "epochs": 1, "random_state": 0}
    models = [
        isthmus.VAE(**small).fit(X),
        isthmus.VAE(**small).fit(frame),
        isthmus.ConditionalVAE(prior="mixture", prior_modes=3, **small).fit(X, [0, 1] * 20),
        isthmus.ConditionalVAE(**small).fit(X, X[:, 0]),
        isthmus.SparseAutoencoder(**small).fit(X),
        isthmus.VAE(backbone="conv", **small).fit(rng.random((40, 8, 8))),
        isthmus.VAE(posterior_family="flow", **small).fit(X),
        isthmus.Autoencoder(backbone="pyramid", epochs=1).fit(rng.random((40, 8, 8))),
    ]
    folders, texts = [], []
    for i, model in enumerate(models):
        folders.append(FOLDER / f"structure-{i}")
        model.save(folders[-1])
        texts.append(_unsealed(folders[-1] / "config.json"))

    def run(content):
        provider = atheris.FuzzedDataProvider(content)
        i = provider.ConsumeIntInRange(0, len(models) - 1)
        record = changed(json.loads(texts[i]), provider)
        (folders[i] / "config.json").write_text(json.dumps(record))
        isthmus.load(folders[i])

    good = [bytes(rng.integers(0, 256, 24).astype("u1")) for _ in range(50)]
    return good, checked(run)


def compressed():
    from isthmus.applications.compression import CODINGS, CompressedCodes, LatentCodec

    model = _model()
    X = np.random.default_rng(0).random((20, 3))
    good = []
    for coding in CODINGS:
        codec = LatentCodec.from_fitted(model, bits=5, coding=coding)
        codec.low_, codec.high_ = np.zeros(2), np.ones(2)
        codec.estimator_ = model
        codec.compress(X).save(FOLDER / "seed.npz")
        good.append((FOLDER / "seed.npz").read_bytes())
    return good, in_file("codes.npz", CompressedCodes.load)


def _use(made, names, read):
    """Return seeds and reader for the files of a use, one after another in the bytes."""
    folder = FOLDER / "use"
    shutil.rmtree(folder, ignore_errors=True)
    made.save(folder)
    _unsealed(folder / names[0])
    whole = {name: (folder / name).read_bytes() for name in names}
    good = [bytes([i]) + content for i, content in enumerate(whole.values())]

    def run(content):
        for name, kept in whole.items():
            (folder / name).write_bytes(kept)
        if content:
            (folder / names[content[0] % len(names)]).write_bytes(content[1:])
        read(folder)

    return good, checked(run)


def sampler():
    from isthmus.applications.generation import ARRAYS, RECORD, LatentSampler

    model, X = _model(), np.random.default_rng(0).random((60, 3))
    made = LatentSampler.from_fitted(model, source="mixture", n_modes=2).fit(X, [0, 1, 2] * 20)
    return _use(
        made, (RECORD, ARRAYS), lambda f: LatentSampler.load(f, model).sample(5, random_state=0)
    )


def index():
    from isthmus.applications.retrieval import CODES, RECORD, LatentIndex

    model, X = _model(), np.random.default_rng(0).random((60, 3))
    made = LatentIndex.from_fitted(model).fit(X)
    return _use(made, (RECORD, CODES), lambda f: LatentIndex.load(f, model).kneighbors(X[:2]))


def detector():
    from isthmus.applications.anomaly_detection import AnomalyDetector

    model, X = _model(), np.random.default_rng(0).random((60, 3))
    made = AnomalyDetector(model, score_method="whitened", random_state=0).fit(X)
    names = ("detector.json", "detector.safetensors")
    return _use(made, names, lambda f: AnomalyDetector.load(f, model).predict(X[:2]))


def checkpoint():
    """Fuzz the bytes of a checkpoint before its checksum."""
    from isthmus.training.checkpoints import read_checkpoint

    path = _crafted_file("checkpoint-vae")

    def read(path):
        content = path.read_bytes()
        path.write_bytes(content + hashlib.sha256(content).digest())
        read_checkpoint(path.parent)

    return [path.read_bytes()[:-32]], in_file(path.relative_to(FOLDER), read)


def shards():
    """Fuzz one of the files in a folder of Parquet files."""
    import pandas as pd

    from isthmus.data.parquet_rows import ParquetRows, parquet_files

    frame = pd.DataFrame({"a": np.arange(6.0), "b": range(6)})
    lists = pd.DataFrame({"a": [[1.0, 2.0]] * 4, "y": ["u", "v"] * 2})
    good = []
    for rows in (frame, lists, frame.astype("f4")):
        for compression in (None, "snappy", "zstd"):
            stream = io.BytesIO()
            rows.to_parquet(stream, compression=compression, row_group_size=3)
            good.append(stream.getvalue())

    def read(path):
        (path.parent / "b.parquet").write_bytes(good[0])
        for label in (None, -1):
            rows = ParquetRows(parquet_files(path.parent)[0], label)
            rows[1 : len(rows.bounds) + 1]
            rows.labels()

    return good, in_file("shards/a.parquet", read)


def log():
    from isthmus.training.training_log import read_training_log

    path = _crafted_file("log")
    read = in_file(path.relative_to(FOLDER), lambda path: read_training_log(path.parent))
    return [path.read_bytes()], read


class _Choices:
    """Bytes of the fuzzer in place of random numbers."""

    def __init__(self, content):
        import atheris

        self.provider = atheris.FuzzedDataProvider(content)

    def integers(self, low, high=None):
        low, high = (0, low) if high is None else (low, high)
        return self.provider.ConsumeIntInRange(low, high - 1)


def _crafted():
    """Return `tests/test_crafted_files.py`, and its kinds of files."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import test_crafted_files

    with tempfile.TemporaryDirectory() as folder:
        return test_crafted_files, test_crafted_files.make_kinds(Path(folder))


def _crafted_file(name):
    """Write a kind that consists of one file, and return the path of the file."""
    module, kinds = _crafted()
    (folder := FOLDER / f"bytes-{name}").mkdir(exist_ok=True)
    module.write_files(folder, kinds[name].files)
    (path,) = folder.iterdir()
    return path


def _resealed(*names):
    """Return a target that changes entries and tensors, and makes checksums anew."""

    def target():
        module, kinds = _crafted()

        def run(content):
            choices = _Choices(content)
            kind = kinds[names[choices.integers(len(names))]]
            module.write_files(folder, module.variant(kind, choices)[0])
            kind.read(folder)

        folder = FOLDER / names[0]
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        return [rng.bytes(32) for _ in range(200)], checked(run)

    return target


RESEALED = {
    "model": ("vae", "table", "conditional", "split"),
    "index": ("index",),
    "mixture": ("mixture",),
    "detector": ("detector",),
    "codes": ("codes-packed", "codes-zlib", "codes-lzma"),
    "checkpoint": ("checkpoint-vae", "checkpoint-sparse"),
    "log": ("log",),
    "sweep": ("sweep",),
}
TARGETS = {
    function.__name__: function
    for function in (
        *(idx, npy, npz, wav, image, csv, tsv, parquet, shards, zarr),
        *(config, structure, weights, history, compressed, sampler, index, detector),
        *(checkpoint, log),
    )
} | {f"resealed-{name}": _resealed(*kinds) for name, kinds in RESEALED.items()}
