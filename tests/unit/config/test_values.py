"""Durations, rates, cron lines and addresses, as they are written."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.errors import did_you_mean, path_text, shown
from bot.config.values import Rate, format_duration, is_loopback, parse_duration, parse_rate


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1.5s", 1.5), ("10m", 600), ("10 min", 600), ("12h", 43200), ("90d", 7776000), ("250ms", 0.25), ("0s", 0)],
)
def test_durations_are_a_number_and_a_unit(written: str, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize("written", ["10", "m", "-5m", "10 parsecs", "1h30m", "", None, True, 10, 1.5, [], "9999999d"])
def test_anything_else_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        parse_duration(written)


@given(st.integers(0, 10**9).map(lambda milliseconds: timedelta(milliseconds=milliseconds)))
def test_a_duration_is_written_as_it_is_read(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("10/min", Rate(10, timedelta(minutes=1))),
        ("3 / s", Rate(3, timedelta(seconds=1))),
        ("200/h", Rate(200, timedelta(hours=1))),
        ("1/day", Rate(1, timedelta(days=1))),
    ],
)
def test_rates_are_a_count_in_a_time(written: str, rate: Rate) -> None:
    assert parse_rate(written) == rate
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize("written", ["10", "0/min", "-1/min", "10/fortnight", "10/", "/min", 10, None, "1.5/min"])
def test_anything_else_is_no_rate(written: object) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        parse_rate(written)


def test_the_nearest_word_is_offered_and_else_the_few_there_are() -> None:
    assert did_you_mean("temprature", ["temperature", "top_k"]) == 'did you mean "temperature"?'
    assert did_you_mean("xyz", ["b", "a"]) == "known here: a, b"
    assert did_you_mean("xyz", []) is None


@pytest.mark.parametrize(
    "secret",
    [
        "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
        "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
        "postgresql://banter:hunter2@db/banter",
    ],
)
def test_what_may_be_a_secret_is_never_repeated(secret: str) -> None:
    assert shown(secret) == '"***"'


def test_values_are_shown_on_one_short_line() -> None:
    assert shown("a\nb") == '"a?b"'
    assert len(shown("word " * 100)) < 70
    assert shown({"a": 1}) == "a section"
    assert path_text(("overrides", 0, "set", "limits.user")) == "overrides[0].set.limits.user"


@pytest.mark.parametrize(
    ("host", "inside"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("db", False)]
)
def test_only_loopback_stays_inside_the_machine(host: str, inside: bool) -> None:
    assert is_loopback(host) is inside
