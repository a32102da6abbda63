"""A head that scores replies given what was said before. Imports torch only when one is loaded."""

from collections.abc import Sequence
from typing import Protocol

from bot.generator.checkpoints import locate

MUTUAL_INFORMATION = "mutual_information"
"""The ranker that every generator is: see `bot.generator.ranking.mutual_information`."""

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


def load_ranker(checkpoint: str, *, name: str, device: str = "auto", dtype: str = "auto") -> Ranker:
    """Load a ranker from "starter", a directory, or a hub id. Raises CheckpointError.

    The checkpoint is a GPT2ForSequenceClassification head; for the name `mutual_information` it is a generator.
    """
    if name == MUTUAL_INFORMATION:
        from bot.generator.ranking.mutual_information import MutualInformation

        return MutualInformation.load(locate(checkpoint, starter="generator"), name=name, device=device, dtype=dtype)
    directory = locate(checkpoint, starter="ranker")
    from bot.generator.ranking.head import Head

    return Head.load(directory, name=name, device=device, dtype=dtype)
