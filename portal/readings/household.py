"""The electricity of invented households, for demonstrations and tests: plausible days, the same for the same seed.

Power is constant over half an hour and follows from seed, meter and time alone; so an interval has the same energy
whenever and however often it is worked out, and a day is the sum of its parts.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from portal.money import round_energy

_HALF_HOUR = timedelta(minutes=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Mean watts of an Indian home by local hour: asleep, morning kitchen and geyser, quiet day, evening lights and cooling.
_WATTS = (
    *(160, 150, 145, 140, 150, 220, 420, 520, 430, 300, 260, 250),
    *(270, 280, 260, 250, 270, 330, 470, 580, 600, 520, 380, 230),
)
_EVENING = range(18, 24)
# Cooling by month, per cent on top of afternoon, evening and night: April to June are hot, the monsoon is not.
_COOLING = (0, 0, 25, 60, 80, 55, 25, 20, 20, 20, 5, 0)


def _chance(*parts: object) -> int:
    """A number from 0 to 999 that is the same for the same parts."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % 1000


@lru_cache(maxsize=4_096)
def _home(seed: int, meter_key: int) -> tuple[int, int, bool]:
    """Size in per cent of the mean home, hours that its day is shifted, and whether it cools."""
    size = 45 + _chance(seed, meter_key, "size") * 130 // 1000
    return size, _chance(seed, meter_key, "habit") % 3 - 1, _chance(seed, meter_key, "cooling") < 450


@lru_cache(maxsize=65_536)
def power_watts(seed: int, meter_key: int, half_hour: datetime, zone: ZoneInfo) -> int:
    """Mean power (W) of a home in the half hour that begins at this instant."""
    local = half_hour.astimezone(zone)
    size, shift, cools = _home(seed, meter_key)
    watts = _WATTS[(local.hour - shift) % 24] * size
    if cools and (local.hour >= 13 or local.hour < 6):
        watts += _WATTS[20] * _COOLING[local.month - 1] * size // 100
    if local.weekday() >= 5 and 9 <= local.hour < 17:
        watts = watts * 125 // 100
    day = _chance(seed, meter_key, local.date(), "day")
    if day < 15:
        # Nobody is at home: the refrigerator goes on.
        return 90 * size // 100
    spread = 60 + _chance(seed, meter_key, half_hour, "now") * 80 // 1000
    watts = watts * spread // 100 * (85 + day * 30 // 1000) // 100
    if _chance(seed, meter_key, half_hour, "kettle") < (60 if local.hour in _EVENING or 6 <= local.hour < 9 else 12):
        watts += 1_200 * 100
    return watts // 100


def energy_kwh(seed: int, meter_key: int, start: datetime, seconds: int, zone: ZoneInfo) -> Decimal:
    """Energy (kWh, six decimals) of a home in the interval of `seconds` from `start` (UTC)."""
    joules = Decimal(0)
    end = start + timedelta(seconds=seconds)
    while start < end:
        half_hour = start - (start - _EPOCH) % _HALF_HOUR
        until = min(end, half_hour + _HALF_HOUR)
        joules += power_watts(seed, meter_key, half_hour, zone) * Decimal((until - start).total_seconds())
        start = until
    return round_energy(joules / 3_600_000)
