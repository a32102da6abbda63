"""What people do in Telegram reaches the sink as the port says, through real sockets and the real library."""

import asyncio

import pytest

from adapters.base import Author, ChannelKind, CommandSpec
from tests.servers.telegram import TelegramServer, refusal
from tests.servers.telegram_bot import group, part, private, telegram_bot

GROUP = -100500
NAME = "@banter_test_bot"


def mention(offset: int = 0) -> list[dict[str, object]]:
    return [{"type": "mention", "offset": offset, "length": len(NAME)}]


async def test_a_private_message_arrives():
    async with telegram_bot() as bot:
        number = bot.server.say("Hello there")
        await bot.sink.wait_for(lambda: bot.sink.messages)
        message = bot.sink.messages[0]

    assert (message.channel, message.message_id, message.text) == (private(), str(number), "Hello there")
    assert message.author == Author(id="7", is_admin=True)
    assert message.sent_at.tzinfo is not None
    assert (message.mentions_bot, message.replies_to_bot) == (False, False)


async def test_a_mention_in_a_group_is_taken_out_of_the_text():
    async with telegram_bot() as bot:
        bot.server.say(f"{NAME}, how are you?", chat=GROUP, entities=mention())
        await bot.sink.wait_for(lambda: bot.sink.messages)
        message = bot.sink.messages[0]

    assert (message.channel, message.text, message.mentions_bot) == (group(), "how are you?", True)


async def test_a_reply_to_the_bot_is_told_apart():
    async with telegram_bot() as bot:
        bot.server.say("Say something", chat=GROUP)
        await bot.sink.wait_for(lambda: bot.sink.messages)
        receipt = await bot.adapter.post(part("Something", group()))
        posted = int(receipt.message_id)
        bot.server.say("And more", chat=GROUP, reply_to_message=bot.server.reply_to(posted, chat=GROUP))
        await bot.sink.wait_for(lambda: len(bot.sink.messages) == 2)

    assert bot.sink.messages[1].replies_to_bot
    assert bot.sink.messages[1].reply_to == receipt.message_id


async def test_a_reply_lands_in_the_topic_that_asked():
    async with telegram_bot() as bot:
        number = bot.server.say("In a topic", chat=GROUP, **bot.server.topic(GROUP, 33))
        await bot.sink.wait_for(lambda: bot.sink.messages)
        message = bot.sink.messages[0]
        await bot.adapter.show_typing(message.channel)
        await bot.adapter.post(part("Here", message.channel, reply_to=message.message_id))
        [sent] = await bot.server.wait_for_sent(1)
        [typing] = bot.server.calls("sendChatAction")

    assert (message.channel.address, message.channel.kind) == (f"{GROUP}/33", ChannelKind.THREAD)
    assert not message.replies_to_bot
    assert message.reply_to is None
    assert (sent.chat, sent.thread, sent.reply_to) == (GROUP, 33, number)
    assert typing.parameters["message_thread_id"] == 33


async def test_a_caption_is_text_and_a_sticker_has_none():
    picture = [{"file_id": "x", "file_unique_id": "y", "width": 10, "height": 10}]
    sticker = {"file_id": "x", "file_unique_id": "y", "width": 9, "height": 9, "is_animated": False, "is_video": False}
    async with telegram_bot() as bot:
        bot.server.say(None, photo=picture, caption="Look at this")
        bot.server.say(None, sticker={**sticker, "type": "regular"})
        bot.server.say(None, new_chat_title="A service message says nothing")
        bot.server.say("The end")
        await bot.sink.wait_for(lambda: "The end" in bot.sink.texts)

    assert bot.sink.texts == ["Look at this", "", "The end"]


async def test_an_edit_arrives_with_the_new_text():
    async with telegram_bot() as bot:
        number = bot.server.say("Helo")
        bot.server.edit(number, "Hello")
        await bot.sink.wait_for(lambda: bot.sink.edits)

    assert bot.sink.edits == [(private(), str(number), "Hello")]


async def test_a_group_that_moves_is_followed():
    async with telegram_bot() as bot:
        bot.server.say("Before", chat=GROUP)
        bot.server.migrate(GROUP, -100999)
        await bot.sink.wait_for(lambda: len(bot.sink.moves) == 2)

    assert set(bot.sink.moves) == {(str(GROUP), "-100999")}


async def test_being_blocked_and_welcomed_again_are_told():
    async with telegram_bot() as bot:
        bot.server.member("kicked")
        await bot.sink.wait_for(lambda: bot.sink.gone)
        bot.server.member("member")
        await bot.sink.wait_for(lambda: bot.sink.back)

    assert bot.sink.gone == [("7", "blocked by the person")]
    assert bot.sink.back == ["7"]


async def test_commands_arrive_with_name_and_arguments():
    async with telegram_bot() as bot:
        bot.server.say("/Persona  pirate queen ")
        bot.server.say(f"/reset{NAME}", chat=GROUP)
        bot.server.say("/start@some_other_bot", chat=GROUP)
        bot.server.say("The end")
        await bot.sink.wait_for(lambda: "The end" in bot.sink.texts and len(bot.sink.commands) == 2)

    found = {(command.name, command.arguments, command.channel.address) for command in bot.sink.commands}
    assert found == {("persona", "pirate queen", "7"), ("reset", "", str(GROUP))}


@pytest.mark.parametrize("admin", [True, False])
async def test_admin_rights_are_asked_for_commands_that_need_them(admin):
    commands = [CommandSpec(name="reset", description="Forget", admin_only_in_groups=True)]
    async with telegram_bot(commands=commands) as bot:
        if admin:
            bot.server.make_admin(7, chat=GROUP)
        bot.server.say("/reset", chat=GROUP)
        await bot.sink.wait_for(lambda: bot.sink.commands)

    assert bot.sink.commands[0].author.is_admin is admin


async def test_rights_that_cannot_be_looked_up_are_none():
    commands = [CommandSpec(name="reset", description="Forget", admin_only_in_groups=True)]
    async with TelegramServer() as server:
        server.make_admin(7, chat=GROUP)
        server.fail("getChatMember", refusal(500, "Internal Server Error"))
        async with telegram_bot(server, commands=commands) as bot:
            server.say("/reset", chat=GROUP)
            await bot.sink.wait_for(lambda: bot.sink.commands)

    assert not bot.sink.commands[0].author.is_admin


async def test_commands_are_registered_once_for_those_who_may():
    commands = [
        CommandSpec(name="start", description="Say hello"),
        CommandSpec(name="persona", description="Change the persona", admin_only_in_groups=True),
    ]
    async with TelegramServer() as server:
        for starts in (1, 2):
            async with telegram_bot(server, commands=commands):
                await server.wait_for(lambda starts=starts: len(server.calls("getMyCommands")) == 4 * starts)
                await server.wait_for(lambda: len(server.commands) == 4)

    names = {scope: [command["command"] for command in menu] for scope, menu in server.commands.items()}
    assert names["default"] == names["all_group_chats"] == ["start"]
    assert names["all_private_chats"] == names["all_chat_administrators"] == ["start", "persona"]
    assert len(server.calls("setMyCommands")) == 4


async def test_a_duplicate_is_delivered_again_and_confirmed():
    async with telegram_bot() as bot:
        bot.server.say("Once")
        await bot.sink.wait_for(lambda: bot.sink.messages)
        update = {"update_id": 100_001, "message": bot.server.reply_to(1)}
        await bot.server.wait_until_confirmed()
        bot.server.push_again({**update, "update_id": 100_002})
        await bot.sink.wait_for(lambda: bot.sink.deliveries == 2)
        await bot.server.wait_until_confirmed()

    assert bot.sink.texts == ["Once"]


async def test_messages_of_a_chat_keep_their_order_and_chats_run_side_by_side():
    async with TelegramServer() as server:
        for number in range(60):
            server.say(f"{number}", user=7 + number % 3)
        async with telegram_bot(server) as bot:
            arrived = asyncio.Barrier(3)  # passed only if three chats are handed over at once

            async def meet(message):
                if int(message.text) < 3:
                    await asyncio.wait_for(arrived.wait(), 5)

            bot.sink.on_message = meet
            await bot.sink.wait_for(lambda: len(bot.sink.messages) == 60)

    for user in ("7", "8", "9"):
        said = [int(message.text) for message in bot.sink.messages if message.author.id == user]
        assert said == sorted(said)


async def test_what_was_written_while_the_bot_was_down_is_heard():
    async with TelegramServer() as server:
        server.say("Anybody there?")
        async with telegram_bot(server) as bot:
            await bot.sink.wait_for(lambda: bot.sink.messages)

    assert bot.sink.texts == ["Anybody there?"]
    assert server.calls("getUpdates")[0].parameters["allowed_updates"] == [
        "message",
        "edited_message",
        "my_chat_member",
    ]


async def test_closing_ends_listening():
    async with telegram_bot() as bot:
        await bot.wait_for_status(ready=True)
        await bot.adapter.close()
        await asyncio.wait_for(bot.listening, 5)
        await bot.adapter.close()


async def test_the_account_is_identified_with_its_limits():
    async with telegram_bot() as bot:
        bot.server.account |= {"can_read_all_group_messages": False, "can_join_groups": False}
        identity = await bot.adapter.identify()

    assert (identity.id, identity.name) == ("987654321", "banter_test_bot")
    assert identity.invite_url == "https://t.me/banter_test_bot"
    assert ["/setprivacy" in limit or "/setjoingroups" in limit for limit in identity.limitations] == [True, True]
