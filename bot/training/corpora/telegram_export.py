"""Telegram Desktop's export as JSON (`result.json`): of one chat, or of a whole account.

Left out: service messages, what was forwarded or written through an inline bot (not their own words), stickers, media
without a caption. Described at https://core.telegram.org/import-export.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.training.corpora.json_stream import JsonStream, json_stream
from bot.training.corpora.posts import Post
from bot.training.corpora.text import wrong
from bot.training.errors import TrainingError

SOURCE = "telegram"
_FOREIGN = ("forwarded_from", "saved_from", "via_bot")


def posts(path: Path) -> Iterator[Post]:
    """What people wrote, chat by chat, in order. Raises TrainingError."""
    with json_stream(path) as stream:
        found = False
        if stream.peek() == "{":
            chat = ""
            for key in stream.members():
                if key == "messages":
                    found = True
                    yield from _messages(path, stream, chat or "the chat")
                elif key in ("chats", "left_chats"):
                    found = True
                    yield from _chats(path, stream)
                elif key == "name":
                    chat = str(stream.value())
                else:
                    stream.skip()
            stream.end()
        if not found:
            raise TrainingError(
                f'{path}: there are no "messages" and no "chats" in it. Export the chat from Telegram Desktop, as '
                '"Machine-readable JSON".'
            )


def _chats(path: Path, stream: JsonStream) -> Iterator[Post]:
    for key in stream.members():
        if key != "list":
            stream.skip()
            continue
        for number, _ in enumerate(stream.array(), start=1):
            name = ""
            for inner in stream.members():
                if inner == "messages":
                    yield from _messages(path, stream, f"{name or 'chat'} ({number})")
                elif inner == "name":
                    name = str(stream.value() or "")
                else:
                    stream.skip()


def _messages(path: Path, stream: JsonStream, chat: str) -> Iterator[Post]:
    if stream.peek() != "[":
        raise wrong(path, stream.line, '"messages" is no list.')
    for _ in stream.array():
        line = stream.line
        message = stream.value()
        try:
            post = _post(chat, message)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
            reason = f"this is no message of a Telegram export ({type(error).__name__}: {error})."
            raise wrong(path, line, reason) from error
        if post is not None:
            yield post


def _post(chat: str, message: dict[str, Any]) -> Post | None:
    """None for what nobody here wrote."""
    if message["type"] != "message" or any(message.get(key) for key in _FOREIGN) or not message.get("from_id"):
        return None
    text = " ".join(_plain(message["text"]).split())
    if not text:
        return None
    reply_to = message.get("reply_to_message_id")
    return Post(
        chat=chat,
        id=str(message["id"]),
        author=str(message["from_id"]),
        name=str(message.get("from") or "Deleted Account"),
        sent_at=_moment(message),
        text=text,
        reply_to=None if reply_to is None else str(reply_to),
    )


def _plain(text: str | list[str | dict[str, str]]) -> str:
    """Formatted text is a list of plain pieces and entities."""
    if isinstance(text, str):
        return text
    return "".join(piece if isinstance(piece, str) else piece["text"] for piece in text)


def _moment(message: dict[str, Any]) -> datetime:
    """Older exports have the exporting computer's clock only; pauses are all that counts."""
    if "date_unixtime" in message:
        return datetime.fromtimestamp(int(message["date_unixtime"]), UTC)
    return datetime.fromisoformat(message["date"]).replace(tzinfo=UTC)
