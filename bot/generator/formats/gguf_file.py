"""The container GGUF (llama.cpp): named values, then tensors, many of them quantised. Imports no torch.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little endian. Reading the values
takes a third of a second for a vocabulary of 50,000; the reader of the package `gguf` takes several.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.generator.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT_BYTES = 32
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where a tensor is; `shape` in the order of torch, `kind` the number of its quantisation."""

    shape: tuple[int, ...]
    kind: int
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """What a file says before its tensors' data. `values` by name: numbers, texts and lists of them."""

    path: Path
    values: Mapping[str, Any]
    tensors: Mapping[str, TensorPlace]

    def format(self, name: str) -> str:
        """How a tensor is packed, in llama.cpp's words: F16, Q4_1, ..."""
        kinds = _quants().GGMLQuantizationType
        kind = self.tensors[name].kind
        return str(kinds(kind).name) if kind in list(kinds) else f"kind {kind}"

    def tensor(self, name: str) -> "np.ndarray[Any, Any]":
        """A tensor in float32, unpacked. Raises CheckpointError."""
        import numpy as np

        quants = _quants()
        place = self.tensors[name]
        try:
            kind = quants.GGMLQuantizationType(place.kind)
            block_values, block_bytes = quants.GGML_QUANT_SIZES[kind]
            bytes_in_row = place.shape[-1] // block_values * block_bytes
            count = bytes_in_row * math.prod(place.shape[:-1])
            if place.offset_bytes + count > self.path.stat().st_size:
                raise _damaged(self.path, f"the file ends before {name} does")
            packed = np.fromfile(self.path, np.uint8, count, offset=place.offset_bytes)
            unpacked = quants.dequantize(packed.reshape(*place.shape[:-1], bytes_in_row), kind)
        except (ValueError, KeyError, NotImplementedError, IndexError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"{self.path}: {name} cannot be unpacked (kind {place.kind}, {error}). Use another quantisation, such "
                "as Q8_0 or F16."
            ) from error
        return np.ascontiguousarray(unpacked.reshape(place.shape), dtype=np.float32)


def read_gguf(path: Path) -> GgufFile:
    """Read everything but the tensors' data. Raises CheckpointError."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as blob:
        try:
            return _Reader(path, blob).read()
        except (struct.error, UnicodeDecodeError, IndexError, OverflowError) as error:
            raise _damaged(path, "its head is cut off or overwritten") from error


class _Reader:
    def __init__(self, path: Path, blob: mmap.mmap) -> None:
        self._path = path
        self._blob = blob
        self._at = len(MAGIC)

    def read(self) -> GgufFile:
        version, tensors, values = self._numbers("IQQ")
        if version not in _VERSIONS:
            raise CheckpointError(
                f"{self._path}: GGUF version {version} cannot be read, only 2 and 3. Convert it anew."
            )
        self._bound(tensors + values)
        named = {}
        for _ in range(values):
            name = self._text()
            named[name] = self._value(self._numbers("I")[0])
        places = {}
        for _ in range(tensors):
            name = self._text()
            (dimensions,) = self._numbers("I")
            self._bound(dimensions)
            shape = tuple(reversed(self._numbers(f"{dimensions}Q")))
            places[name] = TensorPlace(shape, *self._numbers("IQ"))
        alignment = max(1, int(named.get("general.alignment", _ALIGNMENT_BYTES)))
        start = -(-self._at // alignment) * alignment
        return GgufFile(
            self._path,
            named,
            {name: TensorPlace(p.shape, p.kind, start + p.offset_bytes) for name, p in places.items()},
        )

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            inner, count = self._numbers("IQ")
            self._bound(count)
            if inner in _SCALARS:
                return list(self._numbers(f"{count}{_SCALARS[inner]}"))
            return [self._value(inner) for _ in range(count)]
        if kind not in _SCALARS:
            raise _damaged(self._path, f"a value is of the unknown kind {kind}")
        return self._numbers(_SCALARS[kind])[0]

    def _text(self) -> str:
        (length,) = self._numbers("Q")
        self._bound(length)
        text = self._blob[self._at : self._at + length].decode("utf-8")
        self._at += length
        return text

    def _numbers(self, kinds: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{kinds}", self._blob, self._at)
        self._at += struct.calcsize(f"<{kinds}")
        return found

    def _bound(self, count: int) -> None:
        """Nothing of which the file says that there is more than its bytes can hold is read."""
        if count > len(self._blob) - self._at:
            raise _damaged(self._path, "the file ends too early")


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: the GGUF file is damaged ({what}). Copy it again.")


def _quants() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise CheckpointError(
            "GGUF files need the package gguf: make smollm2, or pip install 'banter[smollm2]'."
        ) from error
    return gguf
