"""Which assignments' meters were never heard of, found without looking at the others.

Revision ID: 20261127_12_unheard
Revises: 20261127_11_bulk_runs
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_12_unheard"
down_revision = "20261127_11_bulk_runs"
branch_labels = None
depends_on = None

# Marking an assignment as heard must lock that row alone. Without their columns these two would lock its user and
# meter too, in another order than everybody else, and look at what the mark cannot change.
TRIGGERS = """
DROP TRIGGER meter_assignments_no_overlap ON meter_assignments;
CREATE TRIGGER meter_assignments_no_overlap AFTER INSERT OR UPDATE{overlap} ON meter_assignments
    FOR EACH ROW EXECUTE FUNCTION meter_assignments_no_overlap();
DROP TRIGGER assignment_is_shown ON meter_assignments;
CREATE CONSTRAINT TRIGGER assignment_is_shown AFTER INSERT OR UPDATE{shown} OR DELETE ON meter_assignments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION assignment_is_shown();
"""


def upgrade() -> None:
    op.add_column("meter_assignments", sa.Column("heard", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(
        "ix_meter_assignments_unheard",
        "meter_assignments",
        ["assigned_at", "assignment_id"],
        postgresql_where=sa.text("unassigned_at IS NULL AND NOT heard"),
    )
    op.execute(
        TRIGGERS.format(
            overlap=" OF user_id, meter_key, assigned_at, unassigned_at", shown=" OF user_id, meter_key, unassigned_at"
        )
    )


def downgrade() -> None:
    op.execute(TRIGGERS.format(overlap="", shown=""))
    op.drop_index("ix_meter_assignments_unheard", table_name="meter_assignments")
    op.drop_column("meter_assignments", "heard")
