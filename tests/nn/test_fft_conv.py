import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isthmus.nn import fft_conv
from isthmus.nn.conv import DoublingFFT, HalvingFFT, conv1d
from isthmus.nn.dense import Shapes
from isthmus.nn.fft_conv import FFT_PAYS_FROM_1D, FFTConv1d, FFTConv2d

PADDINGS = ["valid", "same", 0, 3]
MODES = ["zeros", "reflect", "replicate", "circular"]
OPTIONS = list(itertools.product(PADDINGS, [1, 2], [1, 2, 4]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("layers", "kernel"), [((FFTConv1d, nn.Conv1d), 5), ((FFTConv2d, nn.Conv2d), (5, 4))]
)
def test_layers_and_gradients_match_torch(layers, kernel, mode):
    for padding, dilation, groups in OPTIONS:
        check_layer(layers, kernel, padding, dilation, groups, mode)


def check_layer(layers, kernel, padding, dilation, groups, mode):
    torch.manual_seed(0)
    options = {"padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    ours, theirs = (layer(4, 8, kernel, **options) for layer in layers)
    theirs.load_state_dict(ours.state_dict())
    shape = (3, 4, 40) if layers[0] is FFTConv1d else (3, 4, 21, 18)
    x, y = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    x.requires_grad_()
    y.requires_grad_()
    a, b = ours(x), theirs(y)
    scale = float(b.detach().abs().max())
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * scale)
    a.pow(2).sum().backward()
    b.pow(2).sum().backward()
    for left, right in [(x, y), *zip(ours.parameters(), theirs.parameters(), strict=True)]:
        top = float(right.grad.abs().max())
        torch.testing.assert_close(left.grad, right.grad, rtol=0, atol=2e-5 * top)


def test_long_kernels_match_torch():
    layer = FFTConv1d(3, 5, 1001, padding=500)
    same = nn.Conv1d(3, 5, 1001, padding=500)
    same.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 4000)
    expected = same(x)
    torch.testing.assert_close(
        layer(x), expected, rtol=0, atol=1e-5 * float(expected.max().detach())
    )


def test_input_without_batch_axis():
    layer = FFTConv1d(2, 3, 7)
    x = torch.randn(2, 30)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("time", [513, 900, 1013, 1014, 2600])
@pytest.mark.parametrize(("dilation", "groups"), [(1, 1), (3, 2)])
def test_signals_in_blocks_match_torch(time, dilation, groups):
    layers = [
        layer(4, 6, 11, padding="same", dilation=dilation, groups=groups)
        for layer in (FFTConv1d, nn.Conv1d)
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(2, 4, time, generator=torch.Generator().manual_seed(0))
    inputs = [x.clone().requires_grad_() for _ in layers]
    outputs = [layer(i) for layer, i in zip(layers, inputs, strict=True)]
    scale = float(outputs[1].detach().abs().max())
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5 * scale)
    for out in outputs:
        out.pow(2).sum().backward()
    for left, right in zip(
        [inputs[0], *layers[0].parameters()], [inputs[1], *layers[1].parameters()], strict=True
    ):
        top = float(right.grad.abs().max())
        torch.testing.assert_close(left.grad, right.grad, rtol=0, atol=2e-5 * top)


def test_first_and_second_derivatives_match_finite_differences(monkeypatch):
    monkeypatch.setattr(fft_conv, "SMALLEST_BLOCK", 6)  # so that a short signal has blocks
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 4, 11), (2, 2, 2)
    x, w = (torch.randn(s, generator=generator, dtype=torch.double) for s in shapes)

    def convolve(x, w):
        return fft_conv.fft_convolve(x, w, [2], groups=2)

    inputs = (x.requires_grad_(), w.requires_grad_())
    assert torch.autograd.gradcheck(convolve, inputs)
    assert torch.autograd.gradgradcheck(convolve, inputs)


def test_weights_of_a_torch_layer_load_with_asymmetric_padding():
    options = {"padding": (3, 0), "dilation": (1, 2), "bias": False}
    theirs, ours = nn.Conv2d(2, 4, (7, 3), **options), FFTConv2d(2, 4, (7, 3), **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=0)
    assert ours.bias is None
    assert ours(x[None][:0]).shape == theirs(x[None][:0]).shape == (0, 4, 9, 8)


def test_long_kernels_are_exact_to_six_digits():
    torch.manual_seed(0)
    x, w = torch.randn(1, 8, 4000), torch.randn(8, 8, 1025)
    exact = F.conv1d(x.double(), w.double())
    wrong = (fft_conv.fft_convolve(x, w, [1]) - exact).abs().max() / exact.abs().max()
    assert wrong < 1e-6


def test_impossible_inputs_raise_the_errors_of_torch():
    with pytest.raises(ValueError, match="supports only stride 1"):
        FFTConv2d(1, 1, 3, stride=2)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        FFTConv1d(1, 1, 9)(torch.zeros(1, 1, 5))
    with pytest.raises(RuntimeError, match="to have 2 channels, but got 3 channels instead"):
        FFTConv1d(2, 1, 3)(torch.zeros(5, 3, 9))
    with pytest.raises(RuntimeError, match=r"Expected 3D .* or 4D .* input"):
        FFTConv2d(2, 1, 3)(torch.zeros(5, 2))


@pytest.mark.parametrize("time", [50, 51])
def test_halving_and_doubling_match_strided_layers(time):
    torch.manual_seed(0)
    halving, strided = HalvingFFT(2, 3, 9), nn.Conv1d(2, 3, 9, 2, 4, bias=False)
    strided.load_state_dict({"weight": halving.conv.weight})
    x = torch.randn(4, 2, time)
    torch.testing.assert_close(halving(x), strided(x), atol=1e-5, rtol=1e-5)
    small = strided(x)
    extra = time - (2 * small.shape[-1] - 1)
    doubling, spread = DoublingFFT(3, 2, 9, extra, True), nn.ConvTranspose1d(3, 2, 9, 2, 4, extra)
    spread.load_state_dict(
        {"weight": doubling.conv.weight.transpose(0, 1).flip(2), "bias": doubling.conv.bias}
    )
    torch.testing.assert_close(doubling(small), spread(small), atol=1e-5, rtol=1e-4)
    assert doubling(small).shape == x.shape


def test_the_backbone_takes_fft_for_long_kernels():
    long = FFT_PAYS_FROM_1D | 1
    for kernel, expected in ((9, 0), (long, 1)):
        encoder, _ = conv1d(Shapes((1, 600), 2), kernel_size=kernel)
        found = any(isinstance(m, FFTConv1d) for m in encoder.modules())
        assert found == bool(expected)
