"""Which format a path is in: each is asked in turn, the most particular first."""

from collections.abc import Callable
from pathlib import Path

from bot.generator.checkpoints import locate
from bot.generator.errors import CheckpointError
from bot.generator.formats import hub
from bot.generator.formats.base import Checkpoint

FORMATS: tuple[Callable[[Path], Checkpoint | None], ...] = (hub.recognise,)


def open_checkpoint(checkpoint: str, *, starter: str = "generator") -> Checkpoint:
    """Find what a name stands for ("starter", a path, a hub id) and say what it is. Raises CheckpointError."""
    path = locate(checkpoint, starter=starter)
    for recognise in FORMATS:
        found = recognise(path)
        if found is not None:
            return found
    raise CheckpointError(
        f"{checkpoint}: {path} is no checkpoint that can be read. Give a directory with config.json, weights and "
        "tokenizer, or one of the files that docs/seed-systems.md names."
    )
