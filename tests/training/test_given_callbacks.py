"""What `fit(callbacks=...)` accepts."""

import numpy as np
import pytest

from isthmus import VAE, Callback

X = np.random.default_rng(0).normal(size=(40, 3))
MODEL = VAE(n_components=2, hidden=(4,), epochs=2, random_state=0)


class Misspelt(Callback):
    def on_epochs(self, trainer, record):
        pass


def test_a_function_is_called_each_epoch():
    seen = []
    MODEL.fit(X, callbacks=[lambda trainer, record: seen.append(record["epoch"])])
    assert seen == [1, 2]
    MODEL.fit(X, callbacks=lambda trainer, record: seen.append(record["epoch"]))
    assert seen == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (Misspelt(), "a method on_epochs, which is never called. Did you mean 'on_epoch'?"),
        (Misspelt, r"takes objects, not classes: pass Misspelt\(\)"),
        ("early-stopping", "or functions of"),
    ],
)
def test_mistakes_are_named_before_training(callback, words):
    with pytest.raises(TypeError, match=words.replace("?", r"\?")):
        MODEL.fit(X, callbacks=[callback])
