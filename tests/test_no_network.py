"""Nothing is sent anywhere unless the user asks for it: no telemetry of any library."""

import json
import os
import subprocess
import sys

import pytest

# Runs in a separate process: libraries send no telemetry if they see a test or a CI server.
PROLOGUE = """
import json, os, socket, sys, time
for name in ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION"):
    os.environ.pop(name, None)
asked = []
def refuse(*address, **options):
    asked.append(str(address[:2]))
    raise OSError("there is no network here")
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
def connect(self, address):
    if self.family != socket.AF_UNIX:
        refuse(address)
socket.socket.connect = socket.socket.connect_ex = connect
import numpy as np
import isthmus
X = np.random.default_rng(0).random((40, 3))
SMALL = {"n_components": 2, "hidden": (4,), "epochs": 1, "random_state": 0}
"""
EPILOGUE = """
time.sleep(WAIT)
print(json.dumps(asked))
"""

USES = {
    "mlflow": """
from isthmus.training.trackers import MLflow
isthmus.VAE(**SMALL).fit(X, callbacks=[MLflow(sys.argv[1] + "/tracked")])
WAIT = 2
""",
    "tensorboard": """
from isthmus.training.trackers import TensorBoard
isthmus.VAE(**SMALL).fit(X, callbacks=[TensorBoard(sys.argv[1] + "/tracked")])
WAIT = 0.2
""",
    "huggingface_hub": """
isthmus.VAE(**SMALL).fit(X).save_pretrained(sys.argv[1] + "/published")
isthmus.from_pretrained(sys.argv[1] + "/published")
WAIT = 0.2
""",
    "optuna": """
import optuna
from isthmus.search.optuna import OptunaPruning, suggest
def objective(trial):
    settings = SMALL | suggest(trial, isthmus.VAE, learning_rate=(1e-4, 1e-2))
    return isthmus.VAE(**settings).fit(X, callbacks=[OptunaPruning(trial)]).score(X)
optuna.create_study(direction="maximize").optimize(objective, n_trials=1)
WAIT = 0.2
""",
    "isthmus": """
from isthmus.cli import main
main(["fit", "digits", "--epochs", "1", "--hidden", "4", "--quiet", "--out", sys.argv[1] + "/run"])
main(["search", sys.argv[1] + "/run", "1"])
WAIT = 0.2
""",
}


def addresses(use, folder, **environment):
    """Return the addresses to which a use of isthmus tries to connect."""
    keep = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k and k != "DO_NOT_TRACK"}
    environment = keep | {"HOME": str(folder)} | environment
    words = [sys.executable, "-c", PROLOGUE + USES[use] + EPILOGUE, str(folder)]
    found = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_no_library_calls_home(use, tmp_path):
    if use != "isthmus":
        pytest.importorskip(use)
    assert addresses(use, tmp_path) == []


@pytest.mark.slow
def test_the_user_can_allow_the_reports_of_mlflow(tmp_path):
    """It also shows that the test above notices connections."""
    pytest.importorskip("mlflow")
    assert any(
        "mlflow" in each for each in addresses("mlflow", tmp_path, MLFLOW_DISABLE_TELEMETRY="false")
    )


def test_the_choice_of_the_user_stays(monkeypatch):
    from isthmus._optional import NO_REPORTS, import_optional

    for library, (variable, _) in NO_REPORTS.items():
        pytest.importorskip(library)
        monkeypatch.setenv(variable, "0")
        import_optional(library, what="a test")
        assert os.environ[variable] == "0"
        monkeypatch.delenv(variable)
        import_optional(library, what="a test")
        assert os.environ[variable] == NO_REPORTS[library][1]
