import pytest
import torch

from isthmus.nn.dense import CONDITION_STD, Dense, Gated, linear_layer


@pytest.mark.parametrize("layer", [linear_layer("relu"), Gated])
def test_condition_weights_start_larger_than_those_of_many_inputs(layer):
    torch.manual_seed(0)
    network = Dense([784, 500, 3], layer, condition=11)
    for linear in (m for m in network.layers[0].modules() if isinstance(m, torch.nn.Linear)):
        pixels, labels, unknown = linear.weight.detach().split([784, 10, 1], dim=1)
        assert float(labels.std()) == pytest.approx(CONDITION_STD, rel=0.05)
        assert float(pixels.abs().max()) < 0.04  # 1 / sqrt(795), the default of torch
        assert float(unknown.abs().max()) < 0.04


def test_weights_without_a_condition_start_as_in_torch():
    weights = []
    for network in (lambda: Dense([4, 8, 2], linear_layer("relu")), lambda: torch.nn.Linear(4, 8)):
        torch.manual_seed(0)
        weights.append(next(network().parameters()))
    assert torch.equal(*weights)
    straight = Dense([4, 2], linear_layer("relu"), condition=3).layers[0]
    assert float(straight.weight.detach().abs().max()) < 0.38  # no hidden layer: 1 / sqrt(7)
