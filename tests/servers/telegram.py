"""A Bot API server on loopback that is as strict as the specification and fails as the real one does.

    async with TelegramServer() as server:
        adapter = TelegramAdapter(token=server.token, api_url=server.url)
        server.say("Hello", user=7)                      # a private chat; a negative chat id is a group
        await server.wait_for_sent(1)
        assert server.violations == []

Updates wait until a poll confirms them or a webhook answers 2xx. `fail` makes the next requests of a method fail.
A request that the specification forbids is refused and remembered in `violations`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.servers.telegram_errors import (
    Fault,
    Refused,
    answer_error,
    bad_gateway,
    break_request,
    flood,
    garbage,
    refusal,
)
from tests.servers.telegram_spec import decode, find_method, find_violations, read_form

__all__ = ["TOKEN", "Fault", "Request", "Sent", "TelegramServer", "bad_gateway", "flood", "garbage", "refusal"]

TOKEN = "987654321:test-token-of-nobody"
ALL_BUT_SOME = {"chat_member", "message_reaction", "message_reaction_count"}  # sent only where named


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    parameters: dict[str, Any]
    at: float  # monotonic seconds


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A message that the server took from the bot."""

    message_id: int
    chat: int
    thread: int | None
    text: str
    reply_to: int | None
    at: float


@dataclass
class _Chat:
    id: int
    type: str
    messages: dict[int, dict[str, Any]] = field(default_factory=dict)
    closed: Fault | None = None  # what every send is answered with
    admins: set[int] = field(default_factory=set)


Hook = Callable[[str, Request], Awaitable[None] | None]


class TelegramServer:
    """One bot's Bot API server. `on_request` is called as ("asked" | "accepted" | "answered", request)."""

    def __init__(self, *, token: str = TOKEN, username: str = "banter_test_bot", port: int = 0) -> None:
        self.token = token
        self.me: dict[str, Any] = {
            "id": int(token.partition(":")[0]),
            "is_bot": True,
            "first_name": "Banter",
            "username": username,
        }
        self.account = {"can_join_groups": True, "can_read_all_group_messages": True, "supports_inline_queries": False}
        self.violations: list[str] = []
        self.requests: list[Request] = []
        self.sent: list[Sent] = []
        self.commands: dict[str, list[dict[str, str]]] = {}
        self.webhook: dict[str, Any] = {}
        self.webhook_via: str | None = None  # the address behind the proxy that a webhook's URL stands for
        self.webhook_answers: list[int] = []
        self.pending: list[dict[str, Any]] = []
        self.on_request: Hook | None = None
        self._port = port
        self._faults: dict[str, list[Fault]] = {}
        self._chats: dict[int, _Chat] = {}
        self._topics: set[tuple[int, int]] = set()
        self._next_update_id = 100_001
        self._next_message_id = 1
        self._allowed: list[str] | None = None
        self._poll: asyncio.Future[None] | None = None  # done when a younger poll came
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/bot{token}/{method}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    # What tests do

    def say(self, text: str | None = "Hello", *, user: int = 7, chat: int | None = None, **more: Any) -> int:
        """A person says something; returns the message id. `more` goes into the message as it is."""
        message = self._message(chat or user, {"id": user, "is_bot": False, "first_name": f"Person {user}"})
        if text is not None:
            message["text"] = text
        message.update(more)
        self._remember(message)
        self.push({"message": message})
        return int(message["message_id"])

    def edit(self, message_id: int, text: str, *, chat: int = 7) -> None:
        message = {**self._chats[chat].messages[message_id], "text": text, "edit_date": int(time.time())}
        self._remember(message)
        self.push({"edited_message": message})

    def reply_to(self, message_id: int, *, chat: int = 7) -> dict[str, Any]:
        """For `say(reply_to_message=...)`: the message as Telegram quotes it."""
        return {key: value for key, value in self._chat(chat).messages[message_id].items() if key != "reply_to_message"}

    def topic(self, chat: int, thread: int) -> dict[str, Any]:
        """For `say(**...)`: what marks a message of a forum's topic. Telegram names the topic's creation as replied."""
        self._topics.add((chat, thread))
        creation: dict[str, Any] = {**self._message(chat, self.me), "message_id": thread, "message_thread_id": thread}
        creation["forum_topic_created"] = {"name": "A topic", "icon_color": 7322096}
        return {"message_thread_id": thread, "is_topic_message": True, "reply_to_message": creation}

    def migrate(self, old: int, new: int) -> None:
        """A group becomes a supergroup."""
        self._chat(old).closed = refusal(
            400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=new
        )
        helper = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
        self._chat(new).type = "supergroup"
        self.push({"message": {**self._message(old, helper), "migrate_to_chat_id": new}})
        self.push({"message": {**self._message(new, helper), "migrate_from_chat_id": old}})

    def member(self, status: str, *, chat: int = 7, by: int = 7, **more: Any) -> None:
        """The bot's place in a chat changes: "kicked" (or blocked), "left", "member", ..."""
        new = {"user": self.me, "status": status, **({"until_date": 0} if status == "kicked" else {}), **more}
        change: dict[str, Any] = {
            "chat": self._chat_json(chat),
            "from": {"id": by, "is_bot": False, "first_name": "Person"},
        }
        change |= {"date": int(time.time()), "old_chat_member": {"user": self.me, "status": "member"}}
        self.push({"my_chat_member": {**change, "new_chat_member": new}})

    def close_chat(self, chat: int, fault: Fault) -> None:
        """Every send to the chat is answered so from now on."""
        self._chat(chat).closed = fault

    def open_chat(self, chat: int) -> None:
        self._chat(chat).closed = None

    def make_admin(self, user: int, *, chat: int) -> None:
        self._chat(chat).admins.add(user)

    def push(self, content: dict[str, Any], *, update_id: int | None = None) -> int:
        """Put an update into the queue as it is."""
        number = self._next_update_id if update_id is None else update_id
        self._next_update_id = number + 1
        kind = next(iter(content), "")
        wanted = kind in self._allowed if self._allowed else kind not in ALL_BUT_SOME
        if wanted:
            self.pending.append({"update_id": number, **content})
            self._notify()
        return number

    def push_again(self, update: dict[str, Any]) -> None:
        """Deliver an update once more, as it was."""
        self.pending.append(update)
        self._notify()

    def fail(self, method: str, *faults: Fault) -> None:
        """The next requests of the method go wrong so, one after another."""
        self._faults.setdefault(method, []).extend(faults)

    def heal(self, method: str) -> None:
        self._faults.pop(method, None)

    def calls(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    async def wait_for(self, condition: Callable[[], bool], within: float = 10.0) -> None:
        """Wait until the condition holds; looked at whenever something happened here."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(condition)

    async def wait_for_sent(self, count: int, within: float = 10.0) -> list[Sent]:
        await self.wait_for(lambda: len(self.sent) >= count, within)
        return self.sent

    async def wait_for_calls(self, method: str, count: int, within: float = 10.0) -> None:
        await self.wait_for(lambda: len(self.calls(method)) >= count, within)

    async def wait_until_confirmed(self, within: float = 10.0) -> None:
        await self.wait_for(lambda: not self.pending, within)

    # What the bot asks

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        method = find_method(http.match_info["method"])
        if http.match_info["token"] != self.token:
            return answer_error(Refused(401, "Unauthorized"))
        if method is None:
            self.violations.append(f"unknown method {http.match_info['method']}")
            return answer_error(Refused(404, "Not Found"))
        request = Request(method=method, parameters=decode(method, await read_form(http)), at=time.monotonic())
        self.requests.append(request)
        self._notify()
        await self._tell("asked", request)
        fault = self._take_fault(request)
        try:
            return await self._serve(http, request, fault)
        finally:
            self._notify()

    async def _serve(self, http: web.Request, request: Request, fault: Fault | None) -> web.StreamResponse:
        if fault and fault.wait_for:
            await fault.wait_for.wait()
        if fault and not fault.accept:
            return await break_request(http, fault)
        try:
            result = await self._do(request)
        except Refused as refused:
            return answer_error(refused)
        await self._tell("accepted", request)
        if fault:
            return await break_request(http, fault)
        response = web.json_response({"ok": True, "result": result})
        await response.prepare(http)
        await response.write_eof()
        await self._tell("answered", request)
        return response

    async def _do(self, request: Request) -> Any:
        problems = find_violations(request.method, request.parameters)
        if problems:
            self.violations += problems
            raise Refused(400, f"Bad Request: {problems[0]}")
        action = getattr(self, f"_{request.method}", None)
        if action is None:
            self.violations.append(f"{request.method} is not to be called by this bot")
            raise Refused(501, "Not Implemented")
        return await action(request.parameters)

    async def _getMe(self, _: dict[str, Any]) -> Any:
        return {**self.me, **self.account}

    async def _getUpdates(self, asked: dict[str, Any]) -> Any:
        if self.webhook:
            raise Refused(409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook first")
        if "allowed_updates" in asked:
            self._allowed = asked["allowed_updates"]
        offset = asked.get("offset", 0)
        if offset < 0:
            del self.pending[:offset]
        else:
            self.pending = [update for update in self.pending if update["update_id"] >= offset]
        self._notify()
        if self._poll and not self._poll.done():
            self._poll.set_result(None)
        younger = self._poll = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            await self.wait_for(lambda: bool(self.pending) or younger.done(), asked.get("timeout", 0) or 0.001)
        if younger.done():
            text = "terminated by other getUpdates request; make sure that only one bot instance is running"
            raise Refused(409, f"Conflict: {text}")
        younger.cancel()
        return self.pending[: asked.get("limit", 100)]

    async def _setWebhook(self, asked: dict[str, Any]) -> Any:
        if not asked["url"].startswith("https://"):
            raise Refused(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        self.webhook = asked
        self._allowed = asked.get("allowed_updates", self._allowed)
        self._start(self._deliver_to_webhook())
        return True

    async def _deleteWebhook(self, asked: dict[str, Any]) -> Any:
        self.webhook = {}
        if asked.get("drop_pending_updates"):
            self.pending.clear()
        return True

    async def _getWebhookInfo(self, _: dict[str, Any]) -> Any:
        waiting = len(self.pending)
        return {"url": self.webhook.get("url", ""), "has_custom_certificate": False, "pending_update_count": waiting}

    async def _sendMessage(self, asked: dict[str, Any]) -> Any:
        chat = self._open_chat_of(asked)
        thread = asked.get("message_thread_id")
        if thread and (chat.id, thread) not in self._topics:
            raise Refused(400, "Bad Request: message thread not found")
        if not asked["text"].strip():
            self.violations.append("sendMessage: text is empty")
            raise Refused(400, "Bad Request: message text is empty")
        target = asked.get("reply_parameters", {})
        replied = chat.messages.get(target.get("message_id"))
        if target and not replied and not target.get("allow_sending_without_reply"):
            raise Refused(400, "Bad Request: message to be replied not found")
        message = {**self._message(chat.id, self.me), "text": asked["text"]}
        if thread:
            message |= {"message_thread_id": thread, "is_topic_message": True}
        if replied:
            message["reply_to_message"] = replied
        self._remember(message)
        reply_to = int(replied["message_id"]) if replied else None
        sent = Sent(
            message_id=message["message_id"],
            chat=chat.id,
            thread=thread,
            text=asked["text"],
            reply_to=reply_to,
            at=time.monotonic(),
        )
        self.sent.append(sent)
        return message

    async def _sendChatAction(self, asked: dict[str, Any]) -> Any:
        self._open_chat_of(asked)
        return True

    async def _getChatMember(self, asked: dict[str, Any]) -> Any:
        chat = self._chats.get(asked["chat_id"])
        if chat is None:
            raise Refused(400, "Bad Request: chat not found")
        user = {"id": asked["user_id"], "is_bot": False, "first_name": "Person"}
        return {"user": user, "status": "administrator" if asked["user_id"] in chat.admins else "member"}

    async def _getMyCommands(self, asked: dict[str, Any]) -> Any:
        return self.commands.get(asked.get("scope", {}).get("type", "default"), [])

    async def _setMyCommands(self, asked: dict[str, Any]) -> Any:
        self.commands[asked.get("scope", {}).get("type", "default")] = asked["commands"]
        return True

    async def _deleteMyCommands(self, asked: dict[str, Any]) -> Any:
        self.commands.pop(asked.get("scope", {}).get("type", "default"), None)
        return True

    # Inside

    async def _deliver_to_webhook(self) -> None:
        """One update after another, each again until it is answered with 2xx."""
        webhook = self.webhook
        address = self.webhook_via or webhook["url"]
        headers = {"X-Telegram-Bot-Api-Secret-Token": webhook.get("secret_token", "")}
        async with aiohttp.ClientSession(headers=headers) as session:
            while self.webhook is webhook:
                await self.wait_for(lambda: bool(self.pending), within=3600)
                update = self.pending[0]
                try:
                    async with session.post(address, json=update) as response:
                        self.webhook_answers.append(response.status)
                except aiohttp.ClientError:
                    self.webhook_answers.append(0)
                if self.webhook_answers[-1] // 100 == 2:
                    self.pending.remove(update)
                else:
                    await asyncio.sleep(0.05)
                self._notify()

    def _open_chat_of(self, asked: dict[str, Any]) -> _Chat:
        chat = self._chats.get(asked["chat_id"])
        if chat is None:
            raise Refused(400, "Bad Request: chat not found")
        if chat.closed:
            raise Refused(chat.closed.status, chat.closed.description, **(chat.closed.parameters or {}))
        return chat

    def _take_fault(self, request: Request) -> Fault | None:
        faults = self._faults.get(request.method, [])
        for fault in faults:
            if fault.chat in (None, request.parameters.get("chat_id")):
                faults.remove(fault)
                return fault
        return None

    def _chat(self, chat: int) -> _Chat:
        return self._chats.setdefault(chat, _Chat(id=chat, type="private" if chat > 0 else "supergroup"))

    def _chat_json(self, chat: int) -> dict[str, Any]:
        known = self._chat(chat)
        if known.type == "private":
            return {"id": chat, "type": "private", "first_name": f"Person {chat}"}
        return {"id": chat, "type": known.type, "title": f"Group {chat}"}

    def _message(self, chat: int, author: dict[str, Any]) -> dict[str, Any]:
        number = self._next_message_id
        self._next_message_id += 1
        return {"message_id": number, "date": int(time.time()), "chat": self._chat_json(chat), "from": author}

    def _remember(self, message: dict[str, Any]) -> None:
        self._chat(message["chat"]["id"]).messages[message["message_id"]] = message

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _notify(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        self._start(notify())

    async def _tell(self, stage: str, request: Request) -> None:
        if self.on_request:
            waiting = self.on_request(stage, request)
            if waiting:
                await waiting
