"""Exports of chats: Telegram Desktop's and DiscordChatExporter's JSON, and the dialogues in them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.files import CorpusFile
from bot.training.corpora.guess import guess_format
from bot.training.corpora.posts import Post, sessions
from bot.training.errors import TrainingError

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def telegram(number: int, who: str, text: Any, minute: float, **more: Any) -> dict[str, Any]:
    moment = START + minute * MINUTE
    return {
        "id": number,
        "type": "message",
        "date": moment.strftime("%Y-%m-%dT%H:%M:%S"),
        "date_unixtime": str(int(moment.timestamp())),
        "from": who,
        "from_id": f"user{sum(map(ord, who))}",
        "text": text,
        "text_entities": [],
    } | more


def exported(tmp_path: Path, *messages: dict[str, Any], name: str = "result.json") -> Path:
    path = tmp_path / name
    chat = {"name": "Rosie", "type": "personal_chat", "id": 42, "messages": list(messages)}
    path.write_text(json.dumps(chat, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def dialogues(path: Path, kind: str = "telegram", **choice: Any) -> list[Dialogue]:
    return list(CorpusFile.named(f"{path}:{kind}", **choice).everything())


def talk(*lines: tuple[str, str] | tuple[str, str, int]) -> list[dict[str, Any]]:
    """One post a minute, numbered from 1; a third value is what it replies to."""
    return [
        telegram(number, line[0], line[1], number, **({"reply_to_message_id": line[2]} if len(line) == 3 else {}))
        for number, line in enumerate(lines, start=1)
    ]


def test_two_people_in_turn_are_a_dialogue(tmp_path: Path) -> None:
    path = exported(tmp_path, *talk(("Ann", "hi"), ("Ann", "you there?"), ("Rosie", "yes!"), ("Ann", "good")))
    assert dialogues(path) == [Dialogue(("hi you there?", "yes!", "good"), "telegram")]
    assert guess_format(path) == "telegram"


def test_formatted_text_is_joined_and_what_nobody_here_wrote_is_left_out(tmp_path: Path) -> None:
    path = exported(
        tmp_path,
        {"id": 1, "type": "service", "date": "2024-05-01T12:00:00", "actor": "Ann", "action": "phone_call", "text": ""},
        telegram(2, "Ann", ["look: ", {"type": "bold", "text": "snow"}, "\nnice"], 2),
        telegram(3, "Rosie", "not mine", 3, forwarded_from="News"),
        telegram(4, "Rosie", "", 3, media_type="sticker", sticker_emoji="👍"),
        telegram(5, "Rosie", "gif", 3, via_bot="@gif"),
        telegram(6, "Rosie", "wow", 4),
        telegram(7, "Gone", "boo", 5) | {"from": None, "from_id": None},
    )
    assert [dialogue.turns for dialogue in dialogues(path)] == [("look: snow nice", "wow")]


def test_a_speaker_stands_for_the_bot_and_alone_is_learned(tmp_path: Path) -> None:
    path = exported(tmp_path, *talk(("Rosie", "hey"), ("Ann", "hi"), ("Rosie", "how are you?")))
    (dialogue,) = dialogues(path, speaker="rosie")
    assert dialogue.turns == ("hey", "hi", "how are you?")
    assert dialogue.bot_opens
    assert dialogue.weights == (1.0, 0.0, 1.0)
    assert dialogues(path, speaker=f"user{sum(map(ord, 'Rosie'))}") == [dialogue]


def test_a_long_pause_ends_a_dialogue(tmp_path: Path) -> None:
    path = exported(
        tmp_path,
        telegram(1, "Ann", "hi", 0),
        telegram(2, "Rosie", "hey", 59),
        telegram(3, "Ann", "new day", 120),
        telegram(4, "Rosie", "so it is", 121),
    )
    assert [dialogue.turns for dialogue in dialogues(path)] == [("hi", "hey"), ("new day", "so it is")]
    day = timedelta(days=1)
    assert [dialogue.turns for dialogue in dialogues(path, gap=day)] == [("hi", "hey", "new day", "so it is")]


def test_a_late_reply_stays_with_what_it_answers(tmp_path: Path) -> None:
    path = exported(
        tmp_path,
        telegram(1, "Ann", "which book?", 0),
        telegram(2, "Ann", "good morning", 600),
        telegram(3, "Rosie", "morning", 601),
        telegram(4, "Rosie", "the red one", 1200, reply_to_message_id=1),
        telegram(5, "Ann", "thanks", 1201),
    )
    found = {dialogue.turns for dialogue in dialogues(path)}
    assert found == {("which book?", "the red one", "thanks"), ("good morning", "morning")}


def test_a_group_becomes_the_exchanges_with_the_speaker(tmp_path: Path) -> None:
    """By hand: Ann's question is answered by reply, Bob's last words by standing there, Cat's to nobody are not."""
    path = exported(
        tmp_path,
        *talk(
            ("Ann", "who has the key?"),
            ("Bob", "lovely weather"),
            ("Rosie", "I have it", 1),
            ("Cat", "la la"),
            ("Ann", "great", 3),
            ("Cat", "tra la"),
            ("Rosie", "come by"),
            ("Cat", "lunch?"),
            ("Bob", "I am hungry"),
            ("Bob", "very"),
            ("Rosie", "me too"),
            ("Rosie", "and it rains", 2),
        ),
    )
    (dialogue,) = dialogues(path, speaker="Rosie")
    assert dialogue.turns == (
        "who has the key?",
        "I have it",
        "great",
        "come by",
        "I am hungry very",
        "me too",
        "lovely weather",
        "and it rains",
    )


def test_a_group_without_a_speaker_lists_who_could_be_one(tmp_path: Path) -> None:
    path = exported(tmp_path, *talk(("Ann", "a"), ("Bob", "b"), ("Bob", "c"), ("Rosie", "d")))
    with pytest.raises(TrainingError, match=r"3 people talk in 'Rosie'.*--speaker NAME: Bob \(2\), "):
        dialogues(path)


@pytest.mark.parametrize(
    ("lines", "speaker", "complaint"),
    [
        ((("Ann", "a"), ("Ann", "b")), None, r"in no chat do two people talk, so nothing is answered. Only: Ann \(2\)"),
        ((("Ann", "a"), ("Ann", "b")), "Ann", "nowhere in it do Ann and somebody answer each other"),
        ((("Ann", "a"), ("Bob", "b")), "Eve", r"nobody called 'Eve' writes in it. Those who do: Ann \(1\), Bob \(1\)"),
        ((), None, "there are no messages with text in it"),
        ((), "Ann", "Those who do: nobody"),
    ],
)
def test_an_export_without_dialogues_is_told(
    tmp_path: Path, lines: tuple[tuple[str, str], ...], speaker: str | None, complaint: str
) -> None:
    with pytest.raises(TrainingError, match=complaint):
        dialogues(exported(tmp_path, *talk(*lines)), speaker=speaker)


def test_two_people_of_one_name_are_told_apart_by_id(tmp_path: Path) -> None:
    path = exported(
        tmp_path,
        telegram(1, "Ann", "hi", 0) | {"from_id": "user1"},
        telegram(2, "Ann", "hey", 1) | {"from_id": "user2"},
    )
    with pytest.raises(TrainingError, match=r"2 people are called Ann\. Give an id: user1, user2"):
        dialogues(path, speaker="Ann")
    assert dialogues(path, speaker="user2")[0].weights == (0.0, 1.0)


def test_a_whole_account_is_read_chat_by_chat(tmp_path: Path) -> None:
    account = {
        "about": "Here is the data you requested.",
        "personal_information": {"first_name": "Rosie", "more": [1, {"deep": []}]},
        "chats": {
            "about": "...",
            "list": [
                {"name": "Ann", "type": "personal_chat", "id": 1, "messages": talk(("Ann", "hi"), ("Rosie", "hey"))},
                {"name": None, "type": "saved_messages", "id": 2, "messages": talk(("Rosie", "a note"))},
                {"name": "Bob", "type": "personal_chat", "id": 3, "messages": talk(("Bob", "yo"), ("Rosie", "hello"))},
            ],
        },
        "left_chats": {"list": []},
    }
    path = tmp_path / "result.json"
    path.write_text(json.dumps(account))
    assert [dialogue.turns for dialogue in dialogues(path)] == [("hi", "hey"), ("yo", "hello")]
    assert guess_format(path) == "telegram"


def test_older_exports_have_a_local_time_only(tmp_path: Path) -> None:
    messages = [telegram(1, "Ann", "hi", 0), telegram(2, "Rosie", "hey", 1), telegram(3, "Ann", "later", 90)]
    for message in messages:
        del message["date_unixtime"]
    assert [dialogue.turns for dialogue in dialogues(exported(tmp_path, *messages))] == [("hi", "hey")]


def test_half_a_character_becomes_one_that_tokenizers_take(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    chat = {"name": "x", "messages": talk(("Ann", "hi \ud83d"), ("Rosie", "hey"))}
    path.write_text(json.dumps(chat))
    assert dialogues(path)[0].turns == ("hi \ufffd", "hey")
    path.write_text('[["hi \\ud83d\\ude00", "no \\ud83d"]]')
    assert dialogues(path, "devjwsong")[0].turns == ("hi 😀", "no \ufffd")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"name": "x"}', 'there are no "messages"'),
        ("[]", 'there are no "messages"'),
        ('{"messages": {}}', ':1: "messages" is no list'),
        ('{"messages": [\n{"id": 1}]}', ":2: this is no message of a Telegram export (KeyError: 'type')"),
        ('{"messages": [\n7]}', ":2: this is no message of a Telegram export"),
        (
            '{"messages": [\n{"id": 1, "type": "message", "from_id": "u", "text": "x", "date": "soon"}]}',
            ":2: this is no message of a Telegram export (ValueError: Invalid isoformat",
        ),
        ('{"messages": [\n{"id": 1, "type": "mess', ":2: this is not JSON (the file ends in the middle: it was cut"),
    ],
)
def test_a_broken_telegram_export_is_told(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(TrainingError) as caught:
        dialogues(path)
    assert complaint in str(caught.value)


def discord(number: int, who: str, text: str, minute: float, **more: Any) -> dict[str, Any]:
    author = {"id": f"90{sum(map(ord, who))}", "name": who.lower(), "discriminator": "0000", "nickname": who}
    return {
        "id": str(number),
        "type": "Default",
        "timestamp": (START + minute * MINUTE).isoformat(timespec="milliseconds"),
        "timestampEdited": None,
        "isPinned": False,
        "content": text,
        "author": author | {"color": None, "isBot": more.pop("is_bot", False), "roles": [], "avatarUrl": ""},
        "attachments": [],
        "embeds": [],
        "reactions": [],
        "mentions": [],
    } | more


def channel(tmp_path: Path, *messages: dict[str, Any], name: str = "general") -> Path:
    path = tmp_path / f"{name}.json"
    content = {
        "guild": {"id": "1", "name": "Server", "iconUrl": ""},
        "channel": {"id": "2", "type": "GuildTextChat", "categoryId": None, "category": None, "name": name},
        "dateRange": {"after": None, "before": None},
        "exportedAt": "2024-06-01T00:00:00+00:00",
        "messages": list(messages),
        "messageCount": len(messages),
    }
    path.write_text(json.dumps(content, indent=2))
    return path


def test_a_discord_channel_is_read_without_notices_and_bots(tmp_path: Path) -> None:
    path = channel(
        tmp_path,
        discord(1, "Ann", "hi", 0),
        discord(2, "Ann", "Pinned a message.", 0, type="ChannelPinnedMessage"),
        discord(3, "Beep", "beep", 1, is_bot=True),
        discord(4, "Rosie", "hey", 2, type="Reply", reference={"messageId": "1", "channelId": "2", "guildId": "1"}),
        discord(5, "Ann", "", 3),
    )
    assert dialogues(path, "discord") == [Dialogue(("hi", "hey"), "discord")]
    assert guess_format(path) == "discord"


def test_a_bot_may_be_the_speaker(tmp_path: Path) -> None:
    path = channel(tmp_path, discord(1, "Ann", "hi", 0), discord(2, "Beep", "beep", 1, is_bot=True))
    assert dialogues(path, "discord", speaker="Beep")[0].turns == ("hi", "beep")


def test_a_folder_of_channels_is_read_file_by_file(tmp_path: Path) -> None:
    for name in ("b", "a"):
        channel(tmp_path, discord(1, "Ann", f"hi {name}", 0), discord(2, "Rosie", "hey", 1), name=name)
    assert [dialogue.turns[0] for dialogue in dialogues(tmp_path, "discord")] == ["hi a", "hi b"]
    assert guess_format(tmp_path) == "discord"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"guild": {}}', "Export with: --format Json"),
        ('{"messages": [\n{"content": "x"}]}', ":2: this is no message of DiscordChatExporter's (KeyError: 'type')"),
        ('{"messages": [\n[]]}', ":2: this is no message of DiscordChatExporter's"),
    ],
)
def test_a_broken_discord_export_is_told(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "general.json"
    path.write_text(content)
    with pytest.raises(TrainingError) as caught:
        dialogues(path, "discord")
    assert complaint in str(caught.value)


def test_only_exports_have_speakers(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"turns": ["a", "b"]}')
    with pytest.raises(TrainingError, match="a speaker can be chosen in exports of chats only"):
        CorpusFile.named(str(path), speaker="Ann")


def test_a_chat_that_never_pauses_is_cut_all_the_same() -> None:
    posts = [
        Post(chat="x", id=str(n), author=str(n % 2), name="", sent_at=START + n * MINUTE, text=str(n))
        for n in range(2500)
    ]
    found = list(sessions(posts, timedelta(hours=1)))
    assert [post for session in found for post in session] == posts
    assert max(map(len, found)) <= 1000


def test_many_sessions_are_handed_out_as_they_end() -> None:
    read = 0

    def posts() -> Any:
        nonlocal read
        for n in range(1000):
            read += 1
            yield Post(chat="x", id=str(n), author="a", name="", sent_at=START + n * timedelta(days=1), text="x")

    next(sessions(posts(), timedelta(hours=1)))
    assert read < 100
