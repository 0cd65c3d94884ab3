"""Logs: of what went wrong they say where and of which type, never with which values."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import asyncpg

from postbacks.logs import traceback_of

SECRET = "planted-value"

PROGRAM = f"""
import asyncio, gc, logging, sys, structlog
from postbacks import logs

logs.configure()
log = structlog.get_logger("test")

def handle(password):
    try:
        int(password)
    except ValueError as error:
        raise RuntimeError(f"could not use {{password}}") from error

def caught(*doing):
    try:
        handle("{SECRET}")
    except RuntimeError:
        log.exception("it.failed", count=3)
        logging.getLogger("library").exception("a library failed\\nwith {SECRET}")

async def forgotten():
    async def fails():
        handle("{SECRET}")
    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()

caught()
asyncio.run(forgotten())
handle("{SECRET}")
"""


def test_without_a_terminal_it_is_json_and_holds_no_value() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True, timeout=60)
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.returncode == 1
    assert SECRET not in done.stderr + done.stdout
    assert [line["event"] for line in lines] == [
        "it.failed",
        "library: a library failed",
        "asyncio: Task exception was never retrieved",
        "process.crashed",
    ]
    assert [line["level"] for line in lines] == ["error", "error", "error", "critical"]
    for line in lines:
        assert "builtins.ValueError" in line["exception"] and "builtins.RuntimeError" in line["exception"]
        assert "in handle" in line["exception"], "the place is told"


def test_in_a_terminal_it_holds_no_value_either() -> None:
    own, other = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=other, stdout=subprocess.DEVNULL) as running:
        os.close(other)
        written = b""
        try:
            while piece := os.read(own, 65536):
                written += piece
        except OSError:
            pass  # the other side is closed
        running.wait(60)
    os.close(own)
    text = written.decode()
    assert "it.failed" in text and "RuntimeError" in text
    assert SECRET not in text
    assert "password" not in text.replace("int(password)", "").replace("{password}", ""), "no local variables"


def test_a_group_and_a_circle_of_causes_are_told_once_each() -> None:
    inner, outer = ValueError(SECRET), KeyError(SECRET)
    inner.__cause__, outer.__cause__ = outer, inner
    text = traceback_of(ExceptionGroup("several", [inner, outer]))

    assert sorted(text.splitlines()) == ["builtins.ExceptionGroup", "builtins.KeyError", "builtins.ValueError"]


def test_the_state_that_postgresql_gives_is_told() -> None:
    assert traceback_of(asyncpg.UniqueViolationError(SECRET)).endswith("UniqueViolationError (23505)")


def test_what_was_suppressed_stays_so() -> None:
    error = ValueError(SECRET)
    error.__context__, error.__suppress_context__ = KeyError(SECRET), True

    assert traceback_of(error) == "builtins.ValueError"
