"""One moderator for each distinct moderation setting, made once and shared."""

import functools

from bot.config import ChannelSettings
from moderation.policy import ModerationSettings, Moderator, load_moderator


class Moderators:
    """`of(settings)` is the moderator that a channel's settings and persona ask for."""

    def __init__(self) -> None:
        self._load = functools.lru_cache(maxsize=32)(_load)

    def of(self, settings: ChannelSettings) -> Moderator:
        return self._load(settings.moderation.rules().model_dump_json())


def _load(dumped: str) -> Moderator:
    return load_moderator(ModerationSettings.model_validate_json(dumped))
