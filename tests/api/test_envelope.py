"""What holds for every call: the envelope, malformed bodies, media types, methods, the order of refusals."""

from __future__ import annotations

import json

import pytest

LOGIN = "/auth/login"


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v2/x",
        "/api/v1/nothing",
        "/api/v1/auth/login/",
        "/api/%00",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
def test_an_unknown_path_is_not_found_without_a_token(client, path, method):
    response = client.open(path, method=method)
    assert response.status_code == 404
    assert response.json["error"]["code"] == "NOT_FOUND"
    assert response.headers["X-Request-ID"]


def test_other_unknown_paths_are_a_page(client):
    response = client.get("/apix")
    assert response.status_code == 404
    assert response.mimetype == "text/html"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", LOGIN, {"POST", "OPTIONS"}),
        ("POST", "/admin/meters/unassign/x", {"DELETE", "OPTIONS"}),
        ("DELETE", "/user/profile", {"GET", "HEAD", "PUT", "OPTIONS"}),
        ("TRACE", "/admin/meters/stats", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/admin/jobs/x", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_names_the_right_ones_without_a_token(visitor, method, path, allowed):
    response = visitor.raw(method, path)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == allowed
    if method != "TRACE":
        assert response.json["error"]["code"] == "METHOD_NOT_ALLOWED"


def test_options_and_head(visitor, as_admin):
    response = visitor.raw("OPTIONS", LOGIN)
    assert (response.status_code, response.data) == (204, b"")
    assert "POST" in response.headers["Allow"]
    response = as_admin.raw("HEAD", "/admin/meters/stats")
    assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"email": "a", }',
        b"{} {}",
        b'{"email": NaN}',
        b'{"email": Infinity}',
        b'{"email": -Infinity}',
        b"nul",
        b"'x'",
        b'{"email": "\xff"}',
        b'\xef\xbb\xbf{"email": "a"}',
        '{"email": "a"}'.encode("utf-16"),
        b'{"email": "a\nb"}',
        b"[" * 100_000,
        b'{"a":' * 9_000,
        b'{"email": ' + b"9" * 5_000 + b"}",
        b"\x00",
    ],
)
def test_what_is_not_json_to_its_end_is_malformed(visitor, data):
    response = visitor.raw("POST", LOGIN, data=data, content_type="application/json")
    error = response.json["error"]
    if len(data) > 65_536:
        assert (response.status_code, error["code"]) == (413, "PAYLOAD_TOO_LARGE")
    else:
        assert (response.status_code, error["code"]) == (400, "MALFORMED_JSON")


@pytest.mark.parametrize("value", ["[]", "null", "1", '"x"', "true", "[[[[[[]]]]]]", "1e999"])
def test_what_is_json_but_no_object_is_invalid(visitor, value):
    error = visitor.post(LOGIN, status=422, data=value, content_type="application/json")
    assert error["code"] == "VALIDATION_ERROR"
    assert [each["field"] for each in error["details"]] == ["body"]


@pytest.mark.parametrize("text", ["a\\u0000b", "\\ud800", "\\udfff\\ud800"])
def test_characters_that_no_text_can_hold_are_refused(visitor, text):
    sent = f'{{"name": "Asha {text}", "email": "asha@example.com"}}'
    error = visitor.post("/auth/register", status=422, data=sent, content_type="application/json")
    assert [each["field"] for each in error["details"]] == ["name"]
    sent = f'{{"email": "{text}", "password": "{text}"}}'
    error = visitor.post(LOGIN, status=422, data=sent, content_type="application/json")
    assert sorted(each["field"] for each in error["details"]) == ["email", "password"]
    for key in (f'{{"{text}": 1}}', f'{{"name": {{"{text}": [1]}}}}'):
        visitor.post("/auth/register", status=422, data=key, content_type="application/json")


def test_a_name_in_any_script_is_taken(visitor):
    body = {"name": "आशा कुलकर्णी 👩🏽‍🔧", "email": "asha@example.com"}
    answer = visitor.post("/auth/register", body, 201)
    assert answer["data"]["user"]["name"] == body["name"]


def test_a_field_named_twice_counts_once(visitor):
    sent = '{"email": "x", "email": "a@example.com", "password": "p"}'
    visitor.post(LOGIN, status=401, data=sent, content_type="application/json")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "x"]
)
def test_another_media_type_is_refused(visitor, kind):
    error = visitor.post(LOGIN, status=415, data=b"{}", content_type=kind)
    assert error["code"] == "UNSUPPORTED_MEDIA_TYPE"


def test_json_with_a_charset_is_json(visitor):
    visitor.post(LOGIN, status=422, data=b"{}", content_type="application/json; charset=utf-8")
    visitor.post(LOGIN, status=422, data=b"{}", content_type="Application/JSON")


def test_an_empty_post_without_a_type_is_an_empty_body(visitor):
    error = visitor.post(LOGIN, status=422)
    assert sorted(each["field"] for each in error["details"]) == ["email", "password"]


def test_a_body_that_is_too_large_is_refused(visitor):
    data = json.dumps({"email": "a" * 70_000, "password": "x"})
    assert visitor.post(LOGIN, status=413, data=data, content_type="application/json")["code"] == "PAYLOAD_TOO_LARGE"


def test_an_unknown_field_is_refused_with_the_nearest_name(visitor):
    error = visitor.post(LOGIN, {"email": "a", "pasword": "x"}, 422)
    messages = {each["field"]: each["message"] for each in error["details"]}
    assert "`password`" in messages["pasword"]
    assert set(messages) == {"password", "pasword"}


WHOLE = ("0", "101", "x", "1.0", "%00", "", "1&limit=2", "1_0", "1e1", "%D9%A1", "-1", " 5", "9" * 30)


@pytest.mark.parametrize(
    "query", [*(f"limit={text}" for text in WHOLE), "offset=-1", "offset=9999999999", "status=lost"]
)
def test_a_wrong_parameter_is_named(as_admin, query):
    error = as_admin.get(f"/admin/meters?{query}", 422)
    assert [each["field"] for each in error["details"]] == [query.partition("=")[0]]


def test_what_was_sent_is_not_repeated_and_no_internals_are_shown(visitor):
    response = visitor.raw("POST", LOGIN, {"email": 5, "password": ["s3cret"]})
    assert b"s3cret" not in response.data
    assert b"pydantic" not in response.data


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRtaW46YWRtaW4=",
        "bearer",
        "Token x",
        "Bearer x y",
        "Bearer é",
        "x" * 9000,
    ],
)
def test_401_comes_before_any_look_at_path_query_and_body(visitor, header):
    headers = {} if header is None else {"Authorization": header}
    for method, path, more in (
        ("DELETE", "/admin/meters/unassign/not-an-id", {}),
        ("GET", "/admin/meters?limit=x", {}),
        ("POST", "/admin/meters/assign", {"data": b"{", "content_type": "application/json"}),
        ("POST", "/admin/meters/assign", {"data": b"x", "content_type": "text/plain"}),
        ("POST", "/admin/meters/assign", {"data": b"x" * 100_000, "content_type": "application/json"}),
    ):
        response = visitor.raw(method, path, headers=headers, **more)
        assert (response.status_code, response.json["error"]["code"]) == (401, "UNAUTHORIZED")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_403_comes_before_them_too(as_customer, as_operator):
    for program in (as_customer, as_operator):
        assert program.delete("/admin/meters/unassign/not-an-id", 403)["code"] == "FORBIDDEN"
        program.get("/admin/meters?limit=x", 403)
        program.post("/admin/meters/assign", status=403, data=b"{", content_type="application/json")
        program.post("/admin/meters/assign", status=403, data=b"x", content_type="text/plain")


def test_the_scheme_is_read_in_any_case(as_admin):
    as_admin.get("/admin/meters/stats", headers={"Authorization": f"bEARER {as_admin.token}"})


def test_the_api_ignores_the_session_cookie(client, visitor, act):
    from tests.factories import PASSWORD, make_user

    with act():
        make_user(email="admin@example.com", role="admin")
    page = client.get("/login").get_data(as_text=True)
    token = page.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
    sent = {"email": "admin@example.com", "password": PASSWORD, "csrf_token": token}
    assert client.post("/login", data=sent).status_code == 303
    assert client.get("/admin").status_code in (200, 301, 302, 303, 308)
    visitor.get("/admin/meters/stats", 401)


def test_the_request_id_of_the_caller_is_kept_if_it_is_plain(visitor):
    assert visitor.raw("GET", "/x", headers={"X-Request-ID": "abc-123"}).headers["X-Request-ID"] == "abc-123"
    assert visitor.raw("GET", "/x", headers={"X-Request-ID": "a b;c"}).headers["X-Request-ID"] != "a b;c"


def test_a_fault_shows_no_internals(visitor, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("portal.api.auth.accounts.check_credentials", fails)
    response = visitor.raw("POST", LOGIN, {"email": "a", "password": "b"})
    assert (response.status_code, response.json["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert b"secret" not in response.data


def test_a_database_that_is_away_is_said_so(app, visitor, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def fails(*args, **kwargs):
        raise OperationalError("SELECT 1", {}, Exception("connection refused at 10.0.0.7"))

    monkeypatch.setattr("portal.api.auth.accounts.check_credentials", fails)
    response = visitor.raw("POST", LOGIN, {"email": "a", "password": "b"})
    assert (response.status_code, response.json["error"]["code"]) == (503, "UNAVAILABLE")
    assert b"10.0.0.7" not in response.data


def test_an_act_that_lost_a_race_is_done_again_once(visitor, monkeypatch):
    from sqlalchemy.exc import IntegrityError

    from portal.api import auth

    whole, calls = auth.register_customer, []

    def loses_once(*args, **kwargs):
        calls.append(1)
        registered = whole(*args, **kwargs)
        if len(calls) == 1:
            raise IntegrityError("INSERT", {}, Exception("uq_somewhere"))
        return registered

    monkeypatch.setattr(auth, "register_customer", loses_once)
    visitor.post("/auth/register", {"name": "Asha", "email": "asha@example.com"}, 201)
    assert len(calls) == 2

    def loses_always(*args, **kwargs):
        raise IntegrityError("INSERT", {}, Exception("uq_somewhere"))

    monkeypatch.setattr(auth, "register_customer", loses_always)
    error = visitor.post("/auth/register", {"name": "Ravi", "email": "ravi@example.com"}, 409)
    assert error["code"] == "CONFLICT"
    assert "uq_" not in error["message"]


def test_a_get_writes_nothing(app, as_admin, act, monkeypatch):
    """Even a view that forgot itself: a GET is never committed."""
    from sqlalchemy import text

    from portal.api import meters
    from portal.db import session as own

    def writes(pool):
        own.execute(text("INSERT INTO regions (name) VALUES ('Atlantis')"))
        return original(pool)

    original = meters.stats.stats
    monkeypatch.setattr(meters.stats, "stats", writes)
    as_admin.get("/admin/meters/stats")
    with act() as session:
        assert session.scalar(text("SELECT count(*) FROM regions WHERE name = 'Atlantis'")) == 0
