"""Train a generator, from scratch or from a checkpoint, with transformers' Trainer."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from bot.generator.dialects.base import IGNORED, Dialect
from bot.generator.dialects.registry import dialect_named
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.formats.registry import open_checkpoint
from bot.generator.loading import embedding_rows, load_model
from bot.generator.tokenization.hub import HubTokenizer, load_tokenizer
from bot.training.corpora.files import CorpusFile
from bot.training.corpora.registry import corpus_named
from bot.training.errors import TrainingError
from bot.training.examples import Batches, Share, encode_dialogues, training_examples
from bot.training.run import OrderedTrainer, run, save_halved
from bot.training.tokenizer import train_tokenizer

log = logging.getLogger(__name__)

DIALECT = "dialogpt"
TOKENS_PER_BATCH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of a model that is trained from scratch."""

    layers: int
    width: int
    vocabulary_size: int
    positions: int = 384


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One training run. Exactly one of `shape` (from scratch) and `checkpoint` (go on from there) is given.

    `dialect` "auto" is the checkpoint's own, and DialoGPT's from scratch. `held_out`, a file as PATH:FORMAT, is what
    the run is judged by; without it, the held-out part of the first corpus.
    """

    out: Path
    shares: Sequence[Share]
    shape: Shape | None = None
    checkpoint: str | None = None
    dialect: str = "auto"
    held_out: str | None = None
    epochs: int = 1
    minutes: float | None = None
    learning_rate: float = 2e-3
    dropout: float = 0.1
    bf16: bool = True
    seed: int = 0


class ReplyTrainer(OrderedTrainer):
    """The head computes only the positions that have a label, which saves a fifth of the time."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross entropy over the learned tokens of the batch."""
        read = {name: inputs[name] for name in ("input_ids", "token_type_ids") if name in inputs}
        hidden = model.transformer(**read, use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, D)
        targets = inputs["labels"][:, 1:]  # (B, T-1)
        learned = targets != IGNORED
        logits = model.lm_head(hidden[learned]).float()  # (N, V)
        loss = F.cross_entropy(logits, targets[learned])
        return (loss, {"logits": logits}) if return_outputs else loss


def train(plan: Plan) -> None:
    """Carry the plan out; `plan.out` then holds a checkpoint that `load_generator` takes."""
    if (plan.shape is None) == (plan.checkpoint is None):
        raise TrainingError("Say what to train: either --from-scratch with a size, or --checkpoint.")
    torch.manual_seed(plan.seed)
    plan.out.mkdir(parents=True, exist_ok=True)
    found = None if plan.checkpoint is None else open_checkpoint(plan.checkpoint)
    dialect = _dialect(plan, found)
    model = _model(plan, dialect, found)
    positions: int = model.config.n_positions
    examples = training_examples(dialect, plan.shares, positions, random.Random(plan.seed))
    pad = min(dialect.stop_ids)
    batches = Batches(examples, TOKENS_PER_BATCH, pad, plan.seed)
    log.info("training_data", extra={"dialogues": len(examples), "batches": len(batches)})
    run(
        ReplyTrainer,
        model,
        batches,
        _held_out(plan, dialect, positions, pad),
        out=plan.out,
        epochs=plan.epochs,
        minutes=plan.minutes,
        learning_rate=plan.learning_rate,
        bf16=plan.bf16,
        seed=plan.seed,
    )
    model.config.banter_dialect = dialect.name
    if found is not None:
        model.config.banter_system = found.system
    save_halved(model, plan.out)
    log.info("model_saved", extra={"path": str(plan.out)})


def _dialect(plan: Plan, found: Checkpoint | None) -> Dialect:
    """The dialect over the tokenizer, which is written to `plan.out`."""
    if found is not None:
        tokenizer = found.read_tokenizer()
        tokenizer.save(plan.out)
        return dialect_named(found.dialect if plan.dialect == "auto" else plan.dialect, tokenizer)
    if plan.dialect not in ("auto", DIALECT):
        raise TrainingError(
            f"From scratch there is the dialect {DIALECT} only; give a --checkpoint for {plan.dialect}."
        )
    if plan.shape is not None and not (plan.out / "tokenizer.json").is_file():
        texts = (
            turn
            for share in plan.shares
            for dialogue in corpus_named(share.corpus).training_pass(random.Random(plan.seed))
            for turn in dialogue.turns
        )
        HubTokenizer(train_tokenizer(texts, plan.shape.vocabulary_size)).save(plan.out)
    return dialect_named(DIALECT, load_tokenizer(plan.out))


def _model(plan: Plan, dialect: Dialect, found: Checkpoint | None) -> GPT2LMHeadModel:
    if found is not None:
        if found.role is not Role.GENERATOR or found.architecture is not Architecture.GPT2:
            kind = f"{found.system} {found.role} ({found.architecture})"
            raise TrainingError(f"{found.path}: this is a {kind}; only generators that are a GPT-2 can be trained.")
        model = load_model(GPT2LMHeadModel, found, torch.device("cpu"), torch.float32)
        if embedding_rows(model) < dialect.vocabulary_size:
            raise TrainingError(f"{found.path}: the tokenizer knows more tokens than the model. Copy the right one.")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = plan.dropout
        return model
    assert plan.shape is not None
    end = min(dialect.stop_ids)
    config = GPT2Config(
        vocab_size=dialect.vocabulary_size,
        n_positions=plan.shape.positions,
        n_embd=plan.shape.width,
        n_layer=plan.shape.layers,
        n_head=max(1, plan.shape.width // 64),
        activation_function="gelu_pytorch_tanh",  # GPT-2's own function in one operator instead of eight
        resid_pdrop=plan.dropout,
        embd_pdrop=plan.dropout,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
    )
    config._attn_implementation = "eager"  # faster than the fused one on CPU for talks this short
    return GPT2LMHeadModel(config)


def _held_out(plan: Plan, dialect: Dialect, positions: int, pad: int) -> Batches:
    """Without a file for it, of the first corpus, which the run is mostly about."""
    name = plan.held_out or next((share.corpus for share in plan.shares), None)
    if name is None:
        raise TrainingError("Give at least one --corpus NAME=WEIGHT.")
    corpus = corpus_named(name)
    dialogues = CorpusFile.named(name).everything() if plan.held_out else corpus.held_out()
    examples = encode_dialogues(dialect, dialogues, corpus, positions, random.Random(0))
    if not examples:
        raise TrainingError(f"{name}: there is nothing in it to judge a run by; no dialogue has a reply that fits.")
    return Batches(examples, TOKENS_PER_BATCH, pad, seed=0)
