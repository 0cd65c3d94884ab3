"""players by click and by time

By click, because an erasure and the retention ask who is tied to a click; by time, because the sweep for waiting events
asks who was tied to one lately.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("players_by_click", "players", ["app_id", "click"])
    op.create_index("players_by_linked_at", "players", ["app_id", "linked_at"])


def downgrade() -> None:
    op.drop_index("players_by_linked_at", table_name="players")
    op.drop_index("players_by_click", table_name="players")
