"""Which of several processes this one is, as torchrun tells each in its environment."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Self

import torch

__all__ = ["WorkerRank"]

DONE = "isthmus/done"  # the key under which processes count themselves when they are through
LOOK = 0.2  # seconds between two looks at it


class WorkerRank(NamedTuple):
    """One of several processes that divide files among themselves, without a word.

    Parameters
    ----------
    number : int
        From 0.
    world_size : int
        How many there are.

    Examples
    --------
    >>> WorkerRank(1, 3)
    WorkerRank(number=1, world_size=3)
    """

    number: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls) -> Self:
        """Return the rank of this process by RANK and WORLD_SIZE; else the only one.

        Raises
        ------
        ValueError
            Where they are no whole numbers, or the rank is none of so many.
        """
        names = {"RANK": 0, "WORLD_SIZE": 1}
        texts = {name: os.environ.get(name, str(value)) for name, value in names.items()}
        good = all(text.isdecimal() for text in texts.values())
        if not good or int(texts["RANK"]) >= int(texts["WORLD_SIZE"]):
            said = ", ".join(f"{name}={text}" for name, text in texts.items())
            raise ValueError(
                f"expected whole numbers with RANK below WORLD_SIZE in the environment, got {said}."
            )
        return cls(*map(int, texts.values()))

    def assign(self, files: Sequence[Path]) -> list[Path]:
        """Return this rank's files: the largest first, each to who has least so far.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = [Path(folder, str(size)) for size in (1, 2, 3)]
        ...     for file in files:
        ...         _ = file.write_bytes(bytes(int(file.name)))
        ...     [[file.name for file in WorkerRank(i, 2).assign(files)] for i in range(2)]
        [['3'], ['2', '1']]
        """
        sizes = {file: file.stat().st_size for file in files}
        loads = [0] * self.world_size
        mine = []
        for file in sorted(files, key=lambda file: (-sizes[file], str(file))):
            least = loads.index(min(loads))
            loads[least] += sizes[file] + 1  # empty files are divided too
            if least == self.number:
                mine.append(file)
        return mine

    def wait_for_others(self, failed: bool) -> None:
        """Let the others finish before a failure is reported: torchrun ends them all at one."""
        if self.world_size == 1 or not torch.distributed.is_torchelastic_launched():
            return
        with contextlib.suppress(RuntimeError, OSError):  # who launched them may be gone
            store, *_ = next(torch.distributed.rendezvous("env://"))
            store.set_timeout(timedelta(seconds=60))
            done = store.add(DONE, 1)
            while failed and done < self.world_size:
                time.sleep(LOOK)
                done = store.add(DONE, 0)
