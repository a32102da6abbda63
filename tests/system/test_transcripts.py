"""Talks in the terminal as files, and the bot with itself, as processes."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from tests.system.process import REPOSITORY, settings


async def started(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings()))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        "--config",
        str(path),
        "chat",
        *arguments,
        cwd=REPOSITORY,
        env={key: value for key, value in os.environ.items() if not key.endswith("_BOT_TOKEN")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_talk_in_a_pipe_is_saved_as_it_was_shown(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    process = await started(tmp_path, "--save", str(file))
    async with asyncio.timeout(100):
        out, error = await process.communicate(b"hi\n/help\nhow are you?\n")
    assert process.returncode == 0, error.decode()
    header, *lines, end = file.read_text(encoding="utf-8").splitlines()
    assert header.startswith("聊天记录")
    assert header.endswith(":")
    assert [line.partition(":")[0] for line in lines] == ["user", "chatbot", "user", "chatbot"]
    assert lines[0] == "user:hi"
    shown = out.decode().splitlines()
    assert lines[1].removeprefix("chatbot:") == shown[0]
    assert lines[3].removeprefix("chatbot:") == shown[-1]
    assert end == ""


async def test_an_interrupt_ends_a_talk_with_itself_well(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    process = await started(tmp_path, "--self", "--turns", "100000", "--opening", "Hello!", "--save", str(file))
    assert process.stdout is not None
    async with asyncio.timeout(100):
        assert await process.stdout.readline() == b"Banter 1: Hello!\n"
        assert (await process.stdout.readline()).startswith(b"Banter 2: ")
        process.send_signal(signal.SIGINT)
        _, error = await process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in error.decode()
    saved = file.read_text(encoding="utf-8")
    assert "\nuser:Hello!\nchatbot:" in saved
    assert saved.endswith("\n\n")
    assert not (tmp_path / "data").exists()
