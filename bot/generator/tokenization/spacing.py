"""English as older tokenizer libraries wrote it: no space before a mark, contractions joined."""

from collections.abc import Iterable

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


BEFORE_VERSION_3 = ((" do not", " don't"),)
"""What transformers replaced besides, before its version 3."""


def english_spacing(text: str, before_not: Iterable[tuple[str, str]] = ()) -> str:
    """Close up English punctuation and contractions as transformers did by default until its version 5.

    The order matters. `before_not` are replacements of older versions, made before the last three.
    """
    for separate, joined in (*_SPACING[:7], *before_not, *_SPACING[7:]):
        text = text.replace(separate, joined)
    return text
