"""Counts that are kept while rows change, so that nobody counts ten million of them.

Revision ID: 20261127_02_tallies
Revises: 20261127_01_meter_life
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_02_tallies"
down_revision = "20261127_01_meter_life"
branch_labels = None
depends_on = None

# Each statement adds what it changed; the sum is the count. Nobody updates a shared row, so nobody waits.
TALLY_USERS = """
CREATE FUNCTION tally_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM tallies WHERE what IN ('customer', 'holder', 'user', 'operator', 'admin');
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO tallies (what, region, n)
        SELECT what, region, count(*) FROM new_rows CROSS JOIN LATERAL user_tallies(role, closed_at, meter_id) AS what
        GROUP BY what, region;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO tallies (what, region, n)
        SELECT what, region, -count(*) FROM old_rows CROSS JOIN LATERAL user_tallies(role, closed_at, meter_id) AS what
        GROUP BY what, region;
    ELSE
        INSERT INTO tallies (what, region, n)
        SELECT what, region, sum(n) FROM (
            SELECT what, region, 1 AS n
            FROM new_rows CROSS JOIN LATERAL user_tallies(role, closed_at, meter_id) AS what
            UNION ALL SELECT what, region, -1
            FROM old_rows CROSS JOIN LATERAL user_tallies(role, closed_at, meter_id) AS what) AS changed
        GROUP BY what, region HAVING sum(n) <> 0;
    END IF;
    RETURN NULL;
END $$;
"""
# What one user counts as: their role, closed or not; an open customer; a holder.
USER_TALLIES = """
CREATE FUNCTION user_tallies(role varchar, closed_at timestamptz, meter_id varchar) RETURNS SETOF varchar
LANGUAGE sql IMMUTABLE AS $$
    SELECT role UNION ALL SELECT 'customer' WHERE role = 'user' AND closed_at IS NULL
    UNION ALL SELECT 'holder' WHERE meter_id IS NOT NULL
$$;
"""
TALLY_METERS = """
CREATE FUNCTION tally_meters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM tallies WHERE what IN ('in_stock', 'assigned', 'quarantine', 'faulty', 'retired');
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO tallies (what, region, bucket, n)
        SELECT status, region, meter_key / 100000, count(*) FROM new_rows GROUP BY 1, 2, 3;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO tallies (what, region, bucket, n)
        SELECT status, region, meter_key / 100000, -count(*) FROM old_rows GROUP BY 1, 2, 3;
    ELSE
        INSERT INTO tallies (what, region, bucket, n)
        SELECT status, region, bucket, sum(n) FROM (
            SELECT status, region, meter_key / 100000 AS bucket, 1 AS n FROM new_rows
            UNION ALL SELECT status, region, meter_key / 100000, -1 FROM old_rows) AS changed
        GROUP BY status, region, bucket HAVING sum(n) <> 0;
    END IF;
    RETURN NULL;
END $$;
"""
# By the local day on which a meter was given and came back; the bucket is the day's number since 2000-01-01.
TALLY_ASSIGNMENTS = """
CREATE FUNCTION local_day_number(connection bigint, instant timestamptz) RETURNS int LANGUAGE sql STABLE AS $$
    SELECT (instant AT TIME ZONE coalesce(
        (SELECT timezone FROM connections c JOIN regions r ON r.name = c.region WHERE c.connection_id = connection),
        'Asia/Kolkata'))::date - DATE '2000-01-01'
$$;
CREATE FUNCTION assignment_tallies(connection bigint, assigned_at timestamptz, unassigned_at timestamptz)
RETURNS TABLE (what varchar, bucket int) LANGUAGE sql STABLE AS $$
    SELECT 'given', local_day_number(connection, assigned_at)
    UNION ALL SELECT 'taken', local_day_number(connection, unassigned_at) WHERE unassigned_at IS NOT NULL
$$;
CREATE FUNCTION tally_assignments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM tallies WHERE what IN ('given', 'taken');
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO tallies (what, bucket, n)
        SELECT t.what, t.bucket, count(*) FROM new_rows
        CROSS JOIN LATERAL assignment_tallies(connection_id, assigned_at, unassigned_at) AS t GROUP BY 1, 2;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO tallies (what, bucket, n)
        SELECT t.what, t.bucket, -count(*) FROM old_rows
        CROSS JOIN LATERAL assignment_tallies(connection_id, assigned_at, unassigned_at) AS t GROUP BY 1, 2;
    ELSE
        INSERT INTO tallies (what, bucket, n)
        SELECT what, bucket, sum(n) FROM (
            SELECT t.what, t.bucket, 1 AS n FROM new_rows
            CROSS JOIN LATERAL assignment_tallies(connection_id, assigned_at, unassigned_at) AS t
            UNION ALL SELECT t.what, t.bucket, -1 FROM old_rows
            CROSS JOIN LATERAL assignment_tallies(connection_id, assigned_at, unassigned_at) AS t) AS changed
        GROUP BY what, bucket HAVING sum(n) <> 0;
    END IF;
    RETURN NULL;
END $$;
"""
RECOUNT = """
CREATE FUNCTION recount_tallies() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Writers wait: what they changed would else be counted twice, or not at all.
    LOCK TABLE users, meters, meter_assignments IN SHARE MODE;
    DELETE FROM tallies;
    INSERT INTO tallies (what, region, n)
    SELECT what, region, count(*) FROM users CROSS JOIN LATERAL user_tallies(role, closed_at, meter_id) AS what
    GROUP BY what, region;
    INSERT INTO tallies (what, region, bucket, n)
    SELECT status, region, meter_key / 100000, count(*) FROM meters GROUP BY 1, 2, 3;
    INSERT INTO tallies (what, bucket, n)
    SELECT 'given', day, count(*) FROM (
        SELECT (assigned_at AT TIME ZONE coalesce(timezone, 'Asia/Kolkata'))::date - DATE '2000-01-01' AS day
        FROM meter_assignments JOIN connections USING (connection_id) LEFT JOIN regions ON name = region) AS days
    GROUP BY day;
    INSERT INTO tallies (what, bucket, n)
    SELECT 'taken', day, count(*) FROM (
        SELECT (unassigned_at AT TIME ZONE coalesce(timezone, 'Asia/Kolkata'))::date - DATE '2000-01-01' AS day
        FROM meter_assignments JOIN connections USING (connection_id) LEFT JOIN regions ON name = region
        WHERE unassigned_at IS NOT NULL) AS days
    GROUP BY day;
END $$;
SELECT recount_tallies();
"""
TABLES = {"users": "tally_users", "meters": "tally_meters", "meter_assignments": "tally_assignments"}


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("tally_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("what", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=100), nullable=True),
        sa.Column("bucket", sa.Integer(), server_default="0", nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tally_id", name=op.f("pk_tallies")),
    )
    op.create_index(op.f("ix_meter_assignments_assigned_at"), "meter_assignments", ["assigned_at"], unique=False)
    for part in (USER_TALLIES, TALLY_USERS, TALLY_METERS, TALLY_ASSIGNMENTS):
        op.execute(part)
    for table, function in TABLES.items():
        op.execute(f"""
            CREATE TRIGGER {function}_insert AFTER INSERT ON {table}
                REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {function}();
            CREATE TRIGGER {function}_update AFTER UPDATE ON {table}
                REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows
                FOR EACH STATEMENT EXECUTE FUNCTION {function}();
            CREATE TRIGGER {function}_delete AFTER DELETE ON {table}
                REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION {function}();
            CREATE TRIGGER {function}_truncate AFTER TRUNCATE ON {table}
                FOR EACH STATEMENT EXECUTE FUNCTION {function}()""")
    op.execute(RECOUNT)


def downgrade() -> None:
    for table, function in TABLES.items():
        for act in ("insert", "update", "truncate", "delete"):
            op.execute(f"DROP TRIGGER {function}_{act} ON {table}")
        op.execute(f"DROP FUNCTION {function}")
    for function in ("recount_tallies", "user_tallies", "assignment_tallies", "local_day_number"):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_index(op.f("ix_meter_assignments_assigned_at"), table_name="meter_assignments")
    op.drop_table("tallies")
