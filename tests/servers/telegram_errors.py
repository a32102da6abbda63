"""What can go wrong with a request to a Bot API server, and how that looks on the wire."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request; the fields after `chat` are what happens, in this order."""

    chat: int | None = None  # only for requests that name this chat
    wait_for: asyncio.Event | None = None  # answer only then
    accept: bool = False  # do what was asked, and lose the answer
    drop: bool = False  # close the connection without an answer
    half: bool = False  # close it in the middle of the answer
    trickle: bool = False  # a byte of the answer now and then, for ever
    status: int = 200
    body: bytes | None = None  # instead of the Bot API's JSON
    description: str = ""
    parameters: Mapping[str, Any] | None = None


def flood(retry_after: int, *, chat: int | None = None) -> Fault:
    text = f"Too Many Requests: retry after {retry_after}"
    return Fault(status=429, description=text, parameters={"retry_after": retry_after}, chat=chat)


def refusal(status: int, description: str, **parameters: Any) -> Fault:
    return Fault(status=status, description=description, parameters=parameters or None)


def bad_gateway() -> Fault:
    return Fault(status=502, body=b"<html><body><h1>502 Bad Gateway</h1></body></html>")


def garbage(status: int = 200) -> Fault:
    return Fault(status=status, body=b'{"ok": true, "resu')


class Refused(Exception):
    """The Bot API's way to say no."""

    def __init__(self, status: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


def answer_error(refused: Refused) -> web.Response:
    body: dict[str, Any] = {"ok": False, "error_code": refused.status, "description": refused.description}
    if refused.parameters:
        body["parameters"] = refused.parameters
    return web.json_response(body, status=refused.status)


async def break_request(http: web.Request, fault: Fault) -> web.StreamResponse:
    if fault.half and http.transport:
        http.transport.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"ok"')
    if (fault.drop or fault.half) and http.transport:
        http.transport.close()
        raise asyncio.CancelledError
    if fault.trickle:
        response = web.StreamResponse()
        await response.prepare(http)
        while True:  # until the client hangs up and this handler is cancelled
            await response.write(b" ")
            await asyncio.sleep(0.02)
    if fault.body is not None:
        return web.Response(status=fault.status, body=fault.body)
    if fault.status == 200:
        return web.json_response({"ok": True, "result": True})
    return answer_error(Refused(fault.status, fault.description, **(fault.parameters or {})))
