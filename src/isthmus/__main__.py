"""Run the ``isthmus`` command with ``python -m isthmus``."""

from isthmus.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
