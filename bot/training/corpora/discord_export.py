"""DiscordChatExporter's JSON (https://github.com/Tyrrrz/DiscordChatExporter): one channel a file, or a folder of them.

Left out: pins, joins and other notices, posts without text. Discord's developer terms allow no training on messages
obtained through its interfaces without permission: whoever exports answers for the right to.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.training.corpora.json_stream import json_stream
from bot.training.corpora.posts import Post
from bot.training.corpora.text import wrong
from bot.training.errors import TrainingError

SOURCE = "discord"
_WRITTEN = ("Default", "Reply")


def posts(path: Path) -> Iterator[Post]:
    """What was written, channel by channel, in order. Raises TrainingError."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise TrainingError(f"{path}: there is no *.json in it.")
    for file in files:
        yield from _channel(file)


def _channel(path: Path) -> Iterator[Post]:
    with json_stream(path) as stream:
        found = False
        if stream.peek() == "{":
            chat = path.stem
            for key in stream.members():
                if key == "channel":
                    channel = stream.value()
                    chat = str(channel.get("name") or chat) if isinstance(channel, dict) else chat
                elif key == "messages" and stream.peek() == "[":
                    found = True
                    for _ in stream.array():
                        line = stream.line
                        if (post := _checked(path, line, chat, stream.value())) is not None:
                            yield post
                else:
                    stream.skip()
            stream.end()
        if not found:
            raise TrainingError(f'{path}: there are no "messages" in it. Export with: --format Json')


def _checked(path: Path, line: int, chat: str, message: Any) -> Post | None:
    try:
        return _post(chat, message)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"this is no message of DiscordChatExporter's ({type(error).__name__}: {error})."
        raise wrong(path, line, reason) from error


def _post(chat: str, message: dict[str, Any]) -> Post | None:
    text = " ".join(message["content"].split())
    if message["type"] not in _WRITTEN or not text:
        return None
    author = message["author"]
    return Post(
        chat=chat,
        id=str(message["id"]),
        author=str(author["id"]),
        name=str(author.get("nickname") or author["name"]),
        sent_at=datetime.fromisoformat(message["timestamp"]),
        text=text,
        reply_to=(message.get("reference") or {}).get("messageId"),
        is_bot=bool(author.get("isBot")),
    )
