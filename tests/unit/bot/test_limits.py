"""Token buckets and notices, by the time of the event."""

from datetime import UTC, datetime, timedelta

from bot.config import Rate
from bot.limits import Limiter, NoticeBoard

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
THREE_A_MINUTE = Rate(3, timedelta(minutes=1))


def test_a_burst_up_to_the_count_passes_and_the_next_does_not() -> None:
    limiter = Limiter()
    assert [limiter.admit("a", THREE_A_MINUTE, NOON) for _ in range(4)] == [True, True, True, False]


def test_tokens_come_back_evenly() -> None:
    limiter = Limiter()
    for _ in range(3):
        limiter.admit("a", THREE_A_MINUTE, NOON)
    assert not limiter.admit("a", THREE_A_MINUTE, NOON + timedelta(seconds=19))
    assert limiter.admit("a", THREE_A_MINUTE, NOON + timedelta(seconds=40))


def test_one_key_does_not_use_up_anothers_tokens() -> None:
    limiter = Limiter()
    for _ in range(5):
        limiter.admit("a", THREE_A_MINUTE, NOON)
    assert limiter.admit("b", THREE_A_MINUTE, NOON)


def test_messages_written_over_an_hour_pass_though_they_arrive_at_once() -> None:
    limiter = Limiter()
    written = [NOON + timedelta(minutes=minute) for minute in range(0, 60, 5)]
    assert all(limiter.admit("a", THREE_A_MINUTE, moment) for moment in written)


def test_a_senders_clock_that_stands_still_locks_nobody_out() -> None:
    limiter = Limiter()
    heard = [NOON + timedelta(minutes=minute) for minute in range(10)]
    assert all(limiter.admit("a", THREE_A_MINUTE, NOON, moment) for moment in heard)


def test_a_clock_that_jumps_back_neither_refills_nor_freezes() -> None:
    limiter = Limiter()
    for _ in range(3):
        limiter.admit("a", THREE_A_MINUTE, NOON)
    assert not limiter.admit("a", THREE_A_MINUTE, NOON - timedelta(hours=1))
    assert limiter.admit("a", THREE_A_MINUTE, NOON + timedelta(minutes=1))


def test_a_notice_is_due_once_a_window() -> None:
    board = NoticeBoard()
    window = timedelta(minutes=1)
    moments = [NOON, NOON + timedelta(seconds=59), NOON + timedelta(seconds=61)]
    assert [board.due("a", window, moment) for moment in moments] == [True, False, True]
    assert board.due("b", window, NOON)
