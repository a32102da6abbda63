"""Which format a path is in: each is asked in turn, the most particular first."""

from collections.abc import Callable
from pathlib import Path

from bot.generator.checkpoints import locate
from bot.generator.damage import kind_of, reported
from bot.generator.errors import CheckpointError
from bot.generator.formats import (
    adapter,
    chat_model,
    chitchat,
    devjwsong,
    gguf,
    hub,
    microsoft,
    pingpong,
    transfertransfo,
)
from bot.generator.formats.base import Checkpoint
from bot.generator.formats.sizes import check_sizes

FORMATS: tuple[Callable[[Path], Checkpoint | None], ...] = (
    adapter.recognise,
    pingpong.recognise,
    microsoft.recognise,
    chitchat.recognise,
    devjwsong.recognise,
    transfertransfo.recognise,
    gguf.recognise,
    chat_model.recognise,
    hub.recognise,
)


def open_checkpoint(checkpoint: str, *, starter: str = "generator") -> Checkpoint:
    """Find what a name stands for ("starter", a path, a hub id) and say what it is. Raises CheckpointError."""
    path = locate(checkpoint, starter=starter)
    with reported(path):
        if not path.is_dir() and not path.is_file():  # reading from a pipe or a device would never end
            raise CheckpointError(f"{path}: this is neither a file nor a directory. Name the file of weights.")
        for recognise in FORMATS:
            found = recognise(path)
            if found is not None:
                check_sizes(found)
                return found
        what = f"this is {kind_of(path)}" if path.is_file() else "there is no model in it"
    raise CheckpointError(
        f"{path}: no checkpoint that can be read: {what}. Give a directory with config.json, weights and tokenizer, "
        "or one of the files that docs/seed-systems.md names."
    )
