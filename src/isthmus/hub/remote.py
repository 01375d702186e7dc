"""Upload to and download from the Hugging Face Hub, through huggingface_hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from isthmus._messages import one_line
from isthmus._optional import import_optional
from isthmus.estimators import model_io
from isthmus.hub.folder import OPTIONAL, Model, save_pretrained
from isthmus.persistence.run_folder import CONFIG, HISTORY, WEIGHTS, read_config

__all__ = ["from_pretrained", "push_to_hub"]

#: Messages for the errors of huggingface_hub, most specific first; other errors are quoted.
MEANINGS = {
    "RevisionNotFoundError": "{} has no revision {revision!r}; expected a branch, tag or commit.",
    "HFValidationError": "invalid repository name {!r}: expected OWNER/NAME with letters, digits, "
    "'-', '_' and '.'.",
    "GatedRepoError": "{} is gated: request access on its page, then log in with `hf auth login`.",
    "RepositoryNotFoundError": "{} does not exist on the Hub or is private: check the name, or log "
    "in with `hf auth login`.",
    "LocalEntryNotFoundError": "{} is not in the cache, and the Hub cannot be reached (or "
    "HF_HUB_OFFLINE is set); try again with a network connection.",
    "OfflineModeIsEnabled": "{}: HF_HUB_OFFLINE disables access to the Hub; unset it.",
    "ConnectionError": "{}: the Hub cannot be reached; try again with a network connection.",
    "TransportError": "{}: the Hub cannot be reached; try again with a network connection.",
    "LocalTokenNotFoundError": "{} needs a token: log in with `hf auth login`, or set HF_TOKEN.",
}


def from_pretrained(
    repo_id: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    backbone: Any = None,
    device: str = "auto",
) -> Any:
    """Load a model from the Hugging Face Hub, or from a folder.

    Only JSON and plain tensors are downloaded, to the cache of huggingface_hub, so loading runs no
    code.

    Parameters
    ----------
    repo_id : str or path-like
        OWNER/NAME on the Hub. An existing folder of that name takes precedence and is loaded as
        by `isthmus.load`, without network or huggingface_hub.
    revision : str, optional
        A branch, tag or commit.
    token : str or bool, optional
        For private repositories; by default that of ``hf auth login`` or HF_TOKEN. False: none.
    cache_dir : path-like, optional
        By default that of huggingface_hub.
    local_files_only : bool
        Use only the cache, without network access.
    backbone, device
        As in `isthmus.load`.

    Returns
    -------
    LatentEstimator
        Fitted; its results equal those of the published model.

    Raises
    ------
    ValueError
        If the name is invalid, or the files are not a valid isthmus model.
    OSError
        If the repository or revision does not exist or cannot be accessed.
    ImportError
        If huggingface_hub is not installed: ``pip install 'isthmus[hub]'``.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> model = isthmus.VAE(n_components=2, epochs=1).fit(load_digits().images / 16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(folder)
    ...     again = isthmus.from_pretrained(folder)
    """
    folder = Path(repo_id)
    if not repo_id or not folder.is_dir():
        options = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        folder = _downloaded(_as_name(repo_id), revision, options)
    elif revision is not None:
        raise ValueError(f"{repo_id} is a local folder, which has no revisions; omit revision.")
    return model_io.load(folder, backbone=backbone, device=device)


def push_to_hub(
    model: Model,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    revision: str | None = None,
    **contents: Any,
) -> str:
    """Publish a model on the Hugging Face Hub, with a model card.

    Uploads what `save_pretrained` writes. Figures and reports of an earlier push that are not
    written again are removed; the history of the repository still contains them.

    Parameters
    ----------
    model : LatentEstimator or path-like
        A fitted model, or the folder of a run, whose data and metrics then appear in the card.
    repo_id : str
        OWNER/NAME; created if it does not exist.
    private : bool, optional
        Whether a new repository is private; by default as configured by its owner. Existing
        repositories do not change; with True, nothing is uploaded to a public one.
    token : str, optional
        With write access; by default that of ``hf auth login`` or HF_TOKEN.
    commit_message : str, optional
    revision : str, optional
        Branch; by default "main".
    **contents
        As for `save_pretrained`: `examples`, `labels`, `report`, `card`, `license`, `data`,
        `held_out`.

    Returns
    -------
    str
        URL of the repository.

    Raises
    ------
    ValueError
        As `save_pretrained`; also if the name is invalid, or the repository is public and
        ``private=True``.
    OSError
        If there is no token, write access or network.
    ImportError
        If huggingface_hub is not installed: ``pip install 'isthmus[hub]'``.

    Examples
    --------
    >>> push_to_hub("runs/digits-vae", "me/digits-vae")  # doctest: +SKIP
    'https://huggingface.co/me/digits-vae'
    """
    hub = import_optional("huggingface_hub", what="the Hugging Face Hub", extra="hub")
    from huggingface_hub.utils import validate_repo_id

    if str(repo_id).count("/") != 1:
        raise ValueError(f"invalid repo_id {str(repo_id)!r}: expected OWNER/NAME.")
    with _hub_errors(repo_id):
        validate_repo_id(repo_id)
    if not (token or hub.get_token()):
        raise OSError(MEANINGS["LocalTokenNotFoundError"].format(f"pushing to {repo_id}"))
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, repo_id=repo_id, **contents)
        api = hub.HfApi(token=token)
        with _hub_errors(repo_id, revision):
            url = api.create_repo(repo_id, private=private, exist_ok=True)
            is_public = bool(private) and not api.repo_info(repo_id).private
        if is_public:
            raise ValueError(
                f"{repo_id} already exists and is public: make it private on its page, or choose "
                "another name."
            )
        with _hub_errors(repo_id, revision):
            api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message or "Upload isthmus model",
                revision=revision,
                delete_patterns=list(OPTIONAL),  # those that are not uploaded again
            )
    return str(url)


def _as_name(repo_id: str | os.PathLike[str]) -> str:
    """Return a repository name; raise a ValueError for anything that can only be a path."""
    name = str(repo_id)
    if not name:
        raise ValueError("expected a folder or OWNER/NAME on the Hugging Face Hub, got ''.")
    if Path(name).exists():
        raise ValueError(f"{name} is a file; expected the folder of a model, or OWNER/NAME.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ValueError(
            f"folder {one_line(name)} does not exist; expected a folder, or OWNER/NAME on the Hub."
        )
    return name


def _downloaded(repo_id: str, revision: str | None, options: dict[str, Any]) -> Path:
    """Download a model and return its folder in the cache, which is named after the commit.

    The configuration is downloaded and checked first: repositories of other libraries contain
    files with the same names, which may be large.
    """
    what = f"folder {repo_id} does not exist, and loading from the Hugging Face Hub"
    hub = import_optional("huggingface_hub", what=what, extra="hub")

    def download(revision: str | None, *files: str) -> Path:
        return Path(
            hub.snapshot_download(repo_id, revision=revision, allow_patterns=[*files], **options)
        )

    with _hub_errors(repo_id, revision, f"folder {repo_id} does not exist; on the Hub: "):
        folder = download(revision, CONFIG)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{repo_id} is not an isthmus model: it contains no {CONFIG}.")
    try:
        read_config(folder)
    except ValueError as error:
        raise ValueError(f"{repo_id} is not a valid isthmus model: {error}") from None
    with _hub_errors(repo_id, revision):
        return download(folder.name, CONFIG, WEIGHTS, HISTORY)


@contextmanager
def _hub_errors(repo_id: str, revision: str | None = None, before: str = "") -> Iterator[None]:
    """Turn errors of huggingface_hub into one-line messages."""
    try:
        yield
    except Exception as error:
        kinds = {cls.__name__ for cls in type(error).__mro__}
        for kind, meaning in MEANINGS.items():
            if kind in kinds:
                wrong = ValueError if isinstance(error, ValueError) else OSError
                message = meaning.format(one_line(repo_id), revision=revision)
                raise wrong(before + message) from error
        reason = getattr(error, "server_message", None) or error
        raise OSError(f"{repo_id}: the Hub refused the request: {one_line(reason)}") from error
