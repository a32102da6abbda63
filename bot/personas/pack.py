"""A persona pack on disk: which files it may have, how large they may be, and whether they are what was sent.

    persona.yaml  CARD.md  samples.md  figures.json  SHA256SUMS  model/ (weights or an adapter, in the hub layout)

Nothing in a pack is ever run: weights are safetensors, and configurations that name code or templates are refused.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bot.personas import manifest as persona_yaml
from bot.personas.errors import PersonaError
from bot.personas.manifest import OWN_MODEL, Manifest, read_manifest

CARD, SAMPLES, FIGURES, SUMS = "CARD.md", "samples.md", "figures.json", "SHA256SUMS"
ADAPTER = f"{OWN_MODEL}/adapter_config.json"
MOST_FILES = 100

_MIB = 1 << 20
_REQUIRED = (persona_yaml.FILE, CARD, SUMS)
_LIMITS: dict[str, int] = {
    persona_yaml.FILE: _MIB,
    CARD: _MIB,
    SAMPLES: _MIB,
    FIGURES: _MIB,
    SUMS: _MIB,
    "model/config.json": _MIB,
    "model/generation_config.json": _MIB,
    "model/adapter_config.json": _MIB,
    "model/banter.json": _MIB,
    "model/special_tokens_map.json": _MIB,
    "model/tokenizer_config.json": 8 * _MIB,
    "model/added_tokens.json": 8 * _MIB,
    "model/model.safetensors.index.json": 8 * _MIB,
    "model/tokenizer.json": 64 * _MIB,
    "model/vocab.json": 64 * _MIB,
    "model/merges.txt": 64 * _MIB,
    "model/vocab.txt": 64 * _MIB,
}
_WEIGHTS = re.compile(r"model/(?:model(?:-\d{5}-of-\d{5})?|adapter_model)\.safetensors")
_MOST_WEIGHTS = 8 << 30
MOST_BYTES = 16 << 30
"""Of a whole pack."""

_CODE_KEYS = ("auto_map", "custom_pipelines", "chat_template")
_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")
_CHUNK_BYTES = 1 << 20


def size_limit(name: str) -> int | None:
    """How many bytes the file of this name in a pack may have; None: there is no such file in packs."""
    return _MOST_WEIGHTS if _WEIGHTS.fullmatch(name) else _LIMITS.get(name)


def verify(pack: Path) -> Manifest:
    """Raises PersonaError for anything that is missing, unknown, too large, changed, or would run code."""
    files = dict(files_of(pack))
    for name in _REQUIRED:
        if name not in files:
            raise PersonaError(f"{pack}: this is no persona pack, there is no {name} in it.")
    _check_sums(pack, files)
    for name, path in files.items():
        if name.endswith(".json"):
            _check_json(path)
        elif name.endswith(".safetensors"):
            check_weights(path)
    manifest = read_manifest(files[persona_yaml.FILE])
    brings = any(_WEIGHTS.fullmatch(name) for name in files)
    if manifest.model.is_own != brings:
        raise PersonaError(
            f"{pack}: {persona_yaml.FILE} names the model {manifest.model.checkpoint}, and the pack "
            f"{'has' if brings else 'has no'} weights of its own. Ask its maker to export it again."
        )
    _check_base(pack, files, manifest)
    return manifest


def files_of(pack: Path) -> Iterator[tuple[str, Path]]:
    """Every file by its place in the pack. Raises PersonaError for links, special files and unknown names."""
    total = 0
    for count, (name, path) in enumerate(_walk(pack), start=1):
        limit = size_limit(name)
        if limit is None:
            raise PersonaError(f"{pack}: {name!r} has no place in a persona pack. Remove it, or distrust the pack.")
        size = path.stat().st_size
        total += size
        if size > limit or total > MOST_BYTES or count > MOST_FILES:
            raise PersonaError(f"{pack}: {name} makes the pack larger than packs may be ({size:,} bytes).")
        yield name, path


def write_sums(pack: Path) -> None:
    """Write SHA256SUMS, as the program sha256sum reads it."""
    lines = [f"{sha256_of(path)}  {name}\n" for name, path in sorted(files_of(pack)) if name != SUMS]
    (pack / SUMS).write_text("".join(lines), encoding="utf-8")


def sha256_of(path: Path) -> str:
    """64 hex digits over the content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def check_weights(path: Path) -> None:
    """Raises PersonaError for a file that is none of safetensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as opened:
            opened.keys()
    except (SafetensorError, OSError, ValueError) as error:
        raise PersonaError(f"{path}: these are no safetensors ({error}).") from error


def _walk(pack: Path) -> Iterator[tuple[str, Path]]:
    """Files by their names; only the folder `model` is entered. Links are named by the error, never followed."""
    for folder, prefix in ((pack, ""), (pack / OWN_MODEL, f"{OWN_MODEL}/")):
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            if folder == pack:
                raise PersonaError(f"{pack}: there is no such pack.") from None
            continue
        except OSError as error:
            raise PersonaError(f"{folder}: cannot be read ({error.strerror}).") from error
        for entry in entries:
            name = prefix + entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                yield name, Path(entry.path)
            elif not (stat.S_ISDIR(mode) and name == OWN_MODEL):
                kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a special file"
                raise PersonaError(f"{pack}: {name!r} is {kind}, which has no place in a persona pack.")


def _check_base(pack: Path, files: dict[str, Path], manifest: Manifest) -> None:
    """An adapter says beside which model it stands, in two places that a reader may look at."""
    adapter = files.get(ADAPTER)
    named = json.loads(_text(adapter)).get("base_model_name_or_path") if adapter else None
    if named != manifest.model.base:
        raise PersonaError(
            f"{pack}: {persona_yaml.FILE} says that the adapter stands beside {manifest.model.base}, {ADAPTER} says "
            f"{named}. Ask its maker to export it again."
        )


def _check_sums(pack: Path, files: dict[str, Path]) -> None:
    sums: dict[str, str] = {}
    text = _text(files[SUMS])
    for number, line in enumerate(text.splitlines(), start=1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise PersonaError(f"{files[SUMS]}:{number}: this is no line of a file of sums.")
        sums[match[2]] = match[1]
    listed, there = set(sums), set(files) - {SUMS}
    if listed != there:
        odd = min(listed ^ there)
        how = "is listed and is not there" if odd in listed else "is there and is not listed"
        raise PersonaError(f"{pack}: {odd!r} {how} in {SUMS}: the pack is not whole. Get it again.")
    for name, wanted in sums.items():
        if sha256_of(files[name]) != wanted:
            raise PersonaError(
                f"{pack}: {name} is not what its maker packed (its SHA-256 differs from {SUMS}). Get the pack again."
            )


def _check_json(path: Path) -> None:
    try:
        content: Any = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise PersonaError(f"{path}: this is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise PersonaError(f"{path}: this holds no object, as every configuration does.")
    named = next((key for key in _CODE_KEYS if content.get(key)), None)
    if named is not None:
        raise PersonaError(f"{path}: {named} names code or a template, which a persona pack may not bring.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PersonaError(f"{path}: cannot be read as text ({error}).") from error
