"""The configuration: config.yaml, read, validated and frozen; what others need of it."""

from bot.config.errors import ConfigError, Problem
from bot.config.load import Config, config_schema, load_config
from bot.config.overrides import ChannelSettings, Match, Override
from bot.config.personas import Persona
from bot.config.sections import (
    History,
    Moderation,
    OnAllBlocked,
    RankerHead,
    Ranking,
    Triggers,
    Unsolicited,
)
from bot.config.values import Rate
from bot.generator.decoding import Decoding

__all__ = [
    "ChannelSettings",
    "Config",
    "ConfigError",
    "Decoding",
    "History",
    "Match",
    "Moderation",
    "OnAllBlocked",
    "Override",
    "Persona",
    "Problem",
    "RankerHead",
    "Ranking",
    "Rate",
    "Triggers",
    "Unsolicited",
    "config_schema",
    "load_config",
]
