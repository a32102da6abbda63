"""TransferTransfo (huggingface/transfer-learning-conv-ai): a GPT or GPT-2 folder with five special tokens.

Newer folders list the tokens in added_tokens.json or tokenizer.json, the oldest ones in special_tokens.txt, where
they follow the vocabulary in the order of their lines; there config.json counts them apart (`n_special`), names no
model_type, and the heads have other names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.generator.checkpoints import check_directory, files_of, read_config, read_object
from bot.generator.dialects.transfertransfo import SPECIAL_TOKENS, TransferTransfo
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.tokenization.base import TextTokenizer
from bot.generator.tokenization.hub import HubTokenizer, load_tokenizer
from bot.generator.tokenization.openai_gpt import OpenAIGPTTokenizer, load_openai_gpt_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

HEAD = "multiple_choice_head."
_OLD_TOKENS = "special_tokens.txt"
_OLD_NAMES = (("lm_head.decoder.", "lm_head."), (HEAD + "linear.", HEAD + "summary."))
_EMBEDDINGS = {Architecture.GPT2: "transformer.wte.weight", Architecture.OPENAI_GPT: "transformer.tokens_embed.weight"}


def recognise(path: Path) -> Checkpoint | None:
    """A folder whose tokenizer knows all of the special tokens. Raises CheckpointError."""
    if not (path / "config.json").is_file():
        return None
    config = read_config(path)
    architecture = _architecture(config)
    recorded = config.get("banter_dialect")
    if architecture is None or recorded not in (None, TransferTransfo.name):
        return None
    if recorded is None and not set(SPECIAL_TOKENS) <= _added_tokens(path):
        return None
    check_directory(path)
    old = path / _OLD_TOKENS
    return Checkpoint(
        system=TransferTransfo.name,
        dialect=TransferTransfo.name,
        role=Role.GENERATOR,
        architecture=architecture,
        path=path,
        files=tuple(sorted({*files_of(path), *([old] if old.is_file() else [])})),
        config=_config(path, config, architecture),
        read_tokenizer=lambda: _read_tokenizer(path, architecture),
        read_weights=lambda: {
            name: weight for name, weight in read_all_weights(path, architecture).items() if not name.startswith(HEAD)
        },
    )


def read_all_weights(path: Path, architecture: Architecture) -> "dict[str, Tensor]":
    """The state dict in the names of transformers' double-heads class, as far as it is there.

    Raises CheckpointError.
    """
    from bot.generator.formats.pickles import is_mask, without_wrapper
    from bot.generator.formats.stored import directory_weights, tensors_in

    weights = {
        _new_name(without_wrapper(name)): tensor
        for name, tensor in tensors_in(directory_weights(path))
        if not is_mask(name)
    }
    same = (_EMBEDDINGS[architecture], "lm_head.weight")  # one matrix; newer files hold it once, under either name
    for name, other in (same, same[::-1]):
        if name in weights:
            weights.setdefault(other, weights[name])
    return weights


def _architecture(config: Mapping[str, Any]) -> Architecture | None:
    default = "openai-gpt" if "afn" in config else "gpt2"
    match config.get("model_type", default):
        case "openai-gpt":
            return Architecture.OPENAI_GPT
        case "gpt2":
            return Architecture.GPT2
    return None


def _added_tokens(path: Path) -> set[str]:
    names: set[str] = set()
    if (path / "added_tokens.json").is_file():
        names.update(read_object(path / "added_tokens.json"))
    if (path / "tokenizer.json").is_file():
        tokens = read_object(path / "tokenizer.json").get("added_tokens") or []
        names.update(str(token.get("content")) for token in tokens if isinstance(token, dict))
    return names.union(_old_tokens(path))


def _old_tokens(path: Path) -> list[str]:
    file = path / _OLD_TOKENS
    return file.read_text(encoding="utf-8").split() if file.is_file() else []


def _config(path: Path, config: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """The configuration in today's words: the special tokens are part of the vocabulary."""
    from bot.generator.formats.stored import directory_weights, shapes_in

    known = {**config, "model_type": architecture.value}
    special, words = config.get("n_special"), config.get("vocab_size")
    if not isinstance(special, int) or not isinstance(words, int) or special < 1:
        return known
    shapes = {_new_name(name): shape for name, shape in shapes_in(directory_weights(path)).items()}
    rows = shapes.get(_EMBEDDINGS[architecture], (words,))[0]
    if rows == words + special:  # where the sizes do not fit, loading says so
        known["vocab_size"] = rows
    return known


def _new_name(name: str) -> str:
    for old, new in _OLD_NAMES:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _read_tokenizer(path: Path, architecture: Architecture) -> TextTokenizer:
    read = load_openai_gpt_tokenizer if architecture is Architecture.OPENAI_GPT else load_tokenizer
    tokenizer: HubTokenizer = read(path)
    if not (path / "tokenizer.json").is_file():
        _add(tokenizer, path)
    again = OpenAIGPTTokenizer if architecture is Architecture.OPENAI_GPT else HubTokenizer
    return again(tokenizer.backend)


def _add(tokenizer: HubTokenizer, path: Path) -> None:
    """Give the tokenizer the added tokens, each with the id that the folder's files give it."""
    listed = path / "added_tokens.json"
    first = tokenizer.backend.get_vocab_size(with_added_tokens=False)
    ids = (
        read_object(listed)
        if listed.is_file()
        else {name: first + number for number, name in enumerate(_old_tokens(path))}
    )
    for name, token_id in sorted(ids.items(), key=lambda pair: int(pair[1])):
        tokenizer.backend.add_special_tokens([name])
        if tokenizer.id_of(name) != token_id:
            raise CheckpointError(
                f"{path}: {name} should have the id {token_id}, but the vocabulary leads to {tokenizer.id_of(name)}. "
                "The tokenizer's files belong to different checkpoints; copy them again."
            )
