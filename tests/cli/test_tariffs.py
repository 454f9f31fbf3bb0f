"""`flask tariffs`: what a program that prices bills reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

CASES = Path(__file__).parent.parent / "tariffs" / "bill_cases.json"


def test_price_prints_one_answer_a_case_and_nothing_else(app: Flask) -> None:
    result = app.test_cli_runner().invoke(args=["tariffs", "price", "--cases", str(CASES)])

    answers = json.loads(result.stdout)
    cases = json.loads(CASES.read_text())
    assert result.exit_code == 0
    assert [answer["id"] for answer in answers] == [case["id"] for case in cases]
    totals = {answer["id"]: answer.get("total") for answer in answers}
    assert totals["B_MSEDCL_350_31D"] == "4818.30"
    assert totals["P13_MSEDCL_31DAYS_SLABS"] is None


def test_price_answers_odd_entries_one_by_one(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "cases.json"
    file.write_text('[1, {"id": "a"}, {"id": "b", "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": {"kwh": NaN}}]')

    result = app.test_cli_runner().invoke(args=["tariffs", "price", "--cases", str(file)])

    assert result.exit_code == 0
    assert [set(answer) for answer in json.loads(result.stdout)] == [{"id", "error"}] * 3


@pytest.mark.parametrize(
    ("tariff", "inputs"),
    [
        ("MSEDCL_LT1B_FY2026_27", None),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": -1}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": "12abc"}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": [1]}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": "1e400"}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": 10, "days": 0}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": 10, "days": 30.5}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": 10, "days": True}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": 10, "phase": "1.5"}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": 10, "fac": {}}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": 1000, "fac": [1, 2]}),
        ("MSEDCL_LT1B_FY2026_27", {"kwh": 100, "solar_hours_kwh": 200}),
        ("AEML_LT1B_FY2026_27", {"mf": "1e11", "reading_prev": 0, "reading_curr": "1e11"}),
        (
            "DELHI_DOM_2021",
            {"kwh": 10, "period_from": "2026-02-01", "period_to": "2026-01-01", "sanctioned_load_kw": 1},
        ),
        (
            "DELHI_DOM_2021",
            {"kwh": 10, "period_from": "9999-12-31", "period_to": "9999-12-31", "sanctioned_load_kw": 1},
        ),
        ("DELHI_DOM_2021", {"kwh": 10, "period_from": {"a": 1}, "period_to": 3, "sanctioned_load_kw": 1}),
        ("TG_LT1_FY2024_27", {"kwh": 10, "days": 30}),
        ("TG_LT1_FY2024_27", {"kwh": 10, "days": 30, "month_days": 0.5, "sanctioned_load_kw": 1}),
        ("NOT_LOADED", {"kwh": 10}),
    ],
)
def test_a_case_that_cannot_be_priced_costs_only_itself(
    app: Flask, tmp_path: Path, tariff: str, inputs: dict[str, Any] | None
) -> None:
    good = {"id": "good", "tariff": "MSEDCL_LT1B_FY2026_27", "inputs": {"kwh": 10, "unknown word": [None]}}
    file = tmp_path / "cases.json"
    file.write_text(json.dumps([good, {"id": 2.50, "tariff": tariff, "inputs": inputs}, good]))

    result = app.test_cli_runner().invoke(args=["tariffs", "price", "--cases", str(file)])

    before, refused, after = json.loads(result.stdout)
    assert (result.exit_code, set(refused), refused["id"]) == (0, {"id", "error"}, 2.5)
    assert before == after
    assert before["total"] == "219.36"


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"null", b"[1.5", b"\xff\xfe[", b"[" * 100_000])
def test_a_file_that_cannot_be_read_is_one_line_and_exit_code_2(app: Flask, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cases.json"
    file.write_bytes(content)

    result = app.test_cli_runner().invoke(args=["tariffs", "price", "--cases", str(file)])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_one_line_and_exit_code_2(app: Flask, tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        result = app.test_cli_runner().invoke(args=["tariffs", "price", "--cases", str(path)])
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_load_and_list(app: Flask) -> None:
    runner = app.test_cli_runner()

    assert "0 versions added" in runner.invoke(args=["tariffs", "load"]).output
    assert "(ILLUSTRATIVE)" in runner.invoke(args=["tariffs", "list"]).output
