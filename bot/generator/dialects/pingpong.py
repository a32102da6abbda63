"""PingPong's GPT and Meena for Korean and Japanese: a `[SEPT]` after every turn, nothing says who spoke."""

from collections.abc import Container, Sequence

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import IGNORED, Habits, Manner, TrainingExample, Utterance, fitting
from bot.generator.errors import CheckpointError
from bot.generator.tokenization.base import TextTokenizer

_DECODING = Decoding(
    candidates=10,
    max_new_tokens=48,
    min_new_tokens=0,
    max_length=48,
    min_length=8,
    temperature=1.0,
    top_k=50,  # never set by its authors: the default of transformers 3.1.0, which they used
    top_p=0.8,
    repetition_penalty=1.3,
    no_repeat_ngram=3,
    beams=10,
    length_penalty=1.0,
)


class _Turns:
    """What the two layouts have in common."""

    name = "pingpong"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Raises CheckpointError if the ids of the structure are not known."""
        self._tokenizer = tokenizer
        self._bos, self._eos, self._sept, pad = (self._id_of(role) for role in ("bos", "eos", "sept", "pad"))
        self.vocabulary_size = tokenizer.size
        self.control_ids = tokenizer.control_ids | {self._bos, self._eos, self._sept, pad}
        self.stop_ids = frozenset({self._eos})

    def type_ids(self, ids: Sequence[int]) -> None:
        """See `Dialect.type_ids`: there are none."""

    def decode(self, ids: Sequence[int]) -> str:
        """See `Dialect.decode`."""
        return self._tokenizer.decode(ids)

    def _turn(self, utterance: Utterance) -> list[int]:
        text = self._tokenizer.encode(utterance.text)
        # A tokenizer may hold the structure's names as ordinary pieces.
        return [*(token for token in text if token not in self.control_ids), self._sept]

    def _id_of(self, role: str) -> int:
        found = self._tokenizer.id_of(f"{role}_token_id")
        if found is None:
            raise CheckpointError(
                f"The dialect {self.name} needs a SentencePiece tokenizer and a configuration with {role}_token_id."
            )
        return found


class PingPongGPT(_Turns):
    """`[BOS] turn [SEPT] turn [SEPT]`; the reply follows and ends with `[EOS]`."""

    name = "pingpong-gpt"
    habits = Habits(decoding=_DECODING, manner=Manner(spares_stops=False, ngrams="sequence", beam_length="sequence"))

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Raises CheckpointError if the ids of the structure are not known."""
        super().__init__(tokenizer)
        self.banned_ids = frozenset({self._sept})

    def encode(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str] = ()) -> list[int]:
        """See `Dialect.encode`; a persona has no place in this layout."""
        turns = fitting([self._turn(utterance) for utterance in utterances], max_tokens - 1)
        return [self._bos, *(token for turn in turns for token in turn)]

    def example(
        self,
        utterances: Sequence[Utterance],
        learned_speakers: Container[int],
        max_tokens: int,
        persona: Sequence[str] = (),
    ) -> TrainingExample:
        """See `Dialect.example`: every token is learned, whoever said it.

        The last turn ends with `[EOS]` in place of `[SEPT]`: a reply knows no other end.
        """
        ids = [self._bos]
        for utterance in utterances:
            turn = self._turn(utterance)
            if len(ids) + len(turn) > max_tokens:
                break
            ids += turn
        if len(ids) > 1:
            ids[-1] = self._eos
        return TrainingExample(tuple(ids), tuple(ids))


class PingPongMeena(_Turns):
    """The encoder reads `turn [SEPT] turn [SEPT]`; the decoder begins with `[BOS]` and ends with `[EOS]`."""

    name = "pingpong-meena"
    habits = Habits(
        decoding=_DECODING,
        manner=Manner(spares_stops=False, ngrams="sequence", beam_length="sequence", beam_must_stop=True),
    )
    banned_ids: frozenset[int] = frozenset()

    def encode(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str] = ()) -> list[int]:
        """See `Dialect.encode`; a persona has no place in this layout."""
        turns = fitting([self._turn(utterance) for utterance in utterances], max_tokens)
        return [token for turn in turns for token in turn]

    def example(
        self,
        utterances: Sequence[Utterance],
        learned_speakers: Container[int],
        max_tokens: int,
        persona: Sequence[str] = (),
    ) -> TrainingExample:
        """See `Dialect.example`: the last turn of a learned speaker is the reply, what was said before is read.

        The encoder's input are the ids without a label, the decoder's labels are the rest: the reply and `[EOS]`.
        The two never mix, the reply comes last. A dialogue in which nobody learned replies has no labels.
        """
        turns: list[list[int]] = []
        for utterance in utterances:
            turn = self._turn(utterance)
            if sum(map(len, turns)) + len(turn) > max_tokens:
                break
            turns.append(turn)
        last = max((n for n in range(1, len(turns)) if utterances[n].speaker in learned_speakers), default=None)
        context = [token for turn in turns[:last] for token in turn]
        reply = [] if last is None else [*turns[last][:-1], self._eos]
        return TrainingExample((*context, *reply), (*[IGNORED] * len(context), *reply))
