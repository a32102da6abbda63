"""What every training run here shares: order, clock, schedule and the Trainer's arguments."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from bot.training.errors import TrainingError
from bot.training.optimizer import MuonWithAdamW

WARM_UP_STEPS = 60
EVALUATION_EVERY_STEPS = 200

Batch = dict[str, torch.Tensor]


class Clock(TrainerCallback):
    """Minutes spent, over all resumptions; ends the run when they are used up."""

    def __init__(self, out: Path, minutes: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._file = out / "clock.json"
        self._minutes = minutes
        self._now = now
        self._before = float(json.loads(self._file.read_text())["minutes"]) if self._file.is_file() else 0.0
        self._started = now()

    @property
    def spent(self) -> float:
        """Minutes of training so far."""
        return self._before + (self._now() - self._started) / 60

    def left(self, step: int, total_steps: int) -> float:
        """The share of the run that is still to come (1 to 0), by steps or by time, whichever is less."""
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


class OrderedTrainer(Trainer):
    """A Trainer whose dataset consists of whole batches, taken in their order."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        batches: Any = self.train_dataset
        return SequentialSampler(batches)


def run(
    kind: type[OrderedTrainer],
    model: nn.Module,
    batches: Dataset[Batch],
    held_out: Dataset[Batch],
    *,
    out: Path,
    epochs: int,
    minutes: float | None,
    learning_rate: float,
    bf16: bool,
    seed: int,
    optimizer: Optimizer | None = None,
) -> None:
    """Train, resuming from the last checkpoint in `out`; the model ends with the weights of least held-out loss.

    The learning rate rises over the first steps, then falls in a straight line to the end of the steps or of the
    minutes, whichever comes first.
    """
    steps = _length(batches) * epochs
    if steps == 0:
        raise TrainingError("There is nothing to train on: give at least one --corpus NAME=WEIGHT above 0.")
    clock = Clock(out, minutes)
    optimizer = optimizer or MuonWithAdamW(model, learning_rate, weight_decay=0.01)
    scheduler = LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.01, clock.left(step, steps))
    )
    trainer = kind(
        model=model,
        args=_arguments(out, epochs, bf16, seed),
        train_dataset=batches,
        eval_dataset=held_out,
        data_collator=lambda items: items[0],  # an item is a whole batch
        optimizers=(optimizer, scheduler),
        callbacks=[clock],
    )
    last_checkpoint: Any = get_last_checkpoint  # carries no annotations
    trainer.train(resume_from_checkpoint=last_checkpoint(str(out)))


def save_halved(model: Any, out: Path) -> None:
    """Write a model's numbers in float16: half the size, and inference widens them again."""
    model.half().save_pretrained(out)


def _arguments(out: Path, epochs: int, bf16: bool, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(out),
        num_train_epochs=epochs,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        bf16=bf16,
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
        seed=seed,
    )


def _length(dataset: Any) -> int:
    return len(dataset)
