"""Failed and cancelled runs reach a person once, in words, and so does the word that it went well again."""

import dagster as dg
import pytest

from trading_pipeline.defs.run_alerts import MOST_ATTEMPTS, RunPlace, RunWatch, place_from, run_failure_alerts
from trading_pipeline.defs.run_feed import innermost
from trading_pipeline.domain.errors import DataError
from trading_pipeline.ports import Severity
from trading_pipeline_tests.defs.dagster_record import Record

MONDAY, TUESDAY = "2026-08-03", "2026-08-04"


class Watched(Record):
    """A record, and the watch over its runs with the cursor that Dagster would keep."""

    cursor = None

    def look(self):
        watch = RunWatch(self.world, self.instance, frozenset({"decide"}))
        self.cursor = watch.looked(self.cursor).text()
        return watch


@pytest.fixture(params=["sqlite", "one database"])
def watched(request, tmp_path):
    if request.param == "sqlite":
        Record(None, tmp_path)
        with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
            yield Watched(instance, tmp_path)
    else:
        with dg.DagsterInstance.ephemeral() as instance:
            yield Watched(instance, tmp_path)


@pytest.fixture
def quick(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(instance, tmp_path)


def test_each_failed_or_cancelled_run_is_told_once_and_history_is_not(watched):
    watched.ran({}, "failure", partition=MONDAY)
    watched.look()
    failed = watched.ran({}, "failure", partition=TUESDAY)
    canceled = watched.ran({}, "canceled", job="place_orders", partition=MONDAY)
    watched.ran({}, "success", job="warm_bars")

    saved = watched.cursor
    watched.look()
    watched.look()
    watched.cursor, watched.world = saved, watched.fresh_world()
    assert watched.look().told == 0

    assert [(alert.title, alert.severity, alert.key) for alert in watched.alerts] == [
        (f"Run failed: decide ({TUESDAY})", Severity.CRITICAL, f"run_failure_alerts:{failed.run_id}"),
        (f"Run was cancelled: place_orders ({MONDAY})", Severity.WARNING, f"run_failure_alerts:{canceled.run_id}"),
    ]


def test_the_innermost_error_is_told_in_words(quick):
    quick.look()
    run = quick.begin(partition=MONDAY)
    quick.step_fails(
        run,
        "bars",
        "dagster._core.errors.DagsterExecutionStepExecutionError: Error occurred while executing op",
        cause="trading_pipeline.domain.errors.DependencyUnavailable: Alpaca does not answer; try again\n",
    )
    quick.end(run, "failure")
    quick.look()

    [alert] = quick.alerts
    assert alert.text.startswith("bars: DependencyUnavailable: Alpaca does not answer; try again. Run ")
    assert f"/runs/{run.run_id}" in alert.text


def test_a_run_without_failed_steps_says_what_dagster_says(quick):
    quick.look()
    run = quick.begin()
    quick.end(run, "failure", "its process is gone")
    quick.look()

    assert quick.alerts[0].text.startswith("its process is gone.")


def test_a_run_that_its_checks_stopped_is_no_second_critical_alert(quick):
    @dg.asset
    def bars():
        return 1

    @dg.asset_check(asset=bars, blocking=True)
    def fresh():
        return dg.AssetCheckResult(passed=False)

    definitions = dg.Definitions([bars], asset_checks=[fresh], jobs=[dg.define_asset_job("decide", selection="*")])
    quick.look()
    definitions.resolve_job_def("decide").execute_in_process(instance=quick.instance, raise_on_error=False)
    quick.look()

    [alert] = quick.alerts
    assert alert.title == "Run was stopped by its checks: decide"
    assert alert.severity is Severity.WARNING


def test_recovery_is_told_for_every_attempt_when_the_next_run_of_the_same_work_succeeds(quick):
    quick.look()
    for _ in range(2):
        quick.ran({}, "failure", partition=MONDAY)
    quick.ran({}, "success", partition=TUESDAY)
    quick.ran({}, "success", job="warm_bars", partition=MONDAY)
    quick.look()
    assert len(quick.alerts) == 2

    for _ in range(2):
        quick.ran({}, "success", partition=MONDAY)
    quick.look()

    failed = [alert.key for alert in quick.alerts[:2]]
    assert sorted(alert.key for alert in quick.alerts[2:]) == sorted(f"{key}:recovered" for key in failed)


def test_a_run_over_the_past_is_a_warning(quick):
    quick.look()
    quick.ran({}, "failure", **{"dagster/backfill": "b"})
    quick.look()

    assert quick.alerts[0].severity is Severity.WARNING


def test_assets_that_somebody_chose_are_named(quick):
    @dg.asset
    def bars():
        raise ValueError("no keys")

    definitions = dg.Definitions([bars], sensors=[run_failure_alerts(30, ["decide"])])

    def tick():
        context = dg.build_sensor_context(quick.instance, quick.cursor, resources={"world": quick.world})
        found = definitions.resolve_sensor_def("run_failure_alerts").evaluate_tick(context)
        quick.cursor = found.cursor
        return found

    tick()
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=quick.instance, raise_on_error=False, asset_selection=[dg.AssetKey("bars")])
    assert tick().skip_message.startswith("1 runs read, 1 alerts;")

    [alert] = quick.alerts
    assert alert.title == "Run failed: bars by hand"
    assert alert.text.startswith("bars: ValueError: no keys. Run ")


def test_the_innermost_error_keeps_words_that_name_no_class():
    assert innermost(dg_error("the market is shut: come back")) == "the market is shut: come back"
    assert innermost(dg_error("a.b.C: words: more")) == "C: words: more"


def dg_error(words):
    from dagster_shared.error import SerializableErrorInfo

    return SerializableErrorInfo(words, [], "Error")


def test_a_place_is_read_back_and_what_is_none_is_refused():
    place = RunPlace(3)
    for number in range(MOST_ATTEMPTS + 5):
        place = place.with_failure("decide", str(number))

    assert len(place.failed["decide"]) == MOST_ATTEMPTS
    assert place_from(place.text()) == place
    with pytest.raises(DataError, match="it begins anew"):
        place_from("nothing")
