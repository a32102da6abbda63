"""The whole program on Discord: mentions, slash commands, crashes, gaps."""

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.servers.discord import DiscordServer
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
    channel = discord.add_channel(discord.add_guild("Home"), "general")
    ann = discord.add_user("ann")
    direct = discord.open_dm(ann)
    async with banter(tmp_path, discord) as bot:
        await discord.wait_for_sessions(1)
        discord.say(channel, f"<@{discord.bot.id}> how are you today?", ann)
        discord.say(direct, "hello there", ann)
        posted = await asyncio.wait_for(discord.wait_for_posted(2), 60)
        assert Counter(message["channel_id"] for message in posted) == {channel.id: 1, direct.id: 1}
        assert await bot.stop() == 0
        assert discord.token not in bot.printed


async def test_what_was_said_while_it_was_down_is_answered_once(tmp_path: Path, discord: DiscordServer) -> None:
    ann = discord.add_user("ann")
    direct = discord.open_dm(ann)
    async with banter(tmp_path, discord) as bot:
        await discord.wait_for_sessions(1)
        discord.say(direct, "hello there", ann)
        await asyncio.wait_for(discord.wait_for_posted(1), 60)
        await bot.stop()
        discord.say(direct, "are you still there?", ann)
        await bot.start()
        await asyncio.wait_for(discord.wait_for_posted(2), 60)
        await bot.restart()
        await discord.wait_for_sessions(3)
        discord.say(direct, "one more thing", ann)
        await asyncio.wait_for(discord.wait_for_posted(3), 60)
        assert len(discord.posted) == 3


async def test_killed_between_the_platforms_acceptance_and_our_commit_it_does_not_double(
    tmp_path: Path, discord: DiscordServer
) -> None:
    ann = discord.add_user("ann")
    direct = discord.open_dm(ann)
    async with banter(tmp_path, discord) as bot:
        await discord.wait_for_sessions(1)

        async def kill(*_: object) -> None:
            if bot.running and len(discord.posted) == 1:
                bot.signal(signal.SIGKILL)
                await bot.wait()

        discord.on_accepted = kill
        discord.say(direct, "hello there", ann)
        await asyncio.wait_for(discord.wait_for_posted(1), 60)
        async with asyncio.timeout(20):
            while bot.running:
                await asyncio.sleep(0.02)
        discord.on_accepted = None
        await bot.start()
        async with asyncio.timeout(60):
            while bot.rows("select state from replies") != [("posted",)]:
                await asyncio.sleep(0.05)
        assert len(discord.posted) == 1


async def test_a_slash_command_is_answered(tmp_path: Path, discord: DiscordServer) -> None:
    ann = discord.add_user("ann")
    direct = discord.open_dm(ann)
    async with banter(tmp_path, discord) as bot:
        await bot.wait_for_event("worker_ready")
        answer = await asyncio.wait_for(discord.interact("help", channel=direct, user=ann), 30)
        assert "/forget" in answer["content"]
