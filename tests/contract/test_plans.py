"""The queue's statements read what is open, however long the history is."""

from typing import Any

import pytest
from sqlalchemy import event

from storage import inbox, outbox, turns, upkeep
from storage.store import Store
from tests.contract.world import ANN, LEASE, World


async def plans_of(store: Store, call: Any, *args: Any, **kwargs: Any) -> str:
    """SQLite's plan of every SELECT that a call executes."""
    plans: list[str] = []

    def explain(_conn: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in plan)

    for engine in (store.engines.write, store.engines.read):
        event.listen(engine, "before_cursor_execute", explain)
    await store.write(call, *args, **kwargs)
    assert plans
    return "\n".join(plans)


@pytest.mark.parametrize("database", ["sqlite"])
async def test_no_statement_of_a_turn_reads_the_whole_history(world: World) -> None:
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (inbox.add_message, (world.message(ANN),), {}),
        (turns.lease_turns, ("w", 8, LEASE), {"idle": True, "apology": "Sorry."}),
        (turns.next_due, (), {}),
        (outbox.lease_replies, ("telegram", "p", 8, LEASE), {}),
        (outbox.next_due, ("telegram",), {}),
        (upkeep.counts, (), {}),
    ]
    for call, args, kwargs in calls:
        plan = await plans_of(world.store, call, *args, **kwargs)
        whole = [line for line in plan.splitlines() if line.startswith("SCAN") and "ix_" not in line]
        for table in ("turns", "messages", "replies", "other", "older", "newest", "last", "said"):
            assert f"SCAN {table}" not in [line.strip() for line in whole], f"{call.__name__}: {plan}"
