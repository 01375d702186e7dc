"""``isthmus map``: draw the codes of data in two dimensions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus._messages import as_text
from isthmus.cli._options import DATA, RESIZE, RUN, command, option, run_folder, switch

COMMAND = command(
    "draw where data lie in the latent space, coloured by label",
    "Draw a map of the codes of data (of the test set if there is one). Two latents are drawn as "
    "they are, more by principal components or UMAP.",
    RUN,
    *DATA,
    RESIZE,
    option("--method auto|pca|umap: projection to two dimensions; umap needs isthmus[maps]"),
    option(
        "--beside RUN+: draw these runs next to the first one, with one draw from q(z|x) per "
        "example",
        type=run_folder,
    ),
    switch("--spread: draw q(z|x) of each example as an ellipse of one standard deviation"),
    option(
        "--rows QUERY+: draw q(z|x) of these instead, one panel per latent: row numbers, "
        "test:NUMBER, or files"
    ),
    option("--out FILE: output image (default: RUN/map.png)"),
    examples=(
        "isthmus map RUN digits --out map.png",
        "isthmus map RUN digits --spread",
        "isthmus map RUN-AE digits --beside RUN-KL RUN-VAE",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Project and draw; return the exit code."""
    from isthmus.applications.maps import LatentMap, compare_latent_maps, latent_distributions
    from isthmus.cli._run_data import load_rows, read_queries, unseen_rows
    from isthmus.cli._sheets import check_out, write_figure
    from isthmus.estimators import model_io

    out = check_out(arguments.out, Path(arguments.run) / "map.png")
    if sum(map(bool, (arguments.spread, arguments.rows, arguments.beside))) > 1:
        raise ValueError("--spread, --rows and --beside exclude each other.")
    if arguments.beside and arguments.method != "auto":
        raise ValueError("--beside and --method exclude each other.")
    runs = [arguments.run, *(arguments.beside or [])]
    models = [model_io.load(run) for run in runs]
    data = load_rows(arguments)
    X, y = unseen_rows(data)
    if arguments.rows:
        chosen = read_queries(arguments.rows, data, models[0].feature_shape_)
        sheet = latent_distributions(models[0], chosen.X, chosen.names)
    elif arguments.beside:
        sheet = compare_latent_maps(dict(zip(_names(runs, models), models, strict=True)), X, y)
    else:
        latent = LatentMap.from_fitted(models[0], method=arguments.method).fit(X)
        sheet = latent.posterior_figure(X, y) if arguments.spread else latent.figure(X, y)
    write_figure(sheet, out)
    return 0


def _names(runs: list[str], models: list[Any]) -> list[str]:
    """Return the models' names, or those of their folders if two models have the same name."""
    from isthmus.estimators import BetaVAE

    kinds = [
        type(m).__name__ + (f", β = {m.beta:,g}" if isinstance(m, BetaVAE) else "") for m in models
    ]
    names = kinds if len(set(kinds)) == len(kinds) else [as_text(Path(run).name) for run in runs]
    if len(set(names)) < len(names):
        raise ValueError("two of the runs have the same name; give each run once.")
    return names
