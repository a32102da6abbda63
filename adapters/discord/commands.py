"""Slash commands: registering them, and answering an interaction in time."""

import logging
from collections.abc import Sequence

import discord

from adapters.base import Channel, ChannelKind, CommandSpec, IncomingCommand, Sink
from adapters.discord.events import read_command, write_command
from adapters.discord.http import NETWORK_ERRORS, DiscordHttp, Payload, describe
from adapters.discord.posts import EPHEMERAL, NO_MENTIONS, SUPPRESS_EMBEDS, TEXT_LIMIT
from adapters.text import split_text

log = logging.getLogger(__name__)

APPLICATION_COMMAND = 2  # interaction type
DEFERRED_MESSAGE = 5  # interaction callback type: "is thinking", until a follow-up comes
COMPARED_FIELDS = ("name", "type", "description", "default_member_permissions", "contexts")

APOLOGY = "Sorry, that did not work. Please try again in a moment."
ADMINS_ONLY = "Only people who may manage this server can use this command."


async def register_commands(http: DiscordHttp, application_id: str, specs: Sequence[CommandSpec]) -> bool:
    """Make the global commands those of `specs`; asks first, since Discord counts every change.

    Returns whether the commands stand; a failure is logged and costs no more than the commands.
    """
    wanted = [write_command(spec) for spec in specs]
    path = "/applications/{application_id}/commands"
    try:
        present = await http.call("GET", path, application_id=application_id)
        if sorted(map(_fingerprint, present)) != sorted(map(_fingerprint, wanted)):
            await http.call("PUT", path, body=wanted, application_id=application_id)
            log.info("commands_registered", extra={"platform": "discord", "commands": len(wanted)})
        return True
    except (discord.DiscordException, *NETWORK_ERRORS, KeyError, TypeError, ValueError) as error:
        log.warning("commands_not_registered", extra={"platform": "discord", "error": describe(error)})
        return False


def _fingerprint(command: Payload) -> str:
    """A command as text, equal for what we send and for what the API makes of it (numbers as strings, a field
    left out for its default)."""
    fields = [str(command.get(key)) for key in COMPARED_FIELDS]
    options = [
        (option["type"], option["name"], option.get("description"), bool(option.get("required")))
        for option in command.get("options") or ()
    ]
    return repr((fields, options))


async def acknowledge(http: DiscordHttp, interaction: Payload) -> bool:
    """Tell Discord that an answer will come; must happen within 3 s of the interaction's birth."""
    try:
        # The names of the parameters give each interaction a rate-limit bucket of its own.
        await http.call(
            "POST",
            "/interactions/{webhook_id}/{webhook_token}/callback",
            body={"type": DEFERRED_MESSAGE, "data": {"flags": EPHEMERAL}},
            webhook_id=str(interaction["id"]),
            webhook_token=str(interaction["token"]),
        )
        return True
    except (discord.DiscordException, *NETWORK_ERRORS) as error:
        log.warning("interaction_not_acknowledged", extra={"platform": "discord", "error": describe(error)})
        return False


async def answer_command(
    http: DiscordHttp, interaction: Payload, channel: Channel, specs: Sequence[CommandSpec], sink: Sink
) -> None:
    """Carry out an acknowledged command and send what it says, visible to the one who asked."""
    command = read_command(interaction, channel)
    try:
        text = ADMINS_ONLY if _is_forbidden(command, specs) else await sink.command(command)
    except Exception as error:  # whatever went wrong inside must not reach the person
        log.warning(
            "command_failed", extra={"platform": "discord", "command": command.name, "error": type(error).__name__}
        )
        text = APOLOGY
    for part in split_text(text or "Done.", TEXT_LIMIT):
        if not await _follow_up(http, interaction, part):
            return


def _is_forbidden(command: IncomingCommand, specs: Sequence[CommandSpec]) -> bool:
    """Discord hides admins' commands from others, but a server can change that."""
    admins_only = {spec.name for spec in specs if spec.admin_only_in_groups}
    return (
        command.name in admins_only and command.channel.kind is not ChannelKind.PRIVATE and not command.author.is_admin
    )


async def _follow_up(http: DiscordHttp, interaction: Payload, text: str) -> bool:
    try:
        await http.call(
            "POST",
            "/webhooks/{webhook_id}/{webhook_token}",
            body={"content": text, "allowed_mentions": NO_MENTIONS, "flags": EPHEMERAL | SUPPRESS_EMBEDS},
            webhook_id=str(interaction["application_id"]),
            webhook_token=str(interaction["token"]),
        )
        return True
    except (discord.DiscordException, *NETWORK_ERRORS) as error:
        log.warning("interaction_not_answered", extra={"platform": "discord", "error": describe(error)})
        return False
