"""The small language of the word lists, and the trie it is compiled into.

A pattern is one word or a phrase. `(a|b)` is a choice, `[a|b]` a choice that may be left out, and both nest; a
star at an end of a single word stands for any letters (`cat*`, `*cat`, `*cat*`), as in Discord's AutoMod. Every
pattern denotes finitely many strings, so that matching needs no backtracking and its time grows with the text.
"""

import re
from collections.abc import Iterable

MAX_EXPANSIONS = 20_000


class PatternError(ValueError):
    """A pattern that cannot be read; the message says what is wrong with it."""


def expand(pattern: str) -> list[str]:
    """Every string that a pattern denotes, words one space apart, duplicates removed."""
    alternatives, rest = _choices(pattern, 0, "")
    if rest != len(pattern):
        raise PatternError(f"{pattern!r} has a closing bracket too many")
    return list(dict.fromkeys(" ".join(text.split()) for text in alternatives))


def slots(pattern: str) -> list[list[str]]:
    """The choices at each place of a phrase, in order; an empty string among them: the place may stay empty."""
    depth = 0
    places = [""]
    for character in pattern.strip():
        depth += (character in "([") - (character in ")]")
        if character == " " and depth == 0:
            places.append("")
        else:
            places[-1] += character
    return [expand(place) for place in places if place]


def _choices(pattern: str, at: int, closing: str) -> tuple[list[str], int]:
    """The choices from `at` up to the bracket `closing` (or the end) and where they end."""
    finished: list[str] = []
    current = [""]
    while at < len(pattern):
        character = pattern[at]
        if character in "([":
            inner, at = _choices(pattern, at + 1, ")" if character == "(" else "]")
            if at >= len(pattern):
                raise PatternError(f"{pattern!r} has an open bracket")
            if character == "[":
                inner = [*inner, ""]
            if len(current) * len(inner) > MAX_EXPANSIONS:
                raise PatternError(f"{pattern!r} stands for more than {MAX_EXPANSIONS} phrases")
            current = [head + tail for head in current for tail in inner]
        elif character == "|" and closing:
            finished.extend(current)
            current = [""]
        elif character in ")]":
            if character != closing:
                raise PatternError(f"{pattern!r} closes a bracket that is not open")
            return finished + current, at
        else:
            current = [head + character for head in current]
        at += 1
    return finished + current, at


def trie_pattern(words: Iterable[str]) -> str:
    """A regular expression that matches any of the words in one pass, without trying them one by one."""
    root: dict[str, dict] = {}  # type: ignore[type-arg]
    for word in words:
        node = root
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branch(root)


def _branch(node: dict) -> str:  # type: ignore[type-arg]
    if "" in node and len(node) == 1:
        return ""
    branches = [re.escape(character) + _branch(child) for character, child in node.items() if character]
    joined = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{joined})?" if "" in node else joined
