"""Train a ranker: which of two replies did a person really give? (DialogRPT's objective, arXiv:2009.06978)"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from bot.generator.engine import load_generator
from bot.generator.formats.base import Architecture, Checkpoint, Role
from bot.generator.formats.registry import open_checkpoint
from bot.generator.loading import load_model
from bot.training.contrast_batches import ContrastBatches, Group
from bot.training.contrast_data import Against, ContrastData, gather
from bot.training.disk import writing_into
from bot.training.errors import TrainingError
from bot.training.examples import Share
from bot.training.metrics.ranking import Judged, hits_at, pair_accuracy
from bot.training.processes import first_process_first, is_first
from bot.training.run import run, save_halved
from bot.training.settings import RunSettings
from bot.training.trainer import Batch

log = logging.getLogger(__name__)

POSITIONS = 96
"""A ranker keeps only the positions that it was trained on, so that it is never asked about a longer talk."""

FIGURES = "figures.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerPlan:
    """One training run, from the trunk of `generator`, which also writes a part of the wrong replies."""

    settings: RunSettings
    generator: str
    shares: Sequence[Share]
    against: frozenset[Against] = frozenset(Against)


class PreferredReplies:
    """DialogRPT's loss: -log(e^right / (e^right + e^wrong)) of every pair. See `bot.training.trainer.Objective`.

    The first row of a group is the real reply, the others are wrong.
    """

    of_tokens = False

    def total_loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """See `Objective.total_loss`."""
        logits = logits_of(model, batch)
        wrong = batch["labels"] >= 0
        return -F.logsigmoid(logits[batch["labels"][wrong]] - logits[wrong]).sum()

    def items(self, batch: Batch) -> int:
        """See `Objective.items`: pairs."""
        return max(1, int((batch["labels"] >= 0).sum()))

    def halves(self, batch: Batch) -> tuple[Batch, ...]:
        """See `Objective.halves`: between two groups."""
        begins = (batch["labels"] < 0).nonzero()[:, 0].tolist()
        if len(begins) < 2:
            return (batch,)
        cut = begins[len(begins) // 2]
        first = {name: values[:cut] for name, values in batch.items()}
        second = {name: values[cut:] for name, values in batch.items()}
        second["labels"] = torch.where(second["labels"] < 0, second["labels"], second["labels"] - cut)
        return (first, second)


def logits_of(model: Any, batch: Batch) -> torch.Tensor:
    """What the head says of every row: (B)."""
    hidden = model.transformer(batch["input_ids"]).last_hidden_state  # (B, T, D)
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    logits: torch.Tensor = model.score(hidden[rows, batch["last"]])  # (B, 1)
    return logits.float().squeeze(-1)


def train_ranker(plan: RankerPlan) -> dict[str, float]:
    """Carry the plan out; `plan.settings.out` then holds a checkpoint that `load_ranker` takes, and its figures, which
    are given back."""
    if not plan.shares:
        raise TrainingError("Give at least one --corpus NAME=WEIGHT.")
    with writing_into(plan.settings.out):
        return _carry_out(plan)


def _carry_out(plan: RankerPlan) -> dict[str, float]:
    settings = plan.settings
    torch.manual_seed(settings.seed)
    checkpoint = open_checkpoint(plan.generator)
    if checkpoint.architecture is not Architecture.GPT2 or checkpoint.role is not Role.GENERATOR:
        raise TrainingError(
            f"{checkpoint.path}: this is a {checkpoint.system} {checkpoint.role} ({checkpoint.architecture}); rankers "
            "grow from a generator that is a GPT-2."
        )
    generator = load_generator(plan.generator)
    positions, end = min(POSITIONS, generator.context_budget(0)), min(generator.dialect.stop_ids)
    with first_process_first():
        if is_first():
            checkpoint.read_tokenizer().save(settings.out)
        data = gather(plan.shares, plan.against, generator, positions, settings)
    held_out = ContrastBatches(data.aside, end, 0, settings.batch_tokens)
    batches = ContrastBatches(data.groups, end, settings.seed, settings.batch_tokens)
    model = _grown_from(checkpoint, positions, end)
    run(PreferredReplies(), model, batches, held_out, settings)
    centre(model, held_out)
    figures = figures_of(model, data, end)
    if is_first():
        (settings.out / FIGURES).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    model.config.pad_token_id = end
    save_halved(model, settings)
    log.info("ranker_saved", extra={"path": str(settings.out)})
    return figures


def figures_of(model: Any, data: ContrastData, end: int) -> dict[str, float]:
    """What the ranker gets right of what it never learned: pairs by kind, and the real reply among ten."""
    model.eval()
    figures: dict[str, float] = {}
    for kind, groups in data.aside_by_kind.items():
        pairs = [(one.positive[0], bad) for one in _judged(model, groups, end) for bad in one.negative]
        if pairs:
            figures[f"pair_accuracy_{kind}"] = pair_accuracy(pairs)
    if data.tens:
        figures["hits_at_1_of_10"] = hits_at(_judged(model, data.tens, end), 1)
    figures["held_out_contexts"] = len(data.tens) or len(data.aside)
    return figures


@torch.no_grad()
def _judged(model: Any, groups: Sequence[Group], end: int) -> list[Judged]:
    batches = ContrastBatches(groups, end, seed=0)
    found = []
    for number in range(len(batches)):
        batch = {name: values.to(model.device) for name, values in batches[number].items()}
        logits, right = logits_of(model, batch).tolist(), batch["labels"].tolist()
        for row in (row for row, owner in enumerate(right) if owner < 0):
            wrong = [logit for logit, owner in zip(logits, right, strict=True) if owner == row]
            found.append(Judged([logits[row]], wrong))
    return found


def _grown_from(checkpoint: Checkpoint, positions: int, end: int) -> GPT2ForSequenceClassification:
    """The generator's trunk for contexts of so many tokens, under a head that begins as the logit of `end`.

    That is a ranker already: it asks whether the reply is complete (DialogRPT reads a generator as a head this way).
    From there it learns twice as fast as from a random head.
    """
    trunk = load_model(GPT2LMHeadModel, checkpoint, torch.device("cpu"), torch.float32)
    config = GPT2Config(**{**trunk.config.to_dict(), "num_labels": 1, "n_positions": positions})
    config.resid_pdrop = config.embd_pdrop = 0.0
    config._attn_implementation = "eager"  # faster than the fused one on CPU for talks this short
    model = GPT2ForSequenceClassification(config)
    weights = trunk.transformer.state_dict()
    weights["wpe.weight"] = weights["wpe.weight"][:positions]
    model.transformer.load_state_dict(weights)
    model.score.weight.data.copy_(weights["wte.weight"][end : end + 1])
    return model


@torch.no_grad()
def centre(model: Any, batches: ContrastBatches) -> None:
    """Shift every logit alike so that their mean is 0.

    Pairs leave the shift open, and a score of 0.99 for every reply would tell nothing beside another ranker's.
    The head has no bias of its own; the last norm's bias, moved along the head's weights, does the same.
    """
    model.eval()
    logits = torch.cat(
        [
            logits_of(model, {name: values.to(model.device) for name, values in batches[number].items()})
            for number in range(len(batches))
        ]
    )
    direction = model.score.weight[0]  # (D)
    model.transformer.ln_f.bias -= direction * logits.mean() / direction.dot(direction)
