"""The model card: what a stranger wants to know of a model before using it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from isthmus._optional import import_optional
from isthmus.hub.pictures import View
from isthmus.hub.snippet import extras_of, snippet_of
from isthmus.plots.cells import is_image
from isthmus.report.page import setting_text
from isthmus.report.tables import number

__all__ = ["CARD", "card_text", "markdown"]

CARD = "README.md"  # as the hub calls it
COLUMNS = 100  # of a table, that are told
LABELS = 20  # that a conditional model is told
DATA = {"name": "name", "shape": "shape", "dtype": "type", "rate": "samples a second"}
DATA |= {"label": "column of labels", "sha256": "SHA-256"}
YARDSTICK = "PCA"  # in the names of numbers that are another model's
#: Signs that Markdown, HTML or mathematics could be made of, and the beginning of an address.
SIGNS = re.compile(r"[\\`*\[\]<>#|&~$@]|\b_|_\b|:(?=\S)|(?<=www)\.", re.IGNORECASE)


class Markdown(str):
    """Text that is to stand in a card as it is."""

    __slots__ = ()


def markdown(value: Any) -> str:
    r"""Return what shows as the very text in Markdown, on one line; `Markdown` as it is.

    Examples
    --------
    >>> print(markdown("<b>*a*\n|"))
    \<b\>\*a\* \|
    """
    if isinstance(value, Markdown):
        return value
    plain = "".join(c if c.isprintable() else " " for c in str(value))
    return SIGNS.sub(r"\\\g<0>", " ".join(plain.split()))


def card_text(
    estimator: Any,
    config: dict[str, Any],
    views: list[View],
    repo_id: str | None = None,
    license: str | None = None,
) -> str:
    """Return the card of a model: Markdown, with a head of YAML that the hub reads.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    config : dict
        Its configuration, as `isthmus.persistence.schema.check_config` returns it.
    views : list of View
        What is shown.
    repo_id : str, optional
        OWNER/NAME.
    license : str, optional
        As the hub has it.

    Raises
    ------
    ImportError
        Without huggingface_hub.
    """
    name = config["data"].get("name")
    title = f"{type(estimator).__name__} on {name}" if name else type(estimator).__name__
    source = resources.files("isthmus.hub").joinpath("card.md").read_text("utf-8")
    environment = Environment(finalize=markdown, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(source).render(
        head=Markdown(_head(estimator, config, repo_id or title, license)),
        title=title,
        about=str(type(estimator).__doc__).partition("\n")[0],
        facts=list(_facts(estimator)),
        extras=Markdown(extras_of(estimator)),
        snippet=Markdown(snippet_of(estimator, repo_id)),
        told=_told(estimator),
        data=list(_data(config["data"])),
        columns=_columns(estimator)[:COLUMNS],
        more_columns=max(0, len(_columns(estimator)) - COLUMNS),
        held_out=[(k, number(v)) for k, v in config["held_out"].items()],
        training=list(_training(estimator, config)),
        settings=[(k, setting_text(v)) for k, v in config["params"].items()],
        views=views,
        limits=list(_limits(estimator)),
        version=config["isthmus"],
    )


def _head(estimator: Any, config: dict[str, Any], name: str, license: str | None) -> str:
    """Return what the hub sorts and finds models by."""
    hub = import_optional("huggingface_hub", what="a model card", extra="hub")
    task = _task(estimator)
    results = [
        hub.EvalResult(
            task_type=task,
            dataset_type=_slug(config["data"].get("name", "unknown")),
            dataset_name=config["data"].get("name", "unknown"),
            dataset_split="held out",
            metric_type=_slug(metric),
            metric_name=metric,
            metric_value=value,
        )
        for metric, value in config["held_out"].items()
        if isinstance(value, float) and math.isfinite(value) and YARDSTICK not in metric
    ]
    data = hub.ModelCardData(
        library_name="isthmus",
        license=license,
        pipeline_tag=task,
        tags=["autoencoder", "representation-learning", config["estimator"]],
        model_name=name,
        eval_results=results or None,
    )
    if not results:
        data.pop("model_name")  # it stands in the results alone
    return str(data.to_yaml())


def _task(estimator: Any) -> str:
    """Return which of the hub's tasks a model is for."""
    if not is_image(estimator.feature_shape_):
        return "feature-extraction"
    if estimator.prior is not None and not estimator.conditional:
        return "unconditional-image-generation"
    return "image-feature-extraction"


def _slug(text: str) -> str:
    """Return a name as the hub writes names.

    Examples
    --------
    >>> _slug("ELBO (nats per example)"), _slug("東京")
    ('elbo-nats-an-example', 'unknown')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"


def _facts(estimator: Any) -> Iterator[tuple[str, str]]:
    """Return what the model is made of."""
    n = sum(p.numel() for p in estimator.model_.parameters())
    hidden = f", dense layers of {setting_text(estimator.hidden)}" if estimator.hidden else ""
    own = callable(estimator.backbone)
    yield "one example", " × ".join(map(str, estimator.feature_shape_))
    yield "code", f"{estimator.n_components_} numbers"
    networks = "of its maker's own" if own else f"{estimator.backbone}{hidden}"
    yield "networks", f"{networks}; {n:,} weights"
    yield "posterior q(z|x)", estimator.posterior_family
    yield "prior p(z)", estimator.prior or "none"
    yield "p(x|z)", estimator.model_.likelihood.label
    yield "scaling, inside the model", estimator.scaling_


def _told(estimator: Any) -> str:
    """Return what a conditional model is told."""
    context = estimator.condition_encoder_
    if context is None:
        return ""
    if context.classes is None:
        return f"{context.n_numbers} numbers"
    known = [str(label) for label in context.classes[:LABELS]]
    more = ", …" if len(context.classes) > LABELS else ""
    return f"its label, one of {', '.join(known)}{more}"


def _data(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, text in DATA.items():
        if name in data:
            value = data[name]
            yield text, " × ".join(map(str, value)) if isinstance(value, list) else str(value)


def _columns(estimator: Any) -> list[tuple[str, str]]:
    columns = estimator.columns_
    return [] if columns is None else [(str(c.name), c.describe()) for c in columns.columns]


def _training(estimator: Any, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "epochs", f"{estimator.n_iter_}, ended by: {estimator.stopped_}"
    yield "epoch of the weights", str(estimator.best_epoch_)
    yield "seed", str(estimator.seed_)
    seconds = [record.get("seconds", 0.0) for record in estimator.history_]
    if any(seconds):
        yield "time", f"{sum(seconds):,.1f} seconds"
    yield (
        "versions",
        ", ".join(
            f"{k} {v}" for k, v in {"isthmus": config["isthmus"], **config["versions"]}.items()
        ),
    )


def _limits(estimator: Any) -> Iterator[str]:
    """Say what the model is not, and what it tells of its data."""
    yield "It knows examples like those it was trained on; what it makes of others means little."
    yield (
        "Log-likelihoods compare models of the same data in the same units. They are no "
        "probability that an example is a normal one."
    )
    if estimator.prior is not None:
        yield "What it generates is made up, and may still resemble rows that it was trained on."
    kept = ["scaling", *_kept(estimator)]
    yield (
        f"The model's files hold no rows, but what it knows of its data: {', '.join(kept)}, and "
        "weights, from which rows can sometimes be guessed."
    )
    if estimator.prior == "vamp":
        yield "The pseudo-inputs of its prior, in the weights, began as rows of the data."
    if callable(estimator.backbone):
        yield "Its networks are code of its maker's own, which is needed to load it."


def _kept(estimator: Any) -> Iterator[str]:
    if estimator.columns_ is not None:
        yield "names, ranges and categories of columns"
    if estimator.condition_encoder_ is not None:
        yield "labels"
