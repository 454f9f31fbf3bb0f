"""Readings partitioned by month, their versions, quarantine, and the usage that is derived from them.

Revision ID: 20261123_08_readings
Revises: 20261123_07_limits
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_08_readings"
down_revision = "20261123_07_limits"
branch_labels = None
depends_on = None

# Months are those of UTC. What the default partition took of the month moves in; the caller limits the wait for locks.
MAKE_PARTITION = """
CREATE FUNCTION make_readings_partition(day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := date_trunc('month', day::timestamp) AT TIME ZONE 'UTC';
    until timestamptz := (date_trunc('month', day::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    partition text := 'readings_p' || to_char(day, 'YYYY_MM');
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    LOCK TABLE readings IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    LOCK TABLE readings_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE readings INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
    EXECUTE format('WITH moved AS (DELETE FROM readings_default WHERE read_at >= %L AND read_at < %L RETURNING *) '
                   'INSERT INTO %I SELECT * FROM moved', since, until, partition);
    EXECUTE format('ALTER TABLE readings ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition, since, until);
    RETURN true;
END $$
"""

# A meter whose region counts its days in another zone: all of its usage is made anew. The lock is the one that
# recomputing takes, so no hour of the old zone can be written after this.
FOLLOW_ZONE = """
CREATE FUNCTION usage_follows_zone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce((SELECT timezone FROM regions WHERE name = OLD.region), 'Asia/Kolkata')
        <> coalesce((SELECT timezone FROM regions WHERE name = NEW.region), 'Asia/Kolkata') THEN
        PERFORM pg_advisory_xact_lock(7406002, NEW.meter_key);
        DELETE FROM usage_hourly WHERE meter_key = NEW.meter_key;
        DELETE FROM usage_daily WHERE meter_key = NEW.meter_key;
        INSERT INTO usage_touched (meter_key, half_hour, touched_at)
            SELECT DISTINCT meter_key, date_bin('30 minutes', read_at, 'epoch'), now()
            FROM readings WHERE meter_key = NEW.meter_key AND kind IN (1, 2);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_follows_zone AFTER UPDATE OF region ON meters
    FOR EACH ROW WHEN (OLD.region IS DISTINCT FROM NEW.region) EXECUTE FUNCTION usage_follows_zone();
"""


def _usage_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("meter_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("import_kwh", sa.Numeric(precision=16, scale=6), nullable=False),
        sa.Column("export_kwh", sa.Numeric(precision=16, scale=6), nullable=True),
        sa.Column("estimated_kwh", sa.Numeric(precision=16, scale=6), nullable=False),
        sa.Column("measured_seconds", sa.Integer(), nullable=False),
        sa.Column("estimated_seconds", sa.Integer(), nullable=False),
        sa.Column("overlap_seconds", sa.Integer(), nullable=False),
        sa.Column("reaches_at", sa.DateTime(timezone=True), nullable=True),
    ]


def upgrade() -> None:
    op.create_table(
        "readings",
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("meter_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("interval_seconds", sa.Integer(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("quality", sa.SmallInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.Numeric(precision=16, scale=6), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("reading_id", sa.String(length=100), nullable=True),
        sa.Column("extra", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("kind IN (1, 2, 3)", name=op.f("ck_readings_kind")),
        sa.CheckConstraint("quality IN (0, 1)", name=op.f("ck_readings_quality")),
        sa.CheckConstraint(
            "CASE kind WHEN 3 THEN interval_seconds = 0 ELSE interval_seconds BETWEEN 1 AND 86400 END",
            name=op.f("ck_readings_interval"),
        ),
        sa.CheckConstraint("value >= 0", name=op.f("ck_readings_value")),
        sa.PrimaryKeyConstraint("meter_key", "kind", "read_at", name=op.f("pk_readings")),
        postgresql_partition_by="RANGE (read_at)",
    )
    op.execute("CREATE TABLE readings_default PARTITION OF readings DEFAULT")
    op.execute(MAKE_PARTITION)
    op.execute("""
        SELECT make_readings_partition(day::date) FROM generate_series(
            date_trunc('month', now() AT TIME ZONE 'UTC') - interval '24 months',
            date_trunc('month', now() AT TIME ZONE 'UTC') + interval '3 months', interval '1 month') AS day""")
    op.create_table(
        "reading_versions",
        sa.Column("meter_key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("interval_seconds", sa.Integer(), nullable=False),
        sa.Column("quality", sa.SmallInteger(), nullable=False),
        sa.Column("value", sa.Numeric(precision=16, scale=6), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("reading_id", sa.String(length=100), nullable=True),
        sa.Column("extra", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN (1, 2, 3)", name=op.f("ck_reading_versions_kind")),
        sa.CheckConstraint("quality IN (0, 1)", name=op.f("ck_reading_versions_quality")),
        sa.PrimaryKeyConstraint("meter_key", "kind", "read_at", "version", name=op.f("pk_reading_versions")),
    )
    op.create_table(
        "quarantine",
        sa.Column("quarantine_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("message", sa.String(length=300), nullable=False),
        sa.Column("meter_id", sa.String(length=50), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("quarantine_id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_quarantine_fingerprint")),
    )
    op.create_index(op.f("ix_quarantine_received_at"), "quarantine", ["received_at"], unique=False)
    op.create_table(
        "usage_hourly",
        *_usage_columns(),
        sa.PrimaryKeyConstraint("meter_key", "starts_at", name=op.f("pk_usage_hourly")),
    )
    op.create_table(
        "usage_daily",
        *_usage_columns(),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("meter_key", "starts_at", name=op.f("pk_usage_daily")),
    )
    op.create_table(
        "usage_touched",
        sa.Column("touch_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("meter_key", sa.Integer(), nullable=False),
        sa.Column("half_hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("touch_id", name=op.f("pk_usage_touched")),
    )
    op.create_index(
        op.f("ix_usage_touched_meter_key_half_hour"), "usage_touched", ["meter_key", "half_hour"], unique=False
    )
    # A queue: rows come and go all the time, so it is swept by count, not by share.
    op.execute("ALTER TABLE usage_touched SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)")
    op.execute(FOLLOW_ZONE)


def downgrade() -> None:
    op.execute("DROP TRIGGER usage_follows_zone ON meters")
    op.execute("DROP FUNCTION usage_follows_zone")
    for table in ("usage_touched", "usage_daily", "usage_hourly", "quarantine", "reading_versions", "readings"):
        op.drop_table(table)
    op.execute("DROP FUNCTION make_readings_partition")
