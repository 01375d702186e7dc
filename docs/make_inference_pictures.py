"""Draw the two-mode picture and print the table of docs/inference.md.

python docs/make_inference_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributions import (
    Categorical,
    Distribution,
    MixtureSameFamily,
    MultivariateNormal,
)

from isthmus.inference import GaussianFit, fit_gaussian, plot_fits

IMAGES = Path(__file__).parent / "images"


def two_modes() -> MixtureSameFamily:
    """Return an even mixture of two Gaussians: its log evidence is 0."""
    means = torch.tensor([[-2.0, -1.0], [2.0, 1.0]], dtype=torch.float64)
    covariances = torch.tensor(
        [[[0.5, 0.3], [0.3, 0.6]], [[0.6, -0.2], [-0.2, 0.4]]], dtype=torch.float64
    )
    halves = Categorical(torch.ones(2, dtype=torch.float64))
    return MixtureSameFamily(halves, MultivariateNormal(means, covariances))


def fit_all(target: MixtureSameFamily) -> dict[str, GaussianFit]:
    """Fit all four Gaussians, by name."""
    wide = MultivariateNormal(torch.zeros(2), 9 * torch.eye(2))
    return {
        f"{direction}, {covariance}": fit_gaussian(
            target.log_prob, start=wide, covariance=covariance, direction=direction
        )
        for direction in ("reverse", "forward")
        for covariance in ("diagonal", "full")
    }


def row(name: str, fit: GaussianFit) -> str:
    """Return one line of the table."""
    evidence = f"{fit.log_evidence:.3f} ± {fit.standard_error:.3f}"
    cells = [name, *moments(fit.distribution), f"{fit.elbo:.3f}", evidence, f"{fit.kl:.2f}"]
    return f"| {' | '.join(cells)} |".replace("-", "−")


def moments(q: Distribution) -> list[str]:
    """Format mean and standard deviations, without a minus before zero."""
    pairs = (q.mean.tolist(), q.variance.sqrt().tolist())
    return [f"({round(a, 2) + 0.0:.2f}, {round(b, 2) + 0.0:.2f})" for a, b in pairs]


def main() -> None:
    """Fit the Gaussians, print the table and save the picture."""
    target = two_modes()
    fits = fit_all(target)
    print("| direction, covariance | mean | standard deviations | ELBO | log evidence | KL(q‖p) |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(row(name, fit) for name, fit in fits.items()))
    print(f"| p itself | {' | '.join(moments(target))} | – | 0 | – |")
    shown = {name.split(",")[0]: fits[name] for name in ("reverse, full", "forward, full")}
    sheet = plot_fits(
        target.log_prob,
        shown,
        limits=(-5.2, 5.2, -4.2, 4.2),
        title="Reverse KL sits on one mode, forward KL covers both",
    )
    sheet.savefig(IMAGES / "two-modes.png", dpi=160)


if __name__ == "__main__":
    main()
