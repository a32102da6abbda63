"""From a checkpoint's name and a file of turns to the whole record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.generator.decoder import Decoder
from bot.generator.formats.chitchat import MMI_MODEL, reverse_model
from bot.generator.formats.registry import open_checkpoint
from bot.generator.ranking.reverse import Reverse
from bot.trace.errors import TraceError
from bot.trace.reading import Case, Choice, Session, Task, read_json, read_tasks
from bot.trace.running import MODES, Record, Tracer
from bot.trace.settings import Settings, habitual
from bot.trace.talking import trace_choice, trace_session


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command was asked for."""

    turns_file: Path
    settings_file: Path | None = None
    modes: Sequence[str] = ()
    seed: int | None = None
    mmi: str | None = None
    dialect: str = "auto"
    device: str = "cpu"
    trim: bool = False


def trace_file(path: str, wishes: Wishes) -> Record:
    """The record of all that the file asks for. Raises TraceError and CheckpointError."""
    tasks = read_tasks(wishes.turns_file)
    checkpoint = open_checkpoint(path)
    decoder = Decoder.load(checkpoint, dialect=wishes.dialect, device=wishes.device, dtype="float32")
    tracer = Tracer(checkpoint, decoder, modes=wishes.modes, trim=wishes.trim)
    settings = _settings(habitual(decoder.dialect.habits), wishes)
    reverse = _reverse(path, tasks, wishes)
    record: Record = {
        "system": checkpoint.system,
        "dialect": decoder.dialect.name,
        "revision": decoder.revision,
        "decoding": settings.decoding.model_dump(exclude={"preset"}),
        "history_turns": settings.turns,
    }
    for task in tasks:
        record.setdefault(task.section, []).append(_traced(tracer, task, settings, reverse, wishes))
    return record


def sections_of(record: Record) -> dict[str, list[Record]]:
    """The traced cases and talks by the name of their section."""
    return {name: items for name, items in record.items() if isinstance(items, list)}


def failed(item: Record) -> bool:
    """Whether a case or talk got no answer at all."""
    if "error" in item:
        return True
    if "turns" in item:
        return bool(item["turns"]) and all(failed(turn) for turn in item["turns"])
    said = [run[mode] for run in (item, *item.get("runs", {}).values()) for mode in MODES if mode in run]
    return bool(said) and all("error" in one for one in said)


def _traced(tracer: Tracer, task: Task, settings: Settings, reverse: Reverse | None, wishes: Wishes) -> Record:
    if isinstance(task, Case):
        return tracer.case(task, settings)
    if isinstance(task, Choice):
        return trace_choice(tracer, task, settings, reverse)
    chooses = task.reverse or wishes.mmi is not None
    return trace_session(tracer, task, settings, reverse if chooses else None)


def _settings(settings: Settings, wishes: Wishes) -> Settings:
    if wishes.settings_file is not None:
        words = read_json(wishes.settings_file)
        if not isinstance(words, dict):
            raise TraceError(f"{wishes.settings_file}: settings are an object, this is something else.")
        settings = settings.changed(words, str(wishes.settings_file))
    return settings if wishes.seed is None else settings.changed({"seed": wishes.seed}, "--seed")


def _reverse(path: str, tasks: Sequence[Task], wishes: Wishes) -> Reverse | None:
    """The named reverse model; where a talk needs one, the one that lies in the project's folder."""
    if wishes.mmi is not None:
        return Reverse.load(open_checkpoint(reverse_model(wishes.mmi)), name="reverse", device="cpu", dtype="float32")
    if not any(isinstance(task, Choice) or (isinstance(task, Session) and task.reverse) for task in tasks):
        return None
    for place in (Path(path) / MMI_MODEL, Path(path).parent / MMI_MODEL):
        if place.is_dir():
            return Reverse.load(open_checkpoint(str(place)), name="reverse", device="cpu", dtype="float32")
    return None
