"""Of an update, only what Banter reads, completed where a small server leaves out what the library's models insist on.

The library refuses a whole message for a picture without a width or a sender without a first name. What is not read
here cannot make a message unreadable; what is needed and makes no sense (a date in words, no chat at all) still does.
"""

import time
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

_OF_MESSAGE = (
    "message_id",
    "text",
    "caption",
    "message_thread_id",
    "is_topic_message",
    "is_automatic_forward",
    "migrate_to_chat_id",
    "migrate_from_chat_id",
)

# What a person shows without words: https://core.telegram.org/bots/api#message
_SHOWN = frozenset(
    {
        "animation",
        "audio",
        "contact",
        "dice",
        "document",
        "game",
        "location",
        "paid_media",
        "photo",
        "poll",
        "sticker",
        "story",
        "venue",
        "video",
        "video_note",
        "voice",
    }
)


def is_said(message: Json) -> bool:
    """Something a person said or showed; the rest are service messages such as "X joined"."""
    return any(message.get(key) for key in ("text", "caption", *_SHOWN))


def message_essence(message: Json) -> dict[str, Any]:
    chat = chat_essence(message["chat"])
    kept = {key: message[key] for key in _OF_MESSAGE if message.get(key) is not None}
    date = message.get("date")
    kept |= {"chat": chat, "date": int(time.time()) if date is None else date}
    if message.get("from"):
        kept["from"] = _person(message["from"])
    if message.get("sender_chat"):
        kept["sender_chat"] = chat_essence(message["sender_chat"])
    for key in ("entities", "caption_entities"):
        kept[key] = [_entity(entity) for entity in message.get(key) or () if _is_entity(entity)]
    replied = message.get("reply_to_message")
    if isinstance(replied, Mapping) and replied.get("message_id") is not None:
        kept["reply_to_message"] = _quoted(replied, chat)
    return kept


def _quoted(replied: Json, chat: Json) -> dict[str, Any]:
    """Of a message that is answered only its number, its author, and whether it is a topic's beginning."""
    kept: dict[str, Any] = {"message_id": replied["message_id"], "date": 0, "chat": chat}
    if replied.get("from"):
        kept["from"] = _person(replied["from"])
    if replied.get("forum_topic_created"):
        kept["forum_topic_created"] = {"name": "", "icon_color": 0}
    return kept


def _person(person: Json) -> dict[str, Any]:
    return {"id": person["id"], "is_bot": bool(person.get("is_bot")), "first_name": ""}


def chat_essence(chat: Json) -> dict[str, Any]:
    """Only people have positive ids; see https://core.telegram.org/api/bots/ids."""
    kind = chat.get("type") or ("private" if int(chat["id"]) > 0 else "supergroup")
    return {"id": chat["id"], "type": kind}


def _is_entity(entity: object) -> bool:
    return (
        isinstance(entity, Mapping)
        and isinstance(entity.get("type"), str)
        and all(isinstance(entity.get(key), int) and entity[key] >= 0 for key in ("offset", "length"))
    )


def _entity(entity: Json) -> dict[str, Any]:
    kept = {key: entity[key] for key in ("type", "offset", "length")}
    return {**kept, "user": _person(entity["user"])} if entity.get("user") else kept
