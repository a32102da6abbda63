"""Group commit: what waits is run in one transaction.

A closure that raises leaves its neighbours intact: the group is rolled back and run again with each closure
under a savepoint of its own. (Savepoints for every group would cost more than the work between them, and
closures seldom raise.) A transaction that fails as a whole for a passing reason (deadlock, lost connection)
is run again too; where the connection broke during COMMIT itself, PostgreSQL is asked what became of the
transaction, so that nothing is committed twice. So a closure may run several times, and its last run counts.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from storage.database import in_our_words, is_passing, still_in_transaction, translated
from storage.errors import StoreError, StoreUnavailable
from storage.transaction import Clock, Moment, Transaction

ATTEMPTS = 5
NOTIFY_CHANNEL = "banter"


@dataclass(slots=True)
class Job:
    """A closure with what became of it: `result` or `error`."""

    run: Callable[[Transaction], Any]
    result: Any = None
    error: Exception | None = None

    def resolve(self) -> None:
        """Tell the caller that the outcome is final."""


@dataclass(slots=True)
class _Attempt:
    """One run of a group; `transaction_id` is known once only the COMMIT is missing (PostgreSQL)."""

    topics: set[str] = field(default_factory=set)
    transaction_id: str | None = None


class _Disturbed(Exception):
    """A closure raised while its group had no savepoints."""


class GroupCommit:
    """Runs groups of jobs on one engine."""

    def __init__(self, engine: Engine, where: str, clock: Clock | None) -> None:
        self._engine = engine
        self._where = where
        self._clock = clock

    def run(self, jobs: Sequence[Job]) -> set[str]:
        """Commit a group; every job has its result or error afterwards. Returns the topics to wake."""
        last = _Attempt()
        savepoints = False
        attempt = 1
        while True:
            try:
                with translated(self._where), self._engine.connect() as connection:
                    if last.transaction_id is not None and _is_committed(connection, last.transaction_id):
                        return last.topics
                    last = _Attempt()
                    self._run_once(connection, jobs, last, savepoints)
                    return last.topics
            except _Disturbed:
                savepoints = True
                continue
            except StoreError as error:
                failure: Exception = error
                if not may_be_repeated(error) or attempt == ATTEMPTS:
                    break
            except Exception as error:
                failure = error
                break
            wait_before_retry(attempt)
            attempt += 1
        for job in jobs:
            job.result, job.error = None, failure
        return set()

    def _run_once(self, connection: Connection, jobs: Sequence[Job], attempt: _Attempt, savepoints: bool) -> None:
        run = self._run_saved if savepoints else self._run_plainly
        with connection.begin():
            moment = Moment(connection, self._clock)
            for job in jobs:
                attempt.topics |= run(connection, job, moment)
            if connection.dialect.name == "postgresql":
                told = connection.execute(_TELL, {"channel": NOTIFY_CHANNEL, "topics": sorted(attempt.topics)}).one()
                attempt.transaction_id = told.transaction_id

    def _run_plainly(self, connection: Connection, job: Job, moment: Moment) -> set[str]:
        transaction = Transaction(connection, moment)
        try:
            job.result, job.error = job.run(transaction), None
        except Exception as error:
            if _ends_the_group(connection, error):
                raise
            raise _Disturbed from error
        return transaction.topics

    def _run_saved(self, connection: Connection, job: Job, moment: Moment, *, again: bool = True) -> set[str]:
        transaction = Transaction(connection, moment)
        job.result = job.error = None
        connection.exec_driver_sql("SAVEPOINT job")
        try:
            job.result = job.run(transaction)
        except Exception as error:
            if _ends_the_group(connection, error):
                raise
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
            connection.exec_driver_sql("RELEASE SAVEPOINT job")
            if isinstance(error, IntegrityError) and again:
                # Another process inserted the same row meanwhile: now it can be seen.
                return self._run_saved(connection, job, moment, again=False)
            job.error = in_our_words(self._where, error) if isinstance(error, DBAPIError) else error
            return set()
        connection.exec_driver_sql("RELEASE SAVEPOINT job")
        return transaction.topics


def _ends_the_group(connection: Connection, error: Exception) -> bool:
    """A full disk or a lost connection ends the whole transaction, a deadlock asks to run it again."""
    return not still_in_transaction(connection) or (isinstance(error, DBAPIError) and is_passing(error))


# The last word before the COMMIT, in one round trip: whom to wake, and under which name to ask for our fate.
_TELL = text(
    "SELECT pg_current_xact_id_if_assigned()::text AS transaction_id, count(pg_notify(:channel, topic)) "
    "FROM unnest(CAST(:topics AS text[])) AS topic"
)


def _is_committed(connection: Connection, transaction_id: str) -> bool:
    """What became of a transaction whose COMMIT was never answered. Raises StoreUnavailable while it is open."""
    with connection.begin():
        status = connection.execute(
            text("SELECT pg_xact_status(CAST(:id AS xid8))"), {"id": transaction_id}
        ).scalar_one()
    if status == "in progress":
        raise _StillOpen("the database still works on the last commit")
    return bool(status == "committed")


class _StillOpen(StoreUnavailable):
    """The fate of the last commit is not known yet."""


def may_be_repeated(error: StoreError) -> bool:
    cause = error.__cause__
    return isinstance(error, _StillOpen) or (isinstance(cause, DBAPIError) and is_passing(cause))


def wait_before_retry(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.05 * 2**attempt))
