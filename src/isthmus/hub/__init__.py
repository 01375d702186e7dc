"""Publish models on the Hugging Face Hub and load them from it."""

from isthmus.hub.folder import save_pretrained
from isthmus.hub.remote import from_pretrained, push_to_hub

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]
