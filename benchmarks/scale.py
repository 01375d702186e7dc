"""Data larger than memory, and several processes: what they cost.

    OMP_NUM_THREADS=1 python benchmarks/scale.py --folder DIR [--gigabytes 8] [--out FILE.json]

Rows of 784 numbers made by 10 factors, a dense 784-64-10 VAE, batches of 256. `memory` trains one
epoch on a file ten times as large as the memory that the process may have (RLIMIT_DATA), and on
smaller ones; `speed` pairs a file, a zarr array and Parquet files with the same rows in memory,
round by round; `processes` runs one, and two under torchrun, on the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

WIDTH, FACTORS, CHUNK = 784, 10, 8192
MODEL = {"n_components": 10, "hidden": (64,), "batch_size": 256, "random_state": 0}


def make_rows(path: Path, n: int) -> Path:
    """Write n rows, some at a time."""
    if path.exists() and np.load(path, mmap_mode="r").shape == (n, WIDTH):
        return path
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(FACTORS, WIDTH)).astype(np.float32)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (n, WIDTH))
    for start in range(0, n, CHUNK):
        m = min(CHUNK, n - start)
        noise = rng.standard_normal((m, WIDTH), np.float32)
        file[start : start + m] = rng.standard_normal((m, FACTORS), np.float32) @ weights
        file[start : start + m] += 0.1 * noise
    file.flush()
    return path


def megabytes(name: str) -> float:
    """Return an entry of this process' status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {name}.")


def train(path: str, limit: str) -> None:
    """Train an epoch on a file within a limit of memory (MB; 0 for none); say what it took."""
    import isthmus

    isthmus.VAE(**MODEL, epochs=1).fit(np.random.default_rng(0).random((512, WIDTH)))
    if float(limit):
        most = int(float(limit) * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    before, peak = megabytes("VmRSS"), [0.0]

    def watch() -> None:
        while True:
            peak[0] = max(peak[0], megabytes("VmRSS"))
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    start = time.perf_counter()
    model = isthmus.VAE(**MODEL, epochs=1).fit(np.load(path, mmap_mode="r"))
    said = {
        "seconds": time.perf_counter() - start,
        "rows_per_second": model.history_[-1]["examples_per_second"],
        "loss": model.history_[-1]["loss"],
        "resident_before": before,
        "resident_peak": peak[0],
        "data": megabytes("VmData"),
    }
    print(json.dumps(said))


def memory(folder: Path, gigabytes: float) -> list[dict]:
    """Return what training on files of three sizes took, within a tenth of the largest."""
    limit, found = gigabytes * 1024 / 10, []
    for share in (0.1, 0.3, 1.0):
        n = int(share * gigabytes * 2**30 / (4 * WIDTH))
        path = make_rows(folder / "rows.npy", n)
        done = subprocess.run(
            [sys.executable, __file__, "--train", str(path), str(limit)],
            capture_output=True,
            text=True,
            check=True,
        )
        found.append({"gigabytes": share * gigabytes, "limit": limit, **json.loads(done.stdout)})
        print(found[-1], file=sys.stderr)
    return found


def speed(folder: Path, n: int, rounds: int) -> dict:
    """Return examples a second of each kind of file beside those of the same rows in memory."""
    import isthmus
    from isthmus.data import disk_array

    disk_array.MAX_IN_MEMORY = 0  # the rows fit, and are to be read all the same
    path = make_rows(folder / "speed.npy", n)
    X = np.array(np.load(path))
    kinds = {"memory": X, "npy": np.load(path, mmap_mode="r"), **other_files(folder, X)}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, rows in kinds.items():
            model = isthmus.VAE(**MODEL, epochs=5, validation_fraction=0).fit(rows)
            rates = [record["examples_per_second"] for record in model.history_]
            found[name].append(statistics.median(rates[2:]))  # the first epochs warm up
    ratios = {
        name: statistics.median(a / b for a, b in zip(v, found["memory"], strict=True))
        for name, v in found.items()
    }
    rates = {name: statistics.median(values) for name, values in found.items()}
    return {"rows": n, "rows_per_second": rates, "of_memory": ratios}


def other_files(folder: Path, X: np.ndarray) -> dict:
    """Return the rows as a zarr array and as Parquet files of lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zarr

    from isthmus import data

    array = zarr.create_array(
        folder / "speed.zarr", shape=X.shape, chunks=(512, WIDTH), dtype=X.dtype, overwrite=True
    )
    array[:] = X
    shards = folder / "speed"
    shards.mkdir(exist_ok=True)
    for number, part in enumerate(np.array_split(X, 4)):
        column = pa.FixedSizeListArray.from_arrays(part.ravel(), WIDTH)
        table = pa.table({"x": column})
        pq.write_table(table, shards / f"{number}.parquet", row_group_size=2048)
    return {
        "zarr": data.load(folder / "speed.zarr").X,
        "parquet": data.load(shards).X,
    }


def processes(folder: Path, n: int) -> dict:
    """Return examples a second of one process and of two, one thread each."""
    path = make_rows(folder / "speed.npy", n)
    code = (
        "import sys, numpy as np, isthmus, benchmarks_scale as b\n"
        "X = np.array(np.load(sys.argv[1]))\n"
        "settings = b.MODEL | {'batch_size': int(sys.argv[2]), 'hidden': (int(sys.argv[3]),)}\n"
        "m = isthmus.VAE(**settings, epochs=3).fit(X)\n"
        "from isthmus.training.distributed import is_main\n"
        "if is_main(): print(m.history_[-1]['examples_per_second'])\n"
        "import torch.distributed as d\n"
        "if d.is_initialized(): d.destroy_process_group()\n"
    )
    script = folder / "one.py"
    script.write_text(code)
    (folder / "benchmarks_scale.py").write_text(Path(__file__).read_text())
    found = {}
    for batch, hidden in ((256, 64), (2048, 400), (2048, 1600)):
        rates = []
        for launch in ([], ["-m", "torch.distributed.run", "--nproc-per-node", "2"]):
            done = subprocess.run(
                [sys.executable, *launch, str(script), str(path), str(batch), str(hidden)],
                capture_output=True,
                text=True,
                check=True,
            )
            rates.append(float(done.stdout))
        found[f"batch {batch}, hidden {hidden}"] = {"one": rates[0], "two": rates[1]}
        print(found, file=sys.stderr)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(*arguments.train)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    found = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/scale.py "
        f"--gigabytes {arguments.gigabytes:g} --rows {arguments.rows}",
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "speed": speed(arguments.folder, arguments.rows, arguments.rounds),
        "processes": processes(arguments.folder, arguments.rows),
        "memory": memory(arguments.folder, arguments.gigabytes),
    }
    print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
