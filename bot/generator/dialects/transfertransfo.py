"""TransferTransfo: facts about the bot, then the talk, every turn after its speaker's token (Wolf et al. 2019).

    <bos> i like dogs . i am a nurse . <speaker2> hello ! <speaker1> hi , how are you ? <speaker2> fine . <speaker1>

The paper is arXiv:1901.08149, the code huggingface/transfer-learning-conv-ai. The bot is `<speaker1>`, people are
`<speaker2>`. The facts have the type `<speaker1>`, a turn has its speaker's token for its type. The original counts
turns instead: the last one is a person's and they alternate, and types alternate from the beginning. Both agree where a
history has an odd number of turns, which is all that its models were trained on. Its chat loop keeps an even number
from the fourth question on, and then names one speaker and gives the type of the other; that is not repeated here.
"""

from collections.abc import Container, Sequence

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import BOT, IGNORED, Habits, TrainingExample, Utterance
from bot.generator.dialects.speakers import before_each_reply, newest, types_by_speaker
from bot.generator.errors import CheckpointError
from bot.generator.tokenization.base import TextTokenizer
from bot.generator.tokenization.spacing import BEFORE_VERSION_3, english_spacing

BEGIN = "<bos>"
END = "<eos>"
REPLY = "<speaker1>"
PERSON = "<speaker2>"
PAD = "<pad>"
SPECIAL_TOKENS = (BEGIN, END, REPLY, PERSON, PAD)


class TransferTransfo:
    """The layout of checkpoints that transfer-learning-conv-ai trained, from GPT or GPT-2. See `Dialect`."""

    name = "transfertransfo"
    # Two exchanges and the question are remembered; whichever special token comes ends the reply.
    habits = Habits(
        decoding=Decoding(
            candidates=1,
            max_new_tokens=20,
            min_new_tokens=1,
            temperature=0.7,
            top_k=0,
            top_p=0.9,
            repetition_penalty=1.0,
            no_repeat_ngram=0,
        ),
        turns=5,
    )
    banned_ids: frozenset[int] = frozenset()

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Raises CheckpointError if the tokenizer lacks one of the layout's tokens."""
        found = [tokenizer.id_of(name) for name in SPECIAL_TOKENS]
        ids = [token for token in found if token is not None]
        if len(ids) < len(found):
            missing = SPECIAL_TOKENS[found.index(None)]
            raise CheckpointError(f"The tokenizer has no {missing}, which the dialect {self.name} needs.")
        self._tokenizer = tokenizer
        self._begin, self._end, self._reply, self._person, _ = ids
        self.vocabulary_size = tokenizer.size
        self.control_ids = tokenizer.control_ids | set(ids)
        self.stop_ids = frozenset(ids)

    def encode(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str] = ()) -> list[int]:
        """See `Dialect.encode`.

        The persona stays when turns go. Where it leaves less than half of the room for a last turn that needs it,
        sentences are left out from its end.
        """
        if not utterances:
            raise ValueError("a context needs at least one utterance")
        return [*self._before(utterances, max_tokens - 1, persona), self._reply]

    def answered(
        self, utterances: Sequence[Utterance], reply: str, max_tokens: int, persona: Sequence[str] = ()
    ) -> list[int]:
        """A context with a whole reply and its end, as the candidate head judges it.

        A reply that is longer than half of `max_tokens` loses its last words. `utterances` may be empty.
        """
        words = self._tokenizer.encode(reply)[: max(0, max_tokens // 2 - 2)]
        said = [self._reply, *words, self._end]
        return [*self._before(utterances, max_tokens - len(said), persona), *said]

    def type_ids(self, ids: Sequence[int]) -> list[int]:
        """See `Dialect.type_ids`."""
        return types_by_speaker(ids, {self._reply, self._person}, self._reply)

    def decode(self, ids: Sequence[int]) -> str:
        """See `Dialect.decode`."""
        return english_spacing(self._tokenizer.decode(ids), before_not=BEFORE_VERSION_3)

    def example(
        self,
        utterances: Sequence[Utterance],
        learned_speakers: Container[int],
        max_tokens: int,
        persona: Sequence[str] = (),
    ) -> TrainingExample:
        """The dialogue's last turn of the bot with its end; oldest turns are left out until it fits.

        The family learns one reply an example. Empty if there is no reply, if nobody spoke before it, or if it does
        not fit together with the persona and one turn.
        """
        replies = [n for n, utterance in enumerate(utterances) if utterance.speaker == BOT and n > 0]
        if not replies or BOT not in learned_speakers:
            return TrainingExample((), (), ())
        before, reply = utterances[: replies[-1]], utterances[replies[-1]]
        start = [self._begin, *(token for sentence in persona for token in self._tokenizer.encode(sentence))]
        turns = [self._turn(utterance) for utterance in before]
        words = [*self._tokenizer.encode(reply.text), self._end]
        room = max_tokens - len(start) - 1 - len(words)
        while turns and sum(map(len, turns)) > room:
            del turns[0]
        if not turns:
            return TrainingExample((), (), ())
        ids = [*start, *(token for turn in turns for token in turn), self._reply, *words]
        labels = [IGNORED] * (len(ids) - len(words)) + words
        return TrainingExample(tuple(ids), tuple(labels), tuple(self.type_ids(ids)))

    def examples(
        self, utterances: Sequence[Utterance], max_turns: int, max_tokens: int, persona: Sequence[str] = ()
    ) -> list[TrainingExample]:
        """One example for every turn of the bot that has one before it, of at most `max_turns` turns, itself included.

        The original's --max_history 2 is 6 turns here: five of history and the reply.
        """
        made = [self.example(part, {BOT}, max_tokens, persona) for part in before_each_reply(utterances, max_turns)]
        return [example for example in made if example.input_ids]

    def _before(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str]) -> list[int]:
        turns = [self._turn(utterance) for utterance in utterances]
        needed = min(len(turns[-1]), max_tokens // 2) if turns else 0
        facts = self._facts(persona, max_tokens - 1 - needed)
        kept = newest(turns, max_tokens - 1 - len(facts)) if turns else []
        return [self._begin, *facts, *(token for turn in kept for token in turn)]

    def _facts(self, persona: Sequence[str], max_tokens: int) -> list[int]:
        facts: list[int] = []
        for sentence in persona:
            ids = self._tokenizer.encode(sentence)
            if len(facts) + len(ids) > max_tokens:
                break
            facts += ids
        return facts

    def _turn(self, utterance: Utterance) -> list[int]:
        speaker = self._reply if utterance.speaker == BOT else self._person
        return [speaker, *self._tokenizer.encode(utterance.text)]
