"""`banter model inspect`: says what a file or folder is, before anything is done with it."""

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from bot.exits import Exit

if TYPE_CHECKING:
    from bot.generator.conversion.describe import Description
    from bot.generator.ranking.ensemble import Member


@click.command("inspect")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def inspect(path: str, as_json: bool) -> None:
    """Say what a checkpoint is: system, dialect, sizes, vocabulary, number formats, hashes, its authors' settings.

    PATH is a file or folder of any system in docs/seed-systems.md, a hub id, or "starter". Nothing in it is run.
    Exit code 2: it cannot be used, and why.

    \b
    Examples:
      banter model inspect starter
      banter model inspect restore/medium_ft.pkl
      banter model inspect restore/ensemble.yml --json
    """
    from bot.generator.damage import reported
    from bot.generator.errors import GeneratorError

    try:
        with reported(path):
            parts = _described(path)
    except GeneratorError as error:
        click.echo(str(error), err=True)
        sys.exit(Exit.CONFIG)
    if as_json:
        click.echo(json.dumps(_as_object(path, parts), indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(_listing(path, parts)))


_Parts = list[tuple["Member | None", "Description"]]


def _described(path: str) -> _Parts:
    """The checkpoint, or each head of an ensemble with its place in it."""
    from bot.generator.conversion.describe import describe
    from bot.generator.ranking.ensemble import ensemble_file, read_ensemble

    file = ensemble_file(path)
    if file is None:
        return [(None, describe(path))]
    return [(member, describe(str(member.path))) for member in read_ensemble(file)]


def _as_object(path: str, parts: _Parts) -> dict[str, Any]:
    (first, description), *_ = parts
    if first is None:
        return dataclasses.asdict(description)
    return {
        "path": path,
        "system": description.system,
        "role": "ensemble",
        "settings": _settings(parts),
        "members": [
            {"group": member.group, "name": member.name, "weight": member.weight, "head": dataclasses.asdict(head)}
            for member, head in parts
            if member is not None
        ],
    }


def _listing(path: str, parts: _Parts) -> list[str]:
    (first, description), *_ = parts
    if first is None:
        return [*_lines(description), "", "for config.yaml:", "", *description.settings.splitlines()]
    lines = [f"{path}: an ensemble of {len(parts)} heads"]
    for member, head in parts:
        if member is not None:
            lines += ["", f"{member.group} {member.name}, weight {member.weight:g}", *_lines(head)]
    return [*lines, "", "for config.yaml:", "", *_settings(parts).splitlines()]


def _settings(parts: _Parts) -> str:
    lines = ["ranking:"]
    for group in ("prior", "cond"):
        lines.append(
            f"  {group}:" if any(member and member.group == group for member, _ in parts) else f"  {group}: []"
        )
        lines += [
            f"    - {{name: {json.dumps(member.name)}, checkpoint: {json.dumps(str(member.path))}, "
            f"weight: {member.weight:g}}}"
            for member, _ in parts
            if member and member.group == group
        ]
    return "\n".join(lines) + "\n"


def _lines(found: "Description") -> list[str]:
    words = found.vocabulary
    rows = [
        ("path", found.path),
        ("system", f"{found.system} ({found.role})"),
        ("dialect", found.dialect),
        ("architecture", found.architecture),
        ("revision", found.revision),
        ("parameters", f"{found.parameters:,}"),
        ("sizes", _named(found.sizes)),
        ("stored as", ", ".join(f"{count:,} x {dtype}" for dtype, count in found.stored.items())),
        ("vocabulary", f"{words.tokenizer} tokens, {words.embedding_rows} rows of the embedding"),
        ("control", ", ".join(name if name == f"#{i}" else f"{name} {i}" for name, i in words.controls.items())),
        ("stops at", ", ".join(map(str, words.stop_ids))),
        ("never says", ", ".join(map(str, words.banned_ids)) or "-"),
        *_habit_rows(found.habits),
        *(("file", f"{file.name}  {file.bytes:,} bytes  sha256 {file.sha256}") for file in found.files),
        *(("note", note) for note in found.notes),
    ]
    return [f"{name:<12} {value}" for name, value in rows]


def _habit_rows(habits: dict[str, Any]) -> list[tuple[str, str]]:
    if not habits:
        return []
    turns = "no limit" if habits["turns"] is None else str(habits["turns"])
    return [("history", f"{turns} (turns that its own program reads)"), ("decoding", _named(habits["decoding"]))]


def _named(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
