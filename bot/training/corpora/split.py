"""Divide a corpus by dialogue, so that what is alike stays on one side, and measure what leaked all the same."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bot.training.corpora import jsonl
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.output import whole_file
from bot.training.corpora.similarity import (
    NEAR,
    Groups,
    Signature,
    bands_of,
    key_of,
    likeness,
    likeness_on_disk,
    plain_text,
    signature_of,
)
from bot.training.errors import TrainingError

TRAIN = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """Of a held-out part: dialogues that are also in training (word for word, nearly, by situation), and the share of
    its exchanges (a turn with the reply to it) that training has too."""

    exact: int
    near: int
    situations: int
    exchanges: int
    shared_exchanges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Dialogues of each part, groups of alike ones in all, the size of the largest, and what leaked."""

    dialogues: Mapping[str, int]
    groups: int
    largest_group: int
    leakage: Mapping[str, Leakage]


def split(dialogues: Callable[[], Iterable[Dialogue]], folder: Path, held_out: Mapping[str, float], seed: int) -> Split:
    """Write `train.jsonl` and one file for each held-out part, by its share of all dialogues (0 to 1).

    `dialogues` is called twice and must give the same both times. Raises TrainingError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with likeness_on_disk(folder) as collected:
        for dialogue in dialogues():
            collected.add(dialogue)
        groups = collected.groups(situations=True)
    parts = [TRAIN, *held_out]
    sides = _sides(groups, list(held_out.values()), parts, seed)
    _write(dialogues(), folder, parts, sides)
    sizes = np.bincount(groups.first, minlength=1)
    return Split(
        dialogues={name: int((sides == side).sum()) for side, name in enumerate(parts)},
        groups=int((sizes > 0).sum()),
        largest_group=int(sizes.max()),
        leakage={name: leakage(_file(folder, TRAIN), _file(folder, name)) for name in held_out},
    )


def leakage(train: Path, held_out: Path) -> Leakage:
    """Compare two JSONL files; of the held-out one, all is in memory. Raises TrainingError."""
    known = _HeldOut(jsonl.read(held_out))
    for dialogue in jsonl.read(train):
        known.compare(dialogue)
    return known.found()


def _sides(groups: Groups, shares: list[float], parts: list[str], seed: int) -> Any:
    """For each dialogue the number of its part. Groups are dealt out at random until a part is full; one that is
    larger than what a part still lacks goes to training."""
    count = len(groups.first)
    sizes = np.bincount(groups.first, minlength=count)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(sizes))
    side_of_group = np.zeros(count, dtype=np.int8)
    for side, share in enumerate(shares, start=1):
        left = round(count * share)
        for group in order:
            if side_of_group[group] == 0 and sizes[group] <= left:
                side_of_group[group] = side
                left -= sizes[group]
            if left <= 0:
                break
        if not (side_of_group == side).any():
            raise TrainingError(
                f"{count} dialogues in {len(order)} groups of alike ones are too few for a part {parts[side]!r} of "
                f"{share:.0%}. Give it a larger share, or more dialogues."
            )
    if not (side_of_group[order] == 0).any():
        raise TrainingError("Nothing is left for training. Hold less out.")
    return side_of_group[groups.first]


def _write(dialogues: Iterable[Dialogue], folder: Path, parts: list[str], sides: Any) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(whole_file(_file(folder, name))) for name in parts]
        written = 0
        for dialogue, side in zip(dialogues, sides, strict=False):
            files[side].write(jsonl.line_of(dialogue))
            written += 1
        if written < len(sides):
            raise TrainingError("The corpus has become shorter while it was read. Run the command again.")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl"


def _exchanges(dialogue: Dialogue) -> Iterator[int]:
    turns = plain_text(dialogue).split("\n")
    return (key_of(f"{said}\n{reply}") for said, reply in pairwise(turns))


class _HeldOut:
    """The dialogues of a held-out part by everything that training could share with them."""

    def __init__(self, dialogues: Iterable[Dialogue]) -> None:
        self._texts: list[int] = []
        self._signatures: list[Signature] = []
        self._bands: dict[int, list[int]] = {}
        self._situations: list[set[int]] = []
        self._exchanges: list[int] = []
        self._seen: dict[str, set[int]] = {"text": set(), "situation": set(), "exchange": set()}
        self._near: set[int] = set()
        for number, dialogue in enumerate(dialogues):
            text = plain_text(dialogue)
            self._texts.append(key_of(text))
            self._signatures.append(signature_of(text))
            for band in bands_of(self._signatures[-1]).tolist():
                self._bands.setdefault(band, []).append(number)
            self._situations.append({key_of(situation) for situation in dialogue.situations})
            self._exchanges += _exchanges(dialogue)
        self._own = {
            "text": set(self._texts),
            "situation": set().union(*self._situations),
            "exchange": set(self._exchanges),
        }

    def compare(self, dialogue: Dialogue) -> None:
        """Note what a dialogue of the training part shares."""
        text = plain_text(dialogue)
        signature = signature_of(text)
        shared = {
            "text": {key_of(text)},
            "situation": {key_of(situation) for situation in dialogue.situations},
            "exchange": set(_exchanges(dialogue)),
        }
        for name, keys in shared.items():
            self._seen[name] |= keys & self._own[name]
        alike = {number for band in bands_of(signature).tolist() for number in self._bands.get(band, ())}
        self._near |= {number for number in alike if likeness(self._signatures[number], signature) >= NEAR}

    def found(self) -> Leakage:
        exact = {number for number, key in enumerate(self._texts) if key in self._seen["text"]}
        return Leakage(
            exact=len(exact),
            near=len(self._near - exact),
            situations=sum(bool(keys & self._seen["situation"]) for keys in self._situations),
            exchanges=len(self._exchanges),
            shared_exchanges=sum(key in self._seen["exchange"] for key in self._exchanges),
        )
