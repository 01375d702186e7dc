import pytest
import torch

from isthmus.nn.dense import Shapes
from isthmus.nn.stft import Spectral


@pytest.fixture
def networks():
    spectral = Spectral(frame=32, width=8, depth=2)
    torch.manual_seed(0)
    encoder, decoder = spectral(Shapes((1, 200), spectral.n_components((1, 200))))
    return encoder.eval(), decoder.eval()


def test_open_gates_return_the_input(networks):
    encoder, decoder = networks
    encoder.gate = torch.nn.Sequential(encoder.gate, OpenGate())
    x = torch.randn(3, 1, 200)
    torch.testing.assert_close(decoder(encoder(x)), x, atol=1e-5, rtol=0)


class OpenGate(torch.nn.Module):
    def forward(self, gate):
        return torch.ones_like(gate)


def test_gates_attenuate_in_proportion_to_the_input(networks):
    encoder, decoder = networks
    x = torch.randn(3, 1, 200)
    torch.testing.assert_close(
        decoder(encoder(10 * x)), 10 * decoder(encoder(x)), rtol=1e-3, atol=1e-4
    )
    assert decoder(encoder(x)).square().sum() < x.square().sum()
    assert decoder(encoder(torch.zeros(2, 1, 200))).abs().max() == 0


def test_invalid_shapes_and_settings_raise():
    spectral = Spectral(frame=32)
    with pytest.raises(ValueError, match="needs n_components="):
        spectral(Shapes((200,), 20))
    with pytest.raises(ValueError, match="expects windows"):
        spectral(Shapes((2, 200), spectral.n_components((2, 200))))
    with pytest.raises(ValueError, match="frame must be even"):
        spectral(Shapes((20,), 20))
