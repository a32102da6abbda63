"""From an export to what may be learned: dialogues with the speaker, consented to, scrubbed, fit to be said.

The export streams; neither it nor anything unscrubbed is ever written down again.
"""

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from tqdm import tqdm

from bot.personas.errors import PersonaError
from bot.personas.people import People
from bot.personas.scrub import Scrubber
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.files import EXPORTS, located
from bot.training.corpora.posts import Post, PostReader, read_export
from moderation.policy import ModerationSettings, Moderator, load_moderator
from moderation.verdict import Action

SOURCE = "persona"
LONGEST_TALK = 12
LONGEST_CHARACTERS = 900
"""Turns of one dialogue, and characters: about 250 tokens, which every model reads at once. A longer talk becomes
several dialogues, each of which begins with a person's turn."""

_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Export:
    """A chat export whose format is known."""

    path: Path
    kind: str
    posts: PostReader

    @classmethod
    def named(cls, name: str) -> "Export":
        """`PATH` or `PATH:FORMAT`. Raises PersonaError or TrainingError for anything that is no chat export."""
        path, kind = located(name)
        if kind not in EXPORTS:
            raise PersonaError(
                f"{path}: a persona is made from an export of a chat ({', '.join(EXPORTS)}), and this is {kind}. "
                "Train on other corpora with: banter train"
            )
        return cls(path, kind, EXPORTS[kind])

    def read(self) -> Iterator[Post]:
        """What people wrote; bots are no people."""
        shown = tqdm(self.posts(self.path), unit=" messages", disable=None, leave=False)
        return (post for post in shown if not post.is_bot)

    def fingerprint(self) -> str:
        """Changes with the content: the SHA-256 of every file."""
        digest = hashlib.sha256()
        for file in sorted(self.path.glob("*.json")) if self.path.is_dir() else [self.path]:
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()


@dataclass(slots=True)
class Tally:
    """What happened to the messages, for the card."""

    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def learned_dialogues(
    export: Export,
    *,
    learned: str,
    agreed: frozenset[str],
    scrubber: Scrubber,
    gap: timedelta,
    tally: Tally,
) -> Iterator[Dialogue]:
    """Every dialogue begins with a person's turn and ends with the speaker's. Raises TrainingError."""

    def posts(_path: Path) -> Iterator[Post]:
        nonlocal tally, scrubber
        tally.kept, tally.left_out = 0, Counter()  # it is read twice
        scrubber.found = Counter()
        yield from _allowed(export.read(), learned, agreed, scrubber, tally)

    is_fit = _fitness(tally)
    for dialogue in read_export(posts, export.path, SOURCE, speaker=learned, gap=gap):
        for talk in _talks(dialogue, is_fit):
            yield replace(talk, weights=None)


def _allowed(
    posts: Iterator[Post], learned: str, agreed: frozenset[str], scrubber: Scrubber, tally: Tally
) -> Iterator[Post]:
    """Where something is left out, the talk is cut: what is said next answers what nobody may know."""
    cuts: Counter[str] = Counter()
    unanswerable: set[str] = set()
    for post in posts:
        if post.author not in agreed:
            tally.left_out["no consent"] += 1
            cuts[post.chat] += 1
            unanswerable.add(post.chat)
            continue
        if post.author == learned and post.chat in unanswerable:
            tally.left_out["answers to those without consent"] += 1
            continue
        unanswerable.discard(post.chat)
        scrubbed = scrubber.scrub(post.text)
        if not _WORD.search(scrubbed.text) or (post.author == learned and scrubbed.is_private):
            tally.left_out["private lines of the speaker" if scrubbed.is_private else "nothing but signs"] += 1
            cuts[post.chat] += 1
            continue
        tally.kept += 1
        yield replace(post, chat=f"{post.chat} {cuts[post.chat]}", text=scrubbed.text)


@functools.cache
def usual_moderator() -> Moderator:
    """The bot's, as it is by default."""
    return load_moderator(ModerationSettings())


def _fitness(tally: Tally) -> Callable[[str], bool]:
    """Whether the bot could ever post the text."""
    moderator = usual_moderator()
    nothing_said = moderator.check_incoming("")

    def is_fit(text: str) -> bool:
        verdict = moderator.check_outgoing(text, said="", said_verdict=nothing_said)
        if verdict.action is Action.BLOCK:
            tally.left_out["what moderation would never post"] += 1
            return False
        return True

    return is_fit


def _talks(dialogue: Dialogue, is_fit: Callable[[str], bool]) -> Iterator[Dialogue]:
    """Pieces that begin with a person and end with the bot, none longer than LONGEST_TALK."""
    first = int(dialogue.bot_opens)
    place = first
    while place + 1 < len(dialogue.turns):
        if place > first and _is_full(dialogue.turns[first : place + 2]):
            yield dialogue.part(first, place)
            first = place
        if not is_fit(dialogue.turns[place + 1]):
            if place > first:
                yield dialogue.part(first, place)
            first = place + 2
        place += 2
    if place > first:
        yield dialogue.part(first, place)


def _is_full(turns: Sequence[str]) -> bool:
    """Whether the last exchange is one too many."""
    return len(turns) > LONGEST_TALK or sum(map(len, turns)) > LONGEST_CHARACTERS


def people_in(export: Export) -> People:
    """Everybody who writes in it. Raises PersonaError for an export without messages."""
    people = People.of(export.read())
    if not people.messages:
        raise PersonaError(f"{export.path}: there are no messages with text in it.")
    return people
