"""a delivery that ended carries its last try

Nearly every delivery ends with its first try. That one needs no row of its own, and what hundreds of deliveries in one
request have in common is stored once. Tries from before it stay where they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COMMON = "started_at, duration_ms, http_status, verdict, code, message, method, url, response, consent, shared"


def upgrade() -> None:
    op.create_table(
        "exchanges",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "deliveries", sa.Integer(), nullable=False, comment="How many still refer to it; it goes with the last."
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("http_status", sa.SmallInteger(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("consent", sa.Text(), nullable=True, comment="When it was sent; see postbacks.domain.consent."),
        sa.Column("shared", sa.Text(), nullable=True, comment="What left beside the click ID, comma-separated."),
        sa.PrimaryKeyConstraint("app_id", "id", name=op.f("exchanges_pkey")),
        postgresql_partition_by="RANGE (id)",
    )
    op.alter_column("deliveries", "updated_at", server_default=sa.text("now()"), comment="When it ended.")
    op.alter_column(
        "deliveries",
        "delivered_at",
        comment="Not written since 0004, whose predecessor still does: see updated_at.",
    )
    op.add_column(
        "deliveries",
        sa.Column(
            "exchange",
            sa.Uuid(),
            nullable=True,
            comment="Of the try that ended it, number `attempts`; NULL: see attempts, if any.",
        ),
    )
    op.add_column(
        "deliveries", sa.Column("request", sa.Text(), nullable=True, comment="Its own part of what that try sent.")
    )


def downgrade() -> None:
    op.execute(
        f"INSERT INTO attempts (app_id, delivery, number, request, {_COMMON}) "
        f"SELECT d.app_id, d.id, d.attempts, d.request, {', '.join('x.' + one for one in _COMMON.split(', '))} "
        "FROM deliveries d JOIN exchanges x ON x.app_id = d.app_id AND x.id = d.exchange ON CONFLICT DO NOTHING"
    )
    op.execute("UPDATE deliveries SET delivered_at = updated_at WHERE status = 'delivered' AND delivered_at IS NULL")
    op.alter_column("deliveries", "delivered_at", comment=None)
    op.alter_column("deliveries", "updated_at", server_default=None, comment=None)
    op.drop_column("deliveries", "request")
    op.drop_column("deliveries", "exchange")
    op.drop_table("exchanges")
