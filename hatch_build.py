"""Builds the studio's app into the package, where npm is there and the app is not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

APP = "src/isthmus/studio/app/app.js"  # which build.mjs writes last
SOURCES = ("src", "build.mjs", "licences.mjs", "package-lock.json")
STEPS = (["ci"], ["run", "build"])


class StudioHook(BuildHookInterface):
    """Runs npm before a wheel, an sdist or an editable install is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the app unless it is up to date; where that fails, warn and go on without."""
        root = Path(self.root)
        if not (root / "studio").is_dir() or _up_to_date(root):
            return
        if problem := _build(root / "studio"):
            self.app.display_warning(
                f"the studio's app was not built ({problem}); all else works. Later: npm ci && "
                "npm run build, in studio/."
            )


def _up_to_date(root: Path) -> bool:
    """Return whether the app is there, and no source was changed since, added or taken away."""
    app = root / APP
    if not app.is_file():
        return False
    if (root / "PKG-INFO").is_file():  # an sdist: its app is final, and unpacking set the times
        return True
    parts = [root / "studio" / name for name in SOURCES]
    files = [f for part in parts for f in (part, *part.rglob("*"))]
    return all(f.stat().st_mtime <= app.stat().st_mtime for f in files if f.exists())


def _build(studio: Path) -> str:
    """Run npm; return what went wrong, or nothing."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    return next(filter(None, (_run([npm, *step], studio) for step in STEPS)), "")


def _run(command: list[str], folder: Path) -> str:
    """Run a command in a folder; return what went wrong, in one line, or nothing."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        return str(error)
    said = " ".join(done.stderr.decode(errors="replace").split())[:300]
    return f"`npm {' '.join(command[1:])}` failed: {said}" if done.returncode else ""
