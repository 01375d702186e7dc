"""The rank of this process among several, from the environment variables that torchrun sets."""

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

DONE = "isthmus/done"  # key of the store under which finished processes are counted
POLL_SECONDS = 0.2


class WorkerRank(NamedTuple):
    """One of `world_size` processes that divide files without communication."""

    number: int = 0  # from 0
    world_size: int = 1

    @classmethod
    def from_environment(cls) -> Self:
        """Return the rank given by RANK and WORLD_SIZE, by default that of a single process."""
        rank, world_size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        valid = rank.isdecimal() and world_size.isdecimal()
        if not valid or int(rank) >= int(world_size):
            raise ValueError(
                "expected whole numbers with RANK below WORLD_SIZE in the environment, got "
                f"RANK={rank}, WORLD_SIZE={world_size}."
            )
        return cls(int(rank), int(world_size))

    def assign(self, files: Sequence[Path]) -> list[Path]:
        """Return the files of this rank: the largest first, each to the least loaded process."""
        sizes = {file: file.stat().st_size if file.exists() else 0 for file in files}
        loads = [0] * self.world_size
        mine = []
        for file in sorted(files, key=lambda file: (-sizes[file], str(file))):
            least = loads.index(min(loads))
            loads[least] += sizes[file] + 1  # so that empty files are divided too
            if least == self.number:
                mine.append(file)
        return mine

    def wait_for_others(self, failed: bool) -> None:
        """Wait for the other processes if this one failed: torchrun stops all at one failure."""
        if self.world_size == 1 or not torch.distributed.is_torchelastic_launched():
            return
        with contextlib.suppress(RuntimeError, OSError):  # torchrun may be gone
            store, *_ = next(torch.distributed.rendezvous("env://"))
            store.set_timeout(timedelta(seconds=60))
            done = store.add(DONE, 1)
            while failed and done < self.world_size:
                time.sleep(POLL_SECONDS)
                done = store.add(DONE, 0)
