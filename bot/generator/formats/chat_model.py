"""A chat model in the hub layout: any causal model that transformers knows, with a chat template beside it."""

import json
from pathlib import Path
from typing import Any

from bot.generator.checkpoints import check_directory, files_of, read_config, read_object
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.tokenization.chat import ChatTokenizer

DIALECT = "chat-template"
# By config.json alone; whether transformers has the network is found out when it is built.
_OTHER_ROLES = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "ConditionalGeneration")


def recognise(path: Path) -> Checkpoint | None:
    """A directory whose template tells roles apart. DialoGPT's ends every turn alike: that is its own dialect."""
    if not (path / "config.json").is_file() or "role" not in _template(path):
        return None
    config = read_config(path)
    names = [str(name) for name in config.get("architectures") or ()]
    if config.get("banter_dialect", DIALECT) != DIALECT or any(
        other in name for name in names for other in _OTHER_ROLES
    ):
        return None
    check_directory(path)
    gpt2 = config.get("model_type") == "gpt2"
    return Checkpoint(
        system=str(config.get("banter_system", "chat-template")),
        dialect=DIALECT,
        role=Role.GENERATOR,
        architecture=Architecture.GPT2 if gpt2 else Architecture.CAUSAL,
        path=path,
        files=files_of(path),
        config=config,
        read_tokenizer=lambda: _read_tokenizer(path, config),
    )


def _template(path: Path) -> str:
    """The template as transformers finds it: a file of its own, or an entry of tokenizer_config.json."""
    own = path / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (path / name).is_file():
            template = read_object(path / name).get("chat_template")
            if template:
                return json.dumps(template)
    return ""


def _read_tokenizer(path: Path, config: dict[str, Any]) -> ChatTokenizer:
    from transformers import AutoTokenizer

    load: Any = AutoTokenizer.from_pretrained
    try:
        library = load(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizer's files fail in any of three libraries
        raise CheckpointError(f"{path}: the tokenizer cannot be read ({error}). Copy its files again.") from error
    return ChatTokenizer(library, _generation(path, config))


def _generation(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The decoding that the authors recommend; older checkpoints keep a part of it in config.json."""
    file = path / "generation_config.json"
    named = {"eos_token_id": config["eos_token_id"]} if config.get("eos_token_id") is not None else {}
    return {**named, **read_object(file)} if file.is_file() else named
