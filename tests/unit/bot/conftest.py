"""A store, a configuration and an intake of a test's own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.base import Author, Channel, ChannelKind, IncomingMessage
from bot.intake import Intake
from bot.reload import LiveConfig
from bot.safety import Moderators
from storage import migrate
from storage.store import Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    """The time, which moves when a test says so."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    opened = Store.open("sqlite:///banter.db", base=tmp_path, clock=clock)
    await asyncio.to_thread(migrate.migrate, opened.engines, opened.where)
    yield opened
    await opened.close()


@pytest.fixture
def make_intake(tmp_path: Path, store: Store, clock: Clock) -> Callable[..., Intake]:
    """`make_intake(triggers={...})` is an intake with these settings."""

    def make(**sections: Any) -> Intake:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(sections))
        return Intake(store, LiveConfig(path, env={}), Moderators(), clock=clock)

    return make


class People:
    """Says things in a private chat, a group, a thread; numbers the messages."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._number = 0

    def message(self, text: str, *, user: str = "ann", chat: str | None = None, **fields: Any) -> IncomingMessage:
        self._number += 1
        kind = ChannelKind.PRIVATE if chat is None else ChannelKind.GROUP
        channel = fields.pop("channel", None) or Channel(
            platform="telegram", address=chat or user, kind=kind, server=chat
        )
        author = Author(id=user, is_bot=fields.pop("is_bot", False))
        fields = {"sent_at": self._clock(), "message_id": str(self._number), **fields}
        return IncomingMessage(channel=channel, author=author, text=text, **fields)


@pytest.fixture
def people(clock: Clock) -> People:
    return People(clock)
