"""Plot fitted Gaussians on the density and the traces of their ELBO."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.distributions import Distribution, MultivariateNormal

from isthmus.inference.density import LogDensity, evaluate_in_chunks
from isthmus.inference.fit import GaussianFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_fits"]

COLORS = "#3f90da", "#bd1f01", "#832db6", "#e76300", "#717581"
STYLES = tuple(zip(COLORS, ("-", "--", "-.", ":", "-"), strict=True))


def plot_fits(
    log_density: LogDensity,
    fits: Mapping[str, GaussianFit],
    limits: Sequence[float] | None = None,
    title: str = "",
) -> Figure:
    """Plot a two-dimensional density, Gaussians fitted to it, and their ELBO traces.

    Parameters
    ----------
    log_density : callable
        Maps a tensor (n, 2) to a tensor (n,), in nats.
    fits : mapping of str to GaussianFit
        At most five fits by name.
    limits : (left, right, bottom, top), optional
        Limits of the map, by default three standard deviations of every fit.
    title : str

    Returns
    -------
    Figure
        The map shows the ellipses of one and two standard deviations of each Gaussian. Next to
        it are the ELBO traces with a dashed line at the log evidence; the gap is KL(q || p).

    Raises
    ------
    ValueError
        If there are no or more than five fits, or one does not have two dimensions.

    Examples
    --------
    >>> from isthmus.inference import fit_gaussian
    >>> fit = fit_gaussian(lambda z: -z.square().sum(-1), 2, direction="forward")
    >>> len(plot_fits(lambda z: -z.square().sum(-1), {"forward": fit}).axes)
    2
    """
    if not 1 <= len(fits) <= 5:
        raise ValueError(f"fits must hold one to five fits, got {len(fits)}.")
    for name, fit in fits.items():
        if fit.distribution.event_shape != (2,):
            raise ValueError(
                f"fits must have two dimensions, but {name!r} has "
                f"{fit.distribution.event_shape[0]}."
            )
    from isthmus.plots.style import figure
    from isthmus.plots.style import title as headline

    sheet = figure(max(3.7, 1.5 * len(fits)))
    panels = sheet.subplot_mosaic([["map", name + " trace"] for name in fits], width_ratios=(5, 4))
    _draw_map(panels.pop("map"), log_density, fits, limits or _limits(fits))
    _draw_traces(list(panels.values()), fits)
    if title:
        headline(sheet, title)
    return sheet


def _limits(fits: Mapping[str, GaussianFit]) -> Sequence[float]:
    means = torch.stack([f.distribution.mean for f in fits.values()])
    reach = 3 * torch.stack([f.distribution.variance for f in fits.values()]).sqrt()
    low, high = (means - reach).amin(0).tolist(), (means + reach).amax(0).tolist()
    return low[0], high[0], low[1], high[1]


def _draw_map(
    axes: Axes, log_density: LogDensity, fits: Mapping[str, GaussianFit], limits: Sequence[float]
) -> None:
    from isthmus.plots.style import MUTED, tidy

    left, right, bottom, top = limits
    x, y = np.linspace(left, right, 200), np.linspace(bottom, top, 200)
    like = next(iter(fits.values())).distribution.mean
    plane = torch.as_tensor(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)).to(like)
    height = evaluate_in_chunks(log_density, plane).reshape(200, 200).cpu().numpy()
    density = np.exp(height - height.max())
    axes.contourf(x, y, density, levels=(0.02, 0.1, 0.25, 0.5, 0.75, 1.01), cmap="Greys", alpha=0.6)
    for (name, fit), (color, dashes) in zip(fits.items(), STYLES, strict=False):
        mean = fit.distribution.mean.cpu().numpy()
        for radius in (1, 2):
            label = name if radius == 2 else None
            ring = _ellipse(fit.distribution, radius)
            axes.plot(*ring, color=color, linestyle=dashes, linewidth=1.8, label=label)
        axes.plot(*mean, marker="+", color=color, markersize=9, markeredgewidth=1.8)
    axes.set_aspect("equal")
    axes.legend(loc="upper left", frameon=False, labelcolor=MUTED, fontsize=9.5)
    tidy(axes, xlabel="z1", ylabel="z2", xlim=(left, right), ylim=(bottom, top))


def _ellipse(q: Distribution, radius: float) -> np.ndarray:
    angle = torch.linspace(0, 2 * math.pi, 181).to(q.mean)
    circle = torch.stack([angle.cos(), angle.sin()])  # (2, 181)
    factor = q.scale_tril if isinstance(q, MultivariateNormal) else q.stddev.diag()
    return (q.mean[:, None] + radius * factor @ circle).cpu().numpy()


def _draw_traces(panels: Sequence[Axes], fits: Mapping[str, GaussianFit]) -> None:
    from isthmus.plots.style import INK, PALE, tidy

    known = [f.elbo_trace[np.isfinite(f.elbo_trace)] for f in fits.values()]
    top = max(f.log_evidence for f in fits.values())
    # Outliers of the first steps must not compress the rest.
    low = min([np.quantile(t, 0.05) for t in known if len(t)] + [top - 0.5])
    for axes, (name, fit), (color, dashes) in zip(panels, fits.items(), STYLES, strict=False):
        steps = np.arange(1, len(fit.elbo_trace) + 1)
        marker = "." if len(steps) < 50 else ""
        axes.plot(steps, fit.elbo_trace, color=color, linestyle=dashes, marker=marker, lw=1.4)
        axes.axhline(fit.log_evidence, color=INK, linestyle=(0, (4, 2)), linewidth=1.1)
        axes.set_ylim(low - 0.1 * (top - low), top + 0.15 * (top - low))
        axes.set_title(name, loc="left", fontsize=9.5, color=INK)
        axes.grid(axis="y", color=PALE, linewidth=0.6)
        tidy(axes, xlabel="step", ylabel="ELBO, nats")
        _mark_gap(axes, fit)


def _mark_gap(axes: Axes, fit: GaussianFit) -> None:
    """Label the dashed line, and the gap below it if it is visible."""
    from isthmus.plots.style import INK, MUTED, signed

    across = axes.get_yaxis_transform()  # x in axes fractions, y in nats
    style: dict[str, Any] = {"fontsize": 9, "color": MUTED, "transform": across}
    axes.text(0.99, fit.log_evidence, "log evidence", ha="right", va="bottom", **style)
    bottom, top = axes.get_ylim()
    if fit.kl < 0.1 * (top - bottom) or not math.isfinite(fit.kl):
        return
    arrow = {"arrowstyle": "<->", "color": INK, "shrinkA": 0, "shrinkB": 0, "lw": 0.9}
    tip, tail = (0.45, fit.elbo), (0.45, fit.log_evidence)
    axes.annotate("", tip, tail, xycoords=across, textcoords=across, arrowprops=arrow)
    middle = 0.5 * (max(fit.elbo, bottom) + fit.log_evidence)
    axes.text(0.48, middle, f"KL(q‖p) = {signed(fit.kl, '.2f')}", va="center", **style)
