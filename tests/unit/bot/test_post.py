"""The outbox's way to a platform that does everything a platform may do."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from adapters.base import (
    AdapterStatus,
    Channel,
    ChannelKind,
    ChannelMoved,
    ChannelRefused,
    Identity,
    InDoubt,
    OutgoingPart,
    PostError,
    Receipt,
    ReplyRefused,
    Sink,
    TryLater,
)
from bot.post import Poster
from storage import inbox, outbox
from storage.store import Store
from tests.unit.bot.conftest import Clock


class Platform:
    """Takes posts, or does what the script says instead: an error to raise, before or after taking the part."""

    platform = "telegram"
    typing_interval = timedelta(seconds=4)

    def __init__(self) -> None:
        self.posted: list[OutgoingPart] = []
        self.tried: list[OutgoingPart] = []
        self.script: dict[str, list[PostError | Callable[[], PostError]]] = {}
        self.found: Receipt | None = None
        self.looked = 0

    @property
    def status(self) -> AdapterStatus:
        return AdapterStatus(ready=True, detail="")

    async def identify(self) -> Identity:
        return Identity(id="1", name="x")

    async def listen(self, sink: Sink) -> None:
        return None

    def split(self, text: str) -> list[str]:
        return text.split("|")

    async def post(self, part: OutgoingPart) -> Receipt:
        self.tried.append(part)
        planned = self.script.get(part.channel.address, [])
        if planned:
            error = planned.pop(0)
            if isinstance(error, InDoubt):
                self.posted.append(part)
            raise error if isinstance(error, PostError) else error()
        self.posted.append(part)
        return Receipt(f"m{len(self.posted)}")

    async def find_posted(self, part: OutgoingPart) -> Receipt | None:
        self.looked += 1
        return self.found

    async def show_typing(self, channel: Channel) -> None:
        return None

    async def close(self) -> None:
        return None


def channel(address: str = "a") -> Channel:
    return Channel(platform="telegram", address=address, kind=ChannelKind.PRIVATE)


@asynccontextmanager
async def posting(
    store: Store, platform: Platform, clock: Clock, *, at_most_once: bool = False
) -> AsyncIterator[Poster]:
    poster = Poster(store, platform, "here", at_most_once=lambda: at_most_once, clock=clock)
    loop = asyncio.get_running_loop()
    store.on_commit(lambda _topic: loop.call_soon_threadsafe(poster.wake))
    task = asyncio.create_task(poster.run())
    yield poster
    await poster.drain(timedelta(seconds=5))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def say(store: Store, text: str, address: str = "a") -> None:
    await store.write(inbox.add_notice, channel(address), text, reply_to="1")


def states(store: Store) -> list[tuple[Any, ...]]:
    assert store.sqlite_file is not None
    with sqlite3.connect(store.sqlite_file) as connection:
        return connection.execute("select state, reason from replies order by id").fetchall()


async def until(store: Store, wanted: Sequence[str], clock: Clock | None = None) -> None:
    """Wait for the replies' states; the store's clock runs ahead meanwhile, so that back-offs end."""
    async with asyncio.timeout(10):
        while [state for state, _ in states(store)] != list(wanted):
            if clock is not None:
                clock.advance(seconds=1)
            await asyncio.sleep(0.01)


async def test_parts_are_posted_in_order_each_with_its_own_nonce(store: Store, clock: Clock) -> None:
    platform = Platform()
    async with posting(store, platform, clock):
        await say(store, "one|two|three")
        await until(store, ["posted"])
    assert [part.text for part in platform.posted] == ["one", "two", "three"]
    assert len({part.nonce for part in platform.posted}) == 3
    assert all(len(part.nonce) <= 25 for part in platform.posted)
    assert [part.reply_to for part in platform.posted] == ["1", None, None]


async def test_replies_of_a_channel_keep_their_order(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["a"] = [TryLater("busy", timedelta(seconds=2))]
    async with posting(store, platform, clock):
        for number in range(5):
            await say(store, f"n{number}")
        await until(store, ["posted"] * 5, clock)
    assert [part.text for part in platform.posted] == [f"n{number}" for number in range(5)]


async def test_a_flood_wait_is_kept_and_holds_up_no_other_channel(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["a"] = [TryLater("flood", timedelta(seconds=30))]
    async with posting(store, platform, clock):
        await say(store, "waits", "a")
        await say(store, "goes", "b")
        await until(store, ["ready", "posted"])
        clock.advance(seconds=29)
        await say(store, "goes too", "b")
        await until(store, ["ready", "posted", "posted"])
        assert [part.text for part in platform.tried].count("waits") == 1
        await until(store, ["posted"] * 3, clock)


async def test_a_lost_answer_is_posted_again_with_the_same_nonce(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["a"] = [InDoubt("connection lost")]
    async with posting(store, platform, clock):
        await say(store, "hello")
        await until(store, ["posted"], clock)
    assert platform.looked == 1
    assert [part.nonce for part in platform.tried] == [platform.tried[0].nonce] * 2


async def test_a_lost_answer_that_the_platform_remembers_is_not_posted_again(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.found = Receipt("m9")
    platform.script["a"] = [InDoubt("connection lost")]
    async with posting(store, platform, clock):
        await say(store, "hello")
        await until(store, ["posted"], clock)
    assert len(platform.tried) == 1


async def test_at_most_once_gives_up_what_is_in_doubt(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["a"] = [InDoubt("connection lost")]
    async with posting(store, platform, clock, at_most_once=True):
        await say(store, "hello")
        await until(store, ["failed"], clock)
    assert len(platform.tried) == 1


async def test_at_most_once_still_retries_what_was_surely_not_posted(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["a"] = [TryLater("busy"), TryLater("busy")]
    async with posting(store, platform, clock, at_most_once=True):
        await say(store, "hello")
        await until(store, ["posted"], clock)
    assert len(platform.posted) == 1


async def test_parts_resume_at_the_first_unsent_one(store: Store, clock: Clock) -> None:
    platform = Platform()
    async with posting(store, platform, clock):
        failing = iter([None, TryLater("busy")])

        async def post(part: OutgoingPart) -> Receipt:
            error = next(failing, None)
            platform.tried.append(part)
            if error is not None:
                raise error
            platform.posted.append(part)
            return Receipt(f"m{len(platform.posted)}")

        platform.post = post  # type: ignore[method-assign]
        await say(store, "one|two|three")
        await until(store, ["posted"], clock)
    assert [part.text for part in platform.posted] == ["one", "two", "three"]
    assert platform.looked == 0


async def test_a_refused_reply_ends_and_the_next_one_goes_on(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["a"] = [ReplyRefused("cannot be parsed")]
    async with posting(store, platform, clock):
        await say(store, "bad")
        await say(store, "good")
        await until(store, ["failed", "posted"])


async def test_a_refused_channel_is_paused_alone(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["a"] = [ChannelRefused("blocked by the user")]
    async with posting(store, platform, clock):
        await say(store, "one", "a")
        await until(store, ["failed"])
        await say(store, "two", "b")
        await until(store, ["failed", "posted"])
    assert [part.channel.address for part in platform.tried] == ["a", "b"]


async def test_a_moved_channel_is_followed(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["-5"] = [ChannelMoved("-1005")]
    async with posting(store, platform, clock):
        await say(store, "hello", "-5")
        await until(store, ["posted"], clock)
    assert [part.channel.address for part in platform.tried] == ["-5", "-1005"]


async def test_an_unexpected_error_is_retried_and_stops_nothing(store: Store, clock: Clock) -> None:
    platform = Platform()

    def surprising() -> PostError:
        raise KeyError("surprise")

    platform.script["a"] = [surprising]
    async with posting(store, platform, clock):
        await say(store, "hello", "a")
        await say(store, "other", "b")
        await until(store, ["posted", "posted"], clock)


async def test_what_a_dead_poster_left_behind_is_taken_over_and_looked_for(store: Store, clock: Clock) -> None:
    await say(store, "hello")
    await store.write(outbox.lease_replies, "telegram", "dead-poster", 10, timedelta(seconds=30))
    clock.advance(seconds=31)
    await store.write(outbox.return_expired_leases)
    platform = Platform()
    platform.found = Receipt("m7")
    async with posting(store, platform, clock):
        await until(store, ["posted"], clock)
    assert platform.looked == 1
    assert platform.tried == []


class Slow(Store):
    """A store that keeps leased replies to itself until it is told to go on."""

    leased: asyncio.Event
    go_on: asyncio.Event

    async def write(self, statement: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = await super().write(statement, *args, **kwargs)
        if statement is outbox.lease_replies:
            self.leased.set()
            await self.go_on.wait()
        return result


async def test_what_is_leased_during_shutdown_is_handed_back_and_in_no_doubt(store: Store, clock: Clock) -> None:
    await say(store, "hello")
    slow = Slow.open(f"sqlite:///{store.sqlite_file}", clock=clock)
    slow.leased, slow.go_on = asyncio.Event(), asyncio.Event()
    platform = Platform()
    poster = Poster(slow, platform, "here", at_most_once=lambda: True, clock=clock)
    running = asyncio.create_task(poster.run())
    await slow.leased.wait()
    draining = asyncio.create_task(poster.drain(timedelta(seconds=5)))
    await asyncio.sleep(0)
    slow.go_on.set()
    await draining
    await running
    await slow.close()
    assert platform.tried == []
    assert states(store) == [("ready", "shutdown")]
    (again,) = await store.write(outbox.lease_replies, "telegram", "other", 1, timedelta(seconds=30))
    assert not again.in_doubt


async def test_a_platform_that_always_loses_the_answer_does_not_get_a_copy_for_ever(store: Store, clock: Clock) -> None:
    platform = Platform()
    platform.script["a"] = [InDoubt("connection lost") for _ in range(50)]
    async with posting(store, platform, clock):
        await say(store, "hello")
        await until(store, ["failed"], clock)
    assert len(platform.tried) == 10
