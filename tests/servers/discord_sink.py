"""A sink that keeps what adapters hand over, for tests of the Discord adapter alone."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.base import Channel, IncomingCommand, IncomingMessage

WAIT_SECONDS = 20.0


@dataclass
class RecordingSink:
    """Idempotent by message id, as the port demands of a sink; `deliveries` counts the repeats too."""

    messages: list[IncomingMessage] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)
    edits: list[tuple[str, str]] = field(default_factory=list)
    deletions: list[str] = field(default_factory=list)
    commands: list[IncomingCommand] = field(default_factory=list)
    gone: list[Channel] = field(default_factory=list)
    back: list[Channel] = field(default_factory=list)
    dead_letters: list[tuple[str, str]] = field(default_factory=list)  # event id, error
    known: dict[str, str] = field(default_factory=dict)  # what `last_seen` answers beside the messages
    answer: str | Exception | None = "done"  # to commands
    order: list[str] = field(default_factory=list)  # ids of messages and names of commands as they came
    may_tell: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: `last_seen` waits
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # `last_seen` was called
    may_pass: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: nothing is committed
    failures: int = 0  # so many calls raise
    _changes: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.may_pass.set()
        self.may_tell.set()

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    async def message(self, message: IncomingMessage) -> None:
        await self._commit()
        self.deliveries.append(message.message_id)
        if message.message_id not in {kept.message_id for kept in self.messages}:
            self.messages.append(message)
            self.order.append(message.message_id)
        await self._changed()

    async def edited(self, channel: Channel, message_id: str, text: str) -> None:
        await self._commit()
        self.edits.append((message_id, text))
        await self._changed()

    async def deleted(self, channel: Channel, message_ids: Sequence[str]) -> None:
        await self._commit()
        self.deletions.extend(message_ids)
        await self._changed()

    async def command(self, command: IncomingCommand) -> str | None:
        await self._commit()
        self.commands.append(command)
        self.order.append(command.name)
        await self._changed()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def channel_moved(self, platform: str, old_address: str, new_address: str) -> None:
        raise AssertionError("Discord's channels do not move")

    async def channel_gone(self, channel: Channel, reason: str) -> None:
        self.gone.append(channel)
        await self._changed()

    async def channel_back(self, channel: Channel) -> None:
        self.back.append(channel)
        await self._changed()

    async def unparsable(self, platform: str, event_id: str, raw: str, error: str) -> None:
        self.dead_letters.append((event_id, error))
        await self._changed()

    async def last_seen(self, platform: str) -> Mapping[str, str]:
        self.asked.set()
        await self.may_tell.wait()
        newest = dict(self.known)
        for message in self.messages:
            address = message.channel.address
            newest[address] = str(max(int(newest.get(address, "0")), int(message.message_id)))
        return newest

    async def wait_until(self, condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        async with asyncio.timeout(seconds), self._changes:
            await self._changes.wait_for(condition)

    async def wait_for_texts(self, *texts: str) -> None:
        """Wait until all of these were said; tells what was said instead."""
        try:
            await self.wait_until(lambda: set(texts) <= set(self.texts))
        except TimeoutError:
            raise AssertionError(f"waited for {texts}, heard {self.texts}") from None

    async def _commit(self) -> None:
        await self.may_pass.wait()
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("the store is out of order")

    async def _changed(self) -> None:
        async with self._changes:
            self._changes.notify_all()
