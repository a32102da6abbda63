"""Muon for the matrices between layers, AdamW for everything else, seen by the Trainer as one optimizer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

MUON_RATE_RATIO = 10.0
"""Muon's learning rate as a multiple of AdamW's; its updates are orthogonal matrices, not signs."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers behind one face (Jordan et al. 2024, "Muon"). A scheduler sees the groups of both."""

    def __init__(self, model: nn.Module, learning_rate: float, weight_decay: float) -> None:
        matrices, rest = _split(model.named_parameters())
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=learning_rate * MUON_RATE_RATIO, weight_decay=weight_decay, momentum=0.95),
            torch.optim.AdamW(rest, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98), eps=1e-8),
        ]
        super().__init__([*matrices, *rest], {})
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        for part in self._parts:
            part.step()
        return None

    def state_dict(self) -> dict[str, Any]:
        """Both states, in order."""
        return {"state": {}, "param_groups": [], "parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self._parts for group in part.param_groups]


def _split(named: Iterable[tuple[str, nn.Parameter]]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    matrices, rest = list[nn.Parameter](), list[nn.Parameter]()
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        between_layers = parameter.ndim == 2 and (".h." in name or ".layers." in name)
        (matrices if between_layers else rest).append(parameter)
    return matrices, rest
