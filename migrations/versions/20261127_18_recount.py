"""Count the tallies anew without keeping anybody waiting: locks on three tables met those of acts in another order.

Revision ID: 20261127_18_recount
Revises: 20261127_17_corrections
"""

from alembic import op

revision = "20261127_18_recount"
down_revision = "20261127_17_corrections"
branch_labels = None
depends_on = None

# A tally is committed with the rows that it counts, and a fold leaves every sum as it was. So within one statement,
# which is one snapshot, rows and tallies belong together: what differs is wrong, whoever writes meanwhile. Only two who
# count anew must take turns, or both would put the same right.
RECOUNT = """
CREATE OR REPLACE FUNCTION recount_tallies() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7406004);
    INSERT INTO tallies (what, region, bucket, n)
    SELECT what, region, bucket, sum(n) FROM (
        SELECT what, region, 0 AS bucket, count(*) AS n
        FROM users CROSS JOIN LATERAL user_tallies(role, closed_at, meter_id) AS what GROUP BY what, region
        UNION ALL SELECT status, region, meter_key / 100000, count(*) FROM meters GROUP BY 1, 2, 3
        UNION ALL SELECT 'given', NULL, given, count(*) FROM days GROUP BY given
        UNION ALL SELECT 'taken', NULL, taken, count(*) FROM days WHERE taken IS NOT NULL GROUP BY taken
        UNION ALL SELECT what, region, bucket, -n FROM tallies) AS counted
    GROUP BY what, region, bucket HAVING sum(n) <> 0;
END $$;
"""
DAYS = """(
            SELECT (assigned_at AT TIME ZONE zone)::date - DATE '2000-01-01' AS given,
                (unassigned_at AT TIME ZONE zone)::date - DATE '2000-01-01' AS taken
            FROM (SELECT assigned_at, unassigned_at, coalesce(timezone, 'Asia/Kolkata') AS zone
                  FROM meter_assignments JOIN connections USING (connection_id) LEFT JOIN regions ON name = region) AS a
        ) AS days"""
BEFORE = """
CREATE OR REPLACE FUNCTION recount_tallies() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE users, meters, meter_assignments IN SHARE MODE;
    DELETE FROM tallies;
    INSERT INTO tallies (what, region, n)
    SELECT what, region, count(*) FROM users CROSS JOIN LATERAL user_tallies(role, closed_at, meter_id) AS what
    GROUP BY what, region;
    INSERT INTO tallies (what, region, bucket, n)
    SELECT status, region, meter_key / 100000, count(*) FROM meters GROUP BY 1, 2, 3;
    INSERT INTO tallies (what, bucket, n) SELECT 'given', given, count(*) FROM days GROUP BY given;
    INSERT INTO tallies (what, bucket, n)
    SELECT 'taken', taken, count(*) FROM days WHERE taken IS NOT NULL GROUP BY taken;
END $$;
"""


def upgrade() -> None:
    op.execute(RECOUNT.replace("FROM days", f"FROM {DAYS}"))


def downgrade() -> None:
    op.execute(BEFORE.replace("FROM days", f"FROM {DAYS}"))
