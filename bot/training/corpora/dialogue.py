"""One dialogue of a corpus, and what makes an utterance unfit for training. Knows no file format."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

MAX_CHARACTERS = 240
MAX_WORDS = 45

_LINK = re.compile(r"https?:|www\.|\b\w+\.(?:com|org|net|edu|io)\b", re.IGNORECASE)
_PERSONAL = re.compile(r"[\w.]+@\w|@\w{3,}|\d[\d\s().-]{6,}\d")
_PROFANE = re.compile(
    r"\b(?:f+u+c+k\w*|wtf|stfu|sh[i1]t\w*|bullshit|bitch\w*|cunt\w*|dick(?:head)?s?|pussy|whore\w*|slut\w*|nigg\w*|"
    r"fag(?:got)?s?|retard\w*|rape\w*|porn\w*|sex\w*|kill (?:yourself|urself)|kys|suicid\w*|asshole\w*|damn\w*)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z]{2}")
_STUTTER = re.compile(r"(.)\1{5}|[^\w\s]{5}")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns in order, two speakers in strict alternation, the person first unless `bot_opens`.

    `weights`, one a turn, are DialoGPT's: a turn of weight 0 is not learned. `persona` are sentences about the bot.
    Dialogues that share one of their `situations` belong on the same side of a split.
    """

    turns: tuple[str, ...]
    source: str
    topic: str = ""
    weights: tuple[float, ...] | None = None
    persona: tuple[str, ...] = ()
    situations: tuple[str, ...] = ()
    bot_opens: bool = False

    def part(self, first: int, end: int) -> "Dialogue":
        """The turns from `first` up to `end`, with who says them and what they weigh."""
        return replace(
            self,
            turns=self.turns[first:end],
            weights=None if self.weights is None else self.weights[first:end],
            bot_opens=self.bot_opens != (first % 2 == 1),
        )

    def pieces(self, kept: Sequence[bool]) -> Iterator["Dialogue"]:
        """What remains of at least two turns in a row when it is cut at the turns that are not kept."""
        first = 0
        for place, is_kept in enumerate((*kept, False)):
            if is_kept:
                continue
            if place - first > 1:
                yield self if place - first == len(self.turns) else self.part(first, place)
            first = place + 1


def is_held_out(key: str) -> bool:
    """Whether the dialogue with this key is kept for evaluation: one in fifty, whatever the seed or the order."""
    return hashlib.blake2b(key.encode(), digest_size=4).digest()[0] < 5


def is_fit(text: str) -> bool:
    """Whether an utterance from a public corpus may be learned: plain, short, no links, personal data, swearing."""
    if not text or len(text) > MAX_CHARACTERS or len(text.split()) > MAX_WORDS:
        return False
    if not _WORD.search(text) or sum(ord(c) > 0x24F and c not in "’‘“”…–—" for c in text) > 2:
        return False
    return not any(pattern.search(text) for pattern in (_LINK, _PERSONAL, _PROFANE, _STUTTER))


def fit_pieces(turns: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Cut a conversation at its unfit turns; pieces of at least two turns remain."""
    piece: list[str] = []
    for turn in turns:
        text = " ".join(turn.split())
        if is_fit(text):
            piece.append(text)
            continue
        if len(piece) > 1:
            yield tuple(piece)
        piece = []
    if len(piece) > 1:
        yield tuple(piece)
