"""`flask keys` and `flask users`."""

from __future__ import annotations

from portal.accounts import actions, queries, tokens


def run(app, *words):
    result = app.test_cli_runner().invoke(args=list(words))
    return result.exit_code, result.output


def test_the_key_stands_alone_on_the_last_line(app, act):
    code, output = run(app, "keys", "create", "--name", "head-end", "--scope", "ingest")
    assert code == 0
    plain = output.rstrip("\n").splitlines()[-1]
    with act():
        assert tokens.find_key(plain).name == "head-end"
    _, listed = run(app, "keys", "list")
    assert "head-end" in listed
    assert plain not in listed


def test_a_revoked_key_opens_nothing(app, act):
    _, output = run(app, "keys", "create", "--name", "head-end", "--scope", "ingest")
    plain = output.split()[-1]
    assert run(app, "keys", "revoke", "1")[0] == 0
    with act():
        assert tokens.find_key(plain) is None
    code, output = run(app, "keys", "revoke", "99")
    assert code == 1
    assert "no key number 99" in output


def test_create_admin(app, act):
    code, output = run(app, "users", "create-admin", "boss@example.com", "--password", "four unrelated words")
    assert (code, output.strip()) == (0, "admin boss@example.com can log in now.")
    with act():
        assert queries.find_user_by_email("boss@example.com").role == "admin"
        assert actions.check_credentials("boss@example.com", "four unrelated words")
    code, output = run(app, "users", "create-admin", "BOSS@example.com", "--password", "four unrelated words")
    assert code == 1
    assert "already" in output
    code, output = run(app, "users", "create-admin", "other@example.com", "--password", "short")
    assert code == 1
    assert "12 to 128" in output
