"""What PingPong's two networks share: keys and values that grow, heads, masks, and a strict fit of the weights."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint
from bot.generator.loading import check_numbers

Network = TypeVar("Network", bound=nn.Module)


class KeyValues:
    """Keys and values of one attention layer for every token so far, (B, H, S, D) each."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of new tokens; gives all of them."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def select(self, index: Tensor) -> None:
        """Go on with these rows."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[index], self.values[index]


def split_heads(hidden: Tensor, heads: int) -> Tensor:
    """(B, T, H * D) to (B, H, T, D)."""
    rows, tokens, width = hidden.shape
    return hidden.view(rows, tokens, heads, width // heads).transpose(1, 2)


def join_heads(hidden: Tensor) -> Tensor:
    """(B, H, T, D) to (B, T, H * D)."""
    return hidden.transpose(1, 2).flatten(2)


def causal(new: int, total: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For the last `new` of `total` tokens: which tokens each may see, and which one is itself, (T, S) bool both."""
    places = torch.arange(total, device=device)
    own = places[total - new :, None]
    return places <= own, places == own


def fitted(
    make: Callable[[Mapping[str, object]], Network], checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype
) -> Network:
    """A network that has every weight from the checkpoint and leaves none over, or CheckpointError."""
    network, weights = matched(make, checkpoint)
    network.to_empty(device=device).to(dtype).eval()
    network.load_state_dict(weights)
    check_numbers(network, checkpoint)
    return network


def matched(
    make: Callable[[Mapping[str, object]], Network], checkpoint: Checkpoint
) -> tuple[Network, dict[str, Tensor]]:
    """A network without memory of its own, and the weights that fit it name by name, or CheckpointError."""
    if checkpoint.read_weights is None:
        raise CheckpointError(f"{checkpoint.path}: there is no way to read the weights of a {checkpoint.architecture}.")
    weights = checkpoint.read_weights()
    with torch.device("meta"):
        network = make(checkpoint.config)
    expected = network.state_dict()
    problems = [
        f"{name} is {_size(weights[name])}, the configuration says {_size(value)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    problems += [f"{name} is missing" for name in sorted(expected.keys() - weights.keys())]
    problems += [f"{name} has no place in it" for name in sorted(weights.keys() - expected.keys())]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path}: the weights do not fit a {checkpoint.architecture} "
            f"({len(problems)} differences, first: {problems[0]}). Put the configuration beside the file that belongs "
            "to it."
        )
    return network, weights


def _size(weight: Tensor) -> str:
    return "x".join(str(length) for length in weight.shape)
