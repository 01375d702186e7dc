"""Cache the exported networks, because exporting to ONNX is slow."""

import functools

import pytest

from isthmus import export
from isthmus.applications.meta_estimator import model_digest


@pytest.fixture(scope="session", autouse=True)
def cache_exports():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("encoder", "decoder"):
            patch.setattr(export, name, _cached(getattr(export, name)))
        yield


def _cached(export):
    cache = {}

    @functools.wraps(export)
    def cached(estimator, opset=None):
        if not hasattr(estimator, "model_"):
            return export(estimator, opset)  # raises
        key = model_digest(estimator), opset
        if key not in cache:
            cache[key] = export(estimator, opset)
        return cache[key]

    return cached
