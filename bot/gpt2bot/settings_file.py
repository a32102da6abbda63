"""Read a configuration of gpt2bot (github.com/polakowo/gpt2bot, an INI file): its keys, their values and lines.

Collects problems and remarks instead of stopping at the first. Knows nothing of config.yaml.
"""

import configparser
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bot.config import ConfigError, Problem
from bot.config.errors import did_you_mean, shown
from bot.config.file import read_text

T = TypeVar("T")
Place = tuple[str, str]
"""A section and a key."""

GENERAL, MODEL, WRITING = "general_params", "generation_pipeline_kwargs", "generator_kwargs"
PRIOR, COND, CHAT = "prior_ranker_weights", "cond_ranker_weights", "chatbot_params"

_OLDER_NAMES = {
    "general": GENERAL,
    "generation_pipeline": MODEL,
    "pipeline": MODEL,
    "generator": WRITING,
    "prior_rankers": PRIOR,
    "cond_rankers": COND,
    "chatbot": CHAT,
}

_MOVED: dict[Place, Place] = {(MODEL, "device"): (GENERAL, "device"), (WRITING, "seed"): (GENERAL, "seed")}
"""Keys that stood in another section of older releases."""

_KEYS: dict[str, tuple[str, ...]] = {
    GENERAL: ("device", "seed", "debug"),
    MODEL: ("model", "config", "tokenizer", "framework"),
    WRITING: (
        "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
        "diversity_penalty", "temperature", "top_k", "top_p", "repetition_penalty", "length_penalty",
        "no_repeat_ngram_size", "pad_token_id", "bos_token_id", "eos_token_id", "bad_words_ids",
        "num_return_sequences", "decoder_start_token_id", "use_cache", "clean_up_tokenization_spaces",
    ),
    PRIOR: ("human_vs_rand_weight", "human_vs_machine_weight"),
    COND: ("updown_weight", "depth_weight", "width_weight"),
    CHAT: (
        "max_turns_history", "telegram_token", "giphy_token", "giphy_prob", "giphy_max_words", "giphy_weirdness",
        "continue_after_restart", "data_filename",
    ),
}  # fmt: skip

_SECTION_LINE = re.compile(r"\[([^]]+)\]")
_KEY_LINE = re.compile(r"([^\s#;=:][^=:]*?)\s*(?:[=:]|$)")


class Gpt2botFile:
    """One file: what it says, where it says it, and what was found wrong so far. Raises ConfigError if unreadable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.remarks: list[str] = []
        text = read_text(path)
        self._lines = _lines_of(text)
        self._values: dict[Place, str | None] = {}
        self._read(self._parsed(text))

    def has(self, section: str, key: str) -> bool:
        """Whether the key has a value."""
        return self._values.get((section, key)) is not None

    def get(self, section: str, key: str, read: Callable[[str], T], default: T) -> T:
        """The key's value, or `default` where it has none or (told once) an unusable one."""
        value = self._values.get((section, key))
        if value is None:
            return default
        try:
            return read(value)
        except ValueError as error:
            self.complain(section, key, f"{shown(value)} is {error}")
            self._values[section, key] = None
            return default

    def complain(self, section: str, key: str, message: str, hint: str | None = None) -> None:
        """Something that must be mended before the file can be used."""
        line = self._lines.get((section, key))
        self.problems.append(
            Problem(file=str(self.path), line=line, key=f"{section}.{key}", message=message, hint=hint)
        )

    def leave_out(self, section: str, key: str, reason: str) -> None:
        """Something that has no place in config.yaml."""
        self.remarks.append(f"{section}.{key}: not carried over: {reason}")

    def _parsed(self, text: str) -> configparser.ConfigParser:
        parser = configparser.ConfigParser(allow_no_value=True, default_section="\0")
        try:
            parser.read_string(text, str(self.path))
        except configparser.MissingSectionHeaderError as error:
            raise self._refused(error.lineno, None, "stands before the first [section]") from None
        except configparser.DuplicateOptionError as error:
            raise self._refused(error.lineno, f"{error.section}.{error.option}", "is written twice") from None
        except configparser.DuplicateSectionError as error:
            raise self._refused(error.lineno, f"[{error.section}]", "is written twice") from None
        except configparser.ParsingError as error:
            raise self._refused(error.errors[0][0], None, "is no line of key = value") from None
        return parser

    def _read(self, parser: configparser.ConfigParser) -> None:
        for written in parser.sections():
            section = _OLDER_NAMES.get(written, written)
            if section not in _KEYS:
                self._remark_unknown(f"[{written}]", (written, ""), "section", did_you_mean(written, _KEYS))
                continue
            for key in parser.options(written):
                self._read_key(parser, written, section, key)
        if not self._values and not self.problems:
            raise self._refused(None, None, f"is no configuration of gpt2bot: it has nothing of {', '.join(_KEYS)}")

    def _read_key(self, parser: configparser.ConfigParser, written: str, section: str, key: str) -> None:
        if (section, key) in _MOVED:
            line = self._lines.get((section, key))
            section, key = _MOVED[section, key]
            if line is not None:
                self._lines.setdefault((section, key), line)
        if key not in _KEYS[section]:
            self._remark_unknown(f"{section}.{key}", (section, key), "key", did_you_mean(key, _KEYS[section]))
            return
        try:
            self._values[section, key] = (parser.get(written, key) or "").strip() or None
        except configparser.InterpolationError:
            self.complain(section, key, "holds a % that begins nothing", "write %%")

    def _remark_unknown(self, what: str, place: Place, kind: str, hint: str | None) -> None:
        line = self._lines.get(place)
        where = f" (line {line})" if line else ""
        near = f"; {hint}" if hint and hint.startswith("did you mean") else ""
        self.remarks.append(f"{what}{where}: not carried over: gpt2bot has no such {kind}{near}")

    def _refused(self, line: int | None, key: str | None, message: str) -> ConfigError:
        return ConfigError([Problem(file=str(self.path), line=line, key=key, message=message)])


def _lines_of(text: str) -> dict[Place, int]:
    """The line of every section (with an empty key) and key; the library does not keep them."""
    lines: dict[Place, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _SECTION_LINE.match(line):
            section = _OLDER_NAMES.get(match[1], match[1])
            lines.setdefault((match[1], ""), number)
        elif match := _KEY_LINE.match(line):
            lines.setdefault((section, match[1].lower()), number)
    return lines


def text(value: str) -> str:
    """Any value, for `Gpt2botFile.get`."""
    return value


def whole(value: str) -> int:
    """A whole number, for `Gpt2botFile.get`."""
    try:
        return int(value)
    except ValueError:
        raise ValueError("no whole number") from None


def number(value: str) -> float:
    """A number, for `Gpt2botFile.get`."""
    try:
        return float(value)
    except ValueError:
        raise ValueError("no number") from None


def flag(value: str) -> bool:
    """True or False, for `Gpt2botFile.get`."""
    word = value.lower()
    if word in ("yes", "true", "t", "1"):
        return True
    if word in ("no", "false", "f", "0"):
        return False
    raise ValueError("neither True nor False")
