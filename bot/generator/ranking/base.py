"""What every ranker offers. Imports no torch."""

from collections.abc import Sequence
from typing import Protocol

Pair = tuple[Sequence[str], str]
"""The turns before the reply, oldest first, and the reply."""


class Ranker(Protocol):
    """Scores replies between 0 and 1. Calls block, one at a time."""

    @property
    def name(self) -> str:
        """What the head judges, for example human_vs_rand."""

    @property
    def revision(self) -> str:
        """A short name for exactly these weights, tokenizer and config."""

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """One score a pair, in order. A context that is too long loses its oldest turns."""
