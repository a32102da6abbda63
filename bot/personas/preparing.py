"""The stages that need no model: who is there, who agreed, what may be learned, what is held out."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from bot.personas.build import Job, Result, write_whole
from bot.personas.errors import PersonaError
from bot.personas.names import Names
from bot.personas.people import consenting
from bot.personas.reading import Tally, learned_dialogues, people_in
from bot.personas.scrub import Scrubber
from bot.training.corpora import jsonl
from bot.training.corpora.dialogue import Dialogue
from bot.training.errors import TrainingError

FEWEST_REPLIES = 100
"""Below this a model learns the lines by heart and nothing else."""

ENOUGH_REPLIES = 2000
"""From about so many on, a persona sounds like the person."""

_HELD_OUT = 0.1
_ONE_SITUATION = ("the chat",)
"""Of a corpus that is one situation nothing is held out again: that is done here."""

DIALOGUES, TRAINING, HELD_OUT, QUESTIONS = "dialogues.jsonl", "training.jsonl", "held_out.jsonl", "questions.jsonl"


def read(job: Job) -> tuple[Result, str]:
    """Count the messages, and find the speaker."""
    people = people_in(job.export)
    learned = people.identified(job.plan.speaker, job.export.path)
    result = {
        "format": job.export.kind,
        "messages": people.messages.total(),
        "people": len(people.messages),
        "by_speaker": people.messages[learned],
    }
    return result, f"{result['messages']:,} messages of {result['people']:,} people"


def consent(job: Job) -> tuple[Result, str]:
    """Whose lines may be used."""
    people = people_in(job.export)
    learned, agreed = consenting(people, job.export.path, job.plan.speaker, job.plan.consent)
    ordered = sorted(agreed, key=lambda author: (author != learned, job.pseudonyms.of(author)))
    left_out = {
        "people": len(people.messages) - len(agreed),
        "messages": people.messages.total() - sum(people.messages[author] for author in agreed),
    }
    result = {
        "ids": ordered,
        "speaker": job.pseudonyms.of(learned),
        "agreed": [{"person": job.pseudonyms.of(author), "messages": people.messages[author]} for author in ordered],
        "left_out": left_out,
    }
    return result, f"{len(agreed)} agreed, {left_out['people']} are left out"


def scrub(job: Job) -> tuple[Result, str]:
    """Dialogues without personal data, as JSON lines."""
    ids: list[str] = job.done["consent"]["ids"]
    learned = ids[0]
    names = Names.of(people_in(job.export), job.pseudonyms, learned=learned, persona=job.plan.called)
    scrubber, tally = Scrubber(names), Tally()
    found = learned_dialogues(
        job.export, learned=learned, agreed=frozenset(ids), scrubber=scrubber, gap=job.plan.gap, tally=tally
    )
    try:
        dialogues = list(found)
    except TrainingError:  # the export was read to its end before: what is missing is anything to learn
        dialogues = []
    replies = _replies(dialogues)
    if replies < FEWEST_REPLIES:
        left_out = ", ".join(f"{count:,} {why}" for why, count in tally.left_out.most_common())
        raise PersonaError(
            f"{job.export.path}: there are {replies} replies of {job.plan.speaker} to learn from, and at least "
            f"{FEWEST_REPLIES} are needed ({ENOUGH_REPLIES:,} make a good persona)."
            + (f" Left out: {left_out}." if left_out else "")
            + " Export a longer part of the chat, or ask more people for their consent."
        )
    _write(job, DIALOGUES, dialogues)
    result = {
        "messages": tally.kept,
        "left_out": dict(tally.left_out.most_common()),
        "scrubbed": dict(scrubber.found.most_common()),
        "dialogues": len(dialogues),
        "replies": replies,
    }
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in scrubber.found.most_common()) or "nothing found"
    return result, f"{replies:,} replies in {len(dialogues):,} dialogues; scrubbed: {kinds}"


def split(job: Job) -> tuple[Result, str]:
    """The last tenth of the chat is what the model is judged by; talks that repeat earlier ones are not asked."""
    dialogues = list(jsonl.read(job.work / DIALOGUES))
    held_count = max(1, round(_HELD_OUT * len(dialogues)))
    training, held_out = dialogues[:-held_count], dialogues[-held_count:]
    known = {_key(dialogue) for dialogue in training}
    new = [dialogue for dialogue in held_out if _key(dialogue) not in known]
    if not training or not new:
        raise PersonaError(
            f"{job.export.path}: nothing is left to judge the model by, because the chat is one single talk or repeats "
            "itself. A shorter --gap makes more talks of it; or export a longer part."
        )
    _write(job, TRAINING, training)
    _write(job, HELD_OUT, new)
    write_whole(job.work / QUESTIONS, "".join(_questions(new)))
    result = {
        "training": {"dialogues": len(training), "replies": _replies(training)},
        "held_out": {"dialogues": len(new), "replies": _replies(new)},
        "repeated": len(held_out) - len(new),
    }
    return result, f"{_replies(training):,} replies to learn, {_replies(new):,} held out"


def _replies(dialogues: Iterable[Dialogue]) -> int:
    """Every second turn: dialogues begin with a person and end with the speaker."""
    return sum(len(dialogue.turns) // 2 for dialogue in dialogues)


def _key(dialogue: Dialogue) -> str:
    return "\n".join(dialogue.turns).casefold()


def _questions(dialogues: Iterable[Dialogue]) -> Iterable[str]:
    for dialogue in dialogues:
        for place in range(1, len(dialogue.turns), 2):
            question = {"context": dialogue.turns[:place], "references": [dialogue.turns[place]]}
            yield json.dumps(question, ensure_ascii=False) + "\n"


def _write(job: Job, name: str, dialogues: Sequence[Dialogue]) -> None:
    lines = (jsonl.line_of(replace(dialogue, situations=_ONE_SITUATION)) for dialogue in dialogues)
    write_whole(job.work / name, "".join(lines))
