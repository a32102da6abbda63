"""A pack as one file to send: NAME.tar.gz. Reading one trusts nothing in it."""

import gzip
import io
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from bot.personas.errors import PersonaError
from bot.personas.manifest import OWN_MODEL
from bot.personas.pack import MOST_BYTES, MOST_FILES, files_of, size_limit

ENDINGS = (".tar.gz", ".tgz")
_READ_AT_ONCE = 1 << 20


def is_archive(path: Path) -> bool:
    """By its name."""
    return path.name.endswith(ENDINGS)


def write_archive(pack: Path, out: Path, top: str) -> None:
    """The same pack makes the same bytes. `top` is the folder that it unpacks into. Raises OSError."""
    begun = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with (
            begun.open("wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name, path in sorted(files_of(pack)):
                entry = tarfile.TarInfo(f"{top}/{name}")
                entry.size, entry.mode = path.stat().st_size, 0o644
                with path.open("rb") as content:
                    tar.addfile(entry, content)
        os.replace(begun, out)
    finally:
        begun.unlink(missing_ok=True)


def unpack(archive: Path, into: Path) -> None:
    """Write the archive's files into the folder `into`, which is there and empty. Raises PersonaError.

    Only files that packs have are taken, by their names; links, special files, other places and more bytes than a
    pack may have end it.
    """
    try:
        with gzip.open(archive, "rb") as packed, tarfile.open(fileobj=_Careful(packed), mode="r:") as tar:
            top: str | None = None
            total = count = 0
            for entry in tar:
                name, folder = _place(archive, entry)
                top = folder if top is None else top
                if folder != top:
                    raise PersonaError(f"{archive}: it holds more than one folder, {top!r} and {folder!r}.")
                if entry.isdir():
                    continue
                limit = size_limit(name)
                total, count = total + entry.size, count + 1
                if limit is None:
                    raise PersonaError(f"{archive}: {entry.name!r} has no place in a persona pack.")
                if entry.size > limit or total > MOST_BYTES or count > MOST_FILES:
                    raise PersonaError(f"{archive}: {name} makes the pack larger than packs may be.")
                _write(tar, entry, into / name)
            _demand_end(archive, packed)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PersonaError(f"{archive}: this is no whole .tar.gz ({error}). Get it again.") from error
    except OSError as error:
        raise PersonaError(f"{error.filename or archive}: {error.strerror or error}.") from error


def _place(archive: Path, entry: tarfile.TarInfo) -> tuple[str, str]:
    """The place in the pack and the folder around it."""
    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.name:
        raise PersonaError(f"{archive}: {entry.name!r} leads out of the pack. Distrust it.")
    if not (entry.isreg() or entry.isdir()):
        raise PersonaError(f"{archive}: {entry.name!r} is a link or a special file. Distrust it.")
    if not path.parts or (entry.isreg() and len(path.parts) < 2):
        raise PersonaError(f"{archive}: {entry.name!r} lies in no folder; a pack is one folder.")
    return "/".join(path.parts[1:]), path.parts[0]


def _demand_end(archive: Path, packed: gzip.GzipFile) -> None:
    """Reading on to the end compares the checksum of the whole."""
    if len(packed.read(_READ_AT_ONCE + 1)) > _READ_AT_ONCE:
        raise PersonaError(f"{archive}: more follows after its end. Distrust it.")


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(entry)
    if content is None:
        raise PersonaError(f"{entry.name!r} has no content.")
    if target.parent.name == OWN_MODEL:
        target.parent.mkdir(exist_ok=True)
    with content, target.open("xb") as out:
        shutil.copyfileobj(content, out, _READ_AT_ONCE // 4)


class _Careful(io.RawIOBase):
    """Refuses to read much at once: an archive's own headers could ask for all of the memory."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _READ_AT_ONCE:
            raise PersonaError("The archive has a header of unreasonable length. Distrust it.")
        return self._packed.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._packed.seek(offset, whence)

    def tell(self) -> int:
        return self._packed.tell()
