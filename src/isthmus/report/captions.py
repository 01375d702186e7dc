"""Captions of the figures: what they show, and what a good model looks like."""

from __future__ import annotations

from typing import Any, NamedTuple

from isthmus.plots.cells import is_image
from isthmus.plots.latent import has_standard_prior

__all__ = [
    "Words",
    "decoded",
    "latent_map",
    "losses",
    "reconstructions",
    "samples",
    "subtitle",
]


class Words(NamedTuple):
    """Heading, caption, what a good model looks like, and alternative text."""

    heading: str
    caption: str
    good: str
    alt: str


def subtitle(model: Any) -> str:
    """Return a one-line description of a model."""
    shape = " × ".join(map(str, model.feature_shape_))
    if len(model.feature_shape_) == 1:
        shape += " columns" if model.columns_ else " numbers"
    numbers = "number" if model.n_components_ == 1 else "numbers"
    text = f"{shape} in, {model.n_components_} latent {numbers}, {model.model_.likelihood.label}"
    epochs = model.n_iter_
    return f"{text}; best of {epochs} epochs: {model.best_epoch_}" if epochs > 1 else text


def reconstructions(model: Any) -> Words:
    """Describe originals and reconstructions."""
    if model.columns_ is not None and model.columns_.mixed:
        caption = (
            "Held-out rows, with an arrow to the reconstructed value if it differs. The quality "
            "of a numeric column is its error in standard deviations (sd); that of a category, "
            "the share of correct values next to that of always guessing the most common one."
        )
        good = "Errors far below 1 sd, and shares well above the guess."
    elif len(model.feature_shape_) == 1:
        caption = "Rows, reconstructions and differences, in standard deviations of each feature."
        good = "The difference is pale everywhere: only noise is lost."
    else:
        caption = "Examples above, their reconstructions below."
        good = "Each pair shows the same object; only fine detail is lost."
    alt = f"Originals and their reconstructions from {model.n_components_} latent dimensions."
    return Words("Reconstructions", caption, good, alt)


def samples(model: Any) -> Words:
    """Describe samples over the epochs."""
    condition = " Each uses the label of a training row." if model.conditional else ""
    if model.columns_ is not None:
        return Words(
            "Generated rows",
            "Codes drawn from the prior and decoded, to the mean of numeric columns and the most "
            f"likely category.{condition}",
            "Rows look plausible and differ from one another. If all are alike, the decoder "
            "ignores the code.",
            "Table of generated rows.",
        )
    return Words(
        "Samples by epoch",
        "Eighteen fixed codes drawn from the prior, decoded during training; the last grid is "
        f"from the saved weights.{condition}",
        "Samples become sharper and stay diverse. If all are alike, the decoder ignores the code; "
        "if they are sharp but meaningless, the codes of the data do not match the prior.",
        "Grids of three by six generated examples, one grid for each of several epochs.",
    )


def losses(model: Any) -> Words:
    """Describe the loss curves."""
    terms = {"reconstruction": "the reconstruction error, −log p(x|z)"}
    terms["kl"] = "the KL divergence from posterior to prior"
    terms["penalty"] = "the penalty"
    used = [text for key, text in terms.items() if any(r.get(key) for r in model.history_)]
    parts = f" Below: {'; '.join(used)}." if len(used) > 1 else ""
    weight = f" In the total, the KL has weight {model.beta:g}." if model.beta not in (0, 1) else ""
    return Words(
        "Loss curves",
        f"Mean over training and held-out rows, in nats per example; lower is better.{parts}"
        f"{weight}",
        "Both curves fall together and flatten. If the held-out curve rises while the training "
        "curve falls, the model overfits; if both still fall at the end, train longer.",
        f"Curves of the loss and its terms over {len(model.history_)} epochs, training and "
        "held-out rows.",
    )


def latent_map(model: Any, labelled: bool) -> Words:
    """Describe the map of codes."""
    views = {1: "Histogram of the single latent dimension", 2: "The code of each example"}
    what = views.get(model.n_components_, "The first two principal components of the codes")
    colour = ", coloured by label (not seen by the model)" if labelled else ""
    if labelled and model.conditional:
        good = (
            "Colours are mixed: the label is given to the model, so the code only describes what "
            "the label does not."
        )
        colour = ", coloured by label (an input of the model)"
    elif labelled:
        good = "Colours form clusters: similar examples have similar codes."
    else:
        good = "Clusters or gradients rather than a single blob: codes distinguish examples."
    alt = f"Map of the codes of examples, {model.n_components_} latent dimensions{colour}."
    return Words("Latent map", f"{what}{colour}.", good, alt)


def decoded(model: Any, condition: Any) -> Words:
    """Describe the decoded grid, or the traversals."""
    label = "" if condition is None else f" All are decoded with label {condition}."
    standard = has_standard_prior(model)
    kind = "image" if is_image(model.feature_shape_) else "line"
    if model.n_components_ == 2 and model.columns_ is None:
        where = "at even quantiles of the prior" if standard else "at even steps over the codes"
        caption = f"Points of the latent plane, decoded {where}.{label}"
        good = "Neighbours change smoothly, and every point decodes to something plausible."
        alt = f"Grid of decoded {kind}s over the two latent dimensions."
        return Words("Decoded latent plane", caption, good, alt)
    start = "the centre of the prior" if standard else "the median code"
    if model.columns_ is not None:
        reach = "−3 over 0 to 3" if standard else "its lowest to its highest value"
        caption = (
            f"How each column changes when one latent dimension moves from {reach} and the others "
            f"stay at {start}. The most active dimensions come first, with the variance of their "
            f"mean over the data in brackets.{label}"
        )
        good = "Each dimension changes related columns. One that changes nothing is unused."
        return Words("Latent traversals", caption, good, "Table of decoded rows.")
    caption = (
        f"One latent dimension changes along each row, the others stay at {start}. The most active "
        f"come first, with the variance of their mean over the data in brackets.{label}"
    )
    good = (
        "Each row changes one property. A row without change is an unused dimension, which is "
        "expected if the code has more dimensions than the data need."
    )
    alt = f"Decoded {kind}s, one row for each of the most active latent dimensions."
    return Words("Latent traversals", caption, good, alt)
