"""Singular tests as checks of Dagster, in the step of the asset that shows them."""

from datetime import date

import dagster as dg
import pandas as pd
import pytest

from dbt_like_checks.contract import contract
from dbt_like_checks.dagster_checks import asset_checks
from dbt_like_checks.singular_tests import load_singular
from trading_pipeline_tests.checks.dagster_runs import FRIDAY, RANGE, SESSIONS, Memory, steps, verdicts
from trading_pipeline_tests.checks.frames import ROWS, frame_of

HEADER = "-- No fill is of a symbol without an order.\n-- tables: fills, approved_orders\n-- on: fills\n"
UNORDERED = """\
select fills.symbol, fills.quantity from fills
where not exists (select 1 from approved_orders as orders where orders.symbol = fills.symbol)"""


@pytest.fixture
def singular(tmp_path):
    """A test of severity error on fills that reads approved_orders, and one that is only shown."""

    def written(name, severity):
        path = tmp_path / f"{name}.sql"
        path.write_text(f"{HEADER}-- severity: {severity}\n\n{UNORDERED}\n", encoding="utf-8")
        return load_singular(path)

    return [written("every_fill_was_ordered", "error"), written("shown_alone", "warn")]


class Filled:
    """Fills beside two assets that together are the table of orders, and an asset downstream."""

    def __init__(self, instance, singular):
        self.instance, self.memory, self.bought = instance, Memory(), ["SPY", "TECL"]
        # The rows of two assets are the table of orders, as those of all strategies are the table of signals.
        orders = {"approved_orders": [dg.AssetKey("first_orders"), dg.AssetKey("second_orders")]}
        self.checks = asset_checks(contract("fills"), dg.AssetKey("fills"), SESSIONS, related=orders, singular=singular)

    def run(self, **selection):
        backfill = dg.BackfillPolicy.single_run()

        def orders(name, symbol):
            @dg.asset(name=name, partitions_def=SESSIONS, backfill_policy=backfill)
            def asset(context: dg.AssetExecutionContext) -> pd.DataFrame:
                return pd.concat([self.day("approved_orders", day, [symbol]) for day in context.partition_keys])

            return asset

        @dg.asset(partitions_def=SESSIONS, backfill_policy=backfill)
        def fills(context: dg.AssetExecutionContext) -> pd.DataFrame:
            return pd.concat([self.day("fills", day, self.bought) for day in context.partition_keys])

        @dg.asset(partitions_def=SESSIONS, backfill_policy=backfill)
        def books(fills: pd.DataFrame) -> pd.DataFrame:
            return fills

        return dg.materialize(
            [orders("first_orders", "SPY"), orders("second_orders", "TECL"), fills, books, self.checks],
            instance=self.instance,
            resources={"io_manager": self.memory},
            raise_on_error=False,
            **(selection or {"partition_key": FRIDAY}),
        )

    def day(self, table, day, symbols):
        known = ROWS[table][0] | {"session": date.fromisoformat(day)}
        return frame_of(
            table, [known | {"symbol": symbol, "execution_id": f"{day}{symbol}"} for symbol in symbols]
        ).reindex(columns=[column.name for column in contract(table).columns])


@pytest.fixture
def filled(singular):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Filled(instance, singular)


def test_a_singular_test_is_a_check_of_its_asset_with_its_sentence_and_severity(filled):
    specs = {spec.name: spec for spec in filled.checks.check_specs}

    assert list(specs)[-2:] == ["every_fill_was_ordered", "shown_alone"]
    assert specs["every_fill_was_ordered"].description == "No fill is of a symbol without an order."
    assert (specs["every_fill_was_ordered"].blocking, specs["shown_alone"].blocking) == (True, False)
    assert {spec.partitions_def for spec in specs.values()} == {SESSIONS}


def test_singular_tests_share_the_step_of_their_asset_and_read_every_asset_of_a_table(filled):
    result = filled.run()

    # The fills here keep no contract but this question: what follows them does not run.
    assert steps(result) - {"books"} == {"first_orders", "second_orders", "fills", "fills_contract"}
    verdict = verdicts(result)["every_fill_was_ordered"]
    assert (verdict.passed, verdict.partition) == (True, FRIDAY)
    assert (verdict.metadata["failing_rows"].value, verdict.metadata["checked_rows"].value) == (0, 2)


def test_a_broken_singular_test_shows_its_rows_and_stops_what_is_downstream(filled):
    filled.bought = ["SPY", "TLT", "GLD"]

    result = filled.run()

    found = verdicts(result)
    metadata = found["every_fill_was_ordered"].metadata
    assert (metadata["failing_rows"].value, metadata["checked_rows"].value) == (2, 3)
    assert {record.data["symbol"] for record in metadata["failing"].records} == {"TLT", "GLD"}
    assert found["every_fill_was_ordered"].description == f"{FRIDAY} broken: 2 of 3 rows"
    assert found["shown_alone"].severity is dg.AssetCheckSeverity.WARN
    assert "books" not in steps(result)


def test_singular_tests_judge_a_range_session_by_session(filled):
    found = verdicts(filled.run(tags=RANGE))["every_fill_was_ordered"]

    assert found.passed
    assert found.metadata["checked_rows"].value == 6


def test_counts_are_numbers_that_dagster_plots(filled):
    for verdict in filled.run().get_asset_check_evaluations():
        assert {type(verdict.metadata[name]) for name in ("failing_rows", "checked_rows")} == {dg.IntMetadataValue}


def test_a_singular_test_without_an_asset_for_its_table_is_refused_when_the_checks_are_defined(singular):
    with pytest.raises(ValueError, match="promised of fills refers to approved_orders"):
        asset_checks(contract("fills"), dg.AssetKey("fills"), SESSIONS, singular=singular)
