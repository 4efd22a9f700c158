from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.orders import OrderIntent, OrderType, Side, TimeInForce
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk import rules
from trading_pipeline.domain.risk.limits import Breach, BreachCode, RiskLimits
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode, TradingState

NAN = Decimal("NaN")
LIMITS = RiskLimits(
    max_position_weight=Decimal("0.5"),
    max_order_value=Decimal(10_000),
    max_orders_per_session=3,
    max_price_deviation=Decimal("0.05"),
)


@dataclass(frozen=True)
class Word:
    tradable: bool = True
    fractionable: bool = True


def order(side=Side.BUY, quantity=10, symbol="SPY", price=100, limit_price=101):
    return OrderIntent(
        client_order_id="tp1-0",
        sequence=1,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        order_type=OrderType.LIMIT,
        limit_price=Decimal(limit_price),
        reference_price=Decimal(price),
        time_in_force=TimeInForce.DAY,
        reason="a test",
    )


def sale(quantity, **changed):
    return order(Side.SELL, quantity, **{"limit_price": 99, **changed})


def account(cash=8_000, **shares):
    held = shares or {"SPY": 20}
    positions = {symbol: Position(symbol, Decimal(count), Decimal(100)) for symbol, count in held.items()}
    return Portfolio("SIM0001", datetime(2026, 7, 31, 20, tzinfo=UTC), Decimal(cash), positions)


STATE = rules.PlanState(
    portfolio=account(),
    limits=LIMITS,
    trading_state=ACTIVE,
    assets={"SPY": Word()},
    approved_orders=0,
    bought={},
    sold={},
)
HALTED = TradingState(TradingMode.HALTED, "drawdown", "risk watch")
REDUCING = TradingState(TradingMode.REDUCING, "a break", "reconciliation")

# For each code: its rule, what breaks it, and what just holds it.
CASES = {
    BreachCode.TRADING_HALTED: (
        rules.trading_halted,
        (order(), replace(STATE, trading_state=HALTED)),
        (order(), STATE),
    ),
    BreachCode.REDUCING_ONLY: (
        rules.reducing_only,
        (order(), replace(STATE, trading_state=REDUCING)),
        (sale(1), replace(STATE, trading_state=REDUCING)),
    ),
    BreachCode.ACCOUNT_BLOCKED: (
        rules.account_blocked,
        (order(), replace(STATE, portfolio=replace(account(), blocked="trading_blocked"))),
        (order(), STATE),
    ),
    BreachCode.INPUT_MISSING: (
        rules.missing_input,
        (replace(order(), reference_price=NAN), STATE),
        (order(), STATE),
    ),
    BreachCode.ASSET_UNKNOWN: (
        rules.unknown_asset,
        (order(symbol="FNGZ"), STATE),
        (order(), STATE),
    ),
    BreachCode.ASSET_NOT_TRADABLE: (
        rules.untradable_asset,
        (order(), replace(STATE, assets={"SPY": Word(tradable=False)})),
        (order(), STATE),
    ),
    BreachCode.QUANTITY_NOT_POSITIVE: (
        rules.quantity_sign,
        (order(quantity=0), STATE),
        (order(quantity="0.000000001"), STATE),
    ),
    BreachCode.QUANTITY_PRECISION: (
        rules.quantity_precision,
        (order(quantity="1.0000000001"), STATE),
        (order(quantity="1.000000001"), STATE),
    ),
    BreachCode.PRICE_NOT_POSITIVE: (
        rules.price_sign,
        (order(price=-100), STATE),
        (order(price="0.0001", limit_price="0.0001"), STATE),
    ),
    BreachCode.PRICE_DEVIATION: (
        rules.price_deviation,
        (order(limit_price="105.01"), STATE),
        (order(limit_price=105), STATE),
    ),
    BreachCode.ORDER_VALUE: (
        rules.order_value,
        (order(quantity=100, limit_price="100.01"), STATE),
        (order(quantity=100, limit_price=100), STATE),
    ),
    BreachCode.ORDERS_PER_SESSION: (
        rules.orders_per_session,
        (order(), replace(STATE, approved_orders=3)),
        (order(), replace(STATE, approved_orders=2)),
    ),
    BreachCode.SELLS_MORE_THAN_HELD: (
        rules.sells_more_than_held,
        (sale("20.000000001"), STATE),
        (sale(20), STATE),
    ),
    BreachCode.POSITION_WEIGHT: (
        rules.position_weight,
        (order(quantity="30.000000001"), STATE),
        (order(quantity=30), STATE),
    ),
}


def test_every_breach_code_has_a_case_here():
    assert CASES.keys() == set(BreachCode)


@pytest.mark.parametrize("code", CASES)
def test_what_breaks_a_limit_is_reported_under_its_code(code):
    rule, broken, _ = CASES[code]

    assert rule(*broken).code is code


@pytest.mark.parametrize("code", CASES)
def test_what_just_holds_a_limit_passes(code):
    rule, _, held = CASES[code]

    assert rule(*held) is None


@pytest.mark.parametrize("code", CASES)
def test_a_breach_reads_as_a_phrase_that_starts_with_its_code(code):
    rule, broken, _ = CASES[code]

    assert str(rule(*broken)).startswith(f"{code.value} ")


def test_every_code_explains_itself_in_one_sentence_of_its_own():
    sentences = [code.sentence for code in BreachCode]

    assert all(sentence.endswith(".") and sentence.count(".") == 1 for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_a_breach_says_what_was_measured_and_what_was_allowed():
    breach = rules.position_weight(order(quantity=50), STATE)

    assert breach == Breach(BreachCode.POSITION_WEIGHT, Decimal("0.7"), Decimal("0.5"))
    assert str(breach) == "POSITION_WEIGHT 0.7 > 0.5"


@pytest.mark.parametrize("field", ["quantity", "reference_price", "limit_price"])
@pytest.mark.parametrize("value", [None, NAN, Decimal("Infinity")])
def test_a_figure_of_an_order_that_is_no_number_is_missing(field, value):
    breach = rules.missing_input(replace(order(), **{field: value}), STATE)

    assert breach.measured == field.replace("_", " ")


def test_a_market_order_needs_no_limit_price():
    market = replace(order(), order_type=OrderType.MARKET, limit_price=None)

    assert rules.missing_input(market, STATE) is None
    assert rules.price_deviation(market, STATE) is None


def with_bad_mark(symbol):
    portfolio = account(SPY=20, QQQ=20)
    bad = replace(portfolio.positions[symbol], price=NAN)
    return replace(STATE, portfolio=replace(portfolio, positions={**portfolio.positions, symbol: bad}))


def test_a_buy_needs_the_whole_accounts_equity():
    assert rules.missing_input(order(), with_bad_mark("QQQ")).measured == "equity"


def test_a_sale_does_not_wait_for_another_holdings_price():
    assert rules.missing_input(sale(5), with_bad_mark("QQQ")) is None


def test_an_unknown_or_untradable_symbol_cannot_be_sold_either():
    assert rules.unknown_asset(sale(5, symbol="FNGZ"), STATE)
    assert rules.untradable_asset(sale(5), replace(STATE, assets={"SPY": Word(tradable=False)}))


@pytest.mark.parametrize("limit_price", ["94.99", "105.01"])
def test_a_limit_price_is_refused_on_either_side_of_the_reference(limit_price):
    assert rules.price_deviation(order(limit_price=limit_price), STATE)


@pytest.mark.parametrize("prices", [{"price": -1}, {"limit_price": -1}, {"price": 0}, {"limit_price": 0}])
def test_a_price_of_zero_or_less_is_refused_wherever_it_stands(prices):
    assert rules.price_sign(order(**prices), STATE)


def test_an_orders_value_is_taken_at_its_higher_price():
    assert rules.order_value(sale(100, price="100.01", limit_price=99), STATE).measured == Decimal("10001")


def test_too_large_a_sale_is_refused_as_too_large_a_buy_is():
    assert rules.order_value(sale(101), STATE)


def test_what_an_earlier_order_sells_cannot_be_sold_again():
    state = replace(STATE, sold={"SPY": Decimal(15)})

    assert rules.sells_more_than_held(sale(6), state)
    assert rules.sells_more_than_held(sale(5), state) is None


def test_a_short_position_has_nothing_to_sell():
    breach = rules.sells_more_than_held(sale(1), replace(STATE, portfolio=account(SPY=-20)))

    assert breach.limit == 0


def test_what_earlier_orders_buy_counts_towards_the_weight():
    assert rules.position_weight(order(quantity=20), replace(STATE, bought={"SPY": Decimal(11)}))


def test_what_an_earlier_order_sells_makes_no_room_because_it_may_never_fill():
    assert rules.position_weight(order(quantity=31), replace(STATE, sold={"SPY": Decimal(20)}))


OVERWEIGHT = replace(STATE, portfolio=account(cash=0, SPY=100))


@given(st.decimals(Decimal("0.000000001"), 100, places=9))
def test_a_sale_of_held_shares_passes_even_above_the_position_limit(quantity):
    assert rules.position_weight(sale(quantity), OVERWEIGHT) is None


def test_a_buy_above_the_position_limit_is_refused_however_small():
    assert rules.position_weight(order(quantity="0.000000001"), OVERWEIGHT)


def test_buying_back_a_short_position_lowers_its_weight():
    state = replace(STATE, portfolio=account(cash=30_000, SPY=-200))

    assert rules.position_weight(order(quantity=50), state) is None


def test_an_account_without_equity_has_room_for_nothing():
    breach = rules.position_weight(order(quantity=1), replace(STATE, portfolio=account(cash=-2_000)))

    assert breach.measured == Decimal("Infinity")


quantities = st.decimals(Decimal("0.000000001"), 1_000, places=9)
held_quantities = st.decimals(0, 1_000, places=9)
prices = st.decimals(Decimal("0.01"), 5_000, places=4)
weights = st.decimals(Decimal("0.01"), 1, places=4)


@given(held_quantities, held_quantities, prices, weights, st.booleans())
def test_the_largest_buy_holds_the_limit_and_one_step_more_does_not(held, bought, price, weight, fractionable):
    state = replace(
        STATE,
        portfolio=account(cash=100_000, SPY=held),
        limits=replace(LIMITS, max_position_weight=weight),
        assets={"SPY": Word(fractionable=fractionable)},
        bought={"SPY": bought},
    )
    buy = order(price=price, limit_price=price)

    largest = rules.largest_position_buy(buy, state)

    assert largest % state.step("SPY") == 0
    assert largest == 0 or rules.position_weight(replace(buy, quantity=largest), state) is None
    assert rules.position_weight(replace(buy, quantity=largest + state.step("SPY")), state)


@given(quantities, held_quantities, prices)
def test_no_accepted_buy_leaves_more_weight_than_allowed(quantity, held, price):
    state = replace(STATE, portfolio=account(cash=50_000, SPY=held))
    accepted = rules.position_weight(order(quantity=quantity, price=price), state) is None

    within = (held + quantity) * price <= state.portfolio.equity / 2

    assert accepted == within


def test_where_the_broker_is_silent_shares_are_whole():
    assert replace(STATE, assets={}).step("SPY") == 1
    assert replace(STATE, assets={"SPY": Word(fractionable=False)}).step("SPY") == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"max_position_weight": Decimal(0)},
        {"max_order_value": NAN},
        {"max_orders_per_session": 0},
        {"max_price_deviation": Decimal(-1)},
    ],
)
def test_a_limit_that_is_no_positive_number_is_refused_by_name(changed):
    with pytest.raises(InvalidInput, match=next(iter(changed))):
        RiskLimits(**changed)
