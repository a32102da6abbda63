"""Receiving goes on after everything that time can heal, loses nothing, and says what is wrong."""

import asyncio
import json
import time

import pytest

from adapters.base import CommandSpec, PlatformUnreachable, TokenRefused
from adapters.telegram.client import Timing
from tests.servers.telegram import Fault, TelegramServer, bad_gateway, flood, garbage, refusal
from tests.servers.telegram_bot import part, telegram_bot

PERSON = {"id": 7, "is_bot": False, "first_name": "Person"}
SAID = {"message_id": 99, "date": 1_790_000_000, "chat": {"id": 7, "type": "private"}, "from": PERSON}
POISON = {"message": {**SAID, "date": "yesterday", "text": "poison"}}


async def hears(bot, text="Still there?"):
    bot.server.say(text)
    await bot.sink.wait_for(lambda: text in bot.sink.texts)


@pytest.mark.parametrize(
    "fault",
    [
        refusal(500, "Internal Server Error"),
        bad_gateway(),
        garbage(),
        Fault(drop=True),
        Fault(half=True),
        Fault(accept=True, drop=True),
        Fault(body=b""),
        Fault(body=b"null"),
        Fault(body=b'{"ok": true, "result": {"no": "list"}}'),
        Fault(body=b'{"ok": true, "result": ["no update", {"update_id": "x"}]}'),
        Fault(body=b"[" * 100_000),
        refusal(429, "Too Many Requests"),
        Fault(status=401, body=b"<html>a proxy's login page</html>"),
    ],
    ids=range(13),
)
async def test_a_failed_poll_is_tried_again(fault):
    async with TelegramServer() as server:
        server.fail("getUpdates", fault, fault, fault)
        async with telegram_bot(server) as bot:
            await hears(bot)
            await bot.wait_for_status(ready=True)


async def test_updates_of_a_lost_answer_come_again():
    async with TelegramServer() as server:
        server.say("Lost on the way")
        server.fail("getUpdates", Fault(accept=True, half=True))
        async with telegram_bot(server) as bot:
            await bot.sink.wait_for(lambda: bot.sink.messages)
            await server.wait_until_confirmed()

    assert bot.sink.texts == ["Lost on the way"]


async def test_an_outage_at_the_start_delays_it():
    server = TelegramServer()
    await server.start()
    await server.stop()  # its port is known now, and nobody is there
    async with telegram_bot(server) as bot:
        await bot.wait_for_status(ready=False, text="does not answer")
        await server.start()
        await hears(bot)
        await bot.wait_for_status(ready=True)
    await server.stop()


async def test_an_outage_in_between_is_survived():
    async with telegram_bot() as bot:
        await hears(bot, "Before")
        await bot.server.stop()
        status = await bot.wait_for_status(ready=False)
        await bot.server.start()
        await hears(bot, "After")

    assert status.detail


@pytest.mark.parametrize("fault", [bad_gateway(), garbage(), refusal(500, "x"), Fault(drop=True), Fault(body=b"7")])
async def test_a_start_that_fails_is_tried_again(fault):
    async with TelegramServer() as server:
        server.fail("getMe", fault, fault)
        async with telegram_bot(server) as bot:
            await hears(bot)


async def test_a_silent_server_is_noticed_and_left():
    """A poll without any answer ends by the client's own limit, with fresh connections for the next."""
    async with TelegramServer() as server:
        silence = Fault(wait_for=asyncio.Event())
        server.fail("getUpdates", silence)
        async with telegram_bot(server) as bot:
            status = await bot.wait_for_status(ready=False, text="no successful poll for")
            await hears(bot)
            await bot.wait_for_status(ready=True)

    assert " s: " in status.detail


async def test_many_stuck_polls_do_not_jam_the_connections():
    async with TelegramServer() as server:
        server.fail("getUpdates", *[Fault(wait_for=asyncio.Event()) for _ in range(12)])
        quick = Timing(poll=0.1, poll_grace=0.01, request=1, connect=1, first_retry=0.01, last_retry=0.01, idle=0.01)
        async with telegram_bot(server, timing=quick) as bot:
            await server.wait_for_calls("getUpdates", 13)
            await hears(bot)


async def test_an_answer_that_trickles_in_is_given_up():
    """httpx limits the time of each read; a byte now and then would keep a poll alive for ever."""
    async with TelegramServer() as server:
        server.fail("getMe", Fault(trickle=True))
        timing = Timing(poll=1, request=0.1, first_retry=0.1)
        async with telegram_bot(server, timing=timing) as bot:
            await bot.wait_for_status(ready=False, text="no complete answer within 0.1 s")
            await hears(bot)


async def test_a_second_poller_is_reported_and_waited_for():
    async with TelegramServer() as server:
        rival = refusal(409, "Conflict: terminated by other getUpdates request")
        server.fail("getUpdates", *[rival] * 3)
        async with telegram_bot(server) as bot:
            status = await bot.wait_for_status(ready=False, text="409")
            await hears(bot)

    assert "another process" in status.detail


async def test_two_pollers_lose_nothing():
    async with TelegramServer() as server, telegram_bot(server) as one, telegram_bot(server) as other:
        for number in range(20):
            server.say(f"{number}")
            await server.wait_until_confirmed()

        heard = set(one.sink.texts) | set(other.sink.texts)
        assert heard == {f"{number}" for number in range(20)}


async def test_a_forgotten_webhook_is_removed():
    async with TelegramServer() as server:
        server.webhook = {"url": "https://example.org/old"}
        async with telegram_bot(server) as bot:
            await hears(bot)

    assert server.webhook == {}
    assert not server.calls("deleteWebhook")[0].parameters.get("drop_pending_updates")


async def test_a_refused_token_ends_listening():
    async with TelegramServer() as server:
        server.fail("getMe", refusal(401, "Unauthorized"))
        async with telegram_bot(server) as bot:
            with pytest.raises(TokenRefused, match="Unauthorized"):
                await asyncio.wait_for(bot.listening, 5)

    assert not bot.adapter.status.ready
    assert server.token not in bot.adapter.status.detail


async def test_a_token_that_is_revoked_ends_listening():
    async with TelegramServer() as server, telegram_bot(server) as bot:
        await bot.wait_for_status(ready=True)
        server.fail("getMe", refusal(401, "Unauthorized"))
        server.fail("getUpdates", refusal(401, "Unauthorized"))
        with pytest.raises(TokenRefused, match="Unauthorized"):
            await asyncio.wait_for(bot.listening, 5)

    assert not bot.adapter.status.ready
    assert server.token not in bot.adapter.status.detail


async def test_one_401_among_good_answers_revokes_no_token():
    async with TelegramServer() as server, telegram_bot(server) as bot:
        await hears(bot, "Before")
        server.fail("getUpdates", refusal(401, "Unauthorized"))
        await hears(bot, "After")


async def test_a_server_that_counts_from_one_again_is_heard():
    """A rebuilt server, or Telegram after a quiet week, numbers updates anew: below the offset that was reached."""
    async with TelegramServer() as server, telegram_bot(server) as bot:
        for number in range(3):
            await hears(bot, f"Before {number}")
        await server.wait_until_confirmed()
        await server.stop()
        server.push({"message": {**SAID, "text": "After"}}, update_id=1)
        await server.start()
        await bot.sink.wait_for(lambda: "After" in bot.sink.texts)


async def test_an_address_without_a_bot_api_is_told_from_an_outage():
    async with TelegramServer() as server:
        server.fail("getMe", refusal(404, "Not Found"))
        async with telegram_bot(server) as bot:
            with pytest.raises(TokenRefused, match="wrong form, or api_url"):
                await asyncio.wait_for(bot.listening, 5)


async def test_a_poll_that_is_not_found_for_a_while_is_tried_again():
    async with TelegramServer() as server:
        server.fail("getUpdates", refusal(404, "Not Found"))
        async with telegram_bot(server) as bot:
            await hears(bot)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (refusal(401, "Unauthorized"), TokenRefused),
        (bad_gateway(), PlatformUnreachable),
        (garbage(), PlatformUnreachable),
        (Fault(body=b'{"ok": true, "result": "me"}'), PlatformUnreachable),
    ],
)
async def test_identifying_tells_a_refused_token_from_an_outage(fault, error):
    async with TelegramServer() as server, telegram_bot(server) as bot:
        await bot.wait_for_status(ready=True)
        server.fail("getMe", fault)
        with pytest.raises(error):
            await bot.adapter.identify()


async def test_a_poll_waits_as_told():
    async with TelegramServer() as server:
        server.fail("getUpdates", flood(1))
        async with telegram_bot(server) as bot:
            await bot.wait_for_status(ready=False, text="told to wait 1 s")
            await hears(bot)
            first, second = server.calls("getUpdates")[:2]

    assert second.at - first.at >= 1


@pytest.mark.parametrize(
    "fault",
    [
        refusal(429, "Too Many Requests", retry_after="1"),
        refusal(429, "Too Many Requests", retry_after=1.0),
        refusal(429, "Too Many Requests: retry after 1"),
    ],
    ids=["text", "float", "words"],
)
async def test_a_wait_is_understood_however_it_is_told(fault):
    async with TelegramServer() as server:
        server.fail("getUpdates", fault)
        async with telegram_bot(server) as bot:
            await bot.wait_for_status(ready=False, text="told to wait 1 s")


async def test_a_poisoned_update_is_kept_and_its_neighbours_are_heard():
    async with TelegramServer() as server:
        server.say("Before")
        server.push(POISON)
        server.say("After")
        async with telegram_bot(server) as bot:
            await bot.sink.wait_for(lambda: len(bot.sink.messages) == 2)
            await server.wait_until_confirmed()
            asked = len(server.calls("getUpdates"))

    assert bot.sink.texts == ["Before", "After"]
    assert ["poison" in raw for raw in bot.sink.dead.values()] == [True]
    assert asked <= 3


@pytest.mark.parametrize(
    "content",
    [
        {"message": {"message_id": 1}},
        {"message": "words"},
        {"message": {**SAID, "text": 5}},
        {"my_chat_member": {"chat": {"id": 7, "type": "private"}}},
        {"edited_message": [1, 2, 3]},
    ],
)
async def test_whatever_cannot_be_read_is_a_dead_letter(content):
    async with telegram_bot() as bot:
        bot.server.push(content)
        await bot.sink.wait_for(lambda: bot.sink.dead)
        await hears(bot)
        await bot.server.wait_until_confirmed()


async def test_an_unknown_kind_of_update_is_confirmed():
    async with telegram_bot() as bot:
        bot.server.push_again({"update_id": 100_000, "telepathy": {"id": 1}})
        await hears(bot)
        await bot.server.wait_until_confirmed()

    assert not bot.sink.dead


async def test_a_store_that_is_down_leaves_updates_unconfirmed():
    async with TelegramServer() as server:
        server.say("Keep me")
        async with telegram_bot(server) as bot:
            bot.sink.refuse = lambda _: True
            await bot.sink.wait_for(lambda: bot.sink.deliveries >= 3)
            status = await bot.wait_for_status(ready=False, text="store")
            kept = len(server.pending)
            bot.sink.refuse = lambda _: False
            await server.wait_until_confirmed()

    assert kept == 1
    assert status.detail.startswith("the store does not take what comes in")
    assert bot.sink.texts == ["Keep me"]
    assert all(call.parameters.get("offset", 0) <= 100_001 for call in server.calls("getUpdates")[:3])


async def test_a_refused_message_holds_back_its_chat_only_and_keeps_the_order():
    async with TelegramServer() as server:
        for text, user in (("a1", 7), ("b1", 8), ("a2", 7), ("b2", 8)):
            server.say(text, user=user)
        async with telegram_bot(server) as bot:
            refusals = iter([True, True])
            bot.sink.refuse = lambda message: getattr(message, "text", "") == "a1" and next(refusals, False)
            await bot.sink.wait_for(lambda: len(bot.sink.messages) == 4)
            await server.wait_until_confirmed()

    assert bot.sink.texts.index("a1") < bot.sink.texts.index("a2")
    assert bot.sink.texts[:2] == ["b1", "b2"]


async def test_a_message_that_the_store_never_takes_ends_as_a_dead_letter():
    """Everything else is kept, so the store works; for ever asking again would stop every chat."""
    async with TelegramServer() as server:
        server.say("indigestible")
        server.say("Behind it")
        async with telegram_bot(server) as bot:
            bot.sink.refuse = lambda message: getattr(message, "text", "") == "indigestible"
            await bot.sink.wait_for(lambda: bot.sink.messages)
            await server.wait_until_confirmed()

    assert bot.sink.texts == ["Behind it"]
    assert ["indigestible" in raw for raw in bot.sink.dead.values()] == [True]


async def test_a_server_that_answers_at_once_is_not_asked_in_a_circle():
    async with TelegramServer() as server:
        server.fail("getUpdates", *[Fault(body=b'{"ok": true, "result": []}') for _ in range(1000)])
        timing = Timing(poll=25, idle=0.1)
        async with telegram_bot(server, timing=timing) as bot:
            await server.wait_for_calls("getUpdates", 5)
            calls = server.calls("getUpdates")
            server.heal("getUpdates")
            await hears(bot)

    assert calls[4].at - calls[0].at > 0.4


async def test_the_same_batch_for_ever_is_not_a_circle():
    batch = b'{"ok": true, "result": [{"update_id": 5, "message": {"message_id": 1, "date": 1, "text": "hi", '
    batch += b'"chat": {"id": 7, "type": "private"}, "from": {"id": 7, "is_bot": false, "first_name": "P"}}}]}'
    async with TelegramServer() as server:
        server.fail("getUpdates", *[Fault(body=batch) for _ in range(1000)])
        async with telegram_bot(server, timing=Timing(first_retry=0.1)) as bot:
            started = time.monotonic()
            await server.wait_for_calls("getUpdates", 5)
            took = time.monotonic() - started
            status = await bot.wait_for_status(ready=False, text="same updates")

    assert took > 0.25
    assert bot.sink.texts == ["hi"]
    assert status.last_event_at is not None


async def test_update_ids_that_jump_or_start_anew_are_taken():
    async with telegram_bot() as bot:
        await hears(bot, "One")
        bot.server.push({"message": {**SAID, "text": "Two"}}, update_id=2**53 - 5)
        await bot.sink.wait_for(lambda: "Two" in bot.sink.texts)
        await bot.server.wait_until_confirmed()
        again = {"update_id": 3, "message": {**bot.server.reply_to(1), "message_id": 77, "text": "Three"}}
        body = {"ok": True, "result": [again]}
        bot.server.fail("getUpdates", Fault(body=json.dumps(body).encode()))
        await bot.sink.wait_for(lambda: "Three" in bot.sink.texts)

    assert bot.sink.texts == ["One", "Two", "Three"]


@pytest.mark.parametrize("fault", [refusal(404, "Not Found"), bad_gateway(), Fault(drop=True)])
async def test_a_server_without_menus_of_commands_is_good_enough(fault):
    async with TelegramServer() as server:
        server.fail("getMyCommands", fault)
        async with telegram_bot(server, commands=[CommandSpec(name="start", description="Hi")]) as bot:
            await hears(bot)
            await bot.adapter.post(part("Here"))


async def test_unconfirmed_updates_survive_a_sudden_end():
    """Cancelled between receipt and commit, as a killed process is."""
    async with TelegramServer() as server:
        server.say("In flight")
        async with telegram_bot(server) as bot:
            reached, never = asyncio.Event(), asyncio.Event()

            async def hang(_):
                reached.set()
                await never.wait()

            bot.sink.on_message = hang
            await asyncio.wait_for(reached.wait(), 5)
        assert bot.sink.texts == []

        async with telegram_bot(server) as bot:
            await bot.sink.wait_for(lambda: bot.sink.messages)

    assert bot.sink.texts == ["In flight"]
