from datetime import date

import dagster as dg
import pandas as pd
import pytest

from dbt_like_checks.contract import Severity
from dbt_like_checks.dagster_checks import asset_checks
from trading_pipeline_tests.checks.dagster_runs import FRIDAY, RANGE, SESSIONS, Memory, steps, verdicts

PRICES = dg.AssetKey("spy_prices")
GOOD = [("SPY", 600.0), ("QQQ", 500.0)]


def rows(session, prices):
    return pd.DataFrame(
        [(date.fromisoformat(session), *price) for price in prices], columns=["session", "symbol", "close"]
    )


class Line:
    """Prices, their checks, and an asset downstream."""

    def __init__(self, instance):
        self.instance = instance
        self.memory = Memory()
        self.prices = {}
        self.written_as = {}

    def run(self, *checks, upstream=(), **selection):
        backfill = dg.BackfillPolicy.single_run()

        @dg.asset(key=PRICES, partitions_def=SESSIONS, backfill_policy=backfill)
        def spy_prices(context: dg.AssetExecutionContext) -> pd.DataFrame:
            return pd.concat(
                [
                    rows(self.written_as.get(session, session), self.prices.get(session, GOOD))
                    for session in context.partition_keys
                ]
            )

        @dg.asset(partitions_def=SESSIONS, backfill_policy=backfill)
        def decision(spy_prices: pd.DataFrame) -> pd.DataFrame:
            return spy_prices

        return dg.materialize(
            [*upstream, spy_prices, decision, *checks],
            instance=self.instance,
            resources={"io_manager": self.memory},
            raise_on_error=False,
            **(selection or {"partition_key": FRIDAY}),
        )


@pytest.fixture
def line():
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(instance)


@pytest.fixture
def line_on_disk(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Line(instance)


@pytest.fixture
def checks(prices):
    return asset_checks(prices, PRICES, SESSIONS)


def test_every_promise_is_a_partitioned_check_with_its_sentence(prices, checks):
    specs = {spec.name: spec for spec in checks.check_specs}

    assert list(specs) == [promise.name for promise in prices.promises]
    assert all(spec.partitions_def == SESSIONS for spec in specs.values())
    assert specs["accepted_range_close"].description == "close is above 0."
    assert {spec.name for spec in specs.values() if not spec.blocking} == {"close_is_no_penny"}


def test_nothing_blocks_where_that_is_asked_for(prices):
    specs = asset_checks(prices, PRICES, SESSIONS, blocking=False).check_specs

    assert not any(spec.blocking for spec in specs)


def test_all_checks_of_an_asset_are_one_step(line, checks):
    result = line.run(checks)

    assert result.success
    assert steps(result) == {"spy_prices", "spy_prices_contract", "decision"}


def test_verdicts_carry_the_partition_and_the_materialization_that_was_judged(line_on_disk, checks):
    result = line_on_disk.run(checks)

    written = line_on_disk.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=PRICES, asset_partitions=[FRIDAY]), limit=1
    ).records[0]
    found = verdicts(result)
    assert len(found) == len(list(checks.check_specs))
    assert {evaluation.partition for evaluation in found.values()} == {FRIDAY}
    assert {evaluation.target_materialization_data.storage_id for evaluation in found.values()} == {written.storage_id}


def test_the_record_of_a_partition_says_that_its_check_succeeded(line, checks):
    line.run(checks)
    key = dg.AssetCheckKey(PRICES, "not_null")

    recorded = line.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]

    assert (recorded.partition, recorded.status.value) == (FRIDAY, "SUCCEEDED")


def test_a_broken_error_fails_the_run_and_stops_what_is_downstream(line, checks):
    line.prices[FRIDAY] = [("SPY", 600.0), ("QQQ", -1.0)]

    result = line.run(checks)

    assert not result.success
    assert "decision" not in steps(result)


def test_a_broken_error_leaves_every_other_verdict_on_record(line, prices, checks):
    line.prices[FRIDAY] = [("SPY", -1.0), ("SPY", 600.0), ("TLT", None)]

    line.run(checks)

    keys = [dg.AssetCheckKey(PRICES, promise.name) for promise in prices.promises]
    recorded = line.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert {key.name: recorded[key].status.value for key in keys} == {
        "columns": "SUCCEEDED",
        "types": "SUCCEEDED",
        "row_count": "SUCCEEDED",
        "unique_grain": "FAILED",
        "recency_session": "SUCCEEDED",
        "accepted_values_symbol": "FAILED",
        "accepted_range_close": "FAILED",
        "not_null": "FAILED",
        "close_is_no_penny": "FAILED",
    }


def test_a_broken_warning_is_shown_and_stops_nothing(line, checks):
    line.prices[FRIDAY] = [("SPY", 0.5)]

    result = line.run(checks)

    assert result.success
    assert "decision" in steps(result)
    verdict = verdicts(result)["close_is_no_penny"]
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_a_broken_promise_shows_counts_and_up_to_twenty_rows(line, checks):
    line.prices[FRIDAY] = [("SPY", None), *[("QQQ", -1.0)] * 30]

    found = verdicts(line.run(checks))

    metadata = found["accepted_range_close"].metadata
    assert (metadata["failing_rows"].value, metadata["checked_rows"].value) == (30, 31)
    assert len(metadata["failing"].records) == 20
    assert found["not_null"].metadata["failing"].records[0].data == {"session": FRIDAY, "symbol": "SPY", "close": ""}
    assert found["not_null"].description == f"{FRIDAY} broken: 1 of 31 rows"
    assert "failing" not in found["recency_session"].metadata


def test_the_partition_is_the_session_that_is_expected(line, checks):
    line.written_as[FRIDAY] = "2026-07-30"

    verdict = verdicts(line.run(checks))["recency_session"]

    assert verdict.description == f"{FRIDAY} broken: the newest is 2026-07-30, {FRIDAY} was expected"


def test_checks_can_run_again_by_themselves_on_a_partition(line, checks):
    line.run(checks)
    again = dg.Definitions(
        assets=[dg.AssetSpec(PRICES, partitions_def=SESSIONS)],
        asset_checks=[checks],
        jobs=[dg.define_asset_job("check", dg.AssetSelection.checks(checks))],
        resources={"io_manager": line.memory},
    ).resolve_job_def("check")

    result = again.execute_in_process(instance=line.instance, tags={"dagster/partition": FRIDAY})

    assert {verdict.partition for verdict in verdicts(result).values()} == {FRIDAY}


def test_a_range_is_judged_session_by_session_with_one_verdict(line, checks):
    line.prices[FRIDAY] = [("SPY", -1.0)]

    result = line.run(checks, tags=RANGE)

    found = verdicts(result)
    assert found["unique_grain"].passed
    assert found["recency_session"].passed
    assert found["accepted_range_close"].description == f"{FRIDAY} broken: 1 of 1 rows"
    assert found["accepted_range_close"].metadata["checked_rows"].value == 5
    assert found["accepted_range_close"].partition is None


def test_a_session_without_rows_in_a_range_breaks_the_row_count(line, checks):
    line.prices["2026-07-30"] = []

    result = line.run(checks, tags=RANGE)

    assert verdicts(result)["row_count"].description == "2026-07-30 broken: 0 rows"


def test_recency_reaches_back_over_sessions_not_days(line, contract_of):
    stale = contract_of("""
        table: prices
        description: Closing prices.
        grain: {row: one row per symbol, key: [symbol]}
        columns:
          session: {type: date, meaning: The session., tests: [{recency: {sessions: 1}}]}
          symbol: {type: str, meaning: Ticker.}
          close: {type: float, meaning: Last price.}
    """)

    assert line.run(asset_checks(stale, PRICES, SESSIONS)).success


@pytest.mark.parametrize(("catalog", "passed"), [(GOOD, True), (GOOD[:1], False)])
def test_a_related_table_is_loaded_for_the_same_partition(line, contract_of, catalog, passed):
    related = contract_of("""
        table: prices
        description: Closing prices.
        grain: {row: one row per symbol, key: [symbol]}
        columns:
          session: {type: date, meaning: The session.}
          symbol: {type: str, meaning: Ticker., tests: [{relationships: {to: catalog, field: symbol}}]}
          close: {type: float, meaning: Last price.}
    """)

    @dg.asset(partitions_def=SESSIONS, backfill_policy=dg.BackfillPolicy.single_run())
    def listed(context: dg.AssetExecutionContext) -> pd.DataFrame:
        listings = dict.fromkeys(context.partition_keys, GOOD) | {FRIDAY: catalog}
        return pd.concat([rows(session, prices) for session, prices in listings.items()])

    checks = asset_checks(related, PRICES, SESSIONS, related={"catalog": dg.AssetKey("listed")})
    alone = line.run(checks, upstream=[listed])
    in_a_range = line.run(checks, upstream=[listed], tags=RANGE)

    assert ("listed", [FRIDAY]) in line.memory.loads
    assert verdicts(alone)["relationships_symbol"].passed is passed
    assert verdicts(in_a_range)["relationships_symbol"].passed is passed


def test_a_related_table_without_an_asset_is_refused_when_the_checks_are_defined(contract_of):
    related = contract_of("""
        table: prices
        description: Closing prices.
        grain: {row: one row per symbol, key: [symbol]}
        columns:
          symbol: {type: str, meaning: Ticker., tests: [{relationships: {to: catalog, field: symbol}}]}
    """)

    with pytest.raises(ValueError, match="promised of prices refers to catalog: name the assets in related"):
        asset_checks(related, PRICES, SESSIONS)


def test_one_contract_serves_several_assets(line, prices):
    other = asset_checks(prices, dg.AssetKey("decision"), SESSIONS)

    result = line.run(asset_checks(prices, PRICES, SESSIONS), other)

    assert steps(result) == {"spy_prices", "spy_prices_contract", "decision", "decision_contract"}
    assert {spec.asset_key for spec in other.check_specs} == {dg.AssetKey("decision")}


def test_severities_are_those_of_the_contract(line, prices, checks):
    found = verdicts(line.run(checks))

    warned = {name for name, verdict in found.items() if verdict.severity is dg.AssetCheckSeverity.WARN}
    assert warned == {promise.name for promise in prices.promises if promise.severity is Severity.WARN}
