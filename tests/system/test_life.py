"""The program as an operator lives with it: start, talk, stop, crash, start again. Real processes, real sockets."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.servers.telegram import Request, TelegramServer
from tests.system.process import FAULTS, BanterProcess, telegram_settings


@pytest.fixture
async def telegram():
    async with TelegramServer() as server:
        yield server
        assert server.violations == []


def banter(folder: Path, server: TelegramServer, **more: object) -> BanterProcess:
    return BanterProcess(folder, telegram_settings(server.url, server.token, **more))


async def test_a_private_message_is_answered_and_recorded(tmp_path: Path, telegram: TelegramServer) -> None:
    async with banter(tmp_path, telegram) as bot:
        asked = telegram.say("hi, how are you?")
        (sent,) = await telegram.wait_for_sent(1, within=60)
        assert sent.chat == 7
        assert sent.text.strip()
        assert sent.reply_to in (None, asked)
        assert await bot.stop() == 0
        assert telegram.token not in bot.printed
        assert "hi, how are you?" not in bot.printed
        assert bot.rows("select state from turns") == [("replied",)]
        assert bot.rows("select state, attempts from replies") == [("posted", 1)]
        assert bot.rows("select count(*) from candidates") == [(4,)]
        assert bot.rows("select count(*) from candidates where chosen") == [(1,)]


async def test_the_adapters_process_holds_no_torch(tmp_path: Path, telegram: TelegramServer) -> None:
    async with banter(tmp_path, telegram) as bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        assert "libtorch" not in Path(f"/proc/{bot.pid}/maps").read_text()
        assert len(bot.workers()) == 1


async def test_sigterm_answers_what_was_asked_and_ends_within_ten_seconds(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    async with banter(tmp_path, telegram) as bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        for number in range(3):
            telegram.say(f"what do you think of tea, number {number}?", user=20 + number)
        await telegram.wait_until_confirmed()
        began = asyncio.get_running_loop().time()
        assert await bot.stop(within=10.0) == 0
        assert asyncio.get_running_loop().time() - began < 10
        assert "Traceback" not in bot.printed
        unfinished = bot.rows("select count(*) from turns where state = 'leased'")
        assert unfinished == [(0,)]
        await bot.start()
        await telegram.wait_for_sent(4, within=60)
        assert Counter(sent.chat for sent in telegram.sent) == {7: 1, 20: 1, 21: 1, 22: 1}


async def test_a_second_signal_aborts_at_once(tmp_path: Path, telegram: TelegramServer) -> None:
    async with banter(tmp_path, telegram) as bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        bot.signal(signal.SIGTERM)
        await bot.wait_for_event("stopping")
        bot.signal(signal.SIGTERM)
        assert await bot.wait(within=3) in (0, 130)


async def test_messages_from_before_the_start_are_answered(tmp_path: Path, telegram: TelegramServer) -> None:
    telegram.say("hello, are you there?")
    telegram.say("hello from another chat", user=8)
    async with banter(tmp_path, telegram):
        await telegram.wait_for_sent(2, within=60)
        assert Counter(sent.chat for sent in telegram.sent) == {7: 1, 8: 1}


async def test_killed_while_the_reply_is_written_it_answers_once_after_the_restart(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    async with banter(tmp_path, telegram) as bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        (worker,) = bot.workers()
        os.kill(worker, signal.SIGSTOP)
        telegram.say("what is your favourite food?")
        await telegram.wait_until_confirmed()
        await bot.restart()
        os.kill(worker, signal.SIGKILL)  # a stopped process cannot end by itself
        await telegram.wait_for_sent(2, within=60)
        await bot.wait_for_rows("select count(*) from turns where state = 'replied'", [(2,)])
        assert len(telegram.sent) == 2


async def test_a_dead_worker_is_replaced_and_its_turn_answered_once(tmp_path: Path, telegram: TelegramServer) -> None:
    async with banter(tmp_path, telegram) as bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        os.kill(bot.workers()[0], signal.SIGKILL)
        telegram.say("are you still with me?")
        await telegram.wait_for_sent(2, within=60)
        assert bot.events("worker_ended")
        assert len(telegram.sent) == 2


async def test_a_worker_does_not_outlive_its_parent(tmp_path: Path, telegram: TelegramServer) -> None:
    async with banter(tmp_path, telegram) as bot:
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=60)
        (worker,) = bot.workers()
        await bot.kill()
        async with asyncio.timeout(5):
            while _alive(worker):
                await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent's look does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_killed_before_the_platform_answers_it_posts_again_and_remembers(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    """The one window in which Telegram may show a reply twice: accepted, and we died before we knew."""
    killed = asyncio.Event()

    async with banter(tmp_path, telegram) as bot:

        async def kill_when_accepted(stage: str, request: Request) -> None:
            if request.method == "sendMessage" and stage == "accepted" and not killed.is_set():
                killed.set()
                bot.signal(signal.SIGKILL)
                await bot.wait()

        telegram.on_request = kill_when_accepted
        telegram.say("hello")
        async with asyncio.timeout(60):
            await killed.wait()
        await bot.start()
        await telegram.wait_for_sent(2, within=60)
        telegram.say("and again")
        await telegram.wait_for_sent(3, within=60)
        assert telegram.sent[0].text == telegram.sent[1].text
        assert bot.rows("select count(*) from replies") == [(2,)]


async def test_at_most_once_leaves_a_reply_in_doubt_alone(tmp_path: Path, telegram: TelegramServer) -> None:
    killed = asyncio.Event()

    async with banter(tmp_path, telegram, delivery="at_most_once") as bot:

        async def kill_when_accepted(stage: str, request: Request) -> None:
            if request.method == "sendMessage" and stage == "accepted" and not killed.is_set():
                killed.set()
                bot.signal(signal.SIGKILL)
                await bot.wait()

        telegram.on_request = kill_when_accepted
        telegram.say("hello")
        async with asyncio.timeout(60):
            await killed.wait()
        await bot.start()
        telegram.say("and again")
        await telegram.wait_for_sent(2, within=60)
        assert len(telegram.sent) == 2
        assert bot.events("reply_given_up")


async def test_a_hung_generation_is_abandoned_and_its_turn_answered_by_a_new_worker(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    async with banter(tmp_path, telegram, limits={"reply_timeout": "6s"}) as bot:
        bot_environment = {"PYTHONPATH": str(FAULTS), "BANTER_TEST_HANG_ONCE": str(tmp_path / "hang")}
        await bot.restart(**bot_environment)
        telegram.say("hello")
        await telegram.wait_for_sent(1, within=90)
        assert bot.events("generation_hung")
        ((state, attempts),) = bot.rows("select state, attempts from turns")
        assert state == "replied"
        assert attempts > 1


async def test_a_poisoned_turn_dies_alone_after_three_attempts_and_the_others_are_answered(
    tmp_path: Path, telegram: TelegramServer
) -> None:
    async with banter(tmp_path, telegram) as bot:
        await bot.restart(PYTHONPATH=str(FAULTS), BANTER_TEST_POISON="zyzzyva")
        for user in range(20, 26):
            telegram.say("zyzzyva" if user == 23 else "hello there", user=user)
        await telegram.wait_for(lambda: len({sent.chat for sent in telegram.sent}) == 6, within=90)
        (dead,) = bot.rows("select attempts, reason from turns where state = 'dead'")
        assert dead[0] == 3
        assert "poisoned" in dead[1]
        apology = next(sent.text for sent in telegram.sent if sent.chat == 23)
        assert "went wrong" in apology
        assert bot.rows("select count(*) from turns where state = 'replied'") == [(5,)]
