"""The core works without extras, and each feature that needs one names it in its error."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from isthmus._optional import import_optional
from isthmus.cli._parser import COMMANDS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEVELOPMENT = {"docs", "test", "ecosystem"}  # extras for developers of isthmus
# Modules that need an optional library when they are imported.
TOP = {
    "isthmus.applications.pyod_adapter",
    "isthmus.studio.connections",
    "isthmus.studio.server",
}


def closure(lines):
    """Return the installed distributions that the requirements depend on."""
    found, open_ = set(), [(Requirement(line), "") for line in lines]
    while open_:
        requirement, extra = open_.pop()
        name = canonicalize_name(requirement.name)
        marker = requirement.marker
        if (marker and not marker.evaluate({"extra": extra})) or (name, extra) in found:
            continue
        for wanted in {"", *requirement.extras}:
            if name == "isthmus":
                open_ += [(Requirement(line), "") for line in EXTRAS.get(wanted, [])]
            elif (name, wanted) not in found:
                found.add((name, wanted))
                open_ += [(Requirement(line), wanted) for line in required(name)]
    return {name for name, _ in found}


def required(name):
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def modules_of_extras():
    """Return the top-level modules that only extras install."""
    core = closure(PROJECT["dependencies"])
    extra = closure([line for lines in EXTRAS.values() for line in lines]) - core
    owners = importlib.metadata.packages_distributions()
    return sorted(
        module
        for module, names in owners.items()
        if {canonicalize_name(name) for name in names} <= extra
    )


PROLOGUE = """
import contextlib, importlib, io, json, pkgutil, sys
from importlib.machinery import PathFinder

given = json.loads(sys.argv[1])

class Bare(PathFinder):
    "Find installed modules, except those of extras."

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in given["absent"]
        return None if absent else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
for name in [name for name in sys.modules if name.partition(".")[0] in given["absent"]]:
    del sys.modules[name]  # imported by a .pth file

def run(action):
    "Return the result or error of an action, and its output."
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = action()
        except Exception as error:
            code = f"{type(error).__name__}: {error}"
    return [code, out.getvalue()]
"""
BARE = (
    PROLOGUE
    + """
import isthmus
results = {"modules": {}, "lines": [], "python": {}}
for module in pkgutil.walk_packages(isthmus.__path__, "isthmus."):
    if module.name not in given["top"] and not module.name.endswith("__main__"):
        results["modules"][module.name] = run(
            lambda: importlib.import_module(module.name) and None
        )
from isthmus.cli import main
if "isthmus.studio.page" in sys.modules:
    sys.modules["isthmus.studio.page"].app_file = lambda name: b""  # a checkout may lack the app
for line in given["lines"]:
    results["lines"].append(run(lambda: main(line)))
for extra, code in given["python"].items():
    results["python"][extra] = run(lambda: exec(code, {}))
print(json.dumps(results))
"""
)
# Python code that needs each extra.
FROM_PYTHON = {
    "audio": "from isthmus.data.audio import read_audio as r; r(__import__('sys').argv[2])",
    "flows": "VAE(posterior_family='flow', epochs=1).fit(X)",
    "hub": "from isthmus.hub import from_pretrained; from_pretrained('someone/something')",
    "maps": "from isthmus.applications import LatentMap; LatentMap(fitted, method='umap').fit(X)",
    "metrics": "from isthmus.evaluation.reconstruction import ssim; ssim(P, P)",
    "onnx": "from isthmus import export; export.encoder(fitted)",
    "scale": "from isthmus.training.distributed import _accelerator; _accelerator('cpu')",
    "search": "from isthmus.applications import LatentIndex as I; I(fitted, backend='approximate').fit(X)",  # noqa: E501
    "tables": "from isthmus import data; data.load(__import__('sys').argv[3])",
    "track": "from isthmus.training.trackers import TensorBoard; TensorBoard('logs')",
    "tune": "from isthmus.search.optuna import OptunaPruning; OptunaPruning(None)",
}
BEFORE = """
import numpy as np
from isthmus import VAE
X, P = np.random.default_rng(0).normal(size=(40, 4)), np.zeros((2, 12, 12))
fitted = VAE(epochs=1, random_state=0).fit(X)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    for name in ("a.flac", "a.parquet"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def lines(folder):
    """Return command lines, each with the extra that its error must name, or None."""
    run = str(folder / "run")
    return [
        (["fit", "digits", "--epochs", "1", "--quiet", "--out", run], None),
        (["info", run], None),
        (["sample", run, "-n", "4", "--out", str(folder / "new.png")], None),
        (["--help"], None),
        *(([verb, "--help"], None) for verb in COMMANDS),
        (["studio", run, "--no-browser"], "studio"),
        (["export", run, "--onnx", str(folder / "onnx")], "onnx"),
        (["export", run, "--page", str(folder / "page.html")], "onnx"),
        (["fit", str(folder / "a.parquet")], "tables"),
        (["detect", run, "digits", "--out", str(folder / "new.parquet")], "tables"),
        (["map", run, "digits", "--method", "umap"], "maps"),
    ]


@pytest.fixture(scope="module")
def results(folder, lines):
    """Return the results of a process without the modules of extras."""
    given = {
        "absent": modules_of_extras(),
        "top": sorted(TOP),
        "lines": [line for line, _ in lines],
        "python": {extra: BEFORE + code for extra, code in FROM_PYTHON.items()},
    }
    arguments = [json.dumps(given), str(folder / "a.flac"), str(folder / "a.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", BARE, *arguments], capture_output=True, encoding="utf-8", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_modules_of_extras_are_found():
    absent = modules_of_extras()
    assert {"fastapi", "onnx", "pandas", "pyarrow", "starlette", "zuko"} <= set(absent)
    assert not {"torch", "numpy", "sklearn", "PIL", "rich", "filelock", "jinja2"} & set(absent)


def test_modules_import_without_extras(results):
    assert len(results["modules"]) > 100
    assert {name: result for name, result in results["modules"].items() if result[0]} == {}


def test_command_line_works_or_names_the_extra(results, lines):
    for (line, extra), (code, text) in zip(lines, results["lines"], strict=True):
        assert code == (2 if extra else 0), (line, text)
        if extra:
            assert f"pip install 'isthmus[{extra}]'" in text, line
            assert text.count("\n") == 1, (line, text)


@pytest.mark.parametrize("extra", FROM_PYTHON)
def test_python_error_names_the_extra(results, extra):
    error, _ = results["python"][extra]
    assert error, f"{extra}: it worked without the extra"
    assert error.startswith("ImportError: ")
    assert f"pip install 'isthmus[{extra}]'" in error
    assert "\n" not in error


def test_extras_named_in_code_and_docs_exist():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    named = {
        extra
        for text in texts.values()
        for found in re.findall(r"isthmus\[([a-z,]+)\]|extra=\"(\w+)\"", text)
        for part in found
        for extra in part.split(",")
        if extra
    }
    assert named <= set(EXTRAS)


def test_every_extra_is_tested():
    assert set(FROM_PYTHON) | {"studio"} == set(EXTRAS) - DEVELOPMENT


def test_extras_are_documented():
    text = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` ", text, re.M)) == set(EXTRAS) - DEVELOPMENT


class TestImportOptional:
    def test_returns_the_first_module(self):
        assert import_optional("json.decoder", "math", what="this") is json.decoder

    def test_error_names_all_missing_packages(self):
        with pytest.raises(ImportError) as error:
            import_optional(
                "json", "nowhere_a", "nowhere_b.c", extra="tune", what="this", instead="wait"
            )
        message = "this needs nowhere_a and nowhere_b: pip install 'isthmus[tune]', or wait."
        assert str(error.value) == message

    def test_error_without_an_extra_names_the_package(self):
        with pytest.raises(ImportError, match="this needs nowhere_a: pip install nowhere_a"):
            import_optional("nowhere_a", what="this")

    def test_error_of_a_broken_module_is_not_replaced(self, tmp_path, monkeypatch):
        (tmp_path / "broken_a.py").write_text("import nowhere_b")
        (tmp_path / "broken_c.py").write_text("raise ImportError('another version')")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="nowhere_b"):
            import_optional("broken_a", extra="tune", what="this")
        with pytest.raises(ImportError, match="another version"):
            import_optional("broken_c", extra="tune", what="this")
