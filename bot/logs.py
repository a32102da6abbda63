"""Logs: one line an event, for people (console) or machines (JSON); never a secret, on no line of any library.

What is redacted is the finished line: whatever path a token took into it, it does not leave.
"""

import logging
import re
import sys
import urllib.parse
from collections.abc import Sequence
from typing import TextIO

import structlog

_PATTERNS = (
    re.compile(r"\b\d{6,12}:[A-Za-z0-9_-]{30,}"),  # Telegram bot token
    re.compile(r"\b[MNO][A-Za-z0-9_-]{22,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{25,}"),  # Discord bot token
    re.compile(r"(?<=/)(?:aW50ZXJhY3Rpb246|[A-Za-z0-9_-]{60,})[A-Za-z0-9_=-]*"),  # Discord interaction or webhook token
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),  # user and password in a URL
)
HIDDEN = "***"


class Redactor:
    """Replaces known secrets, in every form they travel in, and whatever looks like one."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        forms = {
            form for secret in secrets if len(secret) >= 4 for form in (secret, urllib.parse.quote(secret, safe=""))
        }
        self._literal = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)) or "(?!)")

    def __call__(self, line: str) -> str:
        line = self._literal.sub(HIDDEN, line)
        for pattern in _PATTERNS:
            line = pattern.sub(HIDDEN, line)
        return line


class _RedactingFormatter(logging.Formatter):
    def __init__(self, inner: logging.Formatter, redact: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(self._inner.format(record))


def set_up_logging(level: str, style: str, secrets: Sequence[str], stream: TextIO | None = None) -> None:
    """Send every logger's records, ours and the libraries', through one redacting handler.

    `style` is "console", "json" or "auto" (console on a terminal). May be called again, as after a reload.
    """
    out = stream or sys.stderr
    machine = style == "json" or (style == "auto" and not out.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if machine
        else [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(_RedactingFormatter(formatter, Redactor(secrets)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These write whole URLs, tokens included, or every job they run.
    for noisy in ("httpx", "httpcore", "telegram", "discord", "aiohttp.access", "apscheduler", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.captureWarnings(True)
