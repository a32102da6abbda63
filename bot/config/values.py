"""How single values of config.yaml are written: durations, rates, cron lines, addresses.

Each type reads the form that people write, refuses anything else with a sentence that says what is allowed,
and writes itself back in the same form.
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from apscheduler.triggers.cron import CronTrigger
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from bot.config.errors import shown

PLATFORMS = ("telegram", "discord", "terminal")

_UNIT_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "hour": 3600, "h": 3600, "day": 86400, "d": 86400}
_LONGEST = timedelta(days=3650)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) ?(ms|s|m|min|h|hour|d|day)s?")
_RATE = re.compile(r"(\d{1,9}) ?/ ?(s|m|min|h|hour|d|day)")


class Section(BaseModel):
    """A section of config.yaml: immutable, knows all its keys; a key without a value keeps its default."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, data: Any) -> Any:
        """`moderation:` with every line under it commented out means the defaults."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def parse_duration(value: Any) -> timedelta:
    """Read "1.5s", "10m", "12h", "90d". Raises ValueError naming what is allowed."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        bare = isinstance(value, int | float) and not isinstance(value, bool)
        unit = f'; a unit is missing, for example "{shown(value)}s"' if bare else ""
        raise ValueError(f'{shown(value)} is not a duration{unit}; allowed: a number with s, m, h or d, like "10m"')
    duration = timedelta(seconds=float(match[1]) * _UNIT_SECONDS[match[2]])
    if duration > _LONGEST:
        raise ValueError(f"{shown(value)} is too long; allowed: up to {_LONGEST.days}d")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest form that `parse_duration` reads back: the largest unit that divides it."""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(duration, timedelta(seconds=_UNIT_SECONDS[unit]))
        if not rest and count:
            return f"{count}{unit}"
    return f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in each stretch of `per`."""

    count: int
    per: timedelta

    def __str__(self) -> str:
        names = {1: "s", 60: "min", 3600: "h", 86400: "day"}
        return f"{self.count}/{names[round(self.per.total_seconds())]}"


def parse_rate(value: Any) -> Rate:
    """Read "10/min". Raises ValueError naming what is allowed."""
    if isinstance(value, Rate):
        return value
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) < 1:
        raise ValueError(f'{shown(value)} is not a rate; allowed: a number from 1 and s, min, h or day, like "10/min"')
    return Rate(int(match[1]), timedelta(seconds=_UNIT_SECONDS[match[2]]))


def _cron(value: str) -> str:
    line = value.strip()
    if line == "off":
        return line
    try:
        CronTrigger.from_crontab(line, timezone=UTC)
    except ValueError as error:
        raise ValueError(
            f"{shown(value)} is no cron line ({shown(str(error)).strip(chr(34))}); "
            'allowed: minute hour day month weekday, like "0 4 * * *", or off'
        ) from None
    return line


def _listen(value: str) -> str:
    host, _, port = value.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535 and is_host(host)):
        raise ValueError(f'{shown(value)} is not an address to listen on; allowed: HOST:PORT, like "127.0.0.1:8080"')
    return value.strip()


def is_host(text: str) -> bool:
    """Whether `text` is an IP address or could be a host's name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", text) is not None
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _web_url(value: str) -> str:
    problem = ValueError(f'{shown(value)} is not a web address; allowed: http:// or https://, like "https://host/path"')
    try:
        parts = urlsplit(value.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", value.strip()):
        raise problem
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the address must hold no user, password, ? or #")
    return value.strip().rstrip("/")


def _platform_id(value: str) -> str:
    platform, _, number = value.strip().partition(":")
    if platform not in PLATFORMS or not re.fullmatch(r"-?\w{1,40}", number):
        raise ValueError(f'{shown(value)} is no person; allowed: platform:id, like "telegram:123" or "discord:456"')
    return value.strip()


def _switch(value: Any) -> Literal["auto"] | bool:
    words: dict[Any, Literal["auto"] | bool] = {"auto": "auto", "true": True, "false": False, "on": True, "off": False}
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.strip().lower() not in words:
        raise ValueError(f"{shown(value)} is not one of the choices; allowed: auto, true, false")
    return words[value.strip().lower()]


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["1.5s", "10m", "12h", "90d"]}),
]
"""A span of time, written as a number with ms, s, m, h or d."""

RateLimit = Annotated[
    Rate,
    BeforeValidator(parse_rate),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_RATE.pattern}$", "examples": ["10/min", "200/h"]}),
]
"""How often something may happen, written as COUNT/UNIT with s, min, h or day."""

Switch = Annotated[Literal["auto"] | bool, BeforeValidator(_switch), WithJsonSchema({"enum": ["auto", True, False]})]
"""auto, true or false."""

Cron = Annotated[str, AfterValidator(_cron)]
"""Five fields of a crontab line, or off."""

Listen = Annotated[str, AfterValidator(_listen)]
"""HOST:PORT to listen on."""

WebUrl = Annotated[str, AfterValidator(_web_url)]
"""An http or https address without a slash at its end."""

PlatformId = Annotated[str, AfterValidator(_platform_id)]
"""A person on a platform, written as platform:id."""
