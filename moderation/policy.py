"""From what was found in a text to what is done about it, by profile and direction.

A person may swear; the bot may not (in the default profile). What a person says is kept with personal data and
secrets replaced; hate and threats in it restrict what may be answered. A reply is judged together with what was said.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from moderation.hygiene import find_flaws, looks_empty, neutralise_pings, strip_invisible
from moderation.lexicon import Entry, Hit, Lexicon, read_rows, speaks
from moderation.normalize import view
from moderation.pair import RESTRICTING, PairRule
from moderation.patterns import PatternError
from moderation.private import Finding, find_private, redact
from moderation.verdict import Action, Category, Verdict

Profile = Literal["family", "default", "adult_gated"]

MAX_CHARACTERS = 8192  # twice the longest message of either platform; what lies beyond is cut off unread
_DATA_FILES = ("terms.csv", "allow.csv", "crisis.csv", "agreement.csv", "classes.csv", "confusables.csv")
# Lowest severity that a reply may not have, by profile; `None`: the category does not block.
_LIMITS: dict[Category, dict[Profile, int | None]] = {
    Category.SEXUAL_MINORS: {"family": 1, "default": 1, "adult_gated": 1},
    Category.THREAT: {"family": 1, "default": 1, "adult_gated": 1},
    Category.SELF_HARM: {"family": 1, "default": 1, "adult_gated": 1},
    Category.HATE: {"family": 1, "default": 2, "adult_gated": 2},
    Category.HARASSMENT: {"family": 1, "default": 2, "adult_gated": None},
    Category.SEXUAL: {"family": 1, "default": 2, "adult_gated": None},
    Category.PROFANITY: {"family": 1, "default": 2, "adult_gated": None},
    Category.CUSTOM: {"family": 1, "default": 1, "adult_gated": 1},
}
_WORST_FIRST = tuple(Category)
_WORTH_NOTING = 2  # severity from which a person's words are marked


class ModerationError(ValueError):
    """A setting or list that cannot be used; the message names the entry and says what to write instead."""


class WordLists(BaseModel):
    """The admin's words: whole words or phrases; `cat*`, `*cat`, `*cat*` for parts of words."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    block: list[str] = Field(default_factory=list, description="never said by the bot, in any profile")
    allow: list[str] = Field(default_factory=list, description="never blocked by a word list")


class LinkSettings(BaseModel):
    """Which links the bot may post."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    allow: list[str] = Field(default_factory=list, description="domains, subdomains included, for example example.org")


class ModerationSettings(BaseModel):
    """The section `moderation` of the configuration, as far as rules need it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    profile: Profile = Field(default="default", description="family, default (no strong language) or adult_gated")
    words: WordLists = Field(default_factory=WordLists)
    links: LinkSettings = Field(default_factory=LinkSettings)
    languages: list[str] = Field(default_factory=lambda: ["en"], description="languages spoken here, for word lists")
    crisis_message: str = Field(
        default=(
            "I'm really sorry that you are going through this. I'm only a chat bot, so please don't stay alone with it:"
            " tell someone you trust, or call your local emergency number or a crisis line in your country right now."
            " You deserve help from a person."
        ),
        min_length=1,
        description="posted, word for word, when somebody says that they want to hurt themselves",
    )


def load_moderator(settings: ModerationSettings) -> "Moderator":
    """Compile lists and settings; raises ModerationError naming the entry that cannot be used."""
    domains = _domains(settings.links.allow)
    classes = {row["class"]: row["members"].split("|") for _, row in read_rows("classes.csv")}
    own = [*_admin_entries(settings.words.block), *_shipped_entries(settings.languages)]
    allowed = [row["pattern"] for _, row in read_rows("allow.csv") if speaks(row["languages"], settings.languages)]
    try:
        words = Lexicon(own, [*allowed, *_admin_allowed(settings.words.allow)], classes)
        crisis = _crisis_lexicon(settings.languages)
    except PatternError as error:
        raise ModerationError(f"word lists: {error}") from error
    return Moderator(settings, words, crisis, domains, _revision(settings))


class Moderator:
    """Judges texts by rules. Immutable and free of input and output, so that any thread may use it."""

    def __init__(
        self, settings: ModerationSettings, words: Lexicon, crisis: Lexicon, domains: frozenset[str], revision: str
    ) -> None:
        self.revision = revision
        self._settings = settings
        self._words = words
        self._crisis = crisis
        self._domains = domains
        self._pair = PairRule(settings.languages)

    def crisis_reply(self) -> str:
        """The fixed answer to a CRISIS verdict."""
        return self._settings.crisis_message

    def check_incoming(self, text: str) -> Verdict:
        """What a person said. Only sexual content about minors is blocked; `category` marks what limits the reply."""
        text = text[:MAX_CHARACTERS]
        stripped = strip_invisible(text)
        private = find_private(stripped)
        cleaned = redact(stripped, private)
        if looks_empty(cleaned):
            return self._verdict(Action.ALLOW, "", Category.EMPTY, "hygiene:empty", None)
        seen = view(text)
        worst = _worst(hit for hit in self._words.find(seen) if hit.entry.severity >= _WORTH_NOTING)
        if worst is not None and worst.entry.category is Category.SEXUAL_MINORS:
            return self._hit(Action.BLOCK, worst, cleaned)
        if disclosures := self._crisis.find(seen):
            return self._hit(Action.CRISIS, disclosures[0], cleaned)
        action = Action.REDACT if private else Action.ALLOW
        if worst is not None and (worst.entry.category in RESTRICTING or not private):
            return self._hit(action, worst, cleaned)
        if private:
            return self._private(action, private, cleaned)
        return self._verdict(action, cleaned, None, None, None)

    def check_outgoing(self, reply: str, *, said: str, said_verdict: Verdict) -> Verdict:
        """A candidate reply to `said`, whose incoming verdict was `said_verdict`."""
        text = reply[:MAX_CHARACTERS]
        stripped = strip_invisible(text)
        private = find_private(stripped)
        cleaned = strip_invisible(neutralise_pings(redact(stripped, private)))
        changed = cleaned != stripped
        if looks_empty(cleaned):
            return self._verdict(Action.BLOCK, "", Category.EMPTY, "hygiene:empty", None)
        if any(finding.category is Category.SECRET for finding in private):
            return self._private(Action.BLOCK, private, cleaned)
        if flaw := next(find_flaws(stripped, self._domains), None):
            return self._verdict(Action.BLOCK, cleaned, flaw.category, flaw.rule, flaw.span)
        if worst := self._worst_blocked(text):
            return self._hit(Action.BLOCK, worst, cleaned)
        # Judged as it would be posted too: without its `@` a text may be a link or a listed word.
        if changed and (flaw := next(find_flaws(cleaned, self._domains), None)):
            return self._verdict(Action.BLOCK, cleaned, flaw.category, flaw.rule, None)
        if changed and (worst := self._worst_blocked(cleaned)):
            return self._verdict(Action.BLOCK, cleaned, worst.entry.category, worst.entry.rule, None)
        if rule := self._pair.broken_by(cleaned, said=said, said_verdict=said_verdict):
            return self._verdict(Action.BLOCK, cleaned, said_verdict.category, rule, None)
        if private:
            return self._private(Action.REDACT, private, cleaned)
        if changed:
            return self._verdict(Action.ALLOW, cleaned, Category.MENTION, "hygiene:mention", None)
        return self._verdict(Action.ALLOW, cleaned, None, None, None)

    def _worst_blocked(self, text: str) -> Hit | None:
        profile = self._settings.profile
        return _worst(hit for hit in self._words.find(view(text)) if _blocks(hit.entry, profile))

    def _hit(self, action: Action, hit: Hit, cleaned: str) -> Verdict:
        return self._verdict(action, cleaned, hit.entry.category, hit.entry.rule, hit.span)

    def _private(self, action: Action, findings: Sequence[Finding], cleaned: str) -> Verdict:
        first = min(findings, key=lambda finding: finding.category is not Category.SECRET)
        return self._verdict(action, cleaned, first.category, f"private:{first.kind}", first.span)

    def _verdict(
        self, action: Action, text: str, category: Category | None, rule: str | None, span: tuple[int, int] | None
    ) -> Verdict:
        return Verdict(
            action=action,
            category=category,
            rule=rule,
            text=text,
            span=span,
            profile=self._settings.profile,
            revision=self.revision,
        )


def _blocks(entry: Entry, profile: Profile) -> bool:
    limit = _LIMITS[entry.category][profile]
    return limit is not None and entry.severity >= limit


def _worst(hits: Iterable[Hit]) -> Hit | None:
    """The hit of the gravest category; among equals the severest, then the first."""
    return min(hits, key=lambda hit: (_WORST_FIRST.index(hit.entry.category), -hit.entry.severity), default=None)


def _shipped_entries(languages: Sequence[str]) -> list[Entry]:
    return [
        Entry(f"terms:{line}", Category(row["category"]), int(row["severity"]), row["pattern"], row["form"])
        for line, row in read_rows("terms.csv")
        if speaks(row["languages"], languages)
    ]


def _admin_entries(patterns: Sequence[str]) -> list[Entry]:
    """The admin's words come first, so that they decide before the shipped lists do."""
    for position, pattern in enumerate(patterns, 1):
        _check_admin_pattern(pattern, f"moderation.words.block, entry {position}")
    return [
        Entry(f"words.block:{position}", Category.CUSTOM, 3, _literal(pattern))
        for position, pattern in enumerate(patterns, 1)
    ]


def _admin_allowed(patterns: Sequence[str]) -> list[str]:
    for position, pattern in enumerate(patterns, 1):
        place = f"moderation.words.allow, entry {position}"
        _check_admin_pattern(pattern, place)
        if "*" in pattern:
            raise ModerationError(f"{place}: {pattern!r} has a star; allow whole words or phrases, one entry each")
    return [_literal(pattern) for pattern in patterns]


def _check_admin_pattern(pattern: str, place: str) -> None:
    if not re.search(r"[^\W_]", pattern):
        raise ModerationError(
            f"{place}: {pattern!r} has no letter or digit; write a word, a phrase, or cat* for a part"
        )
    inner = pattern.strip()
    inner = inner[inner.startswith("*") : len(inner) - inner.endswith("*")]
    if "*" in inner or ("*" in pattern and " " in inner):
        raise ModerationError(f"{place}: {pattern!r} has a star inside; write cat*, *cat or *cat*, one word each")


def _literal(pattern: str) -> str:
    """Brackets and bars mean nothing in an admin's word."""
    return re.sub(r"[()\[\]|{}]", " ", pattern).strip()


def _crisis_lexicon(languages: Sequence[str]) -> Lexicon:
    rows = [(line, row) for line, row in read_rows("crisis.csv") if speaks(row["languages"], languages)]
    disclosures = [
        Entry(f"crisis:{line}", Category.SELF_HARM, 3, row["pattern"])
        for line, row in rows
        if row["kind"] == "disclosure"
    ]
    return Lexicon(disclosures, [row["pattern"] for _, row in rows if row["kind"] == "ordinary"])


def _domains(domains: Sequence[str]) -> frozenset[str]:
    for domain in domains:
        if not re.fullmatch(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{1,62}", domain.strip()):
            raise ModerationError(
                f"moderation.links.allow: {domain!r} is no domain; write it as example.org, without https:// and path"
            )
    return frozenset(domain.strip().lower() for domain in domains)


@cache
def _lists_digest() -> bytes:
    digest = hashlib.sha256()
    for name in _DATA_FILES:
        digest.update(files(__package__).joinpath(name).read_bytes())
    return digest.digest()


def _revision(settings: ModerationSettings) -> str:
    """Twelve hexadecimal digits that change with the shipped lists or the settings."""
    chosen = json.dumps(settings.model_dump(mode="json"), sort_keys=True).encode()
    return hashlib.sha256(_lists_digest() + chosen).hexdigest()[:12]
