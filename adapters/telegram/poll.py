"""Long polling that confirms only what is committed, and goes on after every failure that time can heal.

The library's own poller confirms from memory, ends when its queue raises, and asks without a pause for a batch that
it cannot parse; so this loop takes updates raw and moves the offset itself.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from telegram.error import Conflict, TelegramError

from adapters.base import AdapterStatus, TokenRefused
from adapters.telegram.client import BrokenAnswer, Client, ServerTrouble, Timing, flood_wait, token_refused
from adapters.telegram.delivery import Delivery
from adapters.telegram.parse import PLATFORM, UPDATE_KINDS

log = logging.getLogger(__name__)


class Backoff:
    """Growing waits; a little chance keeps two processes from knocking in step."""

    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self._next = first
        self._random = random.Random()

    def reset(self) -> None:
        self._next = self._first

    def grow(self) -> float:
        """The next wait in seconds."""
        wait = self._next
        self._next = min(self._next * 1.5, self._most)
        return wait * self._random.uniform(0.9, 1.1)


class Health:
    """What readiness shows: the trouble there is, and how long ago the server last gave the `sign` of life."""

    def __init__(self, sign: str, stalled_after: float, clock: Callable[[], float]) -> None:
        self._sign = sign
        self._stalled_after = stalled_after
        self._clock = clock
        self._working = ""  # how updates come, once they do
        self._trouble: str | None = "not connected yet"
        self._heard_at = self._clock()
        self._last_event_at: datetime | None = None

    def heard(self, how: str) -> None:
        if self._trouble:
            log.info("updates_flow", extra={"platform": PLATFORM, "how": how})
        self._working, self._trouble = how, None
        self._heard_at = self._clock()

    def event(self) -> None:
        self._last_event_at = datetime.now(UTC)

    def failed(self, trouble: str) -> None:
        self._trouble = trouble

    @property
    def status(self) -> AdapterStatus:
        silent = self._clock() - self._heard_at
        detail, ready = self._trouble or self._working, self._trouble is None
        if silent > self._stalled_after:
            detail, ready = f"no successful {self._sign} for {silent:.0f} s: {self._trouble or 'no answer'}", False
        return AdapterStatus(ready=ready, detail=detail, last_event_at=self._last_event_at)


class Poller:
    def __init__(self, client: Client, delivery: Delivery, health: Health, timing: Timing) -> None:
        self._client = client
        self._delivery = delivery
        self._health = health
        self._timing = timing
        self._errors = Backoff(timing.first_retry, timing.last_retry)
        self._idle = Backoff(timing.idle, 3 * timing.idle)
        self._offset: int | None = None
        # Ask for an answer at once: it shows that the server is there (again), long before a long poll ends.
        self._probing = True

    async def run(self) -> None:
        """Poll until cancelled; raises TokenRefused."""
        while True:
            seconds = 0 if self._probing else int(self._timing.poll)
            # After a failure the server may be a new one that counts updates from 1 again; one that is not only
            # repeats what it was not told of, and the sink knows that already.
            offset = None if self._probing else self._offset
            asked_at = time.monotonic()
            try:
                batch = await self._client.get_updates(offset, UPDATE_KINDS, seconds)
            except TelegramError as error:
                await self._recover(error)
                continue
            if not isinstance(batch, list):
                await self._pause_after("the server's answer to getUpdates is no list")
                continue
            self._probing = False
            if batch:
                await self._take(batch, offset)
            else:
                self._succeeded()
                # A server that ignores the timeout must not be asked in a circle.
                if time.monotonic() - asked_at < seconds / 2:
                    await asyncio.sleep(self._idle.grow())

    async def _take(self, batch: Sequence[Any], asked_from: int | None) -> None:
        self._idle.reset()
        self._health.event()
        failed = await self._delivery.deliver_batch(batch)
        offset = next_offset(batch, failed)
        if failed:
            self._move(offset)
            await self._pause_after("the store does not take what comes in; it will be asked for again")
        elif offset is None or offset == asked_from:
            await self._pause_after("the server sends the same updates again and again")
        else:
            self._move(offset)
            self._succeeded()

    def _succeeded(self) -> None:
        self._health.heard("polling")
        self._errors.reset()

    def _move(self, offset: int | None) -> None:
        if offset is not None:
            self._offset = offset

    async def _recover(self, error: TelegramError) -> None:
        reason = self._client.describe(error)
        if token_refused(error) and await self._is_token_dead():
            self._health.failed(f"Telegram refuses the token: {reason}")
            raise TokenRefused(f"Telegram refuses the token: {reason}") from None
        wait = flood_wait(error)
        if wait is not None:
            self._health.failed(f"told to wait {wait.total_seconds():g} s before the next poll")
            await asyncio.sleep(wait.total_seconds())
            return
        if isinstance(error, Conflict):
            reason = await self._explain_conflict()
            await self._pause_after(reason)
            return  # no probing: against another poller only a whole long poll shows that it is gone
        self._probing = True
        if not isinstance(error, ServerTrouble | BrokenAnswer):
            await self._client.renew_polls()
        await self._pause_after(reason)

    async def _is_token_dead(self) -> bool:
        """Ask again, by another method: one 401 among good answers is the server's fault."""
        try:
            await self._client.call("getMe")
        except TelegramError as error:
            return token_refused(error)
        return False

    async def _explain_conflict(self) -> str:
        try:
            if await self._remove_webhook():
                return "a webhook was set for this token; it was removed so that polling works"
        except TelegramError as error:
            log.warning("webhook_not_removed", extra={"platform": PLATFORM, "error": self._client.describe(error)})
        return "another process polls with this token (409 Conflict); only one may run"

    async def _remove_webhook(self) -> bool:
        """True if there was one."""
        info = await self._client.call("getWebhookInfo")
        if not isinstance(info, dict) or not info.get("url"):
            return False
        await self._client.call("deleteWebhook")
        return True

    async def _pause_after(self, trouble: str) -> None:
        wait = self._errors.grow()
        self._health.failed(trouble)
        log.warning("poll_failed", extra={"platform": PLATFORM, "reason": trouble, "retry_in_seconds": round(wait, 2)})
        await asyncio.sleep(wait)


def next_offset(batch: Sequence[Any], failed: Sequence[int]) -> int | None:
    """Behind the last update of the batch, or at the first that must come again."""
    ids = [update.get("update_id") if isinstance(update, dict) else None for update in batch]
    if failed:
        again = [ids[position] for position in failed]
        return min((number for number in again if isinstance(number, int)), default=None)
    known = [number for number in ids if isinstance(number, int)]
    return max(known) + 1 if known else None
