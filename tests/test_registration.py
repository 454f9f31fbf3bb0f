"""Promise 2: registration never fails for want of a meter, and nobody without one is lost."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from portal.accounts.models import User
from portal.audit import SYSTEM, AuditEntry
from portal.errors import Conflict
from portal.meters import actions, search
from portal.registration import register
from tests.factories import NOW, make_holder, make_pool


def sign_up(email="asha@example.com", pool=None):
    return register("Asha Kulkarni", email, None, "Pune-West", None, pool or make_pool(), actor=SYSTEM, now=NOW)


def test_account_and_meter_come_together(area):
    assert sign_up().user.meter_id == "MTR-00000001"
    area.commit()


@pytest.mark.promise(2)
def test_without_a_meter_the_account_stands_and_is_listed(area):
    make_holder(pool=make_pool(last=1))
    area.commit()
    with capture_logs() as logged:
        registered = sign_up(pool=make_pool(last=1))
    area.commit()
    assert registered.user.meter_id is None
    assert registered.refusal.code == "NO_METERS_AVAILABLE"
    assert [user.email for user in search.list_without_meter().users] == ["asha@example.com"]
    entry = area.scalar(select(AuditEntry).where(AuditEntry.action == "meter.pending"))
    assert entry.details == {"code": "NO_METERS_AVAILABLE"}
    [line] = logged
    assert (line["user_id"], line["code"]) == (str(registered.user.user_id), "NO_METERS_AVAILABLE")


@pytest.mark.promise(2)
def test_a_fault_of_the_database_in_the_assignment_loses_nobody(area, monkeypatch):
    def fail(*_args, **_options):
        raise OperationalError("SELECT", {}, Exception("deadlock detected"))

    monkeypatch.setattr(actions, "assign", fail)
    registered = sign_up()
    area.commit()
    assert registered.refusal.code == "METER_ASSIGNMENT_FAILED"
    assert area.scalar(select(User.email)) == "asha@example.com"


@pytest.mark.promise(10)
def test_a_taken_address_takes_no_meter(area):
    sign_up()
    area.commit()
    with pytest.raises(Conflict):
        sign_up("ASHA@example.com")
    area.rollback()
    assert sign_up("other@example.com").user.meter_id == "MTR-00000002"
