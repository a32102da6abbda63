"""The test server refuses what the specification forbids, in each form a request can have."""

import json

import aiohttp
import pytest

from tests.servers.telegram import TelegramServer


@pytest.fixture
async def server():
    async with TelegramServer() as running:
        running.say("Hello")
        yield running


async def ask(server, method, token=None, **form):
    async with aiohttp.ClientSession() as session:
        url = f"{server.url}/bot{token or server.token}/{method}"
        async with session.post(url, **(form or {"data": {}})) as response:
            return response.status, await response.json()


FORBIDDEN = [
    ("sendMessage", {"chat_id": 7}, "text is missing"),
    ("sendMessage", {"chat_id": 7, "text": "hi", "parsemode": "HTML"}, "unknown field parsemode"),
    ("sendMessage", {"chat_id": 7, "text": "hi", "disable_notification": "perhaps"}, "is no Boolean"),
    ("sendMessage", {"chat_id": 7, "text": "hi", "reply_parameters": {"chat_id": 7}}, "is no ReplyParameters"),
    (
        "sendMessage",
        {"chat_id": 7, "text": "hi", "reply_parameters": {"message_id": 1, "x": 1}},
        "is no ReplyParameters",
    ),
    ("sendMessage", {"chat_id": 7, "text": "hi", "entities": [{"type": "bold"}]}, "entities is no Array"),
    ("sendMessage", {"chat_id": 7, "text": "x" * 4097}, "longer than 4096"),
    ("sendMessage", {"chat_id": 7, "text": "😀" * 2049}, "longer than 4096"),
    ("sendMessage", {"chat_id": 7, "text": " \n"}, "text is empty"),
    ("sendChatAction", {"chat_id": 7}, "action is missing"),
    ("getUpdates", {"offset": "first"}, "offset is no Integer"),
    ("getUpdates", {"timeout": True}, "timeout is no Integer"),
    ("setMyCommands", {"commands": [{"command": "Start", "description": "x"}]}, "bad command"),
    ("setMyCommands", {"commands": [], "scope": {"type": "everybody"}}, "scope is no BotCommandScope"),
    ("getChatMember", {"chat_id": 7, "user_id": "me"}, "user_id is no Integer"),
    ("sendPhoto", {"chat_id": 7, "photo": "x"}, "not to be called"),
]


@pytest.mark.parametrize(("method", "parameters", "problem"), FORBIDDEN)
@pytest.mark.parametrize("form", ["json", "form"])
async def test_a_forbidden_request_is_refused_and_remembered(server, method, parameters, problem, form):
    plain = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    status, answer = await ask(server, method, **({"json": parameters} if form == "json" else {"data": plain}))

    assert status in {400, 501}
    assert answer["ok"] is False
    assert any(problem in violation for violation in server.violations)
    assert server.sent == []


@pytest.mark.parametrize("form", ["json", "data", "params"])
async def test_each_form_of_a_request_is_understood(server, form):
    target = {"message_id": 1}
    parameters = {"chat_id": 7, "text": "12", "reply_parameters": target if form == "json" else json.dumps(target)}
    status, answer = await ask(server, "SENDMESSAGE", **{form: parameters})

    assert (status, answer["result"]["text"]) == (200, "12")
    assert server.sent[0].reply_to == 1
    assert server.violations == []


async def test_an_unknown_method_and_a_wrong_token_are_told_apart(server):
    assert (await ask(server, "sendMassage"))[0] == 404
    assert (await ask(server, "getMe", token="1:wrong"))[0] == 401
    assert server.violations == ["unknown method sendMassage"]


async def test_updates_stay_until_a_higher_offset_confirms_them(server):
    server.say("Second")
    first, second = (await ask(server, "getUpdates"))[1]["result"]
    again = (await ask(server, "getUpdates", json={"limit": 1}))[1]["result"]
    rest = (await ask(server, "getUpdates", json={"offset": first["update_id"] + 1}))[1]["result"]
    none = (await ask(server, "getUpdates", json={"offset": second["update_id"] + 1}))[1]["result"]

    assert again == [first]
    assert rest == [second]
    assert none == []


async def test_updates_that_were_not_asked_for_are_not_kept(server):
    await ask(server, "getUpdates", json={"offset": 200_000, "allowed_updates": ["edited_message"]})
    number = server.say("Not wanted")
    server.edit(number, "Wanted")

    assert [list(update)[1] for update in server.pending] == ["edited_message"]
