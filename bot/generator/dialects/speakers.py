"""What layouts share that put a speaker's token before every turn: trimming, token types, English spacing."""

from collections.abc import Container, Iterable, Sequence

from bot.generator.dialects.base import fitting

_SPACING = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def newest(turns: Sequence[list[int]], max_tokens: int) -> list[list[int]]:
    """`fitting`, but a last turn that is too long keeps its first token, which says whose it is."""
    if turns and 0 < max_tokens < len(turns[-1]):
        last = turns[-1]
        return [[last[0], *last[len(last) - max_tokens + 1 :]]]
    return fitting(turns, max_tokens)


def types_by_speaker(ids: Sequence[int], speakers: Container[int], first: int) -> list[int]:
    """Every token has the speaker's token before it for its type, that token itself too; what precedes all, `first`."""
    types = []
    current = first
    for token in ids:
        if token in speakers:
            current = token
        types.append(current)
    return types


def english_spacing(text: str, before_not: Iterable[tuple[str, str]] = ()) -> str:
    """Close up English punctuation and contractions as transformers did by default until its version 5.

    The order matters. `before_not` are replacements of older versions, made before the last three.
    """
    for separate, joined in (*_SPACING[:7], *before_not, *_SPACING[7:]):
        text = text.replace(separate, joined)
    return text
