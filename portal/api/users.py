"""Accounts: one's own, and everybody's for admins."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from portal import limits
from portal.accounts import actions as accounts
from portal.accounts import log_ins, recovery, rules, staff, tokens
from portal.api.account_presenters import SessionJson, session_json
from portal.api.auth import Nothing, UserAnswer
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, caller, now, pool, user
from portal.api.fields import Body, Name, Paging, Phone, Secret, Text, asking
from portal.api.ids import get_session_id, get_user_id
from portal.api.presenters import PaginationJson, UserJson, pagination_json, user_json
from portal.gates import ADMIN, SIGNED_IN
from portal.meters import search
from portal.registration import close_account, close_own_account

api = ApiBlueprint("users", tag="Accounts")


class ProfileBody(Body):
    """What a person may change of their account. Region, role and meter are not theirs to change."""

    name: Name | None = None
    phone: Phone | None = None


class UsersQuery(Paging):
    """Whom to list."""

    search: Text = Field(default="", max_length=200, description="A part of the e-mail, the name or the meter.")
    role: Literal["user", "operator", "admin"] | None = None


class RoleBody(Body):
    """What somebody is to be."""

    role: Literal["user", "operator", "admin"]


class SuspendBody(Body):
    """Why; the person reads it."""

    reason: Annotated[
        str,
        Field(
            min_length=5,
            max_length=300,
            pattern=r"^[^\s\u0000-\u001f\u007f][^\u0000-\u001f\u007f]{3,298}[^\s\u0000-\u001f\u007f]$",
            description="Give the reason in 5 to 300 characters, on one line; the person reads it.",
        ),
        asking(rules.check_suspension_reason),
    ]


class CloseBody(Body):
    """The password, to be sure."""

    password: Secret


class SessionsAnswer(TypedDict):
    """`data` with one's log-ins."""

    sessions: list[SessionJson]


class UsersAnswer(TypedDict):
    """`data` of a page of users."""

    users: list[UserJson]
    pagination: PaginationJson


@api.get("/user/profile", gate=SIGNED_IN, answer=UserAnswer, summary="One's own account")
def get_profile() -> Answer:
    """Who the token belongs to."""
    return Answer({"user": user_json(user())}, "Your account.")


@api.put("/user/profile", gate=SIGNED_IN, body=ProfileBody, answer=UserAnswer, summary="Change one's own account")
def put_profile(body: ProfileBody) -> Answer:
    """What is left out stays; an empty phone removes the number."""
    accounts.change_profile(user(), name=body.name, phone=body.phone, actor=actor(), now=now())
    return Answer({"user": user_json(user())}, "Your account is changed.")


@api.get("/user/sessions", gate=SIGNED_IN, answer=SessionsAnswer, summary="One's own log-ins")
def list_sessions() -> Answer:
    """Those that have not ended, of browsers and programs, newest first. `current` is the one that asks."""
    me = caller()
    rows = log_ins.list_open(me.user.user_id, now())
    return Answer({"sessions": [session_json(row, me.family_id) for row in rows]}, f"{len(rows)} log-ins.")


@api.delete(
    "/user/sessions/<session_id>", gate=SIGNED_IN, answer=Nothing, errors={404: ("SESSION_NOT_FOUND",)},
    summary="End one of one's own log-ins",
)  # fmt: skip
def end_session(session_id: str) -> Answer:
    """Its tokens end with it."""
    tokens.end_log_in(user(), get_session_id(session_id), actor=actor(), now=now())
    return Answer({}, "This log-in has ended.")


@api.post(
    "/user/close", gate=SIGNED_IN, body=CloseBody, answer=Nothing, limits=(limits.TRIES,),
    errors={401: ("INVALID_CREDENTIALS",), 409: ("STAFF_ACCOUNT",)}, summary="Close one's own account",
)  # fmt: skip
def close_own(body: CloseBody) -> Answer:
    """For customers, by the password. The supply ends, the meter comes back; what was billed stays."""
    me = caller()
    recovery.confirm_password(me.user, body.password, me.family_id, now())
    close_own_account(me.user.user_id, pool(), actor=actor(), now=now())
    return Answer({}, "Your account is closed.")


@api.get("/admin/users", gate=ADMIN, query=UsersQuery, answer=UsersAnswer, summary="Users")
def list_users(query: UsersQuery) -> Answer:
    """By part of their e-mail, name or meter, newest first; closed accounts too."""
    page = search.search_users(query.search, query.role, query.limit, query.offset)
    data = {
        "users": [user_json(each) for each in page.users],
        "pagination": pagination_json(page.total, query.limit, query.offset),
    }
    return Answer(data, f"{page.total} users.")


@api.put(
    "/admin/users/<user_id>/role", gate=ADMIN, body=RoleBody, answer=UserAnswer,
    errors={
        403: ("FRESH_LOGIN_REQUIRED",),
        404: ("USER_NOT_FOUND",),
        409: ("OWN_ACCOUNT", "LAST_ADMIN", "USER_HAS_METER"),
    },
    summary="Change a role",
)  # fmt: skip
def put_role(user_id: str, body: RoleBody) -> Answer:
    """Not one's own, and never the last admin's. The caller must have logged in within the last 15 minutes."""
    log_ins.check_fresh(caller().family_id, now())
    changed = staff.change_role(get_user_id(user_id), body.role, actor=actor(), now=now())
    return Answer({"user": user_json(changed)}, f"{changed.email} is {changed.role} now.")


@api.post(
    "/admin/users/<user_id>/suspend", gate=ADMIN, body=SuspendBody, answer=UserAnswer,
    errors={404: ("USER_NOT_FOUND",), 409: ("OWN_ACCOUNT", "LAST_ADMIN", "ALREADY_SUSPENDED")}, summary="Suspend",
)  # fmt: skip
def suspend_user(user_id: str, body: SuspendBody) -> Answer:
    """Every log-in ends; the person reads the reason when they log in. The meter and the supply stay."""
    changed = staff.suspend(get_user_id(user_id), body.reason, actor=actor(), now=now())
    return Answer({"user": user_json(changed)}, f"{changed.email} is suspended.")


@api.delete(
    "/admin/users/<user_id>/suspend", gate=ADMIN, answer=UserAnswer,
    errors={404: ("USER_NOT_FOUND",), 409: ("NOT_SUSPENDED",)}, summary="Lift a suspension",
)  # fmt: skip
def lift_suspension(user_id: str) -> Answer:
    """The person may log in again."""
    changed = staff.lift_suspension(get_user_id(user_id), actor=actor(), now=now())
    return Answer({"user": user_json(changed)}, f"{changed.email} may log in again.")


@api.post(
    "/admin/users/<user_id>/logout", gate=ADMIN, answer=UserAnswer, errors={404: ("USER_NOT_FOUND",)},
    summary="End every log-in of somebody",
)  # fmt: skip
def log_out_user(user_id: str) -> Answer:
    """In programs and browsers."""
    changed = staff.end_sessions(get_user_id(user_id), actor=actor(), now=now())
    return Answer({"user": user_json(changed)}, f"{changed.email} is logged out everywhere.")


@api.delete(
    "/admin/users/<user_id>", gate=ADMIN, answer=UserAnswer,
    errors={404: ("USER_NOT_FOUND",), 409: ("OWN_ACCOUNT", "LAST_ADMIN")}, summary="Close an account",
)  # fmt: skip
def close_user(user_id: str) -> Answer:
    """Its meter comes back and its log-ins end. It is closed, never erased: what was billed stays."""
    closed = close_account(get_user_id(user_id), pool(), actor=actor(), now=now())
    return Answer({"user": user_json(closed)}, f"The account of {closed.email} is closed.")
