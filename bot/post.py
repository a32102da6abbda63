"""The outbox's way to one platform: lease, post part by part, remember - at least once and hardly ever twice.

The store notes before each part that it may be out from now on (before the first one with the lease, before the
others with the receipt of the one before), and at the end that all are. A reply found in between at the next start
is in doubt: the adapter looks for it, and where it cannot, posts again with the same nonce
(`delivery: at_least_once`) or gives it up (`at_most_once`).
"""

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from adapters.base import (
    Adapter,
    ChannelMoved,
    ChannelRefused,
    InDoubt,
    OutgoingPart,
    PostError,
    Receipt,
    TryLater,
)
from bot.metrics import NOT_POSTED, POST_SECONDS, POSTED, REPLY_SECONDS
from storage import outbox, places
from storage.errors import LeaseLost, StoreError
from storage.records import LeasedReply, ReplyKind
from storage.store import Store, utc_now

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=90)  # longer than any adapter tries one part
POLL = timedelta(seconds=1)
MAX_BACKOFF = timedelta(seconds=30)
# A platform that posts and always loses the answer must not get a copy for each attempt for ever.
MAX_DOUBTS = 10
# A refusal that may be one of a passing mood (a proxy's 400) is not retried; an outage is, for this long.
GIVE_UP_AFTER = timedelta(hours=24)
CHANNELS_AT_ONCE = 64


class Poster:
    """Posts what waits for one adapter. `addresses` restricts it to some channels (a terminal has only its own)."""

    def __init__(
        self,
        store: Store,
        adapter: Adapter,
        holder: str,
        *,
        at_most_once: Callable[[], bool],
        addresses: Collection[str] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._adapter = adapter
        self._holder = holder
        self._at_most_once = at_most_once
        self._addresses = addresses
        self._clock = clock
        self._wake = asyncio.Event()
        self._posting: dict[str, asyncio.Task[None]] = {}
        self._leasing = asyncio.Lock()
        self._stopping = False

    def wake(self) -> None:
        """Something may be ready. Call from the event loop's thread."""
        self._wake.set()

    async def run(self) -> None:
        """Post until cancelled; `drain` first, to end what is being posted."""
        while not self._stopping:
            self._wake.clear()
            try:
                async with self._leasing:
                    wait = await self._start_due()
            except StoreError as error:
                log.warning("outbox_unreadable", extra={"platform": self._adapter.platform, "error": str(error)})
                wait = POLL
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def drain(self, grace: timedelta) -> None:
        """Take nothing new and let what is being posted end within `grace`."""
        self._stopping = True
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace.total_seconds()), self._leasing:
                pass  # what was being leased is being posted now, or handed back
        if self._posting:
            await asyncio.wait(self._posting.values(), timeout=grace.total_seconds())
        for task in list(self._posting.values()):
            task.cancel()

    async def _start_due(self) -> timedelta:
        room = CHANNELS_AT_ONCE - len(self._posting)
        if room <= 0:
            return POLL
        due = await self._store.read(outbox.next_due, self._adapter.platform)
        if due is None or due > 0:
            return POLL if due is None else min(POLL, timedelta(seconds=due))
        leased = await self._store.write(
            outbox.lease_replies,
            self._adapter.platform,
            self._holder,
            room,
            LEASE,
            addresses=self._addresses,
            busy=list(self._posting),
        )
        for reply in leased:
            if self._stopping:
                await self._store.write(outbox.try_later, reply, timedelta(), "shutdown", in_doubt=reply.in_doubt)
                continue
            task = asyncio.create_task(self._post(reply), name=f"post-{reply.id}")
            self._posting[reply.channel.address] = task
            task.add_done_callback(functools.partial(self._ended, reply.channel.address))
        return POLL

    def _ended(self, address: str, _task: asyncio.Task[None]) -> None:
        self._posting.pop(address, None)
        self._wake.set()

    async def _post(self, reply: LeasedReply) -> None:
        try:
            await self._post_parts(reply)
        except LeaseLost:
            log.warning("reply_lease_lost", extra={"reply": reply.id})
        except StoreError as error:
            # Its lease runs out and it is posted again, with the same nonce.
            log.warning("reply_unrecorded", extra={"reply": reply.id, "error": str(error)})
        except Exception:
            log.exception("post_failed", extra={"reply": reply.id, "platform": self._adapter.platform})
            await self._later(reply, None, "unexpected error", in_doubt=True)

    async def _post_parts(self, reply: LeasedReply) -> None:
        parts = self._adapter.split(reply.text)
        if not parts:
            await self._store.write(outbox.mark_failed, reply, "nothing to post")
            return
        in_doubt = reply.in_doubt
        for number in range(len(reply.receipts), len(parts)):
            part = OutgoingPart(
                channel=reply.channel,
                text=parts[number],
                nonce=f"b{reply.id}-{number}",
                reply_to=reply.reply_to if number == 0 else None,
                attempt=reply.attempt,
                first_tried_at=reply.first_tried_at,
            )
            try:
                receipt = await self._post_part(reply, part, in_doubt=in_doubt)
            except PostError as error:
                await self._explain(reply, error)
                return
            in_doubt = False
            if receipt is None:
                return
            await self._remember(reply, receipt, last=number == len(parts) - 1)

    async def _post_part(self, reply: LeasedReply, part: OutgoingPart, *, in_doubt: bool) -> Receipt | None:
        """The part's receipt; None where the reply was given up."""
        if in_doubt:
            try:
                found = await self._adapter.find_posted(part)
            except PostError as error:
                raise InDoubt(f"could not look: {error}") from error
            if found is not None:
                log.info("reply_found", extra={"reply": reply.id, "platform": self._adapter.platform})
                return found
            if self._at_most_once():
                await self._store.write(outbox.mark_failed, reply, "in doubt: it may have been posted")
                log.error("reply_given_up", extra={"reply": reply.id, "reason": "in doubt"})
                return None
        with POST_SECONDS.labels(self._adapter.platform).time():
            return await self._adapter.post(part)

    async def _remember(self, reply: LeasedReply, receipt: Receipt, *, last: bool) -> None:
        """The platform has it: this must be written, however long the store takes to be well again."""
        wait = 0.05
        until = time.monotonic() + LEASE.total_seconds()
        while True:
            try:
                if last:
                    await self._store.write(outbox.mark_posted, reply, receipt.message_id)
                else:
                    await self._store.write(outbox.mark_part, reply, receipt.message_id, LEASE)
                break
            except LeaseLost:
                raise
            except StoreError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(wait)
                wait = min(2 * wait, 2.0)
        if last:
            POSTED.labels(self._adapter.platform, reply.kind.value).inc()
            if reply.kind is ReplyKind.REPLY:
                REPLY_SECONDS.labels(self._adapter.platform).observe((self._clock() - reply.created_at).total_seconds())
            log.info(
                "reply_posted",
                extra={"reply": reply.id, "platform": self._adapter.platform, "channel": reply.channel.address},
            )

    async def _explain(self, reply: LeasedReply, error: PostError) -> None:
        match error:
            case TryLater():
                await self._later(reply, error.retry_after, str(error), in_doubt=False)
            case InDoubt() if reply.attempt >= MAX_DOUBTS:
                await self._store.write(outbox.mark_failed, reply, f"in doubt after {reply.attempt} attempts: {error}")
            case InDoubt():
                await self._later(reply, None, str(error), in_doubt=True)
            case ChannelMoved():
                await self._store.write(
                    places.move_channel, self._adapter.platform, _base(reply.channel.address), _base(error.new_address)
                )
                await self._later(reply, timedelta(), str(error), in_doubt=False)
            case ChannelRefused():
                await self._store.write(outbox.mark_failed, reply, str(error))
                await self._store.write(places.mark_gone, reply.channel, str(error))
            case _:
                await self._store.write(outbox.mark_failed, reply, str(error))
        NOT_POSTED.labels(self._adapter.platform, type(error).__name__).inc()
        log.warning(
            "reply_not_posted",
            extra={
                "reply": reply.id,
                "platform": self._adapter.platform,
                "channel": reply.channel.address,
                "outcome": type(error).__name__,
                "error": str(error),
            },
        )

    async def _later(self, reply: LeasedReply, wait: timedelta | None, reason: str, *, in_doubt: bool) -> None:
        age = self._clock() - reply.created_at
        if age > GIVE_UP_AFTER:
            await self._store.write(outbox.mark_failed, reply, f"not posted for {age}: {reason}")
            return
        if wait is None:
            ceiling = min(MAX_BACKOFF, timedelta(seconds=0.5) * 2 ** min(reply.attempt, 12))
            wait = ceiling * random.uniform(0.5, 1.0)
        await self._store.write(outbox.try_later, reply, wait, reason, in_doubt=in_doubt)


def _base(address: str) -> str:
    """A Telegram chat moves with all its topics."""
    return address.partition("/")[0]
