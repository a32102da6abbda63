"""Lists of words and phrases, compiled; finds their entries in a text seen through `normalize`.

Knows spelling tricks and lists; knows nothing of profiles or of what happens to a hit.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product

from moderation.normalize import ONE_STROKE, SHORT_WORDS, View, Word, fold
from moderation.patterns import PatternError, expand, slots, trie_pattern
from moderation.verdict import Category

SUFFIXES = {
    "exact": ("",),
    "noun": ("", "s", "es", "z"),
    "name": ("", "s", "es", "z"),
    "verb": ("", "s", "es", "d", "ed", "er", "ers", "ing", "ings", "in", "y", "a", "as"),
}
FORMS = (*SUFFIXES, "prefix", "part")
_DOUBLED = re.compile(r"(.)\1")
_TRIPLED = re.compile(r"(.)\1\1")
_SHORTEST_MASKED = 4
_LONGEST_MASKED = 12
_MASKED_SEVERITY = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list. `rule` names the line for logs; severity: 1 mild, 2 strong, 3 never acceptable."""

    rule: str
    category: Category
    severity: int
    pattern: str
    form: str = "exact"


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry found; `span` in characters of the original text."""

    entry: Entry
    span: tuple[int, int]


def read_rows(name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of a list shipped with this package; `#` starts a comment line."""
    with files(__package__).joinpath(name).open(encoding="utf-8") as lines:
        numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    rows = csv.DictReader(line for _, line in numbered)
    for (number, _), row in zip(numbered[1:], rows, strict=True):
        yield number, row


def speaks(cell: str, languages: Iterable[str]) -> bool:
    """Whether a list line applies: `any` or a language spoken here, and none of those it excludes (`-da`)."""
    spoken = set(languages)
    tags = cell.split()
    return bool({"any", *spoken} & set(tags)) and not any(tag[1:] in spoken for tag in tags if tag[0] == "-")


class _Node:
    """A state of the phrase automaton: where each next word leads, and the entry that is complete here."""

    __slots__ = ("edges", "entry")

    def __init__(self) -> None:
        self.edges: dict[str, list[_Node]] = {}
        self.entry: Entry | None = None


class Phrases:
    """Phrases as one automaton over words; `{class}` in a phrase stands for any word of that class.

    The choices of a place lead to one shared node, so that a pattern takes room by the sum of its choices.
    """

    def __init__(self, classes: Mapping[str, Sequence[str]] | None = None) -> None:
        self._root = _Node()
        self._classes: dict[str, list[str]] = {}
        for name, members in (classes or {}).items():
            for member in members:
                self._classes.setdefault(member, []).append("{" + name + "}")

    def add(self, places: Sequence[Sequence[str]], entry: Entry) -> None:
        """Let every way through the places stand for `entry`."""
        frontier = [self._root]
        for choices in places:
            after = _Node()
            for choice in choices:
                if choice:
                    _link(frontier, choice.split(), after)
            frontier = [after, *frontier] if "" in choices else [after]
        if self._root in frontier:
            raise PatternError(f"{entry.pattern!r} may be empty, so it would match everywhere")
        for node in frontier:
            node.entry = entry

    def find(self, words: Sequence[Word]) -> Iterator[tuple[Entry, int, int]]:
        """Entries with the folded span, the longest from each word on."""
        labels = [self._labels(word.readings) for word in words]
        begins = self._root.edges.keys()
        for first in range(len(words)):
            if begins.isdisjoint(labels[first]):
                continue
            best: tuple[Entry, int] | None = None
            nodes, at = [self._root], first
            while nodes and at < len(words):
                nodes = [reached for node in nodes for label in labels[at] for reached in node.edges.get(label, ())]
                for node in nodes:
                    if node.entry is not None:
                        best = (node.entry, at)
                at += 1
            if best is not None:
                yield best[0], words[first].start, words[best[1]].end

    def _labels(self, readings: Sequence[str]) -> tuple[str, ...]:
        classes = self._classes
        if len(readings) == 1:
            return (*readings, *classes[readings[0]]) if readings[0] in classes else tuple(readings)
        return (*readings, *{name for reading in readings for name in classes.get(reading, ())})


def _link(frontier: Sequence[_Node], words: Sequence[str], after: _Node) -> None:
    """Edges from every node of the frontier through `words` to `after`."""
    sources = frontier
    for position, word in enumerate(words):
        target = after if position == len(words) - 1 else _Node()
        for source in sources:
            source.edges.setdefault(word, []).append(target)
        sources = [target]


class Lexicon:
    """Entries to find and what must pass although it contains them."""

    def __init__(
        self,
        entries: Iterable[Entry],
        allowed: Iterable[str] = (),
        classes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._exact: dict[str, Entry] = {}
        self._joined: dict[str, Entry] = {}  # `bad word` written as one
        self._prefixes: dict[str, Entry] = {}
        self._suffixes: dict[str, Entry] = {}
        self._parts: dict[str, Entry] = {}
        self._phrases = Phrases(classes)
        self._allowed_words: set[str] = set()
        self._allowed_phrases = Phrases(classes)
        for entry in entries:
            self._add(entry)
        for pattern in allowed:
            self._allow(pattern)
        self._index()

    def find(self, seen: View) -> list[Hit]:
        """All hits in order of the text but those that overlap an allowed phrase or are an allowed word."""
        whole = [word for word in seen.words if word.whole]
        allowed = [(start, end) for _, start, end in self._allowed_phrases.find(whole)]
        found = [
            (start, end, entry)
            for entry, start, end in (*self._words(seen), *self._phrases.find(whole), *self._masks(seen))
            if not any(start < right and left < end for left, right in allowed)
        ]
        found.sort(key=lambda hit: hit[:2])
        return [Hit(entry, seen.folded.span(start, end)) for start, end, entry in found]

    def _words(self, seen: View) -> Iterator[tuple[Entry, int, int]]:
        for index, word in enumerate(seen.words):
            if len(word.readings[0]) < self._shortest and len(word.readings) == 1:
                continue
            if not self._allowed_words.isdisjoint(word.readings):
                continue
            entry = self._entry(word)
            if entry is not None and not (entry.form == "name" and _in_a_name(seen, index)):
                yield entry, word.start, word.end

    def _entry(self, word: Word) -> Entry | None:
        plain = word.readings[0]
        for reading in word.readings:
            if entry := self._exact.get(reading) or self._joined.get(reading):
                return entry
            if reading != plain and (entry := self._one_stroke.get(reading.translate(ONE_STROKE))):
                return entry
            if entry := self._stretched_entry(reading):
                return entry
        return None if word.exact else self._inside(word.readings)

    def _inside(self, readings: Sequence[str]) -> Entry | None:
        for reading in readings:
            if match := self._prefix.match(reading):
                return self._prefixes[match[0]]
            if match := self._suffix.match(reading[::-1]):
                return self._suffixes[match[0][::-1]]
            if match := self._part.search(reading):
                return self._parts[match[0]]
        return None

    def _stretched_entry(self, reading: str) -> Entry | None:
        """`baaad` for `bad`: the same letters, none of them fewer times in a row."""
        if not _DOUBLED.search(reading):
            return None
        if len(reading) <= _SHORTEST_MASKED and not _TRIPLED.search(reading):
            return None  # `cook` stretches nothing
        runs = _runs(reading)
        for lengths, entry in self._stretched.get("".join(letter for letter, _ in runs), ()):
            if all(have >= need for (_, have), need in zip(runs, lengths, strict=True)):
                return entry
        return None

    def _masks(self, seen: View) -> Iterator[tuple[Entry, int, int]]:
        for start, end, shape in seen.masked:
            entry = self._masked.get(shape)
            if entry is None and "**" in shape:  # some write one star a letter, some any number
                entry = self._hidden.get(re.sub(r"\*+", "*", shape))
            if entry is not None:
                yield entry, start, end

    def _add(self, entry: Entry) -> None:
        places = [[_plain(choice) for choice in choices] for choices in slots(entry.pattern.lower())]
        if len(places) > 1:
            self._add_phrase(places, entry)
            return
        for choice in expand(entry.pattern.lower()):
            if " " in _plain(choice):
                self._add_phrase([[word] for word in _plain(choice).split()], entry)
            else:
                self._add_word(choice, entry)

    def _add_phrase(self, places: list[list[str]], entry: Entry) -> None:
        self._phrases.add(places, entry)
        if entry.form == "noun":
            self._phrases.add([*places[:-1], [word + "s" for word in places[-1]]], entry)
            for words in product(*places):
                self._joined.setdefault("".join(words), entry)
                self._joined.setdefault("".join(words) + "s", entry)

    def _add_word(self, choice: str, entry: Entry) -> None:
        word = _plain(choice)
        if not word:
            raise PatternError(f"{entry.pattern!r} has no letters that could be matched")
        if choice.startswith("*") or choice.endswith("*"):
            self._add_wildcard(choice, entry)
        elif entry.form == "prefix":
            self._prefixes.setdefault(word, entry)
        elif entry.form == "part":
            self._parts.setdefault(word, entry)
        else:
            for suffix in SUFFIXES[entry.form]:
                self._exact.setdefault(word + suffix, entry)

    def _add_wildcard(self, phrase: str, entry: Entry) -> None:
        stem = _plain(phrase.strip("*"))
        if not stem:
            raise PatternError(f"{phrase!r} would match every word")
        if phrase.startswith("*") and phrase.endswith("*"):
            self._parts.setdefault(stem, entry)
        elif phrase.endswith("*"):
            self._prefixes.setdefault(stem, entry)
        else:
            self._suffixes.setdefault(stem, entry)

    def _allow(self, pattern: str) -> None:
        entry = Entry("allow", Category.CUSTOM, 0, pattern)
        places = [[_plain(choice) for choice in choices] for choices in slots(pattern.lower())]
        if len(places) > 1:
            self._allowed_phrases.add(places, entry)
            return
        for choice in places[0]:
            if " " in choice:
                self._allowed_phrases.add([[word] for word in choice.split()], entry)
            else:
                self._allowed_words.add(choice)

    def _index(self) -> None:
        """What is derived from the finished lists: automata, and keys under which a disguise finds its word."""
        never = r"(?!)"
        self._prefix = re.compile(trie_pattern(self._prefixes) if self._prefixes else never)
        self._suffix = re.compile(trie_pattern(word[::-1] for word in self._suffixes) if self._suffixes else never)
        self._part = re.compile(trie_pattern(self._parts) if self._parts else never)
        words = {**self._parts, **self._prefixes, **self._exact}
        self._shortest = min(map(len, (*words, *self._joined, *self._suffixes)), default=0)
        self._one_stroke = {word.translate(ONE_STROKE): entry for word, entry in words.items()}
        self._stretched: dict[str, list[tuple[tuple[int, ...], Entry]]] = {}
        self._masked: dict[str, Entry] = {}
        self._hidden: dict[str, Entry] = {}  # `b*d` for all of `b**d`, `b****d`
        for word, entry in words.items():
            if len(word) >= _SHORTEST_MASKED and entry.severity >= _MASKED_SEVERITY:
                for shape in _masked_shapes(word) if len(word) <= _LONGEST_MASKED else ():
                    self._masked.setdefault(shape, entry)
                self._hidden.setdefault(f"{word[0]}*{word[-1]}", entry)
            runs = _runs(word)
            key = "".join(letter for letter, _ in runs)
            self._stretched.setdefault(key, []).append((tuple(length for _, length in runs), entry))


def _plain(phrase: str) -> str:
    """A list entry as the words of a text look after folding."""
    return " ".join(re.sub(r"[^\w\s{}]", " ", fold(phrase).text.replace("'", "")).replace("_", " ").split())


def _runs(word: str) -> list[tuple[str, int]]:
    runs: list[tuple[str, int]] = []
    for letter in word:
        if runs and runs[-1][0] == letter:
            runs[-1] = (letter, runs[-1][1] + 1)
        else:
            runs.append((letter, 1))
    return runs


def _masked_shapes(word: str) -> Iterator[str]:
    """`word` with one inner run of letters hidden, as many stars as letters, or one star for all of them."""
    for start in range(1, len(word) - 1):
        for end in range(start + 1, min(len(word), start + 5)):
            yield word[:start] + "*" * (end - start) + word[end:]


def _in_a_name(seen: View, index: int) -> bool:
    """Whether a capitalised word stands beside another one, as `Dyke` does in `Van Dyke`."""

    def capitalised(word: Word) -> bool:
        start, end = seen.folded.span(word.start, word.end)
        return word.whole and seen.text[start].isupper() and not seen.text[start:end].isupper()

    words = seen.words
    if not capitalised(words[index]):
        return False
    if index + 1 < len(words) and capitalised(words[index + 1]):
        return True
    return index > 0 and capitalised(words[index - 1]) and words[index - 1].readings[0] not in SHORT_WORDS
