"""Updates by webhook: a small HTTP server that answers 200 only after the sink has committed the update.

Telegram repeats what was not answered with 2xx. The secret is what tells Telegram's requests from others'
(Bot API, setWebhook: `secret_token`); it is compared in constant time before a body is read.
"""

import asyncio
import hmac
import json
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from aiohttp import web
from telegram.error import TelegramError

from adapters.base import TokenRefused
from adapters.telegram.client import Client, NotFound, Timing, flood_wait, token_refused
from adapters.telegram.delivery import Delivery, NotCommitted
from adapters.telegram.parse import PLATFORM, UPDATE_KINDS, chat_key
from adapters.telegram.poll import Backoff, Health

log = logging.getLogger(__name__)

_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - the header's name
_MOST_BODY_BYTES = 1024 * 1024
_BODY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """`url` is what Telegram calls (https on port 443, 80, 88 or 8443); a proxy passes it on to the host `listen`
    and `port`."""

    url: str
    listen: str
    port: int
    secret: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", self.secret):
            raise ValueError("the webhook's secret must be 1 to 256 letters, digits, '_' or '-'")


class Webhook:
    """Registers the webhook, serves it, and looks from time to time whether it is still registered."""

    def __init__(
        self,
        settings: WebhookSettings,
        client: Client,
        delivery: Delivery,
        *,
        health: Health,
        timing: Timing,
    ) -> None:
        self._settings = settings
        self._client = client
        self._delivery = delivery
        self._health = health
        self._timing = timing
        self._backoff = Backoff(timing.first_retry, timing.last_retry)
        self._registered = False
        self._order: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by chat

    async def run(self) -> None:
        """Serve until cancelled; raises TokenRefused."""
        application = web.Application(client_max_size=_MOST_BODY_BYTES)
        application.router.add_post(urlsplit(self._settings.url).path or "/", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=5.0)
        await runner.setup()
        try:
            await self._start(runner)
            while True:
                await self._keep_registered()
        finally:
            await runner.cleanup()

    async def _start(self, runner: web.AppRunner) -> None:
        while True:
            try:
                await web.TCPSite(runner, self._settings.listen, self._settings.port).start()
                return
            except OSError as error:  # the process before us may still hold the port
                await self._pause_after(f"cannot listen on {self._settings.listen}:{self._settings.port}: {error}")

    async def _keep_registered(self) -> None:
        try:
            if not await self._is_registered():
                await self._client.call("setWebhook", self._registration())
                self._registered = True
                log.info("webhook_set", extra={"platform": PLATFORM})
        except TelegramError as error:
            reason = self._client.describe(error)
            if token_refused(error):
                self._health.failed(f"Telegram refuses the token: {reason}")
                raise TokenRefused(f"Telegram refuses the token: {reason}") from None
            wait = flood_wait(error)
            await self._pause_after(f"the webhook could not be set: {reason}", wait.total_seconds() if wait else None)
            return
        self._backoff.reset()
        self._health.heard("webhook")
        await asyncio.sleep(self._timing.webhook_check)

    async def _is_registered(self) -> bool:
        if not self._registered:  # once in any case: a webhook of an earlier run may have another secret
            return False
        try:
            info = await self._client.call("getWebhookInfo")
        except NotFound:  # a small server that cannot tell
            return True
        return isinstance(info, dict) and info.get("url") == self._settings.url

    def _registration(self) -> dict[str, Any]:
        return {
            "url": self._settings.url,
            "secret_token": self._settings.secret,
            "allowed_updates": list(UPDATE_KINDS),
            "max_connections": 1,  # more would deliver a chat's messages out of order
        }

    async def _pause_after(self, trouble: str, wait: float | None = None) -> None:
        wait = self._backoff.grow() if wait is None else wait
        self._health.failed(trouble)
        log.warning("webhook_failed", extra={"platform": PLATFORM, "reason": trouble, "retry_in_seconds": wait})
        await asyncio.sleep(wait)

    async def _answer(self, request: web.Request) -> web.Response:
        given = request.headers.get(_SECRET_HEADER, "")
        if not hmac.compare_digest(given.encode(errors="replace"), self._settings.secret.encode()):
            log.warning("webhook_secret_wrong", extra={"platform": PLATFORM})
            raise web.HTTPForbidden
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType
        update = await _read_update(request)
        self._health.event()
        order = self._order.setdefault(chat_key(update), asyncio.Lock())
        async with order:
            with suppress(NotCommitted):
                await self._delivery.deliver(update)
                return web.Response()
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "1"})


async def _read_update(request: web.Request) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            update = json.loads(await request.read())  # 413 by itself where the body is too long
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="not JSON") from None
    if not isinstance(update, dict):
        raise web.HTTPBadRequest(text="not an update")
    return update
