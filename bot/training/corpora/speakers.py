"""From who said what to a dialogue of two sides in turn. Knows no file format."""

from collections.abc import Iterable, Sequence

from bot.training.corpora.dialogue import Dialogue
from bot.training.corpora.text import whole_characters

Line = tuple[bool, str, float | None]
"""Whether the bot's side says it, the text, its weight (None: as any other)."""


def two_sided(
    lines: Iterable[Line],
    *,
    source: str,
    topic: str = "",
    persona: Sequence[str] = (),
    situations: Sequence[str] = (),
) -> Dialogue:
    """Lines of one side in a row become one turn, joined by a space, and weigh what the heaviest does; empty ones
    are left out."""
    sides: list[bool] = []
    turns: list[str] = []
    weights: list[float] = []
    weighted = False
    for is_bot, written, weight in lines:
        if not written:
            continue
        text = whole_characters(written)
        weighted = weighted or weight is not None
        weighs = 1.0 if weight is None else weight
        if sides and sides[-1] == is_bot:
            turns[-1] = f"{turns[-1]} {text}"
            weights[-1] = max(weights[-1], weighs)
        else:
            sides.append(is_bot)
            turns.append(text)
            weights.append(weighs)
    return Dialogue(
        tuple(turns),
        source,
        topic,
        tuple(weights) if weighted else None,
        tuple(map(whole_characters, persona)),
        tuple(situation for situation in situations if situation),
        bool(sides and sides[0]),
    )
