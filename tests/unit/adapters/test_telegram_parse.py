"""How updates are read: who speaks where, and to whom."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Author, ChannelKind, IncomingCommand, IncomingMessage
from adapters.telegram.parse import Back, Edited, Gone, Me, Moved, chat_key, parse_address, parse_update
from adapters.text import utf16_length

ME = Me(id=99, username="Banter_Bot")
PERSON = {"id": 7, "is_bot": False, "first_name": "Person"}
MYSELF = {"id": 99, "is_bot": True, "first_name": "Banter", "username": "Banter_Bot"}
PRIVATE = {"id": 7, "type": "private"}
GROUP = {"id": -100500, "type": "supergroup", "title": "Group"}


def message(text: str | None = None, *, chat: dict[str, Any] = GROUP, **more: Any) -> dict[str, Any]:
    said = {"message_id": 5, "date": 1_790_000_000, "chat": chat, "from": PERSON, **more}
    return said if text is None else {**said, "text": text}


def read(text: str | None = None, **more: Any) -> Any:
    return parse_update({"update_id": 1, "message": message(text, **more)}, ME)


def named(text: str, name: str, kind: str = "mention", **more: Any) -> dict[str, Any]:
    """A message that marks each occurrence of a name as Telegram does, in UTF-16 code units."""
    places = [index for index in range(len(text)) if text.startswith(name, index)]
    entities = [
        {"type": kind, "offset": utf16_length(text[:index]), "length": utf16_length(name), **more} for index in places
    ]
    return {"text": text, "entities": entities}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("@Banter_Bot hello", "hello"),
        ("@banter_BOT, hello", "hello"),
        ("Hello @Banter_Bot", "Hello"),
        ("Well @Banter_Bot what now", "Well what now"),
        ("How are you, @Banter_Bot?", "How are you?"),
        ("😀👩‍👩‍👧‍👦 @Banter_Bot 😀 hi", "😀👩‍👩‍👧‍👦 😀 hi"),
        ("@Banter_Bot @Banter_Bot twice", "twice"),
        ("@Banter_Bot", ""),
        ("first\n@Banter_Bot\nlast", "first last"),
    ],
)
@pytest.mark.parametrize("marked", [True, False])
def test_the_own_name_is_taken_out(text, left, marked):
    name = "@banter_BOT" if "BOT" in text else "@Banter_Bot"
    found = read(**(named(text, name) if marked else {"text": text}))

    assert (found.text, found.mentions_bot) == (left, True)


@given(st.text(alphabet=st.characters(exclude_characters="@/\0", exclude_categories=["Cs"]), max_size=40))
def test_words_around_a_mention_stay(words):
    found = read(**named(f"{words} @Banter_Bot rest", "@Banter_Bot"))

    assert found.mentions_bot
    assert found.text.split() == f"{words} rest".lstrip(",:; " if not words.strip() else "").split()


@pytest.mark.parametrize("text", ["@other_bot hi", "mail me@Banter_Bot", "@Banter_Bottle hi", "Banter_Bot hi"])
def test_other_names_stay(text):
    found = read(text)

    assert (found.text, found.mentions_bot) == (text, False)


def test_marked_text_is_believed_over_its_look():
    """Inside code or a link Telegram marks no mention."""
    text = "code: @Banter_Bot"
    found = read(text, entities=[{"type": "code", "offset": 6, "length": 11}])

    assert (found.text, found.mentions_bot) == (text, False)


def test_a_mention_by_account_counts_without_a_username():
    found = read(**named("Banter, hello", "Banter", "text_mention", user=MYSELF))

    assert (found.text, found.mentions_bot) == ("hello", True)


def test_a_mention_in_a_caption_counts():
    marked = named("@Banter_Bot look", "@Banter_Bot")
    photo = [{"file_id": "x", "file_unique_id": "y", "width": 1, "height": 1}]
    found = read(photo=photo, caption=marked["text"], caption_entities=marked["entities"])

    assert (found.text, found.mentions_bot) == ("look", True)


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("/start", "start", ""),
        ("/Persona pirate", "persona", "pirate"),
        ("/persona\n two\nlines", "persona", "two\nlines"),
        ("/reset@banter_bot now", "reset", "now"),
        ("/unknown_1 x", "unknown_1", "x"),
    ],
)
def test_commands_for_the_bot(text, name, arguments):
    found = read(text)

    assert isinstance(found, IncomingCommand)
    assert (found.name, found.arguments, found.message_id) == (name, arguments, "5")


@pytest.mark.parametrize("text", ["/usr/bin/python", "/ start", "/", "start /now", "/café"])
def test_slashes_that_are_no_commands(text):
    assert isinstance(read(text), IncomingMessage)


def test_a_command_for_another_bot_is_not_heard():
    assert read("/start@other_bot") is None


def test_the_bot_does_not_hear_itself():
    assert read("echo", **{"from": MYSELF}) is None


def test_another_bot_is_heard_as_one():
    other = {"id": 5, "is_bot": True, "first_name": "Other"}
    assert read("beep", **{"from": other}).author == Author(id="5", is_bot=True)


def test_an_anonymous_admin_is_a_person_with_rights():
    helper = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    found = read("hi", sender_chat=GROUP, **{"from": helper})

    assert found.author == Author(id="chat:-100500", is_admin=True)


def test_channels_are_not_heard():
    channel = {"id": -100777, "type": "channel", "title": "News"}
    service = {"id": 777000, "is_bot": False, "first_name": "Telegram"}

    assert read("news", sender_chat=channel, is_automatic_forward=True, **{"from": service}) is None
    assert read("as my channel", sender_chat=channel, **{"from": service}) is None
    assert read("post", chat=channel) is None
    assert parse_update({"update_id": 1, "channel_post": message("post", chat=channel)}, ME) is None


def test_a_thread_without_topic_is_the_group():
    """Plain replies carry a thread id too."""
    found = read("hi", message_thread_id=33)

    assert (found.channel.address, found.channel.kind) == ("-100500", ChannelKind.GROUP)


def test_a_topic_is_a_channel_of_its_own():
    channel = read("hi", message_thread_id=33, is_topic_message=True).channel

    assert (channel.address, channel.kind) == ("-100500/33", ChannelKind.THREAD)
    assert (channel.server, channel.parent) == ("-100500", "-100500")


def test_a_private_topic_stays_private():
    channel = read("hi", chat=PRIVATE, message_thread_id=33, is_topic_message=True).channel

    assert (channel.address, channel.kind) == ("7/33", ChannelKind.PRIVATE)


def test_a_reply_to_the_bot_and_to_others():
    own = read("yes", reply_to_message={**message("?"), "message_id": 3, "from": MYSELF})
    other = read("yes", reply_to_message={**message("?"), "message_id": 4})

    assert (own.replies_to_bot, own.reply_to) == (True, "3")
    assert (other.replies_to_bot, other.reply_to) == (False, "4")


def test_a_message_in_a_topic_that_the_bot_opened_is_no_reply():
    creation = {"name": "Topic", "icon_color": 7322096}
    opened = {**message(), "message_id": 33, "from": MYSELF, "forum_topic_created": creation}
    found = read("hi", message_thread_id=33, is_topic_message=True, reply_to_message=opened)

    assert (found.replies_to_bot, found.reply_to) == (False, None)


def test_text_that_no_database_takes_is_mended():
    assert read("a\0b\ud83dc").text == "ab\ufffdc"


@pytest.mark.parametrize(
    "service",
    [
        {"new_chat_members": [PERSON]},
        {"left_chat_member": PERSON},
        {"new_chat_title": "x"},
        {"group_chat_created": True},
    ],
)
def test_service_messages_say_nothing(service):
    assert read(**service) is None


def test_both_halves_of_a_migration_say_the_same():
    old = {"id": -500, "type": "group", "title": "Group"}

    assert read(chat=old, migrate_to_chat_id=-100500) == Moved(old_address="-500", new_address="-100500")
    assert read(migrate_from_chat_id=-500) == Moved(old_address="-500", new_address="-100500")


def test_an_edit_has_the_mention_removed_too():
    edited = {**message("@Banter_Bot new"), "edit_date": 1_790_000_100}
    found = parse_update({"update_id": 1, "edited_message": edited}, ME)

    assert isinstance(found, Edited)
    assert (found.message_id, found.text) == ("5", "new")


def test_a_live_location_that_moves_is_no_edit():
    place = {"latitude": 1.0, "longitude": 2.0, "live_period": 60}
    edited = {**message(location=place), "edit_date": 1_790_000_100}

    assert parse_update({"update_id": 1, "edited_message": edited}, ME) is None


CANNOT = [
    "can_send_messages",
    "can_send_audios",
    "can_send_documents",
    "can_send_photos",
    "can_send_videos",
    "can_send_video_notes",
    "can_send_voice_notes",
    "can_send_polls",
    "can_send_other_messages",
    "can_add_web_page_previews",
    "can_react_to_messages",
    "can_edit_tag",
    "can_change_info",
    "can_invite_users",
    "can_pin_messages",
    "can_manage_topics",
]
MUTED = {"status": "restricted", "is_member": True, "until_date": 0, **dict.fromkeys(CANNOT, False)}


@pytest.mark.parametrize(
    ("chat", "state", "kind"),
    [
        (PRIVATE, {"status": "kicked", "until_date": 0}, Gone),
        (PRIVATE, {"status": "member"}, Back),
        (GROUP, {"status": "left"}, Gone),
        (GROUP, {"status": "kicked", "until_date": 0}, Gone),
        (GROUP, MUTED, Gone),
        (GROUP, {**MUTED, "can_send_messages": True}, Back),
        (GROUP, {"status": "member"}, Back),
        ({"id": -100777, "type": "channel", "title": "News"}, {"status": "left"}, type(None)),
    ],
)
def test_the_bots_own_membership(chat, state, kind):
    change = {"chat": chat, "from": PERSON, "date": 1_790_000_000, "new_chat_member": {"user": MYSELF, **state}}
    change["old_chat_member"] = {"user": MYSELF, "status": "member"}

    assert isinstance(parse_update({"update_id": 1, "my_chat_member": change}, ME), kind)


@pytest.mark.parametrize("address", ["-100500", "7", "-100500/33"])
def test_addresses_read_back(address):
    chat, thread = parse_address(address)
    assert address == (f"{chat}/{thread}" if thread else f"{chat}")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_the_chat_of_any_update_is_found_or_empty(content):
    assert chat_key({"message": content}) == "" or "chat" in content


def test_the_chat_of_each_kind_is_found():
    for kind in ("message", "edited_message", "my_chat_member"):
        assert chat_key({"update_id": 1, kind: {"chat": {"id": -5}}}) == "-5"


@pytest.mark.parametrize(
    "more",
    [
        {"from": {"id": 7}},
        {"date": None},
        {"chat": {"id": -100500}},
        {"photo": [{"file_id": "x"}], "document": {}},
        {"entities": [{"type": "bold"}, "no entity", {"type": "mention", "offset": 900, "length": 5}]},
        {"entities": None, "reply_to_message": None},
        {"reply_to_message": {"message_id": 4, "photo": "none"}},
        {"unheard_of": {"id": "x"}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_a_small_server_leaves_out_makes_no_message_unreadable(more):
    found = read("@Banter_Bot hello", **more)

    assert (found.text, found.mentions_bot, found.author.id) == ("hello", True, "7")


def test_a_chat_without_a_type_is_told_by_its_number():
    assert read("hi", chat={"id": 7}).channel.kind is ChannelKind.PRIVATE
    assert read("hi", chat={"id": -7}).channel.kind is ChannelKind.GROUP


def test_a_reply_is_recognised_by_its_author_alone():
    assert read("yes", reply_to_message={"message_id": 4, "from": {"id": 99}}).replies_to_bot


def test_a_mention_counts_where_marks_are_counted_in_characters():
    found = read("😀😀 @Banter_Bot hi", entities=[{"type": "mention", "offset": 3, "length": 11}])

    assert (found.text, found.mentions_bot) == ("😀😀 hi", True)


def test_a_mention_counts_beside_other_marks():
    found = read("@Banter_Bot well", entities=[{"type": "bold", "offset": 12, "length": 4}])

    assert (found.text, found.mentions_bot) == ("well", True)


def test_a_command_may_stand_under_a_picture():
    found = read(caption="/persona pirate", photo=[{"file_id": "x"}])

    assert (type(found), found.name, found.arguments) == (IncomingCommand, "persona", "pirate")


def test_a_membership_needs_no_more_than_chat_and_status():
    change = {"chat": {"id": -7, "type": "group"}, "new_chat_member": {"status": "kicked"}}
    assert isinstance(parse_update({"update_id": 1, "my_chat_member": change}, ME), Gone)
