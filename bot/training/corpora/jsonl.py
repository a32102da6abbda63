"""The project's own format, into which every other is converted: one JSON object a line.

`{"turns": ["Hi!", "Hello there."]}`, the person first. Optional: `speakers` (a name for each turn; "bot" is the bot,
else whoever speaks second), `weights` (a number for each turn; 0 is not learned), `persona` (sentences about the bot),
`source`, `topic`, `situation` (a key or several; equal ones stay on one side of a split). Other keys mean nothing.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.speakers import two_sided
from bot.training.corpora.text import numbered_lines, wrong

SOURCE = "jsonl"
BOT, PERSON = "bot", "person"


def read(path: Path) -> Iterator[Dialogue]:
    """Every dialogue, in order. Raises TrainingError."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            yield _dialogue(json.loads(line))
        except json.JSONDecodeError as error:
            reason = f"this is not JSON ({error.msg} at character {error.colno}). Mend or delete the line."
            raise wrong(path, number, reason) from error
        except RecursionError as error:
            raise wrong(path, number, "this is nested too deeply. Delete the line.") from error
        except ValueError as error:
            raise wrong(path, number, f"{error}. Mend or delete the line.") from error


def line_of(dialogue: Dialogue) -> str:
    """The dialogue as one line, which `read` makes the same dialogue of."""
    content: dict[str, Any] = {"turns": dialogue.turns}
    if dialogue.bot_opens:
        content["speakers"] = [PERSON if place % 2 else BOT for place in range(len(dialogue.turns))]
    optional = {
        "weights": dialogue.weights,
        "persona": dialogue.persona,
        "source": dialogue.source,
        "topic": dialogue.topic,
        "situation": dialogue.situations,
    }
    content |= {name: value for name, value in optional.items() if value}
    return json.dumps(content, ensure_ascii=False) + "\n"


def _dialogue(content: Any) -> Dialogue:
    if not isinstance(content, dict) or "turns" not in content:
        raise ValueError('this is no object with "turns"')
    turns = [" ".join(text.split()) for text in _texts(content, "turns")]
    if not turns:
        raise ValueError("there are no turns")
    if "" in turns:
        raise ValueError(f"turn {turns.index('') + 1} is empty")
    weights = _weights(content, len(turns))
    return two_sided(
        zip(_sides(content, len(turns)), turns, weights, strict=True),
        source=_text(content, "source") or SOURCE,
        topic=_text(content, "topic"),
        persona=_texts(content, "persona"),
        situations=_texts(content, "situation"),
    )


def _sides(content: dict[str, Any], turns: int) -> list[bool]:
    """For each turn, whether it is the bot's."""
    speakers = _texts(content, "speakers")
    if not speakers:
        return [place % 2 == 1 for place in range(turns)]
    if len(speakers) != turns:
        raise ValueError(f"{turns} turns, but {len(speakers)} speakers")
    bot = BOT
    if BOT not in speakers:
        if len(set(speakers)) > 2:
            raise ValueError(f'{len(set(speakers))} people speak; call one of them "{BOT}"')
        bot = next((name for name in speakers if name != speakers[0]), BOT) if PERSON not in speakers else BOT
    return [name == bot for name in speakers]


def _weights(content: dict[str, Any], turns: int) -> list[float | None]:
    weights = content.get("weights")
    if weights is None:
        return [None] * turns
    if not isinstance(weights, list) or len(weights) != turns:
        raise ValueError(f"weights is no list of {turns} numbers, one for each turn")
    if not all(type(weight) in (int, float) and math.isfinite(weight) for weight in weights):
        raise ValueError("a weight is no number")
    return [float(weight) for weight in weights]


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _texts(content: dict[str, Any], name: str) -> list[str]:
    value = content.get(name, [])
    if name == "situation" and isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name} is no list of texts")
    return value
