"""The tensors that a checkpoint's files hold, read one by one and without knowing what network they are for."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bot.generator.checkpoints import read_object
from bot.generator.damage import in_one_line, kind_of, reported
from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Checkpoint
from bot.generator.formats.gguf_file import MAGIC, read_gguf
from bot.generator.formats.pickles import is_mask, read_shapes, read_state

PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pth"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found in the weights' files.

    `numbers` counts the values of each number format as stored; `parameters` counts each matrix once, however often
    it is stored (a head that is tied to the embedding). `broken` names tensors with values that are not finite.
    """

    tensors: int
    numbers: dict[str, int]
    parameters: int
    broken: tuple[str, ...]


def weight_files(checkpoint: Checkpoint) -> tuple[Path, ...]:
    """The files that hold the weights, as far as we can read them ourselves."""
    if checkpoint.read_weights is None and checkpoint.path.is_dir():
        return directory_weights(checkpoint.path)
    return tuple(
        file for file in checkpoint.files if file.suffix in PICKLES or file.suffix == ".safetensors" or _is_gguf(file)
    )


def directory_weights(directory: Path) -> tuple[Path, ...]:
    """The files of weights in the hub layout that transformers would choose. Raises CheckpointError."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (directory / name).is_file():
            return (directory / name,)
        index = directory / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
    raise CheckpointError(
        f"{directory} holds no weights that can be chosen: there is neither model.safetensors nor pytorch_model.bin, "
        "and no index of parts. Copy the checkpoint again."
    )


def _shards(index: Path) -> tuple[Path, ...]:
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index}: there is no weight_map that names the parts. Copy the file again.")
    shards = tuple(index.parent / name for name in sorted(set(places.values())))
    for shard in shards:
        if shard.parent != index.parent or not shard.is_file():
            raise CheckpointError(f"{shard}: this part of the weights is missing. Copy the checkpoint again.")
    return shards


def shapes_in(files: tuple[Path, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors; no weight is read. Raises CheckpointError."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        if file.suffix == ".safetensors":
            with opened(file) as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        elif _is_gguf(file):
            shapes |= {name: place.shape for name, place in read_gguf(file).tensors.items()}
        else:
            shapes |= read_shapes(file)
    return {name: shape for name, shape in shapes.items() if not is_mask(name)}


def survey(files: tuple[Path, ...]) -> Survey:
    """Read all tensors, one at a time. Raises CheckpointError."""
    numbers: Counter[str] = Counter()
    matrices: set[str] = set()
    tensors = parameters = 0
    broken: list[str] = []
    for name, number_format, tensor in _entries(files):
        if is_mask(name):
            continue
        tensors += 1
        numbers[number_format] += tensor.numel()
        digest = _digest(tensor) if tensor.dim() > 1 else name
        parameters += 0 if digest in matrices else tensor.numel()
        matrices.add(digest)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            broken.append(name)
    return Survey(tensors=tensors, numbers=dict(numbers.most_common()), parameters=parameters, broken=tuple(broken))


def tensors_in(files: tuple[Path, ...]) -> Iterator[tuple[str, Tensor]]:
    """All tensors by name, in the number format of the file; of GGUF files unpacked. Raises CheckpointError."""
    return ((name, tensor) for name, _, tensor in _entries(files))


def _entries(files: tuple[Path, ...]) -> Iterator[tuple[str, str, Tensor]]:
    """Name, number format and values of each tensor."""
    for file in files:
        if file.suffix == ".safetensors":
            with opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118  (it is no mapping)
                    tensor = tensors.get_tensor(name)
                    yield name, _format(tensor), tensor
        elif _is_gguf(file):
            packed = read_gguf(file)
            for name in packed.tensors:
                yield name, packed.format(name), torch.from_numpy(packed.tensor(name))
        else:
            for name, tensor in read_state(file).items():
                yield name, _format(tensor), tensor


def _format(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _is_gguf(file: Path) -> bool:
    with reported(file), file.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def opened(file: Path) -> Any:
    """A safetensors file as its library's context manager, the header checked. Raises CheckpointError."""
    with reported(file):
        try:
            return safe_open(str(file), framework="pt")
        except SafetensorError as error:
            raise CheckpointError(
                f"{file}: cannot be read as safetensors ({in_one_line(error)}); this is {kind_of(file)}. Copy it again."
            ) from error


def _digest(tensor: Tensor) -> str:
    values: Any = tensor.contiguous().view(torch.uint8).numpy()
    return f"{tuple(tensor.shape)} {hashlib.sha256(values).hexdigest()}"
