"""Energy that follows from registers, beside the intervals that were told.

Revision ID: 20261127_14_registers
Revises: 20261127_13_meter_guards
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_14_registers"
down_revision = "20261127_13_meter_guards"
branch_labels = None
depends_on = None

# All that makes usage: what meters told, and what follows from their registers where they told nothing.
INTERVALS = """
CREATE VIEW usage_intervals AS
    SELECT meter_key, kind, read_at, interval_seconds, value, quality FROM readings WHERE kind IN (1, 2)
    UNION ALL
    SELECT meter_key, 1::smallint, read_at, interval_seconds, value, quality FROM register_usage
"""

# A holder's opening and closing register are readings of the meter's register: given, or moved in time, they change
# the energy around them. Bulk runs give none, and pass by.
NOTE_REGISTERS = """
CREATE FUNCTION note_assignment_registers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_touched (meter_key, half_hour, touched_at)
        SELECT NEW.meter_key, date_bin('30 minutes', at, 'epoch'), now()
        FROM unnest(ARRAY[NEW.assigned_at, NEW.unassigned_at]) AS at WHERE at IS NOT NULL;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO usage_touched (meter_key, half_hour, touched_at)
            SELECT OLD.meter_key, date_bin('30 minutes', at, 'epoch'), now()
            FROM unnest(ARRAY[OLD.assigned_at, OLD.unassigned_at]) AS at WHERE at IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_registers_given AFTER INSERT ON meter_assignments FOR EACH ROW
    WHEN (NEW.opening_register IS NOT NULL OR NEW.closing_register IS NOT NULL)
    EXECUTE FUNCTION note_assignment_registers();
CREATE TRIGGER note_registers_moved AFTER UPDATE ON meter_assignments FOR EACH ROW
    WHEN ((OLD.opening_register, OLD.closing_register, NEW.opening_register, NEW.closing_register)
            IS DISTINCT FROM (NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric)
        AND (OLD.meter_key, OLD.assigned_at, OLD.unassigned_at, OLD.opening_register, OLD.closing_register)
            IS DISTINCT FROM
            (NEW.meter_key, NEW.assigned_at, NEW.unassigned_at, NEW.opening_register, NEW.closing_register))
    EXECUTE FUNCTION note_assignment_registers();
"""

# How many digits a register shows, and how many phases it counts, say what a fall of it means.
FOLLOW_METER = """
CREATE FUNCTION usage_follows_register() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_touched (meter_key, half_hour, touched_at)
        SELECT DISTINCT meter_key, date_bin('30 minutes', read_at, 'epoch'), now()
        FROM readings WHERE meter_key = NEW.meter_key AND kind = 3;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_follows_register AFTER UPDATE OF digits, phase ON meters
    FOR EACH ROW WHEN (OLD.digits <> NEW.digits OR OLD.phase <> NEW.phase) EXECUTE FUNCTION usage_follows_register();
"""

FOLLOW_ZONE = """
CREATE OR REPLACE FUNCTION usage_follows_zone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce((SELECT timezone FROM regions WHERE name = OLD.region), 'Asia/Kolkata')
        <> coalesce((SELECT timezone FROM regions WHERE name = NEW.region), 'Asia/Kolkata') THEN
        PERFORM pg_advisory_xact_lock(7406002, NEW.meter_key);
        DELETE FROM usage_hourly WHERE meter_key = NEW.meter_key;
        DELETE FROM usage_daily WHERE meter_key = NEW.meter_key;
        INSERT INTO usage_touched (meter_key, half_hour, touched_at)
            SELECT DISTINCT meter_key, date_bin('30 minutes', read_at, 'epoch'), now()
            FROM {intervals} WHERE meter_key = NEW.meter_key{kinds};
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "register_meters",
        sa.Column("meter_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("meter_key", name=op.f("pk_register_meters")),
    )
    op.create_table(
        "register_usage",
        sa.Column("meter_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("interval_seconds", sa.Integer(), nullable=False),
        sa.Column("value", sa.Numeric(precision=16, scale=6), nullable=False),
        sa.Column("quality", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("value >= 0", name=op.f("ck_register_usage_value")),
        sa.CheckConstraint("quality IN (0, 1)", name=op.f("ck_register_usage_quality")),
        sa.PrimaryKeyConstraint("meter_key", "read_at", name=op.f("pk_register_usage")),
    )
    op.create_index(
        "ix_meter_assignments_registers",
        "meter_assignments",
        ["meter_key"],
        postgresql_where=sa.text("opening_register IS NOT NULL OR closing_register IS NOT NULL"),
    )
    op.execute(INTERVALS)
    op.execute(NOTE_REGISTERS)
    op.execute(FOLLOW_METER)
    op.execute(FOLLOW_ZONE.format(intervals="usage_intervals", kinds=""))
    # What came before makes its energy now.
    op.execute("INSERT INTO register_meters SELECT DISTINCT meter_key FROM readings WHERE kind = 3")
    op.execute("""
        INSERT INTO usage_touched (meter_key, half_hour, touched_at)
        SELECT DISTINCT meter_key, date_bin('30 minutes', read_at, 'epoch'), now() FROM readings WHERE kind = 3
        UNION SELECT meter_key, date_bin('30 minutes', at, 'epoch'), now()
        FROM meter_assignments CROSS JOIN LATERAL unnest(ARRAY[assigned_at, unassigned_at]) AS at
        WHERE at IS NOT NULL AND (opening_register IS NOT NULL OR closing_register IS NOT NULL)""")


def downgrade() -> None:
    op.execute(FOLLOW_ZONE.format(intervals="readings", kinds=" AND kind IN (1, 2)"))
    op.execute("DROP TRIGGER usage_follows_register ON meters")
    op.execute("DROP FUNCTION usage_follows_register")
    op.execute("DROP TRIGGER note_registers_given ON meter_assignments")
    op.execute("DROP TRIGGER note_registers_moved ON meter_assignments")
    op.execute("DROP FUNCTION note_assignment_registers")
    op.execute("DROP VIEW usage_intervals")
    op.drop_index("ix_meter_assignments_registers", table_name="meter_assignments")
    op.drop_table("register_usage")
    op.drop_table("register_meters")
