"""What the decode loop needs of a network, whatever its architecture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Prompt:
    """One context as the network reads it: token ids and, for the families that have them, one type id each."""

    ids: tuple[int, ...]
    types: tuple[int, ...] | None = None


class Reading(Protocol):
    """A batch of contexts that have been read, and what was written after them. One row a candidate."""

    def feed(self, tokens: Tensor) -> Tensor:
        """Append one token to every row: (B,) int64 to the next scores (B, V) float32."""

    def select(self, index: Tensor) -> None:
        """Go on with these rows, (N,) int64, in this order; a row may be repeated or left out."""


class LanguageModel(Protocol):
    """A network on its device, ready to read. Calls block, one at a time."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def weights(self) -> int:
        """How many numbers it consists of."""

    @property
    def vocabulary(self) -> int:
        """How many token ids it knows, V."""

    @property
    def context_limit(self) -> int:
        """Longest context, in tokens."""

    def sequence(self, ids: Sequence[int]) -> tuple[int, ...]:
        """What the decoder has before it when the reply begins: the context itself, or an encoder-decoder's start."""

    def room(self, context_tokens: int) -> int:
        """How many tokens can be written after a context of so many."""

    def read(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Reading]:
        """Read contexts of any lengths together: the scores of the first token (B, V) float32, and the reading."""
