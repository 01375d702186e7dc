"""Training rows that are learned by heart."""

import numpy as np
import pytest
from measured import findings_of, severities_of

from isthmus import VAE, Autoencoder
from isthmus.evaluation.checks.memory import memorisation

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(400, 2)) @ RNG.normal(size=(2, 8)) + 0.5 * RNG.normal(size=(400, 8))


def fitted(model, X, **settings):
    settings = {"hidden": (16,), "epochs": 10, "random_state": 0} | settings
    return model(n_components=2, **settings).fit(X)


def test_a_model_that_knows_its_60_rows_by_heart_is_found():
    few = {"n_components": 8, "hidden": (200,), "epochs": 300, "validation_fraction": 0.0}
    rows = RNG.normal(size=(200, 20))
    model = Autoencoder(**few, patience=None, random_state=0, learning_rate=0.01).fit(rows[:60])
    found = findings_of(memorisation, model, rows[:60], rows[60:])["memorisation"]
    assert found.severity == "warning"
    assert found.remedy.settings == {"hidden": (50,)}


@pytest.mark.parametrize("model", [VAE, Autoencoder])
def test_a_sound_model_is_not_accused(model):
    found = severities_of(memorisation, fitted(model, ROWS[:200]), ROWS[:200], ROWS[200:])
    assert set(found.values()) == {"ok"}
    assert ("copying" in found) == (model is VAE)


def test_samples_that_are_copies_are_found(monkeypatch):
    model = fitted(VAE, ROWS[:100])
    copied = ROWS[RNG.integers(100, size=300)] + 0.01 * RNG.normal(size=(300, 8))
    monkeypatch.setattr(VAE, "sample", lambda self, n, seed, *, y, noise: copied[:n])
    assert severities_of(memorisation, model, ROWS[:100], ROWS[100:])["copying"] == "warning"


def test_bytes_and_frames_are_compared_with_their_samples():
    images = RNG.integers(0, 256, size=(80, 4, 4)).astype(np.uint8)
    found = severities_of(memorisation, fitted(VAE, images[:40]), images[:40], images[40:])
    assert found["copying"] == "ok"
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS).assign(kind=RNG.choice(["a", "b"], size=400))
    frame.columns = frame.columns.astype(str)
    found = severities_of(memorisation, fitted(VAE, frame[:200]), frame[:200], frame[200:])
    assert found["copying"] == "ok"
