"""What is asked of a model: talks that wait for a reply, and the replies that people gave."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.registry import corpus_named
from bot.training.errors import TrainingError

RIVALS = 9
_SUFFIX = ".jsonl"
_EXAMPLE = '{"context": ["hi"], "references": ["hello!"]}'


@dataclass(frozen=True, slots=True)
class Question:
    """A talk, oldest turn first, the last one a person's, and at least one reply of a person to it."""

    context: tuple[str, ...]
    references: tuple[str, ...]

    @property
    def earlier(self) -> tuple[str, ...]:
        """What the side that is to answer said before."""
        return self.context[-2::-2]


@dataclass(frozen=True, slots=True)
class Exam:
    """The questions that are asked, and every reply of the corpus, asked for or not: where rivals come from."""

    questions: list[Question]
    replies: list[str]


def read_exam(corpus: str, limit: int, seed: int) -> Exam:
    """The held-out part of a corpus of that name, or every line of a `.jsonl` file; `limit` questions of it, drawn by
    `seed` (0: all). Raises TrainingError.
    """
    if corpus.endswith(_SUFFIX):
        found = list(_lines(Path(corpus).expanduser()))
    else:
        found = questions_of(corpus_named(corpus).held_out())
    if not found:
        raise TrainingError(f"--corpus {corpus}: there is no reply to measure against in it.")
    numbers = range(len(found))
    chosen = random.Random(seed).sample(numbers, limit) if 0 < limit < len(found) else numbers
    replies = dict.fromkeys(reply for question in found for reply in question.references)
    return Exam([found[number] for number in sorted(chosen)], list(replies))


def questions_of(dialogues: Iterator[Dialogue]) -> list[Question]:
    """One for every reply of the second speaker; replies to the same talk are references of one question."""
    references: dict[tuple[str, ...], list[str]] = {}
    contexts: dict[tuple[str, ...], tuple[str, ...]] = {}
    for dialogue in dialogues:
        for place in range(1, len(dialogue.turns), 2):
            context = dialogue.turns[:place]
            key = tuple(turn.casefold() for turn in context)
            contexts.setdefault(key, context)
            known = references.setdefault(key, [])
            if dialogue.turns[place] not in known:
                known.append(dialogue.turns[place])
    return [Question(context, tuple(references[key])) for key, context in contexts.items()]


def rivals(question: Question, replies: Sequence[str], rng: random.Random) -> tuple[str, ...] | None:
    """Nine different replies to something else; None where there are not so many. `replies` are all of the corpus."""
    own = {one.casefold() for one in question.references}
    others = {one.casefold(): one for one in replies if one.casefold() not in own}
    if len(others) < RIVALS:
        return None
    return tuple(rng.sample(list(others.values()), RIVALS))


def _lines(file: Path) -> Iterator[Question]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _question(f"{file}, line {number}", line)
    except OSError as error:
        raise TrainingError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"{file}: this is no UTF-8 ({error}). Save it in that encoding.") from error


def _question(where: str, line: str) -> Question:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise TrainingError(f"{where}: this is no JSON ({error}). Write {_EXAMPLE}.") from error
    return Question(_texts(where, found, "context"), _texts(where, found, "references"))


def _texts(where: str, found: Any, key: str) -> tuple[str, ...]:
    texts = found.get(key) if isinstance(found, dict) else None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise TrainingError(f"{where}: {key}: a list of at least one text is needed. Write {_EXAMPLE}.")
    return tuple(texts)
