"""The files that `banter score` reads: replies to rank, pairs with feedback, ranked replies. Knows no model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

END_OF_TURN = "<|endoftext|>"
"""What stands between the turns of a context in DialogRPT's files."""

_FEEDBACK_COLUMNS = 11


class ScoreFileError(Exception):
    """A file that cannot be scored; the message names the file, the line, and what to do."""


@dataclass(frozen=True, slots=True)
class Task:
    """A context, its turns joined by `END_OF_TURN`, and replies to it; `line` counts from 0.

    `max_turns`: how many of the last turns count, None: all; only files that say it themselves have it.
    """

    line: int
    context: str
    replies: tuple[str, ...]
    name: str = ""
    max_turns: int | None = None

    def turns(self, limit: int | None) -> list[str]:
        """The last `limit` turns, oldest first; None: all."""
        turns = self.context.split(END_OF_TURN)
        return turns[-limit:] if limit else turns


@dataclass(frozen=True, slots=True)
class Feedback:
    """Two replies to a context, as text or as token ids, of which people liked one better."""

    line: int
    context: str
    better: str
    worse: str
    hours_apart: float
    score_gap: float
    rank_gap: float

    @property
    def is_ids(self) -> bool:
        """Whether the three columns are token ids."""
        return all(part.isascii() and part.isdigit() for part in f"{self.context} {self.better} {self.worse}".split())


def read_tasks(path: Path) -> Iterator[Task]:
    """Lines of `context TAB reply TAB reply ...`; one without a reply is given too. Raises ScoreFileError."""
    for number, line in _lines(path):
        context, *replies = line.split("\t")
        yield Task(number, context, tuple(replies))


def read_cases(path: Path) -> list[Task]:
    """Cases of a JSON file: objects with cxt (or turns) and hyps, in a list or under `scoring_cases`.

    Beside `scoring_cases`, whatever else has a cxt and hyps (or one hyp) counts. Raises ScoreFileError.
    """
    content = read_json(path)
    found: list[tuple[str, Any]] = [("", case) for case in content] if isinstance(content, list) else []
    if isinstance(content, dict):
        found = [("", case) for case in content.get("scoring_cases", [])]
        found += [(name, case) for name, case in content.items() if isinstance(case, dict) and "cxt" in case]
    if not found:
        raise ScoreFileError(f"{path}: there are no cases. Give a list of objects with cxt and hyps.")
    return [_case(path, number, name, case) for number, (name, case) in enumerate(found)]


def read_feedback(path: Path) -> Iterator[Feedback]:
    """Lines of eleven columns: context, better, worse, three that are not used, hours apart, both scores, both ranks.

    Lines that begin with # are comments. Raises ScoreFileError.
    """
    for number, line in _lines(path):
        if not line or line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != _FEEDBACK_COLUMNS:
            raise ScoreFileError(
                f"{path}, line {number + 1}: {len(columns)} columns, a pair with feedback has {_FEEDBACK_COLUMNS}: "
                "context, better, worse, 3 that are not used, hours apart, 2 scores, 2 ranks."
            )
        try:
            hours, high, low, rank_high, rank_low = map(float, columns[6:])
        except ValueError as error:
            raise ScoreFileError(f"{path}, line {number + 1}: {error}. Columns 7 to 11 are numbers.") from error
        context, better, worse = columns[:3]
        yield Feedback(number, context, better, worse, hours, high - low, rank_high - rank_low)


def read_ranked(path: Path) -> Iterator[list[Mapping[str, float]]]:
    """Of each line of ranked JSONL the scores of every reply by name, best reply first. Raises ScoreFileError."""
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            replies = json.loads(line)["hyps"]
            yield [reply[1] if len(reply) == 3 else {"score": float(reply[0])} for reply in replies]
        except (ValueError, TypeError, LookupError) as error:
            raise ScoreFileError(
                f"{path}, line {number + 1}: this is no ranked line. Give what the task test writes: "
                '{"line_id": 0, "cxt": ..., "hyps": [[score, reply], ...]}.'
            ) from error


def read_talks(path: Path) -> list[tuple[str, list[str]]]:
    """Contexts to answer, each with a name: JSON (a list of turns, objects with turns, or `generator_cases`), or
    lines whose first column is a context. Raises ScoreFileError."""
    if path.suffix != ".json":
        return [(str(task.line), task.turns(None)) for task in read_tasks(path) if task.context]
    content = read_json(path)
    if isinstance(content, dict):
        content = content.get("generator_cases", [content])
    if isinstance(content, list) and content and all(isinstance(turn, str) for turn in content):
        content = [{"turns": content}]
    talks = []
    for number, talk in enumerate(content if isinstance(content, list) else []):
        turns = talk.get("turns") if isinstance(talk, dict) else talk
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise ScoreFileError(f"{path}: entry {number} has no turns. Give a list of texts, the oldest first.")
        talks.append((str(talk.get("id", number)) if isinstance(talk, dict) else str(number), turns))
    if not talks:
        raise ScoreFileError(f'{path}: there is no talk. Write for example: ["Hi!", "How are you?"]')
    return talks


def read_json(path: Path) -> Any:
    """A JSON file. Raises ScoreFileError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScoreFileError(f"{path}: cannot be read as JSON ({error}).") from error


def _case(path: Path, number: int, name: str, case: Any) -> Task:
    if isinstance(case, dict):
        context = case.get("cxt", END_OF_TURN.join(_texts(case.get("turns"))))
        replies = _texts(case.get("hyps", [case["hyp"]] if "hyp" in case else None))
        limit = case.get("max_cxt_turn")
        if isinstance(context, str) and replies and (limit is None or (isinstance(limit, int) and limit >= 0)):
            return Task(number, context, replies, name or str(case.get("id", number)), limit or None)
    raise ScoreFileError(f"{path}: case {number} needs a text cxt, a list hyps, and max_cxt_turn as null or a number.")


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(text, str) for text in value):
        return tuple(value)
    return ()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream):
                try:
                    text = line.decode("utf-8-sig" if number == 0 else "utf-8")
                except UnicodeDecodeError as error:
                    raise ScoreFileError(
                        f"{path}, line {number + 1}: this is no UTF-8 text (byte {error.start + 1}). Convert the file."
                    ) from error
                yield number, text.rstrip("\r\n")
    except OSError as error:
        raise ScoreFileError(f"{path}: cannot be read ({error.strerror}).") from error
