"""Views of a text in which spelling tricks disappear, each with a map back to the original.

`fold` undoes what Unicode offers (compatibility forms, case, invisible characters, accents, look-alikes);
`read_words` cuts the result into words and lists for each what it may have been meant to say: leet digits,
repeated letters, letters set apart, pieces of one word. No function here knows which words are bad.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise

LEET = str.maketrans("0134578926@$!|+€£¢₴§", "oieastbgzgasiltelcss")
# In leet `1`, `!` and `|` stand for i as well as l; both sides of such a comparison go through this table.
ONE_STROKE = str.maketrans("l", "i")
MASKS = "*#%?^&~.-_@×•"

_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_QUOTES = dict.fromkeys("\u2018\u2019\u02bc\u00b4\u2032`", "'")
_LETTER_NAME = re.compile(
    r"(?:LATIN (?:LETTER )?(?:SMALL CAPITAL|SMALL LETTER|CAPITAL LETTER|CAPITAL|SMALL)"
    r"|NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER|REGIONAL INDICATOR SYMBOL LETTER)"
    r"(?: LETTER)? (?:TURNED |DOTLESS |LONG |SCRIPT |OPEN |REVERSED )?([A-Z])(?: WITH .*)?"
)
_MAX_EXPANSION = 4  # one ligature may decompose into 18 characters; nobody spells with those
_ACCENTED_SCRIPTS_END = 0x0530  # Latin, Greek and Cyrillic: marks there are ornament, elsewhere they are spelling

_SYMBOLS = r"@$!|+€£¢₴§"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CHUNK = re.compile(r"\S+")
_TRICKY = re.compile(rf"[^\W_\d][^\w\s']+[^\W_\d]|_|\d|[{_SYMBOLS}]")
_RUN_OF_THREE = re.compile(r"(.)\1\1+")
_DOUBLE = re.compile(r"(.)\1+")
_ONE = rf"[^\W_{_SYMBOLS}]|[{_SYMBOLS}]"
_GAP = rf"(?:[^\w{_SYMBOLS}]{{1,3}}|_)"
_APART = re.compile(rf"(?<![^\W_])(?:{_ONE})(?:{_GAP}(?:{_ONE})){{2,}}(?![^\W_])")
_SHORTEST_BROKEN = 4
_NOT_ALNUM = re.compile(r"[\W_]+")
_ENDS = re.compile(r"^[\W_]+|[\W_]+$")
SHORT_WORDS = frozenset(
    """a ad ah all am an and any are as at ax be big bin boy but by bye can car cat co cut day did do dog du eat eh end
    er far few for fun gay get go got gun guy had has he hey hi him his hit hm ho hot how i if in is it its jo job la
    let lie ll lo log lot low ma man map may me men met mix mom mr ms mum my new no nor not now nut of off oh ok old on
    one or our out own pa pay per pet pi pit put ran rap rat re red rid ro run sad sat saw say see set she shy sir sit
    six so son sun tea ten the tie tip to too top try two uh um up us use van ve via was way we who why win won ya ye
    yea yes yet yo you""".split()  # noqa: SIM905 - a table of words reads better than a list of strings
)


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text; `offsets[i]` is the index in the original of the character that gave `text[i]`."""

    text: str
    offsets: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where the folded slice lies in the original."""
        return self.offsets[start], self.offsets[end - 1] + 1


@dataclass(frozen=True, slots=True)
class Word:
    """A word at a place of the folded text, with the ways to read it, the plainest first.

    `whole` is false for a reading put together from pieces: it counts alone, never as part of a phrase. `exact` is
    true where the pieces were words of their own (`pass/hit`): then only the whole of it counts, not what it contains.
    """

    start: int
    end: int
    readings: tuple[str, ...]
    whole: bool = True
    exact: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """A text made ready for matching, once for all lists; see `view`."""

    text: str
    folded: Folded
    words: tuple[Word, ...]
    masked: tuple[tuple[int, int, str], ...]


def view(text: str) -> View:
    """Fold a text, read its words, find what hides letters behind symbols."""
    folded = fold(text)
    return View(text, folded, tuple(read_words(folded.text)), tuple(masked(folded.text)))


@cache
def look_alikes() -> dict[int, str]:
    """Letters of other scripts that pass for Latin ones, after case folding."""
    table: dict[int, str] = {}
    with files(__package__).joinpath("confusables.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(line for line in lines if not line.startswith("#")):
            for character in row["look_alikes"]:
                for form in {character, character.casefold()}:
                    if len(form) == 1:
                        table.setdefault(ord(form), row["letter"])
    return table


def fold(text: str) -> Folded:
    """Compatibility forms and case folded, invisible characters and ornament dropped, look-alikes made Latin."""
    if text.isascii():
        return Folded(text.lower(), range(len(text)))
    characters: list[str] = []
    offsets: list[int] = []
    for index, character in enumerate(text):
        for folded in _fold_character(character):
            if characters and ord(characters[-1]) < _ACCENTED_SCRIPTS_END and _is_mark(folded):
                continue
            characters.append(folded)
            offsets.append(index)
    folded_text = "".join(characters)
    return Folded(folded_text if folded_text.isascii() else _latinise(folded_text), offsets)


@lru_cache(maxsize=16384)
def _fold_character(character: str) -> str:
    if character in _BLANKS or character.isspace():
        return " "
    if character in _QUOTES:
        return "'"
    if unicodedata.category(character) in {"Cf", "Cc", "Cs", "Co", "Cn"}:
        return ""
    compatible = unicodedata.normalize("NFKC", character).casefold()
    if len(compatible) > _MAX_EXPANSION:
        return " "
    return "".join(_bare_letter(part) for part in compatible)


def _bare_letter(character: str) -> str:
    """`é` as `e`, `ø` as `o`, a squared `A` as `a`; letters of other scripts as they are."""
    if character.isascii():
        return character
    base = unicodedata.normalize("NFKD", character)[0]
    if ord(base) < _ACCENTED_SCRIPTS_END:
        character = base
    if character.isascii():
        return character
    named = _LETTER_NAME.fullmatch(unicodedata.name(character, ""))
    return named[1].lower() if named else character


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in {"Mn", "Me"}


def _latinise(text: str) -> str:
    """Replace look-alikes, in words that are a disguise: otherwise Russian words would become English ones."""
    table = look_alikes()
    has_latin_words = re.search(r"[a-z]{2}", text) is not None

    def latin(match: re.Match[str]) -> str:
        word = match[0]
        if word.isascii():
            return word
        mixed = any(letter.isascii() for letter in word)
        disguise = all(letter.isascii() or ord(letter) in table for letter in word) and (
            has_latin_words or len({_alphabet(letter) for letter in word}) > 1
        )
        return word.translate(table) if mixed or disguise else word

    return _lettering().sub(latin, text)


@cache
def _lettering() -> re.Pattern[str]:
    """Runs of letters and of signs that pass for letters, such as currencies."""
    signs = "".join(chr(code) for code in look_alikes() if not re.match(r"[^\W\d_]", chr(code)))
    return re.compile(rf"(?:[^\W\d_]|[{re.escape(signs)}])+")


@lru_cache(maxsize=4096)
def _alphabet(letter: str) -> str:
    """The writing a letter belongs to; Cyrillic beyond Russian counts as another one."""
    if "а" <= letter <= "я":
        return "RUSSIAN"
    return unicodedata.name(letter, "?").split(" ")[0]


def read_words(folded: str) -> list[Word]:
    """The words of a folded text in order, then what can be put together from pieces."""
    words = [Word(match.start(), match.end(), _readings(match[0].replace("'", ""))) for match in _WORD.finditer(folded)]
    pieces = [*_apart(folded), *_broken(words)]
    if _TRICKY.search(folded):
        pieces.extend(_disguised(folded))
    return words + pieces


def _readings(word: str) -> tuple[str, ...]:
    """The word itself, its digits as letters, its long runs shortened."""
    found = {word: None}
    if not word.isalpha():
        for form in _leet_forms(word):
            found[form] = None
    for form in tuple(found):
        if _RUN_OF_THREE.search(form):
            found[_RUN_OF_THREE.sub(r"\1\1", form)] = None
            found[_DOUBLE.sub(r"\1", form)] = None
    return tuple(found)


def _leet_forms(token: str) -> Iterator[str]:
    """Readings of a token with digits or symbols; none where it is a number rather than a word."""
    letters = sum(character.isalpha() for character in token)
    digits = sum(character.isdigit() for character in token)
    if not letters:
        return
    if glued := token.strip("0123456789"):
        if glued.isalpha():
            yield glued
        elif letters + 1 >= digits:
            yield glued.translate(LEET)
    if letters >= digits or len(token) > 3 >= digits:  # `a55` is a road
        yield token.translate(LEET)
        if "1" in token:
            yield token.replace("1", "l").translate(LEET)


def _apart(folded: str) -> Iterator[Word]:
    """Letters set apart: `b a d`, `b.a.d`, `b_a_d`; a leading pronoun or article may belong to the sentence."""
    for match in _APART.finditer(folded):
        joined = _NOT_ALNUM.sub("", match[0].translate(LEET))
        if not joined.isalpha() or not any(character.isalpha() for character in match[0]):
            continue
        forms = [joined]
        if joined[0] in "aiu" and len(joined) > 3:
            forms.append(joined[1:])
        if joined[-1] in "ur" and len(joined) > 4:
            forms.append(joined[:-1])
        readings = dict.fromkeys(reading for form in forms for reading in _readings(form))
        yield Word(match.start(), match.end(), tuple(readings), whole=False)


def _broken(words: Sequence[Word]) -> Iterator[Word]:
    """Neighbours that make one word where one of them is a splinter: `ba dly`, but not `who re`."""
    for left, right in pairwise(words):
        first, second = left.readings[0], right.readings[0]
        if right.start - left.end > 2 or len(first) + len(second) < _SHORTEST_BROKEN:
            continue
        if any(len(piece) <= 3 and piece not in SHORT_WORDS for piece in (first, second)):
            yield Word(left.start, right.end, (first + second,), whole=False, exact=True)


def _disguised(folded: str) -> Iterator[Word]:
    """Chunks with symbols inside: leet (`b@d`), or one word cut by punctuation (`ba**d**ly`)."""
    for match in _CHUNK.finditer(folded):
        chunk = match[0]
        if len(chunk) > 64 or chunk.isalpha() or not any(character.isalpha() for character in chunk):
            continue
        core = _ENDS.sub("", chunk)
        if len(core) > 1 and not core.isalnum():
            joined = _NOT_ALNUM.sub("", core)
            yield Word(match.start(), match.end(), _readings(joined), whole=False, exact=True)
        forms = dict.fromkeys(
            reading
            for part in {chunk, core, chunk.rstrip("!.,;:?"), chunk.lstrip("@(\"'")}
            for leet in _leet_forms(part)
            if leet.isalpha()
            for reading in _readings(leet)
        )
        if forms:
            yield Word(match.start(), match.end(), tuple(sorted(forms)), whole=False)


def masked(folded: str) -> Iterator[tuple[int, int, str]]:
    """Chunks that hide letters behind a symbol, with every mask written as `*`: `b#d` gives `b*d`."""
    for match in _MASKED.finditer(folded):
        yield match.start(), match.end(), "".join("*" if _hides(character) else character for character in match[0])


def _hides(character: str) -> bool:
    return character in MASKS or (not character.isascii() and unicodedata.category(character) == "So")


_MASKED = re.compile(
    rf"(?<![^\W_])[^\W\d_][^\W_]*(?:[{re.escape(MASKS)}\u2190-\u2bff\U0001f300-\U0001faff]{{1,10}}[^\W_]+)+(?![^\W_])"
)
