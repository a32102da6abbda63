"""The built-in engine: one batched decode over all candidates of all requests, on any language model.

A context is read once and its keys and values are repeated for its candidates. A row that ends leaves the batch.
Requests that ask for a search are searched one after the other (`bot.generator.search`).
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.checkpoints import revision_of
from bot.generator.dialects.base import Dialect
from bot.generator.dialects.registry import dialect_named
from bot.generator.errors import CheckpointError, GenerationFailed
from bot.generator.formats.base import Checkpoint
from bot.generator.loading import check_vocabulary, is_out_of_memory, pick_device, pick_dtype, threads_for
from bot.generator.models.base import LanguageModel
from bot.generator.models.registry import load_language_model
from bot.generator.pulse import Pulse
from bot.generator.rows import Row, Rows, prompt_of
from bot.generator.search import dialogrpt
from bot.generator.search.beam import BeamTask, Hypothesis, beam_search

log = logging.getLogger(__name__)


class Decoder:
    """A language model with its dialect. See `bot.generator.engine.Generator`.

    `manner` is how decoding settings are read, `never` are the ids that may not be written: the dialect's, unless
    somebody sets others.
    """

    def __init__(self, model: LanguageModel, dialect: Dialect, revision: str) -> None:
        self.dialect = dialect
        self.revision = revision
        self.model = model
        self._pulse = Pulse(model)
        self.manner = dialect.habits.manner
        # Rows of the embedding beyond the tokenizer are padding: they stand for no text.
        self.never = sorted(dialect.banned_ids | set(range(dialect.vocabulary_size, model.vocabulary)))

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, dialect: str, device: str, dtype: str) -> "Decoder":
        """From a checkpoint. Raises CheckpointError."""
        spoken = _dialect_of(checkpoint, dialect)
        place = pick_device(device)
        model = load_language_model(checkpoint, place, pick_dtype(dtype, place))
        check_vocabulary(checkpoint, spoken.vocabulary_size, model.vocabulary)
        return cls(model, spoken, revision_of(checkpoint.files))

    @property
    def last_step(self) -> float:
        """See `Generator.last_step`."""
        return self._pulse.last_step

    def context_budget(self, reply_tokens: int, max_length: int = 0) -> int:
        """See `Generator.context_budget`."""
        limit = self.model.context_limit
        if self.model.room(0) == self.model.room(1):  # an encoder reads the context: it takes nothing from the reply
            return limit
        budget = min(limit, self.model.room(0) - reply_tokens)
        return min(budget, max(1, max_length - reply_tokens)) if max_length else budget

    def generate(self, requests: Sequence[GenerationRequest]) -> list[list[Candidate]]:
        """See `Generator.generate`."""
        answers: list[list[Candidate]] = [[] for _ in requests]
        drawn = [n for n, request in enumerate(requests) if request.decoding.search == "sampling"]
        for number, candidates in zip(drawn, self._sampled([requests[n] for n in drawn]), strict=True):
            answers[number] = candidates
        for number, request in enumerate(requests):
            if request.decoding.search != "sampling":
                answers[number] = self._searched(request)
        return answers

    def write(
        self,
        request: GenerationRequest,
        *,
        likeliest: bool,
        watched: int = 0,
        skipped: int = 0,
        unbanned: bool = False,
    ) -> Row:
        """One reply, written as its `Row` says; `unbanned`: every id may come. Raises GenerationFailed."""
        row = self._rows(0, request)[0]
        row.likeliest, row.watched, row.skipped = likeliest, watched, skipped
        self._decode_within_memory([row], () if unbanned else self.never)
        return row

    def search(self, request: GenerationRequest) -> list[Hypothesis] | None:
        """All that beam search found, best first; None: the numbers were not finite. Raises GenerationFailed."""
        before, limit = self._room(request)
        task = BeamTask(
            prompt=prompt_of(self.dialect, request.input_ids),
            before=before,
            decoding=request.decoding,
            manner=self.manner,
            stop_ids=tuple(sorted(self.dialect.stop_ids)),
            limit=limit,
            never=self.never,
            banned=request.banned_ids,
        )
        with self._searching(request.decoding.beams), torch.inference_mode():
            return beam_search(self._pulse, task)

    def search_as_dialogrpt(self, request: GenerationRequest) -> list[dialogrpt.Hypothesis]:
        """All that DialogRPT's search found, in its order, forbidden tokens included. Raises GenerationFailed."""
        _, limit = self._room(request)
        decoding = request.decoding
        if limit == self.model.room(len(request.input_ids)) < decoding.max_new_tokens:
            limit += 1  # the last token is never read, so it needs no position
        with self._searching(decoding.beams):
            return dialogrpt.dialogrpt_beam(
                self._pulse,
                prompt_of(self.dialect, request.input_ids),
                min(self.dialect.stop_ids),
                top_k=decoding.top_k or self.model.vocabulary,
                beams=decoding.beams,
                top_p=decoding.top_p,
                max_new_tokens=limit,
            )

    @contextmanager
    def _searching(self, beams: int) -> Iterator[None]:
        try:
            with threads_for(self.model.weights, beams):
                yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise GenerationFailed(
                f"There is not enough memory to search with {beams} beams. Lower decoding.beams, or use a smaller "
                "model."
            ) from error

    def _sampled(self, requests: Sequence[GenerationRequest]) -> list[list[Candidate]]:
        rows = [row for owner, request in enumerate(requests) for row in self._rows(owner, request)]
        self._decode_within_memory(rows, self.never)
        broken = {row.owner for row in rows if row.broken}
        for owner in broken:
            _report_broken(requests[owner])
        candidates: list[list[Candidate]] = [[] for _ in requests]
        for row in rows:
            if row.owner not in broken:
                candidates[row.owner].append(self._candidate(row.tokens, row.log_prob, row.stop))
        return candidates

    def _searched(self, request: GenerationRequest) -> list[Candidate]:
        if request.decoding.search == "dialogrpt":
            return self._searched_as_dialogrpt(request)
        found = self.search(request)
        if found is None:
            _report_broken(request)
            return []
        return [
            self._candidate(one.tokens, one.log_prob, one.stop, one.score)
            for one in found[: request.decoding.candidates]
            if math.isfinite(one.score)  # else the rules left it nothing that may be said
        ]

    def _searched_as_dialogrpt(self, request: GenerationRequest) -> list[Candidate]:
        """The best first. Where nothing came to its end, which that search asks for, replies are drawn instead."""
        stop = min(self.dialect.stop_ids)
        forbidden_ids = {*self.never, *request.banned_ids}
        found = [
            one
            for one in self.search_as_dialogrpt(request)
            if math.isfinite(one.log_prob) and not forbidden_ids & set(one.token_ids)
        ]
        if not found:
            drawn = request.decoding.model_copy(update={"search": "sampling"})
            return self._sampled([replace(request, decoding=drawn)])[0]
        found.sort(key=lambda one: one.probability, reverse=True)
        return [
            self._candidate(one.token_ids, one.log_prob, stop, one.probability)
            for one in found[: request.decoding.candidates]
        ]

    def _rows(self, owner: int, request: GenerationRequest) -> list[Row]:
        before, limit = self._room(request)
        return [Row(request, before, owner, number, limit) for number in range(request.decoding.candidates)]

    def _room(self, request: GenerationRequest) -> tuple[tuple[int, ...], int]:
        """What the decoder has before the reply, and how many tokens that may have. Raises GenerationFailed."""
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
        return before, limit

    def _candidate(
        self, tokens: Sequence[int], log_prob: float, stop: int | None, score: float | None = None
    ) -> Candidate:
        return Candidate(
            token_ids=tuple(tokens),
            text=self.dialect.decode(tokens).strip(),
            log_prob=log_prob,
            finished=stop is not None,
            score=score,
        )

    def _decode_within_memory(self, rows: list[Row], never: Sequence[int]) -> None:
        """Decode all rows, in halves where memory runs out; noise hangs on the row, so halves draw the same."""
        try:
            self._decode(rows, never)
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
                row.begin_again()
            self._decode_within_memory(half, never)

    @torch.inference_mode()
    def _decode(self, rows: list[Row], never: Sequence[int]) -> None:
        if not rows:
            return
        with threads_for(self.model.weights, len(rows)):
            batch = Rows(self._pulse, self.dialect, self.manner, rows, never)
            while batch.rows:
                batch.step()


def _report_broken(request: GenerationRequest) -> None:
    log.error("logits_not_finite", extra={"context_tokens": len(request.input_ids)})


def _dialect_of(checkpoint: Checkpoint, name: str) -> Dialect:
    """The dialect called `name`, "auto" being the checkpoint's own. Raises CheckpointError."""
    tokenizer = checkpoint.read_tokenizer()
    try:
        return dialect_named(checkpoint.dialect if name == "auto" else name, tokenizer)
    except CheckpointError as error:
        if name in ("auto", checkpoint.dialect):
            raise
        raise CheckpointError(
            f"{checkpoint.path}: {error} The files are those of {checkpoint.dialect}: set the dialect to auto."
        ) from error
