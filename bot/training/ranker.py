"""Train a ranker: which of two replies did a person really give? (DialogRPT's objective, arXiv:2009.06978)"""

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from bot.generator.dialects.base import BOT, Dialect, Utterance
from bot.generator.engine import Generator, load_generator
from bot.generator.formats.base import Checkpoint
from bot.generator.formats.registry import open_checkpoint
from bot.generator.loading import load_model
from bot.training.corpora import preferences
from bot.training.corpora.preferences import MAX_TOKENS, preference_file
from bot.training.corpora.registry import corpus_named
from bot.training.errors import TrainingError
from bot.training.examples import Share
from bot.training.negatives import Contrast, contrasts, with_generated
from bot.training.run import OrderedTrainer, run, save_halved

log = logging.getLogger(__name__)

POSITIONS = 96
"""A ranker keeps only the positions that it was trained on, so that it is never asked about a longer talk."""

TOKENS_PER_BATCH = 4096
_STRETCH = 2048

Group = list[list[int]]
"""Token ids of one context with each of several replies, the right one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerPlan:
    """One training run, from the trunk of `generator`, which also writes a part of the wrong replies."""

    out: Path
    generator: str
    shares: Sequence[Share]
    minutes: float | None = None
    epochs: int = 1
    learning_rate: float = 3e-4
    bf16: bool = True
    seed: int = 0


class ContrastTrainer(OrderedTrainer):
    """The first row of a group is the real reply, the others are wrong."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean of -log(e^right / (e^right + e^wrong)) over all pairs of a right and a wrong reply."""
        logits = logits_of(model, inputs)
        wrong = inputs["labels"] >= 0
        loss = -F.logsigmoid(logits[inputs["labels"][wrong]] - logits[wrong]).mean()
        return (loss, {"logits": logits}) if return_outputs else loss


def logits_of(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """What the head says of every row: (B)."""
    hidden = model.transformer(batch["input_ids"], use_cache=False).last_hidden_state  # (B, T, D)
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    logits: torch.Tensor = model.score(hidden[rows, batch["last"]])  # (B, 1)
    return logits.float().squeeze(-1)


class ContrastBatches(Dataset[dict[str, torch.Tensor]]):
    """Groups of a right reply and wrong ones after their context, of about equal length, in padded batches.

    `labels` (B) is the row of the real reply for a wrong one, and -1 for a real one; `last` (B) is the last token.
    """

    def __init__(self, groups: Sequence[Group], pad_id: int, seed: int) -> None:
        self._pad_id = pad_id
        rng = random.Random(seed)
        groups = list(groups)
        rng.shuffle(groups)
        self._batches: list[list[Group]] = []
        for start in range(0, len(groups), _STRETCH):
            stretch = sorted(groups[start : start + _STRETCH], key=_width)
            batches = list(_cut(stretch))
            rng.shuffle(batches)
            self._batches += batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        rows: list[list[int]] = []
        right: list[int] = []
        for group in self._batches[number]:
            right += [-1, *([len(rows)] * (len(group) - 1))]
            rows += group
        longest = max(map(len, rows))
        return {
            "input_ids": torch.tensor([row + [self._pad_id] * (longest - len(row)) for row in rows]),
            "last": torch.tensor([len(row) - 1 for row in rows]),
            "labels": torch.tensor(right),
        }


def encode_group(contrast: Contrast, dialect: Dialect, max_tokens: int) -> Group:
    """The context with every reply, as a ranker reads it: no end after the reply."""
    return [
        dialect.encode([*contrast.context, Utterance(BOT, reply)], max_tokens + 1)[:-1]
        for reply in (contrast.reply, *contrast.wrong)
    ]


def train_ranker(plan: RankerPlan) -> None:
    """Carry the plan out; `plan.out` then holds a checkpoint that `load_ranker` takes."""
    torch.manual_seed(plan.seed)
    rng = random.Random(plan.seed)
    plan.out.mkdir(parents=True, exist_ok=True)
    generator = load_generator(plan.generator)
    checkpoint = open_checkpoint(plan.generator)
    checkpoint.read_tokenizer().save(plan.out)
    positions = min(POSITIONS, generator.context_budget(0))
    end = min(generator.dialect.stop_ids)
    if not plan.shares:
        raise TrainingError("Give at least one --corpus NAME=WEIGHT.")
    groups = [group for share in plan.shares for group in _groups(share, generator, positions, rng)]
    batches = ContrastBatches(groups, end, plan.seed)
    held_out = ContrastBatches(_groups_aside(plan.shares[0], generator, positions), end, seed=0)
    model = _grown_from(checkpoint, positions, end)
    run(
        ContrastTrainer,
        model,
        batches,
        held_out,
        out=plan.out,
        epochs=plan.epochs,
        minutes=plan.minutes,
        learning_rate=plan.learning_rate,
        bf16=plan.bf16,
        seed=plan.seed,
    )
    centre(model, held_out)
    model.config.pad_token_id = end
    save_halved(model, plan.out)
    log.info("ranker_saved", extra={"path": str(plan.out)})


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
    logits = torch.cat([logits_of(model, batches[number]) for number in range(len(batches))])
    direction = model.score.weight[0]  # (D)
    model.transformer.ln_f.bias -= direction * logits.mean() / direction.dot(direction)


def _groups(share: Share, generator: Generator, positions: int, rng: random.Random) -> list[Group]:
    """One epoch of a corpus."""
    found: list[Contrast] = []
    preferred: list[Group] = []
    left = share.weight
    while left > 0:
        part = min(left, 1.0)
        if (file := preference_file(share.corpus)) is not None:
            groups = _preferred(file, generator, positions)
            preferred += rng.sample(groups, round(len(groups) * part))
        else:
            dialogues = [one for one in corpus_named(share.corpus).training_pass(rng) if len(one.turns) > 1]
            found += contrasts(dialogues[: round(len(dialogues) * part)], rng)
        left -= 1.0
    log.info("generating_wrong_replies", extra={"contexts": len(found)})
    return [*preferred, *_encoded(with_generated(found, generator, rng), generator, positions)]


def _groups_aside(share: Share, generator: Generator, positions: int) -> list[Group]:
    """What the run is judged by: the corpus's held-out part, or the preferences themselves."""
    file = preference_file(share.corpus)
    if file is not None:
        return _preferred(file, generator, positions)
    aside = [one for one in corpus_named(share.corpus).held_out() if len(one.turns) > 1]
    return _encoded(
        with_generated(contrasts(aside, random.Random(0)), generator, random.Random(0)), generator, positions
    )


def _encoded(found: Sequence[Contrast], generator: Generator, positions: int) -> list[Group]:
    return [encode_group(contrast, generator.dialect, positions) for contrast in found]


def _preferred(file: Path, generator: Generator, positions: int) -> list[Group]:
    end = min(generator.dialect.stop_ids)
    groups = [one.rows(end, min(MAX_TOKENS, positions)) for one in preferences.read(file)]
    largest = max((token for group in groups for row in group for token in row), default=0)
    if largest >= generator.dialect.vocabulary_size:
        raise TrainingError(f"{file}: it holds the token {largest}, which the generator does not know.")
    return groups


def _width(group: Group) -> int:
    return max(map(len, group))


def _cut(groups: Sequence[Group]) -> Iterator[list[Group]]:
    batch: list[Group] = []
    rows = 0
    for group in groups:  # ascending widths, so the newest is the widest
        if batch and (rows + len(group)) * _width(group) > TOKENS_PER_BATCH:
            yield batch
            batch, rows = [], 0
        batch.append(group)
        rows += len(group)
    if batch:
        yield batch
