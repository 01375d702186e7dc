"""Networks are written as graphs once for each model: most tests here are of what comes after."""

import functools

import pytest

from isthmus import export
from isthmus.applications.meta_estimator import model_digest


@pytest.fixture(scope="session", autouse=True)
def graphs_once():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("encoder", "decoder"):
            patch.setattr(export, name, _once(getattr(export, name)))
        yield


def _once(export):
    known = {}

    @functools.wraps(export)
    def once(estimator, opset=None):
        if not hasattr(estimator, "model_"):
            return export(estimator, opset)  # which says what is wrong
        key = model_digest(estimator), opset
        if key not in known:
            known[key] = export(estimator, opset)
        return known[key]

    return once
