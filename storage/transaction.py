"""What a statement function works with: a connection, one moment, and the topics to wake.

Statements on the way of every turn are built once, as constants beside the functions that execute them:
building one anew costs several times what executing it does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable, Result, Table, UpdateBase, func, select
from sqlalchemy.dialects import postgresql, sqlite

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Moment:
    """One reading of the clock for a whole commit, taken when first asked for.

    On PostgreSQL it is the server's own clock, so that the hosts of several workers may disagree.
    """

    def __init__(self, connection: Connection, clock: Clock | None) -> None:
        self._connection = connection
        self._clock = clock

    @cached_property
    def now(self) -> datetime:
        if self._clock is None and self._connection.dialect.name == "postgresql":
            moment: datetime = self._connection.execute(select(func.clock_timestamp())).scalar_one()
            return moment.astimezone(UTC)
        return (self._clock or utc_now)()


@dataclass(slots=True)
class Transaction:
    """Handed to every statement function; valid only inside that function."""

    connection: Connection
    moment: Moment
    topics: set[str] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        return self.moment.now

    def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        return self.connection.execute(statement, parameters)

    def change(self, statement: UpdateBase, parameters: Any = None) -> int:
        """Execute an UPDATE or DELETE; the number of rows it met."""
        result = self.connection.execute(statement, parameters)
        assert isinstance(result, CursorResult)
        return result.rowcount

    def insert_new(self, table: Table, **values: Any) -> bool:
        """Insert a row; False, and nothing changed, where a row with the same unique key stands already."""
        build: Callable[[Table], Any] = (
            postgresql.insert if self.connection.dialect.name == "postgresql" else sqlite.insert
        )
        statement = build(table).values(**values).on_conflict_do_nothing().returning(*table.primary_key)
        return self.execute(statement).first() is not None

    def wake(self, topic: str) -> None:
        """After the commit, wake whoever waits for `topic` ("turns", "outbox")."""
        self.topics.add(topic)
