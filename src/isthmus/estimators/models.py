"""The seven models: rows of choices with a scikit-learn face."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.estimators.base import LatentEstimator
from isthmus.models import specs

__all__ = [
    "VAE",
    "Autoencoder",
    "BetaVAE",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "SparseAutoencoder",
]

CHUNK = 4096  # rows encoded in one go


class Autoencoder(specs.Autoencoder, LatentEstimator, name="autoencoder"):
    """Undercomplete autoencoder: a narrow code from which the input is rebuilt.

    The loss is minus the log-likelihood of a row at its code: cross-entropy for values in
    [0, 1], squared error with a learned scale for others. With ``hidden=()`` and real values
    the code spans the subspace of principal component analysis.

    {parameters}

    References
    ----------
    Reducing the dimensionality of data with neural networks (Hinton, Salakhutdinov, 2006).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> X = load_digits().data / 16
    >>> model = Autoencoder(n_components=8, epochs=5, random_state=0).fit(X)
    >>> model.transform(X).shape, model.reconstruct(X).shape
    ((1797, 8), (1797, 64))
    """


class DenoisingAutoencoder(specs.DenoisingAutoencoder, LatentEstimator, name="denoising"):
    """Denoising autoencoder: trained to rebuild the clean row from a corrupted one.

    Rows are corrupted only while training, each time anew. Masking sets a fixed share of the
    features to 0, after scaling: for scaled data that is the mean.

    {parameters}

    References
    ----------
    Extracting and composing robust features with denoising autoencoders (Vincent, Larochelle,
    Bengio, Manzagol, 2008).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import DenoisingAutoencoder
    >>> X = load_digits().images / 16
    >>> model = DenoisingAutoencoder(corruption="salt-and-pepper", epochs=5).fit(X)
    >>> model.reconstruct(X).shape
    (1797, 8, 8)
    """


class SparseAutoencoder(specs.SparseAutoencoder, LatentEstimator, name="sparse"):
    """Sparse autoencoder: few units of the code are active for any one row.

    The decoder reads the very activations that are penalised. With ``hidden=()`` it is a
    dictionary: overcomplete codes whose units can be looked at one by one, by
    `top_activating`.

    {parameters}

    References
    ----------
    Sparse autoencoder, lecture notes (Ng, 2011). Scaling and evaluating sparse autoencoders
    (Gao, Dupré la Tour, Tillman, Goh, Troll, Radford, Sutskever, Leike, Wu, 2024).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import SparseAutoencoder
    >>> X = load_digits().data / 16
    >>> model = SparseAutoencoder(penalty="kl", n_components=100, hidden=(), epochs=5).fit(X)
    >>> bool((model.transform(X) >= 0).all())
    True
    >>> model = SparseAutoencoder(activation="topk", n_active=8, n_components=256, hidden=())
    >>> int((model.set_params(epochs=2).fit(X).transform(X) > 0).sum(1).max())
    8
    """

    def top_activating(
        self, X: Any, unit: int, n: int = 10
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the rows of X on which a unit is most active, most active first.

        Parameters
        ----------
        X : array-like (n_rows, *features)
        unit : int
            Number of the unit, from 0.
        n : int
            How many rows; all where X has fewer.

        Returns
        -------
        rows : ndarray of int, (n,)
            Numbers of the rows in X; of equal ones the first come first.
        activations : ndarray (n,)

        Raises
        ------
        ValueError
            No such unit, or n below 1.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from isthmus import SparseAutoencoder
        >>> X = load_digits().data / 16
        >>> model = SparseAutoencoder(n_components=100, epochs=2, random_state=0).fit(X)
        >>> rows, activations = model.top_activating(X, unit=3, n=5)
        >>> bool((activations == model.transform(X[rows])[:, 3]).all())
        True
        """
        if not 0 <= unit < self.n_components_:
            raise ValueError(
                f"there is no unit {unit}: this code has units 0 to {self.n_components_ - 1}."
            )
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n!r}.")
        # By chunks, so that the codes of all rows are never held at once.
        chunks = (X[i : i + CHUNK] for i in range(0, len(X), CHUNK))
        activity = np.concatenate([self.posterior(chunk).mean[:, unit] for chunk in chunks])
        best = np.argsort(-activity, kind="stable")[:n]
        return best, activity[best]


class ContractiveAutoencoder(specs.ContractiveAutoencoder, LatentEstimator, name="contractive"):
    """Contractive autoencoder: the code resists small changes of the input.

    Adds the squared Frobenius norm of the Jacobian of the whole encoder, exact.

    {parameters}

    References
    ----------
    Contractive auto-encoders: explicit invariance during feature extraction (Rifai, Vincent,
    Muller, Glorot, Bengio, 2011).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import ContractiveAutoencoder
    >>> X = load_digits().data / 16
    >>> model = ContractiveAutoencoder(n_components=8, epochs=2).fit(X)
    >>> model.transform(X).shape
    (1797, 8)
    """


class VAE(specs.VAE, LatentEstimator, name="vae"):
    """Variational autoencoder: a normal posterior for each row, a standard normal prior.

    Maximises the evidence lower bound, E_q[log p(x|z)] - KL(q(z|x) || p(z)), in nats.

    {parameters}

    References
    ----------
    Auto-encoding variational Bayes (Kingma, Welling, 2014). Stochastic backpropagation and
    approximate inference in deep generative models (Rezende, Mohamed, Wierstra, 2014).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> model = VAE(n_components=2, epochs=5, random_state=0).fit(X)
    >>> model.sample(3, random_state=0).shape
    (3, 8, 8)
    >>> model.score_samples(X).shape
    (1797,)
    """


class BetaVAE(specs.BetaVAE, LatentEstimator, name="beta-vae"):
    """β-VAE: a variational autoencoder whose KL term is weighted.

    `score_samples` is the ELBO itself, β = 1.

    {parameters}

    References
    ----------
    beta-VAE: learning basic visual concepts with a constrained variational framework (Higgins,
    Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed, Lerchner, 2017).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import BetaVAE
    >>> X = load_digits().images / 16
    >>> model = BetaVAE(beta=8.0, n_components=4, epochs=5).fit(X)
    >>> model.posterior(X).std.shape
    (1797, 4)
    """


class ConditionalVAE(specs.ConditionalVAE, LatentEstimator, name="conditional-vae"):
    """Conditional VAE: told the label, so that it generates a class on demand.

    The labels are `y` in `fit` and `sample`, and the optional keyword `condition` elsewhere
    (routed as metadata); where none is given, the context learned for "unknown" serves. A y
    of real numbers, or of several columns, is a context of numbers.

    {parameters}

    References
    ----------
    Learning structured output representation using deep conditional generative models (Sohn,
    Lee, Yan, 2015).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import ConditionalVAE
    >>> digits = load_digits()
    >>> model = ConditionalVAE(n_components=4, epochs=5).fit(digits.images / 16, digits.target)
    >>> model.sample(3, y=[7, 7, 1]).shape
    (3, 8, 8)
    """
