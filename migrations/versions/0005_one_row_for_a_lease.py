"""one row for a lease

A claim wrote into each of its rows. Now it adds one row with their ids, and the outbox is only added to and removed from.

`lease_until` stays, empty: the API of the version before asks for it. Its dispatchers ask for `lease`, and claim nothing
any more, since they would not see the leases of this version. What they have under way is left alone until their lease
is over.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deliveries", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "id", name=op.f("leases_pkey")),
        postgresql_with={"autovacuum_vacuum_scale_factor": 0.01, "autovacuum_vacuum_cost_delay": 0},
    )
    op.create_index("leases_by_destination", "leases", ["app_id", "destination", "until"])
    # Ids do not compress, and trying costs more than the rest of the statement.
    op.execute("ALTER TABLE leases ALTER COLUMN deliveries SET STORAGE EXTERNAL")
    op.execute(
        "INSERT INTO leases (app_id, id, destination, until, deliveries) SELECT app_id, lease, destination, "
        "max(lease_until), array_agg(id) FROM outbox WHERE lease_until > now() GROUP BY app_id, lease, destination"
    )
    op.execute("UPDATE outbox SET lease_until = NULL WHERE lease_until IS NOT NULL")
    op.drop_column("outbox", "lease")
    op.alter_column("outbox", "lease_until", comment="Empty since 0005, whose predecessor's API asks for it.")
    op.execute("ALTER TABLE outbox RESET (fillfactor)")
    op.drop_index("outbox_due", table_name="outbox")
    op.create_index(
        "outbox_due",
        "outbox",
        ["app_id", "destination", "due"],
        postgresql_where=sa.text("due IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("outbox_due", table_name="outbox")
    op.create_index("outbox_due", "outbox", ["app_id", "destination", "due"])
    op.execute("ALTER TABLE outbox SET (fillfactor = 50)")
    op.alter_column("outbox", "lease_until", comment=None)
    op.add_column("outbox", sa.Column("lease", sa.Uuid(), nullable=True))
    op.execute(
        "UPDATE outbox o SET lease = l.id, lease_until = l.until FROM leases l "
        "WHERE l.until > now() AND o.app_id = l.app_id AND o.id = ANY(l.deliveries)"
    )
    op.drop_table("leases")
