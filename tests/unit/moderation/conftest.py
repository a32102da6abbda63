"""Moderators compiled once, and the development set that they are measured on."""

import csv
import json
from pathlib import Path

import pytest

from moderation.policy import ModerationSettings, Moderator, load_moderator
from moderation.verdict import Verdict

FIXTURES = Path(__file__).parent / "fixtures"


def read_csv(name: str, **wanted: str) -> list[dict[str, str]]:
    with (FIXTURES / name).open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if all(row[key] == value for key, value in wanted.items())]


def read_jsonl(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines()]


def judge_reply(moderator: Moderator, reply: str, said: str = "how are you today?") -> Verdict:
    return moderator.check_outgoing(reply, said=said, said_verdict=moderator.check_incoming(said))


@pytest.fixture(scope="session")
def moderator() -> Moderator:
    return load_moderator(ModerationSettings())


@pytest.fixture(scope="session")
def adult_moderator() -> Moderator:
    return load_moderator(ModerationSettings(profile="adult_gated"))


@pytest.fixture(scope="session")
def family_moderator() -> Moderator:
    return load_moderator(ModerationSettings(profile="family"))
