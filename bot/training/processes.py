"""One process or several that torchrun started: who writes files, and who waits for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return int(os.environ.get("RANK", "0")) == 0


def backend() -> str | None:
    """What the processes talk through; None for a single one."""
    if processes() == 1:
        return None
    import torch

    return "nccl" if torch.cuda.is_available() else "gloo"


@contextmanager
def first_process_first() -> Iterator[None]:
    """What is done within is done by the first process alone, then by the others, which find its files."""
    if processes() == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    make: Any = PartialState
    state = make(cpu=not torch.cuda.is_available(), backend=backend())
    with state.main_process_first():
        yield


def told_by_first(value: float) -> float:
    """The first process's value, for everybody."""
    if processes() == 1:
        return value
    import torch

    device = torch.device("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")
    told = torch.tensor([value], dtype=torch.float64, device=device)
    torch.distributed.broadcast(told, src=0)
    return float(told)
