"""From an incoming message to rows: what becomes a turn, what is refused with how many words, what leaves no trace."""

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.base import Author, Channel, ChannelKind, IncomingCommand
from bot import texts
from bot.intake import Intake, readable
from storage.store import Store
from tests.unit.bot.conftest import Clock, People

MakeIntake = Callable[..., Intake]
OPEN = {"limits": {"user": "1000/min", "channel": "1000/min", "queue_per_channel": 100}}


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    assert store.sqlite_file is not None
    with sqlite3.connect(store.sqlite_file) as connection:
        return connection.execute(query).fetchall()


def notices(store: Store) -> list[str]:
    return [text for (text,) in rows(store, "select text from replies where kind = 'notice' order by id")]


def turns(store: Store) -> list[tuple[Any, ...]]:
    return rows(store, "select state, trigger, reason from turns order by id")


async def test_a_private_message_becomes_a_pending_turn(make_intake: MakeIntake, store: Store, people: People) -> None:
    await make_intake().message(people.message("hi there"))
    assert turns(store) == [("pending", "private", None)]
    assert rows(store, "select text, author_id from messages") == [("hi there", "ann")]


async def test_a_message_delivered_three_times_is_one_row_and_costs_one_token(
    make_intake: MakeIntake, store: Store, people: People
) -> None:
    intake = make_intake(limits={"user": "2/min"}, triggers={"quiet_time": "0s"})
    once, twice = people.message("hi"), people.message("and again")
    for message in (once, once, once, twice):
        await intake.message(message)
    assert [state for state, _, _ in turns(store)] == ["pending", "pending"]


async def test_a_group_line_to_nobody_leaves_no_trace(make_intake: MakeIntake, store: Store, people: People) -> None:
    await make_intake().message(people.message("lunch?", chat="-5"))
    assert rows(store, "select count(*) from messages") == [(0,)]


async def test_how_far_a_channel_was_read_is_remembered_though_its_lines_are_not(
    make_intake: MakeIntake, store: Store, people: People
) -> None:
    intake = make_intake()
    message = people.message("lunch?", chat="-5")
    await intake.message(message)
    assert await intake.last_seen("telegram") == {"-5": message.message_id}


async def test_group_lines_can_be_kept_as_context(make_intake: MakeIntake, store: Store, people: People) -> None:
    await make_intake(history={"group_lines": "all"}).message(people.message("lunch?", chat="-5"))
    assert rows(store, "select text, turn_id from messages") == [("lunch?", None)]


async def test_what_follows_a_mention_at_once_belongs_to_the_same_turn(
    make_intake: MakeIntake, store: Store, people: People, clock: Clock
) -> None:
    intake = make_intake(triggers={"quiet_time": "2s"})
    await intake.message(people.message("hey", chat="-5", mentions_bot=True))
    clock.advance(seconds=1)
    await intake.message(people.message("what's new?", chat="-5"))
    await intake.message(people.message("unrelated", chat="-5", user="bob"))
    assert turns(store) == [("pending", "mention", None)]
    assert rows(store, "select text from messages order by id") == [("hey",), ("what's new?",)]


async def test_each_user_limit_notice_is_shown_once_a_window(
    make_intake: MakeIntake, store: Store, people: People, clock: Clock
) -> None:
    intake = make_intake(limits={"user": "2/min", "queue_per_channel": 100}, triggers={"quiet_time": "0s"})
    for _ in range(6):
        clock.advance(seconds=1)
        await intake.message(people.message("hello"))
    assert [state for state, _, _ in turns(store)] == ["pending"] * 2 + ["refused"] * 4
    assert notices(store) == [texts.USER_LIMIT]


async def test_a_full_channel_queue_refuses_politely_and_other_channels_go_on(
    make_intake: MakeIntake, store: Store, people: People, clock: Clock
) -> None:
    intake = make_intake(limits={**OPEN["limits"], "queue_per_channel": 2}, triggers={"quiet_time": "0s"})
    for _ in range(5):
        clock.advance(seconds=1)
        await intake.message(people.message("hello"))
    await intake.message(people.message("hello", user="bob"))
    assert [reason for _, _, reason in turns(store)] == [None, None, *["queue_channel"] * 3, None]
    assert notices(store) == [texts.BUSY]


async def test_what_piled_up_during_an_outage_is_not_refused_for_piling_up(
    make_intake: MakeIntake, store: Store, people: People, clock: Clock
) -> None:
    intake = make_intake(limits={"queue_per_channel": 2}, triggers={"quiet_time": "1s"})
    for minutes in range(60, 0, -10):
        await intake.message(people.message("hello?", sent_at=clock() - timedelta(minutes=minutes)))
    assert [state for state, _, _ in turns(store)] == ["pending"] * 6


async def test_backfilled_messages_beyond_the_age_are_marked_missed_and_not_answered(
    make_intake: MakeIntake, store: Store, people: People, clock: Clock
) -> None:
    intake = make_intake(intake={"backfill": {"age": "15m"}})
    await intake.message(people.message("old", sent_at=clock() - timedelta(minutes=16), backfilled=True))
    await intake.message(people.message("new", user="bob", sent_at=clock() - timedelta(minutes=14), backfilled=True))
    assert turns(store) == [("refused", "private", "missed"), ("pending", "private", None)]
    assert notices(store) == []


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u200d\ufeff", "\u2800\u3164"])
async def test_a_message_without_visible_words_gets_one_notice(
    make_intake: MakeIntake, store: Store, people: People, text: str
) -> None:
    intake = make_intake(triggers={"quiet_time": "0s"})
    await intake.message(people.message(text))
    await intake.message(people.message(text))
    assert notices(store) == [texts.NO_WORDS]


async def test_an_emoji_is_a_message(make_intake: MakeIntake, store: Store, people: People) -> None:
    await make_intake().message(people.message("\N{THUMBS UP SIGN}"))
    assert turns(store) == [("pending", "private", None)]


async def test_a_huge_message_is_shortened_answered_and_said_so(
    make_intake: MakeIntake, store: Store, people: People
) -> None:
    await make_intake().message(people.message("word " * 250_000))
    assert turns(store) == [("pending", "private", None)]
    assert rows(store, "select max(length(text)) <= 4096 from messages") == [(1,)]
    assert notices(store) == [texts.SHORTENED]


async def test_other_bots_are_ignored_unless_listed(make_intake: MakeIntake, store: Store, people: People) -> None:
    await make_intake().message(people.message("hello", user="robot", is_bot=True))
    assert rows(store, "select count(*) from messages") == [(0,)]


async def test_a_listed_bot_is_answered_within_its_budget_and_never_told_off(
    make_intake: MakeIntake, store: Store, people: People, clock: Clock
) -> None:
    bots = {"allow": ["telegram:robot"], "max_turns": 2, "window": "1m"}
    intake = make_intake(**OPEN, triggers={"quiet_time": "0s", "bots": bots})
    for _ in range(4):
        clock.advance(seconds=1)
        await intake.message(people.message("hello", user="robot", is_bot=True))
    assert [reason for _, _, reason in turns(store)] == [None, None, "bot_limit", "bot_limit"]
    assert notices(store) == []


async def test_an_unasked_reply_happens_at_most_so_often_an_hour(
    make_intake: MakeIntake, store: Store, people: People, clock: Clock
) -> None:
    rule = {"chance": 1.0, "max_per_hour": 2, "decay": "10h"}
    intake = make_intake(**OPEN, triggers={"quiet_time": "0s", "unsolicited": rule})
    for _ in range(40):
        clock.advance(seconds=30)
        await intake.message(people.message("chatter", chat="-5"))
    assert [trigger for _, trigger, _ in turns(store)] == ["unsolicited"] * 2


async def test_a_cry_for_help_is_answered_with_the_crisis_message_and_no_model(
    make_intake: MakeIntake, store: Store, people: People
) -> None:
    await make_intake(moderation={"crisis_message": "Please call somebody you trust."}).message(
        people.message("im suicidal")
    )
    assert [state for state, _, _ in turns(store)] == ["replied"]
    assert rows(store, "select text from replies") == [("Please call somebody you trust.",)]


async def test_secrets_and_personal_data_are_not_stored(make_intake: MakeIntake, store: Store, people: People) -> None:
    token = "4213424221:AAtkwtDDb_xHKas1VOqg6YYZYn9ZhyiA4uo"
    await make_intake().message(people.message(f"my token is {token} and mail ann@example.org"))
    ((stored,),) = rows(store, "select text from messages")
    assert token not in stored
    assert "ann@example.org" not in stored


async def test_nul_and_lone_surrogates_are_stored_safely(make_intake: MakeIntake, store: Store, people: People) -> None:
    await make_intake().message(people.message("a\x00b\ud800c"))
    assert rows(store, "select text from messages") == [("ab?c",)]


async def test_an_edit_before_the_answer_changes_what_is_answered(
    make_intake: MakeIntake, store: Store, people: People
) -> None:
    intake = make_intake()
    message = people.message("I like tae")
    await intake.message(message)
    await intake.edited(message.channel, message.message_id, "I like tea")
    assert rows(store, "select text, edited_at is not null from messages") == [("I like tea", 1)]


async def test_deleting_the_only_message_of_a_turn_ends_it(
    make_intake: MakeIntake, store: Store, people: People
) -> None:
    intake = make_intake()
    message = people.message("oops")
    await intake.message(message)
    await intake.deleted(message.channel, [message.message_id])
    assert turns(store) == [("refused", "private", "deleted")]
    assert rows(store, "select text from messages") == [("",)]


def command(name: str, arguments: str = "", *, message_id: str | None = "900", **author: Any) -> IncomingCommand:
    from tests.unit.bot.conftest import NOON

    kind = author.pop("kind", ChannelKind.PRIVATE)
    return IncomingCommand(
        channel=Channel(platform="telegram", address="ann", kind=kind),
        author=Author(id="ann", **author),
        name=name,
        arguments=arguments,
        sent_at=NOON,
        message_id=message_id,
    )


async def test_a_command_is_carried_out_once_however_often_it_is_delivered(
    make_intake: MakeIntake, store: Store
) -> None:
    intake = make_intake()
    for _ in range(3):
        assert await intake.command(command("help")) is None
    assert rows(store, "select kind, count(*) from replies") == [("command", 1)]


async def test_a_native_command_is_answered_directly(make_intake: MakeIntake, store: Store) -> None:
    answer = await make_intake().command(command("help", message_id=None))
    assert answer is not None
    assert "/forget" in answer
    assert rows(store, "select count(*) from replies") == [(0,)]


async def test_reset_starts_a_new_conversation_and_drops_what_was_owed(
    make_intake: MakeIntake, store: Store, people: People
) -> None:
    intake = make_intake()
    await intake.message(people.message("hello"))
    await intake.command(command("reset", message_id=None))
    await intake.message(people.message("hello again"))
    assert turns(store) == [("refused", "private", "reset"), ("pending", "private", None)]
    assert rows(store, "select count(distinct conversation_id) from turns") == [(2,)]


async def test_persona_lists_chooses_and_refuses_unknown_names(make_intake: MakeIntake, store: Store) -> None:
    personas = {"default": {}, "pirate": {"greeting": "Ahoy!"}}
    intake = make_intake(personas=personas)
    listed = await intake.command(command("persona", message_id=None))
    assert listed is not None
    assert "pirate" in listed
    assert await intake.command(command("persona", "pirate", message_id=None)) == "Ahoy!"
    assert rows(store, "select persona from channels") == [("pirate",)]
    unknown = await intake.command(command("persona", "ninja", message_id=None))
    assert unknown is not None
    assert "no persona of that name" in unknown
    assert rows(store, "select persona from channels") == [("pirate",)]


async def test_only_admins_change_the_persona_of_a_group(make_intake: MakeIntake, store: Store) -> None:
    intake = make_intake(personas={"default": {}, "pirate": {"greeting": "Ahoy!"}}, bot={"operators": ["telegram:op"]})
    asked = command("persona", "pirate", message_id=None, kind=ChannelKind.GROUP)
    assert await intake.command(asked) == texts.ADMINS_ONLY
    admin = command("persona", "pirate", message_id=None, kind=ChannelKind.GROUP, is_admin=True)
    assert await intake.command(admin) == "Ahoy!"


async def test_forget_erases_a_persons_words_down_to_the_bytes(
    make_intake: MakeIntake, store: Store, people: People
) -> None:
    intake = make_intake()
    await intake.message(people.message("the heron stands in zwielicht"))
    answer = await intake.command(command("forget", message_id=None))
    assert answer is not None
    assert answer.startswith("Erased: 1 of your messages")
    assert store.sqlite_file is not None
    for file in store.sqlite_file.parent.glob("banter.db*"):
        assert b"zwielicht" not in Path(file).read_bytes()
    assert await intake.command(command("forget", message_id=None)) == "I keep nothing you wrote."


async def test_an_unknown_command_is_explained_in_private_and_ignored_in_groups(make_intake: MakeIntake) -> None:
    intake = make_intake()
    assert await intake.command(command("dance", message_id=None)) == texts.UNKNOWN_COMMAND
    assert await intake.command(command("dance", message_id=None, kind=ChannelKind.GROUP)) is None


async def test_an_unreadable_event_is_kept_once(make_intake: MakeIntake, store: Store) -> None:
    intake = make_intake()
    for _ in range(2):
        await intake.unparsable("telegram", "77", '{"update_id": 77}', "KeyError: chat")
    assert rows(store, "select event_id, error from dead_letters") == [("77", "KeyError: chat")]


def test_readable_keeps_joined_emoji_and_right_to_left_text() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert readable(family) == family
    assert readable("שלום") == "שלום"


@pytest.mark.parametrize("log_text", [False, True])
async def test_peoples_words_are_logged_only_when_asked_for(
    make_intake: MakeIntake, people: People, caplog: pytest.LogCaptureFixture, log_text: bool
) -> None:
    caplog.set_level("DEBUG")
    await make_intake(privacy={"log_text": log_text}).message(people.message("a heron in the reeds"))
    (record,) = [one for one in caplog.records if one.getMessage() == "message_received"]
    assert ("a heron in the reeds" in str(record.__dict__)) is log_text
