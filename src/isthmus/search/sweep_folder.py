"""The folder in which a sweep keeps its finished candidates, to go on after it was killed.

sweep.json describes the sweep: its settings, seeds and data, which candidates are finished, and
which ones each rung of successive halving has ended. The models of finished candidates are in
candidates/NUMBER, as `save` writes them. Models that are trained together are kept together, when
the last of them has ended: in a smaller stack their last bits could differ.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors

from isthmus._messages import one_line
from isthmus._version import __version__
from isthmus.estimators import model_io
from isthmus.estimators.run_fingerprint import params_to_json
from isthmus.persistence.atomic import inner_folder, remove, write_atomic
from isthmus.persistence.integrity import (
    WEIGHTS,
    check_record,
    read_described,
    read_json,
    read_tensors,
    with_checksums,
)
from isthmus.persistence.run_folder import read_config, read_history, remove_model, to_json
from isthmus.search.candidates import Candidate, CandidateRun

__all__ = [
    "SWEEP",
    "SweepFolder",
    "check_same_sweep",
    "describe_sweep",
    "read_sweep",
    "remove_sweep",
]

SWEEP, CANDIDATES = "sweep.json", "candidates"
FORMAT = 1


class SweepFolder:
    """Keeps what a sweep has finished; without a folder it keeps nothing.

    Parameters
    ----------
    folder : Path or None
    record : dict
        The content of sweep.json.
    """

    def __init__(self, folder: Path | None, record: dict[str, Any]) -> None:
        self.folder, self.record = folder, record

    def start(self) -> None:
        """Write sweep.json, and remove the candidates of an earlier sweep."""
        if self.folder is not None:
            with self._warning():
                self.folder.mkdir(parents=True, exist_ok=True)
                self._write()
                _remove_candidates(self.folder)

    def restore(self, runs: Sequence[CandidateRun]) -> None:
        """Give prepared candidates that are finished the weights and the history of their own."""
        for run in runs if self.folder is not None else ():
            try:
                found = [self._read(c) for c in run.candidates]
            except (KeyError, ValueError, OSError, RuntimeError) as error:
                numbers = ", ".join(str(c.number) for c in run.candidates)
                if any(str(c.number) in self.record["finished"] for c in run.candidates):
                    warnings.warn(
                        f"candidates {numbers} are trained again: {one_line(error)}",
                        RuntimeWarning,
                        stacklevel=4,
                    )
                continue
            for c, (config, history, weights) in zip(run.candidates, found, strict=True):
                c.estimator.model_.load_state_dict(weights)
                c.outcome.history, c.best_epoch = history, config["fitted"]["best_epoch"]
                c.seconds = float(self.record["finished"][str(c.number)])
                c.end(config["fitted"]["stopped"])
                c.estimator.history_, c.estimator.best_epoch_ = history, c.best_epoch
                c.estimator.n_iter_, c.estimator.stopped_ = len(history), c.outcome.stopped

    def _read(self, c: Candidate) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
        """Return configuration, history and weights of a finished candidate."""
        assert self.folder is not None
        self.record["finished"][str(c.number)]  # a KeyError if it is not finished
        folder = self.folder / CANDIDATES / _name(c)
        config = read_config(folder)
        content = read_described(folder / WEIGHTS, config)
        tensors = read_tensors(content, folder / WEIGHTS, load_tensors)
        weights = {k.removeprefix("model."): v for k, v in tensors.items() if k[:6] == "model."}
        shapes = {k: v.shape for k, v in weights.items()}
        if shapes != {k: v.shape for k, v in c.estimator.model_.state_dict().items()}:
            raise ValueError(f"{folder} holds a model of another architecture.")
        return config, read_history(folder, config), weights

    def keep(self, run: CandidateRun) -> None:
        """Store the candidates of a run if all have ended and they are not stored yet."""
        if self.folder is None or any(c.live for c in run.candidates):
            return
        if all(str(c.number) in self.record["finished"] for c in run.candidates):
            return
        with self._warning():
            for c in run.candidates:
                folder = inner_folder(self.folder, CANDIDATES, _name(c))
                model_io.save(c.estimator, folder)
            seconds = {str(c.number): c.seconds for c in run.candidates}
            self.record["finished"] = self.record["finished"] | seconds
            self._write()

    def ended_in(self, rung: int) -> list[int] | None:
        """Return the numbers of the candidates that a rung has ended; None if it is not over."""
        ended = self.record["ended"]
        return ended[rung] if rung < len(ended) else None

    def end_rung(self, numbers: list[int]) -> None:
        """Store which candidates the next rung has ended."""
        self.record["ended"] = [*self.record["ended"], numbers]
        if self.folder is not None:
            with self._warning():
                self._write()

    @contextmanager
    def _warning(self) -> Iterator[None]:
        """Go on without a folder if it cannot be written: the sweep need not end for that."""
        try:
            yield
        except OSError as error:
            warnings.warn(
                f"candidates are no longer kept in {self.folder} ({error.strerror or error}); the "
                "sweep continues, but can only be resumed from the earlier ones.",
                RuntimeWarning,
                stacklevel=5,
            )
            self.folder = None

    def _write(self) -> None:
        assert self.folder is not None
        record = with_checksums(json.loads(to_json(self.record)), {})
        write_atomic(self.folder / SWEEP, to_json(record).encode())


def describe_sweep(
    candidates: Sequence[Candidate], settings: Mapping[str, Any], data: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of sweep.json for prepared candidates of which none is finished."""
    first = candidates[0].estimator
    if first.registered_name is None:
        raise ValueError(
            f"{type(first).__name__} is a class of your own, whose models cannot be saved: leave "
            "out folder and resume_from."
        )
    return {
        "format": FORMAT,
        "isthmus": __version__,
        "estimator": first.registered_name,
        "candidates": [
            {
                "params": params_to_json(c.estimator.get_params(deep=False)),
                "varied": sorted(c.params),
            }
            for c in candidates
        ],
        "seeds": [c.estimator.seed_ for c in candidates],
        "settings": dict(settings),
        "data": data,
        "finished": {},
        "ended": [],
    }


def read_sweep(folder: Path) -> dict[str, Any]:
    """Return the checked content of sweep.json.

    Raises
    ------
    FileNotFoundError
        If there is no unfinished sweep in the folder.
    ValueError
        If the file is damaged, or of a newer version.
    """
    path = Path(folder) / SWEEP
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no sweep in {folder} to resume: expected {SWEEP}, which a sweep keeps until "
            "it is finished."
        )
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise ValueError(f"{path} is not the record of a sweep.")
    if record["format"] > FORMAT:
        raise ValueError(f"{path} was written by a newer isthmus: update isthmus.")
    check_record(record, path)
    try:
        valid = _is_valid(record)
    except (KeyError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise ValueError(f"{path} is not the record of a sweep.")
    return record


def _is_valid(record: dict[str, Any]) -> bool:
    """Whether the entries of sweep.json have the right types; a missing one is a KeyError."""
    candidates, seeds = record["candidates"], record["seeds"]
    seed = record["settings"]["random_state"]
    return (
        isinstance(record["estimator"], str)
        and (seed is None or (type(seed) is int and 0 <= seed < 2**64))
        and isinstance(record["data"], dict)
        and 0 < len(candidates) == len(seeds)
        and all(isinstance(c["params"], dict) for c in candidates)
        and all(isinstance(name, str) for c in candidates for name in c["varied"])
        and all(type(each) is int and 0 <= each < 2**64 for each in seeds)
        and all(isinstance(s, float) for s in record["finished"].values())
        and all(isinstance(n, int) for rung in record["ended"] for n in rung)
    )


def check_same_sweep(then: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Raise a ValueError that names the difference if a folder holds another sweep."""
    words = []
    if then["estimator"] != now["estimator"]:
        words.append(f"the model was {then['estimator']}, is {now['estimator']}")
    elif len(then["candidates"]) != len(now["candidates"]):
        words.append(f"it had {len(then['candidates'])} candidates, not {len(now['candidates'])}")
    else:
        for number, (a, b) in enumerate(zip(then["candidates"], now["candidates"], strict=True)):
            a, b = a["params"], b["params"]
            other = [k for k in b if k != "progress" and a.get(k, b[k]) != b[k]]
            words += [f"{k} of candidate {number} was {a[k]!r}, is {b[k]!r}" for k in other]
    old, new = then["settings"], now["settings"]
    words += [f"{k} was {old.get(k)!r}, is {new[k]!r}" for k in new if old.get(k) != new[k]]
    if words:
        raise ValueError(
            f"the sweep in {folder} has other settings ({one_line('; '.join(words[:3]))}): use the "
            "same, or start a new sweep."
        )
    if then["data"] != now["data"]:
        raise ValueError(
            f"the sweep in {folder} is on other data: pass the same X and y, or start a new one."
        )


def remove_sweep(folder: Path) -> None:
    """Remove what a finished sweep kept; the record first, since it promises the candidates."""
    remove(folder / SWEEP)
    _remove_candidates(folder)


def _name(c: Candidate) -> str:
    return f"{c.number:04d}"


def _remove_candidates(folder: Path) -> None:
    """Remove the models of candidates, but no file that isthmus did not write."""
    parent = folder / CANDIDATES
    if parent.is_symlink() or not parent.is_dir():
        return
    for each in sorted(parent.iterdir()):
        if re.fullmatch(r"\d{4,}", each.name):
            remove_model(each)
    with suppress(OSError):  # not empty
        parent.rmdir()
