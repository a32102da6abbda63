"""Compose a reply: candidates are generated, checked, scored, and one is chosen.

Read this first. Touches no store, clock or platform: everything it needs is handed in, so many turns
compose at once and meet in the generator's batch, and the same inputs always give the same reply.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from bot.config import ChannelSettings, OnAllBlocked, RankerHead
from bot.context import Context
from bot.facts import contradicts
from bot.generator.candidates import Candidate, GenerationRequest
from bot.generator.decoding import Decoding
from bot.generator.ranking.combine import combine, mix
from bot.guards import fault, overlap, whole_sentences
from moderation.policy import Moderator
from moderation.verdict import Action, Verdict

ROUNDS = 2  # after these many rounds of sampling the persona's safe line is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What composing needs from the model side.

    `generate` draws the candidates of one request; `score` gives one head's score, 0 to 1, for each reply to
    the turns. Both may take long and are awaited. `score` returns None where a head is out of order: the
    reply is then chosen without it.
    """

    encode: Callable[[Context], tuple[int, ...]]
    generate: Callable[[GenerationRequest], Awaitable[Sequence[Candidate]]]
    score: Callable[[RankerHead, Sequence[str], Sequence[str]], Awaitable[Sequence[float] | None]]


@dataclass(slots=True, kw_only=True)
class Judged:
    """A candidate on its way through the filters. `text` is what would be posted."""

    candidate: Candidate
    text: str
    dropped: str | None = None
    verdict: Verdict | None = None
    scores: dict[str, float]
    final: float | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """The reply and how it came about; `text` None says to stay silent, for `reason`."""

    text: str | None
    reason: str | None
    seed: int
    context_ids: tuple[int, ...]
    decoding: Decoding
    rounds: int
    judged: Sequence[Judged]
    milliseconds: Mapping[str, float]


async def compose_reply(
    context: Context, settings: ChannelSettings, moderator: Moderator, ports: Ports, seed: int
) -> Composed:
    """The reply to `context` under `settings`. Raises what `ports.generate` raises."""
    watch = _Watch()
    said_verdict = moderator.check_incoming(context.said)
    context_ids = ports.encode(context)
    watch.lap("context")
    judged: list[Judged] = []
    rounds = 0
    while rounds < ROUNDS and (rounds == 0 or settings.moderation.on_all_blocked is OnAllBlocked.RESAMPLE):
        request = GenerationRequest(
            input_ids=context_ids, decoding=stricter(settings.decoding, rounds), seed=round_seed(seed, rounds)
        )
        rounds += 1
        candidates = await ports.generate(request)
        watch.lap("generate")
        fresh = [judge(candidate, context, moderator, said_verdict) for candidate in candidates]
        judged += fresh
        standing = [one for one in fresh if one.dropped is None]
        watch.lap("check")
        if standing:
            await _score(standing, context, settings, ports)
            choose(standing, context, settings).chosen = True
            watch.lap("score")
            break
    text, reason = _outcome(judged, context, settings, seed)
    return Composed(
        text=text,
        reason=reason,
        seed=seed,
        context_ids=context_ids,
        decoding=settings.decoding,
        rounds=rounds,
        judged=judged,
        milliseconds=watch.milliseconds,
    )


def judge(candidate: Candidate, context: Context, moderator: Moderator, said: Verdict) -> Judged:
    """Guards first, then moderation, which may also clean the text."""
    text = candidate.text.strip() if candidate.finished else whole_sentences(candidate.text)
    dropped = fault(text, context.said, context.earlier_replies)
    if dropped is not None:
        unfinished = dropped == "empty" and not candidate.finished
        return Judged(candidate=candidate, text=text, dropped="unfinished" if unfinished else dropped, scores={})
    verdict = moderator.check_outgoing(text, said=context.said, said_verdict=said)
    if verdict.action in (Action.BLOCK, Action.CRISIS):
        category = verdict.category.value if verdict.category else "blocked"
        return Judged(candidate=candidate, text=text, dropped=f"moderation: {category}", verdict=verdict, scores={})
    return Judged(candidate=candidate, text=verdict.text, verdict=verdict, scores={})


async def _score(standing: Sequence[Judged], context: Context, settings: ChannelSettings, ports: Ports) -> None:
    turns = [utterance.text for utterance in context.utterances]
    texts = [one.text for one in standing]
    for head in [*settings.ranking.prior, *settings.ranking.cond]:
        scores = await ports.score(head, turns, texts)
        if scores is not None:
            for one, score in zip(standing, scores, strict=True):
                one.scores[head.name] = score


def choose(standing: Sequence[Judged], context: Context, settings: ChannelSettings) -> Judged:
    """The candidate of the highest final score: DialogRPT's combination of heads, mixed with the generator's
    own probability, less penalties. The first of equals."""
    ranking = settings.ranking
    for one in standing:
        probability = one.candidate.probability
        prior = [(one.scores[head.name], head.weight) for head in ranking.prior if head.name in one.scores]
        cond = [(one.scores[head.name], head.weight) for head in ranking.cond if head.name in one.scores]
        ranked = mix(combine(prior, cond), probability, ranking.mix) if prior or cond else probability
        penalty = _penalty(one, context, settings)
        one.scores.update({"probability": probability, "penalty": penalty})
        one.final = ranked * (1.0 - penalty)
    return max(standing, key=lambda one: one.final or 0.0)


def _penalty(one: Judged, context: Context, settings: ChannelSettings) -> float:
    """1 - the product of what each penalty leaves: repeating oneself, echoing, contradicting the persona."""
    rules = settings.ranking.penalties
    repeated = max((overlap(one.text, reply) for reply in context.earlier_replies), default=0.0)
    left = 1.0 - rules.repeat * repeated
    left *= 1.0 - rules.echo * overlap(one.text, context.said)
    if contradicts(one.text, settings.persona.facts):
        left *= 1.0 - rules.contradiction
    return 1.0 - left


def _outcome(
    judged: Sequence[Judged], context: Context, settings: ChannelSettings, seed: int
) -> tuple[str | None, str | None]:
    chosen = next((one for one in judged if one.chosen), None)
    if chosen is not None:
        return chosen.text, None
    if settings.moderation.on_all_blocked is OnAllBlocked.SILENT:
        return None, "every candidate was dropped"
    return safe_line(settings.persona.safe_lines, context.earlier_replies, seed), "safe line"


def safe_line(lines: Sequence[str], earlier_replies: Sequence[str], seed: int) -> str:
    """One of the persona's safe lines, never the one that was said last."""
    last = earlier_replies[-1] if earlier_replies else None
    fresh = [line for line in lines if line != last] or list(lines)
    return fresh[seed % len(fresh)]


def stricter(decoding: Decoding, round_number: int) -> Decoding:
    """Settings for another round after every candidate was dropped: nearer to what the model is sure of, more
    of them, and no early end."""
    if round_number == 0:
        return decoding
    return decoding.model_copy(
        update={
            "candidates": min(2 * decoding.candidates, 32),
            "temperature": max(0.7, decoding.temperature * 0.9),
            "top_p": min(decoding.top_p, 0.8),
            "min_new_tokens": max(decoding.min_new_tokens, 3),
            "repetition_penalty": max(decoding.repetition_penalty, 1.2),
        }
    )


def turn_seed(turn_id: int, created_at: float) -> int:
    """A turn's own seed, 63 bits: the same at every attempt, another for every turn of every store."""
    digest = hashlib.blake2b(f"{turn_id}/{created_at:.6f}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def round_seed(seed: int, round_number: int) -> int:
    """Rounds after the first draw other noise, or they would only find the same candidates again."""
    if round_number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/{round_number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class _Watch:
    """Wall time by stage, in milliseconds; stages that come back add up."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage] = round(self.milliseconds.get(stage, 0.0) + (now - self._since) * 1000, 2)
        self._since = now
