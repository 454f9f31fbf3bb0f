"""Accounts: one's own, and everybody's for admins."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict

from portal.accounts import actions as accounts
from portal.accounts import staff
from portal.api.auth import UserAnswer
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, now, pool, user
from portal.api.fields import Body, Name, Paging, Phone, Text
from portal.api.ids import get_user_id
from portal.api.presenters import PaginationJson, UserJson, pagination_json, user_json
from portal.gates import ADMIN, SIGNED_IN
from portal.meters import search
from portal.registration import close_account

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
    errors={404: ("USER_NOT_FOUND",), 409: ("OWN_ACCOUNT", "LAST_ADMIN", "USER_HAS_METER")}, summary="Change a role",
)  # fmt: skip
def put_role(user_id: str, body: RoleBody) -> Answer:
    """Not one's own, and never the last admin's."""
    changed = staff.change_role(get_user_id(user_id), body.role, actor=actor(), now=now())
    return Answer({"user": user_json(changed)}, f"{changed.email} is {changed.role} now.")


@api.delete(
    "/admin/users/<user_id>", gate=ADMIN, answer=UserAnswer,
    errors={404: ("USER_NOT_FOUND",), 409: ("OWN_ACCOUNT", "LAST_ADMIN")}, summary="Close an account",
)  # fmt: skip
def close_user(user_id: str) -> Answer:
    """Its meter comes back and its log-ins end. It is closed, never erased: what was billed stays."""
    closed = close_account(get_user_id(user_id), pool(), actor=actor(), now=now())
    return Answer({"user": user_json(closed)}, f"The account of {closed.email} is closed.")
