"""Close two ways around the rules of meters that raw SQL had: removing a retired one, reading an old snapshot.

Revision ID: 20261127_13_meter_guards
Revises: 20261127_12_unheard
"""

from alembic import op

revision = "20261127_13_meter_guards"
down_revision = "20261127_12_unheard"
branch_labels = None
depends_on = None

# A retired meter never comes back, not as a new row either. (How `refuse_meter_move` tells it.)
RETIRED_STAYS = """
CREATE FUNCTION keep_retired_meter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'meter % is retired; its row stays', OLD.meter_key
        USING ERRCODE = 'check_violation', CONSTRAINT = 'meter_moves';
END $$;
CREATE TRIGGER retired_meter_stays BEFORE DELETE ON meters FOR EACH ROW
    WHEN (OLD.status = 'retired') EXECUTE FUNCTION keep_retired_meter();
"""

# `meter_assignments_no_overlap` locks the rows of user and meter and then looks. Under repeatable read it would look at
# a snapshot from before the lock, so it refuses to. (Serializable finds such pairs by itself.)
NO_OVERLAP = """
CREATE OR REPLACE FUNCTION meter_assignments_no_overlap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {guard}
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
"""
GUARD = """
    IF current_setting('transaction_isolation') = 'repeatable read' THEN
        RAISE EXCEPTION 'assignments are written under read committed or serializable'
            USING ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'meter_assignments_no_overlap';
    END IF;
"""


def upgrade() -> None:
    op.execute(RETIRED_STAYS)
    op.execute(NO_OVERLAP.format(guard=GUARD))


def downgrade() -> None:
    op.execute(NO_OVERLAP.format(guard=""))
    op.execute("DROP TRIGGER retired_meter_stays ON meters; DROP FUNCTION keep_retired_meter()")
