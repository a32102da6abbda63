"""Where a checkpoint's files are, and whether they can be what they claim. Imports no torch."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bot.generator import smollm2
from bot.generator.damage import reported
from bot.generator.errors import CheckpointError

STARTER = Path(__file__).parents[1] / "starter"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CONFIGURATION = ("*.json", "vocab.txt", "merges.txt", "*.model", "*.jinja")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_CHUNK_BYTES = 1 << 20


def locate(checkpoint: str, starter: str) -> Path:
    """Where a checkpoint lies: "starter", "smollm2", a path, or a hub id (`owner/name`), fetched if need be.

    `starter` names the part that is meant: "generator" or "ranker". Raises CheckpointError.
    """
    if checkpoint == "starter":
        return STARTER / starter
    if checkpoint == smollm2.NAME:
        ours = STARTER / smollm2.NAME  # an adapter, which finds the model itself
        return ours if ours.is_dir() else smollm2.smollm2_file()
    with reported(checkpoint):
        path = Path(checkpoint).expanduser()
        if path.exists():
            return path
        if path.is_symlink():
            raise CheckpointError(
                f"{checkpoint}: this is a link that leads nowhere. Name the file or directory itself."
            )
    if _HUB_ID.fullmatch(checkpoint):
        return _fetched(checkpoint)
    raise CheckpointError(
        f'{checkpoint}: there is no such file or directory. Give "starter", an existing path, or a hub id (owner/name).'
    )


def read_config(directory: Path) -> dict[str, Any]:
    """The checkpoint's config.json. Raises CheckpointError."""
    return read_object(directory / "config.json")


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object, as every configuration does. Raises CheckpointError."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: cannot be read as JSON ({error}). Copy the file again.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file}: this is a list or a value; a configuration is an object. Copy the file again.")
    return config


def files_of(directory: Path) -> tuple[Path, ...]:
    """The weights, tokenizer and configuration files of a directory in the hub layout, by name."""
    return tuple(sorted(set(_matching(directory, (*_CONFIGURATION, *_WEIGHTS)))))


def revision_of(files: Iterable[Path]) -> str:
    """A short name for exactly these files: 12 hex digits of the SHA-256 over their names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with reported(file), file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()[:12]


def has_safetensors(directory: Path) -> bool:
    """Whether the weights can be read without touching a pickle."""
    return any(directory.glob("*.safetensors"))


def check_directory(directory: Path) -> None:
    """Raises CheckpointError for a directory that lacks a part of the hub layout."""
    if not (directory / "config.json").is_file():
        raise CheckpointError(
            f"{directory} is no model directory, there is no config.json in it. "
            "It should hold config.json, model.safetensors and the tokenizer's files."
        )
    if not any(_matching(directory, _WEIGHTS)):
        raise CheckpointError(f"{directory} holds no weights (model.safetensors or pytorch_model.bin).")


def _matching(directory: Path, patterns: Iterable[str]) -> Iterator[Path]:
    return (file for pattern in patterns for file in directory.glob(pattern) if file.is_file())


def _fetched(hub_id: str) -> Path:
    """Download a checkpoint, or find it in the hub's cache; pickled weights only where there are no others."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        path = snapshot_download(hub_id, allow_patterns=[*_CONFIGURATION, "*.safetensors"])
        if not has_safetensors(Path(path)):
            path = snapshot_download(hub_id, allow_patterns=[*_CONFIGURATION, "pytorch_model*.bin"])
    except GatedRepoError as error:
        raise CheckpointError(
            f"{hub_id}: the model hub asks for permission. Set HF_TOKEN to a token that has it."
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"{hub_id}: the model hub has no such model. Check the spelling: owner/name.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"{hub_id}: the model is not in the local cache, and the model hub cannot be reached "
            f"({type(error).__name__}). Connect to the network once, or give a directory."
        ) from error
    return Path(path)
