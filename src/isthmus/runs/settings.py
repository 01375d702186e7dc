"""The model of a run: its settings completed and checked before any data are read."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sklearn.base import clone

from isthmus._messages import check_choice, one_line, shell_quote
from isthmus.data.limits import check_memory
from isthmus.estimators import ESTIMATORS, LatentEstimator
from isthmus.estimators.defaults import check_likelihood, fresh_seed
from isthmus.estimators.restoring import unfitted
from isthmus.estimators.run_fingerprint import CUSTOM, MAY_CHANGE, params_to_json
from isthmus.models.params import check_fields
from isthmus.models.specs import model_name
from isthmus.persistence.run_folder import CHECKPOINTS, CONFIG, find_checkpoints, read_config
from isthmus.registry import check_combination
from isthmus.runs.folders import has_content, is_started
from isthmus.training import pick_device
from isthmus.training.checkpoints import read_checkpoints
from isthmus.training.distributed import ProcessGroup, join_process_group
from isthmus.training.training_log import read_run_facts

__all__ = [
    "ModelSettings",
    "check_saved",
    "facts_to_resume",
    "is_logged",
    "join",
    "prepare_estimator",
]

Facts = dict[str, Any]


@dataclass(frozen=True)
class ModelSettings:
    """A model by name, with only the settings that the user chose.

    The others have their defaults, or in a resumed run the values it was started with.

    Parameters
    ----------
    name : str or None
        A registered name, such as "beta-vae", or another spelling of it, such as "BetaVAE"; None
        for "vae", or for the model of the run to resume.
    values : mapping
        Settings by name.
    """

    name: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name is not None:
            name = model_name(self.name)
            check_choice("the name of a model", name, ESTIMATORS)
            object.__setattr__(self, "name", name)

    def build(self, facts: Facts | None, folder: Path | None) -> LatentEstimator:
        """Return the unfitted estimator, as the checkpoint of a run in a folder requires."""
        if facts is None:
            return ESTIMATORS[self.name or "vae"](**self.values)
        about = facts["about"]
        name = next((k for k, cls in ESTIMATORS.items() if cls.__name__ == about["estimator"]), "")
        if not name or CUSTOM in about["params"].values():
            raise ValueError(
                f"the run in {folder} was started from Python with functions of your own, which "
                "are not saved; continue it there, by fit_run or fit(..., resume_from=...)."
            )
        if self.name not in (None, name):
            raise ValueError(f"the run in {folder} is of a {name}, not of a {self.name}.")
        source = f"the checkpoint in {folder}"
        try:
            saved = unfitted(ESTIMATORS[name], about["params"], None, source)
        except ValueError as error:
            raise ValueError(f"{source} has invalid settings: {one_line(error)}") from None
        _check_draws(saved, about["rows"]["shape"], source)
        settings = saved.get_params(deep=False) | {"random_state": about["seed"]}
        return ESTIMATORS[name](**settings | dict(self.values))


Model = LatentEstimator | ModelSettings


def _check_draws(estimator: LatentEstimator, shape: list[int], source: str) -> None:
    """Raise a ValueError if the draws of a step take far more memory than the data.

    The shape of the data is that in the same checkpoint, and compared with the data later.
    """
    n_rows, n_features = shape[0], math.prod(shape[1:])
    draws = max(estimator.n_samples, estimator.penalty_samples or 1)
    n_numbers = min(estimator.batch_size, n_rows) * max(n_features, estimator.n_components or 0)
    check_memory(
        f"{source}: its {draws} draws per row", 4 * draws * n_numbers, 4 * math.prod(shape)
    )


def join(model: Model) -> ProcessGroup:
    """Return the processes that train a model together, usually only this one."""
    if isinstance(model, ModelSettings):
        strategy, device = (model.values.get(name, "auto") for name in ("strategy", "device"))
    else:
        strategy, device = model.strategy, model.device
    return join_process_group(strategy, pick_device(device))


def facts_to_resume(folder: Path, process_group: ProcessGroup) -> list[Facts]:
    """Return what the checkpoints of a run say, in all processes; nothing if training is done.

    They are in the order in which to try them: more than one if they have different settings.
    Only the main process reads it. Raises a ValueError or FileNotFoundError if there is nothing to
    resume.
    """
    found = _facts(folder, process_group) if process_group.is_main else None
    return process_group.broadcast_object(found)


def _facts(folder: Path, process_group: ProcessGroup) -> list[Facts]:
    found, is_saved = find_checkpoints(folder), (folder / CONFIG).is_file()
    if found:
        facts = [snapshot.facts for snapshot in read_checkpoints(folder)]
        candidates = _buildable(facts, folder, process_group)
        current = [f for f in candidates if not (is_saved and _is_replaced(f, folder))]
        if current:
            return current
    if not is_saved:
        raise FileNotFoundError(_why_not(folder))
    stopped = read_config(folder)["fitted"]["stopped"]
    if stopped in ("interrupted", "terminated"):
        raise ValueError(
            f"training of the run in {folder} was {stopped} and left no checkpoint to continue "
            f"from. Its model can be used; `isthmus report {shell_quote(folder)}` makes what "
            "is missing of its report, and --force instead of --resume starts again."
        )
    return []


def _buildable(found: list[Facts], folder: Path, process_group: ProcessGroup) -> list[Facts]:
    """Return the facts of checkpoints with valid settings, if any are; equal settings once."""
    kept: list[Facts] = []
    for facts in found:
        if facts["about"] not in [each["about"] for each in kept]:
            with contextlib.suppress(ValueError):
                prepare_estimator(ModelSettings(), facts, folder, process_group)
                kept.append(facts)
    return kept or found[:1]


def _is_replaced(facts: Facts, folder: Path) -> bool:
    """Whether a checkpoint is of a run whose place the saved model has taken.

    A run removes the checkpoints of the one that it replaces after it has saved its model, and may
    be killed between. Its training log describes the model then, and the checkpoint another one.
    """
    try:
        log, config, about = read_run_facts(folder), read_config(folder), facts["about"]
    except ValueError:  # a damaged one tells nothing
        return False
    if log is None or not is_logged(log, config):
        return False
    fixed = {k: v for k, v in config["params"].items() if k not in MAY_CHANGE}
    same = about["seed"] == config["fitted"]["seed"] and fixed.items() <= about["params"].items()
    return not same


def is_logged(log: Facts, config: Facts) -> bool:
    """Whether the first line of a training log describes the run of a saved model."""
    return log["estimator"] == config["estimator"] and log["params"] == config["params"]


def _why_not(folder: Path) -> str:
    """Return why there is nothing to resume in a folder without model and checkpoints."""
    if not has_content(folder):
        return f"there is no run in {folder} to resume: omit --resume to start one."
    if is_started(folder):
        return (
            f"the run in {folder} was killed before it wrote a checkpoint, so that there is "
            "nothing to continue from: start it again by --force instead of --resume."
        )
    return (
        f"{folder} holds no run to resume: it has neither {CHECKPOINTS[0]} nor {CONFIG}. Name the "
        "folder of a run, or omit --resume and name a new one."
    )


def check_saved(model: Model, folder: Path) -> None:
    """Raise a ValueError if a run with a saved model has other settings than those given."""
    config = read_config(folder)
    if isinstance(model, ModelSettings):
        name, values = model.name, dict(model.values)
    else:
        name, values = model.registered_name, model.get_params(deep=False)
    if name not in (None, config["estimator"]):
        raise ValueError(f"the run in {folder} is of a {config['estimator']}, not of a {name}.")
    saved, given = config["params"], params_to_json(values)
    free = {"progress", "device", "strategy"}
    free |= {"random_state"} if given.get("random_state") is None else set()
    other = [k for k in given if k not in free and saved.get(k, given[k]) != given[k]]
    if other:
        words = "; ".join(f"{k} was {saved[k]!r}, is {given[k]!r}" for k in other)
        raise ValueError(
            f"the run in {folder} is complete and has no checkpoint from which it could continue "
            f"with other settings ({words}). For a new run name another --out, or add --force "
            "instead of --resume."
        )


def prepare_estimator(
    model: Model, facts: Facts | None, folder: Path | None, process_group: ProcessGroup
) -> LatentEstimator:
    """Return a copy of a model with a seed, after checking its settings.

    It is fitted only if it is to be trained on, with `warm_start`.
    """
    if isinstance(model, ModelSettings):
        estimator = model.build(facts, folder)
    elif model.warm_start and hasattr(model, "model_"):
        estimator = copy.deepcopy(model)
        if model.random_state is None:  # the same rows are held out again
            estimator.set_params(random_state=model.seed_)
    else:
        estimator = clone(model)
    if estimator.random_state is None:  # recorded, so that the run can be repeated
        seed = process_group.broadcast_object(fresh_seed() % 2**31)
        estimator.set_params(random_state=facts["about"]["seed"] if facts else seed)
    check_fields(estimator)
    check_likelihood(estimator.likelihood)
    check_combination(estimator)
    pick_device(estimator.device)
    if estimator.registered_name is None:
        raise ValueError(
            f"{type(estimator).__name__} is a class of your own: only isthmus's own estimators can "
            "be saved as a run, since loading runs no code. Use its fit method instead."
        )
    return estimator
