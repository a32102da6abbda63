"""What `banter evaluate` prints of models: figures, notes, and talks with every reply side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.training.evaluation.run import Outcome
from bot.training.evaluation.table import Figures, as_markdown, as_text, notes

_SETTINGS = ("corpus", "seed", "candidates", "reverse", "cleaned", "references", "hold_out", "dialogpt_rows")


def as_object(outcome: Outcome, rows: Sequence[Figures], given: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "settings": {name: given[name] for name in _SETTINGS},
        "talks": len(outcome.questions),
        "judge": outcome.judge,
        "stopped": outcome.stopped,
        "rows": list(rows),
        "samples": [
            {
                "context": list(outcome.questions[number].context),
                "replies": _replies(outcome, number),
            }
            for number in _shown(outcome, given["samples"])
        ],
    }


def as_page(outcome: Outcome, rows: Sequence[Figures], given: Mapping[str, Any], *, markdown: bool) -> str:
    """Everything, for people."""
    table = as_markdown(rows) if markdown else as_text(rows)
    facts = [
        f"{len(outcome.questions)} talks of {given['corpus']}, seed {given['seed']}, {given['candidates']} candidates"
        f"{', cleaned' if given['cleaned'] else ''}.",
        f"Preferred to 9 random replies: by {outcome.judge}.",
        *notes(rows),
    ]
    bullets = "\n".join(f"- {fact}" for fact in facts)
    samples = [_sample(outcome, number, markdown) for number in _shown(outcome, given["samples"])]
    return "\n\n".join([table, bullets, *samples])


def _shown(outcome: Outcome, count: int) -> list[int]:
    """Numbers of talks from all over the corpus; those that everybody has answered."""
    answered = min((len(one.answers) for one in outcome.series), default=0)
    count = min(count, answered)
    return [number * answered // count for number in range(count)]


def _sample(outcome: Outcome, number: int, markdown: bool) -> str:
    context = outcome.questions[number].context
    said = [f"{'person' if (len(context) - place) % 2 else 'bot'}: {turn}" for place, turn in enumerate(context)]
    replies = [f"{column}: {reply}" for column, reply in _replies(outcome, number).items()]
    mark = "> " if markdown else "  "
    gap = "  " if markdown else ""  # two spaces end a line in Markdown
    return "\n".join([*(f"{mark}{line}{gap}" for line in said), "", *(f"- {line}" for line in replies)])


def _replies(outcome: Outcome, number: int) -> dict[str, str]:
    return {f"{one.name}, {one.mode}": one.answers[number].text for one in outcome.series}
