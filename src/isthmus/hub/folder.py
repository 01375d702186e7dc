"""What is published of a model: a folder that can be looked at before it goes anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from isthmus._messages import did_you_mean
from isthmus.data.limits import is_regular_file
from isthmus.estimators import LatentEstimator, model_io
from isthmus.hub.card import CARD, card_text
from isthmus.hub.pictures import PICTURES, show
from isthmus.persistence.atomic import write_all_atomic
from isthmus.persistence.integrity import read_bytes, with_checksums
from isthmus.persistence.run_folder import CONFIG, HISTORY, WEIGHTS, read_config, to_json
from isthmus.persistence.schema import check_config
from isthmus.report import REPORT
from isthmus.report.page import LIVE

__all__ = ["NAMES", "Model", "save_pretrained"]

Model = LatentEstimator | str | os.PathLike[str]
Record = dict[str, Any]

ENTRIES = (
    "format",
    "isthmus",
    "estimator",
    "params",
    "fitted",
    "data",
    "held_out",
    "versions",
)
DATA = ("name", "shape", "dtype", "sha256", "rate", "size", "label")  # and not where it lies
NAMES = (*PICTURES, REPORT)  # what may be there or not


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
    """Write a model as it is published: its files, a model card and pictures.

    No row of the data is among them unless `examples` or `report` is given, and no path of this
    machine. What the model itself knows of the data stays in it: names, ranges and categories of
    columns, labels, the scaling.

    Parameters
    ----------
    model : LatentEstimator or path-like
        A fitted model, or the folder of a run, whose data and numbers the card then tells.
    folder : path-like
        Made where it is not there; files of the same names are replaced.
    repo_id : str, optional
        OWNER/NAME under which it will be published, for the card.
    examples : array-like (n, *shape) or data frame, optional
        Rows to show in public: beside what comes back, and their codes as a map.
    labels : array-like (n,), optional
        Theirs; conditional models are told them.
    report : bool
        Whether the run's report.html goes along; it shows held-out rows.
    card : path-like, optional
        A Markdown file to take instead of the card that is written.
    license : str, optional
        As the hub has it, "mit" an example.
    data : mapping, optional
        What the card is to say of the data: `name`, `shape`, `sha256`. What a run recorded
        need not be said again.
    held_out : mapping, optional
        Numbers on held-out rows, the unit in their names: ``{"ELBO (nats per example)": -90.1}``.

    Returns
    -------
    Path
        The folder. Pictures and a report that were written here before, and not now, are gone.

    Raises
    ------
    ValueError, FileNotFoundError
        Where there is no model, or a damaged one, or what was asked for does not go together.
        Nothing is written then.
    ImportError
        Without huggingface_hub, which writes the card's head: ``pip install 'isthmus[hub]'``.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> model = isthmus.VAE(n_components=2, epochs=2).fit(load_digits().images / 16)
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     sorted(path.name for path in save_pretrained(model, folder).iterdir())
    ['README.md', 'config.json', 'history.jsonl', 'latent-plane.png', 'losses.png',
     'model.safetensors', 'samples.png']
    """
    target = Path(folder)
    with _as_run(model) as (run, estimator):
        if target.resolve() == run.resolve():
            raise ValueError(f"{folder} is the run itself; name another folder.")
        files = {name: (run / name).read_bytes() for name in _there(run)}
        config = _config(read_config(run), data, held_out)
        files[CONFIG] = to_json(with_checksums(config, files)).encode()
        if report:
            files[REPORT] = _report(run)
    views = show(estimator, examples, labels)
    files |= {view.name: view.content for view in views if view.name}
    if card is None:
        files[CARD] = card_text(estimator, config, views, repo_id, license).encode()
    else:
        files[CARD] = _own_card(Path(card))
    target.mkdir(parents=True, exist_ok=True)
    old = [target / name for name in NAMES if name not in files] if _is_published(target) else []
    write_all_atomic({target / name: content for name, content in files.items()})
    for path in old:  # they may show rows, and are no longer to
        path.unlink(missing_ok=True)
    return target


def _is_published(folder: Path) -> bool:
    """Whether a folder is one that was written here; runs have no card."""
    return (folder / CARD).is_file() and (folder / CONFIG).is_file()


@contextmanager
def _as_run(model: Model) -> Iterator[tuple[Path, Any]]:
    """Give the folder of a model, and the model; one in memory gets a folder for the while."""
    if not isinstance(model, LatentEstimator):
        yield Path(model), model_io.load(model, device="cpu")
        return
    with TemporaryDirectory() as folder:
        model_io.save(model, folder)
        yield Path(folder), model


def _there(run: Path) -> list[str]:
    """Return the files beside the configuration; a history need not be there."""
    return [WEIGHTS, *([HISTORY] if is_regular_file(run / HISTORY) else [])]


def _config(config: Record, data: Any, held_out: Any) -> Record:
    """Return a configuration without what is only of this machine, and with what was added."""
    for name in data or {}:
        if name not in DATA:
            raise ValueError(
                f"data: {name!r} is none of {', '.join(DATA)}.{did_you_mean(name, DATA)}"
            )
    about = config["data"] | dict(data or {})
    config = {name: config[name] for name in ENTRIES} | {
        "data": {name: about[name] for name in DATA if name in about},
        "held_out": config["held_out"] | dict(held_out or {}),
    }
    return check_config(json.loads(to_json(config)))


def _report(run: Path) -> bytes:
    """Return a run's page without the command that names its folder and the link to a live page."""
    if not is_regular_file(run / REPORT):
        raise ValueError(f"there is no {REPORT} to publish: only `isthmus fit` leaves one.")
    return LIVE.sub(b'<p id="live" hidden></p>', read_bytes(run / REPORT), count=1)


def _own_card(path: Path) -> bytes:
    """Return a card that its user wrote."""
    if not is_regular_file(path):
        raise FileNotFoundError(f"there is no card {path}; name a Markdown file.")
    content = path.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a card in Markdown, as UTF-8; save it so.") from None
    return content
