"""Chat models in one GGUF file, as llama.cpp and Ollama use them: network, vocabulary and template from the file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.generator.errors import CheckpointError
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.formats.gguf_file import MAGIC, GgufFile, read_gguf
from bot.generator.tokenization.chat import ChatTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

_FAMILIES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
_OPTIONAL = ("attention.head_count_kv", "attention.key_length", "rope.freq_base")
_SPECIALS = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
_WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def recognise(path: Path) -> Checkpoint | None:
    """A file that begins with GGUF. Raises CheckpointError for a network that we do not know."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            return None
    file = read_gguf(path)
    config = _config(file)
    return Checkpoint(
        system="gguf",
        dialect="chat-template",
        role=Role.GENERATOR,
        architecture=Architecture.CAUSAL,
        path=path,
        files=(path,),
        config=config,
        read_tokenizer=lambda: _tokenizer(file),
        read_weights=lambda: _weights(file, config),
        notes=(f"unpacked to float32; the file's own name for the model: {file.values.get('general.name', 'none')}",),
    )


def _config(file: GgufFile) -> dict[str, Any]:
    kind = file.values.get("general.architecture")
    if kind not in _FAMILIES:
        raise CheckpointError(
            f"{file.path}: GGUF files of the architecture {kind!r} cannot be used, only {', '.join(_FAMILIES)}. Use "
            "the same model in the hub's layout (config.json, model.safetensors)."
        )
    scaling = file.values.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in file.tensors:
        raise CheckpointError(
            f"{file.path}: GGUF files with scaled rotary positions cannot be used. Use the same model in the hub's "
            "layout (config.json, model.safetensors)."
        )
    missing = [name for name in _SIZES if name not in _OPTIONAL and f"{kind}.{name}" not in file.values]
    if missing:
        raise CheckpointError(f"{file.path}: the GGUF file does not say its {kind}.{missing[0]}. Copy it again.")
    config = {ours: file.values[f"{kind}.{name}"] for name, ours in _SIZES.items() if f"{kind}.{name}" in file.values}
    if kind == "llama" and "head_dim" not in config and f"{kind}.rope.dimension_count" in file.values:
        config["head_dim"] = file.values[f"{kind}.rope.dimension_count"]
    return {
        "model_type": kind,
        "architectures": [_FAMILIES[kind]],
        **config,
        **_special_ids(file),
        "vocab_size": _rows(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
    }


def _rows(file: GgufFile) -> int:
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{file.path}: the GGUF file holds no embedding of tokens. Copy it again.")
    return embedding.shape[0]


def _special_ids(file: GgufFile) -> dict[str, Any]:
    named = {ours: file.values.get(f"tokenizer.ggml.{theirs}_token_id") for theirs, ours in _SPECIALS.items()}
    return {f"{name}_token_id": found for name, found in named.items() if found is not None}


def _tokenizer(file: GgufFile) -> ChatTokenizer:
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_TOKENIZER_MAPPING, convert_gguf_tokenizer

    names: Mapping[str, str] = GGUF_TOKENIZER_MAPPING["tokenizer"]
    parts = {
        ours: file.values[f"tokenizer.{name}"] for name, ours in names.items() if f"tokenizer.{name}" in file.values
    }
    words = parts.get("tokens")
    if not words:
        raise CheckpointError(f"{file.path}: the GGUF file holds no vocabulary. Copy it again.")
    try:
        backend, _ = convert_gguf_tokenizer(str(file.values["general.architecture"]), parts)
    except Exception as error:  # the vocabulary goes through three libraries
        raise CheckpointError(f"{file.path}: the vocabulary cannot be read ({error}). Copy the file again.") from error
    ids = _special_ids(file)
    specials = {name.removesuffix("_id"): words[found] for name, found in ids.items() if found < len(words)}
    make: Any = PreTrainedTokenizerFast
    library = make(
        tokenizer_object=_without_strangers(backend, len(words)),
        chat_template=file.values.get("tokenizer.chat_template"),
        name_or_path=str(file.path),
        **specials,
    )
    turn_end = file.values.get("tokenizer.ggml.eot_token_id")
    ends = [found for found in (ids.get("eos_token_id"), turn_end) if found is not None]
    return ChatTokenizer(library, {"eos_token_id": ends})


def _without_strangers(backend: "Tokenizer", words: int) -> "Tokenizer":
    """The library adds GPT-2's end of text to vocabularies that have none: an id that the model does not know."""
    if backend.get_vocab_size(with_added_tokens=True) <= words:
        return backend
    described = json.loads(backend.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < words]
    known: Tokenizer = type(backend).from_str(json.dumps(described))
    return known


def _weights(file: GgufFile, config: Mapping[str, Any]) -> "dict[str, Tensor]":
    import torch

    weights = {}
    for name in file.tensors:
        values = torch.from_numpy(file.tensor(name))
        if config["model_type"] == "llama" and (".attn_q." in name or ".attn_k." in name):
            values = _unpaired(values, config["num_attention_heads" if ".attn_q." in name else "num_key_value_heads"])
        weights[_name(name)] = values
    if config["tie_word_embeddings"]:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return weights


def _unpaired(weight: "Tensor", heads: int) -> "Tensor":
    """llama.cpp turns neighbouring numbers by the rotary angle, transformers the halves of a head: sort the rows."""
    rows = weight.shape[0] // heads // 2
    return weight.reshape(heads, rows, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape).contiguous()


def _name(name: str) -> str:
    """A tensor's name in transformers; what has none keeps its own and is refused where the names are compared."""
    if name in _WHOLE:
        return _WHOLE[name]
    block, _, rest = name.removeprefix("blk.").partition(".")
    part, _, kind = rest.rpartition(".")
    return f"model.layers.{block}.{_PARTS[part]}.{kind}" if part in _PARTS else name
