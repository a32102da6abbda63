"""Bring a database to the schema of this program, in one transaction, or say why not."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from storage.database import Engines, translated
from storage.errors import StoreUnusable
from storage.schema import SCHEMA_REVISION

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent / "migrations"
_POSTGRES_LOCK = 0x62616E74  # two starting processes migrate one after the other


def current_revision(connection: Connection) -> str | None:
    """The schema's revision as the database names it; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def migrate(engines: Engines, where: str) -> bool:
    """Upgrade to this program's schema; False if it was there already. Blocks.

    Raises StoreUnusable when the database holds a newer schema or tables that are not ours.
    """
    with translated(where):
        with engines.read.connect() as connection:
            before = current_revision(connection)
        if before == SCHEMA_REVISION:
            return False
        with engines.write.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
            before = current_revision(connection)
            _refuse_foreign(connection, before, where)
            _run(connection, "upgrade", SCHEMA_REVISION)
        log.info("store_migrated", extra={"from_revision": before or "empty", "to_revision": SCHEMA_REVISION})
        return True


def downgrade(engines: Engines, where: str, revision: str) -> None:
    """Go back to an older schema ("base" removes every table). Blocks; loses what the older one cannot hold."""
    with translated(where), engines.write.begin() as connection:
        _run(connection, "downgrade", revision)


def known_revisions() -> list[str]:
    """All revisions this program can work from, oldest first."""
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def _refuse_foreign(connection: Connection, revision: str | None, where: str) -> None:
    if revision is None:
        foreign = sorted(set(inspect(connection).get_table_names()) - {"alembic_version"})
        if foreign:
            raise StoreUnusable(
                f"{where} holds tables of another program ({', '.join(foreign[:3])}); "
                "let storage.url name a database of its own"
            )
    elif revision not in known_revisions():
        raise StoreUnusable(
            f"{where} was written by a newer Banter (schema {revision}; this one knows {SCHEMA_REVISION}). "
            "Install the newer version, or restore the backup that was made before the upgrade."
        )


def _run(connection: Connection, direction: str, revision: str) -> None:
    # Alembic is slow to import and most starts have nothing to migrate.
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    getattr(command, direction)(config, revision)


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("path_separator", "os")
    return config
