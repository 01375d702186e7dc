"""Training loops that isthmus is timed against: the same networks, batch, steps and Adam.

All train the very networks that isthmus makes, which are plain layers of torch, from the same
weights; only what is around them differs. Data are prepared before the clock starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone
from speed import floor as floors
from speed.race import CannotRace, Contender
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from isthmus.distributions.families import ACTIVATIONS
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.registry import build_model, build_objective
from isthmus.training import Rows, Trainer

LOG_2PI = math.log(2 * math.pi)
Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Job:
    """A model to train, and on what.

    Parameters
    ----------
    settings : Parts
        An estimator that is not fitted; its batch size and learning rate are those of all.
    likelihood : {"bernoulli", "gaussian-fixed"}
    x : ndarray (n, *features)
        Bytes, or float32 of mean 0 and variance 1; n is a multiple of the batch size.
    device : str
        Where all train.
    seed : int
        Of the first weights, the order of the rows and the noise.
    """

    settings: Any
    likelihood: str
    x: NDArray[Any]
    device: str = "cpu"
    seed: int = 0

    @property
    def batch(self) -> int:
        """Rows in one optimiser step."""
        return int(self.settings.batch_size)

    @property
    def steps(self) -> int:
        """Optimiser steps in one epoch."""
        return len(self.x) // self.batch

    def model(self) -> LatentVariableModel:
        """Return the model with its first weights, the same at every call."""
        torch.manual_seed(self.seed)
        return build_model(self.settings, self.x.shape[1:], self.likelihood).to(self.device)

    def floats(self) -> Tensor:
        """Return all rows as float32, bytes as [0, 1]."""
        x = torch.from_numpy(self.x).to(self.device)
        return x.float() / 255 if x.dtype == torch.uint8 else x


def size(model: nn.Module) -> int:
    """Return how many numbers a model learns."""
    return sum(p.numel() for p in model.parameters())


def isthmus(job: Job, compiled: bool = False) -> Contender:
    """Train by isthmus: its objective and its trainer, bytes kept as bytes.

    If compiled, the warm-up compiles.
    """
    model = job.model()
    settings = clone(job.settings).set_params(compile=compiled)
    generator = torch.Generator(job.device).manual_seed(0)
    trainer = Trainer(model, build_objective(settings), settings, generator)
    rows = Rows(torch.from_numpy(job.x)).to(torch.device(job.device))
    return Contender(lambda: trainer.epoch(rows)["loss"], size(model))


class Plain(nn.Module):
    """The same networks with their loss written out by hand, as one module."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        model = job.model()
        self.encoder, self.decoder = model.encoder, model.decoder
        self.variational = model.prior is not None
        self.pictures = job.likelihood == "bernoulli"
        self.penalty, self.weight = penalty_of(job.settings)
        self.activation = ACTIVATIONS[activation_of(job.settings)]

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean loss of a batch (n, *features), nats per example."""
        if self.penalty == "contractive":
            x = x.requires_grad_()
        h = self.encoder(x)
        if self.variational:
            mean, log_variance = h.chunk(2, 1)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            extra = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum()
        else:
            z = self.activation(h)
            extra = self._penalty(x, z)
        return (self.error(self.decoder(z), x) + extra) / len(x)

    def error(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Return -log p(x|z), summed over all."""
        outputs = outputs.reshape(x.shape)  # of a grey picture also with a channel
        if self.pictures:
            return F.binary_cross_entropy_with_logits(outputs, x, reduction="sum")
        return 0.5 * (F.mse_loss(outputs, x, reduction="sum") + LOG_2PI * x.numel())

    def _penalty(self, x: Tensor, z: Tensor) -> Tensor:
        if self.penalty == "l1":
            return self.weight * z.abs().sum()
        if self.penalty == "contractive":
            return self.weight * sum(_gradient(z[:, j], x).pow(2).sum() for j in range(z.shape[1]))
        return z.new_zeros(())


def _gradient(z: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(z.sum(), x, create_graph=True)[0]


def penalty_of(settings: Any) -> tuple[str | None, float]:
    """Return a penalty's name and weight; 0.05 is what isthmus takes for l1 by itself."""
    weight = getattr(settings, "penalty_weight", None)
    return settings.penalty, 0.05 if weight is None else weight


def activation_of(settings: Any) -> str:
    """Return the function on the code; "auto" is relu where the penalty is l1."""
    return "relu" if settings.activation == "auto" else settings.activation


def plain(job: Job) -> Contender:
    """Train by the loop that a careful person writes: data resident, fused Adam, no `.item()`."""
    model = Plain(job)
    networks = model.encoder, model.decoder
    return Contender(_resident(job, model, model), size(model), networks)


def compiled(job: Job) -> Contender:
    """Train by the plain loop with its model and loss compiled; the warm-up compiles."""
    if job.settings.penalty == "contractive":
        raise CannotRace("torch.compile cannot differentiate twice")
    torch._dynamo.reset()  # it gives up on what was compiled for too many other models
    model = Plain(job)
    return Contender(_resident(job, model, torch.compile(model)), size(model))


def _resident(job: Job, model: nn.Module, loss_of: Loss) -> Callable[[], float]:
    x = job.floats()
    optimizer = torch.optim.Adam(model.parameters(), lr=job.settings.learning_rate, fused=True)

    def epoch() -> float:
        total = torch.zeros((), device=x.device)
        for index in torch.randperm(len(x), device=x.device).split(job.batch):
            loss = loss_of(x[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total) / job.steps

    return epoch


class Pictures(Dataset):
    """One example and its label at a time, by way of a PIL picture, as torchvision does it.

    The steps are those of its `MNIST` and `ToTensor`; rows and signals become tensors directly.
    """

    def __init__(self, x: NDArray[Any]) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x = self.x[index]
        if x.dtype != np.uint8:
            return torch.tensor(x), 0
        picture = Image.fromarray(x if x.ndim == 2 else np.moveaxis(x, 0, -1))
        pixels = torch.from_numpy(np.array(picture, copy=True))
        pixels = pixels.view(picture.size[1], picture.size[0], len(picture.getbands()))
        return pixels.permute(2, 0, 1).contiguous().float().div(255), 0


def tutorial(job: Job) -> Contender:
    """Train by the loop of tutorials: a `DataLoader` without workers, `.item()` at each step."""
    model = Plain(job)
    optimizer = torch.optim.Adam(model.parameters(), lr=job.settings.learning_rate)
    loader = DataLoader(Pictures(job.x), batch_size=job.batch, shuffle=True)

    def epoch() -> float:
        total = 0.0
        for x, _ in loader:
            optimizer.zero_grad()
            loss = model(x.to(job.device))
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / job.steps

    return Contender(epoch, size(model), (model.encoder, model.decoder))


def uses_of(job: Job) -> list[floors.Use]:
    """Return the uses of layers in one training step, a penalty's own left out."""
    model = Plain(job)
    model.penalty = None
    x = job.floats()[: job.batch]
    return floors.watch(model, lambda: model(x))


def floor(job: Job) -> Contender:
    """Do the products of the steps of an epoch, and nothing else."""
    return floors.floor(uses_of(job), job.steps, backward=True)
