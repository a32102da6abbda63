"""What goes into the engine and what comes out: plain data, imports no torch."""

import math
from dataclasses import dataclass

from bot.generator.decoding import Decoding


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One context that wants `decoding.candidates` replies.

    `seed` (any integer) alone decides what is drawn, whatever else is in the batch. `banned_ids` are kept out of
    the replies in addition to what the dialect forbids.
    """

    input_ids: tuple[int, ...]
    decoding: Decoding
    seed: int
    banned_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One generated reply.

    `token_ids` leave out the stop token. `log_prob` is the sum over the generated tokens, the stop token included,
    under the model's own distribution (natural logarithm; temperature, penalties and cuts do not enter).
    `finished` says that the model ended the reply itself. `score` is what a search ranked it by; None: it was drawn.
    """

    token_ids: tuple[int, ...]
    text: str
    log_prob: float
    finished: bool
    score: float | None = None

    @property
    def mean_log_prob(self) -> float:
        """Log probability per generated token; minus infinity if there is none."""
        tokens = len(self.token_ids) + self.finished
        return self.log_prob / tokens if tokens else -math.inf

    @property
    def probability(self) -> float:
        """The geometric mean of the tokens' probabilities, between 0 and 1."""
        return math.exp(self.mean_log_prob)
