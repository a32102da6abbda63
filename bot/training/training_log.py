"""The log of a training run: one JSON object a line in training.jsonl, and a picture of it in training.png."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

FILE = "training.jsonl"
PICTURE = "training.png"

Entry = dict[str, float]


class TrainingLog(TrainerCallback):
    """Loss, learning rate, and tokens a second: padding counts as read, time for evaluation does not count.

    After a kill, what was logged beyond the checkpoint that the run goes on from is logged again.
    """

    def __init__(self, out: Path, *, of_tokens: bool = True, now: Callable[[], float] = time.monotonic) -> None:
        """`of_tokens`: the loss is one of tokens, so that its exponential is a perplexity."""
        self._file = out / FILE
        self._of_tokens = of_tokens
        self._now = now
        self._began = 0.0
        self._seconds = 0.0
        self._tokens = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Forget what comes again."""
        self._tokens = state.num_input_tokens_seen
        if state.is_world_process_zero:
            kept = [entry for entry in read_log(self._file) if entry["step"] <= state.global_step]
            self._file.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the watch."""
        self._began = self._now()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop it."""
        self._seconds += self._now() - self._began

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        """Write what the Trainer says."""
        if not state.is_world_process_zero or not logs:
            return
        if "loss" in logs:
            self._write(state, {**self._losses("", logs["loss"]), **self._speed(state), "rate": logs["learning_rate"]})
        elif "eval_loss" in logs:
            self._write(state, self._losses("held_out_", logs["eval_loss"]))

    def _losses(self, prefix: str, loss: float) -> Entry:
        found = {f"{prefix}loss": loss}
        if self._of_tokens:
            found[f"{prefix}perplexity"] = math.exp(min(loss, 700.0))
        return found

    def _speed(self, state: TrainerState) -> Entry:
        tokens = state.num_input_tokens_seen
        speed = (tokens - self._tokens) / self._seconds if self._seconds else 0.0
        self._tokens, self._seconds = tokens, 0.0
        return {"tokens": tokens, "tokens_per_second": round(speed, 1)}

    def _write(self, state: TrainerState, entry: Entry) -> None:
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": state.global_step, "epoch": round(state.epoch or 0.0, 4), **entry}) + "\n")


def read_log(file: Path) -> list[Entry]:
    """Every whole line; a killed process may have left half of one at the end."""
    entries = []
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def draw(out: Path) -> None:
    """Paint the losses over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = read_log(out / FILE)
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, label in (("loss", "training"), ("held_out_loss", "held out")):
        points = [(entry["step"], entry[key]) for entry in entries if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 40 else "")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out / PICTURE, dpi=120)
