"""Discord's JSON read into the port's words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Channel, ChannelKind, CommandSpec
from adapters.discord.events import (
    first_snowflake,
    is_for_people,
    read_command,
    read_message,
    read_text,
    reply_target,
    snowflake_time,
    write_command,
)
from adapters.discord.places import Places

US, ALICE, BOB = "100", "200", "300"
SERVER = Channel(platform="discord", address="5", kind=ChannelKind.GROUP, server="9")
PRIVATE = Channel(platform="discord", address="6", kind=ChannelKind.PRIVATE)


def places() -> Places:
    places = Places(US)
    places.apply(
        "GUILD_CREATE",
        {
            "id": "9",
            "owner_id": ALICE,
            "roles": [
                {"id": "9", "name": "@everyone", "permissions": "0"},
                {"id": "71", "name": "Banter", "permissions": "0", "tags": {"bot_id": US}},
                {"id": "72", "name": "Crew", "permissions": "32"},
            ],
            "channels": [{"id": "5", "type": 0, "name": "general"}],
        },
    )
    return places


def message(content: str = "hello", **fields: Any) -> dict[str, Any]:
    return {
        "id": "175928847299117063",
        "channel_id": "5",
        "author": {"id": BOB},
        "content": content,
        "type": 0,
        **fields,
    }


@pytest.mark.parametrize(
    ("content", "text", "mentioned"),
    [
        ("hello", "hello", False),
        (f"<@{US}> hello", "hello", True),
        (f"<@!{US}>, hello", "hello", True),
        (f"hello <@{US}>!", "hello !", True),
        (f"<@{US}> :)", ":)", True),
        (f"hey <@{US}> you", "hey you", True),
        ("<@&71> hello", "hello", True),
        ("<@&72> hello", "@Crew hello", False),
        ("<@&99> hello", "@role hello", False),
        (f"ask <@{BOB}> or <@404>", "ask @Bobby or @someone", False),
        ("see <#5> or <#404>", "see #general or #channel", False),
        ("nice <:catjam:123456789012345678> <a:wave:1>", "nice :catjam: :wave:", False),
        ("try </persona:123>", "try /persona", False),
        ("**bold** and ~~gone~~ and ||secret|| and *waves*", "bold and gone and secret and *waves*", False),
        ("@everyone look", "@everyone look", False),
        ("2 < 3 and 4 > 3 <3", "2 < 3 and 4 > 3 <3", False),
        (f"<@{US}>", "", True),
        ("line one\n<@100>\nline two", "line one\n\nline two", True),
    ],
)
def test_text_is_what_a_reader_sees(content: str, text: str, mentioned: bool) -> None:
    mentions = [{"id": BOB, "username": "bob", "global_name": "Bobby"}]
    assert read_text(message(content, mentions=mentions), SERVER, places(), US) == (text, mentioned)


@given(st.text())
def test_any_text_can_be_read_and_holds_no_mention_of_an_id(content: str) -> None:
    text, _ = read_text(message(f"<@{ALICE}> {content} <@&72>"), SERVER, places(), US)
    assert f"<@{ALICE}>" not in text
    assert "\0" not in text


def test_a_pinging_reply_is_a_reply_and_no_mention() -> None:
    data = message(mentions=[{"id": US, "username": "banter"}], type=19, message_reference={"message_id": "7"})
    reply = read_message(data, SERVER, places(), US, replies_to_bot=True)
    assert (reply.mentions_bot, reply.replies_to_bot, reply.reply_to) == (False, True, "7")


def test_a_forwarded_message_answers_nobody() -> None:
    assert reply_target(message(message_reference={"type": 1, "message_id": "7"})) is None


@pytest.mark.parametrize(
    ("fields", "heard"),
    [
        ({}, True),
        ({"type": 19}, True),
        ({"author": {"id": BOB, "bot": True}}, True),
        ({"author": {"id": US}}, False),
        ({"author": {"id": BOB, "system": True}}, False),
        ({"webhook_id": "1"}, False),
        ({"type": 7}, False),
    ],
)
def test_who_is_heard(fields: dict[str, Any], heard: bool) -> None:
    assert is_for_people(message(**fields), US) is heard


def test_admins_are_known_by_ownership_and_roles() -> None:
    def is_admin(author: str, roles: list[str], channel: Channel = SERVER) -> bool:
        data = message(author={"id": author}, member={"roles": roles})
        return read_message(data, channel, places(), US, replies_to_bot=False).author.is_admin

    assert is_admin(ALICE, [])
    assert is_admin(BOB, ["71", "72"])
    assert not is_admin(BOB, ["71"])
    assert not is_admin(ALICE, [], PRIVATE)


def test_a_message_without_a_timestamp_has_that_of_its_id() -> None:
    read = read_message(message(), PRIVATE, places(), US, replies_to_bot=False)
    assert read.sent_at == datetime(2016, 4, 30, 11, 18, 25, 796000, UTC)  # Discord's own example of an id


@given(st.datetimes(datetime(2016, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC)))
def test_ids_and_times_agree_to_the_millisecond(moment: datetime) -> None:
    found = snowflake_time(str(first_snowflake(moment)))
    assert timedelta(0) <= moment - found < timedelta(milliseconds=2)


def test_a_command_brings_its_argument_and_rights() -> None:
    data = {
        "id": "175928847299117063",
        "data": {"name": "persona", "options": [{"name": "name", "value": "pirate"}]},
        "member": {"user": {"id": BOB}, "permissions": "32"},
    }
    command = read_command(data, SERVER)
    assert (command.name, command.arguments, command.author.is_admin) == ("persona", "pirate", True)
    private = read_command({**data, "member": None, "user": {"id": BOB}, "data": {"name": "help"}}, PRIVATE)
    assert (private.name, private.arguments, private.author.is_admin) == ("help", "", False)


def test_a_command_is_registered_with_its_argument_and_rights() -> None:
    written = write_command(
        CommandSpec(name="persona", description="Change it", argument="name", admin_only_in_groups=True)
    )
    assert written["default_member_permissions"] == 1 << 5
    assert [(option["name"], option["required"]) for option in written["options"]] == [("name", False)]


def test_a_message_of_a_small_server_is_read_without_type_time_and_objects() -> None:
    data = {"id": 7, "channel_id": 5, "author": {"id": 300}, "content": "well", "type": None, "mentions": [int(US)]}
    assert is_for_people(data, US)
    found = read_message(data, SERVER, places(), US, replies_to_bot=False)
    assert (found.message_id, found.author.id, found.text, found.mentions_bot) == ("7", BOB, "well", True)
    assert datetime.now(UTC) - found.sent_at < timedelta(minutes=1)
