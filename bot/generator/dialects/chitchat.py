"""GPT2-chitchat: `[CLS]`, then every utterance with a `[SEP]` behind it; nothing says who spoke.

The layout of github.com/yangjianxin1/GPT2-chitchat, whose MMI model reads the same layout backwards.
"""

from collections.abc import Container, Sequence

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import BOT, Habits, Manner, TrainingExample, Utterance, fitting
from bot.generator.errors import CheckpointError
from bot.generator.tokenization.base import TextTokenizer
from bot.generator.tokenization.wordpiece import BEGIN, SEPARATOR, UNKNOWN

_LONGEST_TOKEN = 32
"""Characters of the longest token that is looked for in a reply; the vocabularies in use have about 20."""


class Chitchat:
    """An utterance is an entry: its token ids, without specials.

    The original keeps a reply in its history as the ids that the model wrote. Banter keeps texts, so the ids are
    found again from the text: see `entry`.
    """

    name = "gpt2-chitchat"
    habits = Habits(
        decoding=Decoding(
            candidates=1,
            max_new_tokens=25,
            min_new_tokens=0,
            temperature=1.0,
            top_k=8,
            top_p=1.0,
            repetition_penalty=1.0,
            no_repeat_ngram=0,
        ),
        turns=3,
        manner=Manner(penalty="divide", penalised="reply", ngrams="reply"),
    )

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Raises CheckpointError if the tokenizer lacks one of the special tokens."""
        self._tokenizer = tokenizer
        self._begin = self._special(BEGIN)
        self._end = self._special(SEPARATOR)
        self._unknown = self._special(UNKNOWN)
        self.vocabulary_size = tokenizer.size
        self.control_ids = tokenizer.control_ids | {self._begin, self._end}
        self.stop_ids = frozenset({self._end})
        # [PAD] and [CLS] may be generated, as in the original, and are then part of the text.
        self.banned_ids = frozenset({self._unknown})

    def encode(self, utterances: Sequence[Utterance], max_tokens: int, persona: Sequence[str] = ()) -> list[int]:
        """See `Dialect.encode`; a persona has no place in this layout."""
        return self.encode_entries([self.entry(utterance) for utterance in utterances], max_tokens)

    def encode_entries(self, entries: Sequence[Sequence[int]], max_tokens: int) -> list[int]:
        """`encode` for a history whose ids are known, replies exactly as they were generated."""
        turns = fitting([[*entry, self._end] for entry in entries], max_tokens - 1)
        return [self._begin, *(token for turn in turns for token in turn)]

    def entry(self, utterance: Utterance) -> list[int]:
        """The ids of what somebody said.

        A reply is its tokens joined without spaces, and the tokenizer would read "gp" and "t" as one word. So what
        the bot said is read back token by token, the longest first; it is read like anybody's text if that fails.
        """
        if utterance.speaker == BOT:
            generated = self._read_back(utterance.text)
            if generated is not None:
                return generated
        return self._tokenizer.encode(utterance.text)

    def type_ids(self, ids: Sequence[int]) -> None:
        """See `Dialect.type_ids`: there are none."""

    def decode(self, ids: Sequence[int]) -> str:
        """See `Dialect.decode`: only what ends a reply is left out."""
        return self._tokenizer.decode([i for i in ids if i != self._end])

    def example(
        self,
        utterances: Sequence[Utterance],
        learned_speakers: Container[int],
        max_tokens: int,
        persona: Sequence[str] = (),
    ) -> TrainingExample:
        """See `Dialect.example`: everything is learned, whoever said it, and a dialogue that is too long is cut off
        at `max_tokens`, also within a turn."""
        ids = [self._begin]
        for utterance in utterances:
            ids += [*self._tokenizer.encode(utterance.text), self._end]
        return TrainingExample(tuple(ids[:max_tokens]), tuple(ids[:max_tokens]))

    def _read_back(self, text: str) -> list[int] | None:
        unspeakable = self.control_ids | self.banned_ids
        ids: list[int] = []
        start = 0
        while start < len(text):
            for end in range(min(len(text), start + _LONGEST_TOKEN), start, -1):
                token_id = self._tokenizer.id_of(text[start:end])
                if token_id is not None and token_id not in unspeakable:
                    ids.append(token_id)
                    start = end
                    break
            else:
                return None
        return ids

    def _special(self, name: str) -> int:
        token_id = self._tokenizer.id_of(name)
        if token_id is None:
            raise CheckpointError(f"The tokenizer has no {name}, which the dialect {self.name} needs.")
        return token_id
