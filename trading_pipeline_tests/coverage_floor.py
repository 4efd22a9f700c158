"""The coverage gate: floors that only rise.

``python -m trading_pipeline_tests.coverage_floor`` combines the data of the
last test run and compares branch coverage with ``coverage_floor.json``. A
floor may be raised, never lowered: the highest value in the file's history
counts, where there is a history.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

FLOORS = Path(__file__).with_name("coverage_floor.json")
ROOM = 1.5


def measured(include: str) -> float:
    """Return the percentage covered of the files that match ``include``."""
    command = [sys.executable, "-m", "coverage", "report", "--format=total", "--precision=2", f"--include={include}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def highest(history: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the highest floor that each group of files ever had."""
    floors: dict[str, float] = {}
    for floor in history:
        for include, value in floor.items():
            floors[include] = max(value, floors.get(include, 0.0))
    return floors


def _history() -> Iterable[Mapping[str, float]]:
    yield json.loads(FLOORS.read_text(encoding="utf-8"))
    log = subprocess.run(["git", "log", "--format=%H", "--", str(FLOORS)], capture_output=True, text=True, check=False)
    for commit in log.stdout.split():
        shown = subprocess.run(
            ["git", "show", f"{commit}:./{FLOORS.name}"], capture_output=True, text=True, check=False, cwd=FLOORS.parent
        )
        if shown.returncode == 0:
            yield json.loads(shown.stdout)


def main() -> int:
    """Print what was measured beside each floor; return 1 where one is not reached."""
    subprocess.run([sys.executable, "-m", "coverage", "combine", "--quiet"], check=False)
    failed = 0
    for include, floor in highest(_history()).items():
        found = measured(include)
        verdict = "ok"
        if found < floor:
            verdict, failed = "TOO LOW: write the missing tests", 1
        elif found > floor + ROOM:
            verdict = f"ok; the floor in {FLOORS.name} may rise to {found - ROOM / 3:.1f}"
        sys.stdout.write(f"coverage {found:6.2f} %  floor {floor:5.1f} %  {include}  {verdict}\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
