"""A running Discord adapter for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adapters.discord import DiscordAdapter
from adapters.discord.gateway import Timing
from tests.servers.discord import DiscordServer
from tests.servers.discord_sink import RecordingSink

TOKEN = "discord-token"
QUICK = Timing(
    dial=5.0,
    closing=0.5,
    settled=0.0,
    identify_pause=0.0,
    first_backoff=0.05,
    longest_backoff=0.2,
    offline=3.0,
    servers=1.0,
    post=10.0,
)


@asynccontextmanager
async def listening(
    server: DiscordServer, sink: RecordingSink, *, sessions: int = 1, timing: Timing = QUICK, **settings: Any
) -> AsyncIterator[DiscordAdapter]:
    """An adapter from its first session on (`sessions=0`: at once), closed in the end; a request that Discord would
    refuse fails the test."""
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=timing, **settings)
    task = asyncio.create_task(adapter.listen(sink))
    try:
        await server.wait_until(lambda: len(server.sessions) >= sessions)
        yield adapter
    finally:
        await adapter.close()
        await task
    assert server.violations == []
