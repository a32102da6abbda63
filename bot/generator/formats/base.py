"""What a checkpoint is once it was found: which system wrote it, and how its parts are read. Imports no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.generator.tokenization.base import TextTokenizer

if TYPE_CHECKING:
    from torch import Tensor


class Role(StrEnum):
    """What a checkpoint is for."""

    GENERATOR = "generator"
    RANKER = "ranker"


class Architecture(StrEnum):
    """Which network a checkpoint's weights belong to."""

    GPT2 = "gpt2"
    OPENAI_GPT = "openai-gpt"
    PINGPONG_GPT = "pingpong-gpt"
    PINGPONG_MEENA = "pingpong-meena"
    CAUSAL = "causal"
    """Any other causal model that transformers knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose format is known; weights and tokenizer are read when asked for.

    `system` names where it comes from ("dialogpt", "gpt2-chitchat", ...), `dialect` how it writes a talk. `path` is
    what was named, `files` are all that it consists of, in the order of their names. `config` is in the words of the
    architecture's own class. `read_weights` gives the state dict in the names of that class, on the CPU, strictly
    checked for its own format; None: transformers reads the directory `path` itself. Both readers raise
    CheckpointError.
    """

    system: str
    dialect: str
    role: Role
    architecture: Architecture
    path: Path
    files: tuple[Path, ...]
    config: Mapping[str, Any]
    read_tokenizer: Callable[[], TextTokenizer]
    read_weights: "Callable[[], dict[str, Tensor]] | None" = None
    notes: tuple[str, ...] = ()
    """What was assumed where the files do not say, for `banter model inspect`."""
