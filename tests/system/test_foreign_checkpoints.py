"""Checkpoints of older systems in the whole program: a talk on a platform is what `banter model trace` says of it."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.servers.discord import DiscordServer
from tests.servers.telegram import TelegramServer
from tests.system.process import REPOSITORY, BanterProcess, discord_settings, telegram_settings

PARITY = Path(__file__).parents[1] / "parity"
TYPED = ("hi there, <sp2> how are you?", "really? <bos>", "good night")
KOREAN = ("안녕", "밥 먹었어? [SEPT]", "좋아")


@dataclass(frozen=True)
class Written:
    """How one turn was composed: the talk up to it, what the model read, with what seed and settings, what it wrote."""

    talk: tuple[str, ...]
    context_ids: list[int]
    seed: int
    decoding: dict[str, Any]
    first_candidate: list[int]


def foreign(checkpoint: Path, **decoding: Any) -> dict[str, Any]:
    """Settings for a model with random weights: one candidate, which nobody ranks, as its own program draws it."""
    return {
        "model": {"checkpoint": str(checkpoint)},
        "ranking": {"prior": [], "cond": []},
        "decoding": {"default": {"preset": "original", "candidates": 1, "max_new_tokens": 12, **decoding}},
    }


def compositions(bot: BanterProcess) -> list[Written]:
    """The first round of every turn, oldest first."""
    said = dict(bot.rows("select turn_id, text from messages where author_id is not null"))
    replied = dict(bot.rows("select turn_id, text from replies where kind = 'reply'"))
    talk: list[str] = []
    found = []
    for number, turn, seed, ids, decoding in bot.rows(
        "select id, turn_id, seed, context_ids, decoding from compositions order by id"
    ):
        talk.append(said[turn])
        ((first,),) = bot.rows(f"select token_ids from candidates where composition_id = {number} order by id limit 1")
        settings = {name: value for name, value in json.loads(decoding).items() if name != "preset"}
        found.append(Written(tuple(talk), json.loads(ids), seed, settings, json.loads(first)))
        talk.append(replied[turn])
    return found


async def traced(folder: Path, checkpoint: Path, turns: Sequence[Written]) -> list[dict[str, Any]]:
    """What `banter model trace` says of the same talks, drawn with the same seeds."""
    asked = folder / "turns.json"
    cases = [{"turns": one.talk, "options": {**one.decoding, "seed": one.seed}} for one in turns]
    asked.write_text(json.dumps(cases))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "model", "trace", str(checkpoint),
        "--turns", str(asked), "--mode", "sample", "--json",
        cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return list(json.loads(out)["cases"])


async def assert_as_traced(bot: BanterProcess, checkpoint: Path, talk: Sequence[str]) -> None:
    turns = compositions(bot)
    assert [one.talk[-1] for one in turns] == list(talk)
    for one, case in zip(turns, await traced(bot.folder, checkpoint, turns), strict=True):
        assert one.context_ids == case["input_ids"]
        written = case["sample"]["reply_ids"]
        assert one.first_candidate == (written[:-1] if case["sample"]["stopped"] else written)
    assert any(one.first_candidate for one in turns)


async def test_a_model_with_token_types_talks_on_telegram_as_its_trace_says(tmp_path: Path) -> None:
    checkpoint = PARITY / "devjwsong"
    async with TelegramServer() as telegram:
        settings = telegram_settings(telegram.url, telegram.token, **foreign(checkpoint))
        async with BanterProcess(tmp_path, settings) as bot:
            for number, text in enumerate(TYPED, start=1):
                telegram.say(text)
                await telegram.wait_for_sent(number, within=60)
            assert await bot.stop() == 0
            await assert_as_traced(bot, checkpoint, TYPED)
        assert telegram.violations == []


def has_posted(discord: DiscordServer, count: int) -> bool:
    return len(discord.posted) >= count


async def test_an_encoder_decoder_talks_on_discord_as_its_trace_says(tmp_path: Path) -> None:
    checkpoint = PARITY / "pingpong-meena"
    async with DiscordServer() as discord:
        settings = discord_settings(
            discord.api_url, discord.token, **foreign(checkpoint, search="sampling", temperature=0.9)
        )
        async with BanterProcess(tmp_path, settings) as bot:
            await discord.wait_until(lambda: len(discord.identified) >= 1, 40)
            for number, text in enumerate(KOREAN, start=1):
                discord.say(discord.dm, text)
                await discord.wait_until(partial(has_posted, discord, number), 60)
            assert await bot.stop() == 0
            await assert_as_traced(bot, checkpoint, KOREAN)
        assert discord.violations == []
