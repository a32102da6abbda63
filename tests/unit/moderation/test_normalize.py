"""Views of a text: what folds together, what must stay apart, and the way back to the original."""

import pytest

from moderation.normalize import fold, view
from moderation.patterns import PatternError, expand, slots


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ＷＯＲＤ", "word"),
        ("𝔀𝓸𝓻𝓭", "word"),
        ("ⓦⓞⓡⓓ", "word"),
        ("🆆🅾🆁🅳", "word"),
        ("ᴡᴏʀᴅ", "word"),
        ("wörđ", "word"),
        ("w\u0301o\u0302r\u0303d\u0304", "word"),
        ("wo\u200br\u00add", "word"),
        ("wоrd", "word"),  # Cyrillic o
        ("don’t", "don't"),
    ],
)
def test_disguises_fold_to_the_same_word(written: str, read: str) -> None:
    assert fold(written).text == read


@pytest.mark.parametrize("text", ["сор нос рот", "το και ένα", "我靠在墙上", "कि की", "한국어"])
def test_other_writing_systems_do_not_become_latin(text: str) -> None:
    assert not any(character.isascii() and character.isalpha() for character in fold(text).text)


def test_offsets_lead_back_to_the_original() -> None:
    text = "a\u200bｂ\u0301ﬁx"
    folded = fold(text)
    assert folded.text == "abfix"
    assert text[slice(*folded.span(2, 4))] == "ﬁ"


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("w0rd", "word"),
        ("w o r d", "word"),
        ("w.o.r.d", "word"),
        ("wooord", "word"),
        ("wo rdly", "wordly"),
        ("w|*o|rd", "word"),
    ],
)
def test_pieces_and_digits_are_read_as_words(text: str, reading: str) -> None:
    assert any(reading in word.readings for word in view(text).words)


def test_numbers_are_not_read_as_words() -> None:
    assert [word.readings for word in view("455 1337").words if word.whole] == [("455",), ("1337",)]


def test_patterns_expand_choices_and_options() -> None:
    assert expand("(a|b)[c]") == ["ac", "a", "bc", "b"]
    assert slots("x [y|z] (a|b c)") == [["x"], ["y", "z", ""], ["a", "b c"]]


@pytest.mark.parametrize("pattern", ["(a", "a)", "[a|b", "(a]", "(a|b|c|d|e|f|g|h|i|j)" * 6])
def test_broken_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        expand(pattern)
