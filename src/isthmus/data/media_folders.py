"""Find the images or audio files of a folder; its subfolders are their classes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from isthmus._messages import as_text
from isthmus.data.limits import is_inside, is_regular_file

__all__ = ["class_labels", "file_names", "find_media", "inside_only", "visible_files"]


def visible_files(root: Path) -> Iterator[Path]:
    """Yield all files below a folder that are not hidden, nor in a hidden folder."""
    for folder, _, names in _walk(root):
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield folder, subfolders, names


def inside_only(files: Iterable[Path], root: Path, n_more: int = 0) -> tuple[list[Path], list[str]]:
    """Return the files of a folder, sorted, without links out of it, and a note that counts these.

    `n_more` other links were left out before.
    """
    found = list(files)
    inside = sorted(file for file in found if is_inside(file, root))
    n = len(found) - len(inside) + n_more
    return inside, [f"skipped links to other folders: {n}"] if n else []


def find_media(root: Path, suffixes: Collection[str], kind: str) -> tuple[list[Path], list[str]]:
    """Return the files of some suffixes, sorted, and a note on each kind of file left out.

    Links that lead out of the folder are left out, as os.walk leaves out linked folders.
    """
    found = list(visible_files(root))
    media = [f for f in found if f.suffix.lower() in suffixes and is_regular_file(f)]
    linked = sum(
        os.path.islink(os.path.join(folder, name))
        for folder, subfolders, _ in _walk(root)
        for name in subfolders
    )
    files, notes = inside_only(media, root, linked)
    if not files:
        known = ", ".join(sorted(suffix[1:] for suffix in suffixes))
        raise ValueError(f"{root}: expected {kind} ({known}), found none; check the folder.")
    if other := len(found) - len(media):
        notes.append(f"skipped files that are not {kind}: {other}")
    return files, notes


def class_labels(files: list[Path], root: Path, kind: str, notes: list[str]) -> np.ndarray | None:
    """Return the top subfolder of each file, "" for none; None if no file is in a subfolder."""
    parts = [Path(name).parts for name in file_names(files, root)]
    labels = [p[0] if len(p) > 1 else "" for p in parts]
    if not any(labels):
        return None
    if "" in labels:
        notes.append(f"{kind} in no subfolder, with an empty label: {labels.count('')}")
    return np.array(labels)


def file_names(files: list[Path], root: Path) -> np.ndarray:
    """Return the path of each file below a folder, with forward slashes; of one file its name."""
    base = root if root.is_dir() else root.parent
    return np.array([as_text(file.relative_to(base).as_posix()) for file in files])
