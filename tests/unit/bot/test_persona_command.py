"""What `banter persona build` says before it learns anything."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from tests.unit.bot.persona_chats import animals

AGREED = ["--yes-i-have-consent", "Rosie", "--yes-i-have-consent", "Alice Smith"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("version: 1\n")
    animals(2).write(tmp_path / "result.json")
    return tmp_path


def build(folder: Path, *arguments: str, export: str = "result.json") -> Result:
    config = str(folder / "config.yaml")
    return CliRunner().invoke(main, ["--config", config, "persona", "build", str(folder / export), *arguments])


def said(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr


def test_too_few_replies_are_counted_and_what_was_left_out_is_told(folder: Path) -> None:
    told = said(build(folder, "--speaker", "Rosie", *AGREED))
    assert "12 replies of Rosie to learn from, and at least 100 are needed" in told
    assert "2 no consent, 2 answers to those without consent" in told


def test_where_nothing_is_left_that_is_what_is_said(folder: Path) -> None:
    """Carl never answers anybody who agreed."""
    told = said(
        build(
            folder, "--speaker", "Carl Dreyer", "--yes-i-have-consent", "Carl Dreyer", "--yes-i-have-consent", "Rosie"
        )
    )
    assert "there are 0 replies of Carl Dreyer" in told


def test_a_speaker_who_is_not_there_is_answered_with_those_who_are(folder: Path) -> None:
    told = said(build(folder, "--speaker", "Bob", *AGREED))
    assert "nobody called 'Bob' writes in it. Those who do: Rosie (14), Alice Smith (12), Carl Dreyer (2)" in told


def test_without_a_word_about_consent_nothing_is_read(folder: Path) -> None:
    assert "Nobody's words are learned without consent" in said(build(folder, "--speaker", "Rosie"))
    assert not (folder / "personas").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"turns": ["hi", "hello"]}\n', "export of a chat"),
        ('{"name": "x", "messages": [{"id": 1', "cut off"),
        ("", "the file is empty"),
        ('{"name": "x", "messages": []}', "there are no messages with text in it"),
    ],
)
def test_a_file_that_is_no_export_is_told_for_what_it_is(folder: Path, content: str, told: str) -> None:
    (folder / "other.json").write_text(content)
    assert told in said(build(folder, "--speaker", "Rosie", *AGREED, export="other.json"))


def test_a_file_that_is_not_there_is_a_message(folder: Path) -> None:
    assert "there is no such file" in said(build(folder, "--speaker", "Rosie", *AGREED, export="nowhere.json"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--called", "x" * 100], "The persona's name: "),
        (["--fact", " "], "The persona's facts.0: "),
        (["--licence", ""], "The persona's licence: "),
        (["--base", "nowhere"], "nowhere: there is no such file"),
        (["--consent", "nowhere.txt"], "nowhere.txt: the list of consent cannot be read"),
    ],
)
def test_what_no_persona_can_be_is_told_before_anything_is_learned(
    folder: Path, arguments: list[str], told: str
) -> None:
    assert told in said(build(folder, "--speaker", "Rosie", *AGREED, *arguments))


def test_an_adapter_needs_a_base_that_others_can_name(folder: Path) -> None:
    (folder / "base").mkdir()
    (folder / "base/config.json").write_text("{}")
    (folder / "base/model.safetensors").write_bytes(b"")
    told = said(build(folder, "--speaker", "Rosie", *AGREED, "--base", str(folder / "base"), "--lora-rank", "4"))
    assert "an adapter is packed without its base" in told


def test_a_pack_that_is_there_is_not_written_over(folder: Path) -> None:
    (folder / "personas/rosie").mkdir(parents=True)
    assert "is there already" in said(build(folder, "--speaker", "Rosie", *AGREED))


def test_a_speaker_without_letters_needs_a_name(folder: Path) -> None:
    assert "--name rosie" in said(build(folder, "--speaker", "🦊", *AGREED))


def test_a_pause_is_a_duration(folder: Path) -> None:
    result = build(folder, "--speaker", "Rosie", *AGREED, "--gap", "long")
    assert result.exit_code == 64
    assert "is not a duration" in result.output


def test_the_work_folder_is_for_its_owner_alone_and_says_nothing_of_those_who_did_not_agree(folder: Path) -> None:
    build(folder, "--speaker", "Rosie", *AGREED)
    work = folder / "personas/rosie.build"
    assert work.stat().st_mode & 0o777 == 0o700
    texts = [file.read_text() for file in work.glob("*.json")]
    assert len(texts) == 3
    assert not any("Carl" in text or "user3" in text for text in texts)
    assert json.loads((work / "read.json").read_text())["people"] == 3
