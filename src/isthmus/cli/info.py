"""``isthmus info``: describe a saved run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus._messages import say
from isthmus._version import __version__
from isthmus.cli._options import RUN, command

DAMAGED = "these files are missing or do not match their checksums:"
COMMAND = command(
    "describe a saved run",
    "Describe a saved run, and check its files against their checksums.",
    RUN,
)


def run(arguments: argparse.Namespace) -> int:
    """Print the model of a run, its settings and its results; return the exit code."""
    from isthmus.cli._console import print_table
    from isthmus.models.params import setting_text
    from isthmus.persistence.run_folder import read_columns, read_config
    from isthmus.runs.folders import damaged_files_of_run

    folder = Path(arguments.run)
    config = read_config(folder)
    fitted = config["fitted"]
    print_table(f"{config['estimator']} in {folder}", _facts(folder, config))
    settings = {name: setting_text(value) for name, value in config["params"].items()}
    print_table("settings", settings)
    columns = read_columns(folder)
    if columns is not None:
        print_table("columns", {str(c.name): c.describe() for c in columns.columns})
    if config.get("held_out"):
        print_table("on held-out rows", config["held_out"])
    say(f"stopped after {fitted['n_iter']} epochs ({fitted['stopped']})")
    if damaged := damaged_files_of_run(folder):
        say(f"isthmus: {folder} is damaged: {DAMAGED} {', '.join(damaged)}", error=True)
        return 1
    return 0


def _facts(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    import torch

    from isthmus.persistence.integrity import WEIGHTS, described_file

    fitted, data = config["fitted"], config["data"]
    facts = {
        "data": data.get("name", "not recorded"),
        "path of the data": data.get("source", "not recorded"),
        "sha256 of the data": str(data.get("sha256", "not recorded"))[:16],
        "shape of one example": " x ".join(map(str, fitted["feature_shape"])),
        "likelihood": fitted["likelihood"],
        "reason for it": fitted["likelihood_reason"] or "not recorded",
        "scaling": fitted["scaling"],
        "epoch of the weights": fitted["best_epoch"],
    }
    versions = {"isthmus": __version__, "torch": torch.__version__}
    recorded = {"isthmus": config["isthmus"], "torch": config["versions"]["torch"]}
    for name, here in versions.items():
        differs = f" (here {here}: results may differ in the last bits)" * (recorded[name] != here)
        facts[name] = recorded[name] + differs
    weights = described_file(folder / WEIGHTS, config)
    if weights.is_file():
        facts["model file"] = f"{weights.stat().st_size / 2**20:.1f} MB"
    return facts
