"""The key with which a user recognises the data sources of their own runs."""

import stat

from isthmus.persistence.origin import is_recorded_here, with_code

DATA = {"name": "t", "source": "/data/t.csv"}


def test_what_a_killed_process_left_of_the_key_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "isthmus"
    folder.mkdir()
    (folder / ".key.0123456789abcdef.part").write_bytes(b"cut")
    record = with_code(DATA, "model")
    assert [p.name for p in folder.iterdir()] == ["key"]
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    (folder / ".key.fedcba9876543210.part").write_bytes(b"killed after the key was linked")
    assert with_code(DATA, "model") == record
    assert [p.name for p in folder.iterdir()] == ["key"]
    assert is_recorded_here(record, "model")
