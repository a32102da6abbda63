"""PingPong's GPT: what the original's own code said, said by ours, and what is refused."""

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
from bot.generator.dialects.base import Utterance
from bot.generator.dialects.pingpong import PingPongGPT
from bot.generator.errors import CheckpointError, GenerationFailed
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.pingpong_gpt import PingPongGPTModel
from bot.generator.tokenization.pieces import load_pieces
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

FOLDER = Path(__file__).parent / "pingpong-gpt"
GOLDEN = golden_of(FOLDER)
TOKENIZER = tokenizer_of(FOLDER)
DIALECT = PingPongGPT(TOKENIZER)
BOS, EOS, SEPT = (ids_of(FOLDER)[f"{role}_token_id"] for role in ("bos", "eos", "sept"))
TYPED = "[SEPT]"

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return decoder_of(FOLDER)


@pytest.fixture(scope="module")
def model(decoder: Decoder) -> PingPongGPTModel:
    assert isinstance(decoder.model, PingPongGPTModel)
    return decoder.model


@pytest.mark.parametrize("case", GOLDEN["tokenizer_cases"], ids=lambda case: case["text"])
def test_the_tokenizer_splits_as_the_original_but_for_typed_symbols(case: dict[str, Any]) -> None:
    if TYPED not in case["text"]:
        assert TOKENIZER.encode(case["text"]) == case["ids"]
    assert TOKENIZER.decode(case["ids"]) == case["decoded"]


@pytest.mark.parametrize("case", GOLDEN["decode_cases"], ids=lambda case: case["text"])
def test_ids_are_written_as_the_original_writes_them(case: dict[str, Any]) -> None:
    assert TOKENIZER.decode(case["ids"]) == case["text"]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["id"])
def test_contexts_are_written_as_the_original_writes_them(case: dict[str, Any]) -> None:
    if not any(TYPED in text for text in case["context"]):
        assert DIALECT.encode(talk(case["context"]), 1000) == case["input_ids"]


@pytest.mark.parametrize("case", [case for case in GOLDEN["cases"] if "logits_last" in case], ids=lambda c: c["id"])
def test_the_model_sees_what_the_original_sees(model: PingPongGPTModel, case: dict[str, Any]) -> None:
    scores, _ = read(model, case["input_ids"])
    assert_scores(scores[0], case["logits_last"])


@pytest.mark.parametrize(("ids", "max_length", "expected"), runs_of(GOLDEN, "greedy_plain"))
def test_the_likeliest_words_are_the_originals(
    decoder: Decoder, ids: list[int], max_length: int, expected: dict[str, Any]
) -> None:
    request = request_of(decoder, ids, max_length, **PLAIN)
    if "original_error" in expected:
        with pytest.raises(GenerationFailed, match="context of"):
            decoder.write(request, likeliest=True, watched=0, unbanned=True)
    else:
        assert_row(decoder, decoder.write(request, likeliest=True, watched=0, unbanned=True), expected)


@pytest.mark.parametrize(
    ("ids", "max_length", "expected"), [*runs_of(GOLDEN, "greedy_penalised"), *runs_of(GOLDEN, "top_p_argmax")]
)
def test_penalties_and_filters_are_the_originals(
    decoder: Decoder, ids: list[int], max_length: int, expected: dict[str, Any]
) -> None:
    request = request_of(decoder, ids, max_length)
    if "original_error" in expected:
        with pytest.raises(GenerationFailed, match="context of"):
            decoder.write(request, likeliest=True, watched=3)
    else:
        assert_row(decoder, decoder.write(request, likeliest=True, watched=3), expected)


@pytest.mark.parametrize("case", GOLDEN["loss_cases"], ids=lambda case: str(len(case["input_ids"])))
def test_the_loss_is_the_originals(model: PingPongGPTModel, case: dict[str, Any]) -> None:
    ids, labels = torch.tensor([case["input_ids"]]), torch.tensor(case["labels"])
    with torch.inference_mode():
        hidden = model.network(ids, torch.ones_like(ids, dtype=torch.bool), model.network.nothing_read())
        loss = F.cross_entropy(model.network.scores(hidden)[0, :-1], labels[1:], ignore_index=-1)
    assert float(loss) == pytest.approx(case["loss"], abs=1e-4)


def test_contexts_read_together_or_word_by_word_say_what_they_say_alone(model: PingPongGPTModel) -> None:
    contexts = [case["input_ids"] for case in GOLDEN["cases"][:6]]
    together, reading = read(model, *contexts)
    order = torch.tensor([3, 0, 0, 5])
    with torch.inference_mode():
        reading.select(order)
        later = reading.feed(torch.tensor([7, 8, 9, 10]))
    for scores, context in zip(together, contexts, strict=True):
        assert scores.tolist() == pytest.approx(read(model, context)[0][0].tolist(), abs=LOGITS)
    for scores, row, token in zip(later, order.tolist(), [7, 8, 9, 10], strict=True):
        assert scores.tolist() == pytest.approx(read(model, [*contexts[row], token])[0][0].tolist(), abs=LOGITS)


def test_a_context_may_fill_all_positions_and_not_one_more(decoder: Decoder) -> None:
    full = [BOS] + [6] * 255
    assert len(decoder.write(request_of(decoder, full, 0), likeliest=True, watched=0).tokens) <= 1
    assert len(decoder.write(request_of(decoder, full[:-2], 0, **PLAIN), likeliest=True, watched=0).tokens) <= 3
    with pytest.raises(GenerationFailed, match="256"):
        decoder.generate([request_of(decoder, [*full, 6], 0)])


def test_the_oldest_turns_give_way_and_the_beginning_stays() -> None:
    texts = ["안녕", "응 좋아 ㅋㅋ", "really?"]
    turns = [[*TOKENIZER.encode(text), SEPT] for text in texts]
    room = len(turns[1]) + len(turns[2])
    assert DIALECT.encode(talk(texts), room + 1) == [BOS, *turns[1], *turns[2]]
    assert DIALECT.encode(talk(texts), room) == [BOS, *turns[2]]
    assert DIALECT.encode(talk(texts), 3) == [BOS, *turns[2][-2:]]


def test_a_dialogue_is_learned_whole_and_ends_where_a_reply_ends() -> None:
    example = DIALECT.example(talk(["안녕", "really?", "응 좋아 ㅋㅋ"]), {0}, 12)
    assert example.input_ids == example.labels
    assert example.input_ids == (BOS, *TOKENIZER.encode("안녕"), SEPT, *TOKENIZER.encode("really?"), EOS)


@given(
    st.lists(
        st.sampled_from([TYPED, "[SE", "PT]", "［ＳＥＰＴ］", "[BOS]", "[EOS]", "[PAD]", "</s>", "▁", " ", "안녕"]),
        max_size=6,
    ).map("".join)
)
def test_nobody_can_type_a_token_that_carries_structure(text: str) -> None:
    ids = DIALECT.encode([Utterance(1, text)], 1000)
    assert ids[0] == BOS
    assert ids[-1] == SEPT
    assert not DIALECT.control_ids & set(ids[1:-1])


def test_a_user_defined_symbol_that_carries_no_structure_is_a_word() -> None:
    """The recorded tokenizer has one such symbol; to a model whose turns end otherwise it means nothing."""
    names = {**ids_of(FOLDER), "sept_token_id": EOS}
    tokenizer = load_pieces(FOLDER / "tokenizer.model", names)
    assert SEPT not in tokenizer.control_ids
    assert SEPT in tokenizer.encode(f"안녕{TYPED}")
    assert EOS in tokenizer.control_ids


def test_a_typed_symbol_leaves_the_words_around_it_as_they_are() -> None:
    (case,) = (case for case in GOLDEN["tokenizer_cases"] if case["text"].startswith(TYPED))
    written = TOKENIZER.encode(case["text"])
    assert written[0] == case["ids"][0]
    assert written[2:] == case["ids"][2:]


def test_the_file_of_the_weights_names_the_checkpoint_too(decoder: Decoder, tmp_path: Path) -> None:
    for name, new in (("model.pth", "ko.pth"), ("config.json", "sizes.json"), ("tokenizer.model", "pieces.model")):
        (tmp_path / new).write_bytes((FOLDER / name).read_bytes())
    (tmp_path / "notes.json").write_text("[1, 2]")
    found = open_checkpoint(str(tmp_path / "ko.pth"))
    assert [file.name for file in found.files] == ["ko.pth", "pieces.model", "sizes.json"]
    ids = GOLDEN["cases"][1]["input_ids"]
    assert torch.equal(read(decoder_of(tmp_path / "ko.pth").model, ids)[0], read(decoder.model, ids)[0])


def test_what_was_converted_is_the_same_model(decoder: Decoder, tmp_path: Path) -> None:
    found = open_checkpoint(str(FOLDER))
    assert found.read_weights is not None
    weights = found.read_weights()
    assert not any(name.startswith("lm_head") or name.endswith(".attn.bias") for name in weights)
    save_file(weights, tmp_path / "model.safetensors")
    config = {**found.config, "model_type": "pingpong-gpt", "banter_dialect": "pingpong-gpt"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found.read_tokenizer().save(tmp_path)
    ids = GOLDEN["cases"][1]["input_ids"]
    again = decoder_of(tmp_path)
    assert again.dialect.name == "pingpong-gpt"
    assert torch.equal(read(again.model, ids)[0], read(decoder.model, ids)[0])


def test_the_mask_is_as_long_as_the_originals_unless_it_is_spelled_right(tmp_path: Path) -> None:
    folder = copied(FOLDER, tmp_path)
    change_config(folder, n_ctxt=64)
    assert decoder_of(folder).model.context_limit == 256
    assert "256" in open_checkpoint(str(folder)).notes[0]
    change_config(folder, n_ctx=64)
    assert decoder_of(folder).model.context_limit == 64
    assert open_checkpoint(str(folder)).notes == ()


def test_weights_in_half_precision_from_several_devices_are_read(decoder: Decoder, tmp_path: Path) -> None:
    file = copied(FOLDER, tmp_path) / "model.pth"
    state = torch.load(file, weights_only=True)
    torch.save({f"module.{name}": value.half() for name, value in state.items()}, file)
    ids = GOLDEN["cases"][1]["input_ids"]
    scores, _ = read(decoder_of(tmp_path).model, ids)
    assert scores.dtype is torch.float32
    assert scores[0].tolist() == pytest.approx(read(decoder.model, ids)[0][0].tolist(), abs=0.05)


@pytest.mark.parametrize("name", ["config.json", "model.pth", "tokenizer.model"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (copied(FOLDER, tmp_path) / name).unlink()
    missing = {"config.json": "configuration", "model.pth": r"\.pth", "tokenizer.model": "SentencePiece model"}
    with pytest.raises(CheckpointError, match=missing[name]):
        decoder_of(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.pth", "tokenizer.model"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    file = copied(FOLDER, tmp_path) / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="configuration" if name == "config.json" else name):
        decoder_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello world\n", b"<html></html>", b"\x80\x04."])
def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (copied(FOLDER, tmp_path) / "tokenizer.model").write_bytes(content)
    with pytest.raises(CheckpointError, match="no SentencePiece model that can be read"):
        decoder_of(tmp_path)


@pytest.mark.parametrize("key", ["vocab_size", "n_head", "n_inner", "sept_token_id", "bos_token_id"])
def test_a_setting_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    change_config(copied(FOLDER, tmp_path), **{key: None})
    with pytest.raises(CheckpointError, match=rf"config\.json.* lacks {key}"):
        decoder_of(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("vocab_size", 228, r"transformer\.wte\.weight is 227x32, the configuration says 228x32"),
        ("n_layer", 1, r"transformer\.h\.1\..* has no place"),
        ("n_layer", 3, r"transformer\.h\.2\..* is missing"),
        ("n_head", 5, "multiple"),
        ("sept_token_id", "4", "sept_token_id"),
        ("sept_token_id", 1000, "227 tokens"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path: Path, key: str, value: object, complaint: str) -> None:
    change_config(copied(FOLDER, tmp_path), **{key: value})
    with pytest.raises(CheckpointError, match=complaint):
        decoder_of(tmp_path)


def test_a_tokenizer_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = copied(FOLDER, tmp_path)
    (folder / "tokenizer.model").write_bytes((FOLDER.parent / "pingpong-meena" / "tokenizer.model").read_bytes())
    with pytest.raises(CheckpointError, match="420 tokens"):
        decoder_of(folder)


def test_weights_that_should_be_one_and_differ_are_refused(tmp_path: Path) -> None:
    file = copied(FOLDER, tmp_path) / "model.pth"
    state = torch.load(file, weights_only=True)
    torch.save({**state, "lm_head.weight": state["lm_head.weight"] + 1}, file)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs"):
        decoder_of(tmp_path)


def test_of_several_files_those_with_the_weights_name_are_meant(tmp_path: Path) -> None:
    copied(FOLDER, tmp_path)
    for name in ("large.pth", "large.json", "large.model"):
        source = {".pth": "model.pth", ".json": "config.json", ".model": "tokenizer.model"}[Path(name).suffix]
        (tmp_path / name).write_bytes((FOLDER / source).read_bytes())
    found = open_checkpoint(str(tmp_path / "large.pth"))
    assert [file.name for file in found.files] == ["large.json", "large.model", "large.pth"]
    (tmp_path / "model.pth").rename(tmp_path / "small.pth")
    with pytest.raises(CheckpointError, match=r"large\.pth, small\.pth"):
        open_checkpoint(str(tmp_path))
