"""What every reader stands on: text in any state, JSON of any size."""

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.training.corpora import chitchat_text, posts, text
from bot.training.corpora import json_stream as module
from bot.training.corpora.json_stream import JsonStream, json_stream
from bot.training.corpora.registry import every_dialogue
from bot.training.errors import TrainingError


def turns_of(path: Path, kind: str = "jsonl") -> list[tuple[str, ...]]:
    return [dialogue.turns for dialogue in every_dialogue(f"{path}:{kind}")]


def walked(stream: JsonStream) -> Any:
    """The value that comes next, by the cursor's steps alone."""
    if stream.peek() == "{":
        return {key: walked(stream) for key in stream.members()}
    if stream.peek() == "[":
        return [walked(stream) for _ in stream.array()]
    return stream.value()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


class Piecewise:
    """A file that gives a few characters at a time."""

    def __init__(self, content: str, size: int) -> None:
        self._content, self._size = content, size

    def read(self, _: int) -> str:
        piece, self._content = self._content[: self._size], self._content[self._size :]
        return piece


@given(JSON, st.integers(1, 9), st.sampled_from([None, 2]))
def test_a_stream_reads_what_json_reads_however_it_is_cut(value: Any, size: int, indent: int | None) -> None:
    content = json.dumps(value, indent=indent, ensure_ascii=False)
    stream = JsonStream(Path("x"), Piecewise(content, size))  # type: ignore[arg-type]
    assert walked(stream) == value
    stream.end()


@given(JSON, st.integers(1, 9))
def test_what_is_skipped_leaves_the_cursor_behind_it(value: Any, size: int) -> None:
    stream = JsonStream(Path("x"), Piecewise(json.dumps([value, 7]), size))  # type: ignore[arg-type]
    seen = []
    for number, _ in enumerate(stream.array()):
        if number:
            seen.append(stream.value())
        else:
            stream.skip()
    assert seen == [7]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('[["a", "b"],\n["c", "d"', ":2: this is not JSON (the file ends in the middle"),
        ('[["a", "b"],\n["c", "d', ":2: this is not JSON (the file ends in the middle"),
        ('[["a", "b"],\n["c" "d"], ' + '["e", "f"],' * 9 + "[]]", ":2: this is not JSON (Expecting ',' delimiter"),
        ('[["a", "b"]\n["c", "d"]]', ":2: this is not JSON (expecting ','"),
        ('[["a", "b"]]\n[]', ":2: this is not JSON (more follows"),
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_json_is_told_with_its_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "corpus.json"
    path.write_text(content)
    with pytest.raises(TrainingError) as caught:
        turns_of(path, "devjwsong")
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_value_beyond_all_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_VALUE", 1000)
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 100)
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps([["a", "b" * 5000]]))
    with pytest.raises(TrainingError, match=r":1: .*a value is longer than"), json_stream(path) as stream:
        walked(stream)


LINES = '{"turns": ["hi", "hello"]}\n{"turns": ["grüße", "ja"]}\n'


@pytest.mark.parametrize("content", [LINES, LINES.replace("\n", "\r\n"), "\ufeff" + LINES, "\n\n" + LINES.rstrip()])
def test_line_ends_and_byte_order_marks_change_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "corpus"
    path.write_text(content, encoding="utf-8", newline="")
    assert turns_of(path) == [("hi", "hello"), ("grüße", "ja")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (LINES.encode("utf-16"), ":1: this is UTF-16, not UTF-8 text. Convert it: iconv -f UTF-16 -t UTF-8 'corpus'"),
        (LINES.encode("utf-16-le"), ":1: this is UTF-16"),
        (LINES.encode("latin-1"), ":2: this is not UTF-8 text. Convert the file; if it is Western European: iconv"),
    ],
)
def test_another_encoding_is_told_with_its_remedy(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        turns_of(path)
    assert complaint in str(caught.value)


def test_a_pipe_is_refused_before_it_is_half_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for name in (f"{path}:jsonl", str(path)):
        with pytest.raises(TrainingError, match="has to be a file"):
            list(every_dialogue(name))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "LONGEST_LINE", 1000)
    path = tmp_path / "corpus"
    path.write_text(LINES + "x" * 5000)
    with pytest.raises(TrainingError, match=r":3: the line is longer than"):
        turns_of(path)


def test_dialogues_without_an_empty_line_between_them_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chitchat_text, "LONGEST_LINE", 1000)
    path = tmp_path / "corpus"
    path.write_text("hi\n" * 1000)
    with pytest.raises(TrainingError, match="Put one between dialogues"):
        turns_of(path, "gpt2-chitchat")


def test_a_line_of_exactly_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LONGEST_LINE", len(LINES.split("\n")[1]) + 1)
    path = tmp_path / "corpus"
    path.write_text(LINES)
    assert len(turns_of(path)) == 2


@pytest.mark.parametrize("kind", ["jsonl", "telegram", "devjwsong", "daily-dialog"])
def test_a_large_file_never_sits_in_memory(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three megabytes; what is held at any time is a few small buffers, and of a chat its last posts."""
    path = tmp_path / "corpus"
    word = "word " * 40
    if kind == "telegram":
        messages = [
            {"id": n, "type": "message", "date": "2024-01-01T00:00:00", "from": f"p{n % 2}", "from_id": f"user{n % 2}"}
            | {"text": word, "date_unixtime": str(1_700_000_000 + n * 9_000 // 10)}
            for n in range(8_000)
        ]
        path.write_text(json.dumps({"name": "chat", "messages": messages}))
        del messages
    else:
        line = {
            "jsonl": json.dumps({"turns": [word, word]}) + "\n",
            "devjwsong": json.dumps([word, word]) + ",\n",
            "daily-dialog": f"{word} __eou__ {word} __eou__\n",
        }[kind]
        with path.open("w") as file:
            file.write("[\n" * (kind == "devjwsong"))
            for _ in range(3_000_000 // len(line)):
                file.write(line)
            file.write("[]]" * (kind == "devjwsong"))
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 1 << 16)
    monkeypatch.setattr(posts, "_OPEN_POSTS", 500)
    monkeypatch.setattr(posts, "_LONGEST_SESSION", 100)
    tracemalloc.start()
    try:
        number = sum(1 for _ in every_dialogue(f"{path}:{kind}"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 2_500_000
    assert number > 10
    assert peak < 1_500_000
