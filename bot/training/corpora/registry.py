"""The corpora by name (or file and format), and which side of each is worth imitating."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bot.generator.dialects.base import BOT
from bot.training.corpora import chatterbot, chitchat, everyday
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.files import CorpusFile
from bot.training.errors import TrainingError

PERSON = 1


@dataclass(frozen=True, slots=True)
class Corpus:
    """A source of dialogues. `early` corpora teach the language; they thin out towards the end of training."""

    training_pass: Callable[[random.Random], Iterator[Dialogue]]
    held_out: Callable[[], Iterator[Dialogue]]
    learned_speakers: frozenset[int]
    early: bool


CORPORA = {
    "everyday": Corpus(everyday.training_pass, everyday.held_out, frozenset({BOT}), early=False),
    "chitchat": Corpus(chitchat.training_pass, chitchat.held_out, frozenset({BOT, PERSON}), early=True),
    "chatterbot": Corpus(chatterbot.training_pass, chatterbot.held_out, frozenset({BOT, PERSON}), early=True),
}


def corpus_named(name: str) -> Corpus:
    """A corpus by its name, or a file as `PATH:FORMAT`. Raises TrainingError for an unknown name or format."""
    if ":" in name:
        file = CorpusFile.named(name)
        return Corpus(file.training_pass, file.held_out, frozenset({BOT, PERSON}), early=False)
    try:
        return CORPORA[name]
    except KeyError:
        raise TrainingError(f"There is no corpus {name!r}. Known: {', '.join(sorted(CORPORA))}, PATH:FORMAT.") from None
