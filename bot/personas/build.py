"""From a chat export to a persona pack, in stages that each leave their result in a work folder.

A run that was killed goes on in the stage it was in: what a stage found is there whole, or not at all.
"""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.config import Persona
from bot.personas.errors import PersonaError
from bot.personas.manifest import OWN_MODEL, Manifest, PackModel
from bot.personas.people import Pseudonyms
from bot.personas.reading import Export

Result = dict[str, Any]

_PLAN_FILE = "build.json"
_KEY_FILE = "pseudonyms.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """What is built. `consent` are the names or ids of those who agreed; `rank` is that of an adapter, None: all of
    the base's weights are trained; `out` is the pack's folder."""

    export: str
    speaker: str
    consent: Sequence[str]
    name: str
    called: str
    greeting: str
    facts: Sequence[str]
    base: str
    rank: int | None
    epochs: int
    minutes: float | None
    learning_rate: float
    gap: timedelta
    seed: int
    licence: str
    work: Path
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A plan under way: its export, its pseudonyms, and what the stages before found, by their names."""

    plan: BuildPlan
    export: Export
    pseudonyms: Pseudonyms
    say: Callable[[str], None]
    done: dict[str, Result] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Where stages leave their files."""
        return self.plan.work

    @property
    def persona_sentences(self) -> list[str]:
        """What the model is told about itself, as the bot tells it in a talk."""
        return [f"My name is {self.plan.called}.", *self.plan.facts]


MADE = "made"
"""In a result: paths outside of the work folder that the stage made."""

Stage = Callable[[Job], tuple[Result, str]]
"""Gives its result and one line about it."""


def build(plan: BuildPlan, stages: Mapping[str, Stage], say: Callable[[str], None]) -> Job:
    """Carry out, in order, the stages that are not done yet. Raises what they raise."""
    export = Export.named(plan.export)
    with _own(plan.work):
        _demand_same_plan(plan, export)
        job = Job(plan=plan, export=export, pseudonyms=Pseudonyms.kept_in(plan.work / _KEY_FILE), say=say)
        for number, (name, stage) in enumerate(stages.items(), start=1):
            file = plan.work / f"{name}.json"
            place = f"[{number}/{len(stages)}] {name}"
            if (found := _found(file)) is not None:
                job.done[name] = found
                say(f"{place}: done before")
                continue
            say(f"{place} ...")
            job.done[name], line = stage(job)
            write_whole(file, json.dumps(job.done[name], indent=2, ensure_ascii=False) + "\n")
            say(f"{place}: {line}")
    return job


def _found(file: Path) -> Result | None:
    """What a stage found before; None if it did not come to its end, or somebody deleted what it made."""
    if not file.is_file():
        return None
    result: Result = json.loads(file.read_text(encoding="utf-8"))
    return result if all(Path(made).exists() for made in result.get(MADE, ())) else None


def write_whole(file: Path, text: str) -> None:
    """Write a file that is there whole or not at all, also after a power cut."""
    begun = file.with_name(f".{file.name}.begun")
    with begun.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(begun, file)


def manifest_of(plan: BuildPlan) -> Manifest:
    """What the pack will say of itself. Raises PersonaError for what no persona can be."""
    try:
        return Manifest(
            name=plan.name,
            persona=Persona(name=plan.called, greeting=plan.greeting, facts=tuple(plan.facts)),
            model=PackModel(checkpoint=OWN_MODEL, base=None if plan.rank is None else plan.base),
            licence=plan.licence,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise PersonaError(f"The persona's {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def name_from(speaker: str) -> str:
    """A key for config.yaml from a person's name, as `rosie`. Raises PersonaError where nothing is left of it."""
    name = re.sub(r"[^a-z0-9]+", "-", speaker.casefold()).strip("-")[:32].strip("-")
    if not name:
        raise PersonaError(f"{speaker!r} gives no name for config.yaml. Choose one: --name rosie")
    return name


@contextmanager
def _own(work: Path) -> Iterator[None]:
    """The work folder, for this process alone; nobody else may look into it. Raises PersonaError."""
    try:
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (work / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PersonaError(f"{work}: another build is at work in it. Wait for it.") from None
            yield
    except NotADirectoryError as error:
        raise PersonaError(f"{work}: this is no folder. Choose another one with --work.") from error


def _demand_same_plan(plan: BuildPlan, export: Export) -> None:
    """A work folder belongs to one build: stages of two would make a pack of neither."""
    settings = json.loads(json.dumps(asdict(plan), default=str, sort_keys=True))
    asked = {**settings, "export": export.fingerprint()}
    file = plan.work / _PLAN_FILE
    if not file.is_file():
        write_whole(file, json.dumps(asked, indent=2, ensure_ascii=False) + "\n")
        return
    begun = json.loads(file.read_text(encoding="utf-8"))
    other = sorted(key for key in asked.keys() | begun.keys() if asked.get(key) != begun.get(key))
    if other:
        raise PersonaError(
            f"{plan.work}: a build with another {' and '.join(other).replace('_', ' ')} was begun here. Say the same "
            "as then to go on with it; for a new build delete the folder or choose another one with --work."
        )
