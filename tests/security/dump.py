"""Everything that stands in the database, as text: what a stolen backup would show."""

from __future__ import annotations

import asyncpg


async def dump(url: str) -> dict[str, str]:
    """Table → its rows as JSON, one a line. Partitions are shown with their parents."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
        )
        found = {}
        for table in tables:
            name = table["relname"]
            rows = await connection.fetch(f'SELECT row_to_json(t)::text AS row FROM "{name}" t')
            found[name] = "\n".join(row["row"] for row in rows)
        return found
    finally:
        await connection.close()


async def tables_with(url: str, *texts: str) -> list[tuple[str, str]]:
    """(table, text) for every text that stands somewhere in a table."""
    rows = await dump(url)
    return [(table, text) for table, content in rows.items() for text in texts if text in content]
