from dataclasses import fields, replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.orders import OrderType, Side
from trading_pipeline.domain.risk.decisions import Approved, BreachCode, Denied, Reduced
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.exposure import exposures
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.rules import LIQUIDATION_RULES, RULES
from trading_pipeline.domain.risk.state import OpenOrder
from trading_pipeline.domain.risk.tail_risk import ALPHA_ES, historical_expected_shortfall
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode, TradingState
from trading_pipeline_tests.risk_states import ASSETS, PRICE, SCENARIOS, SESSION, account, only, order, risk_state

SYMBOLS = ("SPY", "QQQ", "FNGU")
LIMITS = only(max_order_value=Decimal(1_000_000), max_price_deviation=Decimal("0.35"))


def decide_all(*intents, portfolio=None, trading_state=ACTIVE, assets=ASSETS, **limits):
    state = risk_state(portfolio or account(SPY=20), trading_state=trading_state, assets=assets)
    return decide(intents, state, replace(LIMITS, **limits))


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
    whole = decide_one(order(quantity=60, symbol="FNGU"), portfolio=account(cash=10_000), max_leveraged_weight=limit)

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
    decision = decide_one(order(quantity="60.5", symbol="FNGU"), max_leveraged_weight=Decimal("0.123"))

    assert codes(decision) == {BreachCode.QUANTITY_PRECISION, BreachCode.LEVERAGED_WEIGHT}
    assert decision.quantity == 12


@pytest.mark.parametrize(
    ("intent", "code"),
    [
        (order(quantity=-1), BreachCode.QUANTITY_NOT_POSITIVE),
        (order(reference_price=Decimal(-100)), BreachCode.PRICE_NOT_POSITIVE),
        (order(limit_price=Decimal(-100)), BreachCode.PRICE_NOT_POSITIVE),
        (order(limit_price=Decimal("135.01")), BreachCode.PRICE_DEVIATION),
        (order(reference_price=Decimal("NaN")), BreachCode.INPUT_MISSING),
        (order(limit_price=None), BreachCode.INPUT_MISSING),
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
    decision = decide_one(order(Side.SELL, quantity=20_000, symbol="HALT"))

    assert codes(decision) == {
        BreachCode.ASSET_NOT_TRADABLE,
        BreachCode.ORDER_VALUE,
        BreachCode.SELLS_MORE_THAN_HELD,
    }


def test_a_halt_denies_everything_sales_included():
    halted = TradingState(TradingMode.HALTED, "a break in reconciliation")

    decisions = decide_all(order(Side.SELL), order(), trading_state=halted)

    assert [codes(decision) for decision in decisions] == [{BreachCode.TRADING_HALTED}] * 2
    assert all(isinstance(decision, Denied) for decision in decisions)


def test_while_reducing_only_what_is_held_is_sold():
    reducing = TradingState(TradingMode.REDUCING, "a break in reconciliation")

    sale, short, buy = decide_all(
        order(Side.SELL), order(Side.SELL, symbol="QQQ"), order(symbol="QQQ"), trading_state=reducing
    )

    assert isinstance(sale, Approved)
    assert codes(short) == {BreachCode.SELLS_MORE_THAN_HELD}
    assert codes(buy) == {BreachCode.REDUCING_ONLY}
    assert "a break in reconciliation" in str(buy.breaches[0])


def test_a_blocked_account_trades_nothing():
    decision = decide_one(order(), portfolio=replace(account(), blocked="account_blocked"))

    assert codes(decision) == {BreachCode.ACCOUNT_BLOCKED}


def test_an_order_beyond_the_sessions_number_is_denied_and_denied_ones_do_not_count():
    decisions = decide_all(
        order(symbol="HALT"), order(quantity=1), order(quantity=1), order(quantity=1), max_orders_per_session=2
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


def test_all_of_equity_moves_from_one_fund_into_another():
    sale, buy = decide(
        [order(Side.SELL, 100, "TQQQ"), order(Side.BUY, 100, "TECL")], risk_state(account(0, TQQQ=100)), RiskLimits()
    )

    assert isinstance(sale, Approved)
    assert isinstance(buy, Approved)


def test_a_denied_sale_makes_no_room_for_a_buy():
    state = risk_state(account(1_000, TQQQ=100, HALT=0))

    _, buy = decide([order(Side.SELL, 100, "HALT"), order(Side.BUY, 20, "TECL")], state, RiskLimits())

    assert buy.quantity == 10


quantities = st.decimals(Decimal(-5), Decimal(300), places=10)
intents = st.builds(
    order,
    side=st.sampled_from(Side),
    quantity=quantities,
    symbol=st.sampled_from([*SYMBOLS, "HALT"]),
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


# --- Every rule at once, on a universe of every class ---

UNIVERSE = ("SPY", "QQQ", "TQQQ", "SQQQ", "TECL", "TLT", "UVXY", "FNGU", "WHAT")
KNOWN = catalogue()
fractions = st.decimals(Decimal("0.02"), 1, places=3)
all_limits = st.builds(
    RiskLimits,
    max_position_weight=fractions,
    max_leveraged_weight=fractions,
    max_gross_leverage=fractions,
    max_net_leverage=fractions,
    max_effective_leverage=st.decimals(Decimal("0.1"), 3, places=3),
    max_concentration=fractions,
    max_class_exposure=fractions,
    max_sector_exposure=fractions,
    max_unclassified_exposure=fractions,
    max_order_value=st.decimals(500, 1_000_000, places=0),
    max_session_turnover=st.decimals(Decimal("0.1"), 3, places=2),
    max_value_at_risk=st.decimals(Decimal("0.001"), Decimal("0.1"), places=4),
    max_expected_shortfall=st.decimals(Decimal("0.001"), Decimal("0.1"), places=4),
)
whole_or_finer = st.one_of(st.integers(1, 150).map(Decimal), st.decimals(Decimal("0.001"), 150, places=9))
sided = st.builds(order, side=st.sampled_from(Side), quantity=whole_or_finer, symbol=st.sampled_from(UNIVERSE))
baskets = st.lists(sided, min_size=1, max_size=4, unique_by=lambda intent: intent.symbol).map(
    lambda intents: sorted(intents, key=lambda intent: intent.side is Side.BUY)
)
long_accounts = st.builds(
    account,
    cash=st.integers(0, 20_000),
    **{symbol: st.integers(0, 60) for symbol in UNIVERSE},
)
open_orders = st.lists(
    st.builds(
        OpenOrder,
        st.just("tp1-open"),
        st.sampled_from(UNIVERSE),
        st.just(Side.BUY),
        st.integers(1, 20).map(Decimal),
        st.just(PRICE),
    ),
    max_size=2,
).map(tuple)
a_few = settings(max_examples=1000 if settings.get_current_profile_name() == "full" else 40)
situations = st.tuples(baskets, long_accounts.filter(lambda held: held.equity > 0), all_limits, open_orders)


def projected(portfolio, orders):
    """Market values once these orders have filled, as somebody would reckon who knows nothing of the engine."""
    values = {symbol: held.quantity * PRICE for symbol, held in portfolio.positions.items()}
    for each in orders:
        sign = 1 if each.side is Side.BUY else -1
        values[each.symbol] = values.get(each.symbol, Decimal(0)) + sign * each.quantity * PRICE
    return values


def measures(values, equity):
    """What the limits of exposure are held against, from the module that reports them, and the tail from its own."""
    found = exposures(values, equity, SESSION, KNOWN)
    weights = {symbol: float(weight) for symbol, weight in found.weights.items()}
    leveraged = {"TQQQ", "SQQQ", "TECL", "UVXY", "FNGU", "WHAT"}
    return {
        "max_position_weight": max((w for s, w in found.weights.items() if s not in leveraged), default=Decimal(0)),
        "max_leveraged_weight": max((w for s, w in found.weights.items() if s in leveraged), default=Decimal(0)),
        "max_gross_leverage": found.gross,
        "max_net_leverage": abs(found.net),
        "max_effective_leverage": found.effective_gross,
        "max_concentration": found.herfindahl,
        "max_class_exposure": max((w for c, w in found.by_class.items() if c != "unknown"), default=Decimal(0)),
        "max_sector_exposure": max(
            (w for sector, w in found.by_sector.items() if sector not in {"none", "unknown"}), default=Decimal(0)
        ),
        "max_unclassified_exposure": found.unclassified_weight,
        "max_expected_shortfall": Decimal(
            historical_expected_shortfall(SCENARIOS.portfolio(weights).historical, ALPHA_ES)
        ),
    }


@a_few
@given(situations)
def test_no_approved_order_breaks_a_limit_of_the_projected_account(situation):
    basket, portfolio, limits, waiting = situation
    decisions = decide(basket, risk_state(portfolio, open_orders=waiting), limits)
    passed = [replace(decision.intent, quantity=decision.quantity) for decision in decisions]
    sold = [intent for intent in passed if intent.side is Side.SELL]

    before = measures(projected(portfolio, [*waiting, *sold]), portfolio.equity)
    after = measures(projected(portfolio, [*waiting, *passed]), portfolio.equity)

    for name, measure in after.items():
        assert measure <= max(getattr(limits, name), before[name]) + Decimal("1e-9"), name
    assert sum(d.quantity > 0 for d in decisions) <= limits.max_orders_per_session
    for decision in decisions:
        assert decision.quantity * PRICE <= limits.max_order_value


def passes(intent, quantity, state, limits):
    (decision,) = decide([replace(intent, quantity=quantity)], state, limits)
    return isinstance(decision, Approved)


@a_few
@given(situations)
def test_a_reduced_quantity_is_the_largest_that_keeps_every_rule(situation):
    (intent, *_), portfolio, limits, waiting = situation
    state = risk_state(portfolio, open_orders=waiting)
    (decision,) = decide([intent], state, limits)
    if not isinstance(decision, Reduced):
        return
    step = state.step(intent.symbol)

    for part in (1, Decimal("0.9"), Decimal("0.5"), Decimal("0.1")):
        quantity = (decision.quantity * part / step).to_integral_value() * step
        assert quantity == 0 or passes(intent, quantity, state, limits)
    one_step_more = decision.quantity + step
    assert one_step_more > intent.quantity or not passes(intent, one_step_more, state, limits)


def test_a_sale_between_two_steps_is_reduced_to_the_step_below_although_the_one_above_is_held():
    intent = order(Side.SELL, "1.000000001", "FNGU")
    (decision,) = decide([intent], risk_state(account(FNGU=2)), RiskLimits())

    assert isinstance(decision, Reduced)
    assert decision.quantity == 1


NOT_OF_SIZE = {BreachCode.SELLS_MORE_THAN_HELD, BreachCode.WASH_TRADE}


@a_few
@given(situations)
def test_what_is_denied_for_its_size_would_be_denied_if_it_were_the_smallest_that_venues_take(situation):
    (intent, *_), portfolio, limits, waiting = situation
    state = risk_state(portfolio, open_orders=waiting)
    (decision,) = decide([intent], state, limits)

    # Less than a dollar no venue buys.
    least = max(state.step(intent.symbol), 1 / PRICE)
    if isinstance(decision, Denied) and least <= intent.quantity:
        assert not passes(intent, least, state, limits) or codes(decision) & NOT_OF_SIZE


@a_few
@given(situations, st.randoms(use_true_random=False))
def test_the_order_of_the_rules_changes_nothing(situation, chance):
    basket, portfolio, limits, waiting = situation
    state = risk_state(portfolio, open_orders=waiting)
    shuffled = chance.sample(RULES, len(RULES))

    assert decide(basket, state, limits, shuffled) == decide(basket, state, limits)


@a_few
@given(situations, st.integers(1, 1_000_000))
def test_more_cash_never_turns_an_approval_into_a_denial_nor_lessens_a_quantity(situation, cash):
    (intent, *_), portfolio, limits, waiting = situation
    richer = replace(portfolio, cash=portfolio.cash + cash)

    (poor,) = decide([intent], risk_state(portfolio, open_orders=waiting), limits)
    (rich,) = decide([intent], risk_state(richer, open_orders=waiting), limits)

    assert rich.quantity >= poor.quantity


def test_a_liquidation_is_held_to_what_cannot_trap_it():
    strict = RiskLimits(
        **{
            limit.name: Decimal("0.01")
            for limit in fields(RiskLimits)
            if limit.name.startswith("max_") and "int" not in str(limit.type)
        }
    )
    off = only()
    state = risk_state(account(cash=0, SPY=100))

    assert isinstance(decide([order(Side.SELL, 100)], state, strict)[0], Reduced | Denied)
    assert isinstance(decide([order(Side.SELL, 100)], state, off, LIQUIDATION_RULES)[0], Approved)
    assert isinstance(decide([order(Side.SELL, 101)], state, off, LIQUIDATION_RULES)[0], Denied)
