"""Who writes in an export, under which names, and who of them agreed to be learned from.

A person without consent leaves nothing behind: not their lines, and not the answers to them. Who agreed appears in a
pack under a pseudonym, a keyed hash whose key never leaves the work folder: the same for the same key, and of no use
for finding out the name.
"""

import hashlib
import hmac
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.personas.errors import PersonaError
from bot.training.corpora.posts import Post

_SHOWN = 12
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class People:
    """How many messages everybody wrote, by the platform's id, and every name that they went by."""

    messages: Counter[str]
    names: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, posts: Iterable[Post]) -> "People":
        messages: Counter[str] = Counter()
        names: dict[str, dict[str, None]] = {}
        for post in posts:
            messages[post.author] += 1
            names.setdefault(post.author, {})[post.name] = None
        return cls(messages, {author: tuple(found) for author, found in names.items()})

    def identified(self, who: str, export: Path) -> str:
        """The id of a person who is named by name or id. Raises PersonaError that names those who are there."""
        if who in self.messages:
            return who
        wanted = _folded(who)
        called = [author for author, names in self.names.items() if wanted in map(_folded, names)]
        if len(called) == 1:
            return called[0]
        if called:
            raise PersonaError(f"{export}: {len(called)} people are called {who}. Give the id: {', '.join(called)}.")
        raise PersonaError(f"{export}: nobody called {who!r} writes in it. Those who do: {self._most_active()}.")

    def _most_active(self) -> str:
        shown = [f"{self.names[author][-1]} ({count:,})" for author, count in self.messages.most_common(_SHOWN)]
        more = len(self.messages) - len(shown)
        return ", ".join([*shown, f"and {more} more"] if more else shown)


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Stable names for people, from a secret key."""

    key: bytes

    @classmethod
    def kept_in(cls, file: Path) -> "Pseudonyms":
        """The key in the file, which is made, for its owner alone, where there is none."""
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(os.urandom(_KEY_BYTES))
        except FileExistsError:
            pass
        key = file.read_bytes()
        if len(key) != _KEY_BYTES:
            raise PersonaError(f"{file}: this is no key of pseudonyms. Delete the file; others will be given.")
        return cls(key)

    def of(self, author: str) -> str:
        """As `person-3f9a21c0`."""
        return f"person-{self._digest(author).hex()[:8]}"

    def order(self, author: str) -> int:
        """A number for choosing among things, the same for the same person."""
        return int.from_bytes(self._digest(f"order {author}")[:8])

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self.key, text.encode(), hashlib.sha256)


def read_consent(file: Path) -> list[str]:
    """One name or id a line; empty lines and what follows a # mean nothing. Raises PersonaError."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PersonaError(f"{file}: this is not UTF-8 text. Save the list of consent as UTF-8.") from error
    except OSError as error:
        raise PersonaError(f"{file}: the list of consent cannot be read ({error.strerror}).") from error
    return [name for line in lines if (name := line.split("#")[0].strip())]


def consenting(people: People, export: Path, speaker: str, named: Sequence[str]) -> tuple[str, frozenset[str]]:
    """The speaker's id, and the ids of all who agreed. Raises PersonaError if the speaker is not among them, or a
    name is nobody's."""
    learned = people.identified(speaker, export)
    agreed = frozenset(people.identified(name, export) for name in named)
    if learned not in agreed:
        raise PersonaError(
            f"{speaker} has to agree to becoming a persona. If so, say: --yes-i-have-consent {speaker!r}, and the same "
            "for everybody else who agreed; without their consent, others' lines are left out."
        )
    if len(agreed) < 2:
        raise PersonaError(
            f"Only {speaker} agreed, so there is nobody whose lines {speaker} answers. Name the others who agreed with "
            "--yes-i-have-consent NAME or in a --consent FILE."
        )
    return learned, agreed


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())
