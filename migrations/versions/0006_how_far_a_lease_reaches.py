"""how far a lease reaches

A claim begins behind what is under lease instead of walking past it. Dispatchers of the version before write no such
time, and ask for none: they may run beside the new ones.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "leases",
        sa.Column(
            "upto", sa.DateTime(timezone=True), nullable=True, comment="The latest `due` that it took; NULL: unknown."
        ),
    )


def downgrade() -> None:
    op.drop_column("leases", "upto")
