"""What every template can use: filters for numbers and words, addresses of our own files, the name of the utility."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, g, url_for
from flask_babel import get_locale

from portal.billing import corrections
from portal.meters import stats
from portal.periods import local_date
from portal.readings import quarantine
from portal.web import formats, words
from portal.web.charts import share
from portal.web.session import home_of, zone
from portal.web.staff import waits

# Rows of a long result on one page; the file has them all.
SHOWN = 200


def set_up(app: Flask) -> None:
    """Register filters and globals."""
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        money=formats.money,
        rupees=formats.rupees,
        big_money=formats.big_money,
        kwh=formats.kwh,
        count=formats.number,
        percent=formats.percent,
        day=formats.day,
        short_day=formats.short_day,
        role_word=words.ROLE.__getitem__,
        plain=lambda value: format(value.normalize(), "f"),
        local_day=lambda instant: formats.day(local_date(instant, zone())),
    )
    app.jinja_env.globals.update(
        waits=waits,
        ago=formats.ago,
        share=share,
        shown=SHOWN,
        brand=app.config["PORTAL"].utility_name,
        asset=_asset_of(Path(app.static_folder or "")),
        home_of=home_of,
        get_locale=get_locale,
    )
    app.context_processor(_of_this_request)


def _asset_of(folder: Path) -> Any:
    @lru_cache(maxsize=64)
    def sum_of(name: str) -> str:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]

    def asset(name: str) -> str:
        """The address of one of our files, with the sum of its content, so that browsers may keep it for good."""
        return url_for("static", filename=name, v=sum_of(name))

    return asset


def _of_this_request() -> dict[str, Any]:
    return {
        "zone_words": formats.zone_words(zone()),
        "waiting_count": _waiting_count,
        "held_count": _held_count,
        "correction_count": corrections.count_open,
        "request_id": g.get("request_id", ""),
    }


def _held_count() -> int:
    """How many readings are held: the side bar of staff, which shows it twice."""
    if "held_count" not in g:
        g.held_count = quarantine.count_held()
    return int(g.held_count)


def _waiting_count() -> int:
    """How many customers wait for a meter: the side bar of staff."""
    return stats.count_waiting()
