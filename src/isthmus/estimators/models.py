"""The seven models as scikit-learn estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.input_types import read_input
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

ROWS_AT_ONCE = 4096  # bounds the memory for codes in `top_activating`


class Autoencoder(specs.Autoencoder, LatentEstimator, name="autoencoder"):
    """Undercomplete autoencoder: reconstructs the input from a low-dimensional code.

    The loss is the negative log-likelihood of a row given its code: cross-entropy for values in
    [0, 1], squared error with a learned scale for other real values. With ``hidden=()`` and
    ``likelihood="gaussian"`` the code spans the subspace of principal component analysis.

    References
    ----------
    Reducing the dimensionality of data with neural networks (Hinton, Salakhutdinov, 2006).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> X = load_digits().data / 16
    >>> model = Autoencoder(n_components=8, epochs=2, random_state=0).fit(X)
    >>> model.transform(X).shape, model.reconstruct(X).shape
    ((1797, 8), (1797, 64))
    """


class DenoisingAutoencoder(specs.DenoisingAutoencoder, LatentEstimator, name="denoising"):
    """Denoising autoencoder: reconstructs the clean row from a corrupted copy.

    Rows are corrupted only during training, with new noise each time they are used. Masking sets a
    fixed fraction of the features to 0 after scaling, which is the mean of scaled data.

    References
    ----------
    Extracting and composing robust features with denoising autoencoders (Vincent, Larochelle,
    Bengio, Manzagol, 2008).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import DenoisingAutoencoder
    >>> X = load_digits().images / 16
    >>> model = DenoisingAutoencoder(corruption="salt-and-pepper", epochs=2).fit(X)
    >>> model.reconstruct(X).shape
    (1797, 8, 8)
    """


class SparseAutoencoder(specs.SparseAutoencoder, LatentEstimator, name="sparse"):
    """Sparse autoencoder: only a few units of the code are active for each row.

    The decoder receives the same activations that the penalty acts on. With ``hidden=()`` the model
    is a dictionary: an overcomplete code whose units `top_activating` shows one at a time.

    References
    ----------
    Sparse autoencoder, lecture notes (Ng, 2011). Scaling and evaluating sparse autoencoders
    (Gao, Dupré la Tour, Tillman, Goh, Troll, Radford, Sutskever, Leike, Wu, 2024).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import SparseAutoencoder
    >>> X = load_digits().data / 16
    >>> model = SparseAutoencoder(penalty="kl", n_components=100, hidden=(), epochs=2).fit(X)
    >>> bool((model.transform(X) >= 0).all())
    True
    >>> model = SparseAutoencoder(activation="topk", n_active=8, n_components=256, hidden=())
    >>> int((model.set_params(epochs=2).fit(X).transform(X) > 0).sum(1).max())
    8
    """

    def top_activating(
        self, X: Any, unit: int, n: int = 10
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the rows of X that activate a unit most, in decreasing order.

        Parameters
        ----------
        X : array-like (n_rows, *features)
        unit : int
            Index of the unit; a ValueError is raised if it does not exist.
        n : int
            Number of rows; all rows if X has fewer.

        Returns
        -------
        rows : ndarray of int, (n,)
            Row indices; rows with equal activation keep their order in X.
        activations : ndarray (n,)

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
            raise ValueError(f"unit must be between 0 and {self.n_components_ - 1}, got {unit}.")
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n!r}.")
        X = read_input(X)
        parts = (X[i : i + ROWS_AT_ONCE] for i in range(0, len(X), ROWS_AT_ONCE))
        activity = np.concatenate([self.posterior(part).mean[:, unit] for part in parts])
        best = np.argsort(-activity, kind="stable")[:n]
        return best, activity[best]


class ContractiveAutoencoder(specs.ContractiveAutoencoder, LatentEstimator, name="contractive"):
    """Contractive autoencoder: the code is insensitive to small changes of the input.

    The penalty is the exact squared Frobenius norm of the Jacobian of the whole encoder.

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
    """Variational autoencoder: a normal posterior for each row and a standard normal prior.

    Training maximises the evidence lower bound E_q[log p(x|z)] - KL(q(z|x) || p(z)), in nats.

    References
    ----------
    Auto-encoding variational Bayes (Kingma, Welling, 2014). Stochastic backpropagation and
    approximate inference in deep generative models (Rezende, Mohamed, Wierstra, 2014).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import VAE
    >>> X = load_digits().images / 16
    >>> model = VAE(n_components=2, epochs=2, random_state=0).fit(X)
    >>> model.sample(3, random_state=0).shape
    (3, 8, 8)
    >>> model.score_samples(X).shape
    (1797,)
    """


class BetaVAE(specs.BetaVAE, LatentEstimator, name="beta-vae"):
    """β-VAE: a variational autoencoder with a weight β on the KL term.

    `score_samples` returns the unweighted ELBO (β = 1).

    References
    ----------
    beta-VAE: learning basic visual concepts with a constrained variational framework (Higgins,
    Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed, Lerchner, 2017).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import BetaVAE
    >>> X = load_digits().images / 16
    >>> model = BetaVAE(beta=8.0, n_components=4, epochs=2).fit(X)
    >>> model.posterior(X).std.shape
    (1797, 4)
    """


class ConditionalVAE(specs.ConditionalVAE, LatentEstimator, name="conditional-vae"):
    """Conditional VAE: receives the label as an input, so that it can generate a given class.

    The labels are `y` in `fit` and `sample`, and the optional keyword `condition` elsewhere
    (scikit-learn can route it as metadata). Without a condition the model uses the one that it
    learned for unknown labels, except for scores, which are those of the mixture of all classes
    and cost as many passes as there are classes. A y of real numbers or of several columns is a
    numeric condition.

    References
    ----------
    Learning structured output representation using deep conditional generative models (Sohn,
    Lee, Yan, 2015).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import ConditionalVAE
    >>> digits = load_digits()
    >>> model = ConditionalVAE(n_components=4, epochs=2).fit(digits.images / 16, digits.target)
    >>> model.sample(3, y=[7, 7, 1]).shape
    (3, 8, 8)
    """
