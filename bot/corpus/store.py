"""The bot's own conversations as a corpus: of people who agreed, and nothing from Discord, unless told otherwise."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bot.config import Config
from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.speakers import Line, two_sided
from bot.training.corpora.text import numbered_lines, wrong
from storage.records import Talk
from storage.talks import read_talks

log = logging.getLogger(__name__)

SOURCE = "store"

_PAGE = 200
_ANSWERS = {"yes": True, "no": False}
_OWN = "terminal"
"""Who talks there sits at the operator's own machine."""


@dataclass(slots=True, kw_only=True)
class Consent:
    """Whose words may be used: `answers` by "PLATFORM:ID". `everybody` and `discord` lift the two rules; messages that
    were left out are counted by reason."""

    answers: dict[str, bool] = field(default_factory=dict)
    everybody: bool = False
    discord: bool = False
    telegram_allowed: bool = True
    left_out: Counter[str] = field(default_factory=Counter)

    def allows(self, platform: str, author: str) -> bool:
        """Whether a message of theirs may be used; counts it where not."""
        reason = self._objection(platform, author)
        if reason is not None:
            self.left_out[reason] += 1
        return reason is None

    def _objection(self, platform: str, author: str) -> str | None:
        if platform == "discord" and not self.discord:
            return "Discord content"
        if self.everybody or platform == _OWN:
            return None
        if not self.telegram_allowed:
            return "privacy.training says never"
        answer = self.answers.get(f"{platform}:{author}")
        return {True: None, False: "opted out", None: "never asked"}[answer]


def read_consent(path: Path) -> dict[str, bool]:
    """A list of people, one a line: `telegram:123456 yes`, then any remark; `no` is a refusal, # begins a comment, and
    the last line about a person counts. Raises TrainingError."""
    answers: dict[str, bool] = {}
    for number, line in numbered_lines(path):
        words = line.partition("#")[0].split()
        if not words:
            continue
        platform, colon, author = words[0].partition(":")
        answer = _ANSWERS.get(words[1].lower()) if len(words) > 1 else None
        if not (platform and colon and author) or answer is None:
            raise wrong(path, number, "write PLATFORM:ID and yes or no, as: telegram:123456 yes")
        answers[words[0]] = answer
    return answers


def consent_from(config: Config, consent_list: Path | None, *, everybody: bool, discord: bool) -> Consent:
    """What the configuration and the command line say together; an override is logged. Raises TrainingError."""
    if everybody or discord:
        log.warning("training_consent_overridden", extra={"everybody": everybody, "discord": discord})
    return Consent(
        answers={} if consent_list is None else read_consent(consent_list),
        everybody=everybody,
        discord=discord,
        telegram_allowed=config.privacy.training.telegram != "never",
    )


def stored_dialogues(config: Config, config_path: Path, consent: Consent) -> Iterator[Dialogue]:
    """Every conversation that may be used, cut where somebody speaks who did not agree. Raises StoreError."""
    from bot.app import prepare_store

    with asyncio.Runner() as runner:
        store = prepare_store(config, config_path)
        try:
            after = 0
            while talks := runner.run(store.read(read_talks, after, _PAGE)):
                for talk in talks:
                    yield from pieces_of(talk, consent)
                after = talks[-1].conversation_id
        finally:
            runner.run(store.close())
    log.info("training_messages_left_out", extra={"by_reason": dict(consent.left_out)})


def pieces_of(talk: Talk, consent: Consent) -> Iterator[Dialogue]:
    """Stretches of at least two turns; only the bot's are its own. A reply to somebody who did not agree may quote
    them, so it goes with what it answers."""
    lines: list[Line] = []
    unusable: set[int | None] = set()
    for line in talk.lines:
        if line.author_id is None:
            fits = bool(line.text) and (line.turn_id is None or line.turn_id not in unusable)
        else:
            fits = bool(line.text) and consent.allows(talk.platform, line.author_id)
            if not fits:
                unusable.add(line.turn_id)
        if fits:
            lines.append((line.author_id is None, " ".join(line.text.split()), None))
            continue
        yield from _whole(lines)
        lines = []
    yield from _whole(lines)


def _whole(lines: list[Line]) -> Iterator[Dialogue]:
    dialogue = two_sided(lines, source=SOURCE)
    if len(dialogue.turns) > 1:
        yield dialogue
