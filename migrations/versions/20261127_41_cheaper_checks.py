"""Check what most transactions do by one look instead of several: a bulk run pays for each of them a million times.

Revision ID: 20261127_41_cheaper_checks
Revises: 20261127_32_range_start
"""

from alembic import op

revision = "20261127_41_cheaper_checks"
down_revision = "20261127_32_range_start"
branch_labels = None
depends_on = None

# The quick look finds nothing wrong, or leaves it to the full check, which says what is.
USER = """
CREATE OR REPLACE FUNCTION user_shows_what_is_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {quick}PERFORM check_user_holds(NEW.user_id);{end_if}
    RETURN NULL;
END $$;
"""
QUICK_USER = """IF (SELECT meter_id FROM users WHERE user_id = NEW.user_id) IS DISTINCT FROM (
            SELECT 'MTR-' || lpad(meter_key::text, 8, '0') FROM meter_assignments
            WHERE user_id = NEW.user_id AND unassigned_at IS NULL) THEN
        """
# A new open row whose user shows the meter, and whose meter is marked: if the row was closed or removed since, that
# change has a check of its own.
ASSIGNMENT = """
CREATE OR REPLACE FUNCTION assignment_is_shown() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {quick}IF TG_OP <> 'INSERT' THEN
        PERFORM check_user_holds(OLD.user_id);
        PERFORM check_meter_status(OLD.meter_key);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM check_user_holds(NEW.user_id);
        PERFORM check_meter_status(NEW.meter_key);
    END IF;
    RETURN NULL;
END $$;
"""
QUICK_ASSIGNMENT = """IF TG_OP = 'INSERT' AND EXISTS (
            SELECT FROM users JOIN meters USING (meter_id)
            WHERE user_id = NEW.user_id AND meter_key = NEW.meter_key AND status = 'assigned') THEN
        RETURN NULL;
    END IF;
    """
TALLY = """
CREATE OR REPLACE FUNCTION tally_assignments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM tallies WHERE what IN ('given', 'taken');
    ELSIF TG_OP = 'INSERT' THEN
        {insert}
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
ROW_BY_ROW = """INSERT INTO tallies (what, bucket, n)
        SELECT t.what, t.bucket, count(*) FROM new_rows
        CROSS JOIN LATERAL assignment_tallies(connection_id, assigned_at, unassigned_at) AS t GROUP BY 1, 2;"""
ALL_AT_ONCE = """INSERT INTO tallies (what, bucket, n)
        SELECT t.what, (t.instant AT TIME ZONE coalesce(r.timezone, 'Asia/Kolkata'))::date - DATE '2000-01-01', count(*)
        FROM new_rows a JOIN connections c USING (connection_id) LEFT JOIN regions r ON r.name = c.region
        CROSS JOIN LATERAL (VALUES ('given', a.assigned_at), ('taken', a.unassigned_at)) AS t(what, instant)
        WHERE t.instant IS NOT NULL GROUP BY 1, 2;"""


def upgrade() -> None:
    op.execute(USER.format(quick=QUICK_USER, end_if="\n    END IF;"))
    op.execute(ASSIGNMENT.format(quick=QUICK_ASSIGNMENT))
    op.execute(TALLY.format(insert=ALL_AT_ONCE))


def downgrade() -> None:
    op.execute(USER.format(quick="", end_if=""))
    op.execute(ASSIGNMENT.format(quick=""))
    op.execute(TALLY.format(insert=ROW_BY_ROW))
