"""Write a folder with everything that is published of a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from isthmus._messages import did_you_mean
from isthmus.data.limits import is_inside, is_regular_file
from isthmus.estimators import LatentEstimator, model_io
from isthmus.hub.card import CARD, card_text
from isthmus.hub.pictures import PICTURES, show
from isthmus.persistence.atomic import write_all_atomic
from isthmus.persistence.integrity import read_bytes, read_described, with_checksums
from isthmus.persistence.run_folder import CONFIG, HISTORY, WEIGHTS, read_config, to_json
from isthmus.persistence.schema import check_config
from isthmus.report import REPORT
from isthmus.report.page import LIVE

__all__ = ["OPTIONAL", "Model", "save_pretrained"]

Model = LatentEstimator | str | os.PathLike[str]
Record = dict[str, Any]

ENTRIES = (
    *("format", "isthmus", "estimator", "params", "fitted", "data", "held_out", "findings"),
    "versions",
)
DATA = ("name", "shape", "dtype", "sha256", "rate", "size", "label")  # but not its path
OPTIONAL = (*PICTURES, REPORT)  # files that a publication may or may not have


def save_pretrained(
    model: Model,
    folder: str | os.PathLike[str],
    *,
    repo_id: str | None = None,
    examples: Any = None,
    labels: Any = None,
    report: bool = False,
    card: str | os.PathLike[str] | None = None,
    license: str | None = None,
    data: Mapping[str, Any] | None = None,
    held_out: Mapping[str, float] | None = None,
) -> Path:
    """Write a model for publication: its files, a model card and figures.

    The folder contains no rows of the data unless `examples` or `report` is given, and no local
    paths. It does contain what the model stores about its data: names, ranges and categories of
    columns, labels and the scaling.

    Parameters
    ----------
    model : LatentEstimator or path-like
        A fitted model, or the folder of a run, whose data and metrics then appear in the card.
    folder : path-like
        Created if it does not exist; files of the same names are replaced.
    repo_id : str, optional
        OWNER/NAME of the future repository, for the card.
    examples : array-like (n, *shape) or data frame, optional
        Rows to publish, with their reconstructions and a map of their codes.
    labels : array-like (n,), optional
        Their labels, the condition of conditional models.
    report : bool
        Whether to include the run's report.html, which shows held-out rows.
    card : path-like, optional
        A Markdown file to use instead of the generated card.
    license : str, optional
        License identifier of the Hub, such as "mit".
    data : mapping, optional
        Information about the data, for the card: `name`, `shape`, `sha256`. It is added to what
        the run recorded.
    held_out : mapping, optional
        Held-out metrics, with the unit in their names: ``{"ELBO (nats per example)": -90.1}``.

    Returns
    -------
    Path
        The folder. Figures and reports from an earlier call that are not written again are removed.

    Raises
    ------
    ValueError, FileNotFoundError
        If there is no valid model, or arguments contradict each other. Nothing is written then.
    ImportError
        If huggingface_hub is not installed: ``pip install 'isthmus[hub]'``.

    See Also
    --------
    push_to_hub, from_pretrained

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> model = isthmus.VAE(n_components=2, epochs=2).fit(load_digits().images / 16)
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     _ = model.save_pretrained(folder)
    """
    target = Path(folder)
    with _as_run(model) as (run, estimator):
        if target.resolve() == run.resolve():
            raise ValueError(f"{folder} is the folder of the run itself; choose another folder.")
        _check_links(run)
        recorded, files = read_config(run), {}
        for name in (WEIGHTS, HISTORY):
            with suppress(FileNotFoundError):  # a model loads without its history
                files[name] = read_described(run / name, recorded)
        config = _config(recorded, data, held_out)
        files[CONFIG] = to_json(with_checksums(config, files)).encode()
        if report:
            files[REPORT] = _report(run)
    views = show(estimator, examples, labels)
    files |= {view.name: view.content for view in views if view.name}
    if card is None:
        files[CARD] = card_text(estimator, config, views, repo_id, license).encode()
    else:
        files[CARD] = _custom_card(Path(card))
    target.mkdir(parents=True, exist_ok=True)
    was_published = (target / CARD).is_file() and (target / CONFIG).is_file()  # runs have no card
    write_all_atomic({target / name: data for name, data in files.items()}, target / CONFIG)
    if was_published:  # remaining files may show rows that are no longer published
        for name in {*OPTIONAL} - {*files}:
            (target / name).unlink(missing_ok=True)
    return target


@contextmanager
def _as_run(model: Model) -> Iterator[tuple[Path, Any]]:
    """Yield the folder of a model and the model; save a model in memory to a temporary folder."""
    if not isinstance(model, LatentEstimator):
        yield Path(model), model_io.load(model, device="cpu")
        return
    with TemporaryDirectory() as folder:
        model_io.save(model, folder)
        yield Path(folder), model


def _check_links(run: Path) -> None:
    """Refuse links out of a run, whose targets would be published; the Hub's cache has its own."""
    blobs = run.resolve().parent.parent / "blobs"
    for name in (CONFIG, WEIGHTS, HISTORY):
        if not is_inside(run / name, blobs):
            _check_link(run / name)


def _check_link(file: Path) -> None:
    if not is_inside(file, file.parent):
        raise ValueError(
            f"{file} is a link out of the folder of the run, and is not published: replace it by "
            "the file itself."
        )


def _config(config: Record, data: Any, held_out: Any) -> Record:
    """Return the configuration without local entries, and with the given additions."""
    for name in data or {}:
        if name not in DATA:
            raise ValueError(
                f"data: unknown entry {name!r}, expected {', '.join(DATA)}."
                f"{did_you_mean(name, DATA)}"
            )
    about = config["data"] | dict(data or {})
    config = {name: config[name] for name in ENTRIES} | {
        "data": {name: about[name] for name in DATA if name in about},
        "held_out": config["held_out"] | dict(held_out or {}),
    }
    return check_config(json.loads(to_json(config)))


def _report(run: Path) -> bytes:
    """Return the report of a run without the command and link for the studio."""
    if not is_regular_file(run / REPORT):
        raise ValueError(f"there is no {REPORT} to publish; only `isthmus fit` writes one.")
    _check_link(run / REPORT)
    return LIVE.sub(b'<p id="live" hidden></p>', read_bytes(run / REPORT), count=1)


def _custom_card(path: Path) -> bytes:
    """Return a card written by the user."""
    if not is_regular_file(path):
        raise FileNotFoundError(f"card file {path} does not exist; expected a Markdown file.")
    try:
        return path.read_bytes().decode("utf-8").encode()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected Markdown in UTF-8; re-encode the file.") from None
