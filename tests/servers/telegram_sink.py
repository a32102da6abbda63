"""A sink that keeps what it is given in memory, and refuses when told to, as a store that is out of order."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapters.base import Channel, IncomingCommand, IncomingMessage


class StoreDown(Exception):
    """The store does not answer."""


class RecordingSink:
    """Implements `adapters.base.Sink`. A message delivered again is counted, and makes no second entry."""

    def __init__(self) -> None:
        self.messages: list[IncomingMessage] = []
        self.commands: list[IncomingCommand] = []
        self.edits: list[tuple[Channel, str, str]] = []
        self.moves: list[tuple[str, str]] = []
        self.gone: list[tuple[str, str]] = []
        self.back: list[str] = []
        self.dead: dict[str, str] = {}  # raw updates by event id
        self.deliveries = 0
        self.refuse: Callable[[object], bool] = lambda _: False  # asked with what is handed over
        self.on_message: Callable[[IncomingMessage], Any] | None = None
        self._seen: set[tuple[str, str]] = set()
        self._changed = asyncio.Condition()

    async def message(self, message: IncomingMessage) -> None:
        await self._take(message)
        if self.on_message:
            await self.on_message(message)
        key = (message.channel.address, message.message_id)
        if key not in self._seen:
            self._seen.add(key)
            self.messages.append(message)
        await self._tell()

    async def edited(self, channel: Channel, message_id: str, text: str) -> None:
        await self._take(text)
        self.edits.append((channel, message_id, text))
        await self._tell()

    async def deleted(self, channel: Channel, message_ids: Sequence[str]) -> None:
        raise AssertionError("Telegram tells bots of no deletions")

    async def command(self, command: IncomingCommand) -> str | None:
        await self._take(command)
        self.commands.append(command)
        await self._tell()
        return None

    async def channel_moved(self, platform: str, old_address: str, new_address: str) -> None:
        await self._take(old_address)
        self.moves.append((old_address, new_address))
        await self._tell()

    async def channel_gone(self, channel: Channel, reason: str) -> None:
        await self._take(channel)
        self.gone.append((channel.address, reason))
        await self._tell()

    async def channel_back(self, channel: Channel) -> None:
        await self._take(channel)
        self.back.append(channel.address)
        await self._tell()

    async def unparsable(self, platform: str, event_id: str, raw: str, error: str) -> None:
        await self._take(raw)
        self.dead[event_id] = raw
        await self._tell()

    async def last_seen(self, platform: str) -> Mapping[str, str]:
        return {}

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    async def wait_for(self, condition: Callable[[], bool], within: float = 10.0) -> None:
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(condition)

    async def _take(self, what: object) -> None:
        self.deliveries += 1
        if self.refuse(what):
            await self._tell()
            raise StoreDown("the store does not answer")

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
