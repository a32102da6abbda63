"""Which messages ask for an answer."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.base import Author, Channel, ChannelKind, IncomingMessage
from bot.config import Triggers, Unsolicited
from bot.triggers import Trigger, addressed, chance_now, drawn

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def message(text: str = "hello", kind: ChannelKind = ChannelKind.GROUP, **fields: object) -> IncomingMessage:
    place = {name: fields.pop(name) for name in ("address", "parent", "owned") if name in fields}
    channel = Channel(platform="discord", kind=kind, server="1", **{"address": "7", **place})  # type: ignore[arg-type]
    return IncomingMessage(
        channel=channel,
        message_id="1",
        author=Author(id="5"),
        text=text,
        sent_at=NOON,
        **fields,  # type: ignore[arg-type]
    )


def rule(one: IncomingMessage, **group: object) -> Trigger | None:
    return addressed(one, one.text, Triggers.model_validate({"group": {"names": ["banter"], **group}}))


def test_a_private_message_is_always_answered() -> None:
    assert rule(message(kind=ChannelKind.PRIVATE)) is Trigger.PRIVATE


def test_private_chats_can_be_switched_off() -> None:
    one = message(kind=ChannelKind.PRIVATE)
    assert addressed(one, one.text, Triggers.model_validate({"private": "off"})) is None


def test_a_group_line_to_nobody_is_not_answered() -> None:
    assert rule(message()) is None


def test_mention_and_reply_call_the_bot() -> None:
    assert rule(message(mentions_bot=True)) is Trigger.MENTION
    assert rule(message(replies_to_bot=True)) is Trigger.REPLY


def test_mention_and_reply_can_be_switched_off() -> None:
    assert rule(message(mentions_bot=True), mention=False) is None
    assert rule(message(replies_to_bot=True), reply=False) is None


@pytest.mark.parametrize("text", ["Banter, are you there?", "hey BANTER", "banter!", "so (banter) says"])
def test_the_name_as_a_word_calls_the_bot(text: str) -> None:
    assert rule(message(text)) is Trigger.NAME


@pytest.mark.parametrize("text", ["we are bantering", "banters", "unbanter", "banter_bot"])
def test_the_name_inside_a_word_does_not(text: str) -> None:
    assert rule(message(text)) is None


def test_a_star_in_a_name_stands_for_letters_and_nothing_else_is_special() -> None:
    assert rule(message("hey banterino"), names=["bant*"]) is Trigger.NAME
    assert rule(message("a.b"), names=["a.b"]) is Trigger.NAME
    assert rule(message("axb"), names=["a.b"]) is None


def test_its_own_thread_goes_on_without_a_mention() -> None:
    assert rule(message(kind=ChannelKind.THREAD, owned=True)) is Trigger.THREAD
    assert rule(message(kind=ChannelKind.THREAD, owned=True), continue_threads=False) is None


def test_listed_channels_and_their_threads_are_answered() -> None:
    assert rule(message(), always_in=["7"]) is Trigger.CHANNEL
    assert rule(message(kind=ChannelKind.THREAD, address="9", parent="7"), always_in=["7"]) is Trigger.CHANNEL
    assert rule(message(address="8"), always_in=["7"]) is None


def test_the_chance_halves_with_every_decay() -> None:
    settings = Unsolicited(chance=0.4, decay=timedelta(minutes=10))
    assert chance_now(settings, None) == pytest.approx(0.4)
    assert chance_now(settings, timedelta()) == pytest.approx(0.4)
    assert chance_now(settings, timedelta(minutes=20)) == pytest.approx(0.1)


def test_a_message_delivered_twice_draws_the_same_lot() -> None:
    assert drawn(message()) == drawn(message("edited since"))
    lots = {drawn(message(address=str(number))) for number in range(200)}
    assert len(lots) == 200
    assert 0.4 < sum(lots) / 200 < 0.6
