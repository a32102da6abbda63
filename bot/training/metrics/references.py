"""Which references a hypothesis is measured against: a fixed number of columns, as DialoGPT's pipeline fills them."""

from collections.abc import Sequence


def columns(references: Sequence[str], count: int, hold_out: int | None = None) -> list[str]:
    """`count` references for one line, taken round and round; the one held out gives way to the next.

    A line with fewer references counts some of them several times, which the original does and NIST notices.
    Raises ValueError for a line without references.
    """
    if not references:
        raise ValueError("a line needs at least one reference")
    filled = []
    for column in range(count):
        place = column % len(references)
        if place == hold_out:
            place = (place + 1) % len(references)
        filled.append(references[place])
    return filled
