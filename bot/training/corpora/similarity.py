"""Which dialogues are alike: MinHash (Broder 1997) and banding, with everything on disk but a number a dialogue.

Two dialogues are near-duplicates when about four in five of the character 5-grams of one occur in the other too.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bot.training.corpora.dialogue import Dialogue

NEAR = 0.8
"""Jaccard similarity of two near-duplicates; estimated from 60 hashes, with a standard error of 0.05."""

_BANDS, _ROWS = 12, 5
_HASHES = _BANDS * _ROWS
_GRAM = 5
_NOT_WORD = re.compile(r"[\W_]+")
_RANDOM = np.random.default_rng(20_231_107)
_FACTORS = _RANDOM.integers(1, 1 << 63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFTS = _RANDOM.integers(0, 1 << 63, _HASHES, dtype=np.uint64)
_PLACES = _RANDOM.integers(1, 1 << 63, _GRAM, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_BAND_FACTORS = _RANDOM.integers(1, 1 << 63, (_BANDS, _ROWS), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_KEY = np.dtype([("key", "<u8"), ("owner", "<u8")])
_EXACT = np.uint64(0x9E3779B97F4A7C15)

Numbers = np.ndarray[Any, np.dtype[np.uint64]]
Signature = np.ndarray[Any, np.dtype[np.uint32]]


def plain_text(dialogue: Dialogue) -> str:
    """What is compared: words without case and punctuation, a line a turn."""
    return "\n".join(_NOT_WORD.sub(" ", turn.casefold()).strip() for turn in dialogue.turns)


def key_of(text: str) -> int:
    """A number of 64 bits that stands for the text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def signature_of(text: str) -> Signature:
    """The least of each of 60 hashes over the text's 5-grams; the share of equal ones estimates the similarity."""
    codes = np.frombuffer(text.ljust(_GRAM).encode("utf-32-le", "replace"), dtype="<u4").astype(np.uint64)
    grams = np.lib.stride_tricks.sliding_window_view(codes, _GRAM)  # (N, 5)
    hashed = (grams * _PLACES).sum(axis=1, dtype=np.uint64)  # (N,)
    hashed ^= hashed >> np.uint64(29)
    mixed = hashed[:, None] * _FACTORS + _SHIFTS  # (N, 60)
    least: Signature = (mixed >> np.uint64(32)).min(axis=0).astype(np.uint32)
    return least


def bands_of(signature: Signature) -> Numbers:
    """Twelve keys; near-duplicates share one with a probability of 99 %."""
    rows = signature.reshape(_BANDS, _ROWS).astype(np.uint64) + np.uint64(1)
    keys: Numbers = (rows * _BAND_FACTORS).sum(axis=1, dtype=np.uint64)
    return keys


def likeness(one: Signature, other: Signature) -> float:
    """The estimated similarity, 0 to 1."""
    return float((one == other).mean())


@dataclass(frozen=True, slots=True)
class Groups:
    """`first[n]` is the earliest dialogue of n's group; `copy[n]` tells that an earlier one has the same words."""

    first: np.ndarray[Any, np.dtype[np.int64]]
    copy: np.ndarray[Any, np.dtype[np.bool_]]


class Likeness:
    """Collects what is known of each dialogue in files, then finds the groups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys = (folder / "keys").open("w+b")
        self._signatures = (folder / "signatures").open("w+b")
        self._copies = (folder / "copies").open("w+b")
        self._situations = (folder / "situations").open("w+b")
        self._count = 0

    def add(self, dialogue: Dialogue) -> None:
        """Note the next dialogue."""
        text = plain_text(dialogue)
        signature = signature_of(text)
        self._signatures.write(signature.tobytes())
        self._write(self._keys, bands_of(signature))
        self._write(self._copies, [key_of(text)])
        self._write(self._situations, [key_of(situation) for situation in dialogue.situations])
        self._count += 1

    def groups(self, *, near: bool = True, situations: bool = False) -> Groups:
        """Copies are together always; near-duplicates, and those that share a situation, where asked for."""
        parents = np.arange(self._count, dtype=np.int64)
        copy = np.zeros(self._count, dtype=np.bool_)
        for one, other in self._pairs(self._copies):
            copy[max(one, other)] = True
            _join(parents, one, other)
        if situations:
            for one, other in self._pairs(self._situations):
                _join(parents, one, other)
        if near and self._count:
            self._signatures.flush()
            known = np.memmap(self._signatures, dtype=np.uint32, mode="r").reshape(self._count, _HASHES)
            for one, other in self._pairs(self._keys):
                if _root(parents, one) != _root(parents, other) and likeness(known[one], known[other]) >= NEAR:
                    _join(parents, one, other)
        first = np.fromiter((_root(parents, n) for n in range(self._count)), np.int64, self._count)
        return Groups(first, copy)

    def close(self) -> None:
        for file in (self._keys, self._signatures, self._copies, self._situations):
            file.close()

    def _write(self, file: Any, keys: Iterable[Any]) -> None:
        rows = np.array([(key, self._count) for key in keys], dtype=_KEY)
        file.write(rows.tobytes())

    def _pairs(self, file: Any) -> Iterator[tuple[int, int]]:
        """Of each key's owners, the earliest with every later one. Sorted in the file, not in memory."""
        file.flush()
        if file.seek(0, 2) == 0:
            return
        rows = np.memmap(file, dtype=_KEY, mode="r+")
        rows.sort(order=("key", "owner"))
        earliest = 0
        for place in (np.flatnonzero(rows["key"][1:] == rows["key"][:-1]) + 1).tolist():
            if rows["key"][earliest] != rows["key"][place]:
                earliest = place - 1
            yield int(rows["owner"][earliest]), int(rows["owner"][place])


@contextmanager
def likeness_on_disk(near: Path | None = None) -> Iterator[Likeness]:
    """Scratch files go when the block ends."""
    with tempfile.TemporaryDirectory(prefix="banter-", dir=near) as folder:
        collected = Likeness(Path(folder))
        try:
            yield collected
        finally:
            collected.close()


def _root(parents: Any, n: int) -> int:
    while (above := int(parents[n])) != n:
        parents[n] = parents[above]
        n = above
    return n


def _join(parents: Any, one: int, other: int) -> None:
    """The earlier dialogue stands for the group."""
    one, other = sorted((_root(parents, one), _root(parents, other)))
    parents[other] = one
