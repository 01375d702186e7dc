"""Every `isthmus ...` line in a help text or a page of documentation runs as printed.

Each runs in a folder that holds files and runs of the names it mentions, with tiny data and a short
training.
"""

import argparse
import re
import shlex
import shutil
import struct
from glob import glob
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from isthmus.cli import main
from isthmus.cli._parser import COMMANDS, _module, make_parser

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("[a-z]*.md")),
    *(page for page in ROOT.glob("docs/[a-z]*/*.md") if page.parent.name != "generated"),
]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # one epoch converges nowhere
SHORT = ["--epochs", "1", "--hidden", "4"]
LINE = re.compile(rf"^\s*(?:\$ )?((?:torchrun .* -m )?isthmus (?:{'|'.join(COMMANDS)})\b.*)$")
SPAN = re.compile(rf"`(isthmus\s+(?:{'|'.join(COMMANDS)})\s[^`]+)`")
TORCHRUN = re.compile(r"^torchrun .* -m isthmus")
APP = resources.files("isthmus.studio") / "app" / "app.js"
NEEDS = {"--method umap": "umap", "completion": "shtab", "--track tensorboard": "tensorboard"}


def blocks(text):
    """Return the blocks of code of a page."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def printed_commands():
    """Return the commands of help texts and of blocks of code, each once."""
    found = [line for name in COMMANDS for line in _module(name).COMMAND.examples]
    for page in PAGES:
        for block in blocks(page.read_text()):
            lines = block.replace("\\\n", " ").splitlines()
            found += [match[1].split("  #")[0].strip() for match in map(LINE.match, lines) if match]
    return [*dict.fromkeys(found)]


def mentioned_commands():
    """Return the commands within the sentences of a page."""
    spans = [span for page in PAGES for span in SPAN.findall(page.read_text())]
    return [*dict.fromkeys(" ".join(span.split()) for span in spans)]


def write_idx(path, array):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def write_files(folder):
    """Write the data that commands name."""
    import pandas as pd
    from PIL import Image

    from isthmus.data.wav import AudioClip, wav_bytes

    rng = np.random.default_rng(0)
    digits = load_digits()
    images = np.kron(digits.images[:60], np.ones((3, 3)))
    images = np.pad(images * 15, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    labels = digits.target[:60].astype(np.uint8)
    for name in ("mnist", "fashion-mnist"):
        for home in (folder / "DIR", folder / "home"):
            (home / name).mkdir(parents=True)
            for part in ("train", "t10k"):
                write_idx(home / name / f"{part}-images-idx3-ubyte", np.tile(images, (4, 1, 1)))
                write_idx(home / name / f"{part}-labels-idx1-ubyte", np.tile(labels, 4))
    for kind in ("cats", "dogs"):
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / kind / f"{i}.png")
    for name in ("photo.jpg", "cat.png", "dog.png", "scan.png"):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / name)
    frame = pd.DataFrame(rng.normal(size=(60, 2)).round(2), columns=["age", "income"])
    frame["class"] = np.where(frame.age > 0, "a", "b")
    frame["events"], frame["postcode"] = rng.integers(0, 5, 60), rng.integers(1, 4, 60)
    features, gaps, names = (
        frame[["age", "income", "events"]],
        frame.copy(),
        [f"c{i}" for i in range(60)],
    )
    gaps.loc[::5, "age"] = np.nan
    gaps.to_csv(folder / "gaps.csv", index=False)
    frame.assign(customer=names).to_csv(folder / "customers.csv", index=False)
    frame.assign(id=names, name=names).to_csv(folder / "ids.csv", index=False)
    frame.to_csv(folder / "commas.csv", index=False, sep=";", decimal=",")
    frame.to_csv(folder / "table.csv", index=False)
    frame.to_parquet(folder / "new.parquet")
    (folder / "in").mkdir()
    for name in ("in/a.parquet", "in/b.parquet", "normal.parquet"):
        features.to_parquet(folder / name)
    features.to_csv(folder / "today.csv", index=False)
    hours = pd.date_range("2024-01-01", periods=480, freq="h")
    flow = np.sin(np.arange(480) * np.pi / 12) + rng.normal(0, 0.1, 480)
    log = pd.DataFrame({"timestamp": hours, "flow": flow.round(3)})
    log.to_csv(folder / "sensors.csv", index=False)
    log.assign(fault=(log.index // 20 == 9).astype(int)).to_csv(folder / "new.csv", index=False)
    np.save(folder / "rows.npy", features.to_numpy())
    np.save(folder / "today.npy", (digits.images[:50] / 16).astype(np.float32))
    np.save(folder / "lower-half.npy", np.arange(64).reshape(8, 8) >= 32)
    (folder / "recordings").mkdir()
    for name in ("recordings/a.wav", "recordings/b.wav", "interview.wav"):
        clip = AudioClip(rng.normal(size=(1, 40_000)) / 9, 8000, "i16")
        (folder / name).write_bytes(wav_bytes(clip)[0])


TABLES = {  # the table that stands for table.csv, by what a command mentions
    "--id customer": "customers.csv",
    "--drop": "ids.csv",
    "--decimal ,": "commas.csv",
    "missing|impute": "gaps.csv",
}
PLACEHOLDERS = {"DATA": "digits", "HELD_OUT": "today.npy"}
FITS = {  # the runs that commands name, by what they were fitted on
    "digits": "digits",
    "conditional": "digits --model conditional-vae",
    "mnist": "mnist",
    "mnist-ae": "mnist --model autoencoder",
    "csv": "table.csv",
    "table": "gaps.csv --missing ignore --label class",
    "rows": "rows.npy",
    "frame": "normal.parquet",
    "photos": "photos/ --size 64",
    "speech": "recordings/ --model denoising",
    "sensors": "sensors.csv --time timestamp --model autoencoder",
}


def few_digits(load=load_digits):
    digits = load()
    digits.images, digits.target = digits.images[:300], digits.target[:300]
    digits.data = digits.data[:300]
    return digits


def shorten(patch):
    """Leave out the figures of reports and the server of the studio, and most digits."""
    from isthmus.report.pictures import Picture

    patch.setattr("isthmus.report.page.as_picture", lambda figure, *a: Picture("", ""))
    patch.setattr("isthmus.studio.server.serve", lambda app, listener: None)
    patch.setattr("webbrowser.open", lambda *a: True)
    patch.setattr("sklearn.datasets.load_digits", few_digits)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a folder with all data, and in `fitted` the runs that were needed so far."""
    folder = tmp_path_factory.mktemp("prepared")
    write_files(folder)
    return folder


def fitted(prepared, name):
    """Return the folder of a run; fit it the first time."""
    run = prepared / "fitted" / name
    if not run.exists():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(prepared)
            fit = ["fit", *FITS[name].split(), "--out", str(run), "--quiet", *SHORT]
            assert main([*fit, "--random-state", "0"]) == 0
    return run


def kind_of_run(name, command):
    """Return which fitted run stands for one that a command names."""
    if "--of" in command and "--data" not in command:
        return "conditional"
    for word, kind in (
        ("mnist-ae", "mnist-ae"),
        ("test:", "mnist"),
        ("report RUN table", "csv"),
        ("mnist", "mnist"),
        ("table", "table"),
        ("speech", "speech"),
        ("wav", "speech"),
        ("scan.png", "photos"),
        ("photos", "photos"),
        ("in/*", "frame"),
        ("today.csv", "frame"),
        ("mine", "rows"),
        ("sensors", "sensors"),
    ):
        if word in f"{name} {command}":
            return kind
    return "digits"


def prepare(folder, prepared, command, words):
    """Copy what a command needs to a folder."""
    for path in prepared.iterdir():
        if path.name != "fitted":
            (folder / path.name).symlink_to(path)
    for flags, table in TABLES.items():
        if re.search(flags, command):
            (folder / "table.csv").unlink()
            (folder / "table.csv").symlink_to(prepared / table)
    (folder / "runs").mkdir()
    for word in words:
        if re.fullmatch(r"RUN(-\w+)?|runs/[\w-]*", word) and not word.endswith("/"):
            shutil.copytree(fitted(prepared, kind_of_run(word, command)), folder / word)
    if command.endswith("runs/"):
        shutil.copytree(fitted(prepared, "digits"), folder / "runs" / "digits-vae")


def split(command):
    """Return the words of a command after `isthmus`, with patterns replaced by file names."""
    words = shlex.split(TORCHRUN.sub("isthmus", command).partition(" > ")[0])[1:]
    words = [PLACEHOLDERS.get(word, word) for word in words]
    return [path for word in words for path in (sorted(glob(word)) or [word])]


def start(words):
    """Return the command that began what a command with `--resume` continues."""
    grid = ["--model", "beta-vae", "--grid", "beta=1,2"] if words[0] == "tune" else []
    return [word for word in words if word != "--resume"] + grid


SLOW = re.compile(
    "--onnx|--torch|--page|--annealed|--backbone conv|recordings|isthmus check|evaluate|fashion"
    "|--mask|torchrun|isthmus tune|isthmus push|--beside|--track|--rows 0|epochs|--of each"
    "|runs/mnist|runs/digits |fit table|photo|wav"
)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(each, marks=pytest.mark.slow) if SLOW.search(each) else each
        for each in printed_commands()
    ],
)
def test_every_printed_command_runs(command, prepared, tmp_path, monkeypatch, capsys):
    for words, module in NEEDS.items():
        if words in command and find_spec(module) is None:
            pytest.skip(f"needs {module}")
    if re.search("isthmus studio|--page", command) and not APP.is_file():
        pytest.skip("the studio app is not built")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISTHMUS_DATA", str(prepared / "home"))
    shorten(monkeypatch)
    prepare(tmp_path, prepared, command, command.split())
    words = split(command)
    verb = words[0]
    if verb == "push" and "--dry-run" not in words:
        make_parser().parse_args(words)  # running it takes a network
        return
    if verb in ("fit", "tune"):
        out = words[words.index("--out") + 1] if "--out" in words else ""
        shutil.rmtree(out, ignore_errors=True)
        words += SHORT[:2] if "hidden=" in command else SHORT
        if "--resume" in words:
            assert main([*start(words), "--quiet"]) == 0
    if "--decompress" in words:
        data = "mnist" if "mnist" in command else "digits"
        assert main([verb, words[1], data, "--out", "codes.npz"]) == 0
    code = main(words)
    assert code == 0 or (code == 1 and "--strict" in words), capsys.readouterr().err


def test_the_options_in_sentences_exist():
    (verbs,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for command in mentioned_commands():
        verb, *words = split(command)
        known = verbs.choices[verb]._option_string_actions
        unknown = [w for w in words if w.startswith("-") and w.partition("=")[0] not in known]
        assert not unknown, command
