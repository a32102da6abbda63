"""What a dialect is: how one family of checkpoints writes a conversation as token ids.

A dialect is used for inference, for training and by the rankers, so the three can never disagree about the layout.
It knows the tokenizer, and neither the model nor where the text comes from.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from bot.generator.decoding import Decoding

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
    """Token ids with one label each: the id itself where it is to be learned, else `IGNORED` (not shifted).

    `type_ids`, one a token, are for the families whose models read them.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    type_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a family's own code reads decoding settings, where the families differ.

    "sequence" is what the decoder has before it: context and reply, or for an encoder-decoder what the decoder wrote.
    """

    penalty: Literal["ctrl", "divide"] = "ctrl"
    """The repetition penalty p: a score x becomes x*p below 0 and x/p above (CTRL), or x/p always (GPT2-chitchat)."""
    penalised: Literal["sequence", "reply"] = "sequence"
    """Where tokens count as said for the repetition penalty."""
    spares_stops: bool = True
    """Whether the tokens that end a reply are exempt from the repetition penalty."""
    ngrams: Literal["sequence", "reply"] = "reply"
    """Where runs of tokens count as said for no_repeat_ngram."""
    beam_length: Literal["sequence", "reply"] = "reply"
    """By which length the sum of a beam's log probabilities is divided: all without the stop token, as in transformers
    3, or the reply with it, as in transformers 5."""
    beam_must_stop: bool = False
    """Whether beam search allows nothing but a stop token at the last position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a family's own chat program does when nobody gives settings."""

    decoding: Decoding
    turns: int | None = None
    """Most utterances of the history that its context holds, the last one included; None: no limit."""
    one_line: bool = False
    """Whether its texts never had a line break, so that a space stands for one in the context."""
    manner: Manner = field(default_factory=Manner)


class Dialect(Protocol):
    """One family's layout. No text, whoever wrote it, ever becomes one of `control_ids`."""

    @property
    def name(self) -> str:
        """The name under which a checkpoint records its dialect."""

    @property
    def habits(self) -> Habits:
        """How the family's own program chats."""

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

    def encode(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str] = ()) -> list[int]:
        """Write a context that the model continues with its reply, oldest utterance first.

        Of a context longer than `max_tokens` the oldest turns are left out whole; if the last turn alone is too
        long, its beginning is. The caller keeps room for the reply. `persona` are sentences about the bot, for the
        families that read them. Raises ValueError for an empty context.
        """

    def type_ids(self, ids: Sequence[int]) -> list[int] | None:
        """The token types of a context, one an id; what is generated has the last one's. None: the family has none."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a reply as the family's own code writes it, control ids left out, surrounding space kept."""

    def example(
        self,
        utterances: Sequence[Utterance],
        learned_speakers: Container[int],
        max_tokens: int,
        persona: Sequence[str] = (),
    ) -> TrainingExample:
        """Write a whole dialogue for training with the labels of the family: turns of `learned_speakers` are learned,
        or everything where the family's own training learns everything.

        Of a dialogue longer than `max_tokens` the last turns are left out whole (they open another example).
        """


def fitting(turns: Sequence[list[int]], max_tokens: int) -> list[list[int]]:
    """The newest turns that fit into `max_tokens` together, oldest first; the last turn loses its beginning if need be.

    Raises ValueError if there is no turn or no room.
    """
    if not turns:
        raise ValueError("a context needs at least one utterance")
    if max_tokens < 1:
        raise ValueError(f"a context of {max_tokens} tokens has no room for its last utterance")
    kept = [turns[-1][-max_tokens:]]
    left = max_tokens - len(kept[0])
    for turn in reversed(turns[:-1]):
        if len(turn) > left:
            break
        kept.insert(0, turn)
        left -= len(turn)
    return kept
