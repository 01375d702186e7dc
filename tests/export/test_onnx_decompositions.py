"""What ONNX lacks, against torch's own."""

import pytest
import torch

from isthmus.export import onnx_decompositions


def test_gamma():
    x = torch.cat([torch.logspace(-6, 8, 500, dtype=torch.float64), torch.arange(1.0, 50)])
    torch.testing.assert_close(
        onnx_decompositions._lgamma(x), torch.lgamma(x), rtol=1e-10, atol=1e-10
    )
    small = x[x < 1e3].float()
    torch.testing.assert_close(onnx_decompositions._lgamma(small), torch.lgamma(small))


def test_triangular_solution():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(4, 6, 6, generator=g).double().tril() + 3 * torch.eye(6)
    b = torch.randn(5, 1, 6, 2, generator=g).double()
    wanted = torch.linalg.solve_triangular(a, b, upper=False)
    torch.testing.assert_close(onnx_decompositions._solve_triangular(a, b, upper=False), wanted)


def test_other_triangular_solutions_are_refused():
    with pytest.raises(ValueError, match="lower triangular"):
        onnx_decompositions._solve_triangular(torch.eye(2), torch.eye(2), upper=True)


def test_spectrum_and_back():
    x, window = torch.randn(3, 640, dtype=torch.float64), torch.hann_window(64).double()
    wanted = torch.stft(x, 64, 32, window=window, center=False, return_complex=True)
    torch.testing.assert_close(onnx_decompositions._stft(x, 64, 32, 64, window, False), wanted)
    spectrum = torch.stft(x, 64, 32, window=window, return_complex=True)
    spectrum = spectrum * torch.rand(3, 33, 1)
    sound = torch.istft(spectrum, 64, 32, window=window, length=640)
    got = onnx_decompositions._istft(spectrum, 64, 32, 64, window, length=640)
    torch.testing.assert_close(got, sound)


def test_cross_entropy():
    logits, target = torch.linspace(-200, 200, 401), torch.rand(401)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(onnx_decompositions._cross_entropy(logits, target), wanted)
