"""The model: what an autoencoder *is*, apart from how it was trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from isthmus.distributions.base import per_example
from isthmus.distributions.families import Family
from isthmus.distributions.priors import Prior

__all__ = ["LatentVariableModel"]


class LatentVariableModel(nn.Module):
    """Encoder, decoder, posterior, likelihood and prior.

    A plain autoencoder has a point mass for a posterior and no prior; a variational one has a
    normal and a prior. Nothing else tells them apart, and no subclass is needed.

    Parameters
    ----------
    encoder : nn.Module
        x (n, *features) to (n, posterior.n_outputs * n_components).
    decoder : nn.Module
        z (n, n_components) to likelihood.n_outputs * features numbers a row.
    posterior : Family
        q(z|x) from the encoder's numbers.
    likelihood : Family
        p(x|z) from the decoder's numbers.
    prior : Prior, optional
        p(z); without one there is no KL term and nothing to sample from.
    log_unit : Tensor, optional
        Logarithm of the scale by which the data were divided before they came here, for all
        features or each: log-likelihoods then are densities of the data as they were.
    missing : bool
        Whether NaN in x are missing values: the encoder sees 0 there, and log-likelihoods are
        of the observed features.

    Examples
    --------
    >>> import torch
    >>> from isthmus.nn.dense import Shapes, mlp
    >>> from isthmus.distributions.families import BernoulliFamily, NormalFamily
    >>> from isthmus.distributions.priors import StandardNormal
    >>> posterior, likelihood = NormalFamily((2,)), BernoulliFamily((4, 4))
    >>> networks = mlp(Shapes((4, 4), 2, posterior.n_outputs, likelihood.n_outputs))
    >>> model = LatentVariableModel(*networks, posterior, likelihood, StandardNormal(2))
    >>> x = torch.zeros(5, 4, 4)
    >>> q = model.encode(x)
    >>> z = q.rsample()
    >>> model.log_likelihood(model.decode(z), x).shape, model.kl(q, z).shape
    (torch.Size([5]), torch.Size([5]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        posterior: Family,
        likelihood: Family,
        prior: Prior | None = None,
        log_unit: Tensor | None = None,
        missing: bool = False,
    ) -> None:
        super().__init__()
        self.missing = missing
        self.encoder, self.decoder = encoder, decoder
        self.posterior, self.likelihood, self.prior = posterior, likelihood, prior
        self.log_unit: Tensor | None
        self.register_buffer("log_unit", log_unit)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Distribution:
        """Return q(z | x, condition) for x (n, *features)."""
        x = self.likelihood.embed(x)
        if self.missing:
            x = x.nan_to_num(0.0)
        outputs = self.encoder(x) if condition is None else self.encoder(x, condition)
        return self.posterior(_full(outputs))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Distribution:
        """Return p(x | z, condition) for z (*batch, n_components), over (*batch, *features)."""
        batch = z.shape[:-1]
        flat = z.reshape(-1, z.shape[-1])
        if condition is None:
            return self.likelihood(_full(self.decoder(flat)), batch)
        condition = condition.expand(*batch, condition.shape[-1]).reshape(-1, condition.shape[-1])
        return self.likelihood(_full(self.decoder(flat, condition)), batch)

    def reconstruct(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the value that stands for p(x | z, condition), its mean as a rule."""
        return self.likelihood.center(self.decode(z, condition))

    def log_likelihood(self, p: Distribution, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Return log p(x | z) in nats, summed over the (observed) features.

        p is what `decode` returned for z (*batch, n_components); the result is (*batch,).
        """
        if self.missing and observed is None:
            observed, x = ~x.isnan(), x.nan_to_num(0.0)
        values = p.log_prob(x)  # (*batch, *features)
        if self.log_unit is not None:
            values = values - self.log_unit
        return per_example(values, values.ndim - len(self.likelihood.shape), observed)

    def log_prior(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return log p(z | condition) in nats, (*batch,)."""
        return per_example(self.prior_given(condition).log_prob(z), z.ndim - 1)

    def prior_given(self, condition: Tensor | None = None) -> Distribution:
        """Return p(z | condition)."""
        if self.prior is None:
            raise ValueError("this model has no prior: it is a plain autoencoder.")
        return self.prior(condition, self.encode)

    def kl(self, q: Distribution, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return KL(q || p(z|condition)) in nats, (*batch,).

        In closed form where `torch.distributions` knows one, else log q(z) - log p(z) at the
        given sample; zero without a prior.
        """
        batch = z.ndim - 1
        if self.prior is None:
            return z.new_zeros(z.shape[:-1])
        p = self.prior_given(condition)
        try:
            return per_example(kl_divergence(q, p), 1)  # q is of one batch axis, whatever z has
        except NotImplementedError:
            return per_example(q.log_prob(z), batch) - per_example(p.log_prob(z), batch)


def _full(outputs: Tensor) -> Tensor:
    """Return what networks made in half precision for a while as float32: sums need it."""
    return outputs.float() if torch.is_autocast_enabled(outputs.device.type) else outputs
