"""FusedAdamW equals torch's AdamW; the number of threads follows the size of the model."""

import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from isthmus.training.devices import WORTH_A_THREAD, enough_threads
from isthmus.training.optimizers import FusedAdamW


def trained(make, steps, seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    optimizer = make(network.parameters())
    x = torch.randn(steps, 11, 5)
    for batch in x:
        optimizer.zero_grad()
        network(batch).square().mean().backward()
        optimizer.step()
    return network, optimizer


@pytest.mark.parametrize("options", [{"lr": 1e-2}, {"lr": 1e-3, "weight_decay": 0.1}])
def test_it_equals_torch_adamw_bit_for_bit(options):
    ours, _ = trained(lambda p: FusedAdamW(p, **{"weight_decay": 0.0} | options), 20)
    options = {"weight_decay": 0.0} | options
    theirs, _ = trained(lambda p: torch.optim.AdamW(p, fused=True, **options), 20)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loaded_state_continues_bit_for_bit():
    whole, _ = trained(lambda p: FusedAdamW(p, lr=1e-2), 12)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x = torch.randn(12, 11, 5)
    first = FusedAdamW(network.parameters(), lr=1e-2)
    for i, batch in enumerate(x):
        if i == 6:
            second = FusedAdamW(network.parameters(), lr=5.0)
            second.load_state_dict(first.state_dict())
            first = second
        first.zero_grad()
        network(batch).square().mean().backward()
        first.step()
    for a, b in zip(whole.parameters(), network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_parameter_without_gradient_is_unchanged():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = FusedAdamW([used, unused], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        used.sum().backward()
        optimizer.step()
    assert (used < 1).all()
    assert (unused == 1).all()


def test_small_models_use_one_thread_and_the_setting_is_restored():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        small, rows = nn.Linear(8, 8), 16
        large = nn.Linear(8, round(2 * WORTH_A_THREAD / (6 * rows * 8)))
        with enough_threads(small, rows):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with enough_threads(large, rows):
            assert torch.get_num_threads() == 2
        with enough_threads(nn.Conv1d(1, 1, 3), rows):
            assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), enough_threads(small, rows):
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_two_trainings_at_once_restore_the_number_of_threads():
    before = torch.get_num_threads()
    small, inside, leave = nn.Linear(2, 2), threading.Event(), threading.Event()

    def train():
        torch.set_num_threads(2)
        with enough_threads(small, 4):
            inside.set()
            leave.wait(5)

    try:
        torch.set_num_threads(2)
        other = threading.Thread(target=train)
        other.start()
        inside.wait(5)
        with enough_threads(small, 4):
            leave.set()
            other.join()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


SHORT = """
import sys, tempfile
import numpy as np, isthmus
X, y = np.random.default_rng(0).random((300, 20)), np.arange(300) % 2
model = isthmus.ConditionalVAE(hidden=(8,), epochs=2).fit(X, y)
model.partial_fit(X[:10], y[:10])
with tempfile.TemporaryDirectory() as folder:
    model.save(folder)
    isthmus.load(folder)
heavy = ("torch._dynamo", "torch.distributed.tensor", "matplotlib")
print(*(name for name in heavy if name in sys.modules))
"""


def test_fit_save_and_load_do_not_import_the_compiler():
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
