"""What is in a corpus: sizes, languages, repetitions. Keeps eight bytes of a dialogue and of a reply, no text."""

import heapq
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.language import language_of
from bot.training.corpora.similarity import key_of, plain_text
from bot.training.errors import TrainingError

_LONGEST = 5
_TOPICS = 10
_SHOWN_CHARACTERS = 60
_LANGUAGE_SAMPLE = 5_000
_UNTOLD = "too short to tell"


@dataclass(slots=True)
class CorpusStats:
    """Filled dialogue by dialogue; `count_tokens` gives a text's length in tokens of some model."""

    count_tokens: Callable[[str], int] | None = None
    dialogues: int = 0
    turns: int = 0
    words: int = 0
    characters: int = 0
    tokens: int = 0
    unlearned_turns: int = 0
    with_persona: int = 0
    turns_of_dialogue: Counter[int] = field(default_factory=Counter)
    words_of_turn: Counter[int] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    topics: Counter[str] = field(default_factory=Counter)
    _keys: "array[int]" = field(default_factory=lambda: array("Q"))
    _replies: "array[int]" = field(default_factory=lambda: array("Q"))
    _longest: list[tuple[int, int, str]] = field(default_factory=list)
    _sample: list[str] = field(default_factory=list)
    _rng: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, dialogue: Dialogue) -> None:
        """Count one dialogue."""
        self.dialogues += 1
        self.turns += len(dialogue.turns)
        self.turns_of_dialogue[len(dialogue.turns)] += 1
        self.sources[dialogue.source] += 1
        if dialogue.topic:
            self.topics[dialogue.topic] += 1
        self.with_persona += bool(dialogue.persona)
        self.unlearned_turns += sum(weight == 0 for weight in dialogue.weights or ())
        for turn in dialogue.turns:
            self._add_turn(turn)
        plain = plain_text(dialogue)
        self._keys.append(key_of(plain))
        self._replies.extend(key_of(turn) for turn in plain.split("\n")[1:])
        self._sample_for_language(dialogue)

    def add_all(self, dialogues: Iterable[Dialogue]) -> "CorpusStats":
        """Count them all."""
        for dialogue in dialogues:
            self.add(dialogue)
        return self

    def report(self) -> dict[str, Any]:
        """Everything by name, ready for JSON. Lengths as mean, median, 95th percentile and maximum."""
        report: dict[str, Any] = {
            "dialogues": self.dialogues,
            "turns": self.turns,
            "words": self.words,
            "characters": self.characters,
            "turns_per_dialogue": _lengths(self.turns_of_dialogue),
            "words_per_turn": _lengths(self.words_of_turn),
            "duplicate_dialogues": _repeated(self._keys),
            "repeated_replies": _repeated(self._replies),
            "turns_not_learned": self.unlearned_turns,
            "dialogues_with_persona": self.with_persona,
            "languages": self._languages(),
            "languages_judged": len(self._sample),
            "sources": dict(self.sources.most_common()),
            "topics": len(self.topics),
            "commonest_topics": dict(self.topics.most_common(_TOPICS)),
            "longest_turns": [
                {"characters": characters, "dialogue": -number, "begins": text}
                for characters, number, text in sorted(self._longest, reverse=True)
            ],
        }
        if self.count_tokens is not None:
            report["tokens"] = self.tokens
        return report

    def _languages(self) -> dict[str, float]:
        """Shares of the sample, the commonest first."""
        try:
            told = Counter(language_of(text) or _UNTOLD for text in self._sample)
        except TrainingError as error:  # the library is an extra; everything else is known without it
            return {str(error): 0.0}
        return {name: round(number / len(self._sample), 4) for name, number in told.most_common()}

    def _add_turn(self, turn: str) -> None:
        words = len(turn.split())
        self.words += words
        self.characters += len(turn)
        self.words_of_turn[words] += 1
        if self.count_tokens is not None:
            self.tokens += self.count_tokens(turn)
        entry = (len(turn), -self.dialogues, turn[:_SHOWN_CHARACTERS])
        if len(self._longest) < _LONGEST:
            heapq.heappush(self._longest, entry)
        else:
            heapq.heappushpop(self._longest, entry)

    def _sample_for_language(self, dialogue: Dialogue) -> None:
        """Every dialogue so far has the same chance to be in the sample."""
        text = " ".join(dialogue.turns)
        if len(self._sample) < _LANGUAGE_SAMPLE:
            self._sample.append(text)
        elif (place := self._rng.randrange(self.dialogues)) < _LANGUAGE_SAMPLE:
            self._sample[place] = text


def _repeated(keys: "array[int]") -> int:
    """How many occurred before."""
    return len(keys) - len(np.unique(np.frombuffer(keys, dtype=np.uint64))) if keys else 0


def _lengths(counted: Counter[int]) -> dict[str, float]:
    number = counted.total()
    if not number:
        return {}
    mean = sum(length * count for length, count in counted.items()) / number
    return {
        "mean": round(mean, 2),
        "median": _at_share(counted, 0.5 * number),
        "p95": _at_share(counted, 0.95 * number),
        "max": max(counted),
    }


def _at_share(counted: Counter[int], wanted: float) -> int:
    seen = 0
    for length in sorted(counted):
        seen += counted[length]
        if seen >= wanted:
            return length
    return max(counted)
