"""What a Telegram update means for the bot: pure functions from the Bot API's JSON to the port's dataclasses.

Bot API: https://core.telegram.org/bots/api#update. Whatever an update holds that the library's models or this
module cannot read raises some exception; the caller keeps such an update as a dead letter.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from telegram import Chat, ChatMember, Message, MessageEntity

from adapters.base import Author, Channel, ChannelKind, IncomingCommand, IncomingMessage
from adapters.telegram.essence import chat_essence, is_said, message_essence
from adapters.text import clean_text

PLATFORM = "telegram"

# Named in each getUpdates and setWebhook: a server remembers the last list, whoever gave it.
UPDATE_KINDS = ("message", "edited_message", "my_chat_member")

_COMMAND = re.compile(r"/(?P<name>\w{1,32})(?:@(?P<bot>\w+))?(?:\s+(?P<arguments>.*))?\Z", re.ASCII | re.DOTALL)
# Where a name is no mention.
_LITERAL = (
    MessageEntity.CODE,
    MessageEntity.PRE,
    MessageEntity.URL,
    MessageEntity.TEXT_LINK,
    MessageEntity.EMAIL,
)
_GROUPS = (Chat.GROUP, Chat.SUPERGROUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """The bot's own account."""

    id: int
    username: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    channel: Channel
    message_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    old_address: str
    new_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    channel: Channel
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    channel: Channel


Event = IncomingMessage | IncomingCommand | Edited | Moved | Gone | Back


def parse_update(raw: Mapping[str, Any], me: Me) -> Event | None:
    """The event that an update tells of, or None if it is none of the bot's business."""
    if raw.get("message"):
        return _read_message(Message.de_json(message_essence(raw["message"]), None), me, said=is_said(raw["message"]))
    if raw.get("edited_message"):
        edited = raw["edited_message"]
        if not is_said(edited) or edited.get("location"):  # a live location moves on
            return None
        return _read_edit(Message.de_json(message_essence(edited), None), me)
    if raw.get("my_chat_member"):
        return _read_membership(raw["my_chat_member"])
    return None


def chat_key(raw: Mapping[str, Any]) -> str:
    """The chat whose order an update belongs to; "" where none can be found. Never raises."""
    for kind in UPDATE_KINDS:
        content = raw.get(kind)
        chat = content.get("chat") if isinstance(content, Mapping) else None
        if isinstance(chat, Mapping):
            return str(chat.get("id", ""))
    return ""


def address_of(chat_id: int, thread_id: int | None) -> str:
    return f"{chat_id}/{thread_id}" if thread_id else str(chat_id)


def parse_address(address: str) -> tuple[int, int | None]:
    """Chat id and topic of an address; ValueError if it is none of Telegram's."""
    chat, _, thread = address.partition("/")
    return int(chat), int(thread) if thread else None


def _read_message(message: Message, me: Me, *, said: bool) -> Event | None:
    if message.migrate_to_chat_id:
        return Moved(old_address=str(message.chat.id), new_address=str(message.migrate_to_chat_id))
    if message.migrate_from_chat_id:
        return Moved(old_address=str(message.migrate_from_chat_id), new_address=str(message.chat.id))
    author = _author(message, me)
    channel = _channel(message)
    if author is None or channel is None or not said:
        return None
    text, mentions_bot = _own_text(message, me)
    command = _COMMAND.match(message.text or message.caption or "")
    if command:
        addressee = command["bot"]
        if addressee and addressee.casefold() != me.username.casefold():
            return None
        return IncomingCommand(
            channel=channel,
            author=author,
            name=command["name"].lower(),
            arguments=clean_text(command["arguments"] or "").strip(),
            sent_at=message.date,
            message_id=str(message.message_id),
        )
    replied = _replied_message(message)
    return IncomingMessage(
        channel=channel,
        message_id=str(message.message_id),
        author=author,
        text=text,
        sent_at=message.date,
        mentions_bot=mentions_bot,
        replies_to_bot=bool(replied and replied.from_user and replied.from_user.id == me.id),
        reply_to=str(replied.message_id) if replied else None,
    )


def _read_edit(message: Message, me: Me) -> Edited | None:
    author = _author(message, me)
    channel = _channel(message)
    if author is None or channel is None:
        return None
    return Edited(channel=channel, message_id=str(message.message_id), text=_own_text(message, me)[0])


def _read_membership(change: Mapping[str, Any]) -> Gone | Back | None:
    channel = _chat_channel(Chat(**chat_essence(change["chat"])))
    if channel is None:
        return None
    member = change["new_chat_member"]
    match member["status"]:
        case ChatMember.LEFT | ChatMember.BANNED:
            private = channel.kind is ChannelKind.PRIVATE
            return Gone(channel=channel, reason="blocked by the person" if private else "removed from the group")
        case ChatMember.RESTRICTED if not (member.get("is_member", True) and member.get("can_send_messages")):
            return Gone(channel=channel, reason="not allowed to write in the group")
    return Back(channel=channel)


def _author(message: Message, me: Me) -> Author | None:
    """Who speaks, or None for ourselves, for channels, and for what Telegram forwards from a linked channel."""
    if message.is_automatic_forward:
        return None
    if message.sender_chat:
        if message.sender_chat.id != message.chat.id:
            return None
        # An admin who writes anonymously: Telegram names its helper account, a bot, as the sender.
        return Author(id=f"chat:{message.chat.id}", is_admin=True)
    if message.from_user is None or message.from_user.id == me.id:
        return None
    return Author(
        id=str(message.from_user.id),
        is_bot=message.from_user.is_bot,
        is_admin=message.chat.type == Chat.PRIVATE,
    )


def _channel(message: Message) -> Channel | None:
    # message_thread_id is set on plain replies in groups too: only is_topic_message makes it a topic.
    thread_id = message.message_thread_id if message.is_topic_message else None
    return _chat_channel(message.chat, thread_id)


def _chat_channel(chat: Chat, thread_id: int | None = None) -> Channel | None:
    address = address_of(chat.id, thread_id)
    parent = str(chat.id) if thread_id else None
    if chat.type == Chat.PRIVATE:
        return Channel(platform=PLATFORM, address=address, kind=ChannelKind.PRIVATE, parent=parent)
    if chat.type in _GROUPS:
        kind = ChannelKind.THREAD if thread_id else ChannelKind.GROUP
        return Channel(platform=PLATFORM, address=address, kind=kind, server=str(chat.id), parent=parent)
    return None


def _replied_message(message: Message) -> Message | None:
    """The message answered to; each message of a topic names the topic's creation, which is no answer."""
    replied = message.reply_to_message
    return None if replied is None or replied.forum_topic_created else replied


def _own_text(message: Message, me: Me) -> tuple[str, bool]:
    """The text without mentions of the bot, and whether there were any."""
    text = message.text or message.caption or ""
    spans = _mentions(text, message.entities or message.caption_entities, me)
    for start, end in reversed(spans):
        text = _join(text[:start].rstrip(), text[end:].lstrip())
    return clean_text(text).strip(), bool(spans)


def _join(before: str, after: str) -> str:
    """What is left around a name: "@bot, hi" is "hi", "How are you, @bot?" is "How are you?"."""
    if not before:
        return after.lstrip(",:; ")
    if after.startswith((".", ",", "!", "?", ":", ";")):
        return before.rstrip(",") + after
    return f"{before} {after}"


def _mentions(text: str, entities: Sequence[MessageEntity], me: Me) -> list[tuple[int, int]]:
    """Places of mentions in characters: where Telegram marked them, else where they can be read outside of code and
    links, since small servers mark nothing or count differently."""
    places = [(entity, _place(text, entity)) for entity in entities]
    marked = sorted(place for entity, place in places if _means(entity, text[slice(*place)], me))
    if marked or not me.username:
        return marked
    literal = [place for entity, place in places if entity.type in _LITERAL]
    mention = re.compile(rf"(?<![\w@/])@{re.escape(me.username)}(?!\w)", re.IGNORECASE | re.ASCII)
    spans = [match.span() for match in mention.finditer(text)]
    return [span for span in spans if not any(start <= span[0] < end for start, end in literal)]


def _means(entity: MessageEntity, words: str, me: Me) -> bool:
    by_name = entity.type == MessageEntity.MENTION and words.casefold() == f"@{me.username}".casefold()
    by_account = entity.type == MessageEntity.TEXT_MENTION and entity.user is not None and entity.user.id == me.id
    return by_name or by_account


def _place(text: str, entity: MessageEntity) -> tuple[int, int]:
    """Start and end of an entity in characters; the Bot API counts UTF-16 code units."""
    units = text.encode("utf-16-le", "surrogatepass")
    start, end = 2 * entity.offset, 2 * (entity.offset + entity.length)
    return _characters(units[:start]), _characters(units[:end])


def _characters(units: bytes) -> int:
    return len(units.decode("utf-16-le", "replace"))  # an end within a surrogate pair counts it
