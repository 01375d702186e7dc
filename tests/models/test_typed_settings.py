"""Constructors are typed: type checkers and editors know every setting."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import isthmus
from isthmus.estimators import ESTIMATORS
from isthmus.models.params import params_of

CODE = """
from isthmus import BetaVAE
BetaVAE(n_components=3, hidden=(4, 5), prior="mixture", beta=2.0)
BetaVAE(n_component=3)
BetaVAE(beta="x")
"""


@pytest.mark.slow  # mypy reads the whole package first
def test_a_type_checker_finds_a_misspelt_setting_and_a_wrong_type(tmp_path):
    (tmp_path / "code.py").write_text(CODE)
    source = Path(isthmus.__file__).parents[1]
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), "code.py"]
    environ = {"MYPYPATH": str(source), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if "error" in line and "code.py" in line]
    assert len(errors) == 2, done.stdout
    assert 'did you mean "n_components"?' in errors[0]
    assert 'incompatible type "str"' in errors[1]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_constructor_lists_all_settings_and_documents_them(name):
    estimator = ESTIMATORS[name]
    names = [*inspect.signature(estimator).parameters]
    assert names == [*params_of(estimator)]
    assert names[0] == "n_components"
    doc = inspect.getdoc(estimator)
    assert doc.count("Parameters\n----------\n") == 1
    assert all(f"\n{each} : " in doc for each in names)
    assert doc.index("Parameters\n---") < doc.index("Examples\n---")
    source = Path(inspect.getsourcefile(estimator)).read_text()
    assert "{parameters}" not in source
