"""Beam search: against transformers' own where a reply's length counts, by hand where the whole sequence's does."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from bot.generator.candidates import GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Habits, Manner
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.errors import GenerationFailed
from bot.generator.models.base import Prompt
from bot.generator.models.causal import CausalModel
from bot.generator.search.beam import BeamTask, Hypothesis, beam_search
from bot.generator.search.dialogrpt import dialogrpt_beam
from bot.generator.tokenization.hub import load_tokenizer
from tests.unit.generator.conftest import END, FIXTURES, POSITIONS, tiny_model

CONTEXTS = [(5, 6, END), (70, END), (9, 10, 11, END, 12, 13, END, 300, 301, 302, 303, END)]
PLAIN = Decoding(
    candidates=4,
    max_new_tokens=12,
    min_new_tokens=0,
    temperature=0.0,
    top_k=0,
    top_p=1.0,
    repetition_penalty=1.0,
    no_repeat_ngram=0,
    search="beam",
    beams=4,
)
AS_TRANSFORMERS = Manner(spares_stops=False, ngrams="sequence")
OVER_ALL = Manner(spares_stops=False, ngrams="sequence", beam_length="sequence")


def stopping_model(seed: int) -> GPT2LMHeadModel:
    """A model that likes to stop: several hypotheses end at different lengths."""
    model = tiny_model(seed)
    model.transformer.wte.weight.data[END] *= 3
    return model


def task(context: tuple[int, ...], decoding: Decoding, manner: Manner, **changes: Any) -> BeamTask:
    return BeamTask(
        prompt=Prompt(context),
        before=context,
        decoding=decoding,
        manner=manner,
        stop_ids=(END,),
        limit=decoding.max_new_tokens,
        **changes,
    )


@torch.inference_mode()
def found(model: GPT2LMHeadModel, one: BeamTask) -> list[Hypothesis]:
    hypotheses = beam_search(CausalModel(model), one)
    assert hypotheses is not None
    return hypotheses


def whole(hypothesis: Hypothesis) -> list[int]:
    return [*hypothesis.tokens, *([] if hypothesis.stop is None else [hypothesis.stop])]


def generated(
    model: GPT2LMHeadModel, context: tuple[int, ...], decoding: Decoding, **settings: Any
) -> tuple[list[list[int]], list[float]]:
    output: Any = model.generate(
        torch.tensor([context]),
        attention_mask=torch.ones(1, len(context), dtype=torch.long),
        do_sample=False,
        num_beams=decoding.beams,
        num_return_sequences=decoding.beams,
        max_new_tokens=decoding.max_new_tokens,
        length_penalty=decoding.length_penalty,
        pad_token_id=0,
        eos_token_id=END,
        return_dict_in_generate=True,
        output_scores=True,
        **settings,
    )
    replies = []
    for row in output.sequences[:, len(context) :].tolist():
        replies.append(row[: row.index(END) + 1] if END in row else row)
    return replies, output.sequences_scores.tolist()


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"length_penalty": 0.0}, {}),
        ({"length_penalty": 2.0}, {}),
        ({"length_penalty": -1.0}, {}),
        ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
        ({"min_new_tokens": 5}, {"min_new_tokens": 5}),
        ({"min_length": 11}, {"min_length": 11}),
        (
            {"beams": 7, "max_new_tokens": 20, "repetition_penalty": 1.5, "no_repeat_ngram": 3},
            {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3},
        ),
    ],
)
def test_a_search_by_the_replys_length_equals_transformers(
    context: tuple[int, ...], seed: int, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    model = stopping_model(seed)
    decoding = PLAIN.model_copy(update=ours)
    replies, scores = generated(model, context, decoding, **theirs)
    hypotheses = found(model, task(context, decoding, AS_TRANSFORMERS))
    assert [whole(one) for one in hypotheses] == replies
    assert [one.score for one in hypotheses] == pytest.approx(scores, abs=2e-4)


@torch.inference_mode()
def log_probs_of(model: GPT2LMHeadModel, context: tuple[int, ...], reply: Sequence[int]) -> float:
    log_probs = model(torch.tensor([[*context, *reply]])).logits[0].log_softmax(dim=-1)
    return sum(log_probs[len(context) - 1 + n, token].item() for n, token in enumerate(reply))


@pytest.mark.parametrize("length_penalty", [1.0, 0.0, 1.7])
def test_a_search_by_the_sequence_that_keeps_everything_ranks_every_reply(length_penalty: float) -> None:
    """Three words and the end, three tokens at most: 40 replies, and room for 40 beginnings."""
    model, context, words = tiny_model(5), CONTEXTS[0], (20, 30, 40)
    banned = [token for token in range(END) if token not in words]
    decoding = PLAIN.model_copy(update={"beams": 40, "max_new_tokens": 3, "length_penalty": length_penalty})
    hypotheses = found(model, task(context, decoding, OVER_ALL, banned=banned))
    beginnings: list[tuple[int, ...]] = [()]
    for _ in range(2):
        beginnings += [(*one, word) for one in beginnings for word in words if (*one, word) not in beginnings]
    full = [(*one, word) for one in beginnings for word in words if len(one) == 2]
    expected = {
        reply: log_probs_of(model, context, reply) / (len(context) + len(reply) - (reply[-1] == END)) ** length_penalty
        for reply in [*((*one, END) for one in beginnings), *full]
    }
    assert len(expected) == 40
    assert {tuple(whole(one)): one.score for one in hypotheses} == pytest.approx(expected, abs=2e-4)
    assert [one.score for one in hypotheses] == pytest.approx(sorted(expected.values(), reverse=True), abs=2e-4)


def test_both_lengths_order_hypotheses_differently() -> None:
    model = stopping_model(0)
    by_reply = found(model, task(CONTEXTS[2], PLAIN, AS_TRANSFORMERS))
    by_sequence = found(model, task(CONTEXTS[2], PLAIN, OVER_ALL))
    assert [one.tokens for one in by_reply] != [one.tokens for one in by_sequence]


def test_where_the_last_token_must_be_a_stop_every_hypothesis_has_one() -> None:
    model = tiny_model(4)
    free = found(model, task(CONTEXTS[0], PLAIN, OVER_ALL))
    bound = found(model, task(CONTEXTS[0], PLAIN, Manner(beam_length="sequence", beam_must_stop=True)))
    assert any(one.stop is None for one in free)
    assert all(one.stop == END and len(one.tokens) < PLAIN.max_new_tokens for one in bound)


def test_log_prob_is_the_models_own_whatever_the_penalty() -> None:
    model = stopping_model(1)
    decoding = PLAIN.model_copy(update={"repetition_penalty": 1.4})
    for one in found(model, task(CONTEXTS[1], decoding, AS_TRANSFORMERS)):
        assert one.log_prob == pytest.approx(log_probs_of(model, CONTEXTS[1], whole(one)), abs=1e-3)


def test_one_beam_without_penalties_is_greedy() -> None:
    model = tiny_model(2)
    greedy = model.generate(
        torch.tensor([CONTEXTS[0]]),
        attention_mask=torch.ones(1, len(CONTEXTS[0]), dtype=torch.long),
        do_sample=False,
        max_new_tokens=12,
        pad_token_id=END,
    )[0, len(CONTEXTS[0]) :].tolist()
    (only,) = found(model, task(CONTEXTS[0], PLAIN.model_copy(update={"beams": 1}), AS_TRANSFORMERS))
    assert whole(only) == greedy


class Searching(DialoGPT):
    """DialoGPT in the manner of the older library."""

    habits = Habits(decoding=PLAIN, manner=OVER_ALL)


def decoder(model: GPT2LMHeadModel, dialect: type[DialoGPT] = DialoGPT) -> Decoder:
    return Decoder(CausalModel(model), dialect(load_tokenizer(FIXTURES / "dialogpt")), "test")


def request(context: tuple[int, ...], decoding: Decoding) -> GenerationRequest:
    return GenerationRequest(input_ids=context, decoding=decoding, seed=1)


def test_the_engine_gives_the_best_hypotheses_beside_drawn_replies() -> None:
    model = stopping_model(0)
    drawn = PLAIN.model_copy(update={"search": "sampling", "temperature": 0.9})
    engine = decoder(model, Searching)
    both = [request(CONTEXTS[0], drawn), request(CONTEXTS[2], PLAIN), request(CONTEXTS[1], drawn)]
    answers = engine.generate(both)
    assert [len(one) for one in answers] == [4, 4, 4]
    hypotheses = found(model, task(CONTEXTS[2], PLAIN, OVER_ALL))
    assert [one.token_ids for one in answers[1]] == [one.tokens for one in hypotheses]
    assert [one.score for one in answers[1]] == [one.score for one in hypotheses]
    assert [one.finished for one in answers[1]] == [one.stop is not None for one in hypotheses]
    assert engine.generate([both[0], both[2]]) == [answers[0], answers[2]]


def test_no_more_candidates_than_beams() -> None:
    few = PLAIN.model_copy(update={"candidates": 9, "beams": 3})
    assert len(decoder(tiny_model()).generate([request(CONTEXTS[0], few)])[0]) == 3


def test_what_the_rules_forbid_is_not_said() -> None:
    """One word may be said, and no run of one twice: only two replies are left for four beginnings."""
    banned = tuple(token for token in range(END) if token != 20)
    decoding = PLAIN.model_copy(update={"no_repeat_ngram": 1})
    (candidates,) = decoder(tiny_model()).generate(
        [GenerationRequest(input_ids=CONTEXTS[0], decoding=decoding, seed=0, banned_ids=banned)]
    )
    assert {one.token_ids for one in candidates} == {(), (20,)}


def test_numbers_that_are_not_finite_leave_the_neighbours_alone() -> None:
    model = tiny_model()
    model.transformer.wpe.weight.data[20:] = torch.nan
    answers = decoder(model).generate([request((33,) * 30, PLAIN), request(CONTEXTS[0], PLAIN)])
    assert [len(one) for one in answers] == [0, 4]


class NoMemory(GPT2LMHeadModel):
    """Has memory for reading, but not for the beams."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if len(kwargs["input_ids"]) > 1:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
        return super().forward(*args, **kwargs)


def test_a_search_without_memory_says_what_to_do() -> None:
    model = tiny_model()
    model.__class__ = NoMemory
    with pytest.raises(GenerationFailed, match="Lower decoding"):
        decoder(model).generate([request(CONTEXTS[0], PLAIN)])


def test_a_search_ends_where_the_positions_end() -> None:
    context = (7,) * (POSITIONS - 3)
    (candidates,) = decoder(tiny_model()).generate([request(context, PLAIN)])
    assert max(len(one.token_ids) for one in candidates) <= 3


AS_DIALOGRPT = PLAIN.model_copy(
    update={"search": "dialogrpt", "top_k": 40, "top_p": 1.0, "beams": 6, "max_new_tokens": 30}
)


def test_the_search_of_dialogrpt_gives_its_most_probable_ends_first() -> None:
    engine = decoder(stopping_model(0))
    (candidates,) = engine.generate([request(CONTEXTS[0], AS_DIALOGRPT)])
    found = dialogrpt_beam(engine.model, Prompt(CONTEXTS[0]), END, top_k=40, beams=6, top_p=1.0, max_new_tokens=30)
    best = sorted(found, key=lambda one: -one.probability)[: AS_DIALOGRPT.candidates]
    assert len(best) > 1
    assert [one.token_ids for one in candidates] == [one.token_ids for one in best]
    assert [one.score for one in candidates] == [one.probability for one in best]
    assert all(one.finished for one in candidates)


def test_where_the_search_of_dialogrpt_finds_no_end_replies_are_drawn() -> None:
    model = tiny_model()
    engine = decoder(model)
    two = AS_DIALOGRPT.model_copy(update={"max_new_tokens": 1})
    (candidates,) = engine.generate([request(CONTEXTS[0], two)])
    (drawn,) = engine.generate([request(CONTEXTS[0], two.model_copy(update={"search": "sampling"}))])
    assert candidates == drawn
    assert len(drawn) == two.candidates


def test_the_search_of_dialogrpt_says_nothing_forbidden() -> None:
    engine = decoder(stopping_model(0))
    (free,) = engine.generate([request(CONTEXTS[0], AS_DIALOGRPT)])
    banned = next(one.token_ids[0] for one in free if one.token_ids)
    (held,) = engine.generate(
        [GenerationRequest(input_ids=CONTEXTS[0], decoding=AS_DIALOGRPT, seed=1, banned_ids=(banned,))]
    )
    assert held
    assert all(banned not in one.token_ids for one in held)
