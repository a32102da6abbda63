"""The bot with itself, and talks as files."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapters.base import IncomingCommand, IncomingMessage, OutgoingPart, Sink
from adapters.terminal import TerminalAdapter
from adapters.transcript import Transcript
from bot.cli import main
from bot.config import Config
from bot.generator.dialects.base import Utterance
from bot.models import Models
from bot.self_talk import Said, talk_to_itself

NOW = datetime(2026, 1, 2, 3, 4, 5, 600)
CONFIG = Config.model_validate(
    {
        "decoding": {"default": {"candidates": 4, "max_new_tokens": 24}},
        "ranking": {"prior": [], "cond": []},
        "personas": {"default": {"greeting": "Good evening!"}},
    }
)


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    loaded = Models.load(CONFIG)
    yield loaded
    loaded.close()


async def talk(
    models: Models, *, turns: int = 5, opening: str | None = "Do you like tea?", seed: int = 1
) -> list[Said]:
    return [said async for said in talk_to_itself(CONFIG, models, turns=turns, opening=opening, seed=seed)]


async def test_the_sides_alternate_from_the_opening_to_the_last_turn(models: Models) -> None:
    said = await talk(models)
    assert [line.side for line in said] == [1, 2, 1, 2, 1]
    assert said[0].text == "Do you like tea?"
    assert all(line.text.strip() for line in said)


async def test_the_same_seed_gives_the_same_talk_and_another_seed_another(models: Models) -> None:
    first = await talk(models, seed=7)
    assert await talk(models, seed=7) == first
    assert await talk(models, seed=8) != first


async def test_the_persona_greets_where_nothing_is_said_first(models: Models) -> None:
    assert await talk(models, turns=1, opening=None) == [Said(1, "Good evening!")]


async def test_each_side_takes_itself_for_the_bot(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Utterance]] = []
    encode = models.encode

    def watched(context, settings):  # type: ignore[no-untyped-def]
        seen.append(list(context.utterances))
        return encode(context, settings)

    monkeypatch.setattr(models, "encode", watched)
    said = await talk(models, turns=4)
    texts = [line.text for line in said]
    assert [[one.speaker for one in context] for context in seen] == [[1], [0, 1], [1, 0, 1]]
    assert [[one.text for one in context] for context in seen] == [texts[:1], texts[:2], texts[:3]]


def chat(folder: Path, *arguments: str) -> Result:
    (folder / "config.yaml").write_text("decoding: {default: {candidates: 2, max_new_tokens: 16}}\n")
    return CliRunner().invoke(main, ["--config", str(folder / "config.yaml"), "chat", *arguments])


def test_the_command_prints_plain_lines_saves_them_and_touches_no_store(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    result = chat(tmp_path, "--self", "--turns", "3", "--opening", "Hello\nyou", "--seed", "5", "--save", str(file))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "Banter 1: Hello you"
    assert [line.split(":")[0] for line in lines] == ["Banter 1", "Banter 2", "Banter 1"]
    assert "\x1b" not in result.stdout
    header, *saved, end = file.read_text(encoding="utf-8").splitlines()
    assert header.startswith("聊天记录")
    assert [line.split(":")[0] for line in saved] == ["user", "chatbot", "user"]
    assert saved[1].partition(":")[2] == lines[1].partition(": ")[2]
    assert end == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "talk.txt"]


@pytest.mark.parametrize("option", [["--turns", "3"], ["--opening", "hi"], ["--seed", "0"]])
def test_options_of_a_talk_with_itself_need_it(tmp_path: Path, option: list[str]) -> None:
    result = chat(tmp_path, *option)
    assert result.exit_code == 64
    assert "--self" in result.output


def test_a_transcript_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    result = chat(tmp_path, "--self", "--save", str(tmp_path / "nowhere" / "talk.txt"))
    assert result.exit_code == 1
    assert "cannot be written" in result.output


def test_a_model_that_is_none_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"model: {{checkpoint: {tmp_path}}}\n")
    result = CliRunner().invoke(main, ["--config", str(tmp_path / "config.yaml"), "chat", "--self"])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("model: ")
    assert "Traceback" not in result.output


def test_a_transcript_is_on_disk_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "samples.txt"
    with Transcript(file, NOW) as transcript:
        assert file.read_text(encoding="utf-8") == "聊天记录2026-01-02 03:04:05.000600:\n"
        transcript.user("你好\n吗")
        assert file.read_text(encoding="utf-8").endswith("user:你好 吗\n")
        transcript.chatbot("")
    with Transcript(file, NOW) as transcript:
        transcript.user("again")
    header = "聊天记录2026-01-02 03:04:05.000600:\n"
    assert file.read_text(encoding="utf-8") == f"{header}user:你好 吗\nchatbot:\n\n{header}user:again\n\n"


class Listener(Sink):
    """Takes what is typed; commands are answered, messages are not."""

    async def message(self, message: IncomingMessage) -> None:
        pass

    async def command(self, command: IncomingCommand) -> str | None:
        return "an answer to a command"


async def test_the_terminal_writes_down_what_is_said_and_no_commands(tmp_path: Path) -> None:
    lines = tmp_path / "in.txt"
    lines.write_text("hello\n/help\n\n")
    out = StringIO()
    with lines.open() as stdin, Transcript(tmp_path / "talk.txt", NOW) as transcript:
        terminal = TerminalAdapter(
            bot_name="Banter",
            history_file=None,
            settled=lambda _channel: asyncio.sleep(0),
            transcript=transcript,
            stdin=stdin,
            stdout=out,
        )
        await terminal.listen(Listener())
        await terminal.post(OutgoingPart(channel=terminal.channel, text="hi there", nonce="1"))
    assert out.getvalue() == "an answer to a command\nhi there\n"
    assert (tmp_path / "talk.txt").read_text(encoding="utf-8").splitlines()[1:] == [
        "user:hello",
        "chatbot:hi there",
        "",
    ]
