"""Hold `banter model trace` against what the original programs wrote down, and measure how far the numbers are apart.

`python -m tests.parity.differences` prints a row of a Markdown table for every system.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bot.trace.reading import read_json
from bot.trace.whole import Wishes, trace_file

HERE = Path(__file__).parent
LOGITS, PROBABILITIES = 2e-4, 1e-4
"""How far a computed number may be from the original's."""

CHECKPOINTS = {
    "dialogpt": "dialogpt/small_ft.pkl",
    "dialogrpt": "dialogrpt/restore/medium_ft.pkl",
    "gpt2-chitchat": "gpt2-chitchat",
    "devjwsong": "devjwsong",
    "pingpong-gpt": "pingpong-gpt",
    "pingpong-meena": "pingpong-meena",
}
ONLY_FILTERED = frozenset({"gpt2-chitchat", "devjwsong"})
"""Systems of which no other way to write replies was recorded."""

MARKERS = ("[SEPT]", "<sp1>", "<sp2>", "<bos>", "<|endoftext|>")
"""Names that the originals take for control tokens when a person types them; here they stay text."""

GREEDY_TOKENS = 24
"""How many tokens the recordings of DialoGPT's plain greedy replies have at most."""

Record = Mapping[str, Any]


@dataclass
class Found:
    """What was compared: how many values, the largest difference of each kind, and all that is not equal."""

    compared: int = 0
    largest: dict[str, float] = field(default_factory=lambda: {"logits": 0.0, "probabilities": 0.0})
    unequal: list[str] = field(default_factory=list)

    def equal(self, what: str, ours: object, theirs: object) -> None:
        self.compared += 1
        if ours != theirs:
            self.unequal.append(f"{what}: {ours!r:.200} instead of {theirs!r:.200}")

    def near(self, what: str, ours: Sequence[Any], theirs: Sequence[Any], kind: str = "logits") -> None:
        self.compared += 1
        if len(ours) != len(theirs):
            self.unequal.append(f"{what}: {len(ours)} numbers instead of {len(theirs)}")
            return
        for mine, other in zip(ours, theirs, strict=True):
            apart = 0.0 if str(mine) == str(other) else abs(float(mine) - float(other))
            self.largest[kind] = max(self.largest[kind], apart)
            if not apart <= (LOGITS if kind == "logits" else PROBABILITIES):
                self.unequal.append(f"{what}: {mine} instead of {other}")

    def logits(self, what: str, ours: Record, theirs: Record) -> None:
        self.near(f"{what} first16", ours["first16"], theirs["first16"])
        self.near(f"{what} logsumexp", [ours["logsumexp"]], [theirs["logsumexp"]])
        self.equal(f"{what} argmax", ours["argmax"], theirs["argmax"])

    def kept(self, what: str, ours: Sequence[Record], theirs: Sequence[Record]) -> None:
        for step, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
            self.equal(f"{what} step {step} ids", mine["ids"], other["ids"])
            self.near(f"{what} step {step} probs", mine["probs"], other["probs"], "probabilities")


@cache
def measured(system: str) -> Found:
    """Trace a system's recorded runs and compare everything that both know."""
    golden = HERE / system / "golden.json"
    theirs = read_json(golden)
    modes = ("filtered",) if system in ONLY_FILTERED else ()
    ours = trace_file(str(HERE / CHECKPOINTS[system]), Wishes(turns_file=golden, modes=modes))
    found = Found()
    for section, compare in _COMPARISONS[system].items():
        for mine, other in zip(ours[section], theirs[section], strict=True):
            compare(found, f"{section} {mine['id']}", mine, other)
    return found


def _typed_marker(texts: Sequence[str]) -> bool:
    return any(marker in text for text in texts for marker in MARKERS)


def pingpong_case(found: Found, what: str, mine: Record, other: Record) -> None:
    if _typed_marker(other["context"]) and mine["input_ids"] != other["input_ids"]:
        return  # the one rule that is ours: nobody can type a control token
    found.equal(f"{what} ids", mine["input_ids"], other["input_ids"])
    if "logits_last" in other:
        found.logits(what, mine["logits_last"], other["logits_last"])
    else:
        found.equal(f"{what} refused", "error" in mine, True)
    if "teacher_forced" in other:
        found.logits(f"{what} forced", mine["teacher_forced"]["logits_last"], other["teacher_forced"]["logits_last"])
    for name, run in other["runs"].items():
        _pingpong_run(found, f"{what} {name}", mine["runs"][name], run)


def _pingpong_run(found: Found, what: str, mine: Record, other: Record) -> None:
    pairs = {"greedy": "greedy_plain", "filtered": "top_p_argmax", "beam": "beam_search"}
    for ours, theirs in pairs.items():
        if "original_error" in other[theirs]:
            found.equal(f"{what} {ours} refused", "error" in mine[ours], True)
            continue
        if ours == "beam":
            found.equal(f"{what} sequences", mine[ours]["sequences"], other[theirs]["sequences"])
            found.equal(f"{what} texts", mine[ours]["texts"], other[theirs]["texts"])
            found.near(f"{what} scores", mine[ours]["hypothesis_scores"], other[theirs]["hypothesis_scores"])
            continue
        found.equal(f"{what} {ours}", mine[ours]["output_ids"], other[theirs]["output_ids"])
        found.equal(f"{what} {ours} text", mine[ours]["text"], other[theirs]["text"])
    penalised = other["greedy_penalised"]
    if "original_error" not in penalised:  # filters never take away the likeliest
        found.equal(f"{what} penalised", mine["filtered"]["output_ids"], penalised["output_ids"])
        found.kept(what, mine["filtered"]["kept_steps"], other["top_p_argmax"]["kept_first3_steps"])


def _dialogpt(found: Found, what: str, mine: Record, other: Record) -> None:
    found.equal(f"{what} whole ids", mine.get("whole_input_ids", mine["input_ids"]), other["input_ids"])
    found.equal(f"{what} ids", mine["input_ids"], other["model_input_ids"])
    found.logits(what, mine["logits_last"], other["logits_last"])
    greedy = mine["greedy"]["reply_ids"][:GREEDY_TOKENS]
    found.equal(f"{what} greedy", greedy, other["greedy_ids"])
    if mine["greedy"]["reply_ids"] == other["greedy_ids"]:
        found.equal(f"{what} text", mine["greedy"]["text"], other["greedy_text"])


def _dialogpt_talk(found: Found, what: str, mine: Record, other: Record) -> None:
    for number, (turn, step) in enumerate(zip(mine["turns"], other["steps"], strict=True)):
        for key in ("input_ids", "reply_ids", "reply"):
            found.equal(f"{what} step {number} {key}", turn[key], step[key])


def _dialogrpt(found: Found, what: str, mine: Record, other: Record) -> None:
    found.equal(f"{what} ids", mine["input_ids"], other["input_ids"])
    found.logits(what, mine["logits_last"], other["logits_last"])
    limit = len(other["greedy_ids"])
    found.equal(f"{what} greedy", mine["greedy"]["reply_ids"][:limit], other["greedy_ids"])
    searches = [*zip(mine["dialogrpt"]["beam"], other["beam"], strict=True)]
    searches += [(mine["dialogrpt"][name], other[name]) for name in ("sampling", "sampling_t1") if name in other]
    for number, (ours, theirs) in enumerate(searches):
        place = f"{what} search {number}"
        found.equal(f"{place} texts", [t for _, t in ours["finished"]], [t for _, t in theirs["finished"]])
        probabilities = ([p for p, _ in ours["finished"]], [p for p, _ in theirs["finished"]])
        found.near(f"{place} probabilities", *probabilities, "probabilities")


def _chitchat_talk(found: Found, what: str, mine: Record, other: Record) -> None:
    for number, (turn, theirs) in enumerate(zip(mine["turns"], other["turns"], strict=True)):
        place = f"{what} turn {number}"
        found.equal(f"{place} ids", turn["input_ids"], theirs["input_ids"])
        found.logits(place, turn["logits_last"], theirs["logits_last"])
        reply = turn["reply_ids"]
        stopped = turn["filtered"]["stopped"]
        found.equal(f"{place} response", reply[:-1] if stopped else reply, theirs["response_ids"])
        found.equal(f"{place} stopped", stopped, theirs["ended_by_sep"])
        found.equal(f"{place} reply", turn["reply"], theirs["reply"])
        found.kept(place, turn["filtered"]["kept_steps"], theirs["kept_first2_steps"])


def _chitchat_mmi(found: Found, what: str, mine: Record, other: Record) -> None:
    for number, (turn, theirs) in enumerate(zip(mine["turns"], other["turns"], strict=True)):
        place = f"{what} turn {number}"
        found.equal(f"{place} ids", turn["generator_input_ids"], theirs["generator_input_ids"])
        found.equal(f"{place} reply", turn["reply"], theirs["reply"])
        _chitchat_choice(found, place, turn, theirs)


def _chitchat_choice(found: Found, what: str, mine: Record, other: Record) -> None:
    found.equal(f"{what} chosen", mine["chosen_index"], other["chosen_index"])
    for number, (ours, theirs) in enumerate(zip(mine["candidates"], other["candidates"], strict=True)):
        for key in ("candidate_ids", "mmi_input_ids"):
            found.equal(f"{what} candidate {number} {key}", ours[key], theirs[key])
        found.near(f"{what} candidate {number} loss", [ours["mmi_loss"]], [theirs["mmi_loss"]], "probabilities")


def _devjwsong_talk(found: Found, what: str, mine: Record, other: Record) -> None:
    for number, (turn, theirs) in enumerate(zip(mine["turns"], other["turns"], strict=True)):
        if _typed_marker([theirs["user"]]):
            return  # from here on the talks differ: nobody can type a control token
        place = f"{what} turn {number}"
        found.equal(f"{place} reply", turn["reply"], theirs["reply"])
        if "note" in theirs:
            found.equal(f"{place} refused", "error" in turn, True)
            continue
        found.equal(f"{place} ids", turn["input_ids"], theirs["input_ids"])
        found.equal(f"{place} types", turn["token_type_ids"], theirs["token_type_ids"])
        found.logits(place, turn["logits_last"], theirs["logits_last"])
        found.equal(f"{place} output", turn["reply_ids"], theirs["output_ids"])
        found.kept(place, turn["filtered"]["kept_steps"], theirs["kept_first2_steps"])


_COMPARISONS: Mapping[str, Mapping[str, Any]] = {
    "dialogpt": {"cases": _dialogpt, "hf_chat_sessions": _dialogpt_talk},
    "dialogrpt": {"generator_cases": _dialogrpt},
    "gpt2-chitchat": {
        "interact_sessions": _chitchat_talk,
        "mmi_sessions": _chitchat_mmi,
        "mmi_candidate_cases": _chitchat_choice,
    },
    "devjwsong": {"sessions": _devjwsong_talk},
    "pingpong-gpt": {"cases": pingpong_case},
    "pingpong-meena": {"cases": pingpong_case},
}


def table() -> Iterator[str]:
    """The rows of a Markdown table."""
    yield "| system | values compared | unequal | largest difference of logits, scores | of probabilities, losses |"
    yield "| --- | --- | --- | --- | --- |"
    for system in CHECKPOINTS:
        found = measured(system)
        logits, probabilities = found.largest["logits"], found.largest["probabilities"]
        yield f"| {system} | {found.compared} | {len(found.unequal)} | {logits:.1e} | {probabilities:.1e} |"


if __name__ == "__main__":
    for row in table():
        print(row)
