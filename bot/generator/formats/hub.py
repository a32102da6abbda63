"""The hub layout: a directory with config.json, model.safetensors (or pytorch_model.bin) and tokenizer files."""

from pathlib import Path
from typing import Any

from bot.generator.checkpoints import check_directory, files_of, read_config
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.tokenization.hub import load_tokenizer


def recognise(path: Path) -> Checkpoint | None:
    """A GPT-2 in the hub layout that speaks DialoGPT's dialect, or the one it records. Raises CheckpointError."""
    if not path.is_dir():
        return None
    check_directory(path)
    config = read_config(path)
    if config.get("model_type", "gpt2") != "gpt2":
        raise CheckpointError(
            f"{path / 'config.json'}: model_type is {config['model_type']!r}; only GPT-2 models (gpt2), "
            "and chat models whose tokenizer has a chat template, can be used. Name one of those."
        )
    return gpt2_in_hub_layout(path, config, system="dialogpt", dialect="dialogpt")


def gpt2_in_hub_layout(path: Path, config: dict[str, Any], *, system: str, dialect: str) -> Checkpoint:
    """A GPT-2 whose directory transformers can read, with the tokenizer beside it."""
    scores = any("SequenceClassification" in name for name in config.get("architectures") or ())
    return Checkpoint(
        system="dialogrpt" if scores else str(config.get("banter_system", system)),
        dialect=str(config.get("banter_dialect", dialect)),
        role=Role.RANKER if scores else Role.GENERATOR,
        architecture=Architecture.GPT2,
        path=path,
        files=files_of(path),
        config=config,
        read_tokenizer=lambda: load_tokenizer(path),
    )
