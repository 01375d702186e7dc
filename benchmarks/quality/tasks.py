"""What is learned, who takes part, and which quality is the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from quality import contenders as by
from quality.contenders import Train
from quality.tables import TABLES
from speed import contenders as loops
from speed.rivals import pythae

from isthmus import VAE, Autoencoder
from isthmus.applications import AnomalyDetector
from isthmus.data import load

PLAIN, TUTORIAL = "plain loop", "tutorial loop"
PYOD = {"pyod AutoEncoder": ("auto_encoder", "AutoEncoder"), "pyod VAE": ("vae", "VAE")}


@dataclass(frozen=True)
class Target:
    """The quality to reach: a number, or what a contender has after some epochs.

    Parameters
    ----------
    title : str
    of : str or float
        The contender whose median over its seeds is the target; or the target.
    epochs : int, optional
        After how many epochs; by default the last one.
    """

    title: str
    of: str | float
    epochs: int | None = None


@dataclass(frozen=True)
class Aim:
    """isthmus shall reach a target so many times faster than another contender."""

    target: str
    against: str
    factor: float


@dataclass(frozen=True)
class Entry:
    """A contender in a task.

    Parameters
    ----------
    train : callable
        (data, seed, clock): trains, see `quality.contenders`.
    settings : str
        For the reader.
    epochs : int, optional
        At most; None trains by its own defaults to the end.
    seeds : int
        How many runs are measured for quality, if the task times epochs apart.
    curve : str, optional
        The contender whose epochs to the target count for this one, since both do the same steps.
    """

    train: Train
    settings: str
    epochs: int | None = None
    seeds: int = 1
    curve: str | None = None


@dataclass(frozen=True)
class Task:
    """One data set, one measure, its targets and contenders.

    Parameters
    ----------
    title : str
    measure : str
    load : callable
        Maps the folder with data, or None, to data; raises FileNotFoundError without the folder.
    entries : dict of str to Entry
    targets : tuple of Target
        The hardest one last.
    aims : tuple of Aim
    greater : bool
        Whether more is better.
    paced : bool
        Whether the seconds of an epoch are measured apart, since whole runs take minutes.
    """

    title: str
    measure: str
    load: Callable[[str | None], Any]
    entries: dict[str, Entry]
    targets: tuple[Target, ...]
    aims: tuple[Aim, ...] = field(default=())
    greater: bool = False
    paced: bool = False

    def reached(self, quality: float, target: float) -> bool:
        """Return whether a quality is at least as good as a target."""
        return quality >= target if self.greater else quality <= target


def pictures(name: str, data_home: str | None) -> Any:
    """Return a data set of pictures from the folder with data."""
    if data_home is None:
        raise FileNotFoundError("needs --data-home")
    return load(name, data_home=data_home)


def vaes(epochs: int = 30) -> dict[str, Entry]:
    """Return the contenders that train the VAE 784-400-20."""
    # The settings of the VAE among PyTorch's examples.
    tutorial = partial(VAE, n_components=20, hidden=(400,), batch_size=128)
    default = partial(VAE, n_components=20, hidden=(400,), likelihood="bernoulli")

    def loop(make: Any, rate: float, most: int, **options: Any) -> Entry:
        train = by.loop(make, tutorial(learning_rate=rate), "bernoulli")
        return Entry(train, f"Adam, rate {rate:g}, batch 128", most, **options)

    return {
        "isthmus": Entry(by.ours(default), "VAE(likelihood='bernoulli'), otherwise defaults"),
        PLAIN: loop(loops.plain, 1e-3, epochs, seeds=3),
        TUTORIAL: loop(loops.tutorial, 1e-3, epochs, curve=PLAIN),
        "pythae, 1e-3": loop(pythae, 1e-3, 2 * epochs),
        "pythae": loop(pythae, 1e-4, 2 * epochs),
    }


def vae_task(name: str, title: str) -> Task:
    """Return the task of training the VAE on pictures."""
    return Task(
        f"{title}, VAE 784-400-20",
        "negative ELBO, nats",
        partial(pictures, name),
        vaes(),
        (Target("tutorial, 10 epochs", PLAIN, 10), Target("tutorial, 30 epochs", PLAIN, 30)),
        tuple(
            Aim("tutorial, 30 epochs", rival, 4.0) for rival in (TUTORIAL, "pythae, 1e-3", "pythae")
        ),
        paced=True,
    )


def deep_task(epochs: int = 60) -> Task:
    """Return the task of the deep autoencoder of Hinton and Salakhutdinov (2006)."""
    deep: Any = partial(Autoencoder, n_components=30, hidden=(1000, 500, 250))

    def loop(make: Any, **options: Any) -> Entry:
        settings = deep(batch_size=128, learning_rate=1e-3)
        train = by.loop(make, settings, "gaussian-fixed")
        return Entry(train, "squared error, Adam, rate 0.001, batch 128", epochs, **options)

    return Task(
        "MNIST, autoencoder 784-1000-500-250-30",
        "squared error",
        partial(pictures, "mnist"),
        {
            "isthmus": Entry(by.ours(deep), "defaults"),
            PLAIN: loop(loops.plain),
            TUTORIAL: loop(loops.tutorial, curve=PLAIN),
            "pythae, 1e-3": loop(pythae),
        },
        (Target("published, 2006", 3.0),),
        paced=True,
    )


def table_task(name: str) -> Task:
    """Return the task of detecting the outliers of a table."""
    return Task(
        f"outliers in {name}",
        "AUROC",
        lambda data_home: TABLES[name](),
        {
            "isthmus": Entry(
                by.detector(lambda seed: AnomalyDetector(random_state=seed)), "defaults"
            ),
            **{rival: Entry(by.pyod(*where), "defaults") for rival, where in PYOD.items()},
        },
        tuple(Target(rival, rival) for rival in PYOD),
        tuple(Aim(rival, rival, 5.0) for rival in PYOD),
        greater=True,
    )


TASKS: dict[str, Task] = {
    "mnist": vae_task("mnist", "MNIST"),
    "fashion-mnist": vae_task("fashion-mnist", "Fashion-MNIST"),
    **{name: table_task(name) for name in TABLES},
    "deep": deep_task(),
}
