"""What becomes of a message that the bot posts, on good days and bad ones."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.base import ChannelMoved, ChannelRefused, InDoubt, PlatformUnreachable, ReplyRefused, TryLater
from adapters.telegram import TelegramAdapter
from adapters.text import utf16_length
from tests.servers.telegram import Fault, TelegramServer, bad_gateway, flood, garbage, refusal
from tests.servers.telegram_bot import QUICK, group, part, private, telegram_bot


@pytest.fixture
async def server():
    async with TelegramServer() as running:
        for chat in (7, 8, -100500):
            running.say("Hello", chat=chat)
        yield running
        assert running.violations == []


@pytest.fixture
async def adapter(server):
    poster = TelegramAdapter(token=server.token, api_url=server.url, timing=QUICK)
    yield poster
    await poster.close()


async def test_a_message_is_posted_plainly_as_an_answer(server, adapter):
    receipt = await adapter.post(part("*Not* <b>markup</b>", reply_to="1"))

    [sent] = server.sent
    assert (str(sent.message_id), sent.text, sent.reply_to) == (receipt.message_id, "*Not* <b>markup</b>", 1)
    [call] = server.calls("sendMessage")
    assert "parse_mode" not in call.parameters
    assert call.parameters["link_preview_options"] == {"is_disabled": True}


async def test_an_answer_to_a_deleted_message_is_posted_without_reference(server, adapter):
    await adapter.post(part("Too late", reply_to="4711"))

    assert [(sent.text, sent.reply_to) for sent in server.sent] == [("Too late", None)]


@pytest.mark.parametrize("words", ["message to be replied not found", "REPLY_MESSAGE_ID_INVALID"])
async def test_a_server_that_insists_on_the_target_gets_a_plain_message(server, adapter, words):
    server.fail("sendMessage", refusal(400, f"Bad Request: {words}"))
    await adapter.post(part("Anyway", reply_to="1"))

    assert [(sent.text, sent.reply_to) for sent in server.sent] == [("Anyway", None)]


async def test_a_long_reply_is_split_at_sentence_ends_counted_in_utf16(server, adapter):
    sentence = "I like this 😀😀😀 very much. "
    text = (sentence * 400).strip()
    parts = adapter.split(text)
    for piece in parts:
        await adapter.post(part(piece))

    assert [sent.text for sent in server.sent] == parts
    assert all(piece.endswith("much.") for piece in parts)
    assert all(utf16_length(piece) <= 4096 for piece in parts)
    assert " ".join(parts) == text


async def test_emoji_fill_a_message_by_code_units(server, adapter):
    for piece in adapter.split("👩‍👩‍👧‍👦" * 1000):
        await adapter.post(part(piece))

    assert "".join(sent.text for sent in server.sent) == "👩‍👩‍👧‍👦" * 1000


async def test_text_that_no_request_can_carry_is_mended(server, adapter):
    await adapter.post(part("half \ud83d of an emoji\0"))

    assert [sent.text for sent in server.sent] == ["half \ufffd of an emoji"]


async def test_a_flood_wait_holds_its_chat_and_no_other(server, adapter):
    server.fail("sendMessage", flood(30, chat=7))

    with pytest.raises(TryLater) as first:
        await adapter.post(part("One"))
    with pytest.raises(TryLater) as second:
        await adapter.post(part("Two"))
    await asyncio.wait_for(adapter.post(part("Three", private(8))), 2)

    assert first.value.retry_after == timedelta(seconds=30)
    assert timedelta(seconds=25) < second.value.retry_after <= timedelta(seconds=30)
    assert len(server.calls("sendMessage")) == 2, "the waiting chat is not asked again"
    assert [sent.text for sent in server.sent] == ["Three"]


async def test_a_flood_wait_ends(server):
    now = [1000.0]
    adapter = TelegramAdapter(token=server.token, api_url=server.url, timing=QUICK, clock=lambda: now[0])
    server.fail("sendMessage", flood(30))
    with pytest.raises(TryLater):
        await adapter.post(part("One"))
    now[0] += 30.5
    await adapter.post(part("One"))
    await adapter.close()

    assert [sent.text for sent in server.sent] == ["One"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (refusal(403, "Forbidden: bot was blocked by the user"), ChannelRefused),
        (refusal(403, "Forbidden: bot was kicked from the supergroup chat"), ChannelRefused),
        (refusal(400, "Bad Request: chat not found"), ChannelRefused),
        (refusal(400, "Bad Request: TOPIC_CLOSED"), ChannelRefused),
        (refusal(400, "Bad Request: message thread not found"), ChannelRefused),
        (refusal(400, "Bad Request: not enough rights to send text messages to the chat"), ChannelRefused),
        (refusal(400, "Bad Request: message is too long"), ReplyRefused),
        (refusal(400, "Bad Request: something new"), ReplyRefused),
        (refusal(500, "Internal Server Error"), TryLater),
        (refusal(429, "Too Many Requests"), TryLater),
        (refusal(401, "Unauthorized"), TryLater),
        (refusal(404, "Not Found"), TryLater),
        (Fault(status=429, body=b'{"ok": false, "parameters": {"retry_after": "soon"}}'), TryLater),
        (
            Fault(status=400, body=b'{"ok": false, "description": 5, "parameters": {"migrate_to_chat_id": "x"}}'),
            ReplyRefused,
        ),
        (bad_gateway(), TryLater),
        (Fault(status=503, body=b""), TryLater),
        (Fault(status=504, body=b"<html>Gateway Time-out</html>"), InDoubt),
        (Fault(drop=True), InDoubt),
        (Fault(accept=True, drop=True), InDoubt),
        (Fault(accept=True, half=True), InDoubt),
        (garbage(), InDoubt),
        (Fault(body=b"[]"), InDoubt),
        (Fault(body=b'{"ok": true}'), InDoubt),
        (Fault(body=b'{"ok": false, "error_code": 403, "description": "Forbidden"}'), ChannelRefused),
        (Fault(wait_for=asyncio.Event()), InDoubt),
    ],
    ids=lambda value: getattr(value, "description", "") or getattr(value, "__name__", None),
)
async def test_each_failure_says_what_became_of_the_message(server, adapter, fault, error):
    server.fail("sendMessage", fault)

    with pytest.raises(error):
        await asyncio.wait_for(adapter.post(part("Hello")), 5)
    assert len(server.calls("sendMessage")) == 1, "retrying is not the adapter's business"
    assert len(server.sent) == (1 if fault.accept else 0)

    await adapter.post(part("Again"))
    assert server.sent[-1].text == "Again"


@pytest.mark.parametrize("result", [b"true", b"{}", b"null"])
async def test_what_the_server_calls_ok_is_posted_and_not_repeated(server, adapter, result):
    server.fail("sendMessage", Fault(body=b'{"ok": true, "result": %s}' % result))

    assert (await adapter.post(part("Hello"))).message_id


async def test_a_group_that_refused_a_post_is_tried_again_when_it_speaks_a_minute_later(server):
    """Nobody tells a bot that all members of a group may write again, or that a closed topic is open."""
    now = [0.0]
    async with telegram_bot(server, clock=lambda: now[0]) as bot:
        server.fail("sendMessage", refusal(400, "Bad Request: TOPIC_CLOSED"))
        with pytest.raises(ChannelRefused):
            await bot.adapter.post(part("Hello", group()))
        server.say("At once", chat=-100500)
        await bot.sink.wait_for(lambda: "At once" in bot.sink.texts)
        assert not bot.sink.back
        now[0] += 61
        server.say("Later", chat=-100500)
        await bot.sink.wait_for(lambda: "Later" in bot.sink.texts)

    assert bot.sink.back == ["-100500"]


async def test_a_send_is_waited_for_longer_than_other_requests(server):
    """Given up too early it would be posted twice."""
    poster = TelegramAdapter(token=server.token, api_url=server.url, timing=replace(QUICK, request=0.05, send=10))
    late = asyncio.Event()
    server.fail("sendMessage", Fault(wait_for=late))
    server.fail("getMe", Fault(wait_for=late))
    posting = asyncio.create_task(poster.post(part("Late")))
    await server.wait_for_calls("sendMessage", 1)
    with pytest.raises(PlatformUnreachable, match="no complete answer within"):
        await poster.identify()
    late.set()

    assert (await posting).message_id
    await poster.close()


async def test_without_a_server_nothing_was_posted(server, adapter):
    await server.stop()

    with pytest.raises(TryLater):
        await adapter.post(part("Hello"))


async def test_a_closed_adapter_posts_nothing(server, adapter):
    await adapter.close()

    with pytest.raises(TryLater):
        await adapter.post(part("Hello"))


async def test_a_busy_group_is_paced_and_no_other_chat_with_it(server, adapter):
    """20 messages a minute in a group; the 21st waits its turn."""
    for number in range(20):
        await adapter.post(part(f"{number}", group()))
    late = asyncio.create_task(adapter.post(part("late", group())))
    await asyncio.wait_for(adapter.post(part("elsewhere")), 2)

    assert not late.done()
    late.cancel()
    assert [sent.text for sent in server.sent[-2:]] == ["19", "elsewhere"]


async def test_a_moved_group_names_its_new_address(server, adapter):
    server.migrate(-100500, -100999)

    with pytest.raises(ChannelMoved) as moved:
        await adapter.post(part("Hello", group()))
    assert moved.value.new_address == "-100999"


async def test_an_address_of_another_platform_is_refused(server, adapter):
    with pytest.raises(ChannelRefused, match="no Telegram address"):
        await adapter.post(part("Hello", private("general")))


async def test_typing_is_shown_and_its_failures_are_swallowed(server, adapter):
    server.fail("sendChatAction", flood(3), bad_gateway())
    await adapter.show_typing(private())
    await adapter.show_typing(private())  # under its flood wait: not asked
    await adapter.show_typing(private(8))
    await adapter.show_typing(private(8))
    await adapter.show_typing(private("nowhere"))

    assert [call.parameters["chat_id"] for call in server.calls("sendChatAction")] == [7, 8, 8]


async def test_typing_uses_up_no_share_of_a_group(server, adapter):
    for _ in range(25):
        await asyncio.wait_for(adapter.show_typing(group()), 2)
    await asyncio.wait_for(adapter.post(part("At once", group())), 2)

    assert [sent.text for sent in server.sent] == ["At once"]


async def test_the_token_never_reaches_the_log_or_an_error(server, adapter, caplog):
    caplog.set_level("DEBUG")
    server.fail("sendMessage", refusal(400, f"Bad Request: {server.token}"), flood(1), garbage(), bad_gateway())
    async with telegram_bot(server):
        await server.wait_for_calls("getUpdates", 1)
        for number in range(4):
            with pytest.raises((ReplyRefused, TryLater, InDoubt)) as error:
                await adapter.post(part("A secret of mine", private(7 + number % 2)))
            assert server.token not in str(error.value)

    logged = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.name != "asyncio")
    assert server.token not in logged
    assert "A secret of mine" not in logged
    assert "Traceback" not in caplog.text
