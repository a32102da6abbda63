"""What is to be traced: a context, a talk in which the model's replies are fed back, or a whole file of recorded runs.

Understands the plain forms that a person writes and the sections that recordings of the original programs have.
Knows neither model nor dialect.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.trace.errors import TraceError
from bot.trace.settings import is_word, nearest

BETWEEN_TURNS = "<|endoftext|>"
"""How DialogRPT's files write several turns in one text."""

_SECTIONS = (
    "cases",
    "generator_cases",
    "hf_chat_sessions",
    "interact_sessions",
    "sessions",
    "mmi_sessions",
    "mmi_candidate_cases",
)
_FORMS = (
    'a list of texts or messages, {"context": [...]}, {"turns": [...]}, {"messages": [...]}, {"cxt": "..."}, '
    '{"input_ids": [...]}, {"user_turns": [...], "options": {...}}, or a list of those'
)
_TALKS = ("context", "turns", "messages")
_ROLES = {"user": False, "assistant": True}
_SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One context. Either `turns`, the last one being what somebody said to the bot, or `input_ids` as they are.

    `bots` says of each turn whether it is the bot's; where it is empty, the sides take turns.
    `model_input_ids` are fed instead of the ids of the turns where a recording cut them. `runs` are named settings
    with which the case is traced one after the other, `searches` those of DialogRPT's searches.
    """

    section: str
    id: str
    where: str
    turns: tuple[str, ...] = ()
    bots: tuple[bool, ...] = ()
    input_ids: tuple[int, ...] | None = None
    model_input_ids: tuple[int, ...] | None = None
    decoder_input_ids: tuple[int, ...] = ()
    persona: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    searches: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What somebody says turn by turn. `reverse`: a reverse model chooses among several replies.

    `marked`: people's turns are written with their own beginning and end, as a newer library made one program do.
    """

    section: str
    id: str
    where: str
    users: tuple[str, ...]
    persona: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    reverse: bool = False
    marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Replies, as ids, among which a reverse model chooses."""

    section: str
    id: str
    where: str
    history: tuple[str, ...]
    candidates: tuple[tuple[int, ...], ...]
    options: Mapping[str, Any]


Task = Case | Session | Choice


def read_json(file: Path) -> Any:
    """The file's JSON. Raises TraceError."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceError(f"{file}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{file}: this is no JSON ({error}).") from error


def read_tasks(file: Path) -> list[Task]:
    """All that a file of turns asks for, in its order. Raises TraceError."""
    content = read_json(file)
    if isinstance(content, dict) and any(section in content for section in _SECTIONS):
        tasks = list(_recorded(content, str(file)))
    elif isinstance(content, list) and not _is_talk(content):
        tasks = [_task(item, None, f"[{n}]", f"{file}: [{n}]") for n, item in enumerate(content)]
    else:
        tasks = [_task(content, None, "0", str(file))]
    if not tasks:
        raise TraceError(f"{file}: there is nothing to trace. Give {_FORMS}.")
    return tasks


def _recorded(content: Mapping[str, Any], file: str) -> Iterator[Task]:
    for section in _SECTIONS:
        items = content.get(section, [])
        if not isinstance(items, list):
            raise TraceError(f"{file}: {section} must be a list.")
        for number, item in enumerate(items):
            yield _task(item, section, f"{section}[{number}]", f"{file}: {section}[{number}]")


def _task(item: Any, section: str | None, place: str, where: str) -> Task:
    if isinstance(item, list):
        item = {"context": item}
    if not isinstance(item, dict):
        raise TraceError(f"{where}: this is {item!r:.60}. Give {_FORMS}.")
    name = str(item.get("id", place))
    if section == "mmi_candidate_cases":
        return _choice(item, section, name, where)
    if _users_key(item) is not None:
        return _session(item, section or "sessions", name, where)
    return _case(item, section or "cases", name, where)


def _case(item: Mapping[str, Any], section: str, name: str, where: str) -> Case:
    forced = item.get("teacher_forced")
    turns, bots, system = _said(item, where)
    return Case(
        section=section,
        id=name,
        where=where,
        turns=turns,
        bots=bots,
        input_ids=_ids(item["input_ids"], f"{where}.input_ids") if not _has_text(item) else None,
        model_input_ids=_ids(item["model_input_ids"], f"{where}.model_input_ids")
        if "model_input_ids" in item
        else None,
        decoder_input_ids=_ids(forced.get("decoder_input_ids", []), f"{where}.teacher_forced.decoder_input_ids")
        if isinstance(forced, dict)
        else (),
        persona=(*_texts(item.get("persona", []), f"{where}.persona"), *system),
        options=_options(item, where),
        runs=_runs(item.get("runs"), where),
        searches=tuple(_searches(item)),
    )


def _session(item: Mapping[str, Any], section: str, name: str, where: str) -> Session:
    key = str(_users_key(item))
    if not isinstance(item[key], list):
        raise TraceError(f"{where}.{key}: this must be a list of texts.")
    said = [turn["user"] if isinstance(turn, dict) and "user" in turn else turn for turn in item[key]]
    return Session(
        section=section,
        id=name,
        where=where,
        users=_texts(said, f"{where}.{key}"),
        persona=_texts(item.get("persona", []), f"{where}.persona"),
        options=_options(item, where),
        reverse=section == "mmi_sessions",
        marked=str(item.get("user_text_encoding", "")).startswith("with special tokens"),
    )


def _choice(item: Mapping[str, Any], section: str, name: str, where: str) -> Choice:
    candidates = item.get("candidates")
    if not isinstance(candidates, list):
        raise TraceError(f"{where}: candidates must be a list.")
    ids = [one.get("candidate_ids") if isinstance(one, dict) else one for one in candidates]
    return Choice(
        section=section,
        id=name,
        where=where,
        history=_texts(item.get("history"), f"{where}.history"),
        candidates=tuple(_ids(one, f"{where}.candidates[{n}]") for n, one in enumerate(ids)),
        options=_options(item, where),
    )


def _users_key(item: Mapping[str, Any]) -> str | None:
    if "user_turns" in item:
        return "user_turns"
    for key in ("turns", "steps"):
        turns = item.get(key)
        if isinstance(turns, list) and any(isinstance(turn, dict) and "user" in turn for turn in turns):
            return key
    return None


def _has_text(item: Mapping[str, Any]) -> bool:
    return any(key in item for key in (*_TALKS, "cxt"))


def _is_talk(content: list[Any]) -> bool:
    """Whether a list is one context itself: texts, or messages as chat programs keep them."""
    return bool(content) and all(isinstance(item, str) or _text_of(item) is not None for item in content)


def _text_of(message: Any) -> str | None:
    """What a message says: {"role": "user", "content": "hi"}, or with "text" in its place; None: it is none."""
    text = message.get("content", message.get("text")) if isinstance(message, dict) else None
    return text if isinstance(text, str) else None


def _said(item: Mapping[str, Any], where: str) -> tuple[tuple[str, ...], tuple[bool, ...], tuple[str, ...]]:
    """A context's turns, which of them are the bot's where the file says so, and the system's messages."""
    key = next((key for key in _TALKS if key in item), "")
    messages = item.get(key)
    if "cxt" in item or not isinstance(messages, list) or not any(_text_of(one) is not None for one in messages):
        return _turns(item, where), (), ()
    texts = [_text_of(one) for one in messages]
    roles = [one.get("role") if isinstance(one, dict) else None for one in messages]
    for number, (text, role) in enumerate(zip(texts, roles, strict=True)):
        if text is None or (role not in (*_ROLES, _SYSTEM) and any(roles)):
            raise TraceError(
                f'{where}.{key}[{number}]: a message is {{"role": "user", "content": "..."}}; the role is user, '
                "assistant or system, or no message has one."
            )
    turns = [(str(text), role) for text, role in zip(texts, roles, strict=True) if role != _SYSTEM]
    bots = tuple(_ROLES[str(role)] for _, role in turns) if any(roles) else ()
    system = tuple(str(text) for text, role in zip(texts, roles, strict=True) if role == _SYSTEM)
    return tuple(text for text, _ in turns), bots, system


def _turns(item: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if "cxt" in item:  # DialogRPT strips every turn
        if not isinstance(item["cxt"], str):
            raise TraceError(f"{where}.cxt: this must be a text.")
        return tuple(turn.strip() for turn in item["cxt"].split(BETWEEN_TURNS))
    for key in _TALKS:
        if key in item:
            return _texts(item[key], f"{where}.{key}")
    if "input_ids" in item:
        return ()
    known = {*_TALKS, "cxt", "input_ids", "user_turns", "options", "persona", "id"}
    odd = next((key for key in item if key not in known), "")
    raise TraceError(f"{where}: there is nothing to trace.{nearest(odd, known)} Give {_FORMS}.")


def _options(item: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The settings of a case: its `options`, and plain numbers beside them that are called like settings."""
    options = item.get("options") or {}
    if not isinstance(options, dict):
        raise TraceError(f"{where}.options: this must be an object.")
    beside = {key: value for key, value in item.items() if is_word(key) and isinstance(value, int | float)}
    return {**beside, **options}


def _runs(runs: Any, where: str) -> dict[str, Mapping[str, Any]]:
    if runs is None:
        return {}
    if not isinstance(runs, dict) or not all(isinstance(run, dict) for run in runs.values()):
        raise TraceError(f"{where}.runs: this must be an object of objects.")
    return {
        str(name): {word: value for word, value in run.items() if is_word(word) and isinstance(value, int | float)}
        for name, run in runs.items()
    }


def _searches(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in ("beam", "sampling", "sampling_t1"):
        found = item.get(name)
        for search in found if isinstance(found, list) else [found]:
            if isinstance(search, dict) and isinstance(search.get("params"), dict):
                yield name, search["params"]


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TraceError(f"{where}: this must be a list of texts.")
    return tuple(value)


def _ids(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in value):
        raise TraceError(f"{where}: this must be a list of token ids.")
    return tuple(value)
