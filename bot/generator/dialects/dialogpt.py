"""DialoGPT: every turn ends with `<|endoftext|>`, and nothing says who spoke (Zhang et al. 2020, arXiv:1911.00536)."""

from collections.abc import Container, Sequence

from tokenizers import Tokenizer

from bot.generator.dialects.base import IGNORED, TrainingExample, Utterance
from bot.generator.errors import CheckpointError
from bot.generator.tokenization import END_OF_TEXT, control_ids_of, encode_text


class DialoGPT:
    """The layout of microsoft/DialoGPT-*, of DialogRPT's contexts, and of the starter."""

    name = "dialogpt"

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises CheckpointError if the tokenizer has no end-of-text token."""
        end = tokenizer.token_to_id(END_OF_TEXT)
        if end is None:
            raise CheckpointError(f"The tokenizer has no {END_OF_TEXT}, which the dialect {self.name} needs.")
        self._tokenizer = tokenizer
        self._end: int = end
        self.vocabulary_size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        self.control_ids = control_ids_of(tokenizer) | {end}
        self.stop_ids = frozenset({end})
        self.banned_ids = self.control_ids - self.stop_ids

    def encode(self, utterances: Sequence[Utterance], max_tokens: int) -> list[int]:
        """See `Dialect.encode`."""
        if not utterances:
            raise ValueError("a context needs at least one utterance")
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}; a context needs room for one token at least")
        ids = self._turn(utterances[-1])[-max_tokens:]
        for utterance in reversed(utterances[:-1]):
            turn = self._turn(utterance)
            if len(turn) + len(ids) > max_tokens:
                break
            ids = turn + ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """See `Dialect.decode`."""
        text = self._tokenizer.decode([i for i in ids if i not in self.control_ids], skip_special_tokens=False)
        return str(text).strip()

    def example(
        self, utterances: Sequence[Utterance], learned_speakers: Container[int], max_tokens: int
    ) -> TrainingExample:
        """See `Dialect.example`."""
        ids: list[int] = []
        labels: list[int] = []
        for number, utterance in enumerate(utterances):
            turn = self._turn(utterance)
            if len(ids) + len(turn) > max_tokens:
                break
            learned = number > 0 and utterance.speaker in learned_speakers
            ids += turn
            labels += turn if learned else [IGNORED] * len(turn)
        return TrainingExample(tuple(ids), tuple(labels))

    def _turn(self, utterance: Utterance) -> list[int]:
        # One line: a line break could look like the layout of a dialect that writes one turn a line.
        line = " ".join(utterance.text.splitlines())
        return [*encode_text(self._tokenizer, line, self.control_ids), self._end]
