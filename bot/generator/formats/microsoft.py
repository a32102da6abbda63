"""Microsoft's own files: a DialoGPT generator (.pkl) and a DialogRPT head (.pth), pickled GPT-2 state dicts.

The files hold weights alone. Sizes follow from the shapes; the number of attention heads does not, so it comes from a
config.json beside the file (or in the directory above), else from the rule that all published sizes keep: 64 numbers
a head. The tokenizer's files are looked for in the same places.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bot.generator.checkpoints import read_config
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.tokenization.base import TextTokenizer
from bot.generator.tokenization.hub import load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

GPT2_ROWS = 50257
"""Rows of GPT-2's own vocabulary, whose tokenizer the published files use without carrying it."""
GPT2_HUB_ID = "openai-community/gpt2"
NUMBERS_A_HEAD = 64

_SUFFIXES = (".pkl", ".pth")
_TRUNK = "transformer."
_TOKENS = "transformer.wte.weight"
_POSITIONS = "transformer.wpe.weight"
_SCORE = "score.weight"
_HEAD = "lm_head.weight"
_INNER = "transformer.h.0.mlp.c_fc.weight"
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer")

Value = TypeVar("Value")


def recognise(path: Path) -> Checkpoint | None:
    """A .pkl or .pth file with GPT-2's weights, or a directory that holds one. Raises CheckpointError."""
    file = _file_in(path) if path.is_dir() else path
    if file is None or file.suffix not in _SUFFIXES:
        return None
    from bot.generator.formats.pickles import read_shapes

    shapes = _canonical(read_shapes(file))
    ranks = [len(shapes.get(name, ())) for name in (_TOKENS, _POSITIONS, "transformer.ln_f.weight")]
    if ranks != [2, 2, 1]:
        return None
    return _checkpoint(file, shapes)


def as_head(checkpoint: Checkpoint, end_id: int) -> Checkpoint:
    """The generator as a DialogRPT head: it scores by the row of `<|endoftext|>` (`end_id`) of its output layer."""
    read = checkpoint.read_weights
    if read is None:
        raise CheckpointError(f"{checkpoint.path}: this is a generator, it does not score replies. Name a ranker.")

    def read_weights() -> "dict[str, Tensor]":
        weights = read()
        weights[_SCORE] = weights.pop(_HEAD)[end_id : end_id + 1]
        return weights

    config = {**checkpoint.config, "num_labels": 1}
    return dataclasses.replace(checkpoint, role=Role.RANKER, config=config, read_weights=read_weights)


def _file_in(directory: Path) -> Path | None:
    """The one file of weights in a directory (or in its restore/, where the originals keep theirs)."""
    if any(file for pattern in ("*.safetensors", "pytorch_model*.bin") for file in directory.glob(pattern)):
        return None  # the hub layout
    for place in (directory, directory / "restore"):
        for suffix in _SUFFIXES:
            found = sorted(place.glob(f"*{suffix}"))
            if len(found) > 1:
                names = ", ".join(file.name for file in found)
                raise CheckpointError(f"{place} holds several files of weights. Name one of them: {names}.")
            if found:
                return found[0]
    return None


def _checkpoint(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> Checkpoint:
    notes: list[str] = []
    beside = _beside(file, "config.json")
    config = _config(file, shapes, beside, notes)
    scores = _SCORE in shapes
    rows = config["vocab_size"]
    tokenizer = _tokenizer_files(file)
    if not tokenizer and rows == GPT2_ROWS:
        notes.append(f"no tokenizer beside the file: GPT-2's own is taken ({GPT2_HUB_ID})")
    return Checkpoint(
        system="dialogrpt" if scores else "dialogpt",
        dialect="dialogpt",
        role=Role.RANKER if scores else Role.GENERATOR,
        architecture=Architecture.GPT2,
        path=file,
        files=tuple(sorted([file, *([beside] if beside else []), *tokenizer])),
        config=config,
        read_tokenizer=lambda: _tokenizer(file, rows),
        read_weights=lambda: _weights(file),
        notes=tuple(notes),
    )


def _canonical(state: Mapping[str, Value]) -> dict[str, Value]:
    """The weights under the names of transformers' GPT-2, masks left out."""
    from bot.generator.formats.pickles import is_mask, without_wrapper

    named = {without_wrapper(name): value for name, value in state.items() if not is_mask(name)}
    bare = not any(name.startswith(_TRUNK) for name in named)
    renamed = {}
    for name, value in named.items():
        if name == "lm_head.decoder.weight":
            renamed[_HEAD] = value
        else:
            renamed[_TRUNK + name if bare and name not in (_HEAD, _SCORE) else name] = value
    return renamed


def _weights(file: Path) -> "dict[str, Tensor]":
    from bot.generator.formats.pickles import read_state

    weights = _canonical(read_state(file))
    if _SCORE not in weights:
        weights.setdefault(_HEAD, weights[_TOKENS])
    else:
        weights.pop(_HEAD, None)
    # Half precision is how the file saves space; what is computed with is for the reader to choose.
    return {name: tensor.float() for name, tensor in weights.items()}


def _config(file: Path, shapes: Mapping[str, tuple[int, ...]], beside: Path | None, notes: list[str]) -> dict[str, Any]:
    rows, width = shapes[_TOKENS]
    layers = {name.split(".")[2] for name in shapes if name.startswith("transformer.h.")}
    sizes = {
        "vocab_size": rows,
        "n_positions": shapes[_POSITIONS][0],
        "n_embd": width,
        "n_layer": len(layers),
    }
    said = read_config(beside.parent) if beside else {}
    for name in _SIZES:
        if name in said and said[name] != sizes[name]:
            raise CheckpointError(
                f"{file}: {beside} says {name} {said[name]!r}, the weights have {sizes[name]}. "
                "Put the config.json beside the file that belongs to it."
            )
    heads = said.get("n_head")
    if heads is None:
        heads = max(1, width // NUMBERS_A_HEAD)
        notes.append(f"no config.json names n_head: {heads}, as for all published sizes ({NUMBERS_A_HEAD} a head)")
    inner = shapes.get(_INNER, ())[1:]  # its weights lie (inputs, outputs)
    end = rows - 1  # where <|endoftext|> is in every vocabulary of this family
    return {
        **sizes,
        "n_ctx": sizes["n_positions"],
        "n_head": heads,
        "n_inner": inner[0] if inner else None,
        "layer_norm_epsilon": said.get("layer_norm_epsilon", 1e-5),
        "initializer_range": said.get("initializer_range", 0.02),
        "bos_token_id": end,
        "eos_token_id": end,
        **({"num_labels": 1} if _SCORE in shapes else {}),
    }


def _beside(file: Path, name: str) -> Path | None:
    return next((place / name for place in _places(file) if (place / name).is_file()), None)


def _places(file: Path) -> Iterable[Path]:
    folder = file.absolute().parent
    return (folder, folder.parent)


def _tokenizer_files(file: Path) -> tuple[Path, ...]:
    for place in _places(file):
        for names in _TOKENIZERS:
            if all((place / name).is_file() for name in names):
                return tuple(place / name for name in names)
    return ()


def _tokenizer(file: Path, rows: int) -> TextTokenizer:
    files = _tokenizer_files(file)
    if not files and rows != GPT2_ROWS:
        raise CheckpointError(
            f"{file}: there is no tokenizer. Put the vocab.json and merges.txt that belong to it into "
            f"{file.absolute().parent}."
        )
    return load_tokenizer(files[0].parent if files else _gpt2(file))


def _gpt2(file: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(GPT2_HUB_ID, allow_patterns=["vocab.json", "merges.txt"]))
    except (HfHubHTTPError, OSError) as error:  # OSError: also what the hub's cache lacks, and a dead network
        raise CheckpointError(
            f"{file}: there is no tokenizer beside it, and GPT-2's own can neither be found in the model hub's cache "
            f"nor fetched ({type(error).__name__}). Put GPT-2's vocab.json and merges.txt into "
            f"{file.absolute().parent}."
        ) from error
