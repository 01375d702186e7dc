"""Fits in the processes that test_distributed.py starts with torchrun; the results are JSON."""

import contextlib
import json
import signal
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

import torch

import isthmus
from isthmus import data
from isthmus.data.disk_array import DiskArray
from isthmus.data.hf_datasets import DatasetLoader
from isthmus.training import Callback, Checkpoint, TensorBoard
from isthmus.training.distributed import join_process_group

warnings.simplefilter("ignore")
SPECS = data.load("digits")
X, Y = SPECS.X[:500], SPECS.y[:500]
GAPS = X.copy()
GAPS[:, ::3, 2] = float("nan")
SETTINGS = {"n_components": 3, "hidden": (32,), "epochs": 3, "random_state": 0, "batch_size": 48}
SETTINGS["likelihood"] = "bernoulli"
KINDS = {
    "vae": (isthmus.VAE, {}),
    "autoencoder": (isthmus.Autoencoder, {}),
    "beta": (isthmus.BetaVAE, {"beta": 2.0, "patience": 1}),
    "conditional": (isthmus.ConditionalVAE, {"condition_dropout": 0.0}),
    "contractive": (isthmus.ContractiveAutoencoder, {}),
    "sparse": (isthmus.SparseAutoencoder, {"n_components": 90, "hidden": (), "revive_every": 3}),
    "flow-prior": (isthmus.VAE, {"prior": "flow"}),
    "vamp": (isthmus.VAE, {"prior": "vamp", "prior_modes": 10}),
    "iwae": (isthmus.VAE, {"bound": "iwae", "n_samples": 4}),
    "flow": (isthmus.VAE, {"posterior_family": "flow"}),
    "normalized": (isthmus.VAE, {"normalize_gradients": True, "weight_decay": 0.1}),
    "scheduled": (isthmus.VAE, {"lr_schedule": "cosine", "clip_norm": 5.0, "optimizer": "nadam"}),
    "incomplete": (isthmus.VAE, {"missing": "ignore"}),
}
# Kinds that are trained as shards too.
SHARDED = ("vae", "vamp", "normalized", "scheduled", "conv", "dropout")
LOCAL = {  # models that draw or compute statistics for local rows
    "conv": (isthmus.VAE, {"backbone": "conv", "epochs": 1}),
    "denoising": (isthmus.DenoisingAutoencoder, {}),
    "binarized": (isthmus.VAE, {"binarize": True}),
    "dropout": (isthmus.VAE, {"dropout": 0.2}),
    "batchtopk": (isthmus.SparseAutoencoder, {"activation": "batchtopk", "n_active": 2}),
}


class StopAtTheEnd(Callback):
    """Request a stop in the main process alone, after the last step."""

    def on_epoch(self, trainer, record):
        if record["epoch"] == SETTINGS["epochs"]:
            trainer.stop_request.receive(signal.SIGTERM)


class Interrupted(Exception):
    """Raised to end training."""


class At(Callback):
    """Write a checkpoint after a step and end training."""

    everywhere = True

    def __init__(self, step: int, checkpoint: Checkpoint) -> None:
        self.step, self.checkpoint = step, checkpoint

    def on_step(self, trainer, n_rows):
        if trainer.step == self.step:
            self.checkpoint.write(trainer)
            raise Interrupted


def curve(model):
    """Return the losses of each epoch, and the codes of five rows."""
    last = model.history_[-1]
    return {
        "loss": [record["loss"] for record in model.history_],
        "valid": [record.get("valid_loss") for record in model.history_],
        "codes": model.transform(
            X[:5].reshape(5, *model.feature_shape_), **with_condition(model)
        ).tolist(),
        "n": round(last["examples_per_second"] * last["seconds"]),
    }


def with_condition(model):
    """Return the condition argument of a conditional model."""
    return {"condition": Y[:5]} if model.conditional else {}


def fitted(kind, **more):
    """Return the curve of one kind of model."""
    make, own = (KINDS | LOCAL)[kind]
    rows = GAPS if "missing" in own else X
    return curve(make(**SETTINGS | own | more).fit(rows, Y))


def interrupted(folder, step=13, **more):
    """Leave a checkpoint in a folder, in the middle of an epoch."""
    checkpoint = Checkpoint(folder, every=1e9)
    model = isthmus.VAE(**SETTINGS | more)
    try:
        model.fit(X, callbacks=[At(step, checkpoint), checkpoint])
    except Interrupted:
        return
    raise AssertionError("training was not interrupted")


def resumed(folder, **more):
    """Return the curve of a run resumed from a copy of a folder's checkpoint."""
    with tempfile.TemporaryDirectory() as copy:
        for path in Path(folder).iterdir():
            (Path(copy) / path.name).write_bytes(path.read_bytes())
        return curve(isthmus.VAE(**SETTINGS | more).fit(X, resume_from=copy))


def stored():
    """Return the curve of rows on disk."""
    rows = DiskArray.of(X, block_bytes=256 * 20)
    model = isthmus.VAE(**SETTINGS | {"epochs": 2}).fit(rows)
    return curve(model)


def streamed(folder):
    """Return the curve of a streamed data set, of which each process reads a part."""
    import datasets

    files = sorted(map(str, Path(folder).glob("*.parquet")))
    stream = datasets.load_dataset("parquet", data_files=files, streaming=True)["train"]
    loader = DatasetLoader(stream, 48)
    # A Gaussian would be scaled by the first rows, which differ with the number of processes.
    settings = SETTINGS | {"epochs": 2, "likelihood": "bernoulli"}
    return curve(isthmus.VAE(**settings).fit_loader(loader))


def parts(n=100):
    """Return the rows of each process in an epoch."""
    from isthmus.training import Rows

    process_group = join_process_group("auto", torch.device("cpu"))
    rows = Rows(torch.arange(n).float()[:, None]).shared_by(process_group.size)
    batches = rows.local_batches(7, torch.Generator().manual_seed(0), process_group)
    return process_group.gather_objects(
        [int(i) for batch in batches for i in batch.x.flatten().tolist()]
    )


def partly(**more):
    """Return the curve of three calls of partial_fit on a model with frozen weights."""
    model = isthmus.VAE(**SETTINGS | more).begin(X)
    frozen = next(model.model_.encoder.parameters()).requires_grad_(False).clone()
    for _ in range(3):
        model.partial_fit(X)
    assert bool((next(model.model_.encoder.parameters()) == frozen).all())
    return curve(model)


def message(fit):
    """Return the message of the error that a call raises."""
    try:
        fit()
    except (ValueError, SystemExit) as error:
        return str(error)
    return None


def errors(rank):
    """Return the messages of invalid calls."""
    vae = partial(isthmus.VAE, **SETTINGS)
    small = {**SETTINGS, "batch_size": 1}
    units = {"n_components": 90, "hidden": (), "strategy": "fsdp"}
    scale = {"likelihood": "gaussian", "strategy": "fsdp"}
    mine = [Checkpoint("nowhere")] if rank == 0 else []
    cases = {
        "batch": lambda: isthmus.VAE(**small).fit(X),
        "rows": lambda: vae().fit(X[:1]),
        "other rows": lambda: vae().fit(X[200 * rank :][:200]),
        "more rows": lambda: vae().partial_fit(X[: 200 + rank]),
        "other settings": lambda: isthmus.VAE(**SETTINGS | {"random_state": rank}).fit(X),
        "other callbacks": lambda: vae().fit(X, callbacks=mine),
        "sharded scale": lambda: isthmus.VAE(**SETTINGS | scale).fit(X),
        "sharded units": lambda: isthmus.SparseAutoencoder(**SETTINGS | units).fit(X),
        "stopped": lambda: vae().fit(X, callbacks=[StopAtTheEnd()]),
    }
    return {name: message(case) for name, case in cases.items()}


def searched(rank):
    """Return the losses and states of the trials of a search in which all processes train."""
    import optuna
    from optuna_integration import TorchDistributedTrial

    from isthmus.search.optuna import OptunaPruning, suggest

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    n, losses = 4, []

    def loss(trial):
        trial = TorchDistributedTrial(trial)
        chosen = suggest(trial, isthmus.VAE, learning_rate=(1e-5, 1e-2))
        model = isthmus.VAE(**SETTINGS | chosen).fit(X, callbacks=[OptunaPruning(trial)])
        losses.append(model.history_[-1]["loss"])
        return model.history_[-1]["valid_loss"]

    if rank:
        for _ in range(n):
            with contextlib.suppress(optuna.TrialPruned):
                loss(None)
        return losses
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), pruner=pruner)
    study.optimize(loss, n)
    return losses, [trial.state.name for trial in study.trials]


def tracked(folder):
    """Return the losses and images that TensorBoard has of a run, and its number of files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    isthmus.VAE(**SETTINGS).fit(X.reshape(-1, 8, 8), callbacks=[TensorBoard(folder)])
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    events = EventAccumulator(str(files[0].parent)).Reload()
    loss = [(e.step, e.value) for e in events.Scalars("train/loss")]
    return {"files": len(files), "tags": sorted(events.Tags()["images"]), "loss": loss}


def scaled(rank):
    """Return the scale that a process learns if each loads different rows."""
    rows = X * (1 + rank)
    model = isthmus.VAE(**SETTINGS | {"epochs": 1, "likelihood": "gaussian"})
    return model.fit_loader([rows[:100], rows[100:200]], sharded=True).scaler_.log_unit.tolist()


def main(out, shared):
    """Write all results to a file."""
    shared = Path(shared)
    process_group = join_process_group("auto", torch.device("cpu"))
    size = process_group.size
    answers = {"size": size, "parts": parts()}
    answers |= {kind: fitted(kind) for kind in KINDS | LOCAL}
    answers["partly"] = partly()
    if size > 1:
        answers |= {f"fsdp-{kind}": fitted(kind, strategy="fsdp") for kind in SHARDED}
        answers["fsdp-partly"] = partly(strategy="fsdp")
        answers["errors"] = process_group.gather_objects(errors(process_group.rank))
        answers["searched"] = process_group.gather_objects(searched(process_group.rank))
        answers["scaled"] = process_group.gather_objects(scaled(process_group.rank))
        interrupted(shared / "two", strategy="ddp")
        interrupted(shared / "shards", strategy="fsdp")
    for name in ("one", "two", "shards"):
        if (shared / name).is_dir():
            answers[f"from {name}"] = resumed(shared / name)
    if size > 1:
        answers["one by shards"] = resumed(shared / "one", strategy="fsdp")
    answers["stored"] = stored()
    answers["tracked"] = tracked(shared / f"tracked by {size}")
    answers["streamed"] = streamed(shared / "rows")
    answers["bfloat16"] = fitted("vae", precision="bfloat16")
    answers["seeds"] = process_group.gather_objects(
        isthmus.VAE(**SETTINGS | {"random_state": None, "epochs": 1}).fit(X).seed_
    )
    if process_group.is_main:
        Path(out).write_text(json.dumps(answers))
    process_group.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
