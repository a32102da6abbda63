"""Admins edit config.yaml while the bot runs: good edits count from the next turn, broken ones change nothing."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.servers.telegram import TelegramServer
from tests.system.process import BanterProcess, telegram_settings


@pytest.fixture
async def telegram():
    async with TelegramServer() as server:
        yield server
        assert server.violations == []


async def ask(server: TelegramServer, text: str, user: int = 7) -> str:
    count = len(server.sent)
    server.say(text, user=user)
    return (await server.wait_for_sent(count + 1, within=60))[count].text


def with_line(server: TelegramServer, line: str) -> dict[str, Any]:
    """Settings under which nothing the model says passes: every reply is the persona's safe line."""
    return telegram_settings(
        server.url,
        server.token,
        personas={"default": {"safe_lines": [line], "greeting": f"I say {line}"}},
        decoding={"default": {"candidates": 1, "max_new_tokens": 1, "min_new_tokens": 1}},
        moderation={
            "words": {"block": ["*a*", "*e*", "*i*", "*o*", "*u*", "*y*", "*t*"]},
            "on_all_blocked": "safe_line",
        },
    )


async def test_an_edit_counts_from_the_next_turn_and_its_revision_is_recorded(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    async with BanterProcess(tmp_path, with_line(telegram, "First.")) as bot:
        assert await ask(telegram, "/start") == "I say First.\n\nJust write to me. /help shows what else I can do."
        bot.configure(with_line(telegram, "Second."))
        await bot.wait_for_event("config_changed")
        assert (await ask(telegram, "/start")).startswith("I say Second.")
        assert await ask(telegram, "hello") == "Second."
        revisions = bot.rows("select distinct config_revision from compositions")
        assert revisions == [(bot.events("config_changed")[0]["revision"],)]


async def test_a_broken_edit_keeps_the_last_good_configuration_and_says_so(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    async with BanterProcess(tmp_path, with_line(telegram, "Good.")) as bot:
        await ask(telegram, "/start")
        bot.config.write_text("decoding: [this is no mapping\n")
        await bot.wait_for_event("config_refused")
        assert (await ask(telegram, "/start")).startswith("I say Good.")
        bot.config.unlink()
        assert (await ask(telegram, "/start")).startswith("I say Good.")
        bot.configure(with_line(telegram, "Better."))
        await bot.wait_for_event("config_changed")
        assert (await ask(telegram, "/start")).startswith("I say Better.")
        assert bot.running


async def test_a_worker_that_has_to_start_while_the_file_is_broken_uses_the_last_good_one(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    async with BanterProcess(tmp_path, with_line(telegram, "Good.")) as bot:
        assert await ask(telegram, "hello") == "Good."
        bot.config.write_text("decoding: [this is no mapping\n")
        await bot.wait_for_event("config_refused")
        os.kill(bot.workers()[0], signal.SIGKILL)
        assert await ask(telegram, "hello again") == "Good."
        assert bot.running


async def test_a_key_that_needs_a_restart_is_named(tmp_path: Path, telegram: TelegramServer) -> None:
    async with BanterProcess(tmp_path, with_line(telegram, "Good.")) as bot:
        await ask(telegram, "/start")
        bot.configure({**with_line(telegram, "Good."), "web": {"enabled": True, "listen": "127.0.0.1:18099"}})
        change = await bot.wait_for_event("config_changed")
        assert "web.enabled" in change["needs_restart"]
