"""The plans of the statements that the store really sends, over the service's own connections.

auto_explain tells each plan to the client; nothing is copied from the code that is tested.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from postbacks.store.database import Connection, Database


@dataclass(frozen=True)
class Node:
    """One step of a plan. `rows` counts all its loops."""

    kind: str
    relation: str
    index: str
    rows: int
    removed: int
    buffers: int
    facts: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Plan:
    query: str
    nodes: tuple[Node, ...]

    @property
    def text(self) -> str:
        return self.query + "\n" + "\n".join(map(repr, self.nodes))

    def scans(self, table: str) -> list[Node]:
        """The steps that ran and read a table (or its partitions, or an index of them)."""
        return [
            node
            for node in self.nodes
            if "Scan" in node.kind and node.relation.startswith(table) and node.facts.get("Actual Loops")
        ]

    def indexes(self, table: str) -> set[str]:
        """The indexes that were used, without the days of partitions."""
        return {node.index for node in self.nodes if node.index.startswith(table) and node.facts.get("Actual Loops")}

    def partitions(self, table: str) -> set[str]:
        return {node.relation for node in self.scans(table)}

    @property
    def kinds(self) -> set[str]:
        return {node.kind for node in self.nodes}

    @property
    def buffers(self) -> int:
        """Pages touched by the whole statement."""
        return self.nodes[0].buffers


def _nodes(plan: dict[str, Any]) -> Iterator[Node]:
    loops = plan.get("Actual Loops", 1)
    yield Node(
        plan["Node Type"],
        plan.get("Relation Name", ""),
        plan.get("Index Name", ""),
        round(plan.get("Actual Rows", 0) * loops),
        round(plan.get("Rows Removed by Filter", 0) * loops),
        plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0),
        plan,
    )
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


class Explaining:
    """A connection of the service; `plans` are those since the last `clear`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.plans: list[Plan] = []

    def heard(self, _: Connection, message: asyncpg.PostgresLogMessage) -> None:
        _, found, text = message.message.partition("plan:\n")
        if found:
            document = json.loads(text)
            self.plans.append(Plan(document["Query Text"], tuple(_nodes(document["Plan"]))))


@asynccontextmanager
async def explaining(url: str, *, generic: bool) -> AsyncIterator[Explaining]:
    """`generic`: with the plan that serves all parameters, to which PostgreSQL may change after five uses."""
    database = await Database.open(url, size=1, name="plans")
    try:
        async with database.connection() as connection:
            one = Explaining(connection)
            connection.add_log_listener(one.heard)
            await connection.execute("LOAD 'auto_explain'")
            for name, value in (
                ("auto_explain.log_level", "notice"),
                ("auto_explain.log_format", "json"),
                ("auto_explain.log_analyze", "on"),
                ("auto_explain.log_buffers", "on"),
                ("auto_explain.log_timing", "off"),
                ("auto_explain.log_min_duration", "0"),
                ("plan_cache_mode", "force_generic_plan" if generic else "force_custom_plan"),
            ):
                await connection.execute(f"SET {name} = '{value}'")
            yield one
            connection.remove_log_listener(one.heard)
    finally:
        await database.close()
