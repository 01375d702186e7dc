"""What is shipped: the studio's app in wheel and sdist, licences, and a core without extras."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NPM = """#!/bin/sh
echo "$*" >> "{log}"
[ "$1" = ci ] || echo "built" > "{app}"
"""
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


def load_hook():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.StudioHook


class Checkout:
    """A checkout with a few sources, and a fake npm that writes down what it was asked."""

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

    def asked(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def display_warning(self, text):  # what hatchling calls its app has this
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
        assert checkout.asked() == ["ci", "run build"]
        assert checkout.app.read_text() == "built\n"
        checkout.install()
        assert len(checkout.asked()) == 2
        assert checkout.warnings == []

    @pytest.mark.parametrize("name", ["src/main.tsx", "build.mjs", "package-lock.json"])
    def test_builds_anew_after_a_change(self, checkout, name):
        checkout.install()
        checkout.date(checkout.root / "studio" / name, checkout.app.stat().st_mtime + 1)
        checkout.install()
        assert len(checkout.asked()) == 4

    def test_builds_anew_after_a_source_is_gone(self, checkout):
        checkout.install()
        checkout.date(checkout.app, 1.5e9)
        (checkout.sources / "old.ts").unlink()
        checkout.install()
        assert len(checkout.asked()) == 4

    def test_leaves_an_sdists_app_alone(self, checkout):
        checkout.install()
        (checkout.root / "PKG-INFO").touch()
        checkout.date(checkout.app, 1e8)  # older than the sources
        checkout.install()
        assert len(checkout.asked()) == 2

    def test_goes_on_without_the_sources(self, checkout):
        shutil.rmtree(checkout.root / "studio")
        checkout.install()
        assert checkout.asked() == checkout.warnings == []

    def test_warns_where_npm_is_not(self, checkout):
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
    def test_warns_where_npm_fails_and_keeps_the_app(self, checkout, script, words):
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
    """Gather licences as the build does, of a tree of packages."""
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
    def test_come_from_files_readmes_or_what_is_declared(self, tmp_path):
        package(tmp_path, "a", {"LICENSE": "text of a", "NOTICE.txt": "notice of a"})
        package(tmp_path, "b", {"README.md": "# b\n## License\nCopyright B\n## More\nmore"})
        package(
            tmp_path, "c", {"README.md": "# c\n## License\nsee there"}, author={"name": "Carla"}
        )
        package(tmp_path, "d", {"LICENSE": "text of d"}, license="MPL-2.0")
        text = licences(tmp_path, ["src/main.tsx", "node_modules/a/a.js"], dev=["d"]).stdout
        for words in ("a 1.2.3 (MIT)", "text of a", "notice of a", "Copyright B", "a notice"):
            assert words in text
        assert "It brings no licence file. It declares: MIT, by Carla" in text
        assert "text of d" not in text
        assert "more" not in text.split("Copyright B")[1]

    @pytest.mark.parametrize("licence", ["GPL-3.0-only", "MPL-2.0", "UNLICENSED", None])
    def test_that_forbid_passing_on_fail_the_build(self, tmp_path, licence):
        package(tmp_path, "a", {"LICENSE": "text"}, license=licence)
        done = licences(tmp_path)
        assert done.returncode
        assert f"a is under {json.dumps(licence).strip(chr(34))}" in done.stderr

    def test_of_what_only_development_needs_fail_the_build(self, tmp_path):
        package(tmp_path, "a", {"LICENSE": "text"})
        done = licences(tmp_path, ["node_modules/a/a.js"], dev=["a"])
        assert done.returncode
        assert "node_modules/a/a.js is in the app" in done.stderr


def test_the_lock_names_no_host_and_pins_every_file():
    lock = json.loads((ROOT / "studio/package-lock.json").read_text())
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert packages
    assert not [name for name, about in packages.items() if "resolved" in about]
    assert not [name for name, about in packages.items() if "integrity" not in about]


WITHOUT_EXTRAS = """
import contextlib, io, json, sys
extras = ("fastapi", "onnx", "onnxruntime", "onnxscript", "starlette", "uvicorn")
sys.modules.update(dict.fromkeys(extras))  # None: to import one is an error
import isthmus
from isthmus.cli import main
from isthmus.studio import page

page.app_file = lambda name: b""  # a checkout may lack the app
told = {}
for argv in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main(argv)
    told[argv[0]] = code, out.getvalue()
print(json.dumps(told))
"""


def test_the_core_needs_no_extra(tmp_path):
    run, page = str(tmp_path / "run"), str(tmp_path / "page.html")
    lines = [
        ["--help"],
        ["fit", "digits", "--epochs", "1", "--out", run],
        ["studio", run, "--no-browser"],
        ["export", run, "--page", page],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, json.dumps(lines)],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["--help"][0] == told["fit"][0] == 0
    assert told["studio"][0] == told["export"][0] == 2
    assert "pip install 'isthmus[studio]'" in told["studio"][1]
    assert "pip install 'isthmus[onnx]'" in told["export"][1]
    assert not Path(page).exists()


def build(target, source, out, **environ):
    """Make an sdist or a wheel of a tree; return the file."""
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


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_wheel_and_sdist_bring_the_app(tmp_path):
    """Also a wheel made of the sdist, where there is no npm; none brings what was left about."""
    source, out = tmp_path / "source", tmp_path / "out"
    for name in ("src", "studio"):
        left = shutil.ignore_patterns("node_modules", "app", "__pycache__", ".vitest")
        shutil.copytree(ROOT / name, source / name, ignore=left)
    for name in (".gitignore", "LICENSE", "README.md", "hatch_build.py", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    for left in (source / "studio/.vitest/json", source / "src/isthmus/__pycache__"):
        left.mkdir(parents=True)
        (left / "left.pyc").touch()

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
        assert not [each for each in names if "node_modules" in each or "/left" in each]
