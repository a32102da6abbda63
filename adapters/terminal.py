"""The terminal as a platform: a prompt with history for people, one message a line for pipes.

The same path as the others: what is typed goes through the sink, what is said comes through the outbox.
"""

import asyncio
import contextlib
import getpass
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from adapters.base import (
    AdapterStatus,
    Author,
    Channel,
    ChannelKind,
    Identity,
    IncomingCommand,
    IncomingMessage,
    OutgoingPart,
    Receipt,
    Sink,
)
from adapters.transcript import Transcript

_ENDS = ("/quit", "/exit")
_MAX_LINE_BYTES = 16 * 1024 * 1024


class TerminalAdapter:
    """Talks to the person at the keyboard, or to whatever writes into standard input.

    `settled` waits until the bot owes this channel nothing more: a pipe's next line is read only then, so that a
    file of lines becomes a conversation.
    """

    platform = "terminal"
    typing_interval = timedelta(seconds=1)

    def __init__(
        self,
        *,
        bot_name: str,
        history_file: Path | None,
        settled: Callable[[Channel], Awaitable[None]],
        transcript: Transcript | None = None,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
    ) -> None:
        self._bot_name = bot_name
        self._history_file = history_file
        self._settled = settled
        self._transcript = transcript
        self._stdin = stdin or sys.stdin
        self._stdout = stdout or sys.stdout
        self.interactive = self._stdin.isatty() and self._stdout.isatty()
        name = getpass.getuser() if self.interactive else f"pipe-{os.getpid()}-{time.time_ns()}"
        self.channel = Channel(platform=self.platform, address=name, kind=ChannelKind.PRIVATE)
        self._author = Author(id=name, is_admin=True)
        self._counter = time.time_ns()
        self._typing_until = 0.0

    @property
    def status(self) -> AdapterStatus:
        return AdapterStatus(ready=True, detail="reading standard input")

    async def identify(self) -> Identity:
        return Identity(id=self.channel.address, name=self._bot_name)

    async def listen(self, sink: Sink) -> None:
        """Returns at the end of the input."""
        if self.interactive:
            await self._prompt(sink)
        else:
            await self._read_lines(sink)

    def split(self, text: str) -> list[str]:
        return [text] if text.strip() else []

    async def post(self, part: OutgoingPart) -> Receipt:
        self._typing_until = 0.0
        self._show(part.text)
        if self._transcript is not None:
            self._transcript.chatbot(part.text)
        return Receipt(part.nonce)

    async def find_posted(self, part: OutgoingPart) -> Receipt | None:
        return None

    async def show_typing(self, channel: Channel) -> None:
        self._typing_until = time.monotonic() + 2 * self.typing_interval.total_seconds()

    async def close(self) -> None:
        return None

    def _show(self, text: str) -> None:
        shown = visible(text)
        self._stdout.write(f"{self._bot_name}: {shown}\n" if self.interactive else f"{shown}\n")
        self._stdout.flush()

    async def _prompt(self, sink: Sink) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, InMemoryHistory
        from prompt_toolkit.patch_stdout import patch_stdout

        if self._history_file is not None:
            self._history_file.parent.mkdir(parents=True, exist_ok=True)
            self._history_file.touch(mode=0o600, exist_ok=True)
        history = FileHistory(self._history_file) if self._history_file else InMemoryHistory()
        session: PromptSession[str] = PromptSession(history=history, bottom_toolbar=self._toolbar, refresh_interval=0.3)
        with patch_stdout():
            self._stdout = sys.stdout  # patched: replies appear above the prompt
            while True:
                try:
                    line = await session.prompt_async("you: ")
                except (EOFError, KeyboardInterrupt):
                    return
                if line.strip() in _ENDS:
                    return
                await self._hand_over(sink, line)

    async def _read_lines(self, sink: Sink) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_MAX_LINE_BYTES)
        try:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._stdin)
        except (ValueError, OSError):  # a regular file or /dev/null: never blocks for long
            await self._read_file(sink)
            return
        try:
            while True:
                try:
                    raw = await reader.readuntil(b"\n")
                except asyncio.IncompleteReadError as end:
                    raw = end.partial
                except asyncio.LimitOverrunError as error:
                    raw = await reader.readexactly(error.consumed)
                if not raw:
                    return
                await self._hand_over(sink, raw.decode("utf-8", "replace").rstrip("\r\n"))
                await self._settled(self.channel)
        finally:
            transport.close()

    async def _read_file(self, sink: Sink) -> None:
        while line := await asyncio.to_thread(self._stdin.buffer.readline):
            await self._hand_over(sink, line.decode("utf-8", "replace").rstrip("\r\n"))
            await self._settled(self.channel)

    async def _hand_over(self, sink: Sink, line: str) -> None:
        text = line.strip()
        if not text:
            return
        if text.startswith("/") and len(text) > 1 and text[1].isalpha():
            await self._command(sink, text)
            return
        self._counter += 1
        if self._transcript is not None:
            self._transcript.user(text)
        await sink.message(
            IncomingMessage(
                channel=self.channel,
                message_id=str(self._counter),
                author=self._author,
                text=text,
                sent_at=datetime.now(UTC),
                complete=True,
            )
        )

    async def _command(self, sink: Sink, text: str) -> None:
        name, _, arguments = text[1:].partition(" ")
        answer = await sink.command(
            IncomingCommand(
                channel=self.channel,
                author=self._author,
                name=name.lower(),
                arguments=arguments.strip(),
                sent_at=datetime.now(UTC),
            )
        )
        if name.lower() == "forget" and self._history_file is not None:
            with contextlib.suppress(OSError):
                self._history_file.write_text("")
        if answer:
            self._show(answer)

    def _toolbar(self) -> str:
        if time.monotonic() < self._typing_until:
            return f" {self._bot_name} is typing..."
        return " /help for commands, Ctrl-D to leave"


def visible(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")
