"""Exclude modules from the collection of doctests."""

from importlib.util import find_spec

collect_ignore_glob = ["**/conftest.py"]  # several have this name, without packages
collect_ignore = [] if find_spec("pyod") else ["src/isthmus/applications/pyod_adapter.py"]
