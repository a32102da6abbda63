"""A trace as people read it."""

from collections.abc import Iterator, Sequence
from typing import Any

from bot.trace.running import MODES, Record
from bot.trace.whole import sections_of

_IDS_SHOWN = 48
_KEPT_SHOWN = 5


def listing(record: Record) -> str:
    """The record's lines."""
    return "\n".join(_lines(record))


def _lines(record: Record) -> Iterator[str]:
    yield f"{record['system']}, dialect {record['dialect']}, revision {record['revision']}"
    settings = ", ".join(f"{name} {value}" for name, value in record["decoding"].items())
    yield f"settings: {settings}"
    for section, items in sections_of(record).items():
        for item in items:
            yield ""
            yield f"{section} {item['id']}"
            yield from (f"  {line}" for line in _item(item))


def _item(item: Record) -> Iterator[str]:
    if "turns" in item:
        for turn in item["turns"]:
            yield f"user     {turn['user']!r}"
            yield from _seen_and_said(turn)
            yield f"reply    {turn['reply']!r}"
    else:
        for text in item.get("context", []):
            yield f"turn     {text!r}"
        yield from _seen_and_said(item)
    for name, run in item.get("runs", {}).items():
        yield f"run {name}"
        yield from (f"  {line}" for line in _modes(run))


def _seen_and_said(item: Record) -> Iterator[str]:
    for name, label in (
        ("input_ids", "ids"),
        ("generator_input_ids", "ids"),
        ("token_type_ids", "types"),
        ("decoder_input_ids", "decoder"),
    ):
        if name in item:
            yield f"{label:<8} {_some(item[name])}"
    if "pieces" in item:
        yield f"pieces   {_some(item['pieces'])}"
    if "logits_last" in item:
        logits = item["logits_last"]
        yield f"logits   {_some(logits['first16'][:6])} ...; argmax {logits['argmax']}, logsumexp {logits['logsumexp']}"
    yield from _modes(item)
    for number, one in enumerate(item.get("candidates", [])):
        mark = "*" if number == item["chosen_index"] else " "
        yield f"{mark} loss {one['mmi_loss']}  {_some(one['candidate_ids'])}  {one.get('text', '')!r}"
    if "error" in item:
        yield f"ERROR    {item['error']}"


def _modes(item: Record) -> Iterator[str]:
    for mode in MODES:
        if mode in item:
            yield from _mode(mode, item[mode])


def _mode(mode: str, said: Record) -> Iterator[str]:
    if "error" in said:
        yield f"{mode}: ERROR {said['error']}"
    elif mode == "beam":
        for score, ids, text in zip(said["hypothesis_scores"], said["reply_ids"], said["texts"], strict=True):
            yield f"beam: {score}  {text!r}  {_some(ids)}"
    elif mode == "dialogrpt":
        for search in (*said.get("beam", []), said.get("sampling", {}), said.get("sampling_t1", {})):
            for probability, text in search.get("finished", []):
                yield f"dialogrpt: {probability}  {text!r}"
    else:
        end = "stopped" if said["stopped"] else "not stopped"
        yield f"{mode}: {said['text']!r}  log probability {said['log_prob']:.4f}, {end}"
        yield f"  {_some(said['reply_ids'])}"
        for number, step in enumerate(said.get("kept_steps", [])):
            likeliest = zip(step["ids"][:_KEPT_SHOWN], step["probs"], strict=False)
            kept = " ".join(f"{token}:{probability:.4f}" for token, probability in likeliest)
            yield f"  step {number + 1}: {step['kept']} left, {kept}"


def _some(values: Sequence[Any]) -> str:
    shown = " ".join(map(str, values[:_IDS_SHOWN]))
    return f"{shown} ... ({len(values)} in all)" if len(values) > _IDS_SHOWN else shown
