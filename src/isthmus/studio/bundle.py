"""What the studio is told of a run: a manifest of plain JSON, and arrays by name.

`studio/src/manifest.ts` declares the same manifest for the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from isthmus._version import __version__
from isthmus.applications.anomaly_scores import SCORES
from isthmus.applications.generation import LatentSampler
from isthmus.data import Dataset
from isthmus.data.columns import Table
from isthmus.distributions.base import DiagonalMixture, draw
from isthmus.estimators import model_io
from isthmus.estimators.scaling import as_float64
from isthmus.estimators.validation import validate_input
from isthmus.export import x_dtype
from isthmus.persistence.run_folder import CONFIG
from isthmus.plots.cells import is_image
from isthmus.plots.latent import has_standard_prior
from isthmus.studio.runs import run_records

__all__ = ["Bundle"]

Array = NDArray[Any]

MANY_CLASSES = 200  # different labels that are still classes
DRAWS = 1000  # codes drawn from a prior that the browser cannot draw from
SCORED = 20_000  # rows up to which the bound is computed: it takes ten decodes a row
EDGE = 0.01  # share of the codes beyond each end of a slider


@dataclass
class Bundle:
    """A run and rows of data, as the browser shows them.

    Parameters
    ----------
    manifest : dict
        Plain JSON.
    arrays : dict of str to ndarray
        What the manifest's `arrays` names, without the items themselves.
    estimator : LatentEstimator or None
        None while a run has no model yet.
    X : ndarray or None
        The rows shown, (n, *feature_shape), as the estimator reads them.
    """

    manifest: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)
    estimator: Any = None
    X: Array | None = None

    @classmethod
    def of(
        cls,
        runs: Sequence[Path],
        dataset: Dataset | None = None,
        *,
        missing: str | None = None,
        most_rows: int = 5000,
    ) -> Bundle:
        """Load a run and look at rows of data with it.

        Parameters
        ----------
        runs : sequence of Path
            Folders of runs; the first one's model is shown, of all the training.
        dataset : Dataset, optional
            Its test rows are shown where it has such, else all.
        missing : str, optional
            Why there is no data set.
        most_rows : int
            Of more rows, so many drawn at random are shown.

        Returns
        -------
        Bundle

        Raises
        ------
        FileNotFoundError, ValueError
            Where there is no run, or a damaged one.
        """
        records = run_records([Path(run) for run in runs])
        first = Path(runs[0])
        if not (first / CONFIG).is_file():  # it is being trained, or was broken off
            return cls(_without_model(records))
        estimator = model_io.load(first, device="cpu")
        bundle = cls(_about(estimator, first.resolve().name, records, dataset), estimator=estimator)
        bundle._add_rows(dataset, most_rows)
        bundle.manifest["missing"] = None if bundle.X is not None else missing
        return bundle

    def items(self, rows: Array) -> Array:
        """Return rows as numbers in the units of the data, (n, features) of float64."""
        if self.X is None:
            raise ValueError("this run is shown without its data.")
        return as_float64(self.X[rows]).reshape(len(rows), -1)

    def _add_rows(self, dataset: Dataset | None, most_rows: int) -> None:
        """Choose rows; encode, score and lay them out."""
        codes = None
        if dataset is not None:
            X, y, part = _shown(dataset)
            kept = _some(len(X), most_rows)
            y = None if y is None else np.asarray(y)[kept]
            rows = X[kept] if dataset.columns is None else Table(X[kept], dataset.columns)
            read_in = validate_input(self.estimator, rows, reset=False, missing=True)
            self.X = self.estimator.model_.likelihood.convert_bytes(read_in)
            codes = self._encode(y)
            self.arrays["row"] = kept.astype(np.int32)
            self.manifest["rows"] = {"n": len(kept), "of": len(X), "source": part}
            self._add_columns(y, dataset)
        self._add_prior()
        self._add_latents(codes)
        self.manifest["item"] |= _range(self.estimator, self._seen())
        self.manifest["arrays"] = {
            name: {"dtype": a.dtype.name, "shape": list(a.shape)} for name, a in self.arrays.items()
        }

    def _seen(self) -> Array:
        """Return the rows, or without them what the model makes of codes."""
        if self.X is not None:
            return self.X
        codes = self._prior_codes()
        if codes is None:
            codes = np.random.default_rng(0).normal(size=(DRAWS, self.estimator.n_components_))
        return np.asarray(self.estimator.decode(codes[:DRAWS]))

    def _prior_codes(self) -> Array | None:
        """Return the draws that were made for the browser, where it cannot draw by itself."""
        if "prior_centres" not in self.arrays:
            return None
        return self.arrays["prior_centres"] + self.arrays["prior_offsets"]

    def _encode(self, y: Array | None) -> Array:
        told = {"condition": y} if self.estimator.conditional and y is not None else {}
        q = self.estimator.posterior(self.X, **told)
        self.arrays["codes"] = q.mean.astype(np.float32)
        if self.manifest["model"]["spread"]:
            self.arrays["std"] = q.std.astype(np.float32)
        return self.arrays["codes"]

    def _add_columns(self, y: Array | None, dataset: Dataset) -> None:
        """Add what can colour the map: labels, scores, columns of a table."""
        if y is not None:
            told = hasattr(self.estimator, "classes_")  # then labels are classes, however many
            self._add_column("label", *_as_column(y if y.ndim == 1 else y[:, 0], told))
        for name, kind, unit in (
            ("squared error", "reconstruction", ""),
            ("−ELBO" if self.manifest["model"]["spread"] else "−log p(x|z)", "likelihood", "nats"),
        ):
            if kind == "likelihood" and len(self.X) > SCORED:  # type: ignore[arg-type]
                continue
            values = SCORES[kind](self.estimator).anomaly(self.X).astype(np.float32)  # type: ignore[arg-type]
            array = self._add_column(name, values)
            self.manifest["scores"].append({"name": name, "array": array, "unit": unit})
        features = self.manifest["item"]["features"] if dataset.columns is not None else None
        for j, feature in enumerate(features or []):
            self._add_column(feature["name"], self.X[:, j], feature["categories"], feature=j)  # type: ignore[index]

    def _add_column(
        self,
        name: str,
        values: Array,
        categories: list[str] | None = None,
        feature: int | None = None,
    ) -> str:
        array = f"column-{len(self.manifest['columns'])}"
        numbers = np.nan_to_num(values, nan=len(categories)) if categories else values
        whole = np.uint16 if len(categories or ()) < 2**16 else np.int32
        self.arrays[array] = numbers.astype(whole if categories else np.float32)
        if categories and np.isnan(values).any():
            categories = [*categories, "missing"]
        self.manifest["columns"].append(
            {"name": name, "array": array, "categories": categories, "feature": feature}
        )
        return array

    def _add_prior(self) -> None:
        """Describe what samples are drawn from; where the browser cannot, draw for it."""
        model = self.estimator
        if model.model_.prior is not None and has_standard_prior(model):
            self.manifest["prior"] = {"kind": "standard"}
            return
        told = _contexts(model) if model.model_.prior is not None else [None]
        parts = [_prior_draws(model, self.X, c) for c in told]
        if parts[0] is None:
            return
        centres, offsets = (np.concatenate(each) for each in zip(*parts, strict=True))
        self.arrays["prior_centres"] = centres.astype(np.float32)
        self.arrays["prior_offsets"] = offsets.astype(np.float32)
        self.manifest["prior"] = {"kind": "draws", "n": DRAWS, "parts": len(parts)}

    def _add_latents(self, codes: Array | None) -> None:
        """Describe each latent, and the map on which codes lie."""
        d = self.estimator.n_components_
        seen = self._prior_codes() if codes is None else codes
        if seen is None:
            seen = np.zeros((0, d), np.float32)
        self.manifest["latents"] = _latents(seen, d)
        self.manifest["map"], points = _plane(codes, d, seen)
        if points is not None:
            self.arrays["points"] = points.astype(np.float32)


def _about(
    estimator: Any, name: str, records: list[Any], dataset: Dataset | None
) -> dict[str, Any]:
    """Return the manifest of a model before any row was looked at."""
    kind = type(estimator).__name__
    classes = getattr(estimator, "classes_", None) if estimator.conditional else None
    return _empty(records) | {
        "name": name,
        "title": _title(kind, records[0]["data"]),
        "model": {
            "kind": kind,
            "n_components": estimator.n_components_,
            "likelihood": _short(estimator.likelihood_),
            "classes": None if classes is None else _class_names(classes),
            "context_width": estimator.condition_encoder_.width
            if estimator.condition_encoder_
            else 0,
            "x_dtype": x_dtype(estimator),
            "spread": estimator.model_.prior is not None,
            "missing": bool(estimator.model_.missing),
        },
        "item": _item(estimator, dataset),
        "notes": list(dataset.notes) if dataset is not None and dataset.columns is None else [],
    }


def _title(kind: str, data: str) -> str:
    return f"{kind} on {data}" if data else kind


def _empty(records: list[Any]) -> dict[str, Any]:
    return {
        "format": 1,
        "version": __version__,
        "rows": None,
        "missing": None,
        "columns": [],
        "scores": [],
        "prior": None,
        "map": None,
        "runs": records,
        "notes": [],
        "arrays": {},
    }


def _without_model(records: list[Any]) -> dict[str, Any]:
    """Return the manifest of a run that has no model yet: its training can be watched."""
    run = records[0]
    model = {"kind": run["model"], "n_components": 0, "likelihood": "", "classes": None}
    model |= {"context_width": 0, "x_dtype": "float32", "spread": False, "missing": False}
    item = {"kind": "vector", "shape": [], "low": 0, "high": 1, "rate": None, "features": None}
    return _empty(records) | {
        "name": run["name"],
        "title": f"{_title(run['model'], run['data'])}, in training",
        "model": model,
        "item": item | {"scale": [1], "blank": [0]},
        "latents": _latents(np.zeros((0, 0), np.float32), 0),
    }


def _item(estimator: Any, dataset: Dataset | None) -> dict[str, Any]:
    """Describe one item: of what kind it is, how it is drawn, its unit of error."""
    shape = estimator.feature_shape_
    scaler = estimator.scaler_
    table = estimator.columns_ is not None or hasattr(estimator, "feature_names_in_")
    kind = "picture" if is_image(shape) else "signal" if len(shape) > 1 else "vector"
    return {
        "kind": "table" if table else kind,
        "shape": list(shape),
        "rate": dataset.rate if dataset is not None else None,
        "features": _features(estimator) if len(shape) == 1 else None,
        "scale": np.ravel(scaler.scale).tolist(),
        "blank": np.ravel(scaler.inverse_transform(np.zeros(np.shape(scaler.scale)))).tolist(),
    }


def _features(estimator: Any) -> list[dict[str, Any]]:
    if estimator.columns_ is not None:
        return [
            {
                "name": str(c.name),
                "categories": [str(v) for v in c.categories] or None,
                "whole": c.whole,
            }
            for c in estimator.columns_.columns
        ]
    names = getattr(estimator, "feature_names_in_", None)
    n = estimator.n_features_in_
    texts = [f"x{j}" for j in range(1, n + 1)] if names is None else [str(name) for name in names]
    return [{"name": text, "categories": None, "whole": False} for text in texts]


def _range(estimator: Any, X: Array) -> dict[str, float]:
    """Return the values that are shown as black and white, or the ends of an axis."""
    interval = estimator.model_.likelihood.interval
    if X.dtype == np.uint8 or interval:
        low, high = interval or (0, 1)
        return {"low": float(low), "high": float(high)}
    low, high = float(np.nanmin(X)), float(np.nanmax(X))
    if not is_image(estimator.feature_shape_) and low < 0 < high:  # waves about the middle
        low, high = min(low, -high), max(high, -low)
    return {"low": low, "high": high if high > low else low + 1}


def _shown(dataset: Dataset) -> tuple[Array, Array | None, str]:
    """Return the rows to show, their labels and what they are: a test set where there is one."""
    if dataset.X_test is None:
        return dataset.X, dataset.y, f"rows of {dataset.name}"
    return dataset.X_test, dataset.y_test, f"test rows of {dataset.name}"


def _some(n: int, most: int) -> Array:
    """Return all row numbers, or of too many some drawn at random, the same each time."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(0).permutation(n)[:most])


def _as_column(y: Array, classes: bool) -> tuple[Array, list[str] | None]:
    """Return labels as classes by number, or many different numbers as they are."""
    names, index = np.unique(y, return_inverse=True)
    if y.dtype.kind in "iuf" and not classes:
        whole = bool((names == np.round(names)).all())
        if len(names) > MANY_CLASSES or not whole:
            return y, None
    return index, _class_names(names)


def _class_names(classes: Array) -> list[str]:
    """Return classes as text, a whole number the same whatever its type: a label finds its own."""
    if classes.dtype.kind == "f":
        return [f"{c:.0f}" if c == np.round(c) else str(c) for c in classes]
    return [str(c) or "missing" for c in classes]


def _contexts(estimator: Any) -> list[Array | None]:
    """Return the contexts a prior may be told: each class, and "unknown" last."""
    if not estimator.conditional:
        return [None]
    classes = getattr(estimator, "classes_", ())
    return [estimator.condition_encoder_.encode(known, 1) for known in (*classes, None)]


def _prior_draws(estimator: Any, X: Array | None, c: Array | None) -> tuple[Array, Array] | None:
    """Return draws as centres and what is added to them; None where nothing can be drawn."""
    if estimator.model_.prior is None:
        return None if X is None else _about_mean(_from_mixture(estimator, X))
    generator = torch.Generator().manual_seed(0)
    context = None if c is None else torch.from_numpy(c)
    with torch.no_grad():
        p = estimator.model_.prior_given(context)
        if isinstance(p, DiagonalMixture) and p.loc.ndim == 2:
            odds = p.log_weights.exp().reshape(-1)
            k = torch.multinomial(odds, DRAWS, replacement=True, generator=generator)
            noise = torch.randn(DRAWS, p.loc.shape[-1], generator=generator)
            return p.loc[k].numpy(), (p.scale[k] * noise).numpy()
        return _about_mean(draw(p, generator, (DRAWS,)).reshape(DRAWS, -1).numpy())


def _from_mixture(estimator: Any, X: Array) -> Array:
    """Draw codes of a model without a prior: from normals fitted to the codes of rows."""
    rows = Table(X, estimator.columns_) if estimator.columns_ is not None else X
    modes = max(1, min(10, len(X) // 50))
    sampler = LatentSampler.from_fitted(estimator, source="mixture", n_modes=modes, random_state=0)
    return sampler.fit(rows).sample_codes(DRAWS, random_state=0)


def _about_mean(codes: Array) -> tuple[Array, Array]:
    centre = np.broadcast_to(codes.mean(0), codes.shape)
    return centre, codes - centre


def _latents(codes: Array, d: int) -> dict[str, Any]:
    """Return what is to be expected of each latent; of a standard normal where nothing is known."""
    if not len(codes):
        zero, one = [0.0] * d, [1.0] * d
        ends = {"low": [-3.0] * d, "high": [3.0] * d}
        return {"order": list(range(d)), "activity": one, "mean": zero, "std": one, **ends}
    low, high = np.quantile(codes, [EDGE, 1 - EDGE], axis=0)
    numbers = {
        "activity": codes.var(0),
        "mean": codes.mean(0),
        "std": codes.std(0),
        "low": low,
        "high": high,
    }
    order = np.argsort(-codes.var(0), kind="stable")
    return {"order": order.tolist()} | {k: v.tolist() for k, v in numbers.items()}


def _plane(codes: Array | None, d: int, seen: Array) -> tuple[dict[str, Any], Array | None]:
    """Return how codes become places and places codes, and where the codes lie, (n, 2)."""
    if d > 2 and codes is not None and len(codes) > 2:
        pca = PCA(2, random_state=0).fit(codes)
        shares = pca.explained_variance_ratio_
        axes = [f"principal component {i} ({s:.0%})" for i, s in enumerate(shares, 1)]
        plane = {"mean": pca.mean_.tolist(), "components": pca.components_.tolist()}
        return {"kind": "pca", "axes": axes, **plane}, pca.transform(codes)
    axes = ["z1", "z2" if d > 1 else "(spread out to be seen)"]
    middle = seen.mean(0) if len(seen) else np.zeros(d)
    middle[:2] = 0  # places are the first two numbers themselves
    plane = {"mean": middle.tolist(), "components": np.eye(d)[:2].tolist()}
    return {"kind": "codes", "axes": axes, **plane}, None if codes is None else _pairs(codes)


def _pairs(codes: Array) -> Array:
    """Return codes of one or two numbers as places; one alone gets a height by chance."""
    if codes.shape[1] >= 2:
        return codes[:, :2]
    height = np.random.default_rng(0).uniform(-1, 1, len(codes)) * codes.std()
    return np.column_stack([codes[:, 0], height])


def _short(likelihood: str) -> str:
    """Return the name of a likelihood; of a table's many only that they are many."""
    return likelihood if len(likelihood) <= 40 else "mixed"
