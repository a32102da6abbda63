"""The clean-up of gpt2-dialogue-generation-pytorch: corpora written with spaces around every sign become plain English.

It works on tokens of GPT-2's byte-level BPE, in which a leading "Ġ" stands for a space.
"""

from collections.abc import Sequence

SPACE = "Ġ"
_END_MARKS = frozenset({".", ",", "?", "!", "..."})
_QUOTES = frozenset({'"', "'"})
_APOSTROPHE = "'"
_ENDINGS = frozenset({"s", "d", "t", "m", "re", "ll", "ve", "S", "D", "T", "M", "Re", "Ll", "Ve"})
"""What stands behind an apostrophe."""


def cleaned(tokens: Sequence[str]) -> list[str]:
    """The tokens of one utterance with spacing and capitals put right, and a full stop if it ends in no end mark.

    One pass from left to right: each token is judged as it is when its turn comes, and may change the next one. An
    apostrophe counts as a quote too, as in the original.
    """
    if not tokens:
        return []
    work = [_capitalised(tokens[0]), *tokens[1:]]
    quoted = False
    for place, _ in enumerate(tokens):
        token, bare = work[place], work[place][1:]
        following = work[place + 1] if place + 1 < len(work) else None
        spaced = token.startswith(SPACE)
        if spaced and (bare in _END_MARKS or bare in _ENDINGS or _opens_ending(bare, following)):
            work[place] = bare
        if spaced and bare in _QUOTES:
            if quoted:
                work[place] = bare
            elif following is not None:
                work[place + 1] = following.removeprefix(SPACE)
            quoted = not quoted
        if following is not None and (token in _END_MARKS or bare in _END_MARKS):
            work[place + 1] = SPACE + _capitalised(following.removeprefix(SPACE))
    kept = [token for token in work if token not in (SPACE, "")]
    return kept if not kept or kept[-1] in _END_MARKS else [*kept, "."]


def _opens_ending(bare: str, following: str | None) -> bool:
    return bare == _APOSTROPHE and following is not None and following.removeprefix(SPACE) in _ENDINGS


def _capitalised(token: str) -> str:
    """Beyond ASCII the characters of a token are bytes, of which another letter case would make another text."""
    return token.capitalize() if token.removeprefix(SPACE).isascii() else token
