import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_digits

from isthmus import VAE, Autoencoder
from isthmus.applications.compression import (
    CODINGS,
    CompressedCodes,
    LatentCodec,
    _pack,
    _unpack,
    decompress,
)

X = load_digits().images[:300].astype(np.float32) / 16


@pytest.fixture(scope="module")
def model():
    settings = {"hidden": (32,), "epochs": 30, "batch_size": 32, "learning_rate": 5e-3}
    return Autoencoder(n_components=6, random_state=0, **settings).fit(X)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), bits=st.integers(1, 16), coding=st.sampled_from(CODINGS))
def test_packing_round_trip(data, bits, coding):
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 5)))
    numbers = data.draw(arrays(np.uint16, shape, elements=st.integers(0, 2**bits - 1)))
    payload = _pack(numbers, bits, coding)
    np.testing.assert_array_equal(_unpack(payload, *shape, bits, coding), numbers)
    if coding == "packed":
        assert len(payload) == -(-numbers.size * bits // 8)


@pytest.mark.parametrize("bits", [1, 3, 8, 12, 16])
@pytest.mark.parametrize("coding", CODINGS)
def test_quantisation_error_is_at_most_half_a_step(model, bits, coding):
    codec = LatentCodec.from_fitted(model, bits=bits, coding=coding).fit(X)
    packed = codec.compress(X)
    codes = model.transform(X)
    step = (codec.high_ - codec.low_) / (2**bits - 1)
    assert packed.coding == coding
    assert (np.abs(packed.codes() - codes) <= step / 2 + 1e-5).all()
    np.testing.assert_allclose(packed.codes().max(0), codes.max(0), rtol=1e-5)
    np.testing.assert_allclose(
        codec.decompress(packed), model.inverse_transform(packed.codes()), atol=1e-6
    )


def test_shortest_coding_is_chosen(model):
    lengths = {
        coding: len(LatentCodec.from_fitted(model, coding=coding).fit(X).compress(X).payload)
        for coding in CODINGS
    }
    best = LatentCodec.from_fitted(model).fit(X).compress(X)
    assert len(best.payload) == min(lengths.values())
    assert best.bytes_per_row == min(lengths.values()) / 300


def test_values_out_of_range_are_clipped_and_counted(model):
    codec = LatentCodec.from_fitted(model).fit(X[:20])
    codes, packed = model.transform(X), codec.compress(X)
    clipped = np.clip(codes, codec.low_, codec.high_)
    step = (codec.high_ - codec.low_) / 255
    assert (np.abs(packed.codes() - clipped) <= step / 2 + 1e-5).all()
    share = ((codes < codec.low_) | (codes > codec.high_)).mean()
    assert 0 < share == codec.report(X)["fraction of values out of range"]


def test_constant_component_is_exact(model):
    codec = LatentCodec.from_fitted(model).fit(np.repeat(X[:1], 4, axis=0))
    packed = codec.compress(X[:1])
    np.testing.assert_allclose(packed.codes(), model.transform(X[:1]), rtol=1e-6)


def test_report_contains_sizes_and_errors(model):
    codec = LatentCodec.from_fitted(model, bits=4, coding="packed").fit(X)
    packed = codec.compress(X)
    report = codec.report(X, packed)
    assert report["bytes per row, codes"] == 3.0  # 6 components of 4 bits
    assert report["bytes per row, raw"] == 64 * 4
    error = np.sqrt(((codec.decompress(packed) - X) ** 2).mean())
    np.testing.assert_allclose(report["RMS error of decompressed rows"], error, rtol=1e-5)
    plain = np.sqrt(((model.reconstruct(X) - X) ** 2).mean())
    np.testing.assert_allclose(report["RMS error without quantisation"], plain, rtol=1e-5)
    coarse = LatentCodec.from_fitted(model, bits=1).fit(X).report(X)
    assert coarse["RMS error of decompressed rows"] > 1.1 * plain
    fine = LatentCodec.from_fitted(model, bits=12).fit(X).report(X)
    np.testing.assert_allclose(fine["RMS error of decompressed rows"], plain, rtol=1e-3)


def test_report_of_bytes_uses_the_unit_interval():
    pixels = (X * 255).astype(np.uint8)
    model = Autoencoder(n_components=4, hidden=(8,), epochs=2, random_state=0).fit(pixels)
    report = LatentCodec.from_fitted(model).fit(pixels).report(pixels)
    assert report["bytes per row, raw"] == 64
    assert report["RMS error of decompressed rows"] < 0.5


@pytest.mark.parametrize("coding", CODINGS)
def test_save_and_load_round_trip(model, coding, tmp_path):
    packed = LatentCodec.from_fitted(model, bits=10, coding=coding).fit(X).compress(X)
    path = tmp_path / "codes.npz"
    assert packed.save(path) == path.stat().st_size
    again = CompressedCodes.load(path)
    np.testing.assert_array_equal(again.numbers(), packed.numbers())
    np.testing.assert_array_equal(decompress(model, again), decompress(model, packed))


def test_missing_or_corrupt_files_raise(model, tmp_path):
    path = tmp_path / "codes.npz"
    with pytest.raises(FileNotFoundError):
        CompressedCodes.load(path)
    packed = LatentCodec.from_fitted(model).fit(X).compress(X)
    packed.save(path)
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", X=X)
    np.savez(tmp_path / "pickle.npz", meta=np.array([{}], dtype=object))
    for name, content in {
        "cut.npz": whole[: len(whole) // 2],
        "text.npz": b"codes",
        "wrong.npz": whole.replace(b'"n_rows": 300', b'"n_rows": 301'),
        "coding.npz": whole.replace(packed.coding.encode(), b"evil"[: len(packed.coding)]),
    }.items():
        (tmp_path / name).write_bytes(content)
    for name in ("other", "pickle", "cut", "text", "wrong", "coding"):
        with pytest.raises(ValueError, match="valid compressed codes"):
            CompressedCodes.load(tmp_path / f"{name}.npz")


def test_decompress_rejects_another_model(model):
    packed = LatentCodec.from_fitted(model).fit(X).compress(X)
    other = VAE(n_components=6, hidden=(8,), epochs=1).fit(X)
    with pytest.raises(ValueError, match="another model"):
        decompress(other, packed)


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"bits": 0}, "1 to 16"), ({"bits": 2.0}, "1 to 16"), ({"coding": "rar"}, "coding must be")],
)
def test_invalid_parameters_raise(setting, words):
    with pytest.raises(ValueError, match=words):
        LatentCodec(Autoencoder(), **setting).fit(X)
