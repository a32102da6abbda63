"""The port between Banter and a platform: what comes in, what goes out, what can go wrong.

An adapter turns its library's events into the dataclasses below and hands them to a `Sink`;
it posts one `OutgoingPart` at a time and tells what became of it by returning a `Receipt` or
raising one of the errors. It knows nothing of models, the store, triggers or turns.

Errors of `Adapter.post`:

    PostError
    ├── TryLater         nothing was posted; try the same part again (after `retry_after`)
    ├── InDoubt          the platform may or may not have posted it (answer lost)
    ├── ReplyRefused     the platform will never take this part; the channel is fine
    ├── ChannelRefused   the platform takes nothing from us in this channel (kicked, blocked, closed)
    └── ChannelMoved     the channel has a new address; post there
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol


class ChannelKind(StrEnum):
    """How a channel is read: in `private` everything is meant for the bot."""

    PRIVATE = "private"
    GROUP = "group"
    THREAD = "thread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A place where people talk; two channels never share context.

    `address` is unique within the platform and all that is needed to post there: a Telegram chat id,
    with `/THREAD` behind it for a forum topic; a Discord channel or thread id.
    `server` is what an admin calls the whole (Discord server id, Telegram chat id of a group), `parent`
    the address of the channel that a thread or topic belongs to.
    """

    platform: str
    address: str
    kind: ChannelKind
    server: str | None = None
    parent: str | None = None
    owned: bool = False  # a thread that the bot itself opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who wrote a message. Display names are not kept: nothing in Banter needs them."""

    id: str
    is_bot: bool = False  # another bot; never ourselves, whose messages an adapter does not pass on
    is_admin: bool = False  # has the platform's admin rights in this channel, as asked just now


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingMessage:
    """One post by a person (or another bot) in a channel.

    `text` is the text or caption without markup, with the bot's own mention removed; empty for a sticker or
    a picture without words. `mentions_bot` and `replies_to_bot` say how it was addressed; names as
    plain words are the intake's business. `complete` marks a message that no second half will follow
    (a terminal line). `backfilled` marks one fetched from history after a gap.
    """

    channel: Channel
    message_id: str
    author: Author
    text: str
    sent_at: datetime  # aware, UTC
    mentions_bot: bool = False
    replies_to_bot: bool = False
    reply_to: str | None = None  # message id in the same channel
    complete: bool = False
    backfilled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingCommand:
    """A command meant for this bot: `/persona pirate` has the name "persona" and the arguments "pirate".

    `message_id` is the message that held the command, or None for a native interaction, which the adapter
    answers itself with the text that `Sink.command` returns.
    """

    channel: Channel
    author: Author
    name: str
    arguments: str
    sent_at: datetime
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """What an adapter needs to register a command natively."""

    name: str  # [a-z0-9_]{1,32}
    description: str  # 1 to 100 characters
    argument: str | None = None  # name of the one optional argument
    admin_only_in_groups: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingPart:
    """One message to post: the whole reply, or a piece of it that fits the platform's limit.

    `nonce` is stable for this part over all attempts and at most 25 characters. `attempt` counts from 1;
    above 1 an earlier attempt may have reached the platform.
    """

    channel: Channel
    text: str
    nonce: str
    reply_to: str | None = None  # message id to answer, on the first part only
    attempt: int = 1
    first_tried_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterStatus:
    """What readiness shows of an adapter; `detail` is one sentence for the operator."""

    ready: bool
    detail: str
    last_event_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """To whom a token belongs, and what follows from the account's settings (for `banter check`)."""

    id: str
    name: str
    invite_url: str | None = None
    limitations: Sequence[str] = field(default_factory=tuple)


class AdapterError(Exception):
    """Base of every error an adapter raises on purpose."""


class TokenRefused(AdapterError):
    """The platform does not know the token; only the operator can help."""


class MissingPermission(AdapterError):
    """The account lacks a setting that the configuration asks for; only the operator can help."""


class PlatformUnreachable(AdapterError):
    """The platform did not answer; it is worth asking again."""


class PostError(AdapterError):
    """Base of what `Adapter.post` raises."""


class TryLater(PostError):
    """Nothing was posted; `retry_after` is the platform's wish, or None for our own back-off."""

    def __init__(self, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class InDoubt(PostError):
    """The request left and its answer was lost: it may have been posted."""


class ReplyRefused(PostError):
    """The platform refuses this text or this target for good; other posts in the channel may pass."""


class ChannelRefused(PostError):
    """The bot may not post in this channel any more (blocked, kicked, closed, deleted)."""


class ChannelMoved(PostError):
    """The channel goes on under another address (a Telegram group became a supergroup)."""

    def __init__(self, new_address: str) -> None:
        super().__init__(f"channel moved to {new_address}")
        self.new_address = new_address


class Sink(Protocol):
    """Where adapters hand over what they heard.

    Every method returns only after its effect is committed, so the adapter may confirm the event to the
    platform afterwards. Every method is idempotent: the same event delivered twice changes nothing. When the
    store is out of order a method raises, nothing is confirmed, and the platform delivers again.
    Events of one channel must be handed over in order, one after another; different channels may overlap.
    """

    async def message(self, message: IncomingMessage) -> None: ...

    async def edited(self, channel: Channel, message_id: str, text: str) -> None: ...

    async def deleted(self, channel: Channel, message_ids: Sequence[str]) -> None: ...

    async def command(self, command: IncomingCommand) -> str | None:
        """The answer to a native interaction; None where the answer is posted through the outbox
        (commands that came as messages)."""

    async def channel_moved(self, platform: str, old_address: str, new_address: str) -> None:
        """History and settings follow; topics of a Telegram group (`old/THREAD`) move along."""

    async def channel_gone(self, channel: Channel, reason: str) -> None:
        """Blocked, kicked, deleted: nothing more is posted there until `channel_back`."""

    async def channel_back(self, channel: Channel) -> None: ...

    async def unparsable(self, platform: str, event_id: str, raw: str, error: str) -> None:
        """Keep an event that could not be understood as a dead letter, once per event id."""

    async def last_seen(self, platform: str) -> Mapping[str, str]:
        """Newest known message id by channel address, for fetching what was missed."""


class Adapter(Protocol):
    """One platform. `listen` runs until cancelled and survives every failure that time can heal:
    it reconnects, waits out outages and reports through `status`. It raises only `TokenRefused` or
    `MissingPermission`; a finished input (end of a terminal's stdin) makes it return."""

    platform: str
    typing_interval: timedelta  # how often `show_typing` must be repeated to look continuous

    @property
    def status(self) -> AdapterStatus: ...

    async def identify(self) -> Identity:
        """Ask the platform whose token this is.

        Raises TokenRefused, MissingPermission or PlatformUnreachable. Needs no `listen`.
        """

    async def listen(self, sink: Sink) -> None: ...

    def split(self, text: str) -> list[str]:
        """Cut a reply into parts the platform takes, at sentence ends where possible. Pure and stable:
        the same text always gives the same parts, so that a resumed post goes on at the right one."""

    async def post(self, part: OutgoingPart) -> Receipt:
        """Post one part. Raises a `PostError`."""

    async def find_posted(self, part: OutgoingPart) -> Receipt | None:
        """Look whether an earlier attempt of this part reached the channel; None if it did not or if the
        platform offers no way to tell. Raises TryLater when it could not look."""

    async def show_typing(self, channel: Channel) -> None:
        """Show that an answer is being written, once; failures are swallowed."""

    async def close(self) -> None:
        """Stop listening and release connections; safe to call twice."""
