"""The built-in engine: one batched decode over all candidates of all requests, on any language model.

A context is read once and its keys and values are repeated for its candidates. A row that ends leaves the batch.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bot.generator import sampling
from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.checkpoints import revision_of
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import Dialect, Manner
from bot.generator.dialects.registry import dialect_named
from bot.generator.errors import CheckpointError, GenerationFailed
from bot.generator.formats.base import Checkpoint
from bot.generator.loading import is_out_of_memory, pick_device, pick_dtype, threads_for
from bot.generator.models.base import LanguageModel, Prompt
from bot.generator.models.registry import load_language_model

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Row:
    """One candidate while it is written."""

    request: GenerationRequest
    before: tuple[int, ...]  # what the decoder has before the reply
    owner: int  # index of the request
    candidate: int
    limit: int  # tokens it may have at most
    tokens: list[int] = field(default_factory=list)
    log_prob: float = 0.0
    finished: bool = False
    broken: bool = False


class Decoder:
    """A language model with its dialect. See `bot.generator.engine.Generator`."""

    def __init__(self, model: LanguageModel, dialect: Dialect, revision: str) -> None:
        self.dialect = dialect
        self.revision = revision
        self.model = model
        # Rows of the embedding beyond the tokenizer are padding: they stand for no text.
        self._never = sorted(dialect.banned_ids | set(range(dialect.vocabulary_size, model.vocabulary)))

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, dialect: str, device: str, dtype: str) -> "Decoder":
        """From a checkpoint. Raises CheckpointError."""
        spoken = dialect_named(checkpoint.dialect if dialect == "auto" else dialect, checkpoint.read_tokenizer())
        place = pick_device(device)
        model = load_language_model(checkpoint, place, pick_dtype(dtype, place))
        if model.vocabulary < spoken.vocabulary_size:
            raise CheckpointError(
                f"{checkpoint.path}: the tokenizer knows {spoken.vocabulary_size} tokens, the model only "
                f"{model.vocabulary}. The two come from different checkpoints; copy the tokenizer that belongs to the "
                "model."
            )
        return cls(model, spoken, revision_of(checkpoint.files))

    def context_budget(self, reply_tokens: int) -> int:
        """See `Generator.context_budget`."""
        shared = self.model.room(0) - self.model.room(1)  # 1 where context and reply share the positions, else 0
        left = self.model.room(0) - reply_tokens if shared else self.model.context_limit
        return min(self.model.context_limit, left)

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
        ids, decoding = request.input_ids, request.decoding
        room = self.model.room(len(ids))
        if not ids or len(ids) > self.model.context_limit or room < 1:
            raise GenerationFailed(
                f"A context of {len(ids)} tokens cannot be continued: the model reads 1 to {self.model.context_limit}. "
                "Lower history.tokens."
            )
        if min(ids) < 0 or max(ids) >= self.model.vocabulary:
            raise GenerationFailed(
                f"The context holds ids that the model does not know (0 to {self.model.vocabulary - 1})."
            )
        before = self.model.sequence(ids)
        limit = min(decoding.max_new_tokens, room)
        if decoding.max_length:
            limit = min(limit, decoding.max_length - len(before))
        if limit < 1:
            raise GenerationFailed(
                f"A context of {len(before)} tokens leaves no room for a reply: decoding.max_length is "
                f"{decoding.max_length}. Raise it, or lower history.tokens."
            )
        return [Row(request, before, owner, number, limit) for number in range(decoding.candidates)]

    def _candidate(self, row: Row) -> Candidate:
        return Candidate(
            token_ids=tuple(row.tokens),
            text=self.dialect.decode(row.tokens).strip(),
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
        if self.model.device.type == "cuda":
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
        with threads_for(self.model.weights, len(rows)):
            state = _State(self.model, self.dialect, rows, self._never)
            while state.rows:
                state.step()


class _State:
    """The batch between two steps: rows still being written, what was read, masks and settings."""

    def __init__(self, model: LanguageModel, dialect: Dialect, rows: list[Row], never: list[int]) -> None:
        self.rows = rows
        self._manner = dialect.habits.manner
        self._stop_ids = sorted(dialect.stop_ids)
        device = model.device
        owners = list(dict.fromkeys(row.owner for row in rows))
        firsts = [next(row for row in rows if row.owner == owner) for owner in owners]
        which = torch.tensor([owners.index(row.owner) for row in rows], device=device)
        logits, self._reading = model.read([_prompt(dialect, row.request.input_ids) for row in firsts])
        self._reading.select(which)
        self._logits = logits[which]  # (B, V)
        vocabulary = logits.shape[-1]
        seen = torch.zeros(len(firsts), vocabulary, dtype=torch.bool, device=device)
        banned = torch.zeros(len(firsts), vocabulary, dtype=torch.bool, device=device)
        for number, row in enumerate(firsts):
            if self._manner.penalised == "sequence":
                seen[number, list(row.before)] = True
            banned[number, [*never, *(i for i in row.request.banned_ids if 0 <= i < vocabulary)]] = True
        if self._manner.spares_stops:  # every turn of the context ended: that must not keep the reply from ending
            seen[:, self._stop_ids] = False
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
        self._reading.select(index)
        self._seen, self._banned = self._seen[index], self._banned[index]
        self._settings = self._settings.rows(index)


def _prompt(dialect: Dialect, ids: tuple[int, ...]) -> Prompt:
    types = dialect.type_ids(ids)
    return Prompt(ids, None if types is None else tuple(types))


def penalised(scores: Tensor, seen: Tensor, penalty: Tensor, manner: Manner) -> Tensor:
    """Scores (B, V) after the family's repetition penalty (B, 1) on the tokens that `seen` (B, V) marks."""
    if manner.penalty == "divide":
        return torch.where(seen, scores / penalty, scores)
    return sampling.penalise_repeats(scores, seen, penalty)


def unwanted_ids(
    tokens: Sequence[int], before: Sequence[int], decoding: Decoding, manner: Manner, stop_ids: Sequence[int]
) -> set[int]:
    """What may not come next: an end that is too early, and the last token of an n-gram that was there."""
    written = [*before, *tokens] if manner.ngrams == "sequence" else tokens
    unwanted = sampling.repeating_ids(written, decoding.no_repeat_ngram)
    if len(tokens) < decoding.min_new_tokens or len(before) + len(tokens) < decoding.min_length:
        unwanted |= set(stop_ids)
    return unwanted


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
