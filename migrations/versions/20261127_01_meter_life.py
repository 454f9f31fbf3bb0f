"""The life of a meter: its moves, the rest after it came back, and the acts that history refers to.

Revision ID: 20261127_01_meter_life
Revises: 20261123_08_readings
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_01_meter_life"
down_revision = "20261123_08_readings"
branch_labels = None
depends_on = None

# The table of portal.meters.rules.MOVES. The condition stands in the trigger, so an allowed move costs no call.
MOVES = """
CREATE FUNCTION refuse_meter_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'meter % cannot go from % to %', OLD.meter_key, OLD.status, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'meter_moves';
END $$;
CREATE TRIGGER meter_moves BEFORE UPDATE OF status ON meters FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND (OLD.status || ' ' || NEW.status) <> ALL (ARRAY[
        'in_stock assigned', 'in_stock quarantine', 'in_stock faulty', 'in_stock retired',
        'assigned in_stock', 'assigned quarantine', 'assigned faulty', 'assigned retired',
        'quarantine in_stock', 'quarantine faulty', 'quarantine retired',
        'faulty in_stock', 'faulty retired']))
    EXECUTE FUNCTION refuse_meter_move();
"""
HOWS = "how IN ('registration', 'admin', 'bulk', 'legacy', 'swap'{more})"


def upgrade() -> None:
    op.add_column("meters", sa.Column("digits", sa.SmallInteger(), server_default="6", nullable=False))
    op.add_column("meters", sa.Column("quarantine_until", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_meters_digits"), "meters", "digits BETWEEN 4 AND 9")
    op.create_check_constraint(op.f("ck_meters_rest"), "meters", "quarantine_until IS NULL OR status = 'quarantine'")
    op.create_index(
        "ix_meters_resting",
        "meters",
        ["quarantine_until", "meter_key"],
        postgresql_where=sa.text("status = 'quarantine'"),
    )
    op.add_column("meter_assignments", sa.Column("assigned_act", sa.BigInteger(), nullable=True))
    op.add_column("meter_assignments", sa.Column("unassigned_act", sa.BigInteger(), nullable=True))
    op.add_column("meter_assignments", sa.Column("unassigned_how", sa.String(length=15), nullable=True))
    op.drop_constraint(op.f("ck_meter_assignments_how"), "meter_assignments")
    op.create_check_constraint(
        op.f("ck_meter_assignments_how"), "meter_assignments", HOWS.format(more=", 'relocation', 'csv'")
    )
    op.create_check_constraint(
        op.f("ck_meter_assignments_unassigned_how"),
        "meter_assignments",
        "unassigned_how IN ('admin', 'swap', 'relocation', 'closing', 'undo')",
    )
    op.create_check_constraint(
        op.f("ck_meter_assignments_registers"), "meter_assignments", "opening_register >= 0 AND closing_register >= 0"
    )
    # Whom a bulk run served: its undo, and its place in the history.
    op.create_index(
        "ix_meter_assignments_act",
        "meter_assignments",
        ["assigned_act"],
        postgresql_where=sa.text("how IN ('bulk', 'csv')"),
    )
    op.create_index(
        "ix_users_unverified_holders",
        "users",
        ["user_id"],
        postgresql_where=sa.text("meter_id IS NOT NULL AND email_verified_at IS NULL"),
    )
    op.execute(MOVES)


def downgrade() -> None:
    op.execute("DROP TRIGGER meter_moves ON meters; DROP FUNCTION refuse_meter_move()")
    op.drop_index("ix_users_unverified_holders", table_name="users")
    op.drop_index("ix_meter_assignments_act", table_name="meter_assignments")
    for name in ("registers", "unassigned_how", "how"):
        op.drop_constraint(op.f(f"ck_meter_assignments_{name}"), "meter_assignments")
    op.execute("UPDATE meter_assignments SET how = 'admin' WHERE how IN ('relocation', 'csv')")
    op.create_check_constraint(op.f("ck_meter_assignments_how"), "meter_assignments", HOWS.format(more=""))
    for name in ("unassigned_how", "unassigned_act", "assigned_act"):
        op.drop_column("meter_assignments", name)
    op.drop_index("ix_meters_resting", table_name="meters")
    op.drop_constraint(op.f("ck_meters_rest"), "meters")
    op.drop_column("meters", "quarantine_until")
    op.drop_column("meters", "digits")
