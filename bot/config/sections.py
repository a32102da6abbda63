"""The sections of config.yaml, one class each, one sentence under each key.

Pure data: what a value means to the bot is the business of the part that is given the section.
"""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, StringConstraints, field_validator

from bot.config.errors import shown
from bot.config.values import Cron, Duration, Listen, PlatformId, Rate, RateLimit, Section, Switch, WebUrl
from moderation.policy import LinkSettings, ModerationSettings, WordLists

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Checkpoint = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)]

_SCHEMES = ("sqlite", "sqlite+aiosqlite", "postgresql", "postgresql+asyncpg", "postgresql+psycopg")
_SECOND, _MINUTE, _HOUR, _DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Bot(Section):
    """Who the bot is everywhere."""

    name: Word = Field(
        default="Banter", description="The bot's name; where triggers.group.names is left out, it calls the bot."
    )
    persona: str = Field(
        default="default", description="Which entry of `personas` speaks where nothing else is chosen."
    )
    language: str = Field(
        default="en",
        pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
        description="Code of the language that people talk in, like en or pt-BR.",
    )
    operators: tuple[PlatformId, ...] = Field(
        default=(), description='People who may do everything, as platform:id, like "telegram:123".'
    )


class Terminal(Section):
    """Talking to the bot in the terminal that it was started in."""

    enabled: Switch = Field(default="auto", description="auto: when no platform has a token.")


class Webhook(Section):
    """Where Telegram delivers to, instead of being polled."""

    url: WebUrl | None = Field(default=None, description="Public https address that Telegram posts updates to.")
    listen: str = Field(
        default="127.0.0.1", min_length=1, max_length=255, description="Address of this machine to listen on."
    )
    port: int = Field(default=8443, ge=1, le=65535, description="Port to listen on.")
    secret: SecretStr | None = Field(
        default=None, description="Shared with Telegram, so that nobody else can post updates."
    )

    @field_validator("secret")
    @classmethod
    def _characters(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret.get_secret_value()):
            raise ValueError("the secret may hold A-Z, a-z, 0-9, _ and - only, 1 to 256 of them")
        return secret


class Telegram(Section):
    """The bot on Telegram."""

    enabled: Switch = Field(default="auto", description="auto: when there is a token.")
    token: SecretStr | None = Field(
        default=None, description='The token from @BotFather, best as "${TELEGRAM_BOT_TOKEN}".'
    )
    mode: Literal["polling", "webhook"] = Field(
        default="polling",
        description="polling asks Telegram for messages and works anywhere; webhook needs a public address.",
    )
    api_url: WebUrl = Field(
        default="https://api.telegram.org", description="Bot API server; another one if you host your own."
    )
    webhook: Webhook = Field(default_factory=Webhook, description="Used when mode is webhook.")


class Discord(Section):
    """The bot on Discord."""

    enabled: Switch = Field(default="auto", description="auto: when there is a token.")
    token: SecretStr | None = Field(
        default=None, description='The token from the portal, best as "${DISCORD_BOT_TOKEN}".'
    )
    message_content: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Reading what does not mention the bot needs an intent from the portal; auto does without.",
    )
    api_url: WebUrl = Field(
        default="https://discord.com/api/v10", description="Discord's REST address; another one for a proxy."
    )


class Channels(Section):
    """The places where people talk to the bot."""

    terminal: Terminal = Field(default_factory=Terminal, description="The terminal that the bot was started in.")
    telegram: Telegram = Field(default_factory=Telegram, description="Telegram chats, groups and topics.")
    discord: Discord = Field(default_factory=Discord, description="Discord servers, threads and direct messages.")

    def enabled_platforms(self) -> tuple[str, ...]:
        """Names of what is to be connected: platforms that have a token and are not off, else the terminal."""
        wanted = [
            name
            for name, enabled, token in (
                ("telegram", self.telegram.enabled, self.telegram.token),
                ("discord", self.discord.enabled, self.discord.token),
            )
            if token is not None and enabled is not False
        ]
        if self.terminal.enabled is True or (self.terminal.enabled == "auto" and not wanted):
            wanted.append("terminal")
        return tuple(wanted)


class GroupTriggers(Section):
    """What calls the bot where several people talk."""

    mention: bool = Field(default=True, description="Answer when mentioned with @.")
    reply: bool = Field(default=True, description="Answer replies to the bot's own messages.")
    names: tuple[Word, ...] = Field(
        default=("Banter",),
        max_length=50,
        description="Words that call the bot, * standing for any letters; left out: the bot's name; []: none.",
    )
    always_in: tuple[Word, ...] = Field(
        default=(), max_length=1000, description="Ids of channels where every message is answered, without a mention."
    )
    continue_threads: bool = Field(default=True, description="Go on without a mention in threads that the bot opened.")


class Unsolicited(Section):
    """Joining in without being asked. Off unless you set a chance."""

    chance: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Probability that a message nobody meant for it is answered."
    )
    decay: Duration = Field(
        default=10 * _MINUTE,
        ge=_SECOND,
        description="The chance halves for each such time since the bot last spoke there.",
    )
    max_per_hour: int = Field(default=4, ge=0, le=1000, description="Most such replies per channel and hour.")


class BotTriggers(Section):
    """Other bots, ignored unless they are listed."""

    allow: tuple[Word, ...] = Field(
        default=(), max_length=1000, description='Bots that are answered, as "discord:456".'
    )
    max_turns: int = Field(
        default=6, ge=1, le=1000, description="Most replies to bots in one channel within the window."
    )
    window: Duration = Field(default=_MINUTE, ge=_SECOND, description="Time over which these replies are counted.")


class Triggers(Section):
    """When the bot answers."""

    private: Literal["always", "off"] = Field(
        default="always", description="Private chats: answer always, or only commands."
    )
    group: GroupTriggers = Field(default_factory=GroupTriggers, description="Groups, servers, topics and threads.")
    unsolicited: Unsolicited = Field(default_factory=Unsolicited, description="Joining in without being asked.")
    bots: BotTriggers = Field(default_factory=BotTriggers, description="Other bots.")
    quiet_time: Duration = Field(
        default=timedelta(seconds=1.5),
        le=_MINUTE,
        description="Messages of one person closer together than this are one turn.",
    )


class Model(Section):
    """The model that writes replies. Changes need a restart."""

    checkpoint: Checkpoint = Field(
        default="starter",
        description="starter (ships with Banter), smollm2, a hub id like microsoft/DialoGPT-medium, or a path, "
        "relative to the folder of this file.",
    )
    dialect: str = Field(
        default="auto", description="How the checkpoint writes a talk; auto reads it from the checkpoint."
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d{1,2})?)$", description="auto, cpu, cuda, cuda:N or mps."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Number format of the weights; auto chooses by device."
    )
    engine: str = Field(
        default="builtin", description="What runs the model; this version has the built-in engine only."
    )

    @field_validator("engine")
    @classmethod
    def _builtin_only(cls, engine: str) -> str:
        if engine != "builtin":
            raise ValueError(
                f"{shown(engine)} cannot be used: this version has the built-in engine only; allowed: builtin"
            )
        return engine


class RankerHead(Section):
    """One model that scores candidates."""

    name: Word = Field(description="Name under which its scores are kept.")
    checkpoint: Checkpoint = Field(
        description="starter, a hub id like microsoft/DialogRPT-updown, or a path as in model.checkpoint."
    )
    weight: float = Field(default=1.0, ge=-10.0, le=10.0, description="Share in the mean; negative prefers low scores.")


class Penalties(Section):
    """How much of a candidate's score a fault takes away: 0 nothing, 1 everything."""

    repeat: float = Field(
        default=0.6, ge=0.0, le=1.0, description="Repeats what the bot said before in the conversation."
    )
    echo: float = Field(default=0.8, ge=0.0, le=1.0, description="Says back what it was just told.")
    contradiction: float = Field(default=0.5, ge=0.0, le=1.0, description="Contradicts one of the persona's facts.")


class Ranking(Section):
    """How the best candidate is chosen."""

    mix: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Share of the rankers; the rest is the generator's own probability."
    )
    prior: tuple[RankerHead, ...] = Field(
        default=(RankerHead(name="human_vs_rand", checkpoint="starter"),),
        max_length=8,
        description="Rankers whose weighted mean is multiplied with that of cond.",
    )
    cond: tuple[RankerHead, ...] = Field(
        default=(RankerHead(name="mutual_information", checkpoint="starter"),),
        max_length=8,
        description="Rankers that count where prior lets them; one named mutual_information is a generator.",
    )
    penalties: Penalties = Field(default_factory=Penalties, description="What known faults take away.")


class OnAllBlocked(StrEnum):
    """What happens when moderation lets no candidate through."""

    RESAMPLE = "resample"
    SAFE_LINE = "safe_line"
    SILENT = "silent"


class Moderation(ModerationSettings, Section):
    """What must not be said, and what happens then."""

    words: WordLists = Field(default_factory=WordLists, description="Your own words, besides the lists that ship.")
    links: LinkSettings = Field(default_factory=LinkSettings, description="Links that the bot may post; no others.")
    on_all_blocked: OnAllBlocked = Field(
        default=OnAllBlocked.RESAMPLE,
        description="No candidate may be said: resample tries once more, then a safe line; or safe_line, or silent.",
    )

    def rules(self) -> ModerationSettings:
        """The part that the moderator works by."""
        return ModerationSettings.model_validate({key: getattr(self, key) for key in ModerationSettings.model_fields})


class History(Section):
    """What the bot remembers while it talks."""

    turns: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Most turns that the model reads; left out: as many as the checkpoint's own chat program, or 8.",
    )
    tokens: int | None = Field(
        default=None,
        ge=16,
        le=4096,
        description="Most tokens that the model reads, the oldest turns going first; left out: 256, or with "
        "decoding's preset original all that it holds.",
    )
    forget_after: Duration = Field(
        default=12 * _HOUR, ge=_SECOND, description="A conversation that was silent for so long starts anew."
    )
    group_lines: Literal["addressed", "all"] = Field(
        default="addressed",
        description="In groups keep only what was meant for the bot, or all that it can see, as context.",
    )


class Limits(Section):
    """How much is answered. Who asks for more gets one polite notice."""

    user: RateLimit = Field(default=Rate(10, _MINUTE), description="Most messages answered for one person.")
    channel: RateLimit = Field(default=Rate(30, _MINUTE), description="Most messages answered in one channel.")
    queue_per_channel: int = Field(
        default=3, ge=1, le=1000, description="Most turns of one channel that wait for a reply."
    )
    queue_total: int = Field(default=500, ge=1, le=1_000_000, description="Most turns that wait for a reply.")
    reply_timeout: Duration = Field(
        default=30 * _SECOND,
        ge=_SECOND,
        le=_HOUR,
        description="Longest time without a new token; after that the model is restarted.",
    )


class Feedback(Section):
    """Reserved: this version accepts only the values shown."""

    buttons: Literal["quiet"] = Field(
        default="quiet", description="Reserved for buttons under replies; quiet shows none."
    )
    train: Literal["off"] = Field(default="off", description="Reserved for learning from feedback; off.")


class Backfill(Section):
    """What was said on Discord while the bot was away."""

    age: Duration = Field(
        default=15 * _MINUTE, le=_DAY, description="Missed messages up to this old are answered; 0s: none."
    )
    per_channel: int = Field(default=50, ge=0, le=1000, description="Most missed messages fetched per channel.")


class Intake(Section):
    """How messages reach the bot. Changes need a restart."""

    backfill: Backfill = Field(default_factory=Backfill, description="Messages that were missed.")


class TrainingConsent(Section):
    """Whether people's messages may be used for training."""

    telegram: Literal["opt_in", "never"] = Field(default="opt_in", description="opt_in: only of people who agreed.")
    discord: Literal["never"] = Field(
        default="never", description="Discord's developer terms allow no training on messages."
    )


class Privacy(Section):
    """What is kept of people's words."""

    retention: Duration = Field(
        default=90 * _DAY, ge=_DAY, description="Messages are deleted after this time, in days."
    )
    log_text: bool = Field(
        default=False, description="Write people's words into the log; for debugging on your own machine."
    )
    training: TrainingConsent = Field(default_factory=TrainingConsent, description="Use of messages for training.")


def _database_url(url: str) -> str:
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(
            f"{shown(scheme) if separator else 'this'} is no supported database; "
            'allowed: "sqlite:///data/banter.db" or "postgresql://USER:PASSWORD@HOST/NAME"'
        )
    if scheme.startswith("sqlite") and (not rest.startswith("/") or not rest.strip("/") or ":memory:" in rest):
        raise ValueError('the database needs a file; allowed: "sqlite:///data/banter.db"')
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or parse_qs(parts.query).get("host")  # a folder there means a socket
    except ValueError:
        host = None
    if scheme.startswith("postgresql") and not host:
        raise ValueError('the database needs a host; allowed: "postgresql://USER:PASSWORD@HOST/NAME"')
    return url.strip()


def hide_password(url: str) -> str:
    """A database URL as it may be shown."""
    return re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url)


class Storage(Section):
    """Where messages and replies are kept. Changes need a restart."""

    url: Annotated[str, AfterValidator(_database_url), PlainSerializer(hide_password)] = Field(
        default="sqlite:///data/banter.db",
        validate_default=True,
        repr=False,
        description="sqlite:///FILE, relative to the folder of this file, or postgresql://USER:PASSWORD@HOST/NAME.",
    )


class Jobs(Section):
    """What is done on schedule, as cron lines (minute hour day month weekday, in UTC), or off. Needs a restart."""

    retention: Cron = Field(default="0 4 * * *", description="Delete what is older than privacy.retention.")
    backup: Cron = Field(default="0 3 * * *", description="Copy the database (SQLite only).")
    keep_backups: int = Field(default=7, ge=1, le=1000, description="So many of the newest backups are kept.")


class Web(Section):
    """The page for operators, metrics and health. Changes need a restart."""

    enabled: bool = Field(default=False, description="Whether it listens at all.")
    listen: Listen = Field(
        default="127.0.0.1:8080", description="HOST:PORT; 127.0.0.1 is reached from this machine only."
    )
    token: SecretStr | None = Field(
        default=None, description="Asked for before anything is shown; needed beyond this machine."
    )


class Logs(Section):
    """What the bot tells about its work. Changes need a restart."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="How much is told.")
    format: Literal["auto", "console", "json"] = Field(
        default="console", description="console for people, json for machines; auto: json when not in a terminal."
    )
