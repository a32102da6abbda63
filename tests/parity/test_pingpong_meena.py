"""PingPong's Meena: what the original's own code said, said by ours, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from bot.generator.decoder import Decoder
from bot.generator.dialects.base import IGNORED, Utterance
from bot.generator.dialects.pingpong import PingPongMeena
from bot.generator.errors import CheckpointError, GenerationFailed
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.pingpong_meena import PingPongMeenaModel
from tests.parity.pingpong_golden import (
    LOGITS,
    PLAIN,
    assert_row,
    assert_scores,
    change_config,
    copied,
    decoder_of,
    golden_of,
    ids_of,
    read,
    request_of,
    runs_of,
    talk,
    tokenizer_of,
)

FOLDER = Path(__file__).parent / "pingpong-meena"
GOLDEN = golden_of(FOLDER)
TOKENIZER = tokenizer_of(FOLDER)
DIALECT = PingPongMeena(TOKENIZER)
PAD, BOS, EOS, SEPT = (ids_of(FOLDER)[f"{role}_token_id"] for role in ("pad", "bos", "eos", "sept"))

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return decoder_of(FOLDER)


@pytest.fixture(scope="module")
def model(decoder: Decoder) -> PingPongMeenaModel:
    assert isinstance(decoder.model, PingPongMeenaModel)
    return decoder.model


@pytest.mark.parametrize("case", GOLDEN["tokenizer_cases"], ids=lambda case: case["text"])
def test_the_tokenizer_splits_as_the_original(case: dict[str, Any]) -> None:
    assert TOKENIZER.encode(case["text"]) == case["ids"]
    assert TOKENIZER.decode(case["ids"]) == case["decoded"]


@pytest.mark.parametrize("case", GOLDEN["decode_cases"], ids=lambda case: case["text"])
def test_ids_are_written_as_the_original_writes_them(case: dict[str, Any]) -> None:
    assert TOKENIZER.decode(case["ids"]) == case["text"]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["id"])
def test_contexts_are_written_as_the_original_writes_them(case: dict[str, Any]) -> None:
    assert DIALECT.encode(talk(case["context"]), 1000) == case["input_ids"]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["id"])
def test_the_model_sees_what_the_original_sees(model: PingPongMeenaModel, case: dict[str, Any]) -> None:
    scores, reading = read(model, case["input_ids"])
    assert_scores(scores[0], case["logits_last"])
    start, *forced = case["teacher_forced"]["decoder_input_ids"]
    assert (start,) == model.sequence(case["input_ids"])
    with torch.inference_mode():
        for token in forced:
            scores = reading.feed(torch.tensor([token]))
    assert_scores(scores[0], case["teacher_forced"]["logits_last"])


@pytest.mark.parametrize(("ids", "max_length", "expected"), runs_of(GOLDEN, "greedy_plain"))
def test_the_likeliest_words_are_the_originals(
    decoder: Decoder, ids: list[int], max_length: int, expected: dict[str, Any]
) -> None:
    request = request_of(decoder, ids, max_length, **PLAIN)
    assert_row(decoder, decoder.write(request, likeliest=True, watched=0, unbanned=True), expected)


@pytest.mark.parametrize(
    ("ids", "max_length", "expected"), [*runs_of(GOLDEN, "greedy_penalised"), *runs_of(GOLDEN, "top_p_argmax")]
)
def test_penalties_and_filters_are_the_originals(
    decoder: Decoder, ids: list[int], max_length: int, expected: dict[str, Any]
) -> None:
    request = request_of(decoder, ids, max_length)
    assert_row(decoder, decoder.write(request, likeliest=True, watched=3), expected)


@pytest.mark.parametrize("case", GOLDEN["loss_cases"], ids=lambda case: str(case["labels"]))
def test_the_loss_is_the_originals(model: PingPongMeenaModel, case: dict[str, Any]) -> None:
    labels = case["labels"]
    first = next(label for label in reversed(labels) if label != PAD)
    ids, written = torch.tensor([case["input_ids"]]), torch.tensor([[first, *labels[:-1]]])
    everything = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode():
        past = model.network.begin(model.network.encode(ids, everything))
        hidden = model.network.decode(written, written != PAD, past, everything)
        loss = F.cross_entropy(model.network.scores(hidden)[0], torch.tensor(labels))
    assert float(loss) == pytest.approx(case["loss"], abs=1e-4)


def test_contexts_read_together_say_what_they_say_alone(model: PingPongMeenaModel) -> None:
    contexts = [case["input_ids"] for case in GOLDEN["cases"]]
    together, reading = read(model, *contexts)
    order, tokens = torch.tensor([3, 0, 0, 8]), torch.tensor([7, 8, 9, 10])
    with torch.inference_mode():
        reading.select(order)
        later = reading.feed(tokens)
    for scores, context in zip(together, contexts, strict=True):
        assert scores.tolist() == pytest.approx(read(model, context)[0][0].tolist(), abs=LOGITS)
    for scores, row, token in zip(later, order.tolist(), tokens, strict=True):
        _, alone = read(model, contexts[row])
        with torch.inference_mode():
            assert scores.tolist() == pytest.approx(alone.feed(token[None])[0].tolist(), abs=LOGITS)


def test_the_reply_has_positions_of_its_own_and_no_more(decoder: Decoder) -> None:
    request = request_of(decoder, GOLDEN["cases"][0]["input_ids"], 0, max_new_tokens=500, **PLAIN)
    assert len(decoder.write(request, likeliest=True, watched=0).tokens) == 128
    with pytest.raises(GenerationFailed, match="256"):
        decoder.generate([request_of(decoder, [6] * 257, 48)])


def test_the_oldest_turns_give_way() -> None:
    texts = ["안녕", "응 좋아 ㅋㅋ", "really?"]
    turns = [[*TOKENIZER.encode(text), SEPT] for text in texts]
    room = len(turns[1]) + len(turns[2])
    assert DIALECT.encode(talk(texts), room) == [*turns[1], *turns[2]]
    assert DIALECT.encode(talk(texts), room - 1) == turns[2]


def test_an_example_labels_the_last_learned_turn_and_leaves_the_rest_to_the_encoder() -> None:
    texts = ["안녕", "really?", "안녕", "응 좋아 ㅋㅋ"]
    first, second, third = ([*TOKENIZER.encode(text), SEPT] for text in texts[:3])
    example = DIALECT.example(talk(texts), {0}, 1000)
    reply = (*third[:-1], EOS)
    assert example.input_ids == (*first, *second, *reply)
    assert example.labels == (*[IGNORED] * len(first + second), *reply)


def test_an_example_without_a_learned_reply_has_no_labels() -> None:
    example = DIALECT.example(talk(["안녕", "really?"]), {5}, 1000)
    assert set(example.labels) == {IGNORED}
    assert len(example.labels) == len(example.input_ids)


@given(st.lists(st.sampled_from(["[SEPT]", "［ＥＯＳ］", "[BOS]", "[PAD]", " ", "안녕", "é"]), max_size=6).map("".join))
def test_nobody_can_type_a_token_that_carries_structure(text: str) -> None:
    ids = DIALECT.encode([Utterance(1, text)], 1000)
    assert ids[-1] == SEPT
    assert not DIALECT.control_ids & set(ids[:-1])


def test_the_copies_of_the_shared_tables_need_not_be_in_the_file(decoder: Decoder, tmp_path: Path) -> None:
    file = copied(FOLDER, tmp_path) / "model.pth"
    state = torch.load(file, weights_only=True)
    ids = GOLDEN["cases"][1]["input_ids"]
    without = {name: value for name, value in state.items() if ".embed_" not in name}
    assert len(without) < len(state)
    torch.save(without, file)
    assert torch.equal(read(decoder_of(tmp_path).model, ids)[0], read(decoder.model, ids)[0])
    torch.save({name: value for name, value in state.items() if name != "model.shared.weight"}, file)
    assert torch.equal(read(decoder_of(tmp_path).model, ids)[0], read(decoder.model, ids)[0])


def test_what_was_converted_is_the_same_model(decoder: Decoder, tmp_path: Path) -> None:
    found = open_checkpoint(str(FOLDER))
    assert found.read_weights is not None
    save_file(found.read_weights(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**found.config, "model_type": "pingpong-meena"}))
    found.read_tokenizer().save(tmp_path)
    ids = GOLDEN["cases"][1]["input_ids"]
    again = decoder_of(tmp_path)
    assert again.dialect.name == "pingpong-meena"
    assert torch.equal(read(again.model, ids)[0], read(decoder.model, ids)[0])


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("max_encoder_length", None, "lacks max_encoder_length"),
        ("decoder_attention_heads", None, "lacks decoder_attention_heads"),
        ("max_encoder_length", 256, "leaves the decoder no position"),
        ("max_position_embeddings", 200, r"model\.position\.weight is 256x32"),
        ("vocab_size", 421, r"model\.shared\.weight is 420x32, the configuration says 421x32"),
        ("decoder_layers", 3, r"model\.decoder\.layers\.2\..* is missing"),
        ("encoder_attention_heads", 3, "multiple"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path: Path, key: str, value: object, complaint: str) -> None:
    change_config(copied(FOLDER, tmp_path), **{key: value})
    with pytest.raises(CheckpointError, match=complaint):
        decoder_of(tmp_path)


def test_a_file_without_its_end_is_named(tmp_path: Path) -> None:
    file = copied(FOLDER, tmp_path) / "model.pth"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.pth"):
        decoder_of(tmp_path)
