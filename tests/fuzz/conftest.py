"""Nothing here is a test: `run.py` is started by hand."""

collect_ignore_glob = ["*.py"]
