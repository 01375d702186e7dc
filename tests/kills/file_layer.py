"""An interposed layer of file operations, which kills its process before any one of them."""

import builtins
import io
import os
import re
import signal
import sys
import traceback
from pathlib import Path

BY_PATH = ("unlink", "remove", "mkdir", "rmdir", "truncate", "replace", "rename", "link", "symlink")
BY_HANDLE = ("write", "fsync", "ftruncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class FileLayer:
    """Counts the operations that change files below a folder.

    `install` replaces the functions of `os` and `open` for the rest of the process, which should
    be a forked one. Before operation number `last`, counted from 1, the process gets SIGKILL; half
    of the bytes of a write are written first.
    """

    def __init__(self, root, last=None):
        self.root, self.last = os.path.realpath(root), last
        self.done = []  # names of the operations

    def install(self):
        for name in BY_PATH:
            setattr(os, name, self._by_path(name, getattr(os, name)))
        for name in BY_HANDLE:
            setattr(os, name, self._by_handle(name, getattr(os, name)))
        self.os_open, self.open = os.open, io.open
        os.open, builtins.open, io.open = self._os_open, self._open, self._open

    def count(self, name, path, before=lambda: None):
        """Count an operation on a path, if it is below the folder."""
        path = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
        if not (path + os.sep).startswith(self.root + os.sep):
            return
        self.done.append(f"{name} {os.path.relpath(path, self.root)}")
        if len(self.done) == self.last:
            before()
            os.kill(os.getpid(), signal.SIGKILL)

    def _by_path(self, name, function):
        def call(path, *args, dir_fd=None, **options):
            if dir_fd is not None:
                options["dir_fd"] = dir_fd
            target = args[0] if name in ("replace", "rename", "link", "symlink") else path
            if isinstance(target, str | bytes | os.PathLike):
                folder = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
                self.count(name, os.path.join(folder, os.fsdecode(target)))
            return function(path, *args, **options)

        return call

    def _by_handle(self, name, function):
        def call(handle, *args):
            number = handle if isinstance(handle, int) else handle.fileno()
            self.count(name, os.readlink(f"/proc/self/fd/{number}"))
            # A killed process loses nothing that the system has: synchronising takes only time.
            return None if name == "fsync" else function(handle, *args)

        return call

    def _os_open(self, path, flags, mode=0o777, *, dir_fd=None):
        if flags & WRITING and isinstance(path, str | bytes | os.PathLike):
            folder = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
            self.count("open", os.path.join(folder, os.fsdecode(path)))
        return self.os_open(path, flags, mode, dir_fd=dir_fd)

    def _open(self, file, mode="r", *args, **options):
        plain = not args and not {*options} - {"opener"} and "b" in mode and "r" not in mode
        named = not isinstance(file, int)
        if set(mode) & set("wxa+") and named and "opener" not in options:
            self.count("open", os.fsdecode(file))
        if not plain:
            return self.open(file, mode, *args, **options)
        return CountedFile(io.FileIO(file, mode.replace("b", ""), **options), self)


class CountedFile(io.BufferedWriter):
    """A file whose writes are counted; the process may be killed in the middle of one."""

    def __init__(self, raw, layer):
        super().__init__(raw)
        self.layer = layer

    def write(self, content):
        real = super()
        half = memoryview(content).cast("B")[: memoryview(content).nbytes // 2]

        def first_half():
            real.write(half)
            real.flush()

        path = os.readlink(f"/proc/self/fd/{self.fileno()}")
        self.layer.count("write", path, first_half)
        return real.write(content)


def run_in_child(function, root, last=None, log=None):
    """Run a function in a forked process with a layer; return its exit code, -9 if it was killed.

    Without `last` it is not killed, and the operations are written to the file `log`.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 99
    try:
        output = os.open(f"{root}.output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
        layer = FileLayer(root, last)
        layer.install()
        code = function()
        if log is not None:
            Path(log).write_text("\n".join(layer.done))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code or 0)


def operations(function, root, log):
    """Return the names of the operations of a function, without random parts."""
    code = run_in_child(function, root, log=log)
    assert code == 0, Path(f"{root}.output").read_text()[-2000:]
    return [re.sub(r"[0-9a-f]{16}|tmp\w+", "*", line) for line in Path(log).read_text().split("\n")]
