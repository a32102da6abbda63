"""GGUF files: the weights and words that transformers reads from them, and what is wrong with broken ones."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.utils import logging as library_logging

from bot.generator.dialects.base import BOT, Utterance
from bot.generator.engine import load_generator
from bot.generator.errors import CheckpointError
from bot.generator.formats.gguf_file import read_gguf
from bot.generator.formats.registry import open_checkpoint
from tests.parity.chat_models import CONTROLS, TEMPLATES, network, tokenizer

TALK = [Utterance(1, "hello <there>, how are you?"), Utterance(BOT, "fine"), Utterance(1, "in paris?")]
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "llama, tied": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 128}),  # the library reads no other
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMAL_TOKEN, CONTROL_TOKEN = 1, 3


def write_gguf(
    path: Path,
    family: str = "llama",
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    template: str | None = TEMPLATES["chatml"],
    more: Callable[[GGUFWriter], None] = lambda writer: None,
) -> Path:
    """A small model with random weights, as llama.cpp's converter would write it."""
    make, config, settings = FAMILIES[family]
    model = network(make, config, hidden_size=64, intermediate_size=96, vocab_size=339, **settings)
    architecture = family.partition(",")[0]
    writer = GGUFWriter(path, architecture)
    _write_sizes(writer, model.config)
    _write_words(writer, template)
    more(writer)
    for name, values in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        array = values.numpy()
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            array = _paired(array, 4 if "q_proj" in name else 2)
        quantised = kind if array.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(_gguf_name(name), quants.quantize(array, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_sizes(writer: GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "qwen3":
        writer.add_key_length(config.head_dim)


def _write_words(writer: GGUFWriter, template: str | None) -> None:
    words = tokenizer("chatml")
    backend = words.backend_tokenizer
    described: dict[str, Any] = json.loads(backend.to_str())
    tokens = [backend.id_to_token(number) for number in range(len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL_TOKEN if token in CONTROLS else NORMAL_TOKEN for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    if template is not None:
        writer.add_chat_template(template)


def _paired(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """llama.cpp rotates neighbouring rows where transformers rotates the halves of a head."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in NAMES:
        return f"{NAMES[stem]}.{kind}"
    _, _, number, part = stem.split(".", 3)
    return f"blk.{number}.{NAMES[part]}.{kind}"


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_and_ids_are_those_of_the_library(family: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", family)
    generator: Any = load_generator(str(path))
    library_logging.disable_progress_bar()
    original = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    ours, theirs = generator.model.network.state_dict(), original.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    words = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    talk = [{"role": "assistant" if one.speaker == BOT else "user", "content": one.text} for one in TALK]
    expected = words.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
    assert generator.dialect.encode(TALK, 10**6) == expected
    with torch.inference_mode():
        first = generator.model.network(torch.tensor([expected])).logits
        torch.testing.assert_close(first, original(torch.tensor([expected])).logits, rtol=0, atol=2e-4)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_quantised_tensors_are_unpacked_as_their_inventors_do(kind: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", kind=GGMLQuantizationType[kind])
    model = network(LlamaForCausalLM, LlamaConfig, hidden_size=64, intermediate_size=96, vocab_size=339)
    weight = model.state_dict()["model.layers.0.mlp.up_proj.weight"].numpy()
    packed = quants.quantize(weight, GGMLQuantizationType[kind])
    found = read_gguf(path).tensor("blk.0.ffn_up.weight")
    np.testing.assert_array_equal(found, quants.dequantize(packed, GGMLQuantizationType[kind]))


def test_the_end_of_a_turn_that_the_file_names_ends_a_reply(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", template=TEMPLATES["zephyr"], more=lambda w: w.add_eot_token_id(6))
    assert load_generator(str(path)).dialect.stop_ids == {1, 6}


def test_a_file_that_is_cut_off_says_so_wherever_it_ends(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    broken = tmp_path / "broken.gguf"
    for length in (4, 5, 20, 24, 30, 100, 1000, 5000, len(whole) // 2, len(whole) - 40):
        broken.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"broken\.gguf: .*damaged.*Copy it again"):
            load_generator(str(broken))


def test_a_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    whole = bytearray(write_gguf(tmp_path / "whole.gguf").read_bytes())
    for place in (8, 16):  # how many tensors, how many values
        forged = bytearray(whole)
        forged[place : place + 8] = struct.pack("<Q", 2**62)
        (tmp_path / "forged.gguf").write_bytes(forged)
        with pytest.raises(CheckpointError, match="damaged"):
            open_checkpoint(str(tmp_path / "forged.gguf"))


def test_a_version_that_is_unknown_is_named(tmp_path: Path) -> None:
    whole = bytearray(write_gguf(tmp_path / "model.gguf").read_bytes())
    whole[4:8] = struct.pack("<I", 9)
    (tmp_path / "model.gguf").write_bytes(whole)
    with pytest.raises(CheckpointError, match="GGUF version 9 cannot be read"):
        open_checkpoint(str(tmp_path / "model.gguf"))


def test_a_network_that_we_do_not_know_is_named(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"architecture 'mamba' cannot be used, only llama, qwen2, qwen3"):
        open_checkpoint(str(tmp_path / "model.gguf"))


def test_scaled_positions_are_refused_rather_than_computed_wrongly(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", more=lambda w: w.add_tensor("rope_freqs.weight", np.ones(8, np.float32)))
    with pytest.raises(CheckpointError, match="scaled rotary positions"):
        open_checkpoint(str(path))


def test_a_tensor_without_a_place_is_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", more=lambda w: w.add_tensor("blk.0.odd.weight", np.ones(8, np.float32)))
    with pytest.raises(CheckpointError, match=r"blk\.0\.odd\.weight has no place"):
        load_generator(str(path))


def test_a_file_without_a_template_is_no_chat_model(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", template=None)
    with pytest.raises(CheckpointError, match="chat template"):
        load_generator(str(path))
