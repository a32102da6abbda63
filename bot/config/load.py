"""The configuration: config.yaml, read, validated and frozen.

`load_config` is the one way in. It names every problem at once, with file, line, key, what is allowed and the
nearest known key; what it returns cannot change and needs no further checks.
"""

import functools
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.json_schema import GenerateJsonSchema

from adapters.base import Channel
from bot.config.checks import faults
from bot.config.env import Expansion, Variables, has_variable, warn_if_world_readable
from bot.config.errors import ConfigError, Fault, KeyPath, Problem, path_text, value_at
from bot.config.file import Document, parse_document, read_document
from bot.config.overrides import ChannelSettings, Override, merged, strictest, tree
from bot.config.paths import anchored
from bot.config.personas import Persona
from bot.config.problems import fault
from bot.config.sections import (
    Bot,
    Channels,
    Feedback,
    History,
    Intake,
    Jobs,
    Limits,
    Logs,
    Model,
    Moderation,
    Privacy,
    Ranking,
    Storage,
    Triggers,
    Web,
)
from bot.config.values import Rate, Section, format_duration
from bot.generator.decoding import Decoding

log = logging.getLogger(__name__)

SECRETS: tuple[KeyPath, ...] = (
    ("channels", "telegram", "token"),
    ("channels", "telegram", "webhook", "secret"),
    ("channels", "discord", "token"),
    ("web", "token"),
)
"""Keys that hold secrets; where the variable of one is not set, the key is not there."""


MAX_TOLD = 100
"""So many problems are told; a file with more is not one that anybody mends line by line."""


class Config(Section):
    """All of config.yaml. Sections that need a restart say so."""

    version: Literal[1] = Field(default=1, description="Version of this file's format.")
    bot: Bot = Field(default_factory=Bot, description="Name, first persona, language, operators.")
    channels: Channels = Field(default_factory=Channels, description="Where people talk to it. Needs a restart.")
    triggers: Triggers = Field(default_factory=Triggers, description="When it answers.")
    model: Model = Field(default_factory=Model, description="What writes the replies. Needs a restart.")
    decoding: dict[str, Decoding] = Field(
        default_factory=lambda: {"default": Decoding.model_validate({})},
        description="Ways of writing, by name; personas choose one.",
    )
    ranking: Ranking = Field(default_factory=Ranking, description="How the best candidate is chosen.")
    personas: dict[str, Persona] = Field(
        default_factory=lambda: {"default": Persona()}, description="Who the bot can be, by name."
    )
    moderation: Moderation = Field(default_factory=Moderation, description="What must not be said.")
    history: History = Field(default_factory=History, description="What it remembers while it talks.")
    limits: Limits = Field(default_factory=Limits, description="How much is answered.")
    feedback: Feedback = Field(default_factory=Feedback, description="Reserved.")
    intake: Intake = Field(default_factory=Intake, description="How missed messages are fetched. Needs a restart.")
    delivery: Literal["at_least_once", "at_most_once"] = Field(
        default="at_least_once",
        description="When it is unknown whether a reply was posted: post it again, or leave it.",
    )
    privacy: Privacy = Field(default_factory=Privacy, description="What is kept, and for how long.")
    storage: Storage = Field(default_factory=Storage, description="The database. Needs a restart.")
    jobs: Jobs = Field(default_factory=Jobs, description="What is done on schedule. Needs a restart.")
    web: Web = Field(default_factory=Web, description="The operators' page. Needs a restart.")
    logs: Logs = Field(default_factory=Logs, description="What is logged, and how. Needs a restart.")
    overrides: tuple[Override, ...] = Field(
        default=(), max_length=10_000, description="Other settings for some places."
    )

    @model_validator(mode="before")
    @classmethod
    def _called_by_its_name(cls, data: Any) -> Any:
        """Where no names are given, the bot answers to its own."""
        name = value_at(data, ("bot", "name"))
        triggers = value_at(data, ("triggers",)) or {}
        group = value_at(triggers, ("group",)) or {}
        usable = isinstance(name, str) and 1 <= len(name.strip()) <= 64
        if (
            not usable
            or not isinstance(triggers, dict)
            or not isinstance(group, dict)
            or group.get("names") is not None
        ):
            return data
        return {**data, "triggers": {**triggers, "group": {**group, "names": [name]}}}

    @field_validator("decoding")
    @classmethod
    def _with_default(cls, decoding: dict[str, Decoding]) -> dict[str, Decoding]:
        return {"default": Decoding.model_validate({}), **decoding}

    @functools.cached_property
    def revision(self) -> str:
        """Twelve hex digits that change with any setting; secrets take no part."""
        settings = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(settings.encode()).hexdigest()[:12]

    def secrets(self) -> list[str]:
        """Every secret in clear, for the log filter that hides them."""
        held = [_attribute(self, path) for path in SECRETS]
        found = [secret.get_secret_value() for secret in held if isinstance(secret, SecretStr)]
        password = urlsplit(self.storage.url).password
        return [*found, *({password, unquote(password)} if password else ())]

    def for_channel(self, channel: Channel, *, persona: str | None = None) -> ChannelSettings:
        """The settings that hold in `channel`. `persona` is one chosen by command; it counts above overrides,
        and is passed over if it no longer exists."""
        fitting = [(override.match.specificity(channel), index) for index, override in enumerate(self.overrides)]
        order = tuple(index for closeness, index in sorted((c, i) for c, i in fitting if c is not None))
        return self._merged_for(order, persona if persona in self.personas else None)

    def settings_of(self, name: str, persona: Persona, decoding: Decoding) -> ChannelSettings:
        """The settings that hold for a persona where no override applies."""
        return ChannelSettings(
            persona_name=name,
            persona=persona,
            decoding=decoding,
            ranking=self.ranking,
            triggers=self.triggers,
            moderation=self.moderation,
            limits=self.limits,
            history=self.history,
        )

    def replaced(self, sections: Mapping[str, Any]) -> "Config":
        """This configuration with some whole sections of another valid one."""
        return self.model_construct(**{name: getattr(self, name) for name in type(self).model_fields} | dict(sections))

    def _merged_for(self, order: tuple[int, ...], persona: str | None) -> ChannelSettings:
        if (order, persona) not in self._views:
            self._views[order, persona] = self._merge(order, persona)
        return self._views[order, persona]

    @functools.cached_property
    def _views(self) -> dict[tuple[tuple[int, ...], str | None], ChannelSettings]:
        return {}

    def _merge(self, order: tuple[int, ...], chosen: str | None) -> ChannelSettings:
        changes = [tree(self.overrides[index].set) for index in order]
        configured = [change["persona"] for change in changes if "persona" in change]
        name = chosen or (configured[-1] if configured else self.bot.persona)
        persona = self.personas[name]
        settings = self.settings_of(name, persona, self.decoding[persona.decoding])
        for change in changes:
            settings = merged(settings, {key: value for key, value in change.items() if key != "persona"})
        return merged(settings, {"moderation": strictest(settings.moderation, persona)})


def load_config(path: Path, env: Mapping[str, str] | None = None, *, text: str | None = None) -> Config:
    """Read, expand and validate a configuration file; `env` is the process's environment if left out.

    Raises ConfigError with every problem found, and nothing else.
    """
    document = read_document(path) if text is None else parse_document(text, str(path))
    variables = Variables.read(os.environ if env is None else env, path.parent)
    expansion = Expansion(variables=variables, may_be_unset=SECRETS)
    settings = anchored(expansion.expand(document.data), path.parent)
    config, found = _validate(settings, document)
    known = {one.path for one in expansion.faults}
    found = [*expansion.faults, *(one for one in found if one.path not in known)]
    problems = [*document.problems, *(_problem(one, document, settings, path) for one in found)]
    if problems or config is None:
        raise ConfigError(problems)
    _warn_about_secrets(document, path)
    return config


class _SchemaOfFile(GenerateJsonSchema):
    """Defaults as people write them: "10m" rather than ISO 8601."""

    def encode_default(self, default: Any) -> Any:
        if isinstance(default, timedelta):
            return format_duration(default)
        return str(default) if isinstance(default, Rate) else super().encode_default(default)


def config_schema() -> dict[str, Any]:
    """JSON Schema of config.yaml, for editors."""
    schema = Config.model_json_schema(schema_generator=_SchemaOfFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Banter's config.yaml"}


def _validate(settings: Any, document: Document) -> tuple[Config | None, list[Fault]]:
    """All faults at once: what is wrong by itself is taken out, until what is left can be checked as a whole."""
    found: list[Fault] = []
    while True:
        try:
            config = Config.model_validate(settings)
        except ValidationError as error:
            errors = error.errors()[:MAX_TOLD]
            found += [fault(one, Config, value_at(document.data, one["loc"])) for one in errors]
            if error.error_count() > MAX_TOLD:
                return None, [*found, Fault(path=(), message=f"and {error.error_count() - MAX_TOLD} more problems")]
            smaller = settings
            for one in errors:
                smaller = _without(smaller, one["loc"][:-1] if one["type"] == "missing" else one["loc"])
            if smaller == settings or smaller is _GONE:
                return None, found
            settings = smaller
        else:
            reported = {one.path for one in found}
            return config, [*found, *(one for one in faults(config) if one.path not in reported)]


_GONE: Any = object()


def _without(settings: Any, path: KeyPath) -> Any:
    """A copy without the value at `path`; a list goes as a whole, because its other entries would move."""
    if not path:
        return _GONE
    key, rest = path[0], path[1:]
    if isinstance(settings, dict) and key in settings:
        child = _without(settings[key], rest)
        kept = {name: one for name, one in settings.items() if name != key}
        return kept if child is _GONE else {**kept, key: child}
    if isinstance(settings, list) and isinstance(key, int) and key < len(settings):
        child = _without(settings[key], rest)
        return _GONE if child is _GONE else [*settings[:key], child, *settings[key + 1 :]]
    return settings


def _problem(one: Fault, document: Document, settings: Any, path: Path) -> Problem:
    """A fault with its line. What a variable holds may be a secret, so the variable is shown in its place."""
    written, held = value_at(document.data, one.path), value_at(settings, one.path)
    hidden = has_variable(written) and isinstance(held, str) and held
    return Problem(
        file=str(path),
        line=document.line(one.path),
        key=path_text(one.path),
        message=one.message.replace(held, written) if hidden else one.message,
        hint=one.hint,
    )


def _warn_about_secrets(document: Document, path: Path) -> None:
    literal = [place for place in SECRETS if (value := value_at(document.data, place)) and not has_variable(value)]
    for place in literal:
        log.warning("secret_in_config_file", extra={"file": str(path), "key": path_text(place)})
    if literal:
        warn_if_world_readable(path)


def _attribute(section: Any, path: KeyPath) -> Any:
    for name in path:
        section = getattr(section, str(name))
    return section
