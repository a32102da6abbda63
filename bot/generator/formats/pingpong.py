"""PingPong's files: weights that torch.save wrote, a JSON configuration and a SentencePiece model, under any names.

They lie in one directory. Where it holds several of a kind, those called like the weights are meant. What
`banter model convert` makes of them (model.safetensors, config.json, tokenizer.model) is read as well.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.tokenization.pieces import load_pieces

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS = (".pth", ".pt", ".bin", ".safetensors")
_OURS = ("sept_token_id", "n_ctxt", "max_encoder_length")
"""Settings that no other system's configuration has."""
_CONFIGURATION_BYTES = 1 << 16
"""More than any configuration needs; vocabularies and other long JSON files are not even parsed."""

_IDS = ("pad_token_id", "unk_token_id", "bos_token_id", "eos_token_id", "sept_token_id")
_NEEDED: Mapping[Architecture, tuple[str, ...]] = {
    Architecture.PINGPONG_GPT: ("vocab_size", "n_positions", "n_embd", "n_inner", "n_layer", "n_head", *_IDS),
    Architecture.PINGPONG_MEENA: (
        "vocab_size",
        "max_position_embeddings",
        "max_encoder_length",
        "d_model",
        *(f"{part}_{size}" for part in ("encoder", "decoder") for size in ("ffn_dim", "layers", "attention_heads")),
        *_IDS,
    ),
}
_TIED: Mapping[Architecture, Mapping[str, str]] = {
    Architecture.PINGPONG_GPT: {"lm_head.weight": "transformer.wte.weight"},
    Architecture.PINGPONG_MEENA: {
        "lm_head.weight": "model.shared.weight",
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "model.encoder.embed_positions.weight": "model.position.weight",
        "model.decoder.embed_positions.weight": "model.position.weight",
    },
}
"""Names under which the files hold a weight once more."""


def recognise(path: Path) -> Checkpoint | None:
    """A PingPong GPT or Meena: a directory that holds its three files, or the file of its weights."""
    directory = path if path.is_dir() else path.parent
    if path.is_file() and path.suffix not in _WEIGHTS:
        return None
    configurations = _configurations(directory)
    if not configurations:
        _refuse_if_meant(path, directory)
        return None
    weights = path if path.is_file() else _the_one(directory, _files(directory, _WEIGHTS), "weights (.pth)", "model")
    file = _the_one(directory, list(configurations), "configuration", weights.stem, "config")
    pieces = _the_one(directory, _files(directory, (".model",)), "SentencePiece model", weights.stem, "tokenizer")
    return _checkpoint(path, weights, file, configurations[file], pieces)


def _checkpoint(path: Path, weights: Path, file: Path, config: dict[str, Any], pieces: Path) -> Checkpoint:
    meena = "d_model" in config or "max_encoder_length" in config
    architecture = Architecture.PINGPONG_MEENA if meena else Architecture.PINGPONG_GPT
    _check(file, config, architecture)
    names = {name: config[name] for name in _IDS}
    return Checkpoint(
        system=str(architecture),
        dialect=str(config.get("banter_dialect", architecture)),
        role=Role.GENERATOR,
        architecture=architecture,
        path=path,
        files=tuple(sorted((weights, file, pieces))),
        config=config,
        read_tokenizer=lambda: load_pieces(pieces, names),
        read_weights=lambda: _read_weights(weights, architecture),
        notes=_notes(config, architecture),
    )


def _configurations(directory: Path) -> dict[Path, dict[str, Any]]:
    """PingPong's configurations among the JSON files of a directory."""
    found = {}
    for file in _files(directory, (".json",)):
        try:
            if file.stat().st_size > _CONFIGURATION_BYTES:
                continue
            config = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(config, dict) and any(name in config for name in _OURS):
            found[file] = config
    return found


def _refuse_if_meant(path: Path, directory: Path) -> None:
    """Raises CheckpointError where a .pth and a SentencePiece model lie together: that is PingPong's alone."""
    weights = [path] if path.is_file() else _files(directory, (".pth",))
    if weights and weights[0].suffix == ".pth" and _files(directory, (".model",)):
        raise CheckpointError(
            f"{path}: with {weights[0].name} lies a SentencePiece model, as in PingPong's checkpoints, but no "
            "configuration with sept_token_id that can be read. Put the model's JSON configuration beside them."
        )


def _check(file: Path, config: Mapping[str, Any], architecture: Architecture) -> None:
    missing = [name for name in _NEEDED[architecture] if name not in config]
    if missing:
        raise CheckpointError(
            f"{file}: the configuration of a {architecture} lacks {', '.join(missing)}. "
            "Copy the file again that belongs to the weights."
        )
    for name in _IDS:
        if isinstance(config[name], bool) or not isinstance(config[name], int) or config[name] < 0:
            raise CheckpointError(f"{file}: {name} is {config[name]!r:.40}; it must be a token's number, 0 or more.")
    start, positions = config.get("max_encoder_length"), config.get("max_position_embeddings")
    if isinstance(start, int) and isinstance(positions, int) and start >= positions:
        raise CheckpointError(
            f"{file}: max_encoder_length is {start} and max_position_embeddings {positions}: that leaves the decoder "
            "no position. Copy the file again that belongs to the weights."
        )


def _notes(config: Mapping[str, Any], architecture: Architecture) -> tuple[str, ...]:
    if architecture is Architecture.PINGPONG_MEENA:
        return (
            f"Contexts of more than {config['max_encoder_length']} tokens take positions that the decoder was trained "
            "with, as in the original. history.tokens can prevent it.",
        )
    if not config.get("n_ctx"):
        return ("There is no n_ctx: the attention covers 256 tokens, the default of the library of its time.",)
    return ()


def _files(directory: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(file for file in directory.iterdir() if file.suffix in suffixes and file.is_file())


def _the_one(directory: Path, files: Sequence[Path], what: str, *stems: str) -> Path:
    """The only file of a kind, or of several the one that is called like one of `stems`. Raises CheckpointError."""
    if len(files) == 1:
        return files[0]
    for stem in stems:
        named = [file for file in files if file.stem == stem]
        if len(named) == 1:
            return named[0]
    if not files:
        raise CheckpointError(
            f"{directory}: there is no {what} beside the other files of a PingPong checkpoint. It consists of weights "
            "(.pth), a configuration (.json) and a SentencePiece model (.model); copy all three."
        )
    raise CheckpointError(
        f"{directory}: there are {len(files)} files that may be the {what}: "
        f"{', '.join(file.name for file in files)}. Keep one, or name the file of the weights and call the others like "
        "it."
    )


def _read_weights(file: Path, architecture: Architecture) -> "dict[str, Tensor]":
    """The weights under the network's own names, each once."""
    import torch

    from bot.generator.formats.pickles import is_mask, read_state, without_wrapper

    state = _read_safetensors(file) if file.suffix == ".safetensors" else read_state(file)
    weights = {without_wrapper(name): value for name, value in state.items() if not is_mask(name)}
    for copy, name in _TIED[architecture].items():
        if copy not in weights:
            continue
        value = weights.pop(copy)
        if not torch.equal(weights.setdefault(name, value), value):
            raise CheckpointError(
                f"{file}: {copy} differs from {name}. In this network the two are one; the file is damaged or "
                "belongs to another network."
            )
    return weights


def _read_safetensors(file: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file}: the weights cannot be read ({str(error)[:200]}). Copy the file again."
        ) from error
