"""Runs that the tests of the command line share; a test that changes a run copies it."""

import pytest

from isthmus import VAE, Autoencoder, BetaVAE, ConditionalVAE
from isthmus.cli import main
from isthmus.data import load
from isthmus.estimators import model_io

FAST = ["--epochs", "2", "--hidden", "16", "--n-components", "2", "--random-state", "3"]


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    """Draw contact sheets with few pixels."""
    monkeypatch.setattr("isthmus.cli._sheets.DPI", 40)


@pytest.fixture(autouse=True)
def undrawn_reports(undrawn_report):
    """Leave figures out of the reports of fits; tests/report tests them."""


@pytest.fixture(scope="session")
def fast():
    """The flags of a short fit."""
    return FAST


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run that `isthmus fit` wrote."""
    folder = tmp_path_factory.mktemp("fitted") / "digits"
    assert main(["fit", "digits", "--out", str(folder), "--quiet", *FAST]) == 0
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Saved models of the digits, by name."""
    folder, data = tmp_path_factory.mktemp("runs"), load("digits")
    settings = {"hidden": (32,), "epochs": 3, "random_state": 0}
    models = {
        "vae": VAE(n_components=3, **settings),
        "plain": Autoencoder(n_components=3, **settings),
        "conditional": ConditionalVAE(n_components=2, **settings),
        "kl": BetaVAE(n_components=2, beta=1e4, **settings),
    }
    for name, model in models.items():
        model_io.save(model.fit(data.X[:400], data.y[:400]), folder / name, data.fingerprint)
    return {name: folder / name for name in models}
