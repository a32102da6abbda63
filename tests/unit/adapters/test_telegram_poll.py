"""The arithmetic of polling: offsets, waits and what readiness says."""

import pytest

from adapters.telegram.poll import Backoff, Health, next_offset


@pytest.mark.parametrize(
    ("ids", "failed", "offset"),
    [
        ([5, 6, 7], [], 8),
        ([5, 6, 7], [0, 1, 2], 5),
        ([5, 6, 7], [2], 7),
        ([5, 6, 7], [1], 6),
        ([7, 5, 6], [], 8),
        ([5, None, 7], [], 8),
        ([5, None], [1], None),
        ([None], [], None),
        ([5, "6"], [], 6),
        ([2**53, 2**53 + 1], [], 2**53 + 2),
    ],
)
def test_nothing_that_must_come_again_is_confirmed(ids, failed, offset):
    batch = [{"update_id": number} if number is not None else "no update" for number in ids]
    assert next_offset(batch, failed) == offset


def test_waits_grow_by_half_up_to_the_last_and_start_anew():
    backoff = Backoff(1.0, 3.0)
    waits = [backoff.grow() for _ in range(5)]
    backoff.reset()

    for wait, expected in zip([*waits, backoff.grow()], [1.0, 1.5, 2.25, 3.0, 3.0, 1.0], strict=True):
        assert 0.9 * expected <= wait <= 1.1 * expected


def test_health_tells_trouble_recovery_and_silence():
    now = [0.0]
    health = Health("poll", 60.0, lambda: now[0])
    assert not health.status.ready

    health.heard("polling")
    assert (health.status.ready, health.status.detail) == (True, "polling")

    health.failed("the server answered with HTTP 502")
    assert (health.status.ready, health.status.detail) == (False, "the server answered with HTTP 502")

    now[0] = 70.0
    assert health.status.detail == "no successful poll for 70 s: the server answered with HTTP 502"

    health.heard("polling")
    assert health.status.ready
    now[0] = 140.0
    assert (health.status.ready, health.status.detail) == (False, "no successful poll for 70 s: no answer")


def test_health_remembers_when_an_update_came():
    health = Health("poll", 60.0, lambda: 0.0)
    assert health.status.last_event_at is None
    health.event()
    assert health.status.last_event_at.tzinfo is not None
