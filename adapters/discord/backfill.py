"""What was said while there was no session: fetched from the channels' histories, once a session.

Discord repeats nothing to a new session. A `CatchUp` belongs to one session; every live event of that session
first lets its channel catch up, so that the missed messages come before it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import discord

from adapters.base import Sink
from adapters.discord.events import first_snowflake, tells_time
from adapters.discord.http import NETWORK_ERRORS, DiscordHttp, Payload, describe
from adapters.discord.lanes import until_done
from adapters.discord.places import PLATFORM, Places

log = logging.getLogger(__name__)

PAGE = 100  # messages, the most that the API gives at once
CHANNELS_AT_ONCE = 4
ATTEMPT_SECONDS = 15.0  # for reading one channel
PATIENCE_SECONDS = 60.0  # for repeating what failed, since live messages wait behind it
FIRST_RETRY_SECONDS = 0.5


class CatchUp:
    """The missed messages of one session of one shard.

    `hand_over` takes the raw messages of a channel, oldest first; `is_ours` tells whether a server (None for a
    direct message) belongs to the shard.
    """

    def __init__(
        self,
        http: DiscordHttp,
        sink: Sink,
        places: Places,
        *,
        age: timedelta,
        per_channel: int,
        is_ours: Callable[[str | None], bool],
        hand_over: Callable[[str, list[Payload]], Awaitable[None]],
    ) -> None:
        self._http = http
        self._sink = sink
        self._places = places
        self._age = age
        self._per_channel = per_channel
        self._is_ours = is_ours
        self._hand_over = hand_over
        self._after: dict[str, int] = {}  # newest known id by channel that has to catch up
        self._planned = asyncio.Event()
        self._deadline = 0.0  # of the loop's clock
        self._requests = asyncio.Semaphore(CHANNELS_AT_ONCE)

    async def plan(self) -> list[str]:
        """Find the channels that may have missed something. Call once, when the session's servers are known."""
        await until_done(self._find_channels)
        self._deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        self._planned.set()
        return list(self._after)

    async def channel(self, channel_id: str) -> None:
        """Hand over what a channel missed; does nothing the second time. Only the channel's lane calls this."""
        await self._planned.wait()
        after = self._after.get(channel_id)
        if after is None:
            return
        async with self._requests:
            missed = await self._fetch_patiently(channel_id, after)
        if missed:
            log.info("missed_messages", extra={"platform": PLATFORM, "channel": channel_id, "messages": len(missed)})
            await self._hand_over(channel_id, missed)
        del self._after[channel_id]

    async def _find_channels(self) -> None:
        known = {address: int(id) for address, id in (await self._sink.last_seen(PLATFORM)).items() if id.isdigit()}
        if known and self._per_channel > 0:
            self._after = choose_channels(
                known, self._places, self._is_ours, oldest=first_snowflake(datetime.now(UTC) - self._age)
            )

    async def _fetch_patiently(self, channel_id: str, after: int) -> list[Payload]:
        clock = asyncio.get_running_loop().time
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    return await fetch_after(self._http, channel_id, after, self._per_channel)
            except (discord.Forbidden, discord.NotFound):
                return []  # not ours to read any more
            except (discord.DiscordException, *NETWORK_ERRORS, KeyError, TypeError, ValueError) as error:
                given_up = clock() + delay > self._deadline
                log.warning(
                    "history_unreadable",
                    extra={"platform": PLATFORM, "channel": channel_id, "error": describe(error), "given_up": given_up},
                )
            if given_up:
                return []
            await asyncio.sleep(delay)
            delay *= 2


def choose_channels(
    known: Mapping[str, int], places: Places, is_ours: Callable[[str | None], bool], *, oldest: int
) -> dict[str, int]:
    """By channel, the id after which to read: known channels, and others where somebody spoke since the newest
    known message of all. Nothing older than `oldest` is read, as far as ids tell."""
    chosen = {}
    if not all(tells_time(str(id)) for id in known.values()):
        oldest = 0
    for address, id in known.items():
        place = places.get(address)
        if not is_ours(place.server_id if place else None):
            continue
        newest = place.last_message_id if place else None
        if newest is None or int(newest) > max(id, oldest):
            chosen[address] = max(id, oldest)
    newest_known = max(*known.values(), oldest)
    for place in places.readable():
        if place.id not in known and is_ours(place.server_id) and int(place.last_message_id or 0) > newest_known:
            chosen[place.id] = newest_known
    return chosen


async def fetch_after(http: DiscordHttp, channel_id: str, after: int, limit: int) -> list[Payload]:
    """At most `limit` newest messages with ids above `after`, oldest first."""

    async def page(**query: str | int) -> list[Payload]:
        answer = await http.call(
            "GET", "/channels/{channel_id}/messages", query={"limit": PAGE, **query}, channel_id=channel_id
        )
        return [message for message in answer if int(message["id"]) > after]

    found = {int(message["id"]): message for message in await page(after=after)}
    if len(found) >= PAGE:  # more than a page was missed: read backwards from the newest instead
        found = {}
        before: dict[str, str | int] = {}
        while len(found) < limit:
            messages = {int(message["id"]): message for message in await page(**before)}
            found |= messages
            if len(messages) < PAGE:
                break
            before = {"before": min(messages)}
    return [found[id] for id in sorted(found)][-limit:]
