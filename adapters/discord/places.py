"""What the bot knows of servers, channels and threads, kept from the gateway's events as they come.

Plain JSON in, ids as strings; a channel that was never announced (a direct message, an old thread) is simply
unknown here and asked for over REST by whoever needs it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from adapters.base import Channel, ChannelKind
from adapters.discord.http import Payload

PLATFORM = "discord"

# Channel types: https://discord.com/developers/docs/resources/channel#channel-object-channel-types
PRIVATE_TYPES = frozenset({1, 3})
THREAD_TYPES = frozenset({10, 11, 12})
TEXT_TYPES = frozenset({0, 2, 5, 13}) | THREAD_TYPES  # voice and stage channels have a text chat too

# Permission bits: https://discord.com/developers/docs/topics/permissions
ADMINISTRATOR = 1 << 3
MANAGE_GUILD = 1 << 5
VIEW_CHANNEL = 1 << 10
READ_MESSAGE_HISTORY = 1 << 16
ADMIN = ADMINISTRATOR | MANAGE_GUILD
READ = VIEW_CHANNEL | READ_MESSAGE_HISTORY


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    permissions: int
    bot_id: str | None  # the bot whose managed role this is


@dataclass(slots=True)
class Server:
    owner_id: str | None = None
    roles: dict[str, Role] = field(default_factory=dict)
    our_roles: frozenset[str] | None = None  # None: not told


@dataclass(slots=True)
class Place:
    """A channel or thread as the API describes it."""

    id: str
    type: int
    name: str
    server_id: str | None
    parent_id: str | None
    owner_id: str | None
    last_message_id: str | None
    overwrites: tuple[tuple[str, int, int], ...]  # role or member id, allowed bits, denied bits


class Places:
    """All servers and channels, fed by `apply`; `our_id` is the bot's own user id."""

    def __init__(self, our_id: str) -> None:
        self._our_id = our_id
        self._servers: dict[str, Server] = {}
        self._places: dict[str, Place] = {}

    def apply(self, event: str, data: Payload) -> None:
        """Take in a gateway event; others than those about places change nothing."""
        match event:
            case "READY":
                self._forget_newest(str(guild["id"]) for guild in data.get("guilds") or ())
                for guild in data.get("guilds") or ():
                    self._add_server(guild)  # Discord sends ids only, but a small server may send all at once
            case "GUILD_CREATE" | "GUILD_UPDATE":
                self._add_server(data)
            case "GUILD_DELETE" if not data.get("unavailable"):
                self._servers.pop(str(data["id"]), None)
                self._places = {id: place for id, place in self._places.items() if place.server_id != str(data["id"])}
            case "GUILD_ROLE_CREATE" | "GUILD_ROLE_UPDATE":
                self._server(str(data["guild_id"])).roles[str(data["role"]["id"])] = _read_role(data["role"])
            case "GUILD_ROLE_DELETE":
                self._server(str(data["guild_id"])).roles.pop(str(data["role_id"]), None)
            case "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_CREATE" | "THREAD_UPDATE":
                self.add(data)
            case "CHANNEL_DELETE" | "THREAD_DELETE":
                self._places.pop(str(data["id"]), None)
            case "THREAD_LIST_SYNC":
                for thread in data.get("threads") or ():
                    self.add(thread, str(data["guild_id"]))

    def add(self, data: Payload, server_id: str | None = None) -> Place:
        """Remember a channel object."""
        place = read_place(data, server_id)
        self._places[place.id] = place
        return place

    def get(self, channel_id: str) -> Place | None:
        return self._places.get(channel_id)

    def in_server(self, server_id: str) -> list[Place]:
        return [place for place in self._places.values() if place.server_id == server_id]

    def channel(self, place: Place) -> Channel:
        """The port's view of a place."""
        thread = place.type in THREAD_TYPES
        private = place.type in PRIVATE_TYPES
        kind = ChannelKind.PRIVATE if private else ChannelKind.THREAD if thread else ChannelKind.GROUP
        return Channel(
            platform=PLATFORM,
            address=place.id,
            kind=kind,
            server=place.server_id,
            parent=place.parent_id if thread else None,
            owned=thread and place.owner_id == self._our_id,
        )

    def is_admin(self, server_id: str, user_id: str, role_ids: Iterable[str]) -> bool:
        """Whether somebody may manage the server: by a role of theirs, everybody's role, or as its owner."""
        server = self._servers.get(server_id)
        if server is None:
            return False
        return user_id == server.owner_id or bool(_permissions(server, server_id, role_ids) & ADMIN)

    def role(self, server_id: str, role_id: str) -> Role | None:
        server = self._servers.get(server_id)
        return server.roles.get(role_id) if server else None

    def readable(self) -> Iterator[Place]:
        """Text channels and threads of servers whose history the bot may read, as far as it was told."""
        for place in self._places.values():
            if place.type in TEXT_TYPES and place.server_id is not None and self._may_read(place):
                yield place

    def _may_read(self, place: Place) -> bool:
        server = self._servers.get(place.server_id or "")
        if server is None or server.our_roles is None or place.server_id is None:
            return True
        bits = _permissions(server, place.server_id, server.our_roles)
        if bits & ADMINISTRATOR:
            return True
        if place.type in THREAD_TYPES and place.parent_id is not None:
            place = self._places.get(place.parent_id, place)  # a thread has its parent's permissions
        # Least to most specific: everybody, our roles together, ourselves.
        for ids in ({place.server_id}, server.our_roles, {self._our_id}):
            mine = [(allow, deny) for id, allow, deny in place.overwrites if id in ids]
            for _, deny in mine:
                bits &= ~deny
            for allow, _ in mine:
                bits |= allow
        return bits & READ == READ

    def _server(self, server_id: str) -> Server:
        return self._servers.setdefault(server_id, Server())

    def _add_server(self, data: Payload) -> None:
        if data.get("unavailable"):
            return
        server_id = str(data["id"])
        server = self._server(server_id)
        if data.get("owner_id"):
            server.owner_id = str(data["owner_id"])
        if "roles" in data:
            server.roles = {str(role["id"]): _read_role(role) for role in data["roles"]}
        for member in data.get("members") or ():
            if str((member.get("user") or {}).get("id")) == self._our_id:
                server.our_roles = frozenset(map(str, member.get("roles") or ()))
        for channel in [*(data.get("channels") or ()), *(data.get("threads") or ())]:
            self.add(channel, server_id)

    def _forget_newest(self, server_ids: Iterable[str]) -> None:
        """A new session tells the newest message ids again; those of the old one may be out of date."""
        ids = set(server_ids)
        for place in self._places.values():
            if place.server_id in ids:
                place.last_message_id = None


def _permissions(server: Server, server_id: str, role_ids: Iterable[str]) -> int:
    bits = 0
    for role_id in (server_id, *role_ids):  # everybody's role has the server's id
        role = server.roles.get(role_id)
        bits |= role.permissions if role else 0
    return bits


def _read_role(data: Payload) -> Role:
    bot_id = (data.get("tags") or {}).get("bot_id")
    return Role(str(data.get("name", "role")), int(data.get("permissions") or 0), str(bot_id) if bot_id else None)


def read_place(data: Payload, server_id: str | None) -> Place:
    """A channel object of the API; `server_id` where the object names none."""

    def optional(key: str) -> str | None:
        value = data.get(key)
        return str(value) if value is not None else None

    return Place(
        id=str(data["id"]),
        type=int(data.get("type", 0)),
        name=str(data.get("name") or "channel"),
        server_id=optional("guild_id") or server_id,
        parent_id=optional("parent_id"),
        owner_id=optional("owner_id"),
        last_message_id=optional("last_message_id"),
        overwrites=tuple(
            (str(entry["id"]), int(entry.get("allow") or 0), int(entry.get("deny") or 0))
            for entry in data.get("permission_overwrites") or ()
        ),
    )
