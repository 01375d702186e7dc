"""Train an isthmus model in a plain PyTorch loop and load its weights into an estimator.

Requires only isthmus.
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from isthmus import VAE
from isthmus.registry import build_model, build_objective

EPOCHS = 30


def train(model, objective, X):
    """Minimise the objective over rows with Adam."""

    def loss(x):  # to compile it: loss = torch.compile(loss)
        return objective(model, x).loss

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        for x in X[torch.randperm(len(X))].split(128):
            optimizer.zero_grad()
            loss(x).backward()
            optimizer.step()


def main():
    """Train with both loops; print the ELBO on held-out rows."""
    X, X_test = train_test_split(load_digits().data / 16, random_state=0)
    settings = VAE(
        likelihood="bernoulli",
        n_components=8,
        hidden=(128,),
        epochs=EPOCHS,
        validation_fraction=0,
        learning_rate=1e-3,
        warmup=0,
        ema=0.0,
        random_state=0,
    )

    torch.manual_seed(0)
    model = build_model(settings, features=(64,), likelihood="bernoulli")
    train(model, build_objective(settings), torch.tensor(X, dtype=torch.float32))

    # Load the weights into an estimator; one epoch determines shape, likelihood and scaling.
    estimator = VAE(**settings.get_params()).partial_fit(X)
    estimator.model_.load_state_dict(model.state_dict())
    print(f"own loop: ELBO {estimator.score(X_test):.2f} nats per example")
    print(f"fit: ELBO {settings.fit(X).score(X_test):.2f} nats per example")


if __name__ == "__main__":
    main()
