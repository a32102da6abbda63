"""Corpora of one's own: a file, or the folder of a published data set, in one of many formats."""

import functools
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from bot.training.corpora import (
    blended_skill_talk,
    chitchat_text,
    daily_dialog,
    devjwsong_json,
    dialogpt_tsv,
    discord_export,
    empathetic_dialogues,
    jsonl,
    persona_chat,
    telegram_export,
)
from bot.training.corpora.dialogue import Dialogue, is_held_out
from bot.training.corpora.guess import guess_format
from bot.training.corpora.posts import GAP, PostReader, read_export
from bot.training.errors import TrainingError

Reader = Callable[[Path], Iterator[Dialogue]]

READERS: dict[str, Reader] = {
    jsonl.SOURCE: jsonl.read,
    chitchat_text.SOURCE: chitchat_text.read,
    "gpt2-chitchat-reverse": functools.partial(chitchat_text.read, reverse=True),
    dialogpt_tsv.SOURCE: dialogpt_tsv.read,
    "dialogpt-reverse": functools.partial(dialogpt_tsv.read, reverse=True),
    "dialogpt-two-turn": functools.partial(dialogpt_tsv.read, two_turn=True),
    dialogpt_tsv.PAIRS: dialogpt_tsv.read_pairs,
    devjwsong_json.SOURCE: devjwsong_json.read,
    daily_dialog.SOURCE: daily_dialog.read,
    empathetic_dialogues.SOURCE: empathetic_dialogues.read,
    persona_chat.SOURCE: persona_chat.read,
    blended_skill_talk.SOURCE: blended_skill_talk.read,
}
"""By the name of the format. The reversed ones are for models that choose replies by mutual information."""

EXPORTS: dict[str, PostReader] = {
    telegram_export.SOURCE: telegram_export.posts,
    discord_export.SOURCE: discord_export.posts,
}
"""Exports of chats, in which it matters who speaks."""

FORMATS = sorted([*READERS, *EXPORTS])

_SHUFFLED_TOGETHER = 1 << 16


class CorpusFile:
    """`PATH` or `PATH:FORMAT`. Every reading streams: no more than a window of dialogues is ever in memory.

    One dialogue in fifty is held out, by its situation where it has one; of a file too small for that, all are, and
    trained on too.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self._path = path
        self._reader = reader

    @classmethod
    def named(cls, name: str, *, speaker: str | None = None, gap: timedelta = GAP) -> "CorpusFile":
        """`speaker` and `gap` are for exports of chats. Raises TrainingError for an unknown format."""
        path, kind = located(name)
        export = EXPORTS.get(kind)
        if export is not None:
            return cls(path, functools.partial(read_export, export, source=kind, speaker=speaker, gap=gap))
        if speaker is not None:
            raise TrainingError(f"{name}: a speaker can be chosen in exports of chats only ({', '.join(EXPORTS)}).")
        return cls(path, READERS[kind])

    def everything(self) -> Iterator[Dialogue]:
        """Every dialogue, in order. Raises TrainingError, also where there is none."""
        empty = True
        for dialogue in self._reader(self._path):
            empty = False
            yield dialogue
        if empty:
            raise TrainingError(f"{self._path}: there are no dialogues in it.")

    def training_pass(self, rng: random.Random) -> Iterator[Dialogue]:
        """The training part once, in a random order; of a large file, random within a window that moves over it.
        Raises TrainingError."""
        whole = not self._is_divided()
        kept = (dialogue for dialogue in self.everything() if whole or not _held_out(dialogue))
        yield from shuffled(kept, rng)

    def held_out(self) -> Iterator[Dialogue]:
        """The part that a run is judged by. Raises TrainingError."""
        whole = not self._is_divided()
        yield from (dialogue for dialogue in self.everything() if whole or _held_out(dialogue))

    def _is_divided(self) -> bool:
        """Whether there are dialogues for both parts; reads on until it knows."""
        sides: set[bool] = set()
        for dialogue in self.everything():
            sides.add(_held_out(dialogue))
            if len(sides) == 2:
                return True
        return False


def located(name: str) -> tuple[Path, str]:
    """The path and the format of `PATH:FORMAT`; of a `PATH` alone the format is guessed. Raises TrainingError."""
    path, colon, kind = name.rpartition(":")
    if colon and kind in FORMATS:
        return Path(path).expanduser(), kind
    whole = Path(name).expanduser()
    if whole.exists():
        return whole, guess_format(whole)
    if colon and "/" not in kind:
        raise TrainingError(f"{name}: there is no format {kind!r}. Known: {', '.join(FORMATS)}.")
    raise TrainingError(f"{name}: there is no such file.")


def shuffled(dialogues: Iterator[Dialogue], rng: random.Random, window: int = _SHUFFLED_TOGETHER) -> Iterator[Dialogue]:
    """All of them; each leaves a window of so many at random, so that fewer than those are wholly shuffled."""
    waiting: list[Dialogue] = []
    for dialogue in dialogues:
        if len(waiting) < window:
            waiting.append(dialogue)
            continue
        place = rng.randrange(window)
        yield waiting[place]
        waiting[place] = dialogue
    rng.shuffle(waiting)
    yield from waiting


def _held_out(dialogue: Dialogue) -> bool:
    return is_held_out("\n".join(dialogue.situations or dialogue.turns))
