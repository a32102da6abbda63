"""What docs/seed-systems.md shows is what the checkpoints say."""

import json
import re
from pathlib import Path
from unicodedata import normalize

import pytest

from bot.trace.whole import Wishes, trace_file
from tests.parity.differences import CHECKPOINTS, HERE

PAGE = (Path(__file__).parents[2] / "docs" / "seed-systems.md").read_text(encoding="utf-8")
TALKS = {
    system: re.findall(r"`([^`]*)` → (?:`([^`]*)`|\(nothing\))", row)
    for system in CHECKPOINTS
    for row in PAGE.splitlines()
    if row.startswith(f"| {system} |")
}


@pytest.mark.parametrize("system", sorted(CHECKPOINTS))
def test_the_talks_on_the_page_are_what_the_checkpoints_say(system: str, tmp_path: Path) -> None:
    asked = [said for said, _ in TALKS[system]]
    turns = tmp_path / "turns.json"
    turns.write_text(json.dumps({"user_turns": asked, "options": {"max_new_tokens": 8}}), encoding="utf-8")
    traced = trace_file(str(HERE / CHECKPOINTS[system]), Wishes(turns_file=turns, modes=("filtered",)))
    replies = [turn["filtered"]["text"] for turn in traced["sessions"][0]["turns"]]
    assert len(asked) == 2
    shown = [normalize("NFC", repr(reply)[1:-1]) for reply in replies]  # Korean syllables come in parts
    assert shown == [normalize("NFC", answer) for _, answer in TALKS[system]]
