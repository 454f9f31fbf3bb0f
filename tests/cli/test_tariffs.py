"""`flask tariffs`: what a program that prices bills reads."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_price_says_what_is_no_list_of_cases(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "cases.json"
    for content in ("{", "{}"):
        file.write_text(content)
        result = app.test_cli_runner().invoke(args=["tariffs", "price", "--cases", str(file)])
        assert result.exit_code == 1
        assert "JSON" in result.output


def test_load_and_list(app: Flask) -> None:
    runner = app.test_cli_runner()

    assert "0 versions added" in runner.invoke(args=["tariffs", "load"]).output
    assert "(ILLUSTRATIVE)" in runner.invoke(args=["tariffs", "list"]).output
