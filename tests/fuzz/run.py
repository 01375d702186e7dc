"""Fuzz every reader with coverage guidance: ``python tests/fuzz/run.py --seconds 600``.

Needs atheris (``pip install atheris``), which the tests do not. Each reader runs in a process of
its own, one after another; a crash, more than a second or too much memory leaves the input in
``--crashes`` and is said at the end. Such inputs become tests in ``tests/test_hostile.py``.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECONDS = 1  # that one input may take
HANGS = 10  # seconds after which it is stopped
BASELINE = 500  # MB of torch, scikit-learn and the fuzzer itself
MEMORY = 500  # MB on top
INSTRUMENTED = ["isthmus", "zipfile", "gzip", "wave", "json", "PIL", "scipy.io.wavfile"]


def child(name):
    """Fuzz one reader in this process."""
    import atheris

    if name == "structure":  # something there takes libFuzzer's own handler away
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    with atheris.instrument_imports(include=INSTRUMENTED):
        import gzip  # noqa: F401
        import wave  # noqa: F401
        import zipfile  # noqa: F401

        from PIL import Image  # noqa: F401
    import warnings

    # Their thousands of modules, which are not watched, would take a minute.
    import pandas  # noqa: F401
    import scipy.signal  # noqa: F401
    import sklearn.neighbors  # noqa: F401
    import torch

    with atheris.instrument_imports(include=INSTRUMENTED):
        from targets import TARGETS

        import isthmus.applications  # noqa: F401
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    corpus = Path(sys.argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=INSTRUMENTED):
        seeds, run = TARGETS[name]()
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
        run(seed)  # what a first call imports is not counted
    run.seconds = SECONDS
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


def fuzz(name, seconds, crashes):
    """Fuzz one reader for so many seconds; return a line of what came of it."""
    corpus = crashes / "corpus" / name
    prefix = crashes / f"{name}-"
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={HANGS}",
        f"-rss_limit_mb={BASELINE + MEMORY}",
        "-max_len=65536",
        "-print_final_stats=1",
        f"-artifact_prefix={prefix}",
    ]
    command = [sys.executable, __file__, "--child", name, *options, str(corpus)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    log = done.stdout + done.stderr
    (crashes / f"{name}.log").write_text(log)
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", log))
    cover = re.findall(r"cov: (\d+)", log)
    ran = stats.get("number_of_executed_units", "?")
    left = sorted(p.name for p in crashes.glob(f"{name}-*") if p.stat().st_mtime > start - 1)
    said = ", ".join(left) or f"exit {done.returncode}"
    ended = "clean" if done.returncode == 0 and not left else f"FOUND {said}"
    memory = stats.get("peak_rss_mb", "?")
    edges = cover[-1] if cover else "?"
    took = f"{time.time() - start:.0f}"
    return f"{name:19} {took:>5} s {ran:>9} runs {edges:>5} edges {memory:>4} MB  {ended}"


def main():
    """Fuzz the readers asked for; 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=600, help="for each reader")
    parser.add_argument("--only", nargs="+", help="names of readers; all without")
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"))
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE))
    from targets import TARGETS

    arguments.crashes.mkdir(parents=True, exist_ok=True)
    found = False
    for name in arguments.only or TARGETS:
        line = fuzz(name, arguments.seconds, arguments.crashes.resolve())
        found |= "FOUND" in line
        print(line, flush=True)
    return int(found)


if __name__ == "__main__":
    if "--child" in sys.argv:
        at = sys.argv.index("--child")
        name = sys.argv[at + 1]
        del sys.argv[at : at + 2]
        sys.path.insert(0, str(HERE))
        child(name)
    else:
        sys.exit(main())
