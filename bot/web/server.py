"""Health and metrics over HTTP: /healthz (alive), /readyz (everything hears and answers), /metrics (Prometheus).

Listens on the loopback unless told otherwise; beyond it every request needs the bearer token.
"""

import hmac
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bot.health import Health
from bot.metrics import REGISTRY


class WebServer:
    """Serves until `close`. `token` None leaves requests unchecked (loopback only, as the configuration holds)."""

    def __init__(self, health: Health, host: str, port: int, token: str | None) -> None:
        self._health = health
        self._host = host
        self._port = port
        self._token = token
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises OSError where the address cannot be had."""
        application = web.Application(middlewares=[self._check], client_max_size=1024)
        application.router.add_get("/healthz", self._alive)
        application.router.add_get("/readyz", self._ready)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._token is not None:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                raise web.HTTPUnauthorized
        elif request.host.rpartition(":")[0] not in ("127.0.0.1", "localhost", "[::1]"):
            raise web.HTTPForbidden  # a page elsewhere that resolved its name to this machine
        return await handler(request)

    async def _alive(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        snapshot = await self._health.snapshot()
        return web.json_response(snapshot, status=200 if snapshot["ready"] else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        await self._health.snapshot()  # brings the gauges up to date
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
