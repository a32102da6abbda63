"""From Discord's JSON to the port's dataclasses. Pure: whatever must be asked for is an argument."""

import re
from datetime import UTC, datetime

from adapters.base import Author, Channel, CommandSpec, IncomingCommand, IncomingMessage
from adapters.discord.http import Payload
from adapters.discord.places import ADMIN, MANAGE_GUILD, Places

# Message types that people write: https://discord.com/developers/docs/resources/message#message-object-message-types
DEFAULT, REPLY = 0, 19
FORWARD = 1  # type of a message reference that quotes instead of answering

EPOCH_MILLISECONDS = 1420070400000  # of Discord's ids: the first second of 2015

_MARKUP = re.compile(
    r"<(?:@!?(?P<user>\d+)|@&(?P<role>\d+)|#(?P<channel>\d+)|a?:(?P<emoji>\w+):\d+"
    r"|/(?P<command>[^:>]+):\d+)>"
)
_EMPHASIS = re.compile(r"(\*\*|~~|\|\|)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_FIRST_BOT = datetime(2016, 1, 1, tzinfo=UTC)  # no bot of Discord's is older
_OWN_MENTION = "\0"  # Discord refuses this character, so nobody can have written it


def snowflake_time(id: str) -> datetime:
    """When an id was given out, to the millisecond."""
    return datetime.fromtimestamp(((int(id) >> 22) + EPOCH_MILLISECONDS) / 1000, UTC)


def first_snowflake(moment: datetime) -> int:
    """The smallest id that can have been given out at a moment."""
    return max(0, int(moment.timestamp() * 1000) - EPOCH_MILLISECONDS) << 22


def tells_time(id: str) -> bool:
    """Whether an id can be one of Discord's; small servers count from 1, which would be the first second of 2015."""
    return int(id) >= first_snowflake(_FIRST_BOT)


def read_time(data: Payload) -> datetime:
    """When a message was written."""
    if stamp := data.get("timestamp"):
        moment = datetime.fromisoformat(stamp)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    id = str(data["id"])
    return snowflake_time(id) if tells_time(id) else datetime.now(UTC)


def is_for_people(data: Payload, our_id: str) -> bool:
    """Whether somebody said this: not ourselves, a webhook, or the system (joins, pins, Discord's own notices)."""
    return (
        str(data["author"]["id"]) != our_id
        and not data["author"].get("system")
        and data.get("webhook_id") is None
        and (data.get("type") or DEFAULT) in (DEFAULT, REPLY)
    )


def reply_target(data: Payload) -> str | None:
    """Id of the message that this one answers."""
    reference = data.get("message_reference") or {}
    if data.get("type") != REPLY and reference.get("type") == FORWARD:
        return None
    target = reference.get("message_id")
    return str(target) if target is not None else None


def read_message(
    data: Payload, channel: Channel, places: Places, our_id: str, *, replies_to_bot: bool, backfilled: bool = False
) -> IncomingMessage:
    """A message object, live or from the history."""
    text, addressed = read_text(data, channel, places, our_id)
    if not replies_to_bot:  # a reply lists whom it answers among the mentions, written or not
        addressed = addressed or our_id in {str(user["id"]) for user in _mentioned(data)}
    return IncomingMessage(
        channel=channel,
        message_id=str(data["id"]),
        author=_read_author(data, channel, places),
        text=text,
        sent_at=read_time(data),
        mentions_bot=addressed,
        replies_to_bot=replies_to_bot,
        reply_to=reply_target(data),
        backfilled=backfilled,
    )


def read_text(data: Payload, channel: Channel, places: Places, our_id: str) -> tuple[str, bool]:
    """The words as a reader sees them, without our own mention, and whether it was there."""
    names = {str(user["id"]): _display_name(user) for user in _mentioned(data)}

    def write(match: re.Match[str]) -> str:
        if user := match["user"]:
            return _OWN_MENTION if user == our_id else f"@{names.get(user, 'someone')}"
        if role_id := match["role"]:
            role = places.role(channel.server or "", role_id)
            return _OWN_MENTION if role and role.bot_id == our_id else f"@{role.name if role else 'role'}"
        if channel_id := match["channel"]:
            place = places.get(channel_id)
            return f"#{place.name if place else 'channel'}"
        return f":{match['emoji']}:" if match["emoji"] else f"/{match['command']}"

    text = _MARKUP.sub(write, str(data.get("content") or "").replace(_OWN_MENTION, ""))
    mentioned = _OWN_MENTION in text
    if mentioned:
        text = re.sub(rf"^\s*{_OWN_MENTION}[,:](?=\s)", "", text)  # "@Banter, hello"
        text = re.sub(rf"[^\S\n]*{_OWN_MENTION}[^\S\n]*", " ", text)
        text = re.sub(r"^ | $", "", text, flags=re.MULTILINE)
    return _EMPHASIS.sub(r"\2", text).strip(), mentioned


def read_command(data: Payload, channel: Channel) -> IncomingCommand:
    """A slash command with at most one text argument."""
    options = data["data"].get("options") or ()
    member = data.get("member") or {}
    user = member.get("user") or data["user"]
    admin = bool(int(member.get("permissions") or 0) & ADMIN)
    return IncomingCommand(
        channel=channel,
        author=Author(id=str(user["id"]), is_bot=bool(user.get("bot")), is_admin=admin),
        name=str(data["data"]["name"]),
        arguments=" ".join(str(option["value"]) for option in options if "value" in option),
        sent_at=read_time({"id": data["id"]}),
    )


def write_command(spec: CommandSpec) -> Payload:
    """What registers a command: everywhere the bot is, direct messages included."""
    options = (
        []
        if spec.argument is None
        else [{"type": 3, "name": spec.argument, "description": spec.argument, "required": False}]
    )
    return {
        "name": spec.name,
        "type": 1,
        "description": spec.description,
        "options": options,
        "default_member_permissions": MANAGE_GUILD if spec.admin_only_in_groups else None,
        "contexts": [0, 1],  # servers, direct messages with the bot
    }


def _read_author(data: Payload, channel: Channel, places: Places) -> Author:
    author = data["author"]
    id = str(author["id"])
    roles = map(str, (data.get("member") or {}).get("roles") or ())
    admin = channel.server is not None and places.is_admin(channel.server, id, roles)
    return Author(id=id, is_bot=bool(author.get("bot")), is_admin=admin)


def _mentioned(data: Payload) -> list[Payload]:
    """Who is mentioned; small servers list bare ids."""
    return [user if isinstance(user, dict) else {"id": user} for user in data.get("mentions") or ()]


def _display_name(user: Payload) -> str:
    nick = (user.get("member") or {}).get("nick")
    return str(nick or user.get("global_name") or user.get("username") or "someone")
