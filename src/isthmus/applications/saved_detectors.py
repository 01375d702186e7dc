"""Saving and loading of anomaly detectors: threshold, calibration scores, settings and models."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from isthmus.applications.anomaly_scores import Score
from isthmus.applications.meta_estimator import SavedMetaEstimator, model_digest
from isthmus.estimators import LatentEstimator, model_io
from isthmus.persistence.atomic import inner_folder
from isthmus.persistence.run_folder import remove_model

__all__ = ["SavedDetector"]

Array = NDArray[Any]
MODEL = "model-{}"  # folder of a model of a saved detector: the start of its digest, once a number
OWN_FOLDER = re.compile(r"model-([0-9a-f]{16}|\d{1,3})")
MAX_MODELS = 1000  # of a saved detector


class SavedDetector(SavedMetaEstimator):
    """The part of an anomaly detector that writes its fitted attributes and reads them again."""

    estimators_: list[LatentEstimator]
    offset_: float
    calibration_scores_: Array
    random_state: Any
    _measures: list[Score]

    _arrays_file, _record_file = "detector.safetensors", "detector.json"
    _content, _command = "detector", "isthmus detect RUN DATA"
    _hint = "fit the detector again, or delete the folder"

    def _threshold(self, scores: Array) -> float:
        """Return the threshold for sorted scores."""
        raise NotImplementedError

    def save(
        self, path: str | PathLike[str], data: dict[str, Any] | None = None, *, models: bool = True
    ) -> None:
        """Write threshold, calibration, settings and models to a folder; `load` reads it.

        The files are JSON and tensors with checksums, as those of `LatentEstimator.save`.

        Parameters
        ----------
        path : path-like
            The folder, which is created if needed.
        data : dict, optional
            Description of the calibration rows to record: their name.
        models : bool
            Write the models, too; otherwise `load` needs them.
        """
        check_is_fitted(self)
        folders = _model_folders(self._model_digest()) if models else []
        for name, model in zip(folders, self.estimators_, strict=False):
            model.save(inner_folder(Path(path), name))
        super().save(path, data)  # from here on, the record describes these models
        for folder in Path(path).iterdir() if models else ():
            if OWN_FOLDER.fullmatch(folder.name) and folder.name not in folders:
                remove_model(folder)

    @classmethod
    def load(cls, path: str | PathLike[str], estimator: Any = None, **settings: Any) -> Self:
        """Load a detector that `save` wrote.

        Parameters
        ----------
        path : path-like
            The folder.
        estimator : LatentEstimator or list of LatentEstimator, optional
            The fitted models of the detector; by default they are read from the folder.
        settings
            `handle_unknown`, `contamination` or `false_alarm_rate`, to replace the saved ones: new
            rates set the threshold again, from the calibration scores.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing or corrupt, or belongs to another model.

        Examples
        --------
        >>> import tempfile
        >>> from sklearn.datasets import load_wine
        >>> from isthmus import Autoencoder
        >>> from isthmus.applications import AnomalyDetector
        >>> X = load_wine().data
        >>> detector = AnomalyDetector(Autoencoder(epochs=2), random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     detector.save(folder)
        ...     again = AnomalyDetector.load(folder)
        >>> bool((again.decision_function(X) == detector.decision_function(X)).all())
        True
        """
        rates = {"contamination", "false_alarm_rate"}
        if wrong := sorted({*settings} - rates - {"handle_unknown"}):
            raise ValueError(f"{wrong[0]} of a saved detector cannot be replaced; fit a new one.")
        saved = cls.read_record(path)
        if estimator is None:
            folders = _model_folders(saved["model"])
            if not all((Path(path) / name).is_dir() for name in folders[:1]):
                folders = [MODEL.format(i) for i in range(saved["n_models"])]  # an older version's
            models = [model_io.load(Path(path) / name) for name in folders]
            estimator = models[0] if len(models) == 1 else models
        detector = super().load(path, estimator, **settings)
        if any(saved["settings"].get(name) != settings[name] for name in rates & {*settings}):
            if not len(detector.calibration_scores_):
                raise ValueError(f"the detector in {path} has no calibration scores; fit it again.")
            detector.offset_ = detector._threshold(detector.calibration_scores_)
        return detector

    def _saved_settings(self) -> dict[str, Any]:
        settings = super()._saved_settings()
        is_seed = isinstance(self.random_state, int | np.integer)
        return settings | {"random_state": self.random_state if is_seed else None}

    def _model_digest(self) -> str:
        return " ".join(map(model_digest, self.estimators_))

    def _to_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        arrays = {"offset": np.array([self.offset_]), "calibration": self.calibration_scores_}
        for i, measure in enumerate(self._measures):
            arrays |= {f"{i}.{name}": array for name, array in measure.arrays().items()}
        return arrays, {"n_models": len(self.estimators_)}

    def _from_arrays(self, arrays: dict[str, Array], record: dict[str, Any]) -> None:
        offset, scores = arrays["offset"], arrays["calibration"]
        valid = (
            offset.shape == (1,) and scores.ndim == 1 and record["n_models"] == len(self._measures)
        )
        valid = valid and offset.dtype == scores.dtype == np.float64
        if not valid or not np.isfinite(offset[0]) or not (scores[1:] >= scores[:-1]).all():
            raise ValueError("the arrays do not hold a threshold and sorted calibration scores.")
        if np.isnan(scores).any():
            raise ValueError("a calibration score is not a number.")
        for i, measure in enumerate(self._measures):
            prefix = f"{i}."
            measure.restore(
                {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            )
        self.offset_, self.calibration_scores_ = float(offset[0]), scores

    @classmethod
    def _is_valid(cls, record: dict[str, Any]) -> bool:
        n, digests = record["n_models"], record["model"].split()
        valid = all(map(re.compile("[0-9a-f]{64}").fullmatch, digests))
        return valid and type(n) is int and 1 <= n == len(digests) <= MAX_MODELS


def _model_folders(digests: str) -> list[str]:
    """Return the names of the folders of models: another model never replaces one that is used."""
    return [MODEL.format(digest[:16]) for digest in digests.split()]
