"""The bot's own conversations as a corpus: consent decides, and what was left out is counted."""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapters.base import Channel, ChannelKind
from bot.app import prepare_store
from bot.cli import main
from bot.config import load_config
from bot.corpus.store import Consent, pieces_of, read_consent
from bot.training.corpora import jsonl
from bot.training.errors import TrainingError
from storage.records import Talk, TalkLine
from tests.contract.world import ANN, BOB, Clock, World

YES = {"telegram:ann": True, "telegram:bob": False}


def talk(*lines: tuple[str | None, int, str], platform: str = "telegram") -> Talk:
    made = [TalkLine(author_id=author, turn_id=turn, text=text) for author, turn, text in lines]
    return Talk(conversation_id=1, platform=platform, lines=made)


def pieces(spoken: Talk, consent: Consent) -> list[tuple[str, ...]]:
    return [dialogue.turns for dialogue in pieces_of(spoken, consent)]


def test_a_talk_is_cut_where_somebody_speaks_who_did_not_agree() -> None:
    spoken = talk(
        ("ann", 1, "hi"),
        (None, 1, "hello"),
        ("bob", 2, "my secret"),
        (None, 2, "your secret?"),
        ("ann", 3, "me again"),
        (None, 3, "welcome back"),
        ("eve", 4, "and me"),
    )
    consent = Consent(answers=YES)
    assert pieces(spoken, consent) == [("hi", "hello"), ("me again", "welcome back")]
    assert consent.left_out == {"opted out": 1, "never asked": 1}
    assert pieces(spoken, Consent(answers=YES, everybody=True))[0][2:4] == ("my secret", "your secret?")


def test_a_reply_to_several_goes_with_the_one_who_did_not_agree() -> None:
    spoken = talk(("ann", 1, "hi"), ("bob", 1, "hi too"), (None, 1, "hello both"))
    assert pieces(spoken, Consent(answers=YES)) == []


def test_discord_stays_out_even_of_those_who_agreed() -> None:
    spoken = talk(("ann", 1, "hi"), (None, 1, "hello"), platform="discord")
    consent = Consent(answers={"discord:ann": True}, everybody=True)
    assert pieces(spoken, consent) == []
    assert consent.left_out == {"Discord content": 1}
    assert pieces(spoken, Consent(answers={"discord:ann": True}, discord=True)) == [("hi", "hello")]
    assert pieces(spoken, Consent(discord=True)) == []


def test_the_operators_own_words_need_no_consent() -> None:
    assert pieces(talk(("me", 1, "hi"), (None, 1, "hello"), platform="terminal"), Consent()) == [("hi", "hello")]


def test_what_was_erased_cuts_a_talk() -> None:
    spoken = talk(("ann", 1, "hi"), (None, 1, "hello"), ("", 2, ""), (None, 2, "about that"), ("ann", 3, "so"))
    assert pieces(spoken, Consent(answers=YES)) == [("hi", "hello")]


def test_a_consent_list_is_read_with_remarks_and_the_last_word_counts(tmp_path: Path) -> None:
    path = tmp_path / "consent.txt"
    path.write_text("# who agreed\ntelegram:1 yes by mail\n\ntelegram:2 no\ntelegram:1 No # changed her mind\n")
    assert read_consent(path) == {"telegram:1": False, "telegram:2": False}


@pytest.mark.parametrize("line", ["telegram:1", "telegram yes", "telegram: yes", "telegram:1 maybe"])
def test_a_line_that_is_no_answer_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "consent.txt"
    path.write_text(f"telegram:1 yes\n{line}\n")
    with pytest.raises(TrainingError, match=r"consent\.txt:2: write PLATFORM:ID and yes or no"):
        read_consent(path)


DISCORD = Channel(platform="discord", address="77", kind=ChannelKind.PRIVATE)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A bot that has talked with Ann and Bob on Telegram, and with somebody on Discord."""
    path = tmp_path / "config.yaml"
    path.write_text(f"version: 1\nstorage: {{url: 'sqlite:///{tmp_path}/banter.db'}}\n")

    async def talks() -> None:
        store = prepare_store(load_config(path), path)
        world = World(store, Clock(datetime.now(UTC)))
        await world.converse(ANN, "I am Ann", "Hello Ann.")
        await world.converse(BOB, "I am Bob", "Hello Bob.")
        await world.converse(DISCORD, "I am Eve", "Hello Eve.")
        await store.close()

    asyncio.run(talks())
    return path


def convert(config: Path, *options: str) -> Result:
    out = str(config.with_name("own.jsonl"))
    return CliRunner().invoke(main, ["--config", str(config), "corpus", "convert", "store", out, *options])


def written(config: Path) -> list[str]:
    return [dialogue.turns[0] for dialogue in jsonl.read(config.with_name("own.jsonl"))]


def test_without_consent_nothing_of_the_store_is_written(config: Path) -> None:
    result = convert(config)
    assert result.exit_code == 1
    assert "left out, never asked: 2 messages" in result.output
    assert "left out, Discord content: 1 messages" in result.output
    assert not config.with_name("own.jsonl").exists()


def test_those_who_agreed_are_written(config: Path) -> None:
    consent = config.with_name("consent.txt")
    consent.write_text("telegram:author-of-1001 yes\n")
    result = convert(config, "--consent", str(consent))
    assert result.exit_code == 0, result.output
    assert written(config) == ["I am Ann"]


def test_an_override_is_explicit_and_logged(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="bot.corpus.store"):
        assert convert(config, "--without-consent", "--discord").exit_code == 0
    assert written(config) == ["I am Ann", "I am Bob", "I am Eve"]
    overridden = next(record for record in caplog.records if record.message == "training_consent_overridden")
    assert overridden.levelname == "WARNING"
    assert vars(overridden)["everybody"] is vars(overridden)["discord"] is True


def test_never_means_never_unless_overridden(config: Path) -> None:
    config.write_text(config.read_text() + "privacy: {training: {telegram: never}}\n")
    consent = config.with_name("consent.txt")
    consent.write_text("telegram:author-of-1001 yes\n")
    result = convert(config, "--consent", str(consent))
    assert result.exit_code == 1
    assert "left out, privacy.training says never: 2 messages" in result.output
    assert convert(config, "--without-consent").exit_code == 0


def test_a_wrong_configuration_or_list_is_a_message(config: Path) -> None:
    assert "cannot be read" in convert(config, "--consent", "/no/such/list").output
    config.write_text("version: 1\nbto: {}\n")
    assert convert(config).exit_code == 2
