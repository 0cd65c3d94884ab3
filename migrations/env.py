"""Alembic's environment: runs migrations over asyncpg, and leaves the daily partitions alone."""

import asyncio
import re
from typing import Any

from alembic import context
from sqlalchemy import pool
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from postbacks.store.migrating import LOCK_SECONDS
from postbacks.store.schema import PARTITIONED, metadata

_PARTITION = re.compile(rf"^({'|'.join(PARTITIONED)})_\d{{8}}")


def include_name(name: str | None, kind: str, parents: Any) -> bool:
    return not (kind == "table" and name is not None and _PARTITION.match(name))


def run(connection: Connection) -> None:
    # Two processes that start at the same time must not both migrate.
    connection.exec_driver_sql("SELECT pg_advisory_lock(1886548833)")
    try:
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        context.configure(connection=connection, target_metadata=metadata, include_name=include_name)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    finally:
        # After a failed statement no other would be taken, and its own error would be lost.
        connection.rollback()
        connection.exec_driver_sql("SELECT pg_advisory_unlock(1886548833)")
        connection.commit()


async def main() -> None:
    url = context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True)["url"]
    engine = create_async_engine(re.sub(r"^postgres(ql)?://", "postgresql+asyncpg://", url), poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
