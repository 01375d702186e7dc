"""Train an isthmus model with Lightning.

Requires `pip install lightning`. (The releases 2.6.2 and 2.6.3 were malicious.)
"""

import lightning
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

from isthmus import VAE
from isthmus.registry import build_model, build_objective

EPOCHS = 30


class LightningVAE(lightning.LightningModule):
    """The model and the objective of an estimator with these settings."""

    def __init__(self, settings, features, likelihood):
        super().__init__()
        self.model = build_model(settings, features, likelihood)
        self.objective = build_objective(settings)

    def training_step(self, batch, batch_idx):
        """Return the loss of a batch; schedules of β depend on the step."""
        return self.objective(self.model, *batch, step=self.global_step).loss

    def validation_step(self, batch, batch_idx):
        """Log the terms of a held-out batch, nats per example."""
        terms = self.objective(self.model, *batch, step=self.global_step)
        self.log_dict({f"valid_{name}": term for name, term in terms._asdict().items()})

    def configure_optimizers(self):
        """Return Adam, which `fit` uses too."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def batches(X, shuffle=False):
    """Return a loader of rows."""
    rows = TensorDataset(torch.tensor(X, dtype=torch.float32))
    return DataLoader(rows, batch_size=128, shuffle=shuffle)


def train(module, X, X_valid):
    """Fit a module without log files and progress bars; return the trainer."""
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet = dict.fromkeys(names, False)
    trainer = lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", **quiet)
    trainer.fit(module, batches(X, shuffle=True), batches(X_valid))
    return trainer


def main():
    """Train with Lightning and with `fit`; print the ELBO on held-out rows."""
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

    lightning.seed_everything(0, verbose=False)
    module = LightningVAE(settings, features=(64,), likelihood="bernoulli")
    trainer = train(module, X, X_test)
    print(f"validation loss {trainer.callback_metrics['valid_loss']:.2f} nats per example")

    # Load the weights into an estimator; one epoch determines shape, likelihood and scaling.
    estimator = VAE(**settings.get_params()).partial_fit(X)
    estimator.model_.load_state_dict(module.model.state_dict())
    print(f"Lightning: ELBO {estimator.score(X_test):.2f} nats per example")
    print(f"fit: ELBO {settings.fit(X).score(X_test):.2f} nats per example")


if __name__ == "__main__":
    main()
