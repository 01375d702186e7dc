"""Files written by earlier versions still load and give the same answers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.applications import LatentCodec, LatentIndex, LatentSampler
from isthmus.applications.compression import CompressedCodes

SAVED = Path(__file__).parents[1] / "fixtures" / "saved-0.1.0.dev0"
MODELS = (
    *("autoencoder", "denoising", "sparse", "contractive"),
    *("vae", "beta-vae", "conditional-vae"),
)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return (data.images / 16)[:120], data.target[:120]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["transform", "reconstruct", "score_samples"])
def test_every_model_answers_as_it_did(name, method, digits):
    X, y = digits
    condition = {"condition": y[:10]} if name == "conditional-vae" else {}
    answer = getattr(isthmus.load(SAVED / name), method)(X[:10], **condition)
    expected = np.load(SAVED / "expected.npz")[f"{name}/{method}"]
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-6)


def test_an_index_finds_the_same_neighbours(digits):
    index = LatentIndex.load(SAVED / "index", isthmus.load(SAVED / "vae"))
    distances, indices = index.kneighbors(digits[0][:5])
    expected = np.load(SAVED / "index-expected.npz")
    np.testing.assert_array_equal(np.sort(indices, 1), np.sort(expected["indices"], 1))
    np.testing.assert_allclose(distances, expected["distances"], atol=1e-4)
    # Only neighbours whose distances are equal up to rounding may change places.
    moved = indices != expected["indices"]
    ties = np.isclose(distances[:, :, None], distances[:, None], atol=1e-4).sum(2) > 1
    assert not (moved & ~ties).any()


def test_a_mixture_draws_the_same_samples():
    sampler = LatentSampler.load(SAVED / "sampler", isthmus.load(SAVED / "autoencoder"))
    expected = np.load(SAVED / "sampler-expected.npz")["samples"]
    np.testing.assert_allclose(sampler.sample(3, random_state=0), expected, rtol=1e-4, atol=1e-6)


def test_compressed_codes_decode_to_the_same_rows(digits):
    codec = LatentCodec(isthmus.load(SAVED / "vae")).fit(digits[0])
    expected = np.load(SAVED / "codes-expected.npz")["decoded"]
    decoded = codec.decompress(CompressedCodes.load(SAVED / "codes"))
    np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-6)


def test_an_interrupted_run_of_an_older_version_is_refused(tmp_path, digits):
    shutil.copytree(SAVED / "checkpoint", tmp_path / "run")
    model = isthmus.VAE(n_components=2, hidden=(4,), epochs=4, random_state=0)
    with pytest.raises(ValueError, match="older isthmus and cannot be resumed: start a new run"):
        model.fit(digits[0], resume_from=tmp_path / "run")
