"""The way to a Bot API server: requests through python-telegram-bot, answers checked, errors sorted.

Answers are taken raw: a server may leave out what the library's models insist on, and a message that was posted
must not count as lost because its echo could not be read. Knows no updates, channels or replies.
"""

import asyncio
import json
import logging
import math
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import httpx
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)
from telegram.ext import AIORateLimiter, ExtBot
from telegram.request import HTTPXRequest

from adapters.base import ChannelMoved, ChannelRefused, InDoubt, PostError, ReplyRefused, TryLater

# Makes the library give durations as timedelta; as int it warns at every flood wait. Read at each access.
os.environ["PTB_TIMEDELTA"] = "true"

# httpx writes each URL, and so the token, at INFO; the library writes message texts at DEBUG and a traceback
# at each flood wait, which is an ordinary event here.
for _name, _level in (("httpx", logging.WARNING), ("httpcore", logging.WARNING), ("telegram", logging.WARNING)):
    logging.getLogger(_name).setLevel(_level)
logging.getLogger("telegram.ext.AIORateLimiter").setLevel(logging.CRITICAL)

# Parts of a 400's description that concern the channel, not the text.
_CHANNEL_IS_CLOSED = (
    "chat not found",
    "chat was deleted",
    "chat_write_forbidden",
    "chat_restricted",
    "chat_admin_required",
    "peer_id_invalid",
    "was kicked",
    "was blocked",
    "not a member",
    "no rights",
    "not enough rights",
    "administrator rights",
    "group chat was deactivated",
    "is deactivated",
    "user_is_blocked",
    "user not found",
    "topic_closed",
    "topic_deleted",
    "topic closed",
    "topic deleted",
    "thread not found",
)

_RETRY_AFTER = re.compile(r"retry after (\d{1,6})", re.IGNORECASE)

# Failures of httpx before the first byte of a request left.
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    RuntimeError,  # the client is closed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long to wait for what, in seconds."""

    poll: float = 25.0  # the server may hold a getUpdates open so long
    poll_grace: float = 10.0  # and needs so much more to be taken for dead
    send: float = 60.0  # a message may be posted although its answer is late, and sent again it would be there twice
    request: float = 20.0  # any other request, to its last byte
    connect: float = 10.0
    stalled: float = 60.0  # without a successful poll: not ready
    first_retry: float = 0.5  # grows by half each time
    last_retry: float = 15.0
    idle: float = 0.1  # between polls of a server that answers at once; grows to three times as much
    webhook_check: float = 60.0  # between looks whether the webhook is still ours


class ServerTrouble(NetworkError):
    """An answer that tells of a failure on the way or in the server, not of the request."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered with HTTP {status}")
        self.status = status


class BrokenAnswer(NetworkError):
    """HTTP says that all went well, but the body is no answer of the Bot API."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the server's answer makes no sense: {reason}")


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificate authorities blocks the loop for 50 ms, so it is done once and not for each renewal."""
    return httpx.create_ssl_context()


class NotFound(NetworkError):
    """HTTP 404: no such method, or, where any method should be known, a token of the wrong form."""


class CheckedRequest(HTTPXRequest):
    """An HTTP client that lets through what the Bot API documents and raises on everything else.

    httpx limits the time of each read, not of the whole answer: `total_timeout` (seconds) ends an answer that
    trickles in.
    """

    def __init__(self, *, total_timeout: float, connect_timeout: float, connections: int) -> None:
        super().__init__(
            connection_pool_size=connections,
            read_timeout=total_timeout,
            write_timeout=total_timeout,
            connect_timeout=connect_timeout,
            pool_timeout=connect_timeout,
            httpx_kwargs={"verify": _tls()},
        )
        self._total_timeout = total_timeout

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._total_timeout):
                status, body = await super().do_request(*args, **kwargs)
        except TimeoutError as error:
            raise TimedOut(f"no complete answer within {self._total_timeout:g} s") from error
        return _checked(status, body)

    async def renew(self) -> None:
        """Go on with fresh connections; a connection torn down in mid-answer can block its pool for good."""
        old, self._client = self._client, self._build_client()
        try:
            async with asyncio.timeout(1):
                await old.aclose()
        except (TimeoutError, OSError, RuntimeError, httpx.HTTPError) as error:
            logging.getLogger(__name__).info("old_connections_abandoned", extra={"error": type(error).__name__})


def _checked(status: int, body: bytes) -> tuple[int, bytes]:
    """An answer that the library can read safely; raises where there is none."""
    succeeded = 200 <= status <= 299
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise BrokenAnswer(f"{len(body)} bytes that are no JSON object") if succeeded else ServerTrouble(status)
    if succeeded and answer.get("ok") is not False:
        if "result" not in answer:
            raise BrokenAnswer("no result in it")
        return status, body
    if succeeded:
        code = answer.get("error_code")
        status = code if isinstance(code, int) and code >= 300 else 500
    description = str(answer.get("description") or f"HTTP {status}")
    parameters = _known_parameters(answer.get("parameters"), description)
    if status >= 500 or (status == 429 and "retry_after" not in parameters):
        raise ServerTrouble(status)
    if status == 404:
        raise NotFound(description)
    return status, json.dumps({"ok": False, "description": description, "parameters": parameters}).encode()


def _known_parameters(parameters: Any, description: str) -> dict[str, float]:
    """Of https://core.telegram.org/bots/api#responseparameters what makes sense; a wait is at most a day.

    Where a wait is told in words only ("Too Many Requests: retry after 5"), it is read there.
    """
    given = parameters if isinstance(parameters, dict) else {}
    known: dict[str, float] = {}
    told = _RETRY_AFTER.search(description)
    wait = _as_number(given.get("retry_after")) or (float(told[1]) if told else 0.0)
    if wait > 0:
        known["retry_after"] = min(wait, 86_400.0)
    chat_id = given.get("migrate_to_chat_id")
    if isinstance(chat_id, int):
        known["migrate_to_chat_id"] = chat_id
    return known


def _as_number(value: object) -> float:
    """A number, also one written as text; 0 for everything else."""
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0


class Pacer(AIORateLimiter):
    """The library's pace of 30 messages a second and 20 a minute in a group. Only messages are paced: "typing" would
    use up a busy group's share, and a look-up must not wait behind messages."""

    def __init__(self) -> None:
        super().__init__(max_retries=0)  # a retry inside the limiter would hold up every other chat

    async def process_request(
        self, callback: Any, args: Any, kwargs: dict[str, Any], endpoint: str, *details: Any, **named: Any
    ) -> Any:
        if endpoint != "sendMessage":
            return await callback(*args, **kwargs)
        return await super().process_request(callback, args, kwargs, endpoint, *details, **named)


class _RawBot(ExtBot[int]):
    """The library's bot, called by method name, with answers as JSON."""

    async def call(self, method: str, parameters: Mapping[str, Any]) -> Any:
        return await self._post(method, dict(parameters))


class Client:
    """A Bot API server, one token. Polls have connections of their own, so that sends never wait for them."""

    def __init__(self, token: str, api_url: str, timing: Timing) -> None:
        self._token = token
        self._request_seconds = timing.request
        self._polls = CheckedRequest(
            total_timeout=timing.poll + timing.poll_grace, connect_timeout=timing.connect, connections=8
        )
        self._bot = _RawBot(
            token,
            base_url=f"{api_url.rstrip('/')}/bot",
            request=CheckedRequest(total_timeout=timing.send, connect_timeout=timing.connect, connections=256),
            get_updates_request=self._polls,
            rate_limiter=Pacer(),
        )

    async def call(self, method: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Call one method of the Bot API; raises the library's `TelegramError`."""
        if method == "sendMessage":
            return await self._bot.call(method, parameters or {})
        try:
            async with asyncio.timeout(self._request_seconds):
                return await self._bot.call(method, parameters or {})
        except TimeoutError:
            raise TimedOut(f"no complete answer within {self._request_seconds:g} s") from None

    async def get_updates(self, offset: int | None, kinds: Sequence[str], seconds: int) -> Any:
        """Unconfirmed updates from `offset` on as they came; the server waits so long for the first one."""
        polling = {"offset": offset, "timeout": seconds, "allowed_updates": kinds}
        return await self._bot.call("getUpdates", polling)

    async def renew_polls(self) -> None:
        await self._polls.renew()

    def describe(self, error: BaseException) -> str:
        """An error for logs and status, without the token and without a server's whole page."""
        text = str(error).replace(self._token, "***")
        return text[:200] or type(error).__name__

    async def close(self) -> None:
        for request in (self._bot.request, self._polls):
            await request.shutdown()


def as_post_error(error: TelegramError, description: str) -> PostError:
    """What an error of a send means for the message that was to be sent."""
    match error:
        case RetryAfter():
            return TryLater(description, _as_timedelta(error))
        case Forbidden():
            return ChannelRefused(description)
        case ChatMigrated():
            return ChannelMoved(str(error.new_chat_id))
        case BadRequest():
            closed = any(sign in error.message.lower() for sign in _CHANNEL_IS_CLOSED)
            return ChannelRefused(description) if closed else ReplyRefused(description)
        case ServerTrouble():
            # 504: a gateway lost patience with a server that may have posted the message.
            return InDoubt(description) if error.status == 504 else TryLater(description)
        case NotFound():
            return TryLater(description)
        case NetworkError():
            return TryLater(description) if isinstance(error.__cause__, _NEVER_SENT) else InDoubt(description)
        case _:
            return TryLater(description)


def _as_timedelta(error: RetryAfter) -> timedelta:
    wait = error.retry_after
    return wait if isinstance(wait, timedelta) else timedelta(seconds=wait)


def flood_wait(error: Exception) -> timedelta | None:
    """How long the server wants us to wait, where it said so."""
    return _as_timedelta(error) if isinstance(error, RetryAfter) else None


def token_refused(error: Exception) -> bool:
    """Telegram answers 401 to a token that it does not know."""
    return isinstance(error, InvalidToken)
