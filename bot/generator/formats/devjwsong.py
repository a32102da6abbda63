"""devjwsong's gpt2-dialogue-generation-pytorch: a GPT-2 folder whose tokenizer got `<bos>`, `<sp1>` and `<sp2>`.

The three may have other names: they are the beginning-of-sequence token and the first two additional special tokens of
special_tokens_map.json. The trainer's own checkpoint (.ckpt) is read too where config.json and the tokenizer lie
beside it. The bos and eos ids of config.json are GPT-2's own and mean nothing.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.generator.checkpoints import files_of, read_config, read_object
from bot.generator.dialects.devjwsong import BEGIN, PERSON, REPLY, Devjwsong
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.formats.hub import gpt2_in_hub_layout
from bot.generator.tokenization.hub import END_OF_TEXT, HubTokenizer, load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

_SUFFIX = ".ckpt"
_CHAT_TEMPLATES = ("chat_template", "chat_templates")


class SpeakerTokenizer(HubTokenizer):
    """A tokenizer whose layout tokens are known under the dialect's names, whatever the trainer called them."""

    def __init__(self, tokenizer: HubTokenizer, names: Mapping[str, str]) -> None:
        known = [name for name in names.values() if tokenizer.id_of(name) is not None]
        tokenizer.backend.add_special_tokens(known)  # also those that a vocabulary lists like any other word
        super().__init__(tokenizer.backend)
        self._names = dict(names)

    def id_of(self, token: str) -> int | None:
        """See `TextTokenizer.id_of`; `<bos>`, `<sp1>` and `<sp2>` stand for this checkpoint's names."""
        return super().id_of(self._names.get(token, token))

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json`, and the names of the layout's tokens in `special_tokens_map.json`."""
        super().save(directory)
        names = {
            "bos_token": self._names[BEGIN],
            "eos_token": END_OF_TEXT,
            "additional_special_tokens": [self._names[PERSON], self._names[REPLY]],
        }
        (directory / "special_tokens_map.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")


def recognise(path: Path) -> Checkpoint | None:
    """The folder, or a .ckpt file within one. Raises CheckpointError."""
    file = _training_checkpoint(path)
    folder = path if file is None else file.parent
    if not (folder / "config.json").is_file():
        if file is not None:
            raise CheckpointError(
                f"{file}: this is a training checkpoint, weights alone. Put the config.json and the tokenizer's files "
                "of the model that was trained beside it."
            )
        return None
    config = read_config(folder)
    names = _names(folder, recorded=config.get("banter_dialect") == Devjwsong.name)
    if names is None or not _may_be_ours(config):
        if file is not None:
            raise CheckpointError(
                f"{file}: the model beside this training checkpoint is no GPT-2 with speaker tokens. It needs its "
                f"config.json, vocab.json, merges.txt and a special_tokens_map.json that names {BEGIN}, {PERSON}, "
                f"{REPLY}."
            )
        return None
    if file is None:
        return _folder(folder, config, names)
    return Checkpoint(
        system=Devjwsong.name,
        dialect=Devjwsong.name,
        role=Role.GENERATOR,
        architecture=Architecture.GPT2,
        path=path,
        files=tuple(sorted({*files_of(folder), file})),
        config=config,
        read_tokenizer=lambda: SpeakerTokenizer(load_tokenizer(folder), names),
        read_weights=lambda: _read_weights(file),
    )


def _folder(folder: Path, config: dict[str, Any], names: Mapping[str, str]) -> Checkpoint:
    found = gpt2_in_hub_layout(folder, config, system=Devjwsong.name, dialect=Devjwsong.name)
    return dataclasses.replace(found, read_tokenizer=lambda: SpeakerTokenizer(load_tokenizer(folder), names))


def _training_checkpoint(path: Path) -> Path | None:
    """The .ckpt file that is meant: `path` itself, or the only one in a folder without other weights."""
    if path.is_file():
        return path if path.suffix == _SUFFIX else None
    if any(file for pattern in ("*.safetensors", "pytorch_model*.bin") for file in path.glob(pattern)):
        return None
    found = sorted(path.glob(f"*{_SUFFIX}"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise CheckpointError(f"{path} holds several training checkpoints. Name one of them: {names}.")
    return found[0] if found else None


def _may_be_ours(config: Mapping[str, Any]) -> bool:
    if config.get("banter_dialect", Devjwsong.name) != Devjwsong.name:
        return False
    scores = any("SequenceClassification" in str(name) for name in config.get("architectures") or ())
    return config.get("model_type", "gpt2") == "gpt2" and not scores


def _names(folder: Path, *, recorded: bool) -> dict[str, str] | None:
    """What this folder calls the dialect's `<bos>`, `<sp1>` and `<sp2>`; None if its tokenizer is not of this kind.

    `recorded` says that the dialect is certain, so the usual names will do where the folder gives none.
    """
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        found = _named_in(folder / name)
        if found is not None:
            return found
    added = folder / "added_tokens.json"
    if recorded or (added.is_file() and {BEGIN, PERSON, REPLY} <= read_object(added).keys()):
        return {name: name for name in (BEGIN, PERSON, REPLY)}
    return None


def _named_in(file: Path) -> dict[str, str] | None:
    if not file.is_file():
        return None
    tokens = read_object(file)
    if any(name in tokens for name in _CHAT_TEMPLATES):
        return None
    begin, end = _content(tokens.get("bos_token")), _content(tokens.get("eos_token"))
    more = tokens.get("additional_special_tokens") or tokens.get("extra_special_tokens") or []
    speakers = [_content(token) for token in more] if isinstance(more, list) else []
    if begin is None or end != END_OF_TEXT or begin == end or len(speakers) < 2 or None in speakers:
        return None
    return {BEGIN: begin, PERSON: str(speakers[0]), REPLY: str(speakers[1])}


def _content(token: object) -> str | None:
    """A token's text: the files hold it plain, or in an object that also says how it is matched."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _read_weights(file: Path) -> "dict[str, Tensor]":
    from bot.generator.formats.pickles import is_mask, read_state, without_wrapper

    weights = {without_wrapper(name): weight for name, weight in read_state(file).items() if not is_mask(name)}
    if "transformer.wte.weight" in weights:
        weights.setdefault("lm_head.weight", weights["transformer.wte.weight"])
    return weights
