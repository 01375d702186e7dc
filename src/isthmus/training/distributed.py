"""The processes that train one model together: one, or as many as torchrun started."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch import distributed as dist

from isthmus._optional import import_optional
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.objectives.objective import Terms
from isthmus.training.functional_step import Gradients, Program, compute_gradients

__all__ = [
    "ProcessGroup",
    "ReplicatedGroup",
    "ShardedGroup",
    "is_main",
    "join_process_group",
    "started_together",
]

SET_UP = (
    "Accelerate was set up before, for something else than copies of one model ({}): start the "
    "processes by torchrun, and let none make an Accelerator of its own before it trains; or use "
    "strategy='fsdp', which does without."
)
SYNC_EVERY = 16  # steps between two agreements: each costs a message to every process


class ProcessGroup:
    """A process that trains alone; what others override is what takes more than one.

    Every step takes a batch of `batch_size` rows in all. Each process has a part of it, and the
    gradient is that of the whole batch, so that more processes change nothing but the time.

    Attributes
    ----------
    rank, size : int
        The number of this process, and how many there are.
    sharded : bool
        Whether no process has all weights while it trains.

    Examples
    --------
    >>> ProcessGroup().local_slice(10), ProcessGroup().broadcast_object(True)
    (slice(0, 10, None), True)
    """

    rank, size, sharded = 0, 1, False

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def local_slice(self, n: int) -> slice:
        """Return which of n rows are this process' own: as many as the others', or one more."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes."""
        return tensor

    def any(self, flags: Tensor) -> Tensor:
        """Return which flags are set in any process."""
        return flags

    def broadcast_object(self, value: Any) -> Any:
        """Return what the main process says, in all of them."""
        return value

    def gather_objects(self, value: Any) -> list[Any]:
        """Return the values of all processes."""
        return [value]

    def all_equal(self, value: Any) -> bool:
        """Whether all processes have the same value."""
        return all(other == value for other in self.gather_objects(value))

    def first_not_none(self, value: str | None) -> str | None:
        """Return the value of the first process that has one."""
        return next((v for v in self.gather_objects(value) if v is not None), None)

    def syncs_at(self, step: int) -> bool:
        """Whether the processes may ask each other anything after this step."""
        return True

    def generator(self, shared: Generator, step: int) -> Generator:
        """Return the source of what a process draws for its own rows alone."""
        return shared

    def wrap(self, model: LatentVariableModel) -> list[nn.Parameter]:
        """Take a model to train; return the weights to be updated."""
        self.program: nn.Module = Program(model)
        return list(model.parameters())

    def gather_weights(self, model: LatentVariableModel) -> None:
        """Let a model have the weights as they are now."""

    def compute_gradients(self, terms: Terms, weights: Sequence[Tensor], share: float) -> Gradients:
        """Return the gradients of a batch's loss, and the terms of the own share of its rows."""
        return compute_gradients(terms, weights)

    def broadcast_weights(self, model: LatentVariableModel) -> None:
        """Let all processes have the weights of the main process' model."""

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """Return all of a tensor of which this process may have a part."""
        return tensor

    def shard_like(self, tensor: Tensor, weight: Tensor) -> Tensor:
        """Return of a moment what this process holds, as it does of its weight."""
        return tensor

    def is_connection_error(self, error: RuntimeError) -> bool:
        """Whether an error says no more than that another process is gone."""
        return False

    @contextlib.contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Say plainly where another process is gone, while this one needs it.

        Raises
        ------
        ConnectionError
            In place of what the library for messages says.
        """
        try:
            yield
        except RuntimeError as error:
            if not self.is_connection_error(error):
                raise
            raise ConnectionError(
                "another process of this run has ended, or does not answer; what it said is the "
                "reason."
            ) from error

    def close(self) -> None:
        """Wait until all processes are done, and end their connection."""


class ReplicatedGroup(ProcessGroup):
    """ReplicatedGroup with a copy of the model each: DistributedDataParallel, through Accelerate.

    Parameters
    ----------
    device : torch.device
        Of this process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def any(self, flags: Tensor) -> Tensor:
        """Return which flags are set in any process."""
        return self.sum(flags.int()).bool()

    def broadcast_object(self, value: Any) -> Any:
        """Return what the main process says, in all of them."""
        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def gather_objects(self, value: Any) -> list[Any]:
        """Return the values of all processes."""
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def is_connection_error(self, error: RuntimeError) -> bool:
        """Whether an error says no more than that another process is gone."""
        return isinstance(error, dist.DistError) or "gloo" in str(error)

    def close(self) -> None:
        """Wait until all processes are done, and end their connection."""
        self.broadcast_object(None)
        dist.destroy_process_group()

    def syncs_at(self, step: int) -> bool:
        """Whether the processes may ask each other anything after this step."""
        return step % SYNC_EVERY == 0

    def generator(self, shared: Generator, step: int) -> Generator:
        """Return a source of its own for each process and step, the same in a run that goes on."""
        words = np.random.SeedSequence([shared.initial_seed(), step, self.rank])
        seed = int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))
        return Generator(shared.device).manual_seed(seed)

    def wrap(self, model: LatentVariableModel) -> list[nn.Parameter]:
        """Wrap a model, which must be the same in all processes.

        Raises
        ------
        ValueError
            Where Accelerate was set up before, in another way.
        """
        accelerator = _accelerator(self.device.type)
        # Models before: `free_memory` would let go of them too, and look for garbage for long.
        getattr(accelerator, "_models", []).clear()
        with warnings.catch_warnings():  # its new name is not known to Accelerate
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
            self.program = accelerator.prepare_model(Program(model), device_placement=False)
        if not isinstance(self.program, nn.parallel.DistributedDataParallel):
            raise ValueError(SET_UP.format(accelerator.distributed_type))
        return list(model.parameters())

    @torch.no_grad()
    def gather_weights(self, model: LatentVariableModel) -> None:
        """Let a model have the weights as they are now, and the mean of running statistics."""
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.sum(buffer) / self.size)

    def broadcast_weights(self, model: LatentVariableModel) -> None:
        """Let all processes have the weights of the main process' model."""
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), src=0)

    def compute_gradients(self, terms: Terms, weights: Sequence[Tensor], share: float) -> Gradients:
        """Return the gradients of a batch's loss, and the terms of the own share of its rows."""
        for weight in weights:
            weight.grad = None
        (terms.loss * share * self.size).backward()  # the processes' average is taken
        return [w.grad for w in weights], torch.stack([t.detach() for t in terms])


class ShardedGroup(ReplicatedGroup):
    """ReplicatedGroup that hold a part of the weights, gradients and moments each: FSDP.

    The model given to `wrap` stays whole and apart; `gather_weights` brings it up to date.
    """

    sharded = True

    def wrap(self, model: LatentVariableModel) -> list[nn.Parameter]:
        """Divide a copy of a model among the processes."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        self.program = Program(copy.deepcopy(model))
        fully_shard(self.program, mesh=mesh)
        return list(self.program.parameters())

    @torch.no_grad()
    def gather_weights(self, model: LatentVariableModel) -> None:
        """Let a model have the weights as they are now."""
        for own, part in zip(_tensors(model), _tensors(self.program), strict=True):
            own.copy_(self.full_tensor(part))
        super().gather_weights(model)

    @torch.no_grad()
    def broadcast_weights(self, model: LatentVariableModel) -> None:
        """Let all processes have the weights of the main process' model."""
        super().broadcast_weights(model)
        for own, part in zip(_tensors(model), _tensors(self.program), strict=True):
            part.copy_(self.shard_like(own, part))

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """Return all of a tensor of which this process may have a part."""
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def shard_like(self, tensor: Tensor, weight: Tensor) -> Tensor:
        """Return of a moment what this process holds, as it does of its weight."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(weight, DTensor) or tensor.shape != weight.shape:
            return tensor
        tensor = tensor.detach().to(weight.device)
        return distribute_tensor(tensor, weight.device_mesh, weight.placements)


STRATEGIES = {"ddp": ReplicatedGroup, "fsdp": ShardedGroup}


def join_process_group(strategy: str, device: torch.device) -> ProcessGroup:
    """Return the processes that torchrun started, or one that trains alone.

    Parameters
    ----------
    strategy : str
        "auto" and "ddp" copy the model, "fsdp" divides it; "none" is for processes that have
        models of their own.
    device : torch.device
        Of this process.

    Raises
    ------
    ImportError
        Where there are several processes and Accelerate is not installed.
    ValueError
        Where there is one, and a strategy for several was asked for.
    """
    if strategy == "none" or not started_together():
        if strategy in STRATEGIES:
            raise ValueError(
                f"strategy {strategy!r} is for several processes, but this is one: start it by "
                "torchrun --nproc-per-node N ..., or leave the strategy at 'auto'."
            )
        return ProcessGroup()
    _join(device)
    return STRATEGIES.get(strategy, ReplicatedGroup)(device)


def started_together() -> bool:
    """Whether this process is one of several that torchrun, or a program like it, started."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size() > 1
    return int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ


def is_main() -> bool:
    """Whether this process is to write and to speak.

    Examples
    --------
    >>> is_main()
    True
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return not started_together() or int(os.environ["RANK"]) == 0


def _join(device: torch.device) -> None:
    """Meet the other processes, once."""
    _accelerate()
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Numbers on the processor are agreed on too, whatever the model is on.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store, rank, size = next(dist.rendezvous("env://"))
        # torchrun keeps the store when it starts all anew, with the addresses of those that died.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"attempt-{attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)


def _accelerate() -> Any:
    return import_optional("accelerate", extra="scale", what="training by several processes")


@functools.cache
def _accelerator(device_type: str) -> Any:
    accelerate = _accelerate()
    # The graph is the same at every step, some weights may have no part in it.
    how = accelerate.DistributedDataParallelKwargs(static_graph=True, broadcast_buffers=False)
    try:  # precision is a setting of ours, and not of the launcher's or of a program around
        return accelerate.Accelerator(
            cpu=device_type == "cpu", mixed_precision="no", kwargs_handlers=[how]
        )
    except ValueError as error:
        raise ValueError(SET_UP.format("another precision")) from error


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
