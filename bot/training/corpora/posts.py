"""From the posts of a chat, many people's in any order, to dialogues around one speaker. Knows no file format."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.speakers import Line, two_sided
from bot.training.errors import TrainingError

GAP = timedelta(hours=1)
"""A longer pause ends a dialogue."""

_OPEN_SESSIONS = 64
_OPEN_POSTS = 4000
_LONGEST_SESSION = 1000
_SHOWN_NAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One message of an export. `author` is the platform's id, which outlives the `name`."""

    chat: str
    id: str
    author: str
    name: str
    sent_at: datetime
    text: str
    reply_to: str | None = None
    is_bot: bool = False


@dataclass(slots=True)
class _Session:
    """Posts that belong together; `ids` are those that a later one may reply to."""

    posts: list[Post] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def add(self, post: Post) -> None:
        self.posts.append(post)
        self.ids.add(post.id)


PostReader = Callable[[Path], Iterator[Post]]


def read_export(
    posts: PostReader, path: Path, source: str, *, speaker: str | None = None, gap: timedelta = GAP
) -> Iterator[Dialogue]:
    """The dialogues of an export, which is read twice. Raises TrainingError.

    With a `speaker` (name or id), who stands for the bot, dialogues are the exchanges with them, and only their turns
    are learned. Without one, chats of two are read as they are; of bots there is nothing in them.
    """
    people = _people(posts(path))
    bot = None if speaker is None else _identified(path, people, speaker)
    if bot is None:
        _demand_pairs(path, people)
    said = (post for post in posts(path) if post.author == bot or not post.is_bot)
    found = False
    for _, of_chat in groupby(said, key=lambda post: post.chat):
        for session in sessions(of_chat, gap):
            dialogue = _around(session, bot, source)
            if len(dialogue.turns) > 1 and (bot is None or any(dialogue.weights or ())):
                found = True
                yield dialogue
    if not found:
        whose = "two people" if speaker is None else f"{speaker} and somebody"
        raise TrainingError(f"{path}: nowhere in it do {whose} answer each other within {gap}. Allow a longer --gap.")


def sessions(posts: Iterable[Post], gap: timedelta) -> Iterator[list[Post]]:
    """One chat's posts, cut where nobody wrote for longer than `gap`. A post that replies to an earlier one joins it,
    however late, and so does what follows at once."""
    waiting: list[_Session] = []
    current: _Session | None = None
    last: datetime | None = None
    kept = 0
    for post in posts:
        home = next((session for session in waiting if post.reply_to in session.ids), None)
        if home is None and current is not None and last is not None and post.sent_at - last <= gap:
            home = current
        if home is None or len(home.posts) >= _LONGEST_SESSION:
            home = _Session()
            waiting.append(home)
        home.add(post)
        current, last = home, post.sent_at
        kept += 1
        while len(waiting) > _OPEN_SESSIONS or (kept > _OPEN_POSTS and len(waiting) > 1):
            oldest = next(session for session in waiting if session is not current)
            waiting.remove(oldest)
            kept -= len(oldest.posts)
            yield oldest.posts
    for session in waiting:
        yield session.posts


def _around(session: list[Post], bot: str | None, source: str) -> Dialogue:
    authors = list(dict.fromkeys(post.author for post in session))
    if bot is None:
        # Nobody is the bot: whoever answers stands where it does.
        return two_sided(((post.author != authors[0], post.text, None) for post in session), source=source)
    if len(authors) > 2:
        session = _exchanges(session, bot)
    lines: list[Line] = [(post.author == bot, post.text, float(post.author == bot)) for post in session]
    return two_sided(lines, source=source)


def _exchanges(session: list[Post], bot: str) -> list[Post]:
    """What the speaker says, each time behind what it answers: the post it replies to and replies to the speaker,
    else what the last person before said in a row."""
    kept: list[Post] = []
    spoken: set[str] = set()
    unanswered: list[Post] = []
    passed: dict[str, Post] = {}
    for post in session:
        if post.author != bot:
            unanswered.append(post)
            continue
        addressed = [each for each in unanswered if each.reply_to in spoken or each.id == post.reply_to]
        if not addressed and post.reply_to in passed:
            addressed = [passed.pop(post.reply_to)]
        elif not addressed:
            addressed = _last_run(unanswered)
        kept += [*addressed, post]
        spoken.add(post.id)
        passed |= {each.id: each for each in unanswered if each not in addressed}
        unanswered = []
    return kept


def _last_run(posts: list[Post]) -> list[Post]:
    first = len(posts)
    while first and posts[first - 1].author == posts[-1].author:
        first -= 1
    return posts[first:]


@dataclass(slots=True)
class _People:
    """How much everybody says, in all chats and in each, and under which name."""

    names: dict[str, str] = field(default_factory=dict)
    posts: Counter[str] = field(default_factory=Counter)
    by_chat: dict[str, set[str]] = field(default_factory=dict)

    def most_active(self, authors: Iterable[str]) -> str:
        ranked = sorted(authors, key=lambda author: -self.posts[author])
        shown = [f"{self.names[author]} ({self.posts[author]:,})" for author in ranked[:_SHOWN_NAMES]]
        return ", ".join([*shown, "..."] if len(ranked) > _SHOWN_NAMES else shown)


def _people(posts: Iterable[Post]) -> _People:
    found = _People()
    bots: set[str] = set()
    for post in posts:
        found.names[post.author] = post.name
        found.posts[post.author] += 1
        if post.is_bot:
            bots.add(post.author)
        else:
            found.by_chat.setdefault(post.chat, set()).add(post.author)
    return found


def _identified(path: Path, people: _People, speaker: str) -> str:
    if speaker in people.names:
        return speaker
    called = [author for author, name in people.names.items() if name.casefold() == speaker.casefold()]
    if len(called) > 1:
        raise TrainingError(f"{path}: {len(called)} people are called {speaker}. Give an id: {', '.join(called)}.")
    if not called:
        known = people.most_active(people.names)
        raise TrainingError(f"{path}: nobody called {speaker!r} writes in it. Those who do: {known or 'nobody'}.")
    return called[0]


def _demand_pairs(path: Path, people: _People) -> None:
    if not people.by_chat:
        raise TrainingError(f"{path}: there are no messages with text in it.")
    if all(len(authors) < 2 for authors in people.by_chat.values()):
        only = people.most_active(set().union(*people.by_chat.values()))
        raise TrainingError(f"{path}: in no chat do two people talk, so nothing is answered. Only: {only}.")
    for chat, authors in people.by_chat.items():
        if len(authors) > 2:
            raise TrainingError(
                f"{path}: {len(authors)} people talk in {chat!r}. Choose whose replies are learned, --speaker NAME: "
                f"{people.most_active(authors)}."
            )
