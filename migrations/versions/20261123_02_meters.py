"""Meters, the free pool, connections and assignments, and what holds them together.

Revision ID: 20261123_02_meters
Revises: 20261123_01_accounts
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_02_meters"
down_revision = "20261123_01_accounts"
branch_labels = None
depends_on = None

# Promise 1, closed rows against open ones; the indexes of the table hold open against open and closed against closed.
# The rows of the meter and the user are locked first, so that two transactions that cannot see each other's rows meet.
NO_OVERLAP = """
CREATE FUNCTION meter_assignments_no_overlap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM users WHERE user_id = NEW.user_id FOR NO KEY UPDATE;
    PERFORM 1 FROM meters WHERE meter_key = NEW.meter_key FOR NO KEY UPDATE;
    IF NEW.unassigned_at IS NULL THEN
        IF EXISTS (SELECT FROM meter_assignments WHERE meter_key = NEW.meter_key AND unassigned_at > NEW.assigned_at)
        OR EXISTS (SELECT FROM meter_assignments WHERE user_id = NEW.user_id AND unassigned_at > NEW.assigned_at) THEN
            RAISE EXCEPTION 'meter % or user % was taken after %', NEW.meter_key, NEW.user_id, NEW.assigned_at
                USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'meter_assignments_no_overlap';
        END IF;
    ELSIF EXISTS (SELECT FROM meter_assignments WHERE meter_key = NEW.meter_key AND unassigned_at IS NULL
                  AND assigned_at < NEW.unassigned_at AND assignment_id <> NEW.assignment_id)
    OR EXISTS (SELECT FROM meter_assignments WHERE user_id = NEW.user_id AND unassigned_at IS NULL
               AND assigned_at < NEW.unassigned_at AND assignment_id <> NEW.assignment_id) THEN
        RAISE EXCEPTION 'meter % or user % is taken before %', NEW.meter_key, NEW.user_id, NEW.unassigned_at
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'meter_assignments_no_overlap';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER meter_assignments_no_overlap AFTER INSERT OR UPDATE ON meter_assignments
    FOR EACH ROW EXECUTE FUNCTION meter_assignments_no_overlap();
"""

# users.meter_id, meters.status and the open assignment say the same when a transaction ends, whoever wrote them.
HELD_TOGETHER = """
CREATE FUNCTION check_user_holds(the_user uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    shown text;
    held text;
BEGIN
    SELECT meter_id INTO shown FROM users WHERE user_id = the_user;
    SELECT m.meter_id INTO held FROM meter_assignments a JOIN meters m USING (meter_key)
        WHERE a.user_id = the_user AND a.unassigned_at IS NULL;
    IF shown IS DISTINCT FROM held THEN
        RAISE EXCEPTION 'user % shows meter %, but holds %', the_user, shown, held
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'user_shows_what_is_held';
    END IF;
END $$;
CREATE FUNCTION check_meter_status(the_meter int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM meters WHERE meter_key = the_meter AND (status = 'assigned') <> EXISTS (
        SELECT FROM meter_assignments WHERE meter_key = the_meter AND unassigned_at IS NULL)) THEN
        RAISE EXCEPTION 'the status of meter % is not what its assignment says', the_meter
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'meter_status_is_what_is_held';
    END IF;
END $$;
CREATE FUNCTION user_shows_what_is_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM check_user_holds(NEW.user_id);
    RETURN NULL;
END $$;
CREATE FUNCTION meter_status_is_what_is_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM check_meter_status(NEW.meter_key);
    RETURN NULL;
END $$;
CREATE FUNCTION assignment_is_shown() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM check_user_holds(OLD.user_id);
        PERFORM check_meter_status(OLD.meter_key);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM check_user_holds(NEW.user_id);
        PERFORM check_meter_status(NEW.meter_key);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER user_shows_what_is_held AFTER INSERT OR UPDATE OF meter_id ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION user_shows_what_is_held();
CREATE CONSTRAINT TRIGGER meter_status_is_what_is_held AFTER INSERT OR UPDATE OF status ON meters
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION meter_status_is_what_is_held();
CREATE CONSTRAINT TRIGGER assignment_is_shown AFTER INSERT OR UPDATE OR DELETE ON meter_assignments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION assignment_is_shown();
"""


def upgrade() -> None:
    op.create_table(
        "meters",
        sa.Column("meter_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("meter_id", sa.String(length=50), nullable=False),
        sa.Column("region", sa.String(length=100), nullable=True),
        sa.Column("status", sa.String(length=12), server_default="in_stock", nullable=False),
        sa.Column("make", sa.String(length=60), nullable=True),
        sa.Column("model", sa.String(length=60), nullable=True),
        sa.Column("phase", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("multiplier", sa.Numeric(precision=8, scale=3), server_default="1", nullable=False),
        sa.Column("commissioned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("meter_id = 'MTR-' || lpad(meter_key::text, 8, '0')", name=op.f("ck_meters_meter_id")),
        sa.CheckConstraint(
            "status IN ('in_stock', 'assigned', 'quarantine', 'faulty', 'retired')", name=op.f("ck_meters_status")
        ),
        sa.CheckConstraint("meter_key BETWEEN 1 AND 99999999", name=op.f("ck_meters_meter_key")),
        sa.CheckConstraint("phase IN (1, 3)", name=op.f("ck_meters_phase")),
        sa.ForeignKeyConstraint(["region"], ["regions.name"], name=op.f("fk_meters_region_regions")),
        sa.PrimaryKeyConstraint("meter_key", name=op.f("pk_meters")),
        sa.UniqueConstraint("meter_id", name=op.f("uq_meters_meter_id")),
    )
    op.create_index(
        "ix_meters_blocked",
        "meters",
        ["meter_key"],
        unique=False,
        postgresql_where=sa.text("status IN ('faulty', 'retired')"),
    )
    op.create_index(
        "ix_meters_stock",
        "meters",
        ["region", "meter_key"],
        unique=False,
        postgresql_where=sa.text("status = 'in_stock'"),
    )
    op.create_table(
        "free_meters",
        sa.Column("meter_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("region", sa.String(length=100), nullable=True),
        sa.ForeignKeyConstraint(["region"], ["regions.name"], name=op.f("fk_free_meters_region_regions")),
        sa.PrimaryKeyConstraint("meter_key", name=op.f("pk_free_meters")),
    )
    op.create_index("ix_free_meters_region_meter_key", "free_meters", ["region", "meter_key"], unique=False)
    op.create_table(
        "pool_source",
        sa.Column("single", sa.Boolean(), nullable=False),
        sa.Column("next_key", sa.Integer(), nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_pool_source_one_row")),
        sa.PrimaryKeyConstraint("single", name=op.f("pk_pool_source")),
    )
    op.create_table(
        "connections",
        sa.Column("connection_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("region", sa.String(length=100), nullable=True),
        sa.Column("tariff_category", sa.String(length=30), server_default="residential", nullable=False),
        sa.Column("sanctioned_load_kw", sa.Numeric(precision=8, scale=2), server_default="2", nullable=False),
        sa.Column("phase", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_connections_period")),
        sa.CheckConstraint("phase IN (1, 3)", name=op.f("ck_connections_phase")),
        sa.ForeignKeyConstraint(["region"], ["regions.name"], name=op.f("fk_connections_region_regions")),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_connections_user_id_users")),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_connections")),
    )
    op.create_index(op.f("ix_connections_region_starts_at"), "connections", ["region", "starts_at"], unique=False)
    op.create_index(op.f("ix_connections_user_id_starts_at"), "connections", ["user_id", "starts_at"], unique=False)
    op.create_index(
        "uq_connections_user_open", "connections", ["user_id"], unique=True, postgresql_where=sa.text("ends_at IS NULL")
    )
    op.create_table(
        "meter_assignments",
        sa.Column("assignment_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("connection_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("meter_key", sa.Integer(), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unassigned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opening_register", sa.Numeric(precision=16, scale=6), nullable=True),
        sa.Column("closing_register", sa.Numeric(precision=16, scale=6), nullable=True),
        sa.Column("how", sa.String(length=15), nullable=False),
        sa.Column("assigned_by", sa.String(length=200), nullable=False),
        sa.Column("unassigned_by", sa.String(length=200), nullable=True),
        postgresql.ExcludeConstraint(
            (sa.text("meter_key"), "="),
            (sa.text("tstzrange(assigned_at, unassigned_at)"), "&&"),
            where=sa.text("unassigned_at IS NOT NULL"),
            using="gist",
            name="ex_meter_assignments_meter_closed",
        ),
        postgresql.ExcludeConstraint(
            (sa.text("user_id"), "="),
            (sa.text("tstzrange(assigned_at, unassigned_at)"), "&&"),
            where=sa.text("unassigned_at IS NOT NULL"),
            using="gist",
            name="ex_meter_assignments_user_closed",
        ),
        sa.CheckConstraint(
            "how IN ('registration', 'admin', 'bulk', 'legacy', 'swap')", name=op.f("ck_meter_assignments_how")
        ),
        sa.CheckConstraint("unassigned_at > assigned_at", name=op.f("ck_meter_assignments_period")),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.connection_id"],
            name=op.f("fk_meter_assignments_connection_id_connections"),
        ),
        sa.ForeignKeyConstraint(
            ["meter_key"], ["meters.meter_key"], name=op.f("fk_meter_assignments_meter_key_meters")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_meter_assignments_user_id_users")),
        sa.PrimaryKeyConstraint("assignment_id", name=op.f("pk_meter_assignments")),
    )
    op.create_index(op.f("ix_meter_assignments_connection_id"), "meter_assignments", ["connection_id"], unique=False)
    op.create_index(
        "uq_meter_assignments_meter_open",
        "meter_assignments",
        ["meter_key"],
        unique=True,
        postgresql_where=sa.text("unassigned_at IS NULL"),
    )
    op.create_index(
        "uq_meter_assignments_user_open",
        "meter_assignments",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("unassigned_at IS NULL"),
    )
    op.execute(NO_OVERLAP)
    op.execute(HELD_TOGETHER)


def downgrade() -> None:
    op.execute("DROP TRIGGER user_shows_what_is_held ON users")
    op.drop_table("meter_assignments")
    op.drop_table("connections")
    op.drop_table("pool_source")
    op.drop_table("free_meters")
    op.drop_table("meters")
    op.execute("DROP FUNCTION meter_assignments_no_overlap")
    op.execute("DROP FUNCTION user_shows_what_is_held")
    op.execute("DROP FUNCTION meter_status_is_what_is_held")
    op.execute("DROP FUNCTION assignment_is_shown")
    op.execute("DROP FUNCTION check_user_holds")
    op.execute("DROP FUNCTION check_meter_status")
