"""The network that is trained: a new one, or that of a checkpoint."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from bot.generator.dialects.base import Dialect
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.loading import embedding_rows, load_model
from bot.generator.models.families import family_of
from bot.training.errors import TrainingError
from bot.training.numbers import training_device
from bot.training.objectives import has_plain_head

_ATTENTION_ON_CPU = "eager"
"""Faster than the fused one for texts as short as a talk: 1.2 times, over a whole step of a 135 M model in bfloat16."""

_OURS = (Architecture.PINGPONG_GPT, Architecture.PINGPONG_MEENA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of a model that is trained from scratch."""

    layers: int
    width: int
    vocabulary_size: int
    positions: int = 384


def new_network(shape: Shape, dialect: Dialect, dropout: float) -> GPT2LMHeadModel:
    """A GPT-2 with random weights."""
    end = min(dialect.stop_ids)
    config = GPT2Config(
        vocab_size=dialect.vocabulary_size,
        n_positions=shape.positions,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=max(1, shape.width // 64),
        activation_function="gelu_pytorch_tanh",  # GPT-2's own function in one operator instead of eight
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
    )
    config._attn_implementation = _ATTENTION_ON_CPU
    return GPT2LMHeadModel(config)


def loaded_network(found: Checkpoint, dialect: Dialect, dropout: float, dtype: torch.dtype) -> Any:
    """A checkpoint's network, on the CPU. Raises TrainingError for one that cannot be trained."""
    if found.role is not Role.GENERATOR or found.architecture in _OURS:
        kind = f"{found.system} {found.role} ({found.architecture})"
        raise TrainingError(
            f"{found.path}: this is a {kind}; only generators that are a causal model of transformers can be trained."
        )
    network: Any = load_model(family_of(found), found, torch.device("cpu"), dtype)
    if embedding_rows(network) < dialect.vocabulary_size:
        raise TrainingError(f"{found.path}: the tokenizer knows more tokens than the model. Copy the right one.")
    if not has_plain_head(network):
        raise TrainingError(
            f"{found.path}: a {type(network).__name__} changes the scores of its head afterwards; such models can be "
            "used, but not trained. Choose another one."
        )
    if training_device().type == "cpu":
        network.set_attn_implementation(_ATTENTION_ON_CPU)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return network


def positions_of(network: Any) -> int:
    """Longest text that the network reads, in tokens."""
    config = network.config
    return int(getattr(config, "n_positions", None) or config.max_position_embeddings)
