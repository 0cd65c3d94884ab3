"""Logs: one line per fact on standard error, for machines as JSON and for people in a terminal in colour."""

from __future__ import annotations

import logging
import sys

import structlog


def configure() -> None:
    """Called once, first thing. Values are facts (names, codes, counts), never secrets, click IDs or addresses."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            *shared,
            *([] if terminal else [structlog.processors.format_exc_info]),
            # No local variables: they may hold secrets.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if terminal
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # asyncio repeats what the tasks' owners handle; uvicorn's tracebacks repeat what `problems` has logged.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
