"""Every table of the line: rows that keep the contract, and one change that breaks each promise of weight."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd
import pytest

from dbt_like_checks.contract import contract, tables
from dbt_like_checks.generic_tests import Context
from dbt_like_checks.verification import evaluate

FRIDAY, MONDAY = date(2026, 7, 31), date(2026, 8, 3)
ORDER_ID = "tp1-6848b6a5cd7df9e487ed7d550723adeb"
INSTANT = datetime(2026, 8, 3, 14, tzinfo=UTC)
CONTEXT = Context(
    FRIDAY,
    related={
        "asset_catalog": pd.DataFrame({"symbol": ["SPY", "TECL"]}),
        "approved_orders": pd.DataFrame({"client_order_id": [ORDER_ID]}),
    },
)

ORDER = {
    "session": FRIDAY,
    "execution_session": MONDAY,
    "client_order_id": ORDER_ID,
    "sequence": 1,
    "symbol": "SPY",
    "side": "buy",
    "quantity": Decimal("1.333333333"),
    "order_type": "limit",
    "limit_price": Decimal("601.00"),
    "reference_price": Decimal("600.00"),
    "notional": Decimal("799.999999800"),
    "time_in_force": "day",
    "reason": "target 40 %",
}
APPROVED = ORDER | {
    "plan_id": "2026-07-31/1",
    "decision": "approved",
    "approved_quantity": Decimal("1.333333333"),
    "breaches": None,
}
SIGNAL = {
    "session": FRIDAY,
    "strategy": "tecl",
    "symbol": "TECL",
    "weight": 0.25,
    "status": "available",
    "reason": None,
    "inputs_hash": "0f",
}
UNAVAILABLE = SIGNAL | {"symbol": None, "weight": None, "status": "unavailable", "reason": "rsi(KMLM,10) is missing"}
HELD = {column: value for column, value in SIGNAL.items() if column != "inputs_hash"}
UNDECIDED = HELD | {
    "strategy": "nuclear",
    "symbol": None,
    "weight": None,
    "status": "unavailable",
    "reason": "rsi(KMLM,10) is missing",
}
PAIR = {
    "session": FRIDAY,
    "first": date(2024, 1, 2),
    "strategy": "klm",
    "other": "tecl",
    "return_correlation": 0.5,
    "signal_correlation": None,
    "overlap": 0.2,
    "return_sessions": 600,
    "signal_sessions": 601,
    "effective_number": 1.6,
}
SIZED = {
    "session": FRIDAY,
    "first": date(2024, 1, 2),
    "method": "atr_caps",
    "symbol": "SPY",
    "weight": 0.4,
    "turnover": 0.05,
    "value": 1.7,
}
ITSELF = {"other": "klm", "return_correlation": 1.0, "signal_correlation": 1.0, "overlap": 1.0}
SHARE = {
    "session": FRIDAY,
    "symbol": "SPY",
    "strategy": "tecl",
    "weight": 0.4,
    "status": "decided",
    "decided_on": FRIDAY,
}
HOLDING = {
    "session": FRIDAY,
    "symbol": "SPY",
    "quantity": Decimal("1.333333333"),
    "price": Decimal("600.123456789"),
    "market_value": Decimal("800.164608852"),
    "weight": 0.4,
    "source": "broker",
    "account_number": "SIM0001",
    "as_of": INSTANT,
}
EXECUTED = {
    "session": FRIDAY,
    "execution_session": MONDAY,
    "plan_id": "2026-07-31.1",
    "client_order_id": ORDER_ID,
    "order_id": ORDER_ID,
    "slice_number": 0,
    "symbol": "SPY",
    "side": "buy",
    "state": "filled",
    "detail": "filled, 1.3 of 1.3 filled at 600.5",
    "quantity": Decimal("1.333333333"),
    "filled_quantity": Decimal("1.333333333"),
    "arrival_mid": None,
    "average_price": Decimal("600.5"),
    "slippage_bps": None,
    "submit_to_ack_seconds": 0.02,
    "ack_to_first_fill_seconds": 0.0,
    "submit_to_done_seconds": None,
    "resends": 0,
    "whole_shares": False,
    "resized": False,
    "parked": False,
}
COMPARED = {
    "session": FRIDAY,
    "account_number": "SIM0001",
    "kind": "position",
    "name": "SPY",
    "ours": Decimal("1.333333333"),
    "theirs": Decimal("1.333333333"),
    "difference": Decimal(0),
    "price": Decimal("600.5"),
    "status": "equal",
    "explanation": None,
    "as_of": INSTANT,
}
BY_HAND = {"kind": "external", "name": "by-hand", "ours": Decimal(0), "difference": Decimal("1.333333333")}
AGED = {
    "session": FRIDAY,
    "symbol": "SPY",
    "newest_session": FRIDAY,
    "age_sessions": 0.0,
    "status": "fresh",
    "close_unchanged_sessions": 0.0,
    "read_by": "klm, tecl",
    "reason": None,
    "feed": "usable",
}
UNSEEN = {
    "symbol": "FNGU",
    "status": "never seen",
    "reason": "no bar of it is known until 2026-07-31",
    **dict.fromkeys(("newest_session", "age_sessions", "close_unchanged_sessions", "read_by"), None),
}
BAR = {"session": FRIDAY, "symbol": "SPY", "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 100.0}
TESTED = {
    "session": FRIDAY,
    "first": date(2024, 1, 2),
    "strategy": "tecl",
    "model": "student-t",
    "confidence": 0.99,
    "window": 500,
    "sessions": 250,
    "missing": 3,
    "exceptions": 6,
    "expected_exceptions": 2.5,
    "kupiec": 3.5554,
    "kupiec_p": 0.059,
    "independence": 0.3,
    "independence_p": 0.58,
    "conditional_coverage": 3.8554,
    "conditional_coverage_p": 0.15,
    "zone": "yellow",
    "multiplier": 3.5,
    "recent_sessions": 247,
    "recent_exceptions": 4,
    "recent_zone": "green",
    "mean_value_at_risk": 0.05,
}
UNTESTED = {
    "model": "normal",
    "sessions": 0,
    "exceptions": 0,
    "expected_exceptions": 0.0,
    **dict.fromkeys(("kupiec", "kupiec_p", "independence", "independence_p"), None),
    **dict.fromkeys(("conditional_coverage", "conditional_coverage_p", "multiplier", "mean_value_at_risk"), None),
    "zone": "unknown",
}
MEASURED = {
    "session": FRIDAY,
    "measure": "position weight",
    "part": "SPY",
    "value": 0.4,
    "limit": 0.8,
    "share_of_limit": 0.5,
    "code": "POSITION_WEIGHT",
}
UNLIMITED = {"measure": "cash", "part": "account", "limit": None, "share_of_limit": None, "code": None}
MARGIN = {"measure": "margin excess", "part": "account", "limit": 0.05, "share_of_limit": 0.125}
ACTED = {
    "session": FRIDAY,
    "first": date(2022, 1, 4),
    "strategy": "tecl",
    "family": "ordinary",
    "kind": "order",
    "rule": "POSITION_WEIGHT",
    "sessions": 1147,
    "sessions_with_orders": 210,
    "orders": 445,
    "denied": 80,
    "reduced": 5,
    "warned": 0,
    "sessions_acted": 85,
    "last_acted": date(2026, 7, 30),
    "highest": 1.0,
    "limit": 0.25,
}
NEVER = {
    "family": "any",
    "kind": "profit trend",
    "rule": "losing streak",
    **dict.fromkeys(("denied", "reduced", "sessions_acted"), 0),
    **dict.fromkeys(("last_acted", "highest", "limit"), None),
}
KEPT = {
    "risk_report": [MEASURED, MEASURED | UNLIMITED, MEASURED | MARGIN],
    "risk_history": [ACTED, ACTED | NEVER],
    "signal_history": [HELD, HELD | {"symbol": "SPY", "weight": 0.75}, UNDECIDED],
    "sizing_comparison": [SIZED, SIZED | {"symbol": "CASH", "weight": 0.6}],
    "strategy_diversity": [PAIR, PAIR | ITSELF],
    "tail_backtest": [TESTED, TESTED | UNTESTED],
    "allocation": [
        SHARE,
        SHARE | {"strategy": "klm", "weight": 0.25, "status": "held"},
        SHARE | {"symbol": "CASH", "strategy": "cash", "weight": 0.35, "status": "cash"},
    ],
    "approved_orders": [APPROVED],
    "asset_catalog": [
        {
            "session": FRIDAY,
            "symbol": "SPY",
            "name": "SPDR S&P 500",
            "exchange": "ARCA",
            "asset_class": "equity index",
            "leverage": 1.0,
            "tradable": True,
            "fractionable": True,
        }
    ],
    "bars": [BAR, BAR | {"symbol": "TECL", "open": None, "high": None, "low": None, "volume": None}],
    "data_freshness": [AGED, AGED | UNSEEN],
    "execution_quality": [EXECUTED],
    "reconciliation": [
        COMPARED,
        COMPARED | {"kind": "cash", "name": "CASH", "ours": Decimal("1.343333333"), "difference": Decimal("-0.01")},
        COMPARED | BY_HAND | {"status": "external", "explanation": "buy 2 SPY, not ours, left alone"},
    ],
    "fills": [
        {
            "session": FRIDAY,
            "execution_session": MONDAY,
            "plan_id": "2026-07-31/1",
            "client_order_id": ORDER_ID,
            "execution_id": "e1",
            "symbol": "SPY",
            "side": "buy",
            "quantity": Decimal("1.333333333"),
            "price": Decimal("600.5"),
            "commission": Decimal(0),
            "filled_at": INSTANT,
        }
    ],
    "indicators": [
        {
            "session": FRIDAY,
            "observed": FRIDAY,
            "symbol": "SPY",
            "indicator": name,
            "window": 10,
            "value": value,
        }
        for name, value in [("rsi", 70.5), ("sma", 612.0), ("cumret", None)]
    ],
    "order_plan": [ORDER],
    "performance": [
        {
            "session": FRIDAY,
            "account_number": "SIM1",
            "as_of": INSTANT,
            "equity": Decimal(9),
            "cash": Decimal(9),
            "profit": Decimal(2),
            "realised": Decimal(1),
            "unrealised_change": Decimal(1),
            "unrealised": Decimal(1),
            "commissions": Decimal(0),
            "cash_movements": Decimal(0),
            "share_movements": Decimal(0),
            "realised_total": Decimal(1),
            "unit_value": 1.0,
            "drawdown": 0.0,
        }
    ],
    "portfolio_snapshot": [
        HOLDING,
        HOLDING | {"symbol": "CASH", "quantity": Decimal(9), "price": Decimal(1), "market_value": Decimal(9)},
    ],
    "signals": [SIGNAL, SIGNAL | {"symbol": "SPY", "weight": 0.75}, UNAVAILABLE | {"strategy": "nuclear"}],
}


def broken(table, rows, context=CONTEXT):
    of = contract(table)
    frame = pd.DataFrame(rows, columns=[column.name for column in of.columns])
    return {result.name for result in evaluate(frame, of, context) if not result.passed}


@pytest.mark.parametrize("table", tables())
def test_rows_that_are_right_keep_every_promise(table):
    assert broken(table, KEPT[table]) == set()


@pytest.mark.parametrize(
    ("table", "change", "promise"),
    [
        ("bars", {"close": None}, "not_null"),
        ("signal_history", {"weight": 0.2}, "sums_to_one_weight"),
        ("sizing_comparison", {"weight": 0.3}, "sums_to_one_weight"),
        ("sizing_comparison", {"weight": -0.1}, "accepted_range_weight"),
        ("sizing_comparison", {"method": "kelly"}, "accepted_values_method"),
        ("sizing_comparison", {"turnover": 1.2}, "accepted_range_turnover"),
        ("sizing_comparison", {"value": 0.0}, "the_account_is_worth_something"),
        ("sizing_comparison", {"first": MONDAY}, "the_range_begins_before_it_ends"),
        ("strategy_diversity", {"overlap": 1.2}, "accepted_range_overlap"),
        ("strategy_diversity", {"return_correlation": -1.1}, "correlations_are_between_minus_one_and_one"),
        ("strategy_diversity", {"first": MONDAY}, "the_range_begins_before_it_ends"),
        ("strategy_diversity", {"other": "klm"}, "every_strategy_is_like_itself"),
        ("tail_backtest", {"exceptions": 251}, "no_more_exceptions_than_sessions"),
        ("tail_backtest", {"recent_exceptions": 248}, "no_more_recent_exceptions_than_sessions"),
        ("tail_backtest", {"kupiec": -0.1}, "counts_and_ratios_are_not_negative"),
        ("tail_backtest", {"kupiec_p": 1.1}, "probabilities_are_between_zero_and_one"),
        ("tail_backtest", {"zone": "amber"}, "accepted_values_zone"),
        ("tail_backtest", {"model": "guess"}, "accepted_values_model"),
        ("tail_backtest", {"first": MONDAY}, "the_range_begins_before_it_ends"),
        ("risk_report", {"part": None}, "not_null"),
        ("risk_report", {"share_of_limit": 0.6}, "the_share_is_that_of_the_limit"),
        ("risk_report", {"code": "too much"}, "matches_code"),
        ("risk_report", {"session": MONDAY}, "recency_session"),
        ("risk_report", UNLIMITED, "unique_grain"),
        ("risk_history", {"family": "bold"}, "accepted_values_family"),
        ("risk_history", {"kind": "whim"}, "accepted_values_kind"),
        ("risk_history", {"denied": 441}, "no_more_orders_than_there_were"),
        ("risk_history", {"sessions_acted": 1148}, "no_more_acted_than_judged"),
        ("risk_history", {"warned": -1}, "counts_are_not_negative"),
        ("risk_history", {"last_acted": MONDAY}, "it_acted_within_the_range"),
        ("risk_history", {"first": MONDAY}, "the_range_begins_before_it_ends"),
        ("bars", {"close": 0.0}, "prices_are_positive"),
        ("bars", {"low": -1.0}, "prices_are_positive"),
        ("bars", {"high": 0.2}, "high_is_not_below_low"),
        ("bars", {"close": 2.5}, "close_is_within_the_range"),
        ("bars", {"volume": -1.0}, "accepted_range_volume"),
        ("bars", {"symbol": "TECL"}, "unique_grain"),
        ("bars", {"session": MONDAY}, "recency_session"),
        ("data_freshness", {"feed": "too stale"}, "the_feed_is_usable"),
        ("data_freshness", {"feed": None}, "not_null"),
        ("data_freshness", {"status": "old"}, "accepted_values_status"),
        ("data_freshness", {"status": "stale"}, "not_null_reason"),
        ("data_freshness", {"newest_session": None}, "fresh_symbols_have_a_bar"),
        ("data_freshness", {"newest_session": MONDAY}, "no_bar_from_the_future"),
        ("data_freshness", {"age_sessions": -1.0}, "ages_are_not_negative"),
        ("data_freshness", {"session": MONDAY}, "recency_session"),
        ("data_freshness", {"symbol": "FNGU"}, "unique_grain"),
        ("asset_catalog", {"tradable": None}, "not_null"),
        ("indicators", {"value": 100.5}, "rsi_is_a_percentage"),
        ("indicators", {"observed": MONDAY}, "no_reading_from_the_future"),
        ("indicators", {"indicator": "sma"}, "unique_grain"),
        ("signals", {"weight": 0.2}, "sums_to_one_weight"),
        ("signals", {"weight": -0.25}, "accepted_range_weight"),
        ("signals", {"weight": None}, "available_is_complete"),
        ("signals", {"status": "perhaps"}, "accepted_values_status"),
        ("signals", {"symbol": "FNGU"}, "relationships_symbol"),
        ("signals", {"status": "unavailable"}, "not_null_reason"),
        ("signals", UNAVAILABLE | {"strategy": "nuclear"}, "one_row_while_unavailable"),
        ("allocation", {"weight": 0.4000001}, "sums_to_one_weight"),
        ("allocation", {"weight": 1.4}, "accepted_range_weight"),
        ("allocation", {"symbol": "FNGU"}, "relationships_symbol"),
        ("allocation", {"decided_on": MONDAY}, "no_decision_from_the_future"),
        ("allocation", {"status": "hold"}, "accepted_values_status"),
        ("portfolio_snapshot", {"market_value": Decimal("800.18")}, "market_value_is_quantity_at_price"),
        ("portfolio_snapshot", {"market_value": Decimal("800.15")}, "market_value_is_quantity_at_price"),
        ("portfolio_snapshot", {"symbol": "CASH"}, "unique_grain"),
        ("portfolio_snapshot", {"as_of": None}, "not_null"),
        ("order_plan", {"quantity": Decimal(0)}, "quantities_and_prices_are_positive"),
        ("order_plan", {"limit_price": Decimal(0)}, "quantities_and_prices_are_positive"),
        ("order_plan", {"limit_price": None}, "not_null_limit_price"),
        ("order_plan", {"side": "short"}, "accepted_values_side"),
        ("order_plan", {"client_order_id": "tp1-XYZ"}, "matches_client_order_id"),
        ("order_plan", {"execution_session": FRIDAY}, "executed_after_the_decision"),
        ("approved_orders", {"decision": "maybe"}, "accepted_values_decision"),
        (
            "approved_orders",
            {"approved_quantity": Decimal("1.4")},
            "never_more_than_planned_and_none_where_denied",
        ),
        (
            "approved_orders",
            {"decision": "denied", "breaches": "HALTED"},
            "never_more_than_planned_and_none_where_denied",
        ),
        ("approved_orders", {"decision": "reduced"}, "not_null_breaches"),
        ("execution_quality", {"client_order_id": "tp1-unknown"}, "relationships_client_order_id"),
        ("execution_quality", {"order_id": "venue-1"}, "matches_order_id"),
        ("execution_quality", {"state": "done"}, "accepted_values_state"),
        ("execution_quality", {"average_price": None}, "not_null_average_price"),
        ("execution_quality", {"filled_quantity": Decimal("1.4")}, "never_more_than_was_open"),
        ("execution_quality", {"slippage_bps": 2500.0}, "accepted_range_slippage_bps"),
        ("execution_quality", {"submit_to_ack_seconds": -0.5}, "latencies_are_not_negative"),
        ("execution_quality", {"resends": -1}, "counts_are_not_negative"),
        ("execution_quality", {"parked": None}, "not_null"),
        ("reconciliation", {"status": "break", "explanation": "10 before"}, "nothing_is_broken"),
        ("reconciliation", {"status": "external"}, "not_null_explanation"),
        ("reconciliation", {"difference": Decimal(1)}, "difference_is_theirs_less_ours"),
        ("reconciliation", {"ours": Decimal(1), "difference": Decimal("0.333333333")}, "what_is_equal_does_not_differ"),
        ("fills", {"client_order_id": "tp1-unknown"}, "relationships_client_order_id"),
        ("fills", {"price": Decimal(0)}, "quantity_and_price_are_positive"),
        ("fills", {"execution_session": FRIDAY}, "executed_after_the_decision"),
        ("fills", {"filled_at": None}, "not_null"),
    ],
)
def test_one_wrong_value_breaks_the_promise_about_it(table, change, promise):
    first, *others = KEPT[table]

    assert promise in broken(table, [first | change, *others])


@pytest.mark.parametrize("table", tables())
def test_a_table_without_rows_is_refused_unless_a_quiet_day_explains_it(table):
    quiet = {"order_plan", "approved_orders", "fills", "execution_quality"}

    assert broken(table, []) == (set() if table in quiet else {"row_count"})


def test_a_market_order_needs_no_limit_price():
    order = ORDER | {"order_type": "market", "limit_price": None}

    assert broken("order_plan", [order]) == set()


@pytest.mark.parametrize("first", [2, 1])
def test_orders_out_of_their_sequence_are_shown(first):
    orders = [
        ORDER | {"sequence": first},
        ORDER | {"sequence": 2, "symbol": "TECL", "client_order_id": ORDER_ID[:-1] + "4"},
    ]

    assert broken("order_plan", orders) == ({"increasing_sequence"} if first == 2 else set())


def test_weights_that_sum_to_one_by_float_rounding_are_accepted():
    shares = [SHARE | {"symbol": "SPY", "strategy": str(n), "weight": 0.1} for n in range(10)]

    assert broken("allocation", shares) == set()
    assert broken("allocation", [SHARE | {"weight": 1.0000000000000002}]) == set()
