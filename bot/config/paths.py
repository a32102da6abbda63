"""Paths of checkpoints in config.yaml count from its folder, as those of everything else in it do."""

from pathlib import Path
from typing import Any

_NAMES = ("starter", "smollm2")
"""Checkpoints that have names; a folder of the same name is written "./starter"."""


def anchored(settings: Any, folder: Path) -> Any:
    """The file's settings with every `checkpoint` that lies in `folder` written as a path from there.

    What does not lie there stays as it is: a hub id, a whole path, a path from where the program was started.
    """
    if isinstance(settings, dict):
        return {
            key: _found(value, folder) if key == "checkpoint" else anchored(value, folder)
            for key, value in settings.items()
        }
    if isinstance(settings, list):
        return [anchored(value, folder) for value in settings]
    return settings


def _found(checkpoint: Any, folder: Path) -> Any:
    if not isinstance(checkpoint, str) or not checkpoint.strip() or checkpoint.strip() in _NAMES:
        return checkpoint
    try:
        path = folder / Path(checkpoint.strip()).expanduser()
        return str(path) if path.exists() else checkpoint
    except (OSError, RuntimeError, ValueError):  # no name that a file can have, or a home that nobody has
        return checkpoint
