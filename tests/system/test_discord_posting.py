"""The Discord adapter posts, looks up and answers commands: real sockets, real library, a strict local server."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.base import (
    Channel,
    ChannelKind,
    ChannelRefused,
    CommandSpec,
    InDoubt,
    MissingPermission,
    OutgoingPart,
    PlatformUnreachable,
    ReplyRefused,
    TokenRefused,
    TryLater,
)
from adapters.discord import DiscordAdapter
from adapters.discord.commands import ADMINS_ONLY, APOLOGY
from adapters.discord.gateway import Timing
from tests.servers.discord import DiscordServer
from tests.servers.discord_adapter import QUICK, TOKEN, listening
from tests.servers.discord_sink import RecordingSink
from tests.servers.discord_world import Fault, Interaction, cloudflare_limited, failing, new_id, rate_limited

COMMANDS = (
    CommandSpec(name="help", description="What the bot can do"),
    CommandSpec(name="persona", description="Change the persona", argument="name", admin_only_in_groups=True),
)
MANAGE_GUILD = 1 << 5


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer(token=TOKEN) as server:
        yield server


@pytest.fixture
async def adapter(server: DiscordServer) -> AsyncIterator[DiscordAdapter]:
    """An adapter that only posts: it never listens."""
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=QUICK)
    yield adapter
    await adapter.close()
    assert server.violations == []


def part_for(server: DiscordServer, text: str = "hello", **fields: Any) -> OutgoingPart:
    channel = Channel(platform="discord", address=server.general.id, kind=ChannelKind.GROUP, server=server.guild.id)
    return OutgoingPart(channel=channel, text=text, nonce=fields.pop("nonce", "nonce-1"), **fields)


async def test_a_reply_carries_its_target_its_nonce_and_no_ping(server: DiscordServer, adapter: DiscordAdapter) -> None:
    question = server.say(server.general, "hello bot")
    receipt = await adapter.post(part_for(server, "@everyone look, <@1>", reply_to=question["id"]))
    (posted,) = server.posted
    assert receipt.message_id == posted["id"]
    assert posted["message_reference"]["message_id"] == question["id"]
    assert posted["nonce"] == "nonce-1"
    assert posted["flags"] == 4  # no link cards


async def test_a_deleted_target_makes_a_plain_post(server: DiscordServer, adapter: DiscordAdapter) -> None:
    await adapter.post(part_for(server, reply_to="1234567890"))
    assert "message_reference" not in server.posted[0]


async def test_a_missing_right_to_reply_makes_a_plain_post(server: DiscordServer, adapter: DiscordAdapter) -> None:
    question = server.say(server.general, "hello bot")
    server.script("create_message", Fault(status=400, body={"code": 160002, "message": "Cannot reply without ..."}))
    await adapter.post(part_for(server, reply_to=question["id"]))
    assert "message_reference" not in server.posted[0]


async def test_a_long_reply_is_cut_at_two_thousand_characters(server: DiscordServer, adapter: DiscordAdapter) -> None:
    text = "This sentence fills the message. " * 200
    parts = adapter.split(text)
    for number, piece in enumerate(parts):
        await adapter.post(part_for(server, piece, nonce=f"part-{number}"))
    assert [message["content"] for message in server.posted] == parts
    assert len(parts) == 4
    assert " ".join(parts) == text.strip()


async def test_a_lost_answer_is_in_doubt_and_the_nonce_prevents_a_double(
    server: DiscordServer, adapter: DiscordAdapter
) -> None:
    server.script("create_message", Fault(cut="after"))
    with pytest.raises(InDoubt):
        await adapter.post(part_for(server))
    receipt = await adapter.post(part_for(server, attempt=2))
    assert [message["id"] for message in server.posted] == [receipt.message_id]


async def test_a_cut_before_acceptance_is_in_doubt_too(server: DiscordServer, adapter: DiscordAdapter) -> None:
    await adapter.identify()
    server.script("create_message", Fault(cut="before"))
    with pytest.raises(InDoubt):
        await adapter.post(part_for(server))
    assert server.posted == []


async def test_an_answer_that_never_comes_is_in_doubt(server: DiscordServer) -> None:
    never = asyncio.Event()
    server.script("create_message", Fault(wait_for=never))
    adapter = DiscordAdapter(token=TOKEN, api_url=server.api_url, timing=Timing(post=0.3))
    with pytest.raises(InDoubt, match="no answer within"):
        await adapter.post(part_for(server))
    never.set()
    await adapter.close()


async def test_an_unreachable_platform_means_later(adapter: DiscordAdapter, server: DiscordServer) -> None:
    await server.__aexit__(None, None, None)
    with pytest.raises(TryLater):
        await adapter.post(part_for(server))
    with pytest.raises(PlatformUnreachable):
        await adapter.identify()


async def test_a_platform_that_goes_away_means_later(adapter: DiscordAdapter, server: DiscordServer) -> None:
    await adapter.post(part_for(server))
    await server.__aexit__(None, None, None)
    with pytest.raises((InDoubt, TryLater)):  # the old connection may have carried it
        await adapter.post(part_for(server, nonce="nonce-2"))
    with pytest.raises(TryLater):
        await adapter.post(part_for(server, nonce="nonce-2", attempt=2))


async def test_a_short_rate_limit_is_waited_for(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.script("create_message", rate_limited(0.2))
    await adapter.post(part_for(server))
    assert len(server.posted) == 1
    assert server.count_requests("create_message") == 2


async def test_a_long_rate_limit_is_told(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.script("create_message", rate_limited(61.5))
    with pytest.raises(TryLater) as caught:
        await adapter.post(part_for(server))
    assert caught.value.retry_after == timedelta(seconds=61.5)
    assert server.count_requests("create_message") == 1


async def test_the_headers_rate_limit_is_kept(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.rate_limit = (2, 0.3)
    for number in range(5):
        await adapter.post(part_for(server, nonce=f"nonce-{number}"))
    assert len(server.posted) == 5  # and the server counted no overrun


async def test_cloudflares_limit_is_told(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.script("create_message", cloudflare_limited(42))
    with pytest.raises(TryLater) as caught:
        await adapter.post(part_for(server))
    assert caught.value.retry_after == timedelta(seconds=42)


async def test_a_limit_without_a_via_header_is_told_by_its_body(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.script("create_message", Fault(status=429, body={"retry_after": 1.5, "message": "slow", "global": False}))
    with pytest.raises(TryLater) as caught:
        await adapter.post(part_for(server))
    assert caught.value.retry_after == timedelta(seconds=1.5)


async def test_one_channels_limit_holds_up_no_other(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.script("create_message", rate_limited(3.0))
    limited = asyncio.create_task(adapter.post(part_for(server)))
    await server.wait_until(lambda: server.count_requests("create_message") == 1)
    private = Channel(platform="discord", address=server.dm.id, kind=ChannelKind.PRIVATE)
    await adapter.post(OutgoingPart(channel=private, text="hi", nonce="other"))
    assert not limited.done()
    limited.cancel()
    await asyncio.gather(limited, return_exceptions=True)


async def test_a_passing_server_error_is_repeated_once_posted(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.script("create_message", failing(502))
    await adapter.post(part_for(server))
    assert len(server.posted) == 1


async def test_a_lasting_server_error_is_in_doubt(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.script("create_message", failing(503))
    with pytest.raises(InDoubt):
        await adapter.post(part_for(server))


@pytest.mark.parametrize(("status", "code"), [(403, 50013), (403, 50001), (403, 50007), (404, 10003), (400, 50083)])
async def test_a_closed_channel_is_refused(
    server: DiscordServer, adapter: DiscordAdapter, status: int, code: int
) -> None:
    server.general.refusal = (status, code, "refused")
    with pytest.raises(ChannelRefused):
        await adapter.post(part_for(server))
    assert server.count_requests("create_message") == 1


async def test_a_text_that_discord_does_not_take_is_refused_alone(
    server: DiscordServer, adapter: DiscordAdapter
) -> None:
    with pytest.raises(ReplyRefused):
        await adapter.post(part_for(server, "x" * 2001))
    with pytest.raises(ReplyRefused):
        await adapter.post(part_for(server, " "))
    await adapter.post(part_for(server))


async def test_a_firewalls_page_says_nothing_about_the_channel(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.script("create_message", Fault(status=403, body="<html><body>Sorry, you have been blocked</body></html>"))
    with pytest.raises(TryLater):
        await adapter.post(part_for(server))


async def test_an_earlier_attempt_is_found_by_text_and_target(server: DiscordServer, adapter: DiscordAdapter) -> None:
    question = server.say(server.general, "hello bot")
    began = datetime.now(UTC)
    receipt = await adapter.post(part_for(server, "the answer", reply_to=question["id"]))
    again = {"attempt": 2, "first_tried_at": began}
    assert await adapter.find_posted(part_for(server, "the answer", reply_to=question["id"], **again)) == receipt
    assert await adapter.find_posted(part_for(server, "another answer", reply_to=question["id"], **again)) is None
    assert await adapter.find_posted(part_for(server, "the answer", **again)) is None
    later = began + timedelta(minutes=1)
    assert (
        await adapter.find_posted(part_for(server, "the answer", reply_to=question["id"], first_tried_at=later)) is None
    )


async def test_an_unreadable_history_means_later(server: DiscordServer, adapter: DiscordAdapter) -> None:
    server.general.unreadable = True
    with pytest.raises(TryLater):
        await adapter.find_posted(part_for(server, first_tried_at=datetime.now(UTC)))


async def test_a_token_that_was_reset_shows_in_the_status(server: DiscordServer, adapter: DiscordAdapter) -> None:
    await adapter.identify()
    server.token = "reset"
    with pytest.raises(TryLater, match="401"):
        await adapter.post(part_for(server))
    assert "token" in adapter.status.detail
    assert not adapter.status.ready


async def test_typing_is_shown_and_its_failure_swallowed(server: DiscordServer, adapter: DiscordAdapter) -> None:
    await adapter.show_typing(part_for(server).channel)
    assert server.typing == [server.general.id]
    server.script("trigger_typing_indicator", failing(503), Fault(cut="before"))
    await adapter.show_typing(part_for(server).channel)
    await adapter.show_typing(part_for(server).channel)


async def test_posting_works_while_the_gateway_is_down(server: DiscordServer) -> None:
    server.accepting_gateway = False
    async with listening(server, RecordingSink(), sessions=0) as adapter:
        await server.wait_until(lambda: server.refused_dials > 0)
        await adapter.post(part_for(server))
    assert len(server.posted) == 1


async def test_a_channel_that_refused_is_back_when_somebody_writes_there(server: DiscordServer) -> None:
    sink = RecordingSink()
    private = Channel(platform="discord", address=server.dm.id, kind=ChannelKind.PRIVATE)
    async with listening(server, sink) as adapter:
        server.say(server.dm, "hello")
        await sink.wait_for_texts("hello")
        server.dm.refusal = (403, 50007, "Cannot send messages to this user")
        with pytest.raises(ChannelRefused):
            await adapter.post(OutgoingPart(channel=private, text="hi", nonce="1"))
        server.say(server.dm, "unblocked you")
        await sink.wait_for_texts("unblocked you")
    assert sink.back == [private]


@pytest.mark.parametrize(("wait", "returns"), [(0.0, 1), (3600.0, 0)])
async def test_a_servers_channel_that_refused_is_tried_again_after_a_while(
    server: DiscordServer, wait: float, returns: int
) -> None:
    sink = RecordingSink()
    async with listening(server, sink, timing=replace(QUICK, refused=wait)) as adapter:
        server.general.refusal = (403, 50013, "Missing Permissions")
        with pytest.raises(ChannelRefused):
            await adapter.post(part_for(server))
        server.say(server.general, "try now")
        server.say(server.general, "and once more")
        await sink.wait_for_texts("try now", "and once more")
    assert len(sink.back) == returns


async def test_identify_names_the_bot_and_invites_it(server: DiscordServer, adapter: DiscordAdapter) -> None:
    identity = await adapter.identify()
    assert (identity.id, identity.name, identity.limitations) == (server.bot.id, "banter", ())
    assert identity.invite_url is not None
    assert f"client_id={server.bot.id}&scope=bot+applications.commands&permissions=" in identity.invite_url


async def test_identify_tells_what_the_missing_intent_makes_impossible(
    server: DiscordServer, adapter: DiscordAdapter
) -> None:
    server.privileged_intents = 0
    (limitation,) = (await adapter.identify()).limitations
    assert "Message Content Intent" in limitation
    assert "mention" in limitation
    demanding = DiscordAdapter(token=TOKEN, api_url=server.api_url, message_content="on")
    with pytest.raises(MissingPermission, match="developer portal"):
        await demanding.identify()
    await demanding.close()


async def test_identify_refuses_a_wrong_token(server: DiscordServer) -> None:
    adapter = DiscordAdapter(token="wrong", api_url=server.api_url)
    with pytest.raises(TokenRefused):
        await adapter.identify()
    await adapter.close()


@pytest.fixture
async def commanded(server: DiscordServer) -> AsyncIterator[RecordingSink]:
    """A listening adapter with commands, after it has registered them."""
    sink = RecordingSink()
    async with listening(server, sink, commands=COMMANDS):
        await server.wait_until(lambda: len(server.commands) == len(COMMANDS))
        yield sink


async def test_commands_are_registered_only_when_they_changed(server: DiscordServer, commanded: RecordingSink) -> None:
    assert [command["name"] for command in server.commands] == ["help", "persona"]
    assert [command["default_member_permissions"] for command in server.commands] == [None, str(MANAGE_GUILD)]
    async with listening(server, RecordingSink(), sessions=2, commands=COMMANDS):
        await server.wait_until(lambda: server.count_requests("list_application_commands") == 2)
        interaction = server.interact("help")  # two more requests: the registration's would have come before
        await asyncio.wait_for(interaction.answered.wait(), 5)
    assert server.count_requests("bulk_set_application_commands") == 1


async def test_a_command_is_acknowledged_at_once_though_the_store_is_slow(
    server: DiscordServer, commanded: RecordingSink
) -> None:
    commanded.may_pass.clear()
    commanded.answer = "All of it @everyone"
    commanded.failures = 1  # even a message that must be repeated stays in front
    message = server.say(server.general, "a message in front")
    interaction = server.interact("persona", "pirate", permissions=MANAGE_GUILD)
    await server.wait_until(lambda: interaction.acknowledged_after is not None)
    assert interaction.acknowledged_after is not None
    assert interaction.acknowledged_after < 3.0
    assert not interaction.answers
    commanded.may_pass.set()
    await asyncio.wait_for(interaction.answered.wait(), 5)
    (answer,) = interaction.answers
    assert answer["content"] == "All of it @everyone"
    assert answer["flags"] & 1 << 6
    (command,) = commanded.commands
    assert (command.name, command.arguments, command.author.is_admin) == ("persona", "pirate", True)
    assert commanded.order == [message["id"], "persona"]


async def test_a_command_may_name_its_channel_by_the_channel_alone(
    server: DiscordServer, commanded: RecordingSink
) -> None:
    """`channel_id` is optional in the specification."""
    interaction = Interaction(new_id(), "t" * 40, time.monotonic())
    server.interactions[interaction.token] = interaction
    sparse = {"id": interaction.id, "token": interaction.token, "type": 2, "data": {"name": "help"}}
    server.emit("INTERACTION_CREATE", {**sparse, "channel": server.dm.to_json(), "user": server.bob.to_json()})
    await asyncio.wait_for(interaction.answered.wait(), 5)
    assert commanded.commands[0].channel.address == server.dm.id


async def test_a_command_in_private_names_its_user(server: DiscordServer, commanded: RecordingSink) -> None:
    interaction = server.interact("persona", "pirate", channel=server.dm, user=server.bob)
    await asyncio.wait_for(interaction.answered.wait(), 5)
    (command,) = commanded.commands
    assert (command.channel.kind, command.author.id) == (ChannelKind.PRIVATE, server.bob.id)


async def test_a_command_for_admins_is_refused_to_others(server: DiscordServer, commanded: RecordingSink) -> None:
    interaction = server.interact("persona", "pirate", user=server.bob)
    await asyncio.wait_for(interaction.answered.wait(), 5)
    assert interaction.answers[0]["content"] == ADMINS_ONLY
    assert commanded.commands == []


async def test_a_command_where_the_bot_is_not_is_answered(server: DiscordServer, commanded: RecordingSink) -> None:
    elsewhere = server.add_channel(server.guild, "unseen")
    del server.channels[elsewhere.id]
    interaction = server.interact("help", channel=elsewhere)
    await asyncio.wait_for(interaction.answered.wait(), 5)
    (command,) = commanded.commands
    assert (command.channel.kind, command.channel.server) == (ChannelKind.GROUP, server.guild.id)
    assert server.count_requests("get_channel") == 0


async def test_a_failed_command_apologises_without_internals(server: DiscordServer, commanded: RecordingSink) -> None:
    commanded.answer = RuntimeError("SELECT * FROM secrets")
    interaction = server.interact("help")
    await asyncio.wait_for(interaction.answered.wait(), 5)
    assert [answer["content"] for answer in interaction.answers] == [APOLOGY]


async def test_a_long_answer_to_a_command_comes_in_parts(server: DiscordServer, commanded: RecordingSink) -> None:
    commanded.answer = "One more line of help. " * 150
    interaction = server.interact("help")
    await asyncio.wait_for(interaction.answered.wait(), 5)
    server.say(server.general, "behind the command")
    await commanded.wait_for_texts("behind the command")
    assert len(interaction.answers) == 2
    assert all(len(answer["content"]) <= 2000 for answer in interaction.answers)
