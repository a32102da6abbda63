"""DialoGPT: every turn ends with `<|endoftext|>`, and nothing says who spoke (Zhang et al. 2020, arXiv:1911.00536)."""

from collections.abc import Container, Sequence

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import IGNORED, Habits, TrainingExample, Utterance, fitting
from bot.generator.errors import CheckpointError
from bot.generator.tokenization.base import TextTokenizer
from bot.generator.tokenization.hub import END_OF_TEXT
from bot.generator.tokenization.spacing import english_spacing


class DialoGPT:
    """The layout of microsoft/DialoGPT-*, of DialogRPT's contexts, and of the starter."""

    name = "dialogpt"
    # The model card's example: greedy, context and reply within 1,000 tokens.
    habits = Habits(
        decoding=Decoding(
            candidates=1,
            max_new_tokens=512,
            min_new_tokens=0,
            max_length=1000,
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            no_repeat_ngram=0,
        ),
        one_line=True,
    )

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Raises CheckpointError if the tokenizer has no end-of-text token."""
        end = tokenizer.id_of(END_OF_TEXT)
        if end is None:
            raise CheckpointError(f"The tokenizer has no {END_OF_TEXT}, which the dialect {self.name} needs.")
        self._tokenizer = tokenizer
        self._end = end
        self.vocabulary_size = tokenizer.size
        self.control_ids = tokenizer.control_ids | {end}
        self.stop_ids = frozenset({end})
        self.banned_ids = self.control_ids - self.stop_ids

    def encode(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str] = ()) -> list[int]:
        """See `Dialect.encode`; a persona has no place in this layout."""
        turns = fitting([self._turn(utterance) for utterance in utterances], max_tokens)
        return [token for turn in turns for token in turn]

    def type_ids(self, ids: Sequence[int]) -> None:
        """See `Dialect.type_ids`: there are none."""

    def decode(self, ids: Sequence[int]) -> str:
        """See `Dialect.decode`: as transformers wrote it when the models were published."""
        return english_spacing(self._tokenizer.decode(ids))

    def example(
        self,
        utterances: Sequence[Utterance],
        learned_speakers: Container[int],
        max_tokens: int,
        persona: Sequence[str] = (),
    ) -> TrainingExample:
        """See `Dialect.example`: the first turn is never learned."""
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
        return [*self._tokenizer.encode(utterance.text), self._end]
