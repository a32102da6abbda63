"""Train a generator, from scratch or from a checkpoint, with transformers' Trainer."""

import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler, SequentialSampler
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from bot.generator.dialects.base import IGNORED, Dialect
from bot.generator.dialects.registry import dialect_named
from bot.generator.tokenization import load_tokenizer
from bot.training.corpora.registry import corpus_named
from bot.training.errors import TrainingError
from bot.training.examples import Batches, Share, encode_dialogues, training_examples
from bot.training.optimizer import MuonWithAdamW
from bot.training.tokenizer import save_tokenizer, train_tokenizer

log = logging.getLogger(__name__)

WARM_UP_STEPS = 60
TOKENS_PER_BATCH = 4096
EVALUATION_EVERY_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of a model that is trained from scratch."""

    layers: int
    width: int
    vocabulary_size: int
    positions: int = 384


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One training run. Exactly one of `shape` (from scratch) and `checkpoint` (go on from a directory) is given."""

    out: Path
    shares: Sequence[Share]
    shape: Shape | None = None
    checkpoint: Path | None = None
    epochs: int = 1
    minutes: float | None = None
    learning_rate: float = 2e-3
    dropout: float = 0.1
    bf16: bool = True
    seed: int = 0


class ReplyTrainer(Trainer):
    """The Trainer, but the head computes only the positions that have a label: a third of the work less."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross entropy over the learned tokens of the batch."""
        hidden = model.transformer(inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, D)
        targets = inputs["labels"][:, 1:]  # (B, T-1)
        learned = targets != IGNORED
        logits = model.lm_head(hidden[learned]).float()  # (N, V)
        loss = F.cross_entropy(logits, targets[learned])
        return (loss, {"logits": logits}) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]  # our batches are already in order


class Clock(TrainerCallback):
    """Minutes spent, over all resumptions; ends the run when they are used up."""

    def __init__(self, out: Path, minutes: float | None) -> None:
        self._file = out / "clock.json"
        self._minutes = minutes
        self._before = json.loads(self._file.read_text())["minutes"] if self._file.is_file() else 0.0
        self._started = time.monotonic()

    @property
    def spent(self) -> float:
        """Minutes of training so far."""
        return float(self._before) + (time.monotonic() - self._started) / 60

    def left(self, step: int, total_steps: int) -> float:
        """The share of the run that is still to come, by steps or by time, whichever is less."""
        by_steps = 1 - step / max(1, total_steps)
        by_time = 1 - self.spent / self._minutes if self._minutes else 1.0
        return max(0.0, min(by_steps, by_time))

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop when the time is up, after a last evaluation."""
        if self._minutes and self.spent >= self._minutes:
            control.should_training_stop = control.should_evaluate = control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What was spent outlives the process."""
        self._file.write_text(json.dumps({"minutes": self.spent}))


def train(plan: Plan) -> Path:
    """Run the plan, resuming from its last checkpoint if there is one; the best model ends up in `plan.out`."""
    torch.manual_seed(plan.seed)
    plan.out.mkdir(parents=True, exist_ok=True)
    dialect = _dialect(plan)
    model = _model(plan, dialect)
    rng = random.Random(plan.seed)
    examples = training_examples(dialect, plan.shares, model.config.n_positions, rng)
    if not examples:
        raise TrainingError("There is nothing to train on: give at least one --corpus NAME=WEIGHT above 0.")
    pad = min(dialect.stop_ids)
    batches = Batches(examples, TOKENS_PER_BATCH, pad, plan.seed)
    log.info("training_data", extra={"dialogues": len(examples), "batches": len(batches)})
    trainer = _trainer(plan, model, batches, _held_out(dialect, plan, model.config.n_positions, pad))
    last_checkpoint: Any = get_last_checkpoint  # carries no annotations
    resume = last_checkpoint(str(plan.out))
    trainer.train(resume_from_checkpoint=resume)
    save(model, dialect, plan.out)
    return plan.out


def save(model: GPT2LMHeadModel, dialect: Dialect, out: Path) -> None:
    """Write weights and config (with the dialect's name); the tokenizer is already there."""
    model.config.banter_dialect = dialect.name
    model.save_pretrained(out)
    log.info("model_saved", extra={"path": str(out)})


def _dialect(plan: Plan) -> Dialect:
    if plan.checkpoint is not None:
        save_tokenizer(load_tokenizer(plan.checkpoint), plan.out)
    elif plan.shape is not None and not (plan.out / "tokenizer.json").is_file():
        texts = (
            turn
            for share in plan.shares
            for dialogue in corpus_named(share.corpus).training_pass(random.Random(plan.seed))
            for turn in dialogue.turns
        )
        save_tokenizer(train_tokenizer(texts, plan.shape.vocabulary_size), plan.out)
    return dialect_named("dialogpt", load_tokenizer(plan.out))


def _model(plan: Plan, dialect: Dialect) -> GPT2LMHeadModel:
    dropout: dict[str, Any] = {"resid_pdrop": plan.dropout, "embd_pdrop": plan.dropout, "attn_pdrop": 0.0}
    if plan.checkpoint is not None:
        return GPT2LMHeadModel.from_pretrained(plan.checkpoint, dtype=torch.float32, **dropout)
    if plan.shape is None:
        raise TrainingError("Say what to train: --from-scratch with a size, or --checkpoint DIRECTORY.")
    end = min(dialect.stop_ids)
    config = GPT2Config(
        vocab_size=dialect.vocabulary_size,
        n_positions=plan.shape.positions,
        n_embd=plan.shape.width,
        n_layer=plan.shape.layers,
        n_head=max(1, plan.shape.width // 64),
        activation_function="gelu_pytorch_tanh",  # GPT-2's own function in one operator instead of eight
        bos_token_id=end,
        eos_token_id=end,
        **dropout,
    )
    config._attn_implementation = "eager"  # faster than the fused one on CPU for talks this short
    return GPT2LMHeadModel(config)


def _held_out(dialect: Dialect, plan: Plan, max_tokens: int, pad: int) -> Batches:
    corpus = corpus_named(plan.shares[0].corpus)
    examples = encode_dialogues(dialect, corpus.held_out(), corpus, max_tokens, random.Random(0))
    return Batches(examples, TOKENS_PER_BATCH, pad, seed=0)


def _trainer(plan: Plan, model: GPT2LMHeadModel, batches: Batches, held_out: Batches) -> ReplyTrainer:
    clock = Clock(plan.out, plan.minutes)
    total_steps = len(batches) * plan.epochs
    optimizer = MuonWithAdamW(model, plan.learning_rate, weight_decay=0.01)
    scheduler = LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.01, clock.left(step, total_steps))
    )
    arguments = TrainingArguments(
        output_dir=str(plan.out),
        num_train_epochs=plan.epochs,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        bf16=plan.bf16,
        use_cpu=not torch.cuda.is_available(),
        max_grad_norm=1.0,
        logging_steps=50,
        eval_strategy="steps",
        eval_steps=EVALUATION_EVERY_STEPS,
        save_strategy="steps",
        save_steps=EVALUATION_EVERY_STEPS,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        prediction_loss_only=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to=[],
        seed=plan.seed,
    )
    return ReplyTrainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        eval_dataset=held_out,
        data_collator=lambda items: items[0],  # an item of Batches is a whole batch
        optimizers=(optimizer, scheduler),
        callbacks=[clock],
    )
