"""The scikit-learn interface shared by all models."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor

from isthmus.data.frames import is_frame
from isthmus.data.input_types import read_input
from isthmus.data.sparse_rows import DenseParts, SparseRows
from isthmus.distributions.base import draw
from isthmus.distributions.truncated import draw_within
from isthmus.estimators.batched_inference import (
    apply_in_batches,
    float_type,
    inference_batch_size,
    row_noise,
)
from isthmus.estimators.defaults import seed_of
from isthmus.estimators.fitting import FittingMixin
from isthmus.estimators.model_io import SaveMixin
from isthmus.estimators.sample_weight import check_sample_weight
from isthmus.estimators.scaling import LIMITS, as_float32
from isthmus.estimators.validation import (
    check_finite,
    check_results,
    count_rows_from,
    fill_missing,
    find_empty,
    in_layout,
)
from isthmus.models.params import describe
from isthmus.training import to_unit
from isthmus.training.devices import enough_threads, is_convolutional, own_torch_defaults

__all__ = ["LatentEstimator", "Posterior", "RateDistortion", "marginal_terms"]

Array = NDArray[Any]
SCORE_SAMPLES = 10  # draws of z per row in the estimate of the ELBO
DECODED_NUMBERS = 2**21  # decoded at once: more calls cost more than they gain from the cache


class Posterior(NamedTuple):
    """Mean and standard deviation of q(z|x), each (n, n_components)."""

    mean: Array
    std: Array


class RateDistortion(NamedTuple):
    """Rate KL(q(z|x) || p(z)) and distortion -E_q[log p(x|z)] per row, in nats, each (n,)."""

    rate: Array
    distortion: Array


def _with_parameters(doc: str, parameters: str) -> str:
    """Return a docstring with a section of parameters before its first section.

    A line "{parameters}" may mark their place, and is left out.
    """
    doc = doc.replace("    {parameters}\n\n", "").replace("{parameters}", "")
    first = re.search(r"^    \w+\n    -+$", doc, re.MULTILINE)
    at = first.start() if first else len(doc)
    return f"{doc[:at]}{textwrap.indent(parameters, '    ')}\n\n{doc[at:]}"


class LatentEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, SaveMixin, FittingMixin):
    """Base class of the scikit-learn estimators.

    A subclass combines a specification from `isthmus.models.specs` with this interface and
    overrides nothing.

    Attributes
    ----------
    model_ : LatentVariableModel
        The trained model.
    likelihood_ : str
        The likelihood in use; differs from `likelihood` if that is "auto".
    likelihood_reason_ : str
        Why this likelihood was chosen.
    feature_shape_ : tuple of int
        Shape of one example.
    channels_ : {"first", "last"}
        Which axis of an example holds the channels.
    n_features_in_ : int
        Number of values in one example.
    empty_features_ : tuple of int
        Features (numbered in the flattened example) without any value in the training rows.
    columns_ : Columns or None
        How data frame columns are encoded; None for arrays.
    condition_encoder_ : ConditionEncoder or None
        Turns labels into model inputs; None if the model is not conditional.
    history_ : list of dict
        One record per epoch; losses in nats per example.
    scaling_ : str
        The scaling in use; differs from `scaling` if that is "auto".
    best_epoch_ : int
        The epoch whose weights the model has.
    n_iter_ : int
        Number of epochs trained.
    seed_ : int
        The seed of the training: `random_state`, or the seed drawn if that is None.
    fitted_params_ : dict
        The settings at the time of the fit; `save` writes these.
    """

    # scikit-learn takes any argument that is not called X or y for metadata.
    __metadata_request__inverse_transform: ClassVar = {"Z": UNUSED}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        doc = cls.__dict__.get("__doc__") or ""
        if kwargs.get("name") or "{parameters}" in doc:  # the settings are declared by the specs
            cls.__doc__ = _with_parameters(doc, describe(cls))

    def transform(self, X: Any, *, condition: Any = None) -> Array:
        """Return the mean of q(z|x) for each row.

        Parameters
        ----------
        X : array-like (n, *feature_shape_), sparse matrix (n, features), or data frame
        condition : label or array-like (n,), optional
            For conditional models; None means that the label is unknown.

        Returns
        -------
        ndarray (n, n_components)

        Raises
        ------
        ValueError
            If X is invalid, or so far outside the range of the training data that float32
            overflows; the message names the cell or the row.
        """
        return self.posterior(X, condition=condition).mean

    def posterior(self, X: Any, *, condition: Any = None) -> Posterior:
        """Return the mean and standard deviation of q(z|x), each (n, n_components)."""
        X, c = self.check_input(X, condition)

        def encode(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            q = self.model_.encode(x, c)
            return q.mean, q.stddev

        mean, std = self._run(encode, X, c)
        check_results((mean, std))
        dtype = float_type(X)
        return Posterior(mean.astype(dtype, copy=False), std.astype(dtype, copy=False))

    def inverse_transform(self, Z: Any, *, condition: Any = None) -> Any:
        """Return the mean of p(x|z) for each code, in the shape and units of the data.

        Parameters
        ----------
        Z : array-like (n, n_components)
        condition : label or array-like (n,), optional

        Returns
        -------
        ndarray (n, *feature_shape_), or data frame
            A frame with the same columns and types if the model was fitted on one.

        See Also
        --------
        decode : Always returns an array, and can draw from p(x|z).
        """
        return self.as_input_type(self.decode(Z, condition=condition))

    def decode(
        self, Z: Any, *, condition: Any = None, noise: bool = False, random_state: int | None = None
    ) -> Array:
        """Decode codes to an array (n, *feature_shape_), even if fitted on a data frame.

        Parameters
        ----------
        Z : array-like (n, n_components)
        condition : label or array-like (n,), optional
        noise : bool
            Draw x from p(x|z) instead of returning its mean; for tables, given that each number
            lies in the range seen, as rounded.
        random_state : int, optional
            Seed for `noise`.
        """
        check_is_fitted(self)
        if isinstance(Z, np.ndarray):  # float32 in another byte order stays float32
            Z = Z.astype(Z.dtype.newbyteorder("="), copy=False)
        Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self.n_components_:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but the codes of this {type(self).__name__} have "
                f"{self.n_components_}."
            )
        check_finite(Z, limits=LIMITS, what="Z")
        c = self.encode_condition(condition, len(Z))
        return self._decode(Z, c, self._seeded(random_state) if noise else None)

    def _decode(self, Z: Array, c: Array | None, generator: torch.Generator | None) -> Array:
        """Return the mean of p(x|z), or draws from it if there is a generator.

        Draws of tables lie in the range of each column.
        """
        model, ends = self.model_, self.scaled_range

        def decode(z: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            if generator is None:
                return (model.reconstruct(z, c),)
            return (draw_within(model.decode(z, c), generator, ends),)

        (X,) = self._run(decode, Z, c, codes=True)
        return self._in_units(X, Z.dtype, "Z")

    @property
    def scaled_range(self) -> tuple[Tensor, Tensor] | None:
        """Least and greatest number of each column of a table as the model sees it, or None.

        Numbers within decode to the range seen; of a column of whole numbers from 18 these are
        17.5 and more, so that 18 is as probable as it was.
        """
        if self.columns_ is None:
            return None
        ends = np.array([column.limits for column in self.columns_.columns])
        low, high = torch.from_numpy((ends.T - self.scaler_.shift) / self.scaler_.scale)
        return low, high

    def _in_units(self, X: Array, dtype: Any, what: str) -> Array:
        """Return outputs of the model in the units of the data, checked for overflow."""
        with np.errstate(over="ignore"):
            X = self.scaler_.inverse_transform(X).astype(dtype, copy=False)
        check_results((X,), what)
        return X

    def _seeded(self, random_state: int | None) -> torch.Generator:
        return torch.Generator(self.device_).manual_seed(seed_of(random_state))

    def reconstruct(self, X: Any, *, condition: Any = None) -> Any:
        """Return the mean of p(x|z) at the code of each row, in the layout and units of X.

        The result is a data frame if X is one, else an array, even if X is sparse.
        """
        given = X = read_input(X)
        X, c = self.check_input(X, condition)

        def reconstruct(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            return (self.model_.reconstruct(self.model_.encode(x, c).mean, c),)

        (out,) = self._run(reconstruct, X, c)
        out = self._in_units(out, float_type(X), "X")
        if is_frame(given):
            return self.as_input_type(out, given)
        return in_layout(out, getattr(given, "shape", ())[1:])

    def label_conditions(self) -> tuple[Tensor, Tensor] | None:
        """Return the logarithms of the class frequencies (k,) and the condition of each class.

        The conditions are (k, 1, width), on the device of the model; the logarithms are on the CPU.
        None if the model is not conditional, or its condition is numeric.
        """
        encoder = self.condition_encoder_
        if encoder is None or encoder.classes is None:
            return None
        conditions = encoder.encode(encoder.classes, len(encoder.classes))[:, None]
        log_p = torch.from_numpy(encoder.log_frequencies)
        c = torch.from_numpy(conditions).to(self.device_)
        return log_p, c

    def rate_distortion(self, X: Any, *, condition: Any = None) -> RateDistortion:
        """Return the two terms of the ELBO for each row, in nats, each (n,).

        Estimated from ten draws of z that depend on the content of the row alone: repeated calls
        give the same numbers, and sampling errors of different rows are independent. Densities
        refer to X in its own units and, if values are missing, to the observed ones. A row without
        any observed value has the distortion 0, with a warning.

        Of a conditional model without a condition, the terms are those of the mixture of all
        classes, weighted by their frequencies in training: they add up to
        -log Σ p(y) exp(ELBO of x given y). This costs as many passes as there are classes. If the
        condition is numeric, they are those of the condition "unknown".

        References
        ----------
        Fixing a broken ELBO (Alemi, Poole, Fischer, Dillon, Saurous, Murphy, 2018).
        """
        unlabelled = condition is None
        X, c = self.check_input(X, condition, exact=True)
        _warn_empty(X)
        model = self.model_
        labels = self.label_conditions() if unlabelled else None
        samples = SCORE_SAMPLES if model.prior is not None else 1

        def terms(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            noise = row_noise(x.cpu().numpy(), samples, self.n_components_)
            q = model.encode(x, c)
            z = q.rsample((samples,), noise=torch.from_numpy(noise).to(x.device))  # type: ignore
            groups = z.split(max(1, DECODED_NUMBERS // x.numel()))
            distortion = -torch.cat([model.log_likelihood(model.decode(z, c), x) for z in groups])
            kl = model.kl(q, z, c)
            return (kl if kl.ndim == 1 else kl.mean(0)), distortion.mean(0)

        def over_labels(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            assert labels is not None
            log_p, conditions = labels
            pairs = [terms(x, condition.expand(len(x), -1)) for condition in conditions]
            return marginal_terms(log_p, *map(torch.stack, zip(*pairs, strict=True)))[:2]

        rate, distortion = self._run(over_labels if labels else terms, X, c, draws=samples)
        check_results((rate, distortion))
        return RateDistortion(rate.astype(np.float64), distortion.astype(np.float64))

    def score_samples(self, X: Any, *, condition: Any = None) -> Array:
        """Return ``-(rate + distortion)`` of each row, in nats; higher is likelier.

        This is the ELBO if the model has a prior, else the log-likelihood of the row at its code.
        Of a conditional model without a condition it is that of the mixture of all classes; see
        `rate_distortion`. The result is
        float64, (n,). Missing values contribute nothing: compare only rows with the same gaps, or
        use `isthmus.applications.AnomalyDetector`, which allows for them.
        """
        rate, distortion = self.rate_distortion(X, condition=condition)
        return -(rate + distortion)

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, condition: Any = None
    ) -> float:
        """Return the mean of `score_samples`, in nats per example; y is ignored.

        With sample weights (n,) it is the weighted mean.
        """
        scores = self.score_samples(X, condition=condition)
        if sample_weight is None:
            return float(np.mean(scores))
        return float(np.average(scores, weights=check_sample_weight(sample_weight, len(scores))))

    @own_torch_defaults()
    def sample(
        self,
        n_samples: int = 1,
        random_state: int | None = None,
        *,
        y: Any = None,
        noise: bool | None = None,
    ) -> Any:
        """Generate new examples: draw z from the prior and decode it.

        Parameters
        ----------
        n_samples : int
        random_state : int, optional
            Seed; by default every call gives different examples.
        y : label or array-like (n_samples,), optional
            The class to generate, for conditional models.
        noise : bool, optional
            Draw x from p(x|z) instead of returning its mean. By default only for tables, whose
            rows would otherwise all lie near the mean.

        Returns
        -------
        ndarray (n_samples, *feature_shape_), or data frame
            A frame with the same columns and types if the model was fitted on one.

        Raises
        ------
        ValueError
            If the model has no prior.
        """
        check_is_fitted(self)
        if self.model_.prior is None:
            raise ValueError(
                f"{type(self).__name__} has no prior to sample from: its codes follow no known "
                "distribution. Fit a VAE to generate, or decode codes with inverse_transform."
            )
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples!r}.")
        noise = self.columns_ is not None if noise is None else noise
        generator = self._seeded(random_state)
        c = self.encode_condition(y, n_samples)
        p = self.model_.prior_given(None if c is None else torch.from_numpy(c).to(self.device_))
        same_for_all = len(p.batch_shape + p.event_shape) == 1
        Z = draw(p, generator, (n_samples,) if same_for_all else ()).cpu().numpy()
        if self.columns_ is not None:  # float64 keeps the decimals of large numbers
            Z = Z.astype(np.float64)
        return self.as_input_type(self._decode(Z, c, generator if noise else None))

    def as_input_type(self, X: Array, like: Any = None) -> Any:
        """Convert X (n, *feature_shape_) to a data frame if the model was fitted on one.

        The index of the result is that of `like`, a data frame.
        """
        return X if self.columns_ is None else self.columns_.to_frame(X, like)

    @own_torch_defaults()
    def tensors(self, X: Any, condition: Any = None) -> tuple[Tensor, Tensor | None]:
        """Return rows and their condition as inputs for `model_`, on its device.

        The tensors are copies. Bytes stay bytes; `isthmus.training.to_unit` maps them to [0, 1].
        `run_batched` is the alternative for computations without gradients.
        """
        X, c = self.check_input(X, condition, exact=True)
        x = torch.from_numpy(np.array(self.scaler_.transform(X[:]), order="C"))
        return x.to(self.device_), None if c is None else torch.from_numpy(c).to(self.device_)

    def run_batched(
        self,
        function: Callable[[Tensor, Tensor | None], tuple[Tensor, ...]],
        X: Any,
        condition: Any = None,
        *,
        draws: int = 1,
    ) -> tuple[Array, ...]:
        """Apply a function to X in batches of a fixed size, without gradients.

        The batch size depends on the model alone and the last batch is padded, so the result for
        one row does not depend on the other rows.

        Parameters
        ----------
        function : callable
            ``function(x, c)`` receives a batch as `model_` expects it: x (batch, *model_shape_)
            and c (batch, width) or None, on `device_`. It returns a tuple of tensors (batch, ...).
        X : array-like (n, *feature_shape_), or data frame
        condition : label or array-like (n,), optional
        draws : int
            Number of codes that the function decodes per row; more draws mean smaller batches.

        Returns
        -------
        tuple of ndarray (n, ...)

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> import isthmus
        >>> X = load_digits().images / 16
        >>> model = isthmus.VAE(n_components=2, epochs=2).fit(X)
        >>> encode = model.model_.encode
        >>> (norm,) = model.run_batched(lambda x, c: (encode(x, c).mean.norm(dim=1),), X)
        >>> norm.shape
        (1797,)
        """
        X, c = self.check_input(X, condition)
        return self._run(function, X, c, draws=draws)

    def _run(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        X: Array,
        c: Array | None,
        codes: bool = False,
        draws: int = 1,
    ) -> tuple[Array, ...]:
        """Apply a function to batches of checked rows (or codes) and their conditions."""
        prepare = as_float32 if codes else self.scaler_.transform
        device, rows = self.device_, self.inference_batch_size(draws)

        def on_device(x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
            return function(to_unit(x.to(device)), None if c is None else c.to(device))

        # enough_threads counts training steps, which cost three passes.
        threads = enough_threads(self.model_, draws * rows // 3)
        with own_torch_defaults(), threads:
            return apply_in_batches(on_device, rows, X, c, prepare)

    @property
    def n_components_(self) -> int:
        """Dimension of the codes of the fitted model, even if `n_components` was set since."""
        return int(self.model_.posterior.shape[0])

    @property
    def _n_features_out(self) -> int:
        if not hasattr(self, "model_"):  # scikit-learn takes this attribute as a sign of fitting
            raise AttributeError("_n_features_out")
        return self.n_components_

    @property
    def device_(self) -> torch.device:
        """Device that holds the weights of `model_`."""
        return next(self.model_.parameters()).device

    def inference_batch_size(self, draws: int = 1) -> int:
        """Return the number of rows per batch when `draws` codes per row are decoded."""
        return inference_batch_size(draws * self.n_features_in_, is_convolutional(self.model_))

    def check_input(
        self, X: Any, condition: Any = None, *, exact: bool = False
    ) -> tuple[Array, Array | None]:
        """Check X and encode its condition; return both as arrays, X not yet scaled.

        Of a large sparse matrix only slices are dense; each is checked when it is read.
        If `exact`, every value to which the likelihood gives no density is rejected; otherwise only
        values far from those of the training data are, since inputs may be noisy.
        """
        check_is_fitted(self)
        X = read_input(X)
        if isinstance(X, SparseRows) and X.is_large:
            X = DenseParts(X, partial(self._checked, exact=exact))
        else:
            X = self._checked(X, exact=exact)
        return X, self.encode_condition(condition, len(X))

    def _checked(self, X: Any, numbers: Array | None = None, *, exact: bool) -> Array:
        X, likelihood = self._read(X, numbers), self.model_.likelihood
        with count_rows_from(0 if numbers is None else int(numbers[0])):
            if exact:
                likelihood.check(fill_missing(X) if self.model_.missing else X)
            else:
                likelihood.check_input(X)
        return X

    def encode_condition(self, condition: Any, n: int) -> Array | None:
        """Return the condition of n rows as `model_` expects it: float32 (n, width), or None.

        The condition is one label for all rows, one per row (n,) or numbers (n, columns); None
        means that the label is unknown. An unknown label, or any condition if the model is not
        conditional, raises a ValueError.
        """
        if self.condition_encoder_ is not None:
            return self.condition_encoder_.encode(condition, n)
        if condition is not None:
            raise ValueError(
                f"{type(self).__name__} was not trained with labels: leave out condition and y, or "
                "use ConditionalVAE."
            )
        return None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.conditional
        tags.input_tags.allow_nan = self.missing == "ignore"
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def marginal_terms(
    log_p: Tensor, rate: Tensor, distortion: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rate and distortion without the label, and p(label | x), from those given each label.

    With the posterior q(y|x) ∝ p(y) exp(-rate - distortion), the distortion is its mean over
    labels, and the rate the mean rate plus KL(q(y|x) || p(y)).

    Parameters
    ----------
    log_p : Tensor (k,)
        Logarithms of the probabilities of the labels.
    rate, distortion : Tensor (k, n)

    Returns
    -------
    tuple of Tensor (n,), (n,) and (k, n)
    """
    rate, distortion = rate.cpu().double(), distortion.cpu().double()  # some devices lack float64
    joint = log_p.cpu().double()[:, None] - rate - distortion
    log_x = joint.logsumexp(0)
    weights = (joint - log_x).exp()
    distortion = (weights * distortion).sum(0)
    return -log_x - distortion, distortion, weights


def _warn_empty(X: Any) -> None:
    """Warn of rows without any observed value, whose density tells nothing about them."""
    rows = np.flatnonzero(find_empty(X))
    if len(rows):
        n, first = len(rows), rows[0]
        which = f"row {first} has" if n == 1 else f"{n:,} rows, the first of them row {first}, have"
        warnings.warn(
            f"{which} no observed value: the score of such a row says nothing about it.",
            stacklevel=3,
        )
