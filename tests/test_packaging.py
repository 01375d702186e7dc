"""Wheel and sdist, the studio app in them, licences, and files in the root folder."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import isthmus
from isthmus.cli import main

ROOT = Path(__file__).parents[1]
NPM = """#!/bin/sh
echo "$*" >> "{log}"
[ "$1" = ci ] || echo "built" > "{app}"
"""
FORM_KEYS = {"name", "description", "title", "labels", "assignees", "projects", "type", "body"}
FIELD_TYPES = {"textarea", "input", "dropdown", "checkboxes"}
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


def load_hook():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.StudioHook


class Checkout:
    """A checkout with a few sources and a fake npm that records its arguments."""

    def __init__(self, root, monkeypatch):
        self.root, self.warnings, self.log = root, [], root / "npm.log"
        self.app = root / "src/isthmus/studio/app/app.js"
        self.sources = root / "studio/src"
        for folder in (self.app.parent, self.sources, root / "bin"):
            folder.mkdir(parents=True)
        for name in ("main.tsx", "old.ts", "../build.mjs", "../package-lock.json"):
            self.date(self.sources / name, 1e9)
        self.date(self.sources, 1e9)
        monkeypatch.setenv("PATH", str(root / "bin"))
        self.npm(NPM.format(log=self.log, app=self.app))

    def date(self, path, time):
        if not path.exists():
            path.touch()
        os.utime(path, (time, time))

    def npm(self, script):
        file = self.root / "bin/npm"
        file.write_text(script)
        file.chmod(0o755)

    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def display_warning(self, text):  # the interface of hatchling
        self.warnings.append(text)

    def install(self):
        hook = load_hook()(str(self.root), {}, None, None, "", "wheel", self)
        hook.initialize("standard", {})


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    return Checkout(tmp_path, monkeypatch)


class TestHook:
    def test_builds_the_app_once(self, checkout):
        checkout.install()
        assert checkout.calls() == ["ci", "run build"]
        assert checkout.app.read_text() == "built\n"
        checkout.install()
        assert len(checkout.calls()) == 2
        assert checkout.warnings == []

    @pytest.mark.parametrize("name", ["src/main.tsx", "build.mjs", "package-lock.json"])
    def test_rebuilds_after_a_change(self, checkout, name):
        checkout.install()
        checkout.date(checkout.root / "studio" / name, checkout.app.stat().st_mtime + 1)
        checkout.install()
        assert len(checkout.calls()) == 4

    def test_rebuilds_after_a_source_is_deleted(self, checkout):
        checkout.install()
        checkout.date(checkout.app, 1.5e9)
        (checkout.sources / "old.ts").unlink()
        checkout.install()
        assert len(checkout.calls()) == 4

    def test_keeps_the_app_of_an_sdist(self, checkout):
        checkout.install()
        (checkout.root / "PKG-INFO").touch()
        checkout.date(checkout.app, 1e8)  # older than the sources
        checkout.install()
        assert len(checkout.calls()) == 2

    def test_does_nothing_without_the_sources(self, checkout):
        shutil.rmtree(checkout.root / "studio")
        checkout.install()
        assert checkout.calls() == checkout.warnings == []

    def test_warns_if_npm_is_missing(self, checkout):
        (checkout.root / "bin/npm").unlink()
        checkout.install()
        (warning,) = checkout.warnings
        assert "npm is not installed" in warning
        assert "npm ci && npm run build" in warning

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("#!/bin/sh\necho code ENOTFOUND >&2; echo offline >&2; exit 1", "ENOTFOUND offline"),
            ("#!/bin/sh\n[ $1 = ci ] || { echo broken >&2; exit 1; }", "`npm run build` failed"),
            ("no program", "Exec format error"),
        ],
    )
    def test_warns_if_npm_fails_and_keeps_the_app(self, checkout, script, words):
        checkout.app.write_text("old")
        checkout.date(checkout.app, 1e8)
        checkout.npm(script)
        checkout.install()
        (warning,) = checkout.warnings
        assert words in warning
        assert "\n" not in warning
        assert checkout.app.read_text() == "old"


def package(root, name, files, **about):
    folder = root / "node_modules" / name
    folder.mkdir(parents=True)
    about = {"name": name, "version": "1.2.3", "license": "MIT"} | about
    for file, text in ({"package.json": json.dumps(about)} | files).items():
        (folder / file).write_text(text)


def licences(root, inputs=(), dev=()):
    """Collect the licences of a package tree, as the build does."""
    names = [folder.name for folder in (root / "node_modules").iterdir()]
    lock = {f"node_modules/{name}": {"dev": name in dev} for name in names}
    (root / "package-lock.json").write_text(json.dumps({"packages": {"": {}} | lock}))
    module = (ROOT / "studio/licences.mjs").as_uri()
    arguments = ", ".join(map(json.dumps, (str(root), list(inputs), ["a notice"])))
    code = f"import {{ licences }} from '{module}'; console.log(await licences({arguments}));"
    return subprocess.run(
        ["node", "--input-type=module", "-e", code], capture_output=True, encoding="utf-8"
    )


@needs_node
class TestLicences:
    def test_come_from_files_readmes_or_declarations(self, tmp_path):
        package(tmp_path, "a", {"LICENSE": "text of a", "NOTICE.txt": "notice of a"})
        package(tmp_path, "b", {"README.md": "# b\n## License\nCopyright B\n## More\nmore"})
        package(
            tmp_path, "c", {"README.md": "# c\n## License\nsee there"}, author={"name": "Carla"}
        )
        package(tmp_path, "d", {"LICENSE": "text of d"}, license="MPL-2.0")
        text = licences(tmp_path, ["src/main.tsx", "node_modules/a/a.js"], dev=["d"]).stdout
        for words in ("a 1.2.3 (MIT)", "text of a", "notice of a", "Copyright B", "a notice"):
            assert words in text
        assert "This package has no licence file. It declares: MIT, by Carla" in text
        assert "text of d" not in text
        assert "more" not in text.split("Copyright B")[1]

    @pytest.mark.parametrize("licence", ["GPL-3.0-only", "MPL-2.0", "UNLICENSED", None])
    def test_without_permission_to_redistribute_fail_the_build(self, tmp_path, licence):
        package(tmp_path, "a", {"LICENSE": "text"}, license=licence)
        done = licences(tmp_path)
        assert done.returncode
        assert f"a has licence {json.dumps(licence).strip(chr(34))}" in done.stderr

    def test_of_development_packages_fail_the_build(self, tmp_path):
        package(tmp_path, "a", {"LICENSE": "text"})
        done = licences(tmp_path, ["node_modules/a/a.js"], dev=["a"])
        assert done.returncode
        assert "node_modules/a/a.js is bundled" in done.stderr


def test_lock_file_names_no_host_and_pins_every_file():
    lock = json.loads((ROOT / "studio/package-lock.json").read_text())
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert packages
    assert not [name for name, about in packages.items() if "resolved" in about]
    assert not [name for name, about in packages.items() if "integrity" not in about]


def build(target, source, out, **environ):
    """Build an sdist or a wheel and return the file."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)],
        cwd=source,
        env=os.environ | environ,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    (file,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return file


def copied(target):
    """Copy the sources of the package and add files that must not be shipped."""
    for name in ("src", "studio", "tests"):
        left = shutil.ignore_patterns("node_modules", "app", "__pycache__", ".vitest")
        shutil.copytree(ROOT / name, target / name, ignore=left)
    files = (".gitignore", "LICENSE", "README.md", "CHANGELOG.md", "hatch_build.py")
    for name in (*files, "pyproject.toml"):
        shutil.copy(ROOT / name, target)
    for left in (target / "studio/.vitest/json", target / "src/isthmus/__pycache__"):
        left.mkdir(parents=True)
        (left / "left.pyc").touch()
    return target


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_wheel_and_sdist_contain_the_app(tmp_path):
    """So does a wheel built from the sdist without npm; none contains stray files."""
    source, out = copied(tmp_path / "source"), tmp_path / "out"
    sdist = build("sdist", source, out)
    wheel = build("wheel", source, out)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
        shipped = [archive.getnames()]
    (unpacked,) = tmp_path.glob("isthmus-*")
    (tmp_path / "empty").mkdir()
    again = build("wheel", unpacked, tmp_path / "again", PATH=str(tmp_path / "empty"))
    shipped += [zipfile.ZipFile(file).namelist() for file in (wheel, again)]

    assert again.read_bytes() == wheel.read_bytes()
    assert wheel.stat().st_size < 6 * 2**20
    for names in shipped:
        for name in ("app.css", "app.js", "engine.wasm.gz", "licences.txt"):
            assert any(each.endswith(f"isthmus/studio/app/{name}") for each in names)
        assert any(each.endswith("isthmus/studio/shell.html") for each in names)
        assert any(each.endswith("isthmus/py.typed") for each in names)
        assert any(each.endswith("/LICENSE") for each in names)
        assert not [each for each in names if "node_modules" in each or "/left" in each]
        assert not [each for each in names if "/tests/" in f"/{each}" or "/test_" in each]


@pytest.mark.slow
def test_wheel_installs_with_two_equivalent_commands(tmp_path):
    """Install it in a new environment that borrows the dependencies of this one."""
    wheel = build("wheel", copied(tmp_path / "source"), tmp_path / "out", PATH=str(tmp_path))
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = [str(programs / "python")]
    (packages,) = (tmp_path / "venv").glob("**/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    wanted = ("--no-deps", "--no-index", "--quiet", str(wheel))
    subprocess.run([*python, "-m", "pip", "install", *wanted], check=True)
    code = "import isthmus; print(isthmus.__file__); isthmus.VAE; isthmus.load"
    where = subprocess.run(
        [*python, "-Ic", code], check=True, capture_output=True, encoding="utf-8"
    )
    assert Path(where.stdout.strip()).is_relative_to(packages)
    outputs = [
        subprocess.run([*command, "--help"], capture_output=True, encoding="utf-8", cwd=tmp_path)
        for command in ([*python, "-m", "isthmus"], [str(programs / "isthmus")])
    ]
    assert outputs[0].stdout == outputs[1].stdout != ""


class TestPythonM:
    """``python -m isthmus`` has the output and exit code of ``isthmus``."""

    @pytest.mark.parametrize(
        ("argv", "code"),
        [(["--help"], 0), (["fit", "--help"], 0), (["fit"], 2), (["fti"], 2), ([], 2)],
    )
    def test_output_is_the_same(self, argv, code, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "100")
        assert main(argv) == code
        ours = capsys.readouterr()
        done = subprocess.run(
            [sys.executable, "-m", "isthmus", *argv], capture_output=True, encoding="utf-8"
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, ours.out, ours.err)
        assert "__main__" not in done.stdout + done.stderr


class TestRoot:
    """Files in the root folder agree with the package."""

    @pytest.fixture(autouse=True)
    def yaml(self):
        self.yaml = pytest.importorskip("yaml")

    def read(self, path):
        return self.yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))

    def test_citation_has_the_current_version(self):
        citation = self.read("CITATION.cff")
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert citation["version"] == isthmus.__version__
        assert citation["license"] == project["license"]
        assert citation["keywords"] == project["keywords"]
        assert {"cff-version", "message", "title", "authors"} <= set(citation)

    def test_pre_commit_hooks_have_the_tested_versions(self):
        pinned = dict(
            re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
        )
        repos = {repo["repo"]: repo for repo in self.read(".pre-commit-config.yaml")["repos"]}
        (ruff,) = (repo for name, repo in repos.items() if name.endswith("/ruff-pre-commit"))
        assert ruff["rev"] == f"v{pinned['ruff']}"
        (mypy,) = repos["local"]["hooks"]
        assert mypy["language"] == "system"  # installed from constraints.txt

    @pytest.mark.parametrize("name", ["bug_report", "feature_request"])
    def test_issue_forms_are_valid(self, name):
        form = self.read(f".github/ISSUE_TEMPLATE/{name}.yml")
        assert {"name", "description", "body"} <= set(form) <= FORM_KEYS
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert all(
            field["type"] in FIELD_TYPES and field["attributes"]["label"] for field in fields
        )
        ids = [field["id"] for field in fields]
        assert len(set(ids)) == len(ids) > 0
        assert self.read(".github/ISSUE_TEMPLATE/config.yml") == {"blank_issues_enabled": False}
