"""The asset risk_report over a simulated market, in this process."""

import base64
from datetime import timedelta
from decimal import Decimal
from xml.etree import ElementTree as ET

import dagster as dg
import pytest

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.risk_watch import StoredRiskWatch
from trading_pipeline.defs.assets.orders import BACKFILL_TAG
from trading_pipeline.domain import sessions
from trading_pipeline.domain.risk.drawdown import DrawdownState, Reading, observed
from trading_pipeline.domain.risk.watch_state import WatchState


def shown(result):
    [event] = [each for each in result.get_asset_materialization_events() if each.asset_key.path == ["risk_report"]]
    return event.materialization.metadata


def figures(line, session):
    rows = line.rows("risk_report", session)
    return {(row["measure"], row["part"]): row for row in rows.to_dict("records")}


@pytest.fixture(scope="module")
def decided(market, line):
    session = market.close_next_session()
    result = line.run("decide", session)
    assert result.success
    return session, result


def test_the_account_is_reported_as_the_approved_orders_leave_it(decided, line):
    session, _ = decided
    approved = line.rows("approved_orders", session)
    equity = float(line.rows("portfolio_snapshot", session)["market_value"].sum())

    found = figures(line, session)

    # The account held nothing but cash, so that what was bought is all that it holds.
    bought = sum(row["approved_quantity"] * row["reference_price"] for row in approved.to_dict("records"))
    assert set(approved["side"]) == {"buy"}
    assert found["gross leverage", "account"]["value"] == pytest.approx(float(bought) / equity)
    assert found["turnover", "account"]["value"] == pytest.approx(float(bought) / equity)
    assert found["orders", "account"]["value"] == len(approved)
    held = {part for measure, part in found if measure in ("position weight", "leveraged weight")}
    assert held == set(approved["symbol"])
    shares = line.world.settings.strategies.capital_shares
    assert {part for measure, part in found if measure == "strategy share"} == set(shares)


def test_the_parts_of_the_expected_shortfall_sum_to_the_whole(decided, line):
    found = figures(line, decided[0])

    parts = [row["value"] for (measure, _), row in found.items() if measure == "component expected shortfall"]
    assert sum(parts) == pytest.approx(found["expected shortfall", "historical"]["value"])
    assert found["value at risk", "student-t"]["limit"] == pytest.approx(float(line.world.limits.max_value_at_risk))


def test_a_person_sees_limits_drawing_and_decisions(decided, line):
    session, result = decided
    metadata = shown(result)

    head, _, coded = metadata["risk"].value.removesuffix(")").partition("base64,")
    assert head == "![risk](data:image/svg+xml;"
    words = set(ET.fromstring(base64.b64decode(coded)).itertext())  # noqa: S314 - our own drawing
    assert {f"Risk after the approved orders of {session}", "gross leverage: account"} <= words
    approved = line.rows("approved_orders", session)
    counted = {name: int((approved["decision"] == name).sum()) for name in ("approved", "reduced", "denied")}
    assert metadata["decisions"].data == counted
    assert metadata["limits_broken"].value == len(metadata["broken"].records) == 0
    assert (metadata["family"].value, metadata["market"].value) == ("rotation", "synthetic")


def test_what_nobody_watched_is_named_as_not_known(decided, line):
    metadata = shown(decided[1])

    assert {"daily loss", "trailing drawdown", "falling profit"} <= set(metadata["unknown"].value.split(", "))
    assert figures(line, decided[0])["daily loss", "halted"]["limit"] == 0.15


def test_drawdowns_are_those_of_the_account_that_was_watched(decided, line):
    session, _ = decided
    number = line.rows("portfolio_snapshot", session)["account_number"].iloc[0]
    store = StoredRiskWatch(FileObjects(line.world.home.objects))
    limits, drawdown = line.world.settings.drawdown.limits, DrawdownState()
    before = store.read()
    for day, equity in ((sessions.previous_session(session), 1_000), (session, 950)):
        for minute in (1, 2):
            at = sessions.open_of(day) + timedelta(minutes=minute)
            drawdown = observed(drawdown, Reading(at, day, Decimal(equity)), limits).state
    assert store.replace(before, WatchState(account_number="another", drawdown=drawdown))
    assert line.run("decide", session, assets=["risk_report"]).success
    assert figures(line, session)["daily loss", "warning"]["value"] != pytest.approx(0.05)

    assert store.replace(store.read(), WatchState(account_number=number, drawdown=drawdown))
    assert line.run("decide", session, assets=["risk_report"]).success

    found = figures(line, session)["daily loss", "warning"]
    assert found["value"] == pytest.approx(0.05)
    assert found["share_of_limit"] == pytest.approx(0.05 / 0.06)


def test_a_session_of_a_backfill_is_reported_on_its_model_portfolio(market):
    with dg.DagsterInstance.ephemeral() as instance:
        from trading_pipeline_tests.defs.conftest import Line

        line, past = Line(market.world(), instance), sessions.previous_session(market.session, 30)

        result = line.run("decide", past, tags={BACKFILL_TAG: "a backfill"})

        assert result.success
        found = figures(line, past)
    assert set(line.rows("portfolio_snapshot", past)["source"]) == {"model"}
    assert found["gross leverage", "account"]["value"] > 0.5
    assert shown(result)["market"].value == "synthetic"
