"""The learning rate as a share of its highest value."""

import math
from collections.abc import Callable

from bot.training.settings import Schedule

LEAST = 0.01
"""No step is without effect, not even the last."""


def share_of_rate(schedule: Schedule, step: int, warm_up_steps: int, left: float) -> float:
    """For the step after `step` others; `left` is the share of the run that is still to come, 1 to 0.

    linear and cosine end with the run. noam (Vaswani et al. 2017, section 5.3) falls with the square root of the step
    and knows no end; the paper's width^-0.5 is part of the highest rate here.
    """
    rising = min(1.0, (step + 1) / max(1, warm_up_steps))
    return rising * _FALLS[schedule](step + 1, max(1, warm_up_steps), left)


def _linear(step: int, warm_up_steps: int, left: float) -> float:
    return max(LEAST, left)


def _cosine(step: int, warm_up_steps: int, left: float) -> float:
    return max(LEAST, 0.5 * (1 + math.cos(math.pi * (1 - left))))


def _noam(step: int, warm_up_steps: int, left: float) -> float:
    return min(1.0, math.sqrt(warm_up_steps / step))


_FALLS: dict[Schedule, Callable[[int, int, float], float]] = {
    Schedule.LINEAR: _linear,
    Schedule.COSINE: _cosine,
    Schedule.NOAM: _noam,
}
