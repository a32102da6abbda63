"""Text as the platforms measure and cut it. Knows no platform: limit and measure are arguments."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from itertools import takewhile

_CLOSERS = "\"')\\]}»”’"

# Each pattern matches with its end at the end of what stays in the part; the white space behind is dropped.
_PARAGRAPH_END = re.compile(r"\S(?=[^\S\n]*\n\s*\n)")
_SENTENCE_END = re.compile(rf"(?<=[.!?…])[{_CLOSERS}]*+(?=\s)|(?<=[。！？])[{_CLOSERS}」』）]*+")
_LINE_END = re.compile(r"\S(?=[^\S\n]*\n)")
_WORD_END = re.compile(r"\S(?=\s)")

# How far behind the cut a pattern may look for the white space that makes it an end, in characters.
_LOOK_AHEAD = 64

_ZERO_WIDTH_JOINER = "\u200d"


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units, Telegram's measure: most emoji count 2."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def clean_text(text: str) -> str:
    """Without what no database and no request can carry: NUL, and halves of surrogate pairs (as U+FFFD)."""
    return text.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def split_text(text: str, limit: int, *, length: Callable[[str], int] = len) -> list[str]:
    """Cut a text into parts of at most `limit`, as `length` measures them.

    Cuts are made at the end of a paragraph, sentence, line or word, whichever comes first in this order
    without wasting more than half of a part; a word that is longer than a part is cut between whole
    characters as people see them (never inside a joined emoji or a surrogate pair). White space at the cuts
    and at both ends is lost, nothing else; no part is empty. Cutting is stable: same text, same parts.

    `length` must count at least 1 and at most 2 for each code point; `limit` is at least 2.
    """
    if limit < 2:
        raise ValueError(f"limit must be at least 2, not {limit}")
    parts = []
    rest = text.strip()
    while rest:
        cut = _find_cut(rest, limit, length)
        parts.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return parts


def _find_cut(rest: str, limit: int, length: Callable[[str], int]) -> int:
    fits = bisect_right(range(1, min(len(rest), limit) + 1), limit, key=lambda count: length(rest[:count]))
    if fits == len(rest):
        return fits
    ends = {pattern: _last_end(pattern, rest, fits) for pattern in (_PARAGRAPH_END, _SENTENCE_END, _LINE_END)}
    for end in ends.values():
        if end > fits // 2:
            return end
    return ends[_SENTENCE_END] or ends[_LINE_END] or _last_end(_WORD_END, rest, fits) or _cut_word(rest, fits)


def _last_end(pattern: re.Pattern[str], rest: str, fits: int) -> int:
    """The last place up to `fits` where the pattern allows a cut; 0 if there is none."""
    ends = (match.end() for match in pattern.finditer(rest, 0, fits + _LOOK_AHEAD))
    return max((end for end in takewhile(lambda end: end <= fits, ends) if _is_clean_cut(rest, end)), default=0)


def _is_clean_cut(rest: str, end: int) -> bool:
    """Whether what follows the cut, white space dropped, starts with a character of its own."""
    start = end
    while start < len(rest) and rest[start].isspace():
        start += 1
    return starts_character(rest, start)


def _cut_word(rest: str, fits: int) -> int:
    cut = fits
    while cut > 0 and not starts_character(rest, cut):
        cut -= 1
    if cut:
        return cut
    # One "character" of thousands of combining marks: only surrogate pairs are kept whole.
    return fits - 1 if fits > 1 and _is_pair(rest[fits - 1], rest[fits]) else fits


def starts_character(text: str, index: int) -> bool:
    """Whether a character as people see it (a grapheme cluster) starts at `index`.

    The rules of Unicode Standard Annex 29 that matter in chat: combining marks, joined emoji, skin tones,
    flags of two letters, flags written with tags, Hangul syllables, CR LF.
    """
    if index <= 0 or index >= len(text):
        return True
    before, after = text[index - 1], text[index]
    if _is_pair(before, after) or before + after == "\r\n" or _ZERO_WIDTH_JOINER in (before, after):
        return False
    if _is_flag_letter(before) and _is_flag_letter(after):
        letters = sum(1 for _ in takewhile(_is_flag_letter, reversed(text[:index])))
        return letters % 2 == 0
    return not _extends(after)


def _is_pair(before: str, after: str) -> bool:
    return "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff"


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _extends(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me")  # variation selectors and keycaps among them
        or char == "\u200c"
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= char <= "\U000e007f"  # tags
        or "\u1160" <= char <= "\u11ff"  # vowels and final consonants of Hangul
    )
