"""A talk as a text file, in the form of GPT2-chitchat's sample files.

A line with the time, then `user:` and `chatbot:` lines, one utterance each; an empty line ends the talk. Written to
disk after every line, so that a talk that is cut short is there as far as it went.
"""

from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

USER, CHATBOT = "user", "chatbot"


class Transcript:
    """`with Transcript(path, now) as transcript:`, then one call a line. A file that exists is continued."""

    def __init__(self, path: Path, started: datetime) -> None:
        """Raises OSError where the file cannot be written."""
        self._file = path.open("a", encoding="utf-8")
        self._write(f"聊天记录{started}:\n")

    def user(self, text: str) -> None:
        """What the person said."""
        self._line(USER, text)

    def chatbot(self, text: str) -> None:
        """What the bot said."""
        self._line(CHATBOT, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            self._write("\n")

    def _line(self, speaker: str, text: str) -> None:
        # Utterances are lines, and an empty line is an end: neither may stand inside one.
        self._write(f"{speaker}:{' '.join(text.split())}\n")

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
