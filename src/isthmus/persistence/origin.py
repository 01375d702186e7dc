"""Recognise the data sources that this user recorded.

A run records where its data lie, and anybody can write such a record: a run of a stranger could
name any file of the user's, which a command would then read and show. So the record of a source
ends with a code (HMAC-SHA256) that only the key of this user can produce.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from isthmus.data.limits import is_regular_file

__all__ = ["is_recorded_here", "with_code"]

CODE = "source_code"
KEY_BYTES = 32


def with_code(data: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return the description of data, plain JSON, with the code of this user.

    Parameters
    ----------
    data : mapping
        What `Dataset.fingerprint` holds; without a source it is returned as it is.
    model : str
        Checksum of the model that the record belongs to: the code is not valid beside another one.

    Examples
    --------
    >>> record = with_code({"name": "t", "source": "/data/t.csv"}, "model 1")
    >>> is_recorded_here(record, "model 1"), is_recorded_here(record, "model 2")
    (True, False)
    >>> is_recorded_here(record | {"source": "/data/other.csv"}, "model 1")
    False
    """
    key = _key(create=True) if "source" in data else None
    return {**data, CODE: _code(key, data, model)} if key else dict(data)


def is_recorded_here(data: Mapping[str, Any], model: str) -> bool:
    """Return whether `with_code` of this user wrote the description of some data."""
    key, code = _key(), str(data.get(CODE)).encode(errors="replace")
    return key is not None and hmac.compare_digest(_code(key, data, model).encode(), code)


def _code(key: bytes, data: Mapping[str, Any], model: str) -> str:
    others = {name: value for name, value in data.items() if name != CODE}
    content = json.dumps([others, model], sort_keys=True).encode()
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _key(create: bool = False) -> bytes | None:
    """Return the key of this user; None if there is none, or it cannot be read or written."""
    try:
        state = os.environ.get("XDG_STATE_HOME", "")
        folder = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
        path = folder / "isthmus" / "key"
        if create:
            if not path.exists():
                _create_key(path)
            _remove_drafts(path)
        key = path.read_bytes() if is_regular_file(path) else b""
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return key if len(key) == KEY_BYTES else None


def _create_key(path: Path) -> None:
    """Write a new key that only this user can read; another process may do the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError, FileNotFoundError):  # another key exists by now
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _remove_drafts(path: Path) -> None:
    """Remove what killed processes left when they created the key."""
    for draft in path.parent.glob(f".{path.name}.*.part"):
        with suppress(OSError):
            draft.unlink()
