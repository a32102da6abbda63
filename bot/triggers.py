"""Whether a message asks for an answer, and by which rule. Plain functions of the message and the settings."""

import functools
import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from adapters.base import ChannelKind, IncomingMessage
from bot.config import Triggers, Unsolicited


class Trigger(StrEnum):
    """Why the bot owes a reply."""

    PRIVATE = "private"
    MENTION = "mention"
    REPLY = "reply"
    NAME = "name"
    THREAD = "thread"  # the bot's own thread goes on without a mention
    CHANNEL = "channel"  # a channel where everything is answered
    UNSOLICITED = "unsolicited"  # nobody asked; the configured chance said yes


def addressed(message: IncomingMessage, text: str, triggers: Triggers) -> Trigger | None:
    """The rule by which `message` is meant for the bot; None if none applies."""
    if message.channel.kind is ChannelKind.PRIVATE:
        return Trigger.PRIVATE if triggers.private == "always" else None
    group = triggers.group
    if group.mention and message.mentions_bot:
        return Trigger.MENTION
    if group.reply and message.replies_to_bot:
        return Trigger.REPLY
    if group.names and _names_pattern(tuple(group.names)).search(text):
        return Trigger.NAME
    if group.continue_threads and message.channel.owned:
        return Trigger.THREAD
    listed = {str(entry) for entry in group.always_in}
    if {message.channel.address, message.channel.parent} & listed:
        return Trigger.CHANNEL
    return None


@functools.lru_cache(maxsize=64)
def _names_pattern(names: Sequence[str]) -> re.Pattern[str]:
    """Names as whole words; `*` stands for any letters, and nothing else is special, so no name can be slow."""
    words = (re.escape(name.strip()).replace(r"\*", r"\w*") for name in names if name.strip())
    return re.compile(rf"(?<!\w)(?:{'|'.join(words) or '(?!)'})(?!\w)", re.IGNORECASE)


def chance_now(settings: Unsolicited, silence: timedelta | None) -> float:
    """Probability of an unasked reply: the configured chance while the bot takes part in the talk, halved with
    every `decay` since it last did (`silence`; None where it never did)."""
    if silence is None:
        return settings.chance
    return float(settings.chance * 0.5 ** (max(silence, timedelta()) / settings.decay))


def drawn(message: IncomingMessage) -> float:
    """A number in [0, 1) that is the message's own: delivered twice, it draws the same lot."""
    name = f"{message.channel.platform}/{message.channel.address}/{message.message_id}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
