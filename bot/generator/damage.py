"""What is wrong with a file that is no checkpoint, in words. Imports no torch.

Checkpoints come from everywhere: half downloaded, renamed, exported by hand. Each library that reads them fails in its
own way, and none says which file it was or what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.generator.errors import CheckpointError, GeneratorError

_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"SQLite format 3", "a SQLite database"),
    (b"GGUF", "a GGUF file"),
)
_WEB_PAGES = (b"<!doctype", b"<html", b"<?xml")
_LOOK_BYTES = 512


def kind_of(file: Path) -> str:
    """What a file looks like by its first bytes, to be read after "this is". Raises OSError."""
    with file.open("rb") as stream:
        start = stream.read(_LOOK_BYTES)
    if not start:
        return "an empty file"
    for beginning, kind in _BEGINNINGS:
        if start.startswith(beginning):
            return kind
    if start.lstrip().lower().startswith(_WEB_PAGES):
        return "a web page, as a failed download leaves it"
    if _is_text(start):
        return "a text file"
    return "a file of an unknown kind"


@contextmanager
def reported(name: object) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into a CheckpointError about the checkpoint `name`."""
    try:
        yield
    except GeneratorError:
        raise
    except OSError as error:
        where = error.filename or name
        raise CheckpointError(
            f"{where}: cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from error
    except MemoryError as error:
        raise CheckpointError(f"{name}: there is not enough memory to load it. Use a smaller checkpoint.") from error
    except Exception as error:  # a damaged file fails in any layer of any library, and each has its own class of error
        reason = in_one_line(error)
        raise CheckpointError(
            f"{name}: cannot be used ({reason}). It is damaged or of an unknown kind; copy the checkpoint again."
        ) from error


def in_one_line(error: BaseException) -> str:
    """An error of a library as a part of our sentence."""
    text = " ".join(str(error).split()).rstrip(".")[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_text(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else only the last character is cut
            return False
    return b"\x00" not in start
