"""Discord's REST API through discord.py's HTTP client, pointed at the configured host.

The client brings what is hard: rate-limit buckets, the global limit, repeated 5xx. Requests and answers stay
plain JSON, so a payload that the library's models do not understand cannot hurt us.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import discord
from discord.http import HTTPClient, Route

from adapters.base import PlatformUnreachable, TokenRefused

Payload = dict[str, Any]

# The least that discord.py takes; a longer wait is raised as RateLimited instead of slept through.
LONGEST_RATE_LIMIT_WAIT_SECONDS = 30.0

# A connection that was never made carried nothing; all else may have reached the platform.
NETWORK_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


class DiscordHttp(HTTPClient):
    """One HTTP session of one bot. `Route.BASE` is global in discord.py, so the host is put in per request."""

    def __init__(self, api_url: str) -> None:
        # The loop is an attribute that this part of the library stores and never uses.
        super().__init__(None, max_ratelimit_timeout=LONGEST_RATE_LIMIT_WAIT_SECONDS)  # type: ignore[arg-type]
        self._api_url = api_url.rstrip("/")
        self.token_refused = False  # by the last request: it was reset, and an open gateway does not notice

    async def request(self, route: Route, **kwargs: Any) -> Any:
        route.url = self._api_url + route.url.removeprefix(Route.BASE)
        try:
            answer = await super().request(route, **kwargs)
            self.token_refused = False
        except json.JSONDecodeError:  # a 204 that calls its empty body JSON
            return None
        except discord.HTTPException as error:
            self.token_refused = error.status == HTTPStatus.UNAUTHORIZED
            raise
        return _read_json(answer) if isinstance(answer, str) else answer

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str | int] | None = None,
        **parameters: str,
    ) -> Any:
        """One request by path template. `channel_id`, `guild_id`, `webhook_id` and `webhook_token` choose the
        rate-limit bucket."""
        options: dict[str, Any] = {}
        if body is not None:
            options["json"] = body
        if query is not None:
            options["params"] = query
        return await self.request(Route(method, path, **parameters), **options)

    async def sign_in(self, token: str) -> Payload:
        """Open the session and return our own user.

        Raises TokenRefused or PlatformUnreachable; the session is closed then.
        """
        try:
            me = await self.static_login(token.strip())
            if not isinstance(me, dict) or "id" not in me:
                raise PlatformUnreachable("Discord's answer to /users/@me is not a user; is api_url right?")
            return dict(me)
        except discord.LoginFailure:
            await self.close()
            raise TokenRefused(
                "Discord does not accept the bot token; copy a new one from the developer portal (Bot, Reset Token)."
            ) from None
        except (discord.DiscordException, *NETWORK_ERRORS) as error:
            await self.close()
            raise PlatformUnreachable(f"Discord did not answer: {describe(error)}") from error
        except BaseException:
            await self.close()
            raise


def _read_json(text: str) -> Any:
    """discord.py leaves an answer as text if its content type is not exactly `application/json`, as where a proxy
    or another server names a charset too."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def describe(error: BaseException) -> str:
    """One line for logs and status, without the body of an answer (it may quote what was sent)."""
    if isinstance(error, discord.HTTPException):
        return f"HTTP {error.status} (code {error.code})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientError):  # its text may hold the URL, and that an interaction's token
        return type(error).__name__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
