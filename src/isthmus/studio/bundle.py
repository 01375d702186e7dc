"""The contents of the studio for a run: a JSON manifest and named arrays.

`studio/src/manifest.ts` declares the same manifest in TypeScript.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from isthmus._messages import as_text
from isthmus._version import __version__
from isthmus.applications.anomaly_scores import SCORES
from isthmus.applications.generation import LatentSampler
from isthmus.data import Dataset
from isthmus.data.columns import Table
from isthmus.distributions.base import DiagonalMixture, draw
from isthmus.estimators import model_io
from isthmus.estimators.scaling import as_float64
from isthmus.estimators.validation import validate_input
from isthmus.evaluation.checks import Finding, Findings
from isthmus.export import x_dtype
from isthmus.persistence.run_folder import CONFIG, read_config
from isthmus.plots.cells import is_image
from isthmus.plots.latent import has_standard_prior
from isthmus.studio.runs import run_records

__all__ = ["NO_DATA", "Bundle"]

Array = NDArray[Any]

NO_DATA = "the studio has no data for this run."
MAX_CLASSES = 200  # more distinct integer labels are treated as numbers
DRAWS = 1000  # precomputed draws of a prior that the browser cannot sample
MAX_ELBO_ROWS = 20_000  # the ELBO takes ten decodes per row
EDGE = 0.01  # quantile of the codes at the ends of a slider


@dataclass
class Bundle:
    """A run with rows of data, as the studio shows them."""

    manifest: dict[str, Any]  # a description of the run as plain JSON
    arrays: dict[str, Array] = field(default_factory=dict)  # as listed in the manifest
    estimator: Any = None  # None while the run has no model yet
    X: Array | None = None  # the rows shown (n, *feature_shape), as the estimator reads them

    @classmethod
    def load(
        cls,
        runs: Sequence[Path],
        dataset: Dataset | None = None,
        *,
        no_data_reason: str | None = None,
        max_rows: int = 5000,
    ) -> Bundle:
        """Load a run; encode and score rows of data.

        Parameters
        ----------
        runs : sequence of Path
            Run folders: the model of the first and the training history of all are shown.
        dataset : Dataset, optional
            Data to show: its test rows if there are any, else all rows.
        no_data_reason : str, optional
            Message shown if there is no dataset.
        max_rows : int
            Maximum number of rows; a larger dataset is sampled at random.

        Raises
        ------
        FileNotFoundError, ValueError
            If a folder holds no run, or a corrupt one.
        """
        records = run_records([Path(run) for run in runs])
        first = Path(runs[0])
        if not (first / CONFIG).is_file():  # in training, or interrupted
            return cls(_manifest_without_model(records))
        estimator = _with_channels_first(model_io.load(first, device="cpu"))
        manifest = _model_manifest(estimator, as_text(first.resolve().name), records, dataset)
        manifest["findings"] = _findings(read_config(first)["findings"])
        bundle = cls(manifest, estimator=estimator)
        bundle._add_contents(dataset, max_rows)
        manifest["no_data_reason"] = None if bundle.X is not None else no_data_reason
        return bundle

    def items(self, rows: Array) -> Array:
        """Return rows in the units of the data, (n, n_features) of float64."""
        if self.X is None:
            raise ValueError(NO_DATA)
        return as_float64(self.X[rows]).reshape(len(rows), -1)

    def _add_contents(self, dataset: Dataset | None, max_rows: int) -> None:
        codes = None if dataset is None else self._add_rows(dataset, max_rows)
        self._add_prior()
        self._add_latents(codes)
        self.manifest["item"] |= _display_range(self.estimator, self._example_items())
        self.manifest["arrays"] = {
            name: {"dtype": a.dtype.name, "shape": list(a.shape)} for name, a in self.arrays.items()
        }

    def _add_rows(self, dataset: Dataset, max_rows: int) -> Array:
        """Select rows, encode them and add their columns; return their codes."""
        test = dataset.X_test is not None
        X = dataset.X if dataset.X_test is None else dataset.X_test
        y = dataset.y_test if test else dataset.y
        n = len(X)
        chosen = np.sort(np.random.default_rng(0).permutation(n)[:max_rows])
        y = None if y is None else np.asarray(y)[chosen]
        rows = X[chosen] if dataset.columns is None else Table(X[chosen], dataset.columns)
        validated = validate_input(self.estimator, rows, reset=False, missing=True)
        self.X = self.estimator.model_.likelihood.clean(validated)
        source = f"{'test rows' if test else 'rows'} of {dataset.name}"
        self.manifest["rows"] = {"n": len(chosen), "total": n, "source": source}
        self.arrays["row"] = chosen.astype(np.int32)
        known = {"condition": y} if self.estimator.conditional and y is not None else {}
        q = self.estimator.posterior(self.X, **known)
        self.arrays["codes"] = q.mean.astype(np.float32)
        if self.manifest["model"]["has_std"]:
            self.arrays["std"] = q.std.astype(np.float32)
        self._add_columns(y, dataset)
        return self.arrays["codes"]

    def _example_items(self) -> Array:
        """Return the rows, or decoded draws if there are none."""
        if self.X is not None:
            return self.X
        codes = self._prior_codes()
        if codes is None:
            codes = np.random.default_rng(0).normal(size=(DRAWS, self.estimator.n_components_))
        return np.asarray(self.estimator.decode(codes[:DRAWS]))

    def _prior_codes(self) -> Array | None:
        if "prior_centres" not in self.arrays:
            return None
        return self.arrays["prior_centres"] + self.arrays["prior_offsets"]

    def _add_columns(self, y: Array | None, dataset: Dataset) -> None:
        """Add the columns that can colour the map: label, scores and table features."""
        X: Any = self.X
        if y is not None:
            are_classes = hasattr(self.estimator, "classes_")
            self._add_column("label", *_label_column(y if y.ndim == 1 else y[:, 0], are_classes))
        bound = "−ELBO" if self.manifest["model"]["has_std"] else "−log p(x|z)"
        scores = [("squared error", "reconstruction", ""), (bound, "likelihood", "nats")]
        for name, kind, unit in scores[: 1 if len(X) > MAX_ELBO_ROWS else 2]:
            values = SCORES[kind](self.estimator).anomaly(X).astype(np.float32)
            array = self._add_column(name, values)
            self.manifest["scores"].append({"name": name, "array": array, "unit": unit})
        features = self.manifest["item"]["features"] if dataset.columns is not None else None
        for j, feature in enumerate(features or []):
            self._add_column(feature["name"], X[:, j], feature["categories"], feature=j)

    def _add_column(
        self, name: str, values: Array, categories: Any = None, feature: int | None = None
    ) -> str:
        """Add a column of numbers, or of categories, and return the name of its array."""
        array = f"column-{len(self.manifest['columns'])}"
        if categories:
            dtype = np.uint16 if len(categories) < 2**16 else np.int32
            self.arrays[array] = np.nan_to_num(values, nan=len(categories)).astype(dtype)
            if np.isnan(values).any():
                categories = [*categories, "missing"]
        else:
            self.arrays[array] = values.astype(np.float32)
        self.manifest["columns"].append(
            {"name": name, "array": array, "categories": categories, "feature": feature}
        )
        return array

    def _add_prior(self) -> None:
        """Describe the prior, with precomputed draws unless it is a standard normal."""
        model = self.estimator
        has_prior = model.model_.prior is not None
        if has_prior and has_standard_prior(model):
            self.manifest["prior"] = {"kind": "standard"}
            return
        parts = [
            _prior_draws(model, self.X, c) for c in (_conditions(model) if has_prior else [None])
        ]
        if parts[0] is None:
            return
        centres, offsets = (np.concatenate(each) for each in zip(*parts, strict=True))
        self.arrays["prior_centres"] = centres.astype(np.float32)
        self.arrays["prior_offsets"] = offsets.astype(np.float32)
        self.manifest["prior"] = {"kind": "draws", "n": DRAWS, "parts": len(parts)}

    def _add_latents(self, codes: Array | None) -> None:
        """Describe the latents and the map; project the codes."""
        d = self.estimator.n_components_
        known = self._prior_codes() if codes is None else codes
        known = np.zeros((0, d), np.float32) if known is None else known
        self.manifest["latents"] = _latents(known, d)
        self.manifest["map"], points = _map_plane(codes, d, known)
        if points is not None:
            self.arrays["points"] = points.astype(np.float32)


def _with_channels_first(estimator: Any) -> Any:
    """Return an estimator whose data have channels first, as the app draws them."""
    estimator.feature_shape_ = estimator.model_shape_
    estimator.scaler_ = replace(estimator.scaler_, channels="first")
    return estimator


def _model_manifest(
    estimator: Any, name: str, records: list[Any], dataset: Dataset | None
) -> dict[str, Any]:
    """Return the manifest of a model without rows."""
    kind = type(estimator).__name__
    classes = getattr(estimator, "classes_", None) if estimator.conditional else None
    encoder = estimator.condition_encoder_
    return _empty_manifest(records) | {
        "name": name,
        "title": _title(kind, records[0]["data"]),
        "model": {
            "kind": kind,
            "n_components": estimator.n_components_,
            # A table with many columns has one likelihood per column.
            "likelihood": estimator.likelihood_ if len(estimator.likelihood_) <= 40 else "mixed",
            "classes": None if classes is None else _class_names(classes),
            "condition_width": encoder.width if encoder else 0,
            "x_dtype": x_dtype(estimator),
            "has_std": estimator.model_.prior is not None,
            "accepts_nan": bool(estimator.model_.missing),
        },
        "item": _item(estimator, dataset),
        "notes": list(dataset.notes) if dataset is not None and dataset.columns is None else [],
    }


def _findings(saved: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    """Return what `isthmus.evaluation.check` found, in words; None if it was not called."""
    if saved is None:
        return None
    findings = Findings.from_dicts(saved)
    first = findings.in_summary
    others = [each for each in findings.not_ok if each not in first]
    return {"first": [*map(_in_words, first)], "others": [*map(_in_words, others)]}


def _in_words(finding: Finding) -> dict[str, str]:
    evidence, remedy = str(finding.evidence), str(finding.remedy)
    about = {"name": finding.name, "severity": finding.severity, "verdict": finding.verdict}
    return about | {"evidence": evidence, "remedy": remedy}


def _title(kind: str, data: str) -> str:
    return f"{kind} on {data}" if data else kind


def _empty_manifest(records: list[Any]) -> dict[str, Any]:
    nothing = dict.fromkeys(("rows", "no_data_reason", "prior", "map", "findings"))
    lists: dict[str, Any] = {name: [] for name in ("columns", "scores", "notes")}
    return {"format": 1, "version": __version__, "runs": records, "arrays": {}} | nothing | lists


def _manifest_without_model(records: list[Any]) -> dict[str, Any]:
    """Return the manifest of a run in training, which shows only the training view."""
    run = records[0]
    model = {"kind": run["model"], "n_components": 0, "likelihood": "", "classes": None}
    model |= {"condition_width": 0, "x_dtype": "float32", "has_std": False, "accepts_nan": False}
    item = {"kind": "vector", "shape": [], "low": 0, "high": 1, "rate": None, "features": None}
    return _empty_manifest(records) | {
        "name": run["name"],
        "title": f"{_title(run['model'], run['data'])}, in training",
        "model": model,
        "item": item | {"scale": [1], "fill": [0]},
        "latents": _latents(np.zeros((0, 0), np.float32), 0),
    }


def _item(estimator: Any, dataset: Dataset | None) -> dict[str, Any]:
    """Describe an item: its kind and shape, its features and their scale."""
    shape, scale = estimator.feature_shape_, estimator.scaler_.scale
    table = estimator.columns_ is not None or hasattr(estimator, "feature_names_in_")
    kind = "image" if is_image(shape) else "signal" if len(shape) > 1 else "vector"
    return {
        "kind": "table" if table else kind,
        "shape": list(shape),
        "rate": dataset.rate if dataset is not None else None,
        "features": _features(estimator) if len(shape) == 1 else None,
        "scale": np.ravel(scale).tolist(),
        "fill": np.ravel(estimator.scaler_.inverse_transform(np.zeros(np.shape(scale)))).tolist(),
    }


def _features(estimator: Any) -> list[dict[str, Any]]:
    if estimator.columns_ is not None:
        described = [
            (str(c.name), [str(v) for v in c.categories] or None, c.whole)
            for c in estimator.columns_.columns
        ]
    else:
        default = [f"x{j}" for j in range(1, estimator.n_features_in_ + 1)]
        names = getattr(estimator, "feature_names_in_", default)
        described = [(str(name), None, False) for name in names]
    return [dict(zip(("name", "categories", "whole"), d, strict=True)) for d in described]


def _display_range(estimator: Any, X: Array) -> dict[str, float]:
    """Return the values shown as black and white, or the limits of an axis."""
    interval = estimator.model_.likelihood.interval
    if X.dtype == np.uint8 or interval:
        low, high = interval or (0, 1)
        return {"low": float(low), "high": float(high)}
    low, high = float(np.nanmin(X)), float(np.nanmax(X))
    if not is_image(estimator.feature_shape_) and low < 0 < high:  # centre signals at zero
        low, high = min(low, -high), max(high, -low)
    return {"low": low, "high": high if high > low else low + 1}


def _label_column(y: Array, are_classes: bool) -> tuple[Array, list[str] | None]:
    """Return labels as class indices with names, or as numbers if they are not classes."""
    names, index = np.unique(y, return_inverse=True)
    if y.dtype.kind in "iuf" and not are_classes:
        whole = bool((names == np.round(names)).all())
        if len(names) > MAX_CLASSES or not whole:
            return y, None
    return index, _class_names(names)


def _class_names(classes: Array) -> list[str]:
    """Return classes as text, with the same text for integers of any data type."""
    if classes.dtype.kind == "f":
        return [f"{c:.0f}" if c == np.round(c) else str(c) for c in classes]
    return [str(c) or "missing" for c in classes]


def _conditions(estimator: Any) -> list[Array | None]:
    """Return the encoded conditions of a prior: each class, followed by "unknown"."""
    if not estimator.conditional:
        return [None]
    classes = getattr(estimator, "classes_", ())
    return [estimator.condition_encoder_.encode(label, 1) for label in (*classes, None)]


def _prior_draws(estimator: Any, X: Array | None, c: Array | None) -> tuple[Array, Array] | None:
    """Return draws as centres and offsets; None if nothing can be drawn."""
    if estimator.model_.prior is None:
        return None if X is None else _split_at_mean(_draw_from_mixture(estimator, X))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        p = estimator.model_.prior_given(None if c is None else torch.from_numpy(c))
        if isinstance(p, DiagonalMixture) and p.loc.ndim == 2:
            weights = p.log_weights.exp().reshape(-1)
            k = torch.multinomial(weights, DRAWS, replacement=True, generator=generator)
            noise = torch.randn(DRAWS, p.loc.shape[-1], generator=generator)
            return p.loc[k].numpy(), (p.scale[k] * noise).numpy()
        return _split_at_mean(draw(p, generator, (DRAWS,)).reshape(DRAWS, -1).numpy())


def _draw_from_mixture(estimator: Any, X: Array) -> Array:
    """Draw codes of a model without a prior from a Gaussian mixture fitted to its codes."""
    rows = Table(X, estimator.columns_) if estimator.columns_ is not None else X
    modes = max(1, min(10, len(X) // 50))
    sampler = LatentSampler.from_fitted(estimator, source="mixture", n_modes=modes, random_state=0)
    return sampler.fit(rows).sample_codes(DRAWS, random_state=0)


def _split_at_mean(codes: Array) -> tuple[Array, Array]:
    centre = np.broadcast_to(codes.mean(0), codes.shape)
    return centre, codes - centre


def _latents(codes: Array, d: int) -> dict[str, Any]:
    """Return statistics of each latent; those of a standard normal without codes."""
    if not len(codes):
        zero, one = [0.0] * d, [1.0] * d
        ends = {"low": [-3.0] * d, "high": [3.0] * d}
        return {"order": list(range(d)), "activity": one, "mean": zero, "std": one, **ends}
    low, high = np.quantile(codes, [EDGE, 1 - EDGE], axis=0)
    variance = codes.var(0)
    statistics = {"order": np.argsort(-variance, kind="stable"), "activity": variance}
    statistics |= {"mean": codes.mean(0), "std": codes.std(0), "low": low, "high": high}
    return {name: values.tolist() for name, values in statistics.items()}


def _map_plane(codes: Array | None, d: int, known: Array) -> tuple[dict[str, Any], Array | None]:
    """Return the plane of the map and the projected codes, (n, 2)."""
    if d > 2 and codes is not None and len(codes) > 2:
        pca = PCA(2, random_state=0).fit(codes)
        shares = pca.explained_variance_ratio_
        axes = [f"principal component {i} ({s:.0%})" for i, s in enumerate(shares, 1)]
        plane = {"mean": pca.mean_.tolist(), "components": pca.components_.tolist()}
        return {"kind": "pca", "axes": axes, **plane}, pca.transform(codes)
    axes = ["z1", "z2" if d > 1 else "random jitter"]
    centre = known.mean(0) if len(known) else np.zeros(d)
    centre[:2] = 0  # map positions are the first two latents themselves
    plane = {"mean": centre.tolist(), "components": np.eye(d)[:2].tolist()}
    points = None if codes is None else codes[:, :2]
    if points is not None and d == 1:
        jitter = np.random.default_rng(0).uniform(-1, 1, len(points)) * points.std()
        points = np.column_stack([points, jitter])
    return {"kind": "codes", "axes": axes, **plane}, points
