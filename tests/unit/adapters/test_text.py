"""The laws of cutting a reply into parts, and the cases that people see."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.text import clean_text, split_text, starts_character, utf16_length

FAMILY = "👩‍👩‍👧‍👦"
THUMB = "👍🏽"
FLAG = "🇩🇪"
WALES = "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"

plain = ["a", "word", ".", "!", "?", " ", "  ", "\n", "\n\n", "\u2028", "\r\n", "”", "。", "字", "한"]
joined = [FAMILY, THUMB, FLAG, WALES, "7\ufe0f\u20e3", "e\u0301", " \u0301", "\u1112\u1161\u11ab", "\ud83d", "\ude00"]
pieces = st.sampled_from([*plain, *joined])
texts = st.one_of(st.text(max_size=300), st.lists(pieces, max_size=120).map("".join))
measures = st.sampled_from([len, utf16_length])


def without_white_space(text: str) -> str:
    return "".join(text.split())


@given(texts, st.integers(2, 60), measures)
def test_every_part_fits_and_none_is_empty(text, limit, length):
    assert all(0 < length(part) <= limit for part in split_text(text, limit, length=length))


@given(texts, st.integers(2, 60), measures)
def test_only_white_space_is_lost_and_nothing_is_added(text, limit, length):
    parts = split_text(text, limit, length=length)

    assert all(part.strip() == part for part in parts)
    position = 0
    for part in parts:
        found = text.index(part, position)
        assert text[position:found].strip() == ""
        position = found + len(part)
    assert text[position:].strip() == ""


@given(texts, st.integers(40, 80))
def test_characters_that_fit_stay_whole(text, limit):
    """White space is the exception: a combining mark written on a space loses it at a cut."""
    fit = utf16_length(text) <= limit or longest_character(text) * 2 <= limit
    parts = split_text(text, limit, length=utf16_length)

    position = 0
    for part in parts:
        position = text.index(part, position)
        if fit:
            assert starts_character(text, position) or text[position - 1].isspace()
        position += len(part)


def longest_character(text: str) -> int:
    starts = [index for index in range(len(text)) if starts_character(text, index)] + [len(text)]
    return max((after - before for before, after in pairwise(starts)), default=0)


@given(texts, st.integers(2, 60))
def test_surrogate_pairs_are_never_separated(text, limit):
    for part, following in pairwise(split_text(text, limit)):
        assert not ("\ud800" <= part[-1] <= "\udbff" and "\udc00" <= following[0] <= "\udfff")


@given(texts, st.integers(2, 60))
def test_cutting_again_changes_nothing(text, limit):
    for part in split_text(text, limit):
        assert split_text(part, limit) == [part]


def test_short_text_is_one_part():
    assert split_text("Hello there.", 4096) == ["Hello there."]


@pytest.mark.parametrize("text", ["", " ", "\n\t \u2003"])
def test_white_space_alone_has_no_parts(text):
    assert split_text(text, 10) == []


def test_paragraphs_come_before_sentences():
    text = "One two three. Four five.\n\nSix seven. Eight nine ten eleven."
    assert split_text(text, 40) == ["One two three. Four five.", "Six seven. Eight nine ten eleven."]


def test_cuts_at_the_last_sentence_end_that_fits():
    text = "First is here. Second is here! Third is here? Fourth is here."
    assert split_text(text, 35) == ["First is here. Second is here!", "Third is here? Fourth is here."]


def test_a_sentence_keeps_its_closing_quote():
    assert split_text('He said "go on." Then he left the house.', 25) == ['He said "go on."', "Then he left the house."]


def test_a_part_may_be_filled_to_the_last_unit():
    assert split_text("abcd efgh", 4) == ["abcd", "efgh"]
    assert split_text("Ab c. Efgh.", 5) == ["Ab c.", "Efgh."]


def test_an_early_sentence_end_beats_a_cut_inside_the_next_sentence():
    assert split_text("Short one. " + "x " * 12 + "end.", 30) == ["Short one.", "x " * 12 + "end."]


def test_lines_come_before_words():
    assert split_text("apples and pears\nplums and more plums", 30) == ["apples and pears", "plums and more plums"]


def test_chinese_needs_no_spaces():
    assert split_text("你好吗。我很好。谢谢你。", 9) == ["你好吗。我很好。", "谢谢你。"]


def test_a_word_without_end_is_cut_at_the_limit():
    assert split_text("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


@pytest.mark.parametrize("emoji", [FAMILY, THUMB, FLAG, WALES, "7\ufe0f\u20e3", "e\u0301", "\ud83d\ude00"])
def test_an_emoji_is_never_taken_apart(emoji):
    for limit in range(utf16_length(emoji), 3 * utf16_length(emoji)):
        parts = split_text(emoji * 9, limit, length=utf16_length)
        assert all(part == emoji * (len(part) // len(emoji)) for part in parts)


def test_a_heap_of_combining_marks_is_cut_all_the_same():
    parts = split_text("z" + "\u0335" * 100, 30)
    assert [len(part) for part in parts] == [30, 30, 30, 11]


def test_utf16_counts_code_units():
    assert [utf16_length(text) for text in ("", "a", "é", "字", "👍", "👍🏽", "\ud83d")] == [0, 1, 1, 1, 2, 4, 1]


def test_emoji_fill_a_telegram_message_with_half_as_many():
    parts = split_text("😀" * 5000, 4096, length=utf16_length)
    assert [len(part) for part in parts] == [2048, 2048, 904]


def test_a_megabyte_is_cut_in_linear_time():
    parts = split_text("!" * 500_000 + "a b" * 170_000, 4096, length=utf16_length)
    assert sum(map(len, parts)) <= 1_010_000


@pytest.mark.parametrize("limit", [1, 0, -5])
def test_a_limit_without_room_is_an_error(limit):
    with pytest.raises(ValueError, match="at least 2"):
        split_text("text", limit)


def test_cleaned_text_can_be_stored_and_sent():
    assert clean_text("a\0b\ud83dc👍") == "ab\ufffdc👍"
    assert clean_text("\ud83d\ude00") == "😀"
