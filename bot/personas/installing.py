"""Take a pack in: checked before anything of it is used, unpacked whole or not at all, added to config.yaml."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.config import Decoding, load_config
from bot.generator.formats.registry import open_checkpoint
from bot.personas.archive import is_archive, unpack
from bot.personas.config_edit import Addition, add_to_file
from bot.personas.errors import PersonaError
from bot.personas.manifest import FILE, OWN_MODEL, Manifest, manifest_text
from bot.personas.pack import verify, write_sums

FOLDER = "personas"
"""Beside config.yaml: a folder for every persona that was taken in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What was taken in, and where. `to_paste` are lines for config.yaml where they could not be written into it."""

    manifest: Manifest
    folder: Path
    to_paste: str | None
    checkpoint: str
    """What `model.checkpoint` has to be for the persona to write with the model that it was made for."""
    is_spoken: bool
    """Whether it is that already."""


@contextmanager
def opened_pack(path: Path, near: Path | None = None) -> Iterator[tuple[Path, Manifest]]:
    """A pack's folder and manifest, checked; a pack in one file is unpacked, in the folder `near`, for as long.

    Raises PersonaError.
    """
    if not is_archive(path):
        yield path, verify(path)
        return
    if not path.is_file():
        raise PersonaError(f"{path}: there is no such pack.")
    with tempfile.TemporaryDirectory(dir=near, prefix=".pack-") as folder:
        into = Path(folder) / "pack"
        into.mkdir()
        unpack(path, into)
        try:
            manifest = verify(into)
        except PersonaError as error:  # say the file that was named, not where it was unpacked for a moment
            raise PersonaError(str(error).replace(str(into), str(path))) from error
        yield into, manifest


def install(pack: Path, config_path: Path, as_name: str | None) -> Installed:
    """Raises PersonaError, ConfigError, CheckpointError and OSError; then nothing is changed."""
    config = load_config(config_path)
    personas = config_path.parent / FOLDER
    personas.mkdir(exist_ok=True)
    with opened_pack(pack, personas) as (source, sent):
        manifest = sent if as_name is None else sent.model_copy(update={"name": as_name})
        if manifest.name in config.personas:
            raise PersonaError(
                f"{config_path} has a persona {manifest.name!r} already. Take this one in under another name: --as NAME"
            )
        _check_model(source, manifest)
        folder = personas / manifest.name
        if folder.resolve() != source.resolve():
            _place(source, folder, manifest)
    checkpoint = _from_here(folder / OWN_MODEL) if manifest.model.is_own else manifest.model.checkpoint
    return Installed(
        manifest=manifest,
        folder=folder,
        to_paste=_add(config_path, manifest, config.decoding),
        checkpoint=checkpoint,
        is_spoken=config.model.checkpoint == checkpoint,
    )


def _check_model(source: Path, manifest: Manifest) -> None:
    """Whether its own model is one that can be used; a base that is not installed can be added later."""
    if manifest.model.is_own and manifest.model.base is None:
        open_checkpoint(str(source / OWN_MODEL))


def _place(source: Path, folder: Path, manifest: Manifest) -> None:
    """Copy the pack to its folder, which appears whole."""
    if folder.exists():
        raise PersonaError(
            f"{folder} is there already, from an import whose persona is no longer in config.yaml. Delete the folder, "
            "or take the pack in under another name: --as NAME"
        )
    begun = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.copytree(source, begun)
        (begun / FILE).write_text(manifest_text(manifest), encoding="utf-8")
        write_sums(begun)
        os.replace(begun, folder)
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def _add(config_path: Path, manifest: Manifest, known: dict[str, Decoding]) -> str | None:
    """Add the persona; lines to paste where that cannot be done safely."""
    differs = manifest.decoding != known["default"]
    addition = Addition(
        name=manifest.name,
        persona=manifest.persona,
        decoding=manifest.decoding if differs and manifest.name not in known else None,
    )
    return None if add_to_file(config_path, addition) else addition.lines_to_paste()


def _from_here(folder: Path) -> str:
    """As config.yaml may name it: relative to where the bot is started, if it lies below."""
    full = folder.resolve()
    here = Path.cwd().resolve()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(full)
