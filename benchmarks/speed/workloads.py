"""The workloads: what is raced, and what is asked of isthmus in each."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from speed import contenders as loops
from speed.answers import QUESTIONS
from speed.contenders import Job
from speed.race import NEVER_SLOWER, Aim, CannotRace, Contender, Makers
from speed.rivals import pyod, pythae

from isthmus import VAE, Autoencoder, ContractiveAutoencoder, SparseAutoencoder
from isthmus.data import load

Array = NDArray[Any]
NO_PENALTY = "isthmus, no penalty"
TORCH = "torch + scikit-learn"
ROWS_OF_QUESTIONS, ROWS_OF_LIKELIHOOD = 10_000, 40


@dataclass(frozen=True)
class Given:
    """What the user asked for: a folder with data, a number of steps in place of ours, a device."""

    data_home: str | None = None
    steps: int | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Workload:
    """One race.

    Parameters
    ----------
    title : str
    makers : callable
        `Given` to what makes the contenders.
    aims : tuple of Aim
    """

    title: str
    makers: Callable[[Given], Makers]
    aims: tuple[Aim, ...] = ()


# ------------------------------------------------------------------------ data


def made(shape: tuple[int, ...], n: int) -> Array:
    """Return smooth bytes in [0, 255] that depend on eight numbers a row."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(8, math.prod(shape))).astype(np.float32)
    codes = rng.normal(size=(n, 8)).astype(np.float32)
    return (255 / (1 + np.exp(-(codes @ weights)))).astype(np.uint8).reshape(n, *shape)


def made_real(shape: tuple[int, ...], n: int) -> Array:
    """Return float32 of mean 0 and variance 1 that depends on eight numbers a row."""
    x = made(shape, n).astype(np.float32)
    x += np.random.default_rng(1).normal(0, 20, x.shape).astype(np.float32)
    return (x - x.mean(0)) / x.std(0)


def fashion(given: Given, n: int) -> Array:
    """Return pictures of Fashion-MNIST, or made ones of their shape."""
    if given.data_home is None:
        return made((28, 28), n)
    X = load("fashion-mnist", data_home=given.data_home).X
    if n > len(X):
        raise ValueError(f"{n} rows were asked for, Fashion-MNIST has {len(X)}: ask fewer steps.")
    return np.array(X[:n])


# -------------------------------------------------------------------- training

LOOPS = {
    "isthmus": loops.isthmus,
    "isthmus, compile=True": partial(loops.isthmus, compiled=True),
    "tutorial loop": loops.tutorial,
    "plain loop": loops.plain,
    "torch.compile": loops.compiled,
    "pythae": pythae,
    "pyod": pyod,
    "pyod, scaled before": partial(pyod, scales=False),
    "floor": loops.floor,
}


def loops_of(job: Job) -> Makers:
    """Return what makes every loop for a job; pyod is for tables."""
    table = job.x.ndim == 2
    return {
        name: (lambda loop=loop: loop(job))
        for name, loop in LOOPS.items()
        if table or not name.startswith("pyod")
    }


def training(
    title: str,
    settings: Any,
    data: Callable[[Given, int], Array],
    steps: int,
    *aims: Aim,
    without: Any = None,
) -> Workload:
    """Return the workload of training a model, so many steps an epoch.

    `without` are the settings of the same model without its penalty, to train beside it.
    """

    def makers(given: Given) -> Makers:
        x = data(given, (given.steps or steps) * settings.batch_size)
        likelihood = "bernoulli" if x.dtype == np.uint8 else "gaussian-fixed"
        job = Job(settings, likelihood, x, given.device)
        if without is None:
            return loops_of(job)
        bare = Job(without, job.likelihood, x, given.device)
        return {**loops_of(job), NO_PENALTY: lambda: loops.isthmus(bare)}

    return Workload(title, makers, (*aims, NEVER_SLOWER))


FLOOR, FLOOR_CONV = Aim("floor", most=1.6), Aim("floor", most=1.5)
DENSE = (FLOOR, Aim("pythae", least=3.0), Aim("tutorial loop", least=6.0))
PYOD = Aim("pyod", least=5.0)
SMALL = {"n_components": 8, "hidden": (64,), "batch_size": 256}


def vae(batch: int, **settings: Any) -> VAE:
    """Return the VAE 784-400-20, or as asked."""
    return VAE(**{"n_components": 20, "hidden": (400,), "batch_size": batch, **settings})


def gated(batch: int) -> VAE:
    """Return the gated VAE 784-300-300-40."""
    return vae(batch, backbone="gated", hidden=(300, 300), n_components=40)


def colour(given: Given, n: int) -> Array:
    """Return made pictures in colour."""
    return made((3, 64, 64), n)


def signals(given: Given, n: int) -> Array:
    """Return made signals of 256 values."""
    return made_real((1, 256), n)


def table(given: Given, n: int) -> Array:
    """Return a made table of 30 columns."""
    return made_real((30,), n)


# ------------------------------------------------------------------- questions


def question(name: str, n: int, title: str, *aims: Aim) -> Workload:
    """Return the workload of asking a fitted VAE 784-400-20."""

    def makers(given: Given) -> Makers:
        return QUESTIONS[name].makers(Job(vae(128), "bernoulli", fashion(given, n)))

    return Workload(f"{title}, {n:,} rows, 784-400-20", makers, aims)


# -------------------------------------------------------------------- starting


def command(*arguments: str) -> Callable[[], Contender]:
    """Return what makes the contender that runs Python with these arguments."""

    def epoch() -> float:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return math.nan

    return lambda: Contender(epoch)


def starts(title: str, aim: Aim, **commands: tuple[str, ...]) -> Workload:
    """Return the workload of starting a process."""
    makers = {name: command(*arguments) for name, arguments in commands.items()}
    return Workload(title, lambda given: makers, (aim,))


WORKLOADS: dict[str, Workload] = {
    "dense-100": training("VAE 784-400-20, batch 100", vae(100), fashion, 235, *DENSE),
    "dense-1024": training("VAE 784-400-20, batch 1024", vae(1024), fashion, 24, *DENSE),
    "gated-100": training("gated VAE 784-300-300-40, batch 100", gated(100), fashion, 100, *DENSE),
    "gated-1024": training("gated VAE, batch 1024", gated(1024), fashion, 16, *DENSE),
    "conv": training(
        "convolutional VAE, 3x64x64, batch 64",
        vae(64, backbone="conv", hidden=(256,), n_components=32),
        colour,
        8,
        FLOOR_CONV,
    ),
    "contractive": training(
        "contractive 784-400-20, batch 100",
        ContractiveAutoencoder(hidden=(400,), n_components=20, batch_size=100),
        fashion,
        40,
        Aim(NO_PENALTY, most=3.0),
        without=Autoencoder(hidden=(400,), n_components=20, batch_size=100),
    ),
    "sparse": training(
        "sparse autoencoder 784-400-100, L1, batch 100",
        SparseAutoencoder(hidden=(400,), n_components=100, batch_size=100),
        fashion,
        100,
        FLOOR,
    ),
    "conv1d": training(
        "1-d convolutional VAE, 256 values, batch 64",
        vae(64, backbone="conv1d", hidden=(128,), n_components=16),
        signals,
        16,
        FLOOR_CONV,
    ),
    "table": training("VAE 30-64-8, batch 256", VAE(**SMALL), table, 200, PYOD),
    "table-ae": training(
        "autoencoder 30-64-8, batch 256", Autoencoder(**SMALL, activation="relu"), table, 200, PYOD
    ),
    "encode": question("encode", ROWS_OF_QUESTIONS, "transform", Aim("floor", most=1 / 0.8)),
    "reconstruct": question("reconstruct", ROWS_OF_QUESTIONS, "reconstruct"),
    "score": question(
        "score", ROWS_OF_QUESTIONS, "score_samples, 10 draws", Aim("floor", most=1 / 0.8)
    ),
    "likelihood": question(
        "likelihood", ROWS_OF_LIKELIHOOD, "log p(x), 5,000 draws", Aim("floor", most=1 / 0.6)
    ),
    "import": starts(
        "import isthmus; isthmus.VAE",
        Aim(TORCH, most=1.15),
        **{
            "isthmus": ("-c", "import isthmus; isthmus.VAE"),
            TORCH: ("-c", "import torch, sklearn"),
        },
    ),
    "help": starts("isthmus --help", Aim("", most=0.5), isthmus=("-m", "isthmus", "--help")),
}


def contender(workload: str, name: str, given: Given) -> Contender:
    """Make one contender of a workload."""
    makers = WORKLOADS[workload].makers(given)
    if name not in makers:
        raise CannotRace(f"{name!r} is not in {workload!r}: there are {', '.join(makers)}.")
    return makers[name]()
