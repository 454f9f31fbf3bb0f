"""A person's own account."""

from __future__ import annotations

from portal.accounts import actions as accounts
from portal.api.auth import UserAnswer
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, now, user
from portal.api.fields import Body, Name, Phone
from portal.api.presenters import user_json
from portal.gates import SIGNED_IN

api = ApiBlueprint("users", tag="Accounts")


class ProfileBody(Body):
    """What a person may change of their account. Region, role and meter are not theirs to change."""

    name: Name | None = None
    phone: Phone | None = None


@api.get("/user/profile", gate=SIGNED_IN, answer=UserAnswer, summary="One's own account")
def get_profile() -> Answer:
    """Who the token belongs to."""
    return Answer({"user": user_json(user())}, "Your account.")


@api.put("/user/profile", gate=SIGNED_IN, body=ProfileBody, answer=UserAnswer, summary="Change one's own account")
def put_profile(body: ProfileBody) -> Answer:
    """What is left out stays; an empty phone removes the number."""
    accounts.change_profile(user(), name=body.name, phone=body.phone, actor=actor(), now=now())
    return Answer({"user": user_json(user())}, "Your account is changed.")
