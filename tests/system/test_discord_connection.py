"""The connection to Discord comes back after everything that time can heal, and ends with what it cannot."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.base import CommandSpec, MissingPermission, TokenRefused
from adapters.discord import DiscordAdapter
from tests.servers.discord import DiscordServer
from tests.servers.discord_adapter import QUICK, TOKEN, listening
from tests.servers.discord_sink import RecordingSink


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer(token=TOKEN) as server:
        yield server


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


async def test_a_resumed_session_repeats_nothing_to_the_sink(server: DiscordServer, sink: RecordingSink) -> None:
    server.replay_overlap = 2
    async with listening(server, sink):
        server.say(server.general, "one")
        server.say(server.general, "two")
        await sink.wait_for_texts("one", "two")
        await server.drop_gateway()
        server.say(server.general, "while away")
        await sink.wait_for_texts("while away")
    assert sink.texts == ["one", "two", "while away"]
    assert len(server.resumed) == 1
    assert len(server.identified) == 1
    assert server.count_requests("list_messages") == 0


async def test_a_requested_reconnect_resumes(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        await server.ask_to_reconnect()
        await server.wait_until(lambda: len(server.resumed) == 1)
        server.say(server.dm, "hello again")
        await sink.wait_for_texts("hello again")
    assert len(server.identified) == 1


async def test_a_dead_resume_address_is_given_up(server: DiscordServer, sink: RecordingSink) -> None:
    """discord.py alone dials a resume address that does not answer for ever."""
    server.resume_url = "ws://127.0.0.1:1"
    async with listening(server, sink):
        server.say(server.dm, "before")
        await sink.wait_for_texts("before")
        await server.drop_gateway()
        server.say(server.dm, "after")
        await sink.wait_for_texts("after")
    assert sink.texts == ["before", "after"]


async def test_a_gateway_that_is_away_at_first_is_waited_for(server: DiscordServer, sink: RecordingSink) -> None:
    server.accepting_gateway = False
    async with listening(server, sink, sessions=0) as adapter:
        await server.wait_until(lambda: server.refused_dials >= 3)
        assert not adapter.status.ready
        assert "does not answer" in adapter.status.detail
        server.accepting_gateway = True
        await server.wait_for_sessions(1)
        server.say(server.dm, "at last")
        await sink.wait_for_texts("at last")
        assert adapter.status.ready


async def test_a_platform_that_is_away_at_first_is_waited_for(sink: RecordingSink) -> None:
    server = DiscordServer(token=TOKEN)
    async with server:
        port = int(server.api_url.split(":")[2].split("/")[0])
    knocks = asyncio.Semaphore(0)

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.release()
        writer.close()

    blocked = await asyncio.start_server(hang_up, "127.0.0.1", port)
    async with listening(server, sink, sessions=0) as adapter:
        for _ in range(3):
            await asyncio.wait_for(knocks.acquire(), 10)
        assert not adapter.status.ready
        blocked.close()
        await blocked.wait_closed()
        async with server:  # on the same port again
            await server.wait_for_sessions(1)
            server.say(server.dm, "at last")
            await sink.wait_for_texts("at last")


async def test_a_silent_connection_is_replaced(server: DiscordServer, sink: RecordingSink) -> None:
    server.heartbeat_seconds = 30.0
    server.answering_heartbeats = False
    async with listening(server, sink, timing=replace(QUICK, silence=0.5)):
        await server.wait_until(lambda: len(server.resumed) >= 1)
        server.say(server.dm, "still there?")
        await sink.wait_for_texts("still there?")


@pytest.mark.parametrize("code", [1000, 4000, 4008, 4009, 4011])
async def test_the_connection_comes_back_after_a_close_code(
    server: DiscordServer, sink: RecordingSink, code: int
) -> None:
    async with listening(server, sink):
        server.say(server.dm, "before")
        await sink.wait_for_texts("before")
        await server.close_gateway(code)
        server.say(server.dm, "after")
        await sink.wait_for_texts("after")
    assert sink.texts == ["before", "after"]


async def test_a_gateway_that_stays_away_gets_a_new_client(server: DiscordServer, sink: RecordingSink) -> None:
    server.accepting_gateway = False
    async with listening(server, sink, sessions=0, timing=replace(QUICK, offline=0.3)):
        await server.wait_until(lambda: server.count_requests("get_bot_gateway") >= 3)
        server.accepting_gateway = True
        await server.wait_for_sessions(1)


async def test_no_session_is_started_when_none_is_left(
    server: DiscordServer, sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    """Discord resets a token that identifies more often than allowed."""
    server.session_starts = 0
    server.session_reset_seconds = 0.1
    async with listening(server, sink, sessions=0):
        await server.wait_until(lambda: server.count_requests("get_bot_gateway") == 2)
        assert server.identified == []
        assert "session_starts_exhausted" in caplog.messages
        server.session_starts = 1000
        await server.wait_for_sessions(1)


async def test_a_small_server_is_enough(server: DiscordServer, sink: RecordingSink) -> None:
    server.minimal = True
    async with listening(server, sink, commands=[CommandSpec(name="help", description="Help")]) as adapter:
        server.say(server.general, f"<@{server.bot.id}> hello")
        await sink.wait_for_texts("hello")
        await server.drop_gateway()
        server.say(server.dm, "and again")
        await sink.wait_for_texts("and again")
        identity = await adapter.identify()
    assert identity.id == server.bot.id
    assert identity.limitations == ()
    assert len(server.resumed) == 1


async def test_adapters_with_different_hosts_live_side_by_side(server: DiscordServer, sink: RecordingSink) -> None:
    async with DiscordServer(token=TOKEN) as other, listening(server, sink):
        other_sink = RecordingSink()
        async with listening(other, other_sink):
            server.say(server.dm, "here")
            other.say(other.dm, "there")
            await sink.wait_for_texts("here")
            await other_sink.wait_for_texts("there")
            await server.invalidate_sessions()
            await server.wait_for_sessions(2)
    assert (sink.texts, other_sink.texts) == (["here"], ["there"])
    assert len(other.identified) == 1


async def test_heartbeats_are_sent(server: DiscordServer, sink: RecordingSink) -> None:
    server.heartbeat_seconds = 0.1
    async with listening(server, sink):
        server.say(server.dm, "hello")
        await sink.wait_for_texts("hello")
        beats = server.heartbeats
        await server.wait_until(lambda: server.heartbeats >= beats + 3)
    assert server.closes == []


async def test_without_the_privileged_intent_the_reduced_mode_works(
    server: DiscordServer, sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    server.privileged_intents = 0
    async with listening(server, sink) as adapter:
        server.say(server.general, "nobody may read this")
        server.say(server.general, f"<@{server.bot.id}> but this")
        server.say(server.dm, "and this")
        await sink.wait_for_texts("but this", "and this")
        assert adapter.status.ready
        assert "without message content" in adapter.status.detail
    assert set(sink.texts) == {"but this", "and this"}
    assert server.closes == [4014]
    assert "message_content_not_granted" in caplog.messages


async def test_a_demanded_intent_that_is_refused_ends_listening(server: DiscordServer, sink: RecordingSink) -> None:
    server.privileged_intents = 0
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=QUICK, message_content="on")
    with pytest.raises(MissingPermission, match="Message Content Intent"):
        await adapter.listen(sink)
    await adapter.close()


async def test_a_refused_token_ends_listening(server: DiscordServer, sink: RecordingSink) -> None:
    adapter = DiscordAdapter(token="wrong", api_url=server.api_url, timing=QUICK)
    with pytest.raises(TokenRefused, match="developer portal"):
        await adapter.listen(sink)
    assert "token" in adapter.status.detail
    await adapter.close()


async def test_a_token_that_the_gateway_refuses_ends_listening(server: DiscordServer, sink: RecordingSink) -> None:
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=QUICK)
    task = asyncio.create_task(adapter.listen(sink))
    await server.wait_for_sessions(1)
    server.say(server.dm, "hello")
    await sink.wait_for_texts("hello")
    await server.close_gateway(4004)
    with pytest.raises(TokenRefused):
        await task
    await adapter.close()


async def test_two_shards_hear_their_servers_and_private_messages(server: DiscordServer, sink: RecordingSink) -> None:
    server.shards = 2
    async with listening(server, sink) as adapter:
        await server.wait_until(lambda: len(server.sessions) == 2)
        server.say(server.general, "in the server")
        server.say(server.dm, "in private")
        await sink.wait_for_texts("in the server", "in private")
        assert adapter.status.ready
    assert sorted(identify["shard"] for identify in server.identified) == [[0, 2], [1, 2]]


async def test_a_gateway_that_says_nothing_does_not_hold_up_the_end(server: DiscordServer, sink: RecordingSink) -> None:
    server.greeting = False
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url)
    task = asyncio.create_task(adapter.listen(sink))
    await server.wait_until(lambda: server.connected == 1)
    async with asyncio.timeout(5):
        await adapter.close()
        await task


async def test_connections_that_end_at_once_are_dialled_with_growing_pauses(
    server: DiscordServer, sink: RecordingSink
) -> None:
    timing = replace(QUICK, settled=60.0, first_backoff=0.05, longest_backoff=5.0)
    clock = asyncio.get_running_loop().time
    moments = []
    async with listening(server, sink, timing=timing):
        for number in range(1, 5):
            await server.drop_gateway()
            dropped = clock()
            await server.wait_until(lambda number=number: len(server.resumed) == number)
            moments.append(clock() - dropped)
    assert moments[3] > 0.2  # 0.05 s doubled three times, at least half of it
    assert moments[3] > moments[0]


async def test_closing_twice_is_safe(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink) as adapter:
        await adapter.close()
        await adapter.close()
    assert not adapter.status.ready
    assert server.sessions == {}


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_to_the_connection_everything_is_heard_once_and_in_order(
    server: DiscordServer, sink: RecordingSink, seed: int
) -> None:
    chance = random.Random(seed)
    channels = [server.general, server.dm, server.add_thread(server.general, "aside", server.alice)]
    said: dict[str, list[str]] = {channel.id: [] for channel in channels}

    def say_something() -> None:
        channel = chance.choice(channels)
        said[channel.id].append(server.say(channel, "words")["id"])

    troubles = [
        server.drop_gateway,
        server.ask_to_reconnect,
        server.invalidate_sessions,
        lambda: server.close_gateway(4009),
        lambda: server.close_gateway(1000),
        lambda: server.send_raw("{ no JSON"),
    ]
    async with listening(server, sink, backfill_per_channel=1000):
        for channel in channels:  # a private channel that nobody has spoken in is unknown to a new session
            said[channel.id].append(server.say(channel, "first")["id"])
        await sink.wait_until(lambda: len(sink.messages) == len(channels))
        for _ in range(12):
            for _ in range(chance.randrange(8)):
                say_something()
            await chance.choice(troubles)()
            say_something()
            if chance.random() < 0.5:
                await server.wait_until(lambda: server.connected > 0 and bool(server.sessions))
        total = sum(map(len, said.values()))
        await sink.wait_until(lambda: len(sink.messages) == total)
    for channel in channels:
        heard = [message.message_id for message in sink.messages if message.channel.address == channel.id]
        assert heard == said[channel.id]


async def test_plain_frames_are_read_though_compression_was_asked_for(
    server: DiscordServer, sink: RecordingSink
) -> None:
    server.plain_binary = True
    async with listening(server, sink):
        server.say(server.dm, "plain")
        await sink.wait_for_texts("plain")


async def test_a_storm_of_dropped_connections_is_ridden_out_by_resuming(
    server: DiscordServer, sink: RecordingSink
) -> None:
    """Pauses grow long only where each connection costs an IDENTIFY."""
    timing = replace(QUICK, settled=60.0, first_backoff=0.01, longest_backoff=60.0, longest_redial=0.05)
    async with listening(server, sink, timing=timing):
        for number in range(1, 16):
            await server.drop_gateway()
            await server.wait_until(lambda: len(server.resumed) == number)  # noqa: B023 - awaited at once
        server.say(server.dm, "still here")
        await sink.wait_for_texts("still here")
    assert len(server.identified) == 1
