"""The way to the hub and back; the network is huggingface_hub's."""

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
from isthmus.hub.folder import NAMES, Model, save_pretrained
from isthmus.persistence.run_folder import CONFIG, HISTORY, WEIGHTS, read_config

__all__ = ["from_pretrained", "push_to_hub"]

READ = (CONFIG, WEIGHTS, HISTORY)  # nothing else of a repository is downloaded
MESSAGE = "Upload a model of isthmus"
#: What the hub's errors mean to a person, the most special first; all else is quoted.
MEANINGS = {
    "HFValidationError": "{!r} is no name of a repository: expected OWNER/NAME, of letters, "
    "digits, '-', '_' and '.'.",
    "GatedRepoError": "{} is gated: ask for access on its page, then log in by `hf auth login`.",
    "RepositoryNotFoundError": "{} is not on the hub, or is private: check the name, or log in by "
    "`hf auth login`.",
    "LocalEntryNotFoundError": "{} cannot be had: the hub is out of reach (or HF_HUB_OFFLINE is "
    "set), and it is not in the cache; try again with a network.",
    "OfflineModeIsEnabled": "{}: the hub is switched off by HF_HUB_OFFLINE; unset it.",
    "ConnectionError": "{}: the hub is out of reach; try again with a network.",
    "TransportError": "{}: the hub is out of reach; try again with a network.",
    "LocalTokenNotFoundError": "{} needs a token: log in by `hf auth login`, or set HF_TOKEN.",
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
    """Read a model from the Hugging Face Hub, or from a folder.

    Only config.json, model.safetensors and history.jsonl are downloaded, into the hub's cache;
    JSON and plain tensors, so loading runs no code.

    Parameters
    ----------
    repo_id : str or path-like
        OWNER/NAME on the hub. A folder of that name comes first, and needs no network and no
        huggingface_hub: as `isthmus.load`.
    revision : str, optional
        A branch, tag or commit.
    token : str or bool, optional
        For private repositories; by default the one of ``hf auth login`` or HF_TOKEN, False for
        none.
    cache_dir : path-like, optional
        By default the hub's own cache.
    local_files_only : bool
        Take what is in the cache, and ask nobody.
    backbone, device
        As in `isthmus.load`.

    Returns
    -------
    LatentEstimator
        Fitted; it answers as the one that was saved.

    Raises
    ------
    ValueError
        A name that is none, or what is there is no model of isthmus, or a damaged one.
    OSError
        No such repository or revision, no access, no network.
    ImportError
        Without huggingface_hub: ``pip install 'isthmus[hub]'``.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> import isthmus
    >>> from isthmus.hub import from_pretrained
    >>> X = load_digits().images / 16
    >>> model = isthmus.VAE(n_components=2, epochs=2).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(folder)
    ...     again = from_pretrained(folder)
    >>> bool((again.transform(X) == model.transform(X)).all())
    True
    """
    folder = Path(repo_id)
    if not repo_id or not folder.is_dir():
        name = _as_name(repo_id)
        options = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        folder = _downloaded(name, revision, options)
    elif revision is not None:
        raise ValueError(f"{repo_id} is a folder here and has no revisions; leave revision out.")
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

    What goes up is what `save_pretrained` writes: no rows of the data and no path of this
    machine, unless asked for. Pictures and a report that an earlier push left are removed where
    this one has none; the repository's history still has them.

    Parameters
    ----------
    model : LatentEstimator or path-like
        A fitted model, or the folder of a run, whose data and numbers the card then tells.
    repo_id : str
        OWNER/NAME; made where it is not there.
    private : bool, optional
        Whether a new repository is; by default as its owner has it. One that is there stays as
        it is; to one that is public nothing is sent that is to be private.
    token : str, optional
        That may write; by default the one of ``hf auth login`` or HF_TOKEN.
    commit_message : str, optional
    revision : str, optional
        The branch; by default "main".
    **contents
        As for `save_pretrained`: `examples`, `labels`, `report`, `card`, `license`, `data`,
        `held_out`.

    Returns
    -------
    str
        The address of the repository.

    Raises
    ------
    ValueError
        What `save_pretrained` raises; also a name that is none, or a public repository where a
        private one is asked for.
    OSError
        No token, no right to write, no network.
    ImportError
        Without huggingface_hub: ``pip install 'isthmus[hub]'``.

    Examples
    --------
    >>> push_to_hub("runs/digits-vae", "me/digits-vae")  # doctest: +SKIP
    'https://huggingface.co/me/digits-vae'
    """
    hub = import_optional("huggingface_hub", what="the Hugging Face Hub", extra="hub")
    if str(repo_id).count("/") != 1:
        raise ValueError(f"{str(repo_id)!r} does not say whose it is: expected OWNER/NAME.")
    with _plainly(repo_id):
        import_optional("huggingface_hub.utils", what="").validate_repo_id(repo_id)
    api = hub.HfApi(token=token)
    if not (token or hub.get_token()):
        raise OSError(MEANINGS["LocalTokenNotFoundError"].format(f"pushing to {repo_id}"))
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, repo_id=repo_id, **contents)
        with _plainly(repo_id, revision):
            url = api.create_repo(repo_id, private=private, exist_ok=True)
            public = bool(private) and not api.repo_info(repo_id).private
        if public:
            raise ValueError(
                f"{repo_id} is there already, and is public: make it private on its page, or name "
                "another."
            )
        with _plainly(repo_id, revision):
            api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message or MESSAGE,
                revision=revision,
                delete_patterns=list(NAMES),  # those that are not uploaded anew
            )
    return str(url)


def _as_name(repo_id: str | os.PathLike[str]) -> str:
    """Return a name to look for on the hub; a ValueError for what can only be a path."""
    name = str(repo_id)
    if not name:
        raise ValueError("expected a folder or OWNER/NAME on the Hugging Face Hub, got ''.")
    if Path(name).exists():
        raise ValueError(f"{name} is a file; name the folder of a model, or OWNER/NAME.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ValueError(
            f"there is no folder {one_line(name)}; name one, or OWNER/NAME on the Hugging Face Hub."
        )
    return name


def _downloaded(repo_id: str, revision: str | None, options: dict[str, Any]) -> Path:
    """Return the folder in the cache that holds a model, once its configuration is seen to be one.

    Other libraries' repositories have files of the same names, and these may be large.
    """
    what = f"there is no folder {repo_id}, and reading it from the Hugging Face Hub"
    hub = import_optional("huggingface_hub", what=what, extra="hub")
    with _plainly(repo_id, revision, f"there is no folder {repo_id} here; on the hub: "):
        first = hub.snapshot_download(
            repo_id, revision=revision, allow_patterns=[CONFIG], **options
        )
    if not (Path(first) / CONFIG).is_file():
        raise ValueError(f"{repo_id} is no model of isthmus: there is no {CONFIG} in it.")
    try:
        read_config(Path(first))
    except ValueError as error:
        raise ValueError(f"{repo_id} cannot be read as a model of isthmus: {error}") from None
    with _plainly(repo_id, revision):  # of the same commit, by which its folder is called
        return Path(
            hub.snapshot_download(
                repo_id, revision=Path(first).name, allow_patterns=list(READ), **options
            )
        )


@contextmanager
def _plainly(repo_id: str, revision: str | None = None, before: str = "") -> Iterator[None]:
    """Say in one line what went wrong with the hub, which fails in many ways."""
    try:
        yield
    except Exception as error:
        kinds = {cls.__name__ for cls in type(error).__mro__}
        if "RevisionNotFoundError" in kinds:
            raise OSError(
                f"{repo_id} has no revision {revision!r}; name a branch, tag or commit of it."
            ) from error
        for kind, meaning in MEANINGS.items():
            if kind in kinds:
                wrong = ValueError if isinstance(error, ValueError) else OSError
                raise wrong(before + meaning.format(one_line(repo_id))) from error
        said = getattr(error, "server_message", None) or error
        raise OSError(f"{repo_id}: the hub did not do it: {one_line(said)}") from error
