"""The stages that need a model: training it, letting it talk, measuring it."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from bot.config import Config
from bot.models import Models
from bot.personas.build import Job, Result, write_whole
from bot.personas.errors import PersonaError
from bot.personas.pack import SAMPLES
from bot.personas.preparing import HELD_OUT, QUESTIONS, TRAINING
from bot.personas.reading import usual_moderator
from bot.self_talk import talk_to_itself
from bot.training.corpora import jsonl
from bot.training.metrics.diversity import distinct
from moderation.verdict import Action

MODEL = "model"
"""Where the run leaves the new model, its checkpoints and its log."""

OPENINGS = (
    "Hi! How are you?",
    "What did you do today?",
    "Have you seen any good films lately?",
    "I'm so tired.",
    "What shall we eat tonight?",
    "Do you have plans for the weekend?",
)
TURNS = 6
"""Of a sample talk."""

_BATCH_TOKENS = 1536
_CHARACTERS_A_TOKEN = 3.5
ASKED = 60
"""Held-out talks that are put to the models, drawn by the seed: each costs a reply of both."""


def train(job: Job) -> tuple[Result, str]:
    """The base model on the speaker's replies; goes on from its last checkpoint."""
    from bot.training.examples import Learn, Lesson, Share
    from bot.training.finetune import Plan
    from bot.training.finetune import train as carry_out
    from bot.training.settings import RunSettings

    plan = job.plan
    steps = _steps_an_epoch(job)
    carry_out(
        Plan(
            settings=RunSettings(
                out=job.work / MODEL,
                epochs=plan.epochs,
                minutes=plan.minutes,
                learning_rate=plan.learning_rate,
                warm_up_steps=max(1, min(60, steps * plan.epochs // 10)),
                weight_decay=0.01 if plan.rank is None else 0.0,
                batch_tokens=_BATCH_TOKENS,
                evaluate_every_steps=max(1, min(200, steps // 2)),
                seed=plan.seed,
            ),
            shares=[Share(f"{job.work / TRAINING}:{jsonl.SOURCE}", 1.0)],
            checkpoint=plan.base,
            adapter_rank=plan.rank,
            persona=job.persona_sentences,
            lesson=Lesson(learn=Learn.REPLIES),
            held_out=f"{job.work / HELD_OUT}:{jsonl.SOURCE}",
        )
    )
    minutes = _minutes_spent(job)
    return {"minutes": minutes}, f"the model is in {job.work / MODEL}, after {minutes:.1f} minutes"


def samples(job: Job) -> tuple[Result, str]:
    """Talks of the persona with itself, written, moderated and chosen as the bot does it."""
    checkpoint = str(job.work / MODEL)
    config = Config.model_validate(
        {
            "model": {"checkpoint": checkpoint},
            "ranking": {"cond": [{"name": "mutual_information", "checkpoint": checkpoint}]},
            "personas": {
                "default": {"name": job.plan.called, "greeting": job.plan.greeting, "facts": list(job.plan.facts)}
            },
        }
    )
    talks = asyncio.run(_talks(config, job.plan.seed))
    if not any(len(talk) > 1 for talk in talks):
        raise PersonaError("The model answered nothing that moderation lets through: it learned the wrong things.")
    write_whole(job.work / SAMPLES, _samples_text(job.plan.called, talks))
    return {"talks": talks}, f"{sum(len(talk) - 1 for talk in talks)} replies in {len(talks)} talks"


def figures(job: Job) -> tuple[Result, str]:
    """The new model beside its base on what was held out, and what it repeats word for word."""
    from bot.training.evaluation.figures import Wording, all_figures
    from bot.training.evaluation.modes import Mode
    from bot.training.evaluation.run import Plan, evaluate

    outcome = evaluate(
        Plan(
            checkpoints=[job.plan.base, str(job.work / MODEL)],
            rankers=["starter"],
            modes=[Mode.SAMPLE],
            corpus=str(job.work / QUESTIONS),
            candidates=1,
            judge="starter",
            limit=ASKED,
            seed=job.plan.seed,
        ),
        _blocked(),
        _progress,
    )
    if outcome.stopped == "interrupted":
        raise KeyboardInterrupt
    if outcome.stopped is not None:
        raise PersonaError(f"The model cannot be measured: {outcome.stopped}")
    people, base, new = all_figures(outcome, Wording())
    named = {"people": people, "base": {**base, "checkpoint": job.plan.base}, "persona": {**new, "checkpoint": MODEL}}
    result = {"questions": len(outcome.questions), "held_out": named, "samples": _own_words(job)}
    return result, _in_short(named)


def _blocked() -> Callable[[Sequence[str], str], bool]:
    """Whether the bot's moderation, by default, keeps back a reply to a talk."""
    moderator = usual_moderator()

    def blocked(context: Sequence[str], reply: str) -> bool:
        verdict = moderator.check_outgoing(reply, said=context[-1], said_verdict=moderator.check_incoming(context[-1]))
        return bool(reply) and verdict.action in (Action.BLOCK, Action.CRISIS)

    return blocked


def _progress(numbers: Iterable[int], doing: str) -> Iterable[int]:
    """A bar on a terminal; nothing in a file."""
    bar: Iterable[int] = tqdm(numbers, desc=doing, disable=None, leave=False)
    return bar


async def _talks(config: Config, seed: int) -> list[list[str]]:
    models = await asyncio.to_thread(Models.load, config)
    try:
        return [
            [
                said.text
                async for said in talk_to_itself(config, models, turns=TURNS, opening=opening, seed=seed + number)
            ]
            for number, opening in enumerate(OPENINGS)
        ]
    finally:
        models.close()


def _samples_text(name: str, talks: Iterable[Sequence[str]]) -> str:
    head = (
        f"# Talks of {name}\n\nThe first line of each was given; all others were written by the model, with the bot's "
        "default settings, both sides being the persona. Nothing was picked out.\n"
    )
    return head + "".join("\n" + "".join(f"- {' '.join(text.split())}\n" for text in talk) for talk in talks)


def _own_words(job: Job) -> dict[str, Any]:
    """How varied the sample replies are, and how many are somebody's very words."""
    replies = [reply for talk in job.done["samples"]["talks"] for reply in talk[1:]]
    known = {turn.casefold() for dialogue in jsonl.read(job.work / TRAINING) for turn in dialogue.turns[1::2]}
    repeated = sum(reply.casefold() in known for reply in replies)
    return {"replies": len(replies), "distinct_2": distinct(replies, 2), "word_for_word": repeated / len(replies)}


def _in_short(named: dict[str, dict[str, Any]]) -> str:
    before, after = named["base"]["perplexity"], named["persona"]["perplexity"]
    if before is None or after is None:
        return str(named["persona"]["perplexity_why"])
    return f"perplexity {before:.1f} before, {after:.1f} now"


def _minutes_spent(job: Job) -> float:
    """As the run's own clock counts them, over all starts, up to its last checkpoint."""
    return float(json.loads((job.work / MODEL / "clock.json").read_text(encoding="utf-8"))["minutes"])


def _steps_an_epoch(job: Job) -> int:
    """About how many batches the training part makes."""
    characters = sum(len(turn) for dialogue in jsonl.read(job.work / TRAINING) for turn in dialogue.turns)
    return max(1, round(characters / _CHARACTERS_A_TOKEN / _BATCH_TOKENS))
