"""Failed checks reach a person: each once, none lost, whatever happens between two looks."""

import random
from datetime import timedelta

import dagster as dg
import pytest

from trading_pipeline.defs.check_alerts import CheckWatch, Promises, failed_check_alerts
from trading_pipeline.defs.check_place import MOST_REMEMBERED, CheckPlace, place_from
from trading_pipeline.domain.errors import DataError
from trading_pipeline.ports import Severity
from trading_pipeline_tests.defs.dagster_record import ASSET, Record

MONDAY, TUESDAY, WEDNESDAY = "2026-08-03", "2026-08-04", "2026-08-05"


class Watched(Record):
    """A record, and the watch over it with the cursor that Dagster would keep."""

    def __init__(self, instance, folder, **health):
        super().__init__(instance, folder, **health)
        self.cursor = None

    def watch(self):
        return CheckWatch(self.world, self.instance, Promises())

    def look(self):
        watch = self.watch()
        self.cursor = watch.looked(self.cursor).text()
        return watch

    def looks(self, most=100):
        """Look until nothing more is found."""
        for count in range(1, most):
            if self.look().left > 0:
                return count
        raise AssertionError(f"{most} looks did not read everything")


@pytest.fixture(params=["sqlite", "one database"])
def watched(request, tmp_path):
    """On SQLite each run has a database of its own; elsewhere (in memory, Postgres) all share one."""
    home = tmp_path / "home"
    if request.param == "sqlite":
        Record(None, home)
        with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
            yield Watched(instance, home)
    else:
        with dg.DagsterInstance.ephemeral() as instance:
            yield Watched(instance, home)


@pytest.fixture
def quick(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(instance, tmp_path)


def test_history_is_not_replayed_and_what_fails_afterwards_is_told_once(quick):
    quick.ran({"old": False}, partition=MONDAY)
    quick.result(None, "older_still", passed=False)
    quick.look()
    assert quick.titles == []

    quick.ran({"fresh": False, "kept": True}, "failure", partition=TUESDAY)
    quick.look()
    quick.look()

    assert quick.titles == [f"Check failed: bars: fresh ({TUESDAY})"]


def test_several_that_fail_between_two_looks_are_all_told(watched):
    watched.look()
    for partition in (MONDAY, TUESDAY, WEDNESDAY):
        watched.ran({"fresh": False, "complete": False}, "canceled", partition=partition)

    watched.look()

    assert len(set(watched.titles)) == len(watched.titles) == 6


def test_a_look_that_died_before_its_cursor_was_saved_is_repeated_and_nothing_is_told_twice(quick):
    quick.look()
    quick.ran({"fresh": False}, partition=MONDAY)
    saved = quick.cursor
    quick.look()
    told = quick.titles

    quick.cursor, quick.world = saved, quick.fresh_world()
    again = quick.look()

    assert again.told == 0
    assert quick.titles == told


def test_a_first_look_that_died_loses_nothing_of_what_fails_before_the_second(quick):
    quick.look()
    quick.ran({"fresh": False}, partition=MONDAY)

    quick.cursor = None
    quick.look()

    assert quick.titles == [f"Check failed: bars: fresh ({MONDAY})"]


def test_a_cursor_that_nobody_can_read_is_no_end_of_the_watch(quick):
    quick.look()
    quick.ran({"fresh": False}, partition=MONDAY)
    quick.look()
    quick.ran({"complete": False}, partition=MONDAY)

    quick.cursor = "spoiled"
    quick.look()

    assert quick.titles == [f"Check failed: bars: {name} ({MONDAY})" for name in ("fresh", "complete")]


def test_a_cursor_that_somebody_reset_tells_nothing_twice(quick):
    quick.look()
    quick.ran({"fresh": False}, partition=MONDAY)
    quick.look()

    quick.cursor = None
    assert quick.look().told == 0


def test_a_flood_is_worked_off_over_several_looks_a_page_each(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        watched = Watched(instance, tmp_path, results_per_look=20)
        watched.look()
        watched.late = timedelta(minutes=1)
        for number in range(4):
            watched.ran({f"check_{place}": place % 3 > 0 for place in range(25)}, partition=f"2026-08-0{number + 3}")

        first = watched.look()
        looks = 1 + watched.looks()

    assert first.read == 20
    assert looks >= 100 / 20
    assert len(set(watched.titles)) == len(watched.titles) == 4 * 9


def test_recovery_is_told_once_when_the_partition_passes(quick):
    quick.look()
    quick.ran({"fresh": False}, partition=MONDAY)
    quick.look()

    quick.ran({"fresh": True}, partition=MONDAY)
    quick.look()
    quick.ran({"fresh": True}, partition=MONDAY)
    quick.look()

    failed, recovered = quick.alerts
    assert recovered.title == f"Check passes again: bars: fresh ({MONDAY})"
    assert recovered.severity is Severity.INFO
    assert recovered.key == f"{failed.key}:recovered"


def test_recovery_is_told_when_the_next_partition_passes_and_not_by_an_earlier_one(quick):
    quick.look()
    quick.ran({"fresh": False}, partition=TUESDAY)
    quick.ran({"fresh": True}, partition=MONDAY)
    quick.look()
    assert len(quick.titles) == 1

    quick.ran({"fresh": True}, partition=WEDNESDAY)
    quick.look()

    assert quick.titles[1:] == [f"Check passes again: bars: fresh ({WEDNESDAY})"]


def test_a_failure_and_its_recovery_between_two_looks_are_told_in_that_order(quick):
    quick.look()
    quick.ran({"fresh": False}, "failure", partition=MONDAY)
    quick.ran({"fresh": True}, "success", partition=MONDAY)

    quick.look()

    assert [title.partition(":")[0] for title in quick.titles] == ["Check failed", "Check passes again"]


def test_a_check_that_fails_again_after_its_recovery_is_told_again(quick):
    quick.look()
    for passed in (False, True, False, True):
        quick.ran({"fresh": passed}, partition=MONDAY)
    quick.look()

    assert len(quick.titles) == 4


def test_what_failed_in_a_run_that_never_ends_is_told_and_not_again_once_it_is_buried(watched):
    watched.look()
    run = watched.begin(partition=MONDAY)
    watched.result(run, "fresh", passed=False, partition=MONDAY)
    watched.look()
    assert watched.titles == [f"Check failed: bars: fresh ({MONDAY})"]

    watched.result(run, "complete", passed=False, partition=MONDAY)
    watched.look()
    watched.end(run, "failure")
    watched.look()

    assert watched.titles == [f"Check failed: bars: {name} ({MONDAY})" for name in ("fresh", "complete")]


def test_results_without_a_run_are_told_and_recover(watched):
    watched.look()
    for check in ("fresh", "complete"):
        watched.result(None, check, passed=False, partition=MONDAY)
    watched.look()
    watched.look()
    watched.result(None, "fresh", passed=True, partition=TUESDAY)
    watched.look()

    assert watched.titles == [
        f"Check failed: bars: fresh ({MONDAY})",
        f"Check failed: bars: complete ({MONDAY})",
        f"Check passes again: bars: fresh ({TUESDAY})",
    ]


def test_a_run_that_turns_up_late_between_two_that_were_read_is_not_lost(quick, monkeypatch):
    """Where several write at once, a smaller number may become visible after a larger one."""
    quick.look()
    early, late = quick.begin(partition=MONDAY), quick.begin(partition=TUESDAY)
    for run, partition in ((early, MONDAY), (late, TUESDAY)):
        quick.result(run, "fresh", passed=False, partition=partition)
        quick.end(run)
    fetch = quick.instance.fetch_run_status_changes

    def without_early(*arguments, **options):
        found = fetch(*arguments, **options)
        shown = [record for record in found.records if record.run_id != early.run_id]
        return type(found)(shown, found.cursor, found.has_more)

    monkeypatch.setattr(quick.instance, "fetch_run_status_changes", without_early)
    quick.look()
    assert quick.titles == [f"Check failed: bars: fresh ({TUESDAY})"]

    monkeypatch.undo()
    quick.look()

    assert sorted(quick.titles) == [f"Check failed: bars: fresh ({day})" for day in (MONDAY, TUESDAY)]


def test_severity_is_critical_where_trading_is_blocked_and_the_run_is_not_over_the_past(quick):
    quick.look()
    run, past = quick.begin(), quick.begin(**{"dagster/backfill": "b"})
    quick.result(run, "graver", passed=False)
    quick.result(run, "milder", passed=False, severity=dg.AssetCheckSeverity.WARN)
    quick.result(past, "past", passed=False)
    for ended in (run, past):
        quick.end(ended, "failure")
    quick.look()

    assert {alert.title.rpartition(" ")[2]: alert.severity for alert in quick.alerts} == {
        "graver": Severity.CRITICAL,
        "milder": Severity.WARNING,
        "past": Severity.WARNING,
    }


def test_an_alert_says_the_promise_what_was_found_how_many_rows_and_where_to_look(quick):
    @dg.asset
    def bars():
        return 1

    @dg.asset_check(asset=bars, name="fresh", description="Every symbol has a bar of the session")
    def fresh():
        return dg.AssetCheckResult(
            passed=False, description="2 symbols have none", metadata={"failing_rows": 2, "checked_rows": 12}
        )

    definitions = dg.Definitions([bars], asset_checks=[fresh], sensors=[failed_check_alerts(30)])
    quick.ran({})
    look(definitions, quick)
    run = definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=quick.instance)
    tick = look(definitions, quick)

    [alert] = quick.alerts
    assert alert.text == (
        "Every symbol has a bar of the session. Found: 2 symbols have none. 2 of 12 rows fail. "
        f"Run {run.run_id}: http://127.0.0.1:3000/runs/{run.run_id}"
    )
    assert alert.runbook == "a-check-failed"
    assert alert.severity is Severity.WARNING
    assert tick.skip_message.startswith("1 results read, 1 alerts;")


def look(definitions, watched):
    """Evaluate the sensor as the daemon does, with the cursor that it would have kept."""
    context = dg.build_sensor_context(
        watched.instance, cursor=watched.cursor, resources={"world": watched.world}, definitions=definitions
    )
    tick = definitions.resolve_sensor_def("failed_check_alerts").evaluate_tick(context)
    watched.cursor = tick.cursor
    return tick


def test_checks_that_raise_are_told_as_not_evaluated_and_recover(quick):
    broken = [True]

    @dg.asset
    def bars():
        return 1

    @dg.multi_asset_check(
        name="bars_contract", specs=[dg.AssetCheckSpec(name, asset="bars") for name in ("fresh", "complete")]
    )
    def bars_contract():
        if broken:
            raise ValueError("no such column")
        for name in ("fresh", "complete"):
            yield dg.AssetCheckResult(passed=True, check_name=name, asset_key="bars")

    definitions = dg.Definitions([bars], asset_checks=[bars_contract], sensors=[failed_check_alerts(30)])
    job = definitions.resolve_implicit_global_asset_job_def()
    look(definitions, quick)
    job.execute_in_process(instance=quick.instance, raise_on_error=False)
    look(definitions, quick)
    look(definitions, quick)

    [alert] = quick.alerts
    assert alert.title == "Checks could not be evaluated: bars_contract"
    assert "bars: complete, bars: fresh: ValueError: no such column." in alert.text

    broken.clear()
    job.execute_in_process(instance=quick.instance)
    look(definitions, quick)

    assert [found.key for found in quick.alerts[1:]] == [f"{alert.key}:recovered"]


def test_an_asset_that_raises_is_no_check_that_raised(quick):
    @dg.asset(check_specs=[dg.AssetCheckSpec("fresh", asset="bars")])
    def bars():
        raise ValueError("no market data")

    definitions = dg.Definitions([bars], sensors=[failed_check_alerts(30)])
    look(definitions, quick)
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=quick.instance, raise_on_error=False)
    look(definitions, quick)

    assert quick.titles == []


def test_any_order_of_runs_looks_and_deaths_tells_each_failure_once(tmp_path):
    dice = random.Random(20260803)  # noqa: S311 - chance that can be repeated, no secret
    with dg.DagsterInstance.ephemeral() as instance:
        watched = Watched(instance, tmp_path, results_per_look=7)
        watched.look()
        expected, saved = set(), watched.cursor
        for number in range(36):
            action = dice.choice(["run", "run", "look", "die"])
            if action == "run":
                failing = dice.sample(range(5), dice.randint(0, 3))
                partition = f"2026-{number // 28 + 1:02}-{number % 28 + 1:02}"
                how = dice.choice(["success", "failure", "canceled"])
                watched.ran({f"check_{place}": place not in failing for place in range(5)}, how, partition=partition)
                expected |= {f"Check failed: bars: check_{place} ({partition})" for place in failing}
            elif action == "look":
                watched.late += timedelta(seconds=dice.choice([0, 5, 60]))
                watched.look()
                saved = watched.cursor
            else:
                watched.look()
                watched.cursor, watched.world = saved, watched.fresh_world()
        watched.late += timedelta(minutes=1)
        watched.looks()
        failures = [title for title in watched.titles if title.startswith("Check failed")]

    assert len(expected) > 10
    assert sorted(failures) == sorted(expected)


def test_a_place_survives_being_written_and_what_is_none_is_refused():
    place = CheckPlace(7, (9, "page"), "3", {"run": "page"}).failed("bars: fresh", MONDAY, "key")

    assert place_from(place.text()) == place
    for text in ("", "7", "[]", '{"after": "x"}'):
        with pytest.raises(DataError, match="it begins anew"):
            place_from(text)


def test_the_place_stays_small_however_many_checks_are_broken():
    place = CheckPlace(0)
    for number in range(MOST_REMEMBERED + 10):
        place = place.failed(f"{ASSET}: fresh", MONDAY, str(number))

    assert len(place.broken) == MOST_REMEMBERED
    assert place.broken[-1].key == str(MOST_REMEMBERED + 9)
