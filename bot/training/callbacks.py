"""What ends a training run before its last step: the clock, and a person or a system that wants it to stop."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from bot.training.processes import is_first, processes, told_by_first


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
        by_time = 1 - self._agreed() / self._minutes if self._minutes else 1.0
        return max(0.0, min(by_steps, by_time))

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop when the time is up, after a last evaluation."""
        if self._minutes and self._agreed() >= self._minutes:
            control.should_training_stop = control.should_evaluate = control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What was spent outlives the process."""
        if is_first():
            self._file.write_text(json.dumps({"minutes": self.spent}))

    def _agreed(self) -> float:
        """Processes that disagreed by a moment would stop at different steps and wait for each other for ever."""
        return told_by_first(self.spent)


class Interruption(TrainerCallback):
    """The first SIGINT or SIGTERM ends the run after the step, with a checkpoint; the second one ends it at once.

    Several processes would stop at different steps; there a signal does what it always does.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Listen, where that is possible."""
        if processes() > 1 or threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep what there is and stop."""
        if self.asked:
            control.should_training_stop = control.should_save = True

    def restore(self) -> None:
        """Signals do again what they did before the run."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.restore()
