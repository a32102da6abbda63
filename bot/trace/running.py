"""Run one context through a model and write down what it saw and said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from bot.generator.candidates import GenerationRequest
from bot.generator.decoder import Decoder
from bot.generator.decoding import Decoding
from bot.generator.dialects.base import BOT, Manner, Utterance
from bot.generator.errors import GenerationFailed
from bot.generator.formats.base import Checkpoint
from bot.generator.loading import threads_for
from bot.generator.rows import Row, prompt_of
from bot.generator.search import dialogrpt
from bot.generator.search.beam import Hypothesis
from bot.generator.tokenization.base import TextTokenizer
from bot.trace.reading import Case
from bot.trace.settings import Settings

Record = dict[str, Any]

MODES = ("greedy", "filtered", "beam", "dialogrpt", "sample")
WATCHED_STEPS = 3
PERSON = 1

_FIRST_LOGITS = 16
_DIGITS = 6
_UNCUT = 1 << 30
_LARGEST_ID = (1 << 32) - 1
"""What the tokenizers' library takes for an id; people may trace any numbers."""
_UNFILTERED_SHOWN = 50
"""Tokens of a step that are listed where neither top-k nor top-p leaves any out."""

_AS_TRANSFORMERS = Manner(spares_stops=False, ngrams="sequence")
"""How transformers' own generate reads settings. Families whose programs have no rules of their own are held against
it, and it bans no token."""

_PLAIN = {
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram": 0,
    "min_length": 0,
    "min_new_tokens": 0,
}
_DIALOGRPT = {"topk": 3, "beam": 3, "topp": 0.8, "max_t": 30}
_DIALOGRPT_SAMPLING = {"temperature": 0.5, "n_hyp": 10, "max_t": 30}


class Tracer:
    """A checkpoint that is ready to be looked at. `trim`: contexts that are too long lose their oldest turns."""

    def __init__(self, checkpoint: Checkpoint, decoder: Decoder, *, modes: Sequence[str] = (), trim: bool = False):
        self.checkpoint = checkpoint
        self.decoder = decoder
        self.dialect = decoder.dialect
        decoder.never = sorted(self.dialect.banned_ids)  # the originals know nothing of rows that stand for no text
        if decoder.manner == Manner():
            decoder.manner, decoder.never = _AS_TRANSFORMERS, []
        self.tokenizer = checkpoint.read_tokenizer()
        self._modes = tuple(modes)
        self._trim = trim

    def case(self, case: Case, settings: Settings) -> Record:
        """Trace one context. Raises TraceError for settings that do not exist."""
        settings = settings.changed(case.options, f"{case.where}.options")
        record: Record = {"id": case.id}
        if case.turns:
            record["context"] = list(case.turns)
        if case.persona:
            record["persona"] = list(case.persona)
        try:
            ids = self._ids_of(case, settings)
        except (ValueError, GenerationFailed) as error:
            return {**record, "error": f"{error}."}
        if case.model_input_ids is not None and list(case.model_input_ids) != ids:
            record["whole_input_ids"] = ids
            ids = list(case.model_input_ids)
        record |= self.seen(ids)
        if case.decoder_input_ids and "error" not in record:
            record["teacher_forced"] = self._teacher_forced(ids, case.decoder_input_ids)
        record |= self.said(ids, settings, searches=bool(case.searches)) if not case.runs else {}
        if case.runs:
            record["runs"] = {
                name: {**words, **self.said(ids, settings.changed(words, f"{case.where}.runs.{name}"))}
                for name, words in case.runs.items()
            }
        if case.searches:
            record["dialogrpt"] = self._searched(ids, settings, case)
        return record

    def seen(self, ids: Sequence[int]) -> Record:
        """What the model reads: ids, their pieces, types, positions, and the scores of the token that follows."""
        model = self.decoder.model
        record: Record = {"input_ids": list(ids), "pieces": pieces_of(self.tokenizer, ids)}
        types = self.dialect.type_ids(ids)
        if types is not None:
            record["token_type_ids"] = list(types)
        record["attention_mask"] = [1] * len(ids)
        record["position_ids"] = list(range(len(ids)))
        before = list(model.sequence(ids))
        if before != list(ids):
            record["decoder_input_ids"] = before
            # The one encoder-decoder there is shares its table: the decoder's positions follow the encoder's.
            first = model.context_limit - model.room(0)
            record["decoder_position_ids"] = list(range(first, first + len(before)))
        most = max(model.room(0), model.context_limit)
        if not 0 < len(ids) <= most or max(ids) >= model.vocabulary or min(ids) < 0:
            return {**record, "error": f"The model reads 1 to {most} tokens of its vocabulary, not these {len(ids)}."}
        with torch.inference_mode(), threads_for(model.weights, 1):
            logits, _ = model.read([prompt_of(self.dialect, tuple(ids))])
        return {**record, "logits_last": described(logits[0])}

    def said(self, ids: Sequence[int], settings: Settings, *, searches: bool = False) -> Record:
        """What the model says in every mode that was asked for, or that the family has."""
        modes = self._modes or self._habitual_modes(settings)
        ways: Mapping[str, Callable[[], Record]] = {
            "greedy": lambda: self._written(ids, settings, changes=_PLAIN, unbanned=True),
            "filtered": lambda: self._written(ids, settings, watched=WATCHED_STEPS),
            "sample": lambda: self._written(ids, settings, watched=WATCHED_STEPS, likeliest=False),
            "beam": lambda: self._beams(ids, settings),
            "dialogrpt": lambda: self._as_dialogrpt(ids, settings),
        }
        record: Record = {}
        for mode in modes:
            if mode == "dialogrpt" and searches:
                continue  # its recording says which searches
            try:
                record[mode] = ways[mode]()
            except GenerationFailed as error:
                record[mode] = {"error": str(error)}
        return record

    def row(self, ids: Sequence[int], settings: Settings, *, skipped: int = 0) -> Row:
        """The likeliest tokens of what the filters left, but for the first. Raises GenerationFailed."""
        request = _request(ids, settings.decoding, settings.seed)
        return self.decoder.write(request, likeliest=True, skipped=skipped)

    def best(self, ids: Sequence[int], settings: Settings, said: Record) -> tuple[list[int], bool]:
        """The reply with which a talk goes on, its stop token included, and whether it has one.

        It is the search's best where the settings search, else what `said` has in the mode "filtered". Raises
        GenerationFailed.
        """
        if settings.decoding.search == "beam":
            found = self.decoder.search(_request(ids, settings.decoding, settings.seed))
            if found:
                return [*found[0].tokens, *([] if found[0].stop is None else [found[0].stop])], found[
                    0
                ].stop is not None
        filtered = said.get("filtered") or self._written(ids, settings)
        if "error" in filtered:
            raise GenerationFailed(filtered["error"])
        return filtered["reply_ids"], filtered["stopped"]

    def text(self, ids: Sequence[int]) -> str:
        """The reply as the family writes it; ids that the tokenizer lacks stand for nothing."""
        return self.dialect.decode([token for token in ids if token < self.dialect.vocabulary_size])

    def encode(self, utterances: Sequence[Utterance], settings: Settings, persona: Sequence[str] = ()) -> list[int]:
        """The context's ids after the family's limit of turns; whole, unless it was to be trimmed."""
        recent = utterances[-settings.turns :] if settings.turns else utterances
        return self.dialect.encode(recent, self._budget(settings.decoding), persona)

    def _ids_of(self, case: Case, settings: Settings) -> list[int]:
        if case.input_ids is not None:
            return list(case.input_ids)
        last = len(case.turns) - 1
        bots = case.bots or [(last - n) % 2 == 1 for n in range(len(case.turns))]
        spoken = [Utterance(BOT if bot else PERSON, text) for text, bot in zip(case.turns, bots, strict=True)]
        return self.encode(spoken, settings, case.persona)

    def _budget(self, decoding: Decoding) -> int:
        if not self._trim:
            return _UNCUT
        room = self.decoder.context_budget(1)
        shares_positions = self.decoder.model.room(0) > self.decoder.model.room(1)
        return min(room, decoding.max_length - 1) if decoding.max_length and shares_positions else room

    def _habitual_modes(self, settings: Settings) -> tuple[str, ...]:
        searched = self.decoder.manner.beam_length == "sequence" or settings.decoding.search == "beam"
        return ("greedy", "filtered", *(["beam"] if searched or "beams" in settings.given else []))

    def _teacher_forced(self, ids: Sequence[int], decoder_input_ids: Sequence[int]) -> Record:
        """The scores after a beginning that somebody else wrote."""
        model = self.decoder.model
        with torch.inference_mode(), threads_for(model.weights, 1):
            logits, reading = model.read([prompt_of(self.dialect, tuple(ids))])
            for token in decoder_input_ids[len(model.sequence(ids)) :]:
                logits = reading.feed(torch.tensor([token], device=model.device))
        return {"decoder_input_ids": list(decoder_input_ids), "logits_last": described(logits[0])}

    def _written(
        self,
        ids: Sequence[int],
        settings: Settings,
        *,
        changes: Mapping[str, Any] | None = None,
        watched: int = 0,
        likeliest: bool = True,
        unbanned: bool = False,
    ) -> Record:
        decoding = settings.decoding.model_copy(update=dict(changes or {}))
        request = _request(ids, decoding, settings.seed)
        row = self.decoder.write(request, likeliest=likeliest, watched=watched, unbanned=unbanned)
        if row.broken:
            raise GenerationFailed("The model computed numbers that are not finite.")
        reply = reply_ids(row)
        record: Record = {
            "output_ids": [*row.before, *reply],
            "reply_ids": reply,
            "reply_pieces": pieces_of(self.tokenizer, reply),
            "stopped": row.stop is not None,
            "text": self.text(row.tokens),
            "log_prob": round(row.log_prob, _DIGITS),
        }
        if watched:
            filters = decoding.top_k > 0 or decoding.top_p < 1
            shown = None if filters else _UNFILTERED_SHOWN
            record["kept_steps"] = [
                {
                    "kept": len(kept),
                    "ids": kept[:shown],
                    "probs": [round(probability, _DIGITS) for probability in probabilities[:shown]],
                }
                for kept, probabilities in row.survivors
            ]
        return record

    def _beams(self, ids: Sequence[int], settings: Settings) -> Record:
        found = self.decoder.search(_request(ids, settings.decoding, settings.seed))
        if found is None:
            raise GenerationFailed("The model computed numbers that are not finite.")
        wanted = settings.decoding.candidates if settings.decoding.candidates > 1 else len(found)
        if "candidates" in settings.given:
            wanted = settings.decoding.candidates
        found = found[:wanted]
        before = self.decoder.model.sequence(ids)
        sequences = self._padded(found, before, settings.decoding)
        return {
            "sequences": sequences,
            "reply_ids": [sequence[len(before) :] for sequence in sequences],
            "texts": [self.text(one.tokens) for one in found],
            "stopped": [one.stop is not None for one in found],
            "hypothesis_scores": [number(one.score) for one in found],
            "log_probs": [number(one.log_prob) for one in found],
        }

    def _padded(self, found: Sequence[Hypothesis], before: Sequence[int], decoding: Decoding) -> list[list[int]]:
        """Rows of one length as the library returns them: where lengths differ, one stop token and then pads.

        The older library leaves out the stop token where all lengths are equal.
        """
        pad = self.checkpoint.config.get("pad_token_id")
        fill = pad if isinstance(pad, int) else min(self.dialect.stop_ids)
        lengths = {len(one.tokens) for one in found}
        bare = self.decoder.manner.beam_length == "sequence" and len(lengths) == 1
        rows = [[*before, *one.tokens, *([] if one.stop is None or bare else [one.stop])] for one in found]
        longest = max(map(len, rows), default=0)
        return [row + [fill] * (longest - len(row)) for row in rows]

    def _searched(self, ids: Sequence[int], settings: Settings, case: Case) -> Record:
        """DialogRPT's searches with the parameters that came with the case."""
        record: Record = {}
        for name, params in case.searches:
            one = settings.changed(params, f"{case.where}.{name}.params")
            try:
                found = self._dialogrpt_sampling(ids, one) if name != "beam" else self._dialogrpt_beam(ids, one)
            except GenerationFailed as error:
                found = {"error": str(error)}
            if name == "beam":
                record.setdefault(name, []).append({"params": dict(params), **found})
            else:
                record[name] = {"params": dict(params), **found}
        return record

    def _as_dialogrpt(self, ids: Sequence[int], settings: Settings) -> Record:
        """Both searches, with their program's own parameters where nobody gave others."""
        where = "DialogRPT's parameters"
        base = replace(settings, given={})
        beam = base.changed(_DIALOGRPT, where).changed(settings.given_words(), where)
        sampling = base.changed(_DIALOGRPT_SAMPLING, where).changed(settings.given_words(), where)
        return {"beam": [self._dialogrpt_beam(ids, beam)], "sampling": self._dialogrpt_sampling(ids, sampling)}

    def _dialogrpt_beam(self, ids: Sequence[int], settings: Settings) -> Record:
        request = _request(ids, settings.decoding, settings.seed)
        return self._finished(self.decoder.search_as_dialogrpt(request))

    def _dialogrpt_sampling(self, ids: Sequence[int], settings: Settings) -> Record:
        model, decoding = self.decoder.model, settings.decoding
        if not 0 < len(ids) <= model.context_limit:
            raise GenerationFailed(f"The model reads 1 to {model.context_limit} tokens and leaves room for a reply.")
        if decoding.temperature <= 0:
            raise GenerationFailed("DialogRPT's sampling needs a temperature above 0.")
        found = dialogrpt.dialogrpt_sampling(
            model,
            prompt_of(self.dialect, tuple(ids)),
            min(self.dialect.stop_ids),
            temperature=decoding.temperature,
            count=decoding.candidates,
            max_new_tokens=decoding.max_new_tokens,
            seed=settings.given.get("numpy_seed", dialogrpt.SEED),
        )
        return self._finished(found)

    def _finished(self, found: Sequence[dialogrpt.Hypothesis]) -> Record:
        return {
            "finished": [[number(one.probability), dialogrpt.clean_up(self.text(one.token_ids))] for one in found],
            "finished_ids": [list(one.token_ids) for one in found],
        }


def reply_ids(row: Row) -> list[int]:
    """What was generated, the stop token included where it came."""
    return [*row.tokens, *([] if row.stop is None else [row.stop])]


def described(logits: torch.Tensor) -> Record:
    """The first scores of a row (V), which is best, and the logarithm of their exponentials' sum."""
    return {
        "first16": [number(value) for value in logits[:_FIRST_LOGITS].tolist()],
        "argmax": int(logits.argmax()),
        "logsumexp": number(float(logits.logsumexp(dim=0))),
    }


def number(value: float) -> float | str:
    """A number that JSON has, or the name of one that it lacks."""
    return round(value, _DIGITS) if abs(value) < float("inf") else str(value)


def pieces_of(tokenizer: TextTokenizer, ids: Sequence[int]) -> list[str]:
    """How the tokenizer's own files write each id."""
    return [tokenizer.piece(token) if 0 <= token <= _LARGEST_ID else "" for token in ids]


def _request(ids: Sequence[int], decoding: Decoding, seed: int) -> GenerationRequest:
    single = decoding.model_copy(update={"search": "sampling"})
    return GenerationRequest(input_ids=tuple(ids), decoding=single, seed=seed)
