"""Too much at once, and a database that takes nothing: real processes, real sockets."""

import asyncio
import ctypes
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot import texts
from tests.servers.telegram import TelegramServer
from tests.system.process import REPOSITORY, BanterProcess, telegram_settings

_FLOOD = 2_000


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramServer]:
    async with TelegramServer() as server:
        yield server
        assert server.violations == []


def peak_megabytes(pid: int) -> float:
    """The most memory that a process ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def test_a_flood_is_refused_politely_once_and_delays_nobody_else(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    limits = {"user": "10/min", "channel": "30/min", "queue_per_channel": 3, "queue_total": 500}
    async with BanterProcess(tmp_path, telegram_settings(telegram.url, telegram.token, limits=limits)) as bot:
        telegram.say("hello", user=8)
        await telegram.wait_for_sent(1, within=60)
        (worker,) = bot.workers()
        os.kill(worker, signal.SIGSTOP)  # so that the whole flood is in before the first answer
        for number in range(_FLOOD):
            telegram.say(f"answer me! {number}", user=7)
        telegram.say("I have one quiet question", user=8)
        await telegram.wait_until_confirmed(within=60)
        os.kill(worker, signal.SIGCONT)
        await telegram.wait_for(lambda: Counter(sent.chat for sent in telegram.sent)[8] == 2, within=20)
        async with asyncio.timeout(60):
            while bot.rows("select count(*) from turns where state in ('pending', 'leased')") != [(0,)]:
                await asyncio.sleep(0.05)
        assert await bot.stop() == 0
        to_flooder = [sent.text for sent in telegram.sent if sent.chat == 7]
        notices = [text for text in to_flooder if text in (texts.BUSY, texts.USER_LIMIT, texts.CHANNEL_LIMIT)]
        assert len(notices) == len(set(notices)) == 1
        assert len(to_flooder) <= 1 + 10
        states = dict(bot.rows("select state, count(*) from turns group by state"))
        assert states == {"replied": states["replied"], "refused": _FLOOD + 2 - states["replied"]}


async def test_a_flood_takes_little_memory(tmp_path: Path, telegram: TelegramServer) -> None:
    async with BanterProcess(tmp_path, telegram_settings(telegram.url, telegram.token)) as bot:
        for number in range(_FLOOD):
            telegram.say("many words " * 300 + str(number), user=100 + number % 50)
        await telegram.wait_until_confirmed(within=60)
        assert peak_megabytes(bot.pid) < 250


def health(bot: BanterProcess) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bot", "--config", str(bot.config), "health"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False)


async def wait_for_health(bot: BanterProcess, code: int, within: float = 30.0) -> str:
    async with asyncio.timeout(within):
        while (done := await asyncio.to_thread(health, bot)).returncode != code:
            await asyncio.sleep(0.1)
    return done.stdout


async def test_a_locked_database_loses_nothing_is_told_and_recovers(tmp_path: Path, telegram: TelegramServer) -> None:
    async with BanterProcess(tmp_path, telegram_settings(telegram.url, telegram.token)) as bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        await wait_for_health(bot, 0)
        other = sqlite3.connect(bot.database, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for user in range(20, 25):
            telegram.say("are you there?", user=user)
        told = await wait_for_health(bot, 1)
        assert "BAD telegram" in told
        assert telegram.pending  # not confirmed: Telegram still has them
        other.execute("ROLLBACK")
        other.close()
        await telegram.wait_for(lambda: len({sent.chat for sent in telegram.sent}) == 6, within=60)
        await wait_for_health(bot, 0)
        assert Counter(sent.chat for sent in telegram.sent) == dict.fromkeys([7, *range(20, 25)], 1)
        assert "Traceback" not in bot.printed


async def test_a_read_only_database_is_named_at_the_start(tmp_path: Path, telegram: TelegramServer) -> None:
    bot = BanterProcess(tmp_path, telegram_settings(telegram.url, telegram.token))
    async with bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        await bot.stop()
    bot.database.chmod(0o400)
    bot.database.parent.chmod(0o500)
    try:
        done = await asyncio.to_thread(_run_obeying_permissions, bot)
    finally:
        bot.database.parent.chmod(0o700)
    assert done.returncode == 3
    assert str(bot.database) in done.stderr
    assert "writable for this user" in done.stderr
    assert "Traceback" not in done.stderr


def _run_obeying_permissions(bot: BanterProcess) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot", "--config", str(bot.config), "run"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        preexec_fn=_obey_permissions,
    )


def _obey_permissions() -> None:
    """Root ignores a file's mode until it gives up this capability for good."""
    drop_from_bounding_set, override_permissions = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0)
