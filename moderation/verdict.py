"""What moderation says about one text. Knows nothing of lists, platforms or the store."""

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What the caller does: use the text, use the changed text, drop it, or answer with the crisis message."""

    ALLOW = "allow"
    REDACT = "redact"
    BLOCK = "block"
    CRISIS = "crisis"


class Category(StrEnum):
    """Why; the names of abuse follow OpenAI's moderation categories, the rest is hygiene."""

    SEXUAL_MINORS = "sexual_minors"
    THREAT = "threat"
    HATE = "hate"
    SELF_HARM = "self_harm"
    HARASSMENT = "harassment"
    SEXUAL = "sexual"
    PROFANITY = "profanity"
    CUSTOM = "custom"  # the admin's own list
    SECRET = "secret"  # noqa: S105 - a category, no password
    PERSONAL_DATA = "personal_data"
    INVITE = "invite"
    LINK = "link"
    MARKUP = "markup"
    MENTION = "mention"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One judgement.

    `text` is what may be stored, shown to the model or posted when `action` is ALLOW or REDACT; secrets and
    personal data are already replaced in it whatever the action. `rule` names the deciding rule without the
    matched word, so that it may be logged. `span` is where the rule matched, in characters of the text that was
    judged (for hygiene and privacy rules: after its invisible characters are gone). `revision` identifies lists and
    settings.
    """

    action: Action
    category: Category | None
    rule: str | None
    text: str
    span: tuple[int, int] | None
    profile: str
    revision: str
