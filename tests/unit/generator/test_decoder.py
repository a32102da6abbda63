"""The decode loop: what it must have in common with transformers, and what a batch must not change."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.decoding import Decoding
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.engine import Generator, load_generator
from bot.generator.errors import GenerationFailed
from bot.generator.loading import threads_for
from bot.generator.models.causal import CausalModel
from bot.generator.tokenization.hub import load_tokenizer
from tests.unit.generator.conftest import END, FIXTURES, POSITIONS, VOCABULARY, tiny_model

PLAIN = Decoding(
    candidates=1,
    max_new_tokens=20,
    min_new_tokens=0,
    temperature=0.0,
    top_k=0,
    top_p=1.0,
    repetition_penalty=1.0,
    no_repeat_ngram=0,
)
SAMPLED = Decoding(candidates=4, max_new_tokens=16)
CONTEXTS = [(5, 6, END), (70, END), (9, 10, 11, END, 12, 13, END, 300, 301, 302, 303, END), (33,) * 30 + (END,)]


def decoder(model: GPT2LMHeadModel | None = None) -> Decoder:
    return Decoder(CausalModel(model or tiny_model()), DialoGPT(load_tokenizer(FIXTURES / "dialogpt")), "test")


@pytest.fixture(scope="module")
def generator(tiny_checkpoint: Path) -> Generator:
    return load_generator(str(tiny_checkpoint))


def requests(decoding: Decoding, contexts: Sequence[tuple[int, ...]] = CONTEXTS) -> list[GenerationRequest]:
    return [GenerationRequest(input_ids=ids, decoding=decoding, seed=n) for n, ids in enumerate(contexts)]


def oracle(context: tuple[int, ...], model: GPT2LMHeadModel, **settings: Any) -> list[int]:
    """What transformers' generate appends, without the end token."""
    output = model.generate(
        torch.tensor([context]),
        attention_mask=torch.ones(1, len(context), dtype=torch.long),
        do_sample=False,
        max_new_tokens=20,
        pad_token_id=END,
        **settings,
    )
    tokens: list[int] = output[0, len(context) :].tolist()
    return tokens[:-1] if tokens[-1] == END else tokens


def texts(candidates: Sequence[Sequence[Candidate]]) -> list[list[tuple[int, ...]]]:
    return [[candidate.token_ids for candidate in row] for row in candidates]


def test_greedy_equals_transformers_token_for_token(generator: Generator) -> None:
    """Contexts of different lengths in one batch, each against generate on it alone."""
    model = tiny_model()
    answers = generator.generate(requests(PLAIN))
    for context, (candidate,) in zip(CONTEXTS, answers, strict=True):
        expected = oracle(context, model)
        assert list(candidate.token_ids) == expected
        assert len(set(expected)) > 5, "a model that stutters proves little"


@pytest.mark.parametrize("minimum", [0, 18])
def test_greedy_with_a_least_length_equals_transformers(minimum: int) -> None:
    model = tiny_model(seed=3)
    model.generation_config.eos_token_id = stop = oracle(CONTEXTS[0], model)[4]
    dialect = DialoGPT(load_tokenizer(FIXTURES / "dialogpt"))
    dialect.stop_ids = frozenset({stop})
    candidate = Decoder(CausalModel(model), dialect, "test").generate(
        requests(PLAIN.model_copy(update={"min_new_tokens": minimum}), CONTEXTS[:1])
    )[0][0]
    expected = oracle(CONTEXTS[0], model, min_new_tokens=minimum)
    assert list(candidate.token_ids) == [token for token in expected if token != stop]
    assert candidate.finished == (expected[-1] == stop)


def test_a_batch_answers_as_one_by_one_does(generator: Generator) -> None:
    together = texts(generator.generate(requests(SAMPLED)))
    alone = [texts(generator.generate([request]))[0] for request in requests(SAMPLED)]
    assert together == alone


@pytest.mark.parametrize("search", ["sampling", "beam", "dialogrpt"])
def test_every_token_is_a_sign_of_life(generator: Generator, search: str) -> None:
    before = time.monotonic()
    decoding = Decoding.model_validate({**SAMPLED.model_dump(), "search": search})
    generator.generate(requests(decoding, CONTEXTS[:1]))
    assert before < generator.last_step <= time.monotonic()


def test_settings_belong_to_the_request_not_to_the_batch(generator: Generator) -> None:
    mixed = [
        GenerationRequest(input_ids=CONTEXTS[0], decoding=PLAIN, seed=1),
        GenerationRequest(input_ids=CONTEXTS[1], decoding=SAMPLED.model_copy(update={"top_k": 0}), seed=2),
        GenerationRequest(input_ids=CONTEXTS[2], decoding=SAMPLED.model_copy(update={"top_k": 3}), seed=3),
    ]
    assert texts(generator.generate(mixed)) == [texts(generator.generate([one]))[0] for one in mixed]


def test_same_seed_same_reply_and_another_seed_another(generator: Generator) -> None:
    def drawn(seed: int) -> list[tuple[int, ...]]:
        torch.manual_seed(seed * 7)  # the global generator must not matter
        return texts(generator.generate([GenerationRequest(input_ids=CONTEXTS[0], decoding=SAMPLED, seed=seed)]))[0]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_candidates_of_one_request_differ(generator: Generator) -> None:
    candidates = generator.generate(requests(SAMPLED, CONTEXTS[:1]))[0]
    assert len({candidate.token_ids for candidate in candidates}) == len(candidates)


def test_fewer_candidates_are_the_first_of_more(generator: Generator) -> None:
    few = generator.generate(requests(SAMPLED.model_copy(update={"candidates": 2}), CONTEXTS[:1]))[0]
    many = generator.generate(requests(SAMPLED, CONTEXTS[:1]))[0]
    assert texts([few])[0] == texts([many])[0][:2]


def test_log_prob_is_the_models_own(generator: Generator) -> None:
    model = tiny_model()
    for context, candidates in zip(CONTEXTS, generator.generate(requests(SAMPLED)), strict=True):
        for candidate in candidates:
            written = [*candidate.token_ids, *([END] if candidate.finished else [])]
            with torch.inference_mode():
                log_probs = model(torch.tensor([[*context, *written]])).logits[0].log_softmax(dim=-1)
            expected = sum(log_probs[len(context) - 1 + n, token].item() for n, token in enumerate(written))
            assert candidate.log_prob == pytest.approx(expected, abs=1e-3)
            assert candidate.mean_log_prob == pytest.approx(expected / len(written), abs=1e-3)


def test_control_tokens_and_padding_rows_are_never_generated() -> None:
    """Embedding rows beyond the tokenizer exist in many checkpoints; they stand for no text."""
    wide = decoder(tiny_model(vocabulary=VOCABULARY + 60))
    decoding = SAMPLED.model_copy(update={"temperature": 5.0, "top_k": 0, "top_p": 1.0, "candidates": 16})
    answers = wide.generate(requests(decoding))
    assert all(token < END for row in answers for candidate in row for token in candidate.token_ids)


def test_banned_ids_of_a_request_stay_out_of_it_alone(generator: Generator) -> None:
    (free,), (other,) = generator.generate(requests(PLAIN, CONTEXTS[:2]))
    banned = GenerationRequest(input_ids=CONTEXTS[0], decoding=PLAIN, seed=0, banned_ids=free.token_ids[:3])
    (first,), (second,) = generator.generate([banned, requests(PLAIN, CONTEXTS[:2])[1]])
    assert not set(first.token_ids) & set(free.token_ids[:3])
    assert second == other


def test_no_run_of_tokens_repeats(generator: Generator) -> None:
    decoding = SAMPLED.model_copy(update={"no_repeat_ngram": 2, "top_k": 2, "max_new_tokens": 30})
    for row in generator.generate(requests(decoding)):
        for candidate in row:
            pairs = list(zip(candidate.token_ids, candidate.token_ids[1:], strict=False))
            assert len(pairs) == len(set(pairs))


def test_a_reply_never_passes_the_models_positions(generator: Generator) -> None:
    context = tuple([7] * (POSITIONS - 5))
    decoding = PLAIN.model_copy(update={"min_new_tokens": 20})
    candidate = generator.generate([GenerationRequest(input_ids=context, decoding=decoding, seed=0)])[0][0]
    assert len(candidate.token_ids) == 5
    assert not candidate.finished


@pytest.mark.parametrize("context", [(), (7,) * POSITIONS, (VOCABULARY + 5,), (-1,)])
def test_a_context_that_cannot_be_continued_is_refused(generator: Generator, context: tuple[int, ...]) -> None:
    with pytest.raises(GenerationFailed):
        generator.generate([GenerationRequest(input_ids=context, decoding=PLAIN, seed=0)])


def test_broken_numbers_stay_with_their_request() -> None:
    """Positions from 25 on are not numbers: only the long context ever gets there."""
    model = tiny_model()
    model.transformer.wpe.weight.data[25:] = torch.nan
    sound = decoder().generate(requests(PLAIN, CONTEXTS[:2]))
    short = PLAIN.model_copy(update={"max_new_tokens": 12})
    broken = decoder(model).generate(requests(short, [CONTEXTS[0], CONTEXTS[3], CONTEXTS[1]]))
    assert broken[1] == []
    assert broken[0][0].token_ids == sound[0][0].token_ids[:12]
    assert broken[2][0].token_ids == sound[1][0].token_ids[:12]


def test_when_everything_is_banned_the_reply_ends_unfinished(generator: Generator) -> None:
    request = GenerationRequest(input_ids=(5,), decoding=PLAIN, seed=0, banned_ids=tuple(range(VOCABULARY)))
    assert generator.generate([request])[0][0].token_ids == ()


class SmallMemory(GPT2LMHeadModel):
    """A model that has no memory for more than a few rows at once."""

    rows = 3
    message = "DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if len(kwargs["input_ids"]) > self.rows:
            raise RuntimeError(self.message)
        return super().forward(*args, **kwargs)


def small_memory(rows: int) -> Decoder:
    model = SmallMemory(tiny_model().config).eval()
    model.load_state_dict(tiny_model().state_dict())
    model.rows = rows
    return decoder(model)


@pytest.mark.parametrize("rows", [1, 3])
def test_out_of_memory_halves_the_batch_and_changes_no_reply(generator: Generator, rows: int) -> None:
    assert texts(small_memory(rows).generate(requests(SAMPLED))) == texts(generator.generate(requests(SAMPLED)))


def test_no_memory_for_a_single_row_names_the_remedy() -> None:
    with pytest.raises(GenerationFailed, match=r"smaller model.*history\.tokens"):
        small_memory(0).generate(requests(PLAIN))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    engine = small_memory(0)
    engine.model.network.message = "index out of range"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="index out of range"):
        engine.generate(requests(PLAIN))


def test_nothing_asked_nothing_answered(generator: Generator) -> None:
    assert generator.generate([]) == []


def test_little_work_takes_one_thread_and_gives_the_others_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(weights=6_000_000, rows=8):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with threads_for(weights=124_000_000, rows=8):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
