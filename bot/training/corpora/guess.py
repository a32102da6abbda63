"""Tell a corpus file's format from its beginning, or a folder's from the names in it."""

import json
import re
from pathlib import Path

from bot.training.corpora import (
    blended_skill_talk,
    chitchat_text,
    daily_dialog,
    devjwsong_json,
    dialogpt_tsv,
    discord_export,
    empathetic_dialogues,
    jsonl,
    persona_chat,
    preferences,
    telegram_export,
)
from bot.training.corpora.text import opened
from bot.training.errors import TrainingError

_HEAD_CHARACTERS = 1 << 16
_NUMBERED = re.compile(r"1 (?:your persona: |partner's persona: |[^\n]*\t)")
_WEIGHTED = re.compile(r"\d\.\d+ ")
_PREFERENCE_COLUMNS = 11

_FOLDERS = (
    (daily_dialog.SOURCE, daily_dialog.PARTS),
    (empathetic_dialogues.SOURCE, empathetic_dialogues.PARTS),
    (blended_skill_talk.SOURCE, blended_skill_talk.PARTS),
    (persona_chat.SOURCE, (*persona_chat.PARTS, *persona_chat.TEXT_PARTS)),
)


def guess_format(path: Path) -> str:
    """The format's name. Raises TrainingError where the content does not tell."""
    found = _of_folder(path) if path.is_dir() else _of_text(path, _head(path))
    if found is None:
        raise TrainingError(
            f"{path}: its content does not tell which format it has. Say it, as {path}:jsonl; see docs/corpora.md."
        )
    return found


def _head(path: Path) -> str:
    """Whole lines from the beginning, or less than one where it is longer."""
    with opened(path) as file:
        head = file.read(_HEAD_CHARACTERS)
    if not head.strip():
        raise TrainingError(f"{path}: the file is empty.")
    whole = head if len(head) < _HEAD_CHARACTERS else head[: head.rfind("\n") + 1]
    return whole or head


def _of_folder(path: Path) -> str | None:
    for name, parts in _FOLDERS:
        if any([*path.glob(part), *path.glob(f"*/{part}")] for part in parts):
            return name
    exports = sorted(path.glob("*.json"))
    if exports and _of_text(exports[0], _head(exports[0])) == discord_export.SOURCE:
        return discord_export.SOURCE
    return None


def _of_text(path: Path, head: str) -> str | None:
    start = head.lstrip()
    if start.startswith("{"):
        return _of_object(start)
    if start.startswith("["):
        return _of_list(start)
    if start.startswith(empathetic_dialogues.HEADER):
        return empathetic_dialogues.SOURCE
    if daily_dialog.END in head:
        return daily_dialog.SOURCE
    return _of_lines(path, start)


def _of_object(head: str) -> str | None:
    first = head.partition("\n")[0]
    try:
        if "turns" in json.loads(first):
            return jsonl.SOURCE
    except ValueError:
        pass
    if first.startswith('{"turns"'):
        return jsonl.SOURCE
    if '"personality"' in head or '"utterances"' in head:
        return persona_chat.SOURCE
    if '"guild"' in head and '"channel"' in head:
        return discord_export.SOURCE
    if '"messages"' in head or '"chats"' in head or '"personal_information"' in head:
        return telegram_export.SOURCE
    return None


def _of_list(head: str) -> str | None:
    inner = head[1:].lstrip()
    if inner.startswith("["):
        return devjwsong_json.SOURCE
    return blended_skill_talk.SOURCE if '"free_turker_utterance"' in head or '"personas"' in head else None


def _of_lines(path: Path, head: str) -> str | None:
    lines = [line for line in head.splitlines() if not line.startswith("#")]
    written = [line for line in lines if line.strip()]
    columns = {line.count("\t") + 1 for line in written}
    if columns == {_PREFERENCE_COLUMNS}:
        raise TrainingError(
            f"{path}: these are pairs of a better and a worse answer, no dialogues; a ranker learns from them: "
            f"banter train-ranker --corpus {path}:{preferences.FORMAT}"
        )
    if _NUMBERED.match(head):
        return persona_chat.SOURCE
    if columns == {2}:
        return dialogpt_tsv.SOURCE
    if min(columns, default=1) > 2:
        return dialogpt_tsv.SOURCE if _WEIGHTED.match(head) else dialogpt_tsv.PAIRS
    return chitchat_text.SOURCE if columns == {1} and len(written) < len(lines) else None
