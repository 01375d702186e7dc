"""What tests and doctests share: a state folder, and modules without doctests."""

import atexit
import os
import shutil
import tempfile
from importlib.util import find_spec

# The key of this user stays as it is: tests have one of their own, also those in other processes.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="isthmus-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

collect_ignore_glob = ["**/conftest.py"]  # several have this name, without packages
collect_ignore = [] if find_spec("pyod") else ["src/isthmus/applications/pyod_adapter.py"]
