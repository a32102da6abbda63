"""Settings of single places: which overrides match, which wins, and what may be overridden at all."""

import pytest

from adapters.base import Channel, ChannelKind
from bot.config import ChannelSettings
from tests.unit.config.conftest import Load, Refuse


def discord(address: str, *, server: str | None = "987", parent: str | None = None) -> Channel:
    return Channel(platform="discord", address=address, kind=ChannelKind.GROUP, server=server, parent=parent)


def telegram(address: str, *, server: str | None = None, parent: str | None = None) -> Channel:
    return Channel(platform="telegram", address=address, kind=ChannelKind.GROUP, server=server, parent=parent)


LAYERS = """\
overrides:
  - {match: {channel: 654}, set: {history.turns: 4}}
  - {match: {discord_server: 987}, set: {history.turns: 3, history.tokens: 333}}
  - {match: {platform: discord}, set: {history.turns: 2, history.tokens: 222, limits.user: 2/min}}
  - {match: {telegram_chat: -100}, set: {history.turns: 7}}
  - {match: {platform: discord, channel: "700"}, set: {history.turns: 5}}
  - {match: {discord_server: 987}, set: {history.tokens: 444}}
"""


@pytest.mark.parametrize(
    ("channel", "turns"),
    [
        (discord("654"), 4),
        (discord("1", parent="654"), 4),
        (discord("1"), 3),
        (discord("1", server="2"), 2),
        (discord("1", server=None), 2),
        (discord("700"), 5),
        (telegram("654"), 4),
        (telegram("700"), None),
        (telegram("-100", server="-100"), 7),
        (telegram("-100/5", server="-100", parent="-100"), 7),
        (telegram("-100"), 7),
        (discord("-100", server="-100"), 2),
    ],
)
def test_channel_wins_over_server_over_platform(load: Load, channel: Channel, turns: int | None) -> None:
    assert load(LAYERS).for_channel(channel).history.turns == turns


def test_the_later_of_equals_wins_and_the_rest_adds_up(load: Load) -> None:
    settings = load(LAYERS).for_channel(discord("654"))
    assert (settings.history.turns, settings.history.tokens, settings.limits.user.count) == (4, 444, 2)
    assert settings.limits.queue_total == 500  # what is not overridden stays


def test_a_thread_of_its_own_wins_over_the_channel_it_is_in(load: Load) -> None:
    config = load(
        "overrides:\n"
        "  - {match: {channel: 2}, set: {history.turns: 20}}\n"
        "  - {match: {channel: 1}, set: {history.turns: 10}}\n"
    )
    assert config.for_channel(discord("2", parent="1")).history.turns == 20
    assert config.for_channel(discord("3", parent="1")).history.turns == 10


PERSONAS = """\
bot: {persona: calm}
decoding: {default: {candidates: 4}, wild: {temperature: 1.5}}
personas:
  calm: {name: Calm}
  wild: {name: Wild, decoding: wild, safety: family}
  adult: {safety: adult_gated}
overrides:
  - {match: {channel: 1}, set: {persona: wild, decoding.candidates: 2}}
  - {match: {channel: 2}, set: {moderation: {profile: family, words.block: [x]}}}
"""


def test_a_persona_brings_its_decoding_and_overrides_still_count(load: Load) -> None:
    settings = load(PERSONAS).for_channel(discord("1"))
    assert (settings.persona_name, settings.persona.name) == ("wild", "Wild")
    assert (settings.decoding.temperature, settings.decoding.candidates) == (1.5, 2)


def test_a_persona_chosen_by_command_counts_above_overrides(load: Load) -> None:
    settings = load(PERSONAS).for_channel(discord("1"), persona="calm")
    assert (settings.persona_name, settings.decoding.temperature, settings.decoding.candidates) == ("calm", 0.6, 2)


def test_a_chosen_persona_that_is_gone_is_passed_over(load: Load) -> None:
    assert load(PERSONAS).for_channel(discord("1"), persona="gone").persona_name == "wild"
    assert load(PERSONAS).for_channel(discord("9"), persona="gone").persona_name == "calm"


def test_a_persona_can_only_be_stricter_than_the_place(load: Load) -> None:
    config = load(PERSONAS)
    profiles = [config.for_channel(discord("9"), persona=name).moderation.profile for name in ("calm", "wild", "adult")]
    assert profiles == ["default", "family", "default"]
    gated = load(PERSONAS + "moderation: {profile: adult_gated}\n")
    assert gated.for_channel(discord("9"), persona="adult").moderation.profile == "adult_gated"
    assert gated.for_channel(discord("2"), persona="adult").moderation.profile == "family"


def test_nested_and_dotted_keys_say_the_same(load: Load) -> None:
    def settings(written: str) -> ChannelSettings:
        return load(f"overrides: [{{match: {{channel: 1}}, set: {written}}}]").for_channel(discord("1"))

    dotted = settings("{triggers.unsolicited.chance: 0.5, triggers.group.mention: false, limits.user: 1/s}")
    nested = settings("{triggers: {unsolicited: {chance: 0.5}, group.mention: false}, limits: {user: 1/s}}")
    assert dotted == nested
    assert dotted.triggers.unsolicited.chance == 0.5
    assert dotted.triggers.group.reply is True


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("{match: {channel: 1}, set: {decoding.temprature: 1}}",
         'set.decoding.temprature: unknown key; did you mean "temperature"?'),
        ("{match: {channel: 1}, set: {decoding.temperature: 9}}",
         "set.decoding.temperature: 9 is too large; allowed: 0.0 to 5.0"),
        ("{match: {channel: 1}, set: {triggers: {group: {mention: perhaps}}}}",
         'set.triggers.group.mention: "perhaps" is neither true nor false'),
        ("{match: {channel: 1}, set: {triggers.group: false}}",
         "set.triggers.group: must be a section: lines of key: value, indented under it"),
        ("{match: {channel: 1}, set: {persona: nobody}}",
         'set.persona: there is no persona "nobody"; known here: default'),
        ("{match: {channel: 1}, set: {decoding.min_new_tokens: 50}}",
         "set.decoding.min_new_tokens: 50 is more than max_new_tokens, 48"),
        ("{match: {channel: 1}, set: {web.enabled: true}}",
         "set.web.enabled: cannot be overridden; known here: decoding, history, limits.channel, limits.user,"
         " moderation, persona, ranking.mix, ranking.penalties, triggers"),
        ("{match: {channel: 1}, set: {limits.queue_total: 1}}", None),
        ("{match: {channel: 1}, set: {persona.name: X}}", None),
        ("{match: {channel: 1}, set: {ranking.prior: []}}", None),
        ("{match: {}, set: {history.turns: 1}}", "match: matches nothing;"
         " platform, discord_server, telegram_chat, channel"),
        ("{match: {platform: telegram, discord_server: 1}, set: {history.turns: 1}}",
         "match: names two platforms, so it never applies"),
        ("{match: {telegram_chat: 2, discord_server: 1}, set: {history.turns: 1}}",
         "match: names two platforms, so it never applies"),
        ("{match: {server: 1, channel: 2}, set: {history.turns: 1}}",
         'match.server: unknown key; did you mean "discord_server"?'),
        ("{match: {channel: 1}}", "set: changes nothing"),
    ],
)  # fmt: skip
def test_an_override_is_checked_by_applying_it(refuse: Refuse, override: str, problem: str | None) -> None:
    (line,) = refuse(f"overrides:\n  - {override}")
    if problem is None:
        assert "cannot be overridden" in line
    else:
        assert line == f"config.yaml:2: overrides[0].{problem}"


def test_the_same_place_gets_the_same_object(load: Load) -> None:
    config = load(LAYERS)
    assert config.for_channel(discord("654")) is config.for_channel(discord("654"))
    assert config.for_channel(discord("10", server="1")) is config.for_channel(discord("11", server="2"))
