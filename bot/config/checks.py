"""What single keys cannot tell: settings that must agree with one another."""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bot.config.errors import Fault, KeyPath, did_you_mean, shown, value_at
from bot.config.overrides import ChannelSettings, Match, Override, merged, tree
from bot.config.personas import Persona
from bot.config.problems import fault
from bot.config.sections import Moderation
from bot.config.values import is_host, is_loopback
from bot.generator.decoding import Decoding
from moderation.policy import ModerationError, ModerationSettings, load_moderator

if TYPE_CHECKING:
    from bot.config import Config

Faults = Iterator[Fault]

OVERRIDABLE: tuple[tuple[str, ...], ...] = (  # and persona, which is a name and has nothing under it
    ("decoding",),
    ("ranking", "mix"),
    ("ranking", "penalties"),
    ("triggers",),
    ("moderation",),
    ("limits", "user"),
    ("limits", "channel"),
    ("history",),
)


def faults(config: "Config") -> Faults:
    """Every contradiction in `config`."""
    for check in _CHECKS:
        yield from check(config)


def _personas(config: "Config") -> Faults:
    if config.bot.persona not in config.personas:
        yield _unknown(("bot", "persona"), "persona", config.bot.persona, config.personas)
    for name, persona in config.personas.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name):
            yield Fault(
                path=("personas", name),
                message="is no name that people can type after /persona",
                hint="allowed: letters, digits, - and _, up to 32",
            )
        if persona.decoding not in config.decoding:
            yield _unknown(("personas", name, "decoding"), "entry of decoding", persona.decoding, config.decoding)


def _decoding(config: "Config") -> Faults:
    for name, decoding in config.decoding.items():
        yield from _token_counts(decoding, ("decoding", name, "min_new_tokens"))


def _token_counts(decoding: Decoding, path: KeyPath) -> Faults:
    if decoding.min_new_tokens > decoding.max_new_tokens:
        yield Fault(
            path=path, message=f"{decoding.min_new_tokens} is more than max_new_tokens, {decoding.max_new_tokens}"
        )


def _ranking(config: "Config") -> Faults:
    seen: set[str] = set()
    for group, heads in (("prior", config.ranking.prior), ("cond", config.ranking.cond)):
        for index, head in enumerate(heads):
            if head.name in seen:
                yield Fault(
                    path=("ranking", group, index, "name"),
                    message=f"{shown(head.name)} is used twice",
                    hint="give each ranker its own name",
                )
            seen.add(head.name)


def _channels(config: "Config") -> Faults:
    telegram, discord = config.channels.telegram, config.channels.discord
    for name, section in (("telegram", telegram), ("discord", discord)):
        if section.enabled is True and section.token is None:
            yield Fault(
                path=("channels", name, "enabled"),
                message="is true, but there is no token",
                hint=f"set {name.upper()}_BOT_TOKEN, or write auto",
            )
    if telegram.mode != "webhook" or telegram.enabled is False or telegram.token is None:
        return
    path: KeyPath = ("channels", "telegram", "webhook")
    webhook = telegram.webhook
    if webhook.url is None or not webhook.url.startswith("https://"):
        yield Fault(path=(*path, "url"), message="mode webhook needs a public address that begins with https://")
    if webhook.secret is None:
        yield Fault(path=(*path, "secret"), message="mode webhook needs a secret", hint="A-Z, a-z, 0-9, _ and -")
    if not is_host(webhook.listen):
        yield Fault(path=(*path, "listen"), message=f"{shown(webhook.listen)} is no address of a machine")


def _web(config: "Config") -> Faults:
    host = config.web.listen.rpartition(":")[0].strip("[]")
    if config.web.enabled and config.web.token is None and not is_loopback(host):
        yield Fault(
            path=("web", "token"),
            message=f"is missing, and {shown(config.web.listen)} can be reached from other machines",
            hint="set a token, or listen on 127.0.0.1",
        )


def _moderation(config: "Config") -> Faults:
    yield from _word_lists(config.moderation, ("moderation",))


def _word_lists(moderation: Moderation, path: KeyPath) -> Faults:
    rules = moderation.rules()
    message = None if rules == ModerationSettings() else _unusable_words(rules.model_dump_json())
    if message is not None:
        yield Fault(path=path, message=message)


@functools.lru_cache(maxsize=64)
def _unusable_words(rules: str) -> str | None:
    """What the moderator has against its settings. Remembered, since compiling the lists is most of a reload."""
    try:
        load_moderator(ModerationSettings.model_validate_json(rules))
    except ModerationError as error:
        return str(error)
    return None


def _overrides(config: "Config") -> Faults:
    for index, override in enumerate(config.overrides):
        yield from _match(override, ("overrides", index, "match"))
        if not override.set:
            yield Fault(path=("overrides", index, "set"), message="changes nothing")
        for key, value in override.set.items():
            yield from _override_key(config, key, value, ("overrides", index, "set", key))


def _match(override: Override, path: KeyPath) -> Faults:
    match = override.match
    if match == Match():
        yield Fault(path=path, message="matches nothing", hint="platform, discord_server, telegram_chat, channel")
    named = {match.platform, match.discord_server and "discord", match.telegram_chat and "telegram"} - {None}
    if len(named) > 1:
        yield Fault(path=path, message="names two platforms, so it never applies")


def _override_key(config: "Config", key: str, value: Any, path: KeyPath) -> Faults:
    if key == "persona":
        if not isinstance(value, str) or value not in config.personas:
            yield _unknown(path, "persona", value, config.personas)
        return
    changes = tree({key: value})
    refused = [leaf for leaf in _leaves(changes) if not any(leaf[: len(one)] == one for one in OVERRIDABLE)]
    if refused:
        hint = did_you_mean(".".join(refused[0]), ["persona", *(".".join(one) for one in OVERRIDABLE)])
        yield Fault(path=path, message="cannot be overridden", hint=hint)
    else:
        yield from _override_value(_base(config), changes, key, path)


def _base(config: "Config") -> ChannelSettings:
    """What overrides are tried on; whole even where the configured persona is not."""
    persona = config.personas.get(config.bot.persona, Persona())
    decoding = config.decoding.get(persona.decoding, Decoding.model_validate({}))
    return config.settings_of(config.bot.persona, persona, decoding)


def _override_value(general: ChannelSettings, changes: Mapping[str, Any], key: str, path: KeyPath) -> Faults:
    try:
        settings = merged(general, changes)
    except ValidationError as error:
        for one in error.errors():
            inner = one["loc"][len(key.split(".")) :]
            found = fault(one, ChannelSettings, value_at(changes, one["loc"]))
            yield Fault(path=(*path, *inner), message=found.message, hint=found.hint)
        return
    if settings.decoding != general.decoding:
        yield from _token_counts(settings.decoding, path)
    if settings.moderation != general.moderation:
        yield from _word_lists(settings.moderation, path)


def _leaves(changes: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key)


def _unknown(path: KeyPath, kind: str, name: Any, known: Iterable[str]) -> Fault:
    return Fault(path=path, message=f"there is no {kind} {shown(name)}", hint=did_you_mean(str(name), known))


_CHECKS: tuple[Callable[["Config"], Faults], ...] = (
    _personas,
    _decoding,
    _ranking,
    _channels,
    _web,
    _moderation,
    _overrides,
)
