"""persona.yaml, the heart of a pack: who the persona is, how it writes, and which model it was made for."""

import io
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from ruamel.yaml import YAML

from bot.config import ConfigError, Decoding, Persona
from bot.config.file import read_document
from bot.config.values import Section
from bot.personas.errors import PersonaError

FILE = "persona.yaml"
OWN_MODEL = "model"
"""The folder of a pack that holds its weights or adapter; as a checkpoint: that folder."""

NAME = r"[A-Za-z0-9_-]{1,32}"
_NAMED_MODEL = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class PackModel(Section):
    """The model that the persona was made for. `base`: the one that an adapter stands beside."""

    checkpoint: str = Field(max_length=200)
    base: str | None = Field(default=None, max_length=200)

    @field_validator("checkpoint", "base")
    @classmethod
    def _no_path(cls, name: str | None) -> str | None:
        if name is not None and not _NAMED_MODEL.fullmatch(name):
            raise ValueError(f'{name!r} is neither "{OWN_MODEL}" nor the name of a model, as starter or owner/name')
        return name

    @property
    def is_own(self) -> bool:
        """Whether the pack brings weights or an adapter."""
        return self.checkpoint == OWN_MODEL


class Manifest(Section):
    """What persona.yaml says. `name` is the key in config.yaml; the persona's own `decoding` is `decoding` here."""

    format: Literal[1] = 1
    name: str = Field(pattern=f"^{NAME}$")
    persona: Persona
    decoding: Decoding = Field(default_factory=lambda: Decoding.model_validate({}))
    model: PackModel
    licence: str = Field(min_length=1, max_length=2000)


def read_manifest(path: Path) -> Manifest:
    """Raises PersonaError."""
    try:
        document = read_document(path)
    except ConfigError as error:
        raise PersonaError(str(error)) from error
    if document.problems:
        raise PersonaError("\n".join(map(str, document.problems)))
    try:
        return Manifest.model_validate(document.data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise PersonaError(f"{path}: {place}: {first['msg']}.") from error


def manifest_text(manifest: Manifest) -> str:
    """The file that `read_manifest` makes the same manifest of."""
    written: dict[str, Any] = {
        "format": manifest.format,
        "name": manifest.name,
        "persona": manifest.persona.model_dump(mode="json", exclude_defaults=True, exclude={"decoding"}),
        "decoding": manifest.decoding.model_dump(mode="json", exclude_defaults=True),
        "model": manifest.model.model_dump(mode="json", exclude_none=True),
        "licence": manifest.licence,
    }
    # The name is always written: it is what a reader looks for.
    written["persona"] = {"name": manifest.persona.name, **written["persona"]}
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(written, stream)
    return stream.getvalue()
