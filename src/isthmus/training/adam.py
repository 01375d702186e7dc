"""AdamW without the import of torch's compiler.

torch's own decorators import `torch._dynamo` when an optimizer is made, which takes more than a
second, longer than many of the fits here. The update itself is torch's fused kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import unwrap
from typing import Any

import torch

__all__ = ["FusedAdamW"]


class FusedAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW(fused=True)`, bit for bit, that does not load the compiler.

    Parameters
    ----------
    parameters : iterable of Parameter, or of parameter groups
    **options
        ``lr`` and ``weight_decay``.
    """

    add_param_group = unwrap(torch.optim.AdamW.add_param_group)
    state_dict = unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))

    def __init__(self, parameters: Iterable[Any], **options: Any) -> None:
        parameters = list(parameters)
        first = parameters[0]["params"][0] if isinstance(parameters[0], dict) else parameters[0]
        super().__init__(parameters, fused=first.device.type in ("cpu", "cuda"), **options)
