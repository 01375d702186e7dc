"""Modules that are nothing without a library are not looked at where it lacks."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("pyod") else ["src/isthmus/applications/pyod_adapter.py"]
