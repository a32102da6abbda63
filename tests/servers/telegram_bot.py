"""A Telegram adapter that listens to a test server, with waits short enough for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.base import AdapterStatus, Channel, ChannelKind, OutgoingPart
from adapters.telegram import TelegramAdapter
from adapters.telegram.client import Timing
from tests.servers.telegram import TelegramServer
from tests.servers.telegram_sink import RecordingSink

QUICK = Timing(
    poll=1,
    poll_grace=0.2,
    send=2,
    request=2,
    connect=1,
    stalled=0.4,
    first_retry=0.02,
    last_retry=0.1,
    idle=0.01,
    webhook_check=0.1,
)


@dataclass(frozen=True, kw_only=True)
class Session:
    server: TelegramServer
    adapter: TelegramAdapter
    sink: RecordingSink
    listening: asyncio.Task[None]

    async def wait_for_status(self, *, ready: bool, text: str = "") -> AdapterStatus:
        """Status changes tell nobody, so look until it is as it should be."""
        async with asyncio.timeout(10):
            while True:
                status = self.adapter.status
                if status.ready is ready and text in status.detail:
                    return status
                await asyncio.sleep(0.005)


@asynccontextmanager
async def telegram_bot(
    server: TelegramServer | None = None, *, timing: Timing = QUICK, **settings: Any
) -> AsyncIterator[Session]:
    """A listening adapter; a server of its own where none is given, whose strictness is checked at the end."""
    own = server or TelegramServer()
    if server is None:
        await own.start()
    adapter = TelegramAdapter(token=own.token, api_url=own.url, timing=timing, **settings)
    sink = RecordingSink()
    listening = asyncio.create_task(adapter.listen(sink))
    try:
        yield Session(server=own, adapter=adapter, sink=sink, listening=listening)
        assert own.violations == []
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await adapter.close()
        if server is None:
            await own.stop()


def private(address: int = 7) -> Channel:
    return Channel(platform="telegram", address=str(address), kind=ChannelKind.PRIVATE)


def group(address: int = -100500, thread: int | None = None) -> Channel:
    if thread:
        return Channel(
            platform="telegram",
            address=f"{address}/{thread}",
            kind=ChannelKind.THREAD,
            server=str(address),
            parent=str(address),
        )
    return Channel(platform="telegram", address=str(address), kind=ChannelKind.GROUP, server=str(address))


def part(text: str, channel: Channel | None = None, **more: Any) -> OutgoingPart:
    return OutgoingPart(channel=channel or private(), text=text, nonce="t1.1", **more)
