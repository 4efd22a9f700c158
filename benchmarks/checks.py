"""What it costs to keep the promises of the tables, beside the decision that they guard.

Claim: judging contracts and singular tests, with the verification in the code
of the assets and without reading tables, takes at most 20 % of the CPU time of
the job ``decide``. Printed apart are what the check steps read, and Dagster's
bookkeeping: what the job takes more than one without any check, less the
judging and the reading. Beside it the same job with one step for each check
instead of one for each asset: related tests share a step because of that figure.

Run it: ``python benchmarks/checks.py [--rounds 3] [--sessions 3]``.
Sides run in turn, each in new processes on a new folder. Equal results are
asserted: the same verdicts, and the same plans of all sides. The first session of each
side is not counted: it imports, which is printed, and warms caches.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

THROUGH = date(2026, 7, 31)
CLAIMED = 0.20
SHARED, SINGLE, NONE = "one step an asset", "one step a check", "no checks"
SIDES = (SHARED, SINGLE, NONE)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Meter:
    """CPU seconds of this process by what they were spent on; what is nested counts once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running = False

    def around(self, what, body, when=lambda *_: True):
        """Return ``body`` with its time counted as ``what``, where ``when`` says so of its arguments."""

        def counted(*arguments, **named):
            if self._running or not when(*arguments):
                return body(*arguments, **named)
            self._running, begun = True, time.process_time()
            try:
                return body(*arguments, **named)
            finally:
                self._running = False
                self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - begun

        return counted


def metered() -> Meter:
    """Count what the graph spends on judging, and on reading for it, from now on."""
    from dbt_like_checks import dagster_checks, sql_tables, verification
    from trading_pipeline.defs.io_manager import DeltaIOManager

    meter = Meter()
    for module, name in (
        (dagster_checks, "evaluate"),
        (verification, "verify"),
        (sql_tables, "evaluate_singular"),
        (sql_tables, "verify_singular"),
    ):
        setattr(module, name, meter.around("judging", getattr(module, name)))
    DeltaIOManager.load_input = meter.around("reading", DeltaIOManager.load_input, _is_for_checks)
    return meter


def _is_for_checks(_manager, context) -> bool:
    return "_contract" in context.step_context.step.key


@contextmanager
def _deciding(home: Path, first: date):
    from trading_pipeline.cli.console import Progress
    from trading_pipeline.cli.days import decision_time
    from trading_pipeline.cli.workshop import chosen, held, simulator

    choice = chosen(None, home, None)
    with Progress() as progress, held(choice.home, progress), simulator(choice, decision_time(first)) as control:
        yield choice, control


def side(kind: str, home: Path, count: int) -> dict:
    """Decide one session that is not counted and ``count`` that are; return seconds of CPU and what was recorded."""
    import dagster as dg

    imports = _imports()
    from trading_pipeline.cli.days import decision_time, execution_sessions
    from trading_pipeline.definitions import wired
    from trading_pipeline.defs.io_manager import DeltaIOManager
    from trading_pipeline.defs.resources import TradingWorld

    days = execution_sessions(THROUGH, count + 1)
    with _deciding(home, days[0]) as (choice, control):
        world = TradingWorld(choice.settings, choice.home)
        whole = wired(choice.settings, world=dg.ResourceDefinition.hardcoded_resource(world))
        checks = _checks(kind, list(world.strategies))
        graph = dg.Definitions(
            assets=whole.assets,
            asset_checks=checks,
            jobs=whole.jobs,
            resources={**whole.resources, "tables": DeltaIOManager(world.tables)},
        )
        instance = dg.DagsterInstance.from_config(str(choice.home.dagster))
        meter, spent, verdicts, steps = metered(), 0.0, [], 0
        for day in days:
            control.set_clock(decision_time(day))
            begun = time.process_time()
            result = graph.resolve_job_def("decide").execute_in_process(
                instance=instance, partition_key=str(day), run_config=QUIET
            )
            assert result.success
            if day == days[0]:
                meter.seconds.clear()
                continue
            spent += time.process_time() - begun
            found = result.get_asset_check_evaluations()
            verdicts += sorted((str(day), str(each.asset_check_key), each.passed) for each in found)
            steps += sum(event.event_type_value == "STEP_SUCCESS" for event in result.all_events)
        plans = {str(day): _orders(world, day) for day in days}
    return {
        "decide": spent / count,
        **{what: seconds / count for what, seconds in meter.seconds.items()},
        "imports": imports,
        "steps": steps / count,
        "verdicts": verdicts,
        "plans": plans,
    }


def _imports() -> float:
    import pandas  # noqa: F401

    begun = time.process_time()
    import duckdb  # noqa: F401
    import pandera.pandas  # noqa: F401

    return time.process_time() - begun


def _orders(world, day: date) -> list:
    rows = world.tables.read("approved_orders", day, day)
    return [list(map(str, row)) for row in rows[["symbol", "side", "approved_quantity"]].to_numpy().tolist()]


def _checks(kind: str, strategies: list[str]) -> list:
    from trading_pipeline.defs.checks import contract_checks

    if kind == NONE:
        return []
    shared = contract_checks(tuple(strategies))
    return list(shared) if kind == SHARED else [alone for each in shared for alone in one_by_one(each)]


def one_by_one(shared) -> list:
    """Return the checks of one asset, each as a step of its own that reads what that one promise needs."""
    from trading_pipeline.defs.checks import contract_of, singular_of

    [asset] = {spec.asset_key.path[-1] for spec in shared.check_specs}
    specs = {spec.name: spec for spec in shared.check_specs}
    of = contract_of(asset)
    promises = [(replace(of, promises=(each,)), (), specs[each.name]) for each in of.promises]
    singular = [(replace(of, promises=()), (each,), specs[each.name]) for each in singular_of(asset)]
    keys = {name: key for name, key in shared.keys_by_input_name.items() if name != "frame"}
    return [_alone(contract, tests, spec, keys) for contract, tests, spec in (*promises, *singular)]


def _alone(contract, tests, spec, keys):
    import dagster as dg
    import pandas as pd

    from dbt_like_checks import dagster_checks, sql_tables

    needed = {*contract.related, *(table for test in tests for table in test.related)}
    inputs = {name: dg.AssetIn(key) for name, key in keys.items() if _table(name) in needed}

    @dg.multi_asset_check(
        name=f"{spec.asset_key.path[-1]}_contract_{spec.name}",
        specs=[spec],
        ins={"frame": dg.AssetIn(spec.asset_key), **inputs},
    )
    def judge(context: dg.AssetCheckExecutionContext, frame, **others):
        session = context.partition_key
        related = {}
        for name, frame_of in others.items():
            related.setdefault(_table(name), []).append(frame_of)
        related = {name: pd.concat(parts) for name, parts in related.items()}
        known = dagster_checks.Context(date.fromisoformat(session), (), related)
        judged = dagster_checks.evaluate(frame, contract, known) if contract.promises else ()
        [result] = judged or sql_tables.evaluate_singular(tests, {**related, contract.table: frame})
        counts = {"failing_rows": result.failing_rows, "checked_rows": result.checked_rows}
        yield dg.AssetCheckResult(passed=result.passed, asset_key=spec.asset_key, check_name=spec.name, metadata=counts)

    return judge


def _table(name: str) -> str:
    head, _, number = name.rpartition("_")
    return head if number.isdecimal() else name


def measured(kind: str, count: int) -> dict:
    """Be one side in a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        out = Path(home) / "measured.json"
        command = [sys.executable, "-W", "ignore", __file__, "--side", kind, "--home", home, "--out", str(out)]
        done = subprocess.run([*command, "--sessions", str(count)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
        return json.loads(out.read_text(encoding="utf-8"))


def main() -> None:
    """Measure the sides in turn and print what each second of the job was spent on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        found = side(options.side, options.home, options.sessions)
        options.out.write_text(json.dumps(found), encoding="utf-8")
        return
    rounds = [{kind: measured(kind, options.sessions) for kind in SIDES} for _ in range(options.rounds)]
    for found in rounds:
        assert found[SHARED]["verdicts"] == found[SINGLE]["verdicts"]
        assert found[SHARED]["plans"] == found[SINGLE]["plans"] == found[NONE]["plans"]
    report(rounds, options.sessions)


def report(rounds: list[dict], count: int) -> None:
    """Print medians over the rounds."""

    def median(kind, what):
        return statistics.median(found[kind].get(what, 0.0) for found in rounds)

    verdicts = len(rounds[0][SHARED]["verdicts"]) // count
    print(f"CPU seconds of one decide; medians of {len(rounds)} rounds of {count} sessions; {verdicts} verdicts each")
    for kind in SIDES:
        whole, judging, reading = (median(kind, what) for what in ("decide", "judging", "reading"))
        rest = statistics.median(
            found[kind]["decide"]
            - found[NONE]["decide"]
            - found[kind].get("judging", 0)
            - found[kind].get("reading", 0)
            + found[NONE].get("judging", 0)
            for found in rounds
        )
        print(
            f"{kind:18} {whole:6.2f} s in {median(kind, 'steps'):4.0f} steps: judging {judging:5.2f} s, "
            f"reading for it {reading:5.2f} s, bookkeeping of the checks {rest:5.2f} s"
        )
    print(f"importing Pandera and DuckDB, once a process: {median(SHARED, 'imports'):.2f} s")
    shares = sorted(found[SHARED]["judging"] / found[SHARED]["decide"] for found in rounds)
    told = f"{statistics.median(shares):.1%} ({shares[0]:.1%} to {shares[-1]:.1%})"
    print(f"judging is {told} of decide, claimed at most {CLAIMED:.0%}")


if __name__ == "__main__":
    main()
