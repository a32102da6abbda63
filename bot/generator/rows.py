"""Candidates being written, all of them together, one token a step."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bot.generator import sampling
from bot.generator.candidates import GenerationRequest
from bot.generator.dialects.base import Dialect, Manner
from bot.generator.models.base import LanguageModel, Prompt
from bot.generator.search.base import forbidden, penalised, said_before, unwanted_ids


@dataclass(slots=True)
class Row:
    """One candidate while it is written.

    `likeliest` rows take the best of what the filters left, in the first step the best but `skipped` if so many were
    left. Of the first `watched` steps, `survivors` tells what the filters left: ids, likeliest first, and their
    probabilities. `stop` is the token that ended the reply.
    """

    request: GenerationRequest
    before: tuple[int, ...]  # what the decoder has before the reply
    owner: int  # index of the request
    candidate: int
    limit: int  # tokens it may have at most
    likeliest: bool = False
    skipped: int = 0
    watched: int = 0
    tokens: list[int] = field(default_factory=list)
    log_prob: float = 0.0
    stop: int | None = None
    broken: bool = False
    survivors: list[tuple[list[int], list[float]]] = field(default_factory=list)

    def begin_again(self) -> None:
        """Forget what was written."""
        self.tokens, self.log_prob, self.stop, self.broken, self.survivors = [], 0.0, None, False, []


class Rows:
    """The batch between two steps: rows still being written, what was read, masks and settings."""

    def __init__(
        self, model: LanguageModel, dialect: Dialect, manner: Manner, rows: list[Row], never: Sequence[int]
    ) -> None:
        self.rows = rows
        self._manner = manner
        self._stop_ids = sorted(dialect.stop_ids)
        device = model.device
        owners = list(dict.fromkeys(row.owner for row in rows))
        firsts = [next(row for row in rows if row.owner == owner) for owner in owners]
        which = torch.tensor([owners.index(row.owner) for row in rows], device=device)
        logits, self._reading = model.read([prompt_of(dialect, row.request.input_ids) for row in firsts])
        self._reading.select(which)
        self._logits = logits[which]  # (B, V)
        vocabulary = logits.shape[-1]
        seen = [said_before(row.before, self._manner, self._stop_ids, vocabulary) for row in firsts]
        banned = [forbidden(never, row.request.banned_ids, vocabulary) for row in firsts]
        self._seen = torch.stack(seen).to(device)[which]  # (B, V)
        self._banned = torch.stack(banned).to(device)[which]  # (B, V)
        wild = [not row.likeliest and row.request.decoding.temperature > 0 for row in rows]
        self._wild = torch.tensor(wild, device=device)[:, None]  # (B, 1)
        self._settings = _settings(rows, device)

    def step(self) -> None:
        """Choose a token for every row; rows that ended leave; the others are read on."""
        scores = self._scores()
        broken = ~torch.isfinite(self._logits).all(dim=-1)  # (B)
        stuck = scores.amax(dim=-1) == -torch.inf  # (B): nothing is left to say
        keys = torch.tensor(
            [[sampling.noise_key(row.request.seed, row.candidate, len(row.tokens))] for row in self.rows],
            dtype=torch.int64,
            device=scores.device,
        )
        ranked, ids = sampling.filtered(scores, self._settings)  # both (B, K)
        self._watch(ranked, ids)
        chosen = sampling.draw(self._without_skipped(ranked), ids, self._wild, keys)  # (B)
        log_probs = self._logits.log_softmax(dim=-1).gather(1, chosen[:, None]).squeeze(1)  # (B)
        for row, token, log_prob, bad, end in zip(
            self.rows, chosen.tolist(), log_probs.tolist(), broken.tolist(), stuck.tolist(), strict=True
        ):
            if bad:
                row.broken = True
            elif end:
                row.limit = len(row.tokens)
            else:
                self._record(row, token, log_prob)
        going = [
            n for n, row in enumerate(self.rows) if row.stop is None and not row.broken and len(row.tokens) < row.limit
        ]
        self._keep(going)
        if self.rows:
            self._feed(chosen[torch.tensor(going, device=chosen.device)])

    def _watch(self, ranked: Tensor, ids: Tensor) -> None:
        for number, row in enumerate(self.rows):
            if len(row.tokens) < row.watched:
                left = int(torch.isfinite(ranked[number]).sum())
                probabilities = ranked[number].softmax(dim=-1)[:left].tolist()
                row.survivors.append((ids[number, :left].tolist(), probabilities))

    def _without_skipped(self, ranked: Tensor) -> Tensor:
        for number, row in enumerate(self.rows):
            if row.skipped and not row.tokens:
                left = int(torch.isfinite(ranked[number]).sum())
                ranked[number, : row.skipped if row.skipped < left else 0] = -torch.inf
        return ranked

    def _feed(self, tokens: Tensor) -> None:
        self._seen.scatter_(1, tokens[:, None], True)
        self._logits = self._reading.feed(tokens)

    def _scores(self) -> Tensor:
        scores = penalised(self._logits, self._seen, self._settings.repetition_penalty, self._manner)
        scores = scores.masked_fill(self._banned, -torch.inf)
        for number, row in enumerate(self.rows):
            unwanted = unwanted_ids(row.tokens, row.before, row.request.decoding, self._manner, self._stop_ids)
            if unwanted:
                scores[number, sorted(unwanted)] = -torch.inf
        return scores

    def _record(self, row: Row, token: int, log_prob: float) -> None:
        row.log_prob += log_prob
        if token in self._stop_ids:
            row.stop = token
        else:
            row.tokens.append(token)

    def _keep(self, going: list[int]) -> None:
        if len(going) == len(self.rows):
            return
        self.rows = [self.rows[n] for n in going]
        if not going:
            return
        index = torch.tensor(going, device=self._logits.device)
        self._reading.select(index)
        self._seen, self._banned, self._wild = self._seen[index], self._banned[index], self._wild[index]
        self._settings = self._settings.rows(index)


def prompt_of(dialect: Dialect, ids: tuple[int, ...]) -> Prompt:
    """A context as the model reads it."""
    types = dialect.type_ids(ids)
    return Prompt(ids, None if types is None else tuple(types))


def _settings(rows: Sequence[Row], device: torch.device) -> sampling.Settings:
    decodings = [row.request.decoding for row in rows]

    def column(values: Sequence[float], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)[:, None]

    return sampling.Settings(
        temperature=column([d.temperature for d in decodings], torch.float32),
        top_k=column([d.top_k for d in decodings], torch.int64),
        top_p=column([d.top_p for d in decodings], torch.float32),
        repetition_penalty=column([d.repetition_penalty for d in decodings], torch.float32),
    )
