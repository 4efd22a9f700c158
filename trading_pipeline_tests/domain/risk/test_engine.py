from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.orders import OrderIntent, OrderType, Side, TimeInForce
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.limits import Approved, BreachCode, Denied, Reduced, RiskLimits
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode, TradingState

SYMBOLS = ("SPY", "QQQ", "FNGU")
PRICE = Decimal(100)


@dataclass(frozen=True)
class Word:
    tradable: bool = True
    fractionable: bool = True


ASSETS = {"SPY": Word(), "QQQ": Word(), "FNGU": Word(fractionable=False), "HALT": Word(tradable=False)}


def order(side=Side.BUY, quantity=10, symbol="SPY", **changed):
    intent = OrderIntent(
        client_order_id=f"tp1-{symbol}-{side}",
        sequence=1,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        order_type=OrderType.LIMIT,
        limit_price=PRICE,
        reference_price=PRICE,
        time_in_force=TimeInForce.DAY,
        reason="a test",
    )
    return replace(intent, **changed)


def account(cash=8_000, **shares):
    positions = {symbol: Position(symbol, Decimal(count), PRICE) for symbol, count in shares.items()}
    return Portfolio("SIM0001", datetime(2026, 7, 31, 20, tzinfo=UTC), Decimal(cash), positions)


def decide_all(*intents, portfolio=None, trading_state=ACTIVE, assets=ASSETS, **limits):
    return decide(intents, portfolio or account(SPY=20), RiskLimits(**limits), trading_state, assets)


def decide_one(intent, **given_facts):
    (decision,) = decide_all(intent, **given_facts)
    return decision


def codes(decision):
    return {breach.code for breach in decision.breaches}


def test_an_order_that_breaks_nothing_is_approved_whole():
    intent = order()

    assert decide_one(intent) == Approved(intent)
    assert decide_one(intent).quantity == 10


def test_a_market_order_is_judged_at_its_reference_price():
    market = order(order_type=OrderType.MARKET, limit_price=None)

    assert decide_one(market) == Approved(market)
    assert codes(decide_one(market, max_order_value=Decimal("999.99"))) == {BreachCode.ORDER_VALUE}


def test_a_buy_above_the_position_limit_is_reduced_to_the_most_that_holds_it():
    decision = decide_one(order(quantity=60), max_position_weight=Decimal("0.5"))

    assert isinstance(decision, Reduced)
    assert decision.quantity == 30
    assert codes(decision) == {BreachCode.POSITION_WEIGHT}


def test_a_reduced_quantity_is_rounded_down_to_the_instruments_step():
    limit = Decimal(1) / Decimal(3)

    fractional = decide_one(order(quantity=60), portfolio=account(cash=10_000), max_position_weight=limit)
    whole = decide_one(order(quantity=60, symbol="FNGU"), portfolio=account(cash=10_000), max_position_weight=limit)

    assert fractional.quantity == Decimal("33.333333333")
    assert whole.quantity == 33


def test_a_buy_for_which_there_is_no_room_is_denied():
    decision = decide_one(order(), portfolio=account(cash=8_000, SPY=80), max_position_weight=Decimal("0.5"))

    assert isinstance(decision, Denied)
    assert decision.quantity == 0


def test_a_quantity_finer_than_the_broker_takes_loses_the_excess():
    decision = decide_one(order(quantity="1.2345678901"))

    assert isinstance(decision, Reduced)
    assert decision.quantity == Decimal("1.234567890")
    assert codes(decision) == {BreachCode.QUANTITY_PRECISION}


def test_a_fraction_of_what_trades_whole_is_denied_when_nothing_is_left():
    decision = decide_one(order(quantity="0.9", symbol="FNGU"))

    assert isinstance(decision, Denied)
    assert codes(decision) == {BreachCode.QUANTITY_PRECISION}


def test_a_quantity_may_be_cut_for_two_reasons_at_once():
    decision = decide_one(order(quantity="60.5", symbol="FNGU"), max_position_weight=Decimal("0.123"))

    assert codes(decision) == {BreachCode.QUANTITY_PRECISION, BreachCode.POSITION_WEIGHT}
    assert decision.quantity == 12


@pytest.mark.parametrize(
    ("intent", "code"),
    [
        (order(quantity=10_001), BreachCode.ORDER_VALUE),
        (order(quantity=-1), BreachCode.QUANTITY_NOT_POSITIVE),
        (order(reference_price=Decimal(-100)), BreachCode.PRICE_NOT_POSITIVE),
        (order(limit_price=Decimal(-100)), BreachCode.PRICE_NOT_POSITIVE),
        (order(limit_price=Decimal("135.01")), BreachCode.PRICE_DEVIATION),
        (order(reference_price=Decimal("NaN")), BreachCode.INPUT_MISSING),
        (order(limit_price=None), BreachCode.INPUT_MISSING),
        (order(symbol="FNGZ"), BreachCode.ASSET_UNKNOWN),
        (order(symbol="HALT"), BreachCode.ASSET_NOT_TRADABLE),
        (order(Side.SELL, symbol="HALT"), BreachCode.ASSET_NOT_TRADABLE),
        (order(Side.SELL, quantity=21), BreachCode.SELLS_MORE_THAN_HELD),
    ],
)
def test_an_order_that_no_smaller_quantity_would_mend_is_denied(intent, code):
    decision = decide_one(intent)

    assert isinstance(decision, Denied)
    assert code in codes(decision)


def test_a_denial_names_every_limit_that_was_broken():
    decision = decide_one(order(Side.SELL, quantity=20_000, symbol="FNGZ"))

    assert codes(decision) == {BreachCode.ASSET_UNKNOWN, BreachCode.ORDER_VALUE, BreachCode.SELLS_MORE_THAN_HELD}


def test_a_halt_denies_everything_sales_included():
    halted = TradingState(TradingMode.HALTED, "a break in reconciliation")

    decisions = decide_all(order(Side.SELL), order(), trading_state=halted)

    assert [codes(decision) for decision in decisions] == [{BreachCode.TRADING_HALTED}] * 2
    assert all(isinstance(decision, Denied) for decision in decisions)


def test_while_reducing_only_what_is_held_is_sold():
    reducing = TradingState(TradingMode.REDUCING, "a break in reconciliation")

    sale, short, buy = decide_all(order(Side.SELL), order(Side.SELL, symbol="QQQ"), order(), trading_state=reducing)

    assert isinstance(sale, Approved)
    assert codes(short) == {BreachCode.SELLS_MORE_THAN_HELD}
    assert codes(buy) == {BreachCode.REDUCING_ONLY}
    assert "a break in reconciliation" in str(buy.breaches[0])


def test_a_blocked_account_trades_nothing():
    decision = decide_one(order(), portfolio=replace(account(), blocked="account_blocked"))

    assert codes(decision) == {BreachCode.ACCOUNT_BLOCKED}


def test_an_order_beyond_the_sessions_number_is_denied_and_denied_ones_do_not_count():
    decisions = decide_all(
        order(symbol="FNGZ"), order(quantity=1), order(quantity=1), order(quantity=1), max_orders_per_session=2
    )

    assert [type(decision) for decision in decisions] == [Denied, Approved, Approved, Denied]
    assert codes(decisions[-1]) == {BreachCode.ORDERS_PER_SESSION}


def test_earlier_buys_of_a_plan_leave_less_room_for_later_ones():
    first, second = decide_all(order(quantity=20), order(quantity=20), max_position_weight=Decimal("0.5"))

    assert isinstance(first, Approved)
    assert second.quantity == 10


def test_the_same_shares_are_not_sold_twice():
    first, second = decide_all(order(Side.SELL, quantity=15), order(Side.SELL, quantity=15))

    assert isinstance(first, Approved)
    assert codes(second) == {BreachCode.SELLS_MORE_THAN_HELD}


def test_a_position_above_its_limit_can_be_sold_down_in_steps_that_do_not_reach_the_limit():
    decision = decide_one(
        order(Side.SELL, quantity=1), portfolio=account(cash=0, SPY=100), max_position_weight=Decimal("0.1")
    )

    assert isinstance(decision, Approved)


def test_no_intents_make_no_decisions():
    assert decide_all() == ()


quantities = st.decimals(Decimal(-5), Decimal(300), places=10)
intents = st.builds(
    order,
    side=st.sampled_from(Side),
    quantity=quantities,
    symbol=st.sampled_from([*SYMBOLS, "HALT", "FNGZ"]),
    limit_price=st.sampled_from([PRICE, Decimal(101), Decimal(99), Decimal(0), Decimal(150), None]),
)
plans = st.lists(intents, max_size=8)
accounts = st.builds(
    account,
    cash=st.decimals(-5_000, 20_000, places=2),
    SPY=st.decimals(0, 200, places=9),
    QQQ=st.decimals(0, 200, places=9),
    FNGU=st.integers(0, 200),
)
limit_sets = st.fixed_dictionaries(
    {
        "max_position_weight": st.sampled_from([Decimal("0.1"), Decimal("0.35"), Decimal(1)]),
        "max_order_value": st.sampled_from([Decimal(500), Decimal(20_000)]),
        "max_orders_per_session": st.integers(1, 5),
    }
)


def after(portfolio, decisions):
    cash, shares = portfolio.cash, {symbol: held.quantity for symbol, held in portfolio.positions.items()}
    for decision in decisions:
        symbol, signed = decision.intent.symbol, decision.quantity * (1 if decision.intent.side is Side.BUY else -1)
        shares[symbol] = shares.get(symbol, Decimal(0)) + signed
        cash -= signed * PRICE
    return account(cash, **shares)


@given(plans, accounts, limit_sets)
def test_no_decision_allows_more_than_was_intended(plan, portfolio, limits):
    for decision in decide_all(*plan, portfolio=portfolio, **limits):
        assert 0 <= decision.quantity <= max(decision.intent.quantity, Decimal(0))


@given(plans, accounts, limit_sets)
def test_the_kind_of_a_decision_says_how_much_is_left_of_the_order(plan, portfolio, limits):
    for decision in decide_all(*plan, portfolio=portfolio, **limits):
        match decision:
            case Approved():
                assert decision.quantity == decision.intent.quantity > 0
            case Reduced():
                assert 0 < decision.quantity < decision.intent.quantity
            case Denied():
                assert decision.quantity == 0
        assert bool(decision.breaches) != isinstance(decision, Approved)


@given(plans, accounts, limit_sets)
def test_decisions_never_raise_a_weight_above_its_limit(plan, portfolio, limits):
    decisions = decide_all(*plan, portfolio=portfolio, **limits)
    buys_only = [decision for decision in decisions if decision.intent.side is Side.BUY]
    most = limits["max_position_weight"] * portfolio.equity

    end = after(portfolio, buys_only)

    for symbol, held in end.positions.items():
        assert held.market_value <= most or held.quantity == portfolio.quantity(symbol)


@given(plans, accounts, limit_sets)
def test_decisions_never_leave_a_short_position(plan, portfolio, limits):
    decisions = decide_all(*plan, portfolio=portfolio, **limits)
    sales_only = [decision for decision in decisions if decision.intent.side is Side.SELL]

    assert all(held.quantity >= 0 for held in after(portfolio, sales_only).positions.values())


@given(plans, accounts, limit_sets)
def test_no_more_orders_pass_than_a_session_may_have(plan, portfolio, limits):
    decisions = decide_all(*plan, portfolio=portfolio, **limits)

    assert sum(not isinstance(decision, Denied) for decision in decisions) <= limits["max_orders_per_session"]


@given(plans, accounts, limit_sets)
def test_what_passed_would_pass_again_unchanged(plan, portfolio, limits):
    decisions = decide_all(*plan, portfolio=portfolio, **limits)
    passed = [replace(decision.intent, quantity=decision.quantity) for decision in decisions if decision.quantity > 0]

    again = decide_all(*passed, portfolio=portfolio, **limits)

    assert all(isinstance(decision, Approved) for decision in again)


@given(plans, accounts, limit_sets)
def test_each_order_gets_one_decision_in_the_plans_order(plan, portfolio, limits):
    decisions = decide_all(*plan, portfolio=portfolio, **limits)

    assert [decision.intent for decision in decisions] == plan
