"""What moderation says against learning a turn: each rule by its name on the command line."""

from collections.abc import Collection, Iterator

from bot.training.corpora.clean import TurnRule
from moderation.hygiene import find_flaws
from moderation.policy import ModerationSettings, load_moderator
from moderation.private import find_private
from moderation.verdict import Action

PERSONAL_DATA, LINKS, PROFANITY = "personal-data", "links", "profanity"


def moderation_rules(skipped: Collection[str], languages: Collection[str]) -> Iterator[TurnRule]:
    """The rules that are not skipped. `languages` choose the word lists; without any, English."""
    if PERSONAL_DATA not in skipped:
        yield _private
    if LINKS not in skipped:
        yield _link
    if PROFANITY not in skipped:
        yield _unsayable(list(languages) or ["en"])


def _private(turn: str) -> str | None:
    found = find_private(turn)
    return f"personal data: {found[0].kind}" if found else None


def _link(turn: str) -> str | None:
    flaw = next(find_flaws(turn, ()), None)
    return None if flaw is None else str(flaw.category)


def _unsayable(languages: list[str]) -> TurnRule:
    """What the bot would not be let say is not worth learning either."""
    moderator = load_moderator(ModerationSettings(languages=languages))
    silence = moderator.check_incoming("")

    def judge(turn: str) -> str | None:
        verdict = moderator.check_outgoing(turn, said="", said_verdict=silence)
        return f"words: {verdict.category}" if verdict.action in (Action.BLOCK, Action.CRISIS) else None

    return judge
