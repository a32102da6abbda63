"""What exists on the local Discord server: people, servers, channels, messages, and scripted faults."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal

Json = dict[str, Any]

EPOCH_MILLISECONDS = 1420070400000
TEXT, DM, PUBLIC_THREAD, FORUM = 0, 1, 11, 15

_increments = count()


def new_id(moment: datetime | None = None) -> str:
    """A snowflake of now, or of a given moment; later calls give higher ids within a millisecond."""
    seconds = moment.timestamp() if moment is not None else time.time()
    return str(((int(seconds * 1000) - EPOCH_MILLISECONDS) << 22) + next(_increments) % (1 << 22))


@dataclass(slots=True)
class User:
    name: str
    id: str = field(default_factory=new_id)
    bot: bool = False

    def to_json(self) -> Json:
        return {
            "id": self.id,
            "username": self.name.lower(),
            "global_name": self.name,
            "discriminator": "0",
            "avatar": None,
            "bot": self.bot,
            "system": False,
            "flags": 0,
            "public_flags": 0,
        }


@dataclass(slots=True)
class Role:
    name: str
    permissions: int
    id: str = field(default_factory=new_id)
    bot_id: str | None = None

    def to_json(self) -> Json:
        tags = {"tags": {"bot_id": self.bot_id}} if self.bot_id else {}
        return {
            "id": self.id,
            "name": self.name,
            "permissions": str(self.permissions),
            "color": 0,
            "hoist": False,
            "position": 0,
            "managed": self.bot_id is not None,
            "mentionable": False,
            "flags": 0,
            **tags,
        }


@dataclass(slots=True)
class Guild:
    name: str
    owner: User
    id: str = field(default_factory=new_id)
    roles: list[Role] = field(default_factory=list)
    bot_roles: list[str] = field(default_factory=list)
    member_roles: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Channel:
    name: str
    type: int = TEXT
    id: str = field(default_factory=new_id)
    guild: Guild | None = None
    parent: "Channel | None" = None
    owner: User | None = None
    recipient: User | None = None
    messages: list[Json] = field(default_factory=list)
    refusal: tuple[int, int, str] | None = None  # status, code and message for every post
    unreadable: bool = False

    def to_json(self) -> Json:
        newest = self.messages[-1]["id"] if self.messages else None
        data: Json = {"id": self.id, "type": self.type, "last_message_id": newest, "flags": 0}
        if self.guild is None:
            return {**data, "recipients": [self.recipient.to_json()] if self.recipient else []}
        data |= {
            "guild_id": self.guild.id,
            "name": self.name,
            "parent_id": self.parent.id if self.parent else None,
            "permission_overwrites": [],
            "position": 0,
            "nsfw": False,
        }
        if self.type == PUBLIC_THREAD:
            data |= {
                "owner_id": self.owner.id if self.owner else None,
                "message_count": len(self.messages),
                "thread_metadata": {
                    "archived": False,
                    "locked": False,
                    "auto_archive_duration": 1440,
                    "archive_timestamp": datetime.now(UTC).isoformat(),
                },
            }
        return data


@dataclass(slots=True, kw_only=True)
class Fault:
    """What happens to one request: an answer of its own, a cut connection, a wait."""

    status: int | None = None
    body: Json | str = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: Literal["before", "after"] | None = None  # before or after the request took effect
    wait_for: asyncio.Event | None = None
    answer_after: asyncio.Event | None = None  # the request took effect, its answer waits


def rate_limited(seconds: float) -> Fault:
    """Discord's own 429."""
    return Fault(
        status=429,
        body={"message": "You are being rate limited.", "retry_after": seconds, "global": False},
        headers={"Via": "1.1 google", "Retry-After": str(int(seconds) + 1), "X-RateLimit-Scope": "user"},
    )


def cloudflare_limited(seconds: int) -> Fault:
    """A 429 from before Discord: HTML, no Via header."""
    return Fault(status=429, body="<html><body>error code: 1015</body></html>", headers={"Retry-After": str(seconds)})


def failing(status: int) -> Fault:
    return Fault(status=status, body={"message": f"{status}: scripted", "code": 0}, headers={"Via": "1.1 google"})


@dataclass(slots=True)
class Interaction:
    """A slash command in use, with what the bot did about it."""

    id: str
    token: str
    born: float  # monotonic seconds
    acknowledged_after: float | None = None  # seconds
    answers: list[Json] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
