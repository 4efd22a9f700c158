from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import OrderType, Side
from trading_pipeline.domain.portfolio import Position
from trading_pipeline.domain.risk.day_trades import DayTradeRule
from trading_pipeline.domain.risk.decisions import Approved, Breach, BreachCode, Denied, Reduced
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.limits import FAMILIES, LimitFamily, RiskLimits
from trading_pipeline.domain.risk.scenarios import scenarios_of
from trading_pipeline.domain.risk.state import OpenOrder, SentOrder
from trading_pipeline.domain.risk.surveillance import SymbolLock
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline_tests.risk_states import (
    ASSETS,
    NOW,
    OFF,
    PRICE,
    SCENARIOS,
    SESSION,
    Word,
    account,
    closes,
    only,
    order,
    risk_state,
)

NAN = Decimal("NaN")
STATE = risk_state()
HALTED = TradingState(TradingMode.HALTED, "drawdown", "risk watch")
REDUCING = TradingState(TradingMode.REDUCING, "a break", "reconciliation")
# Said before anything is sent only by the gate at the last hop, and tested with it.
LAST_HOP = {BreachCode.ORDER_WITHOUT_DECISION, BreachCode.PARENT_QUANTITY, BreachCode.PARENT_ORDERS}


def sale(quantity=5, **changed):
    return order(Side.SELL, quantity, **changed)


def fill(side, quantity=10, price=100, hours=-1, symbol="SPY"):
    at = NOW + timedelta(hours=hours)
    return Fill(f"e{hours}", f"tp1-{hours}", symbol, side, Decimal(quantity), Decimal(price), Decimal(0), at)


def sent(count=1, value=1_000, seconds=-5):
    earlier = SentOrder("SPY", Side.BUY, Decimal(10), Decimal(value), NOW + timedelta(seconds=seconds))
    return (earlier,) * count


def market(**changed):
    return replace(STATE.market, **changed)


def half():
    return Decimal("0.5")


def with_weights(**by_strategy):
    return {name: {"SPY": Decimal(weight)} for name, weight in by_strategy.items()}


# Three day trades in the four sessions before, and a purchase today.
DAY_TRADING = (
    *(
        fill(side, hours=hours, quantity=1)
        for day in (-1, -2, -3)
        for side, hours in ((Side.BUY, 24 * day), (Side.SELL, 24 * day + 1))
    ),
    fill(Side.BUY, quantity=1),
)
LOST = (fill(Side.BUY, price=150, hours=-24 * 60), fill(Side.BUY, price=120, hours=-24 * 10, quantity=5))

# For each code: the limits that are on, what breaks it, and what just holds it.
CASES = {
    BreachCode.TRADING_HALTED: (only(), (sale(), {"trading_state": HALTED}), (sale(), {"trading_state": REDUCING})),
    BreachCode.REDUCING_ONLY: (only(), (order(), {"trading_state": REDUCING}), (sale(), {"trading_state": REDUCING})),
    BreachCode.ACCOUNT_BLOCKED: (
        only(),
        (sale(), {"portfolio": replace(account(SPY=20), blocked="trading_blocked")}),
        (sale(), {}),
    ),
    BreachCode.INPUT_MISSING: (only(), (order(reference_price=NAN), {}), (order(), {})),
    BreachCode.ASSET_UNKNOWN: (
        only(),
        (order(symbol="FNGZ"), {"market": market(symbols=frozenset({"FNGZ"}))}),
        (order(), {}),
    ),
    BreachCode.ASSET_NOT_TRADABLE: (only(), (order(symbol="HALT"), {}), (order(), {})),
    BreachCode.MARKET_HALTED: (only(), (sale(), {"market": market(halt="level 1")}), (sale(), {})),
    BreachCode.SYMBOL_HALTED: (
        only(),
        (sale(), {"market": market(halted={"SPY": "no trade for long"})}),
        (sale(), {"market": market(halted={"QQQ": "no trade for long"})}),
    ),
    BreachCode.CORPORATE_ACTION: (
        only(),
        (sale(), {"market": market(corporate_actions={"SPY": "a split"})}),
        (sale(), {"market": market(corporate_actions={"QQQ": "a split"})}),
    ),
    BreachCode.SYMBOL_LOCKED: (
        only(),
        (order(), {"locks": (SymbolLock("SPY", "churn", NOW + timedelta(seconds=1)),)}),
        (order(), {"locks": (SymbolLock("SPY", "churn", NOW),)}),
    ),
    BreachCode.WASH_TRADE: (
        only(),
        (order(), {"open_orders": (OpenOrder("tp1-o", "SPY", Side.SELL, Decimal(1), PRICE),)}),
        (order(), {"open_orders": (OpenOrder("tp1-o", "SPY", Side.BUY, Decimal(1), PRICE),)}),
    ),
    BreachCode.QUANTITY_NOT_POSITIVE: (only(), (order(quantity=0), {}), (order(quantity="0.000000001"), {})),
    BreachCode.QUANTITY_PRECISION: (only(), (order(quantity="1.0000000001"), {}), (order(quantity="1.000000001"), {})),
    BreachCode.PRICE_NOT_POSITIVE: (only(), (order(price=-100), {}), (order(price="0.0001"), {})),
    BreachCode.PRICE_TICK: (
        only(),
        (order(limit_price=Decimal("100.001")), {}),
        (order(limit_price=Decimal("100.01")), {}),
    ),
    BreachCode.PRICE_DEVIATION: (
        only(max_price_deviation=Decimal("0.05")),
        (order(limit_price=Decimal("105.01")), {}),
        (order(limit_price=Decimal(105)), {}),
    ),
    BreachCode.MARKET_ORDER: (
        only(allow_market_orders=False),
        (order(order_type=OrderType.MARKET, limit_price=None), {}),
        (order(), {}),
    ),
    BreachCode.ORDER_VALUE: (
        only(max_order_value=Decimal(1_000)),
        (order(limit_price=Decimal("100.01")), {}),
        (order(), {}),
    ),
    BreachCode.ORDERS_PER_SESSION: (
        only(max_orders_per_session=3),
        (order(), {"sent": sent(3)}),
        (order(), {"sent": sent(2)}),
    ),
    BreachCode.SESSION_TURNOVER: (
        only(max_session_turnover=Decimal("0.3")),
        (order(), {"sent": sent(1, value="2000.01")}),
        (order(), {"sent": sent(1, value=2_000)}),
    ),
    BreachCode.DUPLICATE_ORDER: (
        only(max_identical_orders=2),
        (order(), {"sent": sent(2)}),
        (order(), {"sent": sent(1) + sent(1, seconds=-60)}),
    ),
    BreachCode.PARTICIPATION: (
        only(max_participation=Decimal("0.01")),
        (order(), {"average_dollar_volumes": {"SPY": Decimal("99999.99")}}),
        (order(), {"average_dollar_volumes": {"SPY": Decimal(100_000)}}),
    ),
    BreachCode.SELLS_MORE_THAN_HELD: (only(), (sale("20.000000001"), {}), (sale(20), {})),
    BreachCode.BUYING_POWER: (only(), (order(quantity="80.000000001"), {}), (order(quantity=80), {})),
    BreachCode.POSITION_WEIGHT: (
        only(max_position_weight=half()),
        (order(quantity="30.000000001"), {}),
        (order(quantity=30), {}),
    ),
    BreachCode.LEVERAGED_WEIGHT: (
        only(max_leveraged_weight=half()),
        (order(quantity="50.000000001", symbol="TQQQ"), {}),
        (order(quantity=60), {}),
    ),
    BreachCode.STRATEGY_SHARE: (
        only(max_strategy_share=half()),
        (order(), {"strategy_weights": with_weights(tecl="0.500000001")}),
        (order(), {"strategy_weights": with_weights(tecl="0.5", klm="0.5")}),
    ),
    BreachCode.GROSS_LEVERAGE: (
        only(max_gross_leverage=half()),
        (order(quantity="30.000000001", symbol="QQQ"), {}),
        (order(quantity=30, symbol="QQQ"), {}),
    ),
    BreachCode.NET_LEVERAGE: (
        only(max_net_leverage=half()),
        (order(quantity="30.000000001", symbol="QQQ"), {}),
        (order(quantity=30, symbol="QQQ"), {}),
    ),
    BreachCode.EFFECTIVE_LEVERAGE: (
        only(max_effective_leverage=Decimal("1.1")),
        (order(quantity="30.000000001", symbol="SQQQ"), {}),
        (order(quantity=30, symbol="SQQQ"), {}),
    ),
    BreachCode.CONCENTRATION: (
        only(max_concentration=Decimal("0.08")),
        (order(quantity="20.000000001", symbol="QQQ"), {}),
        (order(quantity=20, symbol="QQQ"), {}),
    ),
    BreachCode.CLASS_EXPOSURE: (
        only(max_class_exposure=Decimal("0.3")),
        (order(quantity="10.000000001", symbol="TQQQ"), {}),
        (order(quantity=30, symbol="TLT"), {}),
    ),
    BreachCode.SECTOR_EXPOSURE: (
        only(max_sector_exposure=Decimal("0.3")),
        (order(quantity="30.000000001", symbol="TECL"), {}),
        (order(quantity=30, symbol="TECL"), {}),
    ),
    BreachCode.UNCLASSIFIED_EXPOSURE: (
        only(max_unclassified_exposure=Decimal("0.05")),
        (order(quantity="5.000000001", symbol="WHAT"), {}),
        (order(quantity=5, symbol="WHAT"), {}),
    ),
    BreachCode.VALUE_AT_RISK: (
        only(max_value_at_risk=Decimal("0.006")),
        (order(quantity=60), {}),
        (order(quantity="0.001"), {}),
    ),
    BreachCode.EXPECTED_SHORTFALL: (
        only(max_expected_shortfall=Decimal("0.007")),
        (order(quantity=60), {}),
        (order(quantity="0.001"), {}),
    ),
    BreachCode.INTRADAY_MARGIN: (
        only(margin_buffer=Decimal("0.8")),
        (order(quantity=10, symbol="TQQQ"), {"portfolio": account(cash=-100, SPY=30)}),
        (order(quantity=10, symbol="TQQQ"), {"portfolio": account(cash=1_000, SPY=30)}),
    ),
    BreachCode.DAY_TRADES: (
        only(day_trade_rule=DayTradeRule.LEGACY_PDT),
        (sale(), {"fills": DAY_TRADING}),
        (sale(), {"fills": DAY_TRADING[2:]}),
    ),
    BreachCode.WASH_SALE: (
        only(block_wash_sales=True),
        (sale(), {"fills": LOST}),
        (sale(), {"fills": LOST[:1]}),
    ),
}


def decided(intent, limits, facts):
    (decision,) = decide([intent], replace(STATE, **facts), limits)
    return decision


def codes(decision):
    return {breach.code for breach in decision.breaches}


def test_every_breach_code_has_a_case_here():
    assert CASES.keys() | LAST_HOP == set(BreachCode)


@pytest.mark.parametrize("code", CASES)
def test_what_breaks_a_limit_is_reported_under_its_code(code):
    limits, (intent, facts), _ = CASES[code]

    assert code in codes(decided(intent, limits, facts))


@pytest.mark.parametrize("code", CASES)
def test_what_just_holds_a_limit_passes(code):
    limits, _, (intent, facts) = CASES[code]

    assert code not in codes(decided(intent, limits, facts))


@pytest.mark.parametrize("code", CASES)
def test_a_breach_reads_as_a_phrase_that_starts_with_its_code(code):
    limits, (intent, facts), _ = CASES[code]

    assert any(str(breach).startswith(f"{code.value} ") for breach in decided(intent, limits, facts).breaches)


def test_every_code_explains_itself_in_one_sentence_of_its_own():
    sentences = [code.sentence for code in BreachCode]

    assert all(sentence.endswith(".") and sentence.count(".") == 1 for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_a_breach_says_what_was_measured_and_what_was_allowed():
    (breach,) = decided(order(quantity=50), only(max_position_weight=half()), {}).breaches

    assert breach == Breach(BreachCode.POSITION_WEIGHT, Decimal("0.7"), Decimal("0.5"))
    assert str(breach) == "POSITION_WEIGHT 0.7 > 0.5"


def missing(intent, limits=OFF, **facts):
    breaches = decided(intent, limits, facts).breaches
    return [breach.measured for breach in breaches if breach.code is BreachCode.INPUT_MISSING]


@pytest.mark.parametrize("field", ["quantity", "reference_price", "limit_price"])
@pytest.mark.parametrize("value", [None, NAN, Decimal("Infinity"), Decimal("1e30"), Decimal("-1e13")])
def test_a_figure_of_an_order_that_is_no_number_is_missing(field, value):
    assert missing(replace(order(), **{field: value})) == [field.replace("_", " ")]


def test_a_market_order_needs_no_limit_price():
    market_order = order(order_type=OrderType.MARKET, limit_price=None)

    assert isinstance(decided(market_order, only(max_price_deviation=Decimal("0.01")), {}), Approved)


NEEDED_BY_BUYS = {
    "strategy_weights": only(max_strategy_share=half()),
    "scenarios": only(max_expected_shortfall=half()),
}
NEEDED_BY_ALL = {
    "open_orders": OFF,
    "sent": OFF,
    "market": OFF,
    "locks": OFF,
    "average_dollar_volumes": only(max_participation=Decimal("0.01")),
    "fills": only(day_trade_rule=DayTradeRule.LEGACY_PDT),
}


@pytest.mark.parametrize("fact", NEEDED_BY_BUYS | NEEDED_BY_ALL)
def test_what_was_not_learned_denies_a_buy_whose_limits_need_it(fact):
    assert missing(order(), (NEEDED_BY_BUYS | NEEDED_BY_ALL)[fact], **{fact: None})


@pytest.mark.parametrize("fact", NEEDED_BY_ALL)
def test_what_concerns_the_symbol_is_needed_for_its_sale_too(fact):
    assert missing(sale(), NEEDED_BY_ALL[fact], **{fact: None})


@pytest.mark.parametrize("fact", ["strategy_weights", "scenarios"])
def test_a_sale_does_not_wait_for_what_concerns_the_whole_account(fact):
    assert not missing(sale(), RiskLimits(), **{fact: None})


@pytest.mark.parametrize("fact", ["average_dollar_volumes", "fills", "strategy_weights", "scenarios"])
def test_a_limit_that_is_off_needs_nothing(fact):
    assert isinstance(decided(order(), OFF, {fact: None}), Approved)


def with_bad_mark(symbol):
    portfolio = account(SPY=20, QQQ=20)
    bad = replace(portfolio.positions[symbol], price=NAN)
    return replace(portfolio, positions={**portfolio.positions, symbol: bad})


def test_a_buy_needs_the_whole_accounts_equity():
    (found,) = missing(order(), portfolio=with_bad_mark("QQQ"))

    assert "equity" in found


def test_a_sale_does_not_wait_for_another_holdings_price():
    assert isinstance(decided(sale(), RiskLimits(), {"portfolio": with_bad_mark("QQQ")}), Approved)


def test_an_open_order_at_an_unknown_price_denies_buys():
    unpriced = OpenOrder("tp1-o", "QQQ", Side.BUY, Decimal(1), None)

    assert missing(order(), open_orders=(unpriced,)) == ["value of the holdings and open orders"]


def test_a_holding_without_a_history_denies_buys_by_name_and_lets_sales_pass():
    few = scenarios_of(closes(("SPY",)))
    facts = {"portfolio": account(SPY=20, QQQ=1), "scenarios": few}

    assert missing(order(), RiskLimits(), **facts) == ["returns of QQQ (not asked for)"]
    assert isinstance(decided(sale(), RiskLimits(), facts), Approved)


def test_a_symbol_that_the_market_says_nothing_of_is_neither_bought_nor_sold():
    silent = market(unread={"corporate actions": "timed out"})

    assert missing(order(), market=silent)
    assert missing(sale(), market=silent)


def test_an_unknown_or_untradable_symbol_cannot_be_sold_either():
    held = account(SPY=20, HALT=5)

    assert BreachCode.ASSET_UNKNOWN in codes(decided(sale(), OFF, {"assets": {}}))
    assert BreachCode.ASSET_NOT_TRADABLE in codes(decided(sale(symbol="HALT"), OFF, {"portfolio": held}))


@pytest.mark.parametrize("limit_price", ["94.99", "105.01"])
def test_a_limit_price_is_refused_on_either_side_of_the_reference(limit_price):
    far = order(limit_price=Decimal(limit_price))

    assert codes(decided(far, only(max_price_deviation=Decimal("0.05")), {})) == {BreachCode.PRICE_DEVIATION}


def test_an_orders_value_is_taken_at_its_higher_price():
    dear = sale(10, reference_price=Decimal("100.01"), limit_price=Decimal(99))

    assert decided(dear, only(max_order_value=Decimal(1_000)), {}).breaches[0].measured == Decimal("1000.1")


def test_a_short_position_has_nothing_to_sell():
    decision = decided(sale(1), OFF, {"portfolio": account(SPY=-20)})

    assert decision.breaches[0].limit == 0


def open_order(side, quantity, symbol="SPY"):
    return OpenOrder("tp1-o", symbol, side, Decimal(quantity), PRICE)


def test_what_open_orders_buy_counts_towards_the_weight():
    decision = decided(
        order(quantity=20), only(max_position_weight=half()), {"open_orders": (open_order(Side.BUY, 11),)}
    )

    assert isinstance(decision, Reduced)
    assert decision.quantity == 19


def test_what_open_orders_sell_makes_no_room_because_it_may_never_fill():
    facts = {"portfolio": account(QQQ=40, SPY=20), "open_orders": (open_order(Side.SELL, 40, "QQQ"),)}

    # Equity is 14 000 dollars, of which 6 000 are held; of the rest only half could be filled.
    assert decided(order(quantity=50), only(max_gross_leverage=half()), facts).quantity == 10


def test_what_an_open_order_sells_cannot_be_sold_again():
    facts = {"open_orders": (open_order(Side.SELL, 15),)}

    assert codes(decided(sale(6), OFF, facts)) == {BreachCode.SELLS_MORE_THAN_HELD}
    assert isinstance(decided(sale(5), OFF, facts), Approved)


def test_open_buys_have_spent_their_cash():
    facts = {"open_orders": (open_order(Side.BUY, 70, "QQQ"),)}

    assert decided(order(quantity=20), OFF, facts).quantity == 10


STRICT = RiskLimits(
    max_position_weight=Decimal("0.1"),
    max_leveraged_weight=Decimal("0.1"),
    max_gross_leverage=Decimal("0.1"),
    max_net_leverage=Decimal("0.1"),
    max_effective_leverage=Decimal("0.1"),
    max_concentration=Decimal("0.01"),
    max_class_exposure=Decimal("0.1"),
    max_sector_exposure=Decimal("0.1"),
    max_value_at_risk=Decimal("0.0001"),
    max_expected_shortfall=Decimal("0.0001"),
)


@given(st.decimals(Decimal("0.000000001"), 60, places=9))
def test_a_sale_of_held_shares_passes_even_above_every_limit(quantity):
    overweight = {"portfolio": account(cash=0, SPY=100, TQQQ=60)}

    assert isinstance(decided(sale(quantity), STRICT, overweight), Approved)


def test_selling_a_hedge_is_held_to_the_tail_that_it_uncovers():
    moves = closes(("QQQ",), deviation=0.02)
    mirrored = moves.assign(SQQQ=200 - moves["QQQ"] / moves["QQQ"].iloc[0] * 100)
    hedged = {"portfolio": account(cash=0, QQQ=50, SQQQ=50), "scenarios": scenarios_of(mirrored)}

    decision = decided(sale(50, symbol="SQQQ"), only(max_expected_shortfall=Decimal("0.015")), hedged)

    assert isinstance(decision, Reduced)
    assert codes(decision) == {BreachCode.EXPECTED_SHORTFALL}


def test_a_buy_above_the_position_limit_is_refused_however_small():
    facts = {"portfolio": account(cash=1_000, SPY=100)}

    assert isinstance(decided(order(quantity="0.001"), only(max_position_weight=half()), facts), Denied)


def test_an_account_without_equity_has_room_for_nothing():
    decision = decided(order(quantity=1), only(max_position_weight=half()), {"portfolio": account(cash=-2_000)})

    assert Breach(BreachCode.POSITION_WEIGHT, Decimal("Infinity"), half()) in decision.breaches


def test_leveraged_funds_and_ordinary_ones_are_limited_apart():
    limits = only(max_position_weight=half(), max_leveraged_weight=Decimal("0.2"))

    assert decided(order(quantity=40, symbol="TQQQ"), limits, {}).quantity == 20
    assert decided(order(quantity=40, symbol="QQQ"), limits, {}).quantity == 40


def test_an_unknown_symbol_counts_as_a_leveraged_one():
    assert decided(order(quantity=40, symbol="WHAT"), only(max_leveraged_weight=Decimal("0.2")), {}).quantity == 20


def test_a_small_account_is_warned_of_its_fourth_day_trade_where_either_rule_may_bind():
    decision = decided(sale(), only(day_trade_rule=DayTradeRule.BOTH), {"fills": DAY_TRADING})

    assert isinstance(decision, Approved)
    assert [breach.code for breach in decision.warnings] == [BreachCode.DAY_TRADES]


def test_a_large_account_day_trades_as_it_likes():
    rich = {"fills": DAY_TRADING, "portfolio": account(cash=25_000, SPY=20)}

    assert isinstance(decided(sale(), only(day_trade_rule=DayTradeRule.LEGACY_PDT), rich), Approved)


def test_a_wash_sale_is_told_of_and_not_stopped_unless_asked_for():
    decision = decided(sale(), OFF, {"fills": LOST})

    assert isinstance(decision, Approved)
    assert decision.warnings == (Breach(BreachCode.WASH_SALE, Decimal(250), Decimal(0)),)


def test_where_the_broker_is_silent_shares_are_whole():
    assert replace(STATE, assets={}).step("SPY") == 1
    assert replace(STATE, assets={"SPY": Word(fractionable=False)}).step("SPY") == 1
    assert replace(STATE, assets=ASSETS).step("SPY") == Decimal("0.000000001")


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


def test_the_ordinary_family_is_nowhere_looser_than_that_of_rotations():
    rotation, ordinary = FAMILIES[LimitFamily.ROTATION], FAMILIES[LimitFamily.ORDINARY]
    figures = [name for name in vars(rotation) if name.startswith("max_")]

    assert all(getattr(ordinary, name) <= getattr(rotation, name) for name in figures)


def test_rotations_may_put_all_equity_into_one_threefold_fund():
    facts = {"portfolio": account(cash=10_000), "scenarios": SCENARIOS, "session": SESSION}

    assert isinstance(decided(order(quantity=100, symbol="TQQQ"), RiskLimits(), facts), Approved)


def test_a_position_is_valued_at_the_orders_price_before_and_after():
    held = replace(account(cash=1_000), positions={"SPY": Position("SPY", Decimal(10), Decimal(50))})
    facts = {"portfolio": held}

    decision = decided(order(quantity=5), only(max_position_weight=Decimal("0.9")), facts)

    # Ten shares at 100 dollars are 66.7 % of 1500, five more all of it.
    assert decision.quantity == Decimal("3.5")


# --- What a second pair of eyes found ---


def test_an_order_for_dollars_by_somebody_else_frees_no_room():
    for_dollars = OpenOrder("by-hand", "QQQ", Side.BUY, NAN, None)

    assert missing(order(), open_orders=(for_dollars,))
    assert isinstance(decided(sale(), OFF, {"open_orders": (for_dollars,)}), Approved)


def test_an_open_sale_of_nobody_knows_how_much_stops_sales_of_its_symbol():
    for_dollars = OpenOrder("by-hand", "SPY", Side.SELL, NAN, None)

    assert missing(sale(), open_orders=(for_dollars,)) == ["shares held"]


def test_an_order_of_the_session_of_unknown_value_denies_what_turnover_is_asked_of():
    unknown = SentOrder("QQQ", Side.BUY, Decimal(1), NAN, NOW)

    assert missing(order(), only(max_session_turnover=Decimal(1)), sent=(unknown,)) == ["value of the session's orders"]
    assert isinstance(decided(sale(), only(max_session_turnover=Decimal(1)), {"sent": (unknown,)}), Approved)


def test_turnover_stops_no_sale_and_counts_it():
    limits, facts = only(max_session_turnover=half()), {"sent": sent(1, value=9_000)}

    assert isinstance(decided(sale(20), limits, facts), Approved)
    _, buy = decide([sale(20), order(quantity=40, symbol="QQQ")], STATE, limits)
    assert buy.quantity == 30


def test_day_trades_of_one_plan_add_up():
    bought = tuple(
        fill(Side.BUY, quantity=1, hours=-hours, symbol=symbol)
        for hours, symbol in enumerate(("SPY", "QQQ", "TQQQ"), 1)
    )
    held = account(SPY=20, QQQ=20, TQQQ=20)
    facts = replace(STATE, portfolio=held, fills=(*DAY_TRADING[:4], *bought))

    decisions = decide(
        [sale(1, symbol=symbol) for symbol in ("SPY", "QQQ", "TQQQ")], facts, CASES[BreachCode.DAY_TRADES][0]
    )

    assert [type(decision) for decision in decisions] == [Approved, Denied, Denied]


def test_one_fill_that_cannot_be_true_does_not_stop_the_plan():
    wrong = replace(fill(Side.BUY), price=NAN)

    assert isinstance(decided(sale(), RiskLimits(), {"fills": (wrong,)}), Approved)
    assert missing(sale(), only(block_wash_sales=True), fills=(wrong,)) == ["fills"]


@pytest.mark.parametrize("quantity", [NAN, Decimal("Infinity"), Decimal("-Infinity")])
def test_a_holding_of_no_number_denies_buys_and_lets_others_be_sold(quantity):
    portfolio = account(SPY=20, QQQ=1, TLT=1)
    doubtful = {
        symbol: replace(held, quantity=quantity) for symbol, held in portfolio.positions.items() if symbol != "SPY"
    }
    facts = {
        "portfolio": replace(portfolio, positions={**portfolio.positions, **doubtful}),
        "fills": (fill(Side.BUY, symbol="QQQ"),),
    }

    assert missing(order(), **facts)
    assert isinstance(decided(sale(), RiskLimits(), facts), Approved)


def test_what_would_be_reduced_to_less_than_a_dollar_is_denied():
    facts = {"portfolio": account(cash="0.99")}

    assert isinstance(decided(order(quantity=1), OFF, facts), Denied)
    assert isinstance(decided(order(quantity=1), OFF, {"portfolio": account(cash=1)}), Reduced)


def test_a_limit_that_is_broken_already_is_not_broken_by_a_little_more():
    facts = {"portfolio": account(cash=700_000, SPY=3_000)}

    assert isinstance(decided(order(quantity=10), only(max_position_weight=Decimal("0.25")), facts), Denied)


def test_orders_of_one_symbol_take_part_in_its_volume_together():
    state = replace(STATE, average_dollar_volumes={"SPY": Decimal(100_000)})
    limits = only(max_participation=Decimal("0.01"))

    first, second = decide([order(quantity=8), order(quantity=8)], state, limits)
    (again,) = decide([order(quantity=8)], replace(state, sent=sent(1, value=600)), limits)

    assert (first.quantity, second.quantity) == (8, 2)
    assert again.quantity == 4


def test_a_plan_does_not_trade_against_itself():
    first, second = decide([sale(5), order(quantity=5)], STATE, OFF)

    assert isinstance(first, Approved)
    assert codes(second) == {BreachCode.WASH_TRADE}


def test_what_is_short_must_be_secured_whatever_cash_there_is():
    facts = {"portfolio": account(cash=20_000, QQQ=-100)}

    decision = decided(order(quantity=190, symbol="TQQQ"), only(margin_buffer=Decimal("0.05")), facts)

    assert BreachCode.INTRADAY_MARGIN in codes(decision)


def test_the_status_of_another_session_says_nothing_of_this_one():
    assert missing(order(), market=market(session=SESSION - timedelta(days=1))) == ["market status"]


def test_a_buy_that_no_strategy_directs_is_denied():
    decision = decided(order(), only(max_strategy_share=half()), {"strategy_weights": {"tecl": {"QQQ": half()}}})

    assert codes(decision) == {BreachCode.STRATEGY_SHARE}


def test_the_lock_that_still_holds_counts():
    locks = (SymbolLock("SPY", "churn", NOW), SymbolLock("SPY", "refused", NOW + timedelta(hours=1)))

    assert codes(decided(order(), OFF, {"locks": locks})) == {BreachCode.SYMBOL_LOCKED}
