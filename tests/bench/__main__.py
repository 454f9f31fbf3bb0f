"""`make bench`: one table.

BENCH_SIZES are the numbers of assigned meters ("10000,1000000"; add 10000000 for the largest), BENCH_BULK how many wait
for the bulk run (1,000,000), BENCH_ONLY the parts to measure ("assignment,readings").
"""

from __future__ import annotations

import os
import sys

from tests.bench import assignment, readings
from tests.bench.harness import machine, row

ALL_SIZES = (10_000, 1_000_000, 10_000_000)


def main() -> None:
    sizes = sorted(int(size) for size in os.environ.get("BENCH_SIZES", "10000,1000000").split(","))
    parts = os.environ.get("BENCH_ONLY", "assignment,readings").split(",")
    if unknown := set(parts) - {"assignment", "readings"}:
        sys.exit(f"BENCH_ONLY: {', '.join(sorted(unknown))} is no part; the parts are assignment and readings.")
    print(f"{machine()}\n\n| work | ours | baseline | ratio | reach |\n|---|---|---|---|---|")
    if "assignment" in parts:
        assignment.measure(sizes)
        for size in set(ALL_SIZES) - set(sizes):
            row(f"everything at {size:,} assigned meters", "not run", "–", "–", "BENCH_SIZES chooses")
    if "readings" in parts:
        readings.measure()


if __name__ == "__main__":
    main()
