import itertools

import pytest
import torch
from torch import nn

from isthmus.backbones import Shapes
from isthmus.convolutions import DoublingFFT, HalvingFFT, conv1d
from isthmus.fftconv import FFT_PAYS_FROM_1D, FFTConv1d, FFTConv2d

PADDINGS = ["valid", "same", 0, 3]
MODES = ["zeros", "reflect", "replicate", "circular"]
SETTINGS = [
    (layers, kernel, padding, dilation, groups, mode)
    for layers, kernel in (((FFTConv1d, nn.Conv1d), 5), ((FFTConv2d, nn.Conv2d), (5, 4)))
    for padding, dilation, groups in itertools.product(PADDINGS, [1, 2], [1, 2, 4])
    for mode in MODES
]


@pytest.mark.parametrize(("layers", "kernel", "padding", "dilation", "groups", "mode"), SETTINGS)
def test_it_is_torchs_layer(layers, kernel, padding, dilation, groups, mode):
    torch.manual_seed(0)
    options = {"padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    ours, torchs = (layer(4, 8, kernel, **options) for layer in layers)
    torchs.load_state_dict(ours.state_dict())
    shape = (3, 4, 40) if layers[0] is FFTConv1d else (3, 4, 21, 18)
    x, y = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    x.requires_grad_()
    y.requires_grad_()
    a, b = ours(x), torchs(y)
    scale = float(b.detach().abs().max())
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * scale)
    a.pow(2).sum().backward()
    b.pow(2).sum().backward()
    for left, right in [(x, y), *zip(ours.parameters(), torchs.parameters(), strict=True)]:
        top = float(right.grad.abs().max())
        torch.testing.assert_close(left.grad, right.grad, rtol=0, atol=2e-5 * top)


def test_long_kernels_stay_exact():
    layer = FFTConv1d(3, 5, 1001, padding=500)
    same = nn.Conv1d(3, 5, 1001, padding=500)
    same.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 4000)
    expected = same(x)
    torch.testing.assert_close(
        layer(x), expected, rtol=0, atol=1e-5 * float(expected.max().detach())
    )


def test_one_row_without_a_batch_is_taken():
    layer = FFTConv1d(2, 3, 7)
    x = torch.randn(2, 30)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


def test_mistakes_are_said():
    with pytest.raises(ValueError, match="has stride 1"):
        FFTConv2d(1, 1, 3, stride=2)
    with pytest.raises(ValueError, match="must not be larger"):
        FFTConv1d(1, 1, 9)(torch.zeros(1, 1, 5))


@pytest.mark.parametrize("time", [50, 51])
def test_the_backbones_layers_are_the_strided_ones(time):
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
