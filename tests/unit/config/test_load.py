"""config.yaml as a whole: what loads, what is refused, and in which words."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bot.config import Config, ConfigError, OnAllBlocked, Rate, load_config
from bot.generator.decoding import Decoding
from tests.unit.config.conftest import Load, Refuse

HERE = Path(__file__).parent
PROJECT = HERE.parents[2]

TEN_MISTAKES = """\
version: 1
bot: {nam: Rosie, persona: pirat}
decoding:
  default:
    temprature: 0.9
    temperature: hot
    top_p: 1.5
triggers:
  quiet_time: 2
limits: {user: fast}
jobs: {retention: "0 4 * *"}
personas:
  default: {decoding: playfull}
  pirate: {}
model: {engine: "http://127.0.0.1:8000"}
"""


def test_the_documented_example_loads_verbatim() -> None:
    config = load_config(HERE / "design.yaml", {})
    assert config.bot.operators == ("telegram:123", "discord:456")
    assert config.triggers.unsolicited.decay == timedelta(minutes=10)
    assert config.limits.user == Rate(10, timedelta(minutes=1))
    assert config.overrides[0].match.channel == "654"
    assert config.feedback.train == "off"  # a word in YAML 1.2, not false


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    assert load_config(PROJECT / "config.yaml", {}) == Config()


def test_the_shipped_files_commented_examples_load(load: Load) -> None:
    """Every line that begins with a remark sign and a key works once the sign is removed."""
    shipped = (PROJECT / "config.yaml").read_text(encoding="utf-8")
    body = [line for line in shipped.partition("version: 1\n")[2].splitlines() if "overrides: []" not in line]
    lines = [line.replace("# ", "", 1) if line.lstrip().startswith("#") else line for line in body]
    config = load("\n".join(lines), BANTER_WEB_TOKEN="secret")
    assert set(config.personas) == {"default", "pirate"}
    assert len(config.overrides) == 3
    assert config.triggers.group.names == ("banter", "bant*")


@pytest.mark.parametrize("text", ["", "\n", "# only a remark\n", "version: 1\n", "---\n...\n", "moderation:\nbot:\n"])
def test_what_is_left_out_has_its_default(load: Load, text: str) -> None:
    assert load(text) == Config()


def test_ten_mistakes_are_named_at_once_with_line_and_remedy(refuse: Refuse) -> None:
    assert refuse(TEN_MISTAKES) == [
        'config.yaml:2: bot.nam: unknown key; did you mean "name"?',
        'config.yaml:2: bot.persona: there is no persona "pirat"; did you mean "pirate"?',
        'config.yaml:5: decoding.default.temprature: unknown key; did you mean "temperature"?',
        'config.yaml:6: decoding.default.temperature: "hot" is not a number; allowed: 0.0 to 5.0',
        "config.yaml:7: decoding.default.top_p: 1.5 is too large; allowed: above 0.0, up to 1.0",
        'config.yaml:9: triggers.quiet_time: 2 is not a duration; a unit is missing, for example "2s";'
        ' allowed: a number with s, m, h or d, like "10m"',
        'config.yaml:10: limits.user: "fast" is not a rate;'
        ' allowed: a number from 1 and s, min, h or day, like "10/min"',
        'config.yaml:11: jobs.retention: "0 4 * *" is no cron line (Wrong number of fields; got 4, expected 5);'
        ' allowed: minute hour day month weekday, like "0 4 * * *", or off',
        'config.yaml:13: personas.default.decoding: there is no entry of decoding "playfull"; known here: default',
        'config.yaml:15: model.engine: "http://127.0.0.1:8000" cannot be used: this version has the built-in engine'
        " only; allowed: builtin",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version: 2", "1: version: 2 is not one of the choices; allowed: 1"),
        ("triggers: {group: yes}", "1: triggers.group: must be a section: lines of key: value, indented under it"),
        ("triggers: {group: {names: rosie}}", "1: triggers.group.names: must be a list, like [one, two]"),
        ("web: {enabled: perhaps}", '1: web.enabled: "perhaps" is neither true nor false'),
        ("history: {turns: 2.5}", "1: history.turns: 2.5 is not a whole number; allowed: 1 to 100"),
        ("history: {turns: 0}", "1: history.turns: 0 is too small; allowed: 1 to 100"),
        ("ranking: {mix: .nan}", '1: ranking.mix: ".nan" is not a number; allowed: 0.0 to 1.0'),
        ("decoding: {default: {top_k: }}", "1: decoding.default.top_k: has no value; allowed: from 0"),
        ("bot: {name: ''}", "1: bot.name: needs characters, at least 1"),
        ("bot: {operators: [me]}", '1: bot.operators[0]: "me" is no person;'
         ' allowed: platform:id, like "telegram:123" or "discord:456"'),
        ("channels: {discord: {enabled: maybe}}",
         '1: channels.discord.enabled: "maybe" is not one of the choices; allowed: auto, true, false'),
        ("channels: {discord: {enabled: true}}",
         "1: channels.discord.enabled: is true, but there is no token; set DISCORD_BOT_TOKEN, or write auto"),
        ("channels: {telegram: {api_url: 'ftp://x'}}", '1: channels.telegram.api_url: "ftp://x" is not a web address;'
         ' allowed: http:// or https://, like "https://host/path"'),
        ("model: {device: gpu}",
         '1: model.device: "gpu" is not of the form asked for; allowed: auto, cpu, cuda, cuda:N or mps.'),
        ("moderation: {on_all_blocked: resampel}", '1: moderation.on_all_blocked: "resampel" is not one of the choices;'
         ' allowed: resample, safe_line, silent; did you mean "resample"?'),
        ("ranking: {prior: [{name: a}]}", "1: ranking.prior[0].checkpoint: is missing;"
         " what it is: starter, a hub id like microsoft/DialogRPT-updown, or a path as in model.checkpoint."),
        ("ranking: {cond: [{name: human_vs_rand, checkpoint: x}]}",
         '1: ranking.cond[0].name: "human_vs_rand" is used twice; give each ranker its own name'),
        ("decoding: {default: {min_new_tokens: 50}}",
         "1: decoding.default.min_new_tokens: 50 is more than max_new_tokens, 48"),
        ("personas: {default: {}, 'a b': {}}", "1: personas.a b: is no name that people can type after /persona;"
         " allowed: letters, digits, - and _, up to 32"),
        ("web: {enabled: true, listen: '0.0.0.0:80'}",
         '1: web.token: is missing, and "0.0.0.0:80" can be reached from other machines;'
         " set a token, or listen on 127.0.0.1"),
        ("web: {listen: 8080}", '1: web.listen: "8080" is not an address to listen on;'
         ' allowed: HOST:PORT, like "127.0.0.1:8080"'),
        ("privacy: {retention: 1h}", '1: privacy.retention: "1h" is too small; allowed: from 1d'),
        ("storage: {url: 'mysql://a/b'}", '1: storage.url: "mysql" is no supported database;'
         ' allowed: "sqlite:///data/banter.db" or "postgresql://USER:PASSWORD@HOST/NAME"'),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_words(refuse: Refuse, text: str, problem: str) -> None:
    assert refuse(text) == [f"config.yaml:{problem}"]


def test_a_webhook_needs_an_address_and_a_secret(refuse: Refuse) -> None:
    assert refuse("channels: {telegram: {token: '${T}', mode: webhook}}", T="t") == [
        "config.yaml:1: channels.telegram.webhook.url: mode webhook needs a public address that begins with https://",
        "config.yaml:1: channels.telegram.webhook.secret: mode webhook needs a secret; A-Z, a-z, 0-9, _ and -",
    ]


def test_a_complete_webhook_loads(load: Load) -> None:
    telegram = load(
        "channels: {telegram: {token: x, mode: webhook, webhook: {url: 'https://a.example/hook/', secret: '${S}'}}}",
        S="abc_DEF-1",
    ).channels.telegram
    assert telegram.webhook.url == "https://a.example/hook"
    assert telegram.webhook.secret is not None
    assert telegram.webhook.secret.get_secret_value() == "abc_DEF-1"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///data/banter.db",
        "sqlite+aiosqlite:////var/lib/banter.db",
        "postgresql://u:p@host/banter",
        "postgresql+asyncpg://u@host:5432/banter",
        "postgresql+psycopg://host/banter",
    ],
)
def test_known_databases_are_accepted(load: Load, url: str) -> None:
    assert load(f"storage: {{url: '{url}'}}").storage.url == url


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql:///x", "banter.db", ""])
def test_unusable_databases_are_refused(refuse: Refuse, url: str) -> None:
    (problem,) = refuse(f"storage: {{url: '{url}'}}")
    assert problem.startswith("config.yaml:1: storage.url: ")
    assert "allowed: " in problem


def test_a_word_that_moderation_cannot_use_is_a_problem(refuse: Refuse) -> None:
    (problem,) = refuse("\nmoderation: {words: {block: ['*']}}")
    assert problem.startswith("config.yaml:2: moderation: ")


def test_the_bot_answers_to_its_own_name_unless_names_are_given(load: Load) -> None:
    assert load("bot: {name: Rosie}").triggers.group.names == ("Rosie",)
    assert load("bot: {name: Rosie}\ntriggers: {group: {names: []}}").triggers.group.names == ()


def test_the_default_decoding_is_there_beside_others(load: Load) -> None:
    config = load("decoding: {wild: {temperature: 1.2}}\npersonas: {default: {decoding: wild}, calm: {}}")
    assert config.decoding["default"] == Decoding.model_validate({})
    assert config.decoding["wild"].temperature == 1.2


def test_words_are_kept_as_the_types_the_program_uses(load: Load) -> None:
    config = load("moderation: {on_all_blocked: silent}\ntriggers: {group: {always_in: [-1001234567890]}}")
    assert config.moderation.on_all_blocked is OnAllBlocked.SILENT
    assert config.triggers.group.always_in == ("-1001234567890",)


@pytest.mark.parametrize(
    ("text", "platforms"),
    [
        ("", ("terminal",)),
        ("channels: {telegram: {token: a}}", ("telegram",)),
        ("channels: {telegram: {token: a}, discord: {token: b}}", ("telegram", "discord")),
        ("channels: {telegram: {token: a, enabled: false}}", ("terminal",)),
        ("channels: {telegram: {token: a}, terminal: {enabled: true}}", ("telegram", "terminal")),
        ("channels: {terminal: {enabled: false}}", ()),
    ],
)
def test_platforms_with_a_token_are_on_and_else_the_terminal(load: Load, text: str, platforms: tuple[str]) -> None:
    assert load(text).channels.enabled_platforms() == platforms


def test_the_configuration_cannot_be_changed(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("").bot.name = "Other"


def test_a_file_full_of_mistakes_is_told_in_part(refuse: Refuse) -> None:
    problems = refuse("\n".join(f"key{number}: 1" for number in range(20_000)))
    assert len(problems) == 101
    assert problems[-1] == "config.yaml: and 19900 more problems"


YAML_PIECES = st.sampled_from(
    [
        "bot", "channels", "decoding", "default", "overrides", "match", "set", "triggers.quiet_time", "personas",
        "name",
        "storage", "url", "telegram", "token", "version", ": ", ":\n  ", "\n", "\n- ", "- ", "[", "]", "{", "}", ", ",
        "&a ", "*a", "!!python/object:os.system ", "!x ", "|\n ", "'", '"', "#", "---\n", "%YAML 1.2\n", "${", "${X}",
        "$${", "1", "-1.5", "null", "true", "off", "\t", "é", "\u2028", "\x85", "? ", "10m", "\\U", "@", "`",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.lists(YAML_PIECES, max_size=25).map("".join), st.text(max_size=80)))
@example('"\\UFFFFFFFF"')
@example("a: &x [*x]")
@example("storage: {url: 'postgresql://[x'}")
@example("channels: {telegram: {api_url: 'http://[x'}}")
@example("overrides: [{match: {channel: 1}, set: {'': 1, '.': 2, persona: [], decoding: 5, triggers: off}}]")
@example("overrides: [{set: {persona.x: {}, moderation: {words: {block: {}}}, limits: 3}}]")
@example("bot: {name: {}}\ntriggers: [1]\ndecoding: []\npersonas: 3")
def test_no_text_raises_anything_but_a_config_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(load_config(path, {"X": "x"}), Config)
    except ConfigError as error:
        lines = str(error).split("\n")
        assert len(lines) == len(error.problems) > 0  # noqa: PT017 - loading it is as good an outcome
