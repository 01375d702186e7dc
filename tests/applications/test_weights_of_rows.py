"""Sample weights in `fit` of the applications: weight 2 is a row twice, weight 0 no row."""

import numpy as np
import pytest
from scipy import sparse

import isthmus
from isthmus.applications import AnomalyDetector, Denoiser, LatentImputer, LatentSampler
from isthmus.applications.compression import LatentCodec
from isthmus.applications.latent_paths import AttributeVectors
from isthmus.applications.maps import LatentMap
from isthmus.applications.retrieval import LatentIndex

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 6)), np.arange(60) % 3
W = RNG.integers(0, 4, size=60)
FAST = {"epochs": 3, "hidden": (8,), "n_components": 3, "random_state": 0}
EXACT = {"validation_fraction": 0, "batch_size": 256}
MODEL = isthmus.Autoencoder(**FAST, **EXACT)
FROZEN = isthmus.Autoencoder(**FAST).fit(X)

APPLICATIONS = {
    "detector": lambda model: AnomalyDetector(model, random_state=0),
    "detector-nap": lambda model: AnomalyDetector(model, score_method="nap", random_state=0),
    "detector-share": lambda model: AnomalyDetector(model, contamination=0.2, random_state=0),
    "imputer": lambda model: LatentImputer(model, random_state=0),
    "denoiser": lambda model: Denoiser(model),
    "patches": lambda model: Denoiser(model, patch_size=4, n_patches=50, random_state=0),
    "sampler": lambda model: LatentSampler(model, source="mixture", n_modes=2, random_state=0),
    "codec": LatentCodec,
    "index": LatentIndex,
    "map": lambda model: LatentMap(model, method="pca"),
    "attributes": AttributeVectors,
}


def learned(application):
    """Return what an application has learned, beside its model."""
    found = {k: v for k, v in vars(application).items() if k.endswith("_") and k != "codes_"}
    found = {k: np.asarray(v, float) for k, v in found.items() if not k.startswith("estimator")
             and np.asarray(v).dtype.kind == "f"}  # fmt: skip
    if hasattr(application, "_mixtures"):
        found |= application._mixtures.arrays()
    if hasattr(application, "_projection"):
        found["map"] = application.project(np.eye(3))
    if hasattr(application, "estimator_"):
        found["model"] = application.estimator_.transform(
            X[:, :4] if application.estimator_.n_features_in_ == 4 else X
        )
    return found


def assert_same(one, other, tolerance=0.0):
    one, other = learned(one), learned(other)
    assert one.keys() == other.keys()
    assert "model" in one
    for name in one.keys() - {"scale_"}:  # of an index, which holds all rows
        np.testing.assert_allclose(one[name], other[name], atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("model", [MODEL, FROZEN], ids=["unfitted", "fitted"])
def test_rows_of_weight_0_are_left_out(name, model):
    if model is FROZEN and name == "patches":
        model = isthmus.Autoencoder(**FAST).fit(X[:, :4])
    make, kept = APPLICATIONS[name], W > 0
    one = make(model).fit(X, Y, sample_weight=W)
    two = make(model).fit(X[kept], Y[kept], sample_weight=W[kept])
    assert_same(one, two)
    ones = make(model).fit(X, Y, sample_weight=kept)
    assert_same(ones, make(model).fit(X[kept], Y[kept]))


@pytest.mark.parametrize("name", [n for n in APPLICATIONS if "detector" not in n and n != "index"])
@pytest.mark.parametrize("model", [MODEL, FROZEN], ids=["unfitted", "fitted"])
def test_a_row_of_weight_2_is_a_row_twice(name, model):
    if model is FROZEN and name == "patches":
        model = isthmus.Autoencoder(**FAST).fit(X[:, :4])
    make = APPLICATIONS[name]
    weighted = make(model).fit(X, Y, sample_weight=W)
    assert_same(weighted, make(model).fit(X.repeat(W, 0), Y.repeat(W)), 1e-3)


@pytest.mark.parametrize("share", ["auto", 0.2])
def test_the_threshold_counts_weights(share):
    make = lambda: AnomalyDetector(FROZEN, contamination=share, random_state=0)  # noqa: E731
    weighted, repeated = make().fit(X, sample_weight=W), make().fit(X.repeat(W, 0))
    np.testing.assert_allclose(weighted.calibration_scores_, repeated.calibration_scores_)
    assert weighted.offset_ == repeated.offset_
    score = weighted.score(X, sample_weight=W)
    assert score == pytest.approx(repeated.score(X.repeat(W, 0)))


def test_an_index_holds_all_rows():
    index = LatentIndex(MODEL).fit(X, sample_weight=W)
    assert len(index.codes_) == len(X)
    expected = isthmus.Autoencoder(**FAST, **EXACT).fit(X, sample_weight=W).transform(X)
    assert (index.codes_ == expected).all()


@pytest.mark.parametrize("name", ["detector", "imputer", "codec"])
@pytest.mark.parametrize("kind", ["frame", "sparse", "list"])
def test_kinds_of_input(name, kind):
    make = APPLICATIONS[name]
    if kind == "frame":
        rows = pytest.importorskip("pandas").DataFrame(X, columns=list("abcdef"))
    else:
        rows = sparse.csr_array(X) if kind == "sparse" else X.tolist()
    one = make(MODEL).fit(rows, sample_weight=W.tolist())
    expected = make(MODEL).fit(X, sample_weight=W)
    assert learned(one).keys() == learned(expected).keys()
    with pytest.raises(ValueError, match="one weight for each of 60 rows"):
        make(MODEL).fit(rows, sample_weight=W[1:])


@pytest.mark.parametrize("name", ["detector", "sampler", "denoiser"])
def test_errors_name_the_rows_of_x(name):
    bad = X.copy()
    bad[50, 1] = np.inf
    with pytest.raises(ValueError, match="row 50, feature 1"):
        APPLICATIONS[name](MODEL).fit(bad, sample_weight=np.arange(60) >= 30)
