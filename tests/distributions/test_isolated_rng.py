"""Draws from torch's global random state that are seeded by a generator."""

import traceback

import pytest
import torch

from isthmus.distributions.base import isolated_rng


def test_draws_are_those_of_the_seed_and_the_global_state_is_restored():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with isolated_rng(torch.Generator().manual_seed(0)):
        drawn = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(0)))
    assert torch.equal(drawn, torch.rand(4, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="seeds the accelerator, too")
def test_without_an_accelerator_the_stack_is_not_formatted(monkeypatch):
    """torch.manual_seed does so for each kind of accelerator, which takes most of its time."""
    monkeypatch.setattr(traceback, "format_stack", lambda *_: pytest.fail("formats the stack"))
    with isolated_rng(torch.Generator()):
        torch.rand(1)
