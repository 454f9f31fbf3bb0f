"""`flask keys` and `flask users`."""

from __future__ import annotations

from datetime import timedelta

from portal.accounts import actions, queries, tokens
from tests.factories import NOW


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


def test_a_key_for_one_meter_says_so_and_when_it_was_used(app, act):
    code, output = run(app, "keys", "create", "--name", "gateway", "--scope", "ingest", "--meter", "MTR-00000013")
    assert (code, "for MTR-00000013" in output) == (0, True)
    plain = output.split()[-1]
    assert "ingest for MTR-00000013" in run(app, "keys", "list")[1]
    assert "never used" in run(app, "keys", "list")[1]
    with act():
        tokens.note_use(tokens.find_key(plain), NOW)
    assert "last used 2026-11-15 06:30 UTC" in run(app, "keys", "list")[1]
    for later, noted in ((timedelta(minutes=4), NOW), (timedelta(minutes=6), NOW + timedelta(minutes=6))):
        with act():
            tokens.note_use(tokens.find_key(plain), NOW + later)
        with act():
            assert tokens.find_key(plain).last_used_at == noted
    assert run(app, "keys", "create", "--name", "x", "--scope", "ingest", "--meter", "MTR-99999999")[0] == 1


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
