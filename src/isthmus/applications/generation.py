"""Generate examples from a prior or a fitted mixture, of a class, or around an input."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from isthmus.applications.latent_mixtures import LatentMixtures
from isthmus.applications.meta_estimator import (
    LatentMetaEstimator,
    SavedMetaEstimator,
    check_choice,
    encode_in_chunks,
    estimator_name,
    has_distribution,
)
from isthmus.estimators.condition import check_labels
from isthmus.estimators.sample_weight import WeightedRows
from isthmus.persistence.schema import check_scalars

__all__ = ["MIXTURE", "MIXTURES", "LatentSampler", "variations"]

Array = NDArray[Any]

MIXTURE = "mixture"  # folder, within a run, of the mixture of all codes
MIXTURES = "mixture-by-class"  # folder of the mixtures per class
ARRAYS, RECORD = "mixture.safetensors", "mixture.json"
SOURCES = ("auto", "prior", "mixture")


@dataclass(eq=False, repr=False)
class LatentSampler(SavedMetaEstimator, LatentMetaEstimator):
    """Generate examples with any estimator, with or without a prior.

    Codes come from the model's prior, or from a Gaussian mixture fitted to the aggregate
    posterior: one draw from q(z|x) per training row, which for a plain autoencoder is the code.
    With labels, `fit` fits one mixture per class, so that any model can generate a given class; a
    conditional model also receives the class as its condition.

    Parameters
    ----------
    estimator : LatentEstimator
        A fitted estimator is used as it is; of an unfitted one `fit` trains a clone.
    source : {"auto", "prior", "mixture"}
        "auto" uses the prior if the model has one, otherwise the mixture.
    n_modes : int
        Number of Gaussians with full covariance in each mixture.
    random_state : int, optional
        Seed for fitting the mixture.

    Attributes
    ----------
    source_ : str
        "prior" or "mixture".
    classes_ : ndarray
        The labels, if the source is a mixture fitted with labels.

    References
    ----------
    From variational to deterministic autoencoders (Ghosh, Sajjadi, Vergari, Black, Schölkopf,
    2020).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> digits = load_digits()
    >>> model = Autoencoder(n_components=8, epochs=2, random_state=0)
    >>> sampler = LatentSampler(model, n_modes=2, random_state=0)
    >>> _ = sampler.fit(digits.images / 16, digits.target)
    >>> sampler.sample(3, y=7, random_state=0).shape
    (3, 8, 8)
    """

    estimator: Any
    _: KW_ONLY
    source: str = "auto"
    n_modes: int = 10
    random_state: int | None = None

    _arrays_file, _record_file = ARRAYS, RECORD
    _content, _command = "mixture", "isthmus sample RUN --source mixture --data DATA"
    _hint = "delete the folder to have the mixture fitted again"

    def _check_parameters(self) -> None:
        check_choice("source", self.source, SOURCES)

    def _fit_codes(self, rows: WeightedRows) -> None:
        X, y = rows.X, rows.y
        estimator = self.estimator_
        has_prior = has_distribution(estimator)
        if self.source == "prior" and not has_prior:
            raise ValueError(
                f"{estimator_name(estimator)} has no prior: use a VAE, or source='mixture'."
            )
        if has_prior and self.source != "mixture":
            return self._set_mixtures(None)
        rng = np.random.default_rng(self.random_state)
        q = estimator.posterior(X, condition=y if estimator.conditional else None)
        labels = None if y is None else rows.repeated(check_labels(y, len(q.mean)))
        mean, std = rows.repeated(q.mean), rows.repeated(q.std)
        codes = (mean + std * rng.standard_normal(mean.shape)).astype(np.float64)
        self._set_mixtures(LatentMixtures.fit(codes, labels, self.n_modes, rng))

    def _set_mixtures(self, mixtures: LatentMixtures | None) -> None:
        self._mixtures = mixtures
        self.source_ = "prior" if mixtures is None else "mixture"
        if mixtures is not None and mixtures.classes is not None:
            self.classes_ = mixtures.classes

    def sample(
        self, n_samples: int = 1, random_state: int | None = None, *, y: Any = None
    ) -> Array:
        """Generate examples: the mean of p(x|z) at codes drawn from the source.

        Rows of a table are drawn from p(x|z) and returned as a data frame.

        Parameters
        ----------
        n_samples : int
        random_state : int, optional
            Seed; by default every call differs.
        y : label or array-like (n_samples,), optional
            Classes to generate; requires a conditional model, or a mixture fitted with labels.

        Returns
        -------
        ndarray (n_samples, *feature_shape_)
        """
        check_is_fitted(self)
        model = self.estimator_
        if self.source_ == "prior":
            if y is not None and not model.conditional:
                raise ValueError(
                    f"{estimator_name(model)} cannot generate a class: use ConditionalVAE, or "
                    "source='mixture' fitted with labels."
                )
            return model.sample(n_samples, random_state, y=y)
        codes, drawn = self._sample_codes(n_samples, random_state, y)
        condition = drawn if model.conditional else None
        noise = model.columns_ is not None  # rows of a table are samples, not means
        generated = model.decode(codes, noise=noise, random_state=random_state, condition=condition)
        return model.as_input_type(generated)

    def sample_codes(
        self, n_samples: int = 1, random_state: int | None = None, *, y: Any = None
    ) -> Array:
        """Draw codes from the mixture, (n_samples, n_components) of float32, as `sample` does.

        They are nonnegative if all training codes were, as with rectified units.
        """
        check_is_fitted(self)
        return self._sample_codes(n_samples, random_state, y)[0]

    def _sample_codes(self, n: int, random_state: int | None, y: Any) -> tuple[Array, Array | None]:
        if self._mixtures is None:
            raise ValueError("codes can be drawn only with source='mixture'.")
        if n < 1:
            raise ValueError(f"n_samples must be at least 1, got {n!r}.")
        return self._mixtures.sample(n, np.random.default_rng(random_state), y)

    def variations(
        self, X: Any, n_samples: int = 8, spread: float = 1.0, random_state: int | None = None
    ) -> Array:
        """Generate variations of each row of X, (n, n_samples, *feature_shape_).

        As the function `variations`; for a model whose codes are points, the scale is the standard
        deviation of the nearest mode of the mixture.
        """
        check_is_fitted(self)
        scale = None
        if self._mixtures is not None and not has_distribution(self.estimator_):
            scale = self._mixtures.standard_deviations(encode_in_chunks(self.estimator_, X))
        return variations(
            self.estimator_, X, n_samples, spread, scale=scale, random_state=random_state
        )

    def _to_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        if self._mixtures is None:
            raise ValueError(
                "the prior is saved with the model; only a sampler with source='mixture' can be "
                "saved."
            )
        return self._mixtures.arrays(), {"classes": self._mixtures.classes}

    def _from_arrays(self, arrays: dict[str, Array], record: dict[str, Any]) -> None:
        d = self.estimator_.n_components_
        self._set_mixtures(LatentMixtures.from_arrays(arrays, record["classes"], d))

    @classmethod
    def _is_valid(cls, record: dict[str, Any]) -> bool:
        if record["classes"] is not None:
            check_scalars(record["classes"], "classes")
        return True


def variations(
    estimator: Any,
    X: Any,
    n_samples: int = 8,
    spread: float = 1.0,
    *,
    scale: ArrayLike | None = None,
    condition: Any = None,
    random_state: int | None = None,
) -> Array:
    """Generate variations of each row of X by decoding random codes around its code.

    The codes are mean + spread * scale * noise with standard normal noise. By default the scale is
    the standard deviation of q(z|x), so that spread=1 samples the posterior.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    X : array-like (n, *features)
    n_samples : int
        Variations per row.
    spread : float
        Nonnegative; 0 gives the reconstruction.
    scale : array-like (n_components,) or (n, n_components), optional
        Required for models whose codes are points.
    condition : label or array-like (n,), optional
        For conditional models.
    random_state : int, optional
        Seed; by default every call differs.

    Returns
    -------
    ndarray (n, n_samples, *feature_shape_)

    Raises
    ------
    ValueError
        If a number is out of range, or `scale` is missing for a model whose codes are points.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> model = VAE(n_components=4, epochs=2, random_state=0).fit(X)
    >>> variations(model, X[:2], 5, spread=2.0, random_state=0).shape
    (2, 5, 8, 8)
    """
    if n_samples < 1 or not (np.isfinite(spread) and spread >= 0):
        raise ValueError(
            f"n_samples must be at least 1 and spread nonnegative, got {n_samples!r} and "
            f"{spread!r}."
        )
    q = estimator.posterior(X, condition=condition)
    if scale is None and not has_distribution(estimator):
        raise ValueError(
            f"the codes of {estimator_name(estimator)} are points: pass scale, or use a VAE or a "
            "LatentSampler, whose mixture gives the scale."
        )
    unit = q.std if scale is None else np.broadcast_to(np.asarray(scale), q.mean.shape)
    rng = np.random.default_rng(random_state)
    noise = rng.standard_normal((len(q.mean), n_samples, q.mean.shape[1]))
    codes = (q.mean[:, None] + spread * unit[:, None] * noise).astype(np.float32)
    if np.ndim(condition):
        condition = np.repeat(np.asarray(condition), n_samples, axis=0)
    decoded = estimator.decode(codes.reshape(-1, codes.shape[-1]), condition=condition)
    return decoded.reshape(len(q.mean), n_samples, *decoded.shape[1:])
