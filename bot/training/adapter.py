"""Train a low-rank adapter: a few million weights beside a larger model's own, which stay as they are.

Hu et al. 2021 (LoRA, arXiv:2106.09685), through peft.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional as F

from bot.generator.dialects.base import IGNORED, Dialect
from bot.generator.dialects.registry import dialect_named
from bot.generator.formats.registry import open_checkpoint
from bot.generator.models.registry import load_language_model
from bot.training.corpora.registry import corpus_named
from bot.training.errors import TrainingError
from bot.training.examples import Batches, Share, encode_dialogues, training_examples
from bot.training.run import OrderedTrainer, run

log = logging.getLogger(__name__)

TOKENS_PER_BATCH = 1536
LONGEST = 256
"""Tokens of a dialogue that are learned from; longer ones end earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterPlan:
    """One training run of an adapter of `rank` on every linear layer of `checkpoint`.

    `persona` are the sentences that the model is told about itself, in training as later in a talk.
    """

    out: Path
    checkpoint: str
    shares: Sequence[Share]
    persona: Sequence[str] = ()
    rank: int = 16
    epochs: int = 1
    minutes: float | None = None
    learning_rate: float = 1e-3
    dropout: float = 0.05
    bf16: bool = True
    seed: int = 0


class AdapterTrainer(OrderedTrainer):
    """The head computes only the positions that have a label."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross entropy over the learned tokens of the batch."""
        network = model.get_base_model()
        trunk = getattr(network, network.base_model_prefix)
        hidden = trunk(inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, D)
        targets = inputs["labels"][:, 1:]  # (B, T-1)
        learned = targets != IGNORED
        logits = network.get_output_embeddings()(hidden[learned]).float()  # (N, V)
        loss = F.cross_entropy(logits, targets[learned])
        return (loss, {"logits": logits}) if return_outputs else loss


def train_adapter(plan: AdapterPlan) -> None:
    """Carry the plan out; `plan.out` then holds the adapter as peft writes it, in bfloat16."""
    torch.manual_seed(plan.seed)
    plan.out.mkdir(parents=True, exist_ok=True)
    found = open_checkpoint(plan.checkpoint)
    dialect = dialect_named(found.dialect, found.read_tokenizer())
    model = load_language_model(found, torch.device("cpu"), torch.bfloat16 if plan.bf16 else torch.float32)
    network = getattr(model, "network", None)
    if network is None:
        raise TrainingError(f"{plan.checkpoint}: adapters are for models of transformers, and this is another network.")
    adapted: Any = get_peft_model(
        network,
        LoraConfig(
            r=plan.rank,
            lora_alpha=2 * plan.rank,
            lora_dropout=plan.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    examples = training_examples(dialect, plan.shares, LONGEST, random.Random(plan.seed), plan.persona)
    pad = min(dialect.stop_ids)
    batches = Batches(examples, TOKENS_PER_BATCH, pad, plan.seed)
    log.info("training_data", extra={"dialogues": len(examples), "batches": len(batches)})
    weights = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    run(
        AdapterTrainer,
        adapted,
        batches,
        _held_out(plan, dialect, pad),
        out=plan.out,
        epochs=plan.epochs,
        minutes=plan.minutes,
        learning_rate=plan.learning_rate,
        bf16=plan.bf16,
        seed=plan.seed,
        optimizer=torch.optim.AdamW(weights, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    )
    for weight in weights:
        weight.data = weight.data.to(torch.bfloat16)
    adapted.save_pretrained(plan.out)
    log.info("adapter_saved", extra={"path": str(plan.out)})


def _held_out(plan: AdapterPlan, dialect: Dialect, pad: int) -> Batches:
    """Of the first corpus, which the run is mostly about."""
    if not plan.shares:
        raise TrainingError("Give at least one --corpus NAME=WEIGHT.")
    corpus = corpus_named(plan.shares[0].corpus)
    examples = encode_dialogues(dialect, corpus.held_out(), corpus, LONGEST, random.Random(0), plan.persona)
    return Batches(examples, TOKENS_PER_BATCH, pad, seed=0)
