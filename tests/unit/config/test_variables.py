"""Variables and secrets: where they come from, and where they never show up."""

import json
import logging
import os
from pathlib import Path

import pytest

from bot.config import Config, ConfigError, load_config
from tests.unit.config.conftest import Load, Refuse

CANARY = "987654321:CanaryCanaryCanaryCanaryCanaryCanar"
WITH_TOKEN = 'channels: {telegram: {token: "${TELEGRAM_BOT_TOKEN}"}}\n'


def token(config: Config) -> str | None:
    secret = config.channels.telegram.token
    return secret.get_secret_value() if secret else None


def test_the_environment_comes_before_dotenv_and_dotenv_before_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from file\n")
    assert token(load(WITH_TOKEN, TELEGRAM_BOT_TOKEN_FILE=str(tmp_path / "secret"))) == "from file"
    (tmp_path / ".env").write_text("TELEGRAM_BOT_TOKEN='from dotenv'\n")
    (tmp_path / ".env").chmod(0o600)
    assert token(load(WITH_TOKEN, TELEGRAM_BOT_TOKEN_FILE=str(tmp_path / "secret"))) == "from dotenv"
    assert token(load(WITH_TOKEN, TELEGRAM_BOT_TOKEN="from environment")) == "from environment"
    assert "TELEGRAM_BOT_TOKEN" not in os.environ


def test_the_process_environment_is_used_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "from the process")
    path = tmp_path / "config.yaml"
    path.write_text(WITH_TOKEN)
    assert token(load_config(path)) == "from the process"


def test_a_secret_file_may_be_named_in_dotenv_and_beside_the_settings(load: Load, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden\r\n")
    (tmp_path / ".env").write_text("TELEGRAM_BOT_TOKEN_FILE=secret\n")
    (tmp_path / ".env").chmod(0o600)
    assert token(load(WITH_TOKEN)) == "hidden"


@pytest.mark.parametrize("env", [{}, {"TELEGRAM_BOT_TOKEN": ""}])
def test_a_token_whose_variable_is_not_set_is_not_there(load: Load, env: dict[str, str]) -> None:
    assert token(load(WITH_TOKEN, **env)) is None


def test_an_unset_variable_elsewhere_is_a_problem(refuse: Refuse) -> None:
    assert refuse("bot:\n  name: ${BOT_NAME}\nranking: {mix: '${MIX}'}") == [
        "config.yaml:2: bot.name: the variable BOT_NAME is not set;"
        " set it in the environment or in .env, or write ${BOT_NAME:-default}",
        "config.yaml:3: ranking.mix: the variable MIX is not set;"
        " set it in the environment or in .env, or write ${MIX:-default}",
    ]


def test_variables_may_stand_anywhere_in_a_text_and_in_a_list(load: Load) -> None:
    config = load(
        "bot: {name: 'The ${A} and ${B:-Bee}', operators: ['telegram:${ID}']}\n"
        "personas: {default: {greeting: 'Write $${A}, ${EMPTY:-}pay 5$'}}\n"
        "history: {turns: '${N}'}\nweb: {enabled: '${ON}'}",
        A="Ay", ID="5", N="12", ON="true",
    )  # fmt: skip
    assert config.bot.name == "The Ay and Bee"
    assert config.bot.operators == ("telegram:5",)
    assert config.personas["default"].greeting == "Write ${A}, pay 5$"
    assert (config.history.turns, config.web.enabled) == (12, True)


def test_a_broken_variable_says_how_to_write_one(refuse: Refuse) -> None:
    assert refuse("bot: {name: 'a ${ b'}") == [
        "config.yaml:1: bot.name: ${ begins no variable; write ${NAME}, or $${ for the signs themselves"
    ]


def test_what_a_variable_holds_is_no_yaml_and_holds_no_variables(load: Load) -> None:
    assert load("bot: {name: '${A}'}", A="${B}, {x: *y}").bot.name == "${B}, {x: *y}"


def test_an_unreadable_secret_file_is_a_problem(refuse: Refuse, tmp_path: Path) -> None:
    assert refuse(WITH_TOKEN, TELEGRAM_BOT_TOKEN_FILE="nowhere") == [
        "config.yaml:1: channels.telegram.token: the file of TELEGRAM_BOT_TOKEN_FILE, nowhere: there is no such file"
    ]


def test_an_unreadable_dotenv_is_a_problem(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    (tmp_path / ".env").chmod(0o600)
    assert refuse("") == [".env:1: is not UTF-8 text; save it with the encoding UTF-8"]


SECRETIVE = """\
channels:
  telegram: {token: "${TG}", webhook: {secret: "${HOOK}"}}
  discord: {token: "${DC}"}
web: {token: "${WEB}"}
storage: {url: "postgresql://banter:${PW}@db/banter"}
"""


def test_no_secret_shows_in_any_form_of_the_configuration(load: Load) -> None:
    names = {"TG": "tg-canary", "HOOK": "hook-canary", "DC": "dc-canary", "WEB": "web-canary", "PW": "pw%2Dcanary"}
    config = load(SECRETIVE, **names)
    everything = " ".join(
        [repr(config), str(config), json.dumps(config.model_dump(mode="json")), str(config.model_dump())]
    )
    assert "canary" not in everything
    assert "postgresql://banter:***@db/banter" in everything
    assert set(config.secrets()) == {*names.values(), "pw-canary"}
    assert config.storage.url == "postgresql://banter:pw%2Dcanary@db/banter"


@pytest.mark.parametrize(
    "text",
    [
        f"bot: {{name: '{CANARY}', operators: ['{CANARY}'], tokn: '{CANARY}'}}",
        f"channels: {{telegram: '{CANARY}', discord: {{enabled: '{CANARY}', message_content: '{CANARY}'}}}}",
        f"channels: {{telegram: {{token: ['{CANARY}'], api_url: 'http://{CANARY}@x'}}}}",
        f"channels: {{telegram: {{webhook: {{secret: '{CANARY}'}}}}}}",
        f"storage: {{url: 'postgres://{CANARY}@x'}}\nmodel: {{engine: '{CANARY}'}}\nbot: {{persona: '{CANARY}'}}",
        f"overrides: [{{match: {{channel: 1}}, set: {{limits.user: '{CANARY}', persona: '{CANARY}'}}}}]",
        f"bot: {{name: *{CANARY}}}",
        f"bot: !{CANARY} x",
    ],
)
def test_no_problem_repeats_a_token_that_stands_in_the_wrong_place(refuse: Refuse, text: str) -> None:
    assert "Canary" not in "\n".join(refuse(text))


def test_no_problem_shows_what_a_variable_holds(refuse: Refuse) -> None:
    text = "limits: {user: '${X}'}\nbot: {persona: '${X}', operators: ['${X}']}\nlogs: {level: '${X}'}"
    problems = refuse(text, X="hunter2")
    assert len(problems) == 4
    assert all('"${X}"' in problem and "hunter2" not in problem for problem in problems)


def test_a_token_in_the_settings_works_with_a_warning(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert token(load(f"channels: {{telegram: {{token: '{CANARY}'}}}}")) == CANARY
    assert "secret_in_config_file" in caplog.messages
    assert "Canary" not in caplog.text


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o600, False), (0o640, False)])
def test_a_dotenv_that_everybody_may_read_is_reported(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    (tmp_path / ".env").write_text("A=b\n")
    (tmp_path / ".env").chmod(mode)
    load("")
    assert ("secrets_readable_by_everybody" in caplog.messages) is warned


def test_the_revision_follows_the_settings_and_no_secret(load: Load) -> None:
    first = load(SECRETIVE, TG="a", HOOK="b", DC="c", WEB="d", PW="e")
    other_secrets = load(SECRETIVE, TG="1", HOOK="2", DC="3", WEB="4", PW="5")
    reordered = load("# a remark\n" + "\n".join(reversed(SECRETIVE.splitlines()[3:])) + "\n"
                     + "\n".join(SECRETIVE.splitlines()[:3]), TG="a", HOOK="b", DC="c", WEB="d", PW="e")  # fmt: skip
    changed = load(SECRETIVE + "history: {turns: 9}", TG="a", HOOK="b", DC="c", WEB="d", PW="e")
    assert first.revision == other_secrets.revision == reordered.revision
    assert first.revision != changed.revision
    assert len(first.revision) == 12
    assert int(first.revision, 16) >= 0


def test_a_config_error_is_raised_before_anything_is_used(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(WITH_TOKEN)
    with pytest.raises(ConfigError):
        load_config(path, {"TELEGRAM_BOT_TOKEN_FILE": "/dev/zero"})
