"""The figures side by side: a column for every checkpoint and mode, in a terminal or as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "-"

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table: its heading, where the figure is, and how it is written."""

    heading: str
    take: Callable[[Figures], float | None]
    form: str


def _at(key: str, *path: int | str) -> Callable[[Figures], float | None]:
    def take(figures: Figures) -> float | None:
        found: Any = figures.get(key)
        for step in path:
            found = None if found is None else found[step]
        figure: float | None = found
        return figure

    return take


MEASURES = (
    Measure("replies", _at("replies"), "{:d}"),
    Measure("NIST-2", _at("nist", 1), "{:.3f}"),
    Measure("NIST-4", _at("nist", 3), "{:.3f}"),
    Measure("BLEU-2", _at("bleu", 1), "{:.2%}"),
    Measure("BLEU-4", _at("bleu", 3), "{:.2%}"),
    Measure("METEOR", _at("meteor"), "{:.2%}"),
    Measure("Entropy-4", _at("entropy", 3), "{:.3f}"),
    Measure("Distinct-1", _at("distinct", 0), "{:.2%}"),
    Measure("Distinct-2", _at("distinct", 1), "{:.2%}"),
    Measure("average length", _at("avg_len"), "{:.2f}"),
    Measure("perplexity", _at("perplexity"), "{:.2f}"),
    Measure("perplexity (DialoGPT's way)", _at("dialogpt_perplexity"), "{:.2f}"),
    Measure("bits a character", _at("bits_per_character"), "{:.3f}"),
    Measure("hits@1 of 10", _at("hits@1"), "{:.1%}"),
    Measure("MRR", _at("mrr"), "{:.3f}"),
    Measure("preferred to 9 random replies", _at("on_topic"), "{:.1%}"),
    Measure("blocked by moderation", _at("blocked"), "{:.1%}"),
    Measure("repeats an earlier reply", _at("repeats"), "{:.1%}"),
    Measure("distinct word pairs in a reply", _at("variety"), "{:.1%}"),
    Measure("empty", _at("empty"), "{:.1%}"),
    Measure("latency, median (ms)", _at("latency_ms", "median"), "{:.0f}"),
    Measure("latency, p95 (ms)", _at("latency_ms", "p95"), "{:.0f}"),
)


def cells(rows: Sequence[Figures]) -> list[list[str]]:
    """A line of headings, then one a measure that was asked for."""
    heads = ["", *(f"{figures['checkpoint']}, {figures['mode']}" for figures in rows)]
    asked = [one for one in MEASURES if "DialoGPT" not in one.heading or any("dialogpt_perplexity" in f for f in rows)]
    return [heads, *([one.heading, *(_written(one, figures) for figures in rows)] for one in asked)]


def as_text(rows: Sequence[Figures]) -> str:
    """For a terminal: columns of equal width, figures on the right."""
    table = cells(rows)
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in table
    )


def as_markdown(rows: Sequence[Figures]) -> str:
    """The same as a Markdown table."""
    head, *body = cells(rows)
    lines = [head, ["---", *["---:"] * len(rows)], *body]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def notes(rows: Sequence[Figures]) -> list[str]:
    """Why figures are missing, and what chose the replies; each said once."""
    found = []
    for figures in rows:
        column = f"{figures['checkpoint']}, {figures['mode']}"
        for heading, key in (
            ("METEOR", "meteor_why"),
            ("perplexity", "perplexity_why"),
            ("preference", "on_topic_why"),
        ):
            if figures.get(key):
                found.append(f"{column}: {heading} {figures[key]}.")
        if figures["judged_by_itself"] and figures["on_topic"] is not None:
            found.append(f"{column}: preferred by the model that wrote it, which is kinder than a stranger (--judge).")
        if figures["chooser"]:
            found.append(f"{column}: hits@1 and MRR by {figures['chooser']}.")
        if figures["lines_left_out"]:
            found.append(f"{column}: {figures['lines_left_out']} without a reference left out of NIST and BLEU.")
    return found


def _written(measure: Measure, figures: Figures) -> str:
    found = measure.take(figures)
    return MISSING if found is None else measure.form.format(found)
