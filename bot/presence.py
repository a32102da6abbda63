"""Shows that an answer is being written, from the moment it is owed until it is posted.

Reads who waits from the store, so a restart or a second process changes nothing.
"""

import asyncio
import logging
import time
from datetime import timedelta

from adapters.base import Adapter, Channel
from storage import activity
from storage.errors import StoreError
from storage.store import Store

log = logging.getLogger(__name__)

_CHANNELS_AT_ONCE = 50  # beyond this the platform's rate is kept for replies
_LOOK = timedelta(milliseconds=700)


class Presence:
    """Keeps the typing sign of one adapter alive."""

    def __init__(self, store: Store, adapter: Adapter) -> None:
        self._store = store
        self._adapter = adapter
        self._shown: dict[str, float] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            waiting: list[Channel] = []
            try:
                waiting = await self._store.read(activity.busy_channels, self._adapter.platform, _CHANNELS_AT_ONCE)
            except StoreError as error:
                log.debug("presence_unknown", extra={"error": str(error)})
            self._show(waiting)
            if waiting:
                await asyncio.sleep(_LOOK.total_seconds())
            else:
                try:
                    async with asyncio.timeout(_LOOK.total_seconds() * 3):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    def _show(self, waiting: list[Channel]) -> None:
        now = time.monotonic()
        interval = self._adapter.typing_interval.total_seconds()
        self._shown = {channel.address: self._shown.get(channel.address, -interval) for channel in waiting}
        for channel in waiting:
            if now - self._shown[channel.address] >= interval:
                self._shown[channel.address] = now
                call = asyncio.create_task(self._adapter.show_typing(channel), name="typing")
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
