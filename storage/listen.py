"""Wake-ups between processes that share a PostgreSQL database. Polling remains the net: a wake-up may be lost."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable

from sqlalchemy import URL

from storage.commit import NOTIFY_CHANNEL
from storage.store import Store

log = logging.getLogger(__name__)

TOPICS = ("turns", "outbox")
_SILENCE_SECONDS = 30.0  # after this the connection is asked whether it still lives
_ANSWER_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


async def listen(store: Store, on_topic: Callable[[str], object]) -> None:
    """Call `on_topic(topic)` whenever any process commits something that wakes a topic; runs until cancelled.

    Holds a connection of its own and opens a new one when it is lost; what was missed meanwhile is made up
    for by waking every topic. On SQLite there is nothing to listen to, and this returns at once.
    """
    if store.sqlite_file is not None:
        return
    conninfo = _conninfo(store.engines.write.url)
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            async for topic in _topics(conninfo):
                pause = _FIRST_PAUSE_SECONDS
                on_topic(topic)
        except (OSError, TimeoutError, _driver_error()) as error:
            log.warning("store_listener_lost", extra={"error": type(error).__name__, "seconds": pause})
        await asyncio.sleep(random.uniform(pause / 2, pause))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def _topics(conninfo: str) -> AsyncIterator[str]:
    import psycopg

    connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True, connect_timeout=5)
    async with connection:
        await connection.execute(f"LISTEN {NOTIFY_CHANNEL}")
        for topic in TOPICS:
            yield topic
        while True:
            async for notice in connection.notifies(timeout=_SILENCE_SECONDS):
                yield notice.payload
            async with asyncio.timeout(_ANSWER_SECONDS):
                await connection.execute("SELECT 1")


def _conninfo(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _driver_error() -> type[Exception]:
    import psycopg

    return psycopg.Error
