"""How a training run proceeds, whatever is trained: lengths, rates, number formats. Knows no model and no corpus."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Schedule(StrEnum):
    """How the learning rate falls after the warm-up."""

    LINEAR = "linear"
    COSINE = "cosine"
    NOAM = "noam"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """One run. `learning_rate` is the highest; it rises to it over `warm_up_steps`.

    `batch_tokens`, padding included, is what one device computes at once; `accumulate` such batches make a step. A
    run is judged and kept every `evaluate_every_steps`; after `patience` judgements without improvement it ends.
    `dtype`: auto, bf16, fp16 or float32 (see `bot.training.numbers`).
    """

    out: Path
    epochs: int = 1
    minutes: float | None = None
    learning_rate: float = 2e-3
    schedule: Schedule = Schedule.LINEAR
    warm_up_steps: int = 60
    weight_decay: float = 0.01
    batch_tokens: int = 4096
    accumulate: int = 1
    gradient_checkpointing: bool = False
    patience: int | None = None
    evaluate_every_steps: int = 200
    dtype: str = "auto"
    seed: int = 0
