"""The tutorial model on MNIST: 784-400-20, batch 128, Adam 1e-3, 10 epochs; published 105.6 nats.

    python reproductions/tutorial_vae.py --data-home DIR

Test loss per image (cross-entropy on grey values + KL), one sample of z; two independent logs of
the PyTorch examples' VAE show 105.56 and 105.59, and 106.3 in training.
"""

from __future__ import annotations

from common import AS_PUBLISHED, command

from isthmus import VAE
from isthmus.data import load

SETTINGS = AS_PUBLISHED | {
    "n_components": 20,
    "hidden": (400,),
    "batch_size": 128,
    "learning_rate": 1e-3,
    "validation_fraction": 0.0,
    "random_state": 0,
    "progress": "lines",
}


def run(arguments):
    mnist = load("mnist", data_home=arguments.data_home)
    epochs = arguments.epochs or 10
    model = VAE(epochs=epochs, **SETTINGS).fit(mnist.X)
    return {
        "published": {"test": 105.6, "train": 106.3},
        "test_nats": -model.score(mnist.X_test),
        "train_nats": model.history_[-1]["loss"],
        "epochs": epochs,
        "settings": SETTINGS,
    }


if __name__ == "__main__":
    command(__doc__, run, "tutorial-vae")
