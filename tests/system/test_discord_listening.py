"""What is said on Discord reaches the sink: real sockets, the real library, a strict local server."""

from collections.abc import AsyncIterator

import pytest

from adapters.base import ChannelKind
from tests.servers.discord import DiscordServer
from tests.servers.discord_adapter import TOKEN, listening
from tests.servers.discord_sink import RecordingSink


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


async def test_a_members_message_without_a_server_is_no_direct_message(
    server: DiscordServer, sink: RecordingSink
) -> None:
    """A small server that announces no channels and leaves out `guild_id`: the channel itself is asked for."""
    async with listening(server, sink):
        unknown = {"id": "77", "channel_id": "4711", "author": server.bob.to_json(), "content": "not for the bot"}
        await server.publish("MESSAGE_CREATE", {**unknown, "member": {"roles": []}})
        await sink.wait_for_texts("not for the bot")
    assert sink.messages[0].channel.kind is ChannelKind.GROUP
