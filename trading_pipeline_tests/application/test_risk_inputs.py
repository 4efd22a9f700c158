from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.application.market_watch import MarketSources
from trading_pipeline.application.risk_inputs import (
    HISTORY_SESSIONS,
    KnownFacts,
    RiskQuestion,
    account_state,
    average_dollar_volumes,
    closes_of,
    modelled_state,
    open_orders,
    sent_orders,
    strategy_weights,
)
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus, Side
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.decisions import Approved
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.state import OpenOrder
from trading_pipeline.domain.risk.trading_state import ACTIVE
from trading_pipeline.ports import Asset
from trading_pipeline_tests.risk_states import order

SESSION, EXECUTION = date(2026, 7, 30), date(2026, 7, 31)
EVENING = datetime(2026, 7, 30, 20, 30, tzinfo=UTC)
SYMBOLS = ("SPY", "TQQQ", "BIL")


def bars_of(symbols=SYMBOLS, count=HISTORY_SESSIONS, volume=1_000_000):
    days = sessions.sessions_between(sessions.previous_session(SESSION, count - 1), SESSION)
    moves = np.random.default_rng(3).normal(0, 0.01, (len(days), len(symbols)))
    closes = 100 * np.cumprod(1 + moves, axis=0)
    return pd.DataFrame(
        [
            {"symbol": symbol, "session": day, "close": closes[row, column], "volume": float(volume)}
            for row, day in enumerate(days)
            for column, symbol in enumerate(symbols)
        ]
    )


ASSETS = {symbol: Asset(symbol, symbol, "ARCA", tradable=True, fractionable=True) for symbol in SYMBOLS}
FACTS = KnownFacts(ASSETS, catalogue(), bars_of())
TARGET = Allocation(
    SESSION,
    (
        Contribution("TQQQ", "tecl", 0.5, SleeveStatus.DECIDED, SESSION),
        Contribution("TQQQ", "klm", 0.2, SleeveStatus.DECIDED, SESSION),
        Contribution("BIL", "klm", 0.1, SleeveStatus.DECIDED, SESSION),
        Contribution("CASH", "cash", 0.2, SleeveStatus.CASH, SESSION),
    ),
)
PORTFOLIO = Portfolio("SIM0001", EVENING, Decimal(9_000), {"SPY": Position("SPY", Decimal(10), Decimal(100))})
QUESTION = RiskQuestion(PORTFOLIO, frozenset({"TQQQ", "BIL"}), EXECUTION, EVENING)


def broker_order(name="tp1-a", status=OrderStatus.NEW, quantity=10, filled=0, limit="100", average=None, symbol="SPY"):
    return BrokerOrder(
        name,
        f"v-{name}",
        symbol,
        Side.BUY,
        Decimal(quantity),
        Decimal(filled),
        None if average is None else Decimal(average),
        None if limit is None else Decimal(limit),
        status,
        EVENING,
    )


class ScriptedAccount:
    """A broker that remembers what it was asked."""

    def __init__(self, orders=(), executions=()):
        self.all, self.done, self.asked = list(orders), list(executions), []

    def orders(self, since=None):
        self.asked.append(since)
        return [each for each in self.all if since is not None or not each.status.is_terminal]

    def executions(self, after):
        return [fill for fill in self.done if fill.filled_at >= after]

    def assets(self, symbols):
        return {symbol: ASSETS[symbol] for symbol in symbols if symbol in ASSETS}


class QuietMarket:
    def corporate_actions(self, symbols, first, last):
        return []


def state_of(broker, facts=FACTS):
    return account_state(QUESTION, TARGET, ACTIVE, facts, broker, MarketSources(broker, None, QuietMarket()))


def test_everything_that_the_engine_asks_for_is_known():
    state = state_of(ScriptedAccount())

    decisions = decide([order(symbol="TQQQ", quantity=50), order(symbol="BIL", quantity=10)], state, RiskLimits())

    assert all(isinstance(decision, Approved) for decision in decisions), decisions


def test_a_model_account_asks_nobody():
    state = modelled_state(QUESTION, TARGET, ACTIVE, FACTS)

    (decision,) = decide([order(symbol="TQQQ", quantity=50)], state, RiskLimits())

    assert isinstance(decision, Approved)
    assert (state.open_orders, state.sent, state.fills, state.locks) == ((), (), (), ())


def test_classes_are_those_of_the_day_on_which_the_orders_are_executed():
    state = modelled_state(QUESTION, TARGET, ACTIVE, FACTS)

    assert state.classes["TQQQ"].leverage == 3
    assert set(state.classes) == set(SYMBOLS)


def test_orders_of_the_session_count_from_the_close_before_it():
    broker = ScriptedAccount([broker_order(), broker_order("tp1-b", OrderStatus.FILLED, filled=10, average="99")])

    state = state_of(broker)

    assert broker.asked == [sessions.close_of(SESSION), None]
    assert [each.client_order_id for each in state.open_orders] == ["tp1-a"]
    assert [sent.value for sent in state.sent] == [1_000, 990]


def test_what_is_left_of_an_open_order_is_what_may_still_fill():
    partly = broker_order(status=OrderStatus.PARTIALLY_FILLED, filled=4)

    assert open_orders([partly]) == (OpenOrder("tp1-a", "SPY", Side.BUY, Decimal(6), Decimal(100)),)
    assert open_orders([broker_order(status=OrderStatus.FILLED)]) == ()
    assert open_orders([broker_order(limit=None)])[0].price is None


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (broker_order(status=OrderStatus.CANCELED, filled=3, average="99"), 297),
        (broker_order(status=OrderStatus.CANCELED), 0),
        (broker_order(status=OrderStatus.PARTIALLY_FILLED, filled=3, average="99"), 1_000),
    ],
)
def test_an_order_that_is_over_is_worth_what_it_traded_an_open_one_what_it_may(found, value):
    assert sent_orders([found])[0].value == value


def test_what_is_left_of_an_order_for_dollars_nobody_knows():
    for_dollars = broker_order(quantity=0, filled=70, limit=None)

    assert open_orders([for_dollars])[0].quantity.is_nan()
    assert sent_orders([for_dollars])[0].value.is_nan()


def test_a_refused_order_was_not_sent():
    assert sent_orders([broker_order(status=OrderStatus.REJECTED)]) == ()


def test_a_symbol_whose_orders_fail_again_and_again_is_locked():
    failed = [broker_order(f"tp1-{number}", OrderStatus.REJECTED, symbol="TQQQ") for number in range(6)]

    state = state_of(ScriptedAccount(failed))

    assert [lock.symbol for lock in state.locks] == ["TQQQ"]
    (decision,) = decide([order(symbol="TQQQ")], state, RiskLimits())
    assert "SYMBOL_LOCKED" in {breach.code for breach in decision.breaches}


def test_our_table_of_fills_and_the_brokers_newest_ones_are_one_ledger():
    known = Fill("e1", "tp1-a", "SPY", Side.BUY, Decimal(1), Decimal(90), Decimal(0), EVENING - timedelta(days=40))
    newest = replace(known, execution_id="e2", filled_at=EVENING - timedelta(hours=2))

    state = state_of(ScriptedAccount(executions=[known, newest]), replace(FACTS, fills=(known, newest)))

    assert [fill.execution_id for fill in state.usable_fills] == ["e1", "e2"]


def test_a_ledger_that_cannot_be_true_is_not_known():
    impossible = Fill("e1", "tp1-a", "SPY", Side.BUY, Decimal(-1), Decimal(90), Decimal(0), EVENING)

    assert state_of(ScriptedAccount(), replace(FACTS, fills=(impossible,))).usable_fills is None


def test_a_strategy_directs_its_symbols_and_no_cash():
    assert strategy_weights(TARGET) == {
        "tecl": {"TQQQ": Decimal("0.5")},
        "klm": {"TQQQ": Decimal("0.2"), "BIL": Decimal("0.1")},
    }


def test_the_average_volume_is_of_the_last_twenty_known_sessions():
    bars = bars_of(("SPY",), count=40)
    bars["close"] = 10.0
    bars["volume"] = [100.0] * 19 + [200.0] * 20 + [np.nan]

    assert average_dollar_volumes(bars) == {"SPY": Decimal(2_000)}
    assert average_dollar_volumes(bars.iloc[:0]) == {}


def test_a_session_without_a_bar_is_a_missing_close_and_not_left_out():
    bars = bars_of(("SPY", "BIL"), count=5)
    gap = bars["session"].unique()[2]

    closes = closes_of(bars[bars["session"] != gap], ("BIL", "SPY", "WHAT"))

    assert list(closes.columns) == ["BIL", "SPY", "WHAT"]
    assert len(closes) == 5
    assert closes.loc[gap].isna().all()
    assert closes["WHAT"].isna().all()


def test_no_bars_at_all_make_no_scenarios_and_deny_by_name():
    state = modelled_state(QUESTION, TARGET, ACTIVE, replace(FACTS, bars=FACTS.bars.iloc[:0]))

    (decision,) = decide([order(symbol="TQQQ")], state, RiskLimits())

    assert "returns of TQQQ" in str(decision.breaches[0])
    assert "average dollar volume" in str(decision.breaches[0])
