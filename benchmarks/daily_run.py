"""What a daily run costs beside a graph that does nothing.

Claim: the warm CPU time of ``trading-pipeline run`` (five sessions) is at most
1.5 times that of a baseline with the same processes, imports, jobs, assets and
checks whose bodies return constant one-row frames through the same IO manager.

Run it: ``python benchmarks/daily_run.py [--rounds 3]``. Both sides run in turn,
each in new processes on a new folder; the simulator's CPU time is counted on
both. Equal results are asserted: the same jobs, the same number of
materialisations and of check verdicts, the same tables written.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path

THROUGH = date(2026, 7, 31)
SESSIONS = 5
RANGE = ["--through", str(THROUGH), "--sessions", str(SESSIONS)]
CONTAINS = {
    "run": "trading-pipeline run on the generated market: simulator, bars over HTTP, readings, signals, orders, fills",
    "baseline": "the same command, simulator, jobs and checks; assets return one constant row and ask nobody anything",
}


def measured(kind: str) -> tuple[float, dict[str, int]]:
    """Return CPU seconds (user and system, children included) of one side, and what Dagster recorded."""
    with tempfile.TemporaryDirectory() as home:
        before = _children()
        command = [sys.executable, "-W", "ignore", __file__, "--side", kind, "--home", home]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
        return _children() - before, _recorded(Path(home))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _recorded(home: Path) -> dict[str, int]:
    import dagster as dg

    [folder] = home.glob("*/dagster")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        runs = instance.get_runs()
        stats = [instance.get_run_stats(run.run_id) for run in runs]
        verdicts = [
            event
            for run in runs
            for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        ]
    return {
        "runs": len(runs),
        "steps": sum(stat.steps_succeeded for stat in stats),
        "materialisations": sum(stat.materializations for stat in stats),
        "verdicts": len(verdicts),
    }


def side(kind: str, home: Path) -> None:
    """Be one side, in a process of its own."""
    if kind == "run":
        from trading_pipeline.cli import main

        sys.argv = ["trading-pipeline", "run", "--home", str(home), *RANGE]
        main()
    else:
        baseline(home)


def baseline(home: Path) -> None:
    """Run the jobs of each session with constant bodies, on a simulator that nobody asks anything."""
    # What the real bodies import when they are first called.
    import dagster as dg
    import talib  # noqa: F401

    from trading_pipeline.cli.console import Progress
    from trading_pipeline.cli.days import decision_time, execution_sessions
    from trading_pipeline.cli.workshop import LAUNCHER, LAUNCHER_TAG, chosen, held, simulator
    from trading_pipeline.defs.io_manager import DeltaIOManager
    from trading_pipeline.defs.jobs import JOBS
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.domain.sessions import previous_session

    choice = chosen(None, home, None)
    wanted = execution_sessions(THROUGH, SESSIONS)
    with Progress() as progress, held(choice.home, progress), simulator(choice, decision_time(wanted[0])):
        world = TradingWorld(choice.settings, choice.home)
        assets, checks = constant_graph()
        resources = {"world": world, "tables": DeltaIOManager(world.tables)}
        definitions = dg.Definitions(assets=assets, asset_checks=checks, jobs=JOBS, resources=resources)
        instance = dg.DagsterInstance.from_config(str(choice.home.dagster))
        for session in wanted:
            for job in ("decide", "place_orders"):
                progress.say(f"{session}: {job}")
                result = definitions.resolve_job_def(job).execute_in_process(
                    instance=instance,
                    partition_key=str(previous_session(session)),
                    tags={LAUNCHER_TAG: LAUNCHER},
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
                assert result.success


def constant_graph() -> tuple[list, list]:
    """Return the real graph's assets and checks with the same names, inputs and partitions and constant bodies."""
    from trading_pipeline.defs.assets import all_assets
    from trading_pipeline.defs.checks import contract_checks
    from trading_pipeline.domain.strategies import STRATEGIES

    return [_constant_asset(asset) for asset in all_assets(STRATEGIES)], [
        _constant_checks(checks) for checks in contract_checks(tuple(STRATEGIES))
    ]


def _constant_asset(real):
    import dagster as dg

    [spec] = real.specs
    ins = {
        name: dg.AssetIn(key=key, metadata=dict(real.node_def.input_dict[name].metadata or {}))
        for name, key in real.keys_by_input_name.items()
    }

    @dg.asset(
        key=spec.key,
        ins=ins,
        partitions_def=real.partitions_def,
        group_name=spec.group_name,
        description=spec.description,
        metadata=dict(spec.metadata),
        kinds=spec.kinds,
        owners=spec.owners,
        code_version=spec.code_version,
        io_manager_key="tables",
        required_resource_keys={"world"},
    )
    def body(context, **_inputs):
        return constant_row(spec.key.path[-1], date.fromisoformat(context.partition_key))

    return body


def _constant_checks(real):
    import dagster as dg

    specs = list(real.check_specs)
    ins = {name: dg.AssetIn(key=key) for name, key in real.keys_by_input_name.items()}

    @dg.multi_asset_check(name=real.node_def.name, specs=specs, ins=ins, required_resource_keys={"world"})
    def body(_context, **_inputs):
        for spec in specs:
            metadata = {"checked_rows": 1, "failing_rows": 0}
            yield dg.AssetCheckResult(passed=True, check_name=spec.name, asset_key=spec.asset_key, metadata=metadata)

    return body


def constant_row(table: str, session: date):
    """Return one row that fits the table's columns."""
    import pandas as pd

    from trading_pipeline.adapters.storage.schemas import table_schema

    values = {
        "date32[day]": session,
        "string": "constant",
        "double": 1.0,
        "int64": 1,
        "bool": True,
        "decimal128(38, 9)": Decimal(1),
        "timestamp[us, tz=UTC]": pd.Timestamp(session, tz="UTC"),
    }
    row = {name: values[str(kind)] for name, kind in table_schema(table).columns.items()}
    return pd.DataFrame([row])


def main() -> None:
    """Measure both sides in turn and print the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=CONTAINS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side(options.side, options.home)
        return
    times: dict[str, list[float]] = {kind: [] for kind in CONTAINS}
    for number in range(options.rounds + 1):
        found = {}
        for kind in CONTAINS:
            seconds, found[kind] = measured(kind)
            # The first round warms caches on disk and is not counted.
            if number:
                times[kind].append(seconds)
        assert found["run"] == found["baseline"], found
    for kind, contains in CONTAINS.items():
        middle, low, high = statistics.median(times[kind]), min(times[kind]), max(times[kind])
        print(f"{kind:9} {middle:6.1f} s CPU (median of {options.rounds}; {low:.1f} to {high:.1f})  {contains}")
    print(f"both: {found['run']}")
    print(f"ratio {statistics.median(times['run']) / statistics.median(times['baseline']):.2f}, claimed at most 1.5")


if __name__ == "__main__":
    main()
