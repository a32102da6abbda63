"""The corpora by name (or file), and which side of each is worth imitating."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path

from bot.generator.dialects.base import BOT
from bot.training.corpora import chatterbot, chitchat
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.files import CorpusFile
from bot.training.corpora.own import everyday, smalltalk
from bot.training.corpora.posts import GAP
from bot.training.errors import TrainingError

PERSON = 1


@dataclass(frozen=True, slots=True)
class Corpus:
    """A source of dialogues. `early` corpora teach the language; they thin out towards the end of training."""

    training_pass: Callable[[random.Random], Iterator[Dialogue]]
    held_out: Callable[[], Iterator[Dialogue]]
    learned_speakers: frozenset[int]
    early: bool

    @property
    def answered_speakers(self) -> frozenset[int]:
        """Whose turns a teacher answers: everybody's between people, but not what the bot itself says."""
        return frozenset({BOT, PERSON}) if PERSON in self.learned_speakers else frozenset({PERSON})


CORPORA = {
    "everyday": Corpus(everyday.training_pass, everyday.held_out, frozenset({BOT}), early=False),
    "smalltalk": Corpus(smalltalk.training_pass, smalltalk.held_out, frozenset({BOT}), early=False),
    "chitchat": Corpus(chitchat.training_pass, chitchat.held_out, frozenset({BOT, PERSON}), early=True),
    "chatterbot": Corpus(chatterbot.training_pass, chatterbot.held_out, frozenset({BOT, PERSON}), early=True),
}


def corpus_named(name: str) -> Corpus:
    """A corpus by its name, or a file as `PATH` or `PATH:FORMAT`. Raises TrainingError for an unknown one."""
    if name in CORPORA:
        return CORPORA[name]
    if not _names_a_file(name):
        raise TrainingError(
            f"There is no corpus {name!r}, and no such file. Known: {', '.join(sorted(CORPORA))}, PATH, PATH:FORMAT."
        )
    file = CorpusFile.named(name)
    return Corpus(file.training_pass, file.held_out, frozenset({BOT, PERSON}), early=False)


def every_dialogue(name: str, *, speaker: str | None = None, gap: timedelta = GAP) -> Iterator[Dialogue]:
    """Everything in a corpus, streamed; of one with slots or variants, one pass, always alike. Raises TrainingError."""
    if name in CORPORA:
        corpus = CORPORA[name]
        return chain(corpus.training_pass(random.Random(0)), corpus.held_out())
    corpus_named(name)
    return CorpusFile.named(name, speaker=speaker, gap=gap).everything()


def _names_a_file(name: str) -> bool:
    return ":" in name or Path(name).expanduser().exists()
