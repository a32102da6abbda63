"""Posting on Discord and finding out what became of it: one request, one outcome of the port."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import discord
from aiohttp import ClientConnectorError
from discord.http import json_or_text

from adapters.base import ChannelRefused, InDoubt, OutgoingPart, PostError, Receipt, ReplyRefused, TryLater
from adapters.discord.events import read_time, reply_target
from adapters.discord.http import NETWORK_ERRORS, DiscordHttp, Payload, describe

log = logging.getLogger(__name__)

TEXT_LIMIT = 2000  # characters, for bots
HISTORY_LOOKUP = 50  # messages in which an earlier attempt is looked for
CLOCK_SKEW = timedelta(seconds=5)  # between us and Discord

SUPPRESS_EMBEDS = 1 << 2
EPHEMERAL = 1 << 6
NO_MENTIONS: Payload = {"parse": [], "replied_user": False}  # a model's words must never notify anybody

# Codes: https://discord.com/developers/docs/topics/opcodes-and-status-codes#json
UNKNOWN_CHANNEL = 10003
CHANNEL_CODES = frozenset({UNKNOWN_CHANNEL, 50001, 50007, 50008, 50013, 50024, 50083})
CANNOT_REPLY = 160002  # replying needs the permission to read the history


async def create_message(http: DiscordHttp, part: OutgoingPart, *, as_reply: bool = True) -> Receipt:
    """Post one part. Raises a PostError.

    The nonce is enforced: within a few minutes Discord answers a repetition with the first message.
    """
    body: Payload = {
        "content": part.text,
        "nonce": part.nonce,
        "enforce_nonce": True,
        "allowed_mentions": NO_MENTIONS,
        "flags": SUPPRESS_EMBEDS,
    }
    if as_reply and part.reply_to is not None:
        body["message_reference"] = {
            "message_id": part.reply_to,
            "channel_id": part.channel.address,
            "fail_if_not_exists": False,
        }
    try:
        answer = await http.call("POST", "/channels/{channel_id}/messages", body=body, channel_id=part.channel.address)
        return Receipt(str(answer["id"]))
    except discord.HTTPException as error:
        if error.code == CANNOT_REPLY and "message_reference" in body:
            return await create_message(http, part, as_reply=False)
        raise await read_refusal(error) from error
    except discord.RateLimited as error:
        raise TryLater("Discord's rate limit", timedelta(seconds=error.retry_after)) from error
    except ClientConnectorError as error:
        raise TryLater(f"Discord cannot be reached: {describe(error)}") from error
    except NETWORK_ERRORS as error:
        raise InDoubt(f"the answer was lost: {describe(error)}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InDoubt("Discord's answer to a post is not a message") from error


async def read_refusal(error: discord.HTTPException) -> PostError:
    """What an HTTP status and Discord's error code mean for a post."""
    reason = describe(error)
    if error.status == 429:
        return TryLater(reason, await read_retry_after(error))
    if error.status >= 500:
        return InDoubt(reason)
    if error.status == 401:
        return TryLater("Discord does not accept the token (HTTP 401)")
    if error.status == 403 and not error.code and "<html" in error.text.lower():
        return TryLater("refused before Discord: a firewall or Cloudflare (HTTP 403)")
    if error.status == 403 or error.code in CHANNEL_CODES:
        return ChannelRefused(reason)
    if error.status == 404 and not error.code:
        return ChannelRefused(reason)
    return ReplyRefused(reason)


async def read_retry_after(error: discord.HTTPException) -> timedelta | None:
    """The wait that a 429 asks for: in its body, else in its header (Cloudflare's has no JSON)."""
    response: Any = error.response  # its type depends on which libraries are installed
    wish: object = response.headers.get("Retry-After")
    body = await json_or_text(response)  # read already, and kept
    if isinstance(body, dict):
        wish = body.get("retry_after", wish)
    try:
        return timedelta(seconds=float(wish))  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, OverflowError):
        return None


async def find_message(http: DiscordHttp, part: OutgoingPart, our_id: str) -> Receipt | None:
    """Look for an earlier attempt among the newest messages of its channel. Raises TryLater."""
    try:
        history = await http.call(
            "GET", "/channels/{channel_id}/messages", query={"limit": HISTORY_LOOKUP}, channel_id=part.channel.address
        )
    except discord.RateLimited as error:
        raise TryLater("Discord's rate limit", timedelta(seconds=error.retry_after)) from error
    except (discord.DiscordException, *NETWORK_ERRORS) as error:
        raise TryLater(f"the channel's history cannot be read: {describe(error)}") from error
    return pick_posted(history, part, our_id)


def pick_posted(history: Iterable[Payload], part: OutgoingPart, our_id: str) -> Receipt | None:
    """Our message with the part's nonce; where the API tells none, with its text and target and not older."""
    for message in history:
        author = message["author"]
        if str(author["id"] if isinstance(author, dict) else author) != our_id:
            continue
        nonce = message.get("nonce")
        if nonce == part.nonce if nonce is not None else _looks_like(message, part):
            return Receipt(str(message["id"]))
    return None


def _looks_like(message: Payload, part: OutgoingPart) -> bool:
    return (
        part.first_tried_at is not None
        and read_time(message) >= part.first_tried_at - CLOCK_SKEW
        and str(message.get("content") or "").strip() == part.text.strip()
        and reply_target(message) == part.reply_to
    )
