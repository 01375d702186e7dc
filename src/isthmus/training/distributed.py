"""Groups of processes that train one model together."""

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
    "ShardedGroup",
    "is_main",
    "join_process_group",
    "started_together",
]

SET_UP = (
    "Accelerate is already configured in a way that does not copy the model ({}). Start the "
    "processes with torchrun and create no Accelerator before training, or use strategy='fsdp', "
    "which does not need Accelerate."
)
SYNC_EVERY = 16  # steps between two exchanges of messages


class ProcessGroup:
    """The processes that train one model together, or this one alone.

    Every step trains on `batch_size` rows in total. Each process computes a part of them, and the
    gradient is that of the whole batch, so that more processes change only the run time. Each
    process has a copy of the model (DistributedDataParallel, through Accelerate).

    Parameters
    ----------
    device : torch.device, optional
        Of this process; None for a process alone.

    Attributes
    ----------
    rank, size : int
        Index of this process, and number of processes.
    sharded : bool
        Whether the weights are divided among the processes during training.

    Examples
    --------
    >>> ProcessGroup().local_slice(10), ProcessGroup().broadcast_object(True)
    (slice(0, 10, None), True)
    """

    rank, size, sharded = 0, 1, False

    def __init__(self, device: torch.device | None = None) -> None:
        if device is not None:
            self.device = device
            self.rank, self.size = dist.get_rank(), dist.get_world_size()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def local_slice(self, n: int) -> slice:
        """Return the slice of n rows that this process computes; sizes differ by at most one."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def any(self, flags: Tensor) -> Tensor:
        """Return the element-wise logical or over the processes."""
        return self.sum(flags.int()).bool()

    def broadcast_object(self, value: Any) -> Any:
        """Return the main process' value in all processes."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def gather_objects(self, value: Any) -> list[Any]:
        """Return the values of all processes."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def all_equal(self, value: Any) -> bool:
        """Whether all processes have the same value."""
        return all(other == value for other in self.gather_objects(value))

    def first_not_none(self, value: str | None) -> str | None:
        """Return the value of the first process whose value is not None."""
        return next((v for v in self.gather_objects(value) if v is not None), None)

    def syncs_at(self, step: int) -> bool:
        """Whether the processes exchange messages after this step."""
        return self.size == 1 or step % SYNC_EVERY == 0

    def generator(self, shared: Generator, step: int) -> Generator:
        """Return the generator of random numbers for local rows, the same in a resumed run."""
        if self.size == 1:
            return shared
        words = np.random.SeedSequence([shared.initial_seed(), step, self.rank])
        seed = int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))
        return Generator(shared.device).manual_seed(seed)

    def wrap(self, model: LatentVariableModel) -> list[nn.Parameter]:
        """Prepare a model, which is the same in all processes; return the weights to update."""
        self.program: nn.Module = Program(model)
        if self.size == 1:
            return list(model.parameters())
        accelerator = _accelerator(self.device.type)
        # Release earlier models; `free_memory` would also collect garbage, which is slow.
        getattr(accelerator, "_models", []).clear()
        with warnings.catch_warnings():  # Accelerate does not know its new name
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
            self.program = accelerator.prepare_model(self.program, device_placement=False)
        if not isinstance(self.program, nn.parallel.DistributedDataParallel):
            raise ValueError(SET_UP.format(accelerator.distributed_type))
        return list(model.parameters())

    @torch.no_grad()
    def gather_weights(self, model: LatentVariableModel) -> None:
        """Give a model the current weights, and the mean of running statistics."""
        for buffer in model.buffers() if self.size > 1 else ():
            if buffer.is_floating_point():
                buffer.copy_(self.sum(buffer) / self.size)

    def broadcast_weights(self, model: LatentVariableModel) -> None:
        """Copy the weights of the main process' model to all processes."""
        for tensor in _tensors(model) if self.size > 1 else ():
            dist.broadcast(tensor.detach(), src=0)

    def compute_gradients(self, terms: Terms, weights: Sequence[Tensor], share: float) -> Gradients:
        """Return the gradients of a batch's loss, and the loss terms of the local rows."""
        if self.size == 1:
            return compute_gradients(terms, weights)
        for weight in weights:
            weight.grad = None
        (terms.loss * share * self.size).backward()  # DDP averages over the processes
        return [w.grad for w in weights], torch.stack([t.detach() for t in terms])

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """Return the full tensor of a possibly sharded one."""
        return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor

    def shard_like(self, tensor: Tensor, weight: Any) -> Tensor:
        """Return the part of a moment that belongs to this process' part of the weight."""
        if not hasattr(weight, "device_mesh") or tensor.shape != weight.shape:
            return tensor
        from torch.distributed.tensor import distribute_tensor  # slow to import

        tensor = tensor.detach().to(weight.device)
        return distribute_tensor(tensor, weight.device_mesh, weight.placements)

    @contextlib.contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise ConnectionError within the block if another process has ended."""
        try:
            yield
        except RuntimeError as error:
            lost = isinstance(error, dist.DistError) or "gloo" in str(error)
            if self.size == 1 or not lost:
                raise
            raise ConnectionError(
                "another process of this run has ended or does not answer; see its error message."
            ) from error

    def close(self) -> None:
        """Wait for all processes and close the connection."""
        if self.size > 1:
            self.gather_objects(None)
            dist.destroy_process_group()


class ShardedGroup(ProcessGroup):
    """Processes that divide the weights, gradients and moments among them: FSDP.

    `wrap` shards a copy of the model; `gather_weights` updates the original.
    """

    sharded = True

    def wrap(self, model: LatentVariableModel) -> list[nn.Parameter]:
        """Shard a copy of a model over the processes."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        if any(p.ndim == 0 for p in model.parameters()):
            raise ValueError(
                "one learned scale of all features cannot be divided among processes: set "
                "likelihood='gaussian-per-feature' or 'gaussian-fixed', or use strategy='ddp'."
            )
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
        """Copy the weights of the main process' model to all processes."""
        super().broadcast_weights(model)
        for own, part in zip(_tensors(model), _tensors(self.program), strict=True):
            part.copy_(self.shard_like(own, part))


STRATEGIES = {"ddp": ProcessGroup, "fsdp": ShardedGroup}


def join_process_group(strategy: str, device: torch.device) -> ProcessGroup:
    """Return the group of the processes that torchrun started, or of this process alone.

    Parameters
    ----------
    strategy : str
        "auto" and "ddp" copy the model, "fsdp" shards it; "none" trains a separate model in
        each process.
    device : torch.device
        Of this process.

    Raises
    ------
    ImportError
        If there are several processes and Accelerate is not installed.
    ValueError
        If the strategy needs several processes and there is one.
    """
    if strategy == "none" or not started_together():
        if strategy in STRATEGIES:
            raise ValueError(
                f"strategy {strategy!r} needs several processes, but there is one: start them with "
                "torchrun --nproc-per-node N ..., or use strategy='auto'."
            )
        return ProcessGroup()
    _join(device)
    return STRATEGIES.get(strategy, ProcessGroup)(device)


def started_together() -> bool:
    """Whether this process is one of several that torchrun or a similar launcher started."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size() > 1
    return int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ


def is_main() -> bool:
    """Whether this process writes files and messages."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return not started_together() or int(os.environ["RANK"]) == 0


def _join(device: torch.device) -> None:
    """Connect to the other processes, once."""
    _import_accelerate()
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # CPU tensors are exchanged as well, whatever the device of the model.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store, rank, size = next(dist.rendezvous("env://"))
        # After a restart torchrun's store still has the addresses of the processes that ended.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"attempt-{attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)


def _import_accelerate() -> Any:
    return import_optional("accelerate", extra="scale", what="training in several processes")


@functools.cache
def _accelerator(device_type: str) -> Any:
    accelerate = _import_accelerate()
    # The graph is the same at every step; some weights may not be part of it.
    how = accelerate.DistributedDataParallelKwargs(static_graph=True, broadcast_buffers=False)
    try:  # the precision is a setting of isthmus, not of the launcher
        return accelerate.Accelerator(
            cpu=device_type == "cpu", mixed_precision="no", kwargs_handlers=[how]
        )
    except ValueError as error:
        raise ValueError(SET_UP.format("another precision")) from error


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
