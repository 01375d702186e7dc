"""The model: networks, posterior, likelihood and prior, independent of how they were trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from isthmus.distributions.base import log_prob_of_examples, per_example
from isthmus.distributions.families import Family
from isthmus.distributions.priors import Prior
from isthmus.nn.dense import output_bias

__all__ = ["LatentVariableModel"]


class LatentVariableModel(nn.Module):
    """Encoder, decoder, posterior, likelihood and prior.

    The posterior of a plain autoencoder is a point mass, and it has no prior; a variational
    autoencoder has, for example, a normal posterior and a prior. One class serves both.

    Parameters
    ----------
    encoder : nn.Module
        Maps x (n, *features) to (n, posterior.n_outputs * n_components).
    decoder : nn.Module
        Maps z (n, n_components) to likelihood.total_outputs numbers per row.
    posterior : Family
        q(z|x), given the outputs of the encoder.
    likelihood : Family
        p(x|z), given the outputs of the decoder.
    prior : Prior, optional
        p(z); without a prior the KL term is 0 and the model cannot sample.
    log_unit : Tensor, optional
        Logarithm of the scale (of all features, or of each) by which the data were divided.
        Log-likelihoods are then densities of the original data.
    missing : bool
        Whether NaN in x marks missing values: the encoder sees 0 in their place, and
        log-likelihoods sum over the observed features.

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

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Start new weights at the marginal distribution of rows x (n, *features).

        The likelihood's own parameters and the biases of the decoder's outputs are set so that p(x)
        fits all rows without their codes.
        """
        if x.device.type != "mps":
            x = x.double()  # so that the order of the rows does not matter
        self.likelihood.start_from(x)
        bias = output_bias(self.decoder, self.likelihood.total_outputs)
        if bias is None:
            return
        if len(bias) == self.likelihood.total_outputs:
            features = x.flatten(1)
        else:  # all pixels of a channel
            channels = len(bias) // self.likelihood.n_outputs
            features = x.reshape(len(x), channels, -1).transpose(1, 2).flatten(0, 1)
        values = self.likelihood.marginal_outputs(features).flatten().nan_to_num(0.0)
        bias.copy_(values.reshape(-1, *[1] * (bias.ndim - 1)).expand_as(bias))

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
        """Return the centre of p(x | z, condition), for most likelihoods the mean."""
        return self.likelihood.center(self.decode(z, condition))

    def log_likelihood(self, p: Distribution, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Return log p(x | z) in nats, summed over the (observed) features.

        `p` is the result of `decode` for z (*batch, n_components); the result is (*batch,).
        """
        if self.missing and observed is None:
            observed, x = ~x.isnan(), x.nan_to_num(0.0)
        n_axes = len(self.likelihood.shape)
        if observed is None and self.log_unit is None:
            return log_prob_of_examples(p, x, n_axes)
        values = p.log_prob(x)  # (*batch, *features)
        if self.log_unit is not None:
            values = values - self.log_unit
        return per_example(values, values.ndim - n_axes, observed)

    def log_prior(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return log p(z | condition) in nats, (*batch,)."""
        return per_example(self.prior_given(condition).log_prob(z), z.ndim - 1)

    def prior_given(self, condition: Tensor | None = None) -> Distribution:
        """Return p(z | condition)."""
        if self.prior is None:
            raise ValueError("this model is a plain autoencoder without a prior.")
        return self.prior(condition, self.encode)

    def kl(self, q: Distribution, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return KL(q(z|x) || p(z|condition)) in nats, (*batch,).

        In closed form if `torch.distributions` knows one, else log q(z) - log p(z) at the sample
        z; zero without a prior.
        """
        batch = z.ndim - 1
        if self.prior is None:
            return z.new_zeros(z.shape[:-1])
        p = self.prior_given(condition)
        try:
            return per_example(kl_divergence(q, p), 1)  # q has one batch axis even if z has more
        except NotImplementedError:
            return per_example(q.log_prob(z), batch) - per_example(p.log_prob(z), batch)


def _full(outputs: Tensor) -> Tensor:
    """Return network outputs computed under autocast as float32, which sums need."""
    return outputs.float() if torch.is_autocast_enabled(outputs.device.type) else outputs
