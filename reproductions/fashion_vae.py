"""Fashion-MNIST, dense VAE with a standard normal or a VampPrior: published 228.70 and 227.35.

    python reproductions/fashion_vae.py standard --data-home DIR [--minutes 60]
    python reproductions/fashion_vae.py vamp --data-home DIR [--minutes 60]

Protocol of the density-estimation table of "Exemplar VAE: linking generative models, nearest
neighbor retrieval, and data augmentation" (Norouzi, Fleet, Norouzi, 2020): 50,000 / 10,000 /
10,000 rows; training pixels binarised anew in every batch, validation and test pixels once
(seed 777, validation first); two gated dense layers of 300 each way, 40 components; Adam on
gradients divided by their norm, step 5e-4, batch 100, KL warm-up of 100 epochs, patience 50, at
most 2000 epochs; 5000 importance samples.

You can stop the run at any time and continue it; the result is saved as JSON with the number of
epochs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from isthmus.data import load
from isthmus.distributions.base import isolated_rng
from isthmus.models.specs import VAE
from isthmus.registry import build_model, build_objective
from isthmus.training import Rows, Trainer, pick_device

HERE = Path(__file__).parent
PUBLISHED = {"standard": 228.70, "vamp": 227.35}


def settings(prior: str) -> VAE:
    """Return the published settings as fields of a VAE."""
    return VAE(
        n_components=40,
        hidden=(300, 300),
        backbone="gated",
        prior=prior,
        prior_modes=500,
        binarize=True,
        normalize_gradients=True,
        learning_rate=5e-4,
        warmup=0,
        ema=0.0,
        batch_size=100,
        beta_schedule="linear",
        beta_epochs=100,
        patience=50,
        epochs=2000,
    )


def data(home: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return grey training rows, and validation and test rows binarised once."""
    fashion = load("fashion-mnist", data_home=home)
    train, valid = np.array(fashion.X[:50_000]), np.array(fashion.X[50_000:])
    draw = np.random.RandomState(777)
    valid = draw.binomial(1, valid.reshape(-1, 784) / 255.0).astype(np.uint8)
    test = draw.binomial(1, fashion.X_test.reshape(-1, 784) / 255.0).astype(np.uint8)
    shape = (-1, 28, 28)
    return train, 255 * valid.reshape(shape), 255 * test.reshape(shape)


def make(prior: str, device: torch.device, train: Rows) -> Trainer:
    """Return a new trainer."""
    row, generator = settings(prior), torch.Generator(device).manual_seed(0)
    with isolated_rng(generator):
        model = build_model(row, (28, 28), "bernoulli")
    if prior == "vamp":
        order = torch.randperm(len(train), generator=generator, device=device)
        model.prior.start_from(train[order[: row.prior_modes]][0])
    objective = build_objective(row, len(train), train.n_batches(row.batch_size))
    return Trainer(model.to(device), objective, row, generator)


def checkpoint(path: Path, trainer: Trainer, progress: dict) -> None:
    """Save everything that is needed to continue training."""
    state = {
        "model": trainer.model.state_dict(),
        "trainer": trainer.state(),
        "generator": trainer.generator.get_state(),
        "progress": progress,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def train(prior: str, home: str, minutes: float, device: torch.device) -> Path:
    """Train until patience, 2000 epochs or the time limit; return the best checkpoint."""
    folder = HERE / "runs" / f"fashion-{prior}"
    folder.mkdir(parents=True, exist_ok=True)
    grey, valid, _ = data(home)
    rows, held = (Rows(torch.from_numpy(x)).to(device) for x in (grey, valid))
    trainer = make(prior, device, rows)
    progress = {"epoch": 0, "best": float("inf"), "best_epoch": 0, "seconds": 0.0}
    if (folder / "last.pt").exists():
        state = torch.load(folder / "last.pt", weights_only=True, map_location=device)
        trainer.model.load_state_dict(state["model"])
        trainer.load_state(state["trainer"])
        trainer.generator.set_state(state["generator"].cpu())
        progress = state["progress"]
    end = time.monotonic() + 60 * minutes
    with open(folder / "history.jsonl", "a") as history:
        while progress["epoch"] < 2000 and time.monotonic() < end:
            epoch = progress["epoch"] + 1
            record = trainer.epoch(rows, held, number=epoch)
            history.write(json.dumps(record) + "\n")
            history.flush()
            progress |= {"epoch": epoch, "seconds": progress["seconds"] + record["seconds"]}
            if record["valid_loss"] < progress["best"]:
                progress |= {"best": record["valid_loss"], "best_epoch": epoch}
                checkpoint(folder / "best.pt", trainer, progress)
            checkpoint(folder / "last.pt", trainer, progress)
            if epoch > 150 and epoch - progress["best_epoch"] >= 50:
                break
    return folder


def evaluate(prior: str, home: str, device: torch.device, samples: int) -> dict:
    """Return the test set's negative log-likelihood at the best weights."""
    from isthmus import VAE as Estimator
    from isthmus.estimators.scaling import Scaler
    from isthmus.evaluation.likelihood import importance_weighted

    folder = HERE / "runs" / f"fashion-{prior}"
    best = torch.load(folder / "best.pt", weights_only=True, map_location=device)
    last = torch.load(folder / "last.pt", weights_only=True, map_location=device)["progress"]
    estimator = Estimator(**vars(settings(prior)))
    estimator.feature_shape_, estimator.n_features_in_ = (28, 28), 784
    estimator.likelihood_, estimator.scaling_, estimator.condition_encoder_ = (
        "bernoulli",
        "none",
        None,
    )
    estimator.scaler_ = Scaler(np.zeros(()), np.ones(()))
    estimator.make_model(torch.Generator(device).manual_seed(0))
    estimator.model_.load_state_dict(best["model"])
    test = data(home)[2]
    result = importance_weighted(estimator, test, samples)
    return {
        "prior": prior,
        "published": PUBLISHED[prior],
        "nll": -float(np.mean(result.log_likelihood)),
        "negative_elbo": -estimator.score(test),
        "importance_samples": samples,
        "epochs": last["epoch"],
        "best_epoch": best["progress"]["best_epoch"],
        "training_seconds": last["seconds"],
        "settings": dict(vars(settings(prior)).items()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prior", choices=sorted(PUBLISHED))
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only-evaluate", action="store_true")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    if not arguments.only_evaluate:
        train(arguments.prior, arguments.data_home, arguments.minutes, device)
    result = evaluate(arguments.prior, arguments.data_home, device, arguments.samples)
    (HERE / "results").mkdir(exist_ok=True)
    out = HERE / "results" / f"fashion-{arguments.prior}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
