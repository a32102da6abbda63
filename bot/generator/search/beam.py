"""Beam search: the likeliest replies instead of drawn ones, one request at a time.

The families' libraries differ in how they weigh lengths and when they stop. `Manner.beam_length` chooses:

- "sequence" is transformers 3.1: a hypothesis' score is its sum of log probabilities over its full length, context
  included and stop token left out, to the power of `length_penalty`; what is open at the end joins the hypotheses.
- "reply" is transformers 5: the length is that of the reply, its stop token included.

In both, penalties act on log-softmax values, each step looks at the best continuations of all beginnings together,
a stop token counts only among the first `beams` of them, and the search ends when the best open beginning can no
longer displace the worst hypothesis ("early_stopping" off).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Manner
from bot.generator.models.base import LanguageModel, Prompt, Reading
from bot.generator.search.base import forbidden, penalised, said_before, unwanted_ids

_OTHERS_AT_FIRST = -1e9
"""All beginnings are equal at first: only the first one's continuations shall count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A reply that the search found: its tokens without the stop token, and that token, None if it never came.

    `score` is what the search ranks by; `log_prob` is the sum under the model's own distribution, stop included.
    """

    tokens: tuple[int, ...]
    stop: int | None
    score: float
    log_prob: float


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A reply that is still open; `total` is its sum of penalised log probabilities."""

    tokens: tuple[int, ...]
    total: float
    log_prob: float


@dataclass(frozen=True, slots=True)
class _Continuation:
    """A beginning and its next token."""

    parent: int
    token: int
    total: float
    log_prob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamTask:
    """One context, what the decoder has before the reply, and the rules by which it is continued.

    `limit`: tokens of the longest reply. `never`: ids that stand for no text; `banned`: ids that this request forbids.
    """

    prompt: Prompt
    before: tuple[int, ...]
    decoding: Decoding
    manner: Manner
    stop_ids: tuple[int, ...]
    limit: int
    never: Sequence[int] = ()
    banned: Sequence[int] = ()


def beam_search(model: LanguageModel, task: BeamTask) -> list[Hypothesis] | None:
    """The best `beams` hypotheses, best first; None if the model computed numbers that are not finite."""
    beams = task.decoding.beams
    logits, reading = model.read([task.prompt])
    start = torch.zeros(beams, dtype=torch.int64, device=model.device)
    reading.select(start)
    return _Search(task, logits[start], reading).run()


class _Search:
    """The open beginnings, (N) of them, what the model read of them, and the hypotheses so far."""

    def __init__(self, task: BeamTask, logits: Tensor, reading: Reading) -> None:
        self._task = task
        self._logits = logits  # (N, V)
        self._reading = reading
        self._beams, vocabulary = logits.shape
        self._found = _Found(self._beams)
        self._open = [_Beginning((), 0.0 if n == 0 else _OTHERS_AT_FIRST, 0.0) for n in range(self._beams)]
        self._totals = torch.tensor([one.total for one in self._open], device=logits.device)  # (N)
        seen = said_before(task.before, task.manner, task.stop_ids, vocabulary).to(logits.device)
        self._seen = seen.repeat(self._beams, 1)  # (N, V)
        self._banned = forbidden(task.never, task.banned, vocabulary).to(logits.device)  # (V)
        self._penalty = torch.tensor([[task.decoding.repetition_penalty]], device=logits.device)

    def run(self) -> list[Hypothesis] | None:
        for step in range(self._task.limit):
            if not bool(torch.isfinite(self._logits).all()):
                return None
            last = step == self._task.limit - 1
            best = self._continuations(must_stop=last and self._task.manner.beam_must_stop)
            if self._task.manner.beam_length == "sequence":
                going, done = self._close_by_sequence(best, step)
            else:
                going, done = self._close_by_reply(best, step, last)
            if done or not going:
                return self._found.best()
            self._continue(going, feed=not last)
        if self._task.manner.beam_length == "sequence":
            for one in self._open:
                self._add(one.tokens, None, one.total, one.log_prob, self._length(len(one.tokens)))
        return self._found.best()

    def _continuations(self, *, must_stop: bool) -> list[_Continuation]:
        """The best continuations of all beginnings, best first: so many that enough go on where others stop."""
        own = self._logits.log_softmax(dim=-1)  # (N, V)
        logits = self._logits
        if must_stop:
            logits = torch.full_like(logits, -torch.inf)
            logits[:, list(self._task.stop_ids)] = self._logits[:, list(self._task.stop_ids)]
        scores = penalised(logits.log_softmax(dim=-1), self._seen, self._penalty, self._task.manner)
        for number, one in enumerate(self._open):
            unwanted = unwanted_ids(
                one.tokens, self._task.before, self._task.decoding, self._task.manner, self._task.stop_ids
            )
            scores[number, sorted(unwanted)] = -torch.inf
        scores = scores.masked_fill(self._banned, -torch.inf)
        together = (scores + self._totals[:, None]).reshape(-1)  # (N * V)
        wanted = min(max(2, 1 + len(self._task.stop_ids)) * self._beams, len(together))
        totals, places = together.topk(wanted)
        parents = places // self._logits.shape[1]
        tokens = places % self._logits.shape[1]
        gains = own[parents, tokens]
        return [
            _Continuation(parent, token, total, self._open[parent].log_prob + gain)
            for parent, token, total, gain in zip(
                parents.tolist(), tokens.tolist(), totals.tolist(), gains.tolist(), strict=True
            )
        ]

    def _close_by_sequence(self, best: Sequence[_Continuation], step: int) -> tuple[list[_Continuation], bool]:
        going: list[_Continuation] = []
        for rank, one in enumerate(best):
            if one.token not in self._task.stop_ids:
                going.append(one)
            elif rank < self._beams:
                tokens = self._open[one.parent].tokens
                self._add(tokens, one.token, one.total, one.log_prob, self._length(len(tokens)))
            if len(going) == self._beams:
                break
        hopeless = self._found.worst >= best[0].total / self._length(step)
        return going, self._found.full and hopeless

    def _close_by_reply(self, best: Sequence[_Continuation], step: int, last: bool) -> tuple[list[_Continuation], bool]:
        length = self._length(step + 1)
        for one in best[: self._beams]:
            tokens = self._open[one.parent].tokens
            if one.token in self._task.stop_ids:
                self._add(tokens, one.token, one.total, one.log_prob, length)
            elif last:
                self._add((*tokens, one.token), None, one.total, one.log_prob, length)
        going = [one for one in best if one.token not in self._task.stop_ids][: self._beams]
        hopeless = not going or self._found.worst >= going[0].total / length
        return going, last or (self._found.full and hopeless)

    def _length(self, tokens: int) -> float:
        """What a sum is divided by when the reply has so many tokens."""
        counted = tokens + (len(self._task.before) if self._task.manner.beam_length == "sequence" else 0)
        return float(max(counted, 1) ** self._task.decoding.length_penalty)

    def _add(self, tokens: tuple[int, ...], stop: int | None, total: float, log_prob: float, length: float) -> None:
        self._found.add(Hypothesis(tokens=tokens, stop=stop, score=total / length, log_prob=log_prob))

    def _continue(self, going: Sequence[_Continuation], *, feed: bool) -> None:
        self._open = [_Beginning((*self._open[one.parent].tokens, one.token), one.total, one.log_prob) for one in going]
        if not feed:
            return
        device = self._logits.device
        parents = torch.tensor([one.parent for one in going], dtype=torch.int64, device=device)
        tokens = torch.tensor([one.token for one in going], dtype=torch.int64, device=device)
        self._totals = torch.tensor([one.total for one in going], device=device)
        self._reading.select(parents)
        self._seen = self._seen[parents].scatter(1, tokens[:, None], True)
        self._logits = self._reading.feed(tokens)


class _Found:
    """The best hypotheses so far, at most `size` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[Hypothesis] = []

    @property
    def full(self) -> bool:
        return len(self._kept) >= self._size

    @property
    def worst(self) -> float:
        return min((one.score for one in self._kept), default=math.inf)

    def add(self, one: Hypothesis) -> None:
        if not self.full:
            self._kept.append(one)
        elif one.score > self.worst:
            self._kept.remove(min(self._kept, key=lambda kept: kept.score))
            self._kept.append(one)

    def best(self) -> list[Hypothesis]:
        """Best first; of equals the one that was found last, as in the libraries."""
        places = sorted(range(len(self._kept)), key=lambda n: (self._kept[n].score, n), reverse=True)
        return [self._kept[n] for n in places]
