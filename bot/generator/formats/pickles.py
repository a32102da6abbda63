"""State dicts from files that torch.save wrote, read as tensors and nothing else: no code of theirs ever runs."""

import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bot.generator.damage import kind_of
from bot.generator.errors import CheckpointError

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_NESTED = ("model_state_dict", "state_dict")
_FOREIGN_CLASS = re.compile(r"GLOBAL ([\w.]+)")

# A training checkpoint keeps its loss as a number of numpy's; older versions of numpy call the same thing otherwise.
_scalar: Any = np.float64(0).__reduce__()[0]
_NUMBERS: list[Any] = [
    (_scalar, "numpy._core.multiarray.scalar"),
    (_scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
]


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pkl, .pth, .pt, .bin or .ckpt file by name, on the CPU, in the number format of the file.

    A training checkpoint that holds the model's state among other things gives just that. Raises CheckpointError, or
    OSError for a file that cannot be opened.
    """
    _check_start(path)
    _check_archive(path)
    return _state(path, _load(path, "cpu"))


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """What `read_state` would give, the shapes alone: no weight is read. Raises CheckpointError."""
    _check_start(path)
    return {name: tuple(tensor.shape) for name, tensor in _state(path, _load(path, "meta")).items()}


def _check_start(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(len(_ZIP))
    if not start.startswith((_ZIP, _PICKLE)):
        raise CheckpointError(
            f"{path}: this is {kind_of(path)}, and not what torch.save writes. Name the file of weights."
        )
    if start == _ZIP and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: the file is cut off or damaged, its end is missing. Copy it again.")
    if start == _ZIP and _is_compressed(path):
        raise CheckpointError(
            f"{path}: this is a compressed archive, which torch.save never writes. Unpack it, or save the weights "
            "again."
        )


def _is_compressed(path: Path) -> bool:
    """Whether a small file may unpack to more than all memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except zipfile.BadZipFile:
        return False  # told with its reason when it is read


def _check_archive(path: Path) -> None:
    """Compare the checksums that the newer layout, a zip archive, carries: torch itself does not."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        try:
            damaged = archive.testzip()
        except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise CheckpointError(f"{path}: the file is damaged ({error}). Copy it again.") from error
    if damaged:
        raise CheckpointError(f"{path}: the file is damaged, the checksum of {damaged} is wrong. Copy it again.")


def _load(path: Path, place: str) -> object:
    try:
        with torch.serialization.safe_globals(_NUMBERS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is refused anyway
            return torch.load(path, weights_only=True, map_location=place, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(_complaint(path, _FOREIGN_CLASS.search(str(error)))) from error
    except Exception as error:  # a damaged file fails in any layer, and each has its own class of error
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        raise CheckpointError(
            f"{path}: the file is damaged, cut off, or was not written by torch.save ({reason}). Copy it again."
        ) from error


def _complaint(path: Path, foreign: re.Match[str] | None) -> str:
    if foreign is None:
        return f"{path}: the pickle cannot be read as tensors: it is damaged, or of another kind. Copy it again."
    return (
        f"{path}: the pickle holds other things than tensors ({foreign[1]}), and code from a checkpoint is never run. "
        "Where you trust it, save its weights alone: torch.save(model.state_dict(), FILE)."
    )


def _state(path: Path, found: object) -> dict[str, Tensor]:
    if isinstance(found, Mapping):
        found = next((found[name] for name in _NESTED if isinstance(found.get(name), Mapping)), found)
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: there are no weights in this file. Name the file that holds the state dict.")
    strange = next((name for name, value in found.items() if not isinstance(value, Tensor)), None)
    if strange is not None:
        raise CheckpointError(
            f"{path}: {strange!r} is no tensor, so this is no state dict. Save the model's weights alone: "
            "torch.save(model.state_dict(), FILE)."
        )
    return {str(name): value for name, value in found.items()}


def without_wrapper(name: str) -> str:
    """The name of a weight without the `module.` that training on several devices put before it."""
    return name.removeprefix("module.")


def is_mask(name: str) -> bool:
    """Whether this is a buffer of GPT-2's causal mask, no weight. `attn.c_attn.bias`, which looks alike, is one."""
    return name.endswith((".attn.bias", ".attn.masked_bias"))
