"""Matrices of scipy.sparse: the same results as dense arrays, in bounded memory."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.frozen import FrozenEstimator

import isthmus
from isthmus.applications import AnomalyDetector, LatentImputer, LatentIndex, LatentSampler
from isthmus.data import Dataset, disk_array, load, sparse_rows
from isthmus.data.disk_array import DiskArray
from isthmus.runs import RunOptions, fit_run
from isthmus.search import Sweep

RNG = np.random.default_rng(0)


def random_array(shape, density):
    """Return a sparse matrix; that of SciPy names its generator by its version."""
    values = RNG.random(shape)
    return sparse.csr_array(np.where(values < density, values / density, 0.0))


X = random_array((120, 12), 0.3)
FAST = {"epochs": 2, "hidden": (6,), "n_components": 2, "random_state": 0, "progress": "none"}
KINDS = [
    sparse.csr_array,
    sparse.csr_matrix,
    sparse.csc_array,
    sparse.csc_matrix,
    sparse.coo_array,
    sparse.coo_matrix,
]


@pytest.fixture
def all_large(monkeypatch):
    """Treat every sparse matrix as too large for memory once dense."""
    monkeypatch.setattr(sparse_rows, "MAX_DENSE_BYTES", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_results_of_the_dense_array(kind):
    model = isthmus.VAE(**FAST).fit(kind(X))
    dense = isthmus.VAE(**FAST).fit(X.toarray())
    assert (model.transform(kind(X)) == dense.transform(X.toarray())).all()
    assert model.score(kind(X)) == dense.score(X.toarray())


@pytest.mark.parametrize("kind", KINDS[::2])
def test_a_large_matrix_is_read_in_parts(kind, all_large):
    settings = {"likelihood": "gaussian", "validation_fraction": 0.0}
    model = isthmus.VAE(**FAST, **settings).fit(kind(X))
    dense = X.toarray()
    for method in ("transform", "reconstruct", "score_samples"):
        assert (getattr(model, method)(kind(X)) == getattr(model, method)(dense)).all(), method
    assert (model.tensors(kind(X))[0] == model.tensors(dense)[0]).all()
    np.testing.assert_allclose(model.scaler_.shift, dense.mean(0))
    model.partial_fit(kind(X))
    assert model.n_iter_ == 3


@pytest.mark.parametrize("score", ["reconstruction", "likelihood", "nap"])
@pytest.mark.parametrize("large", [False, True])
def test_detector(score, large, monkeypatch):
    if large:
        monkeypatch.setattr(sparse_rows, "MAX_DENSE_BYTES", 0)
    model = isthmus.Autoencoder(**FAST)
    detector = AnomalyDetector(model, score_method=score, random_state=0).fit(X.tocoo())
    assert (detector.score_samples(X.tocsc()) == detector.score_samples(X.toarray())).all()
    assert detector.predict(X).shape == (120,)


def test_other_applications(all_large):
    index = LatentIndex(isthmus.VAE(**FAST)).fit(X.tocoo())
    assert (index.kneighbors(X[:3])[1][:, 0] == range(3)).all()
    assert LatentSampler(isthmus.VAE(**FAST), n_modes=2).fit(X).sample(4).shape == (4, 12)
    filled = LatentImputer(isthmus.VAE(**FAST)).fit(X).transform(X)
    assert (filled == X.toarray()).all()
    rows, _ = isthmus.SparseAutoencoder(**FAST).fit(X).top_activating(X.tocoo(), unit=0, n=3)
    assert rows.shape == (3,)


def test_a_sweep_reads_a_large_matrix_in_parts(monkeypatch):
    sweep = Sweep(isthmus.BetaVAE(**FAST), {"beta": [1.0, 2.0]}, random_state=0)
    assert [row["stacked"] for row in sweep.fit(X).results_] == [2, 2]
    monkeypatch.setattr(sparse_rows, "MAX_DENSE_BYTES", 0)
    assert [row["stacked"] for row in sweep.fit(X).results_] == [1, 1]
    alone = isthmus.BetaVAE(**FAST, beta=2.0).fit(X[sweep.train_rows_])
    assert (sweep.estimators_[1].transform(X) == alone.transform(X)).all()


def test_integers_and_bytes_are_numbers_and_the_likelihood_sees_all_rows(all_large):
    counts = sparse.lil_array((400, 60), dtype=np.uint8)
    counts[399, 3] = 2  # in the last row only
    assert isthmus.VAE(**FAST).fit(counts).likelihood_ == "gaussian-per-feature"
    counts[399, 3] = 1
    model = isthmus.VAE(**FAST, likelihood="poisson").fit(counts)
    assert model.transform(counts).dtype == np.float64


def test_errors_name_the_row(all_large):
    bad = X.copy()
    bad[70, 3] = np.nan
    model = isthmus.VAE(**FAST)
    with pytest.raises(ValueError, match=r"NaN.*row 70, feature 3"):
        model.fit(bad)
    model.fit(X)
    with pytest.raises(ValueError, match=r"NaN.*row 70, feature 3"):
        model.transform(bad)
    with pytest.raises(ValueError, match="11 features"):
        model.transform(X[:, :11])
    with pytest.raises(ValueError, match="real numbers"):
        model.fit(X.astype(complex))


def test_no_call_makes_the_whole_matrix_dense(all_large, monkeypatch):
    sizes, to_dense = [], sparse_rows.SparseRows.__array__

    def record(rows, *arguments, **settings):
        sizes.append(len(rows))
        return to_dense(rows, *arguments, **settings)

    monkeypatch.setattr(sparse_rows.SparseRows, "__array__", record)
    monkeypatch.setattr(disk_array, "PREVIEW_BYTES", 2**21)
    counts = random_array((1_500, 2_000), 0.001).tocoo()
    model = isthmus.Autoencoder(**FAST | {"hidden": (1,), "epochs": 1}, likelihood="gaussian")
    model.fit(counts).transform(counts)
    AnomalyDetector(FrozenEstimator(model)).fit(counts).predict(counts)
    assert max(sizes) <= 512  # a batch


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.usefixtures("undrawn_report")
def test_runs_read_matrices_saved_by_scipy(large, tmp_path, monkeypatch):
    if large:
        monkeypatch.setattr(sparse_rows, "MAX_DENSE_BYTES", 0)
    sparse.save_npz(tmp_path / "counts.npz", X.tocsc())
    data = load(tmp_path / "counts.npz")
    assert isinstance(data.X, DiskArray if large else np.ndarray)
    assert (np.asarray(data.X) == X.toarray()).all()
    assert data.sha256 == Dataset("dense", X.toarray()).sha256
    if not large:
        return
    options = RunOptions(out=tmp_path / "run", quiet=True)
    assert fit_run(isthmus.VAE(**FAST), Dataset("counts", X), options).summary["rows"] == 12


def test_a_damaged_matrix_is_refused(tmp_path):
    matrix = X.copy()
    matrix.indices[0] = 99
    sparse.save_npz(tmp_path / "x.npz", matrix)
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "x.npz")
    huge = sparse.coo_array(([1.0], ([0], [0])), (2**40, 2))
    sparse.save_npz(tmp_path / "x.npz", huge)
    with pytest.raises(ValueError, match="ISTHMUS_MAX_BYTES"):
        load(tmp_path / "x.npz")
