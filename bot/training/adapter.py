"""A low-rank adapter: a few million weights beside a larger model's own, which stay as they are.

Hu et al. 2021 (LoRA, arXiv:2106.09685), trained through peft; `bot.generator.formats.adapter` reads what is written.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers.pytorch_utils import Conv1D

from bot.generator.formats.adapter import RECORD
from bot.training.settings import RunSettings

DROPOUT = 0.0
"""A pass or two over a corpus does not overfit an adapter, and on a CPU the random numbers take a fifth of the time."""
MAX_TOKENS = 256
"""Tokens of a dialogue that are learned from; longer ones end earlier."""


def adapted(network: Any, rank: int, dropout: float) -> Any:
    """The network with an adapter on every linear layer but the head; nothing else of it is trained."""
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),  # GPT-2's layers
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses names that transformers is giving up
        return get_peft_model(network, config)


def adapter_optimizer(model: Any, settings: RunSettings) -> torch.optim.Optimizer:
    """AdamW over the adapter's weights."""
    return torch.optim.AdamW(
        _trained(model), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )


def save_adapter(model: Any, out: Path, *, base: str, dialect: str, persona: Sequence[str]) -> None:
    """Write the adapter as peft does, in bfloat16, and beside it what it stands beside and what it was told."""
    for weight in _trained(model):
        weight.data = weight.data.to(torch.bfloat16)
    model.peft_config["default"].base_model_name_or_path = base
    # The embedding is never adapted; asked to find that out by itself, peft looks for the base at the model hub.
    model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)  # peft's form for a card, with nothing filled in
    record = {"dialect": dialect, "persona": list(persona)}
    (out / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _trained(model: Any) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
