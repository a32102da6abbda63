"""Corpora of one's own: a file in one of the formats that older systems train on."""

import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from bot.training.corpora import chitchat_text, devjwsong_json, dialogpt_tsv
from bot.training.corpora.dialogue import Dialogue, is_held_out
from bot.training.errors import TrainingError

READERS: dict[str, Callable[[Path], Iterator[Dialogue]]] = {
    chitchat_text.SOURCE: chitchat_text.read,
    "gpt2-chitchat-reverse": functools.partial(chitchat_text.read, reverse=True),
    dialogpt_tsv.SOURCE: dialogpt_tsv.read,
    "dialogpt-reverse": functools.partial(dialogpt_tsv.read, reverse=True),
    "dialogpt-two-turn": functools.partial(dialogpt_tsv.read, two_turn=True),
    dialogpt_tsv.PAIRS: dialogpt_tsv.read_pairs,
    devjwsong_json.SOURCE: devjwsong_json.read,
}
"""By the name of the format. The reversed ones are for models that choose replies by mutual information."""


class CorpusFile:
    """`PATH:FORMAT`. One dialogue in fifty is held out; of a file too small for that, all are, and trained on too."""

    def __init__(self, path: Path, reader: Callable[[Path], Iterator[Dialogue]]) -> None:
        self._path = path
        self._reader = reader

    @classmethod
    def named(cls, name: str) -> "CorpusFile":
        """Raises TrainingError for an unknown format."""
        path, _, kind = name.rpartition(":")
        if kind not in READERS:
            raise TrainingError(f"--corpus {name}: there is no format {kind!r}. Known: {', '.join(sorted(READERS))}.")
        return cls(Path(path).expanduser(), READERS[kind])

    def everything(self) -> Iterator[Dialogue]:
        """Every dialogue, in order. Raises TrainingError."""
        return self._reader(self._path)

    def training_pass(self, rng: random.Random) -> Iterator[Dialogue]:
        """The training part once, in a random order. Raises TrainingError."""
        dialogues = list(self._reader(self._path))
        kept = [dialogue for dialogue in dialogues if not _held_out(dialogue)]
        if len(kept) == len(dialogues) or not kept:
            kept = dialogues
        rng.shuffle(kept)
        yield from kept

    def held_out(self) -> Iterator[Dialogue]:
        """The part that a run is judged by. Raises TrainingError."""
        dialogues = list(self._reader(self._path))
        yield from [dialogue for dialogue in dialogues if _held_out(dialogue)] or dialogues


def _held_out(dialogue: Dialogue) -> bool:
    return is_held_out("\n".join(dialogue.turns))
