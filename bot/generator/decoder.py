"""The built-in engine: one batched decode over all candidates of all requests, on a transformers GPT-2.

A context is read once and its keys and values are repeated for its candidates. A row that ends leaves the batch.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GPT2LMHeadModel

from bot.generator import sampling
from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.checkpoints import read_config, revision_of
from bot.generator.dialects.base import Dialect
from bot.generator.dialects.dialogpt import DialoGPT
from bot.generator.dialects.registry import dialect_named
from bot.generator.errors import CheckpointError, GenerationFailed
from bot.generator.loading import (
    embedding_rows,
    is_out_of_memory,
    load_model,
    pick_device,
    pick_dtype,
    threads_for,
    weights_of,
)
from bot.generator.tokenization import load_tokenizer

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Row:
    """One candidate while it is written."""

    request: GenerationRequest
    owner: int  # index of the request
    candidate: int
    limit: int  # tokens it may have at most
    tokens: list[int] = field(default_factory=list)
    log_prob: float = 0.0
    finished: bool = False
    broken: bool = False


class Decoder:
    """A language model with its dialect. See `bot.generator.engine.Generator`."""

    def __init__(self, model: GPT2LMHeadModel, dialect: Dialect, revision: str) -> None:
        self.dialect = dialect
        self.revision = revision
        self.context_limit: int = model.config.n_positions
        self._model = model
        self._weights = weights_of(model)
        self._vocabulary: int = embedding_rows(model)
        # Rows of the embedding beyond the tokenizer are padding: they stand for no text.
        self._never = sorted(dialect.banned_ids | set(range(dialect.vocabulary_size, self._vocabulary)))

    @classmethod
    def load(cls, directory: Path, *, dialect: str, device: str, dtype: str) -> "Decoder":
        """From a model directory. Raises CheckpointError."""
        config = read_config(directory)
        name = str(config.get("banter_dialect", DialoGPT.name)) if dialect == "auto" else dialect
        spoken = dialect_named(name, load_tokenizer(directory))
        place = pick_device(device)
        model = load_model(GPT2LMHeadModel, directory, place, pick_dtype(dtype, place))
        rows = embedding_rows(model)
        if rows < spoken.vocabulary_size:
            raise CheckpointError(
                f"{directory}: the tokenizer knows {spoken.vocabulary_size} tokens, the model only {rows}. "
                "The two come from different checkpoints; copy the tokenizer that belongs to the model."
            )
        return cls(model, spoken, revision_of(directory))

    def generate(self, requests: Sequence[GenerationRequest]) -> list[list[Candidate]]:
        """See `Generator.generate`."""
        rows = [row for owner, request in enumerate(requests) for row in self._rows(owner, request)]
        self._decode_within_memory(rows)
        broken = {row.owner for row in rows if row.broken}
        for owner in broken:
            log.error("logits_not_finite", extra={"context_tokens": len(requests[owner].input_ids)})
        candidates: list[list[Candidate]] = [[] for _ in requests]
        for row in rows:
            if row.owner not in broken:
                candidates[row.owner].append(self._candidate(row))
        return candidates

    def _rows(self, owner: int, request: GenerationRequest) -> list[Row]:
        ids = request.input_ids
        room = self.context_limit - len(ids)
        if not ids or room < 1:
            raise GenerationFailed(
                f"A context of {len(ids)} tokens cannot be continued: the model has {self.context_limit} positions, "
                "and a context needs one token at least. Lower history.tokens."
            )
        if min(ids) < 0 or max(ids) >= self._vocabulary:
            raise GenerationFailed(f"The context holds ids that the model does not know (0 to {self._vocabulary - 1}).")
        limit = min(request.decoding.max_new_tokens, room)
        return [Row(request, owner, number, limit) for number in range(request.decoding.candidates)]

    def _candidate(self, row: Row) -> Candidate:
        return Candidate(
            token_ids=tuple(row.tokens),
            text=self.dialect.decode(row.tokens),
            log_prob=row.log_prob,
            finished=row.finished,
        )

    def _decode_within_memory(self, rows: list[Row]) -> None:
        """Decode all rows, in halves where memory runs out; noise hangs on the row, so halves draw the same."""
        try:
            self._decode(rows)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise GenerationFailed(
                    "There is not enough memory to write even one reply. Use a smaller model, a shorter history "
                    "(history.tokens), or a device with more memory."
                ) from error
        log.warning("batch_halved", extra={"rows": len(rows)})
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(rows) // 2
        for half in (rows[:middle], rows[middle:]):
            for row in half:
                row.tokens, row.log_prob, row.finished, row.broken = [], 0.0, False, False
            self._decode_within_memory(half)

    @torch.inference_mode()
    def _decode(self, rows: list[Row]) -> None:
        if not rows:
            return
        with threads_for(self._weights, len(rows)):
            state = _State(self._model, rows, self._never, sorted(self.dialect.stop_ids))
            while state.rows:
                state.step()


class _State:
    """The batch between two steps: rows still being written, their cache, masks and settings."""

    def __init__(self, model: GPT2LMHeadModel, rows: list[Row], never: list[int], stop_ids: list[int]) -> None:
        self.rows = rows
        self._model = model
        self._stop_ids = stop_ids
        device = model.device
        owners = list(dict.fromkeys(row.owner for row in rows))
        contexts = [next(row.request.input_ids for row in rows if row.owner == owner) for owner in owners]
        which = torch.tensor([owners.index(row.owner) for row in rows], device=device)
        logits, cache, mask = self._read(contexts)
        self._cache = cache
        self._cache.batch_select_indices(which)
        self._mask = mask[which]  # (B, T)
        self._positions = self._mask.sum(dim=1, keepdim=True)  # (B, 1): the next token's position
        self._logits = logits[which]  # (B, V)
        vocabulary = logits.shape[-1]
        seen = torch.zeros(len(contexts), vocabulary, dtype=torch.bool, device=device)
        banned = torch.zeros(len(contexts), vocabulary, dtype=torch.bool, device=device)
        requests = {row.owner: row.request for row in rows}
        for number, owner in enumerate(owners):
            seen[number, list(requests[owner].input_ids)] = True
            banned[number, [*never, *(i for i in requests[owner].banned_ids if 0 <= i < vocabulary)]] = True
        seen[:, stop_ids] = False  # every turn of the context ended: that must not keep the reply from ending
        self._seen = seen[which]  # (B, V)
        self._banned = banned[which]  # (B, V)
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
        chosen = sampling.choose(scores, self._settings, keys)  # (B)
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
            n for n, row in enumerate(self.rows) if not (row.finished or row.broken or len(row.tokens) >= row.limit)
        ]
        self._keep(going)
        if self.rows:
            self._feed(chosen[torch.tensor(going, device=chosen.device)])

    def _read(self, contexts: list[tuple[int, ...]]) -> tuple[Tensor, DynamicCache, Tensor]:
        """Read every context once, padded on the left: last logits (R, V), cache, mask (R, T)."""
        longest = max(map(len, contexts))
        ids = torch.tensor([[0] * (longest - len(c)) + list(c) for c in contexts], device=self._model.device)
        mask = torch.tensor([[0] * (longest - len(c)) + [1] * len(c) for c in contexts], device=self._model.device)
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float(), output.past_key_values, mask

    def _feed(self, tokens: Tensor) -> None:
        self._seen.scatter_(1, tokens[:, None], True)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
        output: Any = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._positions = self._positions + 1
        self._logits = output.logits[:, -1].float()

    def _scores(self) -> Tensor:
        scores = sampling.penalise_repeats(self._logits, self._seen, self._settings.repetition_penalty)
        scores = scores.masked_fill(self._banned, -torch.inf)
        for number, row in enumerate(self.rows):
            decoding = row.request.decoding
            if len(row.tokens) < decoding.min_new_tokens:
                scores[number, self._stop_ids] = -torch.inf
            repeats = sampling.repeating_ids(row.tokens, decoding.no_repeat_ngram)
            if repeats:
                scores[number, list(repeats)] = -torch.inf
        return scores

    def _record(self, row: Row, token: int, log_prob: float) -> None:
        row.log_prob += log_prob
        if token in self._stop_ids:
            row.finished = True
        else:
            row.tokens.append(token)

    def _keep(self, going: list[int]) -> None:
        if len(going) == len(self.rows):
            return
        self.rows = [self.rows[n] for n in going]
        if not going:
            return
        index = torch.tensor(going, device=self._logits.device)
        self._cache.batch_select_indices(index)
        self._mask, self._positions = self._mask[index], self._positions[index]
        self._seen, self._banned = self._seen[index], self._banned[index]
        self._settings = self._settings.rows(index)


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
