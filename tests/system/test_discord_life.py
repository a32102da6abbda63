"""The whole program on Discord: mentions, slash commands, crashes, gaps."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.servers.discord import DiscordServer
from tests.servers.discord_world import Fault
from tests.system.process import BanterProcess, discord_settings


@pytest.fixture
async def discord():
    async with DiscordServer() as server:
        yield server
        assert server.violations == []


def banter(folder: Path, server: DiscordServer, **more: Any) -> BanterProcess:
    return BanterProcess(folder, discord_settings(server.api_url, server.token, **more))


async def test_a_mention_in_a_server_and_a_direct_message_are_answered_where_they_were_said(
    tmp_path: Path, discord: DiscordServer
) -> None:
    async with banter(tmp_path, discord) as bot:
        await discord.wait_until(lambda: len(discord.identified) >= 1, 40)
        discord.say(discord.general, f"<@{discord.bot.id}> how are you today?")
        discord.say(discord.dm, "hello there")
        await discord.wait_until(lambda: len(discord.posted) >= 2, 60)
        where = Counter(message["channel_id"] for message in discord.posted)
        assert where == {discord.general.id: 1, discord.dm.id: 1}
        assert await bot.stop() == 0
        assert discord.token not in bot.printed


async def test_what_was_said_while_it_was_down_is_answered_once(tmp_path: Path, discord: DiscordServer) -> None:
    async with banter(tmp_path, discord) as bot:
        await discord.wait_until(lambda: len(discord.identified) >= 1, 40)
        discord.say(discord.dm, "hello there")
        await discord.wait_until(lambda: len(discord.posted) >= 1, 60)
        await bot.stop()
        discord.say(discord.dm, "are you still there?")
        await bot.start()
        await discord.wait_until(lambda: len(discord.posted) >= 2, 60)
        await bot.restart()
        await discord.wait_until(lambda: len(discord.identified) >= 3, 40)
        discord.say(discord.dm, "one more thing")
        await discord.wait_until(lambda: len(discord.posted) >= 3, 60)
        assert len(discord.posted) == 3


async def test_killed_between_the_platforms_acceptance_and_our_commit_it_does_not_double(
    tmp_path: Path, discord: DiscordServer
) -> None:
    never = asyncio.Event()
    discord.script("create_message", Fault(answer_after=never))
    async with banter(tmp_path, discord) as bot:
        await discord.wait_until(lambda: len(discord.identified) >= 1, 40)
        discord.say(discord.dm, "hello there")
        await discord.wait_until(lambda: len(discord.posted) >= 1, 60)
        await bot.kill()
        never.set()
        await bot.start()
        async with asyncio.timeout(60):
            while bot.rows("select state from replies") != [("posted",)]:
                await asyncio.sleep(0.05)
        assert len(discord.posted) == 1


async def test_a_slash_command_is_answered(tmp_path: Path, discord: DiscordServer) -> None:
    async with banter(tmp_path, discord) as bot:
        await bot.wait_for_event("worker_ready")
        interaction = discord.interact("help", channel=discord.dm)
        await asyncio.wait_for(interaction.answered.wait(), 30)
        assert "/forget" in interaction.answers[-1]["content"]
