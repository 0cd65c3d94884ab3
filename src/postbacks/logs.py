"""Logs: one line per fact on standard error, for machines as JSON and for people in a terminal in colour.

Values are facts (names, codes, counts), never secrets, click IDs, players or addresses. What Python and PostgreSQL
write into an exception's message is none of ours and may quote any of them, so of an exception only its type, its
SQLSTATE and the lines of code that it went through are logged: no message, no local variable.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

import structlog

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure() -> None:
    """Called once, first thing."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            *shared,
            *([] if terminal else [structlog.processors.ExceptionRenderer(lambda info: traceback_of(info[1]))]),
            structlog.dev.ConsoleRenderer(exception_formatter=_write_traceback)
            if terminal
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain() if terminal else _Json())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # uvicorn's tracebacks repeat what `problems` has logged.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    sys.excepthook = _crashed


def traceback_of(error: BaseException) -> str:
    """Where an exception came from and of which type it and its causes are, in the order in which they were raised."""
    return "\n".join(reversed([_one(each) for each in _chain(error)]))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo.append(each.__cause__ or (None if each.__suppress_context__ else each.__context__))
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions


def _one(error: BaseException) -> str:
    code = getattr(error, "sqlstate", None)
    name = f"{type(error).__module__}.{type(error).__qualname__}" + (f" ({code})" if isinstance(code, str) else "")
    return "".join(traceback.format_tb(error.__traceback__)) + name


def _write_traceback(stream: TextIO, info: _ExcInfo) -> None:
    stream.write("\n" + traceback_of(info[1]))


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger(__name__).critical("process.crashed", exc_info=(kind, error, trace))


class _Plain(logging.Formatter):
    """What libraries log. Only the first line of a message: asyncio's further ones show exceptions and tasks whole."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(str(part) for part in self._parts(record).values() if part)

    @staticmethod
    def _parts(record: logging.LogRecord) -> dict[str, str]:
        error = record.exc_info[1] if record.exc_info else None
        parts = {"event": f"{record.name}: {record.getMessage().partition(chr(10))[0]}"}
        return {**parts, "exception": traceback_of(error)} if error is not None else parts


class _Json(_Plain):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat()
        return json.dumps({**self._parts(record), "level": record.levelname.lower(), "timestamp": time})
