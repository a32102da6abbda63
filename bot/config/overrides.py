"""Settings of one channel: the general ones, the overrides that match it, and its persona, merged.

The most specific override wins: channel over server over platform, and later over earlier among equals.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field

from adapters.base import Channel
from bot.config.personas import Persona
from bot.config.sections import History, Limits, Moderation, Ranking, Triggers
from bot.config.values import Section
from bot.generator.decoding import Decoding

_STRICTNESS = {"family": 0, "default": 1, "adult_gated": 2}

SomeModel = TypeVar("SomeModel", bound=BaseModel)


class Match(Section):
    """Where an override applies: in every channel that fits all that is given."""

    platform: Literal["telegram", "discord", "terminal"] | None = Field(default=None, description="A whole platform.")
    discord_server: str | None = Field(default=None, description="Id of a Discord server.")
    telegram_chat: str | None = Field(default=None, description="Id of a Telegram chat, with all its topics.")
    channel: str | None = Field(default=None, description="Id of a channel, with the threads or topics in it.")

    def specificity(self, channel: Channel) -> int | None:
        """How closely this describes `channel`; None where it does not apply."""
        place = {channel.address, channel.parent}
        fits = (
            self.platform in (None, channel.platform)
            and (self.discord_server is None or (channel.platform, channel.server) == ("discord", self.discord_server))
            and (
                self.telegram_chat is None
                or (channel.platform == "telegram" and self.telegram_chat in place | {channel.server})
            )
            and (self.channel is None or self.channel in place)
        )
        if not fits:
            return None
        if self.channel is not None:
            return 4 if self.channel == channel.address else 3
        return 2 if self.discord_server or self.telegram_chat else 1


class Override(Section):
    """Other settings for some places."""

    match: Match = Field(default_factory=Match, description="Where: platform, discord_server, telegram_chat, channel.")
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="What: keys with dots, like triggers.unsolicited.chance: 0.05, and the value that holds there.",
    )


class ChannelSettings(Section):
    """All that is settled for one channel at one revision."""

    persona_name: str = Field(description="Key of the persona.")
    persona: Persona = Field(description="The persona that speaks.")
    decoding: Decoding = Field(description="How its candidates are drawn.")
    ranking: Ranking = Field(description="How the best one is chosen.")
    triggers: Triggers = Field(description="When the bot answers.")
    moderation: Moderation = Field(description="What must not be said, for this persona.")
    limits: Limits = Field(description="How much is answered.")
    history: History = Field(description="What is remembered.")


def tree(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An override's dotted keys as nested mappings, `{"limits.user": "5/min"}` as `{"limits": {"user": "5/min"}}`."""
    root: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, leaf = key.split(".")
        node = root
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        fresh = tree(value) if isinstance(value, Mapping) else value
        earlier = node.get(leaf)
        node[leaf] = {**earlier, **fresh} if isinstance(earlier, dict) and isinstance(fresh, dict) else fresh
    return root


def merged(model: SomeModel, changes: Mapping[str, Any]) -> SomeModel:
    """`model` with the changes that a `tree` names, validated anew. Raises pydantic's ValidationError."""
    return type(model).model_validate(_overlaid(model, changes))


def _overlaid(model: BaseModel, changes: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(model, name) for name in model.model_fields_set}
    for name, change in changes.items():
        current = getattr(model, name, None)
        if isinstance(current, BaseModel) and isinstance(change, Mapping):
            values[name] = _overlaid(current, change)
        else:
            values[name] = change
    return values


def strictest(moderation: Moderation, persona: Persona) -> Moderation:
    """The moderation under which `persona` speaks: its own profile where that is stricter."""
    profile = moderation.profile
    if persona.safety == "default" or _STRICTNESS[persona.safety] >= _STRICTNESS[profile]:
        return moderation
    return merged(moderation, {"profile": persona.safety})
