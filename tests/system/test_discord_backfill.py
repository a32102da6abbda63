"""What was said on Discord while the bot was away is fetched, in order and within its limits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.base import ChannelKind
from tests.servers.discord import DiscordServer
from tests.servers.discord_adapter import QUICK, TOKEN, listening
from tests.servers.discord_sink import RecordingSink
from tests.servers.discord_world import Fault, failing, new_id


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer(token=TOKEN) as server:
        yield server


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


async def test_after_an_invalid_session_the_gap_is_filled_once_and_in_order(
    server: DiscordServer, sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(server, sink):
        server.say(server.general, "heard")
        await sink.wait_for_texts("heard")
        await server.invalidate_sessions()
        server.say(server.general, "missed one")
        server.say(server.general, "missed two")
        await server.wait_for_sessions(2)
        server.say(server.general, "live again")
        await sink.wait_for_texts("live again")
    assert sink.texts == ["heard", "missed one", "missed two", "live again"]
    assert "gateway_unreachable" not in caplog.messages  # nobody dialled Discord's own gateway
    assert [message.backfilled for message in sink.messages][:3] == [False, True, True]


async def test_messages_missed_while_down_are_fetched(server: DiscordServer, sink: RecordingSink) -> None:
    now = datetime.now(UTC)
    known = server.say(server.dm, "known", sent_at=now - timedelta(minutes=5))
    sink.known = {server.dm.id: known["id"]}
    server.say(server.dm, "missed in private")
    server.say(server.general, "missed in a channel never seen")
    thread = server.add_thread(server.general, "a thread", server.bob)
    server.say(thread, "missed in a thread")
    server.say(server.general, f"missed mention <@{server.bot.id}>")
    async with listening(server, sink):
        await sink.wait_until(lambda: len(sink.messages) == 4)
    assert set(sink.texts) == {
        "missed in private",
        "missed in a channel never seen",
        "missed in a thread",
        "missed mention",
    }
    kinds = {message.text: message.channel.kind for message in sink.messages}
    assert kinds["missed in private"] is ChannelKind.PRIVATE
    assert kinds["missed in a thread"] is ChannelKind.THREAD
    assert all(message.backfilled for message in sink.messages)


async def test_the_first_start_fetches_nothing(server: DiscordServer, sink: RecordingSink) -> None:
    server.say(server.general, "long before the bot")
    async with listening(server, sink):
        server.say(server.general, "hello")
        await sink.wait_for_texts("hello")
    assert sink.texts == ["hello"]
    assert server.count_requests("list_messages") == 0


async def test_backfill_takes_the_newest_within_its_limits(server: DiscordServer, sink: RecordingSink) -> None:
    now = datetime.now(UTC)
    known = server.say(server.general, "known", sent_at=now - timedelta(hours=2))
    server.say(server.general, "too old", sent_at=now - timedelta(hours=1))
    recent = [f"recent {number}" for number in range(230)]
    for number, text in enumerate(recent):
        server.say(server.general, text, sent_at=now - timedelta(seconds=300 - number))
    sink.known = {server.general.id: known["id"]}
    async with listening(server, sink, backfill_age=timedelta(minutes=15), backfill_per_channel=120):
        await sink.wait_for_texts(recent[-1])
    assert sink.texts == recent[-120:]


async def test_an_unreadable_history_holds_up_nobody(server: DiscordServer, sink: RecordingSink) -> None:
    sink.known = {server.general.id: new_id(datetime.now(UTC) - timedelta(minutes=1)), "12345": "67890"}
    server.general.unreadable = True
    server.say(server.general, "missed")
    async with listening(server, sink):
        server.say(server.general, "live")
        await sink.wait_for_texts("live")
    assert sink.texts == ["live"]


async def test_a_slow_history_comes_before_what_is_said_meanwhile(server: DiscordServer, sink: RecordingSink) -> None:
    released = asyncio.Event()
    sink.known = {server.general.id: new_id(datetime.now(UTC) - timedelta(minutes=1))}
    server.say(server.general, "missed")
    server.script("list_messages", failing(503), Fault(cut="before"), Fault(wait_for=released))
    async with listening(server, sink):
        server.say(server.general, "live")
        server.say(server.dm, "elsewhere")
        await sink.wait_for_texts("elsewhere")
        await server.wait_until(lambda: server.count_requests("list_messages") == 3)
        assert sink.texts == ["elsewhere"]
        released.set()
        await sink.wait_for_texts("missed", "live")
    assert sink.texts == ["elsewhere", "missed", "live"]


async def test_a_server_in_an_outage_holds_up_nobody(server: DiscordServer, sink: RecordingSink) -> None:
    server.in_outage.append(server.add_guild("Away"))
    sink.known = {server.general.id: new_id(datetime.now(UTC) - timedelta(minutes=1))}
    server.say(server.general, "missed")
    async with listening(server, sink, timing=replace(QUICK, servers=0.2)):
        server.say(server.general, "live")
        await sink.wait_for_texts("missed", "live")
        assert sink.back == []
        server.emit("GUILD_CREATE", server.guild_json(server.in_outage[0]))  # over, and no invitation
        server.say(server.general, "later")
        await sink.wait_for_texts("later")
    assert sink.texts == ["missed", "live", "later"]
    assert sink.back == []


async def test_what_is_said_before_the_gap_is_known_waits_for_it(server: DiscordServer, sink: RecordingSink) -> None:
    sink.known = {server.general.id: new_id(datetime.now(UTC) - timedelta(minutes=1))}
    sink.may_tell.clear()
    server.say(server.general, "missed")
    async with listening(server, sink):
        await sink.asked.wait()
        server.say(server.general, "live")
        behind = server.interact("help")  # acknowledged at once: the message in front of it has arrived
        await server.wait_until(lambda: behind.acknowledged_after is not None)
        assert sink.texts == []
        sink.may_tell.set()
        await sink.wait_for_texts("missed", "live")
    assert sink.texts == ["missed", "live"]
