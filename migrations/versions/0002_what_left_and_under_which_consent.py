"""what left with a try, and under which consent

The privacy ledger has to tell what was so when it was sent: the click's consent changes when a player takes it back.
Older tries have neither; the ledger shows them without.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "attempts",
        sa.Column("consent", sa.Text(), nullable=True, comment="When it was sent; see postbacks.domain.consent."),
    )
    op.add_column(
        "attempts",
        sa.Column("shared", sa.Text(), nullable=True, comment="What left beside the click ID, comma-separated."),
    )


def downgrade() -> None:
    op.drop_column("attempts", "shared")
    op.drop_column("attempts", "consent")
