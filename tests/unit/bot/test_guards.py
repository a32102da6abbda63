"""Replies that are no replies are recognised, and ordinary ones are left alone."""

import pytest

from bot.guards import fault, overlap, whole_sentences


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_nothing_is_empty(text: str) -> None:
    assert fault(text, "hi", []) == "empty"


@pytest.mark.parametrize("text", ["...", "?!?!", "- - -", "'"])
def test_punctuation_alone_is_no_reply(text: str) -> None:
    assert fault(text, "hi", []) == "punctuation"


def test_a_lone_emoji_is_a_reply() -> None:
    assert fault("\N{GRINNING FACE}", "hi", []) is None


@pytest.mark.parametrize("text", ["I like green tea", "i like green tea!!", "I like GREEN tea."])
def test_saying_back_what_was_said_is_an_echo(text: str) -> None:
    assert fault(text, "I like green tea", []) == "echo"


def test_answering_hi_with_hi_there_is_no_echo() -> None:
    assert fault("Hi there! How are you?", "hi", []) is None


@pytest.mark.parametrize(
    "text", ["no no no no no no no", "I know I know I know I know", "you are you are you are you are you are"]
)
def test_a_run_that_fills_the_reply_is_a_loop(text: str) -> None:
    assert fault(text, "hello", []) == "loop"


def test_a_word_used_three_times_in_a_long_sentence_is_no_loop() -> None:
    text = "I like the sea, the sky and the way people greet each other on a quiet road"
    assert fault(text, "hello", []) is None


def test_word_for_word_an_earlier_reply_is_a_repeat() -> None:
    assert fault("Sounds good!", "shall we?", ["Hello.", "sounds good"]) == "repeat"


def test_overlap_is_the_share_of_common_word_pairs() -> None:
    assert overlap("a b c d", "a b c d") == 1.0
    assert overlap("a b c d", "x y") == 0.0
    assert overlap("a b c d", "z a b q") == pytest.approx(1 / 3)
    assert overlap("", "a") == 0.0


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("I am fine. And you are", "I am fine."),
        ("No end in sight", ""),
        ('He said "yes." Then he', 'He said "yes."'),
        ("3.5 is a number", ""),
        ("好的。我也", ""),
        ("Really?! I think", "Really?!"),
    ],
)
def test_a_cut_reply_keeps_its_whole_sentences(text: str, kept: str) -> None:
    assert whole_sentences(text) == kept
