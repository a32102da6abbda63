"""The Discord adapter's parts without a network: lanes, backfill's choice, looking up posts, back-off."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Channel, ChannelKind, CommandSpec, OutgoingPart
from adapters.discord.backfill import choose_channels
from adapters.discord.commands import _fingerprint
from adapters.discord.events import first_snowflake, write_command
from adapters.discord.gateway import Timing, backoff
from adapters.discord.lanes import Lanes
from adapters.discord.places import Places
from adapters.discord.posts import pick_posted

US = "100"
EVERYBODY = {"id": "9", "name": "@everyone", "permissions": str(1 << 10 | 1 << 16)}


async def test_a_lane_keeps_its_order_and_repeats_what_fails() -> None:
    lanes, done, failures = Lanes(), list[int](), [2]

    async def job(number: int) -> None:
        if number == 1 and failures[0]:
            failures[0] -= 1
            raise RuntimeError
        done.append(number)

    finished = asyncio.Event()
    for number in range(4):
        await lanes.put("a", partial(job, number))

    async def finish() -> None:
        finished.set()

    await lanes.put("a", finish)
    await asyncio.wait_for(finished.wait(), 5)
    assert done == [0, 1, 2, 3]
    await lanes.close()


async def test_a_full_lane_waits_and_loses_nothing() -> None:
    lanes, done, gate = Lanes(length=2), list[int](), asyncio.Event()

    async def job(number: int) -> None:
        await gate.wait()
        done.append(number)

    puts = [asyncio.create_task(lanes.put("a", partial(job, number))) for number in range(10)]
    other = asyncio.Event()

    async def set_other() -> None:
        other.set()

    await lanes.put("b", set_other)
    await asyncio.wait_for(other.wait(), 5)  # another lane is free
    assert not all(put.done() for put in puts)
    gate.set()
    await asyncio.gather(*puts)
    finished = asyncio.Event()

    async def finish() -> None:
        finished.set()

    await lanes.put("a", finish)
    await asyncio.wait_for(finished.wait(), 5)
    assert done == list(range(10))
    await lanes.close()


@given(st.integers(0, 1000))
def test_backoff_stays_within_its_bounds(failures: int) -> None:
    timing = Timing(first_backoff=1.0, longest_backoff=60.0)
    assert 0 <= backoff(failures, timing, identified=True) <= 60.0
    assert 0 <= backoff(failures, timing, identified=False) <= timing.longest_redial
    assert (backoff(failures, timing, identified=False) == 0) == (failures == 0)


def server_with(*channels: dict[str, Any], our_roles: list[str] | None = None) -> Places:
    places = Places(US)
    places.apply(
        "GUILD_CREATE",
        {
            "id": "9",
            "roles": [EVERYBODY],
            "channels": list(channels),
            "members": [{"user": {"id": US}, "roles": our_roles or []}],
        },
    )
    return places


def test_backfill_reads_known_channels_and_those_with_news() -> None:
    places = server_with(
        {"id": "1", "type": 0, "last_message_id": "500"},  # known, with news
        {"id": "2", "type": 0, "last_message_id": "400"},  # known, without
        {"id": "3", "type": 0, "last_message_id": "600"},  # unknown, with news
        {"id": "4", "type": 0, "last_message_id": "300"},  # unknown, older than anything known
        {"id": "5", "type": 4, "last_message_id": "700"},  # a category
        {"id": "6", "type": 0},  # unknown and empty
    )
    known = {"1": 450, "2": 400, "77": 10}  # the last is a direct message: nothing tells of its news
    assert choose_channels(known, places, lambda server: True, oldest=0) == {"1": 450, "77": 10, "3": 450}


def test_a_new_session_makes_the_old_ones_newest_ids_unknown() -> None:
    places = server_with({"id": "1", "type": 0, "last_message_id": "400"})
    assert choose_channels({"1": 450}, places, lambda server: True, oldest=0) == {}
    places.apply("READY", {"guilds": [{"id": "9", "unavailable": True}]})
    assert choose_channels({"1": 450}, places, lambda server: True, oldest=0) == {"1": 450}


def test_backfill_reads_nothing_that_is_too_old() -> None:
    then = first_snowflake(datetime(2026, 1, 1, tzinfo=UTC))
    places = server_with(
        {"id": "1", "type": 0, "last_message_id": str(then + 500)},
        {"id": "2", "type": 0, "last_message_id": str(then + 900)},
    )
    known = {"1": then + 450, "2": then + 450}
    assert choose_channels(known, places, lambda server: True, oldest=then + 800) == {"2": then + 800}


def test_ids_of_a_server_that_counts_from_one_tell_no_age() -> None:
    places = server_with({"id": "1", "type": 0, "last_message_id": "500"})
    now = first_snowflake(datetime.now(UTC))
    assert choose_channels({"1": 450}, places, lambda server: True, oldest=now) == {"1": 450}


def test_backfill_leaves_the_channels_of_other_shards() -> None:
    places = server_with({"id": "1", "type": 0, "last_message_id": "500"})
    assert choose_channels({"1": 1, "77": 1}, places, lambda server: server is None, oldest=0) == {"77": 1}


def test_channels_that_may_not_be_read_are_left_out() -> None:
    hidden = [{"id": "9", "type": 0, "allow": "0", "deny": str(1 << 10)}]
    opened = [*hidden, {"id": "71", "type": 0, "allow": str(1 << 10), "deny": "0"}]
    places = server_with(
        {"id": "1", "type": 0, "permission_overwrites": hidden},
        {"id": "2", "type": 0, "permission_overwrites": opened},
        {"id": "3", "type": 0},
        {"id": "4", "type": 11, "parent_id": "1"},
        our_roles=["71"],
    )
    assert [place.id for place in places.readable()] == ["2", "3"]


def test_a_server_that_was_left_is_forgotten_and_an_outage_is_not() -> None:
    places = server_with({"id": "1", "type": 0})
    places.apply("GUILD_DELETE", {"id": "9", "unavailable": True})
    assert places.get("1") is not None
    places.apply("GUILD_DELETE", {"id": "9"})
    assert places.get("1") is None


NOW = datetime(2026, 5, 1, tzinfo=UTC)
PART = OutgoingPart(
    channel=Channel(platform="discord", address="5", kind=ChannelKind.GROUP, server="9"),
    text="the answer ",
    nonce="n-1",
    reply_to="7",
    attempt=2,
    first_tried_at=NOW,
)


def posted(**fields: Any) -> dict[str, Any]:
    return {
        "id": str(first_snowflake(NOW + timedelta(seconds=1))),
        "author": {"id": US},
        "content": "the answer",
        "message_reference": {"message_id": "7"},
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, True),
        ({"nonce": "n-1", "content": "changed", "message_reference": None}, True),
        ({"nonce": "n-2"}, False),
        ({"author": {"id": "200"}}, False),
        ({"content": "another answer"}, False),
        ({"message_reference": {"message_id": "8"}}, False),
        ({"message_reference": None}, False),
        ({"id": str(first_snowflake(NOW - timedelta(seconds=4)))}, True),  # our clocks may differ
        ({"id": str(first_snowflake(NOW - timedelta(seconds=6)))}, False),
    ],
)
def test_an_earlier_attempt_is_recognised(fields: dict[str, Any], found: bool) -> None:
    receipt = pick_posted([posted(id="1", content="noise"), posted(**fields)], PART, US)
    assert (receipt is not None) is found


def test_a_registered_command_is_recognised_in_the_apis_words() -> None:
    """The API gives numbers back as strings, leaves empty options out and adds fields of its own."""
    spec = CommandSpec(name="help", description="Help", admin_only_in_groups=True)
    wanted = write_command(spec)
    present = {**wanted, "id": "1", "version": "2", "nsfw": False, "default_member_permissions": "32"}
    del present["options"]
    assert _fingerprint(present) == _fingerprint(wanted)
    assert _fingerprint({**present, "description": "Other"}) != _fingerprint(wanted)
