"""Leave out of a corpus what shall not be learned, and count what went and why. Knows no word list: rules are given."""

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import numpy as np

from bot.training.corpora import jsonl
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.language import check_languages, language_of
from bot.training.corpora.output import whole_file
from bot.training.corpora.similarity import Likeness, likeness_on_disk
from bot.training.errors import TrainingError

TurnRule = Callable[[str], str | None]
"""Why a turn shall not be learned, in a word or two; None for a good one."""

_CHARACTERS_PER_WORD = 8


@dataclass(slots=True)
class Cleaning:
    """What went, by reason: single turns (of the dialogue, what stands before and after them remains), and whole
    dialogues."""

    dialogues_read: int = 0
    turns_read: int = 0
    dialogues_kept: int = 0
    turns_kept: int = 0
    turns_dropped: Counter[str] = field(default_factory=Counter)
    dialogues_dropped: Counter[str] = field(default_factory=Counter)

    def report(self) -> dict[str, int | dict[str, int]]:
        """Everything by name, the commonest reasons first."""
        return {
            "dialogues_read": self.dialogues_read,
            "turns_read": self.turns_read,
            "dialogues_kept": self.dialogues_kept,
            "turns_kept": self.turns_kept,
            "turns_dropped": dict(self.turns_dropped.most_common()),
            "dialogues_dropped": dict(self.dialogues_dropped.most_common()),
        }


def length_rule(most_words: int) -> TurnRule:
    """Turns of at most so many words, and of eight times as many characters: not every script has spaces."""
    most_characters = most_words * _CHARACTERS_PER_WORD

    def judge(turn: str) -> str | None:
        return "too long" if len(turn) > most_characters or len(turn.split()) > most_words else None

    return judge


def clean(
    dialogues: Iterable[Dialogue],
    out: Path | None,
    *,
    rules: Sequence[TurnRule],
    languages: Collection[str] = (),
    duplicates: bool = True,
    near_duplicates: bool = True,
) -> Cleaning:
    """Write what is good as JSONL to `out`; without it, only count. Of alike dialogues the first remains.

    Raises TrainingError; what was good before a mistake in the corpus is then in `OUT.part`.
    """
    if languages:
        check_languages(languages)
    done = Cleaning()
    with (
        likeness_on_disk(None if out is None else out.parent) as collected,
        (collected.folder / "cleaned").open("w+", encoding="utf-8", errors="replace", newline="\n") as scratch,
    ):
        sizes = array("L")
        mistake = _gather(judged(dialogues, rules, languages, done), collected, scratch, sizes)
        kept = _distinct(collected, done, len(sizes), duplicates=duplicates, near=near_duplicates)
        done.dialogues_kept = len(kept)
        done.turns_kept = sum(sizes[number] for number in kept)
        if out is not None:
            _copy(scratch, kept, out, mistake, done)
    if mistake is not None:
        raise mistake
    return done


def judged(
    dialogues: Iterable[Dialogue], rules: Sequence[TurnRule], languages: Collection[str], done: Cleaning
) -> Iterator[Dialogue]:
    """What remains of each dialogue; `done` counts the rest."""
    for dialogue in dialogues:
        done.dialogues_read += 1
        done.turns_read += len(dialogue.turns)
        language = language_of(" ".join(dialogue.turns)) if languages else None
        if language is not None and language not in languages:
            done.dialogues_dropped[f"language {language}"] += 1
            continue
        reasons = [_reason(turn, rules) for turn in dialogue.turns]
        done.turns_dropped.update(reason for reason in reasons if reason is not None)
        pieces = list(dialogue.pieces([reason is None for reason in reasons]))
        if not pieces:
            done.dialogues_dropped["no turn with a reply is left"] += 1
        persona = tuple(sentence for sentence in dialogue.persona if _reason(sentence, rules) is None)
        for piece in pieces:
            yield piece if persona == piece.persona else replace(piece, persona=persona)


def _reason(turn: str, rules: Sequence[TurnRule]) -> str | None:
    if not turn.strip():
        return "empty"
    return next((reason for rule in rules if (reason := rule(turn)) is not None), None)


def _gather(
    dialogues: Iterable[Dialogue], collected: Likeness, scratch: TextIO, sizes: "array[int]"
) -> TrainingError | None:
    """Put them aside; a mistake in the corpus ends it, but does not cost what came before."""
    try:
        for dialogue in dialogues:
            collected.add(dialogue)
            scratch.write(jsonl.line_of(dialogue))
            sizes.append(len(dialogue.turns))
    except TrainingError as error:
        return error
    return None


def _distinct(collected: Likeness, done: Cleaning, number: int, *, duplicates: bool, near: bool) -> Sequence[int]:
    """The dialogues to be kept."""
    if not duplicates:
        return range(number)
    groups = collected.groups(near=near)
    is_first = groups.first == np.arange(number)
    for reason, dropped in (("duplicate", groups.copy), ("near-duplicate", ~is_first & ~groups.copy)):
        if count := int(dropped.sum()):
            done.dialogues_dropped[reason] = count
    kept: list[int] = np.flatnonzero(is_first).tolist()
    return kept


def _copy(scratch: TextIO, kept: Sequence[int], out: Path, mistake: TrainingError | None, done: Cleaning) -> None:
    scratch.seek(0)
    wanted = iter(kept)
    following = next(wanted, None)
    with whole_file(out) as file:
        for number, line in enumerate(scratch):
            if number == following:
                file.write(line)
                following = next(wanted, None)
        if mistake is not None:
            raise mistake
        if not kept:
            raise TrainingError(f"Of {done.dialogues_read:,} dialogues none is left, so {out} is not written.")
