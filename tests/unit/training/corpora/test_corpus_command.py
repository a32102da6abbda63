"""`banter corpus` as people call it: what it writes, prints, and says about mistakes."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.training.corpora import jsonl

LINES = [
    '{"turns": ["hi there", "hello, how are you?", "fine", "good to hear"]}',
    '{"turns": ["what is your name?", "I am Rosie."], "topic": "names", "persona": ["I am Rosie."]}',
]


def corpus(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["corpus", *map(str, arguments)])


def done(*arguments: str | Path) -> str:
    result = corpus(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def file_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_convert_writes_what_can_be_trained_on(tmp_path: Path) -> None:
    source = tmp_path / "train.txt"
    source.write_text("hi\nhello\n\nalone\n\nbye\nsee you\nsoon\n")
    out = tmp_path / "out.jsonl"
    said = done("convert", source, out)
    assert said.splitlines() == [f"{out}: 2 dialogues, 5 turns", "  left out, without an answer: 1"]
    assert [dialogue.turns for dialogue in jsonl.read(out)] == [("hi", "hello"), ("bye", "see you", "soon")]


def test_convert_chooses_speaker_and_pause(tmp_path: Path) -> None:
    def post(number: int, who: str, minute: int) -> dict[str, object]:
        stamp = str(1_700_000_000 + 60 * minute)
        return {
            "id": number,
            "type": "message",
            "date_unixtime": stamp,
            "from": who,
            "from_id": who,
            "text": f"m{number}",
        }

    messages = [post(1, "Ann", 0), post(2, "Rosie", 1), post(3, "Ann", 20), post(4, "Rosie", 21), post(5, "Bob", 22)]
    source = tmp_path / "result.json"
    source.write_text(json.dumps({"name": "us", "messages": messages}))
    out = tmp_path / "out.jsonl"
    done("convert", source, out, "--speaker", "Rosie", "--gap", "10m")
    assert [dialogue.turns for dialogue in jsonl.read(out)] == [("m1", "m2"), ("m3", "m4")]
    assert [dialogue.weights for dialogue in jsonl.read(out)] == [(0, 1), (0, 1)]
    result = corpus("convert", source, out)
    assert result.exit_code == 1
    assert "3 people talk in 'us'. Choose whose replies are learned, --speaker NAME: " in result.output
    assert "not a duration" in corpus("convert", source, out, "--gap", "soon").output


def test_a_discord_export_is_converted_with_a_word_about_its_terms(tmp_path: Path) -> None:
    def post(number: int, who: str) -> dict[str, object]:
        moment = f"2024-01-01T10:0{number}:00+00:00"
        author = {"id": who, "name": who, "nickname": who, "isBot": False}
        return {"id": str(number), "type": "Default", "timestamp": moment, "content": "hi", "author": author}

    source = tmp_path / "general.json"
    content = {"guild": {}, "channel": {"name": "general"}, "messages": [post(1, "Ann"), post(2, "Bob")]}
    source.write_text(json.dumps(content))
    result = corpus("convert", source, tmp_path / "out.jsonl")
    assert result.exit_code == 0
    assert "Discord's developer terms allow no training" in result.stderr


def test_a_broken_line_keeps_what_came_before_beside(tmp_path: Path) -> None:
    source = file_of(tmp_path, *LINES, '{"turns": ["a", "b"')
    out = tmp_path / "out.jsonl"
    out.write_text("older")
    result = corpus("convert", source, out)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {source}:3: this is not JSON")
    assert f"What was done before, 2 lines, is in {out}.part." in result.output
    assert out.read_text() == "older"
    assert len(list(jsonl.read(Path(f"{out}.part")))) == 2


@pytest.mark.parametrize("command", ["stats", "split --out {out}", "clean {out}", "convert {out}"])
def test_an_empty_or_missing_corpus_is_one_line(tmp_path: Path, command: str) -> None:
    name, *options = command.format(out=tmp_path / "out").split()
    empty = file_of(tmp_path)
    for source, complaint in ((empty, "the file is empty"), (tmp_path / "none", "no such file")):
        result = corpus(name, source, *options)
        assert result.exit_code == 1
        assert complaint in result.output
        assert len(result.output.splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path not in (empty, tmp_path / "out")]


def test_stats_are_a_table_or_json(tmp_path: Path) -> None:
    source = file_of(tmp_path, *LINES)
    table = done("stats", source)
    assert "dialogues               2\n" in table
    assert "turns per dialogue\n  mean    3.0\n" in table
    report = json.loads(done("stats", source, "--json", "--tokenizer", "starter"))
    assert report["words"] == 17
    assert report["tokens"] > 15
    assert report["commonest_topics"] == {"names": 1}


def test_split_writes_three_parts_and_reports_leaks(tmp_path: Path) -> None:
    words = ["red", "blue", "green", "lamp", "table", "chair", "horse", "apple", "river", "cloud", "stone", "paper"]
    lines = [
        json.dumps({"turns": [f"{a} {b} is {a}", f"{b} or {c}?"]}) for a in words for b in words for c in words[:3]
    ]
    said = done("split", file_of(tmp_path, *lines), "--out", tmp_path / "parts", "--valid", "0.1", "--test", "0.1")
    sizes = {name: len(list(jsonl.read(tmp_path / "parts" / f"{name}.jsonl"))) for name in ("train", "valid", "test")}
    assert sum(sizes.values()) == len(lines)
    assert all(abs(sizes[name] - len(lines) / 10) < 4 for name in ("valid", "test"))
    assert "of test, also in training: 0 dialogues word for word, 0 nearly, 0 by situation, " in said
    assert (
        "must be below 1" in corpus("split", "chatterbot", "--out", tmp_path, "--valid", "0.5", "--test", "0.5").output
    )


def test_clean_says_what_went_and_why(tmp_path: Path) -> None:
    source = file_of(
        tmp_path,
        *LINES,
        LINES[0],
        '{"turns": ["hello", "write to ann@example.org", "ok", "fine then"]}',
        '{"turns": ["look here", "see https://example.org/x", "bye"]}',
        '{"turns": ["you there", "this is fucking great"]}',
        '{"turns": ["tell me", "%s"]}' % ("word " * 70),
    )
    out = tmp_path / "out.jsonl"
    report = json.loads(done("clean", source, out, "--json"))
    assert report["turns_dropped"] == {"personal data: e-mail": 1, "link": 1, "words: profanity": 1, "too long": 1}
    assert report["dialogues_dropped"] == {"no turn with a reply is left": 3, "duplicate": 1}
    assert [dialogue.turns[0] for dialogue in jsonl.read(out)] == ["hi there", "what is your name?", "ok"]
    table = done("clean", source, "--dry-run", "--skip", "length", "--skip", "duplicates", "--max-words", "5")
    assert "too long" not in table
    assert "dialogues kept     5" in table
    assert "Name the file to write, or add --dry-run" in corpus("clean", source).output


@pytest.mark.parametrize("command", ["clean {out}/c.jsonl", "convert {out}/c.jsonl", "split --out {out}"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, command: str) -> None:
    source = file_of(tmp_path, *LINES * 20)
    name, *options = command.format(out=source).split()
    result = corpus(name, source, *options)
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert len(result.output.splitlines()) == 1


def test_nothing_of_the_store_is_asked_of_a_file(tmp_path: Path) -> None:
    result = corpus("convert", file_of(tmp_path, *LINES), tmp_path / "out", "--discord")
    assert "are about the SRC store" in result.output


def test_the_commands_load_no_torch_before_they_run() -> None:
    code = "import bot.corpus.command, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def started(*arguments: str | Path, file_limit: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    command = [sys.executable, "-m", "bot", "corpus", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=limit)  # noqa: PLW1509


def test_an_interruption_leaves_no_half_file(tmp_path: Path) -> None:
    line = LINES[0] + "\n"
    source = tmp_path / "corpus.jsonl"
    with source.open("w") as file:
        for _ in range(400):
            file.write(line * 1000)
    out = tmp_path / "out.jsonl"
    process = started("convert", source, out)
    part = tmp_path / "out.jsonl.part"
    deadline = time.monotonic() + 60
    while not part.exists():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "Stopped; no file was left half written.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_a_full_disk_keeps_the_whole_lines(tmp_path: Path) -> None:
    source = file_of(tmp_path, *LINES * 2000)
    out = tmp_path / "out.jsonl"
    process = started("convert", source, out, file_limit=100_000)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{out} cannot be written: File too large. What was done before, " in said
    kept = list(jsonl.read(Path(f"{out}.part")))
    assert 0 < len(kept) < 4000
    assert not out.exists()
