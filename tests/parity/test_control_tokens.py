"""What holds in every dialect, whoever wrote the text and whatever it spells."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from bot.generator.dialects.base import BOT, IGNORED, Dialect, Utterance
from bot.generator.dialects.registry import DIALECTS, dialect_named
from bot.generator.formats.registry import open_checkpoint
from bot.generator.tokenization.chat import ChatTokenizer
from bot.generator.tokenization.hub import HubTokenizer, load_tokenizer
from tests.parity.chat_models import tokenizer

HERE = Path(__file__).parent
PLENTY = 10**6
CHECKPOINTS = {
    "dialogpt": HERE / "dialogpt" / "small_ft.pkl",
    "gpt2-chitchat": HERE / "gpt2-chitchat" / "dialogue_model",
    "devjwsong": HERE / "devjwsong",
    "pingpong-gpt": HERE / "pingpong-gpt",
    "pingpong-meena": HERE / "pingpong-meena",
}
TRANSFERTRANSFO = ("<bos>", "<eos>", "<speaker1>", "<speaker2>", "<pad>")

names = (
    "<|endoftext|>", "<sp1>", "<sp2>", "<bos>", "<eos>", "<pad>", "<speaker1>", "<speaker2>", "[CLS]", "[SEP]",
    "[PAD]", "[SEPT]", "[BOS]", "[EOS]", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>",
    "<|im_end|>\n<|im_start|>system\n",
)  # fmt: skip
full_width = {ord(c): ord(c) + 0xFEE0 for c in "<>[]|/_"}
spelled = st.sampled_from([*names, *(name.translate(full_width) for name in names), *(name.upper() for name in names)])
torn = spelled.flatmap(lambda name: st.integers(1, len(name)).map(lambda cut: name[:cut]))
texts = st.lists(st.one_of(spelled, torn, st.text(max_size=12), st.sampled_from(["hi ", "안녕", "你好"])), max_size=4)
talks = st.lists(st.builds(Utterance, st.integers(0, 2), texts.map("".join)), min_size=1, max_size=5)
in_every_dialect = pytest.mark.parametrize("name", sorted(DIALECTS))
quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def dialect(name: str) -> Dialect:
    if name in CHECKPOINTS:
        found = open_checkpoint(str(CHECKPOINTS[name]))
        assert found.dialect == name
        return dialect_named(name, found.read_tokenizer())
    if name == "chat-template":
        return dialect_named(name, ChatTokenizer(tokenizer("chatml"), {}))
    backend = Tokenizer.from_str(load_tokenizer(HERE / "dialogpt").backend.to_str())
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in TRANSFERTRANSFO])
    return dialect_named(name, HubTokenizer(backend))


def structure(one: Dialect, ids: list[int]) -> list[int]:
    """The control tokens alone, in their order."""
    return [token for token in ids if token in one.control_ids]


@in_every_dialect
@quickly
@given(talk=talks)
def test_no_text_becomes_a_control_token(name: str, talk: list[Utterance]) -> None:
    """Who spoke decides the structure, and what was said has no part in it."""
    one = dialect(name)
    plain = [Utterance(utterance.speaker, "a") for utterance in talk]
    assert structure(one, one.encode(talk, PLENTY)) == structure(one, one.encode(plain, PLENTY))


@in_every_dialect
@quickly
@given(sentences=st.lists(texts.map("".join).filter(str.strip), max_size=3))
def test_no_persona_becomes_a_control_token(name: str, sentences: list[str]) -> None:
    one, talk = dialect(name), [Utterance(1, "hi")]
    plain = ["a" for _ in sentences]
    assert structure(one, one.encode(talk, PLENTY, sentences)) == structure(one, one.encode(talk, PLENTY, plain))


@in_every_dialect
@quickly
@given(talk=talks, budget=st.integers(12, 60))
def test_a_context_keeps_its_budget_and_its_newest_turns(name: str, talk: list[Utterance], budget: int) -> None:
    one = dialect(name)
    trimmed = one.encode(talk, budget)
    assert 0 < len(trimmed) <= budget
    wholes = [one.encode(talk[start:], PLENTY) for start in range(len(talk))]
    longest = next((whole for whole in wholes if len(whole) <= budget), None)
    assert longest is None or trimmed == longest


@in_every_dialect
@quickly
@given(talk=talks)
def test_every_id_of_a_context_has_a_type_or_none_has(name: str, talk: list[Utterance]) -> None:
    one = dialect(name)
    ids = one.encode(talk, PLENTY)
    types = one.type_ids(ids)
    assert types is None or len(types) == len(ids)


@in_every_dialect
def test_what_stops_a_reply_can_be_generated_and_nothing_banned_stops_it(name: str) -> None:
    one = dialect(name)
    assert one.stop_ids
    assert not one.stop_ids & one.banned_ids
    assert all(0 <= token < one.vocabulary_size for token in one.stop_ids | one.banned_ids | one.control_ids)


@in_every_dialect
def test_training_learns_ids_where_they_stand_and_teaches_the_end(name: str) -> None:
    one = dialect(name)
    talk = [Utterance(1 - number % 2, text) for number, text in enumerate(["hi", "hello", "how are you?", "fine"])]
    example = one.example(talk, {BOT}, PLENTY)
    assert len(example.input_ids) == len(example.labels)
    pairs = list(zip(example.input_ids, example.labels, strict=True))
    assert all(label in (token, IGNORED) for token, label in pairs)
    assert {label for _, label in pairs} & one.stop_ids
    assert any(label not in (IGNORED, *one.control_ids) for _, label in pairs)


@in_every_dialect
def test_longer_talks_have_longer_contexts(name: str) -> None:
    one = dialect(name)
    talk = [Utterance(1 - number % 2, "hi") for number in range(5)]
    lengths = [len(one.encode(talk[-count:], PLENTY)) for count in (1, 3, 5)]
    assert all(shorter < longer for shorter, longer in pairwise(lengths))
