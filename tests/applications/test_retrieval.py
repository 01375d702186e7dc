import json
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from isthmus import VAE, Autoencoder
from isthmus.applications.meta_estimator import encode_in_chunks
from isthmus.applications.retrieval import LatentIndex
from isthmus.estimators import ESTIMATORS

X, Y = load_digits().images[:300] / 16, load_digits().target[:300]


@pytest.fixture(scope="module")
def model():
    return VAE(n_components=4, hidden=(32,), epochs=8, random_state=0).fit(X)


@pytest.fixture(scope="module")
def index(model):
    return LatentIndex.from_fitted(model).fit(X[:200])


def distances(a, b, metric, stored):
    if metric == "scaled":
        a, b = a / stored.std(0), b / stored.std(0)
    if metric == "cosine":
        dots = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
        return 1 - dots
    return np.sqrt(((a[:, None] - b) ** 2).sum(-1))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "scaled"])
def test_neighbours_match_brute_force(model, metric):
    index = LatentIndex.from_fitted(model, metric=metric).fit(X[:200])
    found, rows = index.kneighbors(X[200:], n_neighbors=7)
    stored, asked = (model.transform(a).astype(np.float64) for a in (X[:200], X[200:]))
    expected = distances(asked, stored, metric, stored)
    order = np.argsort(expected, axis=1)[:, :7]
    np.testing.assert_allclose(found, np.take_along_axis(expected, order, 1), atol=2e-5)
    assert (rows == order).mean() > 0.99  # ties within rounding


def test_indexed_rows_exclude_themselves(index):
    far, rows = index.kneighbors(X[:200], n_neighbors=1)
    assert (rows[:, 0] == np.arange(200)).all()
    assert np.abs(far).max() < 1e-5
    others = index.kneighbors(n_neighbors=5, return_distance=False)
    assert others.shape == (200, 5)
    assert not (others == np.arange(200)[:, None]).any()
    both = index.kneighbors(X[:200], n_neighbors=6, return_distance=False)
    np.testing.assert_array_equal(others, both[:, 1:])


def test_duplicates_are_neighbours(model):
    rows = np.repeat(X[:3], 4, axis=0)
    found = (
        LatentIndex.from_fitted(model).fit(rows).kneighbors(n_neighbors=2, return_distance=False)
    )
    assert (found // 4 == np.arange(12)[:, None] // 4).all()
    assert not (found == np.arange(12)[:, None]).any()


def test_query_takes_codes(index, model):
    rows = index.kneighbors(X[200:210])
    codes = index.query(model.transform(X[200:210]))
    np.testing.assert_array_equal(rows, codes)
    assert rows[0].shape == (10, 10)


def test_only_unfrozen_models_are_trained(model, index):
    assert index.estimator_.model_ is model.model_
    estimator = VAE(n_components=2, hidden=(8,), epochs=1, random_state=0)
    trained = LatentIndex(estimator, metric="cosine").fit(X)
    assert not hasattr(estimator, "model_")
    assert trained.codes_.shape == (300, 2)
    again = clone(trained)
    assert again.metric == "cosine"
    assert not hasattr(again, "codes_")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_model_can_be_searched(name):
    settings = {"n_components": 3, "hidden": (8,), "epochs": 1, "random_state": 0}
    index = LatentIndex(ESTIMATORS[name](**settings)).fit(X, Y)
    assert index.kneighbors(X[:2], 3, return_distance=False).shape == (2, 3)


def test_encoding_in_chunks_gives_the_same_codes(model, monkeypatch):
    monkeypatch.setattr("isthmus.applications.meta_estimator.CHUNK", 64)
    np.testing.assert_array_equal(encode_in_chunks(model, X), model.transform(X))


def test_loaded_index_returns_the_same_neighbours(index, model, tmp_path):
    index.save(tmp_path / "index", {"name": "digits"})
    assert sorted(p.name for p in (tmp_path / "index").iterdir()) == [
        "codes.safetensors",
        "index.json",
    ]
    again = LatentIndex.load(tmp_path / "index", model)
    np.testing.assert_array_equal(again.kneighbors(X[200:]), index.kneighbors(X[200:]))
    other = LatentIndex.load(tmp_path / "index", model, metric="cosine")
    assert other.metric == "cosine"


def test_foreign_or_corrupt_indexes_raise(index, model, tmp_path):
    other = Autoencoder(n_components=4, hidden=(8,), epochs=1).fit(X)
    with pytest.raises(FileNotFoundError, match="contains no index"):
        LatentIndex.load(tmp_path, model)
    index.save(tmp_path)
    with pytest.raises(ValueError, match="another model"):
        LatentIndex.load(tmp_path, other)
    (tmp_path / "codes.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="corrupt"):
        LatentIndex.load(tmp_path, model)
    record = json.loads((tmp_path / "index.json").read_text())
    for broken in ("{", "[]", json.dumps(record | {"settings": {"estimator": "os.system"}})):
        (tmp_path / "index.json").write_text(broken)
        with pytest.raises(ValueError, match="corrupt"):
            LatentIndex.load(tmp_path, model)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"metric": "taxi"}, "metric must be"), ({"backend": "quick"}, "backend must be")],
)
def test_invalid_parameters_raise_before_training(settings, words):
    with pytest.raises(ValueError, match=words):
        LatentIndex(VAE(), **settings).fit(X)


@pytest.mark.parametrize("k", [0, 201, 2.5, True])
def test_invalid_n_neighbors_raises(index, k):
    with pytest.raises(ValueError, match="from 1 to 200"):
        index.kneighbors(X[:1], n_neighbors=k)


def test_query_rejects_codes_of_another_width(index):
    with pytest.raises(ValueError, match="indexed codes have 4"):
        index.query(np.zeros((1, 3)))


def test_missing_faiss_falls_back_or_names_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert LatentIndex.from_fitted(model, exact_up_to=10).fit(X).backend_ == "exact"
    with pytest.raises(ImportError, match=r"isthmus\[search\]"):
        LatentIndex.from_fitted(model, backend="approximate").fit(X)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_approximate_search_finds_nearly_all_neighbours(model, metric):
    pytest.importorskip("faiss")
    exact = LatentIndex.from_fitted(model, metric=metric).fit(X)
    quick = LatentIndex.from_fitted(model, metric=metric, exact_up_to=10).fit(X)
    assert quick.backend_ == "approximate"
    far, rows = exact.kneighbors(n_neighbors=10)
    quick_far, quick_rows = quick.kneighbors(n_neighbors=10)
    shared = [np.isin(a, b).mean() for a, b in zip(rows, quick_rows, strict=True)]
    assert np.mean(shared) > 0.97
    np.testing.assert_allclose(np.median(quick_far), np.median(far), rtol=0.02)
