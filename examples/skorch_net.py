"""Use an isthmus model with skorch, in a pipeline and a grid search.

Requires `pip install skorch`.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch import NeuralNet
from skorch.utils import to_numpy, to_tensor

from isthmus import Objective
from isthmus.models import specs
from isthmus.registry import build_model


def make_vae(n_components=8, width=128, features=(64,)):
    """Return the model of a VAE for pixels in [0, 1]."""
    settings = specs.VAE(n_components=n_components, hidden=(width,))
    return build_model(settings, features, "bernoulli")


class Bound(torch.nn.Module):
    """An objective as a module, so that skorch can search its settings."""

    def __init__(self, beta=1.0):
        super().__init__()
        self.objective = Objective(beta=beta)

    def forward(self, model, x):
        """Return the terms of a batch, nats per example."""
        return self.objective(model, x)


class VAENet(NeuralNet):
    """A net whose module is a model and whose criterion is its objective."""

    def infer(self, x, **fit_params):
        """Return the terms of a batch; the objective computes everything that a step needs."""
        return self.criterion_(self.module_, to_tensor(x, device=self.device))

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Return the loss, one of the terms."""
        return y_pred.loss

    @torch.no_grad()
    def transform(self, X):
        """Return the posterior means of rows."""
        self.module_.eval()
        return to_numpy(self.module_.encode(to_tensor(X, device=self.device)).mean)

    @torch.no_grad()
    def score(self, X, y=None):
        """Return the ELBO, nats per example: for any β used in training."""
        self.module_.eval()
        generator = torch.Generator(self.device).manual_seed(0)
        terms = Objective()(self.module_, to_tensor(X, device=self.device), generator=generator)
        return -float(terms.loss)


def make_net():
    """Return a net; `module__...` sets the model, `criterion__...` the objective."""
    options = {"lr": 3e-3, "max_epochs": 15, "batch_size": 64, "verbose": 0}
    return VAENet(make_vae, criterion=Bound, optimizer=torch.optim.Adam, **options)


def main():
    """Choose the size of the code, then classify digits by their codes."""
    torch.manual_seed(0)
    digits = load_digits()
    X, y = (digits.data / 16).astype(np.float32), digits.target
    grid = {"module__n_components": [1, 8], "criterion__beta": [1.0, 4.0]}
    search = GridSearchCV(make_net(), grid, cv=2).fit(X)
    print(f"best: {search.best_params_}, ELBO {search.best_score_:.2f} nats per example")

    classify = make_pipeline(make_net(), LogisticRegression(max_iter=1000)).fit(X[:1200], y[:1200])
    print(f"accuracy of a classifier of codes: {classify.score(X[1200:], y[1200:]):.2f}")


if __name__ == "__main__":
    main()
