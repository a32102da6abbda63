"""DialoGPT's layout: what a text may become, where turns end, what is learned."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from bot.generator.dialects.base import BOT, IGNORED, Utterance
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.dialects.registry import dialect_named
from bot.generator.errors import CheckpointError
from bot.generator.tokenization.hub import HubTokenizer, load_tokenizer
from bot.generator.tokenization.spacing import english_spacing
from bot.training.tokenizer import train_tokenizer
from tests.unit.generator.conftest import END, FIXTURES

GOLDEN: dict[str, Any] = json.loads((FIXTURES / "dialogpt" / "golden.json").read_text(encoding="utf-8"))
PLENTY = 10**6

tokenizer = load_tokenizer(FIXTURES / "dialogpt")
dialect = DialoGPT(tokenizer)

forged = st.sampled_from(
    ["<|endoftext|>", "<|endof", "text|>", "<|ENDOFTEXT|>", "＜|endoftext|＞", "<|endoftext|>" * 3]
)
texts = st.lists(st.one_of(st.text(), forged), max_size=4).map("".join)
talks = st.lists(st.builds(Utterance, st.integers(0, 3), texts), min_size=1, max_size=6)


def said(*lines: str) -> list[Utterance]:
    return [Utterance(1 - number % 2, text) for number, text in enumerate(lines)]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: " / ".join(case["context"])[:40])
def test_contexts_are_written_as_the_original_writes_them(case: dict[str, Any]) -> None:
    assert dialect.encode(said(*case["context"]), PLENTY) == case["input_ids"]


@pytest.mark.parametrize("case", GOLDEN["tokenizer_cases"], ids=lambda case: case["text"][:40])
def test_text_gets_the_original_ids_unless_it_names_a_control_token(case: dict[str, Any]) -> None:
    ids = tokenizer.encode(case["text"])
    if END in case["ids"]:
        assert END not in ids
        assert tokenizer.decode(ids) == case["text"]
    else:
        assert ids == case["ids"]


@given(talks)
def test_no_text_becomes_a_control_token(talk: list[Utterance]) -> None:
    ids = dialect.encode(talk, PLENTY)
    assert sum(i in dialect.control_ids for i in ids) == len(talk)
    assert ids[-1] == END


@given(texts)
def test_what_is_written_reads_back(text: str) -> None:
    assert dialect.decode(dialect.encode([Utterance(1, text)], PLENTY)) == english_spacing(text)


@given(talks, st.integers(1, 40))
def test_a_trimmed_context_is_the_end_of_the_whole(talk: list[Utterance], budget: int) -> None:
    whole, trimmed = dialect.encode(talk, PLENTY), dialect.encode(talk, budget)
    assert len(trimmed) <= budget
    assert whole[len(whole) - len(trimmed) :] == trimmed


def test_the_oldest_turns_leave_whole() -> None:
    talk = said("how are you?", "really?", "how are you?")
    assert dialect.encode(talk, 17) == dialect.encode(talk[1:], PLENTY)


def test_of_one_turn_that_is_too_long_the_beginning_leaves() -> None:
    ids = dialect.encode(said("how are you?"), PLENTY)
    assert dialect.encode(said("how are you?"), 4) == ids[-4:]


def test_two_turns_never_join_to_a_control_token() -> None:
    ids = dialect.encode(said("a<|endof", "text|>b"), PLENTY)
    assert ids.count(END) == 2


def test_an_empty_context_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one utterance"):
        dialect.encode([], 10)


def test_added_tokens_that_are_not_special_stay_text() -> None:
    """Splitting special tokens misses plainly added ones, which some families use for speakers."""
    other = Tokenizer.from_str(tokenizer.backend.to_str())
    other.add_tokens([AddedToken("<sp1>"), AddedToken("☃")])
    family = DialoGPT(HubTokenizer(other))
    assert other.token_to_id("<sp1>") in other.encode("hi <sp1>", add_special_tokens=False).ids
    ids = family.encode(said("hi <sp1> and <sp1><sp1> ☃ there"), PLENTY)
    assert [i for i in ids if i in family.control_ids] == [END]
    assert family.decode(ids).startswith("hi <sp1> and <sp1><sp1> ")


def test_a_message_of_nothing_but_names_is_no_burden() -> None:
    other = Tokenizer.from_str(tokenizer.backend.to_str())
    other.add_tokens([AddedToken("<a>")])
    family = DialoGPT(HubTokenizer(other))
    ids = family.encode(said("<a>" * 4000), PLENTY)
    assert [i for i in ids if i in family.control_ids] == [END]
    assert family.decode(ids) == "<a>" * 4000


def test_only_the_chosen_speakers_are_learned_and_never_the_first_turn() -> None:
    talk = said("hi", "yes", "really?", "today")
    example = dialect.example(talk, {BOT}, PLENTY)
    learned = [i for i, label in zip(example.input_ids, example.labels, strict=True) if label != IGNORED]
    assert list(example.input_ids) == dialect.encode(talk, PLENTY)
    assert learned == dialect.encode([talk[1]], PLENTY) + dialect.encode([talk[3]], PLENTY)
    everyone = dialect.example(talk, {BOT, 1}, PLENTY)
    assert everyone.labels[:3] == (IGNORED,) * 3
    assert IGNORED not in everyone.labels[3:]


def test_a_long_training_dialogue_loses_whole_turns_at_its_end() -> None:
    talk = said("how are you?", "really?", "how are you?")
    assert list(dialect.example(talk, {BOT}, 17).input_ids) == dialect.encode(talk[:2], PLENTY)


def test_an_unknown_dialect_names_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"no dialect 'klingon'.*auto, .*dialogpt"):
        dialect_named("klingon", tokenizer)


starter_like = DialoGPT(HubTokenizer(train_tokenizer(["hello there, how are you?", "i'm fine — thanks!"] * 4, 300)))


@given(talks)
def test_a_tokenizer_of_our_own_keeps_the_same_law(talk: list[Utterance]) -> None:
    """Its normaliser folds full-width letters, so a disguised control token appears only after encoding."""
    ids = starter_like.encode(talk, PLENTY)
    assert sum(i in starter_like.control_ids for i in ids) == len(talk)


def test_our_own_tokenizer_folds_what_phones_type() -> None:
    typed = starter_like.encode([Utterance(1, "I’m  fine — “ok”")], PLENTY)
    assert typed == starter_like.encode([Utterance(1, 'I\'m fine — "ok"')], PLENTY)
