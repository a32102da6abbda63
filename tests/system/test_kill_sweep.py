"""Kill the process at its N-th commit or socket write, start it again, and look at what people got.

No stage is named: whatever happens between receiving and posting lies somewhere among these points. Each message must
be answered exactly once; only a death between Telegram's acceptance and our commit may show one reply twice, and a
reply is then the same text.
"""

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.servers.telegram import TelegramServer
from tests.system.process import FAULTS, BanterProcess, telegram_settings

CHATS = (7, 8)


@pytest.mark.parametrize(
    ("role", "step"),
    [*(("parent", step) for step in (1, 3, 6, 9, 12, 15, 18, 22, 26)), *(("worker", step) for step in (1, 2, 4, 6, 8))],
)
async def test_a_death_at_any_step_loses_and_doubles_nothing(tmp_path: Path, role: str, step: int) -> None:
    async with TelegramServer() as telegram:
        for chat in CHATS:
            telegram.say(f"hello from {chat}", user=chat)
        settings = telegram_settings(telegram.url, telegram.token)
        async with BanterProcess(tmp_path, settings) as bot:
            await bot.restart(PYTHONPATH=str(FAULTS), BANTER_TEST_KILL=f"{role}:{step}:{tmp_path / 'killed'}")
            await _until_answered(telegram, bot)
            telegram.say("and once more", user=CHATS[0])
            await telegram.wait_for(lambda: _answers(telegram)[CHATS[0]] >= 2, within=60)
            async with asyncio.timeout(20):
                while bot.rows("select count(*) from replies where state <> 'posted'") != [(0,)]:
                    await asyncio.sleep(0.05)
            assert (tmp_path / "killed").exists(), "the step was never reached: nothing was tested"
            assert bot.rows("select state, count(*) from turns group by state") == [("replied", 3)]
            doubled = len(telegram.sent) - 3
            assert doubled == 0 or (doubled == 1 and _has_equal_neighbours(telegram))
            assert telegram.violations == []


async def _until_answered(telegram: TelegramServer, bot: BanterProcess) -> None:
    """Wait for both answers; start the process again where the kill ended it as a whole."""
    async with asyncio.timeout(90):
        while any(_answers(telegram)[chat] < 1 for chat in CHATS):
            if not bot.running:
                await bot.start()
            await asyncio.sleep(0.05)
    if not bot.running:
        await bot.start()


def _answers(telegram: TelegramServer) -> Counter[int]:
    return Counter(sent.chat for sent in telegram.sent)


def _has_equal_neighbours(telegram: TelegramServer) -> bool:
    texts: dict[int, list[str]] = {}
    for sent in telegram.sent:
        texts.setdefault(sent.chat, []).append(sent.text)
    return any(first == second for said in texts.values() for first, second in pairwise(said))
