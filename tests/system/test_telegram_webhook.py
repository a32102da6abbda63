"""The webhook: 200 follows the commit, and only Telegram is heard."""

import asyncio
import io
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest

from adapters.telegram import TelegramAdapter
from adapters.telegram.webhook import WebhookSettings
from tests.servers.telegram import TelegramServer, bad_gateway
from tests.servers.telegram_bot import telegram_bot

SECRET = "a-secret_of-the-Webhook"
PUBLIC_URL = "https://bot.example.org/telegram/hook"
HEADER = "X-Telegram-Bot-Api-Secret-Token"
UPDATE = {
    "update_id": 1,
    "message": {
        "message_id": 5,
        "date": 1_790_000_000,
        "chat": {"id": 7, "type": "private"},
        "from": {"id": 7, "is_bot": False, "first_name": "Person"},
        "text": "forged?",
    },
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def webhook_bot(server: TelegramServer | None = None):
    port = free_port()
    settings = WebhookSettings(url=PUBLIC_URL, listen="127.0.0.1", port=port, secret=SECRET)
    own = server or TelegramServer()
    if server is None:
        await own.start()
    own.webhook_via = f"http://127.0.0.1:{port}/telegram/hook"
    try:
        async with telegram_bot(own, mode="webhook", webhook=settings) as bot:
            await bot.wait_for_status(ready=True)
            yield bot
    finally:
        if server is None:
            await own.stop()


async def post(bot, **request) -> int:
    async with aiohttp.ClientSession() as session, session.post(bot.server.webhook_via, **request) as answer:
        return answer.status


async def test_updates_arrive_and_are_confirmed():
    async with webhook_bot() as bot:
        bot.server.say("One")
        bot.server.say("Two")
        await bot.sink.wait_for(lambda: len(bot.sink.messages) == 2)
        await bot.server.wait_until_confirmed()
        [registration] = bot.server.calls("setWebhook")

    assert bot.sink.texts == ["One", "Two"]
    assert bot.server.webhook_answers == [200, 200]
    assert registration.parameters == {
        "url": PUBLIC_URL,
        "secret_token": SECRET,
        "allowed_updates": ["message", "edited_message", "my_chat_member"],
        "max_connections": 1,
    }


async def test_an_update_is_confirmed_only_after_the_commit():
    async with webhook_bot() as bot:
        committing, commit = asyncio.Event(), asyncio.Event()

        async def slow(_):
            committing.set()
            await commit.wait()

        bot.sink.on_message = slow
        bot.server.say("Slow")
        await asyncio.wait_for(committing.wait(), 5)
        answered_before = list(bot.server.webhook_answers)
        commit.set()
        await bot.server.wait_until_confirmed()

    assert answered_before == []
    assert bot.server.webhook_answers == [200]


async def test_a_store_that_is_down_makes_telegram_repeat():
    async with webhook_bot() as bot:
        bot.sink.refuse = lambda _: bot.sink.deliveries <= 2
        bot.server.say("Keep me")
        await bot.server.wait_until_confirmed()

    assert bot.server.webhook_answers == [503, 503, 200]
    assert bot.sink.texts == ["Keep me"]


async def test_an_unreadable_update_is_confirmed_and_kept():
    async with webhook_bot() as bot:
        bot.server.push({"message": {"message_id": "?"}})
        bot.server.say("Behind it")
        await bot.server.wait_until_confirmed()

    assert len(bot.sink.dead) == 1
    assert bot.sink.texts == ["Behind it"]


@pytest.mark.parametrize("headers", [{}, {HEADER: ""}, {HEADER: "wrong"}, {HEADER: SECRET + "x"}, {HEADER: "sécret"}])
async def test_without_the_secret_nothing_is_heard(headers):
    async with webhook_bot() as bot:
        assert await post(bot, json=UPDATE, headers=headers) == 403
        assert await post(bot, json=UPDATE, headers={HEADER: SECRET}) == 200

    assert bot.sink.texts == ["forged?"]
    assert bot.sink.deliveries == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"data": b"update_id=1", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b"[1]", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": io.BytesIO(b" " * (1024 * 1024 + 1)), "headers": {"Content-Type": "application/json"}}, 413),
    ],
    ids=["form", "half", "deep", "list", "huge"],
)
async def test_what_is_no_update_is_refused(request_, status):
    async with webhook_bot() as bot:
        request_["headers"][HEADER] = SECRET
        assert await post(bot, **request_) == status

    assert bot.sink.deliveries == 0


async def test_only_posts_to_the_secret_path_are_served():
    async with webhook_bot() as bot:
        bot.server.webhook_via = bot.server.webhook_via.replace("/telegram/hook", "/")
        assert await post(bot, json=UPDATE, headers={HEADER: SECRET}) == 404


async def test_a_webhook_that_others_removed_is_set_again():
    async with webhook_bot() as bot:
        bot.server.webhook = {}
        await bot.server.wait_for_calls("setWebhook", 2)
        bot.server.say("Back")
        await bot.sink.wait_for(lambda: bot.sink.messages)


async def test_registration_is_tried_until_it_succeeds():
    async with TelegramServer() as server:
        server.fail("setWebhook", bad_gateway(), bad_gateway())
        async with webhook_bot(server) as bot:
            server.say("Hello")
            await bot.sink.wait_for(lambda: bot.sink.messages)


async def test_a_port_in_use_is_waited_for():
    async with TelegramServer() as server:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            settings = WebhookSettings(url=PUBLIC_URL, listen="127.0.0.1", port=port, secret=SECRET)
            async with telegram_bot(server, mode="webhook", webhook=settings) as bot:
                await bot.wait_for_status(ready=False, text="cannot listen on")
                holder.close()
                await bot.wait_for_status(ready=True)


@pytest.mark.parametrize("secret", ["", "with space", "x" * 257, "naïve"])
def test_a_secret_that_telegram_refuses_is_refused_at_once(secret):
    with pytest.raises(ValueError, match="secret"):
        WebhookSettings(url=PUBLIC_URL, listen="127.0.0.1", port=1, secret=secret)


def test_webhook_mode_needs_settings():
    with pytest.raises(ValueError, match="settings"):
        TelegramAdapter(token="1:x", mode="webhook")
