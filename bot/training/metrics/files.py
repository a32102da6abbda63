"""What the files of ready figures have in common: JSON whose every mistake is named by file and key."""

import json
import math
from pathlib import Path
from typing import Any

from bot.training.errors import TrainingError


def read_json(file: Path) -> Any:
    """The content of a JSON file. Raises TrainingError."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise TrainingError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{file}: this is no JSON in UTF-8 ({error}).") from error


def list_at(file: Path, content: Any, key: str, example: str) -> list[Any]:
    """The list of that key, with at least one entry. Raises TrainingError, which shows `example`."""
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not found:
        raise TrainingError(f"{file}: {key}: a list with at least one entry is needed. Write {example}.")
    return found


def numbers(where: str, found: Any, *, at_most: float = math.inf) -> list[float]:
    """A list of finite numbers, empty or not. Raises TrainingError, which begins with `where`."""
    if not isinstance(found, list):
        raise TrainingError(f"{where}: a list of numbers is needed.")
    for place, one in enumerate(found):
        # A boolean is an integer to Python, and to nobody else.
        if isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one):
            raise TrainingError(f"{where}[{place}]: {one!r} is no finite number.")
        if one > at_most:
            raise TrainingError(f"{where}[{place}]: {one!r} is above {at_most:g}.")
    return [float(one) for one in found]
