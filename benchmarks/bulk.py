"""How near `isthmus transform` comes to the bare forward pass, and that processes change nothing.

    python benchmarks/bulk.py [--rows 1000000] [--rounds 5] [--folder DIR] [--out FILE.json]

Files of pictures of 784 numbers, as float32 and as bytes, in Parquet (a column of lists) and in
NumPy's format, are written to a folder and encoded by a VAE 784-400-20, as the verb does it but for
starting Python and loading the model. The bare rate is that of a plain loop of `model_.encode`
over chunks of the same size that lie in memory as float32. Both take turns, and the ratio is the
median over the rounds. It takes about five bytes of disk for each number.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from isthmus import VAE
from isthmus.bulk.files import FileTask, process_files
from isthmus.bulk.maps import code_columns
from isthmus.data.feature_columns import FeatureColumns
from isthmus.estimators.batched_inference import inference_batch_size

PIXELS = 784
IN_MEMORY = 100_000  # rows of the bare loop
BLOCK = 50_000  # rows made at once
AIM = 0.9


def pictures(n: int, seed: int, dtype: str) -> np.ndarray:
    """Return rows of which four fifths are 0, as pictures of digits are."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (n, PIXELS), np.uint8) * (rng.random((n, PIXELS)) < 0.2)
    return X.astype(np.uint8) if dtype == "uint8" else (X / 255).astype(np.float32)


def write_parquet(path: Path, rows: int, dtype: str) -> None:
    kind = pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), PIXELS)
    with pq.ParquetWriter(path, pa.schema({"pixels": kind})) as writer:
        for start in range(0, rows, BLOCK):
            X = pictures(min(BLOCK, rows - start), start, dtype)
            column = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), PIXELS)
            writer.write_table(pa.table({"pixels": column}))


def write_npy(path: Path, rows: int, dtype: str) -> None:
    X = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (rows, PIXELS))
    for start in range(0, rows, BLOCK):
        X[start : start + BLOCK] = pictures(min(BLOCK, rows - start), start, dtype)


WRITERS = {"parquet": write_parquet, "npy": write_npy}


def bare(model: VAE, X: torch.Tensor) -> float:
    """Return rows a second of the forward pass alone."""
    chunk = inference_batch_size(PIXELS)
    whole = len(X) // chunk * chunk
    start = time.perf_counter()
    with torch.inference_mode():
        for i in range(0, whole, chunk):
            model.model_.encode(X[i : i + chunk], None).mean  # noqa: B018
    return whole / (time.perf_counter() - start)


def verb(model: VAE, source: Path, target: Path) -> float:
    """Return rows a second of a file encoded as the verb does it."""
    job = FileTask(
        lambda X, start: code_columns(model, X), FeatureColumns.for_model(model), form="auto"
    )
    start = time.perf_counter()
    (done,) = process_files({source: target}, [source], job, force=True)
    if done.error:
        raise ValueError(done.error)
    return (done.rows or 0) / (time.perf_counter() - start)


def compare(one: Callable[[], float], other: Callable[[], float], rounds: int) -> dict[str, float]:
    """Return the medians of two rates that take turns, and of their ratio."""
    one(), other()
    pairs = []
    for i in range(rounds):
        first, second = (one, other) if i % 2 else (other, one)
        rates = first(), second()
        pairs.append(rates if i % 2 else rates[::-1])
    bare_rates, rates = zip(*pairs, strict=True)
    return {
        "bare": statistics.median(bare_rates),
        "verb": statistics.median(rates),
        "ratio": statistics.median(b / a for a, b in pairs),
    }


def measure(model: VAE, folder: Path, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the rates for each kind of file."""
    X = torch.from_numpy(pictures(min(IN_MEMORY, rows), 0, "float32"))
    results = {}
    for dtype in ("uint8", "float32"):
        for form, write in WRITERS.items():
            source = folder / f"{dtype}.{form}"
            if not source.exists():
                write(source, rows, dtype)
            target = folder / "out" / source.name
            result = compare(
                lambda: bare(model, X), lambda s=source, t=target: verb(model, s, t), rounds
            )
            results[f"{form} {dtype}"] = result
            print(f"{form} {dtype:8}", {k: round(v, 3) for k, v in result.items()}, flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the files are, or are to be, written")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    model = VAE(epochs=1, random_state=0).fit(pictures(2000, 0, "uint8"))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(arguments.folder or made)
        folder.mkdir(parents=True, exist_ok=True)
        results = measure(model, folder, arguments.rows, arguments.rounds)
    record = {
        "rows": arguments.rows,
        "threads": torch.get_num_threads(),
        "results": results,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    least = min(result["ratio"] for result in results.values())
    print(f"least ratio {least:.2f}, at least {AIM}: {'met' if least >= AIM else 'missed'}")
    print({k: v for k, v in record.items() if k != "results"})
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
