"""Score ready texts against their references: the figures of DialoGPT's table, in full precision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.training.errors import TrainingError
from bot.training.metrics import mteval
from bot.training.metrics.cleaning import clean
from bot.training.metrics.diversity import average_length, distinct, entropy
from bot.training.metrics.files import list_at, read_json
from bot.training.metrics.meteor import Scorer, meteor
from bot.training.metrics.references import columns


@dataclass(frozen=True, slots=True)
class Line:
    """One reply and the replies that people gave."""

    hypothesis: str
    references: tuple[str, ...]


def read_lines(file: Path) -> list[Line]:
    """A case file: an object with `lines`, each `{"hyp": ..., "refs": [...]}`. Raises TrainingError."""
    content = read_json(file)
    if isinstance(content, list):
        content = {"lines": content}
    found = list_at(file, content, "lines", '{"lines": [{"hyp": "...", "refs": ["..."]}]}')
    return [_line(file, number, one) for number, one in enumerate(found)]


def figures(
    lines: Sequence[Line],
    *,
    cleaned: bool = False,
    references: int | None = None,
    hold_out: int | None = None,
    meteor: Scorer = meteor,
) -> dict[str, Any]:
    """`nist` and `bleu` (orders 1 to 5), `meteor`, `meteor_why`, `entropy` (1 to 4), `distinct` (1, 2), `avg_len`.

    `references` is the number of reference columns (as many as the richest line has if left out), `hold_out` the one
    that is not used. A line whose references are all empty cannot be scored by NIST and BLEU and is left out there;
    `lines_left_out` counts them.
    """
    prepare = clean if cleaned else str
    count = references or max(len(line.references) for line in lines)
    hypotheses = [prepare(line.hypothesis) for line in lines]
    filled = [[prepare(one) for one in columns(line.references, count, hold_out)] for line in lines]
    tokens = [
        (mteval.tokenise(hypothesis), [mteval.tokenise(one) for one in row])
        for hypothesis, row in zip(hypotheses, filled, strict=True)
    ]
    scorable = [(hypothesis, row) for hypothesis, row in tokens if any(row)]
    left_out = len(tokens) - len(scorable)
    scores = mteval.score(scorable) if scorable else None
    alignment = meteor(hypotheses, filled)
    return {
        "nist": list(scores.nist) if scores else None,
        "bleu": list(scores.bleu) if scores else None,
        "meteor": alignment.score,
        "meteor_why": alignment.why,
        "entropy": [entropy(hypotheses, order) for order in range(1, 5)],
        "distinct": [distinct(hypotheses, order) for order in (1, 2)],
        "avg_len": average_length(hypotheses),
        "lines": len(lines),
        "lines_left_out": left_out,
    }


def _line(file: Path, number: int, one: Any) -> Line:
    here = f"{file}: lines[{number}]"
    if not isinstance(one, Mapping) or not isinstance(one.get("hyp"), str):
        raise TrainingError(f"{here}.hyp: a text is needed.")
    references = one.get("refs")
    if not isinstance(references, list) or not references or not all(isinstance(text, str) for text in references):
        raise TrainingError(f"{here}.refs: a list of one text or more is needed.")
    return Line(one["hyp"], tuple(_reference(text) for text in references))


def _reference(text: str) -> str:
    """A reference may carry a score in front, `0.7|text`; what stands between the first two bars counts."""
    return text.split("|")[1] if "|" in text else text
