"""Plant the faults that `isthmus check` names, and draw each of them beside a sound model.

python docs/make_check_pictures.py [NAME ...]

Draws docs/images/check/NAME.png for each finding of docs/check.md, or for those named, with the
evidence of `isthmus.evaluation.check`. Data are bundled with scikit-learn or made here.
"""

from __future__ import annotations

import argparse
import io
import textwrap
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits, make_blobs
from sklearn.metrics import r2_score
from sklearn.neighbors import NearestNeighbors

import isthmus
from isthmus.evaluation import Finding, check, importance_weighted
from isthmus.evaluation.baselines import independent_log_density, normal_log_density, pca_errors
from isthmus.evaluation.checks.calibration import integral_transform
from isthmus.evaluation.checks.context import Rows as CheckedRows
from isthmus.evaluation.joint import Joint
from isthmus.evaluation.sparsity import active_threshold, feature_density
from isthmus.plots import loss_curves
from isthmus.plots.cells import draw_cells
from isthmus.plots.style import INK, MUTED, PALE, PALETTE, figure, signed, tidy, title

Array = NDArray[Any]

IMAGES = Path(__file__).parent / "images" / "check"
BLUE, ORANGE, RED = PALETTE[0], PALETTE[6], PALETTE[2]
COLOURS = 256  # of a saved picture: keeps the files small
LINE = 89  # letters
LEGEND = {"edgecolor": "none", "labelcolor": MUTED, "fontsize": 9, "handletextpad": 0.1}
SMALL = {"hidden": (100,), "random_state": 0}

# ------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Data:
    """Training and test rows with their labels, and new rows."""

    train: Array
    test: Array
    y_train: Array | None = None
    y_test: Array | None = None
    new: Array | None = None


def split(X: Array, y: Array | None = None, n_test: int = 400) -> Data:
    """Hold out rows at random."""
    order = np.random.default_rng(0).permutation(len(X))
    test, train = np.split(order, [n_test])
    return Data(X[train], X[test], *([None] * 2 if y is None else [y[train], y[test]]))


@cache
def digits() -> Data:
    """Return grey digits of 8 x 8 pixels, and their labels."""
    bunch = load_digits()
    return split(bunch.images / 16, bunch.target)


@cache
def cancer() -> Data:
    """Return 30 measurements of cells."""
    return split(load_breast_cancer().data, n_test=150)


@cache
def linear() -> Data:
    """Return ten columns that depend linearly on four normal numbers, with noise."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(2000, 4)) @ rng.normal(size=(4, 10))
    return split(signal + 0.5 * rng.normal(size=signal.shape))


@cache
def clusters() -> Data:
    """Return six clusters in ten columns."""
    return split(make_blobs(2000, n_features=10, centers=6, random_state=0)[0])


# ------------------------------------------------------------------------------------- models


def fit(model: type = isthmus.VAE, rows: Data | None = None, **settings: Any) -> Any:
    """Return a small model fitted to the training rows, by default of digits."""
    rows = rows or digits()
    estimator = model(**SMALL | settings)
    return estimator.fit(rows.train, rows.y_train if estimator.conditional else None)


@cache
def sound_digits() -> Any:
    """Return a sound VAE of digits."""
    return fit(n_components=10, epochs=120)


@cache
def sound_cancer() -> Any:
    """Return a sound VAE of the measurements of cells."""
    return fit(rows=cancer(), n_components=10, epochs=250)


# ------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Panel:
    """One half of a picture: a model, rows, and how to draw them.

    Parameters
    ----------
    label : str
        What is sound or faulty about it.
    model : LatentEstimator
    rows : Data
    draw : callable
        ``draw(axes)``.
    """

    label: str
    model: Any
    rows: Data
    draw: Callable[[Axes], None]

    def finding(self, name: str) -> Finding:
        """Return a finding of `isthmus.evaluation.check`."""
        rows, labels = self.rows, {}
        if self.model.conditional:
            labels = {"y_train": rows.y_train, "y_test": rows.y_test}
        costly = name in ("amortisation", "family of the posterior")
        found = check(self.model, rows.train, rows.test, rows.new, **labels, costly=costly)
        return next(each for each in found if each.name == name)


def compare(
    name: str, *panels: Panel, height: float = 2.5, share: bool = True, quantity: str = ""
) -> Figure:
    """Draw panels side by side, with the evidence of a finding above each of them."""
    findings = [panel.finding(name) for panel in panels]
    text = f"{name.capitalize()}: {quantity or findings[0].evidence.quantity}"
    lines = textwrap.wrap(text, LINE)
    sheet = figure(height + 0.2 * (len(lines) - 1))
    if not share:
        sheet.get_layout_engine().set(h_pad=0.08)  # pictures of cells come close to the title
    axes = sheet.subplots(1, len(panels), sharex=share, sharey=share)
    for one, panel, finding in zip(axes, panels, findings, strict=True):
        panel.draw(one)
        colour = INK if finding.severity == "ok" else RED
        one.set_title("\n" + number(finding), loc="left", fontsize=9.5, color=colour)
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "xytext": (0, 19)}
        one.annotate(panel.label, (0, 1), **place, fontsize=9.5, color=INK)
        if share:
            one.label_outer()
    title(sheet, "\n".join(lines))
    return sheet


def number(finding: Finding) -> str:
    """Return the measured value with its error, the threshold and the severity."""
    found = finding.evidence
    tiny = abs(found.value) < found.threshold / 1000
    value = "0" if tiny else signed(found.value)
    error = f" ± {found.standard_error:.1g}" if found.standard_error and not tiny else ""
    unit = f" {found.unit}" if found.unit else ""
    return f"{finding.severity}: {value}{error}{unit} (threshold {found.threshold:.3g})"


def save(sheet: Figure, name: str) -> Path:
    """Save a figure with few colours."""
    buffer = io.BytesIO()
    sheet.savefig(buffer, dpi=160, facecolor="white")
    path = IMAGES / f"{name}.png"
    Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    return path


def histogram(
    *values: Array,
    labels: tuple[str, ...] = (),
    line: float | None = None,
    bins: Any = 30,
    log: str = "",
    **text: str,
) -> Callable[[Axes], None]:
    """Return what draws histograms over each other, of shares of rows."""

    def draw(axes: Axes) -> None:
        sets = [np.ravel(each) for each in values]
        edges = np.histogram_bin_edges(np.concatenate(sets), bins)
        for each, colour in zip(sets, (BLUE, ORANGE), strict=False):
            share = np.histogram(each, edges)[0] / len(each)
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.45 if labels else 0.8)
            axes.stairs(share, edges, color=colour, linewidth=1.2)
        if line is not None:
            axes.axvline(line, color=INK, linewidth=1, linestyle="--")
        if "x" in log:
            axes.set_xscale("log")
        if "y" in log:
            axes.set_yscale("log")
        tidy(axes, **{"ylabel": "share of rows"} | text)
        legend(axes, labels, (BLUE, ORANGE))

    return draw


def legend(axes: Axes, labels: tuple[str, ...], colours: tuple[str, ...], **place: Any) -> None:
    """Write labels in their colours."""
    if labels:
        marks = [
            axes.scatter([], [], color=c, s=22, label=t)
            for t, c in zip(labels, colours, strict=True)
        ]
        axes.legend(handles=marks, **LEGEND | place)


def bars(values: Array, colours: Any = BLUE, **text: Any) -> Callable[[Axes], None]:
    """Return what draws one bar for each value."""

    def draw(axes: Axes) -> None:
        axes.bar(np.arange(1, len(values) + 1), values, color=colours, width=0.8)
        tidy(axes, **text)

    return draw


def cells(images: Array, columns: int, rows: tuple[str, ...]) -> Callable[[Axes], None]:
    """Return what draws images row by row, with a name for each row."""

    def draw(axes: Axes) -> None:
        draw_cells(axes, images, columns, limits=(0, 1))
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)

    return draw


def cloud(
    a: Array, b: Array, labels: tuple[str, str], room: float = 0.0, **text: Any
) -> Callable[[Axes], None]:
    """Return what draws two sets of points, with room for the legend below them."""

    def draw(axes: Axes) -> None:
        for points, label, colour, mark in zip((a, b), labels, (BLUE, ORANGE), "ox", strict=True):
            style = {"linewidths": 0.8 if mark == "x" else 0, "alpha": 0.7, "label": label}
            axes.scatter(*points[:, :2].T, s=11, color=colour, marker=mark, **style)
        tidy(axes, **text)
        low, high = axes.get_ylim()
        axes.set_ylim(low - room * (high - low), high)
        axes.legend(**LEGEND, loc="lower left" if room else "best")

    return draw


def scaled(model: Any, X: Array) -> Array:
    """Return rows as the model sees them, (n, features)."""
    return model.scaler_.transform(X).reshape(len(X), -1)


def nearest(model: Any, train: Array, rows: Array) -> Array:
    """Return the distance of each row to the nearest training row, as the model sees them."""
    near = NearestNeighbors(n_neighbors=1).fit(scaled(model, train))
    return near.kneighbors(scaled(model, rows))[0][:, 0]


# ------------------------------------------------------------------------------------- findings


def copied_rows() -> Figure:
    """Make copies of a third of the test rows."""
    model, rows = sound_digits(), digits()
    copied = rows.test.copy()
    copied[: len(copied) // 3] = rows.train[: len(copied) // 3]
    text = {"xlabel": "distance to the nearest training row", "ylabel": "share of test rows"}
    return compare(
        "copied rows",
        *(
            Panel(
                label,
                model,
                replace(rows, test=test),
                histogram(nearest(model, rows.train, test), bins=np.linspace(0, 4, 41), **text),
            )
            for label, test in (("sound split", rows.test), ("rows repeated before it", copied))
        ),
    )


def dominant_column() -> Figure:
    """Give one column values a million times as large."""
    rows = cancer()
    unit = np.where(np.arange(30) == 7, 1e6, 1.0)
    rows = Data(rows.train * unit, rows.test * unit)

    def panel(label: str, scaling: str) -> Panel:
        model = fit(rows=rows, scaling=scaling, n_components=8, epochs=250)
        explained = r2_score(rows.test, model.reconstruct(rows.test), multioutput="raw_values")
        colours = [RED if k == 7 else BLUE for k in range(30)]
        text = {"xlabel": "column", "ylabel": "variance explained"}
        return Panel(label, model, rows, bars(explained.clip(0), colours, **text))

    return compare(
        "dominant column",
        panel('scaling="standard"', "standard"),
        panel('scaling="global", column 8 × 10⁶', "global"),
    )


def heavy_tails() -> Figure:
    """Make a column whose variance is in few rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4)) + rng.normal(size=(1500, 1))

    def panel(label: str, column: Array) -> Panel:
        rows = split(np.column_stack([column, X[:, 1:]]))
        model = fit(rows=rows, n_components=2, epochs=2)
        values = scaled(model, rows.train)[:, 0]
        text = {"xlabel": "column 1, in standard deviations", "ylabel": "share of rows"}
        return Panel(label, model, rows, histogram(values, bins=40, log="y", **text))

    return compare(
        "heavy tails",
        panel("logarithm of the column", X[:, 0]),
        panel("column as it is", np.exp(3 * X[:, 0])),
        share=False,
    )


def strips(kind: str, sound: Data, faulty: Data, fault: str) -> Figure:
    """Draw the values of a column in training rows and in test rows or new rows."""
    model = fit(rows=sound, n_components=4, epochs=2)

    def draw(axes: Axes, rows: Data) -> None:
        rng = np.random.default_rng(1)
        other = rows.test if kind == "test" else rows.new
        for k, (x, colour) in enumerate(((other, ORANGE), (rows.train[:400], BLUE))):
            jitter = k + 0.25 * rng.uniform(-1, 1, len(x))
            axes.scatter(x[:, 0], jitter, s=8, color=colour, alpha=0.6, linewidths=0)
        tidy(axes, xlabel="column 1", ylim=(-0.6, 1.6))
        axes.set_yticks([0, 1], [kind, "training"])

    return compare(
        f"range of {kind} rows",
        *(
            Panel(label, model, rows, partial(draw, rows=rows))
            for label, rows in (("sound rows", sound), (fault, faulty))
        ),
        height=2.1,
        share=False,
    )


def range_of_test_rows() -> Figure:
    """Mark missing values of test rows by -999."""
    rows = linear()
    marked = rows.test + 0.0
    marked[np.random.default_rng(1).permutation(len(marked))[:20], 0] = -999
    return strips("test", rows, replace(rows, test=marked), "−999 for missing values")


def range_of_new_rows() -> Figure:
    """Give a column of new rows in other units."""
    rows = replace(linear(), test=linear().test[:200], new=linear().test[200:])
    other_units = rows.new * np.where(np.arange(10) == 0, 10, 1)
    return strips("new", rows, replace(rows, new=other_units), "another unit, ten times smaller")


def drifted() -> tuple[Any, Data, Data]:
    """Return a model, rows without drift, and rows with ten columns that drift."""
    model, rows = sound_cancer(), cancer()
    test, same = rows.test[:75], rows.test[75:]
    moved = same.copy()
    moved[:, :10] += 1.5 * same[:, :10].std(axis=0)
    return model, replace(rows, test=test, new=same), replace(rows, test=test, new=moved)


def drift() -> Figure:
    """Move ten columns of new rows, and draw codes."""
    model, sound, faulty = drifted()

    def panel(label: str, rows: Data) -> Panel:
        codes = (model.transform(each) for each in (rows.test, rows.new))
        text = {"xlabel": "code 1", "ylabel": "code 2"}
        return Panel(label, model, rows, cloud(*codes, ("test rows", "new rows"), **text))

    return compare("drift", panel("new rows like the others", sound), panel("drift", faulty))


def drifted_columns() -> Figure:
    """Move ten columns of new rows, and draw one of them."""
    model, sound, faulty = drifted()
    return compare(
        "drifted columns",
        *(
            Panel(
                label,
                model,
                rows,
                histogram(
                    rows.test[:, 0],
                    rows.new[:, 0],
                    labels=("test rows", "new rows"),
                    bins=np.linspace(6, 30, 25),
                    xlabel="column 1: mean radius",
                ),
            )
            for label, rows in (("new rows like the others", sound), ("drift", faulty))
        ),
    )


def one_column(label: str, rows: Data) -> Panel:
    """Return a panel of the values of the first column."""
    model = fit(rows=rows, n_components=4, epochs=2)

    def draw(axes: Axes) -> None:
        axes.scatter(np.arange(300), rows.train[:300, 0], s=7, color=BLUE, linewidths=0)
        tidy(axes, xlabel="row", ylabel="column 1")

    return Panel(label, model, rows, draw)


def with_first(train: Array, test: Array) -> Data:
    """Return rows with another first column."""
    rows = linear()
    columns = ((train, rows.train), (test, rows.test))
    return Data(*(np.column_stack([first, x[:, 1:]]) for first, x in columns))


def identifiers() -> Figure:
    """Give rows a running number."""
    numbers = (first + np.arange(n) for first, n in ((1000, 1600), (9000, 400)))
    return compare(
        "identifiers",
        one_column("a measurement", linear()),
        one_column("a running number", with_first(*numbers)),
        share=False,
        quantity="columns with a different whole number in almost every row",
        height=2.3,
    )


def constant_columns() -> Figure:
    """Give all rows one value."""
    return compare(
        "constant columns",
        one_column("a measurement", linear()),
        one_column("one value", with_first(np.full(1600, 1.0), np.full(400, 1.0))),
        quantity="columns with the same value in all rows",
        height=2.3,
    )


def likelihood() -> Figure:
    """Use a Bernoulli likelihood for grey values."""
    grey = digits()
    black = replace(grey, train=(grey.train > 0.5) * 1.0, test=(grey.test > 0.5) * 1.0)

    def panel(label: str, rows: Data) -> Panel:
        model = fit(rows=rows, likelihood="bernoulli", n_components=10, epochs=15)
        drawn = model.sample(400, 0, noise=True)
        labels = ("pixels of rows", "pixels of samples")
        text = {"xlabel": "value", "ylabel": "share of pixels"}
        draw = histogram(rows.test, drawn, labels=labels, bins=np.linspace(0, 1, 18), **text)
        return Panel(label, model, rows, draw)

    return compare(
        "likelihood", panel("Bernoulli, black or white", black), panel("Bernoulli, grey", grey)
    )


def unconverged() -> Figure:
    """Stop training while the loss falls."""

    def panel(label: str, model: Any, place: Any) -> Panel:
        return Panel(label, model, digits(), curves(model, place))

    return compare(
        "unconverged training",
        panel("120 epochs", sound_digits(), (0.42, 0.4)),
        panel("12 epochs, learning_rate=3e-4", fit(epochs=12, learning_rate=3e-4), (0.45, 0.5)),
        share=False,
        quantity="share of the fall of the loss in the last quarter of the epochs",
    )


def curves(model: Any, place: Any) -> Callable[[Axes], None]:
    """Return what draws the loss of training and validation rows."""

    def draw(axes: Axes) -> None:
        loss_curves(model, ax=axes)
        axes.set_title("")
        axes.legend(**LEGEND | {"loc": place, "handletextpad": 0.6})

    return draw


class LastWeights(isthmus.Callback):
    """Keeps the weights of the last epoch, where `fit` keeps those of the best one."""

    def on_epoch(self, trainer: Any, record: dict[str, Any]) -> None:
        """Copy the weights."""
        self.weights = deepcopy(trainer.model.state_dict())


@cache
def few() -> tuple[Any, Data]:
    """Return a VAE that knows its 60 rows by heart; it is validated on 20 others."""
    settings = {"hidden": (300,), "epochs": 600, "patience": 0, "ema": 0, "n_components": 20}
    held_out = {"validation_split": "time", "validation_fraction": 0.25}
    last, model = LastWeights(), isthmus.VAE(**SMALL | settings | held_out)
    model.fit(digits().train[:80], callbacks=[last])
    model.model_.load_state_dict(last.weights)
    return model, replace(digits(), train=digits().train[:60])


def overfitting() -> Figure:
    """Train large networks on 60 rows, and draw the losses."""
    model, rows = few()
    return compare(
        "overfitting",
        Panel("1,397 rows", sound_digits(), digits(), curves(sound_digits(), (0.42, 0.4))),
        Panel("60 rows, last epoch", model, rows, curves(model, "upper left")),
        share=False,
    )


def memorisation() -> Figure:
    """Train large networks on 60 rows, and draw errors of reconstructions."""

    def panel(label: str, model: Any, rows: Data) -> Panel:
        errors = [((model.reconstruct(x) - x) ** 2).mean((1, 2)) for x in (rows.train, rows.test)]
        labels = ("training rows", "test rows")
        bins = np.geomspace(1e-4, 1e-1, 37)
        text = {"xlabel": "mean squared error"}
        return Panel(
            label, model, rows, histogram(*errors, labels=labels, bins=bins, log="x", **text)
        )

    return compare(
        "memorisation",
        panel("1,397 rows", sound_digits(), digits()),
        panel("60 rows, last epoch", *few()),
    )


def copying() -> Figure:
    """Give the prior as many modes as there are rows, and draw how near samples are to them."""
    rows = replace(digits(), train=digits().train[:60])
    modes = {"prior": "vamp", "prior_modes": 60, "n_components": 8, "hidden": (300,)}
    last = {"epochs": 600, "patience": 0, "ema": 0, "validation_fraction": 0.0}

    def panel(label: str, model: Any, rows: Data) -> Panel:
        drawn = model.sample(len(rows.test), 0, noise=True)
        near = (nearest(model, rows.train, x) for x in (drawn, rows.test))
        text = {"xlabel": "distance to the nearest training row"}
        draw = histogram(*near, labels=("samples", "test rows"), **text)
        return Panel(label, model, rows, draw)

    return compare(
        "copying",
        panel("1,397 rows", sound_digits(), digits()),
        panel('60 rows, prior="vamp", prior_modes=60', fit(rows=rows, **modes, **last), rows),
        share=False,
    )


def collapsed() -> Figure:
    """Set β far too large."""

    def panel(label: str, model: Any) -> Panel:
        mean, std = model.posterior(digits().test)
        kl = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).mean(axis=0)

        def draw(axes: Axes) -> None:
            text = {"xlabel": "component of the code, sorted", "ylabel": "KL in nats"}
            bars(np.sort(kl)[::-1], **text)(axes)
            if kl.max() < 0.01:
                style = {"transform": axes.transAxes, "ha": "center", "color": MUTED}
                axes.text(0.5, 0.45, "all below 0.01 nats", **style, fontsize=9)

        return Panel(label, model, digits(), draw)

    heavy = fit(isthmus.BetaVAE, beta=50.0, n_components=10, epochs=40)
    return compare("collapsed units", panel("β = 1", sound_digits()), panel("β = 50", heavy))


def ignored_condition() -> Figure:
    """Train with labels in another order than the rows."""
    rows = digits()
    order = np.random.default_rng(0).permutation(len(rows.train))
    shuffled = replace(rows, y_train=rows.y_train[order])

    def panel(label: str, trained_on: Data) -> Panel:
        model = fit(isthmus.ConditionalVAE, trained_on, n_components=8, epochs=60)
        drawn = np.concatenate([model.sample(6, 0, y=np.full(6, k)) for k in (0, 1, 4)])
        return Panel(label, model, rows, cells(drawn.clip(0, 1), 6, ("“0”", "“1”", "“4”")))

    return compare(
        "ignored condition",
        panel("samples of three classes", rows),
        panel("labels in another order than rows", shuffled),
        share=False,
        height=2.2,
        quantity="gain of the right condition, relative to that of a linear regression",
    )


@cache
def sparse(**settings: Any) -> Any:
    """Return a sparse autoencoder of digits, whose code is longer than a row."""
    return fit(isthmus.SparseAutoencoder, hidden=(), n_components=128, **settings)


def dead_units() -> Figure:
    """Train so roughly that units die."""

    def panel(label: str, model: Any) -> Panel:
        codes = model.transform(digits().train)
        density = np.sort(feature_density(codes, active_threshold(model)))[::-1]

        def draw(axes: Axes) -> None:
            units, dead = np.arange(1, len(density) + 1), density == 0
            axes.fill_between(units[~dead], density[~dead], color=BLUE, step="mid", alpha=0.8)
            if dead.any():
                axes.axvspan(units[dead][0], units[-1], color=PALE)
                style = {"ha": "right", "color": MUTED, "fontsize": 9}
                axes.text(units[dead][0] - 2, 0.85, f"{dead.sum()} never active", **style)
            text = {"xlabel": "unit, sorted", "ylabel": "share of rows"}
            tidy(axes, xlim=(1, len(units)), ylim=(0, 1), **text)

        return Panel(label, model, digits(), draw)

    heavy = {"activation": "relu", "penalty": "l1", "penalty_weight": 2.0, "learning_rate": 0.1}
    return compare(
        "dead units",
        panel("8 units active at a time", sparse(activation="topk", n_active=8, epochs=40)),
        panel("penalty_weight=2, learning_rate=0.1", sparse(**heavy, revive_every=None, epochs=20)),
    )


def dense_code() -> Figure:
    """Use a penalty so weak that units are active on most rows."""

    def panel(label: str, model: Any) -> Panel:
        active = np.abs(model.transform(digits().test)) > active_threshold(model)
        text = {"xlabel": "active units of 128"}
        return Panel(
            label, model, digits(), histogram(active.sum(1), bins=np.arange(0, 129, 4), **text)
        )

    light = {"activation": "relu", "penalty": "l1", "penalty_weight": 1e-5}
    return compare(
        "dense code",
        panel("8 units active at a time", sparse(activation="topk", n_active=8, epochs=40)),
        panel("penalty_weight=1e-5", sparse(**light, epochs=20)),
    )


def narrow_code() -> Figure:
    """Use one component for digits."""
    x = np.stack([digits().test[digits().y_test == k][0] for k in range(6)])

    def panel(label: str, model: Any) -> Panel:
        images = np.concatenate([x, model.reconstruct(x).clip(0, 1)])
        return Panel(label, model, digits(), cells(images, 6, ("row", "model")))

    return compare(
        "narrow code",
        panel("10 components", sound_digits()),
        panel("1 component", fit(n_components=1, epochs=40)),
        share=False,
        height=1.75,
    )


def reconstruction() -> Figure:
    """Set β so large that PCA reconstructs better."""
    x, test = (each.reshape(len(each), -1) for each in (digits().train, digits().test))

    def panel(label: str, model: Any) -> Panel:
        own = ((model.reconstruct(digits().test) - digits().test) ** 2).sum((1, 2))
        pca = pca_errors(model.n_components_, x, test, probabilistic=True)

        def draw(axes: Axes) -> None:
            axes.axline((0, 0), slope=1, color=INK, linewidth=1, linestyle="--")
            axes.scatter(pca, own, s=7, color=BLUE, alpha=0.6, linewidths=0)
            tidy(axes, xlabel="squared error of PCA", ylabel="of the model")
            axes.set(xlim=(0, 4), ylim=(0, 8))

        return Panel(label, model, digits(), draw)

    return compare(
        "reconstruction",
        panel("β = 1", sound_digits()),
        panel("β = 8", fit(isthmus.BetaVAE, beta=8.0, n_components=10, epochs=60)),
        height=2.9,
    )


def log_likelihood(model: Any, rows: Array) -> Array:
    """Return log p(x) of rows, in nats."""
    return importance_weighted(model, rows, 100).log_likelihood


def independent_features() -> Figure:
    """Train large networks on 60 rows, and score other rows."""

    def panel(label: str, model: Any, rows: Data) -> Panel:
        own = log_likelihood(model, rows.test)
        gain = own - independent_log_density(model, rows.train, rows.test)
        text = {"xlabel": "nats above independent features"}
        return Panel(label, model, rows, histogram(gain.clip(-400), line=0, **text))

    return compare(
        "independent features",
        panel("1,397 rows", sound_digits(), digits()),
        panel("60 rows, last epoch", *few()),
        share=False,
    )


def normal_distribution() -> Figure:
    """Use two components for columns that depend on four."""
    rows = linear()

    def panel(label: str, **settings: Any) -> Panel:
        model = fit(rows=rows, hidden=(), likelihood="gaussian-per-feature", **settings)
        own = log_likelihood(model, rows.test)
        gain = own - normal_log_density(rows.train, rows.test)
        text = {"xlabel": "nats above a normal distribution"}
        return Panel(
            label, model, rows, histogram(gain, line=0, bins=np.linspace(-12, 6, 37), **text)
        )

    return compare(
        "normal distribution",
        panel("4 components", n_components=4, epochs=80),
        panel("2 components", n_components=2, epochs=80),
        quantity="share of its gain over independent features that is missed",
    )


def prior_and_codes(model: Any) -> tuple[Array, Array]:
    """Return one draw from q(z|x) of each test row, and as many samples of the prior."""
    rng = np.random.default_rng(0)
    mean, std = model.posterior(clusters().test)
    codes = mean + std * rng.normal(size=mean.shape)
    if model.prior is None:
        return codes, rng.multivariate_normal(codes.mean(0), np.cov(codes.T), len(codes))
    with torch.no_grad():
        torch.manual_seed(0)
        return codes, model.model_.prior_given(None).sample((len(codes),)).numpy()


def holes() -> Figure:
    """Sample codes of clusters from a normal distribution."""

    def panel(label: str, model: Any) -> Panel:
        labels = ("codes of rows", "samples of the prior")
        text = {"xlabel": "code 1", "ylabel": "code 2"}
        return Panel(label, model, clusters(), cloud(*prior_and_codes(model), labels, 0.25, **text))

    mixture = {"prior": "mixture", "prior_modes": 20}
    return compare(
        "holes in the prior",
        panel('VAE, prior="mixture"', fit(rows=clusters(), n_components=2, epochs=80, **mixture)),
        panel(
            "autoencoder, normal distribution",
            fit(isthmus.Autoencoder, clusters(), n_components=2, epochs=60),
        ),
        share=False,
        height=3.0,
    )


def prior_mismatch() -> Figure:
    """Use a standard normal prior for the codes of clusters."""

    def panel(label: str, rows: Data, **settings: Any) -> Panel:
        model = fit(rows=rows, n_components=2, **settings)
        rng = np.random.default_rng(0)
        mean, std = model.posterior(rows.test)
        codes = mean + std * rng.normal(size=mean.shape)

        def draw(axes: Axes) -> None:
            for k in (1, 2, 3):
                axes.add_patch(Ellipse((0, 0), 2 * k, 2 * k, fill=False, color=ORANGE))
            axes.scatter(*codes.T, s=8, color=BLUE, alpha=0.6, linewidths=0)
            tidy(axes, xlabel="code 1", ylabel="code 2")
            axes.set(xlim=(-4, 8.7), ylim=(-3.6, 3.6))  # about as wide as the panel
            legend(axes, ("codes of rows", "prior: 1, 2, 3 σ"), (BLUE, ORANGE), loc="upper right")

        return Panel(label, model, rows, draw)

    return compare(
        "prior mismatch",
        panel("linear data", linear(), hidden=(), epochs=40),
        panel("six clusters", clusters(), epochs=80),
        height=2.7,
    )


def calibration() -> Figure:
    """Use one scale for columns that differ in noise."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2))
    noise = np.array([0.05, 0.05, 0.05, 0.05, 0.05, 2.0])
    rows = split(z @ rng.normal(size=(2, 6)) + noise * rng.normal(size=(2000, 6)))

    def panel(label: str, likelihood: str) -> Panel:
        model = fit(rows=rows, likelihood=likelihood, n_components=2, epochs=80)
        test = CheckedRows.draw(model, rows.test, None, "test", rng)
        transform = integral_transform(test, 0)[:, -1]  # of the noisy column

        def draw(axes: Axes) -> None:
            histogram(transform, bins=np.linspace(0, 1, 21))(axes)
            axes.axhline(0.05, color=INK, linewidth=1, linestyle="--")
            tidy(axes, xlabel="probability of values below that of the row")

        return Panel(label, model, rows, draw)

    return compare(
        "calibration",
        panel("one scale for each column", "gaussian-per-feature"),
        panel("one scale for all columns", "gaussian"),
        quantity="distance of the worst column from the predicted distribution",
    )


def posteriors(label: str, model: Any, rows: Data) -> Panel:
    """Return a panel of the true posterior of one row, and that of the encoder."""
    x = rows.test[:1]
    mean, std = (each[0] for each in model.posterior(x))
    joint = Joint.of(model, x, None)[slice(0, 1)]

    def draw(axes: Axes) -> None:
        axis = np.linspace(-5, 5, 241)
        grid = np.stack(np.meshgrid(axis, axis), -1)
        z = torch.from_numpy(grid.reshape(-1, 1, model.n_components_)).float()
        with torch.no_grad():
            log_p = (joint.log_likelihood(z) + joint.log_prior(z)).view(241, 241).numpy()
        levels = log_p.max() - 0.5 * np.array([9, 4, 1, 0])  # of a normal: 3, 2 and 1 σ
        axes.contourf(axis, axis, log_p, levels, colors=["#cfe3f6", "#8fbfeb", BLUE])
        for k in (1, 2, 3):
            axes.add_patch(Ellipse(mean, *(2 * k * std), fill=False, color=ORANGE, linewidth=1.4))
        shown = np.concatenate([grid[log_p > levels[0]], [mean + 3 * std, mean - 3 * std]])
        low, high = shown.min(axis=0), shown.max(axis=0)
        (left, bottom), reach = (low + high) / 2, 0.55 * (high - low).max()
        axes.set(xlim=(left - 1.1 * reach, left + 2.6 * reach))  # about as wide as the panel
        axes.set(ylim=(bottom - reach, bottom + reach))
        tidy(axes, xlabel="code 1", ylabel="code 2")
        legend(axes, ("true posterior", "encoder"), (BLUE, ORANGE), loc="upper right")

    return Panel(label, model, rows, draw)


@cache
def plane() -> Any:
    """Return a linear VAE with two components."""
    return fit(rows=linear(), hidden=(), n_components=2, epochs=40)


def best_encoder(alike: float = 0.0, strength: float = 1.0) -> Any:
    """Return a linear VAE whose encoder gives the best diagonal normal of each row.

    The effect of the second component on each column is made like that of the first one, and all
    effects are multiplied by the strength.
    """
    model = deepcopy(plane())
    encoder, decoder = model.model_.encoder.layers[0], model.model_.decoder.layers[0]
    with torch.no_grad():
        weight = decoder.weight
        weight[:, 1] = alike * weight[:, 0] + (1 - alike) * weight[:, 1]
        weight *= strength
        scale = model.model_.decode(torch.zeros(1, 2)).scale[0]
        precision = torch.eye(2) + weight.T @ (weight / scale[:, None] ** 2)
        slopes = torch.linalg.solve(precision, weight.T / scale**2)
        log_variance = -precision.diagonal().log()
        raw = log_variance / (1 - log_variance.abs() / 20)  # undoes the soft limit
        encoder.weight.copy_(torch.cat([slopes, torch.zeros_like(slopes)]))
        encoder.bias.copy_(torch.cat([-slopes @ decoder.bias, raw]))
    return model


def amortisation() -> Figure:
    """Move the means of the encoder."""
    wrong = best_encoder()
    with torch.no_grad():
        wrong.model_.encoder.layers[0].bias[:2] += 0.5
    return compare(
        "amortisation",
        posteriors("the best encoder", best_encoder(), linear()),
        posteriors("an encoder that is off by 0.5", wrong, linear()),
        share=False,
        height=2.6,
    )


def family() -> Figure:
    """Give two components nearly the same effect."""
    return compare(
        "family of the posterior",
        posteriors("components with effects of their own", best_encoder(), linear()),
        posteriors(
            "components with nearly the same effect", best_encoder(0.95, strength=2), linear()
        ),
        share=False,
        height=2.6,
    )


# Each picture is named after its finding.
PICTURES: dict[str, Callable[[], Figure]] = {
    "copied-rows": copied_rows,
    "dominant-column": dominant_column,
    "heavy-tails": heavy_tails,
    "range-of-test-rows": range_of_test_rows,
    "range-of-new-rows": range_of_new_rows,
    "drift": drift,
    "drifted-columns": drifted_columns,
    "constant-columns": constant_columns,
    "identifiers": identifiers,
    "likelihood": likelihood,
    "unconverged-training": unconverged,
    "ignored-condition": ignored_condition,
    "collapsed-units": collapsed,
    "dead-units": dead_units,
    "dense-code": dense_code,
    "narrow-code": narrow_code,
    "overfitting": overfitting,
    "memorisation": memorisation,
    "copying": copying,
    "reconstruction": reconstruction,
    "independent-features": independent_features,
    "normal-distribution": normal_distribution,
    "holes-in-the-prior": holes,
    "prior-mismatch": prior_mismatch,
    "calibration": calibration,
    "amortisation": amortisation,
    "family-of-the-posterior": family,
}


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    names = parser.parse_args().names or [*PICTURES]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    IMAGES.mkdir(exist_ok=True)
    for name in names:
        path = save(PICTURES[name](), name)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {time.process_time():.0f} s")


if __name__ == "__main__":
    main()
