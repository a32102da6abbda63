"""Put variables into settings: `${NAME}` and `${NAME:-default}`, and `$${` for a literal `${`.

A variable is looked for in the environment, then in `.env` beside config.yaml, then in the file that
NAME_FILE names (Docker's and systemd's way of handing over secrets). Nothing is ever written back, and
`.env` never reaches the process's environment.
"""

import io
import logging
import re
import stat
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from bot.config.errors import ConfigError, Fault, KeyPath
from bot.config.file import read_text

log = logging.getLogger(__name__)

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


def has_variable(value: Any) -> bool:
    """Whether a value takes anything from a variable."""
    return isinstance(value, str) and any(match[1] for match in _VARIABLE.finditer(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """What variables can be read. An empty one counts as not set."""

    environment: Mapping[str, str]
    dotenv: Mapping[str, str | None]
    folder: Path

    @classmethod
    def read(cls, environment: Mapping[str, str], folder: Path) -> "Variables":
        """Read `.env` in `folder` where there is one. Raises ConfigError where it cannot be read."""
        file = folder / ".env"
        if not file.is_file():
            return cls(environment=environment, dotenv={}, folder=folder)
        warn_if_world_readable(file)
        values = dotenv_values(stream=io.StringIO(read_text(file)), interpolate=False)
        return cls(environment=environment, dotenv=values, folder=folder)

    def get(self, name: str) -> str | None:
        """The variable's value; None if it is not set. Raises ConfigError where its file cannot be read."""
        for place in (self.environment, self.dotenv):
            if place.get(name):
                return place[name]
        for place in (self.environment, self.dotenv):
            file = place.get(f"{name}_FILE")
            if file:
                return read_text(self.folder / file).rstrip("\r\n") or None
        return None


@dataclass(slots=True)
class Expansion:
    """Settings with their variables put in. `may_be_unset` are the places where a variable that is not set
    means that the setting is not there."""

    variables: Variables
    may_be_unset: Container[KeyPath]
    faults: list[Fault] = field(default_factory=list)

    def expand(self, value: Any, path: KeyPath = ()) -> Any:
        if isinstance(value, dict):
            return {key: self.expand(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, list):
            return [self.expand(child, (*path, index)) for index, child in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) and "${" in value else value

    def _text(self, text: str, path: KeyPath) -> str | None:
        known = len(self.faults)
        unset: list[str] = []
        expanded = _VARIABLE.sub(lambda match: self._one(match, path, unset), text)
        if len(self.faults) > known:
            return text
        if unset and path in self.may_be_unset:
            return None
        for name in unset:
            self.faults.append(
                Fault(
                    path=path,
                    message=f"the variable {name} is not set",
                    hint=f"set it in the environment or in .env, or write ${{{name}:-default}}",
                )
            )
        return expanded or (None if path in self.may_be_unset else expanded)

    def _one(self, match: re.Match[str], path: KeyPath, unset: list[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name is None:
            self.faults.append(
                Fault(path=path, message="${ begins no variable", hint="write ${NAME}, or $${ for the signs themselves")
            )
            return ""
        try:
            value = self.variables.get(name)
        except ConfigError as error:
            problem = error.problems[0]
            self.faults.append(
                Fault(
                    path=path, message=f"the file of {name}_FILE, {problem.file}: {problem.message}", hint=problem.hint
                )
            )
            return ""
        if value is None and default is None:
            unset.append(name)
        return value if value is not None else default or ""


def warn_if_world_readable(file: Path) -> None:
    """Report a file with secrets that every user of this machine may read."""
    if file.stat().st_mode & stat.S_IROTH:
        log.warning("secrets_readable_by_everybody", extra={"file": str(file), "remedy": f"chmod 600 {file}"})
