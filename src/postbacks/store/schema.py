"""The tables. Alembic compares the database with this module.

Every primary key and unique constraint leads with `app_id`, and no foreign key crosses apps, so that the tables
can be distributed by app over several machines (`postbacks migrate --distribute`).

Pending work is small and apart from history:

- `outbox`: one narrow row per open delivery. Gone when the delivery ends.
- `leases`: one row for what a dispatcher works on at once.
- `deliveries`: what has ended, each with its last try. `attempts`: the tries after which a delivery went on. `exchanges`:
  what the last tries of one request have in common. Insert-only, partitioned by day, dropped by partition.
- `waiting`: match keys of events without a click. Insert-mostly, partitioned by day, dropped by partition.

`id` columns are UUIDv7 (see `postbacks.domain.ids`), so a range of ids is a range of time: partitions are ranges
of ids, and looking a row up by its id touches one partition.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={"pk": "%(table_name)s_pkey", "uq": "%(table_name)s_%(column_0_N_name)s_key"},
)

NOW = text("now()")


def _time(name: str, **options: Any) -> Column[Any]:
    return Column(name, DateTime(timezone=True), **options)


apps = Table(
    "apps",
    metadata,
    Column("app_id", Text),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("secret", Text, nullable=False, comment="Encrypted 32 bytes; keys the hashes of erased players."),
    _time("created_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("app_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("app_id", Text),
    Column("key_id", Text),
    Column("publishable_key", Text, nullable=False, comment="Stands in web pages, so it is kept as it is."),
    Column("publishable_hash", LargeBinary, nullable=False),
    Column("secret_prefix", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    _time("created_at", nullable=False, server_default=NOW),
    _time("last_used_at"),
    _time("revoked_at"),
    PrimaryKeyConstraint("app_id", "key_id"),
    # Found by hash alone, before the app is known; not unique, because a unique index would have to lead with it.
    Index("api_keys_by_publishable_hash", "publishable_hash"),
    Index("api_keys_by_secret_hash", "secret_hash"),
)

destinations = Table(
    "destinations",
    metadata,
    Column("app_id", Text),
    Column("name", Text),
    Column("platform", Text, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("credentials", Text, nullable=False, comment="JSON, encrypted."),
    Column("options", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("events", JSONB, comment="NULL: the platform's preset."),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    _time("created_at", nullable=False, server_default=NOW),
    _time("updated_at", nullable=False, server_default=NOW),
    _time("paused_at"),
    _time("held_at"),
    Column("held_code", Text),
    Column("held_message", Text),
    Column("held_remedy", Text),
    _time("probe_at"),
    _time("blocked_until"),
    Column("blocked_reason", Text),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("app_id", "name"),
)

clicks = Table(
    "clicks",
    metadata,
    Column("app_id", Text),
    Column("id", Uuid),
    Column("click_key", Uuid, nullable=False, comment="Hash of type and value: the identity of the click."),
    Column("type", Text, nullable=False),
    Column("value", Text, nullable=False, comment="Byte for byte as it came."),
    Column("visitor_id", Text, nullable=False),
    _time("clicked_at", nullable=False),
    Column("url", Text),
    Column("referrer", Text),
    Column("utm", JSONB),
    Column("user_agent", Text),
    Column("address", Uuid, comment="Keyed hash."),
    Column("network", Uuid, comment="Keyed hash of the IPv6 /64."),
    Column("sealed_ip", Text, comment="Encrypted; only where a destination shares addresses and consent allows it."),
    Column("consent_attribution", Boolean),
    Column("consent_postbacks", Boolean),
    Column("consent_ad_personalization", Boolean),
    PrimaryKeyConstraint("app_id", "id"),
    Index("clicks_by_key", "app_id", "click_key", unique=True),
    Index("clicks_by_visitor", "app_id", "visitor_id"),
    Index("clicks_by_address", "app_id", "address", "clicked_at", postgresql_where=text("address IS NOT NULL")),
    Index("clicks_by_network", "app_id", "network", "clicked_at", postgresql_where=text("network IS NOT NULL")),
)

players = Table(
    "players",
    metadata,
    Column("app_id", Text),
    Column("user_id", Text),
    Column("click", Uuid),
    Column("confidence", Text, nullable=False),
    _time("since", comment="The event that was matched; NULL where the click itself named the player."),
    _time("until", comment="To when later events inherit the match."),
    _time("linked_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("app_id", "user_id", "click"),
    Index("players_by_click", "app_id", "click"),
    Index("players_by_linked_at", "app_id", "linked_at"),
)

installs = Table(
    "installs",
    metadata,
    Column("app_id", Text),
    Column("user_key", Uuid, comment="Keyed hash of the player."),
    _time("seen_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("app_id", "user_key"),
    comment="Players whose install is known: their next game_open is no install.",
)

erasures = Table(
    "erasures",
    metadata,
    Column("app_id", Text),
    Column("user_key", Uuid, comment="Keyed hash of the player."),
    _time("erased_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("app_id", "user_key"),
)

address_keys = Table(
    "address_keys",
    metadata,
    Column("app_id", Text),
    _time("valid_from"),
    Column("secret", Text, nullable=False, comment="Encrypted."),
    PrimaryKeyConstraint("app_id", "valid_from"),
)

event_keys = Table(
    "event_keys",
    metadata,
    Column("app_id", Text),
    Column("key", Uuid),
    Column("event", Uuid, nullable=False),
    Column("fingerprint", Uuid, nullable=False),
    PrimaryKeyConstraint("app_id", "key"),
    Index("event_keys_by_event", "event", postgresql_using="brin"),
    comment="The idempotency of ingest.",
)

events = Table(
    "events",
    metadata,
    Column("app_id", Text),
    Column("id", Uuid),
    Column("event_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    _time("occurred_at", nullable=False),
    Column("user_id", Text),
    Column("visitor_id", Text),
    Column("value", Numeric),
    Column("currency", Text),
    Column("platform", Text),
    Column("storefront", Text),
    Column("properties", Text, comment="JSON as text: what came is what is shown."),
    Column("consent_attribution", Boolean),
    Column("consent_postbacks", Boolean),
    Column("consent_ad_personalization", Boolean),
    Column("status", Text, nullable=False),
    Column("match", Text, comment="JSON: method, confidence, clicks considered."),
    Column("not_sent", Text, comment="JSON: destination, platform, reason."),
    PrimaryKeyConstraint("app_id", "id"),
    Index("events_by_user", "app_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
    postgresql_partition_by="RANGE (id)",
)

waiting = Table(
    "waiting",
    metadata,
    Column("app_id", Text),
    Column("key", Uuid),
    Column("event", Uuid),
    PrimaryKeyConstraint("app_id", "key", "event"),
    postgresql_partition_by="RANGE (event)",
)

outbox = Table(
    "outbox",
    metadata,
    Column("app_id", Text),
    Column("id", Uuid),
    Column("destination", Text, nullable=False),
    Column("due", DateTime(timezone=True), nullable=False),
    _time("lease_until", comment="Empty since 0005, whose predecessor's API asks for it."),
    _time("deadline", nullable=False),
    _time("created_at", nullable=False),
    Column("click", Uuid, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    _time("tried_at", comment="The first try since it was planned or its destination released."),
    Column("tries", SmallInteger, nullable=False, server_default=text("0"), comment="Steps of the retry schedule."),
    Column("ambiguous", SmallInteger, nullable=False, server_default=text("0")),
    Column("alone", Boolean, nullable=False, server_default=text("false")),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("reference", Text),
    Column("reference_index", Integer),
    PrimaryKeyConstraint("app_id", "id"),
    # Its condition always holds. It keeps the index from statements that do not speak of `due` (decision 8).
    Index("outbox_due", "app_id", "destination", "due", postgresql_where=text("due IS NOT NULL")),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": 0.01,
        "autovacuum_vacuum_cost_delay": 0,
        "autovacuum_analyze_scale_factor": 0.05,
    },
)

leases = Table(
    "leases",
    metadata,
    Column("app_id", Text),
    Column("id", Uuid),
    Column("destination", Text, nullable=False),
    _time("until", nullable=False),
    Column("deliveries", ARRAY(Uuid), nullable=False),
    _time("upto", comment="The latest `due` that it took; NULL: unknown."),
    PrimaryKeyConstraint("app_id", "id"),
    Index("leases_by_destination", "app_id", "destination", "until"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.01, "autovacuum_vacuum_cost_delay": 0},
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("app_id", Text),
    Column("id", Uuid),
    Column("destination", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("attempts", SmallInteger, nullable=False),
    Column("click", Uuid, nullable=False),
    _time("created_at", nullable=False),
    _time("updated_at", nullable=False, server_default=NOW, comment="When it ended."),
    _time("delivered_at", comment="Not written since 0004, whose predecessor still does: see updated_at."),
    Column("exchange", Uuid, comment="Of the try that ended it, number `attempts`; NULL: see attempts, if any."),
    Column("request", Text, comment="Its own part of what that try sent."),
    PrimaryKeyConstraint("app_id", "id"),
    Index("deliveries_undelivered", "app_id", "status", "id", postgresql_where=text("status <> 'delivered'")),
    postgresql_partition_by="RANGE (id)",
)

exchanges = Table(
    "exchanges",
    metadata,
    Column("app_id", Text),
    Column("id", Uuid),
    Column("deliveries", Integer, nullable=False, comment="How many still refer to it; it goes with the last."),
    _time("started_at", nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("http_status", SmallInteger),
    Column("verdict", Text, nullable=False),
    Column("code", Text),
    Column("message", Text),
    Column("method", Text),
    Column("url", Text),
    Column("response", Text),
    Column("consent", Text, comment="When it was sent; see postbacks.domain.consent."),
    Column("shared", Text, comment="What left beside the click ID, comma-separated."),
    PrimaryKeyConstraint("app_id", "id"),
    postgresql_partition_by="RANGE (id)",
)

attempts = Table(
    "attempts",
    metadata,
    Column("app_id", Text),
    Column("delivery", Uuid),
    Column("number", SmallInteger),
    _time("started_at", nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("http_status", SmallInteger),
    Column("verdict", Text, nullable=False),
    Column("code", Text),
    Column("message", Text),
    Column("method", Text),
    Column("url", Text),
    Column("request", Text),
    Column("response", Text),
    Column("consent", Text, comment="When it was sent; see postbacks.domain.consent."),
    Column("shared", Text, comment="What left beside the click ID, comma-separated."),
    PrimaryKeyConstraint("app_id", "delivery", "number"),
    postgresql_partition_by="RANGE (delivery)",
)

stats = Table(
    "stats",
    metadata,
    Column("app_id", Text),
    _time("minute"),
    Column("destination", Text),
    Column("status", Text),
    Column("reason", Text),
    Column("delay", SmallInteger, comment="Bucket of the delay from creation to the end; -1 for none."),
    Column("part", BigInteger, comment="Rows are added, never updated, and merged later into part 0."),
    Column("n", BigInteger, nullable=False),
    PrimaryKeyConstraint("app_id", "minute", "destination", "status", "reason", "delay", "part"),
)

dispatchers = Table(
    "dispatchers",
    metadata,
    Column("app_id", Text, server_default=text("''"), comment="Always empty: a dispatcher serves all apps."),
    Column("dispatcher", Uuid),
    _time("started_at", nullable=False, server_default=NOW),
    _time("seen_at", nullable=False, server_default=NOW),
    PrimaryKeyConstraint("app_id", "dispatcher"),
)

PARTITIONED = {"events": "id", "waiting": "event", "deliveries": "id", "exchanges": "id", "attempts": "delivery"}
"""Table → the column whose range of ids (so of time) makes a partition."""
