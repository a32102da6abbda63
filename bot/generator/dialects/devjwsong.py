"""devjwsong's gpt2-dialogue-generation-pytorch: every turn begins with its speaker's token, which is its type too.

    <bos> <sp1> hello <sp2> hi there <sp1> how are you? <sp2>

People are `<sp1>`, the bot is `<sp2>`. Token types name the speaker; `<bos>` has the first turn's. The original changes
the type with every turn, whoever speaks; for talks in which both take turns that is the same, and where several people
speak in a row only the speaker's own token makes sense.
"""

from collections.abc import Container, Sequence

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import BOT, IGNORED, Habits, TrainingExample, Utterance
from bot.generator.dialects.speakers import before_each_reply, newest, types_by_speaker
from bot.generator.errors import CheckpointError
from bot.generator.tokenization.base import TextTokenizer
from bot.generator.tokenization.hub import END_OF_TEXT
from bot.generator.tokenization.spacing import english_spacing

BEGIN = "<bos>"
PERSON = "<sp1>"
REPLY = "<sp2>"


class Devjwsong:
    """The layout of checkpoints that gpt2-dialogue-generation-pytorch trained. See `Dialect`."""

    name = "devjwsong"
    # Sampling from the nucleus until the positions run out; with --max_turns 5 it keeps four entries.
    habits = Habits(
        decoding=Decoding(
            candidates=1,
            max_new_tokens=1024,
            min_new_tokens=0,
            temperature=1.0,
            top_k=0,
            top_p=0.9,
            repetition_penalty=1.0,
            no_repeat_ngram=0,
        ),
        turns=4,
    )
    banned_ids: frozenset[int] = frozenset()

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Raises CheckpointError if the tokenizer lacks one of the layout's tokens."""
        names = (END_OF_TEXT, BEGIN, PERSON, REPLY)
        found = [tokenizer.id_of(name) for name in names]
        ids = [token for token in found if token is not None]
        if len(ids) < len(names):
            missing = names[found.index(None)]
            raise CheckpointError(f"The tokenizer has no {missing}, which the dialect {self.name} needs.")
        self._tokenizer = tokenizer
        self._end, self._begin, self._person, self._reply = ids
        self._speakers = frozenset({self._person, self._reply})
        self.vocabulary_size = tokenizer.size
        self.control_ids = tokenizer.control_ids | set(ids)
        self.stop_ids = frozenset({self._end})

    def encode(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str] = ()) -> list[int]:
        """See `Dialect.encode`; a persona has no place in this layout."""
        turns = newest([self._turn(utterance) for utterance in utterances], max_tokens - 2)
        return [self._begin, *(token for turn in turns for token in turn), self._reply]

    def type_ids(self, ids: Sequence[int]) -> list[int]:
        """See `Dialect.type_ids`."""
        first = next((token for token in ids if token in self._speakers), self._reply)
        return types_by_speaker(ids, self._speakers, first)

    def decode(self, ids: Sequence[int]) -> str:
        """See `Dialect.decode`."""
        return english_spacing(self._tokenizer.decode(ids))

    def example(
        self,
        utterances: Sequence[Utterance],
        learned_speakers: Container[int],
        max_tokens: int,
        persona: Sequence[str] = (),
    ) -> TrainingExample:
        """The dialogue's last turn of the bot with its end; oldest turns are left out until it fits.

        The family learns one reply an example, so what stands before the last reply is `examples`' business. Empty
        if there is no reply, if nobody spoke before it, or if it does not fit together with one turn.
        """
        replies = [n for n, utterance in enumerate(utterances) if utterance.speaker == BOT and n > 0]
        if not replies or BOT not in learned_speakers:
            return TrainingExample((), (), ())
        turns = [self._turn(utterance) for utterance in utterances[: replies[-1] + 1]]
        room = max_tokens - 2
        while len(turns) > 1 and sum(map(len, turns)) > room:
            del turns[0]
        if len(turns) == 1:
            return TrainingExample((), (), ())
        ids = [self._begin, *(token for turn in turns for token in turn), self._end]
        learned = len(turns[-1])  # the reply without its speaker, and the end
        labels = [IGNORED] * (len(ids) - learned) + ids[-learned:]
        return TrainingExample(tuple(ids), tuple(labels), tuple(self.type_ids(ids)))

    def examples(self, utterances: Sequence[Utterance], max_turns: int, max_tokens: int) -> list[TrainingExample]:
        """One example for every turn of the bot that has one before it, of at most `max_turns` turns, itself included.

        A reply that does not fit into `max_tokens` together with the turn before it makes none.
        """
        made = [self.example(part, {BOT}, max_tokens) for part in before_each_reply(utterances, max_turns)]
        return [example for example in made if example.input_ids]

    def _turn(self, utterance: Utterance) -> list[int]:
        speaker = self._reply if utterance.speaker == BOT else self._person
        return [speaker, *self._tokenizer.encode(utterance.text)]
