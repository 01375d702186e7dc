"""The model card: what others need to know before they use a model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from isthmus._optional import import_optional
from isthmus.evaluation.checks import Findings
from isthmus.hub.pictures import View
from isthmus.hub.snippet import extras_of, snippet_of
from isthmus.models.params import setting_text
from isthmus.plots.cells import is_image
from isthmus.registry import backbone_of
from isthmus.report.tables import number
from isthmus.report.templating import template

__all__ = ["CARD", "card_text", "markdown"]

CARD = "README.md"  # the name that the Hub expects
COLUMNS = 100  # of a table, at most
LABELS = 20  # of a conditional model, at most
DATA = {
    "name": "name",
    "shape": "shape",
    "dtype": "type",
    "rate": "samples per second",
    "label": "label column",
    "sha256": "SHA-256",
}
BASELINES = ("PCA", "normal distribution", "mixture of normals")  # in names of others' metrics
#: Characters that could start Markdown, HTML, mathematics or a link.
SPECIAL = re.compile(r"[\\`*\[\]<>#|&~$@]|\b_|_\b|:(?=\S)|(?<=www)\.", re.IGNORECASE)


class Markdown(str):
    """Text that is already Markdown and must not be escaped."""

    __slots__ = ()


def markdown(value: Any) -> str:
    r"""Escape text for Markdown, on one line; return `Markdown` unchanged.

    Examples
    --------
    >>> print(markdown("<b>*a*\n|"))
    \<b\>\*a\* \|
    """
    if isinstance(value, Markdown):
        return value
    plain = "".join(c if c.isprintable() else " " for c in str(value))
    return SPECIAL.sub(r"\\\g<0>", " ".join(plain.split()))


def card_text(
    estimator: Any,
    config: dict[str, Any],
    views: list[View],
    repo_id: str | None = None,
    license: str | None = None,
) -> str:
    """Return the model card: Markdown with a YAML header that the Hub reads.

    `config` is the configuration of the fitted model, as `isthmus.persistence.schema.check_config`
    returns it; `views` are the figures and tables to include.

    Raises
    ------
    ImportError
        If huggingface_hub is not installed.
    """
    name = config["data"].get("name")
    columns = estimator.columns_.columns if estimator.columns_ is not None else ()
    title = f"{type(estimator).__name__} on {name}" if name else type(estimator).__name__
    return template("isthmus.hub", "card.md", escape=markdown).render(
        header=Markdown(_header(estimator, config, repo_id or title, license)),
        title=title,
        about=str(type(estimator).__doc__).partition("\n")[0],
        facts=list(_facts(estimator)),
        extras=Markdown(extras_of(estimator)),
        snippet=Markdown(snippet_of(estimator, repo_id)),
        condition=_condition(estimator),
        data=list(_data(config["data"])),
        columns=[(str(c.name), c.describe()) for c in columns[:COLUMNS]],
        more_columns=max(0, len(columns) - COLUMNS),
        findings=[*map(str, Findings.from_dicts(config["findings"] or ()).in_summary)],
        held_out=[(k, number(v)) for k, v in config["held_out"].items()],
        training=list(_training(estimator, config)),
        settings=[(k, setting_text(v)) for k, v in config["params"].items()],
        views=views,
        limits=list(_limits(estimator)),
        version=config["isthmus"],
    )


def _header(estimator: Any, config: dict[str, Any], name: str, license: str | None) -> str:
    """Return the YAML metadata by which the Hub indexes models."""
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
        if isinstance(value, float) and math.isfinite(value) and not _is_baseline(metric)
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
        data.pop("model_name")  # only used together with results
    return str(data.to_yaml())


def _is_baseline(metric: str) -> bool:
    return any(words in metric for words in BASELINES)


def _task(estimator: Any) -> str:
    """Return the Hub's task name for a model."""
    if not is_image(estimator.feature_shape_):
        return "feature-extraction"
    if estimator.prior is not None and not estimator.conditional:
        return "unconditional-image-generation"
    return "image-feature-extraction"


def _slug(text: str) -> str:
    """Return a name in the style of the Hub's identifiers.

    Examples
    --------
    >>> _slug("ELBO (nats per example)"), _slug("東京")
    ('elbo-nats-per-example', 'unknown')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"


def _facts(estimator: Any) -> Iterator[tuple[str, str]]:
    """Return the parts of the model."""
    n = sum(p.numel() for p in estimator.model_.parameters())
    hidden = f", dense layers of {setting_text(estimator.hidden)}" if estimator.hidden else ""
    custom = callable(estimator.backbone)
    yield "shape of an example", " × ".join(map(str, estimator.feature_shape_))
    yield "code", f"{estimator.n_components_} dimensions"
    backbone = backbone_of(estimator, estimator.model_shape_, estimator.likelihood_)
    networks = "custom" if custom else f"{backbone}{hidden}"
    yield "networks", f"{networks}; {n:,} parameters"
    yield "posterior q(z|x)", estimator.posterior_family
    yield "prior p(z)", estimator.prior or "none"
    yield "p(x|z)", estimator.model_.likelihood.label
    if estimator.likelihood_reason_:
        yield "reason for p(x|z)", estimator.likelihood_reason_
    yield "scaling (included)", estimator.scaling_


def _condition(estimator: Any) -> str:
    """Describe the condition of a conditional model."""
    context = estimator.condition_encoder_
    if context is None:
        return ""
    if context.classes is None:
        return f"{context.n_numbers} numbers"
    known = [*map(str, context.classes[:LABELS]), *["…"] * (len(context.classes) > LABELS)]
    return f"its label, one of {', '.join(known)}"


def _data(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, text in DATA.items():
        if name in data:
            value = data[name]
            yield text, " × ".join(map(str, value)) if isinstance(value, list) else str(value)


def _training(estimator: Any, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "epochs", f"{estimator.n_iter_} (stopped by: {estimator.stopped_})"
    yield "best epoch (of the weights)", str(estimator.best_epoch_)
    yield "seed", str(estimator.seed_)
    seconds = [record.get("seconds", 0.0) for record in estimator.history_]
    if any(seconds):
        yield "time", f"{sum(seconds):,.1f} seconds"
    versions = {"isthmus": config["isthmus"], **config["versions"]}
    yield "versions", ", ".join(f"{k} {v}" for k, v in versions.items())


def _limits(estimator: Any) -> Iterator[str]:
    """Return the limitations of the model, and what it reveals about its data."""
    yield "Results for examples unlike the training data are not reliable."
    yield (
        "Log-likelihoods compare models of the same data in the same units. They are not "
        "the probability that an example is normal."
    )
    if estimator.prior is not None:
        yield "Generated examples may resemble rows of the training data."
    kept = "scaling"
    if estimator.columns_ is not None:
        kept += ", names, ranges and categories of columns"
    if estimator.condition_encoder_ is not None:
        kept += ", labels"
    yield (
        f"The files contain no rows, but they do contain {kept} and weights, from which rows can "
        "sometimes be reconstructed."
    )
    if estimator.prior == "vamp":
        yield "The weights contain pseudo-inputs of the prior, which were initialised with rows."
    if callable(estimator.backbone):
        yield "The networks are custom code, which is required to load the model."
