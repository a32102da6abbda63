"""Train a generator: from scratch, from a checkpoint, or an adapter beside one."""

import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bot.generator.dialects.base import Dialect
from bot.generator.dialects.chitchat import Chitchat
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.dialects.registry import dialect_named
from bot.generator.formats.adapter import open_base
from bot.generator.formats.base import Checkpoint
from bot.generator.formats.registry import open_checkpoint
from bot.generator.tokenization.chat import ChatTokenizer
from bot.generator.tokenization.hub import HubTokenizer, load_tokenizer
from bot.training import adapter
from bot.training.corpora.files import CorpusFile
from bot.training.corpora.registry import corpus_named
from bot.training.disk import writing_into
from bot.training.errors import TrainingError
from bot.training.examples import AS_USUAL, MAX_TURNS, Batches, Lesson, Share, encode_dialogues, training_examples
from bot.training.networks import Shape, loaded_network, new_network, positions_of
from bot.training.numbers import pick_training_dtype, training_device
from bot.training.objectives import LearnedTokens
from bot.training.processes import first_process_first, is_first
from bot.training.run import run, save_halved
from bot.training.settings import RunSettings
from bot.training.tokenizer import train_tokenizer

log = logging.getLogger(__name__)

DIALECT = DialoGPT.name
DROPOUT = 0.1
REVERSIBLE = (DialoGPT.name, Chitchat.name)
"""The dialects that the ranker `reverse` reads backwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One training run. Exactly one of `shape` (from scratch) and `checkpoint` (go on from there) is given.

    `adapter_rank`: train an adapter beside the checkpoint. `dialect` "auto" is the checkpoint's own, and DialoGPT's
    from scratch. `persona` are the sentences that the model is told about itself, in training as later in a talk.
    `held_out`, a file as PATH:FORMAT, is what the run is judged by; without it, the held-out part of the first
    corpus. `max_tokens` of an example: by default what the model reads, and less for an adapter.
    """

    settings: RunSettings
    shares: Sequence[Share]
    shape: Shape | None = None
    checkpoint: str | None = None
    adapter_rank: int | None = None
    dialect: str = "auto"
    persona: Sequence[str] = ()
    lesson: Lesson = AS_USUAL
    held_out: str | None = None
    dropout: float | None = None
    max_tokens: int | None = None


def train(plan: Plan) -> None:
    """Carry the plan out; `plan.settings.out` then holds a checkpoint that `load_generator` takes.

    Raises TrainingError; what was computed is then kept, and the same plan goes on from there.
    """
    _check(plan)
    with writing_into(plan.settings.out):
        _carry_out(plan)


def _carry_out(plan: Plan) -> None:
    settings = plan.settings
    torch.manual_seed(settings.seed)
    found = _found(plan)
    with first_process_first():
        dialect = _dialect(plan, found)
    _check_lesson(plan.lesson, dialect)
    model = _model(plan, dialect, found)
    longest = _longest(plan, model)
    examples = training_examples(dialect, plan.shares, longest, random.Random(settings.seed), plan.persona, plan.lesson)
    pad = min(dialect.stop_ids)
    batches = Batches(examples, settings.batch_tokens, pad, settings.seed)
    if not examples:
        raise TrainingError(
            f"There is nothing to train on in {', '.join(share.corpus for share in plan.shares)}: no dialogue has a "
            f"turn and a reply to it that fit into {longest} tokens. Give a --corpus NAME=WEIGHT with a weight above 0."
        )
    log.info(
        "training_data",
        extra={
            "dialogues": len(examples),
            "batches": len(batches),
            "tokens": batches.tokens,
            "padding": round(batches.padding, 4),
        },
    )
    run(
        LearnedTokens(),
        model,
        batches,
        _held_out(plan, dialect, longest, pad),
        settings,
        None if plan.adapter_rank is None else adapter.adapter_optimizer(model, settings),
    )
    _save(plan, model, dialect, found)


def _found(plan: Plan) -> Checkpoint | None:
    if plan.checkpoint is None:
        return None
    return open_checkpoint(plan.checkpoint) if plan.adapter_rank is None else open_base(plan.checkpoint)


def _check(plan: Plan) -> None:
    if (plan.shape is None) == (plan.checkpoint is None):
        raise TrainingError("Say what to train: either --from-scratch with a size, or --checkpoint.")
    if plan.adapter_rank is not None and plan.checkpoint is None:
        raise TrainingError("An adapter stands beside a model: name it with --checkpoint.")
    if not plan.shares:
        raise TrainingError("Give at least one --corpus NAME=WEIGHT.")
    pick_training_dtype(plan.settings.dtype, training_device())


def _check_lesson(lesson: Lesson, dialect: Dialect) -> None:
    if lesson.reverse and dialect.name not in REVERSIBLE:
        raise TrainingError(
            f"--reverse is for models that choose replies by mutual information, which the dialect {dialect.name} has "
            f"not. Known: {', '.join(REVERSIBLE)}."
        )
    if lesson.max_turns is not None and dialect.name not in MAX_TURNS:
        raise TrainingError(
            f"--max-turns is for the dialects that learn one reply an example ({', '.join(sorted(MAX_TURNS))}), not "
            f"for {dialect.name}."
        )


def _dialect(plan: Plan, found: Checkpoint | None) -> Dialect:
    """The dialect over the tokenizer, which is written beside the model unless it stays the base's."""
    out = plan.settings.out
    if found is not None:
        tokenizer = found.read_tokenizer()
        if plan.adapter_rank is None and is_first():
            tokenizer.save(out)
        return dialect_named(found.dialect if plan.dialect == "auto" else plan.dialect, tokenizer)
    if plan.dialect not in ("auto", DIALECT):
        raise TrainingError(
            f"From scratch there is the dialect {DIALECT} only; give a --checkpoint for {plan.dialect}."
        )
    if plan.shape is not None and not (out / "tokenizer.json").is_file():
        texts = (
            turn
            for share in plan.shares
            for dialogue in corpus_named(share.corpus).training_pass(random.Random(plan.settings.seed))
            for turn in dialogue.turns
        )
        HubTokenizer(train_tokenizer(texts, plan.shape.vocabulary_size)).save(out)
    return dialect_named(DIALECT, load_tokenizer(out))


def _model(plan: Plan, dialect: Dialect, found: Checkpoint | None) -> Any:
    if found is None:
        assert plan.shape is not None
        return new_network(plan.shape, dialect, DROPOUT if plan.dropout is None else plan.dropout)
    if plan.adapter_rank is None:
        return loaded_network(found, dialect, DROPOUT if plan.dropout is None else plan.dropout, torch.float32)
    dtype = pick_training_dtype(plan.settings.dtype, training_device())
    dropout = adapter.DROPOUT if plan.dropout is None else plan.dropout
    return adapter.adapted(loaded_network(found, dialect, 0.0, dtype), plan.adapter_rank, dropout)


def _longest(plan: Plan, model: Any) -> int:
    wanted = plan.max_tokens or (None if plan.adapter_rank is None else adapter.MAX_TOKENS)
    positions = positions_of(model)
    return positions if wanted is None else min(wanted, positions)


def _held_out(plan: Plan, dialect: Dialect, longest: int, pad: int) -> Batches:
    """Without a file for it, of the first corpus, which the run is mostly about."""
    name = plan.held_out or plan.shares[0].corpus
    corpus = corpus_named(name)
    dialogues = CorpusFile.named(name).everything() if plan.held_out else corpus.held_out()
    examples = encode_dialogues(dialect, dialogues, corpus, longest, random.Random(0), plan.persona, plan.lesson)
    if not examples:
        raise TrainingError(f"{name}: there is nothing in it to judge a run by; no dialogue has a reply that fits.")
    return Batches(examples, plan.settings.batch_tokens, pad, seed=0)


def _save(plan: Plan, model: Any, dialect: Dialect, found: Checkpoint | None) -> None:
    if not is_first():
        return
    out = plan.settings.out
    if plan.adapter_rank is not None:
        assert plan.checkpoint is not None
        adapter.save_adapter(model, out, base=plan.checkpoint, dialect=dialect.name, persona=plan.persona)
    else:
        model.config.banter_dialect = dialect.name
        if found is not None:
            model.config.banter_system = found.system
        save_halved(model, plan.settings)
        if found is not None:
            _keep_recommendations(found, plan.settings)
    log.info("model_saved", extra={"path": str(out)})


def _keep_recommendations(found: Checkpoint, settings: RunSettings) -> None:
    """How the authors of a chat model decode, which the network's class does not know."""
    tokenizer = found.read_tokenizer()
    if isinstance(tokenizer, ChatTokenizer):
        text = json.dumps(dict(tokenizer.generation), indent=2)
        (settings.out / "generation_config.json").write_text(text + "\n", encoding="utf-8")
