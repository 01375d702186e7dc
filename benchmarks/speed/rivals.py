"""Other libraries, through their own trainers; without them the races go on.

pythae (0.1.2) trains by its `BaseTrainer`, one `train_step` an epoch, on its `BaseDataset` of a
tensor. Encoder and decoder are those of isthmus, wrapped as pythae asks. Its progress bar is left
out, and so are its checkpoints and the copy of the best model after each epoch. Its AE takes the
squared error, twice our nats but for a constant, which Adam does not notice.

pyod trains by the `train` of its detectors, in batches of its own `TorchDataset`: as it comes, when
it scales each row anew whenever that is read, and kindlier with that off, on rows scaled before (as
all others have them). Dropout, batch norm and weight decay are off, as for all. The loss of its
VAE is given the weights that make it the ELBO; the mean squared error a feature becomes nats. Its
first weights are its own (Kaiming's), so early losses are higher.
"""

from __future__ import annotations

import importlib
import logging
import math
import tempfile
from types import ModuleType
from typing import Any

import torch
from speed.contenders import LOG_2PI, Job, size
from speed.race import CannotRace, Contender
from torch.utils.data import DataLoader

from isthmus.distributions.families import ACTIVATIONS


def installed(name: str, pip: str) -> ModuleType:
    """Import a module, or say how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CannotRace(f"not installed: pip install {pip} ({error})") from None


def pythae_model(job: Job) -> Any:
    """Return the job's networks as pythae's VAE or AE."""
    models = installed("pythae.models", "pythae==0.1.2")
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    ours = job.model()
    pictures, variational = job.likelihood == "bernoulli", ours.prior is not None
    if not variational and (pictures or job.settings.penalty):
        raise CannotRace("has no such model")
    activation = ACTIVATIONS[job.settings.activation]
    shape = job.x.shape[1:]

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = ours.encoder

        def forward(self, x: Any) -> Any:
            h = self.network(x)
            if not variational:
                return ModelOutput(embedding=activation(h))
            mean, log_variance = h.chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = ours.decoder

        def forward(self, z: Any) -> Any:
            outputs = self.network(z).reshape(-1, *shape)
            return ModelOutput(reconstruction=outputs.sigmoid() if pictures else outputs)

    settings = {"input_dim": shape, "latent_dim": job.settings.n_components}
    if not variational:
        return models.AE(models.AEConfig(**settings), Encoder(), Decoder())
    settings["reconstruction_loss"] = "bce" if pictures else "mse"
    return models.VAE(models.VAEConfig(**settings), Encoder(), Decoder())


def pythae(job: Job) -> Contender:
    """Train by pythae's trainer."""
    model = pythae_model(job)
    logging.disable(logging.INFO)  # it says at each start what it is about to do
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback

    x = job.floats().cpu()  # its trainer takes a GPU where there is one, and moves each batch
    with tempfile.TemporaryDirectory() as folder:  # the trainer makes one, and keeps nothing there
        trainer = BaseTrainer(
            model,
            BaseDataset(x, torch.zeros(len(x))),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                per_device_train_batch_size=job.batch,
                learning_rate=job.settings.learning_rate,
                no_cuda=True,
                seed=job.seed,
            ),
        )
        trainer.prepare_training()
    trainer.callback_handler = CallbackHandler([TrainingCallback()], model)  # no progress bar
    scale = 1.0 if job.settings.prior else 0.5  # of AE, see above
    constant = 0.0 if job.likelihood == "bernoulli" else 0.5 * LOG_2PI * x[0].numel()
    networks = model.encoder.network, model.decoder.network
    return Contender(lambda: scale * float(trainer.train_step(1)) + constant, size(model), networks)


def pyod(job: Job, *, scales: bool = True) -> Contender:
    """Train by pyod's detectors, `VAE` or `AutoEncoder`, whether they scale rows or not."""
    name = "vae" if job.settings.prior else "auto_encoder"
    module = installed(f"pyod.models.{name}", "pyod numba")
    from pyod.utils.torch_utility import TorchDataset

    common = {"batch_size": job.batch, "lr": job.settings.learning_rate, "epoch_num": 1}
    common |= {"preprocessing": scales, "batch_norm": False, "dropout_rate": 0.0, "verbose": 0}
    common |= {"optimizer_params": {"weight_decay": 0.0}, "device": "cpu"}
    n, features = job.x.shape
    hidden, code = list(job.settings.hidden), job.settings.n_components
    if job.settings.prior:
        detector = module.VAE(
            encoder_neuron_list=hidden,
            decoder_neuron_list=hidden[::-1],
            latent_dim=code,
            beta=2.0 / features,
            capacity=math.inf,
            **common,
        )
    else:
        detector = module.AutoEncoder(hidden_neuron_list=[*hidden, code], **common)
    # What its `fit` does before and while it trains; what it does after is not timed.
    detector.data_num, detector.feature_size = n, features
    detector.build_model()
    detector.training_prepare()
    known = {"mean": job.x.mean(0), "std": job.x.std(0)} if scales else {}
    loader = DataLoader(
        TorchDataset(job.x, **known), batch_size=job.batch, shuffle=True, drop_last=True
    )
    losses: list[float] = []
    step = detector.training_forward

    def noted(batch: Any) -> float:
        losses.append(step(batch))
        return losses[-1]

    detector.training_forward = noted

    def epoch() -> float:
        losses.clear()
        detector.train(loader)
        return 0.5 * features * (sum(losses) / len(losses) + LOG_2PI)

    return Contender(epoch, size(detector.model))
