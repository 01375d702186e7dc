"""The words beside the figures: what one sees, and what good looks like."""

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
    """Heading, caption, what good looks like, and what stands for the figure unseen."""

    heading: str
    caption: str
    good: str
    alt: str


def subtitle(model: Any) -> str:
    """Return one line about a model."""
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
            "Held-out rows, and with an arrow what comes back from their codes where it differs. "
            "How well: for numbers the error in standard deviations (sd) of the column; for "
            "others the share that is right, beside that of guessing the commonest value."
        )
        good = "Errors far below 1 sd; shares well above the guess."
    elif len(model.feature_shape_) == 1:
        caption = (
            "Rows as they are, as the model gives them back from their codes, and the difference, "
            "in standard deviations of each feature."
        )
        good = "The difference is pale throughout: what the code cannot hold is only noise."
    else:
        caption = "Examples above, and what the model gives back from their codes below."
        good = "Each pair shows the same thing; what is lost is fine detail, not what it is."
    alt = f"Originals and their reconstructions from {model.n_components_} latent numbers."
    return Words("Originals beside reconstructions", caption, good, alt)


def samples(model: Any) -> Words:
    """Describe samples over the epochs."""
    told = " Each is told the label of a training row." if model.conditional else ""
    if model.columns_ is not None:
        return Words(
            "Rows made up",
            "Codes drawn from the prior and decoded: of numbers the mean, of categories the most "
            f"likely.{told}",
            "Values that go together, as in a row of the data, and rows that differ. All alike "
            "means that the codes are not used.",
            "Table of generated rows.",
        )
    return Words(
        "Samples by epoch",
        "Eighteen codes drawn from the prior, the same each time, decoded as training went on; "
        f"the last grid is the model as it was kept.{told}",
        "They grow sharper and stay different from one another. All alike means that the codes "
        "are not used; sharp nonsense, that codes of data lie elsewhere than the prior.",
        "Grids of three by six generated examples, one grid for each of several epochs.",
    )


def losses(model: Any) -> Words:
    """Describe the loss curves."""
    terms = {"reconstruction": "the reconstruction error, −log p(x|z)"}
    terms["kl"] = "the KL divergence, how much the code tells of an example"
    terms["penalty"] = "the penalty"
    used = [text for key, text in terms.items() if any(r.get(key) for r in model.history_)]
    parts = f" Apart: {'; '.join(used)}." if len(used) > 1 else ""
    weight = f" The total counts the KL {model.beta:g} times." if model.beta not in (0, 1) else ""
    return Words(
        "Loss over the epochs",
        f"Means over training rows and held-out rows, in nats per example; lower is better.{parts}"
        f"{weight}",
        "Both lines fall together and level out. Held-out rows rising while training rows fall "
        "means that the model learns its rows by heart; still falling at the end, that more "
        "epochs would help.",
        f"Curves of the loss and its terms over {len(model.history_)} epochs, training and "
        "held-out rows.",
    )


def latent_map(model: Any, labelled: bool) -> Words:
    """Describe the map of codes."""
    how = {1: "How often each value of the one latent occurs", 2: "The code of each example"}
    what = how.get(model.n_components_, "Codes, seen along the two directions of most variance")
    colour = ", coloured by label, which the model did not see" if labelled else ""
    if labelled and model.conditional:
        good = (
            "The colours are mixed: the model is told the label, so the code need not repeat it "
            "and holds style alone."
        )
        colour = ", coloured by label, which the model is told"
    elif labelled:
        good = "Colours keep together: examples alike have codes that are near."
    else:
        good = "Groups or gradients, not one point: the codes tell examples apart."
    alt = f"Map of the codes of examples, {model.n_components_} latent numbers each{colour}."
    return Words("Map of the latent space", f"{what}{colour}.", good, alt)


def decoded(model: Any, condition: Any) -> Words:
    """Describe the decoded grid, or the traversals."""
    told = "" if condition is None else f" All are decoded as label {condition}."
    standard = has_standard_prior(model)
    kind = "picture" if is_image(model.feature_shape_) else "line"
    if model.n_components_ == 2 and model.columns_ is None:
        where = "even quantiles of the prior" if standard else "even steps over the codes"
        caption = f"What the decoder makes of places of the latent plane, {where}.{told}"
        good = "Neighbours change smoothly into one another, and no place makes nonsense."
        alt = f"Grid of decoded {kind}s over the plane of the two latent numbers."
        return Words("Decoded latent plane", caption, good, alt)
    start = "the centre of the prior" if standard else "the median code"
    if model.columns_ is not None:
        reach = "−3 over 0 to 3" if standard else "its least over the middle to its greatest"
        caption = (
            f"What each column becomes while one latent number goes from {reach} and the others "
            f"stay at {start}; the most active come first, and the number in brackets is the "
            f"variance over the data.{told}"
        )
        good = "Each latent moves columns that belong together. One that moves none is not used."
        return Words("One latent at a time", caption, good, "Table of decoded rows.")
    caption = (
        f"One latent number changes along each row, the others stay at {start}; the most active "
        f"come first, and the number in brackets is the variance over the data.{told}"
    )
    good = (
        "Each row changes one thing. A row without change is a latent that the model does not "
        "use: beyond what the data need, that is thrift."
    )
    alt = f"Decoded {kind}s, one row for each of the most active latent numbers."
    return Words("One latent at a time", caption, good, alt)
