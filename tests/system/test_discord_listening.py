"""The Discord adapter hears: over real sockets, with the real library, from a strict local server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.base import ChannelKind, CommandSpec, MissingPermission, TokenRefused
from adapters.discord import DiscordAdapter
from adapters.discord_gateway import Timing
from tests.servers.discord import DiscordServer
from tests.servers.discord_sink import RecordingSink
from tests.servers.discord_world import Fault, failing, new_id

TOKEN = "discord-token"
QUICK = Timing(
    dial=5.0,
    closing=0.5,
    identify_pause=0.0,
    first_backoff=0.05,
    longest_backoff=0.2,
    offline=3.0,
    servers=1.0,
    post=10.0,
)


@asynccontextmanager
async def listening(server: DiscordServer, sink: RecordingSink, **settings: Any) -> AsyncIterator[DiscordAdapter]:
    """An adapter with an open session, closed in the end; a request that Discord would refuse fails the test."""
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=QUICK, **settings)
    task = asyncio.create_task(adapter.listen(sink))
    try:
        await server.wait_until(lambda: bool(server.sessions))
        yield adapter
    finally:
        await adapter.close()
        await task
    assert server.violations == []


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer(token=TOKEN) as server:
        yield server


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


async def test_a_direct_message_is_private(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        said = server.say(server.dm, "hello")
        await sink.wait_for_texts("hello")
    message = sink.messages[0]
    assert (message.channel.kind, message.channel.address) == (ChannelKind.PRIVATE, server.dm.id)
    assert (message.message_id, message.author.id, message.author.is_bot) == (said["id"], server.alice.id, False)
    assert message.sent_at.tzinfo is not None
    assert not message.backfilled


async def test_a_mention_in_a_server_is_recognised_and_removed(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        server.say(server.general, f"<@{server.bot.id}> what do you think, <@{server.bob.id}>?", server.bob)
        server.say(server.general, "not for the bot")
        await sink.wait_for_texts("what do you think, @Bob?", "not for the bot")
    assert [message.mentions_bot for message in sink.messages] == [True, False]
    assert sink.messages[0].channel.kind is ChannelKind.GROUP
    assert sink.messages[0].channel.server == server.guild.id


async def test_a_mention_of_the_bots_own_role_counts(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        server.say(server.general, f"hey <@&{server.guild.bot_roles[0]}> there")
        await sink.wait_for_texts("hey there")
    assert sink.messages[0].mentions_bot


async def test_only_those_who_may_manage_the_server_are_admins(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        server.say(server.general, "I own this", server.alice)
        server.say(server.general, "I do not", server.bob)
        await sink.wait_for_texts("I own this", "I do not")
    assert [message.author.is_admin for message in sink.messages] == [True, False]


async def test_a_reply_to_the_bot_is_recognised_without_a_ping(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        own = server.new_message(server.general, "I am the bot", server.bot)
        server.say(server.general, "I disagree", reply_to=own)
        other = server.say(server.general, "me too", server.bob)
        server.say(server.general, "with whom?", reply_to=other)
        await sink.wait_for_texts("I disagree", "with whom?")
    by_text = {message.text: message for message in sink.messages}
    assert by_text["I disagree"].replies_to_bot
    assert by_text["I disagree"].reply_to == own["id"]
    assert not by_text["with whom?"].replies_to_bot
    assert by_text["with whom?"].reply_to == other["id"]


async def test_threads_and_forum_posts_are_channels_of_their_own(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        thread = server.add_thread(server.general, "aside", server.bot)
        post = server.add_thread(server.forum, "How does it work?", server.alice)
        server.say(thread, "in the thread")
        server.say(post, "in the forum")
        await sink.wait_for_texts("in the thread", "in the forum")
    channels = {message.text: message.channel for message in sink.messages}
    assert channels["in the thread"].kind is channels["in the forum"].kind is ChannelKind.THREAD
    assert channels["in the thread"].parent == server.general.id
    assert channels["in the thread"].owned
    assert channels["in the forum"].parent == server.forum.id
    assert not channels["in the forum"].owned


async def test_a_thread_that_was_never_announced_is_asked_for(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        await server.wait_until(lambda: bool(server.sessions))
        thread = server.add_channel(server.guild, "old thread", 11)
        thread.parent = server.general
        server.say(thread, "still here")
        await sink.wait_for_texts("still here")
    assert sink.messages[0].channel.kind is ChannelKind.THREAD
    assert sink.messages[0].channel.parent == server.general.id


async def test_own_messages_webhooks_and_system_messages_are_not_heard(
    server: DiscordServer, sink: RecordingSink
) -> None:
    async with listening(server, sink):
        server.say(server.general, "my own words", server.bot)
        server.say(server.general, "from a webhook", webhook_id="42")
        server.say(server.general, "has joined", type=7)
        server.say(server.general, "a person", server.bob)
        await sink.wait_for_texts("a person")
    assert sink.texts == ["a person"]


async def test_an_attachment_without_words_is_an_empty_text(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        server.say(server.dm, "", attachments=[{"id": "1", "filename": "cat.png", "size": 3, "url": "x"}])
        await sink.wait_until(lambda: bool(sink.messages))
    assert sink.texts == [""]


async def test_edits_and_deletions_are_passed_on(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        first, second, third = (server.say(server.general, text) for text in ("one", "two", "three"))
        server.edit(first, "one, better")
        server.delete(second)
        server.delete(first, third)
        await sink.wait_until(lambda: len(sink.deletions) == 3)
    assert sink.edits == [(first["id"], "one, better")]
    assert sink.deletions == [second["id"], first["id"], third["id"]]


async def test_a_link_preview_is_no_edit(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink):
        message = server.say(server.general, "https://example.com")
        server.emit("MESSAGE_UPDATE", {**message, "embeds": [{"type": "link"}]})
        server.say(server.general, "later")
        await sink.wait_for_texts("later")
    assert sink.edits == []


async def test_a_channel_keeps_its_order_while_another_waits_for_nobody(
    server: DiscordServer, sink: RecordingSink
) -> None:
    words = [f"number {number}" for number in range(30)]
    async with listening(server, sink):
        sink.failures = 2  # the first words are refused and come again before the next
        for word in words:
            server.say(server.general, word)
        await sink.wait_for_texts(*words)
    assert sink.texts == words


async def test_leaving_and_joining_servers_closes_and_opens_channels(
    server: DiscordServer, sink: RecordingSink
) -> None:
    async with listening(server, sink):
        server.emit("CHANNEL_DELETE", server.general.to_json())
        await sink.wait_until(lambda: [channel.address for channel in sink.gone] == [server.general.id])
        other = server.add_guild("Elsewhere")
        lobby = server.add_channel(other, "lobby")
        server.emit("GUILD_CREATE", server.guild_json(other))
        await sink.wait_until(lambda: [channel.address for channel in sink.back] == [lobby.id])
        server.emit("GUILD_DELETE", {"id": other.id, "unavailable": True})  # an outage, not a farewell
        server.emit("GUILD_DELETE", {"id": other.id})
        await sink.wait_until(lambda: len(sink.gone) == 2)
    assert sink.gone[1].address == lobby.id


async def test_a_payload_that_cannot_be_understood_loses_no_neighbour(
    server: DiscordServer, sink: RecordingSink
) -> None:
    async with listening(server, sink):
        server.say(server.general, "before")
        server.emit("MESSAGE_CREATE", {"id": "77", "channel_id": server.general.id, "content": "no author"})
        server.emit("GUILD_CREATE", {"name": "no id"})
        await server.send_raw("this is no JSON")
        await server.send_raw("[1, 2]")
        server.emit("SOMETHING_NEW", {"surprise": True})
        server.say(server.general, "after")
        await sink.wait_for_texts("before", "after")
        await sink.wait_until(lambda: len(sink.dead_letters) == 4)
    assert sink.texts == ["before", "after"]
    assert "MESSAGE_CREATE:77" in {event_id for event_id, _ in sink.dead_letters}
    assert len(server.identified) == 1


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


async def test_after_an_invalid_session_the_gap_is_filled_once_and_in_order(
    server: DiscordServer, sink: RecordingSink
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
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=QUICK)
    task = asyncio.create_task(adapter.listen(sink))
    await server.wait_until(lambda: server.refused_dials >= 3)
    assert not adapter.status.ready
    assert "does not answer" in adapter.status.detail
    server.accepting_gateway = True
    await server.wait_for_sessions(1)
    server.say(server.dm, "at last")
    await sink.wait_for_texts("at last")
    assert adapter.status.ready
    await adapter.close()
    await asyncio.gather(task, return_exceptions=True)
    assert server.violations == []


async def test_a_platform_that_is_away_at_first_is_waited_for(sink: RecordingSink) -> None:
    server = DiscordServer(token=TOKEN)
    async with server:
        url = server.api_url
    adapter = DiscordAdapter(token=TOKEN, api_url=url, timing=QUICK)
    task = asyncio.create_task(adapter.listen(sink))
    async with server:  # on the same port again
        await server.wait_for_sessions(1)
        server.say(server.dm, "at last")
        await sink.wait_for_texts("at last")
        await adapter.close()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_silent_connection_is_replaced(server: DiscordServer, sink: RecordingSink) -> None:
    server.heartbeat_seconds = 30.0
    adapter = DiscordAdapter(
        token=TOKEN,
        api_url=server.api_url,
        timing=Timing(closing=0.2, identify_pause=0.0, first_backoff=0.05, longest_backoff=0.2, silence=0.5),
    )
    server.answering_heartbeats = False
    task = asyncio.create_task(adapter.listen(sink))
    await server.wait_until(lambda: len(server.resumed) >= 1)
    server.say(server.dm, "still there?")
    await sink.wait_for_texts("still there?")
    await adapter.close()
    await asyncio.gather(task, return_exceptions=True)


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
    impatient = replace(QUICK, offline=0.3)
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=impatient)
    task = asyncio.create_task(adapter.listen(sink))
    await server.wait_until(lambda: server.count_requests("get_bot_gateway") >= 3)
    server.accepting_gateway = True
    await server.wait_for_sessions(1)
    await adapter.close()
    await task


async def test_no_session_is_started_when_none_is_left(
    server: DiscordServer, sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    """Discord resets a token that identifies more often than allowed."""
    server.session_starts = 0
    server.session_reset_seconds = 0.1
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=QUICK)
    task = asyncio.create_task(adapter.listen(sink))
    await server.wait_until(lambda: server.count_requests("get_bot_gateway") == 2)
    assert server.identified == []
    assert "session_starts_exhausted" in caplog.messages
    server.session_starts = 1000
    await server.wait_for_sessions(1)
    await adapter.close()
    await task


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


async def test_closing_twice_is_safe(server: DiscordServer, sink: RecordingSink) -> None:
    async with listening(server, sink) as adapter:
        await adapter.close()
        await adapter.close()
    assert not adapter.status.ready
    assert server.sessions == {}
