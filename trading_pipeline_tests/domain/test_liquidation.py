from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import QUANTITY_STEP, WHOLE_SHARE, price_tick
from trading_pipeline.domain.liquidation import (
    COLLARS,
    LIQUIDATION,
    RECONCILIATION,
    LiquidationRequest,
    LiquidationTerms,
    LiquidationTrigger,
    Stage,
    as_seen,
    begun,
    ended,
    reduction,
    triggers,
)
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.trading_state import ACTIVE, PERSON, Latch, TradingMode

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
SESSION = date(2026, 7, 31)
DRAWDOWN = Latch("daily loss", TradingMode.HALTED, "15 %", "daily loss", NOON, SESSION, is_risk=True)
BROKEN = Latch(RECONCILIATION, TradingMode.REDUCING, "1 broken", RECONCILIATION, NOON)
HALT = Latch(PERSON, TradingMode.HALTED, "odd fills", PERSON, NOON)
REQUEST = LiquidationRequest(LiquidationTrigger.PERSON, "drill", "SIM0001", 12, NOON, NOON + timedelta(minutes=15))

symbols = st.sampled_from(["SPY", "TQQQ", "SQQQ", "FNGU", "GLD", "WHAT"])
shares = st.decimals("-5000", "5000", places=9)
prices = st.decimals("0.0001", "9000", places=4)
holdings = st.dictionaries(symbols, st.tuples(shares, prices), max_size=6)
steps = st.dictionaries(symbols, st.sampled_from([QUANTITY_STEP, WHOLE_SHARE]))
multiples = st.dictionaries(symbols, st.sampled_from([Decimal(m) for m in ("-3", "-1", "0.5", "1", "3")]))
under_way = st.dictionaries(symbols, st.decimals("0", "6000", places=9))


def portfolio_of(held):
    positions = {symbol: Position(symbol, quantity, price) for symbol, (quantity, price) in held.items()}
    return Portfolio("SIM0001", NOON, Decimal(1000), positions)


def reduced(held, terms=None, plan_id="2026-07-30.liq-12", account="SIM0001"):
    return reduction(portfolio_of(held), terms or LiquidationTerms(), account=account, plan_id=plan_id, reason="drill")


@given(holdings, steps, multiples, under_way)
def test_no_order_crosses_zero_and_with_what_is_under_way_none_sells_more_than_is_held(
    held, steps, multiples, under_way
):
    terms = LiquidationTerms(steps=steps, multiples=multiples, under_way=under_way)

    found = reduced(held, terms)

    assert len({intent.symbol for intent in found.intents}) == len(found.intents)
    for intent in found.intents:
        quantity, _ = held[intent.symbol]
        assert (intent.side is Side.SELL) == (quantity > 0)
        assert 0 < intent.quantity <= abs(quantity) - under_way.get(intent.symbol, 0)
        assert intent.quantity % steps.get(intent.symbol, WHOLE_SHARE) == 0


@given(holdings, steps, under_way)
def test_what_is_held_is_either_ordered_to_the_last_step_or_named_with_a_reason(held, steps, under_way):
    found = reduced(held, LiquidationTerms(steps=steps, under_way=under_way))

    ordered, left = {i.symbol: i.quantity for i in found.intents}, {out.symbol: out for out in found.left_out}
    assert ordered.keys() | left.keys() == {symbol for symbol, (quantity, _) in held.items() if quantity}
    assert not ordered.keys() & left.keys()
    assert all(out.reason for out in left.values())
    for symbol, (quantity, _) in held.items():
        rest = max(abs(quantity) - under_way.get(symbol, 0), 0) - ordered.get(symbol, 0)
        assert 0 <= rest < steps.get(symbol, WHOLE_SHARE)


@given(holdings, multiples)
def test_limits_lie_on_the_tick_at_the_widest_collar_times_the_multiple(held, multiples):
    for intent in reduced(held, LiquidationTerms(multiples=multiples)).intents:
        widest = COLLARS[-1] * max(Decimal(1), abs(multiples.get(intent.symbol, Decimal(1))))
        away = (intent.reference_price - intent.limit_price) * (1 if intent.side is Side.SELL else -1)
        tick = price_tick(intent.limit_price)
        assert intent.limit_price % tick == 0
        assert intent.reference_price * widest <= away < intent.reference_price * widest + tick


@given(holdings, st.randoms())
def test_the_same_change_of_the_state_repeats_the_ids_whatever_the_quantities_and_their_order(held, random):
    others = list(held.items())
    random.shuffle(others)
    # As after a restart: some of it is sold, at other prices.
    later = {symbol: (quantity / 2, price * 2) for symbol, (quantity, price) in others}

    first, again = reduced(held), reduced(later)

    ids = {intent.symbol: intent.client_order_id for intent in first.intents}
    assert all(ids[intent.symbol] == intent.client_order_id for intent in again.intents)
    other = {intent.client_order_id for intent in reduced(held, plan_id="2026-07-30.liq-13").intents}
    assert not other & set(ids.values())


def test_sales_come_before_purchases_each_by_symbol():
    found = reduced({name: (Decimal(count), Decimal(10)) for name, count in [("B", 1), ("D", -1), ("A", -1), ("C", 1)]})

    assert [(intent.sequence, intent.symbol) for intent in found.intents] == [(1, "B"), (2, "C"), (3, "A"), (4, "D")]


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity"])
def test_a_quote_that_is_no_price_is_passed_over_for_the_positions_own(price):
    found = reduced({"SPY": (Decimal(3), Decimal(50))}, LiquidationTerms(prices={"SPY": Decimal(price)}))
    assert found.intents[0].reference_price == 50

    without = reduced({"SPY": (Decimal(3), Decimal(price))})
    assert (without.intents, [out.symbol for out in without.left_out]) == ((), ["SPY"])


def test_slices_go_further_and_further_for_a_leveraged_fund_three_times_as_far():
    terms = LiquidationTerms(multiples={"SQQQ": Decimal(-3)})
    assert terms.offsets("SPY") == (Decimal("0.005"), Decimal("0.01"), Decimal("0.02"))
    assert terms.offsets("SQQQ") == tuple(3 * offset for offset in terms.offsets("SPY"))


@pytest.mark.parametrize("collars", [(), ("0.02", "0.01"), ("0",), ("0.2",), ("-0.01", "0.01")])
def test_collars_that_do_not_widen_are_refused(collars):
    with pytest.raises(InvalidInput, match="collars"):
        LiquidationTerms(collars=[Decimal(collar) for collar in collars])


def test_a_drawdown_sets_it_off_where_it_halts_and_broken_books_do_in_any_mode():
    reducing = replace(DRAWDOWN, mode=TradingMode.REDUCING)
    assert triggers(ACTIVE.joined([reducing, HALT])) == ()
    assert triggers(ACTIVE.joined([BROKEN, reducing, DRAWDOWN])) == (
        (LiquidationTrigger.EQUITY_DRAWDOWN, DRAWDOWN),
        (LiquidationTrigger.BROKEN_RECONCILIATION, BROKEN),
    )


def test_a_liquidation_sees_past_the_halt_that_set_it_off_and_nothing_else_does():
    state = begun(ACTIVE.latched(DRAWDOWN), "liq-1 under way", "the settings", NOON, by_a_person=False)

    assert state.mode is TradingMode.HALTED
    assert as_seen(state).mode is TradingMode.REDUCING
    assert (as_seen(state).allows(Side.SELL), as_seen(state).allows(Side.BUY)) == (True, False)


@pytest.mark.parametrize("name", [PERSON, "broker", "stored state", "market-wide breaker", "key age", "file /HALT"])
def test_every_other_halt_stops_a_liquidation_as_it_stops_everything(name):
    state = begun(ACTIVE, "liq-1 under way", PERSON, NOON, by_a_person=True)
    assert as_seen(state).allows_trading

    assert not as_seen(state.latched(Latch(name, TradingMode.HALTED))).allows_trading


def test_it_never_lets_anything_be_bought_even_where_trading_was_active():
    state = begun(ACTIVE, "liq-1 under way", PERSON, NOON, by_a_person=True)
    assert (state.mode, as_seen(state).mode) == (TradingMode.REDUCING, TradingMode.REDUCING)


def test_whoever_resets_its_latch_ends_it():
    state = begun(ACTIVE, "liq-1 under way", PERSON, NOON, by_a_person=True)
    reset = state.cleared([LIQUIDATION], "enough", PERSON, NOON)

    assert not as_seen(reset).allows_trading
    assert ended(reset, TradingMode.HALTED, "over", NOON) == reset


@pytest.mark.parametrize(("by_a_person", "mode"), [(True, TradingMode.REDUCING), (False, TradingMode.HALTED)])
def test_only_a_person_lowers_a_persons_halt(by_a_person, mode):
    state = begun(ACTIVE.joined([DRAWDOWN, HALT]), "liq-1", "x", NOON, by_a_person=by_a_person)

    assert (state.latch(PERSON).mode, state.latch(PERSON).reason) == (mode, "odd fills")
    assert state.latch("daily loss") == DRAWDOWN


@pytest.mark.parametrize("mode", [TradingMode.REDUCING, TradingMode.HALTED])
def test_afterwards_trading_stays_held_as_was_chosen_and_once_only(mode):
    state = begun(ACTIVE, "liq-1 under way", PERSON, NOON, by_a_person=True)

    over = ended(state, mode, "liq-1 is over", NOON)

    assert (over.mode, over.reason) == (mode, "liq-1 is over")
    assert ended(over, mode, "liq-1 is over", NOON + timedelta(hours=1)).set_at == NOON


def test_a_liquidation_never_lets_trading_go_on():
    with pytest.raises(InvalidInput, match="until a person resets it"):
        ended(ACTIVE, TradingMode.ACTIVE, "over", NOON)


def test_a_code_confirms_its_own_request_in_time_and_while_nothing_else_holds_trading():
    agreed = REQUEST.confirmed(REQUEST.code, PERSON, 12, NOON)
    assert (agreed.stage, agreed.agreed_by, agreed.code) == (Stage.CONFIRMED, PERSON, REQUEST.code)
    assert agreed.confirmed(REQUEST.code, "another", 14, NOON + timedelta(days=1)) == agreed


@pytest.mark.parametrize(
    ("code", "epoch", "late", "stage", "found"),
    [
        ("000000", 12, 0, Stage.REQUESTED, "is of no liquidation"),
        (REQUEST.code, 12, 15, Stage.REQUESTED, "expired"),
        (REQUEST.code, 13, 0, Stage.REQUESTED, "change 13 holds now"),
        (REQUEST.code, 12, 0, Stage.OVER, "is of no liquidation"),
    ],
)
def test_a_code_that_is_wrong_late_or_of_another_state_confirms_nothing(code, epoch, late, stage, found):
    with pytest.raises(InvalidInput, match=found):
        replace(REQUEST, stage=stage).confirmed(code, PERSON, epoch, NOON + timedelta(minutes=late))


@pytest.mark.parametrize(
    "change", [{"epoch": 13}, {"reason": "x"}, {"account_number": "X"}, {"expires_at": NOON}, {"trigger": "x"}]
)
def test_the_code_changes_with_whatever_was_asked(change):
    assert replace(REQUEST, **change).code != REQUEST.code
