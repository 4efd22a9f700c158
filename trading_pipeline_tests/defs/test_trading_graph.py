from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from trading_pipeline.adapters.metrics import summary
from trading_pipeline.application.execution import plan_in_force
from trading_pipeline.application.plans import MODEL_ACCOUNT
from trading_pipeline.defs.assets.orders import BACKFILL_TAG
from trading_pipeline.defs.checks import contract_of, promised_assets, singular_of
from trading_pipeline.defs.sensors import ATTEMPT_TAG, PLAN_TAG
from trading_pipeline.domain import sessions
from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.ports import IntentState

PROMISED = promised_assets(STRATEGIES)
PLACED = {"fills", "execution_quality", "reconciliation", "performance", "daily_report"}
DECIDED = [asset for asset in PROMISED if asset not in PLACED]


def materialised(result):
    return {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}


def shown(result, asset):
    """The metadata of a materialisation; tables as lists of rows."""
    metadata = materialised(result)[asset].materialization.metadata
    return {
        name: [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in metadata.items()
    }


def data_version(result, asset):
    return materialised(result)[asset].materialization.tags["dagster/data_version"]


def failures(result):
    """What stopped a run: by step, the class and words of the innermost error."""
    found = {}
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error.cause is not None:
                error = error.cause
            found[event.step_key] = error.message
    return found


def equal(one, other):
    assert one.keys() == other.keys()
    for table, frame in one.items():
        pd.testing.assert_frame_equal(frame, other[table], obj=table)
    return True


@dataclass
class Day:
    """A session that was decided after its close, warmed before the next open, and placed when the sensor asked."""

    session: date
    decided: dg.ExecuteInProcessResult
    warmed: dg.ExecuteInProcessResult
    before_the_window: Any
    request: dg.RunRequest
    placed: dg.ExecuteInProcessResult
    afterwards: Any
    tables: dict[str, pd.DataFrame]
    orders: list[dict[str, Any]]


@pytest.fixture(scope="module")
def day(market, line):
    session = market.close_next_session()
    decided = line.run("decide", session)
    before = line.look()
    market.control.set_clock(sessions.open_of(sessions.next_session(session)).replace(minute=0))
    warmed = line.run("warm_bars", session)
    market.open_window(session)
    [request] = line.look()
    placed = line.place(request)
    return Day(session, decided, warmed, before, request, placed, line.look(), line.everything(session), market.orders)


@pytest.fixture(scope="module")
def again(day, line):
    """The same two jobs once more for a session that was executed, still inside its window."""
    return line.run("decide", day.session), line.run("place_orders", day.session)


def test_a_session_goes_from_bars_to_fills(day):
    assert day.decided.success
    assert day.placed.success
    assert list(materialised(day.decided)) == sorted(
        materialised(day.decided), key=list(materialised(day.decided)).index
    )
    assert set(materialised(day.decided)) == set(DECIDED)
    assert set(materialised(day.placed)) == PLACED


def test_every_promise_is_judged_and_kept(day):
    evaluations = [*day.decided.get_asset_check_evaluations(), *day.placed.get_asset_check_evaluations()]
    judged = Counter((found.asset_key.to_user_string(), found.check_name) for found in evaluations)

    promises = {asset: (*contract_of(asset).promises, *singular_of(asset)) for asset in PROMISED}
    promised = [(asset, promise.name) for asset in PROMISED for promise in promises[asset]]
    assert judged == Counter(promised)
    assert {found.partition for found in evaluations} == {str(day.session)}
    assert [found.check_name for found in evaluations if not found.passed] == []


def test_orders_are_read_in_the_order_in_which_they_are_sent(day, line):
    for table in ("order_plan", "approved_orders"):
        assert list(line.rows(table, day.session)["sequence"]) == list(range(1, len(day.orders) + 1))


def test_the_sensor_waits_for_the_window_asks_once_and_is_done(day):
    assert day.before_the_window.startswith("the exchange is closed")
    assert (day.request.tags[PLAN_TAG], day.request.tags[ATTEMPT_TAG]) == (f"{day.session}.1", "1")
    assert day.afterwards == f"plan {day.session}.1 is finished"


def test_the_plan_names_the_materialisations_that_it_was_made_from(day, line):
    [plan] = line.world.plans.versions(line.world.portfolio().account_number, day.session)
    events = materialised(day.decided)

    assert plan.plan_id == f"{day.session}.1"
    assert (plan.session, plan.execution_session) == (day.session, sessions.next_session(day.session))
    assert not plan.hypothetical
    assert [entry.asset for entry in plan.lineage] == DECIDED[: DECIDED.index("approved_orders")]
    for entry in plan.lineage:
        wanted = dg.AssetRecordsFilter(dg.AssetKey(entry.asset), storage_ids=[entry.materialization_id])
        [record] = line.instance.fetch_materializations(wanted, limit=5).records
        assert record.run_id == entry.run_id == day.decided.run_id
        assert record.partition_key == str(day.session)
        assert entry.table_version == events[entry.asset].materialization.metadata["table_version"].value


def test_the_plan_is_what_the_table_of_approved_orders_says(day, line):
    [plan] = line.world.plans.versions(line.world.portfolio().account_number, day.session)
    rows = line.rows("approved_orders", day.session).sort_values("sequence")

    assert set(rows["plan_id"]) == {plan.plan_id}
    assert [order.client_order_id for order in plan.orders] == list(rows["client_order_id"])
    assert [order.quantity for order in plan.orders] == list(rows["approved_quantity"])


def test_fills_are_what_the_broker_executed_for_the_plans_orders(day, line, market):
    fills = line.rows("fills", day.session).sort_values("execution_id")
    ours = set(line.rows("approved_orders", day.session)["client_order_id"])
    executed = sorted(
        (found for found in market.control.state()["executions"] if found["client_order_id"] in ours),
        key=lambda found: found["id"],
    )

    assert len(fills) == len(executed) > 0
    assert list(fills["execution_id"]) == [found["id"] for found in executed]
    assert list(fills["quantity"]) == [Decimal(found["quantity"]) for found in executed]
    assert list(fills["price"]) == [Decimal(found["price"]) for found in executed]


def test_the_account_holds_what_the_allocation_wanted(day, line):
    wanted = line.rows("allocation", day.session).groupby("symbol")["weight"].sum()
    held = {symbol: float(position.quantity) for symbol, position in line.world.portfolio().positions.items()}

    assert set(wanted[wanted > 0.01].index) - {"CASH"} <= set(held)


def test_people_see_rows_weights_and_table_versions(day):
    for asset in DECIDED:
        metadata = shown(day.decided, asset)
        assert metadata["dagster/row_count"] > 0
        assert metadata["table_version"] >= 1

    weights = {row["symbol"]: float(row["weight"]) for row in shown(day.decided, "allocation")["weights"]}
    assert sum(weights.values()) + shown(day.decided, "allocation")["cash"] == pytest.approx(1)
    assert shown(day.decided, "tecl_signal")["weights"]
    assert shown(day.decided, "tecl_signal")["status"] == "available"
    assert shown(day.decided, "bars")["market"] == "synthetic"
    assert shown(day.decided, "portfolio_snapshot")["source"] == "broker"
    assert shown(day.decided, "portfolio_snapshot")["equity"] == pytest.approx(100_000, rel=0.2)
    assert len(shown(day.decided, "order_plan")["orders"]) == shown(day.decided, "order_plan")["dagster/row_count"]
    assert shown(day.decided, "approved_orders")["executable"] is True
    assert {row["state"] for row in shown(day.placed, "fills")["how_orders_ended"]} == {"filled"}
    assert shown(day.placed, "fills")["turnover_dollars"] > 0
    assert shown(day.placed, "fills")["unresolved"] == 0


def test_how_well_the_orders_were_executed_is_told(day, line):
    told, rows = shown(day.placed, "execution_quality"), line.rows("execution_quality", day.session)

    assert told["intents"] == told["filled"] == len(rows) == len(day.orders)
    assert (rows["submit_to_ack_seconds"] > 0).all()
    # The simulator fills between the mid and the limit, which lies a little beyond the quote.
    assert 0 < told["slippage_bps"] < 20
    fills = line.rows("fills", day.session)
    assert rows["filled_quantity"].sum() == fills["quantity"].sum()
    assert 'orders_total{side="buy",state="filled"}' in summary(line.world.home.metrics).counters


def test_every_materialisation_says_which_versions_it_read(day):
    written = {asset: shown(day.decided, asset)["table_version"] for asset in DECIDED}

    for asset in DECIDED:
        read = shown(day.decided, asset).get("tables_read", {})
        assert read == {name: written[name] for name in read}, asset
    assert shown(day.decided, "order_plan")["tables_read"].keys() == {
        "allocation", "portfolio_snapshot", "bars", "asset_catalog",
    }  # fmt: skip
    assert shown(day.decided, "bars")["table_version_before"] < written["bars"]
    assert shown(day.decided, "allocation")["table_version_before"] < written["allocation"]
    assert shown(day.placed, "fills")["tables_read"] == {"approved_orders": written["approved_orders"]}


def test_every_materialisation_has_a_code_version_and_a_data_version_of_its_content(day):
    for event in [*materialised(day.decided).values(), *materialised(day.placed).values()]:
        tags = event.materialization.tags
        assert tags["dagster/code_version"] == "1"
        assert tags["dagster/data_version_is_user_provided"] == "true"


def test_warming_bars_that_have_not_changed_makes_nothing_look_stale(day):
    assert day.warmed.success
    assert shown(day.warmed, "bars")["dagster/row_count"] == 0
    assert data_version(day.warmed, "bars") == data_version(day.decided, "bars")


def test_deciding_a_session_again_that_was_executed_changes_no_row_and_stops_before_its_orders(day, again, line):
    decided, _ = again

    assert list(failures(decided)) == ["portfolio_snapshot"]
    assert f"plan {day.session}.1 of session {day.session} was executed" in failures(decided)["portfolio_snapshot"]
    assert equal(line.everything(day.session), day.tables)
    made = materialised(decided)
    signals = {f"{name}_signal" for name in STRATEGIES}
    assert set(made) == {"asset_catalog", "bars", "data_freshness", "indicators", *signals, "allocation"}
    assert {asset: data_version(decided, asset) for asset in made} == {
        asset: data_version(day.decided, asset) for asset in made
    }


def test_placing_a_session_again_places_no_order_and_records_the_same_fills(day, again, market):
    _, placed = again

    assert placed.success
    assert data_version(placed, "fills") == data_version(day.placed, "fills")
    assert market.orders == day.orders


@pytest.mark.unmeasured
def test_two_runs_of_one_attempt_place_one_set_of_orders(fresh_market, fresh_line, graph_of):
    # As when the sensor is evaluated by hand while the daemon launches the same key.
    market, line = fresh_market, fresh_line
    session = market.close_next_session()
    assert line.run("decide", session).success
    market.open_window(session)
    with dg.DagsterInstance.from_config(str(market.home.dagster)) as instance:
        other = graph_of(market.world(), instance)
        [by_hand], [daemon] = line.look(), other.look()
        results = [line.place(by_hand), other.place(daemon)]

    assert [result.success for result in results] == [True, True]
    placed = [order["client_order_id"] for order in market.orders]
    assert len(placed) > 1
    assert sorted(placed) == sorted(line.rows("approved_orders", session)["client_order_id"])
    assert data_version(results[0], "fills") == data_version(results[1], "fills")


@pytest.mark.unmeasured
def test_neither_broken_lineage_nor_a_tampered_table_is_ever_sent(fresh_market, fresh_line, report_verdict):
    market, line = fresh_market, fresh_line
    session = market.close_next_session()
    decided = line.run("decide", session)
    assert decided.success
    approved = line.rows("approved_orders", session)

    early = line.run("place_orders", session)
    assert "OutsideExecutionWindow" in failures(early)["fills"]

    market.open_window(session)
    target = next(
        found.target_materialization_data
        for found in decided.get_asset_check_evaluations()
        if found.asset_key == dg.AssetKey("allocation")
    )
    report_verdict(line.instance, "allocation", "unique_grain", target, session, passed=False)
    by_hand = line.run("place_orders", session)
    assert f"plan {session}.1 is not executed: allocation: unique_grain failed" in failures(by_hand)["fills"]
    report_verdict(line.instance, "allocation", "unique_grain", target, session)

    more = approved.assign(approved_quantity=[quantity + 1 for quantity in approved["quantity"]])
    line.world.tables.replace_session("approved_orders", session, more)
    [request] = line.look()
    refused = line.place(request)

    words = failures(refused)["fills"]
    assert "approved_orders breaks 1 promise of its contract; nothing downstream may use it" in words
    assert "never_more_than_planned_and_none_where_denied" in words
    assert market.orders == []
    assert line.rows("fills", session).empty
    account = line.world.portfolio().account_number
    assert line.world.journal.claimed(account, session) is None

    foreign = approved.assign(plan_id="2020-01-02.1")
    line.world.tables.replace_session("approved_orders", session, foreign)
    [request] = line.look()
    assert (request.tags[PLAN_TAG], request.tags[ATTEMPT_TAG]) == (f"{session}.1", "2")
    assert "table approved_orders holds plan ['2020-01-02.1']" in failures(line.place(request))["fills"]

    # Planning again inside the window mends the table; the newer plan is the one that trades.
    assert line.run("decide", session, assets=["portfolio_snapshot", "order_plan", "approved_orders"]).success
    [request] = line.look()
    assert (request.tags[PLAN_TAG], request.tags[ATTEMPT_TAG]) == (f"{session}.2", "1")
    assert line.place(request).success
    assert plan_in_force(line.world.plans, line.world.journal, account, session).plan_id == f"{session}.2"
    entries = line.world.journal.entries(f"{session}.2")
    assert {entry.state for entry in entries} <= {IntentState.FILLED}


@pytest.mark.unmeasured
def test_a_check_that_fails_stops_the_decision_before_a_plan_and_a_repair_lets_it_through(
    fresh_market, fresh_line, monkeypatch
):
    market, line = fresh_market, fresh_line
    session = market.close_next_session()
    account = line.world.portfolio().account_number
    known = {symbol: instrument for symbol, instrument in catalogue().items() if symbol != "SPY"}
    with monkeypatch.context() as broken:
        broken.setattr(line.world, "instruments", known)
        stopped = line.run("decide", session)

    assert not stopped.success
    verdicts = {
        (found.asset_key.to_user_string(), found.check_name): found.passed
        for found in stopped.get_asset_check_evaluations()
    }
    broken_promises = {key for key, passed in verdicts.items() if not passed}
    assert broken_promises == {("asset_catalog", "not_null")}
    assert {name for asset, name in verdicts if asset == "asset_catalog"} == {
        promise.name for promise in contract_of("asset_catalog").promises
    }, "the verdicts on the other promises are recorded too"
    assert not set(materialised(stopped)) & {"portfolio_snapshot", "order_plan", "approved_orders"}
    assert line.world.plans.versions(account, session) == []

    market.open_window(session)
    assert line.look() == f"there is no executable plan of session {session}"

    assert line.run("decide", session).success
    [request] = line.look()
    assert line.place(request).success


@pytest.mark.unmeasured
def test_a_plan_made_when_its_window_is_over_is_hypothetical(market, quick_line, graph_of):
    line = quick_line
    session = sessions.previous_session(sessions.last_completed_session(line.world.clock.now()), 12)
    orders, account = market.orders, line.world.portfolio().account_number

    decided = line.run("decide", session)

    assert decided.success
    assert shown(decided, "approved_orders")["executable"] is False
    assert shown(decided, "portfolio_snapshot")["source"] == "model"
    [plan] = line.world.plans.hypothetical(session)
    assert (plan.plan_id, plan.account_number) == (f"hypothetical-{session}.1", MODEL_ACCOUNT)
    assert line.world.plans.versions(account, session) == []

    placed = line.run("place_orders", session)
    assert f"session {session} has no executable plan" in failures(placed)["fills"]
    assert market.orders == orders

    # Tables alone make no plan: the record of how they came about must be there.
    with dg.DagsterInstance.ephemeral() as forgetful:
        alone = graph_of(line.world, forgetful).run("decide", session, assets=["approved_orders"])
    assert f"asset_catalog was never materialised for {session}" in failures(alone)["approved_orders"]


@pytest.mark.unmeasured
def test_a_backfill_of_a_past_session_never_trades(market, quick_line):
    line = quick_line
    session = sessions.previous_session(sessions.last_completed_session(line.world.clock.now()), 11)
    orders, tags = market.orders, {BACKFILL_TAG: "abcdefgh"}

    decided = line.run("decide", session, tags)
    placed = line.run("place_orders", session, tags)

    assert decided.success
    assert [plan.hypothetical for plan in line.world.plans.hypothetical(session)] == [True]
    assert f"fills of {session} were asked for in a backfill" in failures(placed)["fills"]
    assert market.orders == orders


@pytest.mark.unmeasured
def test_a_backfill_of_the_session_that_is_due_leaves_its_plan_as_it_is(fresh_market, fresh_line):
    market, line = fresh_market, fresh_line
    session = market.close_next_session()
    assert line.run("decide", session).success
    before = line.everything(session)

    market.open_window(session)
    backfilled = line.run("decide", session, {BACKFILL_TAG: "abcdefgh"}, assets=["portfolio_snapshot"])
    placed = line.run("place_orders", session, {BACKFILL_TAG: "abcdefgh"})

    assert "a backfill would put a model portfolio" in failures(backfilled)["portfolio_snapshot"]
    assert "a backfill never places orders" in failures(placed)["fills"]
    assert equal(line.everything(session), before)
    assert market.orders == []

    [request] = line.look()
    assert line.place(request).success
    assert len(market.orders) == len(line.rows("approved_orders", session)) > 0


@pytest.mark.unmeasured
def test_sleeves_that_cannot_decide_are_carried_over_a_restart(market, line, graph_of):
    before = market.close_next_session()
    assert line.run("decide", before).success
    session = sessions.next_session(before)
    market.control.halt("SPY", session)
    market.session = session
    market.control.set_clock(sessions.close_of(session))

    restarted = graph_of(market.world(), line.instance)
    decided = restarted.run("decide", session)

    assert decided.success
    for strategy in ("nuclear", "tecl"):
        metadata = shown(decided, f"{strategy}_signal")
        assert (metadata["status"], metadata["weights"]) == ("unavailable", [])
        assert "SPY" in metadata["reason"]
    then, now = (restarted.rows("allocation", day) for day in (before, session))
    same = ["strategy", "symbol", "weight", "decided_on"]
    pd.testing.assert_frame_equal(now[same], then[same])
    assert set(then["status"]) - {"cash"} == {"decided"}
    assert set(now["status"]) - {"cash"} == {"carried"}
    assert set(then["decided_on"]) == {before}
    assert restarted.rows("order_plan", session).empty
    assert "no strategy decided" in shown(decided, "order_plan")["why_none"]


def test_bars_are_refused_before_the_close(market, quick_line):
    session = sessions.next_session(market.close_next_session())

    assert f"session {session} is not over" in failures(quick_line.run("warm_bars", session))["bars"]


def test_restated_history_is_shown_and_observed_on_the_sessions_that_it_touches(market, quick_line):
    line, before = quick_line, market.close_next_session()
    assert line.run("warm_bars", before).success
    spy = line.rows("bars", before).query("symbol == 'SPY'")
    halved = spy.assign(**{price: spy[price] / 2 for price in ("open", "high", "low", "close")})
    line.world.tables.upsert("bars", halved)

    session = market.close_next_session()
    result = line.run("warm_bars", session)

    assert result.success
    assert shown(result, "bars")["restated_symbols"] == "SPY"
    pd.testing.assert_frame_equal(line.rows("bars", before).query("symbol == 'SPY'"), spy)
    [observed] = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert observed.asset_observation_data.asset_observation.partition == str(before)


def test_bars_that_fail_validation_are_set_aside_with_the_reason(market, quick_line, monkeypatch):
    line, session = quick_line, market.close_next_session()
    feed = line.world.market_data.daily_bars

    def with_a_negative_price(symbols, first, last):
        bars = feed(symbols, first, last)
        wrong = (bars["symbol"] == "TLT") & (bars["session"] == session)
        return bars.assign(close=bars["close"].mask(wrong, -1.0))

    monkeypatch.setattr(line.world.market_data, "daily_bars", with_a_negative_price)
    result = line.run("warm_bars", session)

    assert result.success
    assert shown(result, "bars")["quarantined_rows"] == 1
    assert shown(result, "bars")["missing_symbols"] == "TLT"
    [refused] = line.rows("bars_quarantine", session).to_dict("records")
    assert (refused["symbol"], refused["close"]) == ("TLT", -1.0)
    assert refused["reason"]
    assert "TLT" not in set(line.rows("bars", session)["symbol"])
