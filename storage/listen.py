"""Wake-ups from other machines: PostgreSQL's LISTEN/NOTIFY."""

from collections.abc import Callable

from storage.store import Store


async def listen(store: Store, on_topic: Callable[[str], None]) -> None:
    """Returns at once on SQLite."""
    return
