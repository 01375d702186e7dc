"""Methods to publish a model on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Self

__all__ = ["PublishMixin"]


class PublishMixin:
    """Adds `save_pretrained`, `push_to_hub` and `from_pretrained`.

    `isthmus.hub` is a layer above the estimators, so these methods import it only when called.
    """

    def save_pretrained(self, folder: str | Path, **contents: Any) -> Path:
        """Write the model and its card to a folder; see `isthmus.hub.save_pretrained`."""
        return resolve_name("isthmus.hub:save_pretrained")(self, folder, **contents)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model on the Hugging Face Hub; see `isthmus.hub.push_to_hub`."""
        return resolve_name("isthmus.hub:push_to_hub")(self, repo_id, **options)

    @classmethod
    def from_pretrained(cls, repo_id: str | Path, **options: Any) -> Self:
        """Load a model of this class from the Hugging Face Hub or from a folder.

        Parameters
        ----------
        repo_id, **options
            As for `isthmus.from_pretrained`, which loads models of any class.

        Raises
        ------
        ValueError
            If the model has another class.
        """
        model = resolve_name("isthmus.hub:from_pretrained")(repo_id, **options)
        if not isinstance(model, cls):
            other = type(model).__name__
            raise ValueError(
                f"{repo_id} holds a {other}, not a {cls.__name__}: use {other}.from_pretrained, "
                "or isthmus.from_pretrained, which loads any class."
            )
        return model
