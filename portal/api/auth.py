"""Accounts and log-ins for programs: register, prove an address, log in, refresh, passwords, log out."""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from portal import audit, limits
from portal.accounts import actions as accounts
from portal.accounts import codes, recovery, tokens
from portal.accounts.tokens import TokenPair
from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import actor, actor_called, address, caller, config, device, now, pool
from portal.api.fields import Body, Email, Name, NewPassword, Otp, Phone, RegionName, Secret, Text
from portal.api.presenters import PendingMeterJson, TokensJson, UserJson, pending_meter_json, tokens_json, user_json
from portal.errors import PortalError, Unauthorized
from portal.gates import PUBLIC, SIGNED_IN
from portal.registration import register as register_customer

api = ApiBlueprint("auth", tag="Accounts")


class Nothing(TypedDict):
    """`data` of a call that only says that it is done."""


class UserAnswer(TypedDict):
    """`data` with one user."""

    user: UserJson


class RegisteredAnswer(UserAnswer):
    """`data` of a registration. `meter_assignment` only while no meter could be had."""

    meter_assignment: NotRequired[PendingMeterJson]


class LoggedInAnswer(UserAnswer):
    """`data` of a log-in."""

    tokens: TokensJson


class TokensAnswer(TypedDict):
    """`data` of a refresh."""

    tokens: TokensJson


class VerifiedAnswer(TypedDict):
    """`data` of a proven address."""

    set_password_token: NotRequired[str]


class RegisterBody(Body):
    """A new customer."""

    name: Name
    email: Email
    phone: Phone | None = None
    region: RegionName | None = None
    password: NewPassword | None = None


class CodeBody(Body):
    """An address and the code that was mailed to it."""

    email: Email
    otp: Otp


class ResendBody(Body):
    """Where to send a code, and what for."""

    email: Email
    purpose: Literal["verify", "reset"] = "verify"


class AddressBody(Body):
    """An address."""

    email: Email


class SetPasswordBody(Body):
    """The token that a proven address earned, and the first password."""

    set_password_token: Secret
    password: NewPassword
    confirm_password: Secret = Field(alias="confirmPassword")


class ResetBody(Body):
    """The code of a mail, and a new password."""

    email: Email
    otp: Otp
    new_password: NewPassword = Field(alias="newPassword")
    confirm_password: Secret = Field(alias="confirmPassword")


class ChangeBody(Body):
    """The present password and a new one."""

    current_password: Secret = Field(alias="currentPassword")
    new_password: NewPassword = Field(alias="newPassword")
    confirm_password: Secret | None = Field(default=None, alias="confirmPassword")


class LoginBody(Body):
    """Who logs in."""

    email: Text = Field(max_length=254)
    password: Secret


class RefreshBody(Body):
    """The refresh token of the last answer."""

    refresh_token: Secret = Field(alias="refreshToken")


class LogoutBody(Body):
    """Nothing is needed. A refresh token that comes along is ended too."""

    refresh_token: Secret | None = Field(default=None, alias="refreshToken")


@api.post(
    "/auth/register", gate=PUBLIC, body=RegisterBody, answer=RegisteredAnswer, status=201,
    errors={409: ("EMAIL_TAKEN",)}, limits=(limits.REGISTER,), summary="Register a customer",
)  # fmt: skip
def register(body: RegisterBody) -> Answer:
    """The account and its meter in one act. Without a password a code goes out by e-mail."""
    registered = register_customer(
        body.name, body.email, body.phone, body.region, body.password, pool(),
        actor=actor_called(body.email), now=now(),
    )  # fmt: skip
    if body.password is None:
        recovery.send_code_to(registered.user, codes.VERIFY, secret=config().secret_key, now=now())
    data: RegisteredAnswer = {"user": user_json(registered.user)}
    if registered.refusal is None:
        return Answer(data, f"Welcome. Your meter is {registered.user.meter_id}.")
    data["meter_assignment"] = pending_meter_json(registered.refusal)
    return Answer(data, "Welcome. Your meter will be assigned soon.")


@api.post(
    "/auth/verify-email", gate=PUBLIC, body=CodeBody, answer=VerifiedAnswer, errors={401: ("INVALID_CODE",)},
    limits=(limits.TRIES,), summary="Prove an address",
)  # fmt: skip
def verify_email(body: CodeBody) -> Answer | PortalError:
    """Gives a token for the first password while the account has none; it is good once, for 15 minutes."""
    limits.TRIES_ACCOUNT.spend(body.email)
    verified = recovery.verify_email(body.email, body.otp, secret=config().secret_key, now=now(), address=address())
    if verified is None:
        return recovery.wrong_code()
    if verified.set_password_token is None:
        return Answer({}, "Your address is confirmed.")
    return Answer({"set_password_token": verified.set_password_token}, "Your address is confirmed. Set a password.")


@api.post(
    "/auth/resend-otp", gate=PUBLIC, body=ResendBody, answer=Nothing, limits=(limits.CODES,), summary="Ask for a code"
)
def resend_otp(body: ResendBody) -> Answer:
    """The same answer whether or not the address is known."""
    return _send_code(body.email, body.purpose)


@api.post(
    "/auth/forgot-password", gate=PUBLIC, body=AddressBody, answer=Nothing, limits=(limits.CODES,),
    summary="Ask for a code to reset a password",
)  # fmt: skip
def forgot_password(body: AddressBody) -> Answer:
    """The same answer whether or not the address is known."""
    return _send_code(body.email, codes.RESET)


def _send_code(email: str, purpose: str) -> Answer:
    limits.CODES_ACCOUNT.spend(email)
    recovery.send_code(email, purpose, secret=config().secret_key, now=now())
    return Answer({}, "If an account has this address, a code is on its way to it. It is good for 15 minutes.")


@api.post(
    "/auth/set-password", gate=PUBLIC, body=SetPasswordBody, answer=Nothing, limits=(limits.TRIES,),
    errors={401: ("INVALID_TOKEN",), 409: ("PASSWORD_ALREADY_SET",)}, summary="Set the first password",
)  # fmt: skip
def set_password(body: SetPasswordBody) -> Answer:
    """With the token that a proven address earned."""
    recovery.set_first_password(
        body.set_password_token,
        body.password,
        body.confirm_password,
        secret=config().secret_key,
        now=now(),
        address=address(),
    )
    return Answer({}, "Your password is set. You can log in.")


@api.post(
    "/auth/reset-password", gate=PUBLIC, body=ResetBody, answer=Nothing, errors={401: ("INVALID_CODE",)},
    limits=(limits.TRIES,), summary="Reset a password",
)  # fmt: skip
def reset_password(body: ResetBody) -> Answer | PortalError:
    """With the code of a mail. Every log-in of the account ends."""
    limits.TRIES_ACCOUNT.spend(body.email)
    user = recovery.reset_password(
        body.email, body.otp, body.new_password, body.confirm_password, secret=config().secret_key, now=now(),
        address=address(),
    )  # fmt: skip
    return recovery.wrong_code() if user is None else Answer({}, "Your password is changed. Log in with it.")


@api.post(
    "/auth/login", gate=PUBLIC, body=LoginBody, answer=LoggedInAnswer, limits=(limits.LOGIN,),
    errors={401: ("INVALID_CREDENTIALS",), 403: ("ACCOUNT_SUSPENDED",)}, summary="Log in",
)  # fmt: skip
def login(body: LoginBody) -> Answer:
    """An access token for an hour and a refresh token for thirty days."""
    limits.LOGIN_ACCOUNT.spend(body.email)
    user = accounts.check_credentials(body.email, body.password)
    if user is None:
        raise Unauthorized("The e-mail address or the password is not right.", "INVALID_CREDENTIALS")
    limits.LOGIN.give_back()
    limits.LOGIN_ACCOUNT.give_back(body.email)
    if user.suspended_at is not None:
        raise tokens.suspended(user)
    pair = tokens.issue_tokens(user, now(), access_seconds=config().access_token_seconds, device=device())
    return Answer({"user": user_json(user), "tokens": tokens_json(pair)}, "You are logged in.")


@api.post(
    "/auth/refresh-token", gate=PUBLIC, body=RefreshBody, answer=TokensAnswer, limits=(limits.REFRESH,),
    errors={401: ("UNAUTHORIZED", "TOKEN_EXPIRED", "TOKEN_REVOKED")}, summary="Get a new pair of tokens",
)  # fmt: skip
def refresh_token(body: RefreshBody) -> Answer | PortalError:
    """The old pair ends. A dead refresh token that comes again ends the whole log-in."""
    pair: TokenPair | None = tokens.rotate(body.refresh_token, now(), access_seconds=config().access_token_seconds)
    if pair is None:
        return Unauthorized("This refresh token was used before; its log-in has ended. Log in again.", "TOKEN_REVOKED")
    return Answer({"tokens": tokens_json(pair)}, "Here is a new pair of tokens.")


@api.put(
    "/auth/change-password", gate=SIGNED_IN, body=ChangeBody, answer=Nothing, limits=(limits.TRIES,),
    errors={401: ("INVALID_CREDENTIALS",)}, summary="Change one's password",
)  # fmt: skip
def change_password(body: ChangeBody) -> Answer:
    """Every other log-in of the account ends."""
    me = caller()
    recovery.change_password(
        me.user, body.current_password, body.new_password, body.confirm_password, keep=me.family_id, now=now(),
        address=address(),
    )  # fmt: skip
    return Answer({}, "Your password is changed.")


@api.post(
    "/auth/logout", gate=SIGNED_IN, body=LogoutBody, body_optional=True, answer=Nothing, summary="End this log-in"
)
def logout(body: LogoutBody) -> Answer:
    """The access token and its refresh token end."""
    me = caller()
    tokens.revoke_family(me.family_id, now())
    if body.refresh_token is not None:
        tokens.revoke_refresh(me.user, body.refresh_token, now())
    return Answer({}, "You are logged out.")


@api.post(
    "/auth/logout-all", gate=SIGNED_IN, body=LogoutBody, body_optional=True, answer=Nothing, summary="End every log-in"
)
def logout_all(body: LogoutBody) -> Answer:
    """In programs and browsers."""
    tokens.revoke_all(caller().user, now())
    audit.record("user.sessions_ended", actor(), now(), "user", caller().user.user_id)
    return Answer({}, "You are logged out everywhere.")
