"""What a dialect is: how one family of checkpoints writes a conversation as token ids.

A dialect is used for inference, for training and by the rankers, so the three can never disagree about the layout.
It knows the tokenizer, and neither the model nor where the text comes from.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Protocol

BOT = 0
"""The speaker number of the bot. People are 1, 2, ... by order of appearance."""

IGNORED = -100
"""A label that adds nothing to the training loss (the value torch's cross entropy ignores)."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one speaker said in one go."""

    speaker: int
    text: str


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """Token ids with one label each: the id itself where it is to be learned, else `IGNORED` (not shifted)."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


class Dialect(Protocol):
    """One family's layout. No text, whoever wrote it, ever becomes one of `control_ids`."""

    @property
    def name(self) -> str:
        """The name under which a checkpoint records its dialect."""

    @property
    def vocabulary_size(self) -> int:
        """Number of ids that the tokenizer knows; a model must have at least as many rows."""

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that carry structure, not text."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply."""

    @property
    def banned_ids(self) -> frozenset[int]:
        """Ids that may never be generated."""

    def encode(self, utterances: Sequence[Utterance], max_tokens: int) -> list[int]:
        """Write a context that the model continues with its reply, oldest utterance first.

        Of a context longer than `max_tokens` the oldest turns are left out whole; if the last turn alone is too
        long, its beginning is. The caller keeps room for the reply. Raises ValueError for an empty context.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a reply, control ids left out, without surrounding space."""

    def example(
        self, utterances: Sequence[Utterance], learned_speakers: Container[int], max_tokens: int
    ) -> TrainingExample:
        """Write a whole dialogue for training: turns of `learned_speakers` are learned, never the first turn.

        Of a dialogue longer than `max_tokens` the last turns are left out whole (they open another example).
        """
