"""One short path through the package: fit, save, load and use a model, in Python and by command."""

import numpy as np
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main


def test_python(tmp_path):
    X = load_digits().images[:100] / 16
    model = isthmus.VAE(n_components=2, hidden=(8,), epochs=1, random_state=0).fit(X)
    model.save(tmp_path / "model")
    loaded = isthmus.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    assert model.sample(3, random_state=0).shape == (3, 8, 8)


def test_command_line(tmp_path, capsys):
    run = str(tmp_path / "run")
    options = ["--hidden", "8", "--epochs", "1", "--random-state", "0", "--out", run]
    assert main(["fit", "digits", *options]) == 0
    assert "ELBO" in capsys.readouterr().out
    assert main(["info", run]) == 0
