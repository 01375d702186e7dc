"""Models to and from the Hugging Face Hub, by the names that its libraries have for it."""

from isthmus.hub.folder import save_pretrained
from isthmus.hub.remote import from_pretrained, push_to_hub

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]
