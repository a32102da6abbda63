"""The REST half of the local Discord server, strict by the OpenAPI document and by what it leaves out."""

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.servers.discord_spec import check_request, operations
from tests.servers.discord_world import Channel, Fault, Json

if TYPE_CHECKING:
    from tests.servers.discord import DiscordServer

TEXT_LIMIT = 2000  # for bots; the document's 4000 is not theirs
NONCE_LIMIT = 25
ACKNOWLEDGE_SECONDS = 3.0

Handler = Callable[[web.Request, Any], Awaitable[Any]]


class ApiError(Exception):
    """An answer with one of Discord's error codes."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "code": code}


class Rest:
    """The operations, by the document's ids."""

    def __init__(self, server: "DiscordServer") -> None:
        self._server = server
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.requests: list[tuple[str, str]] = []  # operation id and path with query
        self._nonces: dict[tuple[str, str], Json] = {}
        self._used: dict[str, list[float]] = defaultdict(list)  # times by rate-limit bucket

    def add_routes(self, app: web.Application) -> None:
        handlers: dict[str, Handler] = {
            "get_gateway": self.get_gateway,
            "get_bot_gateway": self.get_bot_gateway,
            "get_my_user": self.get_my_user,
            "get_my_application": self.get_application,
            "get_my_oauth2_application": self.get_application,
            "list_application_commands": self.list_commands,
            "bulk_set_application_commands": self.set_commands,
            "get_channel": self.get_channel,
            "list_messages": self.list_messages,
            "get_message": self.get_message,
            "create_message": self.create_message,
            "update_message": self.update_message,
            "trigger_typing_indicator": self.show_typing,
            "create_interaction_response": self.acknowledge,
            "execute_webhook": self.follow_up,
            "create_dm": self.create_dm,
        }
        for operation_id, handler in handlers.items():
            method, path = operations()[operation_id]
            app.router.add_route(method, f"/api/v10{path}", self._wrap(operation_id, handler))

    def _wrap(self, operation_id: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.requests.append((operation_id, request.path_qs))
            self._server.changed()
            fault = self.faults[operation_id].popleft() if self.faults[operation_id] else Fault()
            if fault.wait_for is not None:
                await fault.wait_for.wait()
            if fault.cut == "before":
                return _cut(request)
            if fault.status is not None:
                return _reply(fault.status, fault.body, fault.headers)
            try:
                body = await self._read(operation_id, request)
                limits = self._take_token(operation_id, request)
                result = await handler(request, body)
            except ApiError as error:
                return _reply(error.status, error.body, {"Via": "1.1 google"})
            if fault.answer_after is not None:
                await fault.answer_after.wait()
            if fault.cut == "after":
                return _cut(request)
            return _reply(200 if result is not None else 204, result, {"Via": "1.1 google", **limits})

        return answer

    async def _read(self, operation_id: str, request: web.Request) -> Any:
        needs_token = operation_id not in ("get_gateway", "create_interaction_response", "execute_webhook")
        if needs_token and request.headers.get("Authorization") != f"Bot {self._server.token}":
            raise ApiError(401, 0, "401: Unauthorized")
        if not request.headers.get("User-Agent", "").startswith("DiscordBot ("):
            self._server.violations.append(f"{operation_id}: User-Agent is not a bot's")
        text = await request.text()
        try:
            body = json.loads(text) if text else None
        except ValueError:
            raise ApiError(400, 50109, "The request body contains invalid JSON.") from None
        problems = list(check_request(operation_id, body, dict(request.query)))
        self._server.violations.extend(problems)
        if problems:
            raise ApiError(400, 50035, "Invalid Form Body")
        return body

    def _take_token(self, operation_id: str, request: web.Request) -> dict[str, str]:
        """Rate-limit headers for a route that has its bucket per channel."""
        if operation_id != "create_message":
            return {}
        limit, seconds = self._server.rate_limit
        now = time.monotonic()
        used = self._used[request.path]
        used[:] = [moment for moment in used if now - moment < seconds]
        if len(used) >= limit:
            self._server.violations.append("create_message: the rate limit of the headers was overrun")
        used.append(now)
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - len(used))),
            "X-RateLimit-Reset": f"{time.time() + seconds:.3f}",
            "X-RateLimit-Reset-After": f"{seconds - (now - used[0]):.3f}",
            "X-RateLimit-Bucket": "create-message",
        }

    def _channel(self, request: web.Request) -> Channel:
        channel = self._server.channels.get(request.match_info["channel_id"])
        if channel is None:
            raise ApiError(404, 10003, "Unknown Channel")
        return channel

    # The bot itself

    async def get_gateway(self, request: web.Request, body: Any) -> Json:
        return {"url": self._server.gateway_url}

    async def get_bot_gateway(self, request: web.Request, body: Any) -> Json:
        if self._server.minimal:
            raise ApiError(404, 0, "404: Not Found")
        return {
            "url": self._server.gateway_url,
            "shards": self._server.shards,
            "session_start_limit": {
                "total": 1000,
                "remaining": self._server.session_starts,
                "max_concurrency": 1,
                "reset_after": int(self._server.session_reset_seconds * 1000),
            },
        }

    async def get_my_user(self, request: web.Request, body: Any) -> Json:
        return {**self._server.bot.to_json(), "verified": True, "mfa_enabled": True, "email": None, "locale": "en-US"}

    async def get_application(self, request: web.Request, body: Any) -> Json:
        if self._server.minimal:
            raise ApiError(404, 0, "404: Not Found")
        return self._server.application()

    async def list_commands(self, request: web.Request, body: Any) -> list[Json]:
        return self._server.commands

    async def set_commands(self, request: web.Request, body: Any) -> list[Json]:
        # The API gives back numbers as strings and leaves empty options out.
        self._server.changed()
        self._server.commands = [
            {
                **{key: value for key, value in command.items() if value not in ([], None)},
                "id": str(number),
                "application_id": self._server.bot.id,
                "version": "1",
                "default_member_permissions": str(bits)
                if (bits := command.get("default_member_permissions")) is not None
                else None,
            }
            for number, command in enumerate(body, start=1)
        ]
        return self._server.commands

    # Channels and messages

    async def get_channel(self, request: web.Request, body: Any) -> Json:
        return self._channel(request).to_json()

    async def create_dm(self, request: web.Request, body: Any) -> Json:
        for channel in self._server.channels.values():
            if channel.recipient is not None and channel.recipient.id == body["recipient_id"]:
                return channel.to_json()
        raise ApiError(400, 50033, "Invalid Recipient(s)")

    async def list_messages(self, request: web.Request, body: Any) -> list[Json]:
        channel = self._channel(request)
        if channel.unreadable:
            raise ApiError(403, 50001, "Missing Access")
        limit = int(request.query.get("limit", 50))
        if not 1 <= limit <= 100:
            raise ApiError(400, 50035, "Invalid Form Body")
        after, before = int(request.query.get("after", 0)), int(request.query.get("before", 1 << 63))
        found = [message for message in channel.messages if after < int(message["id"]) < before]
        page = found[:limit] if "after" in request.query else found[-limit:]
        return [
            {key: value for key, value in message.items() if key not in ("guild_id", "member", "nonce")}
            for message in reversed(page)
        ]

    async def get_message(self, request: web.Request, body: Any) -> Json:
        for message in self._channel(request).messages:
            if message["id"] == request.match_info["message_id"]:
                return message
        raise ApiError(404, 10008, "Unknown Message")

    async def create_message(self, request: web.Request, body: Any) -> Json:
        channel = self._channel(request)
        text = self._check_text(body, "create_message")
        if channel.refusal is not None:
            raise ApiError(*channel.refusal)
        nonce = str(body["nonce"]) if body.get("nonce") is not None else None
        if nonce is not None and len(nonce) > NONCE_LIMIT:
            raise ApiError(400, 50035, "Invalid Form Body")
        if nonce is not None and body.get("enforce_nonce") and (channel.id, nonce) in self._nonces:
            return self._nonces[channel.id, nonce]
        message = self._server.new_message(channel, text, self._server.bot, reply_to=self._find_target(channel, body))
        message["flags"] = body.get("flags", 0)
        if nonce is not None:
            message["nonce"] = nonce
            self._nonces[channel.id, nonce] = message
        self._server.posted.append(message)
        await self._server.publish("MESSAGE_CREATE", message)
        self._server.changed()
        return message

    def _find_target(self, channel: Channel, body: Json) -> Json | None:
        reference = body.get("message_reference")
        if reference is None:
            return None
        for message in channel.messages:
            if message["id"] == str(reference["message_id"]):
                return message
        if reference.get("fail_if_not_exists", True):
            raise ApiError(400, 50035, "Invalid Form Body: Unknown message")
        return None

    async def update_message(self, request: web.Request, body: Any) -> Json:
        message = await self.get_message(request, None)
        if message["author"]["id"] != self._server.bot.id:
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        message["content"] = self._check_text(body, "update_message")
        return message

    def _check_text(self, body: Json, operation_id: str) -> str:
        text = str(body.get("content") or "").strip()
        if not text:
            raise ApiError(400, 50006, "Cannot send an empty message")
        if len(text) > TEXT_LIMIT:
            raise ApiError(400, 50035, "Invalid Form Body: Must be 2000 or fewer in length.")
        mentions = body.get("allowed_mentions")
        if mentions is None or mentions.get("parse") != [] or mentions.get("users") or mentions.get("roles"):
            self._server.violations.append(f"{operation_id}: allowed_mentions lets words notify people")
        return text

    async def show_typing(self, request: web.Request, body: Any) -> None:
        self._server.typing.append(self._channel(request).id)
        self._server.changed()

    # Interactions

    async def acknowledge(self, request: web.Request, body: Any) -> None:
        interaction = self._server.interactions.get(request.match_info["interaction_token"])
        if interaction is None or time.monotonic() - interaction.born > ACKNOWLEDGE_SECONDS:
            raise ApiError(404, 10062, "Unknown interaction")
        if interaction.acknowledged_after is not None:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        interaction.acknowledged_after = time.monotonic() - interaction.born
        self._server.changed()

    async def follow_up(self, request: web.Request, body: Any) -> Json:
        interaction = self._server.interactions.get(request.match_info["webhook_token"])
        if interaction is None or interaction.acknowledged_after is None:
            raise ApiError(404, 10015, "Unknown Webhook")
        text = self._check_text(body, "execute_webhook")
        answer = {"id": interaction.id, "content": text, "flags": body.get("flags", 0)}
        interaction.answers.append(answer)
        interaction.answered.set()
        return answer


def _reply(status: int, body: Any, headers: dict[str, str]) -> web.Response:
    if isinstance(body, str):
        return web.Response(status=status, text=body, content_type="text/html", headers=headers)
    if status == 204:
        return web.Response(status=204, headers=headers)
    # Exactly this content type: with a charset behind it, clients read the body as text.
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json", headers=headers)


def _cut(request: web.Request) -> web.Response:
    transport = request.transport
    assert isinstance(transport, asyncio.Transport)
    transport.abort()
    return web.Response()
